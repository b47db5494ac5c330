//! The examples run, and do what they say.

use std::path::Path;
use std::process::{Command, Output};

use crate::harness::{Erl, World, has_erlang};

fn run(world: &World, example: &str, arguments: &[&str]) -> Output {
    // `cargo test` builds the examples beside the program.
    let program = Path::new(env!("CARGO_BIN_EXE_logmachine"));
    let example = program.parent().expect("it lies in a directory").join("examples").join(example);
    let mut command = Command::new(example);
    command.args(arguments).env("ERL_EPMD_PORT", world.epmd_port.to_string());
    command.output().expect("`cargo test` or `cargo build --examples` has built it")
}

#[test]
fn a_program_with_the_node_inside_appends_and_reads() {
    let world = World::new();
    let dir = world.path("embedded").display().to_string();
    let output = run(&world, "embed", &[&dir]);
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let last = text.lines().last().unwrap_or_default();
    assert_eq!(text.lines().count(), 4, "{text}");
    assert!(last.ends_with("{paid,1}"), "{text}");
}

#[test]
fn an_instance_is_followed_from_rust() {
    let world = World::new();
    std::fs::write(world.path("events"), "{{1000,0,1},{hello,rust}}.\n{{1000,0,2},bye}.\n")
        .unwrap();
    let imported = world.command("import").args(["data/error_logger", "events"]).status();
    assert!(imported.expect("the program runs").success());
    let _program = world.logmachine(&[]);
    let output =
        run(&world, "follow", &["logmachine@127.0.0.1", &world.cookie(), "error_logger", "2"]);
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(
        text.contains("{{1000,0,1},{hello,rust}}") && text.contains("{{1000,0,2},bye}"),
        "{text}"
    );
}

/// Compiles and loads a module of the project.
fn load(erl: &mut Erl, dir: &str, module: &str) {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join(dir).join(module);
    let loaded = erl.eval(&format!(
        "(fun() -> {{ok, M, Code}} = compile:file({source:?}, [binary]), code:load_binary(M, {module:?}, Code) end)()"
    ));
    assert_eq!(loaded, format!("{{module,{module}}}"));
}

/// The configuration of the example with periods that a test can wait for. Two symbols are quoted until there are three
/// candles of one; its consumer is killed meanwhile and goes on from its file. The other symbol is left alone, and comes back.
#[test]
fn an_erlang_process_keeps_candles_and_is_told_of_silence() {
    if !has_erlang() {
        return;
    }
    let world = World::with_epmd();
    let config = include_str!("../../examples/erlang/candles.toml");
    let short = config.replace("\"10s\"", "\"1s\"").replace("\"20s\"", "\"2s\"");
    assert_eq!(short.len() + 2, config.len(), "a window of 10 s, silence of 20 s: {config}");
    std::fs::write(world.path("candles.toml"), short).unwrap();
    let checked = world.command("check-config").arg("candles.toml").output().unwrap();
    assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stderr));
    let _program = world.logmachine(&["--config", "candles.toml"]);

    let mut shop = world.erl("shop");
    for module in ["logmachine_consumer", "logmachine"] {
        load(&mut shop, "erlang/src", module);
    }
    for module in ["quotes_producer", "quotes_candles"] {
        load(&mut shop, "examples/erlang", module);
    }
    shop.eval(
        "#{start := {M, F, A}} = quotes_candles:child_spec({candles, 'logmachine@127.0.0.1'}, \"candles.dets\")",
    );
    // As a supervisor would, which takes a module.
    shop.eval(
        "spawn(fun Keep() -> process_flag(trap_exit, true), {ok, C} = apply(M, F, A), \
         receive {'EXIT', C, _} -> Keep() end end)",
    );
    shop.wait_until("is_pid(global:whereis_name(quotes_candles))", "true");
    shop.eval("{ok, P} = quotes_producer:start_link({quotes, 'logmachine@127.0.0.1'})");
    shop.eval("quotes_producer:quote(P, sber, 7, 1)");
    // A quote at each look: 100, 101, 102 and so on, of a volume of 2 each.
    shop.eval("put(next, 100)");
    shop.eval("Next = fun() -> quotes_producer:quote(P, vtb, put(next, get(next) + 1), 2) end");
    shop.wait_until("Next(), length(quotes_candles:candles(vtb)) >= 1", "true");
    shop.eval("exit(global:whereis_name(quotes_candles), kill)");
    shop.wait_until(
        "Next(), catch length(quotes_candles:candles(vtb)) >= 3 andalso [S || {S, _} <- quotes_candles:silent()]",
        "[sber]",
    );

    // Each candle begins where the one before has ended, and none is missing or there twice.
    shop.eval("Candles = [C || {_, C} <- quotes_candles:candles(vtb)]");
    assert_eq!(
        shop.eval(
            "[V || #{open := O, high := H, low := L, close := C, n := N, volume := V} <- Candles, \
             O =/= L orelse C =/= H orelse H - L + 1 =/= N orelse V =/= 2 * N]"
        ),
        "[]"
    );
    assert_eq!(shop.eval("maps:get(open, hd(Candles))"), "100");
    assert_eq!(
        shop.eval(
            "[B - A || {A, B} <- lists:zip([C || #{close := C} <- lists:droplast(Candles)], \
             [O || #{open := O} <- tl(Candles)]), B - A =/= 1]"
        ),
        "[]"
    );

    shop.eval("quotes_producer:quote(P, sber, 8, 1)");
    shop.wait_until("Next(), [S || {S, _} <- quotes_candles:silent()]", "[]");
}
