%% Draws candles in the terminal: what `logmachine read candles -o term' prints, a term a line.
%% A box rose from its lower edge to its upper one, a filled one fell; the lines above and below
%% reach to the highest and the lowest price.
-module(demo_candles).
-export([start/1]).

-define(ROWS, 12).

%% Called by `-s demo_candles start FILE'.
start([File]) ->
    {ok, Entries} = file:consult(File),
    Candles = [{From, Values} || {_, {analysis, _, _, {From, _}, Values}} <- Entries],
    ok = io:setopts([{encoding, unicode}]),
    io:format("~ts", [draw(Candles)]),
    halt(0).

draw([]) ->
    "no candle\n";
draw(Candles) ->
    High = lists:max([Price || {_, #{high := Price}} <- Candles]),
    Low = lists:min([Price || {_, #{low := Price}} <- Candles]),
    Step = max(High - Low, 0.01) / (?ROWS - 1),
    Row = fun(Price) -> round((High - Price) / Step) end,
    Places = [places(Values, Row) || {_, Values} <- Candles],
    Rows = [[label(N, High - N * Step), [[part(N, Place), " "] || Place <- Places]] || N <- lists:seq(0, ?ROWS - 1)],
    Axis = ["         └─", ["────" || _ <- Candles]],
    Seconds = ["           ", [[second(From), "  "] || {From, _} <- Candles]],
    [[string:trim(Line, trailing), "\n"] || Line <- Rows ++ [Axis, Seconds]].

%% Rows count from the top.
places(#{open := Open, high := High, low := Low, close := Close}, Row) ->
    {Close >= Open, Row(High), Row(max(Open, Close)), Row(min(Open, Close)), Row(Low)}.

part(N, {_, High, _, _, Low}) when N < High; N > Low -> "   ";
part(N, {_, _, Top, Bottom, _}) when N < Top; N > Bottom -> " │ ";
part(_, {false, _, _, _, _}) -> "███";
part(N, {true, _, N, N, _}) -> "╞═╡";
part(N, {true, N, N, _, _}) -> "┌─┐";
part(N, {true, _, N, _, _}) -> "┌┴┐";
part(N, {true, _, _, N, N}) -> "└─┘";
part(N, {true, _, _, N, _}) -> "└┬┘";
part(_, _) -> "│ │".

label(N, Price) when N rem 3 =:= 0 -> io_lib:format("~8.2f ┤ ", [float(Price)]);
label(_, _) -> "         │ ".

second(From) ->
    {_, {_, _, Second}} = calendar:now_to_local_time(From),
    io_lib:format("~2..0w", [Second]).
