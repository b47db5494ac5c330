%% @private The client library against an instance on another node.
-module(client_tests).
-export([client_test_/0]).
-export([init/1, handle_entries/2, handle_info/2, terminate/2]).
-include("claims.hrl").

client_test_() ->
    {setup,
        fun() ->
            Host = otp_host:start(otp_host:own(), otp_host:unique("logs"), ["-hidden"]),
            ok = otp_host:load(Host, fake_instance),
            Host
        end,
        fun otp_host:stop/1,
        fun(Host) ->
            [{atom_to_list(Name), {timeout, 60, fun() -> Test(Host, Name) end}} || {Name,
                Test} <- tests()]
        end}.

tests() ->
    [
        {append_read_and_info, fun append/2},
        {an_unknown_instance_is_not_found, fun unknown/2},
        {an_instance_is_found_under_any_alias, fun alias/2},
        {every_form_of_subscribe_delivers_past_and_live, fun subscribe/2},
        {credit_ack_and_unsubscribe_reach_the_session, fun session/2},
        {a_zlist_is_lazy_and_complete, fun zlist/2},
        {a_consumer_handles_everything_once_in_batches, fun consumer/2},
        {a_consumer_goes_on_after_a_netsplit_without_gap_or_repeat, fun netsplit/2},
        {a_crashed_consumer_comes_back_at_its_cursor, fun crashed/2},
        {a_consumer_waits_for_its_instance, fun waits/2},
        {a_stopping_consumer_ends_its_session, fun stops/2},
        {a_refused_consumer_says_why, fun refused/2}
    ].

start(Host, Name) -> {start(Host, Name, local), {Name, element(2, Host)}}.

start(Host, Name, N) ->
    Pid = otp_host:rex(Host, fake_instance, start, [Name, N]),
    true = is_pid(Pid),
    Pid.

append(Host, Name) ->
    {_, I} = start(Host, Name),
    {ok, T1} = logmachine:append(I, one),
    {ok, T2, T3} = logmachine:append_many(I, [two, three]),
    ok = logmachine:cast(I, four),
    ?assert(T1 < T2 andalso T2 < T3),
    ?assertMatch({ok, [{T1, one}, {T2, two}], T3}, logmachine:read(I, earliest, #{limit => 2})),
    ?assertMatch({ok, [{T3, three}, {_, four}], eof}, logmachine:read(I, T3, #{})),
    ?assertEqual([{events, 4}], logmachine:info(I)),
    ?assertEqual(4, logmachine:info(I, events)),
    ?assertEqual({noprop, colour}, try logmachine:info(I, colour) catch throw:T -> T end).

unknown(_, Name) ->
    ?assertEqual(undefined, logmachine:whereis(Name)),
    ?assertEqual({error, not_found}, logmachine:append(Name, x)),
    ?assertEqual({error, not_found}, logmachine:subscribe(Name, #{from => earliest})),
    ?assertEqual({failed_to_start_subscription, [{reason, {error, not_found}}, {instance, Name},
        {start_from, earliest}, {subscriber, self()}, {marker, Name},
        {match_spec, [{'$1', [], ['$1']}]}]},
        try logmachine:subscribe(Name, earliest) catch throw:T -> T end),
    ?assertEqual({error, not_found}, logmachine:info(Name)),
    ?assertEqual({error, not_found}, logmachine:info(Name, events)),
    ?assertEqual(ok, logmachine:cast(Name, x)),
    ?assertEqual({logmachine, not_found}, try logmachine:get_zlist(Name,
        earliest) catch error:E -> E end).

%% The registration itself is the node's business; here a stand-in on this node has the name.
alias(_, Name) ->
    Pid = fake_instance:start(Name, 3),
    ?assertEqual(Pid, logmachine:whereis(Name)),
    ?assertMatch({ok, _}, logmachine:append(Name, x)),
    fake_instance:stop(Pid).

subscribe(Host, Name) ->
    {_, I} = start(Host, Name),
    {ok, T, _} = logmachine:append_many(I, [past, also_past]),
    S2 = logmachine:subscribe(I, T),
    true = is_pid(logmachine:subscribe(I, T, self())),
    true = is_pid(logmachine:subscribe(I, T, self(), m4)),
    true = is_pid(logmachine:subscribe(I, T, self(), m5, [{'$1', [], ['$1']}])),
    {ok, _} = logmachine:subscribe(I, #{from => T, marker => map, batch => 10}),
    ?assert(is_pid(S2)),
    {ok, _} = logmachine:append(I, live),
    Expected = [past, also_past, live],
    [?assertEqual(Expected, [receive {M, {_, E}} -> E end || _ <- Expected]) || M <- [m4, m5]],
    %% Two sessions under the default marker.
    Both = [receive {Name, {_, E}} -> E end || _ <- Expected ++ Expected],
    ?assertEqual(lists:sort(Expected ++ Expected), lists:sort(Both)),
    ?assertEqual(Expected, collect(map, 3, [])).

session(Host, Name) ->
    {Pid, I} = start(Host, Name),
    {ok, T1, T3} = logmachine:append_many(I, [one, two, three]),
    {ok, S} = logmachine:subscribe(I, #{from => T1, marker => m, credit => 0, cursor => <<"c">>}),
    receive {m, Early} -> error({before_credit, Early}) after 0 -> ok end,
    ok = logmachine:credit(S, 2),
    Seen = [receive {m, {_, E}} -> E end || _ <- [1, 2]],
    ?assertEqual([one, two], Seen),
    ok = logmachine:ack(S, T3),
    otp_host:wait(fun() -> gen_server:call(Pid, {cursor, <<"c">>}) =:= T3 end),
    ok = logmachine:unsubscribe(S),
    otp_host:wait(fun() -> fake_instance:sessions(Pid) =:= 0 end),
    ok = logmachine:unsubscribe(S).

collect(_, 0, Acc) -> Acc;
collect(M, N, Acc) -> receive {M, Es} -> collect(M, N - length(Es), Acc ++ [E || {_, E} <- Es]) end.

zlist(Host, Name) ->
    {Pid, I} = start(Host, Name),
    {ok, _, _} = logmachine:append_many(I, lists:seq(1, 1750)),
    ?assertEqual([], logmachine:get_zlist(I, now)),
    [{_, 1} | Rest] = ZList = logmachine:get_zlist(I, earliest),
    ?assert(is_function(Rest, 0)),
    ?assertEqual(lists:seq(1, 1750), walk(ZList)),
    %% Appended after the list was made, before its end was reached.
    {ok, _} = logmachine:append(I, 1751),
    ?assertEqual(lists:seq(1, 1751), walk(ZList)),
    fake_instance:stop(Pid),
    [{_, 1} | Rest] = ZList,
    [{_, 2} | _] = Rest(),
    ?assertEqual(failed, try walk(ZList) catch exit:_ -> failed end).

walk([]) -> [];
walk([{_, E} | Rest]) -> [E | walk(Rest())].

consumer(Host, Name) ->
    {_, I} = start(Host, Name),
    {ok, _, _} = logmachine:append_many(I, lists:seq(1, 1000)),
    {ok, C} = logmachine_consumer:start_link(options(I, #{batch => 64})),
    [logmachine:cast(I, N) || N <- lists:seq(1001, 1500)],
    ?assertEqual(lists:seq(1, 1500), handled(1500, [])),
    otp_host:wait(fun() -> maps:get(handled, logmachine_consumer:info(C)) =:= 1500 end),
    ?assertMatch(#{subscribed := 1, connected := true}, logmachine_consumer:info(C)),
    C ! {tell, self(), hello},
    receive {told, hello} -> ok end,
    stop(C).

netsplit(Host, Name) ->
    {Pid, I} = start(Host, Name),
    {ok, C} = logmachine_consumer:start_link(options(I, #{batch => 10, backoff => {20, 200}})),
    Writer = self(),
    Feeder = spawn_link(fun() ->
        [begin {ok, _} = feed(I, N), timer:sleep(1) end || N <- lists:seq(1, 600)],
        Writer ! fed
    end),
    Breaker = spawn_link(fun Break() -> timer:sleep(150), erlang:disconnect_node(element(2,
        Host)), Break() end),
    receive fed -> ok end,
    unlink(Breaker), exit(Breaker, kill),
    _ = Feeder,
    %% The feeder's retries may append twice; the log is what counts.
    {ok, All, eof} = logmachine:read(I, earliest, #{limit => 100000}),
    ?assertEqual([E || {_, E} <- All], handled(length(All), [])),
    ?assert(maps:get(subscribed, logmachine_consumer:info(C)) > 1),
    stop(C),
    fake_instance:stop(Pid).

feed(I, N) ->
    try logmachine:append(I, N) catch exit:_ -> timer:sleep(5), feed(I, N) end.

crashed(Host, Name) ->
    process_flag(trap_exit, true),
    {Pid, I} = start(Host, Name),
    {ok, _, _} = logmachine:append_many(I, [1, 2, 3, crash, 5]),
    Options = options(I, #{batch => 1, cursor => <<"c">>}),
    {ok, C} = logmachine_consumer:start_link(Options),
    receive {'EXIT', C, _} -> ok end,
    ?assertEqual([1, 2, 3], handled(3, [])),
    {ok, [_, _, {Third, 3} | _], eof} = logmachine:read(I, earliest, #{}),
    otp_host:wait(fun() -> gen_server:call(Pid, {cursor, <<"c">>}) =:= Third end),
    {ok, C2} = logmachine_consumer:start_link(Options#{args => {self(), forgive}}),
    ?assertEqual([crash, 5], handled(2, [])),
    stop(C2).

waits(Host, Name) ->
    I = {Name, element(2, Host)},
    {ok, C} = logmachine_consumer:start_link(options(I, #{backoff => {20, 100}})),
    otp_host:wait(fun() -> maps:get(refused, logmachine_consumer:info(C)) =/= none end),
    _ = start(Host, Name),
    {ok, _} = logmachine:append(I, at_last),
    ?assertEqual([at_last], handled(1, [])),
    stop(C).

stops(Host, Name) ->
    {Pid, I} = start(Host, Name),
    {ok, C} = logmachine_consumer:start_link(options(I, #{name => {local, a_consumer}})),
    ?assertEqual(C, erlang:whereis(a_consumer)),
    otp_host:wait(fun() -> fake_instance:sessions(Pid) =:= 1 end),
    stop(C),
    receive {terminated, shutdown} -> ok end,
    otp_host:wait(fun() -> fake_instance:sessions(Pid) =:= 0 end).

refused(Host, Name) ->
    {_, I} = start(Host, Name),
    {ok, C} = logmachine_consumer:start_link(options(I, #{match_spec => bad})),
    otp_host:wait(fun() -> maps:get(refused, logmachine_consumer:info(C)) =:= {error, {badarg,
        {clause, 1}}} end),
    stop(C),
    process_flag(trap_exit, true),
    ?assertEqual({error, told_so}, logmachine_consumer:start_link((options(I,
        #{}))#{args => fail})),
    ?assertMatch({error, {badarg, _}}, logmachine_consumer:start_link(#{instance => I})),
    ?assertMatch(#{id := {logmachine_consumer, I, ?MODULE}, start := {logmachine_consumer,
        start_link, [_]}},
        logmachine:child_spec(options(I, #{}))).

%% The consumer's callbacks, telling the test what they get

options(Instance, More) ->
    maps:merge(#{instance => Instance, module => ?MODULE, args => {self(), strict}}, More).

stop(C) ->
    unlink(C),
    Ref = monitor(process, C),
    exit(C, shutdown),
    %% Not our parent's exit: the process that started it is gone in a real supervisor's case.
    receive {'DOWN', Ref, _, _, _} -> ok after 1000 -> gen_server:stop(C) end.

handled(N, Acc) when N =< 0 -> Acc;
handled(N, Acc) ->
    receive
        {entries, Es} -> handled(N - length(Es), Acc ++ [E || {_, E} <- Es])
    after 20000 -> error({missing, N, lists:sublist(lists:reverse(Acc), 5)})
    end.

init(fail) -> {error, told_so};
init(Args) -> {ok, Args}.

handle_entries([{_, crash} | _], {_, strict}) -> error(crash);
handle_entries(Entries, {Test, _} = S) -> Test ! {entries, Entries}, {ok, S}.

handle_info({tell, To, What}, S) -> To ! {told, What}, {ok, S};
handle_info(_, S) -> {ok, S}.

terminate(Why, {Test, _}) -> Test ! {terminated, Why}.
