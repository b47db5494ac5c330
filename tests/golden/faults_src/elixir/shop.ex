defmodule Shop.Customer do
  defstruct [:id, :name, address: nil]
end

defmodule Shop.PaymentError do
  defexception [:code, :order]
  def message(error), do: "payment of order #{error.order} failed with #{error.code}"
end

defmodule Shop.Supervisor do
  use Supervisor
  def start_link(intensity), do: Supervisor.start_link(__MODULE__, {intensity, []}, name: __MODULE__)

  def start_link(name, intensity, children),
    do: Supervisor.start_link(__MODULE__, {intensity, children}, name: name)

  def init({intensity, children}),
    do: Supervisor.init(children, strategy: :one_for_one, max_restarts: intensity, max_seconds: 5)
end

# The process that a request runs in: it survives what it asks for.
defmodule Shop.Client do
  def ask(server, request) do
    GenServer.call(server, request)
  catch
    :exit, _ -> {500, request}
  end
end

defmodule Shop.Cart do
  use GenServer
  require Logger

  def start_link(cart), do: GenServer.start_link(__MODULE__, cart)
  def init(cart), do: {:ok, cart}

  def handle_call({:add, items}, _from, cart) do
    prices =
      Enum.map(items, fn item ->
        case item do
          {_, price} when is_integer(price) -> price
          {_, %Shop.Customer{}} -> 0
        end
      end)

    {:reply, prices, %{cart | prices: prices}}
  end

  def handle_call({:pay, code}, _from, cart), do: raise(Shop.PaymentError, code: code, order: cart.id)
  def handle_call({:close, why}, _from, cart), do: throw({:closed, why, cart.id})

  def handle_cast({:rename, name}, cart), do: {:noreply, %{cart | name: name}}

  def handle_info({:book, amount}, cart), do: exit({:db, {:serialization_failure, amount + cart.id}})

  def handle_info({:save, errors}, cart) do
    changeset = %Ectoish.Changeset{action: :update, changes: %{name: cart.name}, errors: errors, data: cart}
    {:stop, {:invalid, changeset}, cart}
  end

  def handle_info({:quote, skus}, cart) do
    price = GenServer.call(Shop.Pricing, {:quote, skus}, 5)
    {:noreply, %{cart | prices: [price]}}
  end

  # Two messages of one function: two things to do.
  def checkout(id, items, coupon) do
    if items == [], do: raise("cart #{id} is empty")
    if coupon, do: raise("coupon #{coupon} of cart #{id} has expired")
    :ok
  end

  def refund(id, amount, reason) do
    if reason do
      Logger.error("Refund of EUR #{amount} for order #{id} failed: #{inspect(reason)}")
    else
      Logger.error("Order #{id} waits for a refund of EUR #{amount}", order: id)
    end
  end

  def load(id) do
    cart = Ectoish.Repo.all({:carts, id}, 1000 + rem(id, 700))
    {:ok, cart}
  end
end

defmodule Shop.Stock do
  def count(sku) do
    count = Ectoish.Repo.all({:stock, sku}, 1500 + byte_size(sku))
    {:ok, count}
  end

  def add(sku) do
    row = Ectoish.Repo.insert!(%{sku: sku}, %{sku: sku}, sku: {"has already been taken", [constraint: :unique]})
    {:ok, row}
  end

  def prices(name) do
    {:ok, data} = open(name)
    data
  end

  defp open(name), do: if(name == :none, do: {:ok, ""}, else: {:error, :enoent})

  def shelf(sku) do
    with {:ok, row} <- find(sku), do: row, else: (:gone -> nil)
  end

  defp find(sku), do: {:error, {:not_found, sku}}
end

defmodule Shop.Orders do
  def customer(order), do: {order.name, Map.fetch!(order, :email)}
  def address(order), do: [order.email, order.street]

  def create(customer, amount) do
    order = Ectoish.Repo.insert!(customer, %{amount: amount}, amount: {"must be positive", [number: 0]})
    {:ok, order}
  end

  def weight(items), do: items |> Enum.map(&grams/1) |> Enum.sum()

  defp grams({_, grams}) when is_integer(grams), do: grams

  def share(amount, customers), do: div(amount, length(customers))

  def receipt(order) do
    text = Shop.Orders.render_recipt(order)
    {:ok, text}
  end

  def total(cart) do
    total = cart.owner.total()
    {:ok, total}
  end

  def cancel(order, why), do: throw({:cancelled, order, why})
end

defmodule Shop.Listener do
  use GenServer
  def start_link(port), do: GenServer.start_link(__MODULE__, port)
  def init(port), do: {:stop, {:port_in_use, port}}
end

# Never answers in time.
defmodule Shop.Pricing do
  use GenServer
  def start_link(arg), do: GenServer.start_link(__MODULE__, arg, name: __MODULE__)
  def init(arg), do: {:ok, arg}
  def handle_call(_, _from, state), do: {:noreply, state}
end

defmodule Shop.Report do
  def nightly(day) do
    rows = GenServer.call(Shop.Pricing, {:rows, day}, 5)
    length(rows)
  end

  # Its task takes it along.
  def parallel(days), do: Task.await(Task.async(Shop.Report, :day, [days]))

  def day(days) do
    [_, _ | rest] = for day <- days, day > 100, do: day
    rest
  end

  def export(rows), do: Enum.reduce(rows, 0, fn row, sum -> sum + row.total end)
end

defmodule Shop.Counter do
  def start_link(count), do: Agent.start_link(fn -> count end)
  def increment(agent, by), do: Agent.update(agent, Shop.Counter, :add, [by])
  def add(count, by), do: count + by
end

defmodule Shop.InvoiceJob do
  def perform(%{order: order}) do
    {:ok, pdf} = render(order)
    pdf
  end

  defp render(order), do: {:error, {:no_template, order}}
end

defmodule Shop.ExportJob do
  def perform(%{order: order}), do: raise(ArgumentError, "order #{order} cannot be exported")
end
