defmodule Grid.Contract do
  defstruct [:id, :customer, :tariff, since: nil, rate: nil]
end

defmodule Grid.Supervisor do
  use Supervisor
  def start_link(intensity), do: Supervisor.start_link(__MODULE__, {intensity, []}, name: __MODULE__)

  def start_link(name, intensity, children),
    do: Supervisor.start_link(__MODULE__, {intensity, children}, name: name)

  def init({intensity, children}),
    do: Supervisor.init(children, strategy: :one_for_one, max_restarts: intensity, max_seconds: 5)
end

# The process that a request runs in: it survives what it asks for.
defmodule Grid.Client do
  def ask(server, request) do
    {:ok, GenServer.call(server, request, 5000)}
  catch
    :exit, {_, _} -> {:error, :unavailable}
  end
end

# A meter in somebody's cellar.
defmodule Grid.Meter do
  use GenServer
  defstruct [:serial, total: 0.0, last: nil, tariff: nil]

  def start_link(serial), do: GenServer.start_link(__MODULE__, serial)
  def init(serial), do: {:ok, %__MODULE__{serial: serial}}

  def handle_call({:peak, hour}, _from, meter) do
    {:reply, Grid.Tariff.factor(hour, meter.tariff), meter}
  end

  def handle_cast({:reading, text}, meter) do
    {kwh, ""} = Float.parse(text)
    {:noreply, %{meter | total: meter.total + kwh}}
  end

  def handle_info({:frame, payload}, meter) do
    {:noreply, %{meter | last: register(payload)}}
  end

  defp register(payload), do: {payload.obis, payload.value}
end

defmodule Grid.Tariff do
  def factor(hour, %Grid.Contract{} = contract) when hour in 0..23, do: contract.rate * hour

  def cost(day, slots), do: {day, slots |> Enum.map(&slot/1) |> Enum.sum()}

  defp slot({hour, kwh}) when hour < 6, do: 18 * kwh
  defp slot({hour, kwh}) when hour < 24, do: 31 * kwh
end

defmodule Grid.Invoice do
  def total(contract, lines) do
    Enum.reduce(lines, 0, fn line, sum -> sum + line.kwh * contract.rate end)
  end
end

defmodule Grid.Weather do
  def forecast(place) do
    response = Wire.get!("https://weather.example/v3/forecast?at=" <> place, receive_timeout: 5000)
    response.body
  end
end

defmodule Grid.Market do
  require Logger

  def prices(day) do
    {:ok, %Wire.Response{status: 200, body: body}} = Wire.get("https://market.example/day-ahead/" <> day, retry: false)
    body
  end

  def publish(day, hour, host) do
    case Wire.get("https://#{host}/bids/#{day}/#{hour}", []) do
      {:ok, response} -> {:published, response}
      {:error, error} -> Logger.error("Publishing bid #{day}T#{hour} to #{host} failed: #{inspect(error)}")
    end
  end
end

defmodule Grid.Readings do
  def latest(serial, waited) do
    rows = Relational.Repo.all("readings", waited)
    {serial, rows}
  end
end

defmodule Grid.Contracts do
  def tariff(id) do
    contract = Relational.Repo.get!(Grid.Contract, id)
    contract.tariff
  end
end

# Never answers in time.
defmodule Grid.Dispatch do
  use GenServer
  def start_link(arg), do: GenServer.start_link(__MODULE__, arg, name: __MODULE__)
  def init(arg), do: {:ok, arg}
  def setpoint(plant, megawatts), do: GenServer.call(__MODULE__, {:setpoint, plant, megawatts}, 5)
  def handle_call(_, _from, state), do: {:noreply, state}
end

defmodule Grid.Balancer do
  use GenServer
  require Logger

  def start_link(area), do: GenServer.start_link(__MODULE__, area)
  def init(area), do: {:ok, %{area: area, plants: %{}}}

  def handle_info({:deviation, plant, megawatts}, state) do
    :ok = Grid.Dispatch.setpoint(plant, megawatts)
    {:noreply, put_in(state.plants[plant], megawatts)}
  end

  # Two things to do, in one function.
  def settle(area, day, planned, metered) do
    if metered == nil do
      Logger.error("No metered values of #{area} for #{day}, settlement is postponed")
    else
      Logger.error("Settlement of #{area} for #{day} is off by #{metered - planned} MWh (planned #{planned})")
    end
  end

  def offline(serial, since, street) do
    Logger.error(%{event: :meter_offline, serial: serial, since: since, location: %{street: street, floor: byte_size(street)}})
  end
end

defmodule Grid.Broker do
  use GenServer
  def start_link(client), do: GenServer.start_link(__MODULE__, client)

  def init(client) do
    url = System.fetch_env!("GRID_BROKER_URL")
    {:ok, {client, url}}
  end
end

# Goes on with the next row, whatever is in this one.
defmodule Grid.Import do
  require Logger

  def rows(file, rows) do
    for {row, number} <- Enum.with_index(rows) do
      try do
        row(row)
      rescue
        error -> Logger.error("#{file}:#{number} not imported\n" <> Exception.format(:error, error, __STACKTRACE__))
      end
    end
  end

  defp row(%{"kind" => "reading"} = row), do: {Map.fetch!(row, "mpan"), row["value"]}
  defp row(%{"kind" => "swap", "at" => at}), do: {:swap, NaiveDateTime.from_iso8601!(at)}

  def export(contract) do
    {:ok, line(contract)}
  rescue
    error ->
      Logger.error("Contract #{contract.id} not exported: #{Exception.message(error)}")
      :error
  end

  defp line(contract), do: [contract.customer, Date.to_string(contract.since)]
end

defmodule Grid.SettlementJob do
  def perform(%{"area" => area, "rows" => rows}) do
    {area, div(Enum.sum(rows), length(rows) - 1)}
  end
end

defmodule Grid.OutageJob do
  def perform(%{"street" => street}) do
    %{feeder: feeder} = locate(street)
    {:outage, feeder}
  end

  defp locate(street), do: %{street: street, error: {:ambiguous, byte_size(street)}}
end
