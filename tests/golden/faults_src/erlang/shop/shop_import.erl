-module(shop_import).
-export([row/2, run/2, all/1]).

row(Number, Fields) ->
    case length(Fields) of
        4 -> Fields;
        _ -> error({bad_row, Number, Fields})
    end.

run(File, Rows) ->
    Bad = [Row || Row <- Rows, Row > 0],
    exit({import_failed, File, Bad}).

%% Its workers are linked to it; the first that dies takes it along.
all(Rows) ->
    [spawn_link(?MODULE, row, [Number, Row]) || {Number, Row} <- Rows],
    receive
        done -> ok
    end.
