-module(bed_server).
-behaviour(gen_server).
-export([start_link/1, init/1, handle_call/3, handle_cast/2, handle_info/2]).
-record(state, {ward, beds = [], waiting = queue:new()}).

start_link({Ward, Beds}) -> gen_server:start_link(?MODULE, {Ward, Beds}, []).

init({Ward, Beds}) -> {ok, #state{ward = Ward, beds = Beds}}.

handle_call({assign, Mrn}, _From, #state{ward = Ward, beds = Beds} = State) ->
    {ok, Bed} = free(Ward, Beds),
    {reply, {ok, Bed}, State#state{beds = lists:keystore(Bed, 1, Beds, {Bed, Mrn})}}.

handle_cast({clean, Bed}, #state{beds = Beds} = State) ->
    {noreply, State#state{beds = lists:keydelete(Bed, 1, Beds)}}.

handle_info({discharged, Mrn}, #state{beds = Beds} = State) ->
    {noreply, State#state{beds = lists:keydelete(Mrn, 2, Beds)}}.

free(Ward, Beds) ->
    case [Bed || {Bed, none} <- Beds] of
        [Bed | _] -> {ok, Bed};
        [] -> {error, {no_free_bed, Ward, length(Beds)}}
    end.
