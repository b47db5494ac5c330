%% @doc Measures a logmachine node beside a BEAM process that only counts: the same senders, in alternation.
%%
%% Every event carries who sent it and its number, and every log is read back: a run in which an event was lost,
%% doubled or out of order ends the benchmark.
-module(bench_cluster).

-export([main/0]).
%% Called on other nodes.
-export([sender/4, pacer/4, follower/4, sink/0, knows/0, cpu/0, busy/1]).

-define(NAME, {bench, 0}).
-define(NODE, 'lm@127.0.0.1').

main() ->
    try
        Scenarios = chosen(),
        wait([named(N) || N <- [s1, s2, s3, s4, subscriber, sink]]),
        Results = [run(Scenario) || Scenario <- Scenarios],
        json(os:getenv("BENCH_JSON"), Results),
        halt(0)
    catch
        Class:Reason:Stack ->
            io:format(standard_error, "bench: ~p:~p~n~p~n", [Class, Reason, Stack]),
            halt(1)
    end.

%% Name, what it is, how it is measured.
scenarios() ->
    [
        {"1x2-quotes", fun(Sut) -> flood(Sut, 1, 2, quote, none) end, all},
        {"2x2-quotes", fun(Sut) -> flood(Sut, 2, 2, quote, none) end, all},
        {"4x1-quotes", fun(Sut) -> flood(Sut, 4, 1, quote, none) end, all},
        {"1x2-reports", fun(Sut) -> flood(Sut, 1, 2, report, none) end, all},
        {"2x2-reports", fun(Sut) -> flood(Sut, 2, 2, report, none) end, all},
        {"1x2-subscribed", fun(Sut) -> flood(Sut, 1, 2, quote, live) end, ours},
        {"live-1k", fun(Sut) -> live(Sut, 1000) end, all},
        {"live-10k", fun(Sut) -> live(Sut, 10000) end, all},
        {"live-50k", fun(Sut) -> live(Sut, 50000) end, all},
        {"half-rate", fun half/1, ours},
        {"1000-sessions", fun(Sut) -> fan_out(Sut, 1000) end, ours}
    ].

chosen() ->
    case string:lexemes(os:getenv("BENCH_SCENARIOS", ""), " ") of
        [] ->
            scenarios();
        Names ->
            [
                case lists:keyfind(Name, 1, scenarios()) of
                    false -> error({no_scenario, Name, [N || {N, _, _} <- scenarios()]});
                    Scenario -> Scenario
                end
             || Name <- Names
            ]
    end.

number(Key) -> list_to_integer(os:getenv(Key)).

named(Name) -> list_to_atom(atom_to_list(Name) ++ "@127.0.0.1").

%% What is measured: `{Title, Program}', the counting process without a program.
suts(ours) ->
    Base = [{"base", Path} || Path <- [os:getenv("BENCH_BASE", "")], Path =/= ""],
    Base ++ [{"logmachine", os:getenv("BENCH_LOGMACHINE")}];
suts(all) ->
    [{"sink", none} | suts(ours)].

run({Name, Measure, Which}) ->
    io:format("~n~s~n", [Name]),
    Suts = suts(Which),
    Runs = [
        begin
            Round = [{Title, Measure({Title, Path})} || {Title, Path} <- Suts],
            [io:format("  ~2b ~-11s ~s~n", [N, Title, words(Numbers)]) || {Title, Numbers} <- Round],
            Round
        end
     || N <- lists:seq(1, number("BENCH_RUNS"))
    ],
    Medians = [{Title, medians([proplists:get_value(Title, Round) || Round <- Runs])} || {Title, _} <- Suts],
    [io:format("     ~-11s ~s (median)~n", [Title, words(Numbers)]) || {Title, Numbers} <- Medians],
    ratio(Runs, Medians),
    {Name, Runs, Medians}.

%% Of the rates of one round, and of the medians.
ratio(Runs, [{First, _}, _ | _] = Medians) ->
    Rate = fun(Title, Round) -> proplists:get_value(rate, proplists:get_value(Title, Round)) end,
    Of = fun(Round) -> float_to_list(Rate("logmachine", Round) / Rate(First, Round), [{decimals, 2}]) end,
    io:format("     logmachine / ~s: ~s (runs: ~s)~n", [First, Of(Medians), lists:join(" ", [Of(R) || R <- Runs])]);
ratio(_, _) ->
    ok.

words(Numbers) ->
    lists:join(", ", [[atom_to_list(Key), " ", value(Value)] || {Key, Value} <- Numbers]).

value(Value) when is_float(Value) -> float_to_list(Value, [{decimals, 2}]);
value(Value) -> integer_to_list(Value).

medians(Runs) ->
    [{Key, median([proplists:get_value(Key, Run) || Run <- Runs])} || {Key, _} <- hd(Runs)].

median(Values) -> lists:nth((length(Values) + 1) div 2, lists:sort(Values)).

%% ---- Scenarios ----

%% Nodes times Processes cast as fast as they can; until all of it is in the log, or counted.
flood(Sut, Nodes, Processes, Kind, Subscriber) ->
    Count = number("BENCH_EVENTS") div (Nodes * Processes),
    Total = Count * Nodes * Processes,
    Running = start(Sut),
    Follower = follow(Subscriber, Total),
    Senders = [
        spawn_link(named(list_to_atom("s" ++ integer_to_list(Node))), ?MODULE, sender, [
            self(), Node * 10 + Process, Count, Kind
        ])
     || Node <- lists:seq(1, Nodes), Process <- lists:seq(1, Processes)
    ],
    Cpu = cpu_of(Running),
    SenderNodes = lists:usort([erlang:node(Pid) || Pid <- Senders]),
    SenderCpu = cpu_of_nodes(SenderNodes),
    Begin = now_us(),
    [Pid ! go || Pid <- Senders],
    [receive {done, Pid} -> ok end || Pid <- Senders],
    Seconds = (now_us() - Begin) / 1.0e6,
    Delivered = followed(Follower, Begin),
    Used = cpu_of(Running) - Cpu,
    SendersUsed = cpu_of_nodes(SenderNodes) - SenderCpu,
    Read = read_back(Sut, Total),
    stop(Running),
    PerMillion = 1.0e6 / Total,
    [{rate, round(Total / Seconds)}, {cpu_s_per_m, Used * PerMillion}, {senders_cpu_s_per_m, SendersUsed * PerMillion}] ++
        Delivered ++ Read.

follow(none, _) ->
    none;
follow(live, Total) ->
    Pid = spawn_link(named(subscriber), ?MODULE, follower, [self(), now, Total, order]),
    receive {subscribed, Pid} -> Pid end.

followed(none, _) ->
    [];
followed(Pid, Begin) ->
    receive {followed, Pid, _, Count, End} -> [{delivered_per_s, round(Count / ((End - Begin) / 1.0e6))}] end.

%% Everything again, by a subscriber that begins at the start.
read_back({_, none}, _) ->
    [];
read_back(_, Total) ->
    Begin = now_us(),
    Pid = spawn_link(named(subscriber), ?MODULE, follower, [self(), earliest, Total, order]),
    receive {followed, Pid, _, Total, End} -> [{replay_per_s, round(Total / ((End - Begin) / 1.0e6))}] end.

%% One process casts at a rate, a burst each millisecond; how long until the subscriber has each.
live(Sut, Rate) ->
    Total = Rate * number("BENCH_SECONDS"),
    Running = start(Sut),
    Follower = spawn_link(named(subscriber), ?MODULE, follower, [self(), now, Total, latency]),
    receive {subscribed, Follower} -> ok end,
    Busy = watch_busy(),
    Cpu = cpu_of(Running),
    Pacer = spawn_link(named(s1), ?MODULE, pacer, [self(), 11, Total, Rate]),
    receive {done, Pacer, Took} -> Took end,
    Latencies = receive {followed, Follower, Seen, Total, _} -> Seen end,
    Used = cpu_of(Running) - Cpu,
    Suspended = busy_count(Busy),
    stop(Running),
    [
        {rate, round(Total / (Took / 1.0e6))},
        {cpu_s_per_m, Used * 1.0e6 / Total},
        {p50_us, percentile(0.5, Latencies)},
        {p99_us, percentile(0.99, Latencies)},
        {busy_dist_port, Suspended}
    ].

%% Two processes cast at half the rate that they just reached: nobody may be suspended.
half(Sut) ->
    Rate = proplists:get_value(rate, flood(Sut, 1, 2, quote, none)) div 2,
    Count = Rate * number("BENCH_SECONDS") div 2,
    Running = start(Sut),
    Busy = watch_busy(),
    Cpu = cpu_of(Running),
    Begin = now_us(),
    Pacers = [
        spawn_link(named(s1), ?MODULE, pacer, [self(), Id, Count, Rate div 2])
     || Id <- [11, 12]
    ],
    [receive {done, Pid, _} -> ok end || Pid <- Pacers],
    {ok, _} = gen_server:call({global, ?NAME}, {append, event(quote, 1, 1)}, infinity),
    Seconds = (now_us() - Begin) / 1.0e6,
    Used = cpu_of(Running) - Cpu,
    Suspended = busy_count(Busy),
    stop(Running),
    Total = 2 * Count,
    [{rate, round(Total / Seconds)}, {cpu_s_per_m, Used * 1.0e6 / Total}, {busy_dist_port, Suspended}].

watch_busy() ->
    Pid = spawn_link(named(s1), ?MODULE, busy, [self()]),
    receive {watching, Pid} -> Pid end.

busy_count(Pid) ->
    Pid ! {stop, self()},
    receive {busy, Count} -> Count end.

%% A thousand subscribers of one node get each event.
fan_out(Sut, Sessions) ->
    Events = max(1, number("BENCH_EVENTS") div Sessions),
    Running = start(Sut),
    Followers = [
        spawn_link(named(subscriber), ?MODULE, follower, [self(), now, Events, order])
     || _ <- lists:seq(1, Sessions)
    ],
    [receive {subscribed, Pid} -> ok end || Pid <- Followers],
    Sender = spawn_link(named(s1), ?MODULE, sender, [self(), 11, Events, quote]),
    Cpu = cpu_of(Running),
    Begin = now_us(),
    Sender ! go,
    Ends = [receive {followed, Pid, _, Events, End} -> End end || Pid <- Followers],
    Used = cpu_of(Running) - Cpu,
    stop(Running),
    Total = Events * Sessions,
    [{rate, round(Total / ((lists:max(Ends) - Begin) / 1.0e6))}, {cpu_s_per_m, Used * 1.0e6 / Total}].

%% Of `#{Value => HowOften}'.
percentile(Part, Counts) ->
    Total = lists:sum(maps:values(Counts)),
    percentile(round(Part * Total), lists:sort(maps:to_list(Counts)), 0).

percentile(_, [{Value, _}], _) -> Value;
percentile(Wanted, [{Value, Count} | _], Seen) when Seen + Count >= Wanted -> Value;
percentile(Wanted, [{_, Count} | More], Seen) -> percentile(Wanted, More, Seen + Count).

%% ---- What is measured ----

start({_, none}) ->
    Parent = self(),
    Pid = spawn(named(sink), fun() ->
        yes = global:register_name(?NAME, self()),
        Parent ! registered,
        sink()
    end),
    receive registered -> ok end,
    known(),
    {sink, Pid};
start({_, Program}) ->
    Dir = "data",
    ok = remove(Dir),
    Args = [
        "-q", "run", "--name", atom_to_list(?NODE), "--connect", atom_to_list(node()),
        "--instance", "bench", "--data-dir", Dir, "--epmd", "external", "--http", "off"
    ],
    Port = open_port({spawn_executable, Program}, [{args, Args}, exit_status, {line, 1000}, binary]),
    {os_pid, OsPid} = erlang:port_info(Port, os_pid),
    % For the script, should this node not come to stop it.
    ok = file:write_file("program.pid", integer_to_list(OsPid)),
    receive
        {Port, {data, {eol, Line}}} -> {_, _} = binary:match(Line, <<"ready">>);
        {Port, {exit_status, Status}} -> error({no_start, Program, Status})
    end,
    known(),
    {program, Port, OsPid}.

stop({sink, Pid}) ->
    Monitor = monitor(process, Pid),
    exit(Pid, kill),
    receive {'DOWN', Monitor, _, _, _} -> ok end,
    unknown();
stop({program, Port, OsPid}) ->
    os:cmd("kill " ++ integer_to_list(OsPid)),
    receive {Port, {exit_status, 0}} -> ok end,
    ok = file:delete("program.pid"),
    global:unregister_name(?NAME),
    unknown().

remove(Dir) ->
    os:cmd("rm -rf " ++ Dir),
    ok.

nodes_all() -> [named(N) || N <- [s1, s2, s3, s4, subscriber]].

known() -> until(fun() -> lists:all(fun(N) -> rpc:call(N, ?MODULE, knows, []) end, nodes_all()) end).

unknown() -> until(fun() -> not lists:any(fun(N) -> rpc:call(N, ?MODULE, knows, []) end, nodes_all()) end).

knows() -> global:whereis_name(?NAME) =/= undefined.

until(Is) ->
    case Is() of
        true -> ok;
        false -> timer:sleep(10), until(Is)
    end.

wait(Nodes) -> until(fun() -> lists:all(fun(N) -> net_kernel:connect_node(N) end, Nodes) end).

sink() -> sink(0).

%% A `gen_server' would spend a little more.
sink(Count) ->
    receive
        {'$gen_cast', _} ->
            sink(Count + 1);
        {'$gen_call', {From, Tag}, {subscribe, #{pid := Pid}}} ->
            From ! {Tag, {ok, self()}},
            relay(Pid);
        {'$gen_call', {From, Tag}, _} ->
            From ! {Tag, {ok, Count}},
            sink(Count)
    end.

%% Passes events on without keeping them.
relay(Pid) ->
    receive
        {'$gen_cast', Event} ->
            Pid ! {m, {0, Event}},
            relay(Pid)
    end.

%% CPU seconds of what is measured.
cpu_of({sink, Pid}) -> cpu_of_nodes([erlang:node(Pid)]);
cpu_of({program, _, OsPid}) -> cpu(integer_to_list(OsPid)).

cpu_of_nodes(Nodes) -> lists:sum([rpc:call(Node, ?MODULE, cpu, []) || Node <- Nodes]).

cpu() -> cpu(os:getpid()).

%% User and system time in hundredths of a second (Linux, proc(5)).
cpu(OsPid) ->
    case file:read_file("/proc/" ++ OsPid ++ "/stat") of
        {ok, Line} ->
            [_, Behind] = binary:split(Line, <<") ">>),
            Fields = binary:split(Behind, <<" ">>, [global]),
            (binary_to_integer(lists:nth(12, Fields)) + binary_to_integer(lists:nth(13, Fields))) / 100;
        {error, _} ->
            0.0
    end.

%% ---- On other nodes ----

now_us() -> os:system_time(microsecond).

%% Casts, and waits until the last event is recorded, and with it all others.
sender(Parent, Id, Count, Kind) ->
    receive go -> ok end,
    cast(Id, 1, Count, Kind),
    {ok, _} = gen_server:call({global, ?NAME}, {append, event(Kind, Id, Count)}, infinity),
    Parent ! {done, self()}.

cast(_, Count, Count, _) ->
    ok;
cast(Id, Seq, Count, Kind) ->
    gen_server:cast({global, ?NAME}, event(Kind, Id, Seq)),
    cast(Id, Seq + 1, Count, Kind).

%% 44 bytes; and 285, as an error report may have.
event(quote, Id, Seq) ->
    {quote, Id, Seq, <<"EUR/USDT">>, 1.0842, 250000};
event(report, Id, Seq) ->
    {error_report, group_leader(),
        {self(), crash_report, [
            [
                {initial_call, {order_server, init, ['Argument__1']}},
                {pid, self()},
                {error_info, {error, {badmatch, {error, timeout}}, []}},
                {sequence, Id, Seq}
            ],
            []
        ]}}.

%% A burst each millisecond, in step with the clock.
pacer(Parent, Id, Count, Rate) ->
    Begin = now_us(),
    pace(Id, 1, Count, Rate, Begin),
    Parent ! {done, self(), now_us() - Begin}.

pace(Id, Seq, Count, Rate, Begin) ->
    Due = min(Count, (now_us() - Begin) * Rate div 1000000),
    Next = burst(Id, Seq, Due),
    case Next > Count of
        true -> ok;
        false -> timer:sleep(1), pace(Id, Next, Count, Rate, Begin)
    end.

burst(Id, Seq, Due) when Seq =< Due ->
    gen_server:cast({global, ?NAME}, {quote, Id, Seq, <<"EUR/USDT">>, now_us(), 250000}),
    burst(Id, Seq + 1, Due);
burst(_, Seq, _) ->
    Seq.

%% How often a process was suspended because the connection was busy.
busy(Parent) ->
    erlang:system_monitor(self(), [busy_dist_port]),
    Parent ! {watching, self()},
    busy(Parent, 0).

busy(Parent, Count) ->
    receive
        {monitor, _, busy_dist_port, _} -> busy(Parent, Count + 1);
        {stop, Parent} -> Parent ! {busy, Count}
    end.

%% Subscribes, checks the order of each sender's events, and tells when Total have come.
follower(Parent, From, Total, What) ->
    Options = #{from => From, marker => m, pid => self()},
    {ok, _} = gen_server:call({global, ?NAME}, {subscribe, Options}, infinity),
    Parent ! {subscribed, self()},
    Seen = follow(Total, #{}, #{}, What),
    Parent ! {followed, self(), Seen, Total, now_us()}.

follow(0, _, Seen, _) ->
    Seen;
follow(Left, Last, Seen, What) ->
    receive
        {m, {_, Event}} ->
            {Id, Seq, Sent} = identity(Event),
            Expected = maps:get(Id, Last, 0) + 1,
            Seq =:= Expected orelse error({lost_doubled_or_reordered, Id, Expected, Seq}),
            follow(Left - 1, Last#{Id => Seq}, seen(What, Sent, Seen), What)
    end.

seen(order, _, Seen) ->
    Seen;
seen(latency, Sent, Seen) ->
    maps:update_with(now_us() - Sent, fun(Count) -> Count + 1 end, 1, Seen).

identity({quote, Id, Seq, _, Sent, _}) ->
    {Id, Seq, Sent};
identity({error_report, _, {_, crash_report, [Report, []]}}) ->
    {sequence, Id, Seq} = lists:last(Report),
    {Id, Seq, 0}.

%% ---- The numbers as JSON ----

json(Path, Results) when Path =/= false, Path =/= "" ->
    Rows = [
        object([
            {"scenario", string(Name)},
            {"runs", array([object([{Title, numbers(Of)} || {Title, Of} <- Round]) || Round <- Runs])},
            {"medians", object([{Title, numbers(Of)} || {Title, Of} <- Medians])}
        ])
     || {Name, Runs, Medians} <- Results
    ],
    Machine = object([
        {"otp", string(erlang:system_info(otp_release))},
        {"cores", integer_to_list(erlang:system_info(logical_processors))},
        {"events", os:getenv("BENCH_EVENTS")},
        {"seconds", os:getenv("BENCH_SECONDS")}
    ]),
    ok = file:write_file(Path, [object([{"machine", Machine}, {"scenarios", array(Rows)}]), "\n"]);
json(_, _) ->
    ok.

numbers(Of) -> object([{atom_to_list(Key), value(Value)} || {Key, Value} <- Of]).
object(Members) -> ["{", lists:join(",", [[string(Key), ":", Value] || {Key, Value} <- Members]), "}"].
array(Values) -> ["[", lists:join(",\n ", Values), "]"].
string(Text) -> ["\"", Text, "\""].
