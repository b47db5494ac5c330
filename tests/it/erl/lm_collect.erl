%% Subscribers and senders for the delivery tests, compiled so that they are fast.
-module(lm_collect).
-export([send/2, send/3, send_for_ever/0, collect/2, count/1, counter/3, follow/2, take/2, tell/2]).
-export([book/0, booked/0, append_for_ever/1, stop_appending/0, watch/0, missing/1]).
-export([subscribe_many/1, kill_subscribers/0, pace/2, check/3]).

-define(RECEIVER, {global, {error_logger, 0}}).

%% The same with events of about Bytes bytes, as fast as they are taken.
send(Tag, Count, Bytes) ->
    Padding = binary:copy(<<0>>, Bytes),
    spawn(fun() ->
        Receiver = global:whereis_name({error_logger, 0}),
        [gen_server:cast(Receiver, {Tag, N, Padding}) || N <- lists:seq(1, Count)],
        {ok, _} = gen_server:call(Receiver, {append, {Tag, done}}, infinity)
    end).

%% Casts {Tag, 1} .. {Tag, Count} within a second or two, then appends {Tag, done}.
send(Tag, Count) ->
    spawn(fun() ->
        Receiver = global:whereis_name({error_logger, 0}),
        [cast(Receiver, Tag, N) || N <- lists:seq(1, Count)],
        {ok, _} = gen_server:call(Receiver, {append, {Tag, done}}, infinity)
    end).

%% Casts {n, 1}, {n, 2}, ... by name, some 50,000 a second, whoever has the name at the moment.
send_for_ever() ->
    spawn(fun() -> send_for_ever(1) end).

send_for_ever(N) ->
    catch cast(?RECEIVER, n, N),
    send_for_ever(N + 1).

%% Yields now and then, so that it takes a while.
cast(Receiver, Tag, N) ->
    gen_server:cast(Receiver, {Tag, N}),
    case N rem 50 of
        0 -> receive after 1 -> ok end;
        _ -> ok
    end.

%% Subscribes from From; when the last of Senders is done tells the caller
%% {Pid, Entries, Bad}: how many numbers came, and how many of them out of stamp or sender order.
collect(From, Senders) ->
    Owner = self(),
    Pid = spawn(fun() ->
        Options = #{from => From, pid => self(), marker => m},
        {ok, _} = gen_server:call(?RECEIVER, {subscribe, Options}),
        Owner ! {self(), subscribed},
        {Count, Bad} = collect({0, 0, 0}, #{}, 0, Senders, 0),
        Owner ! {self(), Count, Bad}
    end),
    receive
        {Pid, subscribed} -> Pid
    end.

collect(_, _, Count, 0, Bad) ->
    {Count, Bad};
collect(Last, Next, Count, Senders, Bad) ->
    receive
        {m, {Ts, {_, done}}} ->
            collect(Ts, Next, Count, Senders - 1, Bad + wrong(Ts > Last));
        {m, {Ts, {Tag, N, _Padding}}} ->
            collected(Last, Next, Count, Senders, Bad, Ts, Tag, N);
        {m, {Ts, {Tag, N}}} ->
            collected(Last, Next, Count, Senders, Bad, Ts, Tag, N)
    after 60000 ->
        {timeout, {Count, Bad}}
    end.

collected(Last, Next, Count, Senders, Bad, Ts, Tag, N) ->
            Due = maps:get(Tag, Next, N),
            Worse = wrong(Ts > Last andalso N =:= Due),
            collect(Ts, Next#{Tag => N + 1}, Count + 1, Senders, Bad + Worse).

wrong(true) -> 0;
wrong(false) -> 1.

%% Subscribes by the original's message; tells the caller following when the first entry has come, and
%% {seen, Entries, DownReason, ExitReason} when the session ends.
follow(From, Owner) ->
    spawn(fun() ->
        process_flag(trap_exit, true),
        Request = {subscribe, From, self(), m, [{'$1', [], ['$1']}]},
        {ok, Session} = gen_server:call(?RECEIVER, Request),
        monitor(process, Session),
        receive
            {m, Entry} ->
                Owner ! following,
                follow(Session, Owner, [Entry])
        end
    end).

follow(Session, Owner, Seen) ->
    receive
        {m, Entry} ->
            follow(Session, Owner, [Entry | Seen]);
        {'DOWN', _, process, Session, Down} ->
            Exit =
                receive
                    {'EXIT', Session, Why} -> Why
                after 5000 -> none
                end,
            Owner ! {seen, lists:reverse(Seen), Down, Exit}
    end.

%% All entries from From on, read piece by piece.
take(From, Acc) ->
    case gen_server:call(?RECEIVER, {read, From, #{limit => 100000}}, 60000) of
        {ok, Entries, eof} -> lists:append(lists:reverse([Entries | Acc]));
        {ok, Entries, Next} -> take(Next, [Entries | Acc])
    end.

%% A function for the live registry to call.
tell(Pid, Entry) ->
    Pid ! {told, Entry}.

%% How many of the next Count entries marked m come.
count(Count) -> count(Count, 0).

count(Count, Count) ->
    Count;
count(Count, N) ->
    receive
        {m, {_, _}} -> count(Count, N + 1)
    after 20000 -> N
    end.

%% Subscribes from the earliest; tells Owner ready after Ready integers, and all when it has seen 1 .. All in order.
counter(Ready, All, Owner) ->
    spawn(fun() ->
        Options = #{from => earliest, pid => self(), marker => m},
        {ok, _} = gen_server:call(?RECEIVER, {subscribe, Options}, infinity),
        counter(1, Ready, All, Owner)
    end).

counter(N, _, All, Owner) when N > All ->
    Owner ! {self(), all};
counter(N, Ready, All, Owner) ->
    receive
        {m, {_, N}} ->
            N =:= Ready andalso (Owner ! {self(), ready}),
            counter(N + 1, Ready, All, Owner);
        {m, Other} ->
            Owner ! {self(), {expected, N, got, Other}}
    end.

%% A table of what was acknowledged or seen: it must be in the log for ever.
book() ->
    Owner = self(),
    spawn(fun() ->
        ets:new(book, [named_table, public, ordered_set]),
        Owner ! booked,
        receive stop -> ok end
    end),
    receive booked -> ok end.

booked() -> ets:info(book, size).

%% Appends one event after the other from each of Callers processes, and books every acknowledgement.
append_for_ever(Callers) ->
    persistent_term:put(appending, true),
    [spawn(fun() -> append_for_ever(Caller, 1) end) || Caller <- lists:seq(1, Callers)].

append_for_ever(Caller, N) ->
    Event = {Caller, N},
    case catch gen_server:call(?RECEIVER, {append, Event}, 1000) of
        {ok, Ts} -> ets:insert(book, {Ts, Event});
        _ -> timer:sleep(5)
    end,
    persistent_term:get(appending) andalso append_for_ever(Caller, N + 1).

stop_appending() -> persistent_term:put(appending, false).

%% A subscriber from now on that books what it sees.
watch() ->
    Owner = self(),
    spawn(fun() ->
        Options = #{from => now, pid => self(), marker => m},
        {ok, Session} = gen_server:call(?RECEIVER, {subscribe, Options}),
        monitor(process, Session),
        Owner ! watching,
        watch_on()
    end),
    receive watching -> ok end.

watch_on() ->
    receive
        {m, Entry} -> ets:insert(book, Entry), watch_on();
        {'DOWN', _, _, _, _} -> ok
    end.

%% What is booked and not in the log.
missing(Log) ->
    Held = maps:from_list(Log),
    [Entry || {Ts, Event} = Entry <- ets:tab2list(book), maps:get(Ts, Held, none) =/= Event].

%% Subscribers of every kind that take whatever comes.
subscribe_many(Count) ->
    [spawn(fun() -> subscriber(N) end) || N <- lists:seq(1, Count)].

subscriber(N) ->
    put(lm_subscriber, true),
    Options = #{from => earliest, pid => self(), link => N rem 2 =:= 0},
    More = case N rem 3 of
        0 -> #{credit => 10};
        1 -> #{batch => 50};
        2 -> #{match_spec => [{{n, '$1'}, [{'=:=', {'rem', '$1', 100}, 0}], ['$1']}]}
    end,
    catch gen_server:call({'.error_logger.receiver.srv', 'logmachine@127.0.0.1'}, {subscribe, maps:merge(Options, More)}),
    drain().

drain() ->
    receive _ -> drain() end.

kill_subscribers() ->
    [exit(P, kill) || P <- processes(), {dictionary, D} <- [process_info(P, dictionary)], lists:member({lm_subscriber, true}, D)].

%% Casts {p, 1} .. {p, Total} at Rate a second.
pace(Rate, Total) ->
    spawn(fun() ->
        Receiver = global:whereis_name({error_logger, 0}),
        pace(Receiver, Rate, Total, 1, erlang:monotonic_time(microsecond))
    end).

pace(_, _, Total, N, _) when N > Total ->
    ok;
pace(Receiver, Rate, Total, N, Start) ->
    Elapsed = erlang:monotonic_time(microsecond) - Start,
    Due = min(Total, Elapsed * Rate div 1000000),
    [gen_server:cast(Receiver, {p, M}) || M <- lists:seq(N, Due)],
    timer:sleep(1),
    pace(Receiver, Rate, Total, max(N, Due + 1), Start).

%% Subscribes from From to every Step-th number; when {p, done} comes tells the caller {Pid, ok}, or what was wrong.
check(From, Step, Total) ->
    Owner = self(),
    Pid = spawn(fun() ->
        Spec = [
            {{p, done}, [], ['$_']},
            {{p, '$1'}, [{'=:=', {'rem', '$1', Step}, 0}], ['$_']}
        ],
        All = #{from => From, pid => self(), marker => m},
        Options = case Step of 1 -> All; _ -> All#{match_spec => Spec} end,
        {ok, Session} = gen_server:call(?RECEIVER, {subscribe, Options}, infinity),
        Owner ! {self(), subscribed},
        Owner ! {self(), checked(any, Step, Total - Total rem Step)},
        gen_server:stop(Session)
    end),
    receive {Pid, subscribed} -> Pid end.

checked(Next, Step, Last) ->
    receive
        {m, {_, {p, done}}} when Next =:= Last + Step; Next =:= any -> ok;
        {m, {_, {p, N}}} when is_integer(N), Next =:= any; N =:= Next -> checked(N + Step, Step, Last);
        {m, {_, {p, Other}}} -> {due, Next, came, Other}
    after 60000 -> {due, Next, nothing_came}
    end.
