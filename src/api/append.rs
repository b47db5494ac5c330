//! Appending events, written as JSON, as Erlang text or as Erlang's external terms.

use axum::Json;
use axum::body::{Body, Bytes};
use axum::extract::{self, Extension};
use axum::http::{HeaderMap, StatusCode, header};
use ring::digest::{Context, SHA256};

use super::access::Caller;
use super::body;
use super::error::{ErrorBody, Refusal};
use super::idempotency::Appended;
use super::state::{Named, Shared};
use super::{ETF, Role};
use crate::etf::tag::{COMPRESSED, VERSION};
use crate::etf::{Term, TermBuf, TermRef, inflate, json, text};
use crate::instance::{Instance, Stamped};
use crate::time::{moment, monotonic};
use crate::watchers::{deployments, faults, rules};

/// The largest body.
const MAX_BODY_BYTES: usize = 16 << 20;

/// The longest `Idempotency-Key`.
const MAX_KEY_BYTES: usize = 255;

/// Appends events.
///
/// The answer comes once they are as durable as the instance's `sync` promises. JSON is one event, or `{"events": [...]}`;
/// `text/x-erlang` is one term, or several that each end in a dot; `application/x-erlang-etf` is one term or several, each as
/// `term_to_binary/1` makes it. With an `Idempotency-Key` the same body sent again within an hour gets the same answer, and
/// nothing is appended twice.
#[utoipa::path(
    post, path = "/api/v1/instances/{instance}/entries",
    params(
        ("instance" = String, Path, description = "Its name"),
        ("Idempotency-Key" = Option<String>, Header, description = "Any text of at most 255 bytes"),
    ),
    request_body(content(
        (serde_json::Value = "application/json"), (String = "text/x-erlang"), (Vec<u8> = "application/x-erlang-etf"),
    )),
    responses(
        (status = 200, body = Appended), (status = 400, body = ErrorBody), (status = 404, body = ErrorBody),
        (status = 413, body = ErrorBody), (status = 415, body = ErrorBody), (status = 422, body = ErrorBody),
        (status = 503, body = ErrorBody),
    )
)]
pub(super) async fn append(
    extract::State(state): extract::State<Shared>,
    Extension(caller): Extension<Caller>,
    Named(instance): Named,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<Appended>, Refusal> {
    let declared =
        headers.get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
    if declared.is_some_and(|bytes: u64| bytes > MAX_BODY_BYTES as u64) {
        return Err(body::too_large(MAX_BODY_BYTES));
    }
    // Until its events are taken in.
    let room = state.bodies.room(declared.unwrap_or(MAX_BODY_BYTES as u64)).await?;
    let body = body::read(body, MAX_BODY_BYTES).await?;
    check_may(&state, &caller, &instance)?;
    let form = Form::of(&headers)?;
    let key = idempotency_key(&headers)?;
    // The same bytes are other events in another form.
    let mut content = Context::new(&SHA256);
    content.update(&[form as u8]);
    content.update(&body);
    let sha256: [u8; 32] = content.finish().as_ref().try_into().expect("32 bytes");
    let to = instance.clone();
    let append = async move {
        let events = tokio::task::spawn_blocking(move || form.events(&body)).await;
        let appended = recorded(&to, events.expect("parsing does not panic")?).await;
        drop(room);
        appended
    };
    match key {
        None => append.await.map(Json),
        Some(key) => once(&state, &caller, &instance, key, sha256, append).await.map(Json),
    }
}

/// Refuses who may not append there: in some instances an event is a decision, says what runs where, or what was computed
/// already. An address can be written in many ways, a name cannot.
pub(super) fn check_may(
    state: &Shared,
    caller: &Caller,
    instance: &Instance,
) -> Result<(), Refusal> {
    let ours = [rules::INSTANCE, faults::INSTANCE, deployments::INSTANCE];
    match state.analyses.has(instance.name()) || ours.contains(&instance.name()) {
        true => caller.check(Role::Admin),
        false => Ok(()),
    }
}

/// Appends events, and says when they were recorded.
pub(super) async fn recorded(
    instance: &Instance,
    events: Vec<TermBuf>,
) -> Result<Appended, Refusal> {
    let Stamped { first, last } = instance.append(&events).await?;
    Ok(Appended {
        first: moment::rfc3339(first),
        last: moment::rfc3339(last),
        first_micros: first.micros(),
        last_micros: last.micros(),
        count: events.len(),
    })
}

/// Appends under a name that the caller gave it, once: the same content again gets the same answer.
pub(super) async fn once(
    state: &Shared,
    caller: &Caller,
    instance: &Instance,
    key: Box<[u8]>,
    sha256: [u8; 32],
    append: impl Future<Output = Result<Appended, Refusal>> + Send + 'static,
) -> Result<Appended, Refusal> {
    let name = (caller.name.clone(), instance.name().into(), key);
    let remembered = state.remembered.get(name, sha256, monotonic())?;
    // To the end, also if the sender goes away meanwhile: it may ask again.
    let appending =
        tokio::spawn(async move { remembered.get_or_try_init(|| append).await.cloned() });
    appending.await.expect("appending does not panic")
}

/// The form of a body.
#[derive(Clone, Copy, Debug)]
enum Form {
    Json,
    Text,
    Etf,
}

impl Form {
    fn of(headers: &HeaderMap) -> Result<Self, Refusal> {
        let kind = headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
        match kind.map(|kind| kind.split(';').next().unwrap_or_default().trim()) {
            Some("application/json") => Ok(Form::Json),
            Some("text/x-erlang") => Ok(Form::Text),
            Some(ETF) => Ok(Form::Etf),
            _ => {
                let message = format!("write application/json, text/x-erlang or {ETF}");
                let status = StatusCode::UNSUPPORTED_MEDIA_TYPE;
                Err(Refusal::new(status, "unsupported_media_type", message).at("Content-Type"))
            }
        }
    }

    fn events(self, body: &Bytes) -> Result<Vec<TermBuf>, Refusal> {
        let bad = |message: String| Refusal::bad("body", message);
        let written = || {
            let wrong = |wrong: std::str::Utf8Error| bad(format!("it is no UTF-8: {wrong}"));
            str::from_utf8(body).map_err(wrong)
        };
        match self {
            Form::Json => {
                let term = json::parse(written()?).map_err(|wrong| bad(wrong.to_string()))?;
                Ok(many(term.as_term()).unwrap_or_else(|| vec![term]))
            }
            Form::Text => {
                let written = written()?;
                let terms = match text::parse_terms_lossless(written) {
                    // One term needs no dot.
                    Err(_) if !written.trim_end().ends_with('.') => {
                        text::parse_terms_lossless(&format!("{written}\n."))
                            .ok()
                            .filter(|terms| terms.len() == 1)
                            .map_or_else(|| text::parse_terms_lossless(written), Ok)
                    }
                    terms => terms,
                };
                terms.map_err(|wrong| bad(wrong.to_string()))
            }
            Form::Etf => external(body),
        }
    }
}

/// The events of `{"events": [...]}`.
fn many(term: TermRef<'_>) -> Option<Vec<TermBuf>> {
    let Term::Map(mut pairs) = term.view() else { return None };
    let (key, events) = pairs.next()?;
    if pairs.next().is_some() || key.as_binary() != Some(b"events") {
        return None;
    }
    let cells = events.cells();
    matches!(cells.tail().view(), Term::Nil).then(|| cells.map(TermRef::to_buf).collect())
}

/// Terms as `term_to_binary/1` makes them, one behind the other; a compressed one comes alone.
fn external(mut body: &[u8]) -> Result<Vec<TermBuf>, Refusal> {
    let bad = |wrong: crate::etf::DecodeError| Refusal::bad("body", wrong.to_string());
    if body.starts_with(&[VERSION, COMPRESSED]) {
        let inflated = inflate(body, MAX_BODY_BYTES).map_err(bad)?;
        return Ok(vec![TermBuf::new(inflated).map_err(bad)?]);
    }
    let mut terms = Vec::new();
    while let Some((version, rest)) = body.split_first() {
        if *version != VERSION {
            return Err(bad(crate::etf::DecodeError::Version { found: Some(*version) }));
        }
        let (term, rest) = TermRef::split_first(rest).map_err(bad)?;
        terms.push(term.to_buf());
        body = rest;
    }
    Ok(terms)
}

fn idempotency_key(headers: &HeaderMap) -> Result<Option<Box<[u8]>>, Refusal> {
    let Some(key) = headers.get("idempotency-key") else { return Ok(None) };
    checked_key(key.as_bytes()).map(Some)
}

/// A key that can be remembered.
pub(super) fn checked_key(key: &[u8]) -> Result<Box<[u8]>, Refusal> {
    if key.is_empty() || key.len() > MAX_KEY_BYTES {
        let message = format!("1 to {MAX_KEY_BYTES} bytes");
        return Err(Refusal::bad("Idempotency-Key", message));
    }
    Ok(key.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn events(form: Form, body: &[u8]) -> Result<Vec<String>, String> {
        let events = form.events(&Bytes::copy_from_slice(body));
        let text = |events: Vec<TermBuf>| events.iter().map(ToString::to_string).collect();
        events.map(text).map_err(|refusal| refusal.message().to_owned())
    }

    #[test]
    fn a_body_is_one_event_or_many() {
        let check = |form, body: &[u8], expected: &[&str]| {
            let expected = expected.iter().map(ToString::to_string).collect();
            assert_eq!(events(form, body), Ok(expected), "{}", String::from_utf8_lossy(body));
        };
        check(Form::Json, br#"{"$tuple":[1,2]}"#, &["{1,2}"]);
        check(
            Form::Json,
            br#"{"events":[1,"a",{"events":[2]}]}"#,
            &["1", "<<\"a\">>", "#{<<\"events\">> => [2]}"],
        );
        check(Form::Json, br#"{"events":[1,2,3]}"#, &["1", "2", "3"]);
        check(Form::Json, br#"{"events":[]}"#, &[]);
        check(Form::Json, br#"{"events":1}"#, &["#{<<\"events\">> => 1}"]);
        check(Form::Json, br#"{"events":[1],"x":2}"#, &["#{<<\"events\">> => [1],<<\"x\">> => 2}"]);
        check(Form::Text, b"{a,1}", &["{a,1}"]);
        check(Form::Text, b"{a,1}.\n{b,2}.", &["{a,1}", "{b,2}"]);
        check(Form::Text, b"{'$pid',a@h,1,0,0} % who", &["<a@h.1.0>"]);
        check(Form::Etf, &[131, 97, 1, 131, 106], &["1", "[]"]);
        for (form, body) in [
            (Form::Json, &b"{"[..]),
            (Form::Json, b"\xff"),
            (Form::Text, b"{a,1}. {b"),
            (Form::Text, b"a b"),
            (Form::Etf, &[131]),
            (Form::Etf, &[97, 1]),
            (Form::Etf, &[131, 97, 1, 0]),
        ] {
            assert!(events(form, body).is_err(), "{}", String::from_utf8_lossy(body));
        }
    }
}
