//! More than the recorder, a peer or a host can take: what is bounded, who waits, and for how long.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};

use logmachine::etf::{Pid, Reference, TermRef, encode, text};
use logmachine::proto::{control, packet};

use crate::crash::SmallDisk;
use crate::harness::{LogMachine, World, has_erlang, wait_for};
use crate::hostile;

/// A recorder that waits for space from the first event on: no disk has so much free.
const STALLED: &str =
    "[[instance]]\nname = \"stalled\"\npending_bytes = \"1MiB\"\nmin_free_bytes = \"1000TiB\"\n";

const FINE: &str = "[[instance]]\nname = \"fine\"\n";

fn start(world: &World, config: &str, flags: &[&str]) -> LogMachine {
    std::fs::write(world.path("c.toml"), config).unwrap();
    world.logmachine(&[&["--config", "c.toml"], flags].concat())
}

/// A node of our own protocol code; it reads only when it is told to.
struct RawNode {
    socket: TcpStream,
    name: String,
    calls: u64,
}

impl RawNode {
    fn connect(world: &World, name: &str) -> Self {
        let name = format!("{name}@127.0.0.1");
        let socket = hostile::connect(world, &name, &world.cookie()).expect("it is let in");
        RawNode { socket, name, calls: 0 }
    }

    fn pid(&self) -> Pid {
        Pid { node: self.name.as_str().into(), id: 1, serial: 0, creation: 7 }
    }

    fn reference(&mut self) -> Reference {
        self.calls += 1;
        let number = u32::try_from(self.calls).unwrap();
        Reference::new(self.name.as_str().into(), 7, [number, 0, 0].into_iter())
    }

    /// `gen_server:call`, without waiting for the answer.
    fn call(&mut self, name: &str, request: &[u8]) -> Vec<u8> {
        let (from, tag) = (self.pid(), self.reference());
        let mut out = Vec::new();
        control::reg_send(&mut out, &from, name, |out| {
            encode::tuple_header(out, 3);
            encode::atom(out, "$gen_call");
            encode::tuple_header(out, 2);
            encode::pid(out, &from);
            encode::reference(out, &tag);
            out.extend_from_slice(request);
        });
        out
    }

    /// `rpc:call` as of OTP 23: a request to spawn `erpc:execute_call/4`.
    fn erpc(&mut self, function: &str, args: &[u8]) -> Vec<u8> {
        let (from, id) = (self.pid(), self.reference());
        let mut out = Vec::new();
        let control = |out: &mut Vec<u8>| {
            encode::tuple_header(out, 6);
            encode::integer(out, 29);
            encode::reference(out, &id);
            encode::pid(out, &from);
            encode::pid(out, &from);
            out.extend_from_slice(&term("{erpc, execute_call, 4}"));
            out.extend_from_slice(&term("[monitor]"));
        };
        let arguments = |out: &mut Vec<u8>| {
            encode::list_header(out, 4);
            encode::reference(out, &id);
            encode::atom(out, "logmachine");
            encode::atom(out, function);
            out.extend_from_slice(args);
            encode::nil(out);
        };
        packet::write(&mut out, control, Some(arguments));
        out
    }

    /// The next packet that is no tick, without its length; how many ticks came before it.
    fn packet(&mut self) -> (usize, Vec<u8>) {
        for ticks in 0.. {
            let mut len = [0; 4];
            self.socket.read_exact(&mut len).expect("it is connected");
            let mut bytes = vec![0; u32::from_be_bytes(len) as usize];
            self.socket.read_exact(&mut bytes).expect("it is connected");
            if !bytes.is_empty() {
                return (ticks, bytes);
            }
        }
        unreachable!("it ticks for ever")
    }
}

fn term(source: &str) -> Vec<u8> {
    text::parse(source).expect("a term").into_bytes()
}

/// A term around an event of `bytes` bytes: `head` with the event as the last of so many elements.
fn around(head: &[&str], bytes: usize, list: bool) -> Vec<u8> {
    let mut out = Vec::new();
    match list {
        true => encode::list_header(&mut out, head.len() + 1),
        false => encode::tuple_header(&mut out, head.len() + 1),
    }
    head.iter().for_each(|part| out.extend_from_slice(&term(part)));
    encode::binary(&mut out, &vec![7; bytes]);
    if list {
        encode::nil(&mut out);
    }
    out
}

fn open_files(program: &LogMachine) -> usize {
    let dir = format!("/proc/{}/fd", program.pid().as_raw_nonzero());
    std::fs::read_dir(dir).expect("it is running").count()
}

/// Memory it uses now, in KiB.
fn memory_kib(program: &LogMachine) -> u64 {
    let status = format!("/proc/{}/status", program.pid().as_raw_nonzero());
    let status = std::fs::read_to_string(status).expect("it is running");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let number = line.and_then(|line| line.split_whitespace().next());
    number.and_then(|number| number.parse().ok()).expect("the kernel tells")
}

/// 400 MB of appends to a recorder that stands still, by each way there is: through the receiver, the process
/// `logmachine`, `rex` and `erpc`. They come in, are refused in the end, and cost no memory.
#[test]
fn appends_by_every_way_wait_for_a_recorder_that_is_behind() {
    let world = World::new();
    let program = start(&world, &format!("{STALLED}block_for = \"100ms\"\n{FINE}"), &[]);
    let size = 50_000;
    type Append = fn(&mut RawNode, usize) -> Vec<u8>;
    let ways: [(&str, Append); 4] = [
        ("receiver", |node, size| {
            node.call(".stalled.receiver.srv", &around(&["append"], size, false))
        }),
        ("front", |node, size| {
            node.call("logmachine", &around(&["append", "stalled"], size, false))
        }),
        ("rex", |node, size| {
            let mut request = Vec::new();
            encode::tuple_header(&mut request, 5);
            for part in ["call", "logmachine", "append"] {
                encode::atom(&mut request, part);
            }
            request.extend(around(&["stalled"], size, true));
            encode::atom(&mut request, "user");
            node.call("rex", &request)
        }),
        ("erpc", |node, size| node.erpc("append", &around(&["stalled"], size, true))),
    ];
    for (name, append) in ways {
        let mut node = RawNode::connect(&world, name);
        let mut reader = node.socket.try_clone().unwrap();
        let read = std::thread::spawn(move || std::io::copy(&mut reader, &mut std::io::sink()));
        for _ in 0..100_000_000 / size {
            let append = append(&mut node, size);
            node.socket.write_all(&append).expect("it is taken");
        }
        node.socket.shutdown(Shutdown::Both).unwrap();
        // It ends however the connection does.
        let _ = read.join();
    }
    assert!(program.peak_memory_kib() < 100_000, "{} KiB", program.peak_memory_kib());
    let mut node = RawNode::connect(&world, "asks");
    let (call, word) = (node.call("logmachine", &term("{info, stalled, blocked}")), "it waited");
    node.socket.write_all(&call).unwrap();
    let (_, answer) = node.packet();
    let (control, rest) = TermRef::split_first(&answer[2..]).expect(word);
    assert!(control.as_tuple::<3>().is_some(), "a message to a pid");
    let (answer, _) = TermRef::split_first(&rest[1..]).expect(word);
    let [_, blocked] = answer.as_tuple().expect(word);
    assert!(blocked.as_integer().is_some_and(|times| times > 0), "{word}");
}

/// Without a limit of time a peer waits as long as the recorder does. It is not silent then, and we are not.
#[test]
fn a_peer_that_waits_is_ticked_and_not_given_up() {
    let world = World::new();
    let config = format!("[node]\nnet_ticktime = \"1s\"\n{STALLED}block_for = \"none\"\n");
    let program = start(&world, &config, &[]);
    let mut node = RawNode::connect(&world, "x");
    let cast = around(&["'$gen_cast'"], 100_000, false);
    let from = node.pid();
    let mut writer = node.socket.try_clone().unwrap();
    let writing = std::thread::spawn(move || {
        let mut packet = Vec::new();
        control::reg_send(&mut packet, &from, ".stalled.receiver.srv", |out| out.extend(cast));
        // More than all buffers between us hold; it ends when the socket is closed.
        (0..1000).all(|_| writer.write_all(&packet).is_ok())
    });
    let mut tick = [0; 4];
    // Two seconds of them: twice the time after which either side gives a silent one up.
    for _ in 0..8 {
        node.socket.read_exact(&mut tick).expect("it ticks");
        assert_eq!(tick, [0; 4]);
    }
    assert!(!program.diagnostics().contains("disconnected"));
    node.socket.shutdown(Shutdown::Both).unwrap();
    assert!(!writing.join().unwrap(), "it was still writing");
}

/// Answers that nobody reads are bounded by peer, and gone with it.
#[test]
fn peers_that_ask_and_do_not_read_are_given_up_and_leave_nothing() {
    let world = World::new();
    let program = start(&world, FINE, &[]);
    // The first that comes and goes opens the log in which that is recorded.
    drop(RawNode::connect(&world, "first"));
    wait_for("it is recorded", || {
        let log = std::fs::read(world.path("data/nodes/nodes")).ok()?;
        let word = b"connection_closed";
        log.windows(word.len()).any(|bytes| bytes == word).then_some(())
    });
    let files = open_files(&program);
    let peers: Vec<_> = (0..12)
        .map(|number| {
            let mut node = RawNode::connect(&world, &format!("x{number}"));
            std::thread::spawn(move || {
                // Each answer says the name again.
                let call = node.call("logmachine", &around(&["info"], 4000, false));
                let calls = call.repeat(100);
                let refused = (0..10_000).find(|_| node.socket.write_all(&calls).is_err());
                (node, refused.is_some())
            })
        })
        .collect();
    let peers: Vec<_> = peers.into_iter().map(|peer| peer.join().unwrap()).collect();
    assert!(peers.iter().all(|(_, given_up)| *given_up));
    assert!(program.diagnostics().contains("peer does not read"));
    // The peers still hold their ends.
    wait_for("all files closed", || (open_files(&program) <= files).then_some(()));
    wait_for("memory given back", || (memory_kib(&program) < 150_000).then_some(()));
    drop(peers);
}

/// A node that reads nothing subscribes with a long marker, asks for things whose answers say again what it brought, and
/// reads more often than there are places: that costs little memory, and another node is served.
#[test]
fn what_a_peer_brings_and_does_not_take_costs_others_nothing() {
    let world = World::new();
    let program = start(&world, FINE, &[]);
    let mut node = RawNode::connect(&world, "writes");
    let events = vec!["{quote, vtb, 101.5}"; 20_000].join(",");
    let append = node.call(".fine.receiver.srv", &term(&format!("{{append, [{events}], many}}")));
    node.socket.write_all(&append).unwrap();
    node.packet();
    let marker = |bytes: usize| {
        let mut request = Vec::new();
        encode::tuple_header(&mut request, 2);
        encode::atom(&mut request, "subscribe");
        encode::map_header(&mut request, 2);
        encode::atom(&mut request, "from");
        encode::atom(&mut request, "earliest");
        encode::atom(&mut request, "marker");
        encode::binary(&mut request, &vec![7; bytes]);
        request
    };
    // Too long a marker is refused.
    let refused = node.call(".fine.receiver.srv", &marker(100_000));
    node.socket.write_all(&refused).unwrap();
    let refusal = term("{error, {badarg, marker}}");
    assert!(node.packet().1.ends_with(&refusal));
    let mut idle = RawNode::connect(&world, "idle");
    for _ in 0..50 {
        let subscribe = idle.call(".fine.receiver.srv", &marker(60_000));
        idle.socket.write_all(&subscribe).unwrap();
    }
    let from = idle.pid();
    for _ in 0..500 {
        let mut packets = Vec::new();
        control::reg_send(&mut packets, &from, "logmachine", |out| {
            encode::tuple_header(out, 4);
            encode::atom(out, "io_request");
            encode::pid(out, &from);
            encode::binary(out, &vec![7; 1_000_000]);
            encode::atom(out, "what");
        });
        idle.socket.write_all(&packets).unwrap();
    }
    for _ in 0..2500 {
        let read = idle.call(".fine.receiver.srv", &term("{read, earliest, #{limit => 1}}"));
        idle.socket.write_all(&read).unwrap();
    }
    // After all of these, on the same connection.
    idle.socket.write_all(&hostile::cast_to(".fine.receiver.srv", &term("over"))).unwrap();
    let read = term("{read, {ago, {1, hour}}, #{match_spec => [{over, [], ['$_']}]}}");
    wait_for("all is taken in", || {
        let read = node.call(".fine.receiver.srv", &read);
        node.socket.write_all(&read).unwrap();
        let (_, answer) = node.packet();
        assert!(!answer.ends_with(&term("{error, system_limit}")), "another node's reads go on");
        answer.windows(4).any(|bytes| bytes == b"over").then_some(())
    });
    assert!(program.peak_memory_kib() < 150_000, "{} KiB", program.peak_memory_kib());
}

/// A node asks for 16 pieces of 32 MB and reads none: others are served meanwhile, and when it reads at last, it gets
/// them all.
#[test]
fn a_slow_reader_of_large_answers_is_not_cut_and_costs_one_of_them() {
    let world = World::new();
    let program = start(&world, &format!("{FINE}cache_bytes = \"1MiB\"\n"), &[]);
    let mut node = RawNode::connect(&world, "writes");
    for number in 1..=40 {
        let append = node.call(".fine.receiver.srv", &around(&["append"], 1_000_000, false));
        node.socket.write_all(&append).unwrap();
        if number == 40 {
            (0..40).for_each(|_| drop(node.packet()));
        }
    }
    let mut slow = RawNode::connect(&world, "slow");
    for _ in 0..16 {
        let request = term("{read, earliest, #{max_bytes => 32000000}}");
        let read = slow.call(".fine.receiver.srv", &request);
        slow.socket.write_all(&read).unwrap();
    }
    for _ in 0..5 {
        let request = term("{read, earliest, #{max_bytes => 5000000}}");
        let read = node.call(".fine.receiver.srv", &request);
        node.socket.write_all(&read).unwrap();
        assert!(node.packet().1.len() > 4_000_000);
    }
    for _ in 0..16 {
        let (_, answer) = slow.packet();
        assert!(answer.len() > 20_000_000, "{} bytes", answer.len());
    }
    // One of them at a time, as made and as queued.
    assert!(program.peak_memory_kib() < 200_000, "{} KiB", program.peak_memory_kib());
    assert!(!program.diagnostics().contains("disconnected"));
}

/// The disk of one instance is full. Senders to it are suspended for a moment, then they go on and their events are
/// dropped and counted; who calls the other instance is served all the while, and the node can stop. Then there is
/// space: the log tells what is missing, and all of it.
#[test]
fn a_stalled_disk_suspends_nobody_for_long() {
    if !has_erlang() {
        return;
    }
    let world = World::with_epmd();
    let Some(disk) = SmallDisk::mount(world.path("disk")) else {
        println!("skipped: no file system can be mounted here");
        return;
    };
    let ballast = disk.0.join("ballast");
    std::fs::write(&ballast, vec![0; 12 << 20]).unwrap();
    let config = format!(
        "[[instance]]\nname = \"stalled\"\ndir = {:?}\nmin_free_bytes = \"8MiB\"\npending_bytes = \"1MiB\"\nblock_for = \"500ms\"\n{FINE}",
        disk.0.join("stalled")
    );
    let (mut a, mut b) = (world.erl("a"), world.erl("b"));
    let flags = ["--connect", "a@127.0.0.1", "--connect", "b@127.0.0.1"];
    let program = start(&world, &config, &flags);
    let names = "[S, F] = [{'.stalled.receiver.srv', 'logmachine@127.0.0.1'}, {'.fine.receiver.srv', 'logmachine@127.0.0.1'}], Pad = binary:copy(<<7>>, 10000), ok";
    let flood = "Cast = fun() -> [gen_server:cast(S, {N, Pad}) || N <- lists:seq(1, 3000)] end, ok";
    for node in [&mut a, &mut b] {
        node.wait_for_name("{fine, 0}");
        node.eval(names);
        node.eval(flood);
    }
    a.eval("erlang:system_monitor(self(), [busy_dist_port]), Sender = spawn_monitor(Cast), ok");
    a.wait_until(
        "receive {monitor, _, busy_dist_port, _} -> suspended after 0 -> not_yet end",
        "suspended",
    );
    // A call waits behind what was cast before it, and is answered though nothing is recorded.
    assert_eq!(a.eval("element(1, gen_server:call(F, {append, one}, 60000))"), "ok");
    assert_eq!(a.eval("receive {'DOWN', _, _, _, Why} -> Why after 60000 -> stuck end"), "normal");
    assert_eq!(a.eval("element(1, gen_server:call(S, {info, recording}))"), "waiting");
    assert_eq!(
        a.eval("gen_server:call(S, {append, Pad}, 60000)"),
        "{error,{recorder,<<\"overload\">>}}"
    );
    assert_eq!(
        a.eval("rpc:call('logmachine@127.0.0.1', logmachine, append, [stalled, x])"),
        "{error,{recorder,<<\"overload\">>}}"
    );
    // A node whose processes cast to it stops in order.
    b.eval("spawn(Cast), ok");
    b.begin("init:stop(), ok");
    b.wait_for_end();
    std::fs::remove_file(&ballast).unwrap();
    a.wait_until("gen_server:call(S, {info, recording})", "running");
    a.wait_until("element(1, gen_server:call(S, {append, last}, 60000))", "ok");
    a.eval("Count = fun(K) -> gen_server:call(S, {info, K}) end, {ok, Log, eof} = gen_server:call(S, {read, earliest, #{max_bytes => 32000000}}, 60000), ok");
    assert_eq!(a.eval("Count(dropped) > 0 andalso Count(blocked) > 0"), "true");
    assert_eq!(
        a.eval("lists:sum([C || {_, {logmachine, dropped, #{count := C, reason := overload}}} <- Log]) =:= Count(dropped)"),
        "true"
    );
    assert_eq!(a.eval("length([N || {_, {N, _}} <- Log]) + 1 =:= Count(received)"), "true");
    assert_eq!(program.stop(), Some(0));
}

/// The disk has less free than it should, and takes everything all the same.
#[test]
fn a_stop_records_what_waits_for_more_free_space_than_it_needs() {
    let world = World::new();
    let program = start(&world, STALLED, &[]);
    let mut node = RawNode::connect(&world, "x");
    let append = node.call(".stalled.receiver.srv", &around(&["append"], 10, false));
    node.socket.write_all(&append.repeat(3)).unwrap();
    program.wait_for_diagnostics("no space left");
    let (code, diagnostics) = program.stop_and_tell();
    assert_eq!(code, Some(0), "{diagnostics}");
    let _program = start(&world, "[[instance]]\nname = \"stalled\"\n", &[]);
    let mut node = RawNode::connect(&world, "x");
    let read = node.call(".stalled.receiver.srv", &term("{read, earliest, #{}}"));
    node.socket.write_all(&read).unwrap();
    let (_, answer) = node.packet();
    assert_eq!(answer.windows(10).filter(|bytes| **bytes == [7; 10]).count(), 3);
}

/// Events were taken and never written, for the disk is full: an orderly stop says so, and its exit code does.
#[test]
fn a_stop_that_loses_events_exits_with_1_and_says_why() {
    let world = World::new();
    let Some(disk) = SmallDisk::mount(world.path("disk")) else {
        println!("skipped: no file system can be mounted here");
        return;
    };
    let dir = disk.0.join("stalled");
    let config = format!(
        "[[instance]]\nname = \"stalled\"\ndir = {dir:?}\nmin_free_bytes = \"none\"\n{FINE}"
    );
    let program = start(&world, &config, &[]);
    // Until no more goes in.
    let mut ballast = std::fs::File::create(disk.0.join("ballast")).unwrap();
    while ballast.write_all(&[0; 4096]).is_ok() {}
    let mut node = RawNode::connect(&world, "x");
    let append = node.call(".stalled.receiver.srv", &around(&["append"], 100_000, false));
    node.socket.write_all(&append).unwrap();
    program.wait_for_diagnostics("no space left");
    let (code, diagnostics) = program.stop_and_tell();
    assert_eq!(code, Some(1), "{diagnostics}");
    let last = diagnostics.lines().last().unwrap_or_default();
    assert!(
        last.starts_with("logmachine: not everything was recorded: instance stalled: no space"),
        "{last}"
    );
    assert!(dir.join("stalled").exists());
}
