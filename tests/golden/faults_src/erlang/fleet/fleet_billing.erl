-module(fleet_billing).
-export([charge/2, close/2]).

charge(Customer, Amount) ->
    Account = fleet_util:must(account(Customer)),
    {Account, Amount}.

account(Customer) -> {error, {not_found, Customer}}.

close(Contract, Month) ->
    Trips = fleet_util:must(trips(Contract, Month)),
    {closed, Month, Trips}.

trips(Contract, _) -> {error, {not_found, Contract}}.
