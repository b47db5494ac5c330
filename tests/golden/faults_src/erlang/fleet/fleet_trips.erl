-module(fleet_trips).
-export([find/1]).

find(Id) ->
    case tabledb:dirty_read(trip, Id) of
        [Trip] -> Trip;
        [] -> none
    end.
