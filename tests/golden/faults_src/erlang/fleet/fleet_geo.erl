-module(fleet_geo).
-export([address/1]).

address({Lat, Long}) ->
    {ok, {{_, 200, _}, _, Body}} = get("/reverse", [{lat, Lat}, {long, Long}]),
    Body.

get(_Path, _Query) ->
    Address = {"geo.example.com", 443},
    {error, {failed_connect, [{to_address, Address}, {inet, [inet], application:get_env(fleet, failing, timeout)}]}}.
