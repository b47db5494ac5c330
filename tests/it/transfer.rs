//! `verify`, `export` and `import` on what a node wrote, with OTP as the judge.

use std::process::Output;

use crate::harness::{World, has_erlang};

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
        "Kinds = [1, -1, 1 bsl 80, 1.5, -0.0, atom, 'ätom', \"string\", \"日本\", <<\"bin\">>, <<255, 0>>, <<1:3>>, [], {}, [a | b],
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
            "3022 entries imported, 0 were there already"
        );
        assert_eq!(
            succeeds(&world, "import", &[&into, file]).trim(),
            "0 entries imported, 3022 were there already"
        );
        let again = format!("again-{form}");
        succeeds(&world, "export", &[&into, "--format", "disk-log", "-o", &again]);
        let read = format!("(fun() -> {{ok, L}} = disk_log:open([{{name, {again:?}}}, {{file, {again:?}}}, {{mode, read_only}}, {{repair, false}}]),
            Chunks = fun Chunks(C) -> case disk_log:chunk(L, C) of eof -> []; {{Next, Terms}} -> Terms ++ Chunks(Next) end end,
            All = Chunks(start), disk_log:close(L), All =:= Log end)()");
        assert_eq!(a.eval(&read), "true", "{form}");
    }
    // What OTP reads as text, with the way back for what has no syntax.
    let consult = "(fun() -> {ok, Terms} = file:consult(\"out.terms\"),
        [case E of {'$etf', B} -> {T, binary_to_term(B)}; _ -> {T, E} end || {T, E} <- Terms] =:= Log end)()";
    assert_eq!(a.eval(consult), "true");
    // A directory as it is, and another selection.
    assert!(
        succeeds(&world, "import", &["copy/error_logger", "data/error_logger"])
            .contains("3022 entries imported")
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
    fails("bad.terms", "term before line 1 is not");
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
