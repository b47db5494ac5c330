//! What the files of a log are called.

use std::collections::HashSet;
use std::io;
use std::path::{Path, PathBuf};

use super::storage::{Access, Listed, Storage};

/// The ending of an index file's name.
pub(super) const INDEX_SUFFIX: &str = ".idx";
/// The ending of an archive's name.
pub(super) const ARCHIVE_SUFFIX: &str = ".zip";
/// The ending of the name of a file that is not finished.
pub(super) const DRAFT_SUFFIX: &str = ".new";

/// A file beside `path`: its name with a dot before it and `suffix` behind it.
///
/// The original takes every file for a segment whose name begins like one; and no instance's name begins with a
/// dot, so nothing else has such a name.
fn beside(path: &Path, suffix: &str) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let dot = if name.starts_with('.') { "" } else { "." };
    path.with_file_name(format!("{dot}{name}{suffix}"))
}

/// Where a file is made before it gets its name.
pub(super) fn draft_path(path: &Path) -> PathBuf {
    beside(path, DRAFT_SUFFIX)
}

/// The index file beside a segment or archive.
pub(super) fn index_path(segment: &Path) -> PathBuf {
    beside(segment, INDEX_SUFFIX)
}

/// The name that an index or draft of the log `instance` has now, if `name` is what the first version called it:
/// the same without the dot.
fn present_name(instance: &str, name: &str) -> Option<String> {
    let of_segment = name.strip_suffix(DRAFT_SUFFIX).unwrap_or(name);
    let of_segment = of_segment.strip_suffix(INDEX_SUFFIX).unwrap_or(of_segment);
    let segment = of_segment.strip_suffix(ARCHIVE_SUFFIX).unwrap_or(of_segment);
    let is_ours = segment == instance || parse_rotated_name(instance, segment).is_some();
    (is_ours && of_segment != name).then(|| format!(".{name}"))
}

/// Gives the indexes and drafts that the first version made in `dir` the names they have now. Where the first
/// version wrote to a directory of ours in between there are both: then the older one's evidence counts, and what
/// the first version made is kept with `.old` behind its name.
pub(super) fn rename_old_files(
    storage: &dyn Storage,
    instance: &str,
    dir: &Path,
) -> io::Result<()> {
    let mut names: Vec<String> = storage.list(dir)?.into_iter().map(|file| file.name).collect();
    names.sort();
    let mut renamed = false;
    for name in names {
        let Some(mut present) = present_name(instance, &name) else { continue };
        if storage.open(&dir.join(&present), Access::Read).is_ok() {
            present.push_str(".old");
        }
        storage.rename(&dir.join(&name), &dir.join(&present))?;
        renamed = true;
    }
    if renamed { storage.sync_dir(dir) } else { Ok(()) }
}

/// Whether `name` is that of a file of the log `instance` that a crash left half written.
pub(super) fn is_draft(instance: &str, name: &str) -> bool {
    let Some(whole) = name.strip_prefix('.').and_then(|name| name.strip_suffix(DRAFT_SUFFIX))
    else {
        return false;
    };
    let segment = whole.strip_suffix(INDEX_SUFFIX).unwrap_or(whole);
    let segment = segment.strip_suffix(ARCHIVE_SUFFIX).unwrap_or(segment);
    whole == format!("{instance}.manifest")
        || segment == instance
        || parse_rotated_name(instance, segment).is_some()
}

/// The rotated segments whose indexes are among the files and which are not.
pub(super) fn without_segment<'a>(instance: &str, files: &'a [Listed]) -> Vec<&'a str> {
    let names: HashSet<&str> = files.iter().map(|file| &*file.name).collect();
    let indexed =
        names.iter().filter_map(|name| name.strip_prefix('.')?.strip_suffix(INDEX_SUFFIX));
    let orphaned = indexed.filter(|segment| !names.contains(segment));
    let mut found: Vec<_> =
        orphaned.filter(|segment| parse_rotated_name(instance, segment).is_some()).collect();
    found.sort_unstable();
    found
}

/// The name of a segment rotated `millis` after the epoch: `NAME_YYYY-MM-DD_HH-MM-SS.mmmZ`, in UTC.
pub(super) fn rotated_name(instance: &str, millis: u64) -> String {
    let secs = i64::try_from(millis / 1000).unwrap_or(i64::MAX);
    let time = jiff::Timestamp::from_second(secs).unwrap_or(jiff::Timestamp::MAX);
    format!("{instance}_{}.{:03}Z", time.strftime("%Y-%m-%d_%H-%M-%S"), millis % 1000)
}

/// The time of rotation that a rotated segment's name tells, in milliseconds since the epoch.
///
/// The original wrote names with `~p`, so that of an atom with odd characters stands in quotes.
pub(super) fn parse_rotated_name(instance: &str, name: &str) -> Option<u64> {
    let quoted = format!("'{instance}'");
    let rest = name.strip_prefix(&quoted).or_else(|| name.strip_prefix(instance))?;
    let rest = rest.strip_prefix('_')?;
    let digits = |range: std::ops::Range<usize>| -> Option<i64> {
        let part = rest.get(range)?;
        part.bytes().all(|b| b.is_ascii_digit()).then(|| part.parse().ok())?
    };
    let is_shape = rest.len() == 24
        && [(4, '-'), (7, '-'), (10, '_'), (13, '-'), (16, '-'), (19, '.'), (23, 'Z')]
            .iter()
            .all(|&(at, c)| rest[at..].starts_with(c));
    if !rest.is_ascii() || !is_shape {
        return None;
    }
    let small = |range| i8::try_from(digits(range)?).ok();
    let time = jiff::civil::DateTime::new(
        i16::try_from(digits(0..4)?).ok()?,
        small(5..7)?,
        small(8..10)?,
        small(11..13)?,
        small(14..16)?,
        small(17..19)?,
        0,
    )
    .ok()?;
    let since = time.to_zoned(jiff::tz::TimeZone::UTC).ok()?.timestamp().as_second();
    u64::try_from(since * 1000 + digits(20..23)?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_tell_their_time_and_sort_by_it() {
        let millis = 1_321_234_567_089;
        assert_eq!(rotated_name("quotes", millis), "quotes_2011-11-14_01-36-07.089Z");
        let mut last = String::new();
        for millis in [0, 1, 999, 1000, millis, millis + 1, 4_102_444_800_000] {
            let name = rotated_name("q", millis);
            assert_eq!(parse_rotated_name("q", &name), Some(millis));
            assert!(last < name);
            last = name;
        }
    }

    #[test]
    fn only_rotated_segments_of_the_instance_have_such_names() {
        let name = "my-app_2011-11-14_01-36-07.089Z";
        assert!(parse_rotated_name("my-app", name).is_some());
        assert!(parse_rotated_name("my-app", "'my-app'_2011-11-14_01-36-07.089Z").is_some());
        for (instance, name) in [
            ("my", name),
            ("my-app", "my-app"),
            ("my-app", "my-app.log"),
            ("my-app", "my-app_2011-11-14_01-36-07.089Z.idx"),
            ("my-app", "my-app_2011-13-14_01-36-07.089Z"),
            ("my-app", "my-app_2011-11-14_01-36-07.08éZ"),
            ("my-app", "my-app_2011-11-14_01-36-07.0+9Z"),
        ] {
            assert_eq!(parse_rotated_name(instance, name), None, "{name}");
        }
    }
}
