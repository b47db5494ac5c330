%% A handler of requests.
-module(fleet_track).
-export([handle/1]).

handle(#{method := post, body := Body}) ->
    ok = fields(Body),
    created;
handle(#{method := get, query := Query}) ->
    Since = binary_to_integer(proplists:get_value(<<"since">>, Query)),
    {from, Since}.

fields(Body) ->
    case [Field || Field <- [car, lat, long], not maps:is_key(Field, Body)] of
        [] -> ok;
        Missing -> error({missing_fields, #{missing => Missing, body => Body, hint => "see the API"}})
    end.
