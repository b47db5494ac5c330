-module(fleet_route).
-export([minutes/2]).
-record(trip, {id, days = [], notes = none}).

minutes(Id, Days) ->
    Trip = #trip{id = Id, days = Days},
    Sums = lists:map(
        fun({Day, Legs}) ->
            {Day, [
                begin
                    Stop =
                        case Kind of
                            depot -> 0;
                            customer -> 15
                        end,
                    60 * Meters div Speed + Stop
                end
             || {Kind, Meters, Speed} <- Legs
            ]}
        end,
        Trip#trip.days
    ),
    {Trip#trip.id, Sums}.
