%% What the capture tests do on the captured nodes: one module that is a crashing server, its
%% supervisor, and a user's own event handler.
-module(lm_capture).
-export([emit/0, kinds/0, events/0, events/1, handlers/0, installed/0, count/0, logging/0, tags/1, dropped/0]).
-export([storm/2, flood/2, settled/0, pass/2, sequence/1, numbers/1, sup/0, crash/0]).
-export([init/1, handle_call/2, handle_call/3, handle_cast/2, handle_event/2, handle_info/2]).
-export([terminate/2]).

-define(NODE, 'logmachine@127.0.0.1').

%% One of everything that OTP reports, and of what error_logger never sees.
emit() ->
    error_logger:error_report([{row, 1}]),
    error_logger:error_report(lm_type, [{row, 2}]),
    error_logger:error_msg("lm error ~p", [3]),
    error_logger:warning_msg("lm warning ~p", [4]),
    error_logger:warning_report([{row, 5}]),
    error_logger:info_msg("lm info ~p", [6]),
    error_logger:info_report([{row, 7}]),
    logger:error("lm ~p", [8], #{mfa => {m, f, 0}, file => "m.erl", line => 8}),
    logger:warning("lm 9"),
    logger:notice(#{row => 10}),
    logger:error(#{row => 11}, #{report_cb => fun(_) -> {"lm ~ts", [<<"eleven">>]} end}),
    logger:info("below the primary level"),
    emulator_crash(),
    wait(proc_lib:spawn(fun() -> exit(lm_crash) end)),
    {ok, Server} = gen_server:start(?MODULE, server, []),
    catch gen_server:call(Server, crash),
    {ok, _} = sup(),
    crash(),
    alarm_handler:set_alarm({lm_alarm, 17}),
    alarm_handler:clear_alarm(lm_alarm),
    gen_event:sync_notify(alarm_handler, lm_flush),
    %% Behind these no copy of the ones before can come.
    error_logger:error_report([{row, last}]),
    logger:error("lm last"),
    ok.

emulator_crash() ->
    wait(spawn(fun() -> error(lm_raw) end)).

wait(Pid) ->
    Ref = monitor(process, Pid),
    receive
        {'DOWN', Ref, process, _, _} -> ok
    end.

sup() ->
    supervisor:start_link({local, lm_sup}, ?MODULE, supervisor).

%% Lets the supervised server crash and waits until the next one runs.
crash() ->
    Old = whereis(lm_server),
    catch gen_server:call(Old, crash),
    restarted(Old).

restarted(Old) ->
    case whereis(lm_server) of
        Pid when is_pid(Pid), Pid =/= Old -> ok;
        _ -> receive after 1 -> restarted(Old) end
    end.

%% What is in the log of this node's, as [{Kind, Count}].
kinds() ->
    Kinds = [Kind || E <- events(), origin(E) =:= node(), Kind <- [kind(E)]],
    [{Kind, length([K || K <- Kinds, K =:= Kind])} || Kind <- lists:usort(Kinds)].

origin({log, Node, _, _, _}) -> Node;
origin({_, GroupLeader, {_, _, _}}) when is_pid(GroupLeader) -> node(GroupLeader);
origin(_) -> none.

kind({error_report, _, {P, std_error, [{row, _}]}}) when is_pid(P) -> error_report;
kind({error_report, _, {P, lm_type, [{row, 2}]}}) when is_pid(P) -> error_report_type;
kind({error_report, _, {P, crash_report, [_, _]}}) when is_pid(P) -> crash_report;
kind({error_report, _, {P, supervisor_report, [_ | _]}}) when is_pid(P) -> supervisor_report;
kind({warning_report, _, {P, std_warning, [{row, 5}]}}) when is_pid(P) -> warning_report;
kind({info_report, _, {P, std_info, [{alarm_handler, {What, _}}]}}) when is_pid(P) -> {alarm, What};
kind({info_report, _, {P, std_info, [{row, 7}]}}) when is_pid(P) -> info_report;
kind({error, _, {emulator, F, A}}) when is_list(F), is_list(A) -> emulator;
kind({error, _, {P, "lm" ++ _, [_]}}) when is_pid(P) -> error_msg;
kind({error, _, {P, F, A}}) when is_pid(P), is_list(F), is_list(A) -> server;
kind({warning_msg, _, {P, "lm" ++ _, [_]}}) when is_pid(P) -> warning_msg;
kind({info_msg, _, {P, "lm" ++ _, [_]}}) when is_pid(P) -> info_msg;
kind({log, _, Level, {report, #{row := 11}}, #{pid := P, time := _, '$text' := Text}}) when
    is_pid(P)
->
    {log, Level, Text};
kind({log, _, Level, {Shape, Report}, #{pid := P, time := _} = Meta}) when is_pid(P) ->
    case Meta of
        #{mfa := {m, f, 0}, line := 8} -> {log, Level, with_line};
        _ when Shape =:= string; is_map_key(row, Report) -> {log, Level, Shape};
        _ -> {unexpected, Shape, Report, Meta}
    end;
kind(Other) ->
    {unexpected, Other}.

%% All events of the log.
events() ->
    events('.error_logger.receiver.srv').

events(Receiver) ->
    [Event || {_, Event} <- take({Receiver, ?NODE}, earliest, [])].

take(Receiver, From, Acc) ->
    case gen_server:call(Receiver, {read, From, #{limit => 100000}}, 60000) of
        {ok, Entries, eof} -> lists:append(lists:reverse([Entries | Acc]));
        {ok, Entries, Next} -> take(Receiver, Next, [Entries | Acc])
    end.

%% What the events of an instance are tagged with: {lm, Tag}, however they came.
tags(Receiver) ->
    lists:sort([tag(E) || E <- events(Receiver), tag(E) =/= none]).

tag({log, _, _, {report, #{lm := Tag}}, _}) -> Tag;
tag({error_report, _, {_, std_error, [{lm, Tag}]}}) -> Tag;
tag({warning_report, _, {_, std_warning, [{lm, Tag}]}}) -> Tag;
tag({info_report, _, {_, Type, [{lm, Tag}]}}) when Type =:= std_info; Type =:= progress -> Tag;
tag({lm, Tag}) -> Tag;
tag({set_alarm, {lm, Tag}}) -> Tag;
tag({mine, {lm, Tag}}) -> {mine, Tag};
tag(_) -> none.

%% What `info` says of this node: [{Place, State}].
handlers() ->
    Handlers = gen_server:call({'.error_logger.receiver.srv', ?NODE}, {info, handlers}),
    [{Place, State} || {Node, Place, State} <- Handlers, Node =:= node()].

installed() ->
    try handlers() of
        [_ | _] = Handlers -> lists:all(fun({_, State}) -> State =:= installed end, Handlers);
        [] -> false
    catch
        _:_ -> false
    end.

%% How many handlers of ours there are in error_logger and in logger.
count() ->
    Managed = [H || {logmachine_forwarder, _} = H <- gen_event:which_handlers(error_logger)],
    {length(Managed), logging()}.

logging() ->
    length([Id || Id <- logger:get_handler_ids(), is_ours(atom_to_list(Id))]).

is_ours("logmachine." ++ _) -> true;
is_ours(_) -> false.

dropped() ->
    [D || {logmachine, dropped, #{node := Node} = D} <- events(), Node =:= node()].

%% Count events from each of Processes, as fast as they go; the milliseconds it took.
storm(Processes, Count) ->
    storm(Processes, Count, fun(N) -> logger:error(#{lm => N}) end).

storm(Processes, Count, Log) ->
    Start = erlang:monotonic_time(millisecond),
    All = fun() -> lists:foreach(Log, lists:seq(1, Count)) end,
    Pids = [spawn_monitor(All) || _ <- lists:seq(1, Processes)],
    [
        receive
            {'DOWN', Ref, process, Pid, _} -> ok
        end
     || {Pid, Ref} <- Pids
    ],
    erlang:monotonic_time(millisecond) - Start.

%% The same through error_logger: the longest that its queue was, and the milliseconds it took.
flood(Processes, Count) ->
    Manager = whereis(error_logger),
    {Sampler, Ref} = spawn_opt(fun() -> sample(Manager, 0) end, [monitor, {priority, max}]),
    Millis = storm(Processes, Count, fun(N) -> error_logger:error_msg("lm ~p", [N]) end),
    Sampler ! stop,
    receive
        {'DOWN', Ref, process, Sampler, {longest, Longest}} -> {Longest, Millis}
    end.

sample(Manager, Longest) ->
    {_, Length} = process_info(Manager, message_queue_len),
    receive
        stop -> exit({longest, max(Longest, Length)})
    after 1 -> sample(Manager, max(Longest, Length))
    end.

%% How many of a flood's events are in the log, and how many are said to be missing.
settled() ->
    Events = events(),
    Kept = length([N || {error, _, {_, "lm ~p", [N]}} <- Events]),
    {Kept, lists:sum([N || {logmachine, dropped, #{count := N}} <- Events])}.

%% A filter: what the host's own handler `error_logger' may have.
pass(#{meta := #{secret := _}}, _) -> stop;
pass(#{meta := #{changed := _}} = Event, _) -> Event#{msg := {string, "no longer of error_logger's"}};
pass(#{meta := #{crash := _}}, _) -> error(crash);
pass(_, Answer) -> Answer.

%% Logs {node(), N} until told to stop, then tells the last number.
sequence(Owner) ->
    spawn(fun() -> sequence(Owner, 1) end).

sequence(Owner, N) ->
    case N rem 2 of
        0 -> error_logger:error_report([{lm, {node(), N}}]);
        1 -> logger:error(#{lm => {node(), N}})
    end,
    receive
        stop -> Owner ! {last, N}
    after 2 -> sequence(Owner, N + 1)
    end.

%% Of this node's numbers in the log: how many, how many of them twice or out of order.
numbers(Parity) ->
    Numbers = [N || E <- events(), {Node, N} <- [tag(E)], Node =:= node(), N rem 2 =:= Parity],
    {length(Numbers), length(Numbers) - length(in_order(Numbers))}.

in_order([]) -> [];
in_order([N | Rest]) -> [N | in_order(lists:dropwhile(fun(M) -> M =< N end, Rest))].

%% Callbacks.

init(supervisor) ->
    Child = #{id => lm_server, start => {gen_server, start_link, [{local, lm_server}, ?MODULE, server, []]}},
    {ok, {#{intensity => 100, period => 1}, [Child]}};
init(server) ->
    {ok, server};
init(counter) ->
    {ok, 0};
init({Receiver, Node}) when is_atom(Receiver), is_atom(Node) ->
    {ok, {Receiver, Node}}.

handle_call(crash, _, server) -> error(lm_server_crash).

handle_call(count, Count) -> {ok, Count, Count};
handle_call(_, State) -> {ok, ok, State}.

handle_cast(_, State) -> {noreply, State}.

handle_event({error, _, {_, "lm" ++ _, _}}, Count) when is_integer(Count) ->
    {ok, Count + 1};
handle_event(_, Count) when is_integer(Count) ->
    {ok, Count};
handle_event(Event, Receiver) ->
    gen_server:cast(Receiver, {mine, Event}),
    {ok, Receiver}.

handle_info(_, State) -> {ok, State}.

terminate(_, _) -> ok.
