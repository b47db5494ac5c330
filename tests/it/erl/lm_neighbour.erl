%% What was captured of a node, in the terms of that node's own log file.
-module(lm_neighbour).
-export([captured/2]).

%% "Time Level Pid Shape" of each event of Node, one a line. An event in error_logger's shape has no time: it
%% is given the entry's. Pids are written as their own node does.
captured(Receiver, Node) ->
    lists:flatten([line(Entry) || Entry <- entries(Receiver, earliest), is_of(Entry, Node)]).

entries(Receiver, From) ->
    case gen_server:call(Receiver, {read, From, #{}}) of
        {ok, Entries, eof} -> Entries;
        {ok, Entries, Next} -> Entries ++ entries(Receiver, Next)
    end.

is_of({_, {log, Of, _, _, _}}, Node) -> Of =:= Node;
is_of({_, {_, _, {Pid, _, _}}}, Node) when is_pid(Pid) -> node(Pid) =:= Node;
is_of(_, _) -> false.

line({_, {log, _, Level, _, #{time := Time, pid := Pid}}}) ->
    line(Time, Level, Pid, "log");
line({{Mega, Sec, Micro}, {Tag, _, {Pid, _, _}}}) ->
    line((Mega * 1000000 + Sec) * 1000000 + Micro, level(Tag), Pid, "error_logger").

line(Time, Level, Pid, Shape) ->
    Options = [{unit, microsecond}, {offset, "Z"}, {time_designator, $\s}],
    Stamp = lists:droplast(calendar:system_time_to_rfc3339(Time, Options)),
    [_ | Numbers] = string:split(pid_to_list(Pid), "."),
    io_lib:format("~s ~s <0.~s ~s~n", [Stamp, Level, Numbers, Shape]).

level(error) -> error;
level(error_report) -> error;
level(warning_msg) -> warning;
level(warning_report) -> warning;
level(_) -> notice.
