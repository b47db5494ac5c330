defmodule ShopWeb.NoRouteError do
  defexception [:path, plug_status: 404]
  def message(error), do: "no route found for GET #{error.path}"
end

defmodule ShopWeb.Router do
  def call(path) do
    if path in ["/", "/cart"], do: :ok, else: raise(ShopWeb.NoRouteError, path: path)
  end

  def page(params) do
    page = String.to_integer(params["page"])
    {:page, page}
  end
end

defmodule ShopWeb.View do
  def title(product), do: "<h1>" <> String.upcase(text(product)) <> "</h1>"

  defp text(%{name: name}), do: "#{name}"

  def rows(products), do: Enum.map(products, fn {name, price} -> [name, price] end)
end
