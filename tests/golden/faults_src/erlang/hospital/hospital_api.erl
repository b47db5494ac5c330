-module(hospital_api).
-export([ask/2, handle/2, handle_event/3]).

%% The process that a request runs in: it survives what it asks for.
ask(Server, Request) ->
    case catch gen_server:call(Server, Request) of
        {'EXIT', _} -> {500, Request};
        Answer -> {200, Answer}
    end.

handle(#{method := 'GET', path := [<<"wards">>, Ward, <<"beds">>, Bed]}, _) ->
    {200, [{ward, Ward}, {bed, bed(Bed)}]};
handle(#{method := 'POST', path := [<<"patients">>, Mrn, <<"notes">>], body := Body}, _) ->
    {ok, Patient} = patient(Mrn),
    {201, [{patient, Patient}, {note, Body}]}.

bed(Text) -> binary_to_integer(Text).

patient(Mrn) -> {error, {merged_into, <<"M", Mrn/binary>>}}.

handle_event(request_error, [#{method := Method, path := Path}, Exception, Trace], _) ->
    error_logger:error_msg(
        "~s /~s failed~nException: ~p~nStacktrace: ~p~n",
        [Method, lists:join("/", Path), Exception, Trace]
    ).
