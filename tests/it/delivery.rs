//! Each event once, in order, without a gap; also across `kill -9`.

use crate::harness::{World, has_erlang};

const NAME: &str = "{error_logger, 0}";

/// 200,000 events of four processes on two nodes; subscribers from the beginning, the middle and now, two of
/// which subscribe while events are still being sent.
#[test]
fn each_event_comes_once_in_order_from_any_start_while_more_are_sent() {
    if !has_erlang() {
        return;
    }
    let world = World::with_epmd();
    let (mut a, mut b) = (world.erl("a"), world.erl("b"));
    let _program = world.logmachine(&["--connect", "a@127.0.0.1", "--connect", "b@127.0.0.1"]);
    a.wait_for_name(NAME);
    b.wait_for_name(NAME);
    a.load("lm_collect");
    b.load("lm_collect");
    a.eval("First = lm_collect:collect(earliest, 4)");
    for (node, tags) in [(&mut a, ["s1", "s2"]), (&mut b, ["s3", "s4"])] {
        for tag in tags {
            node.eval(&format!("lm_collect:send({tag}, 50000)"));
        }
    }
    a.eval(&format!("R = global:whereis_name({NAME})"));
    a.wait_until("gen_server:call(R, {info, events}) > 5000", "true");
    a.eval("{ok, Part, _} = gen_server:call(R, {read, earliest, #{limit => 5000}}), length(Part)");
    a.eval("{MiddleTs, _} = lists:last(Part), ok");
    a.eval("Middle = lm_collect:collect(MiddleTs, 4)");
    a.eval("Now = lm_collect:collect(now, 4)");
    assert_eq!(a.eval("receive {First, Count, Bad} -> {Count, Bad} end"), "{200000,0}");
    assert_eq!(a.eval("receive {Middle, MCount, MBad} -> {MCount, MBad} end"), "{195001,0}");
    let now = a.eval("receive {Now, NCount, NBad} -> {NCount < 200000, NBad} end");
    assert_eq!(now, "{true,0}");
}

/// At 1,000, 20,000 and 100,000 events a second, or as fast as this machine goes, subscribers come from past moments
/// and the present, half of them with a filter, and leave when they have everything.
#[test]
fn subscribers_that_come_under_load_miss_nothing_at_any_rate() {
    if !has_erlang() {
        return;
    }
    for (rate, total) in [(1_000, 2_000), (20_000, 40_000), (100_000, 200_000)] {
        let world = World::with_epmd();
        let mut a = world.erl("a");
        a.load("lm_collect");
        let _program = world.logmachine(&["--connect", "a@127.0.0.1"]);
        a.wait_for_name(NAME);
        a.eval(&format!("R = global:whereis_name({NAME}), lm_collect:pace({rate}, {total}), ok"));
        a.eval(
            "Check = fun(From, Step) -> lm_collect:check(From, Step, Total) end"
                .replace("Total", &total.to_string())
                .as_str(),
        );
        let mut waiting = Vec::new();
        for round in 1..8 {
            let received =
                format!("gen_server:call(R, {{info, received}}) > {}", round * total / 10);
            a.wait_until(&received, "true");
            for from in ["earliest", "{ago, {300, millisecond}}", "now"] {
                for step in [1, 7] {
                    let name = format!("P{}", waiting.len());
                    a.eval(&format!("{name} = Check({from}, {step})"));
                    waiting.push(name);
                }
            }
        }
        a.wait_until(&format!("gen_server:call(R, {{info, received}}) >= {total}"), "true");
        let done = "element(1, gen_server:call(R, {append, {p, done}}))";
        assert_eq!(a.eval(done), "ok");
        let all = format!(
            "lists:usort([receive {{P, Came}} -> Came end || P <- [{}]])",
            waiting.join(",")
        );
        assert_eq!(a.eval(&all), "[ok]", "{rate} events/s");
    }
}

/// Killed under load and started again on the same directory, three times.
#[test]
fn what_a_subscriber_saw_survives_kill_9_and_stamps_go_on_rising() {
    if !has_erlang() {
        return;
    }
    let world = World::with_epmd();
    let mut a = world.erl("a");
    let data = world.path("data").display().to_string();
    let flags = ["--connect", "a@127.0.0.1", "--data-dir", &data];
    let mut program = world.logmachine(&flags);
    a.wait_for_name(NAME);
    a.load("lm_collect");
    a.eval("Me = self(), lm_collect:send_for_ever(), ok");
    for round in 0..3 {
        a.eval("lm_collect:follow(earliest, Me), receive following -> ok end");
        let received = format!("gen_server:call({{global, {NAME}}}, {{info, received}}) > 1000");
        a.wait_until(&received, "true");
        program.kill();
        let ended = format!(
            "receive {{seen, Seen{round}, Why{round}, Exit{round}}} ->
                {{length(Seen{round}) > 0, Why{round}, Exit{round}}} end"
        );
        assert_eq!(a.eval(&ended), "{true,noconnection,noconnection}");
        program = world.logmachine(&flags);
        a.wait_for_name(NAME);
        let check = format!(
            "(fun() ->
                Log = lm_collect:take(earliest, []),
                Held = maps:from_list(Log),
                Missing = [E || {{T, V}} = E <- Seen{round}, maps:get(T, Held, none) =/= V],
                Stamps = [T || {{T, _}} <- Log],
                {{Missing, Stamps =:= lists:usort(Stamps)}}
            end)()"
        );
        assert_eq!(a.eval(&check), "{[],true}");
    }
}

/// Credit and batches: no more comes than was allowed, and nothing is lost on the way.
#[test]
fn credit_and_batches_bound_what_is_sent() {
    if !has_erlang() {
        return;
    }
    let world = World::with_epmd();
    let mut a = world.erl("a");
    let _program = world.logmachine(&["--connect", "a@127.0.0.1"]);
    a.wait_for_name(NAME);
    a.eval(&format!(
        "{{ok, _, _}} = gen_server:call({{global, {NAME}}}, {{append, lists:seq(1, 1000), many}})"
    ));
    a.eval(&format!("{{ok, S}} = gen_server:call({{global, {NAME}}}, {{subscribe, #{{from => earliest, pid => self(), batch => 100, credit => 250}}}})"));
    a.eval("Take = fun Take(Acc, Sizes) -> receive {error_logger, L} -> Take(Acc ++ [E || {_, E} <- L], [length(L) | Sizes]) after 2000 -> {Acc, Sizes} end end");
    assert_eq!(
        a.eval("{L1, Sizes} = Take([], []), {L1 =:= lists:seq(1, 250), lists:max(Sizes) =< 100}"),
        "{true,true}"
    );
    a.eval("S ! {credit, 1}, gen_server:cast(S, {credit, 749})");
    assert_eq!(a.eval("{L2, _} = Take([], []), L2 =:= lists:seq(251, 1000)"), "true");
}

/// A subscription with an end gets what lies before it, and its session ends.
#[test]
fn a_session_with_an_end_ends_there() {
    if !has_erlang() {
        return;
    }
    let world = World::with_epmd();
    let mut a = world.erl("a");
    let _program = world.logmachine(&["--connect", "a@127.0.0.1"]);
    a.wait_for_name(NAME);
    a.eval(&format!("R = {{global, {NAME}}}, {{ok, _, To}} = gen_server:call(R, {{append, [a, b], many}}), gen_server:call(R, {{append, c}})"));
    a.eval("process_flag(trap_exit, true), {ok, S} = gen_server:call(R, {subscribe, #{from => earliest, to => To, pid => self(), link => true}})");
    let got = "Take = fun Take(Acc) -> receive
            {error_logger, {_, E}} -> Take([E | Acc]);
            {'EXIT', S, Why} -> {lists:reverse(Acc), Why}
        after 9000 -> timeout end end, Take([])";
    assert_eq!(a.eval(got), "{[a,b],normal}");
    // An end that is still to come, while nothing happens.
    a.eval("Later = erlang:system_time(microsecond) + 300000, {ok, F} = gen_server:call(R, {subscribe, #{from => now, to => Later, pid => self(), link => true}})");
    assert_eq!(a.eval("receive {'EXIT', F, Ended} -> Ended after 9000 -> timeout end"), "normal");
}

/// The recorder cannot keep up: memory stays bounded because the senders are not read from.
#[test]
fn a_sender_that_is_too_fast_is_slowed_down_not_buffered() {
    if !has_erlang() {
        return;
    }
    let world = World::with_epmd();
    std::fs::write(world.path("c.toml"), "[instance_defaults]\npending_bytes = \"1MiB\"\ncache_bytes = \"4MiB\"\nsync = \"always\"\n").unwrap();
    let mut a = world.erl("a");
    let program = world.logmachine(&["--connect", "a@127.0.0.1", "--config", "c.toml"]);
    a.wait_for_name(NAME);
    a.eval("Big = binary:copy(<<0>>, 100000)");
    a.eval(&format!("R = global:whereis_name({NAME}), [gen_server:cast(R, Big) || _ <- lists:seq(1, 3000)], gen_server:call(R, {{append, x}}, 60000)"));
    let events = a.eval("gen_server:call(R, {info, events})");
    assert_eq!(events, "3001");
    // 300 MB went through.
    assert!(program.peak_memory_kib() < 150_000, "{} KiB", program.peak_memory_kib());
}
