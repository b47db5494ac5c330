-module(shop_web_api).
-export([body/1, answer/2]).

body(#{body := Body} = Request) ->
    Request#{json => jsonlib:decode(Body)}.

answer(Request, Status) ->
    case Status of
        ok -> {200, Request};
        created -> {201, Request}
    end.
