-module(fleet_mqtt).
-behaviour(gen_server).
-export([start_link/1, init/1, handle_call/3, handle_cast/2, handle_info/2]).

start_link(Broker) -> gen_server:start_link(?MODULE, Broker, []).

init(Broker) -> {ok, #{broker => Broker, topics => #{}}}.

handle_call(_, _, State) -> {reply, ok, State}.

handle_cast(_, State) -> {noreply, State}.

handle_info({publish, Topic, Payload}, #{topics := Topics} = State) ->
    Last = jsonc:decode(Payload),
    {noreply, State#{topics => Topics#{Topic => Last}}}.
