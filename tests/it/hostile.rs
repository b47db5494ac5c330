//! Peers that break the rules.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use logmachine::etf::encode;
use logmachine::proto::NodeName;
use logmachine::proto::control;
use logmachine::proto::handshake::{Called, Challenges, Handshake, Local, Step};

use crate::harness::{LogMachine, World, wait_for};

/// Where the program listens for nodes.
pub(crate) fn listen_port(world: &World) -> u16 {
    let mut epmd =
        TcpStream::connect(("127.0.0.1", world.epmd_port)).expect("the port mapper listens");
    let request = logmachine::proto::epmd::Request::PortPlease2("logmachine".into());
    epmd.write_all(&request.to_bytes()).unwrap();
    let mut answer = Vec::new();
    epmd.read_to_end(&mut answer).unwrap();
    logmachine::proto::epmd::parse_port2(&answer).unwrap().expect("it is registered").port
}

pub(crate) fn stranger(world: &World) -> TcpStream {
    let stream = TcpStream::connect(("127.0.0.1", listen_port(world))).expect("it listens");
    stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    stream
}

/// A node made of our own protocol code, connected and in step.
pub(crate) fn connect(world: &World, name: &str, cookie: &str) -> Result<TcpStream, String> {
    connect_with(|flags| flags, world, name, cookie)
}

/// The same, but the node announces what `flags` makes of the usual flags.
pub(crate) fn connect_with(
    flags: impl FnOnce(u64) -> u64,
    world: &World,
    name: &str,
    cookie: &str,
) -> Result<TcpStream, String> {
    let mut stream = stranger(world);
    let local =
        Local { name: NodeName::new(name).unwrap(), creation: 7, cookie: cookie.to_owned() };
    let challenge = Challenges::default().issue(12345).expect("it is the only one");
    let called = Called::Alive("logmachine".into());
    let (mut handshake, mut first) = Handshake::initiate(local, called, challenge);
    // Behind the tag.
    let offered = u64::from_be_bytes(first[1..9].try_into().unwrap());
    first[1..9].copy_from_slice(&flags(offered).to_be_bytes());
    let mut messages = vec![first];
    loop {
        for message in messages {
            let len = u16::try_from(message.len()).unwrap().to_be_bytes();
            stream.write_all(&[&len[..], &message].concat()).map_err(|e| e.to_string())?;
        }
        let mut len = [0; 2];
        stream.read_exact(&mut len).map_err(|e| e.to_string())?;
        let mut message = vec![0; usize::from(u16::from_be_bytes(len))];
        stream.read_exact(&mut message).map_err(|e| e.to_string())?;
        match handshake.handle(&message).map_err(|e| e.to_string())? {
            Step::Send(next) => messages = next,
            Step::Done(..) => return Ok(stream),
            Step::Alive => messages = handshake.still_calling(true).0,
            Step::Challenged(_) => messages = handshake.prove().map_err(|e| e.to_string())?,
            Step::Decide(_) | Step::NameMe(_) => unreachable!("only an acceptor decides"),
        }
    }
}

/// The bytes of a cast to the receiver whose event is `event`.
pub(crate) fn cast(event: &[u8]) -> Vec<u8> {
    cast_to(".error_logger.receiver.srv", event)
}

/// The same to another name.
pub(crate) fn cast_to(name: &str, event: &[u8]) -> Vec<u8> {
    let from = logmachine::etf::Pid { node: "x@127.0.0.1".into(), id: 1, serial: 0, creation: 7 };
    let mut out = Vec::new();
    control::reg_send(&mut out, &from, name, |out| {
        encode::tuple_header(out, 2);
        encode::atom(out, "$gen_cast");
        out.extend_from_slice(event);
    });
    out
}

fn start() -> (World, LogMachine) {
    let world = World::new();
    let program = world.logmachine(&[]);
    (world, program)
}

/// The connection is closed: reading ends, after whatever was on its way.
fn is_closed(mut stream: TcpStream) {
    let mut rest = Vec::new();
    match stream.read_to_end(&mut rest) {
        Ok(_) => {}
        Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset),
    }
}

#[test]
fn a_wrong_cookie_is_refused_and_said_so() {
    let (world, program) = start();
    assert!(connect(&world, "x@127.0.0.1", "wrong").is_err());
    program.wait_for_diagnostics("peer x@127.0.0.1 has another cookie");
    assert!(!program.diagnostics().contains(&world.cookie()));
    assert!(connect(&world, "x@127.0.0.1", &world.cookie()).is_ok());
}

#[test]
fn garbage_before_and_after_the_handshake_closes_that_connection_alone() {
    let (world, program) = start();
    let mut good = connect(&world, "good@127.0.0.1", &world.cookie()).unwrap();
    for garbage in
        [&b"GET / HTTP/1.1\r\n\r\n"[..], &[0, 0], &[255; 4096], &[0, 5, b'N', 1, 2, 3, 4]]
    {
        let mut stream = stranger(&world);
        // The other side may close before all is written.
        let _ = stream.write_all(garbage);
        is_closed(stream);
    }
    program.wait_for_diagnostics("handshake failed");
    let packets: [(&str, &[u8]); 4] = [
        ("huge", &[255, 255, 255, 255, 112]),
        ("type", &[0, 0, 0, 2, 68, 1]),
        ("control", &[0, 0, 0, 3, 112, 131, 106]),
        ("cut", &[0, 0, 0, 4, 112, 131, 104, 9]),
    ];
    for (name, bytes) in packets {
        let mut stream = connect(&world, &format!("{name}@127.0.0.1"), &world.cookie()).unwrap();
        stream.write_all(bytes).unwrap();
        is_closed(stream);
        wait_for("a word about it", || {
            let node = format!("node={name}@");
            let said = |line: &str| line.contains("closing: ") && line.contains(&node);
            program.diagnostics().lines().any(said).then_some(())
        });
    }
    good.write_all(&cast(&[97, 1])).unwrap();
    // Ticks come, so the connection lives.
    let good_is_gone = |line: &str| line.contains("disconnected") && line.contains("node=good@");
    assert!(!program.diagnostics().lines().any(good_is_gone));
    assert!(program.peak_memory_kib() < 100_000, "{} KiB", program.peak_memory_kib());
}

/// Terms that are cut short, nested a million deep, or claim 2^32 elements: the event is refused, the next one on
/// the same connection is taken.
#[test]
fn a_malformed_event_is_refused_and_the_connection_goes_on() {
    let (world, program) = start();
    let mut stream = connect(&world, "x@127.0.0.1", &world.cookie()).unwrap();
    let deep = [[104, 1].repeat(1_000_000), vec![106]].concat();
    let lists = [[108, 0, 0, 0, 1].repeat(1_000_000), vec![106]].concat();
    let bad: [&[u8]; 7] = [
        &[104, 3, 97, 1],
        &deep,
        &lists,
        &[105, 255, 255, 255, 255, 106],
        &[108, 255, 255, 255, 255, 106],
        &[116, 255, 255, 255, 255, 106],
        &[109, 255, 255, 255, 255],
    ];
    for event in bad {
        stream.write_all(&cast(event)).unwrap();
    }
    stream.write_all(&cast(&[119, 2, b'o', b'k'])).unwrap();
    wait_for("all refusals", || {
        (program.diagnostics().matches("event refused").count() == bad.len()).then_some(())
    });
    let segment = world.path("data/error_logger/error_logger");
    wait_for("the good event in the log", || {
        std::fs::read(&segment).ok().filter(|bytes| bytes.ends_with(&[119, 2, b'o', b'k']))
    });
    assert!(program.peak_memory_kib() < 100_000, "{} KiB", program.peak_memory_kib());
}

/// Idle strangers do not keep a node out.
#[test]
fn idle_strangers_give_way_to_newcomers() {
    let (world, _program) = start();
    let idle: Vec<_> = (0..200).map(|_| stranger(&world)).collect();
    assert!(connect(&world, "x@127.0.0.1", &world.cookie()).is_ok());
    drop(idle);
}
