-module(shop_cache).
-export([get/1]).

get(Key) ->
    case ets:lookup(shop_cache_table, Key) of
        [{_, Value}] -> Value;
        [] -> none
    end.
