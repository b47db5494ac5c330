-module(shop_order_fsm).
-behaviour(gen_statem).
-export([start_link/1, init/1, callback_mode/0, open/3, paid/3]).

start_link(Order) -> gen_statem:start_link(?MODULE, Order, []).

callback_mode() -> state_functions.

init(Order) -> {ok, open, Order}.

open(cast, {pay, Amount}, #{due := Amount} = Order) -> {next_state, paid, Order};
open(cast, {pay, _}, _) -> keep_state_and_data;
open(cast, {ship, Carrier}, #{address := Address} = Order) -> {next_state, paid, Order#{to => {Carrier, Address}}}.

paid(cast, {ship, Carrier}, Order) -> {keep_state, Order#{carrier => Carrier}}.
