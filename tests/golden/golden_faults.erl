%% A corpus for what keeps reports of the same bug together and those of others apart.
%%
%% main([Sources, Work, Out]) makes the programs of Sources/erlang fail, bug after bug and several times each, and writes
%% to Out the external format, compressed, of {Release, Applications, Reports}:
%% Applications is [{App, Vsn, IsDependency, [Module]}], Reports is [{Bug, Episode, Millis, Event}] in the order in
%% which they came, with the name of the bug, a number of this one death or logging, and the time since the start.
%% An episode's number is 101 * Round + N; rounds 1 to 3 are of the first compile, 4 and 5 of the second, in 6 and 7 many
%% die at once. More bugs have rounds of their own, 11 to 13 and 14 and 15, for a round has room for 101; those of the
%% hospital 21 to 23 and 24 and 25, below a supervisor of their own.
%% golden_faults.exs does the same for Elixir, without storms and more bugs, by start/0, rounds/3, below/2 and finish/2.
%%
%% To add a bug: write what fails into Sources, a line into more_bugs/0, and one into faults/bugs.txt.
%% Needs our two handlers on the code path; run with `+pc unicode'.
-module(golden_faults).
-export([main/1, start/0, rounds/3, finish/2, log/2, golden_flush/0]).
%% Of use to golden_faults.exs, too.
-export([dies/3, crashes/3, child/3, no_start/2, no_start/3, slow/2, failing/2, down/1]).
-export([num/1, name/1, text/1, email/1, amount/1, sku/1, file/1, seq/1, order/1, heavy/1]).
-export([below/2, uuid/1, serial/1, day/1, stamp/1, peer/1, kelvin/1]).

-define(DEPENDENCIES, [
    pgpool, jsonlib, jobq, listn, weblib, jsonc, tabledb, epgc, webcall, jsnx, hopper, httpkit, rowdb
]).
-define(VERSION, "1.4.0").

%% Bugs of servers that are not called, each of another module.
-define(TOGETHER, [
    stock_unknown_cast,
    feed_json,
    ledger_exit,
    gateway_reset,
    order_fsm_clause,
    delivery_moved,
    job_resize,
    pool_decode,
    worker_killed
]).

main([Sources, Work, Out]) ->
    try
        record(Sources, Work, Out),
        halt(0)
    catch
        %% Nobody else would say so.
        Class:Reason:Trace ->
            io:format("~p~n", [{Class, Reason, Trace}]),
            halt(1)
    end.

record(Sources, Work, Out) ->
    ok = start(),
    _ = load(Sources, Work, 1),
    {ok, _} = shop_sup:start_link(1000),
    ok = rounds(bugs(), 1, [logger, manager, bare]),
    ok = rounds(more_bugs(), 11, [logger, manager, bare]),
    {ok, _} = hospital_sup:start_link(1000),
    ok = below(hospital_sup, fun() -> rounds(hospital_bugs(), 21, [logger, manager, bare]) end),
    %% The same programs once more: other lines, other numbers of funs, other paths of files.
    Applications = load(Sources, Work, 2),
    ok = rounds(bugs(), 4, [logger, manager]),
    ok = rounds(more_bugs(), 14, [logger, manager]),
    ok = below(hospital_sup, fun() -> rounds(hospital_bugs(), 24, [logger, manager]) end),
    ok = storms(bugs(), 6, [logger, manager]),
    finish(Out, Applications).

%% The bugs ---------------------------------------------------------------------------------------

%% What fails, with data that N makes: it returns when the process that fails is gone.
bugs() ->
    [
        {price_file_missing, fun(N) ->
            failing(shop, enoent),
            crashes(shop_prices, read, [file(N)])
        end},
        {price_file_forbidden, fun(N) ->
            failing(shop, eacces),
            crashes(shop_prices, read, [file(N)])
        end},
        {price_line, fun(N) -> crashes(shop_prices, import, [[<<(sku(N))/binary, ";">>]]) end},
        {stock_row_missing, fun(N) -> crashes(shop_stock, find, [sku(N)]) end},
        {stock_reserve_if, fun(N) -> dies(shop_stock, reserve, [num(N), N rem 7]) end},
        {stock_unknown_cast, fun(N) -> child(shop_stock, stock(N), {cast, {recieved, sku(N), num(N)}}) end},
        {stock_available_badkey, fun(N) -> child(shop_stock, stock(N), {call, {available, name(N)}}) end},
        {payment_case, fun(N) -> crashes(shop_payment, charge, [N, amount(N)]) end},
        {payment_share_by_zero, fun(N) -> dies(shop_payment, share, [num(N), []]) end},
        {payment_settle_try, fun(N) -> crashes(shop_payment, settle, [num(N), amount(N)]) end},
        {cart_total_clause, fun(N) -> crashes(shop_cart, total, [[{sku(N), num(N)} | N]]) end},
        {cart_add_fun_clause, fun(N) -> child(shop_cart, cart(N), {call, {add, items(N) ++ [#{sku => sku(N)}]}}) end},
        {cart_discount_by_zero, fun(N) -> child(shop_cart, cart(N), {call, {discount, 0}}) end},
        {cart_zip, fun(N) -> crashes(shop_cart, paired, [[sku(N), sku(N + 1)], [num(N)]]) end},
        {report_zip, fun(N) -> crashes(shop_report, columns, [[name(N)], [N, num(N)]]) end},
        {mailer_zip, fun(N) -> dies(shop_mailer, footer, [[name(N)]]) end},
        {quantity_not_a_number, fun(N) -> crashes(shop_http, quantity, [name(N)]) end},
        {page_not_a_number, fun(N) -> crashes(shop_web_params, page, [[{<<"page">>, name(N)}]]) end},
        {filter_no_atom, fun(N) -> dies(shop_web_params, filters, [[{sku(N), N}]]) end},
        {cache_no_table, fun(N) -> crashes(shop_cache, get, [sku(N)]) end},
        {order_customer_badkey, fun(N) -> crashes(shop_order, customer, [order(N)]) end},
        {order_address_badkey, fun(N) -> crashes(shop_order, invoice_address, [order(N)]) end},
        {order_grams_clause, fun(N) ->
            crashes(shop_order, weight, [#{items => [{sku(N), num(N)}, {sku(N), heavy(N)}]}])
        end},
        {mailer_undef_function, fun(N) -> crashes(shop_mailer, receipt, [order(N)]) end},
        {cart_undef_module, fun(N) -> crashes(shop_cart, track, [cart(N), num(N)]) end},
        {hook_badfun, fun(N) -> dies(shop_hooks, run, [sku(N), order(N)]) end},
        {hook_badarity, fun(N) -> crashes(shop_hooks, each, [[fun lists:map/2], order(N)]) end},
        {router_nocatch, fun(N) -> crashes(shop_web_router, dispatch, [get, "/" ++ file(N)]) end},
        {router_method_clause, fun(N) -> crashes(shop_web_router, method, [#{method => sku(N)}]) end},
        {api_answer_case, fun(N) -> dies(shop_web_api, answer, [order(N), {refused, N}]) end},
        {session_bad_return, fun(N) -> child(shop_session, name(N), {call, {touch, N}}) end},
        {session_throw, fun(N) -> child(shop_session, name(N), {call, {logout, name(N + 1)}}) end},
        {session_terminate, fun(N) -> child(shop_session, name(N), {cast, {expire, N}}) end},
        {feed_unknown_info, fun(N) -> child(shop_feed, file(N), {info, unknown(N)}) end},
        {feed_json, fun(N) -> child(shop_feed, file(N), {cast, {parse, text(N)}}) end},
        {api_json, fun(N) -> crashes(shop_web_api, body, [#{body => text(N)}]) end},
        {listener_init_stop, fun(N) -> no_start(shop_listener, 8000 + N) end},
        {db_init_crash, fun(N) -> no_start(shop_db, "db" ++ integer_to_list(N)) end},
        {ledger_exit, fun(N) -> child(shop_ledger, seq(N), {info, {write, num(N)}}) end},
        {ledger_unbalanced, fun(N) -> child(shop_ledger, seq(N), {info, audit}) end},
        {gateway_reset, fun(N) -> child(shop_gateway, host(N), {info, {tcp_error, N, econnreset}}) end},
        {gateway_certificate, fun(N) -> child(shop_gateway, host(N), {info, {tls_alert, certificate_expired}}) end},
        {checkout_pricing_timeout, fun(N) ->
            slow(shop_pricing, fun() -> child(shop_checkout, cart(N), {info, {quote, [sku(N), N]}}) end)
        end},
        {report_pricing_timeout, fun(N) ->
            slow(shop_pricing, fun() -> crashes(shop_report, nightly, [shop_pricing, N]) end)
        end},
        {report_archive_timeout, fun(N) ->
            slow(shop_archive, fun() -> crashes(shop_report, nightly, [shop_archive, N]) end)
        end},
        {report_printer_noproc, fun(N) -> crashes(shop_report, print, [order(N)]) end},
        {report_nodedown, fun(N) -> crashes(shop_report, remote, [list_to_atom("ledger@" ++ host(N)), N]) end},
        {order_fsm_clause, fun(N) -> child(shop_order_fsm, order(N), {cast, {ship, name(N)}}) end},
        {delivery_moved, fun(N) -> child(shop_delivery, order(N), {cast, {moved, {N, N + num(N)}}}) end},
        {delivery_lost, fun(N) -> child(shop_delivery, order(N), {info, {lost, {N, num(N)}}}) end},
        {audit_handler, fun(N) ->
            {ok, Manager} = gen_event:start({local, shop_events}),
            ok = gen_event:add_handler(Manager, shop_audit, file(N)),
            ok = gen_event:sync_notify(Manager, {login, binary_to_list(name(N))}),
            gen_event:stop(Manager)
        end},
        {import_row, fun(N) -> dies(shop_import, all, [[{N, [name(N), num(N)]}]]) end},
        {import_exit, fun(N) -> crashes(shop_import, run, [file(N), seq(N)]) end},
        {batch_page, fun(N) -> child(shop_batch, order(N), {cast, {work, seq(N)}}) end},
        {rule_missing, fun(N) -> child(shop_rules, [{sku(N), N}], {from, shop_rules, price, [sku(N + 1)]}) end},
        {worker_killed, fun(N) -> child(shop_worker, seq(N), kill) end},
        {worker_heap, fun(N) -> child(shop_worker, seq(N), {cast, {thumbnail, 100000 + N}}) end},
        {poller_status, fun(N) -> flaps(shop_poller, "http://" ++ host(N), poll) end},
        {cart_load_timeout, fun(N) ->
            failing(pgpool, timeout),
            crashes(shop_cart, load, [N])
        end},
        {stock_count_timeout, fun(N) ->
            failing(pgpool, timeout),
            crashes(shop_stock, count, [sku(N)])
        end},
        {cart_load_no_table, fun(N) ->
            failing(pgpool, {<<"42P01">>, <<"relation \"carts\" does not exist">>}),
            crashes(shop_cart, load, [N])
        end},
        {cart_load_deadlock, fun(N) ->
            failing(pgpool, {<<"40P01">>, <<"deadlock detected by process ", (integer_to_binary(num(N)))/binary>>}),
            crashes(shop_cart, load, [N])
        end},
        {pool_decode, fun(N) ->
            child(pgpool_conn, #{host => host(N)}, {info, {tcp, N, <<"HTTP", (name(N))/binary>>}})
        end},
        {job_invoice_failed, fun(N) -> crashes(jobq, run, [{shop_jobs, invoice, [num(N)]}]) end},
        {job_thumbnail_failed, fun(N) -> crashes(jobq, run, [{shop_jobs, thumbnail, [file(N), N]}]) end},
        {job_sync_stalled, fun(N) -> crashes(shop_jobs, sync, [num(N)]) end},
        {job_export_stalled, fun(N) -> crashes(shop_jobs, export, [num(N)]) end},
        {job_resize, fun(N) ->
            child(jobq_server, #{}, {info, {perform, {shop_jobs, resize, [file(N), seq(N, "1")]}}})
        end},
        {job_remind, fun(N) -> child(jobq_server, #{}, {info, {perform, {shop_jobs, remind, [name(N)]}}}) end},
        {log_payment_failed, fun(N) -> dies(shop_payment, failed, [num(N), {declined, N}]) end},
        {log_negative_stock, fun(N) -> dies(shop_stock, negative, [sku(N), -N]) end},
        {log_mail_bounced, fun(N) -> dies(shop_mailer, deliver, [email(N), {bounced, 500 + N rem 60}]) end},
        {log_mail_no_relay, fun(N) -> dies(shop_mailer, deliver, [email(N), {no_relay, host(N)}]) end},
        {log_login, fun(N) -> dies(shop_web_auth, login, [email(N), address(N)]) end},
        {log_unpaid, fun(N) -> dies(shop_web_auth, unpaid, [num(N), email(N), amount(N)]) end},
        {log_webhook_failed, fun(N) -> dies(shop_web_hook, deliver, [email(N), 500 + N rem 5]) end},
        {log_webhook_rejected, fun(N) -> dies(shop_web_hook, deliver, [email(N), 400 + N rem 5]) end}
    ].

%% Another team's programs, which whoever wrote the first ones did not have in mind.
more_bugs() ->
    [
        {conn_frame, fun(N) -> connection(<<16#7F, N:16, (name(N))/binary>>) end},
        {conn_unknown_device, fun(N) -> connection(<<16#7E, 1, 6, (num(N)):48>>) end},
        {track_fields, fun(N) -> request(N, #{method => post, body => fix(N)}) end},
        {track_since, fun(N) -> request(N, #{method => get, query => [{<<"since">>, name(N)}]}) end},
        {leg_speed, fun(N) -> crashes(fleet_route, minutes, [num(N), days(N, {customer, num(N), 0})]) end},
        {leg_kind, fun(N) -> crashes(fleet_route, minutes, [num(N), days(N, {name(N), N, 50})]) end},
        {config_number, fun(N) -> crashes(fleet_mail, relay, [[{smtp_port, "2" ++ binary_to_list(name(N))}]]) end},
        {config_missing, fun(N) -> crashes(fleet_mail, relay, [[{smtp_host, host(N)}]]) end},
        {charge_not_found, fun(N) -> crashes(fleet_billing, charge, [num(N), amount(N)]) end},
        {close_not_found, fun(N) -> crashes(fleet_billing, close, [num(N), 1 + N rem 12]) end},
        {gps_app_start, fun(N) -> no_app(fleet_gps, host, host(N)) end},
        {push_app_url, fun(N) -> no_app(fleet_push, url, host(N) ++ "/" ++ file(N)) end},
        {tracker_asleep, fun(N) -> child(fleet_tracker, num(N), {cast, park}) end},
        {upload_badmap, fun(N) -> upload([num(N), name(N)], {part, N, sku(N)}) end},
        {car_timeout, fun(N) ->
            {ok, _} = supervisor:start_child(shop_sup, #{id => car, start => {fleet_car, start_link, [num(N)]}}),
            crashes(fleet_car, where, [num(N)])
        end},
        {car_noproc, fun(N) -> crashes(fleet_car, where, [num(N)]) end},
        {car_already_started, fun(N) ->
            {ok, _} = supervisor:start_child(shop_sup, #{id => car, start => {fleet_car, start_link, [num(N)]}}),
            crashes(fleet_depot, open, [[num(N)]])
        end},
        {replica_gone, fun(N) -> crashes(fleet_depot, lookup, ['replica@10.0.0.7', sku(N)]) end},
        {push_unavailable, fun(N) ->
            child(fleet_push_sender, host(N), {info, {http, {"HTTP/1.1", 503, "Service Unavailable"}, text(N)}})
        end},
        {push_unauthorized, fun(N) ->
            child(fleet_push_sender, host(N), {info, {http, {"HTTP/1.1", 401, "Unauthorized"}, text(N)}})
        end},
        {cron_vacuum, fun(N) -> dies(fleet_cron, run, [vacuum, ["/var/log/" ++ host(N)]]) end},
        {cron_rates, fun(N) -> dies(fleet_cron, run, [rates, ["1.0," ++ binary_to_list(amount(N)) ++ "," ++ host(N)]]) end},
        {hook_geofence, fun(N) -> dies(fleet_hooks, run, [[fleet_geofence], trip(N)]) end},
        {hook_bonus, fun(N) -> dies(fleet_hooks, run, [[fleet_bonus], trip(N)]) end},
        {mqtt_json, fun(N) -> child(fleet_mqtt, host(N), {info, {publish, file(N), <<"{\"", (name(N))/binary, "}">>}}) end},
        {seen_no_owner, fun(N) -> child(fleet_seen, orphan(), {cast, {mark, sku(N)}}) end},
        {tag_too_long, fun(N) -> crashes(fleet_tags, parse, [[file(N), lists:duplicate(256 + N rem 90, $a + N rem 20)]]) end},
        {geo_refused, fun(N) ->
            failing(fleet, econnrefused),
            crashes(fleet_geo, address, [{num(N), N}])
        end},
        {geo_certificate, fun(N) ->
            Text = "TLS client: In state wait_cert generated CLIENT ALERT: Fatal - Certificate Expired",
            failing(fleet, {tls_alert, {certificate_expired, Text}}),
            crashes(fleet_geo, address, [{num(N), N}])
        end},
        {trip_no_table, fun(N) -> crashes(fleet_trips, find, [num(N)]) end},
        {parking_badrecord, fun(N) -> child(fleet_parking, name(N), {cast, {leave, num(N)}}) end},
        {log_silent, fun(N) -> dies(fleet_watch, silent, [name(N), 1 + N rem 9, num(N)]) end},
        {log_backup, fun(N) -> dies(fleet_watch, backup, [file(N), num(N)]) end},
        {log_sms, fun(N) ->
            Carrier = lists:nth(1 + N rem 2, [none, name(N + 1)]),
            dies(fleet_watch, sms, [address(N), Carrier, N rem 3])
        end},
        {log_charger, fun(N) -> dies(fleet_watch, charger, [sku(N), N rem 4, num(N)]) end}
    ].

%% What a hospital's operators see in a month.
hospital_bugs() ->
    [
        {bed_none_free, fun(N) -> child(bed_server, {ward(N), beds(N)}, {call, {assign, mrn(N)}}) end},
        {bed_late_reply, fun(N) -> child(bed_server, {ward(N), beds(N)}, {info, {make_ref(), {ok, [mrn(N) | seq(N)]}}}) end},
        {vitals_unit, fun(N) -> child(monitor_server, num(N), {cast, {readings, readings(N)}}) end},
        {vitals_limit, fun(N) -> child(monitor_server, num(N), {cast, {limit, kind(N), N rem 20}}) end},
        {dose_weight, fun(N) ->
            Patient = #{name => name(N), weight => undefined, mrn => mrn(N), ward => ward(N)},
            crashes(drug_dose, per_day, [Patient, 1 + N rem 5])
        end},
        {allergies_missing, fun(N) ->
            Patient = maps:from_list([{name, name(N)}, {mrn, mrn(N)}] ++ [{weight, 40 + N rem 70} || N rem 2 =:= 0]),
            child(rx_server, ward(N), {call, {check, Patient, drug(N)}})
        end},
        {lab_value, fun(N) ->
            Value = lists:nth(1 + N rem 3, [integer_to_binary(num(N)), <<"<", (two(N))/binary>>, <<"haemolysed">>]),
            crashes(lab_result, store, [uuid(N), [{<<"Na">>, <<"140.5">>}, {drug(N), Value}]])
        end},
        {birth_date, fun(N) -> crashes(patient_age, years, [<<"19", (two(N))/binary, (two(3 * (N rem 2)))/binary, "00">>, day3(N)]) end},
        {wristband_text, fun(N) -> dies(wristband, print, [peer(N), [16#141 + N rem 60 | "ukasz"], num(N)]) end},
        {tariff_code, fun(N) -> child(tariff_server, [{<<"A01">>, N}], {call, {price, icd(N), 1 + N rem 9}}) end},
        {index_timeout, fun(N) ->
            slow(patient_index, fun() -> child(admission, ward(N), {cast, {arrived, mrn(N)}}) end)
        end},
        {nurse_call_noproc, fun(N) -> crashes(alarm_relay, ring, [num(N), {kind(N), N rem 200}]) end},
        {history_timeout, fun(N) -> database(N, timeout, fun(Conn) -> crashes(visit_store, history, [Conn, mrn(N)]) end) end},
        {admit_duplicate, fun(N) ->
            Detail = <<"Key (mrn)=(", (mrn(N))/binary, ") already exists.">>,
            Text = <<"duplicate key value violates unique constraint \"visits_open_mrn\"">>,
            More = [
                {constraint_name, <<"visits_open_mrn">>},
                {detail, Detail},
                {file, <<"nbtinsert.c">>},
                {line, <<"434">>},
                {routine, <<"_bt_check_unique">>},
                {schema_name, <<"public">>},
                {severity, <<"ERROR">>},
                {table_name, <<"visits">>}
            ],
            Error = {error, error, <<"23505">>, unique_violation, Text, More},
            database(N, Error, fun(Conn) -> crashes(visit_store, admit, [Conn, mrn(N), ward(N)]) end)
        end},
        {admit_closed, fun(N) ->
            database(N, closed, fun(Conn) -> crashes(visit_store, admit, [Conn, mrn(N), ward(N)]) end)
        end},
        {insurer_unavailable, fun(N) ->
            Headers = [{<<"Date">>, stamp(N)}, {<<"Retry-After">>, integer_to_binary(N rem 90)}, {<<"X-Request-Id">>, uuid(N)}],
            failing(webcall, {ok, 503, Headers, <<"upstream ", (peer(N))/binary, " is down">>}),
            dies(insurer, eligible, [mrn(N), day(N)])
        end},
        {claim_timeout, fun(N) ->
            failing(webcall, {error, connect_timeout}),
            crashes(insurer, claim, [mrn(N), icd(N), amount(N)])
        end},
        {lab_feed_json, fun(N) ->
            Body = lists:nth(1 + N rem 3, [
                <<"<html>", (stamp(N))/binary, "</html>">>,
                <<"{\"", (uuid(N))/binary>>,
                <<"{\"order\":", (integer_to_binary(num(N)))/binary, ",}">>
            ]),
            child(lab_feed, "https://" ++ binary_to_list(peer(N)), {info, {webcall_body, make_ref(), Body}})
        end},
        {board_json, fun(N) ->
            Rows = [[{bed, I}] || I <- tl(seq(N))] ++ [[{bed, num(N)}, {since, day3(N)}], [{bed, N}]],
            crashes(ward_board, render, [ward(N), Rows])
        end},
        {hl7_segment, fun(N) ->
            Segment = lists:nth(1 + N rem 3, ["ZPI|1|", "NTE|", "SPM|1||"]),
            child(hl7_conn, peer(N), {info, {tcp, N, iolist_to_binary([msh(N), Segment, mrn(N), "\r"])}})
        end},
        {hl7_patient, fun(N) ->
            Data = iolist_to_binary([msh(N), "PID|1|", lists:duplicate(N rem 2, [mrn(N), "|"]), name(N), "\r"]),
            child(hl7_conn, peer(N), {info, {tcp, N, Data}})
        end},
        {rx_printer_start, fun(N) -> no_start(hospital_print_sup, rx_printer, {tray, N rem 9, name(N)}) end},
        {broker_forced, fun(N) ->
            Text = <<"CONNECTION_FORCED - broker forced connection closure with reason 'shutdown'">>,
            Params = #{host => peer(N), port => 5672, vhost => <<"/">>, heartbeat => 1 + N rem 60},
            child(hopper_conn, Params, {info, {method, {'connection.close', 320, Text, 0, 0}}})
        end},
        {pump_bad_return, fun(N) -> child(infusion_pump, serial(N), {cast, {start, N rem 250}}) end},
        {ecg_frame, fun(N) -> child(ecg_stream, num(N), {info, {frame, <<(4 + N rem 10), (uuid(N))/binary>>}}) end},
        {round_aborted, fun(N) -> crashes(med_round, next, [ward(N), N rem 24]) end},
        {night_letters, fun(N) -> dies(night_jobs, run, [[{discharge_letters, [mrn(N), name(N)]}]]) end},
        {night_census, fun(N) -> dies(night_jobs, run, [[{ward_census, [[{ward(N), num(N), 20}, {ward(N + 1), N, 0}]]}]]) end},
        {api_bed, fun(N) -> serve('GET', [<<"wards">>, ward(N), <<"beds">>, name(N)], <<>>) end},
        {api_patient, fun(N) -> serve('POST', [<<"patients">>, mrn(N), <<"notes">>], text(N)) end},
        {dispense_blocked, fun(N) -> child(rx_server, ward(N), {cast, {dispense, drug(N), 1 + N rem 30}}) end},
        {log_monitor_silent, fun(N) -> dies(device_watch, check, [serial(N), num(N), stamp(N), 20 + N rem 80]) end},
        {log_monitor_battery, fun(N) -> dies(device_watch, check, [serial(N), num(N), stamp(N), N rem 20]) end},
        {log_order_rejected, fun(N) -> dies(lab_orders, reject, [uuid(N), drug(N), {too_old, hours, 24 + N rem 50}]) end},
        {log_fridge, fun(N) -> dies(cold_store, warm, [serial(N), kelvin(N), stamp(N)]) end},
        {log_nack, fun(N) ->
            Text = [<<"Unknown patient ", (mrn(N))/binary, " in PID.3">>],
            dies(hl7_out, nack, [peer(N), uuid(N), Text])
        end}
    ].

%% Data -------------------------------------------------------------------------------------------

num(N) -> 100 + erlang:phash2(N, 9900).

name(N) ->
    Names = {"ada", "grace", "joe", "robert", "mike", "barbara", "j\x{f6}rg", "li"},
    Name = element(1 + erlang:phash2({name, N}, tuple_size(Names)), Names),
    unicode:characters_to_binary([Name, integer_to_list(N rem 90)]).

text(N) -> iolist_to_binary([lists:duplicate(N rem 4, " "), name(N)]).

email(N) -> <<(name(N))/binary, "@", (list_to_binary(host(N)))/binary>>.

host(N) -> lists:nth(1 + N rem 4, ["mail.example.com", "shop.example.org", "10.0.0.7", "eu3.example.net"]).

address(N) -> lists:concat(["10.", N rem 250, ".", num(N) rem 250, ".", N rem 9]).

amount(N) -> iolist_to_binary(io_lib:format("~b.~2..0b", [num(N), N rem 100])).

sku(N) -> iolist_to_binary(io_lib:format("SKU-~.16B", [erlang:phash2({sku, N})])).

file(N) -> lists:concat(["prices/", binary_to_list(sku(N)), ".csv"]).

seq(N) -> lists:seq(1, 1 + N rem 6).

seq(N, Text) -> list_to_binary([Text || _ <- seq(N)]).

stock(N) -> maps:from_list([{sku(I), num(I)} || I <- lists:seq(N, N + N rem 4)]).

items(N) -> [#{sku => sku(I), price => num(I)} || I <- lists:seq(N, N + N rem 3)].

cart(N) -> #{id => num(N), owner => name(N), sum => N, items => items(N)}.

order(N) -> #{id => num(N), name => name(N), due => {eur, amount(N)}, lines => seq(N)}.

heavy(N) -> lists:nth(1 + N rem 3, [undefined, {lb, N}, name(N)]).

fix(N) -> maps:from_list([{car, num(N)}, {lat, N}] ++ [{speed, N rem 130} || N rem 2 =:= 0]).

days(N, Leg) -> [{Day, [{depot, num(Day), 50}]} || Day <- seq(N)] ++ [{sku(N), [{customer, N, 30}, Leg]}].

trip(N) -> #{id => num(N), driver => name(N), meters => num(N), braked => 0}.

unknown(N) -> lists:nth(1 + N rem 3, [{ssl_closed, N}, timeout, {make_ref(), {ok, num(N)}}]).

%% Of a hospital, and of other works.
mrn(N) -> iolist_to_binary(io_lib:format("~8..0b", [erlang:phash2({mrn, N}, 99999999)])).

ward(N) -> lists:nth(1 + N rem 5, [<<"3B">>, <<"ICU">>, <<"Maternity">>, <<"5 North">>, <<"Orthop\x{e4}die"/utf8>>]).

drug(N) -> lists:nth(1 + N rem 4, [<<"heparin">>, <<"ibuprofen 400">>, <<"Insulin glargine">>, <<"KCl 7.45%">>]).

kind(N) -> lists:nth(1 + N rem 3, [temp, rr, etco2]).

icd(N) -> iolist_to_binary([$B + N rem 20, io_lib:format("~2..0b.~b", [N rem 100, N rem 10])]).

beds(N) -> [{num(I), mrn(I)} || I <- lists:seq(N, N + N rem 4)].

readings(N) -> [{pulse, 60 + N rem 70, bpm}, lists:nth(1 + N rem 3, [{temp, kelvin(N), k}, {spo2, N, mmhg}, {kind(N), nan}])].

uuid(N) ->
    <<A:32, B:16, C:16, D:16, E:48>> = erlang:md5(term_to_binary({uuid, N})),
    iolist_to_binary(io_lib:format("~8.16.0b-~4.16.0b-~4.16.0b-~4.16.0b-~12.16.0b", [A, B, C, D, E])).

serial(N) -> iolist_to_binary(io_lib:format("~c~c-~b", [$A + N rem 26, $A + N rem 23, 100000 + num(N)])).

day3(N) -> {2020 + N rem 5, 1 + N rem 12, 1 + N rem 28}.

day(N) ->
    {Year, Month, Day} = day3(N),
    iolist_to_binary(io_lib:format("~b-~2..0b-~2..0b", [Year, Month, Day])).

stamp(N) -> iolist_to_binary([day(N), io_lib:format("T~2..0b:~2..0b:~2..0bZ", [N rem 24, N rem 60, num(N) rem 60])]).

peer(N) -> lists:nth(1 + N rem 4, [<<"172.16.4.20">>, <<"lab-02.clinic.example">>, <<"pacs.clinic.example">>, <<"172.16.4.21">>]).

kelvin(N) -> 270 + num(N) / 128.

two(N) -> <<($0 + N div 10 rem 10), ($0 + N rem 10)>>.

msh(N) -> ["MSH|^~\\&|LAB|", peer(N), "|", stamp(N), "||ORU^R01|", uuid(N), "|P|2.5\r"].

%% How they fail ----------------------------------------------------------------------------------

%% A process of the virtual machine's own kind. None of these starts a fun of this module, which its reports would name.
dies(M, F, A) ->
    {_, Ref} = spawn_monitor(M, F, A),
    down(Ref).

%% A process of OTP's kind.
crashes(M, F, A) ->
    down(monitor(process, proc_lib:spawn(M, F, A))).

%% A server below the supervisor, which starts it again.
child(Module, Arg, How) ->
    Child = #{id => Module, start => {Module, start_link, [Arg]}},
    {ok, Pid} = supervisor:start_child(sup(), Child),
    Ref = monitor(process, Pid),
    announce(Pid),
    case How of
        {call, Request} -> spawn(client(), ask, [Pid, Request]);
        {from, M, F, A} -> proc_lib:spawn(M, F, [Pid | A]);
        {cast, Request} -> gen_server:cast(Pid, Request);
        {info, Message} -> Pid ! Message;
        kill -> exit(Pid, kill)
    end,
    down(Ref).

%% A server that the supervisor cannot start.
no_start(Module, Arg) -> no_start(shop_boot_sup, Module, Arg).

no_start(Name, Module, Arg) ->
    Child = #{id => Module, start => {Module, start_link, [Arg]}},
    Start = {sup(), start_link, [Name, 1, [Child]]},
    Spec = #{id => boot, start => Start, restart => temporary, type => supervisor},
    {error, _} = supervisor:start_child(sup(), Spec),
    ok.

%% A server whose supervisor gives up.
flaps(Module, Arg, Message) ->
    Child = #{id => Module, start => {Module, start_link, [Arg]}},
    Start = {shop_sup, start_link, [shop_poller_sup, 0, [Child]]},
    Spec = #{id => poller, start => Start, restart => temporary, type => supervisor},
    {ok, Sup} = supervisor:start_child(shop_sup, Spec),
    [{_, Pid, _, _}] = supervisor:which_children(Sup),
    Ref = monitor(process, Sup),
    Pid ! Message,
    down(Ref).

slow(Name, Doing) ->
    Module =
        case sup() of
            shop_sup -> shop_slow;
            _ -> Name
        end,
    {ok, _} = supervisor:start_child(sup(), #{id => Name, start => {Module, start_link, [Name]}}),
    Doing().

%% A connection of a listener: its process, and whoever it is linked to.
connection(Data) ->
    Conns = #{id => listener, start => {listn_conns, start_link, [fleet_tcp, fleet_proto]}},
    {ok, Sup} = supervisor:start_child(shop_sup, Conns),
    Pid = listn_conns:connection(Sup, {{10, 0, 0, byte_size(Data)}, 40000 + byte_size(Data)}),
    Ref = monitor(process, Pid),
    Pid ! {tcp, Data},
    down(Ref).

request(N, Request) ->
    Path = <<"/track/", (sku(N))/binary>>,
    dies(weblib_stream, connection, [fleet_http, fleet_track, Request#{stream => 1 + N rem 5, path => Path}]).

serve(Method, Path, Body) ->
    dies(httpkit_worker, serve, [#{method => Method, path => Path, body => Body}, {hospital_api, []}]).

%% A connection to a database that fails.
database(N, What, Doing) ->
    failing(epgc, What),
    Start = {epgc_conn, start_link, [#{host => peer(N), username => "hospital"}]},
    {ok, Conn} = supervisor:start_child(sup(), #{id => database, start => Start}),
    Doing(Conn).

%% An application that does not start.
no_app(App, Key, Value) ->
    ok = application:set_env(App, Key, Value),
    {error, _} = application:start(App),
    ok.

upload(Args, Request) ->
    Start = {fleet_upload_sup, start_link, []},
    {ok, Sup} = supervisor:start_child(shop_sup, #{id => uploads, start => Start, type => supervisor}),
    {ok, Pid} = supervisor:start_child(Sup, Args),
    Ref = monitor(process, Pid),
    gen_server:cast(Pid, Request),
    down(Ref).

%% A table whose owner is gone.
orphan() ->
    {Pid, Ref} = spawn_monitor(fun() -> exit({table, ets:new(seen, [public])}) end),
    receive {'DOWN', Ref, process, Pid, {table, Table}} -> Table end.

%% Of the programs that are loaded, in Erlang or in Elixir. Elixir's supervisor has the name of its module.
sup() ->
    Sups = [shop_sup, 'Elixir.Shop.Supervisor'],
    hd([Sup || Sup <- [application:get_env(golden, sup, none) | Sups], whereis(Sup) =/= undefined]).

%% Another supervisor than the shop's for a while.
below(Sup, Doing) ->
    ok = application:set_env(golden, sup, Sup),
    Done = Doing(),
    ok = application:unset_env(golden, sup),
    Done.

client() ->
    case sup() of
        shop_sup -> shop_http;
        hospital_sup -> hospital_api;
        'Elixir.Shop.Supervisor' -> 'Elixir.Shop.Client';
        'Elixir.Grid.Supervisor' -> 'Elixir.Grid.Client'
    end.

failing(Application, What) ->
    application:set_env(Application, failing, What).

down(Ref) ->
    receive {'DOWN', Ref, process, _, _} -> ok end.

clean() ->
    [
        begin
            _ = supervisor:terminate_child(sup(), Id),
            _ = supervisor:delete_child(sup(), Id)
        end
     || {Id, _, _, _} <- supervisor:which_children(sup())
    ].

%% Programs ---------------------------------------------------------------------------------------

load(Sources, Work, Version) ->
    Dirs = lists:sort(filelib:wildcard(filename:join([Sources, "erlang", "*"]))),
    [
        begin
            App = list_to_atom(filename:basename(Dir)),
            Modules = [compiled(App, File, Sources, Work, Version) || File <- lists:sort(filelib:wildcard(Dir ++ "/*.erl"))],
            Starts = [{mod, {Module, []}} || Module <- Modules, Module =:= list_to_atom(lists:concat([App, "_app"]))],
            _ = application:load({application, App, [{vsn, ?VERSION}, {modules, Modules}, {applications, []} | Starts]}),
            {App, ?VERSION, lists:member(App, ?DEPENDENCIES), Modules}
        end
     || Dir <- Dirs
    ].

%% Compiled as rebar3 does first, then as with +deterministic, after somebody has worked on it.
compiled(App, File, Sources, Work, Version) ->
    {ok, Text} = file:read_file(File),
    Base = filename:basename(File),
    {Source, Lines} =
        case Version of
            1 -> {lists:concat(["/builds/shop/_build/prod/lib/", App, "/src/", Base]), ""};
            2 -> {Base, lists:duplicate(11, $\n)}
        end,
    Copy = Work ++ "/copy.erl",
    ok = file:write_file(Copy, [Lines, Text]),
    {ok, Forms} = epp:parse_file(Copy, [{source_name, Source}, {includes, [Sources]}]),
    {ok, Module, Beam} = compile:forms([changed(Form, Version) || Form <- Forms], [{source, Source}]),
    _ = code:purge(Module),
    {module, Module} = code:load_binary(Module, Source, Beam),
    Module.

%% A fun at the beginning of each function makes the names of the others differ: `-add/1-fun-1-'.
changed({function, Anno, Name, Arity, Clauses}, 2) ->
    [{call, _, _, _} = Other] = exprs("lists:foreach(fun(Any) -> Any end, [])"),
    {function, Anno, Name, Arity, [
        {clause, A, Patterns, Guards, [Other | Body]}
     || {clause, A, Patterns, Guards, Body} <- Clauses
    ]};
changed(Form, _) ->
    Form.

exprs(Text) ->
    {ok, Tokens, _} = erl_scan:string(Text ++ "."),
    {ok, Exprs} = erl_parse:parse_exprs(Tokens),
    Exprs.

%% Recording --------------------------------------------------------------------------------------

start() ->
    Self = self(),
    _ = logger:remove_handler(default),
    Start = erlang:monotonic_time(millisecond),
    register(golden_collector, spawn_link(fun() -> collect(Self, none, Start, 0, []) end)),
    ok = logger:add_handler(golden, logmachine_logger_handler, #{
        level => error, config => #{receiver => whereis(golden_collector), error_logger => forward}
    }),
    %% Takes the place of the first where reports are to keep their own form.
    {ok, #{config := Guest}} = logmachine_logger_handler:adding_handler(#{
        id => golden_bare, config => #{receiver => Self, error_logger => forward}
    }),
    ok = logger:add_handler(golden_bare, ?MODULE, #{level => none, config => Guest}),
    ok = logger:add_handler(error_logger, error_logger, #{level => info, filter_default => log}).

%% Each bug once in each round; how reports come is a round's own: from the logger handler alone, as with capture
%% `logger'; those of error_logger kind from the handler in its manager, as with `auto'; or as reports, as somebody else
%% may append them.
rounds(Bugs, First, Hows) ->
    [
        begin
            through(How),
            _ = settle(),
            %% With 101, remainders of N differ from round to round.
            episodes(Bugs, Round * 101)
        end
     || {Round, How} <- lists:zip(lists:seq(First, First + length(Hows) - 1), Hows)
    ],
    ok.

through(How) ->
    _ = gen_event:delete_handler(error_logger, {logmachine_forwarder, golden}, replaced),
    Shape =
        case How of
            manager -> skip;
            _ -> forward
        end,
    {Level, BareLevel} =
        case How of
            bare -> {none, error};
            _ -> {error, none}
        end,
    ok = logger:update_handler_config(golden, #{
        level => Level,
        config => #{receiver => whereis(golden_collector), error_logger => Shape}
    }),
    ok = logger:set_handler_config(golden_bare, level, BareLevel),
    case How of
        manager ->
            ok = gen_event:add_handler(error_logger, {logmachine_forwarder, golden}, #{
                receiver => whereis(golden_collector), level => error, local_only => true
            });
        _ ->
            ok
    end.

episodes([{Bug, Fail} | Bugs], Episode) ->
    golden_collector ! {label, {Bug, Episode}},
    Fail(Episode),
    0 =:= settle() andalso io:format(standard_error, "no report of ~p ~b~n", [Bug, Episode]),
    golden_collector ! {label, none},
    _ = clean(),
    0 = settle(),
    episodes(Bugs, Episode + 1);
episodes([], _) ->
    ok.

%% Many servers die at once: what their reports have in common is the process.
storms(Bugs, First, Hows) ->
    [
        begin
            through(How),
            _ = settle(),
            golden_collector ! {label, {by_process, []}},
            Runs = [
                spawn_monitor(fun() ->
                    put(label, {Bug, Round * 101 + Number}),
                    (proplists:get_value(Bug, Bugs))(Round * 101 + Number)
                end)
             || {Number, Bug} <- lists:zip(lists:seq(1, length(?TOGETHER)), ?TOGETHER)
            ],
            [down(Ref) || {_, Ref} <- Runs],
            _ = settle(),
            golden_collector ! {label, none},
            _ = clean(),
            0 = settle()
        end
     || {Round, How} <- lists:zip(lists:seq(First, First + length(Hows) - 1), Hows)
    ],
    ok.

%% Before it dies.
announce(Pid) ->
    case get(label) of
        undefined ->
            ok;
        Label ->
            golden_collector ! {announced, self(), Pid, Label},
            receive noted -> ok end
    end.

%% How many reports the label has, as soon as nothing more can come: what the virtual machine had to say came before
%% another error of that kind, and all processes wait.
settle() ->
    spawn(?MODULE, golden_flush, []),
    receive flushed -> ok end,
    settle(5, -1).

golden_flush() -> error(golden_flush).

settle(0, Count) ->
    Count;
settle(Times, Before) ->
    receive after 1 -> ok end,
    Idle = [{status, waiting}, undefined],
    Busy = [Pid || Pid <- processes(), Pid =/= self(), not lists:member(process_info(Pid, status), Idle)],
    golden_collector ! {count, self()},
    receive
        {count, Before} when Busy =:= [] -> settle(Times - 1, Before);
        {count, Count} -> settle(5, Count)
    end.

collect(Driver, Label, Start, Count, Reports) ->
    receive
        {'$gen_cast', Event} ->
            case contains(golden_flush, Event) of
                true ->
                    Driver ! flushed,
                    collect(Driver, Label, Start, Count, Reports);
                false ->
                    collect(Driver, Label, Start, Count + 1, [report(Label, Start, Event) | Reports])
            end;
        {label, New} -> collect(Driver, New, Start, 0, Reports);
        {announced, From, Pid, Own} ->
            {by_process, Pids} = Label,
            From ! noted,
            collect(Driver, {by_process, [{Pid, Own} | Pids]}, Start, Count, Reports);
        {count, From} ->
            From ! {count, Count},
            collect(Driver, Label, Start, Count, Reports);
        {take, From} -> From ! {reports, lists:reverse(Reports)}
    end.

report(Label, Start, Event) ->
    Millis = erlang:monotonic_time(millisecond) - Start,
    case Label of
        none -> {none, 0, Millis, Event};
        {by_process, Pids} ->
            %% One, or it is not certain.
            [{Bug, Episode}] = [Own || {Pid, Own} <- Pids, contains(Pid, Event)],
            {Bug, Episode, Millis, Event};
        {Bug, Episode} ->
            case contains(reached_max_restart_intensity, Event) of
                %% A consequence, and another thing to look at: an entry and a death of its own.
                true -> {supervisor_gave_up, 100000 + Episode, Millis, Event};
                false -> {Bug, Episode, Millis, Event}
            end
    end.

contains(Term, Term) -> true;
contains(Term, [Head | Tail]) -> contains(Term, Head) orelse contains(Term, Tail);
contains(Term, Tuple) when is_tuple(Tuple) -> contains(Term, tuple_to_list(Tuple));
contains(Term, Map) when is_map(Map) -> contains(Term, maps:to_list(Map));
contains(_, _) -> false.

%% The handler that keeps reports of OTP's as they are, without what only the node can make of them.
log(#{level := Level, msg := {report, #{label := {_, _}} = Report}, meta := Meta}, _) ->
    Plain = maps:without([report_cb, error_logger, mfa, file, line, logger_formatter], Meta),
    golden_collector ! {'$gen_cast', {log, node(), Level, {report, Report}, Plain}};
log(Event, #{config := Guest}) ->
    logmachine_logger_handler:log(Event, #{config => Guest#{receiver => whereis(golden_collector)}}).

finish(Out, Applications) ->
    golden_collector ! {take, self()},
    Reports = receive {reports, All} -> All end,
    [] = [Report || {none, _, _, _} = Report <- Reports],
    Release = list_to_integer(erlang:system_info(otp_release)),
    ok = file:write_file(Out, term_to_binary({Release, Applications, Reports}, [{compressed, 9}])),
    Bugs = lists:usort([Bug || {Bug, _, _, _} <- Reports]),
    Episodes = lists:usort([Episode || {_, Episode, _, _} <- Reports]),
    io:format("OTP ~b: ~b bugs, ~b episodes, ~b reports~n", [Release, length(Bugs), length(Episodes), length(Reports)]).
