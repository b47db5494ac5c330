//! The examples run, and do what they say.

use std::path::Path;
use std::process::{Command, Output};

use crate::harness::World;

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
