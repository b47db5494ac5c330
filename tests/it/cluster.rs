//! Joining, global names, nodes that come and go.

use rustix::process::{Signal, kill_process};

use crate::harness::{World, has_erlang};

const NAME: &str = "{error_logger, 0}";

/// Three nodes, one of them named to us, one that comes later: all know the name and their casts arrive.
#[test]
fn every_visible_node_of_a_cluster_knows_the_name_also_one_that_comes_later() {
    if !has_erlang() {
        return;
    }
    let world = World::with_epmd();
    let (mut a, mut b) = (world.erl("a"), world.erl("b"));
    assert_eq!(b.eval("net_adm:ping('a@127.0.0.1')"), "pong");
    let _program = world.logmachine(&["--connect", "a@127.0.0.1"]);
    a.wait_for_name(NAME);
    b.wait_for_name(NAME);
    let mut c = world.erl("c");
    assert_eq!(c.eval("net_adm:ping('b@127.0.0.1')"), "pong");
    c.wait_for_name(NAME);
    for node in [&mut a, &mut b, &mut c] {
        node.eval("gen_server:cast({global, {error_logger, 0}}, {from, node()})");
        // A call after the cast, on the same connection: the cast has arrived when it is answered.
        assert_eq!(
            node.eval("element(1, gen_server:call({global, {error_logger, 0}}, {append, x}))"),
            "ok"
        );
    }
    let events =
        "{ok, Es, eof} = gen_server:call({global, {error_logger, 0}}, {read, earliest, #{}}),
                  lists:sort([N || {_, {from, N}} <- Es])";
    assert_eq!(a.eval(events), "['a@127.0.0.1','b@127.0.0.1','c@127.0.0.1']");
}

/// The node through which the name was registered dies; then a node loses its link to us; then we are killed.
#[test]
fn the_name_survives_its_registrar_a_lost_link_and_our_own_restart() {
    if !has_erlang() {
        return;
    }
    let world = World::with_epmd();
    let (mut a, mut b, mut c) = (world.erl("a"), world.erl("b"), world.erl("c"));
    assert_eq!(a.eval("[net_adm:ping(N) || N <- ['b@127.0.0.1', 'c@127.0.0.1']]"), "[pong,pong]");
    b.eval("net_adm:ping('c@127.0.0.1')");
    let data = world.path("data").display().to_string();
    let flags = ["--connect", "a@127.0.0.1", "--connect", "b@127.0.0.1", "--data-dir", &data];
    let program = world.logmachine(&flags);
    for node in [&mut a, &mut b, &mut c] {
        node.wait_for_name(NAME);
    }
    a.kill();
    let append = "catch element(1, gen_server:call({global, {error_logger, 0}}, {append, x}))";
    b.wait_until(append, "ok");
    c.wait_until(append, "ok");
    c.eval("erlang:disconnect_node('logmachine@127.0.0.1')");
    c.wait_until(append, "ok");
    b.eval("erlang:disconnect_node('logmachine@127.0.0.1')");
    b.wait_until(append, "ok");
    c.wait_until(append, "ok");
    program.kill();
    b.wait_until("global:whereis_name({error_logger, 0})", "undefined");
    let _program = world.logmachine(&flags);
    b.wait_until(append, "ok");
    c.wait_until(append, "ok");
}

/// A process of the cluster has `{error_logger, 0}`; later a conflict takes our name away.
#[test]
fn a_taken_name_makes_us_take_the_next_and_a_conflict_makes_us_look_again() {
    if !has_erlang() {
        return;
    }
    let world = World::with_epmd();
    let mut a = world.erl("a");
    a.eval("Other = spawn(fun() -> receive stop -> ok end end)");
    assert_eq!(a.eval("global:register_name({error_logger, 0}, Other)"), "yes");
    let _program = world.logmachine(&["--connect", "a@127.0.0.1"]);
    a.wait_for_name("{error_logger, 1}");
    let alias =
        "gen_server:call({'.error_logger.receiver.srv', 'logmachine@127.0.0.1'}, get_global_alias)";
    a.wait_until(alias, "{error_logger,1}");
    a.eval("Other ! stop");
    a.wait_until("global:whereis_name({error_logger, 0})", "undefined");
    a.eval(
        "P = global:whereis_name({error_logger, 1}), P ! {global_name_conflict, {error_logger, 1}}",
    );
    a.wait_until(alias, "{error_logger,0}");
}

/// Two of us in one cluster; when the first leaves, its name is free.
#[test]
fn two_of_us_share_a_cluster() {
    if !has_erlang() {
        return;
    }
    let world = World::with_epmd();
    let mut a = world.erl("a");
    let first = world.logmachine(&["--connect", "a@127.0.0.1", "--data-dir", "first"]);
    a.wait_for_name(NAME);
    let cookie = world.cookie();
    let _second = crate::harness::LogMachine::start(
        &world,
        &[
            "--name",
            "second@127.0.0.1",
            "--setcookie",
            &cookie,
            "--connect",
            "a@127.0.0.1",
            "--data-dir",
            "second",
        ],
    );
    a.wait_for_name("{error_logger, 1}");
    assert_eq!(first.stop(), Some(0));
    a.wait_until("global:whereis_name({error_logger, 0})", "undefined");
    assert_eq!(
        a.eval("element(1, gen_server:call({global, {error_logger, 1}}, {append, x}))"),
        "ok"
    );
}

/// OTP's port mapper dies and comes back: we are registered again, and nodes find us.
#[test]
fn the_registration_survives_a_restart_of_the_port_mapper() {
    if !has_erlang() {
        return;
    }
    let world = World::with_epmd();
    let program = world.logmachine(&["--epmd", "external"]);
    world.stop_epmd();
    program.wait_for_diagnostics("the port mapper is gone");
    world.start_epmd();
    program.wait_for_diagnostics("registered with the port mapper again");
    let mut a = world.erl("a");
    assert_eq!(a.eval("net_adm:ping('logmachine@127.0.0.1')"), "pong");
}

/// Links and monitors from Erlang to a session, in every way they can end.
#[test]
fn links_and_monitors_fire_with_the_right_reason() {
    if !has_erlang() {
        return;
    }
    let world = World::with_epmd();
    let mut a = world.erl("a");
    let program = world.logmachine(&["--connect", "a@127.0.0.1"]);
    a.wait_for_name(NAME);
    let subscribe = |link: bool| {
        format!(
            "element(2, {{ok, _}} = gen_server:call({{global, {NAME}}}, {{subscribe, #{{from => now, pid => self(), link => {link}}}}}))"
        )
    };
    let down =
        "(fun() -> receive {'DOWN', _, process, _, Why} -> Why after 9000 -> none end end)()";
    // Stopped as a gen_server.
    a.eval(&format!("S1 = {}", subscribe(false)));
    a.eval("monitor(process, S1)");
    assert_eq!(a.eval("gen_server:stop(S1)"), "ok");
    assert_eq!(a.eval(down), "normal");
    // Sent an exit signal; `normal` is none to a process that does not trap exits.
    a.eval(&format!("S2 = {}", subscribe(false)));
    a.eval("monitor(process, S2), exit(S2, normal), exit(S2, bye)");
    assert_eq!(a.eval(down), "bye");
    // A process that is gone.
    a.eval("monitor(process, S2)");
    assert_eq!(a.eval(down), "noproc");
    // Its subscriber dies.
    a.eval(&format!("Sub = spawn(fun() -> receive die -> exit(tired) end end), {{ok, S3}} = gen_server:call({{global, {NAME}}}, {{subscribe, #{{from => now, pid => Sub}}}}), monitor(process, S3), Sub ! die"));
    assert_eq!(a.eval(down), "tired");
    // Linked, and unlinked again: the exit does not reach us.
    a.eval(&format!("process_flag(trap_exit, true), S4 = {}", subscribe(true)));
    a.eval("exit(S4, linked)");
    assert_eq!(a.eval("receive {'EXIT', S4, Why4} -> Why4 after 9000 -> none end"), "linked");
    a.eval(&format!("S5 = {}", subscribe(true)));
    a.eval("unlink(S5), monitor(process, S5), exit(S5, unseen)");
    assert_eq!(a.eval(down), "unseen");
    assert_eq!(a.eval("receive {'EXIT', S5, _} -> seen after 0 -> none end"), "none");
    // We are killed.
    a.eval(&format!("S6 = {}", subscribe(true)));
    a.eval("monitor(process, S6)");
    kill_process(program.pid(), Signal::KILL).unwrap();
    assert_eq!(a.eval(down), "noconnection");
    assert_eq!(a.eval("receive {'EXIT', S6, Why6} -> Why6 after 9000 -> none end"), "noconnection");
}
