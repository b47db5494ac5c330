-module(hl7_parse).
-export([message/1]).

message(Data) -> lists:foldl(fun segment/2, #{}, binary:split(Data, <<"\r">>, [global, trim])).

segment(<<"MSH|", Rest/binary>>, Message) -> Message#{head => fields(Rest)};
segment(<<"PID|", Rest/binary>>, Message) -> Message#{patient => patient(fields(Rest))};
segment(<<"OBX|", Rest/binary>>, Message) -> Message#{result => fields(Rest)}.

fields(Text) -> binary:split(Text, <<"|">>, [global]).

patient(Fields) ->
    [_Set, Mrn, Name, Born | _] = Fields,
    {Mrn, Name, Born}.
