%% What the monitors at the beds measure.
-module(monitor_server).
-behaviour(gen_server).
-export([start_link/1, init/1, handle_call/3, handle_cast/2]).

start_link(Bed) -> gen_server:start_link(?MODULE, Bed, []).

init(Bed) -> {ok, #{bed => Bed, worst => ok, limits => [{pulse, 140}, {spo2, 88}]}}.

handle_call(worst, _From, #{worst := Worst} = State) -> {reply, Worst, State}.

handle_cast({readings, Readings}, #{worst := Worst} = State) ->
    {noreply, State#{worst := lists:foldl(fun classify/2, Worst, Readings)}};
handle_cast({limit, Kind, Change}, #{limits := Limits} = State) ->
    {_, Limit} = lists:keyfind(Kind, 1, Limits),
    {noreply, State#{limits := lists:keystore(Kind, 1, Limits, {Kind, Limit + Change})}}.

classify(Reading, Worst) ->
    case Reading of
        {pulse, Rate, bpm} when Rate > 140 -> alarm;
        {pulse, _, bpm} -> Worst;
        {spo2, Share, percent} when Share < 88 -> alarm;
        {spo2, _, percent} -> Worst
    end.
