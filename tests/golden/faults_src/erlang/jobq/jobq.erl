%% A queue that runs the jobs of others.
-module(jobq).
-export([run/1, await/1]).

%% What a job did wrong is told by the job and a reason; its stack trace is lost.
run({M, F, A}) ->
    try
        apply(M, F, A)
    catch
        _:Reason -> exit({job_failed, {M, F, A}, Reason})
    end.

await(Ticket) ->
    case erlang:phash2(Ticket) of
        Hash when is_integer(Hash) -> error({stalled, Ticket})
    end.
