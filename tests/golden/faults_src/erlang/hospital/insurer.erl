-module(insurer).
-export([eligible/2, claim/3]).

eligible(Mrn, Date) ->
    {ok, 200, _, Body} = webcall:request(get, ["/v2/eligibility/", Mrn, "?on=", Date], <<>>),
    Body.

claim(Mrn, Code, Amount) ->
    Body = io_lib:format("{\"mrn\":\"~ts\",\"code\":\"~ts\",\"amount\":~ts}", [Mrn, Code, Amount]),
    case webcall:request(post, "/v2/claims", Body) of
        {ok, 201, _, _} -> ok;
        {ok, 409, _, _} -> known
    end.
