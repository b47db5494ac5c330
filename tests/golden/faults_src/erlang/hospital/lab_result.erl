-module(lab_result).
-export([store/2]).

store(Order, Fields) ->
    Values = [{Name, value(Text)} || {Name, Text} <- Fields],
    {Order, Values}.

value(<<"<", Text/binary>>) -> {below, value(Text)};
value(Text) -> binary_to_float(Text).
