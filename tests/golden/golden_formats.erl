%% Formats and arguments made at random, and what this release makes text of.
%%
%% main([Seed, Count, Depth, Out]) writes to Out the external format, compressed, of
%% {Release, [{Format, Args, Many, One}]}: Many is what io_lib:format/2 returns, One what
%% logger_formatter prints on a single line. Where the format does not suit its arguments, Many is what
%% logger_formatter has instead. Maps in Args are written in the order in which they were printed.
%% Terms nest to Depth. Run with `+pc unicode'.
-module(golden_formats).
-export([main/1]).

main([Seed, Count, Depth, Out]) ->
    put(depth, list_to_integer(Depth)),
    _ = rand:seed(exsss, list_to_integer(Seed)),
    Release = list_to_integer(erlang:system_info(otp_release)),
    put(release, Release),
    Cases = cases(list_to_integer(Count)),
    ok = file:write_file(Out, term_to_binary({Release, Cases}, [{compressed, 9}])),
    halt(0).

cases(0) ->
    [];
cases(Left) ->
    {Format, Args} = pair(),
    Many = many(Format, Args),
    One = one(Format, Args),
    %% Characters that are none can't be shown.
    case is_binary(Many) andalso is_binary(One) of
        true -> [{Format, Args, Many, One} | cases(Left - 1)];
        false -> cases(Left)
    end.

many(Format, Args) ->
    Text =
        try
            io_lib:format(Format, Args)
        catch
            _:_ -> io_lib:format("FORMAT ERROR: ~tp - ~tp", [Format, Args])
        end,
    utf8(Text).

one(Format, Args) ->
    Event = #{level => error, msg => {Format, Args}, meta => #{}},
    try
        utf8(logger_formatter:format(Event, #{single_line => true, template => [msg]}))
    catch
        %% It folds with re, which wants UTF-8.
        error:_ -> none
    end.

utf8(Text) ->
    try
        unicode:characters_to_binary(Text)
    catch
        error:_ -> none
    end.

%% Formats ----------------------------------------------------------------------------------------

pair() ->
    Parts = [part() || _ <- lists:seq(1, below(4))],
    {Formats, Args} = lists:unzip(Parts),
    Format = lists:append(Formats),
    {Spoilt, All} =
        case [Own || Own <- ["*", "K"], string:find(Format, Own) =/= nomatch] of
            [] -> spoil(Format, lists:append(Args));
            %% A number in the place of another could ask for all memory there is; an order may not be looked at.
            _ -> {Format, lists:append(Args)}
        end,
    {as_format(Spoilt), All}.

%% Rarely something is wrong with it.
spoil(Format, Args) ->
    case below(40) of
        1 -> {Format ++ "~p", Args};
        2 -> {Format, [term(1) | Args]};
        3 -> {Format ++ [$~], Args};
        4 -> {Format ++ "~y", Args};
        5 when Args =/= [] -> {Format, [pick([foo, {a, b}, <<"x">>, [1, foo], #{}, 1.5]) | tl(Args)]};
        6 -> {Format, improper};
        7 -> {Format ++ pick(["~-p", "~-n", "~.*p", "~1.2s", "~3.5s", "~.1e", "~99B"]), Args};
        _ -> {Format, Args}
    end.

as_format(Format) ->
    case below(12) of
        1 -> bytes(Format);
        2 -> list_to_atom(lists:sublist(Format, 200));
        _ -> Format
    end.

bytes(Format) ->
    case lists:all(fun(C) -> C < 256 end, Format) of
        true -> list_to_binary(Format);
        false -> Format
    end.

part() ->
    case below(10) of
        1 -> {"~n", []};
        2 -> {"~~", []};
        3 -> {pick(["\t", "a\tb", "\n", "x,\n   y", "é", "\x{65e5}"]), []};
        4 -> {[$~] ++ width() ++ "n", []};
        5 -> {"~i", [term(1)]};
        _ -> control()
    end.

%% A control sequence, with literal text before and after it.
control() ->
    {Sequence, Args} = sequence(below(16)),
    Before = pick(["", "", "", "x ", "name: ", "** Reason == ", "    ", "\n  "]),
    After = pick(["", "", "", "\n", ", ", "."]),
    {Before ++ Sequence ++ After, Args}.

sequence(N) when N =< 6 ->
    {W, WA} = pretty_field(),
    {M, MA} = modifiers(),
    case below(4) of
        1 -> {"~" ++ W ++ M ++ "P", WA ++ MA ++ [term(depth()), pick([-1, 0, 1, 2, 3, 4, 5, 8, 12, 20])]};
        _ -> {"~" ++ W ++ M ++ "p", WA ++ MA ++ [term(depth())]}
    end;
sequence(N) when N =< 8 ->
    {W, WA} = field(),
    {M, MA} = modifiers(),
    case below(3) of
        1 -> {"~" ++ W ++ M ++ "W", WA ++ MA ++ [term(depth()), pick([-1, 0, 1, 2, 3, 4, 5, 8, 12])]};
        _ -> {"~" ++ W ++ M ++ "w", WA ++ MA ++ [term(depth())]}
    end;
sequence(N) when N =< 11 ->
    {W, WA} = text_field(),
    case below(2) of
        1 -> {"~" ++ W ++ "ts", WA ++ [chardata(3)]};
        _ -> {"~" ++ W ++ "s", WA ++ [iodata(3)]}
    end;
sequence(N) when N =< 13 ->
    {W, WA} = float_field(),
    {"~" ++ W ++ pick(["e", "f", "g"]), WA ++ [float_of()]};
sequence(14) ->
    {W, WA} = text_field(),
    C = pick(["c", "tc"]),
    {"~" ++ W ++ C, WA ++ [pick([$a, $b, 200, 256 + $c, 16#65e5])]};
sequence(_) ->
    {W, WA} = base_field(),
    case pick("bB+#xX") of
        C when C =:= $x; C =:= $X -> {"~" ++ W ++ [C], WA ++ [integer(), pick(["16#", "", 'Ox', [["0"], $x]])]};
        C -> {"~" ++ W ++ [C], WA ++ [integer()]}
    end.

modifiers() ->
    T = pick(["t", "t", "t", ""]),
    L = pick(["", "", "", "", "", "l"]),
    case get(release) >= 26 andalso below(8) of
        1 -> {T ++ L ++ "k", []};
        2 -> {T ++ L ++ "K", [pick([ordered, reversed])]};
        _ -> {T ++ L, []}
    end.

width() ->
    pick(["", "", "1", "3"]).

pretty_field() ->
    pick([
        {"", []}, {"", []}, {"", []}, {"", []}, {"0", []}, {"20", []}, {"40", []}, {"60", []},
        {"120", []}, {"*", [below(100)]}, {".5", []}, {"80.1", []}, {"30.20", []}, {"50.*", [below(60)]}, {"10", []}
    ]).

field() ->
    pick([{"", []}, {"", []}, {"", []}, {"10", []}, {"-20", []}, {"30.5", []}, {"*", [12]}, {"*", [-40]}, {"40..x", []}, {".8", []}]).

text_field() ->
    pick([
        {"", []}, {"", []}, {"", []}, {"10", []}, {"-10", []}, {"10.5", []}, {"-10.5", []}, {".4", []},
        {"*", [7]}, {"*.*", [9, 3]}, {"8..-", []}, {"8..*", [$+]}, {"5.5", []}, {"3.*", [3]}, {"0", []}
    ]).

float_field() ->
    pick([
        {"", []}, {"", []}, {".2", []}, {".3", []}, {".10", []}, {".25", []}, {"10.3", []}, {"-12.4", []},
        {"4", []}, {"12", []}, {"*.*", [10, 2]}, {".1", []}, {"20.4.0", []}
    ]).

base_field() ->
    pick([
        {"", []}, {"", []}, {".16", []}, {".2", []}, {".36", []}, {"10", []}, {"2..0", []}, {"-8.8", []},
        {"8.16.0", []}, {"*.*", [12, 7]}, {"4..0", []}
    ]).

depth() ->
    below(get(depth) + 1) - 1.

%% Terms ------------------------------------------------------------------------------------------

term(0) ->
    leaf();
term(Deepest) ->
    Depth = max(1, Deepest - below(2) + 1),
    case below(14) of
        N when N =< 2 -> list_to_tuple([plain_atom() | terms(Depth - 1, 5)]);
        3 -> list_to_tuple(terms(Depth - 1, 5));
        N when N =< 6 -> terms(Depth - 1, 6);
        N when N =< 8 -> maps:from_list([{key(Depth - 1), term(Depth - 1)} || _ <- lists:seq(1, below(5))]);
        9 when Depth > 2 -> maps:from_list([{key(0), leaf()} || _ <- lists:seq(1, 30 + below(10))]);
        10 -> terms(Depth - 1, 2) ++ pick([tail, 7, <<"end">>, {deep, 1}, "text"]);
        11 -> [{plain_atom(), term(Depth - 1)} || _ <- lists:seq(1, below(5))];
        12 -> record(Depth - 1);
        _ -> leaf()
    end.

%% A native record, of which only its bytes can be made here.
record(Depth) ->
    case get(release) >= 29 of
        true ->
            Fields = lists:usort([plain_atom() || _ <- lists:seq(2, below(5))]),
            Names = [bytes_of(Name) || Name <- [plain_atom(), plain_atom() | Fields]],
            Values = [bytes_of(term(Depth)) || _ <- Fields],
            binary_to_term(iolist_to_binary([131, 67, <<(length(Fields)):32>>, 0, Names, Values]));
        false ->
            leaf()
    end.

%% A term's bytes without the version.
bytes_of(Term) ->
    <<131, Bytes/binary>> = term_to_binary(Term),
    Bytes.

terms(Depth, Most) ->
    [term(Depth) || _ <- lists:seq(1, below(Most + 1) - 1)].

key(Depth) ->
    case below(6) of
        1 -> term(min(Depth, 2));
        2 -> leaf();
        _ -> plain_atom()
    end.

leaf() ->
    case below(24) of
        N when N =< 5 -> plain_atom();
        6 -> pick(['', 'Hello', 'hello world', 'a\'b', '\n', 'é', 'Å', '\x{65e5}\x{672c}', '_x', 'end', 'x@y', 'a-b', 'ÿ', '÷']);
        N when N =< 9 -> integer();
        10 -> float_of();
        N when N =< 14 -> text();
        N when N =< 18 -> binary();
        19 -> pick([<<>>, [], {}, #{}, ""]);
        20 -> pick([fun lists:map/2, fun 'A b':'C'/0, self(), hd(erlang:ports())]);
        21 -> fun() -> ok end;
        22 -> [below(300) - 1 || _ <- lists:seq(1, below(60))];
        23 -> [{a, 1}, b | pick([[], c])];
        _ -> list_to_atom(lists:flatten(io_lib:format("generated_atom_~w", [below(1000)])))
    end.

plain_atom() ->
    pick([a, ok, error, undefined, badmatch, name, gen_server, function_clause, some_longer_name, x1, true, 'Elixir.Task', normal]).

integer() ->
    case below(5) of
        1 -> below(1 bsl 80) - (1 bsl 79);
        2 -> below(1 bsl 40) - (1 bsl 39);
        3 -> -below(1000);
        _ -> below(1000)
    end.

float_of() ->
    Safe = [1.0, 0.1, -2.5, 0.001, 1.0e-4, 123.456, 3.141592653589793, 100.0, 99999.0, 1234567.891, 0.3, 9.995, 0.05, 1.5e-10, 1.0e10, 999.9999999],
    case get(release) >= 25 andalso below(4) of
        1 -> pick([1.0e22, 1.0e23, 9007199254740992.0, 9007199254740993.0, 1.0e100, -1.7976931348623157e308, 5.0e-324, 1.0e15, 123456789012345680.0]);
        2 -> rand:uniform() * math:pow(10, below(20) - 10);
        _ -> pick(Safe)
    end.

text() ->
    pick([
        "hello", "a", "some longer text that takes some room in a line", "tab\there", "quote\"d", "back\\slash",
        "line\nbreak", "é", "Grüße", [16#65e5, 16#672c], [16#65e5, $\s | "and more of it"], [1, 2, 3], [0], "\e[0m", [127], [160], [300, $a],
        "e" ++ [16#301], lists:duplicate(below(90), $z), [16#1F600], [16#D800], [16#FFFE]
    ]).

binary() ->
    case below(12) of
        N when N =< 4 -> unicode:characters_to_binary(text_of_characters());
        5 -> <<"latin \xe9\xff">>;
        %% No UTF-8 from the first byte on: what OTP 28 takes for some is told differently where it is cut off.
        6 -> << <<Byte>> || Byte <- [255 | [below(256) - 1 || _ <- lists:seq(1, below(80))]] >>;
        7 -> <<1, 2, 3>>;
        8 -> <<5:3>>;
        9 -> <<"abc", 1:1>>;
        10 -> <<"abc", 0>>;
        11 -> list_to_binary(lists:duplicate(below(200), $b));
        _ -> list_to_binary([lists:duplicate(10 + below(30), $p), 0, 1, 200])
    end.

text_of_characters() ->
    case text() of
        [16#D800] -> "no character";
        Text -> Text
    end.

iodata(0) ->
    pick(["iodata", <<"bytes">>, <<"Gr\xc3\xbc\xc3\x9fe">>, [200, 201], "", <<>>]);
iodata(Depth) ->
    case below(6) of
        1 -> pick([atom, 'Ünicode', '\x{65e5}', plain]);
        2 -> [iodata(0) | <<"tail">>];
        3 -> [iodata(Depth - 1), $\n, iodata(Depth - 1)];
        4 -> pick([16#65e5, [16#65e5], 12, {a, b}, #{}]);
        _ -> iodata(Depth - 1)
    end.

chardata(0) ->
    pick(["chars", <<"bytes">>, <<"Gr\xc3\xbc\xc3\x9fe">>, <<"bad \xff\xfe">>, [16#65e5, 16#672c, $a], "", [16#1F600], "e" ++ [16#301, 16#301, $x], "\r\n", [$\r, $\n, 16#65e5]]);
chardata(Depth) ->
    case below(6) of
        1 -> pick([atom, 'Ünicode', '\x{65e5}']);
        2 -> [chardata(0) | <<"tail">>];
        3 -> [chardata(Depth - 1), $,, $\n, $\s, chardata(Depth - 1)];
        4 -> pick([12, {a, b}, [x], <<1:3>>]);
        _ -> chardata(Depth - 1)
    end.

below(N) ->
    rand:uniform(N).

pick(List) ->
    lists:nth(below(length(List)), List).
