-module(admission).
-behaviour(gen_server).
-export([start_link/1, init/1, handle_call/3, handle_cast/2]).

start_link(Desk) -> gen_server:start_link(?MODULE, Desk, []).

init(Desk) -> {ok, {Desk, []}}.

handle_call(_, _, State) -> {reply, ok, State}.

handle_cast({arrived, Mrn}, {Desk, Arrived}) ->
    Patient = patient_index:find(Mrn),
    {noreply, {Desk, [Patient | Arrived]}}.
