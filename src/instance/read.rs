//! `{read, From, Options}`: a bounded part of the log, and where to go on.

use std::sync::Arc;
use std::time::Duration;

use tracing::error;

use super::budget::SLICE_STEPS;
use super::calls::{self, Reply, badarg};
use super::from::From;
use super::session::Refused;
use super::{Instance, entry};
use crate::etf::{Pid, Term, TermRef, encode};
use crate::event_log::{Chunk, Cursor, ReadError};
use crate::match_spec::{MatchSpec, Outcome, Scratch};
use crate::node::Peer;
use crate::time::{Timestamp, monotonic};

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
    to: Option<Timestamp>,
    limit: usize,
    max_bytes: usize,
    filter: Option<MatchSpec>,
    /// Whether deleted and damaged stretches are told of instead of stepped over.
    strict: bool,
    /// Whether the end of the log is the end of what was asked for; more is about to be recorded otherwise.
    is_settled: bool,
}

/// Answers `{ok, [Entry], Next | eof}`, after looking for entries on a thread that may block on files, once the
/// caller's connection has room for a large answer.
pub(super) fn answer(
    instance: &Arc<Instance>,
    caller: &Pid,
    from: TermRef<'_>,
    options: TermRef<'_>,
    reply: Reply,
) {
    let mut bounds = match bounds(instance, from, options) {
        Ok(bounds) => bounds,
        Err(refusal) => return reply(refusal),
    };
    // Nobody waits for the answer once that connection is gone.
    let node = instance.node();
    let Some(peer) = node.peer(&caller.node) else { return };
    let (instance, within) = (instance.clone(), node.clone());
    node.run(async move {
        // Everything up to the end that was taken in, unless the recorder is stuck. Who waits for that has no place yet.
        if let Some(to) = bounds.to {
            let committed = tokio::time::timeout(SEARCH_TIME, instance.tail().committed(to));
            bounds.is_settled = committed.await.is_ok();
        }
        let Some(allowance) = within.allowance(&peer, bounds.max_bytes).await else { return };
        bounds.max_bytes = allowance.bytes();
        // Only now, so that a node that does not read its answers uses up no places.
        let Some(place) = instance.budget().read(bounds.filter.as_ref()) else {
            instance.counters().sessions_refused.inc();
            return reply(Refused::SystemLimit.to_answer());
        };
        let answer = search(&instance, bounds, &peer).await;
        drop(place);
        if let Some(answer) = answer {
            // Large answers take a while to look through and copy; a panic was reported.
            let _ = tokio::task::spawn_blocking(move || reply(answer)).await;
        }
        allowance.used().await;
    });
}

/// How long one read goes on filtering before it answers with what it has, and where to go on. `gen_server:call/2`
/// waits for 5 seconds.
const SEARCH_TIME: Duration = Duration::from_secs(2);

/// Steps that a match spec takes at once, on a thread of its own.
const READ_STEPS: u64 = 10 * SLICE_STEPS;

/// The answer; `None` if nobody waits for it any more.
async fn search(instance: &Arc<Instance>, bounds: Bounds, peer: &Arc<Peer>) -> Option<Vec<u8>> {
    let turn = instance.budget().search().await;
    let until = monotonic() + SEARCH_TIME;
    let mut search = Search::new(instance, bounds, peer);
    let mut allowance = READ_STEPS;
    loop {
        if peer.is_closed() {
            return None;
        }
        let alone = match allowance {
            u64::MAX => Some(instance.budget().read_alone().await),
            _ => None,
        };
        let looking = tokio::task::spawn_blocking(move || {
            let step = search.look(allowance);
            (search, step)
        });
        let looked = looking.await;
        drop(alone);
        let (back, step) = match looked {
            Ok(looked) => looked,
            Err(failure) => {
                error!("a read failed: {failure}");
                return Some(calls::error(|out| encode::atom(out, "internal_error")));
            }
        };
        search = back;
        allowance = match step {
            Step::Answer(answer) => return Some(answer),
            // A read without a match spec is bounded by its limits.
            Step::More if search.bounds.filter.is_some() && monotonic() >= until => {
                drop(turn);
                return Some(search.answer(Some(search.next())));
            }
            Step::More => READ_STEPS,
            Step::Alone => u64::MAX,
        };
    }
}

fn bounds(instance: &Instance, from: TermRef<'_>, options: TermRef<'_>) -> Result<Bounds, Vec<u8>> {
    let (now, next) = (instance.clock().now(), instance.tail().next_stamp());
    let begin = |term| From::parse(term).map(|from| from.resolve(now, next));
    let end = |term| From::parse(term).map(|to| to.resolve_end(now, next));
    let mut bounds = Bounds {
        from: begin(from).ok_or_else(|| badarg("from"))?,
        to: None,
        limit: DEFAULT_LIMIT,
        max_bytes: DEFAULT_BYTES,
        filter: None,
        strict: false,
        is_settled: true,
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
            "to" => bounds.to = Some(end(value).ok_or_else(|| badarg("to"))?),
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

/// `{error, {deleted, Oldest}}`, `{error, {damaged, #{...}}}`, `{error, {missing, #{...}}}`, or why the machine failed.
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
        ReadError::Missing { path, interval, events } => {
            encode::tuple_header(out, 2);
            encode::atom(out, "missing");
            encode::map_header(out, 4);
            encode::atom(out, "events");
            encode::unsigned(out, *events);
            encode::atom(out, "first");
            calls::timestamp_or_undefined(out, interval.map(|(first, _)| first));
            encode::atom(out, "last");
            calls::timestamp_or_undefined(out, interval.map(|(_, last)| last));
            encode::atom(out, "segment");
            encode::binary(out, path.to_string_lossy().as_bytes());
        }
        error => encode::binary(out, error.to_string().as_bytes()),
    })
}

/// What a stretch of looking for entries came to.
enum Step {
    /// It is done.
    Answer(Vec<u8>),
    /// There is more to look at.
    More,
    /// The next event needs more steps than were allowed.
    Alone,
}

/// A read on its way.
struct Search {
    instance: Arc<Instance>,
    /// Who asks.
    peer: Arc<Peer>,
    bounds: Bounds,
    cursor: Cursor,
    /// What was taken from the log and not looked at yet.
    pending: Option<Chunk>,
    scratch: Scratch,
    /// What the match spec made of the entry that is looked at.
    result: Vec<u8>,
    /// The answer, in one piece of memory: its head, then the entries.
    answer: Vec<u8>,
    count: u32,
}

/// Bytes of the answer's head: that of `{ok, Entries, Next}`, and that of the list of entries.
const HEAD_BYTES: usize = 6;
const LIST_BYTES: usize = 5;

impl Search {
    fn new(instance: &Arc<Instance>, bounds: Bounds, peer: &Arc<Peer>) -> Self {
        let log = instance.log();
        let cursor = match bounds.strict {
            true => log.strict_cursor(bounds.from),
            false => log.cursor(bounds.from),
        };
        let (instance, peer) = (instance.clone(), peer.clone());
        let (scratch, result) = Default::default();
        let answer = calls::term(|out| {
            encode::tuple_header(out, 3);
            encode::atom(out, "ok");
            debug_assert_eq!(out.len(), HEAD_BYTES);
            // How many there are is known at the end.
            encode::list_header(out, 0);
        });
        Search { instance, peer, bounds, cursor, pending: None, scratch, result, answer, count: 0 }
    }

    /// Where to go on.
    fn next(&self) -> Timestamp {
        self.pending.as_ref().map_or_else(|| self.cursor.position(), Chunk::first)
    }

    /// Looks at what is next, about 1 MiB of entries or `allowance` steps at most; with all the steps there are, at one
    /// entry.
    fn look(&mut self, mut allowance: u64) -> Step {
        let (fresh, one_entry) = (allowance, allowance == u64::MAX);
        let chunk = match self.pending.take() {
            Some(chunk) => chunk,
            None => match self.cursor.next(self.bounds.max_bytes.min(1 << 20)) {
                Ok(Some(chunk)) => chunk,
                Ok(None) => {
                    let next = (!self.bounds.is_settled).then(|| self.next());
                    return Step::Answer(self.answer(next));
                }
                // First what came before; the next read meets the same again.
                Err(_) if self.count > 0 => {
                    return Step::Answer(self.answer(Some(self.cursor.position())));
                }
                Err(error) => return Step::Answer(refusal(&error)),
            },
        };
        let mut looked_at = 0;
        let mut step = Step::More;
        for entry in chunk.entries() {
            if self.bounds.to.is_some_and(|to| entry.timestamp > to) {
                return Step::Answer(self.answer(None));
            }
            let (event, whole) = match &self.bounds.filter {
                None => (entry.event, Some(entry.entry)),
                Some(filter) => {
                    self.result.clear();
                    let event = TermRef::from_walked(entry.event);
                    let is_fresh = allowance == fresh;
                    let (scratch, result) = (&mut self.scratch, &mut self.result);
                    match filter.run_within(scratch, event, result, &mut allowance) {
                        Outcome::Result => (&*self.result, None),
                        Outcome::Unfinished => {
                            step = if is_fresh { Step::Alone } else { Step::More };
                            break;
                        }
                        missed => {
                            let over_budget = u64::from(missed == Outcome::Budget);
                            self.instance.counters().unfiltered.add(over_budget);
                            looked_at += 1;
                            if one_entry {
                                break;
                            }
                            continue;
                        }
                    }
                }
            };
            let (start, abilities) = (self.answer.len(), self.peer.abilities());
            let is_decodable =
                entry::write(&mut self.answer, entry.timestamp, event, whole, abilities);
            let is_full = self.count as usize == self.bounds.limit
                || (self.count > 0
                    && self.answer.len() - HEAD_BYTES - LIST_BYTES > self.bounds.max_bytes);
            if is_full {
                self.answer.truncate(start);
                return Step::Answer(self.answer(Some(entry.timestamp)));
            }
            self.instance.counters().undecodable.add(u64::from(!is_decodable));
            self.count += 1;
            looked_at += 1;
            if one_entry {
                break;
            }
        }
        self.pending = chunk.without_first(looked_at);
        step
    }

    /// `{ok, [Entry], Next | eof}`; the search is over.
    fn answer(&mut self, next: Option<Timestamp>) -> Vec<u8> {
        let mut answer = std::mem::take(&mut self.answer);
        match self.count {
            0 => answer.truncate(HEAD_BYTES),
            _ => answer[HEAD_BYTES + 1..HEAD_BYTES + LIST_BYTES]
                .copy_from_slice(&self.count.to_be_bytes()),
        }
        encode::nil(&mut answer);
        match next {
            Some(next) => encode::timestamp(&mut answer, next),
            None => encode::atom(&mut answer, "eof"),
        }
        answer
    }
}
