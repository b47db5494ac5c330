-module(shop_cart).
-behaviour(gen_server).
-export([start_link/1, init/1, handle_call/3, handle_cast/2]).
-export([total/1, paired/2, load/1, track/2]).

start_link(Cart) -> gen_server:start_link(?MODULE, Cart, []).

init(Cart) -> {ok, Cart}.

handle_call({add, Items}, _From, Cart) ->
    Sum = lists:foldl(fun(#{price := Price}, Sum) -> Sum + Price end, 0, Items),
    {reply, Sum, Cart#{sum => Sum}};
handle_call({discount, Among}, _From, #{sum := Sum} = Cart) ->
    {reply, Sum / Among, Cart}.

handle_cast({rename, Name}, Cart) -> {noreply, Cart#{name => Name}}.

total([{_Sku, Price} | Items]) -> Price + total(Items);
total([]) -> 0.

paired(Skus, Prices) ->
    Pairs = lists:zip(Skus, Prices),
    maps:from_list(Pairs).

load(Id) ->
    [Cart] = pgpool:query("select * from carts where id = $1", [Id]),
    Cart.

track(Cart, Count) ->
    shop_metrics:count(Cart, Count),
    ok.
