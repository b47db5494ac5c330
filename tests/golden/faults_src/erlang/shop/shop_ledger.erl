-module(shop_ledger).
-behaviour(gen_server).
-export([start_link/1, init/1, handle_call/3, handle_cast/2, handle_info/2]).

start_link(Book) -> gen_server:start_link(?MODULE, Book, []).

init(Book) -> {ok, Book}.

handle_call({book, Amount}, _, Book) -> {reply, ok, [Amount | Book]}.

handle_cast(_, Book) -> {noreply, Book}.

handle_info({write, _}, Book) -> exit({db, {serialization_failure, length(Book)}});
handle_info(audit, _) -> exit(unbalanced).
