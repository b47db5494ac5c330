//! The original's configuration file.

use crate::harness::{LogMachine, World};

/// One with every key, old and new.
const EVERY_KEY: &str = r#"
%% -*- mode: erlang; -*-
[{kernel, [{prevent_overlapping_partitions, false}]},
 {logmachine,
  [{evict_period, {5, sec}},
   {sync, always},
   {node, [{name, 'logmachine@127.0.0.1'}, {connect, ['a@127.0.0.1']}, {epmd, auto}, {allow, ['*']},
           {net_ticktime, {60, sec}}, {data_dir, "logs"}, {log_format, text}]},
   {http, [{listen, off}]},
   {instances,
    [{error_logger,
      [{dir, "./errlogs"}, {arch_dir, "./errlogs/old"}, {evict_after, {3, hour}}, {reopen_period, {30, min}},
       {archive_after, {7, day}}, {archive_period, {{1, 0, 0}, hms}}, {handler, logmachine_event_handler},
       {locate_em, {global, error_logger, {exc, ['no@*']}}}, {capture, auto}, {cache_bytes, "1MiB"},
       {segment_bytes, 1048576}, {delete_after, none}, {max_bytes, none}, {min_free_bytes, 1024},
       {sync, {1, sec}}, {overload, block}, {pending_bytes, "64MiB"}, {max_event_bytes, "1MiB"}]},
     {quotes, [{locate_em, {local, quotes_bus}}]}]}]}].
"#;

#[test]
fn a_file_of_the_original_with_every_key_runs() {
    let world = World::new();
    std::fs::write(world.path("sys.config"), EVERY_KEY).unwrap();
    let checked = world.command("check-config").arg("sys.config").output().unwrap();
    let said = String::from_utf8_lossy(&checked.stdout).into_owned();
    assert_eq!(checked.status.code(), Some(0), "{}", String::from_utf8_lossy(&checked.stderr));
    assert!(said.contains("instances: error_logger, quotes"), "{said}");
    let cookie = world.cookie();
    let program = LogMachine::start(&world, &["--config", "sys.config", "--setcookie", &cookie]);
    assert!(world.path("errlogs/error_logger").exists());
    assert!(world.path("logs/quotes/quotes").exists());
    assert_eq!(program.stop(), Some(0));
}

#[test]
fn check_config_tells_file_line_key_and_the_nearest_known_one() {
    let world = World::new();
    let wrong = EVERY_KEY.replace("reopen_period", "reopen_priod");
    std::fs::write(world.path("sys.config"), wrong).unwrap();
    let checked = world.command("check-config").arg("sys.config").output().unwrap();
    let said = String::from_utf8_lossy(&checked.stderr).into_owned();
    assert_eq!(checked.status.code(), Some(2));
    assert!(
        said.contains("sys.config:12: reopen_priod: unknown field `reopen_priod`; did you mean `reopen_period`?"),
        "{said}"
    );
}
