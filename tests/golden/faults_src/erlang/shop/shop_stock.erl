-module(shop_stock).
-behaviour(gen_server).
-export([start_link/1, init/1, handle_call/3, handle_cast/2]).
-export([find/1, reserve/2, count/1, negative/2]).

start_link(Stock) -> gen_server:start_link(?MODULE, Stock, []).

init(Stock) -> {ok, Stock}.

handle_call({available, Sku}, _, Stock) -> {reply, maps:get(Sku, Stock), Stock}.

handle_cast({received, Sku, Count}, Stock) -> {noreply, Stock#{Sku => Count}}.

find(Sku) ->
    {ok, Row} = row(Sku),
    Row.

row(Sku) -> {error, {not_found, Sku}}.

reserve(Wanted, Available) ->
    if
        Wanted =< Available -> {ok, Available - Wanted};
        Wanted =:= infinity -> {ok, 0}
    end.

count(Sku) ->
    [{Count}] = pgpool:query("select count(*) from stock where sku = $1", [Sku]),
    Count.

negative(Sku, Count) ->
    error_logger:error_report([{module, ?MODULE}, {problem, negative_stock}, {sku, Sku}, {count, Count}]).
