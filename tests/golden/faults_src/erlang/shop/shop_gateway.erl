-module(shop_gateway).
-behaviour(gen_server).
-export([start_link/1, init/1, handle_call/3, handle_cast/2, handle_info/2]).

start_link(Host) -> gen_server:start_link(?MODULE, Host, []).

init(Host) -> {ok, #{host => Host, sent => 0}}.

handle_call(_, _, State) -> {reply, ok, State}.

handle_cast(_, State) -> {noreply, State}.

%% Two ways to lose it: who is called at night has to do different things.
handle_info({tcp_error, _, Reason}, State) -> {stop, {tcp_error, Reason}, State};
handle_info({tls_alert, Alert}, #{host := Host} = State) -> {stop, {tls_alert, Alert, Host}, State}.
