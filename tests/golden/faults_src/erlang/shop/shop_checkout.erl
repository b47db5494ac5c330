-module(shop_checkout).
-behaviour(gen_server).
-export([start_link/1, init/1, handle_call/3, handle_cast/2, handle_info/2]).

start_link(Cart) -> gen_server:start_link(?MODULE, Cart, []).

init(Cart) -> {ok, Cart}.

handle_call(_, _, Cart) -> {reply, ok, Cart}.

handle_cast(_, Cart) -> {noreply, Cart}.

handle_info({quote, Skus}, Cart) ->
    Price = gen_server:call(shop_pricing, {quote, Skus}, 5),
    {noreply, Cart#{price => Price}}.
