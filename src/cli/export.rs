//! `logmachine export`: a log that nobody writes to, as JSON lines, Erlang terms or one `disk_log` file.

use std::io::{BufWriter, ErrorKind, Write};
use std::path::PathBuf;
use std::sync::Arc;

use clap::{Args, ValueEnum};

use super::draft::Draft;
use super::offline::{LogArguments, Troubles, disk_bytes, progress};
use super::{Failure, say};
use crate::etf::{json, text};
use crate::event_log::transfer::{self, DiskLogFile, ExportError};
use crate::event_log::{open_read_only, storage::RealStorage};
use crate::instance::reader::{Reader, Selected, Selection, Taken};
use crate::match_spec::{Limits, MatchSpec};
use crate::time::{Clock, Timestamp, moment};

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
    place: LogArguments,
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
        let until = until.map_err(Failure::usage)?;
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
        let is_disk_log = self.format == Format::DiskLog;
        // There events stay as they are.
        let selection = Selection { to: until, filter, ..Selection::starting(since) };
        let mut reader = Reader::new(&log, selection);
        let mut on_progress = |bytes| bar.set_position(bytes);
        let over_budget = match &draft {
            Some(draft) if is_disk_log => {
                let mut file =
                    DiskLogFile::create(&RealStorage, draft.path()).map_err(Failure::failed)?;
                let mut each = |entry: Selected<'_>| file.push(entry.timestamp, entry.original);
                let over_budget = export(&mut reader, &mut each, &mut on_progress);
                over_budget
                    .and_then(|over_budget| file.finish().map(|()| over_budget))
                    .map_err(Failure::failed)?
            }
            Some(draft) => {
                let mut output = BufWriter::new(draft.file());
                self.write(&mut reader, &mut output, &mut on_progress).map_err(Failure::failed)?
            }
            None => {
                let mut output = BufWriter::new(std::io::stdout().lock());
                let written = self.write(&mut reader, &mut output, &mut on_progress);
                // Who reads has seen enough.
                if written.as_ref().is_err_and(is_broken_pipe) {
                    // What is left in the buffer has no reader either.
                    let _ = output.into_parts();
                    0
                } else {
                    written.map_err(Failure::failed)?
                }
            }
        };
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
        if over_budget > 0 {
            let dir = self.dir.display();
            say(&format!(
                "{dir}: the match spec ran out of its budget for {over_budget} entries, which were left out"
            ));
        }
        troubles.result("stepped over")
    }

    /// Writes the entries as text; how many were left out for want of budget.
    fn write(
        &self,
        reader: &mut Reader,
        output: &mut dyn Write,
        on_progress: &mut dyn FnMut(u64),
    ) -> Result<u64, ExportError> {
        let mut each = |entry: Selected<'_>| {
            let written = match self.format {
                Format::Ndjson => {
                    let (micros, event) = (entry.timestamp.micros(), json::to_json(entry.event));
                    writeln!(output, "{{\"timestamp\":{micros},\"event\":{event}}}")
                }
                _ => transfer::write_consult(&mut *output, entry.timestamp, entry.event),
            };
            written.map_err(|error| ExportError::Stopped(error.into()))
        };
        let over_budget = export(reader, &mut each, on_progress)?;
        output.flush().map_err(|error| ExportError::Stopped(error.into()))?;
        Ok(over_budget)
    }
}

/// Hands out the entries one by one; how many were left out because the match spec ran out of its budget. `on_progress` is
/// told the bytes of records read. What is damaged or missing is stepped over; the log counts it.
fn export(
    reader: &mut Reader,
    each: &mut dyn FnMut(Selected<'_>) -> Result<(), ExportError>,
    on_progress: &mut dyn FnMut(u64),
) -> Result<u64, ExportError> {
    let (mut over_budget, mut bytes) = (0, 0);
    while reader.fetch(READ_BYTES)? {
        let fetched = reader.fetched_bytes() as u64;
        let mut result = Ok(());
        let looked = reader.look(u64::MAX, |entry| {
            result = each(entry);
            if result.is_ok() { Taken::More } else { Taken::Not }
        });
        result?;
        over_budget += looked.over_budget;
        bytes += fetched;
        on_progress(bytes);
        if looked.stopped.is_some() {
            break;
        }
    }
    Ok(over_budget)
}

/// How much is read from a log at once.
const READ_BYTES: usize = 1 << 20;

/// Whether nobody reads what is written any more.
fn is_broken_pipe(error: &ExportError) -> bool {
    let ExportError::Stopped(error) = error else { return false };
    error
        .downcast_ref::<std::io::Error>()
        .is_some_and(|error| error.kind() == ErrorKind::BrokenPipe)
}

/// A match spec written as Erlang text.
pub(super) fn compile(spec: &str) -> Result<MatchSpec, Failure> {
    let term = text::parse(spec).map_err(|error| Failure::usage(format!("--match: {error}")))?;
    let spec = MatchSpec::compile(term.as_term(), Limits::default());
    spec.map_err(|error| Failure::usage(format!("--match: {error}")))
}
