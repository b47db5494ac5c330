%% Marks messages in the table of somebody else.
-module(fleet_seen).
-behaviour(gen_server).
-export([start_link/1, init/1, handle_call/3, handle_cast/2]).

start_link(Table) -> gen_server:start_link(?MODULE, Table, []).

init(Table) -> {ok, {Table, 0}}.

handle_call(_, _, State) -> {reply, ok, State}.

handle_cast({mark, Id}, {Table, Count}) ->
    true = ets:insert(Table, {Id, Count}),
    {noreply, {Table, Count + 1}}.
