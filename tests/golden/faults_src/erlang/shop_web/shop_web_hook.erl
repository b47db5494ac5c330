-module(shop_web_hook).
-export([deliver/2]).
-include("log.hrl").

deliver(Url, Status) when Status >= 500 ->
    ?LOG_ERROR(#{what => webhook_failed, url => Url, status => Status});
deliver(Url, Status) ->
    ?LOG_ERROR(#{what => webhook_rejected, url => Url, status => Status, disabled => true}).
