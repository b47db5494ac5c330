//! Subscribers, their nodes and their connections die and freeze at random, under load; and many of them at once.

use rustix::process::{Signal, kill_process};

use crate::harness::{Erl, LogMachine, World, has_erlang, wait_for};

const NAME: &str = "{error_logger, 0}";

/// A small generator, so that one number decides everything.
struct Random(u64);

impl Random {
    fn below(&mut self, end: u64) -> u64 {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % end
    }
}

fn open_files(program: &LogMachine) -> usize {
    let dir = format!("/proc/{}/fd", program.pid().as_raw_nonzero());
    std::fs::read_dir(dir).expect("it is running").count()
}

/// Whatever happens to subscribers leaves no session, monitor or file behind, and the sender does not notice.
#[test]
fn chaos_among_subscribers_leaves_nothing_behind() {
    if !has_erlang() {
        return;
    }
    let seed =
        std::env::var("CHAOS_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(20_261_122);
    println!("seed {seed}; set CHAOS_SEED for another");
    let mut random = Random(seed);
    let world = World::with_epmd();
    std::fs::write(world.path("c.toml"), "[node]\nnet_ticktime = \"2s\"\n").unwrap();
    let mut a = world.erl("a");
    a.load("lm_collect");
    a.eval("net_kernel:set_net_ticktime(2, 0)");
    let program = world.logmachine(&["--connect", "a@127.0.0.1", "--config", "c.toml"]);
    a.wait_for_name(NAME);
    a.eval(&format!("R = global:whereis_name({NAME}), lm_collect:send_for_ever(), ok"));
    a.wait_until("gen_server:call(R, {info, received}) > 100", "true");
    let files = open_files(&program);
    let start = |number: u64| {
        let mut node = world.erl(&format!("s{number}"));
        node.load("lm_collect");
        node.eval("net_kernel:set_net_ticktime(2, 0)");
        node
    };
    let mut nodes: Vec<Erl> = (0..3).map(start).collect();
    for number in 3..9 {
        for node in &mut nodes {
            node.eval("net_adm:ping('logmachine@127.0.0.1')");
            node.eval("lm_collect:subscribe_many(20), ok");
        }
        let victim = usize::try_from(random.below(3)).unwrap();
        match random.below(4) {
            0 => std::mem::replace(&mut nodes[victim], start(number)).kill(),
            1 => {
                nodes[victim].eval("erlang:disconnect_node('logmachine@127.0.0.1')");
            }
            2 => {
                // Frozen until it is given up.
                kill_process(nodes[victim].pid(), Signal::STOP).unwrap();
                let gone = program.diagnostics().matches("nothing heard for").count();
                wait_for("the frozen node is given up", || {
                    (program.diagnostics().matches("nothing heard for").count() > gone)
                        .then_some(())
                });
                std::mem::replace(&mut nodes[victim], start(number)).kill();
            }
            _ => {
                nodes[victim].eval("lm_collect:kill_subscribers(), ok");
            }
        }
    }
    assert!(a.eval("length(gen_server:call(R, {info, sessions}))").parse::<usize>().unwrap() > 0);
    drop(nodes);
    a.wait_until("gen_server:call(R, {info, sessions})", "[]");
    wait_for("all files closed", || (open_files(&program) <= files + 4).then_some(()));
    // The links and monitors left are those of the name, and this call's.
    assert_eq!(a.eval("element(1, gen_server:call(R, {append, still_here}))"), "ok");
    assert_eq!(program.stop(), Some(0));
}

/// A thousand sessions at once, each from the beginning.
#[test]
fn a_thousand_sessions_each_get_everything() {
    if !has_erlang() {
        return;
    }
    let world = World::with_epmd();
    let mut a = world.erl("a");
    a.load("lm_collect");
    let program = world.logmachine(&["--connect", "a@127.0.0.1"]);
    a.wait_for_name(NAME);
    a.eval(&format!("R = global:whereis_name({NAME}), {{ok, _, _}} = gen_server:call(R, {{append, lists:seq(1, 500), many}})"));
    a.eval("Me = self(), Pids = [lm_collect:counter(500, 600, Me) || _ <- lists:seq(1, 1000)], [receive {P, ready} -> ok end || P <- Pids], length(Pids)");
    a.eval("{ok, _, _} = gen_server:call(R, {append, lists:seq(501, 600), many})");
    assert_eq!(
        a.eval("lists:usort([receive {P, Got} -> Got after 60000 -> none end || P <- Pids])"),
        "[all]"
    );
    assert!(program.peak_memory_kib() < 400_000, "{} KiB", program.peak_memory_kib());
}

/// A subscriber that gives no credit, and one whose node is frozen, cost the program no memory while events pass.
#[test]
fn a_stuck_subscriber_costs_a_position_in_the_log() {
    if !has_erlang() {
        return;
    }
    let world = World::with_epmd();
    let config = "[instance_defaults]\ncache_bytes = \"4MiB\"\n";
    std::fs::write(world.path("c.toml"), config).unwrap();
    let (mut a, mut b) = (world.erl("a"), world.erl("b"));
    let program = world.logmachine(&[
        "--connect",
        "a@127.0.0.1",
        "--connect",
        "b@127.0.0.1",
        "--config",
        "c.toml",
    ]);
    a.wait_for_name(NAME);
    b.wait_for_name(NAME);
    a.load("lm_collect");
    let receiver = format!("R = global:whereis_name({NAME})");
    a.eval(&receiver);
    b.eval(&receiver);
    b.eval("{ok, _} = gen_server:call(R, {subscribe, #{from => earliest, pid => self(), marker => m}})");
    a.eval("{ok, S} = gen_server:call(R, {subscribe, #{from => earliest, pid => self(), marker => m, credit => 10}})");
    a.eval("Free = lm_collect:collect(earliest, 1)");
    kill_process(b.pid(), Signal::STOP).unwrap();
    a.eval("lm_collect:send(big, 30000, 2000)");
    assert_eq!(a.eval("receive {Free, Count, Bad} -> {Count, Bad} end"), "{30000,0}");
    // 60 MB passed by.
    assert!(program.peak_memory_kib() < 60_000, "{} KiB", program.peak_memory_kib());
    kill_process(b.pid(), Signal::CONT).unwrap();
    b.load("lm_collect");
    assert_eq!(b.eval("lm_collect:count(30000)"), "30000");
    assert_eq!(a.eval("lm_collect:count(10)"), "10");
    assert_eq!(a.eval("S ! {credit, 29990}, lm_collect:count(29990)"), "29990");
}
