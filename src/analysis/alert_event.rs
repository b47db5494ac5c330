//! What is told of alerts, what quiets them, and when nobody watched, as events of the instance `alerts`.
//!
//! ```erlang
//! {alert, Name :: atom(), firing | resolved, #{id => binary(), number => pos_integer(), at => erlang:timestamp(),
//!                                             severity => atom(), instance => atom(), by => term(), text => binary(),
//!                                             count => non_neg_integer(), entry => erlang:timestamp(),
//!                                             firing_at => erlang:timestamp(), explanation => binary()}}
//! {silence, Id :: binary(), set | lifted, #{rule => atom(), by => term(), until => erlang:timestamp(), who => binary(),
//!                                          reason => binary()}}
//! {unwatched, {From :: erlang:timestamp(), To :: erlang:timestamp()}}
//! ```
//!
//! What is not known is left out.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::id;
use super::kind::Level;
use super::pairs::{self, Pairs};
use super::view::timestamp;
use super::window::Key;
use crate::etf::{AtomRef, Term, TermBuf, TermRef, encode};
use crate::time::Timestamp;

/// The longest text of an alert, of who set a silence, and why, in bytes.
pub const MAX_TEXT_BYTES: usize = 4096;

/// The longest text of any kind that is taken for one of ours.
const MAX_EXPLANATION_BYTES: usize = 64 << 10;

/// What became of an alert. Each fires once and resolves once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Phase {
    /// What its rule waits for is so.
    Firing,
    /// It is not any more.
    Resolved,
}

impl Phase {
    /// Its name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Phase::Firing => "firing",
            Phase::Resolved => "resolved",
        }
    }

    pub(super) fn of(name: AtomRef<'_>) -> Option<Self> {
        [Phase::Firing, Phase::Resolved].into_iter().find(|phase| name.is(phase.as_str()))
    }
}

/// Which alert: 16 hexadecimal digits. Firing and resolved it is the same one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct AlertId(u64);

impl AlertId {
    /// That of the alert of a rule which is its `number`th word, of `by`.
    pub fn of(rule: &str, number: u64, by: &[u8], at: Timestamp) -> Self {
        let mut text = format!("{rule}\0{number}\0{}\0", at.micros()).into_bytes();
        text.extend_from_slice(by);
        AlertId(id::of(&text))
    }

    /// The id that is written so.
    pub fn parse(text: &str) -> Option<Self> {
        id::parse(text).map(AlertId)
    }
}

impl fmt::Display for AlertId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// An alert began to fire, or was resolved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AlertEvent {
    /// The name of its rule.
    pub rule: String,
    /// Which of both.
    pub phase: Phase,
    /// The alert.
    pub id: AlertId,
    /// The rule's words are numbered, from 1.
    pub number: u64,
    /// When it was so, as stamps say; that may be before it was recorded.
    pub at: Timestamp,
    /// How bad it is.
    pub severity: Level,
    /// The instance whose events the rule looks at.
    pub instance: String,
    /// What the rule has an alert each for.
    pub by: Option<TermBuf>,
    /// What to tell people, in one line.
    pub text: String,
    /// Events that it is of, so far.
    pub count: u64,
    /// The last of them.
    pub entry: Option<Timestamp>,
    /// When it began to fire, of one that is resolved.
    pub firing_at: Option<Timestamp>,
    /// What is different in its stretch of time.
    pub explanation: Option<String>,
}

impl AlertEvent {
    /// The event.
    pub fn encode(&self) -> TermBuf {
        let mut about = Pairs::default();
        about.binary("id", &self.id.to_string());
        about.add("number", |out| encode::unsigned(out, self.number));
        about.add("at", |out| encode::timestamp(out, self.at));
        about.add("severity", |out| encode::atom(out, self.severity.as_str()));
        about.add("instance", |out| encode::atom(out, &self.instance));
        if let Some(by) = &self.by {
            about.add("by", |out| out.extend_from_slice(by.bytes()));
        }
        about.binary("text", &self.text);
        about.add("count", |out| encode::unsigned(out, self.count));
        for (key, at) in [("entry", self.entry), ("firing_at", self.firing_at)] {
            if let Some(at) = at {
                about.add(key, |out| encode::timestamp(out, at));
            }
        }
        if let Some(explanation) = &self.explanation {
            about.binary("explanation", explanation);
        }
        about.event("alert", self.phase.as_str(), |out| encode::atom(out, &self.rule))
    }

    /// Whose it is.
    pub fn key(&self) -> Key {
        self.by.as_ref().map_or(Key::Other, |by| Key::of(by.as_term()))
    }

    /// Whether one that fires has the id that a rule gives it: what somebody else wrote has not, unless he wants it to.
    pub fn has_due_id(&self) -> bool {
        let key = self.key();
        let by: &[u8] = if let Key::Term(bytes) = &key { bytes } else { &[] };
        self.id == AlertId::of(&self.rule, self.number, by, self.at)
    }

    /// What an event says; `None` if it has not this form.
    pub fn decode(event: TermRef<'_>) -> Option<Self> {
        let [tag, rule, phase, about] = event.as_tuple()?;
        if !tag.is_atom("alert") || !matches!(about.view(), Term::Map(_)) {
            return None;
        }
        let get = |key| about.map_get(key);
        let number = |key| u64::try_from(get(key)?.as_integer()?).ok();
        let time = |key| get(key).and_then(timestamp);
        let atom = |key| get(key).and_then(TermRef::as_atom).map(AtomRef::to_str);
        Some(AlertEvent {
            rule: rule.as_atom()?.to_str().into_owned(),
            phase: Phase::of(phase.as_atom()?)?,
            id: AlertId::parse(&get("id").and_then(text)?)?,
            number: number("number")?,
            at: time("at")?,
            severity: atom("severity").and_then(|name| Level::named(&name))?,
            instance: atom("instance")?.into_owned(),
            by: get("by").map(TermRef::to_buf),
            text: get("text").and_then(text).unwrap_or_default(),
            count: number("count").unwrap_or_default(),
            entry: time("entry"),
            firing_at: time("firing_at"),
            explanation: get("explanation").and_then(text),
        })
    }
}

/// Alerts that nobody is told of until a moment. They are recorded all the same.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Silence {
    /// Its name, made of when it was set.
    pub id: String,
    /// Of this rule; `None`: of all.
    pub rule: Option<String>,
    /// Of this value of `by`, as text; `None`: of all.
    pub by: Option<String>,
    /// Until then.
    pub until: Timestamp,
    /// Who set it.
    pub who: String,
    /// Why.
    pub reason: String,
}

impl Silence {
    /// Whether it holds for an alert at that time. `by` is the alert's, as Erlang text.
    pub fn quiets(&self, rule: &str, by: Option<&str>, at: Timestamp) -> bool {
        at < self.until
            && self.rule.as_deref().is_none_or(|it| it == rule)
            && self.by.as_deref().is_none_or(|it| Some(it) == by)
    }
}

/// What became of a silence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SilenceEvent {
    /// It begins.
    Set(Silence),
    /// It ends, before its time.
    Lifted {
        /// Its name.
        id: String,
        /// Who lifted it.
        who: String,
    },
}

impl SilenceEvent {
    /// The event.
    pub fn encode(&self) -> TermBuf {
        let mut about = Pairs::default();
        let (id, what) = match self {
            SilenceEvent::Set(silence) => {
                if let Some(rule) = &silence.rule {
                    about.add("rule", |out| encode::atom(out, rule));
                }
                if let Some(by) = &silence.by {
                    about.binary("by", by);
                }
                about.add("until", |out| encode::timestamp(out, silence.until));
                about.binary("who", &silence.who);
                about.binary("reason", &silence.reason);
                (&silence.id, "set")
            }
            SilenceEvent::Lifted { id, who } => {
                about.binary("who", who);
                (id, "lifted")
            }
        };
        about.event("silence", what, |out| encode::binary(out, id.as_bytes()))
    }

    /// What an event says; `None` if it has not this form.
    pub fn decode(event: TermRef<'_>) -> Option<Self> {
        let [tag, id, what, about] = event.as_tuple()?;
        if !tag.is_atom("silence") || !matches!(about.view(), Term::Map(_)) {
            return None;
        }
        let id = text(id)?;
        let get = |key| about.map_get(key);
        let who = || get("who").and_then(text).unwrap_or_else(|| "somebody".to_owned());
        match &*what.as_atom()?.to_str() {
            "lifted" => Some(SilenceEvent::Lifted { id, who: who() }),
            // One that cannot be read quiets nothing: least of all everything.
            "set" => Some(SilenceEvent::Set(Silence {
                id,
                rule: get("rule").map(|it| text(it).ok_or(())).transpose().ok()?,
                by: get("by").map(|it| text(it).ok_or(())).transpose().ok()?,
                until: get("until").and_then(timestamp)?,
                who: who(),
                reason: get("reason").and_then(text).unwrap_or_default(),
            })),
            _ => None,
        }
    }
}

/// A stretch of time in which nobody watched: the program did not run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unwatched {
    /// The last moment that is known to have been watched.
    pub from: Timestamp,
    /// From when on somebody watched again.
    pub to: Timestamp,
}

impl Unwatched {
    /// The event.
    pub fn encode(&self) -> TermBuf {
        TermBuf::written(|out| {
            encode::tuple_header(out, 2);
            encode::atom(out, "unwatched");
            encode::tuple_header(out, 2);
            encode::timestamp(out, self.from);
            encode::timestamp(out, self.to);
        })
    }

    /// What an event says; `None` if it has not this form.
    pub fn decode(event: TermRef<'_>) -> Option<Self> {
        let [tag, stretch] = event.as_tuple()?;
        let [from, to] = stretch.as_tuple().filter(|_| tag.is_atom("unwatched"))?;
        let (from, to) = (timestamp(from)?, timestamp(to)?);
        (from < to).then_some(Unwatched { from, to })
    }
}

/// A text of ours.
fn text(term: TermRef<'_>) -> Option<String> {
    pairs::text(term, MAX_EXPLANATION_BYTES)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::etf::text::parse;

    #[test]
    fn events_are_read_as_they_were_written() {
        let at = Timestamp::from_micros(1_700_000_000_000_000);
        let alert = AlertEvent {
            rule: "too many".into(),
            phase: Phase::Resolved,
            id: AlertId::of("too many", 3, b"x", at),
            number: 4,
            at,
            severity: Level::Critical,
            instance: "error_logger".into(),
            by: Some(parse("{a, 1}").unwrap()),
            text: "größer".into(),
            count: 17,
            entry: Some(at),
            firing_at: Some(at),
            explanation: Some("Nothing is different".into()),
        };
        assert_eq!(AlertEvent::decode(alert.encode().as_term()), Some(alert.clone()));
        assert!(!alert.has_due_id(), "nobody of us wrote it");
        let key = alert.key();
        let Key::Term(by) = &key else { panic!("it has one") };
        let ours = AlertEvent { id: AlertId::of("too many", 4, by, at), ..alert.clone() };
        assert!(ours.has_due_id());
        let least =
            AlertEvent { by: None, entry: None, firing_at: None, explanation: None, ..alert };
        assert_eq!(AlertEvent::decode(least.encode().as_term()), Some(least));
        let silence = Silence {
            id: "17".into(),
            rule: Some("r".into()),
            by: Some("'a@b'".into()),
            until: at,
            who: "ann".into(),
            reason: String::new(),
        };
        let all = Silence { rule: None, by: None, ..silence.clone() };
        let lifted = SilenceEvent::Lifted { id: "17".into(), who: "bob".into() };
        for event in [SilenceEvent::Set(silence), SilenceEvent::Set(all), lifted] {
            assert_eq!(SilenceEvent::decode(event.encode().as_term()), Some(event));
        }
        let gap = Unwatched { from: at, to: at.next() };
        assert_eq!(Unwatched::decode(gap.encode().as_term()), Some(gap));
    }

    #[test]
    fn what_cannot_be_read_quiets_nothing() {
        for event in [
            "{silence, <<\"1\">>, set, #{}}",
            "{silence, <<\"1\">>, set, #{until => {9000,0,0}, rule => 17}}",
            "{silence, <<\"1\">>, set, #{until => {9000,0,0}, by => {a}}}",
            "{silence, 1, set, #{until => {9000,0,0}}}",
        ] {
            assert_eq!(SilenceEvent::decode(parse(event).unwrap().as_term()), None, "{event}");
        }
        let backwards = parse("{unwatched, {{1,0,0},{0,0,0}}}").unwrap();
        assert_eq!(Unwatched::decode(backwards.as_term()), None);
    }
}
