-module(med_round).
-export([next/2]).

next(Ward, Hour) ->
    {atomic, Next} = rowdb:transaction(fun() -> due(Ward, Hour) end),
    Next.

due(Ward, Hour) ->
    [First | _] = rowdb:read(rounds, {Ward, Hour}),
    {due, First}.
