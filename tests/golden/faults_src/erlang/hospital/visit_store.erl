-module(visit_store).
-export([history/2, admit/3]).

history(Conn, Mrn) ->
    {ok, Rows} = epgc:equery(Conn, "SELECT * FROM visits WHERE mrn = $1 ORDER BY since", [Mrn], 5),
    {history, Rows}.

admit(Conn, Mrn, Ward) ->
    {ok, 1} = epgc:equery(Conn, "INSERT INTO visits (mrn, ward) VALUES ($1, $2)", [Mrn, Ward], 5000),
    admitted.
