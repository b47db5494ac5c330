-module(shop_web_params).
-export([page/1, filters/1]).

page(Params) ->
    Page = binary_to_integer(proplists:get_value(<<"page">>, Params)),
    {page, Page}.

filters(Params) ->
    [binary_to_existing_atom(Name, utf8) || {Name, _} <- Params].
