defmodule Pgdriver.Error do
  defexception [:postgres, :query, connection_id: nil]

  def message(%{postgres: postgres, query: query}) do
    "ERROR #{postgres.pg_code} (#{postgres.code}) #{postgres.message}\n\n    table: #{postgres.table}\n    constraint: " <>
      "#{postgres.constraint}\n\n#{postgres.detail}\n\n    query: #{query}"
  end
end

# Raises what the database says, which Application's environment has.
defmodule Pgdriver do
  def query!(query, params) do
    case query(params) do
      {:ok, rows} -> rows
      {:error, error} -> raise %{error | query: query}
    end
  end

  def query(params) do
    {code, pg_code, message, constraint} = Application.get_env(:pgdriver, :failing, {:ok, "", "", ""})

    postgres = %{
      code: code,
      pg_code: pg_code,
      message: message,
      constraint: constraint,
      table: "members",
      detail: "Key (#{Enum.join(params, ", ")})"
    }

    if code == :ok, do: {:ok, params}, else: {:error, %Pgdriver.Error{postgres: postgres, connection_id: 4711}}
  end
end
