# Survives the jobs of others, and logs how they failed.
defmodule Jobs.Worker do
  require Logger

  def run(module, args) do
    module.perform(args)
  rescue
    error ->
      Logger.error("Job #{inspect(module)} failed: " <> Exception.message(error),
        crash_reason: {error, __STACKTRACE__},
        args: args
      )
  end
end
