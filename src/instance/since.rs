//! Where a reader wants to begin: every form of `From`, and the way back.

use std::time::Duration;

use crate::etf::{Term, TermRef, encode};
use crate::time::Timestamp;

/// Where to begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Since {
    /// With the oldest entry kept.
    Earliest,
    /// With the first entry after this moment.
    Now,
    /// With the first entry at or after a timestamp.
    At(Timestamp),
    /// With the first entry not older than this.
    Ago(Duration),
}

impl Since {
    /// Reads `earliest`, `now`, `{ago, {N, Unit}}`, `{Mega, Sec, Micro}`, `{{Y, Mo, D}, {H, Mi, S}, Millis}` or
    /// microseconds since the epoch; `None` if the term is none of these.
    pub fn parse(term: TermRef<'_>) -> Option<Self> {
        match term.view() {
            Term::Atom(atom) if atom.is("earliest") => Some(Since::Earliest),
            Term::Atom(atom) if atom.is("now") => Some(Since::Now),
            Term::Integer(micros) => {
                Some(Since::At(Timestamp::from_micros(u64::try_from(micros).ok()?)))
            }
            Term::Tuple(_) => {
                if let Some([ago, span]) = term.as_tuple() {
                    return ago.is_atom("ago").then(|| span_of(span).map(Since::Ago))?;
                }
                let [first, second, third] = term.as_tuple()?;
                match first.view() {
                    Term::Integer(mega) => {
                        let (secs, micros) = (second.as_integer()?, third.as_integer()?);
                        Timestamp::from_parts(mega, secs, micros).map(Since::At)
                    }
                    _ => date_time(first, second, third).map(Since::At),
                }
            }
            _ => None,
        }
    }

    /// Writes the form that [`Since::parse`] reads.
    pub fn write(self, out: &mut Vec<u8>) {
        match self {
            Since::Earliest => encode::atom(out, "earliest"),
            Since::Now => encode::atom(out, "now"),
            Since::At(stamp) => encode::timestamp(out, stamp),
            Since::Ago(span) => {
                encode::tuple_header(out, 2);
                encode::atom(out, "ago");
                encode::tuple_header(out, 2);
                encode::unsigned(out, u64::try_from(span.as_millis()).unwrap_or(u64::MAX));
                encode::atom(out, "ms");
            }
        }
    }

    /// The timestamp to begin at. Every entry there is has one before `next`, and none that comes will.
    pub fn resolve(self, now: Timestamp, next: Timestamp) -> Timestamp {
        match self {
            Since::Earliest => Timestamp::MIN,
            Since::Now => next,
            Since::At(stamp) => stamp,
            Since::Ago(span) => now.saturating_sub(span),
        }
    }

    /// The timestamp to end at: `now` ends with what there is, also where that is stamped ahead of the clock.
    pub fn resolve_end(self, now: Timestamp, next: Timestamp) -> Timestamp {
        match self {
            Since::Now => Timestamp::from_micros(next.micros().saturating_sub(1)).max(now),
            from => from.resolve(now, next),
        }
    }
}

/// `{N, Unit}`, and `{{H, M, S}, hms}`.
pub fn span_of(term: TermRef<'_>) -> Option<Duration> {
    if let Some([clock, unit]) = term.as_tuple()
        && let Some([hours, minutes, seconds]) = clock.as_tuple()
    {
        let part = |term: TermRef<'_>| u64::try_from(term.as_integer()?).ok();
        let minutes = part(hours)?.checked_mul(60)?.checked_add(part(minutes)?)?;
        let seconds = minutes.checked_mul(60)?.checked_add(part(seconds)?)?;
        return unit.is_atom("hms").then_some(Duration::from_secs(seconds));
    }
    let [count, unit] = term.as_tuple()?;
    let count = u64::try_from(count.as_integer()?).ok()?;
    let unit = unit.as_atom()?;
    let seconds = match &*unit.to_str() {
        "millisecond" | "ms" => return Some(Duration::from_millis(count)),
        "sec" | "second" => 1,
        "min" | "minute" => 60,
        "hour" => 3600,
        "day" => 86400,
        _ => return None,
    };
    count.checked_mul(seconds).map(Duration::from_secs)
}

/// `{{Y, Mo, D}, {H, Mi, S}, Millis}`, UTC.
fn date_time(date: TermRef<'_>, time: TermRef<'_>, millis: TermRef<'_>) -> Option<Timestamp> {
    let [year, month, day] = date.as_tuple()?;
    let [hour, minute, second] = time.as_tuple()?;
    let small = |term: TermRef<'_>| i8::try_from(term.as_integer()?).ok();
    let year = i16::try_from(year.as_integer()?).ok()?;
    let millis = i32::try_from(millis.as_integer()?).ok().filter(|ms| (0..1000).contains(ms))?;
    let civil = jiff::civil::DateTime::new(
        year,
        small(month)?,
        small(day)?,
        small(hour)?,
        small(minute)?,
        small(second)?,
        millis * 1_000_000,
    );
    let moment = civil.ok()?.to_zoned(jiff::tz::TimeZone::UTC).ok()?.timestamp();
    Some(Timestamp::from_micros(u64::try_from(moment.as_microsecond()).unwrap_or(0)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ints(out: &mut Vec<u8>, parts: &[i64]) {
        encode::tuple_header(out, parts.len());
        for &part in parts {
            encode::integer(out, part);
        }
    }

    #[test]
    fn every_form_is_read() {
        let check = |write: &dyn Fn(&mut Vec<u8>), expected| {
            let mut bytes = Vec::new();
            write(&mut bytes);
            assert_eq!(Since::parse(TermRef::whole(&bytes).unwrap()), expected);
        };
        let at = |micros| Some(Since::At(Timestamp::from_micros(micros)));
        check(&|out| encode::atom(out, "earliest"), Some(Since::Earliest));
        check(&|out| encode::atom(out, "now"), Some(Since::Now));
        check(&|out| encode::atom(out, "never"), None);
        check(&|out| encode::integer(out, 1_795_000_000_000_001), at(1_795_000_000_000_001));
        check(&|out| encode::integer(out, -1), None);
        check(&|out| ints(out, &[1795, 1, 2]), at(1_795_000_001_000_002));
        check(&|out| ints(out, &[1795, 1_000_000, 2]), None);
        check(
            &|out| {
                encode::tuple_header(out, 3);
                ints(out, &[2026, 11, 22]);
                ints(out, &[10, 30, 1]);
                encode::integer(out, 500);
            },
            at(1_795_343_401_500_000),
        );
        check(
            &|out| {
                encode::tuple_header(out, 3);
                ints(out, &[2026, 13, 22]);
                ints(out, &[10, 30, 1]);
                encode::integer(out, 500);
            },
            None,
        );
        check(
            &|out| {
                encode::tuple_header(out, 2);
                encode::atom(out, "ago");
                encode::tuple_header(out, 2);
                encode::integer(out, 15);
                encode::atom(out, "min");
            },
            Some(Since::Ago(Duration::from_secs(900))),
        );
    }
}
