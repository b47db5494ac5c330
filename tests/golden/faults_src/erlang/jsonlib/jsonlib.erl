-module(jsonlib).
-export([decode/1]).

decode(Text) -> value(Text, 0).

value(<<" ", Rest/binary>>, At) -> value(Rest, At + 1);
value(<<"null">>, _) -> null;
value(<<"true">>, _) -> true;
value(<<Byte, _/binary>>, At) -> error({invalid_byte, Byte, At});
value(<<>>, At) -> error({unexpected_end, At}).
