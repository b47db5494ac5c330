-module(rx_printer).
-behaviour(gen_server).
-export([start_link/1, init/1, handle_call/3, handle_cast/2]).

start_link(Tray) -> gen_server:start_link({local, ?MODULE}, ?MODULE, Tray, []).

init(Tray) ->
    Queue = gen_server:call(print_spooler, {attach, Tray, self()}),
    {ok, Queue}.

handle_call(_, _, Queue) -> {reply, ok, Queue}.

handle_cast(_, Queue) -> {noreply, Queue}.
