%% Whoever wants to know of a trip; none disturbs another.
-module(fleet_hooks).
-export([run/2]).
-include("log.hrl").

run(Handlers, Trip) ->
    [
        try
            Handler:trip_ended(Trip)
        catch
            Class:Reason:Trace ->
                ?LOG_ERROR(#{
                    what => hook_failed,
                    text => "Error running hook",
                    hook => trip_ended,
                    trip => Trip,
                    class => Class,
                    reason => Reason,
                    stacktrace => Trace
                })
        end
     || Handler <- Handlers
    ].
