//! `logmachine verify`: every record and checksum of logs that nobody writes to.

use std::path::PathBuf;

use clap::Args;

use super::offline::{Place, disk_bytes, progress};
use super::{Failure, say};
use crate::event_log::{IndexState, Verified, storage::RealStorage, verify};

#[derive(Args)]
pub(super) struct Verify {
    /// Directories of logs
    #[arg(required = true, value_name = "DIR")]
    dirs: Vec<PathBuf>,
    #[command(flatten)]
    place: Place,
}

impl Verify {
    pub(super) fn run(self) -> Result<(), Failure> {
        let mut damaged = 0;
        for dir in &self.dirs {
            for log in self.place.logs(dir)? {
                let bar = progress(disk_bytes(&log));
                let verified = verify(&log, &RealStorage, &mut |bytes| bar.set_position(bytes));
                bar.finish_and_clear();
                let verified = verified.map_err(Failure::failed)?;
                damaged += report(&log.name, &verified);
            }
        }
        match damaged {
            0 => Ok(()),
            1 => Err(Failure::failed("1 stretch is damaged")),
            more => Err(Failure::failed(format!("{more} stretches are damaged"))),
        }
    }
}

/// Says what was found; how many damaged stretches.
fn report(name: &str, verified: &Verified) -> usize {
    let mut damaged = 0;
    for segment in &verified.segments {
        let path = segment.path.display();
        if segment.index == IndexState::Missing {
            say(&format!("{path}: no index, so only the structure was checked"));
        }
        if let Some(why) = &segment.unreadable {
            say(&format!("{path}: {why}"));
        }
        for damage in &segment.damage {
            let (position, bytes, what) = (damage.position, damage.bytes, damage.what);
            say(&format!("{path}: damaged at byte {position}, {bytes} bytes: {what}"));
            damaged += 1;
        }
    }
    let (segments, events, bytes) = (verified.segments.len(), verified.events(), verified.bytes());
    let verdict = if damaged == 0 { "sound" } else { "DAMAGED" };
    say(&format!("{name}: {verdict}; {segments} segments, {events} events, {bytes} bytes"));
    damaged
}
