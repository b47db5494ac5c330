-module(fleet_push_app).
-behaviour(application).
-export([start/2, stop/1]).

start(_, _) ->
    {ok, Url} = application:get_env(fleet_push, url),
    [Scheme, Host] = string:split(Url, "://"),
    ok = application:set_env(fleet_push, provider, {Scheme, Host}),
    {ok, spawn_link(timer, sleep, [infinity])}.

stop(_) -> ok.
