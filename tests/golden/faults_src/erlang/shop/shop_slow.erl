%% Servers that never answer in time, under the name that they are given.
-module(shop_slow).
-behaviour(gen_server).
-export([start_link/1, init/1, handle_call/3, handle_cast/2]).

start_link(Name) -> gen_server:start_link({local, Name}, ?MODULE, Name, []).

init(Name) -> {ok, Name}.

handle_call(_, _, Name) -> {noreply, Name}.

handle_cast(_, Name) -> {noreply, Name}.
