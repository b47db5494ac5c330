-module(wristband).
-export([print/3]).

print(Printer, Name, Mrn) ->
    Text = io_lib:format("^XA^FO20,20^FD~s^FS^BC~8..0w^XZ", [Name, Mrn]),
    {Printer, Text}.
