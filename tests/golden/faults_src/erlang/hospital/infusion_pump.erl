-module(infusion_pump).
-behaviour(gen_statem).
-export([start_link/1, init/1, callback_mode/0, idle/3, running/3]).

start_link(Pump) -> gen_statem:start_link(?MODULE, Pump, []).

callback_mode() -> state_functions.

init(Pump) -> {ok, idle, #{pump => Pump, rate => 0, given => 0}}.

idle(cast, {start, Rate}, Data) -> {next_state, running, Data#{rate := Rate}, [{state_timeout, 2, drop}]};
idle(cast, stop, _) -> keep_state_and_data.

%% Somebody forgot half of it.
running(state_timeout, drop, #{rate := Rate, given := Given} = Data) -> {ok, Data#{given := Given + Rate}};
running(cast, stop, Data) -> {next_state, idle, Data}.
