%% As those in C do: throws, and says where.
-module(jsonc).
-export([decode/1]).

decode(Text) ->
    case scan(Text, 1) of
        {error, _} = Error -> throw(Error);
        Value -> Value
    end.

scan(<<"{}">>, _) -> #{};
scan(<<"{", Rest/binary>>, At) -> scan(Rest, At + 1);
scan(<<"\"", Rest/binary>>, At) -> scan(Rest, At + 1);
scan(<<Byte, Rest/binary>>, At) when Byte >= $a, Byte =< $z -> scan(Rest, At + 1);
scan(<<>>, At) -> {error, {At, truncated_json}};
scan(_, At) -> {error, {At, invalid_json}}.
