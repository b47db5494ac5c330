-module(shop_rules).
-behaviour(gen_server).
-export([start_link/1, init/1, handle_call/3, handle_cast/2, price/2]).

%% Who asks dies with the server.
price(Rules, Sku) ->
    {ok, Price} = gen_server:call(Rules, {price, Sku}),
    Price.

start_link(Rules) -> gen_server:start_link(?MODULE, Rules, []).

init(Rules) -> {ok, Rules}.

handle_call({price, Sku}, _, Rules) ->
    {_, Price} = lists:keyfind(Sku, 1, Rules),
    {reply, {ok, Price}, Rules}.

handle_cast(_, Rules) -> {noreply, Rules}.
