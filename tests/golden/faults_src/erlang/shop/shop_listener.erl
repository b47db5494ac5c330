-module(shop_listener).
-behaviour(gen_server).
-export([start_link/1, init/1, handle_call/3, handle_cast/2]).

start_link(Port) -> gen_server:start_link(?MODULE, Port, []).

init(Port) -> {stop, {port_in_use, Port}}.

handle_call(_, _, Port) -> {reply, ok, Port}.

handle_cast(_, Port) -> {noreply, Port}.
