-module(shop_poller).
-behaviour(gen_server).
-export([start_link/1, init/1, handle_call/3, handle_cast/2, handle_info/2]).

start_link(Url) -> gen_server:start_link(?MODULE, Url, []).

init(Url) -> {ok, Url}.

handle_call(_, _, Url) -> {reply, ok, Url}.

handle_cast(_, Url) -> {noreply, Url}.

handle_info(poll, Url) ->
    #{status := 200} = fetch(Url),
    {noreply, Url}.

fetch(Url) -> #{status => 500 + length(Url) rem 5, url => Url}.
