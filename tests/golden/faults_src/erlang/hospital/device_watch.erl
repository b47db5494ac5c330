-module(device_watch).
-export([check/4]).
-include("log.hrl").

check(Serial, Bed, Seen, Battery) when Battery < 20 ->
    ?LOG_ERROR("Battery of monitor ~ts at bed ~b is at ~b% (seen ~ts)", [Serial, Bed, Battery, Seen]);
check(Serial, Bed, Seen, _) ->
    ?LOG_ERROR("No data of monitor ~ts at bed ~b since ~ts: ~p", [Serial, Bed, Seen, {error, {ehostunreach, Bed}}]).
