//! Strangers of this host and others: what they learn, what they take, what they write into our diagnostics.
//!
//! "Another user" is a thread of this test under another user's id: its sockets belong to that user. Only root can
//! have one.

use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use logmachine::proto::epmd::{Registration, Request, parse_port2};
use rustix::process::Uid;

use crate::harness::{LogMachine, PATIENCE, World, has_erlang, wait_for};
use crate::hostile::{connect, stranger};

/// `nobody`.
const OTHER_USER: u32 = 65534;

/// Runs `act` on a thread that belongs to another user of this host, if `is_other`.
fn as_user<T: Send + 'static>(
    is_other: bool,
    act: impl FnOnce() -> T + Send + 'static,
) -> JoinHandle<T> {
    std::thread::spawn(move || {
        if is_other {
            rustix::thread::set_thread_uid(Uid::from_raw(OTHER_USER)).expect("this is root");
        }
        act()
    })
}

/// Whether this test may act as another user; says that it is skipped if not.
fn has_other_user() -> bool {
    let is_root = rustix::process::geteuid().is_root();
    if !is_root {
        println!("skipped: only root can act as another user");
    }
    is_root
}

fn listener() -> TcpListener {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("there is a free port")
}

/// Registers a name with the port mapper; the answer's second byte, 0 for yes, and what keeps the registration.
fn register(world: &World, name: &str, port: u16) -> (u8, TcpStream) {
    let mut epmd = TcpStream::connect(("127.0.0.1", world.epmd_port)).expect("it listens");
    let request = Request::Alive2(Registration::hidden(name, port));
    epmd.write_all(&request.to_bytes()).unwrap();
    let mut answer = [0; 4];
    epmd.read_exact(&mut answer).unwrap();
    (answer[1], epmd)
}

/// The port that a node has registered.
fn named_port(world: &World, name: &str) -> u16 {
    let mut epmd = TcpStream::connect(("127.0.0.1", world.epmd_port)).expect("it listens");
    epmd.write_all(&Request::PortPlease2(name.into()).to_bytes()).unwrap();
    let mut answer = Vec::new();
    epmd.read_to_end(&mut answer).unwrap();
    parse_port2(&answer).unwrap().expect("it is registered").port
}

fn read_message(stream: &mut TcpStream) -> Option<Vec<u8>> {
    let mut len = [0; 2];
    stream.read_exact(&mut len).ok()?;
    let mut message = vec![0; usize::from(u16::from_be_bytes(len))];
    stream.read_exact(&mut message).ok()?;
    Some(message)
}

fn write_message(stream: &mut TcpStream, message: &[u8]) {
    let len = u16::try_from(message.len()).unwrap().to_be_bytes();
    // Whoever reads may have left.
    let _ = stream.write_all(&[&len[..], message].concat());
}

/// A challenge as `NAME@127.0.0.1` sends it, with the flags of OTP 27.
fn challenge(name: &str, challenge: u32) -> Vec<u8> {
    let name = format!("{name}@127.0.0.1");
    let mut message = vec![b'N'];
    message.extend_from_slice(&0xD_07DF_7FBD_u64.to_be_bytes());
    message.extend_from_slice(&challenge.to_be_bytes());
    message.extend_from_slice(&7_u32.to_be_bytes());
    message.extend_from_slice(&u16::try_from(name.len()).unwrap().to_be_bytes());
    message.extend_from_slice(name.as_bytes());
    message
}

/// What a node that was called has seen of its callers.
#[derive(Default)]
struct Seen {
    calls: AtomicUsize,
    /// Messages that came after its challenge: digests, if anything.
    proofs: Mutex<Vec<Vec<u8>>>,
}

/// Accepts for ever; answers with a challenge and notes what comes.
fn lure(listener: &TcpListener, name: &str, seen: &Seen) {
    for stream in listener.incoming() {
        let mut stream = stream.unwrap();
        seen.calls.fetch_add(1, Ordering::Relaxed);
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        if read_message(&mut stream).is_none() {
            continue;
        }
        write_message(&mut stream, b"sok");
        write_message(&mut stream, &challenge(name, 4711));
        if let Some(proof) = read_message(&mut stream) {
            seen.proofs.lock().unwrap().push(proof);
        }
    }
}

/// Another user registers and listens; another user takes the connections of a listener that is ours. Neither gets
/// our digest, which would open the doors of everyone with this cookie. A node of our own user is joined.
#[test]
fn local_shows_our_digest_to_no_other_user() {
    if !has_erlang() || !has_other_user() {
        return;
    }
    let world = World::with_epmd();
    let (foreign, taken) = (Arc::new(Seen::default()), Arc::new(Seen::default()));
    // All of the first lure is the other user's; the second listens as our user.
    let (sender, port) = std::sync::mpsc::channel();
    as_user(true, {
        let seen = foreign.clone();
        move || {
            let listener = listener();
            sender.send(listener.local_addr().unwrap().port()).unwrap();
            lure(&listener, "foreign", &seen);
        }
    });
    let (_, _foreign) = register(&world, "foreign", port.recv().unwrap());
    let ours = listener();
    let (_, _taken) = register(&world, "taken", ours.local_addr().unwrap().port());
    as_user(true, {
        let seen = taken.clone();
        move || lure(&ours, "taken", &seen)
    });
    let mut good = world.erl("good");
    let program = world.logmachine(&["--connect", "local"]);
    good.wait_for_name("{error_logger, 0}");
    for name in ["foreign", "taken"] {
        wait_for(name, || {
            for seen in [&foreign, &taken] {
                assert_eq!(*seen.proofs.lock().unwrap(), Vec::<Vec<u8>>::new(), "{name}");
            }
            let said = |line: &str| {
                line.contains(&format!("name={name}"))
                    && line.contains("is not called")
                    && line.contains(&format!("user {OTHER_USER}"))
            };
            program.diagnostics().lines().any(said).then_some(())
        });
    }
    assert_eq!(foreign.calls.load(Ordering::Relaxed), 0, "it is not even called");
    assert!(taken.calls.load(Ordering::Relaxed) > 0, "its listener is ours");
}

/// Other users listen on a good node's port where its calls do not go: with IPv6 alone, and at another address of this
/// host. Both take nothing of what is meant for the good ones.
#[test]
fn listeners_that_take_no_call_of_ours_keep_no_good_node_out() {
    if !has_erlang() || !has_other_user() {
        return;
    }
    let world = World::with_epmd();
    let mut good = world.erl("good");
    let beside = named_port(&world, "good");
    let (is_over, over) = std::sync::mpsc::channel::<()>();
    let (sender, is_there) = std::sync::mpsc::channel();
    // The second good one listens at the address of our node's host, and not at 127.0.0.1.
    let host = TcpListener::bind("127.0.0.2:0").unwrap();
    let port = host.local_addr().unwrap().port();
    let stranger = as_user(true, move || {
        let v6 = socket2::Socket::new(socket2::Domain::IPV6, socket2::Type::STREAM, None);
        if let Ok(v6) = &v6 {
            v6.set_only_v6(true).unwrap();
            let any = std::net::SocketAddr::from((std::net::Ipv6Addr::UNSPECIFIED, beside));
            v6.bind(&any.into()).unwrap();
            v6.listen(8).unwrap();
        }
        let loopback = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).unwrap();
        sender.send(()).unwrap();
        // They live until the test drops its end.
        let _ = over.recv();
        drop((v6, loopback));
    });
    is_there.recv().unwrap();
    let (_, _host) = register(&world, "host", port);
    let seen = Arc::new(Seen::default());
    std::thread::spawn({
        let seen = seen.clone();
        move || lure(&host, "host", &seen)
    });
    let flags = ["--name", "logmachine@127.0.0.2", "--listen", "127.0.0.1", "--connect", "local"];
    let cookie = world.cookie();
    let flags = [&flags[..], &["--setcookie", &cookie]].concat();
    let _program = LogMachine::start(&world, &flags);
    good.wait_for_name("{error_logger, 0}");
    wait_for("our digest", || (!seen.proofs.lock().unwrap().is_empty()).then_some(()));
    drop(is_over);
    stranger.join().unwrap();
}

/// Hundreds of names at a good node's port, all in front of its own: at one call in a quarter of a second they would
/// keep it waiting for longer than this test waits.
#[test]
fn names_registered_at_a_good_nodes_port_keep_it_out_for_one_call() {
    if !has_erlang() {
        return;
    }
    let world = World::with_epmd();
    let mut good = world.erl("z");
    let port = named_port(&world, "z");
    let _registered: Vec<_> =
        (0..400).map(|n| register(&world, &format!("a{n:08}"), port)).collect();
    let program = world.logmachine(&["--connect", "local"]);
    good.wait_for_name("{error_logger, 0}");
    program.wait_for_diagnostics("but z@127.0.0.1 answered");
}

/// A relay of our own user has us call it, calls us, and hands us the challenge that we gave it. An answer would be
/// what it needs to come in.
#[test]
fn a_relay_that_reflects_our_own_challenge_gets_no_digest() {
    let world = World::new();
    let relay = listener();
    let program = world.logmachine(&["--connect", "local"]);
    let (answer, _registered) = register(&world, "relay", relay.local_addr().unwrap().port());
    assert_eq!(answer, 0);
    let (mut from_us, _) = relay.accept().unwrap();
    from_us.set_read_timeout(Some(PATIENCE)).unwrap();
    let name = read_message(&mut from_us).unwrap();
    assert_eq!(name[0], b'N');
    // It calls under a name of its own, with what else we said of ourselves.
    let mut to_us = stranger(&world);
    let mut call = name[..13].to_vec();
    call.extend_from_slice(b"\0\x0bz@127.0.0.1");
    write_message(&mut to_us, &call);
    assert_eq!(read_message(&mut to_us).unwrap(), b"sok");
    let ours = read_message(&mut to_us).unwrap();
    let ours = u32::from_be_bytes(ours[9..13].try_into().unwrap());
    write_message(&mut from_us, b"sok");
    write_message(&mut from_us, &challenge("relay", ours));
    assert_eq!(read_message(&mut from_us), None, "closed without an answer");
    program.wait_for_diagnostics("hands our own challenge back");
}

/// With `local` the name is known only from the challenge. And a seed that can never be joined is an error.
#[test]
fn nodes_that_allow_leaves_out_get_no_digest_when_we_call() {
    let world = World::new();
    let config = world.path("allow.toml");
    let text =
        "[node]\nname = \"logmachine@127.0.0.1\"\nconnect = [\"local\"]\nallow = [\"good@*\"]\n";
    fs::write(&config, text).unwrap();
    let cookie = world.cookie();
    let flags = ["--config", config.to_str().unwrap(), "--setcookie", &cookie];
    let program = LogMachine::start(&world, &flags);
    let (other, seen) = (listener(), Arc::new(Seen::default()));
    let (_, _registered) = register(&world, "other", other.local_addr().unwrap().port());
    std::thread::spawn({
        let seen = seen.clone();
        move || lure(&other, "other", &seen)
    });
    wait_for("a word about it", || {
        assert_eq!(*seen.proofs.lock().unwrap(), Vec::<Vec<u8>>::new());
        let said = "node other@127.0.0.1 is not among those that `allow` names";
        program.diagnostics().contains(said).then_some(())
    });
    assert!(connect(&world, "other@127.0.0.1", &cookie).is_err());
    assert!(connect(&world, "good@127.0.0.1", &cookie).is_ok());

    fs::write(&config, text.replace("local", "x@127.0.0.1")).unwrap();
    let output = world.command("run").args(flags).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("node x@127.0.0.1 is to be joined, but `allow` leaves it out"), "{said}");
}

/// What a stranger of a flood does.
fn intrude(port: u16, manner: usize, kept: &mut Vec<TcpStream>) {
    // In the middle of a flood a connection may be refused.
    let Ok(mut stream) = TcpStream::connect(("127.0.0.1", port)) else { return };
    match manner % 3 {
        0 => {
            let _ = stream.write_all(b"GET / HTTP/1.1\r\n\r\n");
        }
        1 => {}
        _ => write_message(&mut stream, &challenge("x", 1)[..15]),
    }
    kept.push(stream);
    if kept.len() > 400 {
        kept.drain(..200);
    }
}

/// Other users connect as fast as they can, say nothing or nonsense, and stay; to the listener and to the port
/// mapper. Good nodes of our user find and reach us all the while, and the diagnostics stay short.
#[test]
fn a_flood_of_strangers_keeps_no_good_node_out_and_writes_little() {
    if !has_other_user() {
        return;
    }
    let world = Arc::new(World::new());
    let program = world.logmachine(&[]);
    let port = crate::hostile::listen_port(&world);
    let (is_over, floods) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let threads: Vec<_> = [port, port, port, world.epmd_port]
        .map(|port| {
            let (is_over, floods) = (is_over.clone(), floods.clone());
            as_user(true, move || {
                let mut kept = Vec::new();
                while !is_over.load(Ordering::Relaxed) {
                    let number = floods.fetch_add(1, Ordering::Relaxed);
                    intrude(port, number, &mut kept);
                }
            })
        })
        .into();
    let mut good = 0;
    wait_for("a good node among thousands of strangers", || {
        let connected = connect(&world, &format!("good{good}@127.0.0.1"), &world.cookie());
        assert!(connected.is_ok(), "kept out: {connected:?} after {good}");
        good += 1;
        (good >= 50 && floods.load(Ordering::Relaxed) > 8_000).then_some(())
    });
    is_over.store(true, Ordering::Relaxed);
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    let said = program.diagnostics();
    // At the level of `debug`, nodes that connect have lines of their own.
    let of_strangers =
        said.lines().filter(|line| !line.contains("good") && !line.contains("global name"));
    let bytes: usize = of_strangers.map(str::len).sum();
    assert!(bytes < 40_000, "{bytes} bytes");
    let warnings = said.lines().filter(|line| line.contains(" WARN ")).count();
    assert!(warnings <= 30, "{warnings} warnings of {} strangers", floods.load(Ordering::Relaxed));
    assert_eq!(program.stop(), Some(0));
}

/// The sum of what was left out is written, at the latest when the program stops.
#[test]
fn refused_calls_are_counted_instead_of_written() {
    if !has_erlang() {
        return;
    }
    let world = World::with_epmd();
    let mut a = world.erl("a");
    let program = world.logmachine(&["--connect", "a@127.0.0.1"]);
    a.wait_for_name("{error_logger, 0}");
    let calls =
        "length([rpc:call('logmachine@127.0.0.1', os, cmd, [\"id\"]) || _ <- lists:seq(1, 500)])";
    assert_eq!(a.eval(calls), "500");
    let diagnostics = world.path("diagnostics.copy");
    wait_for("ten lines", || {
        (program.diagnostics().matches("refused to run os:cmd").count() == 10).then_some(())
    });
    fs::write(&diagnostics, program.diagnostics()).unwrap();
    let path = program.diagnostics_path();
    assert_eq!(program.stop(), Some(0));
    let said = fs::read_to_string(path).unwrap();
    assert_eq!(said.matches("refused to run os:cmd").count(), 10);
    assert!(said.contains("490 more like this"), "{said}");
}

/// Names of modules, functions and nodes, and a status, each with a line end and a line like ours after it.
#[test]
fn what_peers_say_cannot_forge_lines_of_diagnostics() {
    if !has_erlang() {
        return;
    }
    let world = World::with_epmd();
    let mut a = world.erl("a");
    let (liar, _registered) = {
        let liar = listener();
        let (_, registered) = register(&world, "liar", liar.local_addr().unwrap().port());
        (liar, registered)
    };
    let forged = "2026-01-01T00:00:00.000000Z ERROR forged";
    let program = world.logmachine(&["--connect", "local"]);
    let (mut called, _) = liar.accept().unwrap();
    write_message(&mut called, format!("sx\n{forged}").as_bytes());
    a.wait_for_name("{error_logger, 0}");
    let node = "'logmachine@127.0.0.1'";
    a.eval(&format!("rpc:call({node}, 'm\\n{forged}', f, [])"));
    a.eval(&format!("rpc:call({node}, m, 'f\\r\\n{forged}', [])"));
    a.eval(&format!("catch erpc:call({node}, 'e\\n{forged}', f, [])"));
    a.eval(&format!("erpc:cast({node}, 'c\\n{forged}', f, [])"));
    a.eval(&format!("spawn({node}, 's\\n{forged}', f, [])"));
    a.eval(&format!("catch gen_server:call({{net_kernel, {node}}}, {{'k\\n{forged}', 1}}, 1000)"));
    // A caller's pid on a node of such a name, as a broken or lying node would send it.
    a.eval(&format!(
        "Name = <<\"p\\n{forged}@h\">>,
         Pid = binary_to_term(<<131, 88, 119, (size(Name)), Name/binary, 1:32, 0:32, 7:32>>),
         {{rex, {node}}} ! {{'$gen_call', {{Pid, make_ref()}}, {{call, evil, f, [], self()}}}}"
    ));
    for said in [
        "run m\\n",
        ":f\\r\\n",
        "run e\\n",
        "run c\\n",
        "net_kernel k\\n",
        "caller=<p\\n",
        "status x\\n",
    ] {
        program.wait_for_diagnostics(said);
    }
    let said = program.diagnostics();
    assert!(said.matches("forged").count() >= 6);
    for line in said.lines() {
        assert!(!line.starts_with(forged) && !line.contains('\r'), "{line:?}");
        assert!(
            line.starts_with("20") && !line.starts_with("2026-01-01T00:00:00.000000Z"),
            "{line:?}"
        );
    }
}

/// OTP's own `epmd` asks ours to go, to drop a node, and for its names; and somebody registers a name that would read
/// as two.
#[test]
fn the_embedded_port_mapper_answers_otps_commands_and_takes_no_forged_names() {
    if !has_erlang() {
        return;
    }
    let world = World::new();
    let program = world.logmachine(&["--epmd", "embedded"]);
    let epmd = |arguments: &[&str]| {
        let mut command = Command::new("epmd");
        command.args(["-port", &world.epmd_port.to_string()]).args(arguments);
        let output = command.output().expect("epmd runs");
        String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned()
    };
    for (name, answer) in [
        ("fine", 0),
        ("fine", 1),
        ("x at port 1\nname forged", 1),
        ("bell\u{7}", 1),
        ("a b", 1),
        ("", 1),
    ] {
        let (found, connection) = register(&world, name, 4711);
        assert_eq!(found, answer, "{name:?}");
        // The first one stays.
        if answer == 0 {
            std::mem::forget(connection);
        }
    }
    let said = epmd(&["-kill"]);
    assert!(said.contains("Killing not allowed"), "{said}");
    epmd(&["-stop", "fine"]);
    let names = epmd(&["-names"]);
    let lines: Vec<_> = names.lines().skip(1).collect();
    assert_eq!(lines.len(), 2, "{names}");
    assert!(lines.iter().all(|line| !line.contains("forged")), "{names}");
    // An Erlang node registers and is found.
    let mut a = world.erl("a");
    assert_eq!(a.eval("net_adm:ping('logmachine@127.0.0.1')"), "pong");
    program.wait_for_diagnostics("port mapper: a name is refused");
}

/// While OTP's port mapper is gone, another takes its place and says that our name is taken.
#[test]
fn a_name_taken_while_the_port_mapper_was_gone_is_an_error_and_in_info() {
    if !has_erlang() {
        return;
    }
    let world = World::with_epmd();
    let mut a = world.erl("a");
    let program = world.logmachine(&["--epmd", "external", "--connect", "a@127.0.0.1"]);
    a.wait_for_name("{error_logger, 0}");
    let standing = "gen_server:call({'.error_logger.receiver.srv', 'logmachine@127.0.0.1'}, {info, port_mapper})";
    assert_eq!(a.eval(standing), "registered");
    world.stop_epmd();
    a.wait_until(standing, "{lost,unreachable}");
    let is_over = Arc::new(AtomicBool::new(false));
    let taken =
        wait_for("the port is free", || TcpListener::bind(("127.0.0.1", world.epmd_port)).ok());
    let mapper = std::thread::spawn({
        let is_over = is_over.clone();
        move || {
            for stream in taken.incoming().map_while(Result::ok) {
                if is_over.load(Ordering::Relaxed) {
                    return;
                }
                let mut stream = stream;
                let _ = read_message(&mut stream);
                let _ = stream.write_all(&[118, 1, 0, 0, 0, 0]);
            }
        }
    });
    a.wait_until(standing, "{lost,name_taken}");
    program.wait_for_diagnostics("somebody else has registered under our name");
    is_over.store(true, Ordering::Relaxed);
    let _ = TcpStream::connect(("127.0.0.1", world.epmd_port));
    mapper.join().unwrap();
    world.start_epmd();
    a.wait_until(standing, "registered");
    let errors = |line: &&str| line.contains(" ERROR ");
    assert_eq!(program.diagnostics().lines().filter(errors).count(), 1, "it is said once");
}

/// The program started with a limit of open files.
fn start_limited(world: &World, limit: &str, flags: &[&str]) -> Command {
    let mut command = Command::new("sh");
    command.args(["-c", &format!("ulimit {limit} && exec \"$@\""), "sh"]);
    command.arg(env!("CARGO_BIN_EXE_logmachine")).arg("run").args(flags);
    command.args(["--name", "logmachine@127.0.0.1", "--setcookie", &world.cookie()]);
    command.env("ERL_EPMD_PORT", world.epmd_port.to_string());
    command.env("HOME", world.dir.path()).current_dir(world.dir.path());
    command.stdout(Stdio::null());
    command
}

/// More strangers than there are descriptors, at the port mapper and at the listener, of two users: the log rotates
/// all the while, which needs descriptors.
#[test]
fn strangers_leave_descriptors_for_the_log() {
    if !has_erlang() || !has_other_user() {
        return;
    }
    let world = World::new();
    let config = world.path("small.toml");
    fs::write(
        &config,
        "[[instance]]\nname = \"error_logger\"\nsegment_bytes = \"4KiB\"\nlocate_em = \"none\"\n",
    )
    .unwrap();
    let diagnostics = world.path("limited");
    let flags = ["-v", "--epmd", "embedded", "--config", config.to_str().unwrap()];
    let mut command = start_limited(&world, "-n 256", &flags);
    command.stderr(fs::File::create(&diagnostics).unwrap());
    let mut program = command.spawn().unwrap();
    wait_for("the port mapper", || TcpStream::connect(("127.0.0.1", world.epmd_port)).ok());
    wait_for("it listens", || {
        fs::read_to_string(&diagnostics).ok()?.contains("listening").then_some(())
    });
    let mut a = world.erl("a");
    assert_eq!(a.eval("net_adm:ping('logmachine@127.0.0.1')"), "pong");
    let ports = [world.epmd_port, crate::hostile::listen_port(&world)];
    let strangers = [true, false].map(|is_other| {
        as_user(is_other, move || {
            let dial = |n: usize| TcpStream::connect(("127.0.0.1", ports[n % 2])).ok();
            (0..600).filter_map(dial).collect::<Vec<_>>()
        })
    });
    let strangers = strangers.map(|thread| thread.join().unwrap());
    let instance = "{'.error_logger.receiver.srv', 'logmachine@127.0.0.1'}";
    a.eval(&format!(
        "Append = fun() -> element(1, gen_server:call({instance}, {{append, binary:copy(<<\"x\">>, 1500)}})) end"
    ));
    assert_eq!(a.eval("lists:usort([Append() || _ <- lists:seq(1, 100)])"), "[ok]");
    assert_eq!(a.eval(&format!("gen_server:call({instance}, {{info, recording}})")), "running");
    assert_eq!(a.eval(&format!("gen_server:call({instance}, {{info, segments}}) > 20")), "true");
    drop(strangers);
    let said = fs::read_to_string(&diagnostics).unwrap();
    program.kill().unwrap();
    program.wait().unwrap();
    assert!(!said.contains("Too many open files"), "{said}");
}

#[test]
fn the_limit_of_open_files_is_raised_and_too_low_a_one_is_said() {
    let world = World::new();
    let diagnostics = world.path("raised");
    let mut command = start_limited(&world, "-Sn 200", &["-v"]);
    command.stderr(fs::File::create(&diagnostics).unwrap());
    let mut program = command.spawn().unwrap();
    wait_for("a word about it", || {
        fs::read_to_string(&diagnostics).ok()?.contains("raised from 200").then_some(())
    });
    let limits =
        fs::read_to_string(Path::new("/proc").join(program.id().to_string()).join("limits"));
    let limits = limits.unwrap();
    let line = limits.lines().find(|line| line.starts_with("Max open files")).unwrap();
    let mut numbers = line.split_whitespace().skip(3);
    assert_eq!(numbers.next(), numbers.next(), "{line}");
    program.kill().unwrap();
    program.wait().unwrap();
    let output = start_limited(&world, "-n 100", &[]).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("may have 100 files open, and needs at least 128"), "{said}");
}

/// A node of this host connects to us just when we call it, and says so: `alive`. The connection it has is sound, and
/// `true` would make it drop that.
#[test]
fn alive_is_not_answered_with_true_while_that_node_is_connected() {
    let world = World::new();
    let program = world.logmachine(&["--connect", "local"]);
    let other = listener();
    let (_, _registered) = register(&world, "other", other.local_addr().unwrap().port());
    let (mut from_us, _) = other.accept().unwrap();
    from_us.set_read_timeout(Some(PATIENCE)).unwrap();
    assert_eq!(read_message(&mut from_us).unwrap()[0], b'N');
    let connected = connect(&world, "other@127.0.0.1", &world.cookie());
    let mut connected = connected.expect("its own call goes on, as its name is the greater one");
    program.wait_for_diagnostics("connected node=other@127.0.0.1");
    write_message(&mut from_us, b"salive");
    assert_eq!(read_message(&mut from_us).unwrap(), b"sfalse");
    // Without a connection the answer is yes.
    drop(from_us);
    connected.shutdown(std::net::Shutdown::Both).unwrap();
    let _ = connected.read_to_end(&mut Vec::new());
    let (mut from_us, _) = other.accept().unwrap();
    from_us.set_read_timeout(Some(PATIENCE)).unwrap();
    assert_eq!(read_message(&mut from_us).unwrap()[0], b'N');
    write_message(&mut from_us, b"salive");
    assert_eq!(read_message(&mut from_us).unwrap(), b"strue");
}

/// Ten nodes of this host that accept and keep silent, one of them under many names, all in front of the good one:
/// one after the other they would keep it waiting for more than a minute.
#[test]
fn silent_ports_keep_no_good_node_out() {
    if !has_erlang() {
        return;
    }
    let world = World::with_epmd();
    let mut good = world.erl("z");
    let silent: Vec<_> = (0..10).map(|_| listener()).collect();
    let port = |n: usize| silent[n.min(9)].local_addr().unwrap().port();
    let _registered: Vec<_> =
        (0..70).map(|n| register(&world, &format!("a{n}"), port(n))).collect();
    let _program = world.logmachine(&["--connect", "local"]);
    good.wait_for_name("{error_logger, 0}");
}

/// The pid of a session before a restart, as a process of OTP would keep it. OTP 27 answers such a link so, too.
#[test]
fn a_link_to_a_process_of_an_earlier_life_is_answered_with_noproc() {
    if !has_erlang() {
        return;
    }
    let world = World::with_epmd();
    let mut a = world.erl("a");
    let program = world.logmachine(&[]);
    let receiver = "{'.error_logger.receiver.srv', 'logmachine@127.0.0.1'}";
    a.eval("process_flag(trap_exit, true)");
    a.eval(&format!(
        "{{ok, Old}} = gen_server:call({receiver}, {{subscribe, #{{from => now, pid => self()}}}})"
    ));
    assert_eq!(program.stop(), Some(0));
    a.wait_until("nodes(hidden)", "[]");
    let _program = world.logmachine(&[]);
    assert_eq!(a.eval("net_adm:ping('logmachine@127.0.0.1')"), "pong");
    let exit = "receive {'EXIT', Old, Why} -> Why after 9000 -> none end";
    assert_eq!(a.eval(&format!("link(Old), {exit}")), "noproc");
    // A process that never was, in this life.
    a.eval(&format!(
        "{{ok, New}} = gen_server:call({receiver}, {{subscribe, #{{from => now, pid => self()}}}}),
         gen_server:stop(New)"
    ));
    assert_eq!(a.eval("link(New), receive {'EXIT', New, W} -> W after 9000 -> none end"), "noproc");
}

/// A seed that lives for a moment, again and again, with OTP's port mapper and with ours: each life is seen.
#[test]
fn short_lives_of_a_seed_are_all_seen() {
    if !has_erlang() {
        return;
    }
    for (world, mode, millis) in
        [(World::with_epmd(), "external", 700), (World::new(), "embedded", 250)]
    {
        let program = world.logmachine(&["--epmd", mode, "--connect", "short@127.0.0.1"]);
        for life in 1..=4 {
            let mut short = Command::new("erl");
            short.args(["-noshell", "-name", "short@127.0.0.1", "-setcookie", &world.cookie()]);
            short.args([
                "-start_epmd",
                "false",
                "-eval",
                &format!("timer:sleep({millis}), halt()"),
            ]);
            short.env("ERL_EPMD_PORT", world.epmd_port.to_string()).env("HOME", world.dir.path());
            assert!(short.status().unwrap().success());
            let count = || program.diagnostics().matches("connected node=short@").count();
            wait_for("this life is seen", || (count() >= life).then_some(()));
            assert_eq!(count(), life, "{mode}");
        }
    }
}
