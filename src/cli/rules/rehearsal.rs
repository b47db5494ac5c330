//! What rules would have told: they are asked about the entries of a running node, as if they had been there all along.

use std::collections::BTreeMap;
use std::io::Read;

use super::super::Failure;
use super::super::client::{Address, Client, Trouble};
use crate::analysis::alert_event::Unwatched;
use crate::analysis::alerts::{Alerts, Word};
use crate::analysis::rule::{Rule, Sight, Working};
use crate::etf::{TermBuf, TermRef};
use crate::event_log::Record;
use crate::time::{Timestamp, pause};
use crate::watchers::rules::INSTANCE;

/// Bytes that are read at once.
const READ_BYTES: usize = 256 << 10;

/// How long to wait before what broke off is asked for again, and how often.
const PAUSE: std::time::Duration = std::time::Duration::from_millis(500);
const TRIES: u32 = 5;

/// What a rule would have told.
pub(super) struct Said {
    /// Which rule.
    pub(super) rule: usize,
    pub(super) word: Word,
    pub(super) by: Option<TermBuf>,
    pub(super) text: String,
}

/// What the rules would have told between two moments, in the order of time.
pub(super) fn rehearse(
    client: &Client,
    rules: &[Rule],
    since: Timestamp,
    until: Timestamp,
) -> Result<Vec<Said>, Failure> {
    let mut gaps: Vec<Unwatched> = Vec::new();
    each_entry(client, INSTANCE, Timestamp::MIN, until, |_, event| {
        gaps.extend(Unwatched::decode(event));
    })?;
    let mut by_instance: BTreeMap<&str, Vec<(usize, Alerts)>> = BTreeMap::new();
    for (number, rule) in rules.iter().enumerate() {
        let mut alerts = Alerts::begin(rule, since, 0, BTreeMap::new(), &gaps);
        alerts.unwatched(gaps.iter().copied());
        by_instance.entry(rule.reads()).or_default().push((number, alerts));
    }
    let mut said = Vec::new();
    for (instance, asked) in &mut by_instance {
        let from = asked.iter().map(|(_, alerts)| alerts.position()).min().unwrap_or(since);
        let mut working = Working::default();
        each_entry(client, instance, from, until, |at, event| {
            let sight = Sight::of(event);
            for (number, alerts) in &mut *asked {
                let rule = &rules[*number];
                if at < alerts.position() {
                    continue;
                }
                match rule.takes(&sight, &mut working) {
                    Ok(None) => {}
                    Ok(Some(key)) => alerts.entry(rule, at, key, &mut |word| {
                        let event = (word.entry == Some(at)).then_some(event);
                        said.push(spoken(*number, rule, word, event));
                    }),
                    Err(why) => alerts.count_unasked(why),
                }
            }
        })?;
        for (number, alerts) in asked {
            let rule = &rules[*number];
            alerts.pass(rule, until, &mut |word| said.push(spoken(*number, rule, word, None)));
        }
    }
    said.sort_by_key(|it| (it.word.at, it.rule, it.word.number));
    Ok(said)
}

fn spoken(number: usize, rule: &Rule, word: Word, event: Option<TermRef<'_>>) -> Said {
    let by = rule.value(&word.key);
    let text = rule.words(by.as_ref().map(TermBuf::as_term), word.count, event);
    Said { rule: number, word, by, text }
}

/// Reads entries of an instance, and goes on where a connection broke.
fn each_entry(
    client: &Client,
    instance: &str,
    from: Timestamp,
    until: Timestamp,
    mut take: impl FnMut(Timestamp, TermRef<'_>),
) -> Result<(), Failure> {
    let mut next = from;
    let mut tries = 0;
    while next <= until {
        let address = Address::new(&["instances", instance, "entries"])
            .with("from", &next.micros().to_string())
            .with("to", &until.micros().to_string());
        let before = next;
        let read = client.try_records(&address).and_then(|mut reader| {
            let (mut part, mut bytes) = (vec![0; READ_BYTES], Vec::new());
            loop {
                let count = reader.read(&mut part).map_err(|error| Trouble::broke(&error))?;
                bytes.extend_from_slice(&part[..count]);
                let mut at = 0;
                while let Some(record) =
                    Record::parse(&bytes[at..]).map_err(|_| Trouble::Strange)?
                {
                    take(record.timestamp, TermRef::from_walked(record.event));
                    next = record.timestamp.next();
                    at += record.bytes;
                }
                bytes.drain(..at);
                if count == 0 {
                    return Ok(());
                }
            }
        });
        match read {
            Ok(()) => return Ok(()),
            Err(trouble) => {
                tries = if next > before { 0 } else { tries + 1 };
                if tries == TRIES || !client.may_pass(&trouble) {
                    return Err(client.failure(&trouble));
                }
                pause(PAUSE);
            }
        }
    }
    Ok(())
}
