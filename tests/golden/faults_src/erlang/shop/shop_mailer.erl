-module(shop_mailer).
-export([receipt/1, deliver/2, footer/1]).
-include("log.hrl").

receipt(Order) ->
    Mail = shop_order:render_recipt(Order),
    {queued, Mail}.

deliver(Email, {bounced, Code}) ->
    ?LOG_ERROR("Mail to ~ts bounced with code ~b", [Email, Code]);
deliver(Email, {no_relay, Host}) ->
    ?LOG_ERROR("No relay at ~ts, ~ts waits", [Host, Email]).

footer(Names) ->
    [First | _] = lists:zip(Names, []),
    First.
