-module(alarm_relay).
-export([ring/2]).

ring(Bed, Alarm) ->
    ok = gen_server:call(nurse_call, {ring, Bed, Alarm}),
    {rang, Bed}.
