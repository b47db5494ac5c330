//! Which silences hold, as the instance `alerts` says.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::alert_event::{AlertEvent, Silence, SilenceEvent};
use crate::etf::text;
use crate::time::Timestamp;

/// The most silences that are known at once. The one that ends first gives way.
const MAX_SILENCES: usize = 10_000;

/// Silences by their names.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Silences(BTreeMap<String, Silence>);

impl Silences {
    /// Learns what became of one. `at` is when that was recorded: what is over by then is forgotten.
    pub fn learn(&mut self, at: Timestamp, event: SilenceEvent) {
        match event {
            SilenceEvent::Lifted { id, .. } => _ = self.0.remove(&id),
            SilenceEvent::Set(silence) => {
                self.0.retain(|_, known| known.until > at);
                self.0.insert(silence.id.clone(), silence);
                if self.0.len() > MAX_SILENCES {
                    let first = self.0.values().min_by_key(|it| it.until).map(|it| it.id.clone());
                    first.and_then(|id| self.0.remove(&id));
                }
            }
        }
    }

    /// Those that hold, by name.
    pub fn holding(&self, now: Timestamp) -> impl Iterator<Item = &Silence> {
        self.0.values().filter(move |silence| now < silence.until)
    }

    /// The silence of this name, if it holds.
    pub fn find(&self, id: &str, now: Timestamp) -> Option<&Silence> {
        self.0.get(id).filter(|silence| now < silence.until)
    }

    /// Whether nobody is to be told of an alert now.
    pub fn quiet(&self, alert: &AlertEvent, now: Timestamp) -> bool {
        let by = alert.by.as_ref();
        self.holding(now).any(|silence| {
            // As it is printed, and as people write it.
            let written = by.map(|by| text::to_text(by.as_term()));
            let plain = by.map(|by| super::rule::plain(by.as_term()));
            silence.quiets(&alert.rule, written.as_deref(), now)
                || silence.quiets(&alert.rule, plain.as_deref(), now)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::analysis::alert_event::{AlertId, Phase};
    use crate::analysis::kind::Level;

    fn at(micros: u64) -> Timestamp {
        Timestamp::from_micros(micros)
    }

    #[test]
    fn a_silence_holds_for_what_it_names_until_it_ends() {
        let alert = |rule: &str, by: &str| AlertEvent {
            rule: rule.into(),
            phase: Phase::Firing,
            id: AlertId::of(rule, 1, b"", at(1)),
            number: 1,
            at: at(1),
            severity: Level::Error,
            instance: "i".into(),
            by: Some(text::parse(by).unwrap()),
            text: String::new(),
            count: 1,
            entry: None,
            firing_at: None,
            explanation: None,
        };
        let silence = |id: &str, rule: Option<&str>, by: Option<&str>, until| {
            SilenceEvent::Set(Silence {
                id: id.into(),
                rule: rule.map(str::to_owned),
                by: by.map(str::to_owned),
                until: at(until),
                who: "ann".into(),
                reason: String::new(),
            })
        };
        let mut silences = Silences::default();
        silences.learn(at(1), silence("1", Some("a"), None, 100));
        silences.learn(at(2), silence("2", None, Some("x@h"), 200));
        let quiet = |silences: &Silences, rule, by, now| silences.quiet(&alert(rule, by), at(now));
        assert!(quiet(&silences, "a", "17", 99) && !quiet(&silences, "a", "17", 100));
        assert!(quiet(&silences, "b", "'x@h'", 99) && !quiet(&silences, "b", "'y@h'", 99));
        silences.learn(at(3), SilenceEvent::Lifted { id: "2".into(), who: "bob".into() });
        assert!(!quiet(&silences, "b", "'x@h'", 99));
        assert_eq!(silences.holding(at(50)).count(), 1);
        silences.learn(at(150), silence("3", None, None, 300));
        assert_eq!(silences.0.len(), 1, "what is over is forgotten");
        assert!(quiet(&silences, "any", "1", 299));
    }
}
