# The bugs of programs in Elixir, recorded by golden_faults.erl:
# elixir --erl "-logger handle_sasl_reports true" golden_faults.exs SOURCES OUT
[sources, out] = System.argv()

defmodule Golden.Programs do
  @dependencies [:ectoish, :jobs]

  # As in a project of its own first, then within an umbrella, after somebody has worked on it.
  def load(sources, version) do
    Code.put_compiler_option(:ignore_module_conflict, true)

    # What others need comes first.
    for app <- [:ectoish, :jobs, :shop, :shop_web] do
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
      ex_job_export: &dies(Jobs.Worker, :run, [Shop.ExportJob, %{order: num(&1)}])
    ]
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
:ok = :golden_faults.rounds(Golden.Bugs.all(), 1, [:logger, :manager, :logger])
applications = Golden.Programs.load(sources, 2)
:ok = :golden_faults.rounds(Golden.Bugs.all(), 4, [:logger, :manager])
:golden_faults.finish(String.to_charlist(out), applications)
