//! What is different, in sentences for the one who is on call.

use super::search::{Deployed, Errors, Explanation, Finding};
use super::{Dimension, Stretch};
use crate::time::{Timestamp, moment};

/// How many findings the second sentence names.
const NAMED: usize = 3;

/// The most striking finding; the next ones; the volume. Times are in UTC.
pub(super) fn of(explanation: &Explanation, stretch: Stretch, baseline: Stretch) -> String {
    let Explanation { findings, count, baseline_count, .. } = explanation;
    let words = Words { stretch, baseline };
    let (now, before) = (words.now(), words.before());
    let Some((first, others)) = findings.split_first() else {
        if *count == 0 && *baseline_count > 0 {
            return format!("No events in {now}, {} in {before}.", number(*baseline_count));
        }
        if *count > 0 && *baseline_count == 0 {
            return format!("Too few to compare: {} in {now}, 0 in {before}.", events(*count));
        }
        return format!(
            "Nothing is different: {} in {now}, {} in {before}.",
            events(*count),
            number(*baseline_count)
        );
    };
    let mut text = words.first(first);
    if let Some(Deployed { application, version, before, since }) = &first.deployed {
        let since = words.clock(*since);
        text.pop();
        text.push_str(&format!(
            "; {application} {version} runs there since {since}, {before} before."
        ));
    }
    if !others.is_empty() {
        let named: Vec<_> = others.iter().take(NAMED).map(other).collect();
        text.push_str(&format!(" Besides, {}", named.join("; ")));
        if others.len() > NAMED {
            text.push_str(&format!("; and {} more", others.len() - NAMED));
        }
        text.push('.');
    }
    let volume = words.in_comparison(*count, *baseline_count);
    text + &format!(" In all {} in {now}, {volume}.", events(*count))
}

/// What errors have in common, where nothing is different.
pub(super) fn errors(errors: &Errors, stretch: Stretch) -> String {
    let Errors { count, conditions, known } = errors;
    let value = |wanted| {
        let found = conditions.iter().find(|(dimension, _)| *dimension == wanted);
        found.map(|(_, value)| value.as_str())
    };
    let words = Words { stretch, baseline: stretch };
    let mut text = match count {
        1 => " There is 1 error".to_owned(),
        count => format!(" There are {} errors", number(*count)),
    };
    let fault = value(Dimension::Fault).map(|id| known.as_ref().map_or(id, |known| &known.title));
    match (fault, value(Dimension::Module)) {
        (Some(title), _) => text.push_str(&format!(", `{title}`")),
        (None, Some(module)) => text.push_str(&format!(" of module {module}")),
        (None, None) => {}
    }
    if let Some(known) = known.as_ref().filter(|known| known.first_seen >= stretch.from) {
        text.push_str(&format!(" (new, first seen {})", words.clock(known.first_seen)));
    }
    if let Some(node) = value(Dimension::Node) {
        text.push_str(&format!(", on {node}"));
    }
    text.push('.');
    text
}

struct Words {
    stretch: Stretch,
    baseline: Stretch,
}

impl Words {
    /// `30 min`.
    fn now(&self) -> String {
        duration(self.stretch)
    }

    /// `the 30 min before`.
    fn before(&self) -> String {
        let length = duration(self.baseline);
        if self.baseline.to == self.stretch.from {
            return format!("the {length} before");
        }
        format!("the {length} from {}", moment::rfc3339(self.baseline.from))
    }

    /// `4.2 times the 1,230 of the 30 min before`.
    fn in_comparison(&self, count: u64, baseline_count: u64) -> String {
        let ratio = self.stretch.per_minute(count) / self.baseline.per_minute(baseline_count);
        let (number, before) = (number(baseline_count), self.before());
        if !ratio.is_finite() || (ratio - 1.0).abs() < 0.05 {
            return format!("{number} in {before}");
        }
        let rate =
            if self.stretch.micros() == self.baseline.micros() { "" } else { "rate of the " };
        format!("{ratio:.1} times the {rate}{number} of {before}")
    }

    fn first(&self, finding: &Finding) -> String {
        let place = finding.node.as_ref().map(|node| format!("On {node}, ")).unwrap_or_default();
        let (what, now, count) = (what(finding), self.now(), number(finding.count));
        let before = match finding.baseline_count {
            0 if finding.is_new => "never before".to_owned(),
            0 => format!("never in {}", self.before()),
            before if self.stretch.micros() == self.baseline.micros() => {
                format!("{} in {}", number(before), self.before())
            }
            before => self.in_comparison(finding.count, before),
        };
        let since = self.clock(finding.since);
        let mostly = if finding.baseline_count == 0 { "mostly" } else { "more often" };
        capitalized(match (&finding.known, finding.is_rise) {
            (Some(known), true) if finding.is_new => {
                let first = self.clock(known.first_seen);
                format!(
                    "{place}{what} (new, first seen {first}) happened {count} times in {now}, {before}."
                )
            }
            (_, true) if self.is_late(finding) => {
                format!(
                    "{place}{what} happened {count} times in {now}, {mostly} since {since}; {before}."
                )
            }
            (_, true) => format!("{place}{what} happened {count} times in {now}, {before}."),
            (_, false) if finding.ratio_since == Some(0.0) => {
                format!("{place}{what} stopped at {since}: {count} in {now}, {before}.")
            }
            (_, false) => {
                format!("{place}{what} became rarer at {since}: {count} in {now}, {before}.")
            }
        })
    }

    /// It did not begin with the stretch.
    fn is_late(&self, finding: &Finding) -> bool {
        finding.since.micros_since(self.stretch.from) * 10 > self.stretch.micros()
    }

    /// `14:02:11`, or with its day if the stretch is longer than that.
    fn clock(&self, at: Timestamp) -> String {
        const DAY_MICROS: u64 = 86_400_000_000;
        let text = moment::rfc3339(at);
        match text.get("2026-11-22T".len().."2026-11-22T10:31:02".len()) {
            Some(time) if self.stretch.micros() <= DAY_MICROS => time.to_owned(),
            _ => text,
        }
    }
}

/// `` `timeout` on a@host (9, 1 before) ``.
fn other(finding: &Finding) -> String {
    let place = finding.node.as_ref().map(|node| format!(" on {node}")).unwrap_or_default();
    let (now, before) = (number(finding.count), number(finding.baseline_count));
    format!("{}{place} ({now}, {before} before)", what(finding))
}

/// What happened, without its node.
fn what(finding: &Finding) -> String {
    let value = |wanted| {
        let found = finding.conditions.iter().find(|(dimension, _)| *dimension == wanted);
        found.map(|(_, value)| value.as_str())
    };
    if let Some(id) = value(Dimension::Fault) {
        let title = finding.known.as_ref().map_or(id, |known| &known.title);
        return format!("`{title}`");
    }
    if finding.conditions.is_empty() {
        return "events of all sorts".to_owned();
    }
    let mut text = "events".to_owned();
    if let Some(kind) = value(Dimension::Kind) {
        text.push_str(&format!(" of kind {kind}"));
    }
    if let Some(level) = value(Dimension::Level) {
        text.push_str(&format!(" of level {level}"));
    }
    if let Some(module) = value(Dimension::Module) {
        text.push_str(&format!(" of module {module}"));
    }
    text
}

fn capitalized(text: String) -> String {
    let mut chars = text.chars();
    chars.next().map(|first| first.to_uppercase().chain(chars).collect()).unwrap_or_default()
}

fn events(count: u64) -> String {
    format!("{} {}", number(count), if count == 1 { "event" } else { "events" })
}

/// `1,204`.
fn number(count: u64) -> String {
    let digits = count.to_string();
    let mut text = String::new();
    for (at, digit) in digits.char_indices() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// `30 min`, in the largest unit of which it has several.
fn duration(stretch: Stretch) -> String {
    let seconds = stretch.micros().div_ceil(1_000_000);
    let units = [(86_400, "days"), (3600, "h"), (60, "min"), (1, "s")];
    let is_whole = |&(unit, _): &(u64, &str)| seconds.is_multiple_of(unit) && seconds > unit;
    let (unit, name) = units.into_iter().find(is_whole).unwrap_or((1, "s"));
    format!("{} {name}", seconds / unit)
}

#[cfg(test)]
mod tests {
    use super::super::{Background, Comparison, Known, Occurrence};
    use super::*;
    use crate::analysis::kind::{Kind, Level};

    const NOON: u64 = 1_795_348_800;

    fn at(second: u64) -> Timestamp {
        Timestamp::from_micros((NOON + second) * 1_000_000)
    }

    /// The half hour before noon, or as much longer, and the one after it; `fault` happens every so many seconds.
    fn check(baseline_seconds: u64, told: &[(&str, &str, std::ops::Range<i64>, usize)], due: &str) {
        let before = Timestamp::from_micros(at(0).micros() - baseline_seconds * 1_000_000);
        let (stretch, baseline) =
            (Stretch { from: at(0), to: at(1800) }, Stretch { from: before, to: at(0) });
        let mut comparison = Comparison::new(stretch, baseline);
        for (node, fault, seconds, step) in told {
            for second in seconds.clone().step_by(*step) {
                let micros = at(0).micros().saturating_add_signed(second * 1_000_000);
                comparison.add(&Occurrence {
                    at: Timestamp::from_micros(micros),
                    level: Level::Error,
                    kind: Kind::Crash,
                    node: Some(node),
                    module: Some("shop"),
                    fault: Some(fault),
                });
            }
        }
        assert_eq!(comparison.finish(Shop).text, due);
    }

    /// One fault is known, and one deployment.
    struct Shop;

    impl Background for Shop {
        fn fault(&self, id: &str) -> Option<Known> {
            let title = "timeout calling db".to_owned();
            (id == "1").then(|| Known { title, first_seen: at(731) })
        }

        fn deployed(&self, node: &str, from: Timestamp, to: Timestamp) -> Option<Deployed> {
            let [application, version, before] = ["shop", "1.4.2", "1.4.1"].map(str::to_owned);
            let since = at(700);
            let is_it = node == "c@host" && from <= since && since <= to;
            is_it.then_some(Deployed { application, version, before, since })
        }
    }

    #[test]
    fn the_top_cause_is_named_first() {
        let noise = ("a@host", "2", -1800..1800, 3);
        check(
            1800,
            std::slice::from_ref(&noise),
            "Nothing is different: 600 events in 30 min, 600 in the 30 min before.",
        );
        check(
            1800,
            &[("b@host", "1", 731..760, 10)],
            "Too few to compare: 3 events in 30 min, 0 in the 30 min before. There are 3 errors, `timeout calling db` (new, first seen 12:12:11), on b@host.",
        );
        check(
            1800,
            &[("a@host", "2", -900..0, 300)],
            "No events in 30 min, 3 in the 30 min before.",
        );
        check(
            1800,
            &[noise.clone(), ("b@host", "1", 731..1800, 5)],
            "On b@host, `timeout calling db` (new, first seen 12:12:11) happened 214 times in 30 min, never before. In all 814 events in 30 min, 1.4 times the 600 of the 30 min before.",
        );
        check(
            1800,
            &[noise.clone(), ("c@host", "1", 731..1800, 5)],
            "On c@host, `timeout calling db` (new, first seen 12:12:11) happened 214 times in 30 min, never before; shop 1.4.2 runs there since 12:11:40, 1.4.1 before. In all 814 events in 30 min, 1.4 times the 600 of the 30 min before.",
        );
        check(
            1800,
            &[noise.clone(), ("b@host", "3", -1800..900, 4)],
            "On b@host, `3` stopped at 12:15:00: 225 in 30 min, 450 in the 30 min before. In all 825 events in 30 min, 0.8 times the 1,050 of the 30 min before.",
        );
        check(
            7200,
            &[
                ("a@host", "2", -7200..1800, 3),
                ("b@host", "3", -7200..0, 100),
                ("b@host", "3", 0..1800, 4),
            ],
            "On b@host, `3` happened 450 times in 30 min, 25.0 times the rate of the 72 of the 2 h before. In all 1,050 events in 30 min, 1.7 times the rate of the 2,472 of the 2 h before.",
        );
    }

    #[test]
    fn what_rises_as_a_whole_is_told_once() {
        let told = ["1", "2", "3", "4"].map(|fault| ("a@host", fault, -1800..1800, 10));
        let more = ["1", "2", "3", "4"].map(|fault| ("a@host", fault, 900..1800, 5));
        check(
            1800,
            &[told, more].concat(),
            "On a@host, events of all sorts happened 1,440 times in 30 min, more often since 12:15:00; 720 in the 30 min before. In all 1,440 events in 30 min, 2.0 times the 720 of the 30 min before.",
        );
    }
}
