//! Answers, as the terms that Erlang code gets.

use std::path::Path;
use std::sync::Arc;

use super::request::{BadRequest, echo};
use crate::etf::{Abilities, Pid, TermBuf, TermRef, build, encode};
use crate::instance::info::InstanceInfo;
use crate::instance::locator::HandlerState;
use crate::instance::read::ReadFailure;
use crate::instance::reader::{Selected, Taken};
use crate::instance::search::Collect;
use crate::instance::session::{Refused, SessionInfo};
use crate::instance::{Failure, Instance, Recording, Stamped, entry};
use crate::metrics::{Stats, Value};
use crate::node::Peer;
use crate::node::epmd::Standing;
use crate::node::names::Held;
use crate::store::{ReadError, Started};
use crate::time::Timestamp;

/// `{error, Reason}`.
pub(crate) fn error(reason: impl FnOnce(&mut Vec<u8>)) -> TermBuf {
    TermBuf::written(|out| {
        encode::tuple_header(out, 2);
        encode::atom(out, "error");
        reason(out);
    })
}

/// An atom.
pub(crate) fn atom(name: &str) -> TermBuf {
    TermBuf::written(|out| encode::atom(out, name))
}

/// `{error, Atom}`.
pub(crate) fn error_atom(reason: &str) -> TermBuf {
    error(|out| encode::atom(out, reason))
}

/// `{error, {badarg, Where}}`.
pub(crate) fn bad_request(bad: &BadRequest) -> TermBuf {
    error(|out| {
        encode::tuple_header(out, 2);
        encode::atom(out, "badarg");
        match bad {
            BadRequest::Option(term) => out.extend_from_slice(term.bytes()),
            BadRequest::MatchSpec(wrong) => wrong.write_term(out),
        }
    })
}

/// `{error, {unknown_instance, Name}}`.
pub(crate) fn unknown_instance(name: TermRef<'_>) -> TermBuf {
    error(|out| {
        encode::tuple_header(out, 2);
        encode::atom(out, "unknown_instance");
        out.extend_from_slice(echo(name).bytes());
    })
}

/// `{ok, Timestamp}`, `{ok, First, Last}` for many events, or why they may not be recorded.
pub(crate) fn appended(result: Result<Stamped, Failure>, many: bool) -> TermBuf {
    match result {
        Ok(Stamped { first, last }) => TermBuf::written(|out| {
            encode::tuple_header(out, if many { 3 } else { 2 });
            encode::atom(out, "ok");
            encode::timestamp(out, first);
            if many {
                encode::timestamp(out, last);
            }
        }),
        Err(failure) => error(|out| {
            encode::tuple_header(out, 2);
            encode::atom(out, "recorder");
            encode::binary(out, failure.as_bytes());
        }),
    }
}

/// `{ok, SessionPid}`, or why there is no session.
pub(crate) fn subscribed(session: Result<Pid, Refused>) -> TermBuf {
    match session {
        Err(refused) => refusal(refused),
        Ok(pid) => TermBuf::written(|out| {
            encode::tuple_header(out, 2);
            encode::atom(out, "ok");
            encode::pid(out, &pid);
        }),
    }
}

/// `{error, Reason}` for a session or a read that was not begun.
pub(crate) fn refusal(refused: Refused) -> TermBuf {
    match refused {
        Refused::NoConnection => error_atom("noconnection"),
        Refused::SystemLimit => error_atom("system_limit"),
        Refused::Cursor(failure) => error(|out| {
            encode::tuple_header(out, 2);
            encode::atom(out, "cursor");
            encode::binary(out, failure.to_string().as_bytes());
        }),
    }
}

/// Why a read has no answer; `None` if nobody waits for it.
pub(crate) fn read_failure(failure: ReadFailure) -> Option<TermBuf> {
    match failure {
        ReadFailure::SystemLimit => Some(error_atom("system_limit")),
        ReadFailure::Unwanted => None,
        ReadFailure::Internal => Some(error_atom("internal_error")),
        ReadFailure::Log(error) => Some(not_read(&error)),
    }
}

/// `{error, {deleted, Oldest}}`, `{error, {damaged, #{...}}}`, `{error, {missing, #{...}}}`, or why the machine failed.
fn not_read(read_error: &ReadError) -> TermBuf {
    error(|out| match read_error {
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
            timestamp_or_undefined(out, interval.map(|(first, _)| first));
            encode::atom(out, "last");
            timestamp_or_undefined(out, interval.map(|(_, last)| last));
            encode::atom(out, "segment");
            encode::binary(out, path.to_string_lossy().as_bytes());
        }
        other => encode::binary(out, other.to_string().as_bytes()),
    })
}

/// The answer to a read, in one piece of memory: its head, then the entries.
pub(crate) struct PageAnswer {
    out: Vec<u8>,
    count: u32,
    instance: Arc<Instance>,
    /// Who asks.
    peer: Arc<Peer>,
}

/// Room that an answer has from the beginning. It grows where that lies: in the memory of the few threads that begin
/// answers, and not of the many that look for entries, for each of which the allocator would keep an answer's size.
const FIRST_BYTES: usize = 64 << 10;

/// Bytes of the head of `{ok, Entries, Next}`; that of the list of entries follows.
const HEAD_BYTES: usize = 6;

impl PageAnswer {
    /// The beginning of an answer to this peer.
    pub(crate) fn new(instance: Arc<Instance>, peer: Arc<Peer>) -> Self {
        let mut out = Vec::with_capacity(FIRST_BYTES);
        encode::tuple_header(&mut out, 3);
        encode::atom(&mut out, "ok");
        debug_assert_eq!(out.len(), HEAD_BYTES);
        // How many there are is known at the end.
        encode::list_header(&mut out, 0);
        PageAnswer { out, count: 0, instance, peer }
    }

    /// `{ok, [Entry], Next | eof}`.
    pub(crate) fn finish(self, next: Option<Timestamp>) -> TermBuf {
        let mut out = self.out;
        match self.count {
            0 => out.truncate(HEAD_BYTES),
            count => build::set_count(&mut out, HEAD_BYTES, count),
        }
        encode::nil(&mut out);
        match next {
            Some(next) => encode::timestamp(&mut out, next),
            None => encode::atom(&mut out, "eof"),
        }
        TermBuf::from_walked(out)
    }
}

impl Collect for PageAnswer {
    fn take(&mut self, entry: &Selected<'_>) -> Taken {
        let is_decodable = entry::write(&mut self.out, entry, self.peer.abilities());
        self.instance.metrics().undecodable.add(u64::from(!is_decodable));
        self.count += 1;
        Taken::More
    }

    fn is_wanted(&self) -> bool {
        !self.peer.is_closed()
    }
}

/// `{Instance, N}`, or `undefined` while there is none.
pub(crate) fn global_alias(instance: &str, held: Held) -> TermBuf {
    TermBuf::written(|out| write_global_alias(out, instance, held))
}

fn write_global_alias(out: &mut Vec<u8>, instance: &str, held: Held) {
    match held {
        Held::Alias(number) => {
            encode::tuple_header(out, 2);
            encode::atom(out, instance);
            encode::integer(out, i64::from(number));
        }
        Held::Seeking => encode::atom(out, "undefined"),
        Held::Exhausted => {
            encode::tuple_header(out, 2);
            encode::atom(out, "error");
            encode::atom(out, "global_aliases_exhausted");
        }
    }
}

/// What `info` answers: keys, and values.
pub(crate) fn info(info: &InstanceInfo) -> Vec<(&'static str, TermBuf)> {
    let path = |path: &Path| TermBuf::written(|out| encode::string(out, &path.to_string_lossy()));
    let interval = |interval: Option<_>| {
        TermBuf::written(|out| {
            encode::tuple_header(out, 2);
            timestamp_or_undefined(out, interval.map(|(first, _)| first));
            timestamp_or_undefined(out, interval.map(|(_, last)| last));
        })
    };
    let mut pairs = vec![
        ("data_dir", path(&info.data_dir)),
        ("arch_data_dir", path(&info.arch_data_dir)),
        ("global_alias", global_alias(&info.name, info.global_alias)),
        ("interval", interval(info.interval)),
        ("cache_interval", interval(info.cache_interval)),
        ("started", atom(started(info.started))),
        ("recording", TermBuf::written(|out| write_recording(out, &info.recording))),
        (
            "sessions",
            TermBuf::written(|out| {
                encode::list(out, info.sessions.iter(), |out, session| {
                    encode::tuple_header(out, 2);
                    encode::pid(out, &session.pid);
                    session.subscriber.write(out);
                });
            }),
        ),
        (
            "session_stats",
            TermBuf::written(|out| encode::list(out, info.sessions.iter(), write_session)),
        ),
        ("handlers", TermBuf::written(|out| write_handlers(out, info))),
        ("port_mapper", TermBuf::written(|out| write_port_mapper(out, info.port_mapper))),
    ];
    let numbers = info.stats.table().into_iter().chain(info.log.table());
    let number = |value| TermBuf::written(|out| write_number(out, value));
    pairs.extend(numbers.map(|(metric, value)| (metric.name, number(value))));
    pairs
}

/// The same as a property list. What the node cannot decode, such as a pid of another one, is `undecodable` there.
pub(crate) fn properties(
    pairs: &[(&'static str, TermBuf)],
    abilities: Option<&Abilities>,
) -> TermBuf {
    TermBuf::written(|out| {
        encode::list(out, pairs.iter(), |out, (key, value)| {
            encode::tuple_header(out, 2);
            encode::atom(out, key);
            if abilities.is_some_and(|abilities| !abilities.decode(value.bytes())) {
                encode::atom(out, "undecodable");
            } else {
                out.extend_from_slice(value.bytes());
            }
        });
    })
}

/// A number as it is; of what took time `#{count => N, sum => Micros, median => Micros, p99 => Micros}`, where `infinity`
/// is longer than is told apart, and `undefined` what nobody knows yet.
fn write_number(out: &mut Vec<u8>, value: Value) {
    let distribution = match value {
        Value::Counter(number) | Value::Gauge(number) => return encode::unsigned(out, number),
        Value::Histogram(distribution) => distribution,
    };
    encode::map_header(out, 4);
    encode::atom(out, "count");
    encode::unsigned(out, distribution.count());
    encode::atom(out, "sum");
    encode::unsigned(out, distribution.sum_micros);
    for (key, per_mille) in [("median", 500), ("p99", 990)] {
        encode::atom(out, key);
        match distribution.quantile(per_mille) {
            Some(micros) => encode::unsigned(out, micros),
            None if distribution.count() > 0 => encode::atom(out, "infinity"),
            None => encode::atom(out, "undefined"),
        }
    }
}

/// `{Pid, #{position, exhausted, sent, filtered, unfiltered, lag}}`.
fn write_session(out: &mut Vec<u8>, session: &SessionInfo) {
    encode::tuple_header(out, 2);
    encode::pid(out, &session.pid);
    let numbers = session.stats.table();
    encode::map_header(out, 2 + numbers.len());
    encode::atom(out, "position");
    encode::timestamp(out, session.position);
    encode::atom(out, "exhausted");
    encode::boolean(out, session.is_exhausted);
    for (metric, value) in numbers {
        encode::atom(out, metric.name);
        write_number(out, value);
    }
}

/// `[{Node, Place, State}]`.
fn write_handlers(out: &mut Vec<u8>, info: &InstanceInfo) {
    encode::list(out, info.handlers.iter(), |out, handler| {
        encode::tuple_header(out, 3);
        encode::atom(out, handler.node.as_str());
        encode::atom(out, &handler.place);
        match &handler.state {
            HandlerState::Installing => encode::atom(out, "installing"),
            HandlerState::Installed => encode::atom(out, "installed"),
            HandlerState::Waiting(why) => stopped(out, "waiting", why),
            HandlerState::Refused(why) => stopped(out, "refused", why),
        }
    });
}

fn write_recording(out: &mut Vec<u8>, recording: &Recording) {
    match recording {
        Recording::Running => encode::atom(out, "running"),
        Recording::Waiting(why) => stopped(out, "waiting", why),
        Recording::Failed(why) => stopped(out, "failed", why),
    }
}

/// `{waiting, Why}`, `{failed, Why}` and the like.
fn stopped(out: &mut Vec<u8>, how: &str, why: &str) {
    encode::tuple_header(out, 2);
    encode::atom(out, how);
    encode::binary(out, why.as_bytes());
}

/// How the log had ended when the node started.
const fn started(started: Started) -> &'static str {
    match started {
        Started::New => "new",
        Started::Clean => "clean",
        Started::Kill => "kill",
        Started::PowerLoss => "power_loss",
    }
}

/// How it stands with our registration: `registered`, `{lost, unreachable | name_taken}`, or `none`.
fn write_port_mapper(out: &mut Vec<u8>, standing: Option<Standing>) {
    let why = match standing {
        None => return encode::atom(out, "none"),
        Some(Standing::Registered) => return encode::atom(out, "registered"),
        Some(Standing::Unreachable) => "unreachable",
        Some(Standing::NameTaken) => "name_taken",
    };
    encode::tuple_header(out, 2);
    encode::atom(out, "lost");
    encode::atom(out, why);
}

/// A timestamp as a term, for who has none: `undefined`.
fn timestamp_or_undefined(out: &mut Vec<u8>, stamp: Option<Timestamp>) {
    match stamp {
        Some(stamp) => encode::timestamp(out, stamp),
        None => encode::atom(out, "undefined"),
    }
}
