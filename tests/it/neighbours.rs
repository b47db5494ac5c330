//! Programs of others, as Debian packages them: captured event for event, their tools undisturbed.
//!
//! RabbitMQ removes `logger`'s handler `default` and has one of its own; ejabberd adds to it. Each writes a log file:
//! what it says there of a moment on, and what was captured, has to be the same. `make test` unpacks them, see
//! `tests/neighbours`.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use rustix::process::{Pid, Signal, kill_process_group};

use crate::harness::{Erl, World, free_port, wait_for};

/// Where `make test` puts the neighbours; told by `LOGMACHINE_NEIGHBOURS_DIR`. Prints that the test is skipped if
/// they are not there.
pub(crate) fn neighbours() -> Option<PathBuf> {
    let dir = std::env::var_os("LOGMACHINE_NEIGHBOURS_DIR").map(PathBuf::from);
    let dir =
        dir.unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/.neighbours"));
    if !dir.join("bookworm/.done").exists() {
        println!("skipped: the neighbours are not installed");
        return None;
    }
    Some(dir)
}

/// The one path that begins with `DIR/PARENT/` and goes on with `prefix` and a version.
pub(crate) fn versioned(dir: &Path, parent: &str, prefix: &str) -> PathBuf {
    let entries = dir.join(parent).read_dir().expect("it was unpacked").flatten();
    let mut found = entries.map(|entry| entry.path()).filter(|path| {
        path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(prefix))
    });
    found.next().unwrap_or_else(|| panic!("no {prefix} in {parent}"))
}

/// One entry of a log, as both sides know it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Entry {
    /// `YYYY-MM-DD HH:MM:SS.ffffff` UTC.
    time: String,
    level: String,
    pid: String,
    /// Whether `time` is the moment that the event itself tells.
    is_exact: bool,
}

impl Entry {
    /// Whether it is one of those that are captured unless something else was asked for.
    fn counts(&self) -> bool {
        !matches!(self.level.as_str(), "debug" | "info")
    }
}

/// `2026-01-02 03:04:05.678901+00:00 [warning] <0.1.0> text`, and `<0.1.0>@module...`; a line that goes on with an
/// entry has none of that, or the same once more.
fn from_file(text: &str) -> Vec<Entry> {
    let entry = |line: &str| {
        let (time, rest) = line.split_at_checked(26)?;
        let (level, rest) = rest.strip_prefix("+00:00 [")?.split_once("] ")?;
        let pid = &rest[..=rest.find('>')?];
        Some(Entry { time: time.into(), level: level.into(), pid: pid.into(), is_exact: true })
    };
    let mut entries: Vec<Entry> = text.lines().filter_map(entry).collect();
    entries.dedup();
    entries
}

/// A program that is a node, its files in this test's world.
struct Neighbour {
    name: &'static str,
    log: PathBuf,
    /// What its log says when it is there.
    is_up: &'static str,
    child: Child,
}

impl Neighbour {
    /// Starts it, in a process group of its own, and waits until its log says that it is there.
    fn start(name: &'static str, log: PathBuf, mut command: Command, is_up: &'static str) -> Self {
        let ups = || std::fs::read_to_string(&log).unwrap_or_default().matches(is_up).count();
        let before = ups();
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).process_group(0);
        let child = command.spawn().expect("it was unpacked");
        let neighbour = Neighbour { name, log: log.clone(), is_up, child };
        wait_for(is_up, || (ups() > before).then_some(()));
        neighbour
    }

    fn entries(&self) -> Vec<Entry> {
        from_file(&std::fs::read_to_string(&self.log).expect("it has a log"))
    }

    /// Waits until its log holds `text` so many times.
    fn wait_for_log(&self, text: &str, times: usize) {
        let log = || std::fs::read_to_string(&self.log).unwrap_or_default();
        wait_for(text, || (log().matches(text).count() == times).then_some(()));
    }

    /// When it was last up.
    fn up_at(&self) -> String {
        let text = std::fs::read_to_string(&self.log).expect("it has a log");
        let line = text.lines().rfind(|line| line.contains(self.is_up)).expect("it is up");
        line[..26].to_owned()
    }

    /// Waits for the end that one of its tools was asked for.
    fn wait_stopped(&mut self) {
        wait_for("an orderly stop", || self.child.try_wait().expect("it was started here"));
    }
}

impl Drop for Neighbour {
    fn drop(&mut self) {
        let _ = kill_process_group(Pid::from_child(&self.child), Signal::KILL);
        let _ = self.child.wait();
    }
}

/// A node that looks into our log, of the release that the neighbours run on.
fn observer(world: &World, dir: &Path) -> Erl {
    let flags = ["-hidden", "-name", "observer@127.0.0.1"];
    let mut observer = Erl::start(world, &dir.join("bookworm/bin/erl"), &flags);
    observer.load("lm_neighbour");
    observer
}

/// What was captured of a node.
fn captured(observer: &mut Erl, node: &str) -> Vec<Entry> {
    let receiver = "{'.error_logger.receiver.srv', 'logmachine@127.0.0.1'}";
    let text = observer.eval(&format!("lm_neighbour:captured({receiver}, '{node}')"));
    let lines = text.trim_matches('"').split("\\n").filter(|line| !line.is_empty());
    let entry = |line: &str| {
        let (time, rest) = line.split_at(26);
        let [level, pid, shape] = rest.split_whitespace().collect::<Vec<_>>()[..] else {
            panic!("{line}")
        };
        let is_exact = shape == "log";
        Entry { time: time.into(), level: level.into(), pid: pid.into(), is_exact }
    };
    lines.map(entry).collect()
}

/// How many entries of each level each process wrote.
fn counted<'e>(entries: impl Iterator<Item = &'e Entry>) -> BTreeMap<(&'e str, &'e str), usize> {
    let mut counts = BTreeMap::new();
    for entry in entries.filter(|entry| entry.counts()) {
        *counts.entry((entry.level.as_str(), entry.pid.as_str())).or_default() += 1;
    }
    counts
}

/// From the first event after `since` that both logs have, they have the same; that moment.
///
/// The file is ahead of us by the time that an event travels: so this waits.
fn agree(observer: &mut Erl, neighbour: &Neighbour, since: &str) -> String {
    let mut told = String::new();
    wait_for("the neighbour's log and ours agree", || {
        let (file, ours) = (neighbour.entries(), captured(observer, neighbour.name));
        let in_file = |entry: &Entry| file.iter().any(|other| entry == other);
        let exact = ours.iter().filter(|entry| entry.is_exact && entry.counts());
        let first =
            exact.filter(|entry| entry.time.as_str() > since).find(|entry| in_file(entry))?;
        let later = |entry: &&Entry| entry.time >= first.time;
        let (theirs, mine) =
            (counted(file.iter().filter(later)), counted(ours.iter().filter(later)));
        let missing: Vec<_> =
            theirs.iter().filter(|(key, count)| mine.get(*key) != Some(*count)).collect();
        let extra: Vec<_> = mine.keys().filter(|key| !theirs.contains_key(*key)).collect();
        if missing.is_empty() && extra.is_empty() {
            return Some(first.time.clone());
        }
        let difference = format!("captured too little: {missing:?}, too much: {extra:?}");
        if told != difference {
            println!("{difference}");
            told = difference;
        }
        None
    })
}

fn succeeds(what: &str, output: &Output) -> String {
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{what}: {text} {}", String::from_utf8_lossy(&output.stderr));
    text
}

/// What every program of the neighbours needs to know of the world.
fn program(world: &World, dir: &Path, program: &Path) -> Command {
    let cookie = world.path(".erlang.cookie");
    if !cookie.exists() {
        std::fs::write(&cookie, world.cookie()).expect("a file can be made");
        let private = std::fs::Permissions::from_mode(0o400);
        std::fs::set_permissions(&cookie, private).expect("it is ours");
    }
    let path = std::env::var("PATH").unwrap_or_default();
    let mut command = Command::new(program);
    command.env("PATH", format!("{}:{path}", dir.join("bookworm/bin").display()));
    command.env("HOME", world.dir.path()).env("ERL_EPMD_PORT", world.epmd_port.to_string());
    command.env("TZ", "UTC").env_remove("ERL_FLAGS").current_dir(world.dir.path());
    command
}

/// RabbitMQ's configuration, before its scripts; the node `rabbit@127.0.0.1`.
struct RabbitMq<'w> {
    world: &'w World,
    dir: &'w Path,
    sbin: PathBuf,
    dist_port: u16,
}

impl<'w> RabbitMq<'w> {
    fn new(world: &'w World, dir: &'w Path) -> Self {
        let lib = dir.join("bookworm/root/usr/lib/rabbitmq");
        let sbin = versioned(&lib, "lib", "rabbitmq_server-").join("sbin");
        let listen = format!("listeners.tcp.1 = 127.0.0.1:{}\n", free_port());
        std::fs::write(world.path("rabbitmq.conf"), listen).expect("a file can be made");
        RabbitMq { world, dir, sbin, dist_port: free_port() }
    }

    fn command(&self, script: &str) -> Command {
        let mut command = program(self.world, self.dir, &self.sbin.join(script));
        let loopback = "-kernel inet_dist_use_interface {127,0,0,1}";
        command.env("RABBITMQ_NODENAME", "rabbit@127.0.0.1").env("RABBITMQ_USE_LONGNAME", "true");
        command.env("RABBITMQ_CONF_ENV_FILE", "/dev/null");
        command.env("RABBITMQ_CONFIG_FILE", self.world.path("rabbitmq"));
        command.env("RABBITMQ_ENABLED_PLUGINS_FILE", self.world.path("enabled_plugins"));
        command.env("RABBITMQ_MNESIA_BASE", self.world.path("mnesia"));
        command.env("RABBITMQ_LOG_BASE", self.world.path("log"));
        command.env("RABBITMQ_DIST_PORT", self.dist_port.to_string());
        command.env("RABBITMQ_CTL_ERL_ARGS", loopback);
        command.env("RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS", loopback);
        command
    }

    fn start(&self) -> Neighbour {
        let log = self.world.path("log/rabbit@127.0.0.1.log");
        let server = self.command("rabbitmq-server");
        Neighbour::start("rabbit@127.0.0.1", log, server, "Server startup complete")
    }

    fn ctl(&self, arguments: &[&str]) -> String {
        let output = self.command("rabbitmqctl").args(arguments).output().expect("it was unpacked");
        succeeds(arguments[0], &output)
    }
}

/// Boots, crashes inside, raises an alarm, is stopped and boots again, while we capture whatever comes up here.
#[test]
fn rabbitmq_is_captured_event_for_event_and_its_tools_see_nothing_of_it() {
    let Some(dir) = neighbours() else { return };
    let world = World::with_epmd();
    let _program = world.logmachine(&["--connect", "local"]);
    let rabbit = RabbitMq::new(&world, &dir);
    let mut server = rabbit.start();
    let mut observer = observer(&world, &dir);
    let began = agree(&mut observer, &server, "");
    assert!(began < server.up_at(), "captured only from {began} on");

    rabbit.ctl(&[
        "eval",
        "proc_lib:spawn(fun() -> group_leader(whereis(init), self()), error(lm_boom) end),
         exit(whereis(rabbit_memory_monitor), lm_killed),
         logger:warning(#{lm => report}), rabbit_log:error(\"lm ~s\", [\"category\"]).",
    ]);
    rabbit.ctl(&["set_vm_memory_high_watermark", "0.00001"]);
    server.wait_for_log("memory resource limit alarm set", 1);
    rabbit.ctl(&["set_vm_memory_high_watermark", "0.6"]);
    for text in
        ["alarm cleared across the cluster", "error: lm_boom", "reason: lm_killed", "lm category"]
    {
        server.wait_for_log(text, 1);
    }
    agree(&mut observer, &server, "");

    assert!(rabbit.ctl(&["status"]).contains("RabbitMQ version: 3."));
    assert!(rabbit.ctl(&["list_queues"]).contains("Listing queues for vhost /"));
    let cluster = rabbit.ctl(&["cluster_status", "--formatter", "json"]);
    assert!(cluster.contains(r#""running_nodes":["rabbit@127.0.0.1"]"#), "{cluster}");

    rabbit.ctl(&["stop"]);
    server.wait_stopped();
    // With what it said while it went down.
    agree(&mut observer, &server, "");
    let last = server.entries().pop().expect("it has a log").time;
    let server = rabbit.start();
    let again = agree(&mut observer, &server, &last);
    assert!(again < server.up_at(), "captured only from {again} on");
}

/// Boots, loses a process, is asked nonsense, is stopped and boots again.
#[test]
fn ejabberd_is_captured_event_for_event_and_its_tool_sees_nothing_of_it() {
    let Some(dir) = neighbours() else { return };
    let world = World::with_epmd();
    let _program = world.logmachine(&["--connect", "local"]);
    std::fs::create_dir(world.path("config")).expect("a directory can be made");
    let files = [
        ("ejabberd.yml", "hosts:\n  - localhost\nloglevel: info\nlisten: []\nmodules: {}\n"),
        ("ejabberdctl.cfg", "INET_DIST_INTERFACE=127.0.0.1\n"),
        ("inetrc", ""),
    ];
    for (name, text) in files {
        std::fs::write(world.path("config").join(name), text).expect("a file can be made");
    }
    let ejabberdctl = || {
        let mut command = program(&world, &dir, &dir.join("bookworm/bin/ejabberdctl"));
        command.arg("--config-dir").arg(world.path("config")).arg("--logs").arg(world.path("logs"));
        command.arg("--spool").arg(world.path("spool")).args(["--node", "ejabberd@127.0.0.1"]);
        command
    };
    let start = || {
        let mut command = ejabberdctl();
        command.arg("foreground");
        let log = world.path("logs/ejabberd.log");
        Neighbour::start("ejabberd@127.0.0.1", log, command, "is started in the node")
    };
    std::fs::create_dir(world.path("logs")).expect("a directory can be made");
    let mut server = start();
    let mut observer = observer(&world, &dir);
    let handlers = "lists:sort([M || #{module := M} <- rpc:call('ejabberd@127.0.0.1', logger, get_handler_config, []), M =:= logmachine_logger_handler orelse M =:= error_logger])";
    observer.wait_until(handlers, "[error_logger,logmachine_logger_handler]");
    let crash = "gen_server:cast({ejabberd_iq, 'ejabberd@127.0.0.1'}, lm_nonsense),
         exit(rpc:call('ejabberd@127.0.0.1', erlang, whereis, [ejabberd_hooks]), kill)";
    observer.eval(crash);
    server.wait_for_log("Unexpected cast: lm_nonsense", 1);
    server.wait_for_log("reason: killed", 1);
    agree(&mut observer, &server, "");
    let status = succeeds("status", &ejabberdctl().arg("status").output().expect("it runs"));
    assert!(status.contains("is running in that node"), "{status}");
    let stop = ejabberdctl().arg("stop").output().expect("it runs");
    succeeds("stop", &stop);
    server.wait_stopped();
    let server = start();
    observer.wait_until(handlers, "[error_logger,logmachine_logger_handler]");
    observer.eval(crash);
    server.wait_for_log("Unexpected cast: lm_nonsense", 2);
    server.wait_for_log("reason: killed", 2);
    agree(&mut observer, &server, "");
}
