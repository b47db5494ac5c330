//! Flags, configuration, exit codes, what the operator reads.

use std::io::{BufRead, Read};
use std::process::{Output, Stdio};

use rustix::process::{Signal, kill_process};

use crate::harness::{LogMachine, World, has_erlang};

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
        let program = LogMachine::start_with(&world, &flags, environment);
        assert!(program.diagnostics().contains("flag@127.0.0.1"));
        assert_eq!(program.stop(), Some(0));
    };
    start(&[]);
    assert!(world.path("from_file/error_logger/error_logger").exists());
    start(&[("LOGMACHINE_DATA_DIR", "from_environment"), ("LOGMACHINE_SNAME", "environment")]);
    assert!(world.path("from_environment/error_logger/error_logger").exists());
}

/// The names come from variables here, so they have to arrive without a flag.
#[test]
fn a_node_is_named_by_flag_environment_or_file() {
    let world = World::new();
    std::fs::write(world.path("c.toml"), "[node]\nname = \"file@127.0.0.1\"\n").unwrap();
    let cookie = world.cookie();
    let named = |more: &[&str], environment: &[(&str, &str)], name: &str| {
        let flags = [&["--setcookie", &cookie, "--config", "c.toml"], more].concat();
        let program = LogMachine::start_with(&world, &flags, environment);
        let listening = format!("listening node={name}");
        assert!(program.diagnostics().contains(&listening), "{}", program.diagnostics());
        assert_eq!(program.stop(), Some(0));
    };
    let long = ("LOGMACHINE_NAME", "environment@127.0.0.1");
    let short = ("LOGMACHINE_SNAME", "environment@localhost");
    named(&[], &[], "file@127.0.0.1");
    named(&[], &[long], "environment@127.0.0.1");
    named(&[], &[short], "environment@localhost");
    named(&["--name", "flag@127.0.0.1"], &[short], "flag@127.0.0.1");
    let both = world.command("run").envs([long, short]).output().unwrap();
    check(&both, 2, "either a long name or a short one");
}

#[test]
fn a_port_mapper_that_cannot_be_meant_is_refused() {
    let world = World::new();
    let with = |name, value, flags: &[&str], text| {
        for verb in ["run", "bench"] {
            let flags = if verb == "run" { flags } else { &["ingest", "--setcookie", "x"] };
            let output = world.command(verb).args(flags).env(name, value).output().unwrap();
            check(&output, 2, text);
        }
    };
    for port in ["abc", "0", "65536", "-1"] {
        with("ERL_EPMD_PORT", port, &[], "is no port: 1 to 65535");
    }
    with("ERL_EPMD_ADDRESS", "127.0.0.1,here", &[], "write IP addresses");
}

/// A log of a hundred thousand entries: more than a pipe holds.
fn imported(world: &World) {
    let line = |n: u64| format!("{{\"timestamp\":{},\"event\":{n}}}\n", 1_700_000_000_000_000 + n);
    let lines: String = (0..100_000).map(line).collect();
    std::fs::write(world.path("in.ndjson"), lines).unwrap();
    assert_eq!(run(world, "import", &["log", "in.ndjson"]).status.code(), Some(0));
}

#[test]
fn a_closed_standard_output_ends_quietly() {
    let world = World::new();
    imported(&world);
    std::fs::write(world.path("c.toml"), "").unwrap();
    let cases: [(&str, &[&str]); 5] = [
        ("export", &["log"]),
        ("export", &["log", "--format", "terms"]),
        ("check-config", &["c.toml"]),
        ("verify", &["log"]),
        ("help", &[]),
    ];
    for (verb, flags) in cases {
        for lines in [0, 1] {
            let mut command = world.command(verb);
            command.args(flags).stdout(Stdio::piped()).stderr(Stdio::piped());
            let mut child = command.spawn().unwrap();
            let mut output = std::io::BufReader::new(child.stdout.take().unwrap());
            for _ in 0..lines {
                output.read_line(&mut String::new()).unwrap();
            }
            drop(output);
            let ended = child.wait_with_output().unwrap();
            assert_eq!(String::from_utf8_lossy(&ended.stderr), "", "{verb}");
            assert_eq!(ended.status.code(), Some(0), "{verb}");
        }
    }
}

#[test]
fn what_the_parser_refuses_is_one_line_that_says_what_to_do() {
    let world = World::new();
    let cases: [(&str, &[&str], &str); 9] = [
        (
            "run",
            &["--conect", "a@b"],
            "unexpected argument '--conect' found; tip: a similar argument exists: '--connect'; see logmachine run --help",
        ),
        (
            "run",
            &["--epmd", "maybe"],
            "invalid value 'maybe' for '--epmd <EPMD>' [possible values: auto, external, embedded, none]; see logmachine run --help",
        ),
        (
            "run",
            &["--name", "a@b.c", "--sname", "d"],
            "the argument '--name <N@HOST>' cannot be used with '--sname <N>'; see",
        ),
        (
            "export",
            &[],
            "the following required arguments were not provided: <DIR>; see logmachine export --help",
        ),
        (
            "runn",
            &[],
            "unrecognized subcommand 'runn'; tip: a similar subcommand exists: 'run'; see logmachine --help",
        ),
        ("bench", &[], "not all that is needed was given; see logmachine bench --help"),
        ("bench", &["ingest", "--bytes", "1"], "see logmachine bench ingest --help"),
        ("export", &["log", "--since", "soon"], "\"soon\" is no moment"),
        ("run", &["-q", "-v"], "-q and -v cannot be used together"),
    ];
    for (verb, flags, text) in cases {
        let output = run(&world, verb, flags);
        check(&output, 2, text);
        assert_eq!(String::from_utf8_lossy(&output.stderr).lines().count(), 1);
    }
    let nothing = std::process::Command::new(env!("CARGO_BIN_EXE_logmachine")).output().unwrap();
    let verbs = "run, check-config, tail, read, send, info, faults, explain, rules, token, verify, export, import, backup, bench, completions or man";
    check(&nothing, 2, &format!("no verb: {verbs}; see logmachine --help"));
}

#[test]
fn hanging_up_does_not_end_the_node() {
    let world = World::new();
    let program = world.logmachine(&[]);
    kill_process(program.pid(), Signal::HUP).unwrap();
    program.wait_for_diagnostics("SIGHUP: read again");
    kill_process(program.pid(), Signal::HUP).unwrap();
    assert_eq!(program.stop(), Some(0));
}

#[test]
fn that_fault_rules_changed_is_said_and_holds_from_the_next_start_on() {
    let world = World::new();
    let config = |name: &str| {
        let rule =
            format!("[[fault_rule]]\nmatch = \"[{{'_',[],['$_']}}]\"\nfingerprint = \"{name}\"\n");
        std::fs::write(world.path("c.toml"), rule).unwrap();
    };
    config("a");
    let program = world.logmachine(&["--config", "c.toml"]);
    let hang_up = || kill_process(program.pid(), Signal::HUP).unwrap();
    hang_up();
    program.wait_for_diagnostics("SIGHUP: read again");
    assert!(!program.diagnostics().contains("fault rules"));
    config("b");
    hang_up();
    program.wait_for_diagnostics("fault rules are others now, which hold from the next start on");
    assert_eq!(program.stop(), Some(0));
}

/// What `run` says of itself to a terminal: that it listens, and why it does not start.
fn said_to_a_terminal(world: &World, flags: &[&str], environment: &[(&str, &str)]) -> String {
    use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
    let ours = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
    grantpt(&ours).and_then(|()| unlockpt(&ours)).unwrap();
    let name = ptsname(&ours, Vec::new()).unwrap();
    let theirs = std::fs::OpenOptions::new().write(true).open(name.to_str().unwrap()).unwrap();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = taken.local_addr().map(|address| (taken, address.to_string())).unwrap();
    let mut command = world.command("run");
    command.args(["--setcookie", "x", "--epmd", "none", "--http", &taken.1]);
    command.args(flags).env_remove("NO_COLOR").env("TERM", "xterm");
    command.envs(environment.iter().copied()).stdout(Stdio::null()).stderr(theirs);
    let status = command.status().unwrap();
    drop(command);
    assert_eq!(status.code(), Some(1));
    let mut said = Vec::new();
    // The end is an error once nobody has the other side open.
    let _ = std::fs::File::from(ours).read_to_end(&mut said);
    String::from_utf8(said).unwrap()
}

#[test]
fn diagnostics_have_colours_only_where_they_are_wanted() {
    let world = World::new();
    let coloured = |said: &str| said.contains('\u{1b}');
    let informed = |said: &str| said.contains("listening");
    let failed = |said: &str| said.contains("cannot serve HTTP at");
    for (flags, environment, colours, information) in [
        (&[][..], &[][..], true, true),
        (&[], &[("NO_COLOR", "1")], false, true),
        (&[], &[("NO_COLOR", "")], true, true),
        (&[], &[("TERM", "dumb")], false, true),
        (&["-q"], &[], false, false),
        (&[], &[("LOGMACHINE_QUIET", "true")], false, false),
    ] {
        let said = said_to_a_terminal(&world, flags, environment);
        assert_eq!(coloured(&said), colours, "{flags:?} {environment:?}: {said}");
        assert_eq!(informed(&said), information, "{flags:?} {environment:?}: {said}");
        assert!(failed(&said), "{said}");
    }
}

#[test]
fn twice_verbose_says_every_packet() {
    if !has_erlang() {
        return;
    }
    let world = World::with_epmd();
    let quiet = world.logmachine(&[]);
    let mut a = world.erl("a");
    assert_eq!(a.eval("net_adm:ping('logmachine@127.0.0.1')"), "pong");
    assert!(!quiet.diagnostics().contains("packet received"));
    assert_eq!(quiet.stop(), Some(0));
    let program = world.logmachine(&["-v"]);
    assert_eq!(a.eval("net_adm:ping('logmachine@127.0.0.1')"), "pong");
    program.wait_for_diagnostics("packet received node=a@127.0.0.1 operation=6");
    program.wait_for_diagnostics("packet sent node=a@127.0.0.1 operation=");
    assert!(!program.diagnostics().contains(&world.cookie()));
}

#[test]
fn a_cookie_refused_by_the_node_that_is_called_is_said() {
    if !has_erlang() {
        return;
    }
    let world = World::with_epmd();
    let _a = world.erl("a");
    let flags = ["--name", "logmachine@127.0.0.1", "--setcookie", "another"];
    let program = LogMachine::start(&world, &[&flags[..], &["--connect", "a@127.0.0.1"]].concat());
    program.wait_for_diagnostics(
        "a@127.0.0.1 closed the connection when it saw our digest: it refused our cookie",
    );
}

#[test]
fn bench_names_the_instance_that_is_not_there() {
    let world = World::new();
    let _program = world.logmachine(&[]);
    let cookie = world.cookie();
    let target = ["--node", "logmachine@127.0.0.1", "--setcookie", &cookie, "--instance", "quotes"];
    for verb in ["ingest", "subscribe"] {
        let output = run(&world, "bench", &[&[verb], &target[..]].concat());
        check(&output, 1, "logmachine@127.0.0.1 has no instance quotes");
    }
}

#[test]
fn a_directory_above_the_logs_is_answered_with_where_they_are() {
    let world = World::new();
    imported(&world);
    std::fs::create_dir_all(world.path("data/empty")).unwrap();
    std::fs::rename(world.path("log"), world.path("data/quotes")).unwrap();
    for verb in ["verify", "export"] {
        let text = "data: no log found here, but in data/quotes";
        check(&run(&world, verb, &["data"]), 1, text);
        check(&run(&world, verb, &["data/empty"]), 1, "data/empty: no log found here");
        let named = run(&world, verb, &["data/quotes", "--name", "other"]);
        check(&named, 1, "no log named other here");
    }
}

#[test]
fn an_import_says_what_it_skipped_and_fails_if_it_took_nothing() {
    let world = World::new();
    imported(&world);
    let mut bytes = std::fs::read(world.path("log/log")).unwrap();
    bytes[1000] ^= 0xff;
    std::fs::write(world.path("damaged"), &bytes).unwrap();
    let output = run(&world, "import", &["new", "damaged"]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1));
    assert!(said.contains("damaged: damaged at byte ") && said.contains("passed over"), "{said}");
    assert!(String::from_utf8_lossy(&output.stdout).contains(" entries imported, "));
    std::fs::write(world.path("empty"), "\n%% nothing\n").unwrap();
    std::fs::write(world.path("empty.ndjson"), "").unwrap();
    for file in ["empty", "empty.ndjson"] {
        let output = run(&world, "import", &["new", file]);
        assert_eq!(output.status.code(), Some(1));
        let errors = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(errors.contains("nothing to import was found"), "{errors}");
    }
}

#[test]
fn errors_in_json_lines_speak_of_json_with_file_and_line() {
    let world = World::new();
    let cases = [
        (
            "a.ndjson",
            "{\"timestamp\":1,\"event\":1}\n[1]\n",
            "a.ndjson:2: no JSON of an entry: a line is {",
        ),
        ("b.ndjson", "nonsense", "b.ndjson:1: no JSON of an entry"),
        ("c", " { \"event\": 1}", "c:1: no JSON of an entry"),
        (
            "d.jsonl",
            "{\"timestamp\": 1, \"event\": tru}\n",
            "d.jsonl:1: JSON of the event, column ",
        ),
        (
            "e.json",
            "{ \"timestamp\" : 1 , \"event\" : {\"$pid\": 1}}\n",
            "e.json:1: JSON of the event, column ",
        ),
    ];
    for (name, text, expected) in cases {
        std::fs::write(world.path(name), text).unwrap();
        let output = run(&world, "import", &["log", name]);
        assert_eq!(output.status.code(), Some(1));
        let errors = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(errors.lines().next().unwrap().contains(expected), "{errors}");
    }
    let spaced = "\n{ \"timestamp\" : 7 , \"event\" : [1, 2] }\n";
    std::fs::write(world.path("spaced"), spaced).unwrap();
    assert_eq!(run(&world, "import", &["spaces", "spaced"]).status.code(), Some(0));
}

/// The timestamp of an entry in every form it is shown in, from the outside: what `export` wrote.
#[test]
fn exported_timestamps_are_moments() {
    let world = World::new();
    let text = "{{1795,343462,123455},before}.\n{{1795,343462,123456},it}.\n{{1795,343462,123457},later}.\n";
    std::fs::write(world.path("in"), text).unwrap();
    assert_eq!(run(&world, "import", &["log", "in"]).status.code(), Some(0));
    for moment in [
        "1795343462123456",
        "{1795,343462,123456}",
        "1795.343462.123456",
        "2026-11-22T10:31:02.123456Z",
        "2026-11-22T12:31:02.123456+02:00",
        "2026-11-22 10:31:02.123456",
    ] {
        let flags = ["log", "--format", "terms", "--since", moment, "--until", moment];
        let output = run(&world, "export", &flags);
        let found = String::from_utf8_lossy(&output.stdout).into_owned();
        assert_eq!(found, "{{1795,343462,123456},it}.\n", "{moment}");
    }
    for moment in ["now", "today", "15m", "2h", "7d"] {
        let output = run(&world, "export", &["log", "--until", moment]);
        assert_eq!(output.status.code(), Some(0), "{moment}");
    }
}
