%% Keeps the candles of the last hours, and knows which symbols have fallen silent.
%%
%% Nothing is computed here: the analysis `candles' of candles.toml records one row for each symbol
%% and window, and this process subscribes to them as to any other instance. Its position is kept by
%% the logmachine node under the cursor `candles', the rows in a dets file here. A row that comes
%% again after a crash has the same key and takes its own place, so nothing has to be skipped.
%%
%% The rule `silent' sends its alerts to the global name that this process has; they arrive in
%% handle_info/2. They come at least once and in order, so what came last is how it stands.
-module(quotes_candles).

-behaviour(logmachine_consumer).

-export([child_spec/2, candles/1, silent/0]).
-export([init/1, handle_entries/2, handle_info/2, terminate/2]).

-define(TABLE, ?MODULE).
-define(KEPT_SECONDS, 6 * 3600).

%% To be put in a supervisor; Instance is `candles' or `{candles, Node}'.
-spec child_spec(logmachine:instance(), file:filename()) -> supervisor:child_spec().
child_spec(Instance, File) ->
    logmachine:child_spec(#{
        instance => Instance,
        module => ?MODULE,
        args => File,
        name => {global, ?MODULE},
        cursor => <<"candles">>,
        from => {ago, {?KEPT_SECONDS, sec}}
    }).

%% The candles of a symbol, oldest first, each with the second at which its window began, since 1970.
-spec candles(atom()) -> [{pos_integer(), #{atom() => number()}}].
candles(Symbol) ->
    Rows = dets:match_object(?TABLE, {{candle, Symbol, '_'}, '_'}),
    lists:sort([{From, Candle} || {{candle, _, From}, Candle} <- Rows]).

%% Symbols that were quoted before and are no more, each with the second of its last quote.
-spec silent() -> [{atom(), pos_integer()}].
silent() ->
    [{Symbol, Last} || {{silent, Symbol}, Last} <- dets:match_object(?TABLE, {{silent, '_'}, '_'})].

init(File) ->
    case dets:open_file(?TABLE, [{file, File}]) of
        {ok, Table} -> {ok, Table};
        {error, Reason} -> {error, Reason}
    end.

handle_entries(Entries, Table) ->
    Rows = [
        {{candle, Symbol, seconds(From)}, Candle}
     || {_, {analysis, candles, Symbol, {From, _To}, Candle}} <- Entries
    ],
    ok = dets:insert(Table, Rows),
    {Newest, _} = lists:last(Entries),
    _ = forget(seconds(Newest) - ?KEPT_SECONDS, Table),
    ok = dets:sync(Table),
    {ok, Table}.

handle_info({alert, silent, firing, #{by := Symbol, entry := Last}}, Table) ->
    ok = dets:insert(Table, {{silent, Symbol}, seconds(Last)}),
    {ok, Table};
handle_info({alert, silent, resolved, #{by := Symbol}}, Table) ->
    ok = dets:delete(Table, {silent, Symbol}),
    {ok, Table};
handle_info(_, Table) ->
    {ok, Table}.

terminate(_, Table) ->
    dets:close(Table).

forget(Before, Table) ->
    dets:select_delete(Table, [{{{candle, '_', '$1'}, '_'}, [{'<', '$1', Before}], [true]}]).

seconds({Mega, Sec, _}) ->
    Mega * 1000000 + Sec.
