//! What Erlang code asks of an instance: requests as terms, read on our side and written by clients in Rust.
//!
//! The receiver is asked `{Verb, Args...}`, the process `logmachine` `{Verb, Instance, Args...}`, and
//! `rpc` `logmachine:Verb(Instance, Args...)`: all become one [`Request`].

use std::borrow::Cow;

use crate::etf::{Elements, Pid, Term, TermBuf, TermRef, encode};
use crate::instance::Instance;
use crate::instance::analyst::Question;
use crate::instance::reader::{Order, Selection};
use crate::instance::since::Since;
use crate::instance::subscription::{MAX_MARKER_BYTES, Method, Subscriber, Subscription};
use crate::match_spec::{CompileError, Limits, MatchSpec};
use crate::store::MAX_CURSOR_NAME_BYTES;

/// What is wrong with a request: its caller's doing.
#[derive(Debug)]
pub enum BadRequest {
    /// An option, or its value; or what stands in its place.
    Option(TermBuf),
    /// The match spec.
    MatchSpec(CompileError),
}

impl BadRequest {
    /// The option under this key.
    pub(crate) fn option(key: &str) -> Self {
        BadRequest::Option(TermBuf::written(|out| encode::atom(out, key)))
    }
}

/// What can be asked, its arguments still in place.
#[derive(Clone, Copy, Debug)]
pub enum Request<'a> {
    /// `{append, Event}`.
    Append(TermRef<'a>),
    /// `{append, [Event], many}`.
    AppendMany(TermRef<'a>),
    /// `get_global_alias`.
    GlobalAlias,
    /// `{subscribe, From, Pid, Marker, MatchSpec}`.
    Subscribe([TermRef<'a>; 4]),
    /// `{subscribe, Options}`.
    SubscribeMap(TermRef<'a>),
    /// `{subscribe, Ref, SendMethod}`: the original's live registry.
    SubscribeLive(TermRef<'a>, TermRef<'a>),
    /// `{read, From, Options}`.
    Read(TermRef<'a>, TermRef<'a>),
    /// `info`.
    Info,
    /// `{info, Key}`.
    InfoKey(TermRef<'a>),
    /// `{faults, Options}` and `{explain, Options}`.
    Analysis(Question, TermRef<'a>),
    /// Anything else.
    Unsupported,
}

impl<'a> Request<'a> {
    /// From what the receiver was called with.
    pub fn parse(request: TermRef<'a>) -> Self {
        match request.view() {
            Term::Atom(verb) => Request::from_parts(&verb.to_str(), &[]),
            Term::Tuple(elements) => match split(elements) {
                Some((verb, args)) => Request::from_parts(&verb, &args),
                None => Request::Unsupported,
            },
            _ => Request::Unsupported,
        }
    }

    /// Bytes of the arguments that are kept until the answer is there; `None` if it is there at once, or the
    /// recorder bounds how many wait for it.
    pub(in crate::instance) fn argument_bytes(self) -> Option<usize> {
        match self {
            Request::Read(_, options) | Request::SubscribeMap(options) => {
                Some(options.bytes().len())
            }
            Request::Subscribe([.., marker, spec]) => {
                Some(marker.bytes().len() + spec.bytes().len())
            }
            Request::SubscribeLive(reference, _) => Some(reference.bytes().len()),
            Request::Analysis(_, options) => Some(options.bytes().len()),
            Request::Info | Request::InfoKey(_) => Some(0),
            Request::Append(_)
            | Request::AppendMany(_)
            | Request::GlobalAlias
            | Request::Unsupported => None,
        }
    }

    pub(in crate::instance) fn from_parts(verb: &str, args: &[TermRef<'a>]) -> Self {
        match (verb, args) {
            ("append", [event]) => Request::Append(*event),
            ("append", [events, many]) if many.is_atom("many") => Request::AppendMany(*events),
            ("get_global_alias", []) => Request::GlobalAlias,
            ("subscribe", [from, pid, marker, spec]) => {
                Request::Subscribe([*from, *pid, *marker, *spec])
            }
            ("subscribe", [options]) => Request::SubscribeMap(*options),
            ("subscribe", [reference, method]) => Request::SubscribeLive(*reference, *method),
            ("read", [from, options]) => Request::Read(*from, *options),
            ("faults", []) => Request::Analysis(Question::Faults, TermRef::EMPTY_MAP),
            ("faults", [options]) => Request::Analysis(Question::Faults, *options),
            ("explain", [options]) => Request::Analysis(Question::Explain, *options),
            ("info", []) => Request::Info,
            ("info", [key]) => Request::InfoKey(*key),
            _ => Request::Unsupported,
        }
    }
}

/// A verb and at most six arguments: nothing we serve has more.
pub(in crate::instance) fn split(elements: Elements<'_>) -> Option<(String, Vec<TermRef<'_>>)> {
    if elements.len() > 7 {
        return None;
    }
    let mut elements = elements;
    let verb = elements.next()?.as_atom()?.to_str().into_owned();
    Some((verb, elements.collect()))
}

/// Events in one `append_many`. Each costs more than its bytes, and it can be as short as one.
pub(in crate::instance) const MAX_EVENTS: usize = 1_000_000;

/// The elements of a proper list in any of its forms: small integers come as a string.
pub(in crate::instance) fn proper_list(list: TermRef<'_>) -> Option<Vec<Cow<'_, [u8]>>> {
    match list.view() {
        Term::String(bytes) => {
            let integer = |&byte| {
                Cow::Owned(
                    TermBuf::written(|out| encode::integer(out, i64::from(byte))).into_bytes(),
                )
            };
            Some(bytes.iter().map(integer).collect())
        }
        // One more than is taken is enough to see that there are too many.
        _ => {
            let elements = list.as_list()?.take(MAX_EVENTS + 1);
            Some(elements.map(|element| Cow::Borrowed(element.bytes())).collect())
        }
    }
}

/// What a subscriber may ask for.
#[derive(Default)]
pub(in crate::instance) struct SubscribeArguments<'a> {
    from: Option<TermRef<'a>>,
    to: Option<TermRef<'a>>,
    pid: Option<TermRef<'a>>,
    marker: Option<TermRef<'a>>,
    match_spec: Option<TermRef<'a>>,
    batch: Option<TermRef<'a>>,
    credit: Option<TermRef<'a>>,
    cursor: Option<TermRef<'a>>,
    link: bool,
}

impl<'a> SubscribeArguments<'a> {
    /// From the original's form, whose sessions are linked to their subscriber.
    pub(in crate::instance) fn original([from, pid, marker, spec]: [TermRef<'a>; 4]) -> Self {
        SubscribeArguments {
            from: Some(from),
            pid: Some(pid),
            marker: Some(marker),
            match_spec: Some(spec),
            link: true,
            ..SubscribeArguments::default()
        }
    }

    /// From the map form; the key at fault otherwise.
    pub(in crate::instance) fn parse(map: TermRef<'a>) -> Result<Self, BadRequest> {
        let bad = |term: TermRef<'_>| BadRequest::Option(echo(term).to_buf());
        let Term::Map(pairs) = map.view() else { return Err(bad(map)) };
        let mut options = SubscribeArguments::default();
        for (key, value) in pairs {
            let name = key.as_atom().ok_or_else(|| bad(key))?.to_str();
            match &*name {
                "from" => options.from = Some(value),
                "to" => options.to = Some(value),
                "pid" => options.pid = Some(value),
                "marker" => options.marker = Some(value),
                "match_spec" => options.match_spec = Some(value),
                "batch" => options.batch = Some(value),
                "credit" => options.credit = Some(value),
                "cursor" => options.cursor = Some(value),
                "link" if value.is_atom("true") => options.link = true,
                "link" if value.is_atom("false") => options.link = false,
                _ => return Err(bad(key)),
            }
        }
        Ok(options)
    }

    /// Checks what was asked for. Without a `pid` the caller subscribes.
    pub(in crate::instance) fn to_subscription(
        &self,
        instance: &Instance,
        caller: &Pid,
    ) -> Result<Subscription, BadRequest> {
        let bad = BadRequest::option;
        let (now, next) = (instance.clock().now(), instance.tail().next_stamp());
        let begin = |term| Since::parse(term).map(|from| from.resolve(now, next));
        let end = |term| Since::parse(term).map(|to| to.resolve_end(now, next));
        let subscriber = match self.pid {
            Some(pid) => pid.as_pid().ok_or_else(|| bad("pid"))?,
            None => caller.clone(),
        };
        let marker = match self.marker {
            Some(marker) if marker.bytes().len() > MAX_MARKER_BYTES => return Err(bad("marker")),
            Some(marker) => marker.to_buf(),
            None => TermBuf::written(|out| encode::atom(out, instance.name())),
        };
        let batch = self.batch.map(|batch| {
            let size = batch.as_integer().filter(|size| (1..=MAX_BATCH).contains(size));
            size.and_then(|size| usize::try_from(size).ok()).ok_or_else(|| bad("batch"))
        });
        let credit = self.credit.map(|credit| {
            let credit = credit.as_integer().and_then(|credit| u64::try_from(credit).ok());
            credit.ok_or_else(|| bad("credit"))
        });
        let cursor = self.cursor.map(|name| {
            let sound = |name: &&[u8]| (1..=MAX_CURSOR_NAME_BYTES).contains(&name.len());
            name.as_binary().filter(sound).map(Box::from).ok_or_else(|| bad("cursor"))
        });
        let from = self.from.map_or(Some(next), begin).ok_or_else(|| bad("from"))?;
        let subscription = Subscription {
            subscriber: Subscriber::Pid(subscriber),
            method: Method::Marked(marker),
            selection: Selection {
                to: self.to.map(|to| end(to).ok_or_else(|| bad("to"))).transpose()?,
                filter: self.match_spec.map(filter).transpose()?.flatten(),
                ..Selection::starting(from)
            },
            batch: batch.transpose()?,
            credit: credit.transpose()?,
            link: self.link,
            cursor: cursor.transpose()?,
        };
        let peer = instance.node().peer(subscription.subscriber.node());
        match peer.and_then(|peer| subscription.undecodable(peer.abilities())) {
            Some(part) => Err(bad(part)),
            None => Ok(subscription),
        }
    }
}

/// The largest batch: what one message may carry.
const MAX_BATCH: i64 = 65_536;

/// Compiles a match spec; `None` if it passes every event as it is.
fn filter(spec: TermRef<'_>) -> Result<Option<MatchSpec>, BadRequest> {
    match MatchSpec::compile(spec, Limits::default()) {
        Ok(spec) if spec.is_identity() => Ok(None),
        Ok(spec) => Ok(Some(spec)),
        Err(wrong) => Err(BadRequest::MatchSpec(wrong)),
    }
}

/// The longest key or name that an error says again.
const MAX_ECHO_BYTES: usize = 4096;

/// What a caller wrote, to be said again in an error: only if it is short.
pub(in crate::instance) fn echo(term: TermRef<'_>) -> TermRef<'_> {
    if term.bytes().len() <= MAX_ECHO_BYTES { term } else { TermRef::NIL }
}

/// Entries in the answer to a read unless `limit` says otherwise, and the most it may say.
const DEFAULT_LIMIT: usize = 1000;
const MAX_LIMIT: usize = 1_000_000;

/// Bytes of entries in the answer to a read unless `max_bytes` says otherwise, and the most it may say. An answer holds
/// at least one entry, whatever its size.
const DEFAULT_BYTES: usize = 4 << 20;
const MAX_BYTES: usize = 32 << 20;

/// What `{read, From, Options}` asks for.
pub(in crate::instance) fn selection(
    instance: &Instance,
    from: TermRef<'_>,
    options: TermRef<'_>,
) -> Result<Selection, BadRequest> {
    let bad = BadRequest::option;
    let from = Since::parse(from).ok_or_else(|| bad("from"))?;
    let Term::Map(pairs) = options.view() else { return Err(bad("options")) };
    let within = |value: TermRef<'_>, most: usize| {
        let value = usize::try_from(value.as_integer()?).ok()?;
        (1..=most).contains(&value).then_some(value)
    };
    let mut to = None;
    let mut selection = Selection {
        max_entries: DEFAULT_LIMIT,
        max_bytes: DEFAULT_BYTES,
        ..Selection::starting(Default::default())
    };
    for (key, value) in pairs {
        let key = key.as_atom().ok_or_else(|| bad("options"))?.to_str();
        let within = |most| within(value, most).ok_or_else(|| bad(&key));
        match &*key {
            "to" => to = Some(Since::parse(value).ok_or_else(|| bad("to"))?),
            "limit" => selection.max_entries = within(MAX_LIMIT)?,
            "max_bytes" => selection.max_bytes = within(MAX_BYTES)?,
            "strict" if value.is_atom("true") => selection.strict = true,
            "strict" if value.is_atom("false") => selection.strict = false,
            "order" if value.is_atom("asc") => selection.order = Order::Ascending,
            "order" if value.is_atom("desc") => selection.order = Order::Descending,
            "match_spec" => selection.filter = filter(value)?,
            _ => return Err(bad(&key)),
        }
    }
    let (now, next) = (instance.clock().now(), instance.tail().next_stamp());
    // The later of the two is an end, whichever way it is gone.
    (selection.from, selection.to) = match selection.order {
        Order::Ascending => (from.resolve(now, next), to.map(|to| to.resolve_end(now, next))),
        Order::Descending => (from.resolve_end(now, next), to.map(|to| to.resolve(now, next))),
    };
    Ok(selection)
}

// What clients write.

/// Writes `{append, Event}`; `event` writes one term.
pub fn write_append(out: &mut Vec<u8>, event: impl FnOnce(&mut Vec<u8>)) {
    encode::tuple_header(out, 2);
    encode::atom(out, "append");
    event(out);
}

/// Writes `get_global_alias`.
pub fn write_global_alias(out: &mut Vec<u8>) {
    encode::atom(out, "get_global_alias");
}

/// Writes `{credit, Count}`, for a session.
pub fn write_credit(out: &mut Vec<u8>, count: u64) {
    encode::tuple_header(out, 2);
    encode::atom(out, "credit");
    encode::unsigned(out, count);
}

/// What a client subscribes to.
#[derive(Clone, Debug)]
pub struct Subscribe {
    /// Where to begin.
    pub from: Since,
    /// Who gets the entries.
    pub pid: Pid,
    /// What they are tagged with; `None`: the instance's name.
    pub marker: Option<TermBuf>,
    /// Up to how many come in one message; `None`: one, not in a list.
    pub batch: Option<u32>,
    /// How many may be sent before more is allowed; `None`: any number.
    pub credit: Option<u64>,
}

impl Subscribe {
    /// Writes `{subscribe, Options}`.
    pub fn write(&self, out: &mut Vec<u8>) {
        let optional = [self.marker.is_some(), self.batch.is_some(), self.credit.is_some()];
        encode::tuple_header(out, 2);
        encode::atom(out, "subscribe");
        encode::map_header(out, 2 + optional.iter().filter(|is_there| **is_there).count());
        encode::atom(out, "from");
        self.from.write(out);
        encode::atom(out, "pid");
        encode::pid(out, &self.pid);
        if let Some(marker) = &self.marker {
            encode::atom(out, "marker");
            out.extend_from_slice(marker.bytes());
        }
        if let Some(batch) = self.batch {
            encode::atom(out, "batch");
            encode::unsigned(out, u64::from(batch));
        }
        if let Some(credit) = self.credit {
            encode::atom(out, "credit");
            encode::unsigned(out, credit);
        }
    }
}
