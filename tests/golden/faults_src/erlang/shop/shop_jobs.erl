%% What runs in the queue of jobs.
-module(shop_jobs).
-export([invoice/1, thumbnail/2, sync/1, export/1, resize/2, remind/1]).

%% Both fail alike, and only the queue knows of it.
invoice(Order) -> late(Order).

thumbnail(File, _Size) -> late(File).

late(What) ->
    _ = erlang:phash2(What),
    exit(timeout).

%% The queue raises in these processes.
sync(Ticket) -> jobq:await(Ticket).

export(Ticket) -> jobq:await(Ticket).

%% These fail in a server of the queue's.
resize(File, Size) ->
    [Width, Height] = string:split(Size, "x"),
    {File, Width, Height}.

remind(Customer) -> {error, {no_email, Customer}}.
