//! Silence, tolerated and not.

use rustix::process::{Signal, kill_process};

use crate::harness::{World, has_erlang};

/// Ticks every quarter of a second both ways keep an idle connection for several intervals; then the peer is
/// frozen and given up, and its session ends with it.
#[test]
fn an_idle_connection_stays_and_a_frozen_peer_is_noticed() {
    if !has_erlang() {
        return;
    }
    let world = World::with_epmd();
    std::fs::write(world.path("c.toml"), "[node]\nnet_ticktime = \"2s\"\n").unwrap();
    let (mut a, mut b) = (world.erl("a"), world.erl("b"));
    a.eval("net_kernel:set_net_ticktime(2, 0)");
    b.eval("net_kernel:set_net_ticktime(2, 0)");
    let program = world.logmachine(&[
        "--connect",
        "a@127.0.0.1",
        "--connect",
        "b@127.0.0.1",
        "--config",
        "c.toml",
    ]);
    a.wait_for_name("{error_logger, 0}");
    b.wait_for_name("{error_logger, 0}");
    a.eval("{ok, S} = gen_server:call({global, {error_logger, 0}}, {subscribe, #{from => now, pid => self()}})");
    b.eval("{ok, T} = gen_server:call({global, {error_logger, 0}}, {subscribe, #{from => now, pid => self()}})");
    // Six seconds in which nobody says anything but ticks.
    assert_eq!(a.eval("monitor_node('logmachine@127.0.0.1', true), receive {nodedown, _} -> down after 6000 -> up end"), "up");
    assert!(!program.diagnostics().contains("disconnected"));
    kill_process(a.pid(), Signal::STOP).unwrap();
    program.wait_for_diagnostics("nothing heard for 2s");
    // Only b's session is left, and b is served.
    b.wait_until("length(gen_server:call({global, {error_logger, 0}}, {info, sessions}))", "1");
    kill_process(a.pid(), Signal::CONT).unwrap();
    a.wait_until("gen_server:call({'.error_logger.receiver.srv', 'logmachine@127.0.0.1'}, {info, sessions}) =/= []", "true");
    assert_eq!(a.eval("is_process_alive(self())"), "true");
}
