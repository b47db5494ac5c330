//! What belongs to a directory of a log: written while it is true, so that later damage can't pass for soundness.
//!
//! An index can be made anew from what is left of its segment; then nothing beside the segment tells that there was
//! more. The manifest does. It is a journal of lines, each with its own checksum:
//!
//! ```text
//! .NAME.manifest in the directory of the segments, and in that of the archives (`have`, `drop`, `gone` only)
//!
//! CRC32C-of-the-rest have BYTES LENGTH COUNT FIRST LAST INDEX RECORDS FILE
//!                    drop FILE             it is about to be deleted
//!                    gone FILE             it is no longer here, and need not be
//!                    damaged POSITION BYTES SEGMENT
//!                    known POSITION BYTES SEGMENT      an operator has accepted it
//!                    deleted STAMP         retention has deleted entries up to here
//!                    stamp STAMP           no stamp later than this has been given
//!                    floor STAMP           every stamp from now on is later: a power loss may have taken entries, or a
//!                                          reader was told that there is no more up to here
//!                    clock odd|even        whether the wall clock has leapt and not gone evenly for a day since
//!                    scrubbed STAMP FILE   all its checksums were read again then
//!                    boot ID               of the machine, when the log was opened last
//! ```
//!
//! The first line is `manifest 1`: the version. `BYTES` is the file's length, `LENGTH` that of the segment in it, `INDEX`
//! the CRC32C of its index, `RECORDS` that of the records' bytes: what a rebuilt index must come to. Stamps are
//! microseconds, checksums hexadecimal. Later lines stand against earlier ones; the file is written anew whenever the
//! log is opened.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use crc32c::crc32c;

use super::index::Summary;
use super::lock;
use super::names::draft_path;
use super::storage::{Access, Storage, StorageFile, create_fresh, read_full, write_full};
use crate::planted::{planted, unless};
use crate::time::Timestamp;

/// The version that this program writes, and the latest it reads.
const VERSION: u32 = 1;

/// The longest manifest that is read: of some hundred million segments.
const MAX_BYTES: u64 = 16 << 30;

/// A segment or archive, as it was when it was complete.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Member {
    /// Length of the file.
    pub(super) disk_bytes: u64,
    /// What the segment holds; its `crc` is that of the index file.
    pub(super) summary: Summary,
    /// CRC32C of its records' bytes.
    pub(super) records_crc: u32,
}

/// A change of what belongs to a directory, or something to be remembered about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Line {
    Have(String, Member),
    Drop(String),
    Gone(String),
    /// Damage was found in a file.
    Damaged(String, ByteRange),
    /// An operator knows of it.
    Known(String, ByteRange),
    Deleted(Timestamp),
    Stamp(Timestamp),
    Floor(Timestamp),
    /// Whether the wall clock is odd.
    Clock(bool),
    Scrubbed(Timestamp, String),
    Boot(String),
}

/// What is damaged: position and length in the unpacked segment.
pub(super) type ByteRange = (u64, u64);

/// Damage that was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Noted {
    pub(super) bytes: u64,
    /// Whether an operator has accepted it.
    pub(super) known: bool,
}

impl Line {
    /// As it stands in the file.
    fn encode(&self) -> String {
        let body = match self {
            Line::Have(name, Member { disk_bytes, summary: s, records_crc }) => format!(
                "have {disk_bytes} {} {} {} {} {:08x} {records_crc:08x} {name}",
                s.bytes,
                s.count,
                s.first.micros(),
                s.last.micros(),
                s.crc
            ),
            Line::Drop(name) => format!("drop {name}"),
            Line::Gone(name) => format!("gone {name}"),
            Line::Damaged(name, (at, bytes)) => format!("damaged {at} {bytes} {name}"),
            Line::Known(name, (at, bytes)) => format!("known {at} {bytes} {name}"),
            Line::Deleted(stamp) => format!("deleted {}", stamp.micros()),
            Line::Stamp(stamp) => format!("stamp {}", stamp.micros()),
            Line::Floor(stamp) => format!("floor {}", stamp.micros()),
            Line::Clock(is_odd) => format!("clock {}", if *is_odd { "odd" } else { "even" }),
            Line::Scrubbed(stamp, name) => format!("scrubbed {} {name}", stamp.micros()),
            Line::Boot(id) => format!("boot {id}"),
        };
        with_sum(&body)
    }

    /// The line whose body this is; `None` if it makes no sense.
    fn decode(body: &str) -> Option<Self> {
        let (kind, rest) = body.split_once(' ')?;
        let mut rest = rest;
        let mut word = || {
            let (word, behind) = rest.split_once(' ')?;
            rest = behind;
            Some(word)
        };
        let number = |word: &str| word.parse::<u64>().ok();
        let stamp = |word: &str| number(word).map(Timestamp::from_micros);
        let sum = |word: &str| u32::from_str_radix(word, 16).ok();
        Some(match kind {
            "have" => {
                let member = Member {
                    disk_bytes: number(word()?)?,
                    summary: Summary {
                        bytes: number(word()?)?,
                        count: number(word()?)?,
                        first: stamp(word()?)?,
                        last: stamp(word()?)?,
                        crc: sum(word()?)?,
                    },
                    records_crc: sum(word()?)?,
                };
                // Sums of such numbers fit, as of those that an index tells.
                let summary = member.summary;
                if summary.count > summary.bytes || summary.bytes.max(member.disk_bytes) >> 48 > 0 {
                    return None;
                }
                Line::Have(rest.to_owned(), member)
            }
            "drop" => Line::Drop(rest.to_owned()),
            "gone" => Line::Gone(rest.to_owned()),
            "damaged" | "known" => {
                let place = (number(word()?)?, number(word()?)?);
                let name = rest.to_owned();
                if kind == "known" { Line::Known(name, place) } else { Line::Damaged(name, place) }
            }
            "deleted" => Line::Deleted(stamp(rest)?),
            "stamp" => Line::Stamp(stamp(rest)?),
            "floor" => Line::Floor(stamp(rest)?),
            "clock" => Line::Clock(rest == "odd"),
            "scrubbed" => Line::Scrubbed(stamp(word()?)?, rest.to_owned()),
            "boot" => Line::Boot(rest.to_owned()),
            _ => return None,
        })
    }
}

fn with_sum(body: &str) -> String {
    format!("{:08x} {body}\n", crc32c(body.as_bytes()))
}

/// What a manifest says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Listing {
    pub(super) members: BTreeMap<String, Member>,
    /// Files whose deletion had begun.
    pub(super) dropping: BTreeSet<String>,
    /// Damage that was found, by segment and position. It stays on record when the segment is archived.
    pub(super) damage: BTreeMap<(String, u64), Noted>,
    pub(super) scrubbed: BTreeMap<String, Timestamp>,
    /// The latest stamp that retention has deleted.
    pub(super) deleted: Option<Timestamp>,
    /// No later stamp than this has been given.
    pub(super) reserved: Option<Timestamp>,
    /// Every stamp that is given is later than this.
    pub(super) floor: Option<Timestamp>,
    /// Whether the wall clock has leapt and not gone evenly for a day since.
    pub(super) is_clock_odd: bool,
    pub(super) boot: Option<String>,
    /// Lines that are not as they were written; what they said is forgotten.
    pub(super) bad_lines: u64,
}

impl Listing {
    pub(super) fn apply(&mut self, line: Line) {
        match line {
            Line::Have(name, member) => {
                self.dropping.remove(&name);
                self.members.insert(name, member);
            }
            Line::Drop(name) => {
                self.forget(&name);
                self.dropping.insert(name);
            }
            Line::Gone(name) => {
                self.forget(&name);
                self.dropping.remove(&name);
            }
            Line::Damaged(name, (at, bytes)) => {
                self.damage.entry((name, at)).or_insert(Noted { bytes, known: false });
            }
            Line::Known(name, (at, bytes)) => {
                self.damage.insert((name, at), Noted { bytes, known: true });
            }
            Line::Deleted(stamp) => self.deleted = self.deleted.max(Some(stamp)),
            Line::Stamp(stamp) => self.reserved = self.reserved.max(Some(stamp)),
            Line::Floor(stamp) => self.floor = self.floor.max(Some(stamp)),
            Line::Clock(is_odd) => self.is_clock_odd = is_odd,
            Line::Scrubbed(stamp, name) => {
                self.scrubbed.insert(name, stamp);
            }
            Line::Boot(id) => self.boot = Some(id),
        }
    }

    fn forget(&mut self, name: &str) {
        self.members.remove(name);
        self.scrubbed.remove(name);
    }

    /// Whether an operator has accepted this damage of a segment.
    pub(super) fn is_known(&self, segment: &str, position: u64) -> bool {
        self.damage.get(&(segment.to_owned(), position)).is_some_and(|noted| noted.known)
    }

    /// The file that says this.
    pub(super) fn to_file(&self) -> String {
        let mut out = with_sum(&format!("manifest {VERSION}"));
        let names = |names: &BTreeSet<String>| names.iter().cloned().collect::<Vec<_>>();
        let lines = (self.boot.iter().cloned().map(Line::Boot))
            .chain(self.reserved.map(Line::Stamp))
            .chain(self.floor.map(Line::Floor))
            .chain(self.is_clock_odd.then_some(Line::Clock(true)))
            .chain(self.deleted.map(Line::Deleted))
            .chain(self.members.iter().map(|(name, member)| Line::Have(name.clone(), *member)))
            .chain(names(&self.dropping).into_iter().map(Line::Drop))
            .chain(self.damage.iter().map(|((name, at), noted)| match noted.known {
                true => Line::Known(name.clone(), (*at, noted.bytes)),
                false => Line::Damaged(name.clone(), (*at, noted.bytes)),
            }))
            .chain(self.scrubbed.iter().map(|(name, at)| Line::Scrubbed(*at, name.clone())));
        for line in lines {
            let _ = out.write_str(&line.encode());
        }
        out
    }
}

/// What the bytes of a manifest say; `None` if a later version of this program wrote it. A last line without its end
/// was not yet written when the power failed, or is being written.
pub(super) fn parse(bytes: &[u8]) -> Option<Listing> {
    let mut listing = Listing::default();
    for line in bytes.split_inclusive(|byte| *byte == b'\n') {
        let Some(line) = line.strip_suffix(b"\n") else { break };
        let body = std::str::from_utf8(line).ok().and_then(|line| {
            let (sum, body) = line.split_once(' ')?;
            let is_same = u32::from_str_radix(sum, 16).ok()? == crc32c(body.as_bytes());
            (is_same || planted("manifest: comparing checksums")).then_some(body)
        });
        match body.map(|body| (body.strip_prefix("manifest "), body)) {
            Some((Some(version), _)) if version.parse::<u32>().is_ok_and(|v| v > VERSION) => {
                return None;
            }
            Some((Some(_), _)) => {}
            Some((None, body)) => match Line::decode(body) {
                Some(line) => listing.apply(line),
                None => listing.bad_lines += 1,
            },
            None if planted("manifest: counting bad lines") => {}
            None => listing.bad_lines += 1,
        }
    }
    Some(listing)
}

/// Where the manifest of the log `instance` in `dir` is.
pub(super) fn manifest_path(dir: &Path, instance: &str) -> PathBuf {
    dir.join(format!(".{instance}.manifest"))
}

/// What the manifest of a directory says; nothing if there is none.
///
/// # Errors
///
/// As the file system says; `Unsupported` if a later version of this program wrote it.
pub(super) fn read(storage: &dyn Storage, dir: &Path, instance: &str) -> io::Result<Listing> {
    let file = match storage.open(&manifest_path(dir, instance), Access::Read) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Listing::default()),
        other => other?,
    };
    let bytes = usize::try_from(file.bytes()?.min(MAX_BYTES)).unwrap_or(usize::MAX);
    let later = || io::Error::new(io::ErrorKind::Unsupported, "written by a later version");
    parse(&read_full(&*file, 0, bytes)?).ok_or_else(later)
}

/// The manifest of a directory, while its log is open for writing.
#[derive(Debug)]
pub(super) struct Manifest {
    path: PathBuf,
    dir: PathBuf,
    /// None while it could not be written.
    file: Mutex<Option<ManifestFile>>,
}

#[derive(Debug)]
struct ManifestFile {
    file: Arc<dyn StorageFile>,
    bytes: u64,
    /// How long it was when it was written anew.
    written: u64,
}

/// How much longer than twice its length a manifest may grow.
const SLACK_BYTES: u64 = 1 << 20;

impl Manifest {
    /// The manifest of the log `instance` in `dir`; it can be added to once it was written.
    pub(super) fn new(dir: &Path, instance: &str) -> Self {
        let path = manifest_path(dir, instance);
        Manifest { path, dir: dir.to_owned(), file: Mutex::default() }
    }

    /// Writes the whole manifest anew, durably.
    ///
    /// # Errors
    ///
    /// As the file system says; the file is then as it was.
    pub(super) fn write(&self, storage: &dyn Storage, listing: &Listing) -> io::Result<()> {
        let mut place = lock(&self.file);
        let bytes = listing.to_file();
        let draft = draft_path(&self.path);
        let file = create_fresh(storage, &draft)?;
        write_full(&*file, bytes.as_bytes(), 0)?;
        unless("manifest: the draft", || file.sync())?;
        storage.rename(&draft, &self.path)?;
        // What is appended from now on goes into the new file, whether or not its name is durable: after a power
        // loss the old one may be there again, so its lines have to reach the disk by a name that is.
        let length = bytes.len() as u64;
        *place = Some(ManifestFile { file, bytes: length, written: length });
        unless("manifest: the directory", || storage.sync_dir(&self.dir))
            .inspect_err(|_| *place = None)
    }

    /// Adds lines, durably.
    ///
    /// # Errors
    ///
    /// As the file system says. Nothing can be added then until the manifest is written anew.
    pub(super) fn add(&self, lines: &[Line]) -> io::Result<()> {
        let mut place = lock(&self.file);
        let Some(open) = &mut *place else {
            return Err(io::Error::other("the manifest has to be written anew"));
        };
        let text: String = lines.iter().map(Line::encode).collect();
        let added = write_full(&*open.file, text.as_bytes(), open.bytes);
        let added = added.and_then(|()| unless("manifest: added lines", || open.file.sync()));
        match added {
            Ok(()) => open.bytes += text.len() as u64,
            Err(_) if planted("manifest: giving up after a failure") => {}
            Err(_) => *place = None,
        }
        added
    }

    /// Whether it should be written anew: nothing can be added to it, or most of it is of no use any more.
    pub(super) fn is_due(&self) -> bool {
        lock(&self.file).as_ref().is_none_or(|open| open.bytes > 2 * open.written + SLACK_BYTES)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(bytes: u64) -> Member {
        let (first, last) = (Timestamp::from_micros(5), Timestamp::from_micros(9));
        let summary = Summary { bytes, count: 3, first, last, crc: 0xab };
        Member { disk_bytes: bytes / 2, summary, records_crc: 0xdead_beef }
    }

    fn listing() -> Listing {
        let mut listing = Listing::default();
        let at = Timestamp::from_micros;
        for line in [
            Line::Boot("c0ffee".into()),
            Line::Have("q 1_2026".into(), member(100)),
            Line::Have("b.zip".into(), member(70)),
            Line::Have("c".into(), member(60)),
            Line::Damaged("c".into(), (8, 100)),
            Line::Damaged("b.zip".into(), (9, 1)),
            Line::Known("b.zip".into(), (9, 1)),
            Line::Damaged("b.zip".into(), (10, 1)),
            Line::Scrubbed(at(77), "b.zip".into()),
            Line::Drop("c".into()),
            Line::Deleted(at(6)),
            Line::Deleted(at(4)),
            Line::Stamp(at(100)),
            Line::Stamp(at(90)),
            Line::Drop("d".into()),
            Line::Gone("d".into()),
        ] {
            listing.apply(line);
        }
        listing
    }

    #[test]
    fn what_is_written_is_read_and_later_lines_stand_against_earlier_ones() {
        let listing = listing();
        assert_eq!(listing.members.keys().collect::<Vec<_>>(), ["b.zip", "q 1_2026"]);
        assert_eq!(listing.dropping.iter().collect::<Vec<_>>(), ["c"]);
        assert!(listing.is_known("b.zip", 9) && !listing.is_known("b.zip", 10));
        assert_eq!(listing.damage.len(), 3);
        assert_eq!(
            (listing.deleted.unwrap().micros(), listing.reserved.unwrap().micros()),
            (6, 100)
        );
        assert_eq!(parse(listing.to_file().as_bytes()), Some(listing));
    }

    /// Every bit flipped, every cut.
    #[test]
    fn a_flip_costs_one_line_and_is_counted_and_a_cut_costs_what_is_behind_it() {
        let file = listing().to_file().into_bytes();
        let lines = file.iter().filter(|b| **b == b'\n').count() as u64;
        for at in 0..file.len() * 8 {
            let mut flipped = file.clone();
            flipped[at / 8] ^= 1 << (at % 8);
            let Some(parsed) = parse(&flipped) else { panic!("bit {at} makes a later version") };
            // A flipped end joins two lines, or cuts the last; upper and lower case digits are the same.
            let is_end = file[at / 8] == b'\n';
            let is_case = file[at / 8].is_ascii_alphabetic() && at % 8 == 5;
            assert!((1..=2).contains(&parsed.bad_lines) || is_end || is_case, "bit {at}");
            assert!(parsed.members.len() <= 2);
        }
        for cut in 0..file.len() {
            let parsed = parse(&file[..cut]).expect("of this version");
            assert_eq!(parsed.bad_lines, 0, "{cut} of {lines} lines");
        }
        assert_eq!(parse(with_sum("manifest 2").as_bytes()), None);
    }
}
