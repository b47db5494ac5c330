-module(hl7_out).
-export([nack/3]).

nack(Peer, Control, Text) ->
    error_logger:error_msg("HL7 receiver ~s:~b refused message ~s (AE): ~s~n", [Peer, 2575, Control, Text]).
