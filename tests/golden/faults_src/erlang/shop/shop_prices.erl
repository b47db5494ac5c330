-module(shop_prices).
-export([read/1, import/1]).

read(Name) ->
    {ok, Data} = open(Name),
    Data.

open(_Name) -> {error, application:get_env(shop, failing, enoent)}.

import(Lines) ->
    lists:map(
        fun(Line) ->
            [Sku, Price] = string:split(Line, ";"),
            {Sku, list_to_integer(Price)}
        end,
        Lines
    ).
