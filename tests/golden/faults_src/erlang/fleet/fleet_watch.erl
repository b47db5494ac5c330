-module(fleet_watch).
-export([silent/3, backup/2, sms/3, charger/3]).
-include("log.hrl").

%% Texts that begin with data.
silent(Owner, Silent, All) ->
    logger:error(lists:concat([Silent, " of ", All, " vehicles of ", binary_to_list(Owner), " did not report today"])).

backup(Path, Seconds) ->
    error_logger:error_msg(lists:concat(["/srv/backup/", Path, ": backup took ", Seconds, " s, more than allowed~n"])).

%% Not every report has all keys.
sms(Number, Carrier, Retry) ->
    Report = #{message => "sms not sent", to => Number},
    More = maps:from_list([{carrier, Carrier} || Carrier =/= none] ++ [{retry_after, Retry} || Retry > 0]),
    ?LOG_ERROR(maps:merge(Report, More)).

charger(Station, Connector, Code) ->
    error_logger:error_report(charger_fault, [{station, Station}, {connector, Connector}, {code, Code}, "needs service"]).
