//! `verify`, `export` and `import` on what a node wrote, with OTP as the judge.

use std::process::{Output, Stdio};

use crate::harness::{World, has_erlang, wait_for};

const NAME: &str = "{error_logger, 0}";

fn run(world: &World, verb: &str, arguments: &[&str]) -> Output {
    world.command(verb).args(arguments).output().expect("the program runs")
}

fn succeeds(world: &World, verb: &str, arguments: &[&str]) -> String {
    let output = run(world, verb, arguments);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("it writes UTF-8")
}

/// A log with terms of every kind and several segments; the node has stopped.
fn written_log(world: &World) -> crate::harness::Erl {
    std::fs::write(world.path("c.toml"), "[instance_defaults]\nsegment_bytes = \"64KiB\"\n")
        .unwrap();
    let mut a = world.erl("a");
    let program = world.logmachine(&["--connect", "a@127.0.0.1", "--config", "c.toml"]);
    a.wait_for_name(NAME);
    a.eval(&format!("R = global:whereis_name({NAME})"));
    a.eval(
        "Kinds = [{'$pid', 1}, {'$tuple', {'$ref', self()}}, #{self() => make_ref()}, hd(erlang:ports()), 1, -1, 1 bsl 80, 1.5, -0.0, atom, 'ätom', \"string\", \"日本\", <<\"bin\">>, <<255, 0>>, <<1:3>>, [], {}, [a | b],
            #{a => 1, <<\"b\">> => 2}, self(), make_ref(), fun lists:map/2, fun() -> ok end, binary:copy(<<0>>, 70000), #{1 => #{2 => []}}]",
    );
    a.eval("{ok, _, _} = gen_server:call(R, {append, Kinds, many}), {ok, _, _} = gen_server:call(R, {append, [{n, N} || N <- lists:seq(1, 3000)], many})");
    a.load("lm_collect");
    a.eval("Log = lm_collect:take(earliest, []), length(Log)");
    assert_eq!(program.stop(), Some(0));
    a
}

/// Out in each form and in again gives the same log; a second import adds nothing.
#[test]
fn what_is_exported_and_imported_is_the_same_log() {
    if !has_erlang() {
        return;
    }
    let world = World::with_epmd();
    let mut a = written_log(&world);
    assert!(succeeds(&world, "verify", &["data/error_logger"]).contains("sound"));
    let forms = [("ndjson", "out.ndjson"), ("terms", "out.terms"), ("disk-log", "out.log")];
    for (form, file) in forms {
        succeeds(&world, "export", &["data/error_logger", "--format", form, "-o", file]);
        let into = format!("{form}/error_logger");
        assert_eq!(
            succeeds(&world, "import", &[&into, file]).trim(),
            "3026 entries imported, 0 were there already"
        );
        assert_eq!(
            succeeds(&world, "import", &[&into, file]).trim(),
            "0 entries imported, 3026 were there already"
        );
        let again = format!("again-{form}");
        succeeds(&world, "export", &[&into, "--format", "disk-log", "-o", &again]);
        let read = format!("(fun() -> {{ok, L}} = disk_log:open([{{name, {again:?}}}, {{file, {again:?}}}, {{mode, read_only}}, {{repair, false}}]),
            Chunks = fun Chunks(C) -> case disk_log:chunk(L, C) of eof -> []; {{Next, Terms}} -> Terms ++ Chunks(Next) end end,
            All = Chunks(start), disk_log:close(L), All =:= Log end)()");
        assert_eq!(a.eval(&read), "true", "{form}");
    }
    // What OTP reads as text, with the documented way back for what has no syntax.
    load_real(&world, &mut a);
    let consult =
        "(fun() -> {ok, Terms} = file:consult(\"out.terms\"), real:real(Terms) =:= Log end)()";
    assert_eq!(a.eval(consult), "true");
    let text = std::fs::read_to_string(world.path("out.terms")).unwrap();
    assert!(text.contains("{'$pid','a@127.0.0.1',") && text.contains("{'$ref','a@127.0.0.1',"));
    assert!(text.contains("fun lists:map/2") && text.contains("{'$closure',erl_eval,"));
    // A directory as it is, and another selection.
    assert!(
        succeeds(&world, "import", &["copy/error_logger", "data/error_logger"])
            .contains("3026 entries imported")
    );
    let some = succeeds(
        &world,
        "export",
        &["data/error_logger", "--match", "[{{n,'$1'},[{'>','$1',2998}],['$1']}]", "--since", "1h"],
    );
    let events: Vec<_> = some
        .lines()
        .filter_map(|line| line.split_once("\"event\":"))
        .map(|(_, event)| event)
        .collect();
    assert_eq!(events, ["2999}", "3000}"]);
}

/// Compiles the function of docs/terms.md as module `real`.
pub(crate) fn load_real(world: &World, node: &mut crate::harness::Erl) {
    let docs = include_str!("../../docs/terms.md");
    let (_, code) = docs.split_once("```erlang\nreal(").expect("the function is there");
    let (code, _) = code.split_once("```").expect("it ends");
    let module = format!("-module(real).\n-export([real/1]).\nreal({code}");
    std::fs::write(world.path("real.erl"), module).unwrap();
    let load = "(fun() -> {ok, real, Code} = compile:file(\"real.erl\", [binary]), code:load_binary(real, \"real\", Code) end)()";
    assert_eq!(node.eval(load), "{module,real}");
}

#[test]
fn an_import_that_would_break_the_order_is_refused() {
    let world = World::new();
    std::fs::write(world.path("late.terms"), "{{1000,0,5},late}.\n").unwrap();
    std::fs::write(world.path("early.terms"), "{{1000,0,4},early}.\n").unwrap();
    std::fs::write(world.path("bad.terms"), "{nonsense}.\n").unwrap();
    std::fs::write(world.path("bad.ndjson"), "{\"timestamp\":1,\"event\":2}\n{\"oops\"\n").unwrap();
    succeeds(&world, "import", &["log", "late.terms"]);
    let fails = |file: &str, text: &str| {
        let output = run(&world, "import", &["log", file]);
        assert_eq!(output.status.code(), Some(1));
        let errors = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(errors.contains(text), "{errors}");
    };
    fails("early.terms", "is not in the log, which already goes up to 1000.0.5");
    fails("bad.terms", "bad.terms:1: this is a term, but no {Timestamp, Event}");
    fails("bad.ndjson", "bad.ndjson:1: entry stamped 0.0.1 is not in the log");
    assert!(succeeds(&world, "export", &["log"]).contains("{\"$atom\":\"late\"}"));
}

#[test]
fn verify_names_the_damaged_bytes() {
    if !has_erlang() {
        return;
    }
    let world = World::with_epmd();
    drop(written_log(&world));
    let mut segments: Vec<_> = std::fs::read_dir(world.path("data/error_logger"))
        .unwrap()
        .map(|file| file.unwrap().path())
        .filter(|path| path.to_string_lossy().ends_with('Z'))
        .collect();
    segments.sort();
    let mut bytes = std::fs::read(&segments[0]).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&segments[0], &bytes).unwrap();
    let output = run(&world, "verify", &["data/error_logger"]);
    assert_eq!(output.status.code(), Some(1));
    let report = String::from_utf8_lossy(&output.stdout);
    assert!(report.contains("damaged at byte") && report.contains("DAMAGED"), "{report}");
    assert_eq!(run(&world, "verify", &["nowhere"]).status.code(), Some(1));
}

/// Whatever names the log's own files, as it is written or through links, is refused; nothing of the log changes.
#[test]
fn an_export_never_writes_into_the_log_that_it_reads() {
    let world = World::new();
    std::fs::write(world.path("in.terms"), "{{1000,0,5},{pid,{'$pid',a@b,41,0,7}}}.\n").unwrap();
    succeeds(&world, "import", &["log", "in.terms"]);
    std::fs::create_dir_all(world.path("log/archive")).unwrap();
    std::fs::create_dir(world.path("elsewhere")).unwrap();
    let link = |to: &str, name: &str| {
        std::os::unix::fs::symlink(world.path(to), world.path(name)).unwrap();
    };
    link("log", "to_dir");
    link("log/log", "to_file");
    link("nothing", "to_nothing");
    std::fs::hard_link(world.path("log/log"), world.path("same")).unwrap();
    std::fs::write(world.path("kept"), "kept").unwrap();
    let before = contents(&world.path("log"));
    assert!(!before.is_empty());
    let refuses = |target: &str, force: bool, why: &str| {
        for format in ["ndjson", "terms", "disk-log"] {
            let mut arguments = vec!["log", "--format", format, "-o", target];
            arguments.extend(force.then_some("--force"));
            let output = run(&world, "export", &arguments);
            let errors = String::from_utf8_lossy(&output.stderr);
            assert_eq!(output.status.code(), Some(2), "{target}: {errors}");
            assert!(errors.contains(why) && errors.lines().count() == 1, "{target}: {errors}");
        }
    };
    for target in [
        "log/log",
        "log/new",
        "log/archive/new",
        "elsewhere/../log/new",
        "to_dir/new",
        "to_file",
        "same",
    ] {
        refuses(target, true, "lies in the log that is read");
    }
    refuses("log", true, "is a directory");
    refuses("to_nothing", true, "is a link to nothing");
    refuses("elsewhere/", false, "is a directory");
    refuses("new/", false, "names no file");
    refuses("/dev/null", true, "is no regular file");
    refuses("kept", false, "exists; --force replaces it");
    assert_eq!(contents(&world.path("log")), before);
    assert_eq!(std::fs::read(world.path("kept")).unwrap(), b"kept");
    succeeds(&world, "export", &["log", "--format", "terms", "-o", "kept", "--force"]);
    let written = std::fs::read(world.path("kept")).unwrap();
    assert_eq!(written, std::fs::read(world.path("in.terms")).unwrap());
    // Neither does an import read what it writes.
    for input in ["log", "log/log", "to_file", "to_dir", "same", "log/archive"] {
        let output = run(&world, "import", &["log", input]);
        let errors = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{input}: {errors}");
        assert!(errors.contains("belongs to the log to be filled"), "{input}: {errors}");
    }
    assert_eq!(contents(&world.path("log")), before);
}

/// The names and bytes of a directory's files.
fn contents(dir: &std::path::Path) -> Vec<(std::ffi::OsString, Vec<u8>)> {
    let files = std::fs::read_dir(dir).unwrap().map(Result::unwrap);
    let files = files.filter(|file| file.path().is_file());
    let mut files: Vec<_> =
        files.map(|file| (file.file_name(), std::fs::read(file.path()).unwrap())).collect();
    files.sort();
    files
}

/// A log whose export takes a while: its output is a pipe that is full, or a large file.
fn large_log(world: &World) {
    let lines = (0..100_000).map(|n| format!("{{{{1000,{n},0}},{{n,{n},\"some text\"}}}}.\n"));
    std::fs::write(world.path("in.terms"), lines.collect::<String>()).unwrap();
    succeeds(world, "import", &["log", "in.terms"]);
}

#[test]
fn a_reader_that_goes_ends_an_export_quietly() {
    let world = World::new();
    large_log(&world);
    let mut command = world.command("export");
    command.args(["log"]).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut output = child.stdout.take().unwrap();
    std::io::Read::read_exact(&mut output, &mut [0; 100]).unwrap();
    drop(output);
    let output = child.wait_with_output().unwrap();
    assert_eq!((output.status.code(), &*output.stderr), (Some(0), &b""[..]));
}

/// Interrupted while the draft is there, and failing for lack of space: no draft stays, and no half-written file.
#[test]
fn an_export_that_ends_early_leaves_nothing_behind() {
    let world = World::new();
    large_log(&world);
    std::fs::create_dir(world.path("out")).unwrap();
    let files = || std::fs::read_dir(world.path("out")).unwrap().count();
    let mut interrupted = 0;
    while interrupted == 0 {
        let mut command = world.command("export");
        let mut child = command.args(["log", "-o", "out/all", "--force"]).spawn().unwrap();
        wait_for("a draft", || (files() > 0).then_some(()));
        // It may be done already; then once more.
        let _ = rustix::process::kill_process(
            rustix::process::Pid::from_child(&child),
            rustix::process::Signal::INT,
        );
        let status = child.wait().unwrap();
        let drafts = std::fs::read_dir(world.path("out")).unwrap();
        let drafts = drafts.filter(|file| file.as_ref().unwrap().file_name() != "all");
        assert_eq!(drafts.count(), 0, "{status:?}");
        if status.code() == Some(128 + 2) {
            interrupted += 1;
            assert!(!world.path("out/all").exists());
        }
        let _ = std::fs::remove_file(world.path("out/all"));
    }
    // A file may have 64 KiB at most.
    let program = env!("CARGO_BIN_EXE_logmachine");
    let script = format!("trap '' XFSZ; ulimit -f 64; exec {program} export log -o out/all");
    let mut command = std::process::Command::new("sh");
    let output = command.args(["-c", &script]).current_dir(world.dir.path()).output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(output.stderr.iter().filter(|&&byte| byte == b'\n').count(), 1);
    assert_eq!(files(), 0);
}

/// The last microsecond of the year 9999 and the one after it, in each form, and what 64 bits hold beyond.
#[test]
fn a_timestamp_that_no_entry_can_have_is_refused_where_it_stands() {
    let world = World::new();
    let disk_log = |[mega, secs, micros]: [u32; 3]| {
        let part = |part: u32| [&[98][..], &part.to_be_bytes()].concat();
        let parts = [part(mega), part(secs), part(micros)].concat();
        let term = [&[131, 104, 2, 104, 3][..], &parts, &[97, 1]].concat();
        let size = u32::try_from(term.len()).unwrap().to_be_bytes();
        [&[1, 2, 3, 4, 6, 7, 8, 9][..], &size, &[12, 33, 44, 55], &term].concat()
    };
    let (latest, late) = ([253_402, 300_799, 999_999], [253_402, 300_800, 0]);
    let good = "{\"timestamp\":1,\"event\":1}\n";
    let json = |stamp: &str| format!("{good}{{\"timestamp\":{stamp},\"event\":1}}\n").into_bytes();
    let terms = |[mega, secs, micros]: [u32; 3]| {
        format!("{{{{0,0,1}},1}}.\n{{{{{mega},{secs},{micros}}},1}}.\n").into_bytes()
    };
    let beyond = "is beyond the year 9999";
    for (file, bytes, errors) in [
        ("1.ndjson", json("253402300799999999"), None),
        ("2.ndjson", json("253402300800000000"), Some(["2.ndjson:2: the timestamp, ", beyond])),
        ("3.ndjson", json("18446744073709551614"), Some(["3.ndjson:2: the timestamp, ", beyond])),
        ("4.ndjson", json("18446744073709551616"), Some(["4.ndjson:2: ", "no JSON of an entry"])),
        ("5.ndjson", json("-1"), Some(["5.ndjson:2: ", "no JSON of an entry"])),
        ("1.terms", terms(latest), None),
        ("2.terms", terms(late), Some(["2.terms:2: the timestamp, ", beyond])),
        ("3.terms", terms([9_223_372, 0, 0]), Some(["3.terms:2: ", "no {Timestamp, Event}"])),
        ("1.log", disk_log(latest), None),
        ("2.log", disk_log(late), Some(["2.log: at byte 8: the timestamp, ", beyond])),
    ] {
        std::fs::write(world.path(file), bytes).unwrap();
        let into = format!("into-{file}/log");
        let output = run(&world, "import", &[&into, file, "--allow-future"]);
        let said = String::from_utf8_lossy(&output.stderr);
        let expected = if errors.is_some() { 1 } else { 0 };
        assert_eq!(output.status.code(), Some(expected), "{file}: {said}");
        for error in errors.iter().flatten() {
            assert!(said.contains(error), "{file}: {said}");
        }
        if errors.is_none() {
            assert!(succeeds(&world, "verify", &[&into]).contains("sound"), "{file}");
            assert!(succeeds(&world, "export", &[&into]).contains("253402300799999999"), "{file}");
        }
    }
}

/// Writes what the original left behind, with the calls it made: rotated segments and a live one in `old`, the first two
/// in archives, and in `early` what its first version wrote. `All` is all of it in order; where segments meet, one entry
/// is there twice, and another has the same timestamp.
fn written_by_the_original(world: &World) -> crate::harness::Erl {
    let mut a = world.erl("a");
    a.eval(
        "Entry = fun(N) -> {{1321, N, N}, {quote, 'vt b', N, #{n => [N, 1.5]}, binary:copy(<<N>>, case N rem 50 of 0 -> 70000; _ -> 99 end)}} end,
        Entries = fun(From, To) -> [Entry(N) || N <- lists:seq(From, To)] end,
        Other = {{1321, 199, 199}, other}, {Stamp, _} = Entry(199), Stamp =:= element(1, Other)",
    );
    a.eval(
        "Segments = [{\"quotes_2011-11-14_01-36-07.089Z\", Entries(1, 99)}, {\"quotes_2011-11-14_02-06-07.090Z\", Entries(99, 199)},
            {\"quotes_2011-11-14_02-36-07.091Z\", [Other | Entries(200, 299)]}, {live, Entries(300, 320)}],
        All = Entries(1, 199) ++ [{{1321, 199, 200}, other}] ++ Entries(200, 320), length(All)",
    );
    a.eval(
        "Write = fun(Dir, Segs) -> ok = filelib:ensure_dir(Dir ++ \"/archive/x\"), {ok, quotes} = disk_log:open([{name, quotes}, {file, Dir ++ \"/quotes\"}]),
            [begin ok = disk_log:alog_terms(quotes, Terms), Name =:= live orelse (ok = disk_log:reopen(quotes, Dir ++ \"/\" ++ Name)) end || {Name, Terms} <- Segs],
            ok = disk_log:close(quotes) end,
        Archive = fun(Dir, FN) -> File = Dir ++ \"/archive/\" ++ FN, ok = file:rename(Dir ++ \"/\" ++ FN, File),
            {ok, _} = zip:create(File ++ \".zip#\", [FN], [{cwd, Dir ++ \"/archive\"}]),
            ok = file:rename(File ++ \".zip#\", File ++ \".zip\"), ok = file:delete(File) end, ok",
    );
    a.eval("Write(\"old\", Segments), [Archive(\"old\", FN) || {FN, _} <- lists:sublist(Segments, 2)], Write(\"early\", Segments),
        ok = file:rename(\"early/quotes\", \"early/quotes.log\")");
    a
}

/// Whole directories, archives alone, and every file by itself in whatever order: each time the same log comes of it, and
/// nothing more when it is done again. The judge is Erlang.
#[test]
fn all_that_the_original_wrote_is_imported_once() {
    if !has_erlang() {
        return;
    }
    let world = World::with_epmd();
    let mut a = written_by_the_original(&world);
    let files = |dir: &str| -> Vec<String> {
        let found = std::fs::read_dir(world.path(dir)).unwrap().map(Result::unwrap);
        let found = found.filter(|file| file.path().is_file());
        let mut found: Vec<_> =
            found.map(|file| format!("{dir}/{}", file.file_name().display())).collect();
        // The live one comes first, as a shell gives them.
        found.sort();
        found
    };
    let archives = files("old/archive");
    assert!(archives.iter().all(|name| name.ends_with("Z.zip")) && archives.len() == 2);
    std::fs::create_dir_all(world.path("packed/archive")).unwrap();
    for archive in &archives {
        let (_, name) = archive.rsplit_once('/').unwrap();
        std::fs::copy(world.path(archive), world.path("packed/archive").join(name)).unwrap();
        std::fs::copy(world.path(archive), world.path(&format!("{}.bak", &name[7..]))).unwrap();
    }
    let mut everything = files("old");
    assert_eq!(everything[0], "old/quotes");
    everything.extend(archives.iter().rev().cloned());
    let renamed: Vec<_> = archives
        .iter()
        .map(|name| format!("{}.bak", &name["old/archive/quotes_".len()..]))
        .collect();
    let half = "lists:sublist(All, 199)";
    let inputs: [(&str, Vec<String>, &str); 8] = [
        ("whole", vec!["old".into()], "All"),
        ("early", vec!["early".into()], "All"),
        ("both", vec!["early".into(), "old".into()], "All"),
        ("files", everything, "All"),
        ("apart", vec!["old/archive".into()], half),
        ("below", vec!["packed".into()], half),
        ("zips", archives.iter().rev().cloned().collect(), half),
        (
            "renamed",
            renamed.into_iter().map(|name| name.trim_start_matches('_').to_owned()).collect(),
            half,
        ),
    ];
    for (name, given, expected) in inputs {
        let into = format!("new/{name}");
        let mut arguments: Vec<&str> = vec![&into];
        arguments.extend(given.iter().map(String::as_str));
        let first = succeeds(&world, "import", &arguments);
        let count = if expected == "All" { 321 } else { 199 };
        assert!(first.starts_with(&format!("{count} entries imported, ")), "{name}: {first}");
        let again = succeeds(&world, "import", &arguments);
        assert!(again.starts_with("0 entries imported, "), "{name}: {again}");
        let out = format!("{name}.terms");
        succeeds(&world, "export", &[&into, "--format", "terms", "-o", &out]);
        let same =
            format!("(fun() -> {{ok, Read}} = file:consult({out:?}), Read =:= {expected} end)()");
        assert_eq!(a.eval(&same), "true", "{name}");
    }
    // One half after the other, in two imports, comes to the same.
    let halves = ["old/archive", "old"].map(|dir| {
        let told = succeeds(&world, "import", &["new/halves", dir]);
        told.split(' ').next().unwrap().to_owned()
    });
    assert_eq!(halves, ["199", "122"]);
    assert!(succeeds(&world, "verify", &["new/halves"]).contains("sound"));
}

/// A segment and an archive of the original are damaged, and a log of ours: what is whole is taken, each damage is a line,
/// and the exit code tells.
#[test]
fn damage_is_stepped_over_named_and_told_by_the_exit_code() {
    if !has_erlang() {
        return;
    }
    let world = World::with_epmd();
    let _a = written_by_the_original(&world);
    succeeds(&world, "import", &["ours/quotes", "old"]);
    let flip = |file: &str, at: usize| {
        let mut bytes = std::fs::read(world.path(file)).unwrap();
        bytes[at] ^= 1;
        std::fs::write(world.path(file), bytes).unwrap();
    };
    let segment = "old/quotes_2011-11-14_02-36-07.091Z";
    flip(segment, 12);
    let archive = "old/archive/quotes_2011-11-14_01-36-07.089Z.zip";
    let middle = std::fs::metadata(world.path(archive)).unwrap().len() / 2;
    flip(archive, usize::try_from(middle).unwrap());
    let output = run(&world, "import", &["damaged/quotes", "old"]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains(&format!("{segment}: damaged at byte 8, ")), "{said}");
    assert!(said.contains(&format!("{archive}: ")), "{said}");
    let told = String::from_utf8_lossy(&output.stdout);
    let count: u32 = told.split(' ').next().unwrap().parse().unwrap();
    assert!((222..321).contains(&count), "{told}");
    // Ours.
    flip("ours/quotes/quotes", 100_000);
    for format in ["ndjson", "terms", "disk-log"] {
        let output = run(&world, "export", &["ours/quotes", "--format", format, "-o", format]);
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert_eq!(said.lines().count(), 2, "{said}");
        assert!(said.contains("segment is damaged") && said.contains("1 thing was stepped over"));
        let output = run(&world, "import", &[&format!("from-{format}/quotes"), format]);
        assert_eq!(output.status.code(), Some(0), "the rest was exported");
    }
    let output = run(&world, "import", &["from-ours/quotes", "ours/quotes"]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("ours/quotes/quotes: damaged at byte "), "{said}");
}

/// Two days ahead, and a record forged within a binary whose own record is damaged: named, left out, and all else taken.
#[test]
fn a_timestamp_in_the_future_is_refused_unless_allowed() {
    let world = World::new();
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    let secs = now.as_secs() + 2 * 86_400;
    let (mega, rest) = (secs / 1_000_000, secs % 1_000_000);
    let far = format!("{{{{{mega},{rest},0}},far}}.\n");
    std::fs::write(world.path("in.terms"), format!("{{{{1000,0,1}},near}}.\n{far}")).unwrap();
    std::fs::write(world.path("far.terms"), &far).unwrap();
    std::fs::write(world.path("near.terms"), "{{1000,0,2},also_near}.\n").unwrap();
    succeeds(&world, "import", &["source", "far.terms", "--allow-future"]);
    succeeds(&world, "export", &["source", "--format", "disk-log", "-o", "far.log"]);
    let inputs = ["log", "far.log", "in.terms", "near.terms"];
    let output = run(&world, "import", &inputs);
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    for line in [
        format!(
            "in.terms:2: the timestamp, {mega}.{rest}.0, is more than a day ahead of the clock"
        ),
        format!("far.log: at byte 8: the timestamp, {mega}.{rest}.0, is more than a day ahead"),
    ] {
        assert!(said.contains(&line), "{said}");
    }
    let told = String::from_utf8_lossy(&output.stdout);
    assert_eq!(told.trim(), "2 entries imported, 0 were there already");
    let all = [&inputs[..], &["--allow-future"]].concat();
    let told = succeeds(&world, "import", &all);
    assert_eq!(told.trim(), "1 entries imported, 3 were there already");
    // What is there is not refused.
    assert!(succeeds(&world, "import", &inputs).contains("0 entries imported, 4 were there"));
}
