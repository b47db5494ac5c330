//! Compared with what the words of a rule mean, moment by moment, and with itself at another pace.

use proptest::prelude::*;

use super::*;
use crate::analysis::kind::Level;
use crate::analysis::rule::By;

const KEYS: [&str; 3] = ["a", "b", "c"];

fn at(micros: u64) -> Timestamp {
    Timestamp::from_micros(micros)
}

fn rule(condition: Condition, hold: u64) -> Rule {
    Rule {
        name: "r".into(),
        instance: "i".into(),
        spec: None,
        level: None,
        grep: None,
        fault: None,
        condition,
        hold,
        by: Some(By::Result),
        severity: Level::Error,
        text: None,
        notify: Vec::new(),
    }
}

fn key(name: &str) -> Key {
    Key::Term(name.as_bytes().to_vec())
}

/// Begun so that all of time is told of.
fn from_the_beginning(rule: &Rule) -> Alerts {
    Alerts::begin(rule, at(1), 0, BTreeMap::new(), &[])
}

type Told = (u64, String, Phase);

fn told(word: &Word) -> Told {
    let key = match &word.key {
        Key::Term(bytes) => String::from_utf8(bytes.clone()).unwrap(),
        Key::Other => "other".to_owned(),
    };
    (word.at.micros(), key, word.phase)
}

/// What happens: entries with their keys, at rising moments.
fn events() -> impl Strategy<Value = Vec<(u64, &'static str)>> {
    let event = (1..12_u64, prop::sample::select(&KEYS[..]));
    prop::collection::vec(event, 0..60).prop_map(|events| {
        let mut now = 300;
        let rising = events.into_iter().map(|(step, key)| {
            now += step;
            (now, key)
        });
        rising.collect()
    })
}

/// By the plainest of ways: each moment is looked at.
fn due(events: &[(u64, &'static str)], rule: &Rule, to: u64) -> Vec<Told> {
    let mut due = Vec::new();
    for name in KEYS {
        let stamps: Vec<u64> =
            events.iter().filter(|(_, key)| *key == name).map(|(at, _)| *at).collect();
        let (mut so_since, mut is_firing) = (None, false);
        for now in 0..to {
            let is_so = match rule.condition {
                Condition::Count { count, within } => {
                    let seen = stamps.iter().filter(|&&it| it <= now && it + within > now);
                    seen.count() >= count
                }
                Condition::Absent { after } => {
                    stamps.iter().rfind(|&&it| it <= now).is_some_and(|last| last + after <= now)
                }
            };
            so_since = is_so.then(|| so_since.unwrap_or(now));
            let fires = so_since.is_some_and(|since| since + rule.hold <= now);
            if fires && !is_firing {
                due.push((now, name.to_owned(), Phase::Firing));
            } else if !is_so && is_firing {
                due.push((now, name.to_owned(), Phase::Resolved));
            }
            is_firing = is_so && (fires || is_firing);
        }
    }
    due.sort();
    due
}

/// Stretches that nobody watched, of `(after, long)`, and the events without those that nobody stamps then.
fn with_gaps(
    gaps: &[(u64, u64)],
    mut events: Vec<(u64, &'static str)>,
) -> (Vec<Unwatched>, Vec<(u64, &'static str)>) {
    let mut end = 290;
    let gap = |(after, long): &(u64, u64)| {
        let from = end + after;
        end = from + long;
        Unwatched { from: at(from), to: at(end) }
    };
    let gaps: Vec<Unwatched> = gaps.iter().map(gap).collect();
    events
        .retain(|(stamp, _)| gaps.iter().all(|gap| at(*stamp) <= gap.from || gap.to <= at(*stamp)));
    (gaps, events)
}

fn conditions() -> impl Strategy<Value = Condition> {
    prop_oneof![
        (1..5_usize, 1..30_u64).prop_map(|(count, within)| Condition::Count { count, within }),
        (1..30_u64).prop_map(|after| Condition::Absent { after }),
    ]
}

proptest! {
    #[test]
    fn words_are_those_that_are_due(events in events(), condition in conditions(), hold in 0..25_u64) {
        let rule = rule(condition, hold);
        let mut alerts = from_the_beginning(&rule);
        let mut words = Vec::new();
        for (stamp, name) in &events {
            alerts.entry(&rule, at(*stamp), key(name), &mut |word| words.push(word));
        }
        let to = 2000;
        alerts.pass(&rule, at(to), &mut |word| words.push(word));
        let numbers: Vec<u64> = words.iter().map(|word| word.number).collect();
        prop_assert_eq!(numbers, (1..=words.len() as u64).collect::<Vec<_>>());
        prop_assert!(words.is_sorted_by_key(|word| word.at));
        let mut found: Vec<Told> = words.iter().map(told).collect();
        found.sort();
        prop_assert_eq!(found, due(&events, &rule, to));
        // An alert is the same one when it is resolved.
        for word in words.iter().filter(|word| word.phase == Phase::Resolved) {
            let fired = words.iter().rfind(|it| it.number < word.number && it.key == word.key);
            let fired = fired.map(|it| (it.phase, it.id, Some(it.at), it.entry));
            prop_assert_eq!(fired, Some((Phase::Firing, word.id, word.firing_at, word.entry)));
        }
    }

    /// However often time passes, and whenever all that is known is stored and loaded.
    #[test]
    fn the_pace_changes_nothing(
        events in events(), condition in conditions(), hold in 0..25_u64,
        gaps in prop::collection::vec((1..80_u64, 1..40_u64), 0..4), pace in 1..9_u64,
    ) {
        let rule = rule(condition, hold);
        let (gaps, events) = with_gaps(&gaps, events);
        let run = |pace: u64| {
            let mut alerts = from_the_beginning(&rule);
            alerts.unwatched(gaps.iter().copied());
            let mut words = Vec::new();
            let mut left = &events[..];
            for now in (0..=2000).step_by(usize::try_from(pace).unwrap()) {
                while let Some(((stamp, name), rest)) = left.split_first() && *stamp < now {
                    alerts.entry(&rule, at(*stamp), key(name), &mut |word| words.push(word));
                    left = rest;
                }
                alerts.pass(&rule, at(now), &mut |word| words.push(word));
                let stored = postcard::to_allocvec(&alerts).unwrap();
                alerts = postcard::from_bytes(&stored).unwrap();
                alerts.unwatched(gaps.iter().copied());
            }
            words
        };
        prop_assert_eq!(run(pace), run(2000));
    }

    /// Where all that was known is lost, what was told is enough to go on: nothing fires twice, is forgotten, or stays for ever.
    #[test]
    fn it_goes_on_from_what_was_told(
        events in events(), condition in conditions(), hold in 0..25_u64, lost in 300..700_u64,
        gaps in prop::collection::vec((1..80_u64, 1..40_u64), 0..6),
    ) {
        let rule = rule(condition, hold);
        let (gaps, events) = with_gaps(&gaps, events);
        // What was lost was known in a stretch that was watched.
        let unwatched = gaps.iter().find(|gap| gap.from < at(lost) && at(lost) <= gap.to);
        let lost = unwatched.map_or(lost, |gap| gap.to.micros() + 1);
        let run = |mut alerts: Alerts, to: u64, words: &mut Vec<Word>| {
            alerts.unwatched(gaps.iter().copied());
            let position = alerts.position();
            let is_new = |stamp: u64| position <= at(stamp) && stamp < to;
            for (stamp, name) in events.iter().filter(|(stamp, _)| is_new(*stamp)) {
                alerts.entry(&rule, at(*stamp), key(name), &mut |word| words.push(word));
            }
            alerts.pass(&rule, at(to), &mut |word| words.push(word));
            alerts
        };
        let mut due = Vec::new();
        run(from_the_beginning(&rule), 2000, &mut due);
        let mut words = Vec::new();
        let before = run(from_the_beginning(&rule), lost, &mut words);
        let known = before.firing().map(|(key, firing)| (key.clone(), *firing)).collect();
        let by_then: Vec<_> = gaps.iter().copied().filter(|gap| gap.from < at(lost)).collect();
        let after = Alerts::begin(&rule, at(lost), before.number(), known, &by_then);
        run(after, 2000, &mut words);
        let told = |words: &[Word]| {
            let mut told: Vec<Told> = words.iter().map(told).collect();
            told.sort();
            told
        };
        prop_assert_eq!(told(&words), told(&due));
    }
}

#[test]
fn our_own_downtime_is_no_absence() {
    const SECOND: u64 = 1_000_000;
    let second = |n: u64| at(n * SECOND);
    let absent =
        |after: u64| Rule { by: None, ..rule(Condition::Absent { after: after * SECOND }, 0) };
    let fires = |rule: &Rule, gap: Option<(u64, u64)>| {
        let mut alerts = Alerts::begin(rule, second(10_000), 0, BTreeMap::new(), &[]);
        let gap = gap.map(|(from, to)| Unwatched { from: second(from), to: second(to) });
        alerts.unwatched(gap);
        let mut words = Vec::new();
        alerts.entry(rule, second(10_000), Key::Other, &mut |word| words.push(word));
        alerts.pass(rule, second(100_000), &mut |word| words.push(word));
        words.iter().map(|word| word.at.micros() / SECOND).collect::<Vec<_>>()
    };
    let hour = absent(3600);
    assert_eq!(fires(&hour, None), [13_600]);
    assert_eq!(fires(&hour, Some((11_000, 12_000))), [14_600], "it waits for as much longer");
    assert_eq!(fires(&hour, Some((13_599, 13_700))), [13_760], "others have a minute to come back");
    assert_eq!(fires(&hour, Some((14_000, 15_000))), [13_600], "it was over before");
    assert_eq!(fires(&absent(5), Some((10_002, 10_100))), [10_105]);
}

/// A node that was never there before has not been silent.
#[test]
fn what_begins_is_not_absent_yet() {
    let rule = Rule { by: None, ..rule(Condition::Absent { after: 100 }, 0) };
    let mut alerts = Alerts::begin(&rule, at(5000), 0, BTreeMap::new(), &[]);
    alerts.unwatched([Unwatched { from: at(0), to: at(5000) }]);
    let mut words = Vec::new();
    alerts.pass(&rule, at(9000), &mut |word| words.push(word));
    assert_eq!(words.iter().map(|word| word.at.micros()).collect::<Vec<_>>(), [5100]);
}

#[test]
fn keys_beyond_the_limit_share_one() {
    let rule = rule(Condition::Count { count: 2, within: 1_000_000 }, 0);
    let mut alerts = from_the_beginning(&rule);
    let mut words = Vec::new();
    let limit = rule.max_keys();
    for n in 0..limit as u64 + 2 {
        let key = Key::Term(n.to_be_bytes().to_vec());
        alerts.entry(&rule, at(1000 + n), key, &mut |word| words.push(word));
        assert!(alerts.keys() <= limit + 1);
    }
    assert_eq!((alerts.tally().other, words.len()), (2, 1));
    assert_eq!(words[0].key, Key::Other);
}
