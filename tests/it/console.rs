//! The console in a real browser: Debian's chromium, driven by the programs of `console/`.
//!
//! Each of them runs against a node of its own, does what a person would, and ends with an error if the page does not answer as it
//! should, or does anywhere what no page may: write to the browser's console, fail, ask another host than the node.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::harness::{Erl, World, free_port, has_erlang, wait_for};
use crate::http::{Served, python};

const CHROMIUM: &str = "chromium";

/// What the programs need: chromium, and the packages that `tests/neighbours` installed.
struct Browser {
    packages: PathBuf,
}

impl Browser {
    /// Prints that the test is skipped if there is none.
    fn find() -> Option<Self> {
        let packages = python("browser")?;
        if on_path(CHROMIUM).is_none() {
            println!("skipped: there is no {CHROMIUM} on this machine");
            return None;
        }
        Some(Browser { packages })
    }

    /// Runs one of the programs, which must be content.
    fn run(&self, program: &str, arguments: &[&str]) {
        self.run_with(program, arguments, |step| panic!("nobody can do {step}"));
    }

    /// The same; `step` does what the program asks for, and says what came of it.
    fn run_with(&self, program: &str, arguments: &[&str], mut step: impl FnMut(&str) -> String) {
        let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/console");
        let errors = tempfile::tempfile().expect("a file can be made");
        let mut python = Command::new("python3")
            .arg(dir.join(program))
            .args(arguments)
            .env("PYTHONPATH", &self.packages)
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .env("CHROMIUM", on_path(CHROMIUM).expect("it was there"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(errors.try_clone().expect("it is open"))
            .spawn()
            .expect("python runs");
        let mut input = python.stdin.take().expect("it is piped");
        let output = BufReader::new(python.stdout.take().expect("it is piped"));
        for line in output.lines().map_while(Result::ok) {
            match line.strip_prefix("step ") {
                Some(asked) => writeln!(input, "{}", step(asked)).expect("it reads"),
                None => println!("{line}"),
            }
        }
        let status = python.wait().expect("it was started here");
        assert!(status.success(), "{program}: {}", whole(errors));
    }
}

fn whole(mut file: std::fs::File) -> String {
    use std::io::{Read, Seek};
    let mut text = String::new();
    file.rewind().and_then(|()| file.read_to_string(&mut text)).expect("it was written as text");
    text
}

fn on_path(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|dir| dir.join(program)).find(|file| file.is_file())
}

/// A token of each of these roles, and the lines of a configuration that accept them.
fn tokens<const N: usize>(world: &World, roles: [&str; N]) -> ([String; N], String) {
    let mut config = "[http]\n".to_owned();
    let tokens = roles.map(|role| {
        let made = world.command("token").args([role, "--role", role]).output();
        let made = String::from_utf8(made.expect("the program runs").stdout).expect("text");
        let (token, lines) = made.split_once('\n').expect("two lines and more");
        config.push_str(lines);
        token.to_owned()
    });
    (tokens, config)
}

/// The modules that draw nothing have tests of their own, run by the node.js that playwright brings.
#[test]
fn what_the_pages_are_made_of_does_what_its_tests_say() {
    let Some(packages) = python("browser") else { return };
    let console = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/api/console");
    let tests = console.join("tests").read_dir().expect("there are tests").flatten();
    let tests = tests.map(|entry| entry.path());
    let tests: Vec<_> = tests.filter(|path| path.to_string_lossy().ends_with(".test.js")).collect();
    assert!(!tests.is_empty());
    let output = Command::new(packages.join("playwright/driver/node"))
        .arg("--test")
        .args(tests)
        .output()
        .expect("node.js runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
}

#[test]
fn every_page_is_reached_by_address_link_and_key() {
    let Some(browser) = Browser::find() else { return };
    let world = World::new();
    let served = Served::start(&world, &["--instance", "error_logger"]);
    browser.run("shell.py", &[&served.url("/")]);
}

#[test]
fn who_has_a_token_gets_in_until_the_session_ends() {
    let Some(browser) = Browser::find() else { return };
    let world = World::new();
    let ([read, admin], config) = tokens(&world, ["read", "admin"]);
    std::fs::write(world.path("c.toml"), config).unwrap();
    let served = Served::start(&world, &["--instance", "error_logger", "--config", "c.toml"]);
    browser.run("login.py", &[&served.url("/"), &read, &admin]);
}

/// One that passes on the `Host` it was asked by, and one that does not.
#[test]
fn a_proxy_may_serve_the_console_below_a_path() {
    let Some(browser) = Browser::find() else { return };
    let world = World::new();
    let port = free_port();
    let ([read], config) = tokens(&world, ["read"]);
    let public = format!("[http]\npublic_url = \"http://127.0.0.1:{port}/ops/logs/\"\n");
    std::fs::write(world.path("c.toml"), config.replace("[http]\n", &public)).unwrap();
    let served = Served::start(&world, &["--instance", "error_logger", "--config", "c.toml"]);
    browser.run("proxied.py", &[&served.url(""), &port.to_string(), &read]);
}

/// The node is killed while somebody writes and somebody looks, and started again at the same address.
#[test]
fn the_log_is_seen_as_it_comes_and_as_it_was_also_over_a_restart() {
    let Some(browser) = Browser::find() else { return };
    let world = World::new();
    let start = |port| Served::start_at(&world, port, &["--instance", "error_logger"]);
    let port = free_port();
    let mut served = Some(start(port));
    let url = format!("http://127.0.0.1:{port}/");
    browser.run_with("live.py", &[&url], |step| {
        match step {
            "kill" => served.take().expect("it runs").program.kill(),
            "start" => served = Some(start(port)),
            _ => panic!("nobody can do {step}"),
        }
        "done".to_owned()
    });
}

/// The shop of `examples/demo` after its first rush: its three nodes, and what it sells for.
fn shop(world: &World) -> (Served, [Erl; 3]) {
    const DEMO: &str = "examples/demo";
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join(DEMO);
    let config = root.join("demo.toml").display().to_string();
    let port = free_port();
    let listen = format!("127.0.0.1:{port}");
    let served =
        Served { program: world.logmachine(&["--config", &config, "--http", &listen]), port };
    let source = root.join("demo_shop.erl");
    let nodes = ["front", "stock", "billing"].map(|name| {
        let mut node = world.erl(name);
        node.eval(&format!(
            "{{ok, M, Code}} = compile:file({source:?}, [binary]), code:load_binary(M, \"demo_shop\", Code)"
        ));
        node.eval(&format!("demo_shop:start([{name}])"));
        node
    });
    wait_for("the rush is over, a candle is drawn, and there are no kettles any more", || {
        let any = |path: &str, list: &str| {
            served.get(path)[list].as_array().is_some_and(|found| !found.is_empty())
        };
        (any(
            "/api/v1/instances/error_logger/entries?from=earliest&grep=the+rush+is+over",
            "entries",
        ) && any("/api/v1/instances/candles/entries?from=earliest", "entries")
            && any("/api/v1/instances/reports/entries?from=earliest", "entries")
            && served.get("/api/v1/alerts").to_string().contains("kettle"))
        .then_some(())
    });
    (served, nodes)
}

#[test]
fn every_page_shows_real_events_to_everybody_on_every_screen() {
    let Some(browser) = Browser::find().filter(|_| has_erlang()) else { return };
    let world = World::new();
    let (served, _nodes) = shop(&world);
    browser.run("pages.py", &[&served.url("/")]);
}

#[test]
fn people_decide_about_faults_if_they_may() {
    let Some(browser) = Browser::find() else { return };
    let world = World::new();
    let ([read, write, admin], config) = tokens(&world, ["read", "write", "admin"]);
    std::fs::write(world.path("c.toml"), config).unwrap();
    let served = Served::start(&world, &["--instance", "error_logger", "--config", "c.toml"]);
    browser.run("faults.py", &[&served.url("/"), &read, &write, &admin]);
}

/// HTML, scripts, escape sequences, marks that turn text around, a line of 1 MB, a term 1,000 deep: in events and in addresses.
#[test]
fn what_events_say_is_text_whatever_it_says() {
    let Some(browser) = Browser::find() else { return };
    let world = World::new();
    let served = Served::start(&world, &["--instance", "error_logger"]);
    browser.run("hostile.py", &[&served.url("/")]);
}
