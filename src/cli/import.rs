//! `logmachine import`: entries from JSON lines, Erlang terms, `disk_log` files, and logs of the original or ours.
//!
//! Timestamps are kept. An entry that the log holds already is passed over, so that an import can be repeated; one
//! that would have to go before the log's newest entry is an error, and nothing after it is taken.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;

use super::offline::{Place, disk_bytes, progress};
use super::{Failure, say};
use crate::etf::{DecodeError, TermRef, decode, json, text};
use crate::event_log::{
    Batch, Cursor, Log, LogConfig, Writer, find_logs, open, open_read_only, storage::RealStorage,
};
use crate::instance::from::From;
use crate::time::{Clock, Timestamp};

/// Bytes written at once.
const BATCH_BYTES: usize = 1 << 20;

/// The longest line of a JSON file.
const MAX_LINE_BYTES: u64 = 256 << 20;

#[derive(Args)]
pub(super) struct Import {
    /// Directory of the log to fill; made if missing
    dir: PathBuf,
    #[command(flatten)]
    place: Place,
    /// JSON lines, Erlang terms, disk_log files, archives, or directories of logs, oldest first
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
}

impl Import {
    pub(super) fn run(self) -> Result<(), Failure> {
        super::run::diagnose(None, 0);
        let config = self.place.target(&self.dir)?;
        let opened = open(config, Arc::new(RealStorage), Clock::system());
        let (writer, log) = opened.map_err(Failure::failed)?;
        let mut target = Target::new(writer, log);
        for file in &self.files {
            target.source = file.display().to_string();
            read(file, &mut target)?;
        }
        let (added, present) = target.finish()?;
        say(&format!("{added} entries imported, {present} were there already"));
        Ok(())
    }
}

/// The log that is filled.
struct Target {
    writer: Writer,
    existing: Existing,
    batch: Batch,
    newest: Option<Timestamp>,
    source: String,
    added: u64,
    present: u64,
}

/// What the log held before, walked in step with what comes.
struct Existing {
    log: Log,
    cursor: Option<Cursor>,
    entries: std::collections::VecDeque<(Timestamp, Box<[u8]>)>,
    last: Option<Timestamp>,
}

impl Existing {
    /// Whether the log held exactly this entry.
    fn has(&mut self, stamp: Timestamp, event: &[u8]) -> Result<bool, Failure> {
        if self.last.is_none_or(|last| last < stamp) {
            return Ok(false);
        }
        if self.entries.front().is_some_and(|(first, _)| *first > stamp) {
            // An earlier file than the one before: look from there again.
            self.cursor = None;
            self.entries.clear();
        }
        let cursor = self.cursor.get_or_insert_with(|| self.log.cursor(stamp));
        loop {
            while self.entries.front().is_some_and(|(first, _)| *first < stamp) {
                self.entries.pop_front();
            }
            if !self.entries.is_empty() {
                let same = self.entries.iter().take_while(|(at, _)| *at == stamp);
                return Ok(same.into_iter().any(|(_, held)| **held == *event));
            }
            match cursor.next(BATCH_BYTES).map_err(Failure::failed)? {
                None => return Ok(false),
                Some(chunk) => {
                    let entries = chunk.entries();
                    self.entries.extend(entries.map(|entry| (entry.timestamp, entry.event.into())));
                }
            }
        }
    }
}

impl Target {
    fn new(writer: Writer, log: Log) -> Self {
        let newest = writer.last_timestamp();
        let entries = std::collections::VecDeque::new();
        Target {
            existing: Existing { log, cursor: None, entries, last: newest },
            writer,
            batch: Batch::new(),
            newest,
            source: String::new(),
            added: 0,
            present: 0,
        }
    }

    fn add(&mut self, stamp: Timestamp, event: &[u8]) -> Result<(), Failure> {
        if self.newest.is_none_or(|newest| newest < stamp) {
            self.batch.push(stamp, event);
            self.newest = Some(stamp);
            self.added += 1;
            return if self.batch.bytes() >= BATCH_BYTES { self.write() } else { Ok(()) };
        }
        if self.existing.has(stamp, event)? {
            self.present += 1;
            return Ok(());
        }
        let newest = self.newest.map_or_else(String::new, |newest| newest.to_string());
        self.write()?;
        Err(Failure::failed(format!(
            "{}: the entry of {stamp} would have to go before {newest}, the log's newest; {} entries were imported before it",
            self.source, self.added
        )))
    }

    fn write(&mut self) -> Result<(), Failure> {
        let batch = std::mem::replace(&mut self.batch, Batch::new());
        if !batch.is_empty() {
            self.writer.append(batch).map_err(Failure::failed)?;
        }
        Ok(())
    }

    fn finish(mut self) -> Result<(u64, u64), Failure> {
        self.write()?;
        self.writer.close().map_err(Failure::failed)?;
        Ok((self.added, self.present))
    }
}

/// Reads whatever `path` is.
fn read(path: &Path, target: &mut Target) -> Result<(), Failure> {
    let failed = |error| Failure::failed(format!("{}: {error}", path.display()));
    if path.is_dir() {
        let place = Place::default();
        return place.logs(path)?.into_iter().try_for_each(|log| read_log(log, target));
    }
    let mut head = [0; 4];
    let read = File::open(path).and_then(|mut file| file.read(&mut head)).map_err(failed)?;
    match &head[..read] {
        [1, 2, 3, 4] => read_beside(path, "import", "", target),
        [b'P', b'K', ..] => {
            let name = path.file_name().map(|name| name.to_string_lossy().into_owned());
            read_beside(path, &name.unwrap_or_default(), "archive", target)
        }
        [b'{', b'"', ..] => read_json(path, target),
        _ => read_terms(path, target),
    }
}

fn read_log(config: LogConfig, target: &mut Target) -> Result<(), Failure> {
    let bar = progress(disk_bytes(&config));
    let log = open_read_only(config, Arc::new(RealStorage)).map_err(Failure::failed)?;
    let mut cursor = log.cursor(Timestamp::MIN);
    while let Some(chunk) = cursor.next(BATCH_BYTES).map_err(Failure::failed)? {
        for entry in chunk.entries() {
            target.add(entry.timestamp, entry.event)?;
        }
        bar.inc(chunk.bytes().len() as u64);
    }
    bar.finish_and_clear();
    Ok(())
}

/// Reads one file as if it were alone in a log's directory, by way of a link in a directory of its own.
fn read_beside(path: &Path, name: &str, below: &str, target: &mut Target) -> Result<(), Failure> {
    let dir = tempfile::tempdir().map_err(Failure::failed)?;
    let beside = dir.path().join(below);
    std::fs::create_dir_all(&beside).map_err(Failure::failed)?;
    let path = path.canonicalize().map_err(Failure::failed)?;
    std::os::unix::fs::symlink(&path, beside.join(name)).map_err(Failure::failed)?;
    let found = find_logs(&RealStorage, &beside).map_err(Failure::failed)?;
    let [name] = &found[..] else {
        return Err(Failure::failed(format!("{}: is no log's segment or archive", path.display())));
    };
    read_log(LogConfig::still(name, dir.path().to_owned(), dir.path().join("archive")), target)
}

/// `{"timestamp":Micros,"event":...}` a line.
fn read_json(path: &Path, target: &mut Target) -> Result<(), Failure> {
    let mut input = BufReader::new(File::open(path).map_err(Failure::failed)?);
    let mut line = String::new();
    for number in 1u64.. {
        line.clear();
        let at = |what: &str| Failure::failed(format!("{}:{number}: {what}", path.display()));
        let read = input.by_ref().take(MAX_LINE_BYTES).read_line(&mut line);
        if read.map_err(|error| at(&error.to_string()))? == 0 {
            break;
        }
        if line.trim().is_empty() {
            continue;
        }
        let shape = "a line is {\"timestamp\":Micros,\"event\":Event}";
        let rest = line.trim().strip_prefix("{\"timestamp\":").ok_or_else(|| at(shape))?;
        let (stamp, rest) = rest.split_once(",\"event\":").ok_or_else(|| at(shape))?;
        let event = rest.strip_suffix('}').ok_or_else(|| at(shape))?;
        let micros = stamp.trim().parse().map_err(|_| at(shape))?;
        let event = json::parse(event).map_err(|error| at(&error.to_string()))?;
        target.add(Timestamp::from_micros(micros), &event)?;
    }
    Ok(())
}

/// `{{Mega,Sec,Micro},Event}.` terms.
fn read_terms(path: &Path, target: &mut Target) -> Result<(), Failure> {
    let at = |what: &str| Failure::failed(format!("{}: {what}", path.display()));
    let input = std::fs::read_to_string(path).map_err(|error| at(&error.to_string()))?;
    let terms = text::parse_terms(&input).map_err(|error| at(&error.to_string()))?;
    for (number, term) in terms.iter().enumerate() {
        let shape = || at(&format!("term {} is no {{{{Mega,Sec,Micro}},Event}}", number + 1));
        let [stamp, event] = TermRef::from_walked(term).as_tuple().ok_or_else(shape)?;
        let Some(From::At(stamp)) = From::parse(stamp) else { return Err(shape()) };
        match unwrapped(event) {
            Some(Ok(event)) => target.add(stamp, event.bytes())?,
            Some(Err(error)) => return Err(at(&format!("term {}: {error}", number + 1))),
            None => target.add(stamp, event.bytes())?,
        }
    }
    Ok(())
}

/// The term in `{'$etf', Binary}`.
fn unwrapped(event: TermRef<'_>) -> Option<Result<TermRef<'_>, DecodeError>> {
    let [etf, bytes] = event.as_tuple()?;
    let bytes = bytes.as_binary().filter(|_| etf.is_atom("$etf"))?;
    Some(decode::external(bytes))
}
