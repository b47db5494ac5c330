%% @private The client library, the examples and the guides against a real logmachine node.
%%
%% LOGMACHINE names the binary; without it every claim is skipped by name. Each claim runs in an
%% Erlang node of its own, of each release in OTP_MATRIX, with a port mapper, a cookie and a data
%% directory of its own.
-module(real_node_tests).
-export([real_node_test_/0, main/1]).
-export([init/1, handle_entries/2, received/1, received/2, handle_event/2, handle_call/2]).
-include("claims.hrl").

-define(NODE, 'logmachine@127.0.0.1').
-define(QUOTES, {quotes, ?NODE}).

claims() ->
    [
        {code_for_the_original_runs_unchanged, fun original/0},
        {the_originals_live_registry_serves_every_method, fun registry/0},
        {the_originals_sessions_are_linked_both_ways, fun links/0},
        {a_last_stamp_gives_one_entry_of_overlap_and_the_next_microsecond_none, fun overlap/0},
        {faults_and_what_is_different_are_told, fun faults/0},
        {a_consumer_survives_restarts_of_the_node, fun() -> consumer(fun restart/1, ?QUOTES) end},
        {a_consumer_survives_kill_9_of_the_node, fun() -> consumer(fun crash/1, ?QUOTES) end},
        {a_consumer_survives_netsplits, fun() -> consumer(fun netsplit/1, ?QUOTES) end},
        {a_consumer_finds_its_instance_by_global_name_again, fun() -> consumer(fun crash/1,
            quotes) end},
        {a_crashed_consumer_comes_back_at_its_cursor, fun cursor/0},
        {the_quotes_example_is_exact_across_kill_9_and_netsplits, fun quotes/0},
        {every_snippet_of_the_guides_runs, fun guides/0}
    ].

real_node_test_() ->
    Names = [atom_to_list(Name) || {Name, _} <- claims()],
    case os:getenv("LOGMACHINE") of
        Unset when Unset =:= false; Unset =:= "" ->
            [{Name ++ ": LOGMACHINE names no binary", fun() -> skipped end} || Name <- Names];
        _ ->
            [{setup, fun() -> compile(Erl) end, fun remove/1, fun(Ebin) ->
                [{release(Erl) ++ ": " ++ Name, {timeout, 180, fun() -> claim(Erl, Ebin,
                    Name) end}} || Name <- Names]
            end} || Erl <- otp_host:releases()]
    end.

release(Erl) -> filename:basename(filename:dirname(filename:dirname(Erl))).

%% What a release is to run is compiled by it.
compile(Erl) ->
    Root = otp_host:root(),
    Dir = temporary("ebin"),
    Sources = [filename:join(Root, "src/logmachine.erl"), filename:join(Root,
        "src/logmachine_consumer.erl"), filename:join(Root, "test/real_node_tests.erl") |
        filelib:wildcard(filename:join(root(), "examples/erlang/*.erl"))],
    Erlc = filename:join(filename:dirname(Erl), "erlc"),
    {0, _} = run(Erlc, ["-pa", Dir, "-o", Dir | Sources], []),
    Dir.

root() -> filename:dirname(os:getenv("LOGMACHINE_ERLANG")).

remove(Dir) ->
    [] = os:cmd("rm -rf '" ++ Dir ++ "'").

temporary(What) ->
    Dir = filename:join(os:getenv("TMPDIR", "/tmp"), otp_host:unique("logmachine_" ++ What)),
    ok = filelib:ensure_dir(filename:join(Dir, "x")),
    Dir.

%% Runs a claim in a node of its own.
claim(Erl, Ebin, Name) ->
    Dir = temporary("data"),
    {ok, Socket} = gen_tcp:listen(0, [{ip, {127, 0, 0, 1}}]),
    {ok, Port} = inet:port(Socket),
    ok = gen_tcp:close(Socket),
    Env = [{"ERL_EPMD_PORT", integer_to_list(Port)}],
    Epmd = start(os:find_executable("epmd"), [], Env),
    try
        wait(fun() -> element(1, gen_tcp:connect({127, 0, 0, 1}, Port, [])) =:= ok end),
        Run = run(Erl, ["-noinput", "-start_epmd", "false", "-name", "client@127.0.0.1",
            "-setcookie", otp_host:unique("cookie"), "-kernel", "logger_level", "none", "-pa", Ebin,
            "-eval", "real_node_tests:main(" ++ Name ++ ")"], [{cd, Dir}, {env, Env}]),
        case Run of
            {0, _} -> ok;
            {_, Output} -> error(binary_to_list(Output))
        end
    after
        port_close(Epmd),
        remove(Dir)
    end.

%% Runs a program to its end: the exit status and what it printed.
run(Program, Args, Options) ->
    Port = open_port({spawn_executable, Program}, [{args, Args}, exit_status, stderr_to_stdout,
        binary | Options]),
    output(Port, <<>>).

output(Port, Output) ->
    receive
        {Port, {data, Data}} -> output(Port, <<Output/binary, Data/binary>>);
        {Port, {exit_status, Status}} -> {Status, Output}
    end.

%% Starts a program that ends with the port, however this node ends. First it prints its own pid.
start(Program, Args, Env) ->
    Script = "\"$@\" & pid=$!; echo pid $pid; cat >/dev/null; kill -9 $pid 2>/dev/null",
    open_port({spawn_executable, "/bin/sh"}, [{args, ["-c", Script, "sh", Program | Args]}, {env,
        Env}, {line, 1000}]).

%% In the claim's node

main(Name) ->
    process_flag(trap_exit, true),
    {_, Claim} = lists:keyfind(Name, 1, claims()),
    ok = file:write_file("cookie", atom_to_list(erlang:get_cookie())),
    ok = file:change_mode("cookie", 8#400),
    try
        Claim(),
        halt(0)
    catch
        Class:Reason:Stack ->
            io:format("~tP~n", [{Class, Reason, Stack}, 100]),
            halt(1)
    end.

%% Starts the node under test: its port and its operating system's pid. It connects to nobody: who
%% wants it calls it, as after a netsplit.
node_up() ->
    Port = start(os:getenv("LOGMACHINE"), ["run", "--name", atom_to_list(?NODE), "--cookie-file",
        "cookie", "--data-dir", "data", "--instance", "quotes", "--instance", "error_logger"],
        []),
    Pid = receive {Port, {data, {eol, "pid " ++ Number}}} -> Number end,
    ready(Port),
    wait(fun() -> net_adm:ping(?NODE) =:= pong end),
    {Port, Pid}.

ready(Port) ->
    receive
        {Port, {data, {eol, Line}}} -> lists:suffix(" ready", Line) orelse ready(Port)
    after 20000 -> error(not_ready)
    end.

node_down({Port, Pid}, Signal) ->
    [] = os:cmd("kill -" ++ Signal ++ " " ++ Pid),
    wait(fun() -> not lists:member(?NODE, nodes(connected)) end),
    %% A stopped node still writes; its directory is free when it is gone.
    wait(fun() -> os:cmd("kill -0 " ++ Pid) =/= [] end),
    port_close(Port).

restart(Node) -> node_down(Node, "TERM"), node_up().
crash(Node) -> node_down(Node, "KILL"), node_up().
netsplit(Node) -> erlang:disconnect_node(?NODE), Node.

named(Name) ->
    wait(fun() -> is_pid(global:whereis_name(Name)) end).

wait(Condition) -> wait(Condition, erlang:monotonic_time(millisecond) + 30000).
wait(Condition, Deadline) ->
    case Condition() of
        true -> ok;
        _ ->
            erlang:monotonic_time(millisecond) > Deadline andalso error(timeout),
            timer:sleep(10),
            wait(Condition, Deadline)
    end.

entry(Marker) -> receive {Marker, {{_, _, _}, _} = Entry} -> Entry after 10000 -> error(Marker) end.
events(Marker, N) -> [element(2, entry(Marker)) || _ <- lists:seq(1, N)].

%% The claims

%% What the original's sources say of its functions, and nothing else: its specs have subscribe/2..5
%% return the session's pid, its supervisor throws where there is none, its info/2 throws `noprop'.
original() ->
    _ = node_up(),
    named({quotes, 0}),
    R = {global, {quotes, 0}},
    ok = gen_server:cast(R, {quote, vtb, 101.5, 10}),
    ok = gen_server:cast(R, {quote, gaz, 99.0, 3}),
    Live = [{quote, vtb, 101.5, 10}, {quote, gaz, 99.0, 3}],
    Session = logmachine:subscribe(quotes, {0, 0, 0}),
    ?assert(is_pid(Session)),
    ?assertEqual(Live, events(quotes, 2)),
    ?assert(is_pid(logmachine:subscribe(quotes, {0, 0, 0}, self()))),
    ?assertEqual(Live, events(quotes, 2)),
    ?assert(is_pid(logmachine:subscribe(quotes, {0, 0, 0}, self(), {my, marker}))),
    ?assertEqual(Live, events({my, marker}, 2)),
    Spec = [{{quote, vtb, '$1', '_'}, [{'>', '$1', 100}], [{{vtb, '$1'}}]}],
    ?assert(is_pid(logmachine:subscribe(quotes, {0, 0, 0}, self(), filtered, Spec))),
    ?assertEqual([{vtb, 101.5}], events(filtered, 1)),
    ok = gen_server:cast(R, {quote, vtb, 102, 1}),
    ?assertEqual([{vtb, 102}], events(filtered, 1)),
    {Last, {quote, vtb, 102, 1}} = entry({my, marker}),
    %% From now on.
    ?assert(is_pid(logmachine:subscribe(quotes, erlang:timestamp(), self(), later))),
    ok = gen_server:cast(R, live),
    ?assertEqual([live], events(later, 1)),
    Refused = fun(Instance, From, Pid, Marker, MatchSpec) ->
        Thrown = try logmachine:subscribe(Instance, From, Pid, Marker, MatchSpec) catch throw:T -> T end,
        {failed_to_start_subscription, [{reason, Reason} | Asked]} = Thrown,
        ?assertEqual([{instance, Instance}, {start_from, From}, {subscriber, Pid}, {marker, Marker},
            {match_spec, MatchSpec}], Asked),
        Reason
    end,
    ?assertMatch({error, _}, Refused(quotes, {0, 0, 0}, self(), m, not_a_match_spec)),
    ?assertMatch({error, _}, Refused(quotes, yesterday, self(), m, Spec)),
    ?assertMatch({error, _}, Refused(nowhere, {0, 0, 0}, self(), m, Spec)),
    %% The original's lists, and the functions that its users walked them with.
    List = logmachine:get_zlist(quotes, {0, 0, 0}),
    ?assertEqual(Live ++ [{quote, vtb, 102, 1}, live], [E || {_, E} <- expand(List)]),
    {Two, Rest} = scroll(2, List),
    ?assertEqual(Live, [E || {_, E} <- Two]),
    ?assertMatch([{Last, _} | _], Rest),
    ?assertEqual([], logmachine:get_zlist(quotes, {9999, 0, 0})),
    Info = logmachine:info(quotes),
    ?assertEqual(logmachine:info(quotes, data_dir), proplists:get_value(data_dir, Info)),
    ?assertMatch([{data_dir, [_ | _]}, {arch_data_dir, [_ | _]} | _], Info),
    ?assertMatch([_ | _], logmachine:info(quotes, arch_data_dir)),
    ?assertEqual({noprop, colour}, try logmachine:info(quotes, colour) catch throw:P -> P end),
    remote(),
    Name = {'.quotes.receiver.srv', ?NODE},
    ?assertEqual({quotes, 0}, gen_server:call(Name, get_global_alias)),
    ok = gen_server:cast(Name, by_local_name),
    ?assertEqual([live, by_local_name], events({my, marker}, 2)).

%% By rpc and erpc the same functions return and throw the same: where nothing of ours is installed.
remote() ->
    Rpc = fun(F, A) -> rpc:call(?NODE, logmachine, F, A) end,
    Session = Rpc(subscribe, [quotes, {0, 0, 0}, self(), remote]),
    ?assert(is_pid(Session) andalso node(Session) =:= ?NODE),
    ?assertEqual([{quote, vtb, 101.5, 10}], events(remote, 1)),
    ?assert(lists:member(Session, element(2, process_info(self(), links)))),
    Thrown = {failed_to_start_subscription, [{reason, {error, {badarg, from}}}, {instance, quotes},
        {start_from, yesterday}, {subscriber, self()}, {marker, m},
        {match_spec, [{'$1', [], ['$1']}]}]},
    ?assertEqual(Thrown, Rpc(subscribe, [quotes, yesterday, self(), m])),
    ?assertEqual(Thrown, try erpc:call(?NODE, logmachine, subscribe, [quotes, yesterday, self(),
        m]) catch throw:T -> T end),
    ?assertEqual({noprop, colour}, Rpc(info, [quotes, colour])),
    ?assertEqual({noprop, colour},
        try erpc:call(?NODE, logmachine, info, [quotes, colour]) catch throw:P -> P end),
    ?assertEqual(logmachine:info(quotes, data_dir), Rpc(info, [quotes, data_dir])).

expand([]) -> [];
expand([Entry | Rest]) when is_function(Rest, 0) -> [Entry | expand(Rest())].

scroll(0, Rest) -> {[], Rest};
scroll(_, []) -> {[], []};
scroll(N, [Entry | Rest]) ->
    {Entries, Left} = scroll(N - 1, Rest()),
    {[Entry | Entries], Left}.

registry() ->
    _ = node_up(),
    named({quotes, 0}),
    R = {global, {quotes, 0}},
    Test = self(),
    Subscribe = fun(Ref, Method) -> gen_server:call(R, {subscribe, Ref, Method}) end,
    gen_server:cast(R, past),
    {ok, [_], eof} = until_read(1),
    Forward = fun Loop(Tag) -> receive M -> Test ! {Tag, M}, Loop(Tag) end end,
    P = spawn(fun() -> Forward(by_pid) end),
    ?assertEqual(ok, Subscribe(P, send)),
    ?assertEqual({error, already_subscribed}, Subscribe(P, {gen_server, cast})),
    true = register(by_name, spawn(fun() -> Forward(by_name) end)),
    ?assertEqual(ok, Subscribe(by_name, {gen_server, cast})),
    true = register(by_node, spawn(fun() -> Forward(by_node) end)),
    ?assertEqual(ok, Subscribe({by_node, node()}, send)),
    yes = global:register_name(by_global, spawn(fun() -> Forward(by_global) end)),
    ?assertEqual(ok, Subscribe({global, by_global}, send)),
    {ok, Manager} = gen_event:start(),
    ok = gen_event:add_handler(Manager, ?MODULE, Test),
    ?assertEqual(ok, Subscribe(Manager, {gen_event, notify})),
    ?assertEqual({error, badarg}, Subscribe(self(), nonsense)),
    ?assertEqual({error, badarg}, Subscribe("no reference", send)),
    gen_server:cast(R, live),
    Entry = receive {by_pid, E} -> E end,
    ?assertMatch({{_, _, _}, live}, Entry),
    [receive {Tag, Got} -> ?assertEqual(Expected, Got) end || {Tag, Expected} <- [
        {by_name, {'$gen_cast', Entry}}, {by_node, Entry}, {by_global, Entry}, {by_event, Entry}]],
    %% Whoever is gone may come again.
    exit(P, kill),
    wait(fun() -> Subscribe(P, send) =/= {error, already_subscribed} end),
    wait(fun() -> length(logmachine:info(quotes, sessions)) =:= 4 end),
    %% A function of the subscriber's node.
    true = register(by_function, self()),
    Q = spawn(fun() -> receive stop -> ok end end),
    ?assertEqual(ok, Subscribe(Q, {?MODULE, received})),
    gen_server:cast(R, again),
    receive {function, Called} -> ?assertMatch({{_, _, _}, again}, Called) after 10000 -> error(
        no_call) end.

received(Entry) -> by_function ! {function, Entry}.

%% As the original called it.
received(_Ref, Entry) -> received(Entry).

until_read(N) ->
    case logmachine:read(?QUOTES, earliest, #{limit => 1000000}) of
        {ok, Entries, eof} when length(Entries) >= N -> {ok, Entries, eof};
        {ok, _, eof} -> timer:sleep(10), until_read(N)
    end.

links() ->
    _ = node_up(),
    Test = self(),
    Subscriber = spawn(fun() ->
        S = logmachine:subscribe(?QUOTES, now),
        Test ! {session, S},
        receive stop -> ok end
    end),
    Session = receive {session, S1} -> S1 end,
    M1 = monitor(process, Subscriber),
    exit(Session, lost),
    receive {'DOWN', M1, _, _, Why} -> ?assertEqual(lost, Why) end,
    S2 = logmachine:subscribe(?QUOTES, now),
    unlink(S2),
    ok = gen_server:stop(S2),
    %% The session ends with its subscriber, also one that ends normally.
    Other = spawn(fun() -> receive stop -> ok end end),
    S3 = logmachine:subscribe(?QUOTES, now, Other),
    ?assertEqual([{S3, Other}], logmachine:info(?QUOTES, sessions)),
    M3 = monitor(process, S3),
    Other ! stop,
    receive {'DOWN', M3, _, _, _} -> ok end,
    wait(fun() -> logmachine:info(?QUOTES, sessions) =:= [] end).

overlap() ->
    _ = node_up(),
    {ok, _, _} = logmachine:append_many(?QUOTES, [{n, N} || N <- lists:seq(1, 10)]),
    {ok, S} = logmachine:subscribe(?QUOTES, #{from => earliest, marker => a, credit => 5}),
    Monitor = monitor(process, S),
    Seen = [entry(a) || _ <- lists:seq(1, 5)],
    {{Mega, Sec, Micro} = Last, {n, 5}} = lists:last(Seen),
    erlang:disconnect_node(?NODE),
    receive {'DOWN', Monitor, _, _, Why} -> ?assertEqual(noconnection, Why) end,
    {ok, _} = logmachine:subscribe(?QUOTES, #{from => Last, marker => b}),
    ?assertEqual(lists:seq(5, 10), [N || {n, N} <- events(b, 6)]),
    Next = (Mega * 1000000 + Sec) * 1000000 + Micro + 1,
    {ok, _} = logmachine:subscribe(?QUOTES, #{from => Next, marker => c}),
    ?assertEqual(lists:seq(6, 10), [N || {n, N} <- events(c, 5)]).

faults() ->
    _ = node_up(),
    Log = {error_logger, ?NODE},
    Error = fun(F, N) -> {log, node(), error, {"failed: ~p", [N]}, #{mfa => {shop, F, 1}}} end,
    {ok, _, _} = logmachine:append_many(Log, [Error(f, 1), Error(g, 1), Error(f, 2)]),
    wait(fun() -> {ok, All} = logmachine:faults(Log), length(All) =:= 2 end),
    {ok, [#{id := Id, title := Title, modules := [shop], first_seen := First} = Fault]} =
        logmachine:faults(Log, #{sort => count, limit => 1}),
    ?assertMatch(#{count := 2, state := new, level := error, last_seen := Last} when Last > First,
        Fault),
    ?assertEqual(<<"failed: ~p in shop:f/1">>, Title),
    gen_server:cast(logmachine:whereis({faults, ?NODE}), {fault, Id, resolved, #{by => ann}}),
    wait(fun() -> {ok, R} = logmachine:faults(Log, #{state => resolved}), length(R) =:= 1 end),
    {ok, [#{by := <<"ann">>}]} = rpc:call(?NODE, logmachine, faults, [error_logger,
        #{state => [resolved, muted]}]),
    {ok, #{text := <<"Too few to compare: 3 events", _/binary>>, findings := []}} =
        logmachine:explain(Log, #{from => {ago, {10, min}}}),
    ?assertEqual({error, {badarg, until}}, logmachine:explain(Log, #{until => now})).

%% Whatever happens to the node, the consumer handles what is in the log: each entry once, in order.
consumer(Trouble, Instance) ->
    Test = self(),
    Node = node_up(),
    Options = #{instance => Instance, module => ?MODULE, args => {Test, strict}, batch => 50,
        backoff => {20, 200}},
    {ok, C} = logmachine_consumer:start_link(Options),
    Feeder = spawn_link(fun() ->
        [feed(N) || N <- lists:seq(1, 3000)],
        Test ! fed
    end),
    Last = trouble(Trouble, 5, Node),
    receive fed -> ok after 60000 -> error(process_info(Feeder, current_stacktrace)) end,
    _ = Trouble(Last),
    wait(fun() -> net_adm:ping(?NODE) =:= pong end),
    {ok, All, eof} = until_read(3000),
    %% Everything that was acknowledged is there; a retry may have written twice.
    ?assertEqual(lists:seq(1, 3000), lists:usort([N || {_, N} <- All])),
    ?assertEqual(All, handled(length(All), [])),
    ?assertMatch(#{subscribed := N} when N > 1, logmachine_consumer:info(C)),
    ?assertEqual(length(All), maps:get(handled, logmachine_consumer:info(C))).

trouble(_, 0, Node) -> Node;
trouble(Trouble, Times, Node) ->
    %% Until the consumer has got some more.
    receive {entries, _, _} = Entries -> self() ! Entries after 30000 -> error(nothing_comes) end,
    timer:sleep(100),
    trouble(Trouble, Times - 1, Trouble(Node)).

feed(N) ->
    try {ok, _} = logmachine:append(?QUOTES, N) catch _:_ -> timer:sleep(5), feed(N) end.

%% In the order of the calls: trouble/3 has put some messages back.
handled(N, Acc) when N =< 0 -> lists:append([Es || {_, Es} <- lists:sort(Acc)]);
handled(N, Acc) ->
    receive {entries, Call, Es} -> handled(N - length(Es), [{Call, Es} | Acc])
    after 20000 -> error({missing, N})
    end.

init(Args) -> {ok, Args}.

handle_entries([{_, crash} | _], {_, strict}) -> error(crash);
handle_entries(Entries, {Test, _} = State) ->
    Test ! {entries, erlang:unique_integer([monotonic]), Entries},
    {ok, State}.

handle_event(Event, Test) -> Test ! {by_event, Event}, {ok, Test}.
handle_call(_, Test) -> {ok, ok, Test}.

cursor() ->
    Node = node_up(),
    {ok, _, _} = logmachine:append_many(?QUOTES, [1, 2, 3, crash, 5]),
    Options = #{instance => ?QUOTES, module => ?MODULE, args => {self(), strict}, batch => 1,
        cursor => <<"c">>, backoff => {20, 200}},
    {ok, C} = logmachine_consumer:start_link(Options),
    receive {'EXIT', C, _} -> ok end,
    ?assertEqual([1, 2, 3], [E || {_, E} <- handled(3, [])]),
    wait(fun() -> logmachine:info(?QUOTES, sessions) =:= [] end),
    _ = crash(Node),
    {ok, _} = logmachine_consumer:start_link(Options#{args := {self(), forgiving}}),
    ?assertEqual([crash, 5], [E || {_, E} <- handled(2, [])]).

quotes() ->
    Node1 = node_up(),
    {ok, Producer} = quotes_producer:start_link(?QUOTES),
    #{start := {M, F, A}} = quotes_average:child_spec(?QUOTES, "average.dets"),
    {ok, C1} = apply(M, F, A),
    publish(Producer, 1, 400),
    erlang:disconnect_node(?NODE),
    publish(Producer, 401, 800),
    settle(Producer, C1),
    exit(C1, kill),
    publish(Producer, 801, 1000),
    _ = crash(Node1),
    {ok, C2} = apply(M, F, A),
    Log = settle(Producer, C2),
    ?assert(length(Log) >= 1000),
    Expected = lists:sum([P * V || {P, V} <- Log]) / lists:sum([V || {_, V} <- Log]),
    ?assertEqual(Expected, quotes_average:average(vtb)).

publish(Producer, From, To) ->
    [quotes_producer:quote(Producer, vtb, 100 + I rem 7, I) || I <- lists:seq(From, To)].

%% Until everything is written and the consumer has come to the end: what is in the log.
settle(Producer, Consumer) ->
    wait(fun() -> quotes_producer:pending(Producer) =:= 0 end),
    {ok, Entries, eof} = until_read(1),
    {Last, _} = lists:last(Entries),
    wait(fun() -> maps:get(last, logmachine_consumer:info(Consumer)) =:= Last end),
    [{P, V} || {_, {quote, vtb, P, V}} <- Entries].

%% The blocks marked `erlang' of each guide, one after the other in one shell: a match in them is a
%% claim.
guides() ->
    Node = node_up(),
    named({quotes, 0}),
    lists:foldl(fun guide/2, Node, ["subscribing.md", "match-specs.md", "migration.md"]).

guide(File, Node) ->
    {ok, Text} = file:read_file(filename:join([root(), "docs", File])),
    {match, Blocks} = re:run(Text, "\n```erlang\n(.*?)\n```", [global, dotall, {capture, [1],
        list}]),
    _ = lists:foldl(fun([Block], Bindings) -> snippet(File, Block, Bindings) end, [], Blocks),
    [unlink(S) || S <- element(2, process_info(self(), links)), node(S) =:= ?NODE],
    [gen_server:stop(S) || {S, _} <- logmachine:info(quotes, sessions)],
    (fun Flush() -> receive _ -> Flush() after 0 -> ok end end)(),
    Node.

snippet(File, Block, Bindings) ->
    {ok, Tokens, _} = erl_scan:string(Block),
    lists:foldl(fun(Form, Bound) ->
        {ok, Exprs} = erl_parse:parse_exprs(Form),
        try
            {value, _, More} = erl_eval:exprs(Exprs, Bound),
            More
        catch
            Class:Reason -> error({File, Block, Class, Reason})
        end
    end, Bindings, forms(Tokens, [])).

forms([], []) -> [];
forms([{dot, _} = Dot | Rest], Form) -> [lists:reverse(Form, [Dot]) | forms(Rest, [])];
forms([Token | Rest], Form) -> forms(Rest, [Token | Form]).
