%% A client of PostgreSQL.
-module(epgc).
-export([equery/4]).

equery(Conn, Sql, Params, Timeout) ->
    case gen_server:call(Conn, {equery, Sql, Params}, Timeout) of
        {ok, _} = Ok -> Ok;
        {error, _} = Error -> Error
    end.
