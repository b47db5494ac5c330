%% Subscribers and senders for the delivery tests, compiled so that they are fast.
-module(lm_collect).
-export([send/2, send_for_ever/0, collect/2, follow/2, take/2, tell/1]).

-define(RECEIVER, {global, {error_logger, 0}}).

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
        {m, {Ts, {Tag, N}}} ->
            Due = maps:get(Tag, Next, N),
            Worse = wrong(Ts > Last andalso N =:= Due),
            collect(Ts, Next#{Tag => N + 1}, Count + 1, Senders, Bad + Worse)
    after 60000 ->
        {timeout, {Count, Bad}}
    end.

wrong(true) -> 0;
wrong(false) -> 1.

%% Subscribes by the original's message; when the session ends tells the caller
%% {seen, Entries, DownReason, ExitReason}.
follow(From, Owner) ->
    spawn(fun() ->
        process_flag(trap_exit, true),
        Request = {subscribe, From, self(), m, [{'$1', [], ['$1']}]},
        {ok, Session} = gen_server:call(?RECEIVER, Request),
        monitor(process, Session),
        Owner ! subscribed,
        follow(Session, Owner, [])
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

%% Tells the process kept under this module's name of an entry.
tell(Entry) ->
    persistent_term:get(lm_collect) ! {told, Entry}.
