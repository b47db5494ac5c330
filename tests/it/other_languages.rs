//! Nodes that are no BEAM: JInterface, libei with `erl_call`, erldistpy, `erl_dist`; and nodes without a name.
//!
//! Each ran into something that only OTP's own nodes have: monitors, payloads in exit signals, aliases, a name. The
//! programs are those of `docs/other-languages.md`.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use crate::harness::{Erl, World, has_erlang, wait_for};
use crate::neighbours::{neighbours, versioned};
use crate::releases::releases;

const NODE: &str = "logmachine@127.0.0.1";

/// A program that ends with the test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Runs a program to its end; what it wrote. One that hangs fails the test.
fn run(world: &World, mut command: Command) -> String {
    let (out, err) = (world.path("out"), world.path("err"));
    command.env("ERL_EPMD_PORT", world.epmd_port.to_string()).env("HOME", world.dir.path());
    command.current_dir(world.dir.path()).stdin(Stdio::null());
    command.stdout(File::create(&out).unwrap()).stderr(File::create(&err).unwrap());
    let mut running = Running(command.spawn().expect("it was looked for"));
    let read = |path: &Path| String::from_utf8_lossy(&std::fs::read(path).unwrap()).into_owned();
    let status = wait_for(&format!("{command:?} ends"), || running.0.try_wait().unwrap());
    let text = read(&out);
    assert!(status.success(), "{command:?}: {text} {}", read(&err));
    text
}

fn has(program: &str) -> bool {
    let mut version = Command::new(program);
    let found = version.arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
    if found.is_err() {
        println!("skipped: there is no {program} on this machine");
    }
    found.is_ok()
}

fn sample(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/other-languages").join(name)
}

/// What every sample shows: its append was recorded, `rpc` told two events, both came over the subscription.
fn check(text: &str, ok: &str, event: &str) {
    let lines: Vec<_> = text.lines().collect();
    let starts = |start: &str| lines.iter().filter(|line| line.starts_with(start)).count();
    assert_eq!(starts(ok), 1, "{text}");
    let entries = lines.iter().filter(|line| line.starts_with("entry: ") && line.contains(event));
    assert_eq!(entries.count(), 2, "{text}");
}

#[test]
fn java_pings_casts_calls_subscribes_and_receives() {
    let Some(dir) = neighbours().filter(|_| has("javac")) else { return };
    let world = World::new();
    let program = world.logmachine(&[]);
    let jar = versioned(&dir.join("bookworm/root/usr/lib/erlang"), "lib", "jinterface-");
    let path = format!("{}:.", jar.join("priv/OtpErlang.jar").display());
    let mut javac = Command::new("javac");
    javac.args(["-cp", &path, "-d", "."]).arg(sample("Follow.java"));
    run(&world, javac);
    let mut java = Command::new("java");
    java.args(["-cp", &path, "Follow", NODE, &world.cookie(), "2"]);
    let text = run(&world, java);
    assert!(text.starts_with("ping: true\n") && text.contains("events: 2\n"), "{text}");
    check(&text, "append: {ok,{", "{hello,java}");
    assert!(!program.diagnostics().contains("protocol broken"), "{}", program.diagnostics());
}

#[test]
fn c_casts_calls_subscribes_and_receives() {
    let Some(dir) = neighbours().filter(|_| has("cc")) else { return };
    let world = World::new();
    let program = world.logmachine(&[]);
    let ei = versioned(&dir.join("bookworm/root/usr/lib/erlang"), "lib", "erl_interface-");
    let mut cc = Command::new("cc");
    cc.args(["-Wall", "-Werror", "-D_REENTRANT", "-pthread", "-o", "follow"]).arg("-I");
    cc.arg(ei.join("include")).arg(sample("follow.c")).arg("-L").arg(ei.join("lib")).arg("-lei");
    run(&world, cc);
    let mut follow = Command::new(world.path("follow"));
    follow.args([NODE, &world.cookie(), "2"]);
    let text = run(&world, follow);
    assert!(text.contains("events: 2\n"), "{text}");
    check(&text, "append: {ok, {", "{hello, c}");
    assert!(!program.diagnostics().contains("protocol broken"), "{}", program.diagnostics());
}

#[test]
fn python_calls_casts_subscribes_and_receives() {
    let Some(dir) = neighbours().filter(|_| has("python3")) else { return };
    let world = World::new();
    let _program = world.logmachine(&[]);
    let mut python = Command::new("python3");
    // erldistpy knows no port mapper's port but the usual one.
    python.args([
        "-c",
        "import functools, os, runpy, sys, erldistpy.node as node
node.lookup = functools.partial(node.lookup, port=int(os.environ['ERL_EPMD_PORT']))
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name='__main__')",
    ]);
    python.arg(sample("follow.py")).args([NODE, &world.cookie(), "2"]);
    python.env("PYTHONPATH", dir.join("python"));
    let text = run(&world, python);
    assert!(text.contains("events: 1\n"), "{text}");
    check(&text, "append: (Atom(name='ok'), (", "(Atom(name='hello'), b'python')");
}

#[test]
fn rust_casts_calls_subscribes_and_receives_with_erl_dist() {
    let world = World::new();
    let _program = world.logmachine(&[]);
    let program = Path::new(env!("CARGO_BIN_EXE_logmachine"));
    let examples = program.parent().expect("it lies in a directory").join("examples");
    let mut example = Command::new(examples.join("erl_dist"));
    example.args([NODE, &world.cookie(), "2"]);
    let text = run(&world, example);
    check(&text, "answer: {'ok',{", "{'hello','rust'}");
}

/// The `erl_call` of every release: a call that is served, one that is not, without a name of its own.
#[test]
fn erl_call_of_every_release_is_answered() {
    let world = World::new();
    let _program = world.logmachine(&[]);
    for (release, erl) in releases() {
        let suite = erl.ancestors().nth(2).expect("DIR/SUITE/bin/erl");
        let lib = suite.join("root/usr/lib/erlang/lib");
        let Ok(mut lib) = lib.read_dir() else { continue };
        let Some(erl_call) = lib.find_map(|entry| {
            let path = entry.ok()?.path().join("bin/erl_call");
            path.exists().then_some(path)
        }) else {
            println!("skipped: OTP {release} is without erl_call");
            continue;
        };
        let call = |flags: &[&str], apply: &str| {
            let mut command = Command::new(&erl_call);
            command.args(["-c", &world.cookie(), "-name", NODE, "-a", apply]).args(flags);
            run(&world, command)
        };
        let appended = call(&["-r"], "logmachine append [error_logger,{hello,erl_call}]");
        assert!(appended.starts_with("{ok, {"), "OTP {release}: {appended}");
        let refused = call(&["-r"], "erlang node []");
        let undef = "{badrpc, {'EXIT', {undef, [{erlang, node, [], []}]}}}";
        assert_eq!(refused, undef, "OTP {release}");
        // `-R` asks us for a name; OTP 23 does not know it.
        if release != "23" {
            let events = call(&["-R"], "logmachine info [error_logger,events]");
            assert!(events.parse::<u32>().is_ok(), "OTP {release}: {events}");
        }
        println!("OTP {release}: fine");
    }
}

/// `erl -name undefined` of every release: two at once have two names, one that comes back has its own again.
#[test]
fn nameless_nodes_of_every_release_are_named_and_served() {
    let world = World::with_epmd();
    let _program = world.logmachine(&[]);
    for (release, erl) in releases() {
        let nameless = || Erl::start(&world, &erl, &["-name", "undefined@127.0.0.1"]);
        let connect = "net_kernel:connect_node('logmachine@127.0.0.1')";
        let (mut a, mut b) = (nameless(), nameless());
        for node in [&mut a, &mut b] {
            assert_eq!(node.eval("node()"), "nonode@nohost", "OTP {release}");
            assert_eq!(node.eval(connect), "true", "OTP {release}");
            assert_eq!(node.eval("net_adm:ping('logmachine@127.0.0.1')"), "pong", "OTP {release}");
        }
        let name = a.eval("node()");
        assert!(name.ends_with("@127.0.0.1'"), "OTP {release}: {name}");
        assert_ne!(name, b.eval("node()"), "OTP {release}");
        a.eval("R = {'.error_logger.receiver.srv', 'logmachine@127.0.0.1'}");
        a.eval("{ok, _} = gen_server:call(R, {subscribe, #{from => now, pid => self()}})");
        b.eval("rpc:call('logmachine@127.0.0.1', logmachine, append, [error_logger, node()])");
        a.wait_for_message(&format!("{{error_logger, {{_, {}}}}}", b.eval("node()")));
        a.eval("erlang:disconnect_node('logmachine@127.0.0.1')");
        a.wait_until("node()", "nonode@nohost");
        a.wait_until(&format!("{{{connect}, node()}}"), &format!("{{true,{name}}}"));
        println!("OTP {release}: fine");
    }
}

/// The forms of `rex` that have no `gen` in them, as `rpc.erl` and libei send them.
#[test]
fn rex_answers_c_nodes_and_sbcast() {
    if !has_erlang() {
        return;
    }
    let world = World::with_epmd();
    let _program = world.logmachine(&[]);
    let mut a = world.erl("a");
    a.eval("L = 'logmachine@127.0.0.1', R = '.error_logger.receiver.srv'");
    a.eval("{rex, L} ! {self(), {call, logmachine, append, [error_logger, c_node], user}}");
    a.wait_for_message("{rex, {ok, {_, _, _}}}");
    a.eval("{rex, L} ! {self(), {call, os, cmd, [\"id\"], user}}");
    a.wait_for_message("{rex, {badrpc, {'EXIT', {undef, [{os, cmd, [\"id\"], []}]}}}}");
    assert_eq!(
        a.eval("rpc:sbcast([L], R, {'$gen_cast', by_sbcast})"),
        format!("{{['{NODE}'],[]}}")
    );
    assert_eq!(a.eval("rpc:sbcast([L], nobody, x)"), format!("{{[],['{NODE}']}}"));
    // A message to `rex` that nests messages to `rex` goes no deeper.
    a.eval("Deep = lists:foldl(fun(_, M) -> {self(), {sbcast, rex, M}} end, x, lists:seq(1, 300))");
    a.eval("{rex, L} ! Deep");
    a.wait_for_message("{rex, 'logmachine@127.0.0.1', {nonexisting_name, rex}}");
    a.eval("{rex, L} ! {self(), {send, R, x}}, {rex, L} ! {self(), {send, nobody, x}}");
    a.wait_for_message("{rex, 'logmachine@127.0.0.1', {nonexisting_name, nobody}}");
    a.eval("{rex, L} ! {self(), features_request}");
    a.wait_for_message("{features_reply, 'logmachine@127.0.0.1', [erpc]}");
    let events = "element(2, gen_server:call({R, L}, {read, earliest, #{}}))";
    assert_eq!(a.eval(&format!("[E || {{_, E}} <- {events}]")), "[c_node,by_sbcast]");
    assert_eq!(a.eval("net_adm:ping(L)"), "pong");
}

/// Every sample of the page is the file that the tests above run.
#[test]
fn the_page_shows_what_runs() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let page = std::fs::read_to_string(root.join("docs/other-languages.md")).expect("it is there");
    let files = ["other-languages/Follow.java", "other-languages/follow.c"];
    for file in files.into_iter().chain(["other-languages/follow.py", "erl_dist.rs"]) {
        let text = std::fs::read_to_string(root.join("examples").join(file)).expect("it is there");
        assert!(page.contains(&format!("\n{text}```\n")), "examples/{file} and the page differ");
    }
}
