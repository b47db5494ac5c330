//! `logmachine export`: a log that nobody writes to, as JSON lines, Erlang terms or one `disk_log` file.

use std::io::{BufWriter, ErrorKind, Write};
use std::path::PathBuf;
use std::sync::Arc;

use clap::{Args, ValueEnum};

use super::draft::Draft;
use super::offline::{Place, Troubles, disk_bytes, progress};
use super::{Failure, moment};
use crate::etf::{TermRef, json, text};
use crate::event_log::transfer::{self, ExportError};
use crate::event_log::{EntryRef, Log, open_read_only, storage::RealStorage};
use crate::match_spec::{Limits, MatchSpec, Outcome, Scratch};
use crate::time::{Clock, Timestamp};

/// How entries are written.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// A JSON object a line: `timestamp` in microseconds and `event` in the lossless mapping
    Ndjson,
    /// Terms that `file:consult/1` reads; pids, ports, references and closures, which have no syntax, are tuples
    /// such as `{'$pid', Node, Id, Serial, Creation}`
    Terms,
    /// A `disk_log` file (halt, internal)
    DiskLog,
}

#[derive(Args)]
pub(super) struct Export {
    /// Directory of the log
    dir: PathBuf,
    #[command(flatten)]
    place: Place,
    /// How entries are written
    #[arg(long, value_enum, default_value = "ndjson")]
    format: Format,
    /// Where to, instead of standard output; not into the log
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Replace the file if it exists
    #[arg(long, requires = "output")]
    force: bool,
    /// Entries at or after this moment
    #[arg(long, value_name = "T")]
    since: Option<String>,
    /// Entries at or before this moment
    #[arg(long, value_name = "T")]
    until: Option<String>,
    /// Events that match, and what the match spec makes of them; in a disk_log file they stay as they are
    #[arg(long = "match", value_name = "MATCHSPEC")]
    match_spec: Option<String>,
}

impl Export {
    pub(super) fn run(self) -> Result<(), Failure> {
        let now = Clock::system().now();
        let since = self.since.as_deref().map(|text| moment::parse(text, now)).transpose();
        let until = self.until.as_deref().map(|text| moment::parse(text, now)).transpose();
        let since = since.map_err(Failure::usage)?.unwrap_or(Timestamp::MIN);
        let until = until.map_err(Failure::usage)?.unwrap_or(Timestamp::MAX);
        let filter = self.match_spec.as_deref().map(compile).transpose()?;
        if self.format == Format::DiskLog && self.output.is_none() {
            return Err(Failure::usage("--format disk-log needs --output FILE"));
        }
        let config = self.place.log(&self.dir)?;
        let begin =
            |path: &PathBuf| Draft::begin(path, self.force, &[&config.dir, &config.arch_dir]);
        let draft = self.output.as_ref().map(begin).transpose()?;
        let bar = progress(disk_bytes(&config));
        let log = open_read_only(config, Arc::new(RealStorage)).map_err(Failure::failed)?;
        let mut filter = filter.map(|spec| (spec, Scratch::default(), Vec::new()));
        let mut on_progress = |bytes| bar.set_position(bytes);
        let range = (since, until);
        match &draft {
            Some(draft) if self.format == Format::DiskLog => {
                let mut keep = |entry: EntryRef<'_>| filtered(&mut filter, entry.event).is_some();
                let (path, on_progress) = (draft.path(), &mut on_progress);
                transfer::export_disk_log(&log, range, &RealStorage, path, &mut keep, on_progress)
                    .map_err(Failure::failed)?;
            }
            Some(draft) => {
                let mut output = BufWriter::new(draft.file());
                self.write(&log, range, &mut filter, &mut output, &mut on_progress)
                    .map_err(Failure::failed)?;
            }
            None => {
                let mut output = BufWriter::new(std::io::stdout().lock());
                let written = self.write(&log, range, &mut filter, &mut output, &mut on_progress);
                // Who reads has seen enough.
                if written.as_ref().is_err_and(is_broken_pipe) {
                    // What is left in the buffer has no reader either.
                    let _ = output.into_parts();
                } else {
                    written.map_err(Failure::failed)?;
                }
            }
        }
        bar.finish_and_clear();
        draft.map_or(Ok(()), Draft::finish)?;
        let mut troubles = Troubles::default();
        let stats = log.stats();
        // The log names each, also what is missing.
        (0..stats.damaged).for_each(|_| troubles.count());
        if stats.torn_bytes > 0 {
            let (dir, bytes) = (self.dir.display(), stats.torn_bytes);
            troubles.name(&format!("{dir}: the live segment ends in {bytes} bytes that are torn"));
        }
        troubles.result("stepped over")
    }

    /// Writes the entries as text.
    fn write(
        &self,
        log: &Log,
        (since, until): (Timestamp, Timestamp),
        filter: &mut Option<Filter>,
        output: &mut dyn Write,
        on_progress: &mut dyn FnMut(u64),
    ) -> Result<(), ExportError> {
        let mut each = |entry: EntryRef<'_>| {
            if let Some(event) = filtered(filter, entry.event) {
                match self.format {
                    Format::Ndjson => {
                        let (micros, event) = (entry.timestamp.micros(), json::to_json(event));
                        writeln!(output, "{{\"timestamp\":{micros},\"event\":{event}}}")?;
                    }
                    _ => transfer::write_consult(&mut *output, entry.timestamp, event)?,
                }
            }
            Ok(())
        };
        transfer::export(log, since, until, &mut each, on_progress)?;
        output.flush().map_err(|error| ExportError::Stopped(error.into()))
    }
}

/// Whether nobody reads what is written any more.
fn is_broken_pipe(error: &ExportError) -> bool {
    let ExportError::Stopped(error) = error else { return false };
    error
        .downcast_ref::<std::io::Error>()
        .is_some_and(|error| error.kind() == ErrorKind::BrokenPipe)
}

/// A match spec with what it needs to run.
type Filter = (MatchSpec, Scratch, Vec<u8>);

/// What is delivered in the event's place, if it matches.
fn filtered<'a>(filter: &'a mut Option<Filter>, event: &'a [u8]) -> Option<TermRef<'a>> {
    let event = TermRef::from_walked(event);
    let Some((spec, scratch, result)) = filter else { return Some(event) };
    result.clear();
    match spec.run(scratch, event, result) {
        Outcome::Result => Some(TermRef::from_walked(result)),
        Outcome::NoMatch | Outcome::Budget | Outcome::Unfinished => None,
    }
}

/// A match spec written as Erlang text.
fn compile(spec: &str) -> Result<MatchSpec, Failure> {
    let term = text::parse(spec).map_err(|error| Failure::usage(format!("--match: {error}")))?;
    let spec = MatchSpec::compile(TermRef::from_walked(&term), Limits::default());
    spec.map_err(|error| Failure::usage(format!("--match: {error}")))
}
