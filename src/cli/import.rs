//! `logmachine import`: entries from JSON lines, Erlang terms, `disk_log` files, archives, and logs of the original or
//! ours, whatever order they are given in.
//!
//! Timestamps are kept. An entry that the log holds already is passed over, so that an import can be repeated; one
//! that would have to go before the log's newest entry is an error, and nothing after it is taken. What is damaged, or
//! stamped as no entry can be, is named and left out, and the rest is taken.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;

use super::draft::{holds, is_within};
use super::offline::{LogArguments, Troubles, progress};
use super::{Failure, say};
use crate::event_log::transfer::{
    At, Feeds, Form, Import as Intake, ImportError, Imported, Merge, TextFeed, archive_feeds,
    file_feeds, latest_believed, log_feeds,
};
use crate::event_log::{LogConfig, open, storage::RealStorage};
use crate::time::{Clock, Timestamp};

/// So many entries that are refused are named; the others are counted.
const MAX_NAMED: u64 = 10;

#[derive(Args)]
pub(super) struct Import {
    /// Directory of the log to fill; made if missing
    dir: PathBuf,
    #[command(flatten)]
    place: LogArguments,
    /// JSON lines, Erlang terms, disk_log files, archives, or directories of any of these, in any order
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Take entries stamped more than a day ahead of the clock too: all later ones will be stamped after them
    #[arg(long)]
    allow_future: bool,
}

impl Import {
    pub(super) fn run(self) -> Result<(), Failure> {
        let config = self.place.target(&self.dir)?;
        for file in &self.files {
            refuse_own(file, &config)?;
        }
        let (mut troubles, mut bytes) = (Troubles::default(), 0);
        let mut feeds = Feeds::new();
        for file in &self.files {
            feeds.extend(feeds_of(file, &mut troubles)?);
            bytes += bytes_of(file);
        }
        let mut merge = Merge::new(feeds, &mut |what| troubles.name(&what));
        let clock = Clock::system();
        let opened = open(config, Arc::new(RealStorage), clock.clone());
        let (mut writer, log) = opened.map_err(Failure::failed)?;
        let latest = match self.allow_future {
            true => Timestamp::MAX,
            false => latest_believed(clock.now(), writer.last_timestamp()),
        };
        let mut intake = Intake::new(&mut writer, &log, latest);
        let bar = progress(bytes);
        let taken = take_all(&mut merge, &mut intake, &mut troubles, &mut |bytes| bar.inc(bytes));
        bar.finish_and_clear();
        // What was taken before an error is kept.
        let imported = intake.finish().map_err(Failure::failed)?;
        writer.close().map_err(Failure::failed)?;
        say(&summary(imported));
        taken?;
        troubles.result("passed over")?;
        match imported.added + imported.duplicates {
            0 => Err(Failure::failed("nothing to import was found")),
            _ => Ok(()),
        }
    }
}

fn summary(imported: Imported) -> String {
    let Imported { added, moved, duplicates } = imported;
    let moved = match moved {
        0 => String::new(),
        moved => format!("; {moved} with a later timestamp, because theirs was taken"),
    };
    format!("{added} entries imported, {duplicates} were there already{moved}")
}

/// Takes all entries, up to one that cannot be taken and keeps those behind it from being taken.
fn take_all(
    merge: &mut Merge<'_>,
    intake: &mut Intake<'_>,
    troubles: &mut Troubles,
    on_bytes: &mut dyn FnMut(u64),
) -> Result<(), Failure> {
    let mut refused = 0;
    while let Some((given, path)) = merge.next(&mut |what| troubles.name(&what)) {
        on_bytes(given.event.len() as u64);
        let Err(error) = intake.push(given.stamp, &given.event) else { continue };
        let path = path.display();
        let at = match given.at {
            At::Byte(position) => format!("{path}: at byte {position}: "),
            At::Line(line) => format!("{path}:{line}: "),
        };
        let source = std::error::Error::source(&error);
        let source = source.map_or_else(String::new, |source| format!(": {source}"));
        let line = format!("{at}{error}{source}");
        if !error.is_of_one_entry() {
            return Err(Failure::failed(line));
        }
        refused += 1;
        match error {
            _ if refused > MAX_NAMED => troubles.count(),
            ImportError::Future { .. } => {
                troubles.name(&format!("{line}; not taken without --allow-future"));
            }
            _ => troubles.name(&format!("{line}; not taken")),
        }
    }
    if refused > MAX_NAMED {
        troubles.add(&format!("{} more entries are not taken either", refused - MAX_NAMED));
    }
    Ok(())
}

/// Refuses what is a part of the log to be filled: it would be written while it is read.
fn refuse_own(input: &Path, target: &LogConfig) -> Result<(), Failure> {
    let own = [&target.dir, &target.arch_dir];
    let holder = if input.is_dir() { Some(input) } else { input.parent() };
    let holder = holder.filter(|dir| *dir != Path::new("")).unwrap_or(Path::new("."));
    let meta = std::fs::metadata(input);
    let is_own = own.iter().any(|dir| {
        is_within(holder, dir) || meta.as_ref().is_ok_and(|meta| meta.is_file() && holds(dir, meta))
    });
    // A directory is read with its archives.
    let is_read = input.is_dir() && own.iter().any(|dir| is_within(dir, &input.join("archive")));
    if is_own || is_read {
        let (input, dir) = (input.display(), target.dir.display());
        return Err(Failure::usage(format!("{input}: belongs to the log to be filled, {dir}")));
    }
    Ok(())
}

/// The entries of whatever `path` is.
fn feeds_of(path: &Path, troubles: &mut Troubles) -> Result<Feeds<'static>, Failure> {
    let failed = |error| Failure::failed(format!("{}: {error}", path.display()));
    let mut report = |what: String| troubles.name(&what);
    if path.is_dir() {
        let mut feeds = Feeds::new();
        for log in LogArguments::default().logs(path)? {
            let found = log_feeds(&RealStorage, &log, &mut report);
            feeds.extend(found.map_err(Failure::failed)?);
        }
        return Ok(feeds);
    }
    if let Some(feeds) = file_feeds(&RealStorage, path, &mut report).map_err(failed)? {
        return Ok(feeds);
    }
    let mut head = [0; 64];
    let read = File::open(path).and_then(|mut file| file.read(&mut head)).map_err(failed)?;
    Ok(match &head[..read] {
        [b'P', b'K', ..] => match archive_feeds(&RealStorage, path, &mut report) {
            Ok(feeds) => feeds,
            // The others can be taken.
            Err(error) => {
                report(format!("{}: {error}; passed over", path.display()));
                Feeds::new()
            }
        },
        head if is_json(path, head) => vec![Box::new(TextFeed::new(path, Form::JsonLines))],
        _ => vec![Box::new(TextFeed::new(path, Form::Terms))],
    })
}

/// Bytes that are about to be read, for a bar.
fn bytes_of(path: &Path) -> u64 {
    let meta = |path: &Path| std::fs::metadata(path).ok();
    let files = |dir: &Path| {
        let files = std::fs::read_dir(dir).into_iter().flatten().flatten();
        files
            .filter_map(|file| meta(&file.path()))
            .filter(std::fs::Metadata::is_file)
            .map(|meta| meta.len())
            .sum::<u64>()
    };
    match path.is_dir() {
        true => files(path) + files(&path.join("archive")),
        false => meta(path).map_or(0, |meta| meta.len()),
    }
}

/// Whether a text is JSON: its name says so, or it begins with an object, as no entry in Erlang terms does.
fn is_json(path: &Path, head: &[u8]) -> bool {
    let ending = path.extension().and_then(|ending| ending.to_str()).unwrap_or_default();
    let object = head.trim_ascii_start().strip_prefix(b"{");
    matches!(ending, "json" | "jsonl" | "ndjson")
        || object.is_some_and(|rest| rest.trim_ascii_start().starts_with(b"\""))
}
