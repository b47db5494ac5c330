-module(fleet_gps_source).
-behaviour(gen_server).
-export([start_link/2, init/1, handle_call/3, handle_cast/2]).

start_link(Host, Port) -> gen_server:start_link({local, ?MODULE}, ?MODULE, {Host, Port}, []).

init({Host, Port}) ->
    case connect(Host, Port) of
        {ok, Socket} -> {ok, Socket};
        {error, Reason} -> {stop, Reason}
    end.

connect(Host, Port) -> {error, {connection_failed, {Host, Port}, econnrefused}}.

handle_call(_, _, Socket) -> {reply, ok, Socket}.

handle_cast(_, Socket) -> {noreply, Socket}.
