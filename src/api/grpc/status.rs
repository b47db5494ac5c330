//! Why a request is not served, as gRPC says it: a code, words, and details for programs.

use std::collections::HashMap;
use std::time::Duration;

use axum::http::{Response as HttpResponse, StatusCode};
use axum::response::Response;
use tonic::body::Body;
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt};

use super::MAX_MESSAGE_BYTES;
use crate::api::error::Refusal;
use crate::instance::read::ReadFailure;

/// Who else could have such codes.
const DOMAIN: &str = "logmachine";

/// When to try again.
const RETRY: Duration = Duration::from_secs(1);

impl From<Refusal> for Status {
    fn from(refusal: Refusal) -> Self {
        let code = match refusal.status() {
            StatusCode::UNAUTHORIZED => Code::Unauthenticated,
            StatusCode::FORBIDDEN | StatusCode::MISDIRECTED_REQUEST => Code::PermissionDenied,
            StatusCode::NOT_FOUND => Code::NotFound,
            StatusCode::METHOD_NOT_ALLOWED => Code::Unimplemented,
            StatusCode::REQUEST_TIMEOUT => Code::DeadlineExceeded,
            StatusCode::GONE => Code::OutOfRange,
            StatusCode::PAYLOAD_TOO_LARGE | StatusCode::TOO_MANY_REQUESTS => {
                Code::ResourceExhausted
            }
            StatusCode::UNPROCESSABLE_ENTITY => Code::FailedPrecondition,
            StatusCode::SERVICE_UNAVAILABLE => Code::Unavailable,
            StatusCode::INTERNAL_SERVER_ERROR => Code::Internal,
            _ => Code::InvalidArgument,
        };
        let mut details = ErrorDetails::new();
        details.set_error_info(refusal.code(), DOMAIN, HashMap::new());
        if let (Code::InvalidArgument, Some(place)) = (code, refusal.place()) {
            // As it is called here.
            let place = match place {
                "body" => "events",
                "Idempotency-Key" => "idempotency_key",
                place => place,
            };
            details.add_bad_request_violation(place, refusal.message());
        }
        let is_busy = matches!(
            refusal.status(),
            StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE
        );
        if is_busy {
            details.set_retry_info(Some(RETRY));
        }
        Status::with_error_details(code, refusal.message(), details)
    }
}

impl From<ReadFailure> for Refused {
    fn from(failure: ReadFailure) -> Self {
        Refused(Refusal::from(failure).into())
    }
}

impl From<Refusal> for Refused {
    fn from(refusal: Refusal) -> Self {
        Refused(refusal.into())
    }
}

/// A status, made of what refuses elsewhere.
pub(super) struct Refused(pub(super) Status);

impl From<Refused> for Status {
    fn from(refused: Refused) -> Self {
        refused.0
    }
}

/// A field makes no sense.
pub(super) fn bad(field: &str, message: impl Into<String>) -> Status {
    Refusal::bad(field, message).into()
}

/// A message was larger than any may be, or whatever else it was.
///
/// What decodes messages says so with a code that means something else here, and without details.
pub(super) fn unread(status: Status) -> Status {
    match (status.code(), status.details()) {
        (Code::OutOfRange, []) => {
            let message = format!("a message has at most {MAX_MESSAGE_BYTES} bytes");
            Refusal::too_large(message).into()
        }
        _ => status,
    }
}

/// The same, where it is the whole answer.
pub(super) fn unread_answer(response: HttpResponse<Body>) -> HttpResponse<Body> {
    match Status::from_header_map(response.headers()) {
        Some(status) if status.code() == Code::OutOfRange => unread(status).into_http(),
        _ => response,
    }
}

/// The program ends; another may be there soon.
pub(super) fn stopping() -> Status {
    Refusal::busy("stopping", "the node stops").into()
}

/// The answer to who may not.
pub(in crate::api) fn refuse(refusal: Refusal) -> Response {
    Status::from(refusal).into_http()
}
