%% A request runs in a process of its own; the process of its connection says that it failed, once more.
-module(weblib_stream).
-export([connection/3, request/2]).

connection(Listener, Handler, Request) ->
    process_flag(trap_exit, true),
    Pid = proc_lib:spawn_link(?MODULE, request, [Handler, Request#{pid => self()}]),
    receive
        {'EXIT', Pid, {Reason, Trace}} ->
            error_logger:error_msg(
                "Listener ~p, connection ~p, stream ~p: request process ~p exited with reason ~999999p"
                " and stacktrace ~999999p~n",
                [Listener, self(), maps:get(stream, Request), Pid, Reason, Trace]
            );
        {'EXIT', Pid, _} ->
            ok
    end.

request(Handler, Request) ->
    try
        Handler:handle(Request)
    catch
        exit:Reason:Trace -> erlang:raise(exit, {Reason, Trace}, Trace)
    end.
