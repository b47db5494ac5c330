//! Entries on standard output, each whole or not at all.

use std::fmt::Write as _;
use std::io::{IsTerminal, Write, stdout};

use clap::ValueEnum;
use serde_json::Value;

use super::selection::Entry;
use super::{Failure, pretty, verbosity};
use crate::etf::{json, text};
use crate::strangers::{Plain, is_plain};
use crate::time::{Clock, Timestamp};

/// The most bytes that wait to be written.
const BUFFER_BYTES: usize = 64 << 10;

/// How entries are written.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Form {
    /// For people
    Pretty,
    /// A line `{Timestamp, Event}.` each, as file:consult/1 reads it
    Term,
    /// A JSON array of the API's entries
    Json,
    /// The API's entries, a JSON object a line
    Ndjson,
}

/// How an answer is written that is not entries.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum AnswerForm {
    /// For people
    Pretty,
    /// As the API says it
    Json,
}

/// A text of an answer; a question mark where there is none.
pub(super) fn text_of(value: &Value, name: &str) -> String {
    Plain(value[name].as_str().unwrap_or("?")).to_string()
}

/// Standard output.
pub(super) struct Output {
    form: Form,
    style: pretty::Style,
    clock: Clock,
    waiting: Vec<u8>,
    /// Whether an entry has been written.
    has_begun: bool,
}

impl Output {
    pub(super) fn new(form: Form) -> Self {
        let is_terminal = stdout().is_terminal();
        let columns = match is_terminal {
            true => {
                rustix::termios::tcgetwinsize(stdout()).ok().map(|size| usize::from(size.ws_col))
            }
            false => None,
        };
        let style = pretty::Style {
            colours: verbosity::has_colours(&stdout()),
            columns: columns.filter(|columns| *columns > 0),
        };
        let (clock, waiting) = (Clock::system(), Vec::new());
        Output { form, style, clock, waiting, has_begun: false }
    }

    /// Takes an entry; it is written when enough wait, or by [`Output::flush`].
    pub(super) fn entry(&mut self, entry: &Entry<'_>) -> Result<(), Failure> {
        match self.form {
            Form::Pretty => {
                let lines = pretty::lines(entry, self.clock.now(), self.style)?;
                self.waiting.extend_from_slice(lines.as_bytes());
            }
            Form::Term => {
                let event = event(entry)?;
                let (mega, secs, micros) = entry.timestamp().parts();
                let mut line = format!("{{{{{mega},{secs},{micros}}},");
                escape(&mut line, &text::to_lossless(event.as_term()), |out, c| {
                    write!(out, "\\x{{{:x}}}", u32::from(c))
                });
                line.push_str("}.\n");
                self.waiting.extend_from_slice(line.as_bytes());
            }
            Form::Json | Form::Ndjson => {
                let mut line = match (self.form, self.has_begun) {
                    (Form::Ndjson, _) => "",
                    (_, false) => "[\n",
                    (_, true) => ",",
                }
                .to_owned();
                escape(&mut line, entry.json, |out, c| write!(out, "\\u{:04x}", u32::from(c)));
                line.push('\n');
                self.waiting.extend_from_slice(line.as_bytes());
            }
        }
        self.has_begun = true;
        if self.waiting.len() >= BUFFER_BYTES { self.flush() } else { Ok(()) }
    }

    /// Writes what waits.
    pub(super) fn flush(&mut self) -> Result<(), Failure> {
        let mut output = stdout().lock();
        let written = output.write_all(&self.waiting).and_then(|()| output.flush());
        self.waiting.clear();
        written.map_err(Failure::failed)
    }

    /// Ends it, with the cursor of the place that was reached if that is asked for. Where it would be taken for data it goes to
    /// standard error.
    pub(super) fn finish(mut self, cursor: Option<Timestamp>) -> Result<(), Failure> {
        if self.form == Form::Json {
            self.waiting.extend_from_slice(if self.has_begun { b"]\n" } else { b"[]\n" });
        }
        if let Some(cursor) = cursor {
            let line = format!("-- cursor: {}", cursor.micros());
            match self.form {
                Form::Pretty => self.waiting.extend_from_slice(format!("{line}\n").as_bytes()),
                Form::Term => self.waiting.extend_from_slice(format!("% {line}\n").as_bytes()),
                Form::Json | Form::Ndjson => crate::diagnostics::complain(&line),
            }
        }
        self.flush()
    }
}

/// Text on standard output.
pub(super) fn write(text: &str) -> Result<(), Failure> {
    let mut output = stdout().lock();
    output.write_all(text.as_bytes()).and_then(|()| output.flush()).map_err(Failure::failed)
}

/// What the API said, as lines of JSON in which nothing does anything to a terminal.
pub(super) fn json_lines(value: &Value) -> String {
    let mut text = String::new();
    for line in format!("{value:#}").lines() {
        escape(&mut text, line, |out, c| write!(out, "\\u{:04x}", u32::from(c)));
        text.push('\n');
    }
    text
}

/// The event of an entry.
pub(super) fn event(entry: &Entry<'_>) -> Result<crate::etf::TermBuf, Failure> {
    json::parse(entry.event).map_err(|wrong| Failure::failed(format!("this is no event: {wrong}")))
}

/// Writes text whose characters, where they would do something to a terminal, are written as `write` does. They stand inside
/// quotes there.
fn escape(out: &mut String, text: &str, write: impl Fn(&mut String, char) -> std::fmt::Result) {
    let mut rest = text;
    while let Some((at, c)) = rest.char_indices().find(|(_, c)| !is_plain(*c)) {
        out.push_str(&rest[..at]);
        write(out, c).expect("strings take everything");
        rest = &rest[at + c.len_utf8()..];
    }
    out.push_str(rest);
}
