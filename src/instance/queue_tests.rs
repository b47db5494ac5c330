//! Receiver, calls, reads and sessions against a storage in memory and a peer that is only a queue.

use std::collections::VecDeque;
use std::time::Duration;

use super::calls;
use super::erlang::request::{self, Request, Subscribe};
use super::reader::{Order, Selection};
use super::since::Since;
use super::*;
use crate::etf::{TermRef, encode, text};
use crate::event_log::storage::memory::{MemoryStorage, Seeded};
use crate::match_spec::MatchSpec;
use crate::node::{NodeConfig, Peer, Process};
use crate::proto::NodeName;
use crate::proto::control::{self, Signal};
use crate::proto::handshake::Local;
use crate::proto::packet::{self, NextPacket};
use crate::store::Batch;

struct World {
    instance: Arc<Instance>,
    peer: Arc<Peer>,
    caller: Pid,
    receiver: Receiver,
    /// Messages that have come, as text.
    arrived: VecDeque<String>,
}

fn at(micros: u64) -> Timestamp {
    Timestamp::from_micros(micros)
}

fn term(source: &str) -> TermBuf {
    text::parse(source).expect("a term")
}

impl World {
    /// An instance whose log has these stamps, an event `{n, Stamp}` each.
    fn with(stamps: impl Iterator<Item = u64>, segment_bytes: u64, cache_bytes: u64) -> Self {
        let local = Local {
            name: NodeName::new("lm@h").expect("a name"),
            creation: 1,
            cookie: "cookie".into(),
        };
        let node = Node::new(local, NodeConfig::default());
        let mut log = LogConfig::still("quotes", "/log".into(), "/log/archive".into());
        (log.segment_bytes, log.cache_bytes) = (Some(segment_bytes), Some(cache_bytes));
        let recorder = RecorderConfig {
            sync: SyncMode::Always,
            overload: Overload::Block { at_most: None },
            pending_bytes: 1 << 20,
        };
        let config = InstanceConfig {
            log,
            recorder,
            max_event_bytes: 1 << 10,
            capture: None,
            redaction: Default::default(),
            takeover: None,
            faults: true,
        };
        let storage = Arc::new(MemoryStorage::new());
        let clock = Clock::manual(at(1_000_000));
        let mut opened = tests::open_on(storage, config, clock);
        for stamp in stamps {
            let mut batch = Batch::new();
            batch.push(at(stamp), &term(&format!("{{n,{stamp}}}")));
            opened.writer.append(batch).expect("appends");
            opened.writer.maintain().expect("maintains");
        }
        let instance = opened.start(&node, &Budget::new(budget::Limits::default(), 1));
        let peer = node.attach("a@h");
        let caller = Pid { node: "a@h".into(), id: 1, serial: 0, creation: 7 };
        let receiver = Receiver::new(Arc::downgrade(&instance));
        World { instance, peer, caller, receiver, arrived: VecDeque::new() }
    }

    fn new() -> Self {
        World::with(std::iter::empty(), 1 << 20, 1 << 20)
    }

    fn cast(&self, event: &str) {
        let message = term(&format!("{{'$gen_cast',{event}}}"));
        assert!(matches!(self.receiver.messages(&self.peer, &[message.as_term()]), Flow::Go));
    }

    /// Calls the receiver; the answer, as text.
    async fn call(&mut self, request: TermRef<'_>) -> String {
        let message = TermBuf::written(|out| {
            encode::tuple_header(out, 3);
            encode::atom(out, "$gen_call");
            encode::tuple_header(out, 2);
            encode::pid(out, &self.caller);
            encode::atom(out, "tag");
            out.extend_from_slice(request.bytes());
        });
        assert!(matches!(self.receiver.messages(&self.peer, &[message.as_term()]), Flow::Go));
        let answer = self.message().await;
        let answer = answer.strip_prefix("{tag,").and_then(|answer| answer.strip_suffix('}'));
        answer.expect("an answer").to_owned()
    }

    /// The next message to the peer.
    async fn message(&mut self) -> String {
        while self.arrived.is_empty() {
            let output = tokio::time::timeout(Duration::from_secs(5), self.peer.output());
            let bytes = output.await.expect("something comes").expect("connected");
            let mut rest = &*bytes;
            while let NextPacket::Data(data) = packet::next(rest).expect("packets") {
                if let Signal::Message { message, .. } = control::parse(data).expect("a signal") {
                    self.arrived.push_back(text::to_text(message));
                }
                rest = &rest[packet::HEAD_BYTES + data.len()..];
            }
        }
        self.arrived.pop_front().expect("waited for")
    }
}

/// Events of both kinds are recorded in the order in which they came; what is too large, or nothing we know, is counted.
#[tokio::test(flavor = "multi_thread")]
async fn the_receiver_records_in_order_and_counts_the_rest() {
    let mut world = World::new();
    world.cast("{n,1}");
    assert_eq!(world.call(term("{append,{n,2}}").as_term()).await, "{ok,{0,1,1}}");
    let many = world.call(term("{append,[{n,3},{n,4}],many}").as_term()).await;
    assert_eq!(many, "{ok,{0,1,2},{0,1,3}}");
    world.cast(&format!("<<\"{}\">>", "x".repeat(2_000)));
    let unknown = term("what");
    let _ = world.receiver.messages(&world.peer, &[unknown.as_term()]);
    let page = world.instance.read(Selection::starting(Timestamp::MIN)).await.expect("reads");
    let events: Vec<_> =
        page.entries.iter().map(|entry| text::to_text(entry.event.as_term())).collect();
    assert_eq!((events.join(" "), page.next), ("{n,1} {n,2} {n,3} {n,4}".to_owned(), None));
    let metrics = world.instance.metrics();
    assert_eq!((metrics.refused.get(), metrics.unknown.get()), (1, 1));
}

/// Each request that makes no sense is refused, and says what is wrong with it.
#[tokio::test(flavor = "multi_thread")]
async fn a_call_is_answered_whatever_it_asks() {
    let mut world = World::new();
    for (request, expected) in [
        ("get_global_alias", "undefined"),
        ("{append,[],many}", "{error,{badarg,events}}"),
        ("{append,[a|b],many}", "{error,{badarg,events}}"),
        ("{read,earliest,#{}}", "{ok,[],eof}"),
        ("{read,never,#{}}", "{error,{badarg,from}}"),
        ("{read,now,[]}", "{error,{badarg,options}}"),
        ("{read,now,#{order => up}}", "{error,{badarg,order}}"),
        ("{read,now,#{limit => 0}}", "{error,{badarg,limit}}"),
        ("{read,now,#{no_such => 1}}", "{error,{badarg,no_such}}"),
        ("{subscribe,#{batch => 0}}", "{error,{badarg,batch}}"),
        ("{subscribe,#{credit => -1}}", "{error,{badarg,credit}}"),
        ("{subscribe,#{{no} => 1}}", "{error,{badarg,{no}}}"),
        ("{subscribe,{1,2},send}", "{error,badarg}"),
        ("{info,events}", "0"),
        ("{info,recording}", "running"),
        ("{info,no_such}", "undefined"),
        ("reboot", "{error,unsupported}"),
    ] {
        assert_eq!(world.call(term(request).as_term()).await, expected, "{request}");
    }
    let info = world.call(term("info").as_term()).await;
    assert!(info.starts_with("[{data_dir,\"/log\"},{arch_data_dir,"), "{info}");
    assert_eq!(world.instance.info().log.events, 0);
}

/// What a client in Rust writes is what a caller in Erlang would.
#[tokio::test(flavor = "multi_thread")]
async fn a_written_request_is_read_as_what_it_was() {
    let mut world = World::new();
    let mut subscribe = Subscribe {
        from: Since::Earliest,
        pid: world.caller.clone(),
        marker: None,
        batch: None,
        credit: None,
    };
    let check = |subscribe: &Subscribe| {
        let written = TermBuf::written(|out| subscribe.write(out));
        let Request::SubscribeMap(map) = Request::parse(written.as_term()) else { panic!("a map") };
        let arguments = request::SubscribeArguments::parse(map).expect("known options");
        arguments.to_subscription(&world.instance, &world.caller).expect("sound")
    };
    let read = check(&subscribe);
    assert_eq!((read.batch, read.credit, read.selection.from), (None, None, Timestamp::MIN));
    (subscribe.from, subscribe.marker) = (Since::At(at(77)), Some(term("{m,1}")));
    (subscribe.batch, subscribe.credit) = (Some(3), Some(5));
    let read = check(&subscribe);
    assert_eq!((read.batch, read.credit, read.selection.from), (Some(3), Some(5), at(77)));
    assert_eq!(read.method, subscription::Method::Marked(term("{m,1}")));
    let append = TermBuf::written(|out| request::write_append(out, |out| encode::atom(out, "a")));
    assert_eq!(world.call(append.as_term()).await, "{ok,{0,1,0}}");
}

/// With batches and credit: each entry once, in order, no more than there is credit for.
#[tokio::test(flavor = "multi_thread")]
async fn a_session_sends_what_it_has_credit_for() {
    let mut world = World::new();
    let events: Vec<_> = (0..5).map(|n| term(&format!("{{n,{n}}}"))).collect();
    world.instance.append(&events).await.expect("recorded");
    let subscribe = Subscribe {
        from: Since::At(at(1_000_001)),
        pid: world.caller.clone(),
        marker: Some(term("m")),
        batch: Some(2),
        credit: Some(3),
    };
    let request = TermBuf::written(|out| subscribe.write(out));
    let Request::SubscribeMap(map) = Request::parse(request.as_term()) else { panic!("a map") };
    let arguments = request::SubscribeArguments::parse(map).expect("known options");
    let subscription = arguments.to_subscription(&world.instance, &world.caller).expect("sound");
    let session = world.instance.subscribe(subscription).expect("it starts");
    let entry = |n: u64| format!("{{{{0,1,{n}}},{{n,{n}}}}}");
    assert_eq!(world.message().await, format!("{{m,[{},{}]}}", entry(1), entry(2)));
    assert_eq!(world.message().await, format!("{{m,[{}]}}", entry(3)));
    // What is sent is counted right behind.
    let counted = async {
        while world.instance.info().sessions[0].stats.sent < 3 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(5), counted).await.expect("counted");
    let stats = world.instance.info().sessions;
    assert_eq!((stats.len(), stats[0].stats.sent, &stats[0].pid), (1, 3, &session));
    world.instance.node().detach(&world.peer);
    let waited = tokio::time::timeout(Duration::from_secs(5), async {
        while !world.instance.info().sessions.is_empty() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    });
    waited.await.expect("ends_with_subscriber");
}

/// Whatever was rotated and evicted, with any ends, limits and match specs: what is read from the end, page by page, is
/// what is read from the beginning, the other way round.
#[tokio::test(flavor = "multi_thread")]
async fn a_descending_read_is_an_ascending_one_reversed() {
    for seed in 0..20 {
        let mut seeded = Seeded::new(seed);
        let count = 1 + seeded.below(300);
        let (segment, cache) = (100 + seeded.below(5_000), seeded.below(5_000));
        let world = World::with((1..=count).map(|n| 2 * n), segment, cache);
        for _ in 0..10 {
            let any = |seeded: &mut Seeded| at(seeded.below(2 * count + 3));
            let (oldest, newest) = (any(&mut seeded), any(&mut seeded));
            let filter = (seeded.below(2) > 0).then(|| {
                let spec = term("[{{n,'$1'},[{'=:=',{'rem','$1',3},0}],['$1']}]");
                MatchSpec::compile(spec.as_term(), Default::default()).expect("compiles")
            });
            let mut selection = Selection { filter, ..Selection::starting(oldest) };
            selection.to = Some(newest);
            let mut expected = world.instance.read(selection.clone()).await.expect("reads").entries;
            expected.reverse();
            (selection.from, selection.to) = (newest, Some(oldest));
            selection.order = Order::Descending;
            selection.max_entries = 1 + seeded.index(100);
            selection.max_bytes = 1 + seeded.index(2_000);
            selection.strict = seeded.below(2) > 0;
            let mut seen = Vec::new();
            loop {
                let page = world.instance.read(selection.clone()).await.expect("reads");
                assert!(page.entries.len() <= selection.max_entries);
                seen.extend(page.entries);
                let Some(next) = page.next else { break };
                assert!(next < selection.from || seen.is_empty(), "it goes on");
                selection.from = next;
            }
            assert_eq!(seen, expected, "seed {seed}, from {newest} to {oldest}");
        }
    }
}

/// A caller whose connection is gone has nobody to answer.
#[tokio::test(flavor = "multi_thread")]
async fn a_call_of_a_node_that_is_gone_is_forgotten() {
    let world = World::new();
    let gone = Pid { node: "gone@h".into(), ..world.caller.clone() };
    let (told, answered) = std::sync::mpsc::channel();
    let reply = Box::new(move |answer: TermBuf| told.send(answer).expect("is heard"));
    let _ = calls::carry_out(&world.instance, Request::Info, &gone, reply);
    assert!(answered.recv().is_err(), "nobody is answered");
}
