%% The process that a request runs in: it survives what it asks for.
-module(shop_http).
-export([ask/2, quantity/1]).

ask(Server, Request) ->
    try
        gen_server:call(Server, Request)
    catch
        exit:_ -> {500, Request}
    end.

quantity(Field) ->
    {quantity, binary_to_integer(Field)}.
