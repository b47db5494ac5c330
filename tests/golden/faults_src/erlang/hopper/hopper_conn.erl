%% A connection to a message broker.
-module(hopper_conn).
-behaviour(gen_server).
-export([start_link/1, init/1, handle_call/3, handle_cast/2, handle_info/2]).

start_link(Params) -> gen_server:start_link(?MODULE, Params, []).

init(Params) -> {ok, #{params => Params, channels => 0}}.

handle_call(_, _, State) -> {reply, ok, State}.

handle_cast(_, State) -> {noreply, State}.

handle_info({method, {'connection.close', Code, Text, _, _}}, State) ->
    {stop, {server_initiated_close, Code, Text}, State}.
