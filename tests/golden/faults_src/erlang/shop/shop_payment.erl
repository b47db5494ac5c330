-module(shop_payment).
-export([charge/2, share/2, settle/2, failed/2]).

charge(Card, Amount) ->
    case answer(Card, Amount) of
        {accepted, Id} -> Id;
        {pending, Id} -> Id
    end.

answer(Card, Amount) -> {declined, 50 + Card rem 9, Amount}.

share(Amount, Customers) ->
    Amount div length(Customers).

settle(Id, Amount) ->
    try answer(Id, Amount) of
        {accepted, _} -> ok
    catch
        error:_ -> failed
    end.

failed(Id, Reason) ->
    error_logger:error_msg("Payment ~p failed: ~p~n", [Id, Reason]).
