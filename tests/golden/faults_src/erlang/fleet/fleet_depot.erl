-module(fleet_depot).
-export([open/1, lookup/2]).

open(Cars) ->
    Pids = [
        begin
            {ok, Pid} = fleet_car:start_link(Car),
            Pid
        end
     || Car <- Cars
    ],
    {open, Pids}.

lookup(Replica, Key) ->
    Row = erpc:call(Replica, ets, lookup, [depots, Key]),
    {Replica, Row}.
