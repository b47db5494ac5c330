//! What the operator types.
//!
//! Exit codes: 0 done, 1 could not start or failed, 2 wrong usage or configuration.

mod backup;
mod bench;
mod client;
mod cookie;
mod draft;
mod explain;
mod export;
mod faults;
mod import;
mod info;
mod offline;
mod output;
mod pretty;
mod read;
mod rules;
mod run;
mod selection;
mod send;
mod shell;
mod tail;
mod token;
mod usage;
mod verbosity;
mod verify;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::config::{File, NodeSection};
use crate::diagnostics;

#[derive(Parser)]
#[command(name = "logmachine", version, about, max_term_width = 100)]
struct Command {
    #[command(subcommand)]
    verb: Verb,
    #[command(flatten)]
    verbosity: verbosity::Flags,
}

#[derive(Subcommand)]
enum Verb {
    /// Run the node: take events, keep them, serve them
    Run(Box<run::Run>),
    /// Validate a configuration file
    CheckConfig {
        /// The file: TOML, or Erlang terms if its name ends in `.config`
        file: PathBuf,
    },
    /// Show the end of a running node's log, and with -f what comes
    Tail(tail::Tail),
    /// Print what is selected of a running node's log
    Read(read::Read),
    /// Append events to a running node's log
    Send(send::Send),
    /// Show what a running node and its instances do
    Info(info::Info),
    /// Show what keeps breaking, and decide about it
    Faults(Box<faults::Faults>),
    /// Say what is different about a stretch of time
    Explain(explain::Explain),
    /// Show rules and alerts, say what would have fired, and silence what is known
    Rules(Box<rules::Rules>),
    /// Make a token for HTTP, and the configuration that accepts it
    Token(token::Token),
    /// Check every record of logs that nobody writes to; exit 1 if anything is damaged
    Verify(verify::Verify),
    /// Write a log that nobody writes to as JSON lines, Erlang terms or a disk_log file
    Export(export::Export),
    /// Fill a log that nobody writes to from such files, or from logs of the original
    Import(import::Import),
    /// Copy a log, of a running node too; run again, it copies what is new
    Backup(backup::Backup),
    /// Generate load and measure, speaking the distribution protocol to a running node
    #[command(subcommand)]
    Bench(bench::Bench),
    /// Print what a shell needs to complete command lines
    Completions(shell::Completions),
    /// Print the manual, of a verb or of all
    Man(shell::Manual),
}

/// Why a verb failed, and the exit code that tells so.
pub(crate) struct Failure {
    code: u8,
    error: Box<dyn std::error::Error + Send + Sync>,
}

impl Failure {
    /// Wrong usage or configuration.
    fn usage(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Failure { code: 2, error: error.into() }
    }

    /// Could not start, or failed at work.
    fn failed(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Failure { code: 1, error: error.into() }
    }

    /// Whether standard output, which alone can be a pipe of somebody else's, was closed.
    fn is_closed_pipe(&self) -> bool {
        let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(&*self.error);
        while let Some(error) = cause {
            if let Some(error) = error.downcast_ref::<std::io::Error>() {
                return error.kind() == std::io::ErrorKind::BrokenPipe;
            }
            cause = error.source();
        }
        false
    }
}

/// Runs the command line.
pub fn main() -> ExitCode {
    let code = command();
    diagnostics::flush();
    code
}

fn command() -> ExitCode {
    let command = match Command::try_parse() {
        Ok(command) => command,
        Err(error) => return usage::explain(&error),
    };
    match run(command) {
        Ok(()) => ExitCode::SUCCESS,
        // Whoever read our output has read enough.
        Err(failure) if failure.is_closed_pipe() => ExitCode::SUCCESS,
        Err(failure) => {
            complain(&*failure.error);
            ExitCode::from(failure.code)
        }
    }
}

fn run(Command { verb, verbosity }: Command) -> Result<(), Failure> {
    verbosity.check().map_err(Failure::usage)?;
    if matches!(verb, Verb::Run(_) | Verb::Bench(_)) {
        usage::check_epmd_environment()?;
    }
    if !matches!(verb, Verb::Run(_)) {
        // `run` has a file that may say otherwise.
        verbosity.diagnose(None, &NodeSection::default()).map_err(Failure::usage)?;
    }
    match verb {
        Verb::Run(run) => run.run(verbosity),
        Verb::CheckConfig { file } => check_config(&file),
        Verb::Tail(tail) => tail.run(),
        Verb::Read(read) => read.run(),
        Verb::Send(send) => send.run(),
        Verb::Info(info) => info.run(),
        Verb::Faults(faults) => faults.run(),
        Verb::Explain(explain) => explain.run(),
        Verb::Rules(rules) => rules.run(),
        Verb::Token(token) => token.run(),
        Verb::Verify(verify) => verify.run(),
        Verb::Export(export) => export.run(),
        Verb::Import(import) => import.run(),
        Verb::Backup(backup) => backup.run(),
        Verb::Bench(bench) => bench.run(),
        Verb::Completions(completions) => completions.run(),
        Verb::Man(manual) => manual.run(),
    }
}

/// One line: the error and what caused it.
fn complain(error: &dyn std::error::Error) {
    let mut line = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        let text = error.to_string();
        if !line.ends_with(&text) {
            line = format!("{line}: {text}");
        }
        source = error.source();
    }
    diagnostics::complain(&format!("logmachine: {line}"));
}

/// A line for the operator, on standard output. Nobody may be there to read it.
fn say(line: &str) {
    use std::io::Write;
    let mut output = std::io::stdout().lock();
    // A reader waits for the line.
    let _ = writeln!(output, "{line}").and_then(|()| output.flush());
}

fn check_config(file: &std::path::Path) -> Result<(), Failure> {
    let read = File::read(file).map_err(Failure::usage)?;
    let data_dir = read.node.data_dir.clone().unwrap_or_else(|| "data".into());
    let instances = read.instances(&[], &data_dir).map_err(Failure::usage)?;
    run::Run::default().settle(&read).map_err(Failure::usage)?;
    let names: Vec<_> = instances.iter().map(|instance| instance.log.name.as_str()).collect();
    say(&format!("{}: fine; instances: {}", file.display(), names.join(", ")));
    Ok(())
}
