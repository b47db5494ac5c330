defmodule Ectoish.Changeset do
  defstruct action: nil, changes: %{}, errors: [], data: nil, valid?: false
end

defmodule Ectoish.InvalidChangesetError do
  defexception [:action, :changeset]

  def message(%{action: action, changeset: changeset}) do
    "could not perform #{action} because changeset is invalid.\n\nErrors: #{inspect(changeset.errors)}\n\n" <>
      "Applied changes: #{inspect(changeset.changes)}"
  end
end

defmodule Ectoish.ConnectionError do
  defexception [:message, severity: :error]
end

# A repository that raises on behalf of who asks.
defmodule Ectoish.Repo do
  def insert!(data, changes, errors) do
    changeset = %Ectoish.Changeset{action: :insert, changes: changes, errors: errors, data: data}

    case validated(changeset) do
      {:ok, data} -> data
      {:error, changeset} -> raise Ectoish.InvalidChangesetError, action: :insert, changeset: changeset
    end
  end

  defp validated(changeset), do: if(changeset.valid?, do: {:ok, changeset.data}, else: {:error, changeset})

  def all(query, waited) do
    case Process.get(:connection) do
      nil -> raise Ectoish.ConnectionError, "connection not available, request was dropped after #{waited}ms"
      connection -> {connection, query}
    end
  end
end
