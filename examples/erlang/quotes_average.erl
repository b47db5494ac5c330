%% Keeps the volume-weighted average price of every symbol, whatever happens to the network.
%%
%% The consumer's position is kept by the logmachine node under the cursor `average', the sums in a
%% dets file here. Both survive a restart of this node. They can't be written in one step, so a
%% crash between the two brings the last batch again: each sum is stored with the timestamp it
%% reaches to, and entries up to that are skipped. That makes it exactly once, end to end.
-module(quotes_average).

-behaviour(logmachine_consumer).

-export([child_spec/2, average/1]).
-export([init/1, handle_entries/2, terminate/2]).

-define(TABLE, ?MODULE).

%% To be put in a supervisor; Instance is `quotes' or `{quotes, Node}'.
-spec child_spec(logmachine:instance(), file:filename()) -> supervisor:child_spec().
child_spec(Instance, File) ->
    logmachine:child_spec(#{
        instance => Instance,
        module => ?MODULE,
        args => File,
        cursor => <<"average">>,
        from => earliest,
        %% The node filters: only quotes cross the network.
        match_spec => [{{quote, '_', '_', '_'}, [], ['$_']}],
        batch => 200
    }).

-spec average(atom()) -> float() | undefined.
average(Symbol) ->
    case dets:lookup(?TABLE, Symbol) of
        [{_, Money, Volume}] -> Money / Volume;
        [] -> undefined
    end.

init(File) ->
    case dets:open_file(?TABLE, [{file, File}]) of
        {ok, Table} -> {ok, Table};
        {error, Reason} -> {error, Reason}
    end.

handle_entries(Entries, Table) ->
    Reached = reached(Table),
    New = [Quote || {Timestamp, Quote} <- Entries, Timestamp > Reached],
    {Last, _} = lists:last(Entries),
    Sums = lists:foldl(fun(Quote, Acc) -> add(Quote, Table, Acc) end, #{}, New),
    Rows = [{Symbol, Money, Volume} || {Symbol, {Money, Volume}} <- maps:to_list(Sums)],
    ok = dets:insert(Table, [{{reached}, max(Last, Reached)} | Rows]),
    ok = dets:sync(Table),
    {ok, Table}.

terminate(_, Table) ->
    dets:close(Table).

reached(Table) ->
    case dets:lookup(Table, {reached}) of
        [{_, Timestamp}] -> Timestamp;
        [] -> {0, 0, 0}
    end.

add({quote, Symbol, Price, Volume}, Table, Acc) ->
    {Money, Total} =
        case {Acc, dets:lookup(Table, Symbol)} of
            {#{Symbol := Sum}, _} -> Sum;
            {_, [{_, M, V}]} -> {M, V};
            {_, []} -> {0, 0}
        end,
    Acc#{Symbol => {Money + Price * Volume, Total + Volume}}.
