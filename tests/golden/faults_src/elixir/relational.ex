defmodule Relational.ConnectionError do
  defexception [:message, severity: :error, reason: :error]
end

defmodule Relational.NoResultsError do
  defexception [:message]

  def exception(query),
    do: %__MODULE__{message: "expected at least one result but got none in query:\n\n#{query}\n"}
end

# A mapper of a database, which waits for a connection of its pool.
defmodule Relational.Repo do
  def all(source, waited) do
    run("from #{source}", waited)
  end

  def get!(schema, id) do
    case run(schema, 0) do
      [row] -> row
      [] -> raise Relational.NoResultsError, "from r0 in #{inspect(schema)},\n  where: r0.id == ^#{inspect(id)}"
    end
  end

  defp run(_query, 0), do: []

  defp run(_query, waited) do
    raise Relational.ConnectionError,
      message:
        "connection not available and request was dropped from queue after #{waited}ms. This means requests are coming in " <>
          "and your connection pool cannot serve them fast enough. You can address this by:\n\n  1. Ensuring your database " <>
          "is available and that you can connect to it\n  2. Tracking down slow queries",
      reason: :queue_timeout
  end
end
