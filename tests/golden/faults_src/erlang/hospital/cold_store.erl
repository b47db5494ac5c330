-module(cold_store).
-export([warm/3]).

warm(Fridge, Degrees, Since) ->
    error_logger:error_report([{fridge, Fridge}, {degrees, Degrees}, {since, Since}, {action, move_vaccines}]).
