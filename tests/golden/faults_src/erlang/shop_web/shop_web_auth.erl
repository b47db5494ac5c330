-module(shop_web_auth).
-export([login/2, unpaid/3]).

%% Texts that are ready made when logger gets them.
login(Email, Address) ->
    logger:error(lists:flatten(io_lib:format("Login of ~s from ~s failed: too many attempts", [Email, Address]))).

unpaid(Order, Email, Amount) ->
    Parts = [<<"Order ">>, integer_to_binary(Order), <<" of ">>, Email, <<" is unpaid: EUR ">>, Amount],
    logger:error(#{msg => unpaid, text => Parts}, #{report_cb => fun(#{text := Text}) -> {"~ts", [Text]} end}),
    logged.
