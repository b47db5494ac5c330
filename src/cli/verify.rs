//! `logmachine verify`: every record and checksum of logs, and whether all is there that ought to be.

use std::path::PathBuf;

use clap::Args;

use super::offline::{LogArguments, disk_bytes, progress};
use super::{Failure, say};
use crate::event_log::{IndexState, Verified, accept, storage::RealStorage, verify};

#[derive(Args)]
pub(super) struct Verify {
    /// Directories of logs
    #[arg(required = true, value_name = "DIR")]
    dirs: Vec<PathBuf>,
    #[command(flatten)]
    place: LogArguments,
    /// Say that what is damaged or missing now is known: it is not reported again. The log must not be in use
    #[arg(long)]
    accept: bool,
}

impl Verify {
    pub(super) fn run(self) -> Result<(), Failure> {
        let mut wrong = 0;
        for dir in &self.dirs {
            for log in self.place.logs(dir)? {
                let bar = progress(disk_bytes(&log));
                let verified = verify(&log, &RealStorage, &mut |bytes| bar.set_position(bytes));
                bar.finish_and_clear();
                let verified = verified.map_err(Failure::failed)?;
                let found = report(&log.name, &verified);
                if self.accept && !verified.is_sound() {
                    accept(&log, &RealStorage, &verified).map_err(Failure::failed)?;
                    say(&format!("{}: accepted; the manifest says so", log.name));
                } else {
                    wrong += found;
                }
            }
        }
        match wrong {
            0 => Ok(()),
            1 => Err(Failure::failed("1 thing is damaged or missing")),
            more => Err(Failure::failed(format!("{more} things are damaged or missing"))),
        }
    }
}

/// Says what was found; how many things are wrong that nobody has accepted.
fn report(name: &str, verified: &Verified) -> u64 {
    let mut wrong = 0;
    let mut is_wrong = |line: String| {
        say(&line);
        wrong += 1;
    };
    if verified.is_running {
        say(&format!("{name}: a node has it open; what is written just now is not looked at"));
    }
    for (path, lines) in &verified.manifests {
        let path = path.display();
        is_wrong(format!("{path}: {lines} lines of the manifest are not as they were written"));
    }
    for segment in &verified.segments {
        let path = segment.path.display();
        match segment.index {
            _ if segment.is_missing() => {}
            IndexState::Missing => {
                say(&format!("{path}: no index, so only the structure was checked"));
            }
            IndexState::Damaged => is_wrong(format!("{path}: its index is damaged")),
            IndexState::Complete | IndexState::Partial => {}
        }
        if let Some(why) = &segment.unreadable {
            say(&format!("{path}: {why}"));
        }
        for damage in &segment.damage {
            let (position, bytes, what) = (damage.position, damage.bytes, damage.what);
            is_wrong(format!("{path}: damaged at byte {position}, {bytes} bytes: {what}"));
        }
        if segment.accepted > 0 {
            say(&format!("{path}: {} damaged places are known", segment.accepted));
        }
    }
    let (segments, events, bytes) = (verified.segments.len(), verified.events(), verified.bytes());
    let verdict = if verified.is_sound() { "sound" } else { "DAMAGED" };
    say(&format!("{name}: {verdict}; {segments} segments, {events} events, {bytes} bytes"));
    wrong
}
