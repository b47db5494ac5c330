-module(shop_worker).
-behaviour(gen_server).
-export([start_link/1, init/1, handle_call/3, handle_cast/2]).

start_link(Work) -> gen_server:start_link(?MODULE, Work, []).

init(Work) -> {ok, Work}.

handle_call(_, _, Work) -> {reply, ok, Work}.

handle_cast({thumbnail, Size}, Work) ->
    process_flag(max_heap_size, #{size => 3000, kill => true, error_logger => true}),
    {noreply, Work ++ lists:seq(1, Size)}.
