defmodule Wire.Response do
  defstruct status: 200, headers: [], body: "", private: %{}
end

defmodule Wire.TransportError do
  defexception [:reason]
  def message(%{reason: reason}), do: if(reason == :timeout, do: "timeout", else: "#{inspect(reason)}")
end

# A client of HTTP, whose servers answer what Application's environment has.
defmodule Wire do
  def get(url, _options) do
    case Application.get_env(:wire, :failing, :timeout) do
      {status, headers, body} -> {:ok, %Wire.Response{status: status, headers: headers, body: body, private: %{url: url}}}
      reason -> {:error, %Wire.TransportError{reason: reason}}
    end
  end

  def get!(url, options) do
    case get(url, options) do
      {:ok, response} -> response
      {:error, error} -> raise error
    end
  end
end
