-module(shop_web_router).
-export([dispatch/2, method/1]).

dispatch(Method, Path) ->
    case lists:member(Path, ["/", "/cart"]) of
        true -> Method;
        false -> throw({not_found, Method, Path})
    end.

method(Request) -> upper(maps:get(method, Request)).

upper(<<"get">>) -> <<"GET">>;
upper(<<"post">>) -> <<"POST">>.
