-module(tariff_server).
-behaviour(gen_server).
-export([start_link/1, init/1, handle_call/3, handle_cast/2]).

start_link(Prices) -> gen_server:start_link({local, ?MODULE}, ?MODULE, Prices, []).

init(Prices) ->
    Table = ets:new(tariffs, [named_table, protected]),
    true = ets:insert(Table, Prices),
    {ok, {Table, length(Prices)}}.

handle_call({price, Code, Days}, _From, State) ->
    Price = ets:lookup_element(tariffs, Code, 2),
    {reply, Price * Days, State}.

handle_cast(_, State) -> {noreply, State}.
