%% Searches for longer than anybody waits.
-module(patient_index).
-behaviour(gen_server).
-export([start_link/1, find/1, init/1, handle_call/3, handle_cast/2]).

start_link(Index) -> gen_server:start_link({local, ?MODULE}, ?MODULE, Index, []).

find(Mrn) -> gen_server:call(?MODULE, {find, Mrn}, 5).

init(Index) -> {ok, Index}.

handle_call({find, _}, _From, Index) -> {noreply, Index}.

handle_cast(_, Index) -> {noreply, Index}.
