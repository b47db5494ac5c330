//! What a newcomer does, word for word.

use std::path::Path;

use crate::harness::{Erl, LogMachine, World, has_erlang, wait_for};

/// `make run` starts the program like this: no configuration, no Erlang, no port mapper.
#[test]
fn the_program_is_ready_by_itself_and_an_erl_node_just_works() {
    let world = World::new();
    let cookie = world.path(".erlang.cookie");
    std::fs::write(&cookie, world.cookie()).unwrap();
    std::fs::set_permissions(&cookie, std::os::unix::fs::PermissionsExt::from_mode(0o400)).unwrap();
    let program = LogMachine::start(&world, &["--connect", "local"]);
    if !has_erlang() {
        return;
    }
    let mut a = Erl::start(&world, Path::new("erl"), &["-sname", "a"]);
    a.wait_for_name("{error_logger, 0}");
    a.eval("gen_server:cast({global, {error_logger, 0}}, {hello, world})");
    a.eval("{ok, Session} = gen_server:call({global, {error_logger, 0}}, {subscribe, #{from => earliest, pid => self()}})");
    let entry =
        a.eval("receive {error_logger, {{_, _, _}, Event}} -> Event after 5000 -> none end");
    assert_eq!(entry, "{hello,world}");
    let ping = a.eval("[{net_adm:ping(N), lists:member(N, nodes())} || N <- nodes(hidden)]");
    assert_eq!(ping, "[{pong,false}]");
    // Served by us, as there is no other port mapper in this world.
    let names = a.eval("{ok, Names} = net_adm:names(), lists:sort([N || {N, _} <- Names])");
    assert_eq!(names, r#"["a","logmachine"]"#);
    assert_eq!(program.stop(), Some(0));
    a.wait_until("global:whereis_name({error_logger, 0})", "undefined");
}

/// A node with another cookie is asked once, and again when it registers anew.
#[test]
fn a_local_node_with_another_cookie_is_left_alone_until_it_registers_anew() {
    if !has_erlang() {
        return;
    }
    let world = World::with_epmd();
    let stranger = Erl::start(
        &world,
        Path::new("erl"),
        &["-name", "stranger@127.0.0.1", "-eval", "erlang:set_cookie(node(), other)"],
    );
    let program = world.logmachine(&["--connect", "local"]);
    program.wait_for_diagnostics("asked again when it registers anew");
    stranger.kill();
    let mut friend = world.erl("stranger");
    friend.wait_for_name("{error_logger, 0}");
    let refusals = program.diagnostics().matches("asked again when it registers anew").count();
    assert_eq!(refusals, 1);
    drop(friend);
    wait_for("a disconnection", || program.diagnostics().contains("disconnected").then_some(()));
}
