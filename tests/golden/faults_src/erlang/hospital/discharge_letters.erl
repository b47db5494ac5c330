-module(discharge_letters).
-export([run/2]).

run(Mrn, Doctor) ->
    {ok, Letter} = template(Doctor),
    {Mrn, Letter}.

template(Doctor) -> {error, {no_signature, Doctor}}.
