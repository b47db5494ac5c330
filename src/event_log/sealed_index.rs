//! Indexes, written as a whole.

use std::io;
use std::path::Path;
use std::sync::Arc;

use super::index::{ENTRY_BYTES, HEADER, Index, Summary, sum};
use super::names::{draft_path, index_path};
use super::storage::{Storage, StorageFile, create_fresh, write_full};
use crate::planted::{planted, unless};

/// Writes a complete index beside a segment or archive, in place of what is there; the summary with its checksum. The
/// segment must be durable: what an index says of it is believed from then on.
pub(super) fn write(
    storage: &dyn Storage,
    segment: &Path,
    summary: Summary,
    index: &Index,
) -> io::Result<Summary> {
    let path = index_path(segment);
    let draft = if planted("index: by way of a draft") { path.clone() } else { draft_path(&path) };
    let bytes = index.to_sealed_file(summary);
    let summary = Summary { crc: sum(&bytes[..bytes.len() - ENTRY_BYTES], HEADER[7]), ..summary };
    let file = create_fresh(storage, &draft)?;
    write_full(&*file, &bytes, 0)?;
    unless("index: the draft", || file.sync())?;
    if draft != path {
        storage.rename(&draft, &path)?;
    }
    Ok(summary)
}

/// Begins the index of a segment that is written to with these `bytes`, in place of what is there, which stays until then:
/// only an index knows where a power loss left holes in a segment, and what lies behind them would be a torn tail.
pub(super) fn begin_anew(
    storage: &dyn Storage,
    segment: &Path,
    bytes: &[u8],
) -> io::Result<Arc<dyn StorageFile>> {
    let path = index_path(segment);
    let draft = draft_path(&path);
    let file = create_fresh(storage, &draft)?;
    write_full(&*file, bytes, 0)?;
    file.sync()?;
    storage.rename(&draft, &path)?;
    Ok(file)
}
