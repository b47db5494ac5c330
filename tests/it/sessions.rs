//! What one subscriber costs the others: match specs made to be slow, floods of credit, waiting, places, and
//! directories that instances share.

use std::io::{Read, Write};
use std::net::TcpStream;

use logmachine::etf::{Pid, Reference, TermRef, encode};
use logmachine::proto::Flags;
use logmachine::proto::control::{self, Destination, Signal};
use logmachine::proto::packet::NextPacket;
use rustix::process::{Signal as Kill, kill_process};

use crate::harness::{LogMachine, PATIENCE, World, has_erlang, wait_for};
use crate::hostile::connect_with;

const NAME: &str = "{error_logger, 0}";

/// The program's open files.
fn open_files(program: &LogMachine) -> usize {
    let dir = format!("/proc/{}/fd", program.pid().as_raw_nonzero());
    std::fs::read_dir(dir).expect("it is running").count()
}

/// Four sessions and a few reads with a specification that costs the whole budget for each of 200 events. Meanwhile an
/// innocent one gets all of its entries, calls are answered, and another node is let in.
#[test]
fn a_match_spec_made_to_be_slow_holds_up_nobody_else() {
    if !has_erlang() {
        return;
    }
    let world = World::with_epmd();
    let mut a = world.erl("a");
    let _program = world.logmachine(&["--connect", "a@127.0.0.1"]);
    a.wait_for_name(NAME);
    a.load("lm_collect");
    a.eval(&format!("R = global:whereis_name({NAME})"));
    // Comparing the lists means to sort the map that both begin with.
    a.eval("Event = maps:from_list([{N, N} || N <- lists:seq(1, 2500)])");
    a.eval("Slow = [{'_', [{'=/=', ['$_' | N], ['$_' | x]} || N <- lists:seq(1, 400)], ['$_']}]");
    assert_eq!(a.eval("byte_size(term_to_binary(Slow)) < 25000"), "true");
    a.eval("[{ok, _, _} = gen_server:call(R, {append, lists:duplicate(20, Event), many}) || _ <- lists:seq(1, 10)], ok");
    a.eval("Hostile = [begin P = spawn(fun() -> receive stop -> ok end end), {ok, S} = gen_server:call(R, {subscribe, #{from => earliest, pid => P, match_spec => Slow}}), {P, S} end || _ <- lists:seq(1, 4)]");
    a.eval("Reads = [spawn(fun() -> gen_server:call(R, {read, earliest, #{match_spec => Slow}}, infinity) end) || _ <- lists:seq(1, 10)], ok");
    a.eval("Stats = fun() -> [maps:with([filtered, unfiltered, exhausted], M) || {S, M} <- gen_server:call(R, {info, session_stats}), lists:keymember(S, 2, Hostile)] end");
    a.wait_until("length([busy || #{filtered := N} <- Stats(), N > 0])", "4");
    // The innocent.
    a.eval("{ok, I} = gen_server:call(R, {subscribe, #{from => earliest, pid => self(), marker => m, match_spec => [{#{7 => '$1'}, [], ['$1']}]}})");
    assert_eq!(a.eval("lm_collect:count(200)"), "200");
    let mut b = world.erl("b");
    assert_eq!(b.eval("net_adm:ping('logmachine@127.0.0.1')"), "pong");
    assert_eq!(a.eval("element(1, gen_server:call(R, {append, Event}))"), "ok");
    assert_eq!(a.eval("lm_collect:count(1)"), "1");
    // All that while the others were under way, and it is told what they come to.
    let under_way =
        "[true || #{filtered := N, unfiltered := N, exhausted := true} <- Stats(), N < 200]";
    assert_eq!(a.eval(&format!("length({under_way})")), "4");
    // A read answers in time, with where to go on.
    assert_eq!(a.eval("{ok, [], Next} = gen_server:call(R, {read, earliest, #{match_spec => Slow}}, infinity), Next > {0, 0, 0} andalso Next =/= eof"), "true");
    // Nothing is left of a session once its subscriber has gone.
    a.eval("[P ! stop || {P, _} <- Hostile], ok");
    a.wait_until("[S || {S, _} <- gen_server:call(R, {info, sessions})] =:= [I]", "true");
}

/// Credit one by one, far more often than a mailbox has places; then again from subscribers that die at once.
#[test]
fn each_of_twenty_thousand_credits_counts_and_the_dead_leave_no_session() {
    if !has_erlang() {
        return;
    }
    let world = World::with_epmd();
    let mut a = world.erl("a");
    let _program = world.logmachine(&["--connect", "a@127.0.0.1"]);
    a.wait_for_name(NAME);
    a.load("lm_collect");
    a.eval(&format!("R = global:whereis_name({NAME}), {{ok, _, _}} = gen_server:call(R, {{append, lists:seq(1, 20005), many}})"));
    a.eval("{ok, S} = gen_server:call(R, {subscribe, #{from => earliest, pid => self(), marker => m, credit => 0}})");
    a.eval("[S ! {credit, 1} || _ <- lists:seq(1, 20000)], ok");
    assert_eq!(a.eval("lm_collect:count(20000)"), "20000");
    assert_eq!(
        a.eval("[{S, #{sent := Sent}}] = gen_server:call(R, {info, session_stats}), Sent"),
        "20000"
    );
    assert_eq!(a.eval("S ! {credit, 5}, lm_collect:count(5)"), "5");
    a.eval("gen_server:stop(S)");
    // The last word of each is its end, on the heels of its credit.
    a.eval(
        "Die = fun() -> spawn(fun() ->
            {ok, D} = gen_server:call(R, {subscribe, #{from => now, pid => self(), credit => 0}}),
            [D ! {credit, 1} || _ <- lists:seq(1, 8000)]
        end) end,
        Pids = [monitor(process, Die()) || _ <- lists:seq(1, 20)], [receive {'DOWN', M, _, _, _} -> ok end || M <- Pids], ok",
    );
    a.wait_until("gen_server:call(R, {info, sessions})", "[]");
}

/// 1,100 sessions in the middle of a log on disk: first they wait for credit, then for the room that a frozen node does
/// not make. Each event is a piece of its own, so that a session stops between two of them.
#[test]
fn sessions_that_wait_for_credit_or_room_hold_no_files() {
    if !has_erlang() {
        return;
    }
    let world = World::with_epmd();
    let config = "[instance_defaults]\ncache_bytes = \"1MiB\"\nsegment_bytes = \"2MiB\"\n";
    std::fs::write(world.path("c.toml"), config).unwrap();
    let (mut a, mut b) = (world.erl("a"), world.erl("b"));
    let flags = ["--connect", "a@127.0.0.1", "--connect", "b@127.0.0.1", "--config", "c.toml"];
    let program = world.logmachine(&flags);
    a.wait_for_name(NAME);
    b.wait_for_name(NAME);
    a.eval(&format!("R = global:whereis_name({NAME}), Big = binary:copy(<<0>>, 100000)"));
    a.eval("Fill = fun(N) -> {ok, _, _} = gen_server:call(R, {append, lists:duplicate(N, Big), many}) end, [Fill(10) || _ <- lists:seq(1, 20)], ok");
    let sink = "spawn(fun() -> F = fun F() -> receive _ -> F() end end, F() end)";
    b.eval(&format!("register(sink, {sink})"));
    a.eval("Sink = rpc:call('b@127.0.0.1', erlang, whereis, [sink])");
    let before = open_files(&program);
    a.eval("All = [begin {ok, S} = gen_server:call(R, {subscribe, #{from => earliest, pid => Sink, credit => 1}}), S end || _ <- lists:seq(1, 1100)], ok");
    a.wait_until(
        "length([sent || {_, #{sent := 1}} <- gen_server:call(R, {info, session_stats})])",
        "1100",
    );
    let mut most = 0;
    let mut settle = |what: &str| {
        wait_for(what, || {
            let open = open_files(&program);
            most = most.max(open);
            (open <= before + 8).then_some(())
        });
    };
    settle("no file is held for credit");
    kill_process(b.pid(), Kill::STOP).unwrap();
    a.eval("[S ! {credit, 1000} || S <- All], ok");
    assert_eq!(a.eval("element(1, gen_server:call(R, {append, x}))"), "ok");
    settle("no file is held for room");
    // Those kept open between two reads, and those being read.
    assert!(most < before + 128 + 64 + 16, "{most} files open, {before} before");
    // Recording goes on, into new segments.
    a.eval(
        "Segments = gen_server:call(R, {info, segments}), [Fill(10) || _ <- lists:seq(1, 20)], ok",
    );
    a.wait_until("gen_server:call(R, {info, segments}) > Segments", "true");
    assert_eq!(a.eval("gen_server:call(R, {info, recording})"), "running");
    assert_eq!(a.eval("length(gen_server:call(R, {info, sessions}))"), "1100");
    kill_process(b.pid(), Kill::CONT).unwrap();
    assert!(program.peak_memory_kib() < 600_000, "{} KiB", program.peak_memory_kib());
}

/// As many sessions as there are places, then one more in each form.
#[test]
fn beyond_ten_thousand_sessions_each_form_is_told_system_limit() {
    if !has_erlang() {
        return;
    }
    let world = World::with_epmd();
    let mut a = world.erl("a");
    let program = world.logmachine(&[
        "--connect",
        "a@127.0.0.1",
        "--instance",
        "error_logger",
        "--instance",
        "other",
    ]);
    a.wait_for_name(NAME);
    a.wait_for_name("{other, 0}");
    a.eval(&format!("R = global:whereis_name({NAME}), O = global:whereis_name({{other, 0}})"));
    // The places are those of the node, whatever instance they are for.
    a.eval("Sub = fun(To) -> gen_server:call(To, {subscribe, #{from => now, pid => self()}}) end");
    a.eval("[{ok, _} = Sub(R) || _ <- lists:seq(1, 5000)], [{ok, _} = Sub(O) || _ <- lists:seq(1, 4999)], {ok, Last} = Sub(O)");
    for form in [
        "Sub(R)",
        "gen_server:call(R, {subscribe, now, self(), m, [{'$1', [], ['$1']}]})",
        "gen_server:call(R, {subscribe, self(), send})",
        "begin {failed_to_start_subscription, [{reason, Why} | _]} = rpc:call('logmachine@127.0.0.1', logmachine, subscribe, [error_logger, now, self()]), Why end",
    ] {
        assert_eq!(a.eval(form), "{error,system_limit}", "{form}");
    }
    assert_eq!(a.eval("gen_server:call(R, {info, sessions_refused})"), "4");
    a.eval("gen_server:stop(Last)");
    a.wait_until("element(1, Sub(R))", "ok");
    assert!(program.peak_memory_kib() < 300_000, "{} KiB", program.peak_memory_kib());
}

/// A node made of our own protocol code that announces no monitors. Its subscriber in the map form, unlinked, ends
/// normally: the session ends with it, and no monitor was asked for.
#[test]
fn a_subscriber_that_cannot_be_monitored_is_linked_to() {
    let world = World::new();
    let _program = world.logmachine(&[]);
    let monitors = Flags::DIST_MONITOR.with(Flags::DIST_MONITOR_NAME).0;
    let mut peer =
        connect_with(|flags| flags & !monitors, &world, "x@127.0.0.1", &world.cookie()).unwrap();
    let pid = |id| Pid { node: "x@127.0.0.1".into(), id, serial: 0, creation: 7 };
    let (caller, subscriber) = (pid(1), pid(2));
    call(&mut peer, &caller, 1, |out| {
        encode::tuple_header(out, 2);
        encode::atom(out, "subscribe");
        encode::map_header(out, 2);
        encode::atom(out, "from");
        encode::atom(out, "earliest");
        encode::atom(out, "pid");
        encode::pid(out, &subscriber);
    });
    let (mut linked, mut session) = (None, None);
    while session.is_none() {
        each_signal(&mut peer, |signal| match signal {
            Signal::Link { from, to } => {
                assert_eq!(to, subscriber);
                linked = Some(from);
            }
            Signal::Message { message, .. } => {
                let [_, answer] = message.as_tuple().expect("{Tag, Reply}");
                let [ok, pid] = answer.as_tuple().expect("{ok, Pid}");
                assert!(ok.is_atom("ok"));
                session = pid.as_pid();
            }
            other => panic!("{other:?}"),
        });
    }
    assert_eq!(linked, session);
    let session = session.expect("it was answered");
    let mut exit = Vec::new();
    let mut normal = Vec::new();
    encode::atom(&mut normal, "normal");
    control::exit(&mut exit, logmachine::proto::Flags::OFFERED, &subscriber, &session, &normal);
    peer.write_all(&exit).unwrap();
    let deadline = std::time::Instant::now() + PATIENCE;
    let mut is_gone = false;
    while !is_gone {
        assert!(std::time::Instant::now() < deadline, "the session is still there");
        call(&mut peer, &caller, 2, |out| {
            encode::tuple_header(out, 2);
            encode::atom(out, "info");
            encode::atom(out, "sessions");
        });
        each_signal(&mut peer, |signal| match signal {
            Signal::Message { message, .. } => {
                let [_, sessions] = message.as_tuple().expect("{Tag, Reply}");
                is_gone |= sessions.bytes() == TermRef::NIL.bytes();
            }
            other => panic!("{other:?}"),
        });
    }
}

/// Calls the receiver of `error_logger`.
fn call(peer: &mut TcpStream, caller: &Pid, number: u32, request: impl FnOnce(&mut Vec<u8>)) {
    let mut out = Vec::new();
    control::reg_send(&mut out, caller, ".error_logger.receiver.srv", |out| {
        encode::tuple_header(out, 3);
        encode::atom(out, "$gen_call");
        encode::tuple_header(out, 2);
        encode::pid(out, caller);
        encode::reference(out, &Reference::new(caller.node.clone(), 7, [number, 0, 0].into_iter()));
        request(out);
    });
    peer.write_all(&out).unwrap();
}

/// Reads packets up to the next one that holds a message, and hands out what they say.
fn each_signal(peer: &mut TcpStream, mut take: impl FnMut(Signal<'_>)) {
    loop {
        let mut packet = vec![0; 4];
        peer.read_exact(&mut packet).unwrap();
        let len = u32::from_be_bytes(packet[..4].try_into().unwrap());
        packet.resize(4 + usize::try_from(len).unwrap(), 0);
        peer.read_exact(&mut packet[4..]).unwrap();
        let NextPacket::Data(data) = logmachine::proto::packet::next(&packet).unwrap() else {
            continue;
        };
        let signal = control::parse(data).unwrap();
        let is_message = matches!(
            signal,
            Signal::Message { to: Destination::Pid(_) | Destination::Name(_), .. }
        );
        take(signal);
        if is_message {
            return;
        }
    }
}

/// Two instances in one directory, once written as itself and once through a link.
#[test]
fn instances_that_share_a_directory_do_not_share_cursors() {
    if !has_erlang() {
        return;
    }
    let world = World::with_epmd();
    std::fs::create_dir(world.path("logs")).unwrap();
    std::os::unix::fs::symlink(world.path("logs"), world.path("link")).unwrap();
    let config = "[[instance]]\nname = \"one\"\ndir = \"logs\"\n\n[[instance]]\nname = \"cursors\"\ndir = \"./link/.\"\narch_dir = \"logs\"\n";
    std::fs::write(world.path("c.toml"), config).unwrap();
    let mut a = world.erl("a");
    let flags = ["--connect", "a@127.0.0.1", "--config", "c.toml"];
    let program = world.logmachine(&flags);
    a.eval("Next = fun() -> receive {m, {Ts, E}} -> {E, Ts} after 5000 -> none end end");
    a.eval("Sub = fun(I) -> {ok, S} = gen_server:call({global, {I, 0}}, {subscribe, #{cursor => <<\"c\">>, from => earliest, pid => self(), marker => m}}), S end");
    for name in ["one", "cursors"] {
        a.wait_for_name(&format!("{{{name}, 0}}"));
        a.eval(&format!("{{ok, _, _}} = gen_server:call({{global, {{{name}, 0}}}}, {{append, [{{{name}, 1}}, {{{name}, 2}}], many}})"));
    }
    a.eval(
        "S1 = Sub(one), {_, T1} = Next(), {_, T2} = Next(), S1 ! {ack, T2}, gen_server:stop(S1)",
    );
    assert_eq!(
        a.eval("S2 = Sub(cursors), {E1, T3} = Next(), {E2, _} = Next(), [E1, E2]"),
        "[{cursors,1},{cursors,2}]"
    );
    a.eval("S2 ! {ack, T3}, gen_server:stop(S2)");
    // Each goes on where it was, also in a new life.
    assert_eq!(program.stop(), Some(0));
    let _program = world.logmachine(&flags);
    for name in ["one", "cursors"] {
        a.wait_for_name(&format!("{{{name}, 0}}"));
    }
    a.eval("[{ok, _} = gen_server:call({global, {I, 0}}, {append, {I, 3}}) || I <- [one, cursors]], ok");
    assert_eq!(a.eval("Sub(one), {E3, _} = Next(), E3"), "{one,3}");
    assert_eq!(
        a.eval("Sub(cursors), {E4, _} = Next(), {E5, _} = Next(), [E4, E5]"),
        "[{cursors,2},{cursors,3}]"
    );
}

/// A burst of acknowledgements, the last of which comes while an earlier one is being stored; the session lives on,
/// and the program is killed. Then one of an entry that is still to come.
#[test]
fn the_last_acknowledgement_is_stored_and_none_from_the_future() {
    if !has_erlang() {
        return;
    }
    let world = World::with_epmd();
    let mut a = world.erl("a");
    let program = world.logmachine(&["--connect", "a@127.0.0.1"]);
    a.wait_for_name(NAME);
    a.eval(&format!("R = global:whereis_name({NAME}), {{ok, _, _}} = gen_server:call(R, {{append, lists:seq(1, 500), many}})"));
    a.eval("{ok, S} = gen_server:call(R, {subscribe, #{cursor => <<\"ab\">>, from => earliest, pid => self(), marker => m}})");
    a.eval("Stamps = [receive {m, {Ts, N}} -> Ts end || N <- lists:seq(1, 500)], ok");
    // Some while the first is being stored, one after all were.
    a.eval("[S ! {ack, Ts} || Ts <- Stamps], {Mega, Sec, Micro} = lists:last(Stamps), ok");
    let last: u64 = a.eval("(Mega * 1000000 + Sec) * 1000000 + Micro").parse().unwrap();
    let file = world.path("data/error_logger/error_logger.cursors/positions");
    let stored = || {
        let lines = std::fs::read_to_string(&file).ok()?;
        let last = lines.lines().rfind(|line| line.ends_with(" 6162"))?;
        last.split(' ').nth(1)?.parse::<u64>().ok()
    };
    wait_for("the last is on disk", || (stored() == Some(last)).then_some(()));
    assert_eq!(a.eval("S ! {ack, {Mega + 1, Sec, Micro}}, gen_server:cast(S, {ack, {Mega, Sec, Micro + 1}}), gen_server:call(S, x)"), "{error,unsupported}");
    assert_eq!(a.eval("gen_server:call(R, {info, acks_refused})"), "2");
    a.eval("gen_server:stop(S)");
    assert_eq!(stored(), Some(last));
    program.kill();
    assert_eq!(stored(), Some(last));
}

/// Credit for exactly as many entries as there are up to `to`, without and with a filter that holds back the last ones,
/// and none at all for a stretch without entries.
#[test]
fn a_session_without_credit_left_ends_at_to() {
    if !has_erlang() {
        return;
    }
    let world = World::with_epmd();
    let mut a = world.erl("a");
    let _program = world.logmachine(&["--connect", "a@127.0.0.1"]);
    a.wait_for_name(NAME);
    a.eval(&format!("R = global:whereis_name({NAME}), {{ok, From, To}} = gen_server:call(R, {{append, [a, b, c, c], many}}), {{ok, Later}} = gen_server:call(R, {{append, d}})"));
    a.eval("process_flag(trap_exit, true), Sub = fun(Options) -> {ok, S} = gen_server:call(R, {subscribe, Options#{pid => self(), link => true, marker => m}}), S end");
    a.eval("Take = fun Take(S, Acc) -> receive {m, {_, E}} -> Take(S, [E | Acc]); {'EXIT', S, Why} -> {lists:reverse(Acc), Why} after 9000 -> {timeout, Acc} end end");
    let end =
        |a: &mut crate::harness::Erl, options: &str| a.eval(&format!("Take(Sub({options}), [])"));
    assert_eq!(end(&mut a, "#{from => From, to => To, credit => 4}"), "{[a,b,c,c],normal}");
    let filter = "match_spec => [{a, [], [a]}, {b, [], [b]}]";
    assert_eq!(
        end(&mut a, &format!("#{{from => From, to => To, credit => 2, {filter}}}")),
        "{[a,b],normal}"
    );
    assert_eq!(end(&mut a, "#{from => now, to => Later, credit => 0}"), "{[],normal}");
    // Where one is due it waits, and goes on with credit.
    a.eval("W = Sub(#{from => From, to => To, credit => 1}), receive {m, {_, a}} -> ok end, W ! {credit, 3}");
    assert_eq!(a.eval("Take(W, [])"), "{[b,c,c],normal}");
}

/// 20 callers whose appends are synced one group after the other. Sessions and reads go up to the moment that they are
/// asked for at: none of what was stamped up to there may be missing.
#[test]
fn sessions_and_reads_up_to_now_miss_nothing_that_was_stamped_by_then() {
    if !has_erlang() {
        return;
    }
    let world = World::with_epmd();
    std::fs::write(world.path("c.toml"), "[instance_defaults]\nsync = \"always\"\n").unwrap();
    let mut a = world.erl("a");
    let _program = world.logmachine(&["--connect", "a@127.0.0.1", "--config", "c.toml"]);
    a.wait_for_name(NAME);
    a.eval(&format!("R = global:whereis_name({NAME})"));
    a.eval("Loop = fun F(Told) -> receive {stop, P} -> P ! {told, Told} after 0 -> {ok, T} = gen_server:call(R, {append, x}), F([T | Told]) end end, ok");
    a.eval("Callers = [spawn(fun() -> Loop([]) end) || _ <- lists:seq(1, 20)], ok");
    a.wait_until("gen_server:call(R, {info, events}) > 100", "true");
    a.eval(
        "Session = fun() ->
            To = os:timestamp(),
            {ok, S} = gen_server:call(R, {subscribe, #{from => earliest, to => To, pid => self(), marker => m}}),
            M = monitor(process, S),
            Take = fun F(Got) -> receive {m, {T, _}} -> F([T | Got]); {'DOWN', M, _, _, _} -> {To, Got} end end,
            Take([])
        end, ok",
    );
    a.eval(
        "Read = fun() ->
            To = os:timestamp(),
            {ok, Entries, eof} = gen_server:call(R, {read, earliest, #{to => To, limit => 1000000}}),
            {To, [T || {T, _} <- Entries]}
        end, ok",
    );
    a.eval("Seen = [F() || _ <- lists:seq(1, 30), F <- [Session, Read]], ok");
    a.eval("Told = lists:append([begin C ! {stop, self()}, receive {told, T} -> T end end || C <- Callers]), ok");
    assert_eq!(
        a.eval("[length(Missed) || {To, Got} <- Seen, Missed <- [[T || T <- Told, T =< To] -- Got], Missed =/= []]"),
        "[]"
    );
}
