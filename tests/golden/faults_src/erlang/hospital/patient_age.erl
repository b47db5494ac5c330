-module(patient_age).
-export([years/2]).

years(Born, Today) ->
    Days = calendar:date_to_gregorian_days(Today) - calendar:date_to_gregorian_days(date(Born)),
    Days div 365.

date(<<Year:4/binary, Month:2/binary, Day:2/binary>>) ->
    {binary_to_integer(Year), binary_to_integer(Month), binary_to_integer(Day)}.
