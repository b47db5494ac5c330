//! `{read, From, Options}`: a bounded part of the log, and where to go on.

use std::sync::Arc;

use super::Instance;
use super::calls::{self, Reply};
use super::from::From;
use crate::etf::{Term, TermRef, encode};
use crate::time::Timestamp;

/// Entries in one answer unless `limit` says otherwise, and the most it may say.
const DEFAULT_LIMIT: usize = 1000;
const MAX_LIMIT: usize = 1_000_000;

/// Bytes of entries in one answer unless `max_bytes` says otherwise, and the most it may say. An answer holds at
/// least one entry, whatever its size.
const DEFAULT_BYTES: usize = 4 << 20;
const MAX_BYTES: usize = 64 << 20;

/// What one read may return.
struct Bounds {
    from: Timestamp,
    to: Timestamp,
    limit: usize,
    max_bytes: usize,
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
        Err(key) => {
            return reply(calls::error(|out| {
                encode::tuple_header(out, 2);
                encode::atom(out, if key == "match_spec" { "unsupported" } else { "badarg" });
                encode::atom(out, key);
            }));
        }
    };
    let instance = instance.clone();
    tokio::task::spawn_blocking(move || reply(read(&instance, &bounds)));
}

fn bounds(
    instance: &Instance,
    from: TermRef<'_>,
    options: TermRef<'_>,
) -> Result<Bounds, &'static str> {
    let (now, next) = (instance.clock().now(), instance.tail().earliest_next());
    let moment = |term: TermRef<'_>| From::parse(term).map(|from| from.resolve(now, next));
    let mut bounds = Bounds {
        from: moment(from).ok_or("from")?,
        to: Timestamp::MAX,
        limit: DEFAULT_LIMIT,
        max_bytes: DEFAULT_BYTES,
    };
    let Term::Map(pairs) = options.view() else { return Err("options") };
    let within = |value: TermRef<'_>, most: usize| {
        let value = usize::try_from(value.as_integer()?).ok()?;
        (1..=most).contains(&value).then_some(value)
    };
    for (key, value) in pairs {
        let key = key.as_atom().ok_or("options")?;
        match &*key.to_str() {
            "to" => bounds.to = moment(value).ok_or("to")?,
            "limit" => bounds.limit = within(value, MAX_LIMIT).ok_or("limit")?,
            "max_bytes" => bounds.max_bytes = within(value, MAX_BYTES).ok_or("max_bytes")?,
            "match_spec" => return Err("match_spec"),
            _ => return Err("options"),
        }
    }
    Ok(bounds)
}

fn read(instance: &Instance, bounds: &Bounds) -> Vec<u8> {
    let mut cursor = instance.log().cursor(bounds.from);
    let mut entries = Vec::new();
    let mut count = 0;
    let next = 'read: loop {
        let chunk = match cursor.next(bounds.max_bytes.min(1 << 20)) {
            Ok(Some(chunk)) => chunk,
            Ok(None) => break None,
            Err(error) => {
                return calls::error(|out| encode::binary(out, error.to_string().as_bytes()));
            }
        };
        for entry in chunk.entries() {
            if entry.timestamp > bounds.to {
                break 'read None;
            }
            let is_full = count == bounds.limit
                || (count > 0 && entries.len() + entry.entry.len() > bounds.max_bytes);
            if is_full {
                break 'read Some(entry.timestamp);
            }
            entries.extend_from_slice(entry.entry);
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
