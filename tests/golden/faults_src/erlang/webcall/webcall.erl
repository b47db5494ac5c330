%% A client of HTTP, whose servers answer what Application's environment has.
-module(webcall).
-export([request/3]).

request(_Method, _Path, _Body) ->
    application:get_env(webcall, failing, {error, nxdomain}).
