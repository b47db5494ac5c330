//! gRPC, by two clients that others wrote, and by peers that break every rule.
//!
//! What clients do is in the scripts of `tests/it/grpc`, in Python; what happens to the node meanwhile is here. A script says a line
//! when something may happen, hears one when it has, and says `fine` last.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::crash::SmallDisk;
use crate::harness::{Lines, PATIENCE, World, free_port, has_erlang, wait_for};
use crate::http::{ENTRIES, Served, python, request};
use crate::streams::{Proxy, append_numbers};

/// Google's, and one that shares nothing with it.
pub(crate) const CLIENTS: [&str; 2] = ["grpcio", "grpclib"];

const NODE: &str = "logmachine@127.0.0.1";

/// What programs in Python need, and what their generators make of the proto file; `None` if it is not there.
fn packages() -> Option<&'static [PathBuf]> {
    static MADE: OnceLock<Option<Vec<PathBuf>>> = OnceLock::new();
    let made = MADE.get_or_init(|| {
        let packages = python("grpc")?;
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let made = Path::new(env!("CARGO_TARGET_TMPDIR")).join("grpc");
        std::fs::create_dir_all(&made).expect("a directory can be made");
        let path = std::env::var_os("PATH").unwrap_or_default();
        let path = std::env::join_paths(
            std::iter::once(packages.join("bin")).chain(std::env::split_paths(&path)),
        );
        let mut protoc = Command::new("python3");
        protoc.args(["-m", "grpc_tools.protoc", "logmachine.proto", "-I"]);
        protoc.arg(root.join("src/api"));
        for generator in ["python", "grpc_python", "grpclib_python"] {
            protoc.arg(format!("--{generator}_out={}", made.display()));
        }
        protoc.env("PYTHONPATH", &packages).env("PATH", path.expect("no directory has a colon"));
        let output = protoc.output().expect("python runs");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        Some(vec![packages, made, root.join("tests/it/grpc")])
    });
    if made.is_none() {
        // Whoever asks again is skipped for the same reason.
        println!("skipped: what programs in Python need (grpc) is not installed");
    }
    made.as_deref()
}

/// A script that runs.
struct Script {
    child: Child,
    input: Option<ChildStdin>,
    lines: Lines,
    errors: PathBuf,
    what: String,
}

impl Script {
    fn start(world: &World, packages: &[PathBuf], name: &str, arguments: &[&str]) -> Self {
        let what = format!("{name} {}", arguments.join(" "));
        let script = packages.last().expect("three").join(format!("{name}.py"));
        let mut command = Command::new("python3");
        command.arg(script).args(arguments);
        Self::start_as(world, packages, command, what)
    }

    fn start_as(world: &World, packages: &[PathBuf], mut command: Command, what: String) -> Self {
        let errors = world.path(&format!("errors-{:?}", std::time::Instant::now()));
        command.env("PYTHONPATH", std::env::join_paths(packages).expect("no colons"));
        command.env("PYTHONDONTWRITEBYTECODE", "1").env("GRPC_VERBOSITY", "NONE");
        command.current_dir(world.dir.path()).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.stderr(File::create(&errors).unwrap()).spawn().expect("it runs");
        let input = child.stdin.take();
        let lines = Lines::of(child.stdout.take().expect("it is piped"));
        Script { child, input, lines, errors, what }
    }

    /// The next line.
    fn line(&self) -> String {
        let line = self.lines.find(4 * PATIENCE, |_| true);
        line.unwrap_or_else(|| panic!("{}: {}", self.what, self.errors()))
    }

    /// The line that has to come next.
    fn says(&self, expected: &str) {
        assert_eq!(self.line(), expected, "{}", self.what);
    }

    fn tell(&mut self, line: &str) {
        let input = self.input.as_mut().expect("it is told nothing after its end");
        writeln!(input, "{line}").expect("it reads");
    }

    fn errors(&self) -> String {
        std::fs::read_to_string(&self.errors).unwrap_or_default()
    }

    /// Waits for its good end; what it said before.
    fn end(mut self) -> Vec<String> {
        self.input = None;
        let mut said = Vec::new();
        loop {
            let line = self.line();
            if line == "fine" {
                break;
            }
            said.push(line);
        }
        let status = wait_for("it ends", || self.child.try_wait().expect("it was started here"));
        assert!(status.success(), "{}: {}", self.what, self.errors());
        said
    }
}

impl Drop for Script {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Runs a script with each client, against an instance of its own, at the same time.
fn with_each_client(world: &World, packages: &[PathBuf], name: &str, arguments: [&[&str]; 2]) {
    let start = |(client, arguments): (&&str, &[&str])| {
        Script::start(world, packages, name, &[&[*client], arguments].concat())
    };
    let scripts: Vec<_> = CLIENTS.iter().zip(arguments).map(start).collect();
    scripts.into_iter().for_each(|script| _ = script.end());
}

fn append_text(served: &Served, instance: &str, text: &str) {
    let path = format!("/api/v1/instances/{instance}/entries");
    let headers = [("Content-Type", "text/x-erlang")];
    let answer = request(served.port, "POST", &path, &headers, text.as_bytes());
    assert_eq!(answer.status, 200, "{}", answer.text());
}

/// The numbers from 0 on, one term each.
fn numbers(count: usize) -> String {
    (0..count).map(|number| format!("{number}. ")).collect()
}

#[test]
fn appends_are_recorded_once_answered_in_order_and_refused_with_reasons() {
    let Some(packages) = packages() else { return };
    let world = World::new();
    let others = ["--instance", "second", "--instance", "a", "--instance", "b"];
    let served = Served::start(&world, &others);
    let port = served.port.to_string();
    let arguments = [&[&*port, "quotes", "a"][..], &[&port, "second", "b"]];
    with_each_client(&world, packages, "append", arguments);
}

/// Reports in the shapes of OTP among other terms, so that every field selects something.
#[test]
fn what_is_read_is_what_http_reads_in_every_format_with_every_selection() {
    let Some(packages) = packages() else { return };
    let world = World::new();
    let served = Served::start(&world, &["--instance", "error_logger"]);
    for n in 0..12 {
        let (me, other) = (format!("{{'$pid',a@host,{},0,17}}", 50 + n), "{'$pid',b@host,7,0,3}");
        append_text(
            &served,
            "error_logger",
            &format!(
                "{{quote,<<\"ACME\">>,{n}}}. \
                 {{error_report,{me},{{{me},std_error,[{{reason,{{badmatch,{n}}}}}]}}}}. \
                 {{warning_msg,{me},{{{other},\"~p boils\",[kettle]}}}}. \
                 {{info_report,{other},{{{other},std_info,[{{n,{n}}}]}}}}. \
                 {{error,{me},{{{me},\"** Generic server ~p terminating\",[kettle]}}}}. \
                 #{{a => [{n},'b c'],<<\"$k\">> => 1.5}}."
            ),
        );
    }
    wait_for("the faults are known", || {
        let faults = served.get("/api/v1/faults");
        faults["faults"].as_array().filter(|faults| !faults.is_empty()).map(|_| ())
    });
    let arguments = [&*served.port.to_string(), "error_logger"];
    with_each_client(&world, packages, "read", [&arguments, &arguments]);
}

#[test]
fn subscriptions_keep_to_their_options_and_credit_and_end_as_they_should() {
    let Some(packages) = packages() else { return };
    let world = World::new();
    let served = Served::start(&world, &["--instance", "second"]);
    for instance in ["quotes", "second"] {
        append_text(&served, instance, &numbers(1000));
    }
    let port = served.port.to_string();
    with_each_client(&world, packages, "subscribe", [&[&port, "quotes"], &[&port, "second"]]);
}

/// Six lives: in each the subscriber acknowledges, is told that it is stored or not, and the node is killed at once.
#[test]
fn a_cursor_is_stored_when_that_is_said_and_nothing_acknowledged_comes_again_after_kill_9() {
    let Some(packages) = packages() else { return };
    let world = World::new();
    let port = free_port();
    let flags = ["--instance", "second"];
    let mut served = Served::start_at(&world, port, &flags);
    for instance in ["quotes", "second"] {
        append_text(&served, instance, &numbers(1000));
    }
    let port_text = port.to_string();
    let start = |(client, instance): (&&str, &str)| {
        Script::start(&world, packages, "cursor", &[client, &port_text, instance])
    };
    let mut scripts: Vec<_> = CLIENTS.iter().zip(["quotes", "second"]).map(start).collect();
    for _ in 0..6 {
        scripts.iter().for_each(|script| script.says("acknowledged"));
        served.program.kill();
        served = Served::start_at(&world, port, &flags);
        scripts.iter_mut().for_each(|script| script.tell("again"));
    }
    scripts.into_iter().for_each(|script| _ = script.end());
}

/// A cursor's name means the same to a process of Erlang, and what either acknowledges the other goes on behind.
#[test]
fn a_cursor_is_shared_with_processes_of_erlang() {
    const SCRIPT: &str = r#"
from client import *
async def main(Client, port):
    client = Client(port)
    stream = await client.open("Subscribe")
    await stream.send(options("quotes", {"from_": "earliest"}, format=pb.FORMAT_TEXT, cursor="shared"))
    started, entries = (await stream.receive()).started, []
    while len(entries) < 3:
        entries.extend((await stream.receive()).batch.entries)
    say(" ".join(entry.event.text for entry in entries[:3]))
    await stream.send(pb.SubscribeRequest(ack=entries[1].micros))
    while (await stream.receive()).acknowledged != entries[1].micros:
        pass
    await stream.cancel()
    await client.close()
run(main)
"#;
    let Some(packages) = packages().filter(|_| has_erlang()) else { return };
    let world = World::with_epmd();
    let served = Served::start(&world, &[]);
    append_text(&served, "quotes", &numbers(20));
    let mut a = world.erl("a");
    assert_eq!(a.eval(&format!("net_adm:ping('{NODE}')")), "pong");
    a.eval(&format!(
        "Go = fun() -> {{ok, S}} = gen_server:call({{'.quotes.receiver.srv', '{NODE}'}}, {{subscribe, #{{from => earliest, cursor => <<\"shared\">>, pid => self()}}}}), S end"
    ));
    a.eval("Next = fun() -> receive {quotes, E} -> E after 9000 -> none end end");
    a.eval("Flush = fun F() -> receive {quotes, _} -> F() after 0 -> ok end end");
    for (client, begin) in CLIENTS.iter().zip([0, 4]) {
        let two = format!(
            "S{begin} = Go(), [{{_, A{begin}}}, {{T{begin}, B{begin}}}] = [Next(), Next()], {{A{begin}, B{begin}}}"
        );
        assert_eq!(a.eval(&two), format!("{{{begin},{}}}", begin + 1));
        // The stop comes after the acknowledgement, and is answered once that is stored.
        a.eval(&format!("S{begin} ! {{ack, T{begin}}}, ok = gen_server:stop(S{begin}), Flush()"));
        let mut command = Command::new("python3");
        command.args(["-c", SCRIPT, client, &served.port.to_string()]);
        let script = Script::start_as(&world, packages, command, "shared cursor".to_owned());
        script.says(&format!("{} {} {}", begin + 2, begin + 3, begin + 4));
        script.end();
    }
}

/// At three rates, connections cut after few and many bytes; a batch is smaller, or would never come through.
#[test]
fn a_subscription_that_is_cut_goes_on_with_each_entry_once() {
    let Some(packages) = packages() else { return };
    let cuts = [(20, 4, 1_500, "10"), (2_000, 3, 40_000, "100"), (50_000, 2, 400_000, "0")];
    for (rate, seconds, most, batch) in cuts {
        let world = World::new();
        let port = free_port();
        let proxy = Proxy::start(port, rate, move |random| Some(300 + random.next(most)));
        // What comes is addressed to the proxy.
        let config = format!("[http]\nhosts = [\"127.0.0.1:{}\"]\n", proxy.port);
        std::fs::write(world.path("c.toml"), config).unwrap();
        let served = Served::start_at(&world, port, &["--config", "c.toml"]);
        let (count, port) = ((rate * seconds).to_string(), proxy.port.to_string());
        let start = |client: &&str| {
            Script::start(&world, packages, "follow", &[client, &port, "quotes", &count, batch])
        };
        let scripts: Vec<_> = CLIENTS.iter().map(start).collect();
        append_numbers(served.port, rate, seconds);
        scripts.into_iter().for_each(|script| _ = script.end());
        let connections = proxy.connections.load(Ordering::Relaxed);
        assert!(connections > 6, "rate {rate}: {connections} connections");
    }
}

/// 200 MB come while six streams of the two clients read nothing.
#[test]
fn a_stream_whose_client_stops_reading_costs_a_position() {
    const EVENTS: u32 = 2_000;
    let Some(packages) = packages() else { return };
    let world = World::new();
    let config = "[instance_defaults]\ncache_bytes = \"4MiB\"\nsegment_bytes = \"32MiB\"\n";
    std::fs::write(world.path("c.toml"), config).unwrap();
    let served = Served::start(&world, &["--config", "c.toml"]);
    let (port, count) = (served.port.to_string(), EVENTS.to_string());
    let start =
        |client: &&str| Script::start(&world, packages, "slow", &[client, &port, "quotes", &count]);
    let append = |numbers: std::ops::Range<u32>| {
        let body: Vec<u8> = numbers
            .flat_map(|number| {
                let tuple = [131, 104, 2, 98].into_iter().chain(number.to_be_bytes());
                let binary = [109].into_iter().chain(100_000_u32.to_be_bytes());
                tuple.chain(binary).chain(std::iter::repeat_n(7, 100_000))
            })
            .collect();
        let headers = [("Content-Type", "application/x-erlang-etf")];
        assert_eq!(request(served.port, "POST", ENTRIES, &headers, &body).status, 200);
    };
    append(0..50);
    let mut scripts: Vec<_> = CLIENTS.iter().map(start).collect();
    scripts.iter().for_each(|script| script.says("subscribed"));
    let before = served.program.peak_memory_kib();
    for begin in (50..EVENTS).step_by(50) {
        append(begin..begin + 50);
    }
    let grown = served.program.peak_memory_kib().saturating_sub(before);
    assert!(grown < 64 << 10, "six streams that read nothing took {grown} KiB");
    // One after the other: they are one caller, and so are their reads.
    for script in &mut scripts {
        script.tell("all");
        script.says("held");
        script.tell("on");
        wait_for("the reads are over", || {
            (served.get("/api/v1/node")["http"]["streams"].as_u64() <= Some(6)).then_some(())
        });
    }
    scripts.into_iter().for_each(|script| _ = script.end());
    let grown = served.program.peak_memory_kib().saturating_sub(before);
    assert!(grown < 200 << 10, "sending all of it took {grown} KiB");
}

#[test]
fn a_thousand_subscriptions_on_four_connections_each_see_everything() {
    let Some(packages) = packages() else { return };
    let world = World::new();
    let served = Served::start(&world, &[]);
    let before = served.program.peak_memory_kib();
    let port = served.port.to_string();
    let start = |client: &&str| {
        Script::start(&world, packages, "many", &[client, &port, "quotes", "500", "1000"])
    };
    let scripts: Vec<_> = CLIENTS.iter().map(start).collect();
    scripts.iter().for_each(|script| script.says("subscribed"));
    let streams = || served.get("/api/v1/node")["http"]["streams"].clone();
    assert_eq!(streams(), 1000);
    append_numbers(served.port, 1_000, 1);
    scripts.into_iter().for_each(|script| _ = script.end());
    let grown = served.program.peak_memory_kib().saturating_sub(before);
    assert!(grown < 200 << 10, "1,000 subscriptions took {grown} KiB");
    wait_for("none is left", || (streams() == 0).then_some(()));
}

/// Floods and nonsense, while numbers come in and somebody follows: those are not disturbed, and the memory is what it was.
#[test]
fn peers_that_break_the_rules_are_answered_or_closed_and_disturb_nobody() {
    let Some(packages) = packages() else { return };
    let world = World::new();
    let served = Served::start(&world, &["--instance", "followed"]);
    let port = served.port.to_string();
    let follower =
        Script::start(&world, packages, "follow", &["grpcio", &port, "followed", "600", "0"]);
    follower.says("following");
    let pid = served.program.pid().as_raw_nonzero().to_string();
    let hostile = Script::start(&world, packages, "hostile", &[&port, &pid]);
    for number in 0..600 {
        append_text(&served, "followed", &number.to_string());
        std::thread::sleep(Duration::from_millis(50));
    }
    for line in hostile.end() {
        println!("{line}");
    }
    assert_eq!(follower.end(), Vec::<String>::new(), "its stream was never cut");
    assert_eq!(served.get("/healthz")["status"], "ok");
}

#[test]
fn a_message_that_never_ends_is_given_up_and_its_memory_with_it() {
    let Some(packages) = packages() else { return };
    let world = World::new();
    let served = Served::start(&world, &[]);
    let pid = served.program.pid().as_raw_nonzero().to_string();
    Script::start(&world, packages, "hostile", &[&served.port.to_string(), &pid, "endless"]).end();
}

/// A configuration with tokens and TLS.
#[test]
fn tokens_and_certificates_are_asked_for() {
    let Some(packages) = packages() else { return };
    let world = World::new();
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("made");
    std::fs::write(world.path("cert.pem"), made.cert.pem()).unwrap();
    std::fs::write(world.path("key.pem"), made.signing_key.serialize_pem()).unwrap();
    let tokens = [("reader", "read"), ("writer", "write"), ("admin", "admin")];
    let tokens = tokens.map(|(token, role)| {
        let digest = ring::digest::digest(&ring::digest::SHA256, token.as_bytes());
        let sha256: String = digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
        format!("[[http.token]]\nname = \"{token}\"\nrole = \"{role}\"\nsha256 = \"{sha256}\"\n")
    });
    let tls = "[http.tls]\ncert = \"cert.pem\"\nkey = \"key.pem\"\n";
    std::fs::write(world.path("c.toml"), format!("{}{tls}", tokens.concat())).unwrap();
    let served = Served::start(&world, &["--config", "c.toml", "--instance", "error_logger"]);
    let certificate = world.path("cert.pem").display().to_string();
    let arguments = [&*served.port.to_string(), &certificate];
    with_each_client(&world, packages, "access", [&arguments, &arguments]);
    served.program.wait_for_diagnostics("HTTP request refused: this token is not accepted");
    assert!(!served.program.diagnostics().contains("nobody"), "no token is said");
}

#[test]
fn strangers_and_calls_for_others_are_refused_in_words() {
    let Some(packages) = packages() else { return };
    let world = World::new();
    let served = Served::start(&world, &[]);
    let user = if rustix::process::geteuid().is_root() { "65534" } else { "0" };
    if user == "0" {
        println!("skipped: only root can be somebody else");
    }
    let arguments = [&*served.port.to_string(), user];
    with_each_client(&world, packages, "stranger", [&arguments, &arguments]);
}

/// A disk that fills up, and has space again; then the node stops.
#[test]
fn health_is_told_as_it_changes() {
    let Some(packages) = packages() else { return };
    let world = World::new();
    let Some(disk) = SmallDisk::mount(world.path("disk")) else {
        println!("skipped: no file system can be mounted here");
        return;
    };
    let ballast = disk.0.join("ballast");
    std::fs::write(world.path("c.toml"), "[instance_defaults]\nmin_free_bytes = \"8MiB\"\n")
        .unwrap();
    let data = disk.0.join("data").display().to_string();
    let served = Served::start(&world, &["--config", "c.toml", "--data-dir", &data]);
    let port = served.port.to_string();
    let watch = Script::start(&world, packages, "health", &["grpcio", &port, "waits"]);
    watch.says("SERVING");
    std::fs::write(&ballast, vec![0; 10 << 20]).unwrap();
    served.program.wait_for_diagnostics("no space; recording stops until there is");
    // Answered once it is recorded.
    let appending = std::thread::spawn({
        let port = served.port;
        move || request(port, "POST", ENTRIES, &[("Content-Type", "text/x-erlang")], b"1").status
    });
    watch.says("NOT_SERVING");
    std::fs::remove_file(&ballast).unwrap();
    watch.says("SERVING");
    assert_eq!(appending.join().expect("it is answered"), 200);
    assert_eq!(served.program.stop(), Some(0));
    watch.says("ended UNAVAILABLE");
    watch.end();
}

/// The recorder waits for space that there is not, so what is appended is not answered, and soon not read.
#[test]
fn a_stream_that_waits_for_the_disk_holds_up_nobody_else() {
    let Some(packages) = packages() else { return };
    let world = World::new();
    let config = "[[instance]]\nname = \"quotes\"\nmin_free_bytes = \"1024TiB\"\n";
    std::fs::write(world.path("c.toml"), config).unwrap();
    let served = Served::start(&world, &["--config", "c.toml"]);
    let port = served.port.to_string();
    Script::start(&world, packages, "waiting", &["grpcio", &port]).end();
}

#[test]
fn a_recorder_that_is_behind_says_when_to_try_again() {
    let Some(packages) = packages() else { return };
    let world = World::new();
    std::fs::write(
        world.path("c.toml"),
        "[[instance]]\nname = \"quotes\"\nmin_free_bytes = \"1024TiB\"\npending_bytes = \"64KiB\"\noverload = \"drop\"\n",
    )
    .unwrap();
    let served = Served::start(&world, &["--config", "c.toml"]);
    // The second one finds out that the recorder is behind, from the third one on they are refused.
    let pending = |bytes: u64| {
        let pending = || served.get("/api/v1/instances/quotes")["pending_bytes"].as_u64();
        wait_for("it is taken in", || pending().filter(|pending| *pending >= bytes));
    };
    let wait = |port: u16| {
        let body = format!("<<\"{}\">>", "x".repeat(100_000));
        let headers = [("Content-Type", "text/x-erlang")];
        std::thread::spawn(move || request(port, "POST", ENTRIES, &headers, body.as_bytes()).status)
    };
    let waiting = [1, 2].map(|nth| {
        let waiting = wait(served.port);
        pending(nth * 100_000);
        waiting
    });
    let arguments = [&*served.port.to_string(), "quotes"];
    with_each_client(&world, packages, "refused", [&arguments, &arguments]);
    served.program.kill();
    waiting.into_iter().for_each(|waiting| assert!(waiting.join().is_err(), "it was never told"));
}

#[test]
fn what_there_is_can_be_asked_for_by_reflection() {
    let Some(packages) = packages() else { return };
    let world = World::new();
    let served = Served::start(&world, &[]);
    let port = served.port.to_string();
    Script::start(&world, packages, "health", &["grpcio", &port, "reflection"]).end();
}

/// Followers live through an orderly stop and go on; every other stream is told that the node is away.
#[test]
fn a_node_that_stops_ends_streams_as_unavailable_and_they_go_on_with_the_next_one() {
    let Some(packages) = packages() else { return };
    let world = World::new();
    let port = free_port();
    let flags = ["--instance", "ended"];
    let served = Served::start_at(&world, port, &flags);
    let port_text = port.to_string();
    let followers = CLIENTS.map(|client| {
        Script::start(&world, packages, "follow", &[client, &port_text, "quotes", "200", "0"])
    });
    followers.iter().for_each(|follower| follower.says("following"));
    let ended = CLIENTS
        .map(|client| Script::start(&world, packages, "stopped", &[client, &port_text, "ended"]));
    ended.iter().for_each(|script| script.says("streaming"));
    append_text(&served, "quotes", &numbers(100));
    assert_eq!(served.program.stop(), Some(0));
    for script in ended {
        for name in ["Subscribe", "Subscribe without credit", "AppendStream"] {
            script.says(&format!("{name} ended UNAVAILABLE"));
        }
        script.end();
    }
    let served = Served::start_at(&world, port, &flags);
    append_text(&served, "quotes", &(100..200).map(|n| format!("{n}. ")).collect::<String>());
    for follower in followers {
        assert_eq!(follower.end(), ["ended UNAVAILABLE"]);
    }
}

/// Every block of the guide in Python, in one program.
#[test]
fn the_sample_of_the_guide_does_what_it_says() {
    let Some(packages) = packages() else { return };
    let world = World::new();
    let served = Served::start(&world, &[]);
    let guide = include_str!("../../docs/grpc.md");
    let blocks = guide.split("```python\n").skip(1).filter_map(|rest| rest.split_once("```"));
    let program: String = blocks.map(|(block, _)| block).collect();
    let mut command = Command::new("python3");
    command.args(["-c", &format!("{program}\nprint(\"fine\")")]);
    command.env("LM", format!("127.0.0.1:{}", served.port)).env("PYTHONUNBUFFERED", "1");
    let printed = Script::start_as(&world, packages, command, "the guide".to_owned()).end();
    let without_stamps = printed.iter().map(|line| {
        let is_word = |word: &&str| word.parse::<u64>().map_or(true, |number| number < 1 << 40);
        line.split(' ').filter(is_word).collect::<Vec<_>>().join(" ")
    });
    let expected = [
        "appended 3 from to",
        "pipelined 1000",
        "read 999",
        "read 998",
        "followed {quote,<<\"ACME\">>,12.5}",
        "followed #{<<\"symbol\">> => <<\"ACME\">>}",
        "followed 7",
    ];
    assert_eq!(without_stamps.collect::<Vec<_>>(), expected);
}

/// Terms as external terms, each with its size before it, as the scripts of these tests read and write them.
pub(crate) struct Door {
    packages: &'static [PathBuf],
    port: String,
}

impl Door {
    /// `None` if programs in Python have not what they need.
    pub(crate) fn to(served: &Served) -> Option<Self> {
        Some(Door { packages: packages()?, port: served.port.to_string() })
    }

    /// Appends terms twice: by requests of their own, and by a stream.
    pub(crate) fn append(&self, world: &World, client: &str, form: &str, terms: &[Vec<u8>]) {
        let framed = terms.iter().flat_map(|term| {
            [&u32::try_from(term.len()).expect("small").to_be_bytes()[..], term].concat()
        });
        let file = world.path("in");
        std::fs::write(&file, framed.collect::<Vec<_>>()).unwrap();
        self.run(world, client, &["in", form, &file.display().to_string()]);
    }

    /// All there is, read or, if its number is told, followed.
    pub(crate) fn entries(
        &self,
        world: &World,
        client: &str,
        format: &str,
        followed: Option<usize>,
    ) -> Vec<Vec<u8>> {
        let file = world.path("out");
        let path = file.display().to_string();
        match followed.map(|count| count.to_string()) {
            None => self.run(world, client, &["out", format, &path]),
            Some(count) => self.run(world, client, &["follow", format, &path, &count]),
        }
        let all = std::fs::read(&file).unwrap();
        let (mut left, mut terms) = (&all[..], Vec::new());
        while let Some((size, rest)) = left.split_first_chunk() {
            let (term, rest) = rest.split_at(u32::from_be_bytes(*size) as usize);
            terms.push(term.to_vec());
            left = rest;
        }
        terms
    }

    fn run(&self, world: &World, client: &str, arguments: &[&str]) {
        let arguments = [&[client, &self.port, "quotes"], arguments].concat();
        Script::start(world, self.packages, "doors", &arguments).end();
    }
}
