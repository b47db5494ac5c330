-module(shop_feed).
-behaviour(gen_server).
-export([start_link/1, init/1, handle_call/3, handle_cast/2, handle_info/2]).

start_link(Url) -> gen_server:start_link(?MODULE, Url, []).

init(Url) -> {ok, #{url => Url, seen => 0}}.

handle_call(_, _, Feed) -> {reply, ok, Feed}.

handle_cast({parse, Text}, #{seen := Seen} = Feed) ->
    {noreply, Feed#{last => jsonlib:decode(Text), seen => Seen + 1}}.

handle_info({tick, At}, Feed) -> {noreply, Feed#{at => At}}.
