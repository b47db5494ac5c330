-module(ward_board).
-export([render/2]).

render(Ward, Rows) ->
    Json = jsnx:encode([{ward, Ward}, {rows, Rows}]),
    {200, [{"content-type", "application/json"}], Json}.
