-module(shop_hooks).
-export([run/2, each/2]).

run(Hook, Order) ->
    {done, Hook(Order)}.

each(Hooks, Order) ->
    [Hook(Order) || Hook <- Hooks].
