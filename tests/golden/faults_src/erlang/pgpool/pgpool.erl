%% A pool of database connections that raises on behalf of who asks. How it fails, the recorder says.
-module(pgpool).
-export([query/2]).

query(Sql, Params) ->
    case pgpool_conn:run(Sql, Params) of
        {ok, Rows} -> Rows;
        {error, timeout} -> exit({timeout, {pgpool, query, [Sql, Params, 15000]}});
        {error, {Code, Text}} -> error({pgpool_error, #{code => Code, message => Text, sql => Sql, params => Params}})
    end.
