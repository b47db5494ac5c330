%% Stops as it should when its provider has enough of it.
-module(fleet_push_sender).
-behaviour(gen_server).
-export([start_link/1, init/1, handle_call/3, handle_cast/2, handle_info/2]).

start_link(Provider) -> gen_server:start_link(?MODULE, Provider, []).

init(Provider) -> {ok, Provider}.

handle_call(_, _, Provider) -> {reply, ok, Provider}.

handle_cast(_, Provider) -> {noreply, Provider}.

handle_info({http, {_, 200, _}, _}, Provider) -> {noreply, Provider};
handle_info({http, Status, Body}, Provider) -> {stop, {shutdown, {http, Status, Body}}, Provider}.
