//! Flags, configuration, exit codes, what the operator reads.

use std::process::Output;

use crate::harness::World;

fn run(world: &World, verb: &str, flags: &[&str]) -> Output {
    world.command(verb).args(flags).output().expect("the program runs")
}

/// One line on standard error that holds `text`, and the exit code.
fn check(output: &Output, code: i32, text: &str) {
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{errors}");
    let last = errors.lines().last().unwrap_or_default();
    assert!(last.contains(text), "{errors}");
    assert!(output.stdout.is_empty());
}

#[test]
fn bad_usage_is_one_clear_line_and_exit_code_2() {
    let world = World::new();
    let cases: [(&[&str], &str); 8] = [
        (&["--name", "nohost"], "is no node name"),
        (&["--name", "a@nodot"], "--sname"),
        (&["--sname", "a@has.dot"], "--name"),
        (&["--listen", "nowhere"], "--listen"),
        (&["--instance", "a/b"], "instance name"),
        (&["--config", "missing.toml"], "missing.toml: cannot be read"),
        (&["--connect", "x"], "is no node name"),
        (&["--http", "here"], "write address:port, or off"),
    ];
    for (flags, text) in cases {
        check(&run(&world, "run", flags), 2, text);
    }
}

#[test]
fn a_cookie_file_that_others_can_read_is_refused_and_never_shown() {
    let world = World::new();
    std::fs::write(world.path("cookie"), "topsecret").unwrap();
    let output = run(&world, "run", &["--cookie-file", "cookie"]);
    check(&output, 2, "can be read by others");
    assert!(!String::from_utf8_lossy(&output.stderr).contains("topsecret"));
}

#[test]
fn what_is_not_to_be_had_is_exit_code_1() {
    let world = World::new();
    let _first = world.logmachine(&["--data-dir", "data"]);
    let cookie = world.cookie();
    let same = ["--name", "logmachine@127.0.0.1", "--setcookie", &cookie];
    let with = |more: &[&'static str]| [&same[..], more].concat();
    check(&run(&world, "run", &with(&["--data-dir", "data"])), 1, "log is open elsewhere");
    check(&run(&world, "run", &with(&["--data-dir", "other"])), 1, "is taken");
    std::fs::write(world.path("file"), "").unwrap();
    check(&run(&world, "run", &with(&["--data-dir", "file"])), 1, "cannot open its log");
    let listen = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = listen.local_addr().unwrap().to_string();
    let flags = ["--data-dir", "third", "--listen", &taken];
    check(&run(&world, "run", &[&same[..], &flags].concat()), 1, "cannot listen on");
}

#[test]
fn check_config_tells_file_line_and_key() {
    let world = World::new();
    std::fs::write(
        world.path("good.toml"),
        "[node]\nname = \"a@127.0.0.1\"\n[[instance]]\nname = \"q\"\n",
    )
    .unwrap();
    std::fs::write(world.path("bad.toml"), "[[instance]]\nname = \"q\"\nevict_after = \"x\"\n")
        .unwrap();
    let good = run(&world, "check-config", &["good.toml"]);
    assert_eq!(good.status.code(), Some(0));
    assert!(String::from_utf8_lossy(&good.stdout).contains("instances: q"));
    check(&run(&world, "check-config", &["bad.toml"]), 2, "bad.toml:3: evict_after: ");
}

#[test]
fn flag_beats_environment_beats_file() {
    let world = World::new();
    let file = "[node]\nsname = \"file\"\ndata_dir = \"from_file\"\n";
    std::fs::write(world.path("c.toml"), file).unwrap();
    let cookie = world.cookie();
    let flags = ["--config", "c.toml", "--setcookie", &cookie, "--name", "flag@127.0.0.1"];
    let start = |environment: &[(&str, &str)]| {
        let program = crate::harness::LogMachine::start_with(&world, &flags, environment);
        assert!(program.diagnostics().contains("flag@127.0.0.1"));
        assert_eq!(program.stop(), Some(0));
    };
    start(&[]);
    assert!(world.path("from_file/error_logger/error_logger").exists());
    start(&[("LOGMACHINE_DATA_DIR", "from_environment"), ("LOGMACHINE_SNAME", "environment")]);
    assert!(world.path("from_environment/error_logger/error_logger").exists());
}
