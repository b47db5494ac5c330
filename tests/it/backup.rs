//! `backup` beside a node that writes, rotates and archives.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Output;
use std::time::SystemTime;

use crate::harness::{Erl, LogMachine, World, has_erlang, wait_for};

const NAME: &str = "{error_logger, 0}";

/// A node that rotates and archives all the time, and a node that appends to it for ever.
fn under_load(world: &World) -> (LogMachine, Erl) {
    let config = "[instance_defaults]\nsegment_bytes = \"128KiB\"\narchive_after = \"1s\"\narchive_period = \"200ms\"\n";
    std::fs::write(world.path("c.toml"), config).unwrap();
    let mut a = world.erl("a");
    a.load("lm_collect");
    let program = world.logmachine(&["--connect", "a@127.0.0.1", "--config", "c.toml"]);
    a.wait_for_name(NAME);
    a.eval("(fun() -> {ok, S} = gen_server:call({global, {error_logger, 0}}, {subscribe, #{cursor => <<\"audit\">>, from => earliest, pid => self()}}),
        gen_server:cast({global, {error_logger, 0}}, first), receive {error_logger, {Ts, _}} -> S ! {ack, Ts}, gen_server:stop(S) end end)()");
    a.eval("lm_collect:send_for_ever(), ok");
    wait_for("an archive", || (files(&world.path("data"), ".zip") > 0).then_some(()));
    (program, a)
}

/// How many files there are whose names end so.
fn files(dir: &Path, ending: &str) -> usize {
    all_files(dir).keys().filter(|path| path.to_string_lossy().ends_with(ending)).count()
}

/// Every file below a directory, and when it was written.
fn all_files(dir: &Path) -> BTreeMap<PathBuf, SystemTime> {
    let mut found = BTreeMap::new();
    for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
        match entry.metadata() {
            Ok(meta) if meta.is_dir() => found.extend(all_files(&entry.path())),
            Ok(meta) => {
                found.insert(entry.path(), meta.modified().unwrap());
            }
            Err(_) => {}
        }
    }
    found
}

fn run(world: &World, verb: &str, arguments: &[&str]) -> Output {
    world.command(verb).args(arguments).output().expect("the program runs")
}

fn succeeds(world: &World, verb: &str, arguments: &[&str]) -> String {
    let output = run(world, verb, arguments);
    let said = String::from_utf8_lossy(&output.stderr);
    let told = String::from_utf8_lossy(&output.stdout);
    let told: String = told.chars().take(2000).collect();
    assert!(output.status.success(), "{verb} {arguments:?}: {said}{told}");
    String::from_utf8(output.stdout).expect("it writes UTF-8")
}

/// What a log holds, a line an entry.
fn entries(world: &World, dir: &str) -> Vec<String> {
    succeeds(world, "export", &[dir, "--format", "terms"]).lines().map(ToOwned::to_owned).collect()
}

/// Each backup is restored by copying and holds a beginning of what the log holds in the end, with at least all that was
/// there before the backup began; and the second leaves alone what the first has copied.
#[test]
fn a_backup_of_a_node_under_load_is_a_beginning_of_its_log() {
    if !has_erlang() {
        return;
    }
    let world = World::with_epmd();
    let (program, mut a) = under_load(&world);
    let mut restored = Vec::new();
    let mut copied = BTreeMap::new();
    for round in 0..4 {
        let appended = format!(
            "element(2, gen_server:call({{global, {NAME}}}, {{append, {{round, {round}}}}}))"
        );
        let stamp = a.eval(&appended);
        let said = succeeds(&world, "backup", &["error_logger", "copy"]);
        assert!(
            said.starts_with("error_logger: ") && said.contains(" segments copied, "),
            "{said}"
        );
        if round > 0 {
            assert!(!said.contains("; 0 were there already"), "{said}");
        }
        let before = std::mem::replace(&mut copied, all_files(&world.path("copy")));
        for (path, written) in &before {
            let name = path.file_name().unwrap().to_string_lossy();
            if name.ends_with(".zip") || name.ends_with('Z') {
                let again = copied.get(path);
                // An archive may have taken its place.
                let is_gone = again.is_none() && name.ends_with('Z');
                assert!(
                    is_gone || again == Some(written),
                    "round {round}: {name} was copied again"
                );
            }
        }
        // As the documentation says.
        let to = format!("restored{round}/error_logger");
        std::fs::create_dir(world.path(&format!("restored{round}"))).unwrap();
        let mut cp = std::process::Command::new("cp");
        let status = cp.arg("-r").arg(world.path("copy")).arg(world.path(&to)).status();
        assert!(status.expect("cp runs").success());
        assert!(succeeds(&world, "verify", &[&to, "copy"]).contains("sound"));
        restored.push((entries(&world, &to), stamp));
        // Until something new was archived.
        let archives = files(&world.path("data"), ".zip");
        wait_for("more archives", || (files(&world.path("data"), ".zip") > archives).then_some(()));
    }
    assert_eq!(program.stop(), Some(0));
    let all = entries(&world, "data/error_logger");
    for (entries, stamp) in &restored {
        assert!(!entries.is_empty() && all.starts_with(entries));
        assert!(entries.iter().any(|entry| entry.starts_with(&format!("{{{stamp},"))), "{stamp}");
    }
    // With nobody there to write, all of it; and then nothing is new.
    succeeds(&world, "backup", &["data/error_logger", "copy"]);
    assert!(entries(&world, "copy") == all);
    let nothing = succeeds(&world, "backup", &["data/error_logger", "copy"]);
    assert!(nothing.starts_with("error_logger: 0 segments copied, 0 bytes; "), "{nothing}");
    assert!(succeeds(&world, "verify", &["copy"]).contains("sound"));
    assert!(files(&world.path("copy/error_logger.cursors"), "") > 0, "cursors come along");
    // A node goes on with what was restored, and with its cursors.
    let program = world.logmachine(&["--connect", "a@127.0.0.1", "--data-dir", "restored3"]);
    a.wait_for_name(NAME);
    let from_cursor = format!("(fun() -> {{ok, _}} = gen_server:call({{global, {NAME}}}, {{subscribe, #{{cursor => <<\"audit\">>, from => earliest, pid => self()}}}}),
        receive {{error_logger, {{_, Event}}}} -> Event =/= first end end)()");
    assert_eq!(a.eval(&from_cursor), "true");
    assert_eq!(program.stop(), Some(0));
    let refused = run(&world, "backup", &["data/error_logger", "restored3/error_logger"]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("it is no backup any more"));
}

/// Killed again and again, each time after a few more files; then it can be read, and the next one goes on.
#[test]
fn a_backup_that_is_killed_is_of_use_to_the_next_one() {
    if !has_erlang() {
        return;
    }
    let world = World::with_epmd();
    let (program, _a) = under_load(&world);
    let mut held = 0;
    for round in 1..=12 {
        let mut command = world.command("backup");
        command.args(["error_logger", "copy"]).stdout(std::process::Stdio::null());
        let mut child = command.spawn().expect("it runs");
        let had = all_files(&world.path("copy")).len();
        wait_for("some progress", || {
            let has = all_files(&world.path("copy")).len();
            (has >= had + round || child.try_wait().unwrap().is_some()).then_some(())
        });
        let _ = child.kill();
        child.wait().unwrap();
        if files(&world.path("copy"), "Z") + files(&world.path("copy"), ".zip") == 0 {
            continue;
        }
        let left = entries(&world, "copy");
        assert!(left.len() >= held, "round {round}");
        held = left.len();
    }
    succeeds(&world, "backup", &["error_logger", "copy"]);
    let copied = entries(&world, "copy");
    assert!(succeeds(&world, "verify", &["copy"]).contains("sound"));
    assert_eq!(program.stop(), Some(0));
    let all = entries(&world, "data/error_logger");
    assert!(copied.len() >= held && all.starts_with(&copied));
}

/// Places that are none, damage in the source, and a source that nobody wrote but the original.
#[test]
fn what_a_backup_refuses_and_what_it_says_of_damage() {
    let world = World::new();
    let lines = (0..20_000).map(|n| format!("{{{{1000,{n},0}},{{n,{n},\"some text\"}}}}.\n"));
    std::fs::write(world.path("in.terms"), lines.collect::<String>()).unwrap();
    succeeds(&world, "import", &["data/quotes", "in.terms"]);
    let refuses = |arguments: &[&str], why: &str| {
        let output = run(&world, "backup", arguments);
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {said}");
        assert!(said.contains(why) && said.lines().count() == 1, "{arguments:?}: {said}");
    };
    refuses(&["nothing", "copy"], "no such directory");
    refuses(&["quotes", "data/quotes/copy"], "lies in the log");
    refuses(&["quotes", "data/quotes/archive/deep/copy"], "lies in the log");
    refuses(&["quotes", "data/quotes"], "lies in the log");
    refuses(&["quotes", "data"], "the log lies in it");
    refuses(&["quotes", "."], "the log lies in it");
    assert_eq!(files(&world.path("copy"), ""), 0);
    let before = all_files(&world.path("data"));
    let said = succeeds(&world, "backup", &["quotes", "copy"]);
    assert!(said.starts_with("quotes: 1 segments copied, "), "{said}");
    assert_eq!(all_files(&world.path("data")), before, "nothing is written to the log");
    assert!(entries(&world, "copy") == entries(&world, "data/quotes"));
    let mut bytes = std::fs::read(world.path("data/quotes/quotes")).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(world.path("data/quotes/quotes"), &bytes).unwrap();
    let output = run(&world, "backup", &["quotes", "damaged"]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("quotes: damaged at byte ") && said.lines().count() == 2, "{said}");
    assert_eq!(std::fs::read(world.path("damaged/quotes")).unwrap(), bytes);
}
