%% Subscribes to the instance `error_logger` and prints each event on a line or a few. It needs
%% none of our code: a subscription is a call, and entries are messages. It is registered as
%% `on_call`, too, so that the rules of demo.toml can name it: an alert is a message as well.
-module(demo_watch).
-export([start/0, stay/0]).

-define(NODE, 'logmachine@127.0.0.1').
%% The demo isn't over before these have fired.
-define(AWAITED, [
    {many_errors, 'billing@127.0.0.1'}, {many_errors, 'front@127.0.0.1'}, {silent, kettle}
]).

%% Called by `-s demo_watch start'.
start() ->
    begin_with(fun(Session) -> loop(Session, 0, 60000, ?AWAITED) end).

%% Called by `-s demo_watch stay': goes on behind what was printed, and prints nothing.
stay() ->
    begin_with(fun drain/1).

%% The cursor makes the subscription durable: whoever comes next under its name gets what follows.
begin_with(Loop) ->
    logger:remove_handler(default),
    spawn(fun() ->
        register(on_call, self()),
        Request = {subscribe, #{from => earliest, pid => self(), marker => entry, cursor => <<"demo">>}},
        {ok, Session} = gen_server:call({'.error_logger.receiver.srv', ?NODE}, Request),
        Loop(Session)
    end).

drain(Session) ->
    receive
        {entry, {At, _}} -> Session ! {ack, At};
        {alert, _, _, _} -> ok
    end,
    drain(Session).

loop(_, Count, _, []) when is_tuple(Count) ->
    finish(Count);
loop(Session, Count, Patience, Awaited) ->
    receive
        {entry, {At, {log, _, _, _, #{demo := over}}} = Entry} ->
            print(Entry),
            Session ! {ack, At},
            loop(Session, {over, Count + 1}, 10000, Awaited);
        {entry, {At, Event} = Entry} when is_integer(Count) ->
            print(Entry),
            is_rush(Event) andalso remember(At),
            Session ! {ack, At},
            loop(Session, Count + 1, Patience, Awaited);
        {alert, Rule, State, #{by := By, at := At}} = Alert ->
            print({At, Alert}),
            StillAwaited = case State of firing -> Awaited -- [{Rule, By}]; _ -> Awaited end,
            loop(Session, Count, Patience, StillAwaited)
    after Patience ->
        finish(Count)
    end.

finish({over, Count}) ->
    io:format("~n~p events, from three nodes that were not configured for it.~n", [Count]),
    halt(0);
finish(_) ->
    io:format("nothing for a minute~n"),
    halt(1).

is_rush({log, _, _, _, #{demo := rush}}) -> true;
is_rush(_) -> false.

%% For `logmachine explain --since`.
remember({Mega, Seconds, _}) ->
    Text = calendar:system_time_to_rfc3339(Mega * 1000000 + Seconds, [{offset, "Z"}]),
    ok = file:write_file("rush", Text).

print({{_, _, Micros} = Stamp, Event}) ->
    {_, {H, M, S}} = calendar:now_to_local_time(Stamp),
    {Node, What, Text} = describe(Event),
    Name = hd(string:split(atom_to_list(Node), "@")),
    Head = io_lib:format("~2..0w:~2..0w:~2..0w.~3..0w  ~-8s ~-11s ", [H, M, S, Micros div 1000, Name, What]),
    [First | Rest] = lines(unicode:characters_to_list(Text)),
    io:format("~ts~ts~n", [Head, First]),
    Margin = lists:duplicate(length(lists:flatten(Head)), $\s),
    [io:format("~ts~ts~n", [Margin, Line]) || Line <- lists:sublist(Rest, 4)].

lines(Text) ->
    case [string:trim(Line, trailing) || Line <- string:split(Text, "\n", all), string:trim(Line) =/= []] of
        [] -> [""];
        Lines -> Lines
    end.

describe({alert, Rule, State, #{text := Text}}) ->
    What = case State of firing -> "ALERT"; resolved -> "resolved" end,
    {on_call, What, io_lib:format("~p: ~ts", [Rule, Text])};
describe({error_report, GL, {_, supervisor_report, Report}}) ->
    Get = fun(Key) -> proplists:get_value(Key, Report) end,
    {node(GL), "supervisor", io_lib:format("~0p: ~0p of ~0p: ~0P", [
        Get(supervisor), Get(errorContext), proplists:get_value(id, Get(offender), none), short(Get(reason)), 20
    ])};
describe({error_report, GL, {_, crash_report, [Info | _]}}) ->
    {Class, Reason, Stack} = proplists:get_value(error_info, Info, {none, none, []}),
    {node(GL), "crash", io_lib:format("~0p: ~0p ~0P~s", [
        name(Info), Class, Reason, 15, where(Stack)
    ])};
describe({What, GL, {Pid, Type, Report}}) when What =:= error_report; What =:= warning_report; What =:= info_report ->
    {node(GL), atom_to_list(What), io_lib:format("~0p ~0p: ~0P", [Pid, Type, Report, 40])};
describe({What, GL, {_, Format, Args}}) ->
    {node(GL), atom_to_list(What), io_lib:format(Format, Args)};
describe({log, Node, Level, Msg, Meta}) ->
    {Node, atom_to_list(Level), text(Msg, Meta)};
describe(Other) ->
    {node(), "other", io_lib:format("~0p", [Other])}.

text({string, Text}, _) -> Text;
text({report, _}, #{'$text' := Text}) -> Text;
text({report, Report}, _) -> io_lib:format("~0p", [Report]);
text({Format, Args}, _) -> io_lib:format(Format, Args).

%% The stack is in the crash report already.
short({Reason, [{M, F, _, _} | _]}) when is_atom(M), is_atom(F) -> Reason;
short(Reason) -> Reason.

name(Info) ->
    case proplists:get_value(registered_name, Info) of
        Name when is_atom(Name), Name =/= undefined -> Name;
        _ -> proplists:get_value(pid, Info)
    end.

where([{M, F, A, Location} | Rest]) ->
    case proplists:get_value(line, Location) of
        Line when is_integer(Line), M =:= demo_shop ->
            Arity = case is_list(A) of true -> length(A); false -> A end,
            io_lib:format(" at ~p:~p/~p, line ~p", [M, F, Arity, Line]);
        _ ->
            where(Rest)
    end;
where(_) ->
    "".
