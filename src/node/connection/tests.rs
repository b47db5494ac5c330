//! Connections over real sockets, with processes that panic, block and count.

use std::io::ErrorKind;
use std::pin::Pin;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;

use super::*;
use crate::etf::{Pid, Reference, encode};
use crate::node::listener::{Ends, Trust, exchange, write_messages};
use crate::node::peer::SMALL_BYTES;
use crate::node::{Gate, NodeConfig, NodeEvent};
use crate::proto::control::Watched;
use crate::proto::handshake::{Agreed, Called, Handshake, Local};
use crate::proto::{Flags, NodeName};

const PATIENCE: Duration = Duration::from_secs(30);

async fn wait_for(what: &str, condition: impl Fn() -> bool) {
    let deadline = monotonic() + PATIENCE;
    while !condition() {
        assert!(monotonic() < deadline, "{what}: did not happen");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

fn node() -> Node {
    node_named("lm@h")
}

fn node_named(name: &str) -> Node {
    let name = NodeName::new(name).expect("a name");
    let local = Local { name, creation: 9, cookie: "c".into() };
    Node::new(local, NodeConfig::default())
}

/// A connection as after a handshake: our side, and the other end of its socket.
async fn connect(node: &Node, name: &str) -> (Arc<Peer>, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("bound");
    let (theirs, ours) = tokio::join!(TcpStream::connect(address), listener.accept());
    let name = NodeName::new(name).expect("a name");
    let peer = handshake::PeerIdentity { name, flags: Flags::OFFERED, creation: 7 };
    let ours = start(node, ours.expect("accepted").0, Agreed { peer });
    (ours.expect("watched"), theirs.expect("connected"))
}

/// A process that does what a test wants with each message, and counts what else comes.
#[derive(Default)]
struct Probe {
    gate: Option<Arc<Door>>,
    panics: bool,
    messages: AtomicUsize,
    downs: AtomicUsize,
    exits: AtomicUsize,
}

impl Process for Probe {
    fn messages(&self, _peer: &Arc<Peer>, messages: &[TermRef<'_>]) -> Flow {
        assert!(!self.panics, "a message that panics");
        self.messages.fetch_add(messages.len(), Ordering::SeqCst);
        self.gate.clone().map_or(Flow::Go, |gate| Flow::Wait(vec![gate]))
    }
    fn exit_signal(&self, _from: &Pid, _reason: TermRef<'_>) {
        self.exits.fetch_add(1, Ordering::SeqCst);
        assert!(!self.panics, "an exit signal that panics");
    }
    fn down(&self, _reference: &Reference, _reason: TermRef<'_>) {
        self.downs.fetch_add(1, Ordering::SeqCst);
    }
}

/// A gate that a test opens.
#[derive(Default)]
struct Door {
    waits: Mutex<bool>,
    opened: Notify,
}

impl Gate for Door {
    fn opened(&self) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        *self.waits.lock().expect("no panic while it is held") = true;
        Box::pin(self.opened.notified())
    }
}

fn spawn(node: &Node, name: &str, probe: Probe) -> (Pid, Arc<Probe>) {
    let probe = Arc::new(probe);
    let pid = node.spawn(|_| probe.clone());
    assert!(node.register(name, &pid));
    (pid, probe)
}

fn message(to: &str) -> Vec<u8> {
    let from = pid_of("x@h");
    let mut out = Vec::new();
    control::reg_send(&mut out, &from, to, encode::nil);
    out
}

fn pid_of(node: &str) -> Pid {
    Pid { node: node.into(), id: 1, serial: 0, creation: 7 }
}

/// The other end of a connection that is over, whether it ends in order or is reset.
async fn is_over(mut socket: TcpStream) -> Result<(), ErrorKind> {
    let mut rest = Vec::new();
    socket.read_to_end(&mut rest).await.map(|_| ()).map_err(|error| error.kind())
}

/// Whether the connection was reset, so that the other side keeps nothing for us. A reset that comes right behind the end
/// of what was sent is no error of reading, but is noted as `EPIPE` (`tcp_reset` of Linux).
async fn was_reset(mut socket: TcpStream) -> bool {
    match socket.read_to_end(&mut Vec::new()).await {
        Err(error) => error.kind() == ErrorKind::ConnectionReset,
        Ok(_) => {
            let noted = socket.take_error().expect("the socket can be asked");
            noted.is_some_and(|error| error.kind() == ErrorKind::BrokenPipe)
        }
    }
}

/// One node makes a process panic; another one stays connected and is served. The monitors and links to the first
/// fire, though a process panics over that, too.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_panic_over_a_message_ends_that_connection_alone() {
    let node = node();
    let (bomb, fuse) = spawn(&node, "bomb", Probe { panics: true, ..Probe::default() });
    let (watcher, watching) = spawn(&node, "watcher", Probe::default());
    let mut events = node.events();
    let (peer, mut socket) = connect(&node, "x@h").await;
    let (_other, mut other_socket) = connect(&node, "y@h").await;
    assert!(node.link(&bomb, &pid_of("x@h")) && node.link(&watcher, &pid_of("x@h")));
    assert!(node.monitor(&watcher, "x@h", &Watched::Pid(pid_of("x@h"))).is_some());
    socket.write_all(&message("bomb")).await.expect("connected");
    // What was on its way may be lost with it.
    assert!(matches!(is_over(socket).await, Ok(()) | Err(ErrorKind::ConnectionReset)));
    loop {
        let event = tokio::time::timeout(PATIENCE, events.recv()).await.expect("it goes down");
        if matches!(event, Ok(NodeEvent::Down(gone, _)) if gone.name().as_str() == "x@h") {
            break;
        }
    }
    assert!(node.peer("x@h").is_none());
    assert_eq!(fuse.exits.load(Ordering::SeqCst), 1);
    assert_eq!(watching.exits.load(Ordering::SeqCst), 1);
    assert_eq!(watching.downs.load(Ordering::SeqCst), 1);
    wait_for("one_end: no task has the peer", || Arc::strong_count(&peer) == 1).await;
    other_socket.write_all(&message("watcher")).await.expect("connected");
    wait_for("the other is served", || watching.messages.load(Ordering::SeqCst) == 1).await;
    assert!(node.peer("y@h").is_some());
}

/// It takes nothing, neither an answer too large for the sockets' buffers nor many small ones, until it is given up: its
/// socket is reset and nothing of it is left.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_that_does_not_read_is_given_up_and_costs_nothing_then() {
    let node = node();
    let (peer, socket) = connect(&node, "x@h").await;
    // More than the kernel takes for a peer that does not read: the writer is in the middle of it.
    assert!(peer.send(|out| out.extend_from_slice(&vec![7; 32 << 20])));
    let mut sent = 0;
    while peer.send(|out| out.extend_from_slice(&[7; SMALL_BYTES])) {
        sent += SMALL_BYTES;
        assert!(sent < 100 << 20, "no_growth");
    }
    wait_for("it is given up", || node.peer("x@h").is_none()).await;
    wait_for("nothing_kept: no task has the peer", || Arc::strong_count(&peer) == 1).await;
    assert_eq!(peer.queued(), 0, "nothing_kept");
    assert!(was_reset(socket).await);
}

/// Three large answers that nobody takes for a while; then they are taken.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn large_answers_that_waited_for_room_do_not_count_as_not_being_read() {
    let node = node();
    let (peer, mut socket) = connect(&node, "x@h").await;
    let answer = vec![7; 32 << 20];
    for _ in 0..3 {
        assert!(peer.send(|out| out.extend_from_slice(&answer)));
        assert!(peer.send(|out| out.push(8)));
    }
    let mut taken = vec![0; 3 * (answer.len() + 1)];
    socket.read_exact(&mut taken).await.expect("all of it");
    wait_for("all written", || peer.has_room()).await;
    assert!(node.peer("x@h").is_some());
}

/// One read fills two instances; nothing more is read before both have caught up.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_waits_for_every_gate_that_one_read_filled() {
    let node = node();
    let doors = [Arc::new(Door::default()), Arc::new(Door::default())];
    for (name, door) in ["a", "b"].iter().zip(&doors) {
        spawn(&node, name, Probe { gate: Some(door.clone()), ..Probe::default() });
    }
    let (_, last) = spawn(&node, "last", Probe::default());
    let (_peer, mut socket) = connect(&node, "x@h").await;
    // To and fro, so that each is met more than once.
    let read = [message("a"), message("b"), message("a"), message("b")].concat();
    socket.write_all(&read).await.expect("connected");
    let waits = |door: &Door| *door.waits.lock().expect("no panic while it is held");
    for door in &doors {
        wait_for("the reader waits", || waits(door)).await;
        if Arc::ptr_eq(door, &doors[0]) {
            socket.write_all(&message("last")).await.expect("connected");
        }
        assert_eq!(last.messages.load(Ordering::SeqCst), 0);
        door.opened.notify_one();
    }
    wait_for("it reads on", || last.messages.load(Ordering::SeqCst) == 1).await;
}

/// Someone panics while he writes a packet: it is as if he had not begun, and others go on.
#[tokio::test]
async fn the_queue_holds_whole_packets_after_a_panic() {
    let node = node();
    let (peer, mut socket) = connect(&node, "x@h").await;
    let torn = std::panic::AssertUnwindSafe(|| {
        peer.send(|out| {
            out.extend_from_slice(b"torn");
            panic!("half a packet");
        })
    });
    assert!(std::panic::catch_unwind(torn).is_err());
    assert!(peer.send(|out| out.extend_from_slice(b"whole")));
    let mut taken = [0; 5];
    socket.read_exact(&mut taken).await.expect("it is sent");
    assert_eq!(&taken, b"whole", "whole_packets");
}

/// From the handshake to the end of a monitored process, over a stream that is only memory.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_nodes_need_no_socket() {
    let (caller, callee) = (node_named("a@h"), node_named("b@h"));
    let (mut here, mut there) = tokio::io::duplex(1 << 10);
    let nowhere = ([127, 0, 0, 1], 0).into();
    let ends = Ends { peer: nowhere, here: nowhere };
    let called = Called::Node(callee.name().clone());
    let (mut calls, first) =
        Handshake::initiate(caller.0.local.clone(), called, caller.challenge());
    let mut accepts = Handshake::accept(callee.0.local.clone(), callee.challenge());
    write_messages(&mut here, &[first]).await.expect("there is room");
    let (ours, theirs) = tokio::join!(
        exchange(&caller, &mut here, ends, &mut calls, Trust::Anybody),
        exchange(&callee, &mut there, ends, &mut accepts, Trust::Anybody),
    );
    let peer = start(&caller, here, ours.expect("agreed")).expect("started");
    start(&callee, there, theirs.expect("agreed")).expect("started");
    let (watched, probe) = spawn(&callee, "x", Probe::default());
    let (watcher, watching) = spawn(&caller, "y", Probe::default());
    // More than the stream holds.
    for _ in 0..1_000 {
        assert!(peer.send(|out| out.extend_from_slice(&message("x"))));
    }
    wait_for("all arrive", || probe.messages.load(Ordering::SeqCst) == 1_000).await;
    assert!(caller.monitor(&watcher, "b@h", &Watched::Pid(watched.clone())).is_some());
    wait_for("the monitor is there", || callee.load().1 == 1).await;
    callee.exit(&watched, TermRef::NIL.bytes());
    wait_for("it fires", || watching.downs.load(Ordering::SeqCst) == 1).await;
    peer.close(Ended::Here);
    wait_for("both are alone", || caller.peers().is_empty() && callee.peers().is_empty()).await;
}
