%% Tables as mnesia has them.
-module(tabledb).
-export([dirty_read/2]).

dirty_read(Table, Key) ->
    case ets:info(Table, size) of
        undefined -> abort({no_exists, [Table, Key]});
        _ -> ets:lookup(Table, Key)
    end.

abort(Reason) -> exit({aborted, Reason}).
