defmodule Livelink.Socket do
  defstruct [:id, :view, assigns: %{}, redirected: nil]
end

# Holds a page of a browser, and gives its events to the page's module.
defmodule Livelink.Channel do
  use GenServer, restart: :temporary

  def start_link({view, id, assigns}), do: GenServer.start_link(__MODULE__, {view, id, assigns})

  def init({view, id, assigns}), do: {:ok, %Livelink.Socket{view: view, id: id, assigns: assigns}}

  def handle_info({:message, "event", %{"event" => event, "value" => value}}, socket) do
    {:noreply, socket} = event(socket, event, value)
    {:noreply, socket}
  end

  defp event(socket, event, value) do
    case socket.view.handle_event(event, value, socket) do
      {:noreply, %Livelink.Socket{}} = ok -> ok
      other -> raise ArgumentError, "bad return of handle_event/3: #{inspect(other)}"
    end
  end
end
