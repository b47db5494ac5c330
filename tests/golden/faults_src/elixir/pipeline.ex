defmodule Pipeline.Conn do
  defstruct method: "GET", path: "/", params: %{}, assigns: %{}, halted: false
end

# Carries what went wrong together with the request.
defmodule Pipeline.WrapperError do
  defexception [:conn, :kind, :reason, :stack]
  def message(%{kind: kind, reason: reason, stack: stack}), do: Exception.format_banner(kind, reason, stack)
end

defmodule Pipeline do
  def call(conn, {module, action}) do
    apply(module, action, [conn, conn.params])
  catch
    :error, %Pipeline.WrapperError{} = wrapper ->
      :erlang.raise(:error, wrapper, wrapper.stack)

    :error, reason ->
      reason = Exception.normalize(:error, reason, __STACKTRACE__)
      wrapper = %Pipeline.WrapperError{conn: conn, kind: :error, reason: reason, stack: __STACKTRACE__}
      :erlang.raise(:error, wrapper, __STACKTRACE__)
  end
end

# What runs requests below a web server: unwraps, and exits with the call.
defmodule Pipeline.Server do
  def init(endpoint, conn) do
    endpoint.call(conn, [])
  catch
    kind, reason -> stop(kind, reason, __STACKTRACE__, {endpoint, :call, [conn, []]})
  end

  defp stop(:error, %Pipeline.WrapperError{kind: kind, reason: reason, stack: stack}, _, call),
    do: stop(kind, reason, stack, call)

  defp stop(:error, reason, stack, call), do: exit({{Exception.normalize(:error, reason, stack), stack}, call})
  defp stop(:exit, reason, _, call), do: exit({reason, call})
end
