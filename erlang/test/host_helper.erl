%% @private What a test makes happen on a host: compiled there, by the host's own release.
-module(host_helper).

-export([all_kinds/0, init/1, crash/0, storm/3, log_at/1, string_at/1, under/3, cost/1, guards/0,
    log_while_away/2, ask/1]).

%% One event of every kind that the error_logger manager sees.
all_kinds() ->
    error_logger:error_report([{kind, error_report}]),
    error_logger:error_report(my_type, [{kind, typed}]),
    error_logger:warning_report([{kind, warning_report}]),
    error_logger:info_report([{kind, info_report}]),
    error_logger:error_msg("kind ~p~n", [error_msg]),
    error_logger:warning_msg("kind ~p~n", [warning_msg]),
    error_logger:info_msg("kind ~p~n", [info_msg]),
    error_logger:error_msg("wrong ~p ~p~n", [only_one]),
    error_logger:error_report(improper([{a, b}], tail)),
    logger:error("~ts ~p", ["tagged", 1], #{error_logger => #{tag => error}}),
    logger:error(#{report => tagged}, #{error_logger => #{tag => error_msg, report_cb => fun(R) ->
        {"cb ~p", [R]} end}}),
    logger:error(#{report => crashing}, #{error_logger => #{tag => error_msg},
        report_cb => fun(_) -> error(cb) end}),
    done = crash(),
    ok.

improper(List, Tail) -> List ++ Tail.

%% A raw crash, a proc_lib crash, a gen_server's end and a supervisor's reports.
crash() ->
    {_, Raw} = spawn_monitor(fun() -> error(raw_crash) end),
    {ok, Sup} = supervisor:start_link(?MODULE, sup),
    unlink(Sup),
    [{_, Child, _, _}] = supervisor:which_children(Sup),
    Ref = monitor(process, Child),
    catch gen_server:call(Child, crash),
    SupRef = monitor(process, Sup),
    [receive {'DOWN', R, _, _, _} -> ok end || R <- [Raw, Ref, SupRef]],
    done.

init(sup) ->
    Child = #{id => child, start => {gen_server, start_link, [host_crasher, [], []]}},
    {ok, {#{intensity => 0, period => 1}, [Child]}}.

log_at(Kinds) ->
    lists:foreach(
        fun
            ({Level, Term}) -> logger:log(Level, Term);
            ({Level, Term, Meta}) -> logger:log(Level, Term, Meta)
        end,
        Kinds
    ).

string_at(Text) -> logger:error(Text).

%% Has the guards of our handlers told who has handlers in a manager.
ask(Manager) ->
    {_, Dictionary} = process_info(Manager, dictionary),
    Guests = proplists:get_value('$logmachine_guests', Dictionary),
    [Manager ! {G, {G, logmachine_handlers}, which_handlers} || #{guard := G} <- Guests],
    ok.

%% N numbered events of Size bytes from Procs processes, as fast as they go.
storm(N, Size, Procs) ->
    Pad = binary:copy(<<"x">>, Size),
    Each = N div Procs,
    Pids = [spawn_monitor(fun() -> storm_loop(P, Each, Pad) end) || P <- lists:seq(1, Procs)],
    [receive {'DOWN', R, _, _, Why} -> Why end || {_, R} <- Pids].

storm_loop(_, 0, _) -> ok;
storm_loop(P, N, Pad) ->
    logger:error(#{proc => P, n => N, pad => Pad}),
    storm_loop(P, N - 1, Pad).

%% Runs a call in a process whose group leader is the given one.
under(GroupLeader, Fun, Args) ->
    {_, Ref} = spawn_monitor(fun() ->
        group_leader(GroupLeader, self()),
        apply(logger, Fun, Args)
    end),
    receive {'DOWN', Ref, _, _, Why} -> Why end.

%% Microseconds that one log call takes, the best of five rounds.
cost(N) ->
    Loop = fun
        F(0) -> ok;
        F(I) -> logger:error("request ~p of ~p failed", [I, user]), F(I - 1)
    end,
    lists:min([element(1, timer:tc(fun() -> Loop(N) end)) / N || _ <- lists:seq(1, 5)]).

%% How many guards of our handlers live here.
guards() ->
    length([
        P
     || P <- processes(),
        {initial_call, {M, guard, 1}} <- [process_info(P, initial_call)],
        lists:member(M, [logmachine_forwarder, logmachine_logger_handler])
    ]).

%% Drops the connection to Node, logs, and connects again.
log_while_away(Node, Kinds) ->
    spawn(fun() ->
        receive after 200 -> ok end,
        true = erlang:disconnect_node(Node),
        gone(Node),
        log_at(Kinds),
        true = net_kernel:connect_node(Node)
    end),
    ok.

gone(Node) ->
    case lists:member(Node, nodes(connected)) of
        true -> receive after 10 -> gone(Node) end;
        false -> ok
    end.
