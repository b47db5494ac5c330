%% What both handlers have in common: sending without ever waiting, counting what could not be
%% sent, cutting what is too big, and the guard that tells the receiver about all of it later.
%%
%% It is an include file and not a module because each handler is uploaded to nodes that have
%% nothing else of ours, and must stand alone there.
%%
%% A guest is a map: `receiver', `max_bytes', `remove_after', the keys of the handler itself, and
%% the two that attach/2 adds: `counters' (an atomics array, shared by every process that logs) and
%% `guard' (a process that sleeps, hibernated, until the first drop or the loss of the receiver; that
%% of an event manager's handler is also told by the manager who else has one there).

-export([version/0, guard/1]).

-define(VERSION, 2).
-define(DEFAULT_MAX_BYTES, 1048576).
-define(DEFAULT_REMOVE_AFTER, 300000).
-define(TICK_MILLIS, 1000).

%% Slots of the counters. A drop takes three: count, first and last time in microseconds.
-define(BUSY, 1).
-define(DOWN, 4).
-define(SENT, 7).
-define(CUT, 8).
-define(FAILED, 9).
-define(STATE, 10).
%% Only of the handler in an event manager; version 1 had no more slots than ten.
-define(FLUSHED, 11).
-define(ASKED_AT, 14).
-define(ALONE_AT, 15).
-define(SLOTS, 15).

%% A time, of the clock that now_millis/0 reads, before all others.
-define(NEVER, -(1 bsl 62)).

%% Values of the STATE slot: the receiver is there; it is gone; it stayed gone, remove the handler.
-define(HERE, 0).
-define(GONE, 1).
-define(ABANDONED, 2).

%% @doc The version of this handler. A node whose loaded version is the same or later is left alone.
-spec version() -> pos_integer().
version() ->
    ?VERSION.

%% Checks what the installer passed and completes it; nothing is started yet.
guest(Options, Defaults) when is_map(Options) ->
    case maps:merge(defaults(Defaults), Options) of
        #{receiver := Receiver, max_bytes := Max, remove_after := After} = Guest when
            is_integer(Max),
            Max >= 1024,
            (is_integer(After) andalso After > 0) orelse After =:= infinity
        ->
            case is_receiver(Receiver) of
                true -> {ok, Guest};
                false -> {error, {badarg, {receiver, Receiver}}}
            end;
        Guest ->
            {error, {badarg, Guest}}
    end;
guest(Receiver, Defaults) ->
    %% A bare receiver: how the first logmachine installed its handler.
    guest(#{receiver => Receiver}, Defaults).

defaults(Defaults) ->
    maps:merge(
        #{max_bytes => ?DEFAULT_MAX_BYTES, remove_after => ?DEFAULT_REMOVE_AFTER}, Defaults
    ).

is_receiver(Pid) when is_pid(Pid) -> true;
is_receiver({global, _}) -> true;
is_receiver({Name, Node}) -> is_atom(Name) andalso is_atom(Node);
is_receiver(Name) -> is_atom(Name).

%% Gives a guest its counters and its guard. Host is the event manager, whose death ends the guard, or
%% `none'; Abandon says what the guard does when the receiver stayed gone: nothing (the handler
%% looks at the STATE slot itself), or removes the logger handler with that id.
attach(Guest, Host, Abandon) ->
    Counters = atomics:new(?SLOTS, [{signed, true}]),
    State = #{
        receiver => maps:get(receiver, Guest),
        remove_after => maps:get(remove_after, Guest),
        counters => Counters,
        abandon => Abandon,
        host => Host,
        manager => Host,
        phase => start
    },
    Guest#{counters => Counters, guard => spawn(?MODULE, guard, [State])}.

detach(#{guard := Guard}) ->
    Guard ! {logmachine_guest, stop},
    ok.

info(#{counters := C, receiver := Receiver}) ->
    #{
        version => ?VERSION,
        receiver => Receiver,
        sent => atomics:get(C, ?SENT),
        cut => atomics:get(C, ?CUT),
        failed => atomics:get(C, ?FAILED),
        unreported_busy => atomics:get(C, ?BUSY),
        unreported_down => atomics:get(C, ?DOWN),
        receiver_gone => atomics:get(C, ?STATE) =/= ?HERE
    }.

%% Sends one event, or counts it. Never waits, never connects, never fails.
forward(#{receiver := Receiver, counters := C, max_bytes := Max} = Guest, Event) ->
    case atomics:get(C, ?STATE) of
        ?HERE ->
            case offer(Receiver, fit(Event, Max, C)) of
                ok -> atomics:add(C, ?SENT, 1);
                Why -> dropped(Guest, Why)
            end;
        _ ->
            dropped(Guest, ?DOWN)
    end.

offer(Receiver, Event) ->
    try erlang:send(whereabouts(Receiver), {'$gen_cast', Event}, [noconnect, nosuspend]) of
        ok -> ok;
        nosuspend -> ?BUSY;
        noconnect -> ?DOWN
    catch
        error:_ -> ?DOWN
    end.

whereabouts({global, Name}) -> global:whereis_name(Name);
whereabouts(Receiver) -> Receiver.

dropped(Guest, Slot) ->
    dropped(Guest, Slot, 1).

%% The first drop of a series wakes the guard; the others only count.
dropped(#{counters := C, guard := Guard}, Slot, Count) ->
    Now = os:system_time(microsecond),
    case atomics:add_get(C, Slot, Count) of
        Count ->
            atomics:put(C, Slot + 1, Now),
            Guard ! {logmachine_guest, dropped},
            ok;
        _ ->
            ok
    end,
    atomics:put(C, Slot + 2, Now).

%% The guard ------------------------------------------------------------------------------------
%%
%% phase: start | watching (a monitor on the receiver is in force) | lost | probing (a monitor was
%% just set on a receiver that was lost; a tick without 'DOWN' means it is back).
%% Between messages it hibernates, so it keeps no reference to this version of the code.

%% @private
guard(#{phase := start, host := Host} = State) ->
    Watched =
        case is_pid(Host) of
            true -> State#{host := erlang:monitor(process, Host)};
            false -> State
        end,
    sleep(watch(Watched#{phase := watching, ticking => false, stopping => false, lost_at => none}));
guard(State) ->
    receive
        Message -> guarded(Message, State)
    end.

guarded({logmachine_guest, dropped}, State) ->
    sleep(tick_later(State));
guarded({logmachine_guest, tick}, State) ->
    tick(State#{ticking := false});
guarded({logmachine_guest, stop}, State) ->
    tick(stopping(State));
guarded({logmachine_handlers, Handlers}, #{counters := C} = State) when is_list(Handlers) ->
    case [Handler || Handler <- Handlers, not is_ours(Handler)] of
        [] -> atomics:put(C, ?ALONE_AT, now_millis());
        _ -> atomics:put(C, ?ALONE_AT, ?NEVER)
    end,
    sleep(State);
guarded({logmachine_guest, receiver, Receiver, RemoveAfter}, State) ->
    unwatch(State),
    Moved = watch(State#{
        receiver := Receiver, remove_after := RemoveAfter, phase := watching, lost_at := none
    }),
    tick(Moved);
guarded({'DOWN', Host, process, _, _}, #{host := Host} = State) ->
    tick(stopping(State));
guarded({'DOWN', Monitor, process, _, _}, #{monitor := Monitor, counters := C} = State) ->
    atomics:put(C, ?STATE, ?GONE),
    sleep(tick_later(State#{phase := lost, monitor := none, lost_at := lost_at(State)}));
guarded(_, State) ->
    sleep(State).

is_ours({Module, _}) -> Module =:= ?MODULE;
is_ours(Module) -> Module =:= ?MODULE.

%% The handler is gone; the guard stays only as long as it has drops to report.
stopping(#{phase := probing} = State) ->
    unwatch(State),
    stopping(State#{phase := lost, monitor := none});
stopping(State) ->
    State#{stopping := true, lost_at := lost_at(State)}.

sleep(State) ->
    erlang:hibernate(?MODULE, guard, [State]).

tick(#{phase := probing, counters := C} = State) ->
    %% A whole tick without 'DOWN': the receiver is there again.
    atomics:put(C, ?STATE, ?HERE),
    tick(State#{phase := watching, lost_at := lost_at_stop(State)});
tick(#{phase := lost, stopping := true, counters := C} = State) ->
    case lists:sum([atomics:get(C, Slot) || {Slot, _} <- series(State)]) of
        0 -> ok;
        _ -> go_on(State)
    end;
tick(#{phase := abandoned, stopping := true}) ->
    ok;
tick(#{phase := abandoned} = State) ->
    sleep(State);
tick(#{phase := lost} = State) ->
    go_on(State);
tick(#{counters := C, receiver := Receiver, stopping := Stopping} = State) ->
    case lists:sum([report(C, Receiver, Slot, Reason) || {Slot, Reason} <- series(State)]) of
        0 when Stopping -> ok;
        0 -> sleep(State);
        _ -> go_on(State)
    end.

%% What may have been dropped, and why. A guard that version 1 started has a logger handler's.
series(#{manager := Manager}) when is_pid(Manager) -> [{?FLUSHED, flushed} | series(none)];
series(_) -> [{?BUSY, busy}, {?DOWN, down}].

%% Goes on ticking, and looking for a lost receiver, until that (or the handler's removal) is too
%% long ago.
go_on(#{lost_at := LostAt, remove_after := After} = State) ->
    case is_integer(LostAt) andalso is_integer(After) andalso now_millis() - LostAt >= After of
        true -> abandon(State);
        false -> sleep(tick_later(probe(State)))
    end.

abandon(#{stopping := true}) ->
    ok;
abandon(#{abandon := {logger, Id}, counters := C}) ->
    atomics:put(C, ?STATE, ?ABANDONED),
    _ = logger:remove_handler(Id),
    ok;
abandon(#{counters := C} = State) ->
    %% The event manager's handler removes itself at the next event; its end is this process's.
    unwatch(State),
    atomics:put(C, ?STATE, ?ABANDONED),
    sleep(State#{phase := abandoned, monitor := none}).

tick_later(#{ticking := true} = State) ->
    State;
tick_later(State) ->
    erlang:send_after(?TICK_MILLIS, self(), {logmachine_guest, tick}),
    State#{ticking := true}.

lost_at(#{lost_at := none}) -> now_millis();
lost_at(#{lost_at := LostAt}) -> LostAt.

lost_at_stop(#{stopping := true, lost_at := LostAt}) -> LostAt;
lost_at_stop(_) -> none.

now_millis() ->
    erlang:monotonic_time(millisecond).

watch(#{receiver := Receiver, counters := C} = State) ->
    case monitor_receiver(Receiver) of
        none ->
            atomics:put(C, ?STATE, ?GONE),
            tick_later(State#{phase := lost, monitor => none, lost_at := lost_at(State)});
        Monitor ->
            atomics:put(C, ?STATE, ?HERE),
            State#{monitor => Monitor}
    end.

unwatch(#{monitor := Monitor}) when is_reference(Monitor) -> erlang:demonitor(Monitor, [flush]);
unwatch(_) -> true.

probe(#{phase := lost, receiver := Receiver} = State) ->
    case monitor_receiver(Receiver) of
        none -> State;
        Monitor -> State#{phase := probing, monitor := Monitor}
    end;
probe(State) ->
    State.

%% A monitor would connect; a guest only watches what is connected already.
monitor_receiver(Receiver) ->
    Where = whereabouts(Receiver),
    Node =
        case Where of
            {_, N} -> N;
            undefined -> undefined;
            Name when is_atom(Name) -> node();
            Pid -> node(Pid)
        end,
    case Node =:= node() orelse lists:member(Node, nodes(connected)) of
        true -> erlang:monitor(process, Where);
        false -> none
    end.

%% Tells the receiver how many events one series of drops has cost; the count stays if it can't.
report(C, Receiver, Slot, Reason) ->
    case atomics:exchange(C, Slot, 0) of
        0 ->
            0;
        Count ->
            From = atomics:get(C, Slot + 1),
            To = atomics:get(C, Slot + 2),
            Dropped = #{
                node => node(),
                count => Count,
                from => timestamp(From),
                to => timestamp(max(From, To)),
                reason => Reason
            },
            case offer(Receiver, {logmachine, dropped, Dropped}) of
                ok ->
                    0;
                _ ->
                    atomics:put(C, Slot + 1, From),
                    atomics:add(C, Slot, Count),
                    Count
            end
    end.

timestamp(Micros) ->
    {Micros div 1000000000000, Micros div 1000000 rem 1000000, Micros rem 1000000}.

%% Cutting --------------------------------------------------------------------------------------
%%
%% A term too big to carry keeps its shape and loses its bulk: what is left out is replaced by the
%% atom '$logmachine_cut', a long binary by {'$logmachine_cut', Bytes, Beginning}. Every container
%% shares its budget fairly among its elements, so that one huge element does not cost the others;
%% the work is bounded by the budget, not by the size of the term.

-define(CUT_MARK, '$logmachine_cut').
-define(CUT_DEPTH, 200).
-define(CUT_ELEMENTS, 1000).
-define(CUT_ELEMENT_BYTES, 8).

fit(Event, Max, C) ->
    case erlang:external_size(Event) > Max of
        false ->
            Event;
        true ->
            atomics:add(C, ?CUT, 1),
            {Cut, _} = cut(Event, Max div 2, ?CUT_DEPTH),
            Cut
    end.

%% Returns the cut term and what it has used of the budget, in bytes, roughly.
cut(_, Budget, Depth) when Budget =< 0; Depth =:= 0 ->
    {?CUT_MARK, ?CUT_ELEMENT_BYTES};
cut(Term, Budget, Depth) when is_tuple(Term) ->
    cut_tuple(Term, min(tuple_size(Term), elements(Budget)), Budget, Depth);
cut([_ | _] = List, Budget, Depth) ->
    {Elements, Rest} = split(List, elements(Budget), []),
    cut_list(Elements, length(Elements), Rest, Budget - ?CUT_ELEMENT_BYTES, Depth, [], 0);
cut(Map, Budget, Depth) when is_map(Map) ->
    Count = min(map_size(Map), elements(Budget) div 2),
    Mark =
        case Count < map_size(Map) of
            true -> #{?CUT_MARK => map_size(Map)};
            false -> #{}
        end,
    cut_map(maps:next(maps:iterator(Map)), Count, Budget, Depth, Mark, ?CUT_ELEMENT_BYTES);
cut(Binary, Budget, _) when is_bitstring(Binary), byte_size(Binary) > Budget ->
    <<Beginning:Budget/binary, _/bitstring>> = Binary,
    {{?CUT_MARK, byte_size(Binary), Beginning}, Budget};
cut(Fun, _, _) when is_function(Fun) ->
    %% What a closure holds can't be looked at.
    case erlang:fun_info(Fun, type) of
        {type, external} -> {Fun, 64};
        _ -> {?CUT_MARK, ?CUT_ELEMENT_BYTES}
    end;
cut(Term, Budget, _) ->
    %% Numbers, atoms, identifiers, and whatever later releases add.
    case erlang:external_size(Term) of
        Size when Size =< Budget; Size =< 64 -> {Term, Size};
        _ -> {?CUT_MARK, ?CUT_ELEMENT_BYTES}
    end.

elements(Budget) ->
    max(1, min(?CUT_ELEMENTS, Budget div ?CUT_ELEMENT_BYTES)).

%% The first N elements of a list, proper or not, and what is behind them.
split([Head | Tail], N, Acc) when N > 0 -> split(Tail, N - 1, [Head | Acc]);
split(Rest, _, Acc) -> {lists:reverse(Acc), Rest}.

cut_tuple(Tuple, Count, Budget, Depth) ->
    {Elements, _} = split(tuple_to_list(Tuple), Count, []),
    Rest =
        case Count < tuple_size(Tuple) of
            true -> [?CUT_MARK];
            false -> []
        end,
    {List, Used} = cut_list(Elements, Count, [], Budget, Depth, [], 0),
    {list_to_tuple(List ++ Rest), Used + ?CUT_ELEMENT_BYTES}.

cut_list([Head | Tail], Left, Rest, Budget, Depth, Acc, Used) ->
    {Cut, Size} = cut(Head, (Budget - Used) div Left, Depth - 1),
    cut_list(Tail, Left - 1, Rest, Budget, Depth, [Cut | Acc], Used + Size);
cut_list([], _, [], _, _, Acc, Used) ->
    {lists:reverse(Acc), Used};
cut_list([], _, [_ | _], _, _, Acc, Used) ->
    {lists:reverse(Acc, [?CUT_MARK]), Used + ?CUT_ELEMENT_BYTES};
cut_list([], _, Improper, Budget, Depth, Acc, Used) ->
    {Cut, Size} = cut(Improper, Budget - Used, Depth - 1),
    {lists:reverse(Acc, Cut), Used + Size}.

cut_map(_, 0, _, _, Acc, Used) ->
    {Acc, Used};
cut_map(none, _, _, _, Acc, Used) ->
    {Acc, Used};
cut_map({Key, Value, Iterator}, Left, Budget, Depth, Acc, Used) ->
    Share = (Budget - Used) div Left,
    {CutKey, KeySize} = cut(Key, Share div 2, Depth - 1),
    {CutValue, ValueSize} = cut(Value, Share - KeySize, Depth - 1),
    Next = maps:next(Iterator),
    cut_map(Next, Left - 1, Budget, Depth, Acc#{CutKey => CutValue}, Used + KeySize + ValueSize).
