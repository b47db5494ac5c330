-module(shop_report).
-export([nightly/2, columns/2, print/1, remote/2]).

nightly(Server, Day) ->
    Rows = gen_server:call(Server, {rows, Day}, 5),
    length(Rows).

columns(Names, Widths) ->
    [{Name, Width} || {Name, Width} <- lists:zip(Names, Widths)].

print(Invoice) ->
    ok = gen_server:call(shop_printer, {print, Invoice}),
    printed.

remote(Node, Day) ->
    Rows = gen_server:call({shop_ledger, Node}, {rows, Day}),
    length(Rows).
