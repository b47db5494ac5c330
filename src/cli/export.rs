//! `logmachine export`: a log that nobody writes to, as JSON lines, Erlang terms or one `disk_log` file.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::PathBuf;
use std::sync::Arc;

use clap::{Args, ValueEnum};

use super::offline::{Place, disk_bytes, progress};
use super::{Failure, moment};
use crate::etf::{TermRef, encode, json, order, tag, text};
use crate::event_log::{Batch, CLOSED_HEAD, EntryRef, open_read_only, storage::RealStorage};
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
    /// Events that match, and what the match spec makes of them
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
        let mut output: Box<dyn Write> = match &self.output {
            Some(path) => Box::new(BufWriter::new(File::create(path).map_err(Failure::failed)?)),
            None => Box::new(BufWriter::new(std::io::stdout().lock())),
        };
        if self.format == Format::DiskLog {
            output.write_all(&CLOSED_HEAD).map_err(Failure::failed)?;
        }
        let mut cursor = log.cursor(since);
        let (mut scratch, mut result) = (Scratch::default(), Vec::new());
        'read: while let Some(chunk) = cursor.next(1 << 20).map_err(Failure::failed)? {
            for entry in chunk.entries() {
                if entry.timestamp > until {
                    break 'read;
                }
                let event = match &filter {
                    None => entry.event,
                    Some(filter) => {
                        result.clear();
                        let event = TermRef::from_walked(entry.event);
                        match filter.run(&mut scratch, event, &mut result) {
                            Outcome::Result => &result,
                            Outcome::NoMatch | Outcome::Budget => continue,
                        }
                    }
                };
                self.write(&mut output, &entry, event).map_err(Failure::failed)?;
            }
            bar.inc(chunk.bytes().len() as u64);
        }
        bar.finish_and_clear();
        output.flush().map_err(Failure::failed)
    }

    fn write(
        &self,
        out: &mut dyn Write,
        entry: &EntryRef<'_>,
        event: &[u8],
    ) -> std::io::Result<()> {
        let term = TermRef::from_walked(event);
        match self.format {
            Format::Ndjson => {
                let (micros, event) = (entry.timestamp.micros(), json::to_json(term));
                writeln!(out, "{{\"timestamp\":{micros},\"event\":{event}}}")
            }
            Format::Terms => {
                let (mega, secs, micros) = entry.timestamp.parts();
                writeln!(out, "{{{{{mega},{secs},{micros}}},{}}}.", consultable(term))
            }
            Format::DiskLog => {
                let mut batch = Batch::new();
                batch.push(entry.timestamp, event);
                out.write_all(batch.records())
            }
        }
    }
}

/// A match spec written as Erlang text.
fn compile(spec: &str) -> Result<MatchSpec, Failure> {
    let term = text::parse(spec).map_err(|error| Failure::usage(format!("--match: {error}")))?;
    let spec = MatchSpec::compile(TermRef::from_walked(&term), Limits::default());
    spec.map_err(|error| Failure::usage(format!("--match: {error}")))
}

/// Text that reads as the same term, if need be through `{'$etf', Binary}`.
fn consultable(term: TermRef<'_>) -> String {
    let printed = text::to_text(term);
    let is_same = text::parse(&printed)
        .is_ok_and(|parsed| order::exactly_equal(TermRef::from_walked(&parsed), term));
    if is_same {
        return printed;
    }
    let mut wrapped = Vec::new();
    encode::tuple_header(&mut wrapped, 2);
    encode::atom(&mut wrapped, "$etf");
    encode::binary(&mut wrapped, &[&[tag::VERSION], term.bytes()].concat());
    text::to_text(TermRef::from_walked(&wrapped))
}
