%% What is no JSON is a badarg, wherever it ends to be one.
-module(jsnx_decoder).
-export([value/1]).

value(<<$\s, Rest/binary>>) -> value(Rest);
value(<<"{\"", Rest/binary>>) -> key(Rest, []);
value(<<C, _/binary>> = Text) when C >= $0, C =< $9 -> number(Text, []);
value(_) -> error(badarg).

key(<<"\":", Rest/binary>>, Key) ->
    {Value, More} = value(Rest),
    object(More, {lists:reverse(Key), Value});
key(<<C, Rest/binary>>, Key) -> key(Rest, [C | Key]);
key(<<>>, _) -> error(badarg).

number(<<C, Rest/binary>>, Digits) when C >= $0, C =< $9 -> number(Rest, [C | Digits]);
number(Rest, Digits) -> {list_to_integer(lists:reverse(Digits)), Rest}.

object(<<"}", Rest/binary>>, Pair) -> {[Pair], Rest};
object(_, _) -> error(badarg).
