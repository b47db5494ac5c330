%% Writes one file per OTP release, otpNN.txt, of lines that the tests of src/etf read:
%%
%%   term HEX TEXT    term_to_binary/1, and the same term as ~0tp prints it
%%   ident HEX        the same for terms that have no text of their own, such as pids
%%   old HEX          the term above once more, in the oldest format that this release writes
%%   zip HEX          the term above once more, compressed
%%   order CHARS      each term against each later one: < > = (==, not =:=) e (=:=)
-module(golden_terms).
-export([main/1]).

main([Dir]) ->
    Release = erlang:system_info(otp_release),
    Terms = [{term, T} || T <- terms()] ++ [{ident, T} || T <- idents()],
    Lines = [line(Kind, Term) || {Kind, Term} <- Terms],
    File = filename:join(Dir, "otp" ++ Release ++ ".txt"),
    ok = file:write_file(File, unicode:characters_to_binary([Lines, order([T || {_, T} <- Terms])])),
    halt(0).

line(Kind, Term) ->
    Binary = term_to_binary(Term),
    Text =
        case Kind of
            term -> io_lib:format("term ~s ~0tp~n", [hex(Binary), Term]);
            ident -> io_lib:format("ident ~s~n", [hex(Binary)])
        end,
    Old = term_to_binary(Term, [{minor_version, 0}]),
    Zip = term_to_binary(Term, [compressed]),
    [
        Text,
        [["old ", hex(Old), $\n] || Old =/= Binary],
        [["zip ", hex(Zip), $\n] || <<131, 80, _/binary>> <- [Zip]]
    ].

hex(Binary) ->
    [io_lib:format("~2.16.0b", [Byte]) || <<Byte>> <= Binary].

order([]) ->
    [];
order(Terms) ->
    ["order ", rows(Terms), $\n].

rows([]) -> [];
rows([A | Rest]) -> [[relation(A, B) || B <- Rest] | rows(Rest)].

relation(A, B) when A =:= B -> $e;
relation(A, B) when A == B -> $=;
relation(A, B) when A < B -> $<;
relation(_, _) -> $>.

terms() ->
    integers() ++ floats() ++ atoms() ++ lists() ++ binaries() ++ maps() ++ compound().

integers() ->
    [0, 1, -1, 97, 255, 256, -255, 1000000, 134217727, -134217729, 2147483647, 2147483648,
        -2147483648, -2147483649] ++
        [S * ((1 bsl B) + D) || B <- [53, 59, 63, 64, 200, 2048], S <- [1, -1], D <- [-1, 0, 1]].

floats() ->
    [0.0, -0.0, 1.0, -1.0, 1.5, 0.1, 0.3, 100.0, 1.0e5, 123456.0, 1234567.891, 1.0e-5, 0.001,
        0.00123, 1.0e10, 1.0e15, 1.0e22, 1.0e23, 4503599627370496.0, 4503599627370497.5,
        9007199254740992.0, 9007199254740991.0, 9223372036854775808.0, -9223372036854775808.0,
        18446744073709551616.0, 1.7976931348623157e308, 5.0e-324, 2.2250738585072014e-308,
        3.141592653589793, -12.75, 123456789012345680.0, 256.0, 1.6069380442589903e60].

atoms() ->
    ['', a, abc, 'A', 'a b', 'end', 'fun', 'cond', nil, true, 'it\'s', 'a\\b', 'a\nb', 'a\x{0}b',
        'a\x{7f}b', '_a', '1a', a1, a_b, a@b, 'a-b', 'a.b', '\x{e5}\x{e4}', '\x{d7}', '\x{f7}',
        'a\x{f7}', 'a\x{c0}', '\x{430}', 'a\x{430}', '\x{1f600}', '\x{80}', list_to_atom(lists:duplicate(255, $x)),
        list_to_atom(lists:duplicate(255, 16#e9))].

lists() ->
    [[], [a], [1], [0], [1, 2, 3], [1 | 2], [a, b | c], [[]], [[[]], []], [[] | a], "abc", "a\"b",
        "a\\b'c", "tab\tnew\nline\r\v\b\f\e", [97, 127], [97, 128], [97, 160], [16#e5, 16#e4],
        [16#430], [16#1f600], [97, 16#d800], [97, 16#fffe], [97, 16#110000], [97, -1], [97, 98.0],
        [97, 98 | c], [97, 98 | 99], ["ab", "cd"], [a, "cd"], [300, 97], [1, 300], [97 | "bc"],
        lists:duplicate(300, 7), [1.0, 2, 3], [1, 2.0, 3], [1 bsl 70]].

binaries() ->
    [<<>>, <<0>>, <<1, 2, 3>>, <<"abc">>, <<"a\"b\\">>, <<"tab\tnew\n">>, <<"abc", 0>>, <<255>>,
        <<16#e5, 16#e4>>, <<"\x{e5}"/utf8>>, <<"\x{430}b"/utf8>>, <<16#80>>, <<16#c2, 16#80>>,
        <<16#ef, 16#bf, 16#be>>, <<1:1>>, <<0:1>>, <<1:3>>, <<5:7>>, <<1, 2:4>>, <<"abc", 1:3>>,
        <<255, 254:8, 127:7>>, <<1, 2>>, <<1, 3:4>>, <<97:9>>, binary:copy(<<"0123456789">>, 30)].

maps() ->
    [#{}, #{a => 1}, #{a => 2}, #{b => 1}, #{1 => a}, #{1.0 => a}, #{1 => b}, #{2 => a}, #{"k" => <<"v">>},
        #{1 => #{2 => #{3 => []}}}, #{a => 1, b => 2}, #{a => 1, b => 3}, #{a => 2, b => 1},
        #{a => 1, c => 1}, #{1 => 1, 1.0 => 2}, #{1 => 2, 1.0 => 1}, #{1 => 1, 2.0 => 1}, #{1.0 => 1, 2 => 1},
        #{a => 1.0}, #{{1, a} => 1}, #{{1.0, a} => 1}, #{[1] => 1}, #{#{1 => 2, 3 => 4} => a, x => 1},
        #{#{1.0 => 2, 3 => 4} => a, x => 1}, maps:from_list([{N, N * 1.0} || N <- lists:seq(1, 40)]),
        maps:from_list([{N, N} || N <- lists:seq(1, 40)]), maps:from_list([{N, N} || N <- lists:seq(2, 41)])].

compound() ->
    [{}, {a}, {1}, {1.0}, {a, b}, {a, {b, {c, {d, [e]}}}}, {ok, "text", <<"text">>, 1.0, #{}},
        {[], {}, #{}, <<>>, ''}, list_to_tuple(lists:seq(1, 300)), fun lists:map/2, fun 'A b':'C'/0,
        fun lists:map/3, fun erlang:'+'/2, {error, {badarg, [{erlang, hd, [[]], []}]}},
        {{2024, 2, 29}, {23, 59, 59}}, [{a, 1}, {b, "two"}, {c, [3, [4, [5]]]}],
        {error_report, group, {pid, progress, [{supervisor, {local, sup}}, {started, [{pid, none}]}]}}].

%% Built from bytes, so that every release has the same ones.
idents() ->
    [pid(Node, Id, Serial, Creation)
     || Node <- ["a@b", "b@b"], {Id, Serial} <- [{1, 0}, {1, 2}, {2, 1}], Creation <- [1, 2]] ++
        [port(Node, Id, 1) || Node <- ["a@b", "b@b"], Id <- [1, 2]] ++
        [reference(Node, Creation, Words)
         || Node <- ["a@b", "b@b"], Creation <- [1, 70000], Words <- [[1], [1, 2], [1, 2, 3], [2, 1, 3], [2, 2, 3]]] ++
        [local_fun(Module, Index, Uniq, Free)
         || Module <- ["m", "n"], Index <- [0, 1], Uniq <- [5, 70000], Free <- [[], [1], [1.0], [a, b]]] ++
        [{pid("a@b", 1, 0, 1), reference("a@b", 1, [1, 2, 3]), [port("a@b", 1, 1)]}].

pid(Node, Id, Serial, Creation) ->
    binary_to_term(<<131, 88, (atom(Node))/binary, Id:32, Serial:32, Creation:32>>).

port(Node, Id, Creation) ->
    binary_to_term(<<131, 89, (atom(Node))/binary, Id:32, Creation:32>>).

reference(Node, Creation, Words) ->
    Bytes = <<<<W:32>> || W <- Words>>,
    binary_to_term(<<131, 90, (length(Words)):16, (atom(Node))/binary, Creation:32, Bytes/binary>>).

local_fun(Module, Index, Uniq, Free) ->
    Vars = <<<<(rest(term_to_binary(V)))/binary>> || V <- Free>>,
    <<131, Pid/binary>> = term_to_binary(pid("a@b", 1, 0, 1)),
    Body = <<0, 0:128, Index:32, (length(Free)):32, (atom(Module))/binary,
        (rest(term_to_binary(Index)))/binary, (rest(term_to_binary(Uniq)))/binary, Pid/binary, Vars/binary>>,
    binary_to_term(<<131, 112, (byte_size(Body) + 4):32, Body/binary>>).

atom(Name) ->
    <<119, (length(Name)), (list_to_binary(Name))/binary>>.

rest(<<131, Rest/binary>>) -> Rest.
