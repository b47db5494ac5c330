%% @private What a logmachine node shows of one instance, in memory: for tests of the client alone.
-module(fake_instance).
-export([start/2, stop/1, sessions/1, loop/1]).

%% Registers `{Name, N}' globally and the receiver's local name; entries are numbered microseconds.
start(Name, N) ->
    Pid = spawn(?MODULE, loop, [#{name => Name, entries => [], clock => 1000000, cursors => #{},
        sessions => [], live => []}]),
    true = register(list_to_atom("." ++ atom_to_list(Name) ++ ".receiver.srv"), Pid),
    case N of
        local -> ok;
        _ -> yes = global:register_name({Name, N}, Pid)
    end,
    Pid.

stop(Pid) -> exit(Pid, kill).
sessions(Receiver) -> gen_server:call(Receiver, sessions).

loop(S) ->
    receive
        {'$gen_cast', Event} -> ?MODULE:loop(add(Event, S));
        {'$gen_call', {From, _} = Client, Request} ->
            {Reply, Next} = call(Request, From, S),
            gen_server:reply(Client, Reply),
            ?MODULE:loop(Next);
        {cursor, Cursor, Ts} -> ?MODULE:loop(S#{cursors := maps:put(Cursor, Ts, maps:get(cursors,
            S))});
        {'DOWN', _, _, Pid, _} -> ?MODULE:loop(S#{sessions := maps:get(sessions, S) -- [Pid]});
        _ -> ?MODULE:loop(S)
    end.

add(Event, #{entries := Es, clock := Clock, sessions := Sessions} = S) ->
    Entry = {ts(Clock), Event},
    [P ! {entry, Entry} || P <- Sessions],
    S#{entries := [Entry | Es], clock := Clock + 1}.

ts(Us) -> {Us div 1000000000000, Us div 1000000 rem 1000000, Us rem 1000000}.

call({append, Event}, _, #{clock := C} = S) -> {{ok, ts(C)}, add(Event, S)};
call({append, Events, many}, _, #{clock := C} = S) ->
    {{ok, ts(C), ts(C + length(Events) - 1)}, lists:foldl(fun add/2, S, Events)};
call(get_global_alias, _, #{name := Name} = S) -> {{Name, 0}, S};
call(info, _, #{entries := Es} = S) -> {[{events, length(Es)}], S};
call({info, events}, _, #{entries := Es} = S) -> {length(Es), S};
call({cursor, Name}, _, #{cursors := C} = S) -> {maps:get(Name, C, none), S};
call(sessions, _, #{sessions := P} = S) -> {length(P), S};
call({read, From, Options}, _, S) ->
    Limit = maps:get(limit, Options, 100),
    case from(From, S) of
        All when length(All) > Limit ->
            {Chunk, [{Next, _} | _]} = lists:split(Limit, All),
            {{ok, Chunk, Next}, S};
        All -> {{ok, All, eof}, S}
    end;
call({subscribe, From, Pid, Marker, Spec}, Caller, S) ->
    call({subscribe, #{from => From, pid => Pid, marker => Marker, match_spec => Spec}}, Caller, S);
call({subscribe, #{match_spec := bad}}, _, S) -> {{error, {badarg, {clause, 1}}}, S};
call({subscribe, #{pid := Pid} = O}, _, #{sessions := Sessions, cursors := Cursors} = S) ->
    From =
        case O of
            #{cursor := C} when is_map_key(C, Cursors) -> {later_than, maps:get(C, Cursors)};
            _ -> maps:get(from, O, now)
        end,
    Receiver = self(),
    Past = from(From, S),
    {Session, _} = spawn_monitor(fun() ->
        monitor(process, Pid),
        session(Past, O, maps:get(credit, O, infinity), Receiver)
    end),
    {{ok, Session}, S#{sessions := [Session | Sessions]}};
call(_, _, S) -> {{error, unsupported}, S}.

from(earliest, #{entries := Es}) -> lists:reverse(Es);
from(now, _) -> [];
from({later_than, Ts}, #{entries := Es}) -> [E || {T, _} = E <- lists:reverse(Es), T > Ts];
from(Us, S) when is_integer(Us) -> from(ts(Us), S);
from(Ts, #{entries := Es}) -> [E || {T, _} = E <- lists:reverse(Es), T >= Ts].

session([_ | _] = Queue, O, Credit, Receiver) when Credit > 0 ->
    N = case O of #{batch := B} -> min(B, Credit); _ -> 1 end,
    {Out, Rest} = lists:split(min(N, length(Queue)), Queue),
    #{pid := Pid, marker := Marker} = O,
    case O of
        #{batch := _} -> Pid ! {Marker, Out};
        _ -> Pid ! {Marker, hd(Out)}
    end,
    session(Rest, O, case Credit of infinity -> infinity; _ -> Credit - length(Out) end, Receiver);
session(Queue, #{pid := Pid} = O, Credit, Receiver) ->
    receive
        {entry, E} -> session(Queue ++ [E], O, Credit, Receiver);
        {credit, N} -> session(Queue, O, Credit + N, Receiver);
        {ack, Ts} -> Receiver ! {cursor, maps:get(cursor, O), Ts}, session(Queue, O, Credit,
            Receiver);
        {system, From, {terminate, Reason}} ->
            gen_server:reply(From, ok),
            exit(Reason);
        {'DOWN', _, _, Pid, _} -> ok;
        {'EXIT', _, _} -> ok
    end.
