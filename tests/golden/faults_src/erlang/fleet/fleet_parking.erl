-module(fleet_parking).
-behaviour(gen_server).
-export([start_link/1, init/1, handle_call/3, handle_cast/2]).
-record(lot, {name, free = 0, cars = []}).
-record(ticket, {car, minutes}).

start_link(Name) -> gen_server:start_link(?MODULE, Name, []).

init(Name) -> {ok, #lot{name = Name}}.

handle_call(_, _, Lot) -> {reply, ok, Lot}.

handle_cast({enter, Car}, #lot{cars = Cars} = Lot) ->
    {noreply, Lot#lot{cars = [Car | Cars]}};
handle_cast({leave, Car}, #lot{cars = Cars} = Lot) ->
    Due = due(Car),
    {noreply, Lot#lot{cars = [{Car, Due} | Cars]}}.

due(Ticket) -> 2 * Ticket#ticket.minutes + Ticket#ticket.car.
