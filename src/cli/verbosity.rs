//! How much of our own doing is said on standard error, and whether in colour.

use std::io::IsTerminal;

use clap::{ArgAction, Args};
use tracing::Level;

use crate::config::{LogFormat, NodeSection};
use crate::diagnostics;

/// `-v` and `-q`, for every verb.
#[derive(Args, Clone, Copy, Default)]
pub(super) struct Flags {
    /// More diagnostics; twice for every packet [env: LOGMACHINE_VERBOSE=0|1|2]
    #[arg(short, long, action = ArgAction::Count, global = true)]
    verbose: u8,
    /// Errors only [env: LOGMACHINE_QUIET=true]
    #[arg(short, long, global = true)]
    quiet: bool,
}

impl Flags {
    /// Whether they go together.
    pub(super) fn check(self) -> Result<(), String> {
        if self.quiet && self.verbose > 0 {
            return Err("-q and -v cannot be used together".to_owned());
        }
        Ok(())
    }

    /// The level: flags over environment over `[node]`.
    fn level(self, section: &NodeSection) -> Result<Level, String> {
        if self.quiet {
            return Ok(Level::ERROR);
        }
        if self.verbose > 0 {
            return Ok(level(self.verbose));
        }
        match environment("LOGMACHINE_QUIET").as_deref() {
            None | Some("false" | "0") => {}
            Some("true" | "1") => return Ok(Level::ERROR),
            Some(other) => return Err(format!("LOGMACHINE_QUIET={other:?}: write true or false")),
        }
        match environment("LOGMACHINE_VERBOSE").as_deref() {
            None if section.quiet == Some(true) => Ok(Level::ERROR),
            None => Ok(level(section.verbose.unwrap_or_default())),
            Some("0") => Ok(level(0)),
            Some("1") => Ok(level(1)),
            Some("2") => Ok(level(2)),
            Some(other) => Err(format!("LOGMACHINE_VERBOSE={other:?}: write 0, 1 or 2")),
        }
    }

    /// Sends diagnostics to standard error. The first call counts.
    pub(super) fn diagnose(
        self,
        format: Option<LogFormat>,
        section: &NodeSection,
    ) -> Result<(), String> {
        let level = self.level(section)?;
        diagnostics::start(format == Some(LogFormat::Json), level, has_colours(&std::io::stderr()));
        Ok(())
    }
}

/// A variable that is set to something.
pub(super) fn environment(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

const fn level(verbose: u8) -> Level {
    match verbose {
        0 => Level::INFO,
        1 => Level::DEBUG,
        _ => Level::TRACE,
    }
}

/// Whether an output is a terminal that takes colours, and nobody said not to (<https://no-color.org>).
pub(super) fn has_colours(output: &impl IsTerminal) -> bool {
    output.is_terminal() && environment("NO_COLOR").is_none() && is_able_terminal()
}

/// Whether the terminal can do more than take lines.
pub(super) fn is_able_terminal() -> bool {
    environment("TERM").is_none_or(|term| term != "dumb")
}
