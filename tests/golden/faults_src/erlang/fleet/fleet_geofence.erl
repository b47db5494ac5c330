-module(fleet_geofence).
-export([trip_ended/1]).

trip_ended(Trip) ->
    Zone = maps:get(zone, Trip),
    {left, Zone}.
