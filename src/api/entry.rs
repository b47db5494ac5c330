//! An entry, as clients get it.

use std::fmt::Write;

use serde::Serialize;
use utoipa::ToSchema;

use crate::analysis::view::{Frame, View};
use crate::etf::{TermRef, json, text};
use crate::instance::reader::Selected;
use crate::store::write_record;
use crate::time::moment;

/// How an event is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    /// As lossless JSON.
    Json,
    /// As Erlang text.
    Text,
    /// In short, for lists: the view's plain fields, or else the beginning of the text.
    Brief,
}

/// The longest text of an entry that is written in short.
const MAX_BRIEF_BYTES: usize = 512;

/// An entry.
#[derive(ToSchema)]
#[allow(
    dead_code,
    reason = "it describes what is written by hand, without a tree of values in between"
)]
pub(super) struct EntrySchema {
    /// RFC 3339 with microseconds
    #[schema(example = "2026-11-22T10:31:02.123456Z")]
    ts: String,
    /// Microseconds since 1970
    micros: u64,
    /// The event as JSON that tells every term from every other, or as Erlang text; in short null where there is a view
    event: serde_json::Value,
    /// What it says in plain fields; null for terms of no known shape
    view: Option<ViewBody>,
}

/// What an event says, in plain fields.
#[derive(Serialize, ToSchema)]
pub(super) struct ViewBody {
    /// `emergency` to `debug`
    level: &'static str,
    /// `log`, `crash`, `gen_server`, `supervisor`, `task`, `progress`, `alarm` or `dropped`
    kind: &'static str,
    node: Option<String>,
    /// As its node prints it: `<0.41.0>`
    pid: Option<String>,
    registered_name: Option<String>,
    /// The parts of `logger`'s domain
    domain: Vec<String>,
    /// Where it crashed, or else where it was logged
    module: Option<String>,
    /// `name/arity`
    function: Option<String>,
    line: Option<u64>,
    /// One line, as Erlang formats it
    message: String,
    /// The same on many lines
    detail: String,
    /// Why something ended, on one line
    reason: Option<String>,
    /// The calls that led there, innermost first
    stacktrace: Vec<FrameBody>,
}

/// A call.
#[derive(Serialize, ToSchema)]
pub(super) struct FrameBody {
    module: String,
    function: String,
    arity: usize,
    file: Option<String>,
    line: Option<u64>,
}

impl From<View> for ViewBody {
    fn from(view: View) -> Self {
        let frame = |frame: Frame| {
            let (file, line) = frame.place.unzip();
            let Frame { module, function, arity, .. } = frame;
            FrameBody { module, function, arity, file, line }
        };
        ViewBody {
            level: view.level.as_str(),
            kind: view.kind.as_str(),
            node: view.node,
            pid: view.pid,
            registered_name: view.registered_name,
            domain: view.domain,
            module: view.module,
            function: view.function,
            line: view.line,
            message: view.message,
            detail: view.detail,
            reason: view.reason,
            stacktrace: view.stacktrace.into_iter().map(frame).collect(),
        }
    }
}

/// Writes an entry as JSON on one line.
pub(super) fn write_entry(out: &mut String, entry: &Selected<'_>, format: Format) {
    let ts = moment::rfc3339(entry.timestamp);
    let micros = entry.timestamp.micros();
    let event = entry.event;
    write!(out, r#"{{"ts":"{ts}","micros":{micros},"event":"#).expect("strings take everything");
    match format {
        Format::Json => json::write_term(out, event).expect("strings take everything"),
        Format::Text => write_text(out, &text::to_lossless(event)),
        Format::Brief => return write_brief(out, event),
    }
    out.push_str(r#","view":"#);
    match View::of(event) {
        Some(view) => {
            let view = serde_json::to_string(&ViewBody::from(view)).expect("it is plain data");
            out.push_str(&view);
        }
        None => out.push_str("null"),
    }
    out.push('}');
}

/// The rest of an entry that is written in short.
fn write_brief(out: &mut String, event: TermRef<'_>) {
    let Some(mut view) = View::of(event) else {
        let mut text = String::new();
        text::write_term(&mut text, event, MAX_BRIEF_BYTES).expect("strings take everything");
        write_text(out, &text);
        return out.push_str(r#","view":null}"#);
    };
    for text in std::iter::once(&mut view.message).chain(&mut view.reason) {
        text.truncate(text.floor_char_boundary(MAX_BRIEF_BYTES));
    }
    (view.detail, view.stacktrace) = (String::new(), Vec::new());
    let view = serde_json::to_string(&ViewBody::from(view)).expect("it is plain data");
    write!(out, r#"null,"view":{view}}}"#).expect("strings take everything");
}

/// Writes text as a JSON string.
pub(super) fn write_text(out: &mut String, text: &str) {
    out.push_str(&serde_json::to_string(text).expect("it is text"));
}

/// Writes an entry as a record of a segment.
pub(super) fn write_entry_record(out: &mut Vec<u8>, entry: &Selected<'_>) {
    write_record(out, entry.timestamp, entry.event.bytes());
}
