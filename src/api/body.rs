//! Bodies of requests, which are read whole before anything is done: in a time that is limited, and no more of them than makes
//! sense.

use std::time::Duration;

use axum::body::{Body, Bytes, to_bytes};
use axum::http::StatusCode;
use serde::de::DeserializeOwned;

use super::error::Refusal;

/// How long a body may take to come.
const BODY_TIME: Duration = Duration::from_secs(60);

/// The largest body that says in JSON what is to be done.
const MAX_JSON_BYTES: usize = 16 << 10;

/// All of a body.
pub(super) async fn read(body: Body, max_bytes: usize) -> Result<Bytes, Refusal> {
    read_within(BODY_TIME, body, max_bytes).await
}

/// What a small body of JSON says.
pub(super) async fn json<T: DeserializeOwned>(body: Body) -> Result<T, Refusal> {
    let body = read(body, MAX_JSON_BYTES).await?;
    serde_json::from_slice(&body).map_err(|wrong| Refusal::bad("body", wrong.to_string()))
}

/// Refuses a body that is larger.
pub(super) fn too_large(max_bytes: usize) -> Refusal {
    Refusal::too_large(format!("a body has at most {max_bytes} bytes here")).at("body")
}

async fn read_within(time: Duration, body: Body, max_bytes: usize) -> Result<Bytes, Refusal> {
    match tokio::time::timeout(time, to_bytes(body, max_bytes)).await {
        Ok(Ok(body)) => Ok(body),
        Ok(Err(error)) if is_limit(&error) => Err(too_large(max_bytes)),
        Ok(Err(error)) => Err(Refusal::bad("body", format!("it broke off: {error}"))),
        Err(_) => {
            let message = format!("the body has not come within {} s", time.as_secs());
            Err(Refusal::new(StatusCode::REQUEST_TIMEOUT, "timeout", message))
        }
    }
}

/// Whether reading a body ended because it is too large.
fn is_limit(error: &axum::Error) -> bool {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(error) = cause {
        if error.to_string().contains("length limit exceeded") {
            return true;
        }
        cause = error.source();
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_body_is_neither_waited_for_without_end_nor_read_without_end() {
        let read = |body| read_within(Duration::ZERO, body, 3);
        assert_eq!(read(Body::from("abc")).await.expect("it is not too large"), "abc");
        let status = |refused: Result<Bytes, Refusal>| refused.expect_err("it is refused").status();
        assert_eq!(status(read(Body::from("abcd")).await), StatusCode::PAYLOAD_TOO_LARGE);
        let never = futures_util::stream::pending::<Result<Bytes, std::io::Error>>();
        let never = Body::from_stream(never);
        assert_eq!(status(read(never).await), StatusCode::REQUEST_TIMEOUT);
        let broken = futures_util::stream::iter([Err::<Bytes, _>(std::io::Error::other("x"))]);
        let broken = Body::from_stream(broken);
        assert_eq!(status(read(broken).await), StatusCode::BAD_REQUEST);
    }
}
