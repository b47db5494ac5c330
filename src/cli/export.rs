//! `logmachine export`: a log that nobody writes to, as JSON lines, Erlang terms or one `disk_log` file.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::PathBuf;
use std::sync::Arc;

use clap::{Args, ValueEnum};

use super::offline::{Place, disk_bytes, progress};
use super::{Failure, moment};
use crate::etf::{TermRef, json, text};
use crate::event_log::{EntryRef, open_read_only, storage::RealStorage, transfer};
use crate::match_spec::{Limits, MatchSpec, Outcome, Scratch};
use crate::time::{Clock, Timestamp};

/// How entries are written.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// A JSON object a line: `timestamp` in microseconds and `event` in the lossless mapping
    Ndjson,
    /// Terms that `file:consult/1` reads; an event with pids, references, ports or funs, which have no syntax,
    /// becomes `{'$etf', Binary}` for `binary_to_term/1`
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
    /// Where to, instead of standard output
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
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
        super::run::diagnose(None, 0);
        let now = Clock::system().now();
        let since = self.since.as_deref().map(|text| moment::parse(text, now)).transpose();
        let until = self.until.as_deref().map(|text| moment::parse(text, now)).transpose();
        let since = since.map_err(Failure::usage)?.unwrap_or(Timestamp::MIN);
        let until = until.map_err(Failure::usage)?.unwrap_or(Timestamp::MAX);
        let filter = self.match_spec.as_deref().map(compile).transpose()?;
        let config = self.place.log(&self.dir)?;
        let bar = progress(disk_bytes(&config));
        let log = open_read_only(config, Arc::new(RealStorage)).map_err(Failure::failed)?;
        let mut filter = filter.map(|spec| (spec, Scratch::default(), Vec::new()));
        let mut on_progress = |bytes| bar.set_position(bytes);
        if self.format == Format::DiskLog {
            let path = self.output.as_ref();
            let path =
                path.ok_or_else(|| Failure::usage("--format disk-log needs --output FILE"))?;
            let mut keep = |entry: EntryRef<'_>| filtered(&mut filter, entry.event).is_some();
            let range = (since, until);
            transfer::export_disk_log(&log, range, &RealStorage, path, &mut keep, &mut on_progress)
                .map_err(Failure::failed)?;
            bar.finish_and_clear();
            return Ok(());
        }
        let mut output: Box<dyn Write> = match &self.output {
            Some(path) => Box::new(BufWriter::new(File::create(path).map_err(Failure::failed)?)),
            None => Box::new(BufWriter::new(std::io::stdout().lock())),
        };
        let mut each = |entry: EntryRef<'_>| {
            if let Some(event) = filtered(&mut filter, entry.event) {
                match self.format {
                    Format::Ndjson => {
                        let (micros, event) = (entry.timestamp.micros(), json::to_json(event));
                        writeln!(output, "{{\"timestamp\":{micros},\"event\":{event}}}")?;
                    }
                    _ => transfer::write_consult(&mut output, entry.timestamp, event)?,
                }
            }
            Ok(())
        };
        transfer::export(&log, since, until, &mut each, &mut on_progress)
            .map_err(Failure::failed)?;
        bar.finish_and_clear();
        output.flush().map_err(Failure::failed)
    }
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
        Outcome::NoMatch | Outcome::Budget => None,
    }
}

/// A match spec written as Erlang text.
fn compile(spec: &str) -> Result<MatchSpec, Failure> {
    let term = text::parse(spec).map_err(|error| Failure::usage(format!("--match: {error}")))?;
    let spec = MatchSpec::compile(TermRef::from_walked(&term), Limits::default());
    spec.map_err(|error| Failure::usage(format!("--match: {error}")))
}
