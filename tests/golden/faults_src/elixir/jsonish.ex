defmodule Jsonish.DecodeError do
  defexception [:position, :data]

  def message(%{position: position, data: data}) do
    if position == byte_size(data),
      do: "unexpected end of input at position #{position}",
      else: "unexpected byte at position #{position}: #{inspect(binary_part(data, position, 1))}"
  end
end

defprotocol Jsonish.Encoder do
  @fallback_to_any true
  def encode(value)
end

defimpl Jsonish.Encoder, for: [Integer, Atom] do
  def encode(value), do: to_string(value)
end

defimpl Jsonish.Encoder, for: BitString do
  def encode(value), do: [?", value, ?"]
end

defimpl Jsonish.Encoder, for: Any do
  def encode(value) do
    raise Protocol.UndefinedError,
      protocol: Jsonish.Encoder,
      value: value,
      description: "Jsonish.Encoder must be derived or implemented for a type before it can be encoded.\n\nSee its documentation."
  end
end

defmodule Jsonish do
  def decode!(data) do
    case scan(data, 0) do
      {:ok, value} -> value
      {:error, position} -> raise Jsonish.DecodeError, position: position, data: data
    end
  end

  defp scan(<<byte, rest::binary>>, at) when byte in ?a..?z, do: scan(rest, at + 1)
  defp scan("", 0), do: {:ok, nil}
  defp scan(_, at), do: {:error, at}

  def encode!(pairs), do: Enum.map_join(pairs, ",", fn {key, value} -> [?", key, ?", ?:, Jsonish.Encoder.encode(value)] end)
end
