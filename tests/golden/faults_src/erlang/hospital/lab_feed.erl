-module(lab_feed).
-behaviour(gen_server).
-export([start_link/1, init/1, handle_call/3, handle_cast/2, handle_info/2]).

start_link(Url) -> gen_server:start_link(?MODULE, Url, []).

init(Url) -> {ok, #{url => Url, last => undefined}}.

handle_call(_, _, State) -> {reply, ok, State}.

handle_cast(_, State) -> {noreply, State}.

handle_info({webcall_body, _Ref, Body}, State) ->
    Result = jsnx:decode(Body),
    {noreply, State#{last := Result}}.
