-module(fleet_tracker).
-behaviour(gen_statem).
-export([start_link/1, init/1, callback_mode/0, handle_event/4]).
-record(car, {id, place, polls = 0, owner = none}).

start_link(Id) -> gen_statem:start_link(?MODULE, Id, []).

callback_mode() -> [handle_event_function, state_enter].

init(Id) -> {ok, driving, #car{id = Id}}.

handle_event(enter, _, _, _) ->
    keep_state_and_data;
handle_event(cast, park, driving, Car) ->
    {next_state, {parked, Car#car.id}, Car, [{state_timeout, 2, silent}, {{timeout, poll}, 60000, again}]};
handle_event(state_timeout, silent, {parked, Id}, #car{polls = Polls} = Car) ->
    {ok, Place} = poll(Id),
    {keep_state, Car#car{place = Place, polls = Polls + 1}}.

poll(Id) -> {error, {modem_asleep, Id}}.
