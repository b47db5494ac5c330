//! `{read, From, Options}`: a bounded part of the log, and where to go on.

use std::sync::Arc;

use super::Instance;
use super::calls::{self, Reply, badarg};
use super::from::From;
use crate::etf::{Term, TermRef, encode};
use crate::event_log::ReadError;
use crate::match_spec::{MatchSpec, Outcome, Scratch};
use crate::time::Timestamp;

/// Entries in one answer unless `limit` says otherwise, and the most it may say.
const DEFAULT_LIMIT: usize = 1000;
const MAX_LIMIT: usize = 1_000_000;

/// Bytes of entries in one answer unless `max_bytes` says otherwise, and the most it may say. An answer holds at
/// least one entry, whatever its size.
const DEFAULT_BYTES: usize = 4 << 20;
const MAX_BYTES: usize = 32 << 20;

/// What one read may return.
struct Bounds {
    from: Timestamp,
    to: Timestamp,
    limit: usize,
    max_bytes: usize,
    filter: Option<MatchSpec>,
    /// Whether deleted and damaged stretches are told of instead of stepped over.
    strict: bool,
}

/// Answers `{ok, [Entry], Next | eof}`, from a thread that may block on files.
pub(super) fn answer(
    instance: &Arc<Instance>,
    from: TermRef<'_>,
    options: TermRef<'_>,
    reply: Reply,
) {
    let bounds = match bounds(instance, from, options) {
        Ok(bounds) => bounds,
        Err(refusal) => return reply(refusal),
    };
    let instance = instance.clone();
    tokio::task::spawn_blocking(move || reply(read(&instance, &bounds)));
}

fn bounds(instance: &Instance, from: TermRef<'_>, options: TermRef<'_>) -> Result<Bounds, Vec<u8>> {
    let (now, next) = (instance.clock().now(), instance.tail().earliest_next());
    let moment = |term: TermRef<'_>| From::parse(term).map(|from| from.resolve(now, next));
    let mut bounds = Bounds {
        from: moment(from).ok_or_else(|| badarg("from"))?,
        to: Timestamp::MAX,
        limit: DEFAULT_LIMIT,
        max_bytes: DEFAULT_BYTES,
        filter: None,
        strict: false,
    };
    let Term::Map(pairs) = options.view() else { return Err(badarg("options")) };
    let within = |value: TermRef<'_>, most: usize| {
        let value = usize::try_from(value.as_integer()?).ok()?;
        (1..=most).contains(&value).then_some(value)
    };
    for (key, value) in pairs {
        let key = key.as_atom().ok_or_else(|| badarg("options"))?.to_str();
        let within = |most| within(value, most).ok_or_else(|| badarg(&key));
        match &*key {
            "to" => bounds.to = moment(value).ok_or_else(|| badarg("to"))?,
            "limit" => bounds.limit = within(MAX_LIMIT)?,
            "max_bytes" => bounds.max_bytes = within(MAX_BYTES)?,
            "strict" if value.is_atom("true") => bounds.strict = true,
            "strict" if value.is_atom("false") => bounds.strict = false,
            "match_spec" => bounds.filter = calls::filter(value)?,
            _ => return Err(badarg(&key)),
        }
    }
    Ok(bounds)
}

/// `{error, {deleted, Oldest}}`, `{error, {damaged, #{...}}}`, or why the machine failed.
fn refusal(error: &ReadError) -> Vec<u8> {
    calls::error(|out| match error {
        ReadError::Deleted { oldest } => {
            encode::tuple_header(out, 2);
            encode::atom(out, "deleted");
            encode::timestamp(out, *oldest);
        }
        ReadError::Corrupt { path, position, bytes } => {
            encode::tuple_header(out, 2);
            encode::atom(out, "damaged");
            encode::map_header(out, 3);
            encode::atom(out, "bytes");
            encode::unsigned(out, *bytes);
            encode::atom(out, "position");
            encode::unsigned(out, *position);
            encode::atom(out, "segment");
            encode::binary(out, path.to_string_lossy().as_bytes());
        }
        error => encode::binary(out, error.to_string().as_bytes()),
    })
}

fn read(instance: &Instance, bounds: &Bounds) -> Vec<u8> {
    let log = instance.log();
    let mut cursor = match bounds.strict {
        true => log.strict_cursor(bounds.from),
        false => log.cursor(bounds.from),
    };
    let mut entries = Vec::new();
    let mut scratch = Scratch::default();
    let mut count = 0;
    let next = 'read: loop {
        let chunk = match cursor.next(bounds.max_bytes.min(1 << 20)) {
            Ok(Some(chunk)) => chunk,
            Ok(None) => break None,
            // First what came before; the next read meets the same again.
            Err(_) if count > 0 => break Some(cursor.position()),
            Err(error) => return refusal(&error),
        };
        for entry in chunk.entries() {
            if entry.timestamp > bounds.to {
                break 'read None;
            }
            let start = entries.len();
            match &bounds.filter {
                None => entries.extend_from_slice(entry.entry),
                Some(filter) => {
                    encode::tuple_header(&mut entries, 2);
                    encode::timestamp(&mut entries, entry.timestamp);
                    let event = TermRef::from_walked(entry.event);
                    match filter.run(&mut scratch, event, &mut entries) {
                        Outcome::Result => {}
                        missed => {
                            entries.truncate(start);
                            let over_budget = u64::from(missed == Outcome::Budget);
                            instance.counters().unfiltered.add(over_budget);
                            continue;
                        }
                    }
                }
            }
            let is_full = count == bounds.limit || (count > 0 && entries.len() > bounds.max_bytes);
            if is_full {
                entries.truncate(start);
                break 'read Some(entry.timestamp);
            }
            count += 1;
        }
    };
    calls::term(|out| {
        encode::tuple_header(out, 3);
        encode::atom(out, "ok");
        if count > 0 {
            encode::list_header(out, count);
            out.extend_from_slice(&entries);
        }
        encode::nil(out);
        match next {
            Some(next) => encode::timestamp(out, next),
            None => encode::atom(out, "eof"),
        }
    })
}
