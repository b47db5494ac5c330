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
use crate::etf::json;
use crate::event_log::transfer::{self, Import as Intake};
use crate::event_log::{
    EntryRef, LogConfig, find_logs, open, open_read_only, storage::RealStorage,
};
use crate::time::{Clock, Timestamp};

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
        let (mut writer, log) = opened.map_err(Failure::failed)?;
        let mut intake = Intake::new(&mut writer, &log);
        let result = self.files.iter().try_for_each(|file| read(file, &mut intake));
        // What was taken before an error is kept.
        let imported = intake.finish().map_err(Failure::failed)?;
        writer.close().map_err(Failure::failed)?;
        let (added, present) = (imported.added, imported.duplicates);
        say(&format!("{added} entries imported, {present} were there already"));
        result
    }
}

/// Reads whatever `path` is.
fn read(path: &Path, intake: &mut Intake<'_>) -> Result<(), Failure> {
    let failed = |error| Failure::failed(format!("{}: {error}", path.display()));
    if path.is_dir() {
        let logs = Place::default().logs(path)?;
        return logs.into_iter().try_for_each(|log| read_log(log, intake));
    }
    let mut head = [0; 4];
    let mut file = File::open(path).map_err(failed)?;
    let read = file.read(&mut head).map_err(failed)?;
    let mut each = |entry: EntryRef<'_>| Ok(intake.push(entry.timestamp, entry.event)?);
    match &head[..read] {
        [1, 2, 3, 4] => {
            let damage = transfer::read_disk_log(&RealStorage, path, &mut each);
            for damage in damage.map_err(|error| within(path, error))? {
                let (position, bytes, what) = (damage.position, damage.bytes, damage.what);
                tracing::error!(position, bytes, "{}: passed over: {what}", path.display());
            }
            Ok(())
        }
        [b'P', b'K', ..] => read_archive(path, intake),
        [b'{', b'"', ..] => read_json(path, intake),
        _ => {
            let mut input = BufReader::new(File::open(path).map_err(failed)?);
            let read = transfer::read_consult(path, &mut input, &mut each);
            read.map(|_| ()).map_err(|error| within(path, error))
        }
    }
}

/// Names the file, and what lies behind the error.
fn within(path: &Path, error: impl std::error::Error) -> Failure {
    let source = error.source().map_or_else(String::new, |source| format!(": {source}"));
    Failure::failed(format!("{}: {error}{source}", path.display()))
}

fn read_log(config: LogConfig, intake: &mut Intake<'_>) -> Result<(), Failure> {
    let dir = config.dir.clone();
    let bar = progress(disk_bytes(&config));
    let log = open_read_only(config, Arc::new(RealStorage)).map_err(Failure::failed)?;
    let mut each = |entry: EntryRef<'_>| Ok(intake.push(entry.timestamp, entry.event)?);
    let (from, to) = (Timestamp::MIN, Timestamp::MAX);
    let read = transfer::export(&log, from, to, &mut each, &mut |bytes| bar.set_position(bytes));
    bar.finish_and_clear();
    read.map(|_| ()).map_err(|error| within(&dir, error))
}

/// Reads an archive as if it were alone among a log's archives, by way of a link in a directory of its own.
fn read_archive(path: &Path, intake: &mut Intake<'_>) -> Result<(), Failure> {
    let dir = tempfile::tempdir().map_err(Failure::failed)?;
    let name = path.file_name().unwrap_or_default();
    let path = path.canonicalize().map_err(Failure::failed)?;
    std::os::unix::fs::symlink(&path, dir.path().join(name)).map_err(Failure::failed)?;
    let found = find_logs(&RealStorage, dir.path()).map_err(Failure::failed)?;
    let [name] = &found[..] else {
        return Err(Failure::failed(format!("{}: is no log's archive", path.display())));
    };
    let nowhere = dir.path().join("segments");
    read_log(LogConfig::still(name, nowhere, dir.path().to_owned()), intake)
}

/// `{"timestamp":Micros,"event":...}` a line.
fn read_json(path: &Path, intake: &mut Intake<'_>) -> Result<(), Failure> {
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
        let pushed = intake.push(Timestamp::from_micros(micros), &event);
        pushed.map_err(|error| at(&error.to_string()))?;
    }
    Ok(())
}
