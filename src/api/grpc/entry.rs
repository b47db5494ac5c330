//! Terms and entries as messages.

use axum::body::Bytes;
use tonic::Status;

use super::MAX_MESSAGE_BYTES;
use super::generated::term::Form;
use super::generated::{Entry, Format, Frame, Term, View};
use super::status::bad;
use crate::analysis::view;
use crate::etf::tag::{COMPRESSED, VERSION};
use crate::etf::{TermBuf, TermRef, inflate, json, text};
use crate::instance::reader::Selected;

/// Longer texts are read on a thread that may be held up.
pub(super) const QUICK_BYTES: usize = 64 << 10;

/// An entry as it was asked for.
pub(super) fn written(entry: &Selected<'_>, format: Format, has_view: bool) -> Entry {
    Entry {
        micros: entry.timestamp.micros(),
        event: Some(Term { form: Some(form(entry.event, format)) }),
        view: if has_view { view::View::of(entry.event).map(View::from) } else { None },
    }
}

fn form(event: TermRef<'_>, format: Format) -> Form {
    match format {
        Format::Text => Form::Text(text::to_lossless(event)),
        Format::Json => {
            let mut out = String::new();
            json::write_term(&mut out, event).expect("strings take everything");
            Form::Json(out)
        }
        Format::Unspecified | Format::Etf => {
            let mut bytes = Vec::with_capacity(1 + event.bytes().len());
            bytes.push(VERSION);
            bytes.extend_from_slice(event.bytes());
            Form::Etf(Bytes::from(bytes))
        }
    }
}

/// How many bytes terms take.
pub(super) fn bytes_of<'a>(terms: impl IntoIterator<Item = &'a Term>) -> usize {
    let bytes = |term: &Term| match &term.form {
        Some(Form::Etf(bytes)) => bytes.len(),
        Some(Form::Text(text) | Form::Json(text)) => text.len(),
        None => 0,
    };
    terms.into_iter().map(bytes).sum()
}

/// About how many bytes an entry takes.
pub(super) fn size(entry: &Entry) -> usize {
    let view = entry.view.as_ref().map_or(0, |view| view.message.len() + view.detail.len() + 200);
    20 + bytes_of(&entry.event) + view
}

/// The events of a request.
pub(super) fn events(terms: &[Term]) -> Result<Vec<TermBuf>, Status> {
    let event = |(number, term): (usize, &Term)| {
        event(term).map_err(|wrong| bad(&format!("events[{number}]"), wrong))
    };
    terms.iter().enumerate().map(event).collect()
}

fn event(term: &Term) -> Result<TermBuf, String> {
    match &term.form {
        None => Err("it is empty: set etf, text or json".to_owned()),
        Some(Form::Etf(bytes)) => external(bytes).map_err(|wrong| wrong.to_string()),
        Some(Form::Text(written)) => {
            let written = written.trim_end().trim_end_matches('.');
            let terms = text::parse_terms_lossless(&format!("{written}\n."));
            let mut terms = terms.map_err(|wrong| wrong.to_string())?;
            match terms.len() {
                1 => Ok(terms.remove(0)),
                count => Err(format!("it is {count} terms: each has a place of its own")),
            }
        }
        Some(Form::Json(written)) => json::parse(written).map_err(|wrong| wrong.to_string()),
    }
}

/// A term as `term_to_binary/1` makes it.
fn external(bytes: &[u8]) -> Result<TermBuf, crate::etf::DecodeError> {
    if bytes.starts_with(&[VERSION, COMPRESSED]) {
        return TermBuf::new(inflate(bytes, MAX_MESSAGE_BYTES)?);
    }
    match bytes.split_first() {
        Some((&VERSION, term)) => TermBuf::new(term.to_vec()),
        found => Err(crate::etf::DecodeError::Version { found: found.map(|(first, _)| *first) }),
    }
}

impl From<view::View> for View {
    fn from(view: view::View) -> Self {
        let frame = |frame: view::Frame| {
            let (file, line) = frame.place.unzip();
            let arity = u32::try_from(frame.arity).unwrap_or(u32::MAX);
            Frame { module: frame.module, function: frame.function, arity, file, line }
        };
        View {
            level: view.level.as_str().to_owned(),
            kind: view.kind.as_str().to_owned(),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_term_comes_in_each_of_its_forms() {
        let check = |form: Form, expected: Result<&str, ()>| {
            let found = event(&Term { form: Some(form.clone()) });
            let found = found.map(|term| term.to_string()).map_err(|_| ());
            assert_eq!(found.as_deref(), expected.as_ref().copied(), "{form:?}");
        };
        check(Form::Etf(Bytes::from_static(&[131, 97, 1])), Ok("1"));
        check(Form::Etf(Bytes::from_static(&[97, 1])), Err(()));
        check(Form::Etf(Bytes::from_static(&[131, 97, 1, 0])), Err(()));
        check(Form::Etf(Bytes::new()), Err(()));
        check(Form::Text("{a,1}".to_owned()), Ok("{a,1}"));
        check(Form::Text("{a,1}.\n".to_owned()), Ok("{a,1}"));
        check(Form::Text("a. b.".to_owned()), Err(()));
        check(Form::Text(String::new()), Err(()));
        check(Form::Json(r#"{"$tuple":[1,"x"]}"#.to_owned()), Ok("{1,<<\"x\">>}"));
        check(Form::Json("{".to_owned()), Err(()));
    }
}
