%% What is to be done while everybody sleeps. An error of one is none of the others.
-module(night_jobs).
-export([run/1]).

run(Jobs) ->
    lists:foreach(
        fun({Module, Args}) ->
            case catch apply(Module, run, Args) of
                {'EXIT', Why} -> error_logger:error_msg("night job ~w ~p failed: ~p~n", [Module, Args, Why]);
                _ -> ok
            end
        end,
        Jobs
    ).
