//! What the operator types.
//!
//! Exit codes: 0 done, 1 could not start or failed, 2 wrong usage or configuration.

mod bench;
mod cookie;
mod export;
mod import;
mod moment;
mod offline;
mod run;
mod verify;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::config::File;

#[derive(Parser)]
#[command(name = "logmachine", version, about, max_term_width = 100)]
struct Command {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Run the node: take events, keep them, serve them
    Run(Box<run::Run>),
    /// Validate a configuration file
    CheckConfig {
        /// The file, TOML
        file: PathBuf,
    },
    /// Check every record of logs that nobody writes to; exit 1 if anything is damaged
    Verify(verify::Verify),
    /// Write a log that nobody writes to as JSON lines, Erlang terms or a disk_log file
    Export(export::Export),
    /// Fill a log that nobody writes to from such files, or from logs of the original
    Import(import::Import),
    /// Generate load and measure, speaking the distribution protocol to a running node
    #[command(subcommand)]
    Bench(bench::Bench),
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
}

/// Runs the command line.
pub fn main() -> ExitCode {
    let command = Command::parse();
    let result = match command.verb {
        Verb::Run(run) => run.run(),
        Verb::CheckConfig { file } => check_config(&file),
        Verb::Verify(verify) => verify.run(),
        Verb::Export(export) => export.run(),
        Verb::Import(import) => import.run(),
        Verb::Bench(bench) => bench.run(),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            complain(&*failure.error);
            ExitCode::from(failure.code)
        }
    }
}

/// One line: the error and what caused it.
#[expect(clippy::print_stderr, reason = "this is where errors reach the operator")]
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
    eprintln!("logmachine: {line}");
}

/// A line for the operator, on standard output.
#[expect(clippy::print_stdout, reason = "this is where answers reach the operator")]
fn say(line: &str) {
    use std::io::Write;
    println!("{line}");
    // A reader waits for the line.
    let _ = std::io::stdout().flush();
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
