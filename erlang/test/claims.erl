%% @private Runs eunit tests where eunit isn't installed: lists, titles, setups, timeouts, funs.
-module(claims).
-export([run/1]).

%% Runs every exported NAME_test/0 and NAME_test_/0; the result is the number of failures. A test
%% that returns `skipped' says so.
-spec run([module()]) -> non_neg_integer().
run(Modules) ->
    Results = lists:flatten([run_module(M) || M <- Modules]),
    [Held, Failed, Skipped] = [length([V || V <- Results, V =:= W]) || W <- [ok, failed, skipped]],
    io:format("~b claims hold, ~b do not, ~b skipped~n", [Held, Failed, Skipped]),
    Failed.

run_module(Module) ->
    io:format("~s~n", [Module]),
    {module, Module} = code:ensure_loaded(Module),
    [run_export(Module, F, lists:reverse(atom_to_list(F))) || {F,
        0} <- Module:module_info(exports)].

run_export(Module, F, "_tset_" ++ _) -> run_test(Module:F(), [], 60);
run_export(Module, F, "tset_" ++ _) -> run_test(fun() -> Module:F() end, [atom_to_list(F)], 60);
run_export(_, _, _) -> [].

run_test(Tests, Path, Timeout) when is_list(Tests), not is_integer(hd(Tests)) ->
    [run_test(T, Path, Timeout) || T <- Tests];
run_test([], _, _) ->
    [];
run_test({setup, Setup, Cleanup, Test}, Path, Timeout) ->
    case attempt(Setup, Timeout) of
        {ok, Arg} ->
            try
                run_test(
                    case is_function(Test, 1) of
                        true -> Test(Arg);
                        false -> Test
                    end,
                    Path,
                    Timeout
                )
            after
                attempt(fun() -> Cleanup(Arg) end, Timeout)
            end;
        Failure ->
            verdict(["setup" | Path], Failure, 0)
    end;
run_test({timeout, Seconds, Test}, Path, _) ->
    run_test(Test, Path, Seconds);
run_test({Title, Test}, Path, Timeout) ->
    run_test(Test, [Title | Path], Timeout);
run_test(Fun, Path, Timeout) when is_function(Fun, 0) ->
    Start = erlang:monotonic_time(millisecond),
    Result = attempt(Fun, Timeout),
    verdict(Path, Result, erlang:monotonic_time(millisecond) - Start).

%% Each test and each fixture in a process of its own, as eunit does.
attempt(Fun, Timeout) ->
    {Pid, Ref} = spawn_monitor(fun() ->
        exit(
            try
                {ok, Fun()}
            catch
                Class:Reason:Stack -> {Class, Reason, Stack}
            end
        )
    end),
    receive
        {'DOWN', Ref, _, _, Result} -> Result
    after Timeout * 1000 ->
        Stack = process_info(Pid, current_stacktrace),
        exit(Pid, kill),
        {timeout, Timeout, Stack}
    end.

verdict(Path, {ok, skipped}, _) ->
    io:format("  skipped ~ts~n", [title(Path)]),
    skipped;
verdict(Path, {ok, _}, Millis) ->
    io:format("  ok     ~ts (~b ms)~n", [title(Path), Millis]),
    ok;
verdict(Path, Failure, _) ->
    Why = io_lib:format("~tP", [Failure, 60], [{chars_limit, 4000}]),
    io:format("  FAILED ~ts~n    ~ts~n", [title(Path), Why]),
    failed.

title(Path) ->
    lists:join(": ", lists:reverse(Path)).
