//! Why a request is not served, as the JSON that its sender gets.

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

use crate::instance::AppendError;
use crate::instance::read::ReadFailure;
use crate::store::ReadError;

/// Why a request is not served.
#[derive(Debug)]
pub(super) struct Refusal {
    status: StatusCode,
    code: &'static str,
    message: String,
    /// The parameter, header or line that is at fault.
    place: Option<String>,
}

/// What the sender gets.
#[derive(Serialize, ToSchema)]
pub(super) struct ErrorBody {
    error: ErrorDetail,
}

/// What went wrong.
#[derive(Serialize, ToSchema)]
pub(super) struct ErrorDetail {
    /// For programs.
    #[schema(example = "bad_request")]
    code: &'static str,
    /// For people: what is wrong, and what to do instead.
    message: String,
    /// The parameter, header or place in the body that is at fault.
    #[serde(rename = "where")]
    place: Option<String>,
}

impl Refusal {
    pub(super) fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        Refusal { status, code, message: message.into(), place: None }
    }

    /// What is wrong.
    pub(super) fn message(&self) -> &str {
        &self.message
    }

    pub(super) const fn status(&self) -> StatusCode {
        self.status
    }

    pub(super) const fn code(&self) -> &'static str {
        self.code
    }

    /// What is at fault, if that can be said.
    pub(super) fn place(&self) -> Option<&str> {
        self.place.as_deref()
    }

    /// Names what is at fault.
    pub(super) fn at(mut self, place: impl Into<String>) -> Self {
        self.place = Some(place.into());
        self
    }

    /// A parameter or a body makes no sense.
    pub(super) fn bad(place: impl Into<String>, message: impl Into<String>) -> Self {
        Refusal::new(StatusCode::BAD_REQUEST, "bad_request", message).at(place)
    }

    /// There is no such thing.
    pub(super) fn not_found(message: impl Into<String>) -> Self {
        Refusal::new(StatusCode::NOT_FOUND, "not_found", message)
    }

    /// Too much is going on, or the node cannot record now; worth trying again.
    pub(super) fn busy(code: &'static str, message: impl Into<String>) -> Self {
        Refusal::new(StatusCode::SERVICE_UNAVAILABLE, code, message)
    }

    pub(super) fn too_large(message: impl Into<String>) -> Self {
        Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", message)
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let Refusal { status, code, message, place } = self;
        let error = ErrorDetail { code, message, place };
        let mut response = (status, Json(ErrorBody { error })).into_response();
        let headers = response.headers_mut();
        match status {
            StatusCode::UNAUTHORIZED => {
                headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
            }
            StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS => {
                headers.insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
            }
            _ => {}
        }
        response
    }
}

impl From<QueryRejection> for Refusal {
    fn from(wrong: QueryRejection) -> Self {
        let source = std::error::Error::source(&wrong).map(ToString::to_string);
        Refusal::bad("query", source.unwrap_or_else(|| wrong.to_string()))
    }
}

impl From<ReadFailure> for Refusal {
    fn from(failure: ReadFailure) -> Self {
        match failure {
            ReadFailure::SystemLimit => Refusal::busy("too_many_reads", "too many reads at once"),
            ReadFailure::Log(error @ ReadError::Deleted { .. }) => {
                Refusal::new(StatusCode::GONE, "deleted", error.to_string())
            }
            failure => {
                let mut message = failure.to_string();
                if let Some(source) = std::error::Error::source(&failure) {
                    message = format!("{message}: {source}");
                }
                Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, "read_failed", message)
            }
        }
    }
}

impl From<AppendError> for Refusal {
    fn from(error: AppendError) -> Self {
        match error {
            AppendError::Nothing => Refusal::bad("body", "there is no event in it"),
            AppendError::TooLarge { .. } => {
                Refusal::too_large(error.to_string()).at("max_event_bytes")
            }
            AppendError::Recorder(_) => Refusal::busy("not_recorded", error.to_string()),
        }
    }
}
