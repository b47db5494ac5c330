# The bugs of programs in Elixir, recorded by golden_faults.erl:
# elixir --erl "-logger handle_sasl_reports true" golden_faults.exs SOURCES OUT
[sources, out] = System.argv()

defmodule Golden.Programs do
  @dependencies [:ectoish, :jobs, :jsonish, :pgdriver, :pipeline, :wire, :relational, :conveyor, :livelink]
  @apps [:ectoish, :jobs, :shop, :shop_web, :jsonish, :pgdriver, :pipeline, :chat, :chat_web] ++
          [:wire, :relational, :conveyor, :livelink, :grid, :grid_web]

  # As in a project of its own first, then within an umbrella, after somebody has worked on it.
  def load(sources, version) do
    Code.put_compiler_option(:ignore_module_conflict, true)

    # What others need comes first.
    for app <- @apps do
      text = File.read!("#{sources}/elixir/#{app}.ex")
      file = if version == 1, do: "lib/#{app}.ex", else: "apps/#{app}/lib/#{app}.ex"
      quoted = Code.string_to_quoted!(text, file: file, line: if(version == 1, do: 1, else: 12))
      # What the compiler has to say of our bugs is known.
      {compiled, _} = Code.with_diagnostics(fn -> Code.compile_quoted(changed(quoted, version), file) end)
      modules = for {module, _} <- compiled, do: module
      vsn = ~c"1.4.#{version}"
      _ = :application.unload(app)
      :ok = :application.load({:application, app, [vsn: vsn, modules: modules]})
      {app, vsn, app in @dependencies, Enum.sort(modules)}
    end
  end

  # A fun at the beginning of each function makes the names of the others differ: `-add/1-fun-1-'.
  defp changed(quoted, 1), do: quoted

  defp changed(quoted, 2) do
    other = quote(do: Enum.each([], fn any -> any end))

    Macro.prewalk(quoted, fn
      {kind, meta, [head, [{:do, body} | more]]} when kind in [:def, :defp] ->
        {kind, meta, [head, [{:do, {:__block__, [], [other, body]}} | more]]}

      node ->
        node
    end)
  end
end

defmodule Golden.Bugs do
  import :golden_faults

  def all do
    [
      ex_cart_empty: &dies(Shop.Cart, :checkout, [&1, [], nil]),
      ex_coupon_expired: &task(Shop.Cart, :checkout, [&1, [1], sku(&1)]),
      ex_price_file: &task(Shop.Stock, :prices, [file(&1)]),
      ex_order_fetch_email: &task(Shop.Orders, :customer, [order(&1)]),
      ex_order_dot_email: &task(Shop.Orders, :address, [order(&1)]),
      ex_weight_clause: &task(Shop.Orders, :weight, [[{sku(&1), 5}, {sku(&1), heavy(&1)}]]),
      ex_share_by_zero: &dies(Shop.Orders, :share, [&1, []]),
      ex_undef_function: &task(Shop.Orders, :receipt, [order(&1)]),
      ex_nil_function: &task(Shop.Orders, :total, [%{owner: nil, id: &1}]),
      ex_cancel_throw: &task(Shop.Orders, :cancel, [&1, name(&1)]),
      ex_with_clause: &task(Shop.Stock, :shelf, [sku(&1)]),
      ex_title_protocol: &task(ShopWeb.View, :title, [%{name: {name(&1), &1}}]),
      ex_rows_protocol: &task(ShopWeb.View, :rows, [num(&1)]),
      ex_no_route: &task(ShopWeb.Router, :call, ["/" <> sku(&1)]),
      ex_page: &task(ShopWeb.Router, :page, [%{"page" => name(&1)}]),
      ex_cart_add_case: &child(Shop.Cart, cart(&1), {:call, {:add, [{sku(&1), &1}, {sku(&1), name(&1)}]}}),
      ex_cart_pay: &child(Shop.Cart, cart(&1), {:call, {:pay, 50 + rem(&1, 9)}}),
      ex_cart_throw: &child(Shop.Cart, cart(&1), {:call, {:close, name(&1)}}),
      ex_cart_unknown_cast: &child(Shop.Cart, cart(&1), {:cast, {:renam, name(&1)}}),
      ex_cart_exit_db: &child(Shop.Cart, cart(&1), {:info, {:book, &1}}),
      ex_cart_stop_changeset: &child(Shop.Cart, cart(&1), {:info, {:save, [name: {"is too long", [max: &1]}]}}),
      ex_cart_pricing_timeout: &slow(Shop.Pricing, fn -> child(Shop.Cart, cart(&1), {:info, {:quote, [sku(&1)]}}) end),
      ex_report_pricing_timeout: &slow(Shop.Pricing, fn -> task(Shop.Report, :nightly, [&1]) end),
      ex_cart_load_connection: &task(Shop.Cart, :load, [&1]),
      ex_stock_count_connection: &task(Shop.Stock, :count, [String.duplicate("x", rem(&1, 17))]),
      ex_order_changeset: &task(Shop.Orders, :create, [struct(Shop.Customer, id: &1, name: name(&1)), -&1]),
      ex_stock_changeset: &task(Shop.Stock, :add, [sku(&1)]),
      ex_listener_init: &no_start(Shop.Listener, 8000 + &1),
      ex_task_linked: &dies(Shop.Report, :parallel, [seq(&1)]),
      ex_task_supervised: &supervised_task(Shop.Report, :export, [[%{total: &1}, %{totl: num(&1)}]]),
      ex_agent_add: &agent/1,
      ex_log_refund_failed: &dies(Shop.Cart, :refund, [num(&1), amount(&1), {:declined, &1}]),
      ex_log_refund_waits: &dies(Shop.Cart, :refund, [num(&1), amount(&1), nil]),
      ex_job_invoice: &dies(Jobs.Worker, :run, [Shop.InvoiceJob, %{order: num(&1)}]),
      ex_job_export: &dies(Jobs.Worker, :run, [Shop.ExportJob, %{order: num(&1)}]),
      # Another team's programs, as in golden_faults.erl.
      ex_join_banned: &child(Chat.Room, room(&1), {:call, {:join, email(&1)}}),
      ex_join_full: &child(Chat.Room, room(&1), {:call, {:join, sku(&1)}}),
      ex_presence_noproc: &child(Chat.Room, room(&1), {:info, {:online, name(&1)}}),
      ex_say_noproc: &task(Chat.Room, :say, ["room:#{num(&1)}", text(&1)]),
      ex_bot_continue: &bot([{:say, text(&1)}, {:say, num(&1)}, :leave]),
      ex_secret_missing: &task(Chat.Accounts, :secret, [[user: name(&1), port: &1]]),
      ex_salt_missing: &task(Chat.Accounts, :salt, [name(&1)]),
      ex_third_name: &task(Chat.Accounts, :third, [Enum.take([name(&1), sku(&1)], rem(&1, 3))]),
      ex_login_locked: &dies(Chat.Accounts, :login, [email(&1), text(&1)]),
      ex_member_twice: fn n ->
        message = "duplicate key value violates unique constraint \"members_email_index\""
        failing(:pgdriver, {:unique_violation, "23505", message, "members_email_index"})
        task(Chat.Accounts, :member, [n, email(n)])
      end,
      ex_member_no_room: fn n ->
        message = "insert or update on table \"members\" violates foreign key constraint \"members_room_id_fkey\""
        failing(:pgdriver, {:foreign_key_violation, "23503", message, "members_room_id_fkey"})
        task(Chat.Accounts, :member, [n, email(n)])
      end,
      ex_born: &task(Chat.Accounts, :born, ["#{num(&1)}-13-#{name(&1)}"]),
      ex_find_timeout: &task(Chat.Search, :find, [text(&1)]),
      ex_previews_timeout: &task(Chat.Search, :previews, [["http://" <> email(&1), sku(&1)]]),
      ex_room_show: &request(:show, %{"rom" => name(&1)}),
      ex_room_create: &request(:create, %{"title" => name(&1)}),
      ex_hook_json: &request(:hook, %{"body" => text(&1) <> "{" <> sku(&1)}),
      ex_index_encoder: &wrapped(:index, %{"name" => name(&1), "seen" => {:never, num(&1)}}),
      ex_room_delete: &wrapped(:delete, %{"id" => name(&1)}),
      ex_room_pin: &wrapped(:pin, %{"message" => %{text: text(&1), by: name(&1)}}),
      ex_log_too_large: &dies(Chat.Room, :upload, [name(&1), file(&1), 1000 + &1]),
      ex_log_not_stored: &dies(Chat.Room, :upload, [name(&1), file(&1), rem(&1, 700)])
    ]
  end

  # What the operators of a grid see in a month.
  def grid do
    [
      ex_reading_text: &child(Grid.Meter, serial(&1), {:cast, {:reading, reading(&1)}}),
      ex_frame_obis: &child(Grid.Meter, serial(&1), {:info, {:frame, frame(&1)}}),
      ex_peak_no_contract: &child(Grid.Meter, serial(&1), {:call, {:peak, rem(&1, 24)}}),
      ex_tariff_slot: &task(Grid.Tariff, :cost, [day(&1), for(hour <- seq(&1), do: {hour, &1}) ++ [{24 + rem(&1, 3), num(&1)}]]),
      ex_invoice_no_rate: &task(Grid.Invoice, :total, [contract(&1), for(i <- seq(&1), do: %{kwh: num(&1 + i), slot: i})]),
      ex_forecast_timeout: fn n ->
        failing(:wire, :timeout)
        task(Grid.Weather, :forecast, ["#{rem(n, 90)}.#{num(n)},#{rem(n, 30)}"])
      end,
      ex_market_status: fn n ->
        headers = [{"date", stamp(n)}, {"server", "cloudproxy"}, {"x-trace", uuid(n)}]
        failing(:wire, {502, headers, "<html>Bad gateway, see #{uuid(n + 1)}</html>"})
        task(Grid.Market, :prices, [day(n)])
      end,
      ex_readings_queue: &dies(Grid.Readings, :latest, [serial(&1), num(&1)]),
      ex_contract_none: &task(Grid.Contracts, :tariff, [uuid(&1)]),
      ex_dispatch_timeout: fn n ->
        slow(Grid.Dispatch, fn -> child(Grid.Balancer, area(n), {:info, {:deviation, serial(n), num(n) / 16}}) end)
      end,
      ex_broker_env: &no_start(Grid.BrokerSupervisor, Grid.Broker, "client-" <> uuid(&1)),
      ex_live_date: &live(&1, %{}, "filter", %{"from" => Enum.at(["", "yesterday", "31.12.#{num(&1)}"], rem(&1, 3))}),
      ex_live_no_meter: &live(&1, %{total: num(&1), from: day(&1)}, "refresh", %{"value" => name(&1)}),
      ex_live_event: &live(&1, %{total: num(&1)}, "refrsh", %{"value" => name(&1), "at" => stamp(&1)}),
      ex_import_mpan: &dies(Grid.Import, :rows, [csv(&1), good(&1) ++ [%{"kind" => "reading", "value" => amount(&1), "serial" => serial(&1)}]]),
      ex_import_swap: &dies(Grid.Import, :rows, [csv(&1), good(&1) ++ [%{"kind" => "swap", "at" => day(&1) <> " " <> name(&1)}]]),
      ex_export_since: &dies(Grid.Import, :export, [contract(&1)]),
      ex_job_settlement: &dies(Conveyor.Executor, :call, [Grid.SettlementJob, %{"area" => area(&1), "rows" => [num(&1)]}, 1 + rem(&1, 5)]),
      ex_job_outage: &dies(Conveyor.Executor, :call, [Grid.OutageJob, %{"street" => street(&1)}, 1 + rem(&1, 20)]),
      ex_log_publish: fn n ->
        failing(:wire, :econnrefused)
        dies(Grid.Market, :publish, [day(n), rem(n, 24), peer(n)])
      end,
      ex_log_not_metered: &dies(Grid.Balancer, :settle, [area(&1), day(&1), num(&1), nil]),
      ex_log_imbalance: &dies(Grid.Balancer, :settle, [area(&1), day(&1), num(&1), num(&1 + 1) / 8]),
      ex_log_meter_offline: &dies(Grid.Balancer, :offline, [serial(&1), stamp(&1), street(&1)])
    ]
  end

  defp reading(n), do: Enum.at(["#{amount(n)} kWh", "n/a", "", "#{num(n)},5"], rem(n, 4))

  defp frame(n) do
    # As some senders do it.
    payload = %{"obis" => "1-0:1.8.#{rem(n, 3)}", "value" => num(n)}
    if rem(n, 2) == 0, do: payload, else: Map.put(payload, "unit", "Wh")
  end

  defp contract(n), do: struct(Grid.Contract, id: num(n), customer: name(n), tariff: area(n))

  defp area(n), do: Enum.at(["north", "Süd", "west-2", "DE_50"], rem(n, 4))

  defp street(n), do: Enum.at(["Mill Lane", "Am Markt", "Rue de l'Église"], rem(n, 3)) <> " "

  defp csv(n), do: "/data/in/#{day(n)}-#{name(n)}.csv"

  defp good(n), do: for(i <- tl(seq(n)), do: %{"kind" => "reading", "mpan" => uuid(i), "value" => i})

  defp live(n, assigns, event, value) do
    page = {GridWeb.MeterLive, "phx-" <> uuid(n), assigns}
    child(Livelink.Channel, page, {:info, {:message, "event", %{"event" => event, "type" => "click", "value" => value}}})
  end

  defp room(n), do: %{name: "room:#{num(n)}", members: seq(n), limit: length(seq(n)), banned: [email(n), n]}

  defp conn(action, params) do
    struct(Pipeline.Conn, path: "/rooms/#{action}", params: params, assigns: %{route: {ChatWeb.RoomController, action}})
  end

  defp request(action, params), do: crashes(Pipeline.Server, :init, [ChatWeb.Endpoint, conn(action, params)])

  # Of a server that takes what it gets as it is.
  defp wrapped(action, params), do: task(ChatWeb.Endpoint, :call, [conn(action, params), []])

  defp bot(commands) do
    {:ok, pid} = DynamicSupervisor.start_child(Chat.Bots, {Chat.Bot, commands})
    down(Process.monitor(pid))
  end

  defp cart(n), do: %{id: n, name: name(n), prices: seq(n), owner: struct(Shop.Customer, id: n, name: name(n))}

  defp task(module, function, args) do
    {:ok, pid} = Task.start(module, function, args)
    down(Process.monitor(pid))
  end

  defp supervised_task(module, function, args) do
    {:ok, pid} = Task.Supervisor.start_child(Shop.Tasks, module, function, args)
    down(Process.monitor(pid))
  end

  defp agent(n) do
    child(Shop.Counter, n, {:from, Shop.Counter, :increment, [name(n)]})
  end
end

_ = Golden.Programs.load(sources, 1)
:ok = :golden_faults.start()
{:ok, _} = apply(Shop.Supervisor, :start_link, [1000])
{:ok, _} = Task.Supervisor.start_link(name: Shop.Tasks)
{:ok, _} = DynamicSupervisor.start_link(name: Chat.Bots)
{:ok, _} = Registry.start_link(keys: :unique, name: Chat.Registry)
:ok = :golden_faults.rounds(Golden.Bugs.all(), 1, [:logger, :manager, :logger])
{:ok, _} = apply(Grid.Supervisor, :start_link, [1000])
grid = fn first, hows -> :golden_faults.rounds(Golden.Bugs.grid(), first, hows) end
:ok = :golden_faults.below(Grid.Supervisor, fn -> grid.(21, [:logger, :manager, :logger]) end)
applications = Golden.Programs.load(sources, 2)
:ok = :golden_faults.rounds(Golden.Bugs.all(), 4, [:logger, :manager])
:ok = :golden_faults.below(Grid.Supervisor, fn -> grid.(24, [:logger, :manager]) end)
:golden_faults.finish(String.to_charlist(out), applications)
