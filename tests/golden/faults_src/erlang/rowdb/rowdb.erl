%% Transactions: what fails aborts them.
-module(rowdb).
-export([transaction/1, read/2]).

transaction(Fun) ->
    try
        {atomic, Fun()}
    catch
        error:Reason:Trace -> {aborted, {Reason, Trace}};
        exit:Reason -> {aborted, Reason}
    end.

read(_Table, _Key) -> [].
