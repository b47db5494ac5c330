%% Answers what ets makes of match specifications and events.
%%
%% The file In holds [{Spec, [Event]}]; to Out goes {Release, [badarg | [[] | [Result]]]}, in that order.
-module(match_oracle).
-export([main/1]).

main([In, Out]) ->
    {ok, Questions} = file:read_file(In),
    Answers = [answer(Spec, Events) || {Spec, Events} <- binary_to_term(Questions)],
    Release = list_to_integer(erlang:system_info(otp_release)),
    ok = file:write_file(Out, term_to_binary({Release, Answers})),
    halt(0).

answer(Spec, Events) ->
    try ets:match_spec_compile(Spec) of
        Compiled -> [ets:match_spec_run([Event], Compiled) || Event <- Events]
    catch
        error:badarg -> badarg
    end.
