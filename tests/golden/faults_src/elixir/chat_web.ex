defmodule ChatWeb.Endpoint do
  def call(conn, _), do: Pipeline.call(conn, conn.assigns.route)
end

defmodule ChatWeb.RoomController do
  def show(conn, params) do
    room = Map.fetch!(params, "room")
    {conn, room}
  end

  def create(conn, params) do
    [name, topic] = String.split(params["title"], ": ")
    {conn, name, topic}
  end

  def hook(conn, params) do
    event = Jsonish.decode!(params["body"])
    {conn, event}
  end

  def index(conn, params) do
    json = Jsonish.encode!(params)
    {conn, json}
  end

  def delete(_conn, params) do
    id = String.to_integer(params["id"])
    {:deleted, id}
  end

  def pin(_conn, params) do
    {:pinned, params["message"].id}
  end
end
