-module(ward_census).
-export([run/1]).

run(Wards) -> [{Ward, 100 * Taken div Beds} || {Ward, Taken, Beds} <- Wards].
