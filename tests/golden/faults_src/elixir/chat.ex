defmodule Chat.Rejection do
  defstruct [:code, :who, details: %{}]
end

defmodule Chat.Room do
  use GenServer
  require Logger

  def start_link(room), do: GenServer.start_link(__MODULE__, room)
  def init(room), do: {:ok, room}

  # Two texts of one kind of exception in one function.
  def handle_call({:join, user}, _from, room) do
    if user in room.banned, do: raise(ArgumentError, "#{user} may not enter #{room.name}")
    if length(room.members) >= room.limit, do: raise(ArgumentError, "#{room.name} is full: #{room.limit} members")
    {:reply, :ok, %{room | members: [user | room.members]}}
  end

  def handle_info({:online, user}, room) do
    status = GenServer.call(Chat.Presence, {:status, user})
    {:noreply, Map.put(room, :status, status)}
  end

  def say(room, text) do
    :ok = GenServer.call({:via, Registry, {Chat.Registry, room}}, {:say, text})
    :said
  end

  def upload(user, file, size) do
    if size > 900 do
      Logger.error("#{user} wants to send #{file} of #{size} kB, which is too large")
    else
      Logger.error("#{file} of #{user} could not be stored: #{inspect({:error, :enospc})}")
    end
  end
end

# Works on as soon as it has started.
defmodule Chat.Bot do
  use GenServer, restart: :temporary
  def start_link(commands), do: GenServer.start_link(__MODULE__, commands)
  def init(commands), do: {:ok, commands, {:continue, :run}}
  def handle_continue(:run, commands), do: {:noreply, Enum.map(commands, &run/1)}

  defp run({:say, text}) when is_binary(text), do: text
  defp run(:leave), do: :left
end

defmodule Chat.Accounts do
  def secret(options), do: {:secret, Keyword.fetch!(options, :secret)}

  def salt(user), do: {user, Application.fetch_env!(:chat, :salt)}

  def third(names) do
    name = Enum.fetch!(names, 2)
    {:third, name}
  end

  def login(user, password) do
    {:ok, account} = verify(user, password)
    account
  end

  defp verify(user, _), do: {:error, %Chat.Rejection{code: :locked, who: user, details: %{attempts: byte_size(user)}}}

  def member(room, email) do
    rows = Pgdriver.query!("INSERT INTO members (room_id, email) VALUES ($1, $2)", [room, email])
    length(rows)
  end

  def born(text) do
    date = Date.from_iso8601!(text)
    date.year
  end
end

defmodule Chat.Search do
  def find(query) do
    index = Task.async(Chat.Search, :slow, [query])
    hits = Task.await(index, 5)
    length(hits)
  end

  def previews(urls) do
    previews = urls |> Task.async_stream(Chat.Search, :slow, [], timeout: 5) |> Enum.to_list()
    length(previews)
  end

  def slow(_), do: Process.sleep(:infinity)
end
