//! What the offline verbs share: finding the logs of a directory, what is wrong with them, and a progress bar.

use std::path::{Path, PathBuf};

use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};

use super::verbosity::is_able_terminal;
use super::{Failure, complain};
use crate::event_log::{LogConfig, find_logs, storage::RealStorage};

/// Which log of a directory.
#[derive(Args, Default)]
pub(super) struct LogArguments {
    /// The instance, if the directory holds several
    #[arg(long)]
    name: Option<String>,
    /// Directory of the archives [default: DIR/archive]
    #[arg(long, value_name = "DIR")]
    arch_dir: Option<PathBuf>,
}

impl LogArguments {
    /// The logs in `dir`: the one named, or all.
    pub(super) fn logs(&self, dir: &Path) -> Result<Vec<LogConfig>, Failure> {
        let failed = |error| Failure::failed(format!("{}: {error}", dir.display()));
        let arch_dir = self.arch_dir.clone().unwrap_or_else(|| dir.join("archive"));
        let mut names = find_logs(&RealStorage, dir).map_err(failed)?;
        if arch_dir.is_dir() {
            names.extend(find_logs(&RealStorage, &arch_dir).map_err(failed)?);
        }
        names.sort();
        names.dedup();
        if let Some(name) = &self.name {
            names.retain(|found| found == name);
        }
        if names.is_empty() {
            return Err(Failure::failed(format!("{}: {}", dir.display(), self.nothing_in(dir))));
        }
        let config = |name: &String| LogConfig::still(name, dir.to_owned(), arch_dir.clone());
        Ok(names.iter().map(config).collect())
    }

    /// Why there is no log in `dir`, and where there are some.
    fn nothing_in(&self, dir: &Path) -> String {
        let below =
            std::fs::read_dir(dir).into_iter().flatten().flatten().map(|entry| entry.path());
        let holds_log =
            |dir: &PathBuf| find_logs(&RealStorage, dir).is_ok_and(|logs| !logs.is_empty());
        // The archives' directory is none of its own.
        let is_archive = |dir: &PathBuf| dir.file_name().is_some_and(|name| name == "archive");
        let mut found: Vec<_> = below.filter(|dir| !is_archive(dir) && holds_log(dir)).collect();
        found.sort();
        match (&self.name, found.as_slice()) {
            (Some(name), []) => format!("no log named {name} here"),
            (None, []) => "no log found here".to_owned(),
            (_, found) => {
                const NAMED: usize = 5;
                let more = if found.len() > NAMED { ", ..." } else { "" };
                let named = found.iter().take(NAMED).map(|dir| dir.display().to_string());
                let named: Vec<_> = named.collect();
                format!("no log found here, but in {}{more}", named.join(", "))
            }
        }
    }

    /// The one log in `dir`.
    pub(super) fn log(&self, dir: &Path) -> Result<LogConfig, Failure> {
        let mut logs = self.logs(dir)?;
        if logs.len() > 1 {
            let names: Vec<_> = logs.iter().map(|log| log.name.as_str()).collect();
            let names = names.join(", ");
            return Err(Failure::usage(format!(
                "{}: holds the logs {names}; pass --name",
                dir.display()
            )));
        }
        Ok(logs.remove(0))
    }

    /// The log to write in `dir`, which may not exist yet: it is named after the directory then.
    pub(super) fn target(&self, dir: &Path) -> Result<LogConfig, Failure> {
        if let Some(name) = &self.name {
            let arch_dir = self.arch_dir.clone().unwrap_or_else(|| dir.join("archive"));
            return Ok(LogConfig::still(name, dir.to_owned(), arch_dir));
        }
        if let Ok(log) = self.log(dir) {
            return Ok(log);
        }
        let name = dir.file_name().map(|name| name.to_string_lossy().into_owned());
        let name = name.ok_or_else(|| Failure::usage("the directory has no name; pass --name"))?;
        let arch_dir = self.arch_dir.clone().unwrap_or_else(|| dir.join("archive"));
        Ok(LogConfig::still(&name, dir.to_owned(), arch_dir))
    }
}

/// A bar on standard error, where that is a terminal, over `bytes` of work.
pub(super) fn progress(bytes: u64) -> ProgressBar {
    let style = "{bar:40} {bytes}/{total_bytes} {bytes_per_sec} {eta}";
    let style = ProgressStyle::with_template(style).expect("a constant that is tested");
    if !is_able_terminal() {
        return ProgressBar::hidden();
    }
    ProgressBar::new(bytes).with_style(style)
}

/// Bytes of all files of a log, for a bar.
pub(super) fn disk_bytes(log: &LogConfig) -> u64 {
    let dirs = [&log.dir, &log.arch_dir].map(std::fs::read_dir);
    let files = dirs.into_iter().flatten().flatten().flatten();
    files
        .filter_map(|file| file.metadata().ok())
        .filter(|meta| meta.is_file())
        .map(|meta| meta.len())
        .sum()
}

/// What is wrong with the files that are read: named line by line, and told again by the exit code.
#[derive(Default)]
pub(super) struct Troubles(u64);

impl Troubles {
    /// Names something, and counts it.
    pub(super) fn name(&mut self, what: &str) {
        self.add(what);
        self.count();
    }

    /// Says more of what is counted.
    pub(super) fn add(&mut self, what: &str) {
        complain(&*Box::<dyn std::error::Error>::from(what));
    }

    /// Counts what is named elsewhere.
    pub(super) fn count(&mut self) {
        self.0 += 1;
    }

    /// A failure if there was anything; `what` was done about it.
    pub(super) fn result(&self, what: &str) -> Result<(), Failure> {
        match self.0 {
            0 => Ok(()),
            1 => Err(Failure::failed(format!("1 thing was {what}, see above"))),
            more => Err(Failure::failed(format!("{more} things were {what}, see above"))),
        }
    }
}
