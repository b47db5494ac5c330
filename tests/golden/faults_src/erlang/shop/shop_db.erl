-module(shop_db).
-behaviour(gen_server).
-export([start_link/1, init/1, handle_call/3, handle_cast/2]).

start_link(Host) -> gen_server:start_link(?MODULE, Host, []).

init(Host) ->
    {ok, Socket} = connect(Host),
    {ok, Socket}.

connect(Host) -> {error, {econnrefused, Host, 5432}}.

handle_call(_, _, Socket) -> {reply, ok, Socket}.

handle_cast(_, Socket) -> {noreply, Socket}.
