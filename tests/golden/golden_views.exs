# What Elixir logs, and what it makes of OTP's reports, recorded by golden_views.erl:
# elixir --erl "-logger handle_sasl_reports true" golden_views.exs OUT
[out] = System.argv()
require Logger

defmodule Golden do
  use GenServer
  def init(state), do: {:ok, state}
  def handle_call(:crash, _from, _state), do: raise("oops")
  def handle_call(:match, _from, state), do: 17 = state
  def handle_call(:exit, _from, _state), do: exit({:a, "reason"})
  def atoms_only(value) when is_atom(value), do: value
  def own(value), do: Process.get(:none, value)
end

defmodule Golden.Error do
  defexception [:code]
  def message(error), do: "code #{error.code}"
end

attempt = fn call ->
  try do
    call.()
  catch
    _, _ -> :failed
  end
end

Logger.configure(level: :debug)
:ok = :golden_views.start()

Logger.error("a text")
Logger.warning(["iodata ", ["of ", ?m], "any\n", "parts é"])
Logger.info("with metadata", user: 17, tags: [:a, "b"])
Logger.debug(fn -> "lazy" end)
Logger.notice(what: "happened", n: 17)
Logger.critical(%{what: "happened", n: 17})
:logger.error(~c"format ~p", [%{a: 1}])

for message <- [:crash, :match, :exit] do
  {:ok, pid} = GenServer.start(Golden, :state)
  attempt.(fn -> GenServer.call(pid, message) end)
end

{:ok, named} = GenServer.start(Golden, :state, name: Golden.Named)
attempt.(fn -> GenServer.call(named, :crash) end)

for failing <- [
      fn -> raise ArgumentError, "wrong" end,
      fn -> raise Golden.Error, code: 17 end,
      fn -> 1 = Golden.own(2) end,
      fn -> Golden.own(1) / Golden.own(0) end,
      fn -> Golden.atoms_only(Golden.own(17)) end,
      fn -> apply(Golden.Nowhere, :f, [1]) end,
      fn -> case(Golden.own(1), do: (2 -> :ok)) end,
      fn -> Map.fetch!(%{a: 1}, :b) end,
      fn -> exit(:a_reason) end,
      fn -> throw(:a_ball) end,
      fn -> :erlang.error(:a_reason) end
    ] do
  {:ok, task} = Task.start(failing)
  ref = Process.monitor(task)
  receive do: ({:DOWN, ^ref, _, _, _} -> :ok)
  {pid, ref} = spawn_monitor(failing)
  receive do: ({:DOWN, ^ref, _, ^pid, _} -> :ok)
  pid = :proc_lib.spawn(failing)
  ref = Process.monitor(pid)
  receive do: ({:DOWN, ^ref, _, _, _} -> :ok)
end

Process.flag(:trap_exit, true)
child = %{id: :child, start: {GenServer, :start_link, [Golden, :state, [name: Golden.Child]]}}
{:ok, sup} = Supervisor.start_link([child], strategy: :one_for_one, max_restarts: 1, name: Golden.Sup)

for _ <- 1..2 do
  attempt.(fn -> GenServer.call(Golden.Child, :crash) end)
  Process.sleep(50)
end

receive do: ({:EXIT, ^sup, _} -> :ok)
:golden_views.finish(String.to_charlist(out))
