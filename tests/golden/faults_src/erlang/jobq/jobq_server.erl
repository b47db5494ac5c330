-module(jobq_server).
-behaviour(gen_server).
-export([start_link/1, init/1, handle_call/3, handle_cast/2, handle_info/2]).

start_link(Options) -> gen_server:start_link(?MODULE, Options, []).

init(Options) -> {ok, Options#{done => 0}}.

handle_call(_, _, State) -> {reply, ok, State}.

handle_cast(_, State) -> {noreply, State}.

handle_info({perform, {M, F, A}}, #{done := Done} = State) ->
    ok = apply(M, F, A),
    {noreply, State#{done => Done + 1}}.
