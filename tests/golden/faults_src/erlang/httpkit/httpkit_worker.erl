%% Serves requests, and tells the callbacks' module of what went wrong.
-module(httpkit_worker).
-export([serve/2]).

serve(Request, {Callback, Args}) ->
    {Status, _} = handle(Request, Callback, Args),
    Status.

handle(Request, Callback, Args) ->
    try
        Callback:handle(Request, Args)
    catch
        throw:{Status, Body} when is_integer(Status) ->
            {Status, Body};
        _:Exception:Trace ->
            Callback:handle_event(request_error, [Request, Exception, Trace], Args),
            {500, <<"Internal server error">>}
    end.
