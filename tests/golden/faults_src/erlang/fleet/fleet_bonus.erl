-module(fleet_bonus).
-export([trip_ended/1]).

trip_ended(#{meters := Meters, braked := Braked}) ->
    Points = Meters div Braked,
    {points, Points}.
