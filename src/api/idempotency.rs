//! Appends that are sent again and happen once.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::http::StatusCode;
use serde::Serialize;
use tokio::sync::OnceCell;
use utoipa::ToSchema;

use super::error::Refusal;

/// How long an answer is remembered for who sends the same again.
const REMEMBER_TIME: Duration = Duration::from_secs(3600);

/// How many answers are remembered; the oldest ones are forgotten.
const MAX_REMEMBERED: usize = 100_000;

/// When the events were recorded.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(super) struct Appended {
    /// The timestamp of the first event, RFC 3339
    #[schema(example = "2026-11-22T10:31:02.123456Z")]
    pub(super) first: String,
    /// The timestamp of the last one
    pub(super) last: String,
    /// The same in microseconds since 1970
    pub(super) first_micros: u64,
    /// The same
    pub(super) last_micros: u64,
    /// How many events there were
    pub(super) count: usize,
}

/// Whose append it is, to which instance, and what he calls it.
pub(super) type Name = (Arc<str>, Arc<str>, Box<[u8]>);

/// Answers to appends that may be asked for again.
#[derive(Debug, Default)]
pub(super) struct Remembered(Mutex<HashMap<Name, Once>>);

/// An append that happens once.
#[derive(Debug)]
struct Once {
    sha256: [u8; 32],
    since: Instant,
    answer: Arc<OnceCell<Appended>>,
}

impl Remembered {
    /// Where the answer to an append is, or will be.
    pub(super) fn get(
        &self,
        name: Name,
        sha256: [u8; 32],
        now: Instant,
    ) -> Result<Arc<OnceCell<Appended>>, Refusal> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(once) = all.get(&name).filter(|once| now < once.since + REMEMBER_TIME) {
            if once.sha256 != sha256 {
                let message = "this key was used within the last hour for another body";
                let status = StatusCode::UNPROCESSABLE_ENTITY;
                return Err(Refusal::new(status, "key_reused", message).at("Idempotency-Key"));
            }
            return Ok(once.answer.clone());
        }
        if all.len() >= MAX_REMEMBERED {
            all.retain(|_, once| now < once.since + REMEMBER_TIME);
        }
        if all.len() >= MAX_REMEMBERED {
            // Half of them at once, so that not every append has to look for the oldest.
            let mut since: Vec<_> = all.values().map(|once| once.since).collect();
            let (_, middle, _) = since.select_nth_unstable(MAX_REMEMBERED / 2);
            let middle = *middle;
            all.retain(|_, once| once.since > middle);
        }
        let answer = Arc::new(OnceCell::new());
        all.insert(name, Once { sha256, since: now, answer: answer.clone() });
        Ok(answer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::monotonic;

    /// The same key with the same and with another body; then so many keys that the oldest are forgotten.
    #[test]
    fn an_answer_is_remembered_for_who_sends_the_same_again() {
        let (remembered, now) = (Remembered::default(), monotonic());
        let name = |key: usize| {
            (Arc::from("t"), Arc::from("quotes"), key.to_string().into_bytes().into_boxed_slice())
        };
        let first = remembered.get(name(0), [1; 32], now).expect("new");
        let again = remembered.get(name(0), [1; 32], now + REMEMBER_TIME / 2).expect("known");
        assert!(Arc::ptr_eq(&first, &again));
        assert!(remembered.get(name(0), [2; 32], now).is_err());
        assert!(remembered.get(name(0), [2; 32], now + REMEMBER_TIME).is_ok());
        for key in 1..=2 * MAX_REMEMBERED {
            let at = now + Duration::from_micros(key as u64);
            assert!(remembered.get(name(key), [1; 32], at).is_ok());
            assert!(remembered.0.lock().expect("sound").len() <= MAX_REMEMBERED);
        }
    }
}
