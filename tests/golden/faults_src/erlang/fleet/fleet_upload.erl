-module(fleet_upload).
-behaviour(gen_server).
-export([start_link/2, init/1, handle_call/3, handle_cast/2]).
-record(upload, {car, name, parts, started = false}).

start_link(Car, Name) -> gen_server:start_link(?MODULE, {Car, Name}, []).

init({Car, Name}) -> {ok, #upload{car = Car, name = Name}}.

handle_call(start, _, Upload) -> {reply, ok, Upload#upload{parts = #{}, started = true}}.

%% A part that comes before the start.
handle_cast({part, Number, Bytes}, #upload{parts = Parts} = Upload) ->
    {noreply, Upload#upload{parts = Parts#{Number => Bytes}}}.
