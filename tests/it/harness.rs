//! Starts and stops what the tests need.
//!
//! Every test has a world of its own: a port for its port mapper, a cookie, a directory. Whatever it starts ends
//! with it. Nothing here sleeps for a fixed time: conditions are polled until a deadline.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

/// How long anything may take that is only waited for.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// Polls `condition` until it gives something; panics with `what` after [`PATIENCE`].
pub(crate) fn wait_for<T>(what: &str, mut condition: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(value) = condition() {
            return value;
        }
        assert!(Instant::now() < deadline, "{what}: did not happen within {PATIENCE:?}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// A port that nobody listens on, and that nobody but whoever asked gets.
///
/// Not one that the system would choose: while whoever asked gets ready to listen there, it would soon be given to
/// somebody else, or be where one of a test's many connections comes from.
pub(crate) fn free_port() -> u16 {
    const FIRST: u32 = 10_000;
    // Linux chooses from 32768 on.
    const COUNT: u32 = 22_000;
    static ASKED: AtomicU32 = AtomicU32::new(0);
    loop {
        let nth = std::process::id()
            .wrapping_mul(1_000)
            .wrapping_add(ASKED.fetch_add(1, Ordering::Relaxed));
        let port = u16::try_from(FIRST + nth % COUNT).expect("below 32000");
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return port;
        }
    }
}

/// Whether Erlang is installed; prints that the test is skipped if not.
pub(crate) fn has_erlang() -> bool {
    let found =
        Command::new("erl").arg("-version").stderr(Stdio::null()).stdout(Stdio::null()).status();
    let found = found.is_ok();
    if !found {
        println!("skipped: there is no erl on this machine");
    }
    found
}

/// A port mapper's port, a cookie and a directory for one test.
pub(crate) struct World {
    pub(crate) dir: tempfile::TempDir,
    pub(crate) epmd_port: u16,
    epmd: Mutex<Option<Child>>,
}

impl World {
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().expect("a directory can be made");
        World { dir, epmd_port: free_port(), epmd: Mutex::new(None) }
    }

    /// A world with OTP's own port mapper.
    pub(crate) fn with_epmd() -> Self {
        let world = World::new();
        world.start_epmd();
        world
    }

    pub(crate) fn start_epmd(&self) {
        let mut command = Command::new("epmd");
        command
            .args(["-port", &self.epmd_port.to_string()])
            .env("ERL_EPMD_RELAXED_COMMAND_CHECK", "1");
        command.stdout(Stdio::null()).stderr(Stdio::null());
        *self.epmd.lock().expect("no panic while it is held") =
            Some(command.spawn().expect("epmd runs"));
        wait_for("epmd listens", || TcpStream::connect((Ipv4Addr::LOCALHOST, self.epmd_port)).ok());
    }

    pub(crate) fn stop_epmd(&self) {
        if let Some(mut epmd) = self.epmd.lock().expect("no panic while it is held").take() {
            let _ = epmd.kill();
            let _ = epmd.wait();
        }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn cookie(&self) -> String {
        format!("cookie_{}", self.epmd_port)
    }

    /// The program with a verb, in this world.
    pub(crate) fn command(&self, verb: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_logmachine"));
        command.arg(verb);
        self.surround(command)
    }

    /// The same, after the shell has done `first`, such as `umask 0`.
    pub(crate) fn command_after(&self, first: &str, verb: &str) -> Command {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", &format!("{first}; exec \"$0\" \"$@\"")]);
        command.args([env!("CARGO_BIN_EXE_logmachine"), verb]);
        self.surround(command)
    }

    fn surround(&self, mut command: Command) -> Command {
        command.env("ERL_EPMD_PORT", self.epmd_port.to_string()).env("LOGMACHINE_HTTP", "off");
        command.env("HOME", self.dir.path()).current_dir(self.dir.path());
        command
    }

    /// A node `logmachine@127.0.0.1` that is ready, with these further flags.
    pub(crate) fn logmachine(&self, flags: &[&str]) -> LogMachine {
        let cookie = self.cookie();
        let mut all = vec!["--name", "logmachine@127.0.0.1", "--setcookie", &cookie];
        all.extend_from_slice(flags);
        LogMachine::start(self, &all)
    }

    /// An Erlang node `NAME@127.0.0.1` of the release installed on this machine.
    pub(crate) fn erl(&self, name: &str) -> Erl {
        Erl::start(self, Path::new("erl"), &["-name", &format!("{name}@127.0.0.1")])
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.stop_epmd();
    }
}

/// The lines that a process writes, as they come.
pub(crate) struct Lines(Receiver<String>);

impl Lines {
    pub(crate) fn of(stream: impl std::io::Read + Send + 'static) -> Self {
        let (sender, receiver) = channel();
        std::thread::spawn(move || {
            for line in BufReader::new(stream).lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    break;
                }
            }
        });
        Lines(receiver)
    }

    /// The first line that `want` likes; `None` at the end of output or after `patience`.
    pub(crate) fn find(&self, patience: Duration, want: impl Fn(&str) -> bool) -> Option<String> {
        let deadline = Instant::now() + patience;
        loop {
            match self.0.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(line) if want(&line) => return Some(line),
                Ok(_) => {}
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => return None,
            }
        }
    }
}

/// The running program.
pub(crate) struct LogMachine {
    child: Child,
    diagnostics: PathBuf,
}

impl LogMachine {
    /// Starts `logmachine run` and waits for its ready line.
    pub(crate) fn start(world: &World, flags: &[&str]) -> Self {
        LogMachine::start_with(world, flags, &[])
    }

    /// The same, with environment variables.
    pub(crate) fn start_with(world: &World, flags: &[&str], environment: &[(&str, &str)]) -> Self {
        let mut command = world.command("run");
        command.args(flags).arg("-v").envs(environment.iter().copied());
        LogMachine::start_as(world, command)
    }

    /// The same, for who starts the program in a way of its own.
    pub(crate) fn start_as(world: &World, mut command: Command) -> Self {
        let begin = Instant::now();
        let diagnostics = world.path(&format!("diagnostics-{:?}", begin));
        command.stdout(Stdio::piped());
        command.stderr(File::create(&diagnostics).expect("a file can be made"));
        let mut child = command.spawn().expect("the program runs");
        let lines = Lines::of(child.stdout.take().expect("it is piped"));
        let program = LogMachine { child, diagnostics };
        let ready = lines
            .find(PATIENCE, |line| line.starts_with("logmachine ") && line.ends_with(" ready"));
        assert!(ready.is_some(), "not ready: {}", program.diagnostics());
        program
    }

    pub(crate) fn diagnostics(&self) -> String {
        fs::read_to_string(&self.diagnostics).unwrap_or_default()
    }

    /// Where the diagnostics are, for after its end.
    pub(crate) fn diagnostics_path(&self) -> PathBuf {
        self.diagnostics.clone()
    }

    /// Waits until the diagnostics hold `text`.
    pub(crate) fn wait_for_diagnostics(&self, text: &str) {
        wait_for(text, || self.diagnostics().contains(text).then_some(()));
    }

    /// Where it serves HTTP, for who started it with `--http`: `http://127.0.0.1:PORT`, or with `https`.
    pub(crate) fn url(&self) -> String {
        const BEFORE: &str = "HTTP at ";
        wait_for("HTTP is served", || {
            let diagnostics = self.diagnostics();
            let line = diagnostics.lines().find_map(|line| Some(line.split_once(BEFORE)?.1))?;
            Some(line.trim_end().trim_end_matches('/').to_owned())
        })
    }

    pub(crate) fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    /// The largest amount of memory it has used, in KiB.
    pub(crate) fn peak_memory_kib(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id()));
        let status = status.expect("it is running");
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let number = line.and_then(|line| line.split_whitespace().next());
        number.and_then(|number| number.parse().ok()).expect("the kernel tells")
    }

    /// `kill -9`.
    pub(crate) fn kill(mut self) {
        self.child.kill().expect("it is running");
        self.child.wait().expect("it was started here");
    }

    /// An orderly stop; its exit code.
    pub(crate) fn stop(self) -> Option<i32> {
        self.stop_and_tell().0
    }

    /// The same, and all its diagnostics.
    pub(crate) fn stop_and_tell(mut self) -> (Option<i32>, String) {
        kill_process(self.pid(), Signal::TERM).expect("it is running");
        let ended =
            wait_for("an orderly stop", || self.child.try_wait().expect("it was started here"));
        (ended.code(), self.diagnostics())
    }
}

impl Drop for LogMachine {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("--- diagnostics of the program ---\n{}", self.diagnostics());
        }
    }
}

/// Reads expressions from standard input, keeps their variables, writes their values.
const AGENT: &str = r##"
    Loop = fun Loop(Bindings) ->
        case io:get_line("") of
            eof -> halt(0);
            Line ->
                {ok, Tokens, _} = erl_scan:string(Line),
                {ok, Expressions} = erl_parse:parse_exprs(Tokens),
                Next =
                    try erl_eval:exprs(Expressions, Bindings) of
                        {value, Value, New} ->
                            io:format("~n#value# ~0tp~n", [Value]), New
                    catch
                        Class:Reason ->
                            io:format("~n#value# ~0tp~n", [{exception, Class, Reason}]), Bindings
                    end,
                Loop(Next)
        end
    end,
    io:setopts([{encoding, unicode}]), Loop([])."##;

/// An Erlang node that evaluates what it is told. Variables are kept from one expression to the next.
pub(crate) struct Erl {
    child: Child,
    input: ChildStdin,
    lines: Lines,
    name: String,
}

impl Erl {
    /// Starts `program` as a node of `world`; `flags` name it.
    pub(crate) fn start(world: &World, program: &Path, flags: &[&str]) -> Self {
        let mut command = Command::new(program);
        command.args(flags).args([
            "-noshell",
            "-setcookie",
            &world.cookie(),
            "-start_epmd",
            "false",
        ]);
        command.args(["-kernel", "prevent_overlapping_partitions", "false"]);
        command.args(["-eval", &AGENT.split_whitespace().collect::<Vec<_>>().join(" ")]);
        command.env("ERL_EPMD_PORT", world.epmd_port.to_string()).env("HOME", world.dir.path());
        command.current_dir(world.dir.path()).env_remove("ERL_FLAGS");
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::inherit());
        let mut child = command.spawn().expect("erl runs");
        let input = child.stdin.take().expect("it is piped");
        let lines = Lines::of(child.stdout.take().expect("it is piped"));
        let mut node = Erl { child, input, lines, name: String::new() };
        node.name = node.eval("node()");
        node
    }

    /// Begins to evaluate an expression; [`Erl::value`] gives what it comes to.
    pub(crate) fn begin(&mut self, expression: &str) {
        let line = expression.split('\n').map(str::trim).collect::<Vec<_>>().join(" ");
        writeln!(self.input, "{}.", line.trim().trim_end_matches('.')).expect("the node reads");
    }

    /// The value of the expression begun last, on one line as `~0tp` prints it.
    pub(crate) fn value(&mut self) -> String {
        let line = self.lines.find(PATIENCE * 4, |line| line.starts_with("#value# "));
        let line = line.unwrap_or_else(|| panic!("{}: no value", self.name));
        line["#value# ".len()..].to_owned()
    }

    /// The value of an expression.
    pub(crate) fn eval(&mut self, expression: &str) -> String {
        self.begin(expression);
        self.value()
    }

    /// Evaluates until the value is `expected`.
    pub(crate) fn wait_until(&mut self, expression: &str, expected: &str) {
        let mut last = String::new();
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            last = self.eval(expression);
            if last == expected {
                return;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        panic!("{}: {expression} is still {last}, not {expected}", self.name);
    }

    /// Takes the message `pattern` out of its mailbox when it is there.
    pub(crate) fn wait_for_message(&mut self, pattern: &str) {
        let taken = self.eval(&format!("receive {pattern} -> true after 9000 -> false end"));
        assert_eq!(taken, "true", "{}: no {pattern}", self.name);
    }

    /// Compiles and loads a module of `tests/it/erl`.
    pub(crate) fn load(&mut self, module: &str) {
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/erl").join(module);
        let loaded = self.eval(&format!(
            "(fun() -> {{ok, M, Code}} = compile:file({source:?}, [binary]), code:load_binary(M, {module:?}, Code) end)()"
        ));
        assert_eq!(loaded, format!("{{module,{module}}}"));
    }

    /// Waits until the instance has its global name here.
    pub(crate) fn wait_for_name(&mut self, name: &str) {
        self.wait_until(&format!("is_pid(global:whereis_name({name}))"), "true");
    }

    pub(crate) fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    pub(crate) fn kill(mut self) {
        self.child.kill().expect("it is running");
        self.child.wait().expect("it was started here");
    }

    /// Waits until it has stopped by itself.
    pub(crate) fn wait_for_end(mut self) {
        wait_for("the node stops", || self.child.try_wait().expect("it was started here"));
    }
}

impl Drop for Erl {
    fn drop(&mut self) {
        // `erl` is a program that becomes the emulator, so this is the node itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
