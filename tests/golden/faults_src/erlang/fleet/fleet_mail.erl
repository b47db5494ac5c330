-module(fleet_mail).
-export([relay/1]).

relay(Config) ->
    Port = fleet_config:number(smtp_port, Config),
    {proplists:get_value(smtp_host, Config, "localhost"), Port}.
