%% Traps exits, and stops with the reason of its worker.
-module(shop_batch).
-behaviour(gen_server).
-export([start_link/1, init/1, handle_call/3, handle_cast/2, handle_info/2, work/1]).

start_link(Batch) -> gen_server:start_link(?MODULE, Batch, []).

init(Batch) ->
    process_flag(trap_exit, true),
    {ok, Batch}.

handle_call(_, _, Batch) -> {reply, ok, Batch}.

handle_cast({work, Pages}, Batch) ->
    _ = proc_lib:spawn_link(?MODULE, work, [Pages]),
    {noreply, Batch}.

handle_info({'EXIT', _, Reason}, Batch) -> {stop, Reason, Batch}.

work(Pages) ->
    [_, _ | Rest] = [Page || Page <- Pages, Page > 1000],
    Rest.
