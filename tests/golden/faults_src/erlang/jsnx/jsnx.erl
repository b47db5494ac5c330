-module(jsnx).
-export([decode/1, encode/1]).

decode(Text) ->
    {Value, <<>>} = jsnx_decoder:value(Text),
    Value.

encode(Term) -> iolist_to_binary(jsnx_encoder:value(Term)).
