-module(rx_server).
-behaviour(gen_server).
-export([start_link/1, init/1, handle_call/3, handle_cast/2]).
-include("log.hrl").

start_link(Pharmacy) -> gen_server:start_link(?MODULE, Pharmacy, []).

init(Pharmacy) -> {ok, #{pharmacy => Pharmacy, open => #{}}}.

handle_call({check, Patient, Drug}, _From, State) ->
    {reply, not allergic(Patient, Drug), State}.

%% Says what went wrong, and lets it go wrong.
handle_cast({dispense, Drug, Packs}, #{pharmacy := Pharmacy} = State) ->
    try
        {noreply, State#{open := #{Drug => dispense(Drug, Packs)}}}
    catch
        Class:Reason:Trace ->
            ?LOG_ERROR("~ts could not dispense ~b packs of ~ts: ~p:~p~n~p", [Pharmacy, Packs, Drug, Class, Reason, Trace]),
            erlang:raise(Class, Reason, Trace)
    end.

allergic(Patient, Drug) ->
    Allergies = maps:get(allergies, Patient),
    lists:member(Drug, Allergies).

dispense(Drug, Packs) ->
    {ok, Slot} = robot(Drug, Packs),
    Slot.

robot(Drug, Packs) -> {error, {drawer_blocked, Packs rem 12, Drug}}.
