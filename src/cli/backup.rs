//! `logmachine backup`: a copy of a log, of a running node's too, that a log can be restored from.

use std::path::{Path, PathBuf};

use clap::Args;
use indicatif::ProgressBar;

use super::draft::is_within;
use super::offline::{LogArguments, Troubles, disk_bytes, progress};
use super::{Failure, say};
use crate::event_log::{self, BackupWatch, LogConfig, storage::RealStorage};

#[derive(Args)]
pub(super) struct Backup {
    /// Directory of the log, or else an instance whose log lies in the data directory
    #[arg(value_name = "INSTANCE|DIR")]
    log: PathBuf,
    /// Directory of the copy; made if missing, added to if it has one already
    dest: PathBuf,
    #[command(flatten)]
    place: LogArguments,
    /// Directory of the logs of instances
    #[arg(long, value_name = "DIR", env = "LOGMACHINE_DATA_DIR", default_value = "./data")]
    data_dir: PathBuf,
}

impl Backup {
    pub(super) fn run(self) -> Result<(), Failure> {
        let dir = match self.log.is_dir() {
            true => self.log.clone(),
            false => self.data_dir.join(&self.log),
        };
        if !dir.is_dir() {
            let (log, dir) = (self.log.display(), dir.display());
            return Err(Failure::usage(format!("{log}: no such directory, nor is there {dir}")));
        }
        let from = self.place.log(&dir)?;
        let to = target(&from, &self.dest)?;
        let bar = progress(disk_bytes(&from));
        let mut watch = Watch { bar: &bar, troubles: Troubles::default() };
        let done = event_log::backup(&from, &to, &RealStorage, &mut watch);
        bar.finish_and_clear();
        let done = done.map_err(Failure::failed)?;
        let (copied, bytes, present) = (done.copied, done.bytes, done.present);
        say(&format!(
            "{}: {copied} segments copied, {bytes} bytes; {present} were there already",
            from.name
        ));
        watch.troubles.result("found damaged")
    }
}

/// Where the copy of a log lies; not within that, nor around it.
fn target(from: &LogConfig, dest: &Path) -> Result<LogConfig, Failure> {
    // Nothing of it needs to exist yet.
    let existing = dest.ancestors().find(|dir| dir.is_dir()).unwrap_or(Path::new("."));
    let existing = if existing == Path::new("") { Path::new(".") } else { existing };
    for dir in [&from.dir, &from.arch_dir].into_iter().filter(|dir| dir.is_dir()) {
        let (dest_name, dir_name) = (dest.display(), dir.display());
        if is_within(existing, dir) {
            return Err(Failure::usage(format!("{dest_name}: lies in the log, {dir_name}")));
        }
        if dest.is_dir() && is_within(dir, dest) {
            return Err(Failure::usage(format!("{dest_name}: the log lies in it, {dir_name}")));
        }
    }
    let arch_dir = match from.arch_dir == from.dir {
        true => dest.to_owned(),
        false => dest.join("archive"),
    };
    Ok(LogConfig::still(&from.name, dest.to_owned(), arch_dir))
}

/// Moves the bar, and names what is damaged.
struct Watch<'a> {
    bar: &'a ProgressBar,
    troubles: Troubles,
}

impl BackupWatch for Watch<'_> {
    fn copied(&mut self, bytes: u64) {
        self.bar.inc(bytes);
    }

    fn damaged(&mut self, what: String) {
        self.troubles.name(&what);
    }
}
