//! Entries as text: Erlang terms as `file:consult/1` reads them, and JSON lines.

use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::path::{Path, PathBuf};

use super::super::record;
use super::feed::{At, Feed, Given, Report};
use crate::etf::text::{self, TextError};
use crate::etf::{TermRef, json, tag};
use crate::time::Timestamp;

/// How long one term's text may be.
const MAX_TERM_BYTES: usize = 64 << 20;
/// The longest line of a JSON file.
const MAX_LINE_BYTES: u64 = 256 << 20;

/// Writes an entry as a line that `file:consult/1` reads. Pids, ports, references and closures, for which Erlang has no
/// syntax, are written in the forms of [`text::forms`], which a [`TextFeed`] takes for what they are.
///
/// # Errors
///
/// Those of `out`.
pub fn write_consult(
    out: &mut dyn io::Write,
    stamp: Timestamp,
    event: TermRef<'_>,
) -> io::Result<()> {
    let (mega, secs, micros) = stamp.parts();
    writeln!(out, "{{{{{mega},{secs},{micros}}},{}}}.", text::to_lossless(event))
}

/// How entries are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// Terms `{Timestamp, Event}` that each end in a dot and a line's end.
    Terms,
    /// A line each: `{"timestamp":Micros,"event":...}`.
    JsonLines,
}

/// The entries of a text file.
#[derive(Debug)]
pub struct TextFeed {
    path: PathBuf,
    form: Form,
    reader: Option<TextReader<BufReader<File>>>,
}

impl TextFeed {
    /// The entries of a file in this form.
    pub fn new(path: &Path, form: Form) -> Self {
        TextFeed { path: path.to_owned(), form, reader: None }
    }
}

impl Feed for TextFeed {
    fn path(&self) -> &Path {
        &self.path
    }

    fn first(&mut self, _report: Report<'_>) -> Option<Timestamp> {
        // What is reported on the way to the first entry is reported again when that is read.
        let first = self.next(&mut |_| ()).map(|given| given.stamp);
        self.reader = None;
        // A file without any entry is read again as well, and then says why.
        first.or(Some(Timestamp::MIN))
    }

    fn next(&mut self, report: Report<'_>) -> Option<Given> {
        if self.reader.is_none() {
            match File::open(&self.path) {
                Ok(file) => self.reader = Some(TextReader::new(BufReader::new(file), self.form)),
                Err(error) => {
                    report(format!("{}: {error}", self.path.display()));
                    return None;
                }
            }
        }
        let reader = self.reader.as_mut()?;
        loop {
            match reader.next() {
                TextItem::Entry(given) => return Some(given),
                TextItem::Bad { line, why } => {
                    report(format!("{}:{line}: {why}", self.path.display()));
                }
                TextItem::End => return None,
            }
        }
    }
}

/// What is next in a text.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum TextItem {
    Entry(Given),
    /// Something that is no entry.
    Bad {
        line: u64,
        why: String,
    },
    /// Nothing, for good.
    End,
}

/// Reads entries from text.
#[derive(Debug)]
pub(super) struct TextReader<R> {
    input: R,
    form: Form,
    line: u64,
    /// Nothing more can be read.
    ended: bool,
}

impl<R: BufRead> TextReader<R> {
    pub(super) fn new(input: R, form: Form) -> Self {
        TextReader { input, form, line: 0, ended: false }
    }

    pub(super) fn next(&mut self) -> TextItem {
        if self.ended {
            return TextItem::End;
        }
        match self.form {
            Form::Terms => self.next_term(),
            Form::JsonLines => self.next_json(),
        }
    }

    /// Reads up to and with a line's end, not more than `most` bytes; whether there was anything.
    fn read_line(&mut self, into: &mut Vec<u8>, most: u64) -> io::Result<bool> {
        self.line += 1;
        let read = io::Read::take(&mut self.input, most).read_until(b'\n', into)?;
        Ok(read > 0)
    }

    /// Something after which nothing can be read.
    fn fail(&mut self, why: String) -> TextItem {
        self.ended = true;
        TextItem::Bad { line: self.line, why }
    }

    fn next_term(&mut self) -> TextItem {
        let mut buffer = Vec::new();
        let mut failed: Option<TextError> = None;
        loop {
            let begins = buffer.is_empty();
            let room = (MAX_TERM_BYTES + 1 - buffer.len()) as u64;
            let is_last = match self.read_line(&mut buffer, room) {
                Ok(more) => !more || buffer.len() > MAX_TERM_BYTES,
                Err(error) => return self.fail(error.to_string()),
            };
            if begins && is_blank(&buffer) {
                if is_last {
                    self.ended = true;
                    return TextItem::End;
                }
                buffer.clear();
                continue;
            }
            if !is_last && !buffer.trim_ascii_end().ends_with(b".") {
                continue;
            }
            let line = self.line;
            let Ok(text) = std::str::from_utf8(&buffer) else {
                return self.fail("not UTF-8; nothing more is read here".to_owned());
            };
            match text::parse_lossless(text) {
                Ok(term) => {
                    self.ended = is_last;
                    let external = [&[tag::VERSION], term.bytes()].concat();
                    let Some((stamp, event_at)) = record::stamp(&external) else {
                        let why = "this is a term, but no {Timestamp, Event}".to_owned();
                        return TextItem::Bad { line, why };
                    };
                    let event = external[event_at..].to_vec();
                    return TextItem::Entry(Given { stamp, event, at: At::Line(line) });
                }
                // The dot may have stood in a string that goes on in the next line.
                Err(error) if !is_last => failed = Some(error),
                Err(error) => {
                    let error = failed.unwrap_or(error);
                    return self.fail(format!("no term before this line: {error}"));
                }
            }
        }
    }

    fn next_json(&mut self) -> TextItem {
        let mut buffer = Vec::new();
        loop {
            buffer.clear();
            match self.read_line(&mut buffer, MAX_LINE_BYTES) {
                Ok(true) => {}
                Ok(false) => {
                    self.ended = true;
                    return TextItem::End;
                }
                Err(error) => return self.fail(error.to_string()),
            }
            let line = self.line;
            let bad = |why: String| TextItem::Bad { line, why };
            let Ok(text) = std::str::from_utf8(&buffer) else {
                return bad("not UTF-8".to_owned());
            };
            if text.trim().is_empty() {
                continue;
            }
            let shape = "no JSON of an entry: a line is {\"timestamp\":Micros,\"event\":Event}";
            let Some((micros, event)) = members(text.trim()) else { return bad(shape.to_owned()) };
            return match json::parse(event) {
                Ok(event) => {
                    let stamp = Timestamp::from_micros(micros);
                    TextItem::Entry(Given { stamp, event: event.into_bytes(), at: At::Line(line) })
                }
                Err(error) => {
                    bad(format!("JSON of the event, column {}: {}", error.column, error.problem))
                }
            };
        }
    }
}

/// Whether a line holds nothing but space and a comment.
fn is_blank(line: &[u8]) -> bool {
    let line = line.trim_ascii_start();
    line.is_empty() || line.starts_with(b"%")
}

/// The timestamp of a JSON line, and the text of its event.
fn members(line: &str) -> Option<(u64, &str)> {
    let value_of = |text, key| {
        let rest = str::trim_start(text).strip_prefix(key)?;
        Some(rest.trim_start().strip_prefix(':')?.trim_start())
    };
    let stamp = value_of(line.strip_prefix('{')?, "\"timestamp\"")?;
    let (stamp, rest) = stamp.split_once(',')?;
    let event = value_of(rest, "\"event\"")?.strip_suffix('}')?;
    Some((stamp.trim().parse().ok()?, event))
}
