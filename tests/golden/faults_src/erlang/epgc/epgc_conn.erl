-module(epgc_conn).
-behaviour(gen_server).
-export([start_link/1, init/1, handle_call/3, handle_cast/2]).

start_link(Options) -> gen_server:start_link(?MODULE, Options, []).

init(Options) -> {ok, Options}.

handle_call({equery, _, _}, _From, Options) ->
    case application:get_env(epgc, failing, timeout) of
        timeout -> {noreply, Options};
        Error -> {reply, {error, Error}, Options}
    end.

handle_cast(_, Options) -> {noreply, Options}.
