defmodule GridWeb.MeterLive do
  def handle_event("filter", %{"from" => from}, socket) do
    date = Date.from_iso8601!(from)
    {:noreply, %{socket | assigns: Map.put(socket.assigns, :from, date)}}
  end

  def handle_event("refresh", _, socket) do
    {:noreply, %{socket | assigns: %{socket.assigns | total: socket.assigns.meter.total}}}
  end
end
