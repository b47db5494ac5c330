%% @private A gen_server that crashes when called.
-module(host_crasher).
-behaviour(gen_server).
-export([init/1, handle_call/3, handle_cast/2, handle_info/2]).

init([]) -> {ok, #{}}.
handle_call(crash, _, _) -> error(crashed_as_told).
handle_cast(_, S) -> {noreply, S}.
handle_info(_, S) -> {noreply, S}.
