-module(fleet_gps_sup).
-behaviour(supervisor).
-export([start_link/1, init/1]).

start_link(What) -> supervisor:start_link(?MODULE, What).

init(all) ->
    {ok, {#{strategy => rest_for_one}, [
        #{id => fleet_gps_sources, start => {?MODULE, start_link, [sources]}, type => supervisor}
    ]}};
init(sources) ->
    {ok, Host} = application:get_env(fleet_gps, host),
    {ok, {#{strategy => one_for_one}, [
        #{id => fleet_gps_source, start => {fleet_gps_source, start_link, [Host, 2947]}}
    ]}}.
