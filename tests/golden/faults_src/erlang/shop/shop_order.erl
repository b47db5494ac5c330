-module(shop_order).
-export([customer/1, invoice_address/1, weight/1]).

customer(Order) ->
    {maps:get(name, Order), maps:get(email, Order)}.

invoice_address(Order) ->
    [maps:get(email, Order), $\n, maps:get(street, Order)].

weight(#{items := Items}) ->
    lists:sum([grams(Item) || Item <- Items]).

grams({_, Grams}) when is_integer(Grams) -> Grams;
grams({_, {kg, Kilos}}) -> Kilos * 1000.
