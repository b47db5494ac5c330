%% Known by name in the whole cluster; answers when it has coverage.
-module(fleet_car).
-behaviour(gen_server).
-export([start_link/1, where/1, init/1, handle_call/3, handle_cast/2]).

start_link(Id) -> gen_server:start_link({via, global, {car, Id}}, ?MODULE, Id, []).

where(Id) ->
    {Lat, Long} = gen_server:call({via, global, {car, Id}}, where, 5),
    {ok, Lat, Long}.

init(Id) -> {ok, Id}.

handle_call(where, _, Id) -> {noreply, Id}.

handle_cast(_, Id) -> {noreply, Id}.
