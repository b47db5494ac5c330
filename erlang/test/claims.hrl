%% The assertions of eunit that the tests use. The tests are eunit tests (`NAME_test_/0' in eunit's
%% representation), but eunit is a package of its own in some distributions, and `run-tests' must
%% work with nothing but erl and erlc.
-define(assert(Expr), ?assertEqual(true, Expr)).
-define(assertEqual(Expected, Expr),
    (fun(X__, Y__) ->
        X__ =:= Y__ orelse
            error({assertEqual, [{line, ?LINE}, {expression, ??Expr}, {expected, X__}, {value,
                Y__}]})
    end)(Expected, Expr)
).
-define(assertMatch(Guarded, Expr),
    (fun(V__) ->
        case V__ of
            Guarded -> ok;
            _ -> error({assertMatch, [{line, ?LINE}, {pattern, ??Guarded}, {value, V__}]})
        end
    end)(Expr)
).
