//! Archives: a segment in a zip file, under its own name.
//!
//! Erlang's `zip:unzip`, and everything else that knows zip files, gets the segment back from one. The
//! deflate stream is flushed completely every [`RESTART_BYTES`], which costs well under a percent, and the
//! index beside the archive says where: so a reader can begin in the middle. Archives that others wrote
//! have no such places and are inflated from their beginning.
//!
//! Format: PKWARE APPNOTE 6.3, with the Zip64 extension for segments of 4 GiB and more.

use std::io::{self, Read, Seek, SeekFrom};
use std::sync::Arc;

use flate2::{Compress, Compression, Crc, Decompress, FlushCompress, FlushDecompress, Status};

use super::index::Restart;
use super::storage::{StorageFile, read_full, write_full};
use crate::time::Timestamp;

/// A reader can begin to inflate at every multiple of this.
const RESTART_BYTES: usize = 1 << 20;
/// How much of an archive is read at once.
const READ_BYTES: usize = 64 << 10;
/// Segments this long, or whose archive might become so, need the Zip64 extension.
const ZIP64_FROM_BYTES: u64 = 0xfff0_0000;
/// An archive with more members than this is none of ours or the original's, which have one.
const MAX_MEMBERS: usize = 1000;

/// Writes an archive with one member into an empty file; `bytes` of what `read` gives (position, length) under `name`.
///
/// `stop` is asked now and then whether to give up, with [`io::ErrorKind::Interrupted`].
pub(super) fn write(
    file: &dyn StorageFile,
    name: &str,
    rotated: Timestamp,
    read: &mut dyn FnMut(u64, usize) -> io::Result<Vec<u8>>,
    bytes: u64,
    stop: &dyn Fn() -> bool,
) -> io::Result<Vec<Restart>> {
    let mut member =
        ZipMember { name, rotated, bytes, packed: 0, crc: 0, zip64: bytes >= ZIP64_FROM_BYTES };
    let data_start = member.local_header().len() as u64;
    let mut crc = Crc::new();
    let mut deflate = Compress::new(Compression::default(), false);
    let mut restarts = Vec::new();
    let mut packed = Vec::with_capacity(RESTART_BYTES);
    let (mut position, mut at) = (0, data_start);
    while position < bytes {
        if stop() {
            return Err(io::ErrorKind::Interrupted.into());
        }
        if position > 0 {
            restarts.push(Restart { position, packed: at });
        }
        let wanted = usize::try_from(bytes - position).unwrap_or(usize::MAX).min(RESTART_BYTES);
        let block = read(position, wanted)?;
        if block.len() < wanted {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        crc.update(&block);
        position += block.len() as u64;
        let flush = if position == bytes { FlushCompress::Finish } else { FlushCompress::Full };
        packed.clear();
        deflate_all(&mut deflate, &block, flush, &mut packed)?;
        write_full(file, &packed, at)?;
        at += packed.len() as u64;
    }
    if bytes == 0 {
        packed.clear();
        deflate_all(&mut deflate, &[], FlushCompress::Finish, &mut packed)?;
        write_full(file, &packed, at)?;
        at += packed.len() as u64;
    }
    member.packed = at - data_start;
    member.crc = crc.sum();
    write_full(file, &member.directory(at), at)?;
    write_full(file, &member.local_header(), 0)?;
    Ok(restarts)
}

fn deflate_all(
    deflate: &mut Compress,
    mut block: &[u8],
    flush: FlushCompress,
    packed: &mut Vec<u8>,
) -> io::Result<()> {
    loop {
        packed.reserve(READ_BYTES);
        let before = deflate.total_in();
        let status = deflate.compress_vec(block, packed, flush).map_err(io::Error::other)?;
        let taken = usize::try_from(deflate.total_in() - before).expect("at most the block");
        block = &block[taken..];
        // Room left over means that the flush is complete.
        if status == Status::StreamEnd || (block.is_empty() && packed.len() < packed.capacity()) {
            return Ok(());
        }
    }
}

/// The one member of an archive that we write.
struct ZipMember<'a> {
    name: &'a str,
    rotated: Timestamp,
    bytes: u64,
    packed: u64,
    crc: u32,
    zip64: bool,
}

impl ZipMember<'_> {
    fn name_bytes(&self) -> [u8; 2] {
        u16::try_from(self.name.len()).expect("an instance's name is short").to_le_bytes()
    }

    /// Version, flags, method, time, checksum, both lengths: the same in both headers.
    fn common(&self, out: &mut Vec<u8>) {
        let version: u16 = if self.zip64 { 45 } else { 20 };
        let utf8: u16 = if self.name.is_ascii() { 0 } else { 1 << 11 };
        let (time, date) = self.dos_time();
        for field in [version, utf8, 8, time, date] {
            out.extend_from_slice(&field.to_le_bytes());
        }
        out.extend_from_slice(&self.crc.to_le_bytes());
        for length in [self.packed, self.bytes] {
            out.extend_from_slice(&self.short(length).to_le_bytes());
        }
    }

    fn short(&self, length: u64) -> u32 {
        if self.zip64 { u32::MAX } else { u32::try_from(length).unwrap_or(u32::MAX) }
    }

    /// Both lengths in full, where they need it.
    fn zip64_extra(&self) -> Vec<u8> {
        if !self.zip64 {
            return Vec::new();
        }
        let mut extra = vec![1, 0, 16, 0];
        extra.extend_from_slice(&self.bytes.to_le_bytes());
        extra.extend_from_slice(&self.packed.to_le_bytes());
        extra
    }

    fn local_header(&self) -> Vec<u8> {
        let extra = self.zip64_extra();
        let mut out = b"PK\x03\x04".to_vec();
        self.common(&mut out);
        out.extend_from_slice(&self.name_bytes());
        out.extend_from_slice(&[if self.zip64 { 20 } else { 0 }, 0]);
        out.extend_from_slice(self.name.as_bytes());
        out.extend_from_slice(&extra);
        out
    }

    /// The central directory and what ends the file; `at` is where it begins.
    fn directory(&self, at: u64) -> Vec<u8> {
        let extra = self.zip64_extra();
        // Made on Unix.
        let mut out = b"PK\x01\x02\x14\x03".to_vec();
        self.common(&mut out);
        out.extend_from_slice(&self.name_bytes());
        out.extend_from_slice(&[if self.zip64 { 20 } else { 0 }, 0]);
        // No comment, first disk, binary; a plain file, 0644; the header is at the beginning.
        out.extend_from_slice(&[0; 6]);
        out.extend_from_slice(&(0o100_644_u32 << 16).to_le_bytes());
        out.extend_from_slice(&[0; 4]);
        out.extend_from_slice(self.name.as_bytes());
        out.extend_from_slice(&extra);
        let directory_bytes = out.len() as u64;
        if self.zip64 {
            let end = at + directory_bytes;
            out.extend_from_slice(b"PK\x06\x06");
            out.extend_from_slice(&44_u64.to_le_bytes());
            out.extend_from_slice(&[45, 3, 45, 0]);
            out.extend_from_slice(&[0; 8]);
            for field in [1, 1, directory_bytes, at] {
                out.extend_from_slice(&u64::to_le_bytes(field));
            }
            out.extend_from_slice(b"PK\x06\x07\0\0\0\0");
            out.extend_from_slice(&end.to_le_bytes());
            out.extend_from_slice(&1_u32.to_le_bytes());
        }
        out.extend_from_slice(b"PK\x05\x06\0\0\0\0\x01\0\x01\0");
        let directory_bytes = u32::try_from(directory_bytes).expect("a name and some numbers");
        out.extend_from_slice(&directory_bytes.to_le_bytes());
        out.extend_from_slice(&self.short(at).to_le_bytes());
        out.extend_from_slice(&[0, 0]);
        out
    }

    /// Time and date as MS-DOS wrote them: two-second steps from 1980 on.
    fn dos_time(&self) -> (u16, u16) {
        let secs = i64::try_from(self.rotated.micros() / 1_000_000).unwrap_or(i64::MAX);
        let time = jiff::Timestamp::from_second(secs).unwrap_or(jiff::Timestamp::MAX);
        let time = time.to_zoned(jiff::tz::TimeZone::UTC).datetime();
        let field = |value: i8| u16::try_from(value).unwrap_or(0);
        let year = u16::try_from(time.year().clamp(1980, 2107) - 1980).unwrap_or(0);
        (
            field(time.hour()) << 11 | field(time.minute()) << 5 | (field(time.second()) / 2),
            year << 9 | field(time.month()) << 5 | field(time.day()),
        )
    }
}

/// An open archive, inflated as it is read.
pub(super) struct Archive {
    file: Arc<dyn StorageFile>,
    data_start: u64,
    data_end: u64,
    stored: bool,
    /// Length of the segment.
    pub(super) bytes: u64,
    /// CRC-32 of the segment, as the archive has it.
    pub(super) crc: u32,
    /// Where inflating can begin, rising; beside the beginning.
    pub(super) restarts: Vec<Restart>,
    inflate: Decompress,
    /// Where the next inflated byte belongs.
    position: u64,
    /// Where the next packed byte to read is.
    at: u64,
    packed: Vec<u8>,
    /// How much of `packed` was used.
    used: usize,
}

impl std::fmt::Debug for Archive {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Archive")
            .field("file", &self.file)
            .field("position", &self.position)
            .finish()
    }
}

impl Archive {
    /// Opens the segment `name` in an archive; its only member if that has another name.
    pub(super) fn open(file: Arc<dyn StorageFile>, name: &str) -> io::Result<Self> {
        let reader = Seekable::new(Arc::clone(&file))?;
        let mut zip = zip::ZipArchive::new(io::BufReader::new(reader)).map_err(io_error)?;
        if zip.len() > MAX_MEMBERS {
            return Err(io::Error::other("archive has too many members"));
        }
        let member = (0..zip.len()).find(|i| {
            zip.by_index_raw(*i).is_ok_and(|m| m.name().rsplit('/').next() == Some(name))
        });
        let member = member.or((zip.len() == 1).then_some(0));
        let member = member.ok_or_else(|| io::Error::other("archive without the segment"))?;
        let member = zip.by_index_raw(member).map_err(io_error)?;
        let stored = match member.compression() {
            zip::CompressionMethod::Stored => true,
            zip::CompressionMethod::DEFLATE => false,
            other => return Err(io::Error::other(format!("archive packed by {other}"))),
        };
        let data_start = member.data_start().ok_or(io::ErrorKind::InvalidData)?;
        let data_end = data_start.checked_add(member.compressed_size());
        let data_end = data_end.ok_or(io::ErrorKind::InvalidData)?;
        let (bytes, crc) = (member.size(), member.crc32());
        drop(member);
        drop(zip);
        Ok(Archive {
            file,
            data_start,
            data_end,
            stored,
            bytes,
            crc,
            restarts: Vec::new(),
            inflate: Decompress::new(false),
            position: 0,
            at: data_start,
            packed: Vec::new(),
            used: 0,
        })
    }

    /// `bytes` bytes of the segment at `position`, fewer if it ends there or the archive is damaged.
    ///
    /// Costs inflating from the last place where that can begin, or from where the last read ended.
    pub(super) fn read(&mut self, position: u64, bytes: usize) -> io::Result<Vec<u8>> {
        let bytes =
            usize::try_from(self.bytes.saturating_sub(position)).unwrap_or(bytes).min(bytes);
        if self.stored {
            let at = self.data_start.saturating_add(position);
            let left = usize::try_from(self.data_end.saturating_sub(at)).unwrap_or(bytes);
            return read_full(&*self.file, at, bytes.min(left));
        }
        let before = self.restarts.partition_point(|restart| restart.position <= position);
        let restart = before.checked_sub(1).map(|i| self.restarts[i]);
        let restart = restart.unwrap_or(Restart { position: 0, packed: self.data_start });
        if position < self.position || restart.position > self.position {
            self.inflate.reset(false);
            self.position = restart.position;
            self.at = restart.packed;
            self.packed.clear();
            self.used = 0;
        }
        let mut skipped = Vec::with_capacity(READ_BYTES);
        while self.position < position {
            let left = usize::try_from(position - self.position).unwrap_or(usize::MAX);
            skipped.clear();
            if self.inflate_some(&mut skipped, left.min(READ_BYTES))? == 0 {
                return Ok(Vec::new());
            }
        }
        let mut out = Vec::with_capacity(bytes);
        while out.len() < bytes {
            let left = bytes - out.len();
            if self.inflate_some(&mut out, left)? == 0 {
                break;
            }
        }
        Ok(out)
    }

    /// Whether the segment's bytes come to the checksum that the archive has. Costs inflating all of it.
    pub(super) fn matches_crc(&mut self) -> io::Result<bool> {
        let (mut crc, mut position) = (Crc::new(), 0);
        while position < self.bytes {
            let block = self.read(position, RESTART_BYTES)?;
            if block.is_empty() {
                return Ok(false);
            }
            crc.update(&block);
            position += block.len() as u64;
        }
        Ok(crc.sum() == self.crc)
    }

    /// Inflates some bytes, at most `most`, to the end of `out`; 0 at the end or at damage.
    fn inflate_some(&mut self, out: &mut Vec<u8>, most: usize) -> io::Result<usize> {
        let start = out.len();
        out.resize(start + most, 0);
        let given = self.inflate_into(&mut out[start..]);
        out.truncate(start + *given.as_ref().unwrap_or(&0));
        given
    }

    fn inflate_into(&mut self, room: &mut [u8]) -> io::Result<usize> {
        loop {
            if self.used == self.packed.len() {
                let left =
                    usize::try_from(self.data_end.saturating_sub(self.at)).unwrap_or(usize::MAX);
                self.packed = read_full(&*self.file, self.at, left.min(READ_BYTES))?;
                self.at += self.packed.len() as u64;
                self.used = 0;
            }
            let (before_in, before_out) = (self.inflate.total_in(), self.inflate.total_out());
            let input = &self.packed[self.used..];
            let flush = FlushDecompress::None;
            let status = self.inflate.decompress(input, room, flush);
            let count =
                |now: u64, before: u64| usize::try_from(now - before).expect("a buffer's length");
            let (taken, given) = (
                count(self.inflate.total_in(), before_in),
                count(self.inflate.total_out(), before_out),
            );
            self.used += taken;
            self.position += given as u64;
            if given > 0 || room.is_empty() {
                return Ok(given);
            }
            // Damage and the end look alike to the reader: the bytes that were due are not there.
            if !matches!(status, Ok(Status::Ok | Status::BufError))
                || (taken == 0 && input.is_empty())
            {
                return Ok(0);
            }
            if taken == 0 && self.at >= self.data_end && self.used < self.packed.len() {
                return Ok(0);
            }
        }
    }
}

/// What the file system said, if it did: that may go away by itself.
fn io_error(error: zip::result::ZipError) -> io::Error {
    match error {
        zip::result::ZipError::Io(error) => error,
        other => io::Error::other(other),
    }
}

/// A storage file as [`Read`] and [`Seek`].
pub(super) struct Seekable {
    file: Arc<dyn StorageFile>,
    bytes: u64,
    position: u64,
}

impl Seekable {
    pub(super) fn new(file: Arc<dyn StorageFile>) -> io::Result<Self> {
        Ok(Seekable { bytes: file.bytes()?, file, position: 0 })
    }
}

impl Read for Seekable {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.file.read_at(buffer, self.position)?;
        self.position += read as u64;
        Ok(read)
    }
}

impl Seek for Seekable {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let position = match to {
            SeekFrom::Start(position) => Some(position),
            SeekFrom::End(by) => self.bytes.checked_add_signed(by),
            SeekFrom::Current(by) => self.position.checked_add_signed(by),
        };
        self.position = position.ok_or(io::ErrorKind::InvalidInput)?;
        Ok(self.position)
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::event_log::storage::memory::{MemoryStorage, Seeded};
    use crate::event_log::storage::{Access, Storage};

    fn archive(bytes: &[u8]) -> (Arc<dyn StorageFile>, Vec<Restart>) {
        let storage = MemoryStorage::new();
        let segment = storage.open(Path::new("/s"), Access::Create).expect("opens");
        write_full(&*segment, bytes, 0).expect("writes");
        let file = storage.open(Path::new("/s.zip"), Access::Create).expect("opens");
        let mut read = |position, bytes| read_full(&*segment, position, bytes);
        let rotated = Timestamp::from_micros(1_700_000_000_000_000);
        let restarts = write(&*file, "s", rotated, &mut read, bytes.len() as u64, &|| false)
            .expect("archives");
        (file, restarts)
    }

    fn text(len: usize) -> Vec<u8> {
        let mut seeded = Seeded::new(5);
        (0..len)
            .map(|_| b"error report "[usize::try_from(seeded.below(13)).expect("small")])
            .collect()
    }

    #[test]
    fn any_part_of_a_segment_comes_back_from_its_archive() {
        for len in [0, 1, 100, RESTART_BYTES - 1, RESTART_BYTES, RESTART_BYTES + 1, 5_000_000] {
            let bytes = text(len);
            let (file, restarts) = archive(&bytes);
            assert_eq!(restarts.len(), len.saturating_sub(1) / RESTART_BYTES);
            let mut seeded = Seeded::new(len as u64);
            for restarts in [restarts, vec![]] {
                let mut archive = Archive::open(Arc::clone(&file), "s").expect("opens");
                archive.restarts = restarts;
                assert_eq!(archive.bytes, len as u64);
                assert_eq!(archive.read(0, len).expect("reads"), bytes);
                for _ in 0..10 {
                    let position = seeded.below(len as u64 + 1);
                    let at = usize::try_from(position).expect("small");
                    let wanted = usize::try_from(seeded.below(300_000)).expect("small");
                    let read = archive.read(position, wanted).expect("reads");
                    assert_eq!(read, bytes[at..len.min(at + wanted)]);
                }
            }
        }
    }

    #[test]
    fn a_damaged_archive_gives_fewer_or_other_bytes_but_no_panic() {
        let bytes = text(3 << 20);
        let (file, restarts) = archive(&bytes);
        let whole =
            read_full(&*file, 0, usize::try_from(file.bytes().expect("has")).expect("small"))
                .expect("reads");
        let mut seeded = Seeded::new(1);
        for _ in 0..30 {
            let mut flipped = whole.clone();
            let at = usize::try_from(seeded.below(whole.len() as u64)).expect("small");
            flipped[at] ^= 0x55;
            write_full(&*file, &flipped, 0).expect("writes");
            if let Ok(mut archive) = Archive::open(Arc::clone(&file), "s") {
                archive.restarts.clone_from(&restarts);
                let read = archive.read(0, bytes.len()).expect("reads");
                assert!(read.len() <= bytes.len());
                // What lies behind the next restart is not touched by it.
                if at < usize::try_from(restarts[0].packed).expect("small") {
                    let rest = restarts[0].position;
                    let read = archive.read(rest, bytes.len()).expect("reads");
                    let rest = usize::try_from(rest).expect("small");
                    assert!(archive.bytes != bytes.len() as u64 || read == bytes[rest..]);
                }
            }
        }
    }
}
