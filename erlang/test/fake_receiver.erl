%% @private A receiver that only keeps what is cast to it, in order.
-module(fake_receiver).
-export([start/0, start/1, stop/1, all/1, wait/2, count/1, count_loop/0]).

start() -> spawn(fun() -> loop([], []) end).

start(Name) ->
    Pid = start(),
    register(Name, Pid),
    Pid.

stop(Pid) ->
    Ref = monitor(process, Pid),
    exit(Pid, kill),
    receive {'DOWN', Ref, _, _, _} -> ok end.

all(Pid) -> ask(Pid, {self(), all}).

%% Waits until Predicate holds for the list of events, and returns that list.
wait(Pid, Predicate) -> ask(Pid, {self(), wait, Predicate}).

ask(Pid, Request) ->
    Ref = monitor(process, Pid),
    Pid ! Request,
    receive
        {Pid, Events} -> demonitor(Ref, [flush]), Events;
        {'DOWN', Ref, _, _, Why} -> error(Why)
    after 20000 ->
        Pid ! {self(), all},
        receive {Pid, Events} -> error({timeout, lists:sublist(Events, 20)}) end
    end.

loop(Events, Waiting) ->
    receive
        {'$gen_cast', Event} ->
            All = [Event | Events],
            loop(All, answer(All, Waiting));
        {From, all} ->
            From ! {self(), lists:reverse(Events)},
            loop(Events, Waiting);
        {From, wait, Predicate} ->
            loop(Events, answer(Events, [{From, Predicate} | Waiting]))
    end.

answer(Events, Waiting) ->
    Ordered = case Waiting of [] -> []; _ -> lists:reverse(Events) end,
    lists:filter(
        fun({From, Predicate}) ->
            case Predicate(Ordered) of
                true -> From ! {self(), Ordered}, false;
                false -> true
            end
        end,
        Waiting
    ).

%% The counting kind, for storms: how many events, and the sum of the drops it was told of.
count(Name) ->
    Pid = spawn(?MODULE, count_loop, []),
    register(Name, Pid),
    Pid.

count_loop() -> count_loop(0, 0).
count_loop(Events, Dropped) ->
    receive
        {'$gen_cast', {logmachine, dropped, #{count := N}}} -> count_loop(Events, Dropped + N);
        {'$gen_cast', _} -> count_loop(Events + 1, Dropped);
        {From, counts} -> From ! {counts, Events, Dropped}, count_loop(Events, Dropped)
    end.
