//! What a subscriber can ask for: filters, durable cursors, the original's live registry, the Erlang application.

use std::path::Path;

use crate::harness::{Erl, World, has_erlang};
use crate::releases::releases;

const NAME: &str = "{error_logger, 0}";

/// Filters in a session and in a read, what they deliver, and what is said of a malformed one.
#[test]
fn a_match_spec_decides_what_is_delivered_and_a_malformed_one_is_refused() {
    if !has_erlang() {
        return;
    }
    let world = World::with_epmd();
    let mut a = world.erl("a");
    let _program = world.logmachine(&["--connect", "a@127.0.0.1"]);
    a.wait_for_name(NAME);
    a.eval(&format!("R = {{global, {NAME}}}, {{ok, _, _}} = gen_server:call(R, {{append, [{{n, N}} || N <- lists:seq(1, 1000)] ++ [other], many}})"));
    a.eval("Spec = [{{n, '$1'}, [{'>', '$1', 990}], [{{big, '$1'}}]}, {other, [], ['$_']}]");
    a.eval("{ok, S} = gen_server:call(R, {subscribe, earliest, self(), m, Spec})");
    let take = "Take = fun Take(Acc) -> receive {m, {{_, _, _}, E}} -> Take([E | Acc]) after 2000 -> lists:reverse(Acc) end end, Take([])";
    assert_eq!(
        a.eval(take),
        "[{big,991},{big,992},{big,993},{big,994},{big,995},{big,996},{big,997},{big,998},{big,999},{big,1000},other]"
    );
    a.eval("gen_server:cast(R, {n, 5}), gen_server:cast(R, {n, 2000})");
    assert_eq!(a.eval("Take([])"), "[{big,2000}]");
    assert_eq!(a.eval("{ok, Es, Next} = gen_server:call(R, {read, earliest, #{match_spec => Spec, limit => 3}}), {[E || {_, E} <- Es], is_tuple(Next)}"), "{[{big,991},{big,992},{big,993}],true}");
    let back = "Back = fun Back(From, Acc) -> case gen_server:call(R, {read, From, #{order => desc, limit => 7}}) of {ok, Page, eof} -> Acc ++ Page; {ok, Page, Older} -> Back(Older, Acc ++ Page) end end";
    a.eval(&format!(
        "{back}, {{ok, All, eof}} = gen_server:call(R, {{read, earliest, #{{limit => 2000}}}})"
    ));
    assert_eq!(a.eval("Back(now, []) =:= lists:reverse(All)"), "true");
    a.eval("{Third, _} = lists:nth(3, All), {Fifth, _} = lists:nth(5, All)");
    assert_eq!(a.eval("{ok, Few, eof} = gen_server:call(R, {read, Fifth, #{order => desc, to => Third}}), [E || {_, E} <- Few]"), "[{n,5},{n,4},{n,3}]");
    assert_eq!(a.eval("{ok, Some, _} = gen_server:call(R, {read, now, #{order => desc, match_spec => Spec, limit => 3}}), [E || {_, E} <- Some]"), "[{big,2000},other,{big,1000}]");
    assert_eq!(a.eval("gen_server:call(R, {read, now, #{order => up}})"), "{error,{badarg,order}}");
    for bad in
        ["[{'$1', [{no_such_guard, '$1'}], ['$1']}]", "[{'$1', [], ['$2']}]", "nonsense", "[]"]
    {
        let refused = format!(
            "element(1, element(2, {{error, _}} = gen_server:call(R, {{subscribe, earliest, self(), m, {bad}}})))"
        );
        assert_eq!(a.eval(&refused), "badarg", "{bad}");
    }
}

/// A position acknowledged under a name is where the next subscriber of that name goes on, also after `kill -9`.
#[test]
fn a_cursor_goes_on_after_its_last_acknowledgement_even_after_kill_9() {
    if !has_erlang() {
        return;
    }
    let world = World::with_epmd();
    let mut a = world.erl("a");
    let data = world.path("data").display().to_string();
    let flags = ["--connect", "a@127.0.0.1", "--data-dir", &data];
    let program = world.logmachine(&flags);
    a.wait_for_name(NAME);
    a.eval(&format!(
        "R = {{global, {NAME}}}, {{ok, _, _}} = gen_server:call(R, {{append, [a, b, c, d], many}})"
    ));
    a.eval("Subscribe = fun() -> {ok, S} = gen_server:call(R, {subscribe, #{cursor => <<\"audit\">>, from => earliest, pid => self()}}), S end");
    a.eval("Next = fun() -> receive {error_logger, E} -> E after 5000 -> none end end");
    a.eval("S1 = Subscribe(), [_, {Ts, _}, _, _] = [Next() || _ <- lists:seq(1, 4)]");
    // The stop comes after the acknowledgement, and is answered once that is stored.
    a.eval("S1 ! {ack, Ts}, ok = gen_server:stop(S1)");
    a.eval("S2 = Subscribe()");
    assert_eq!(a.eval("[element(2, Next()) || _ <- [1, 2]]"), "[c,d]");
    program.kill();
    let _program = world.logmachine(&flags);
    a.wait_for_name(NAME);
    a.eval("S3 = Subscribe()");
    assert_eq!(a.eval("[element(2, Next()) || _ <- [1, 2]]"), "[c,d]");
    assert_eq!(
        a.eval("element(1, gen_server:call(R, {subscribe, #{cursor => bad, pid => self()}}))"),
        "error"
    );
}

/// `{subscribe, Ref, SendMethod}` with each kind of reference and each method.
#[test]
fn the_live_registry_sends_as_it_is_asked_to() {
    if !has_erlang() {
        return;
    }
    let world = World::with_epmd();
    let mut a = world.erl("a");
    let _program = world.logmachine(&["--connect", "a@127.0.0.1"]);
    a.wait_for_name(NAME);
    a.load("lm_collect");
    a.eval(&format!(
        "R = {{global, {NAME}}}, Me = self(), register(me, Me), global:register_name(gme, Me)"
    ));
    a.eval("Events = fun() -> gen_server:cast(R, live), {ok, _} = gen_server:call(R, {append, done}) end");
    a.eval("Got = fun() -> receive M -> M after 5000 -> none end end, Drop = fun Drop() -> receive _ -> Drop() after 100 -> ok end end");
    let cases = [
        ("self()", "send", "{{_, _, _}, live}"),
        ("me", "{gen_server, cast}", "{'$gen_cast', {{_, _, _}, live}}"),
        ("{me, node()}", "{gen_event, notify}", "{notify, {{_, _, _}, live}}"),
        ("{global, gme}", "info", "{{_, _, _}, live}"),
    ];
    for (reference, method, expected) in cases {
        assert_eq!(
            a.eval(&format!("gen_server:call(R, {{subscribe, {reference}, {method}}})")),
            "ok"
        );
        assert_eq!(
            a.eval(&format!("gen_server:call(R, {{subscribe, {reference}, {method}}})")),
            "{error,already_subscribed}"
        );
        let matches = format!("Events(), case Got() of {expected} -> true; _ -> false end");
        assert_eq!(a.eval(&matches), "true", "{reference} {method}");
        a.eval("[gen_server:stop(S) || {S, _} <- gen_server:call(R, {info, sessions})], Drop()");
        a.wait_until("gen_server:call(R, {info, sessions})", "[]");
    }
    // A function of the subscriber's node.
    assert_eq!(a.eval("gen_server:call(R, {subscribe, self(), {lm_collect, tell}})"), "ok");
    assert_eq!(
        a.eval(
            "gen_server:cast(R, told), case Got() of {told, {{_, _, _}, told}} -> true; O -> O end"
        ),
        "true"
    );
    assert_eq!(a.eval("gen_server:call(R, {subscribe, self(), nonsense})"), "{error,badarg}");
    assert_eq!(a.eval("gen_server:call(R, {subscribe, 17, send})"), "{error,badarg}");
    // Removed when the subscriber is gone, and free to be used again.
    a.eval("P = spawn(fun() -> receive stop -> ok end end), ok = gen_server:call(R, {subscribe, P, send}), P ! stop");
    a.wait_until("length(gen_server:call(R, {info, sessions}))", "1");
}

/// The Erlang application, compiled by each release, against the real node.
#[test]
fn the_erlang_application_works_on_every_release() {
    if !has_erlang() {
        return;
    }
    for (release, erl) in releases() {
        let world = World::with_epmd();
        let _program = world.logmachine(&["--connect", "local"]);
        let mut node = Erl::start(&world, &erl, &["-name", "n@127.0.0.1"]);
        assert_eq!(node.eval("erlang:system_info(otp_release)"), format!("{release:?}"));
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("erlang/src/logmachine.erl");
        let compiled = node.eval(&format!("{{ok, M, Code}} = compile:file({source:?}, [binary]), code:load_binary(M, \"logmachine\", Code)"));
        assert_eq!(compiled, "{module,logmachine}", "OTP {release}");
        node.wait_for_name(NAME);
        let check = |node: &mut Erl, expression: &str, expected: &str| {
            assert_eq!(node.eval(expression), expected, "OTP {release}: {expression}");
        };
        node.eval(
            "I = error_logger, Next = fun() -> receive {I, {_, E}} -> E after 5000 -> none end end",
        );
        check(&mut node, "element(1, logmachine:append(I, one))", "ok");
        check(&mut node, "element(1, logmachine:append_many(I, [two, {three, 3}]))", "ok");
        check(&mut node, "logmachine:cast(I, four)", "ok");
        check(
            &mut node,
            "S = logmachine:subscribe(I, {1, 2, 3}), [Next() || _ <- [1, 2, 3, 4]]",
            "[one,two,{three,3},four]",
        );
        check(&mut node, "unlink(S), gen_server:stop(S)", "ok");
        check(
            &mut node,
            "S2 = logmachine:subscribe(I, earliest, self(), I, [{{three, '$1'}, [], ['$1']}]), Next()",
            "3",
        );
        check(
            &mut node,
            "{ok, S3} = logmachine:subscribe(I, #{from => earliest, batch => 10, pid => self(), marker => b}), Count = fun Count(0) -> all; Count(N) -> receive {b, L} -> Count(N - length(L)) after 5000 -> N end end, Count(4)",
            "all",
        );
        check(
            &mut node,
            "[Head | Tail] = logmachine:get_zlist(I, {1, 2, 3}), {element(2, Head), is_function(Tail, 0)}",
            "{one,true}",
        );
        check(
            &mut node,
            "Walk = fun Walk([]) -> []; Walk([H | T]) when is_function(T) -> [element(2, H) | Walk(T())]; Walk([H | T]) -> [element(2, H) | Walk(T)] end, Walk(logmachine:get_zlist(I, {1, 2, 3}))",
            "[one,two,{three,3},four]",
        );
        check(&mut node, "{ok, Es, eof} = logmachine:read(I, earliest, #{}), length(Es)", "4");
        check(&mut node, "logmachine:info(I, events)", "4");
        check(&mut node, "is_list(logmachine:info(I))", "true");
        println!("OTP {release}: fine");
    }
}
