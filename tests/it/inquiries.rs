//! What an operator types at a shell, to processes of ours: everything is answered or refused, nothing hangs.

use crate::harness::{Erl, World, has_erlang};

/// Runs a fun in a process of its own: what it comes to, or `hangs`.
const TRY: &str = "Try = fun(F) ->
    {P, M} = spawn_monitor(fun() -> exit({came_to, catch F()}) end),
    receive {'DOWN', M, _, _, {came_to, V}} -> V; {'DOWN', M, _, _, Why} -> {died, Why}
    after 20000 -> exit(P, kill), hangs end end, ok";

/// The functions of OTP that wait for ever unless they are answered, or told that nobody is there.
const QUESTIONS: [&str; 20] = [
    "sys:get_status(R)",
    "sys:get_state(R)",
    "sys:statistics(R, get)",
    "sys:trace(R, true)",
    "sys:suspend(R)",
    "sys:replace_state(R, fun(S) -> S end)",
    "sys:terminate(R, normal)",
    "gen_server:stop(R)",
    "proc_lib:stop(R, shutdown, infinity)",
    "gen_server:call(R, what, infinity)",
    "gen_statem:call(R, what, infinity)",
    "supervisor:which_children(R)",
    "gen_event:which_handlers(R)",
    "gen_event:call(R, h, what, infinity)",
    "gen_event:call(R, h, what)",
    "gen_event:sync_notify(R, what)",
    "gen_event:add_handler(R, h, [])",
    "gen_event:delete_handler(R, h, [])",
    "io:format(R, \"hello~n\", [])",
    "io:get_line(R, \"? \")",
];

fn ask(node: &mut Erl, question: &str) -> String {
    node.eval(&format!("Try(fun() -> {question} end)"))
}

#[test]
fn nothing_that_is_asked_of_our_processes_hangs() {
    if !has_erlang() {
        return;
    }
    let world = World::with_epmd();
    let program = world.logmachine(&["--instance", "quotes"]);
    let mut node = world.erl("a");
    node.eval("N = 'logmachine@127.0.0.1', pong = net_adm:ping(N)");
    node.wait_for_name("{quotes, 0}");
    node.eval(TRY);
    node.eval("{ok, S} = gen_server:call({logmachine, N}, {subscribe, quotes, #{from => now}})");
    let targets = [
        "{'.quotes.receiver.srv', N}",
        "{global, {quotes, 0}}",
        "{logmachine, N}",
        "{rex, N}",
        "{net_kernel, N}",
        "S",
    ];
    for target in targets {
        for question in QUESTIONS {
            let is_end = ["terminate", "stop("].iter().any(|end| question.contains(end));
            // That one is meant to work: it ends the session.
            if target == "S" && is_end {
                continue;
            }
            let question = question.replace('R', target);
            let answer = ask(&mut node, &question);
            assert_ne!(answer, "hangs", "{question}");
        }
    }
    node.eval("P = global:whereis_name({quotes, 0})");
    // What OTP's functions make of the answers.
    for (question, expected) in [
        ("element(1, sys:get_status(P))", "status"),
        ("P =:= element(2, sys:get_status(P))", "true"),
        ("sys:get_state(P)", "{receiver,quotes}"),
        ("sys:get_state(S)", "{session,quotes}"),
        ("gen_event:which_handlers({logmachine, N})", "[]"),
        ("gen_event:call({logmachine, N}, h, what)", "{error,bad_module}"),
        ("io:format(P, \"hello~n\", [])", "{'EXIT',{badarg,"),
        ("rpc:server_call(N, logmachine, reply, what)", "{error,nodedown}"),
        ("rpc:server_call(N, '.quotes.receiver.srv', reply, what)", "{error,nodedown}"),
        ("rpc:server_call(N, nobody, reply, what)", "{error,nodedown}"),
        ("rpc:sbcast([N], '.quotes.receiver.srv', what)", "{['logmachine@127.0.0.1'],[]}"),
        ("rpc:pinfo(P)", "{badrpc,{'EXIT',{undef,[{erlang,process_info,"),
        ("gen_server:call(S, what)", "{error,unsupported}"),
    ] {
        let answer = ask(&mut node, question);
        assert!(answer.starts_with(expected), "{question}: {answer}");
    }
    // After all that everything is still there, and works.
    node.eval("{ok, T} = gen_server:call({global, {quotes, 0}}, {append, still_here})");
    assert_eq!(node.eval("receive {quotes, {T, E}} -> E after 20000 -> none end"), "still_here");
    assert_eq!(node.eval("gen_server:stop(S)"), "ok");
    assert_eq!(program.stop(), Some(0));
}

/// The same with a term that OTP takes and we don't: it nests deeper than our limit.
#[test]
fn what_nests_too_deep_is_answered_counted_and_costs_nothing_else() {
    if !has_erlang() {
        return;
    }
    let world = World::with_epmd();
    let program = world.logmachine(&["--instance", "quotes"]);
    let mut node = world.erl("a");
    node.eval("N = 'logmachine@127.0.0.1', pong = net_adm:ping(N)");
    node.wait_for_name("{quotes, 0}");
    node.eval(TRY);
    node.eval("{ok, S} = gen_server:call({logmachine, N}, {subscribe, quotes, #{from => now}})");
    node.eval("R = {global, {quotes, 0}}, P = global:whereis_name({quotes, 0})");
    node.eval("D = lists:foldl(fun(_, T) -> {T} end, [], lists:seq(1, 2000)), ok");
    for (question, expected) in [
        ("gen_server:call(R, {append, D}, infinity)", "{error,refused}"),
        ("gen_server:call({logmachine, N}, {append, quotes, D}, infinity)", "{error,refused}"),
        ("gen_server:call(S, D, infinity)", "{error,refused}"),
        ("gen_server:call({rex, N}, D, infinity)", "{error,refused}"),
        ("gen_event:call(R, h, D, infinity)", "{error,refused}"),
        ("sys:replace_state(R, D, infinity)", "{'EXIT',"),
        ("gen_server:stop(S, D, infinity)", "{'EXIT',"),
        ("io:request(P, {put_chars, unicode, D})", "{error,request}"),
        ("rpc:call(N, lists, map, [D])", "{badrpc,{'EXIT',refused}}"),
        ("rpc:call(N, logmachine, append, [quotes, D])", "{badrpc,{'EXIT',refused}}"),
        ("erpc:call(N, lists, map, [D])", "{'EXIT',{{erpc,refused},"),
        ("rpc:block_call(N, lists, map, [D])", "{error,refused}"),
        ("rpc:server_call(N, logmachine, reply, D)", "{error,nodedown}"),
        ("rpc:sbcast([N], '.quotes.receiver.srv', D)", "{[],['logmachine@127.0.0.1']}"),
    ] {
        let answer = ask(&mut node, question);
        assert!(answer.starts_with(expected), "{question}: {answer}");
    }
    let refused = "gen_server:call(R, {info, refused}, infinity)";
    let before: u64 = ask(&mut node, refused).parse().unwrap();
    assert_eq!(before, 4, "of those to the receiver");
    node.eval("gen_server:cast(R, D), gen_server:cast(R, taken)");
    assert_eq!(ask(&mut node, refused), "5");
    assert_eq!(node.eval("receive {quotes, {_, E}} -> E after 20000 -> none end"), "taken");
    // A subscriber's end counts whatever its reason.
    node.eval("{X, _} = spawn_monitor(fun() -> receive Why -> exit(Why) end end)");
    node.eval("{ok, S2} = gen_server:call(R, {subscribe, #{from => now, pid => X}})");
    node.eval("M2 = monitor(process, S2), X ! D");
    let ended = "receive {'DOWN', M2, _, _, _} -> ended after 20000 -> lives end";
    assert_eq!(node.eval(ended), "ended");
    assert_eq!(program.stop(), Some(0));
}
