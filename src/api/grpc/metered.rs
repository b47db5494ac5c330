//! What messages hold while they come: of all requests together no more than there is for bodies.
//!
//! A message is put together from frames before anybody sees it, and there may be many streams, each with a large one. So each frame
//! waits for room; who deals with the message gives the room back. A message that takes too long to come gives it back, too.

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use axum::body::{Body, Bytes};
use axum::extract::Request;
use axum::http::StatusCode;
use http_body::{Frame, SizeHint};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Sleep;
use tonic::Status;

use super::SERVICE;
use crate::api::error::Refusal;
use crate::api::state::Shared;
use crate::time::monotonic;

/// How long a message may take to come.
const MESSAGE_TIME: Duration = Duration::from_secs(60);

/// Room that the messages of a request take, until it is given back or the request is over.
#[derive(Clone, Default)]
pub(super) struct Held(Arc<Mutex<Option<Room>>>);

struct Room {
    permit: OwnedSemaphorePermit,
    since: Instant,
}

impl Held {
    /// Gives the room back: what had come is dealt with.
    pub(super) fn release(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    fn add(&self, more: OwnedSemaphorePermit) {
        match &mut *self.0.lock().unwrap_or_else(PoisonError::into_inner) {
            Some(room) => room.permit.merge(more),
            none => *none = Some(Room { permit: more, since: monotonic() }),
        }
    }

    /// Since when the room is taken.
    fn since(&self) -> Option<Instant> {
        let held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        held.as_ref().map(|room| room.since)
    }
}

/// Has a request's body wait for room, frame by frame. Messages to other services than ours are names, and small.
pub(in crate::api) fn meter(state: &Shared, request: &mut Request) {
    let of_service = request.uri().path().strip_prefix('/').unwrap_or_default();
    if !of_service.starts_with(SERVICE) {
        return;
    }
    let held = Held::default();
    let body = std::mem::take(request.body_mut());
    let (state, to) = (state.clone(), held.clone());
    let metered = Metered { body, state, held: to, waiting: None, late: None };
    *request.body_mut() = Body::new(metered);
    request.extensions_mut().insert(held);
}

type Waiting = Pin<Box<dyn Future<Output = Result<OwnedSemaphorePermit, Refusal>> + Send>>;

struct Metered {
    body: Body,
    state: Shared,
    held: Held,
    /// A frame, and the room that it waits for.
    waiting: Option<(Frame<Bytes>, Waiting)>,
    /// When the message that comes since then is late.
    late: Option<(Instant, Pin<Box<Sleep>>)>,
}

impl Metered {
    /// Ready when the message that comes, if one does, has taken too long.
    fn poll_late(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let Some(since) = self.held.since() else { return Poll::Pending };
        if self.late.as_ref().is_none_or(|(of, _)| *of != since) {
            let left = (since + MESSAGE_TIME).saturating_duration_since(monotonic());
            self.late = Some((since, Box::pin(tokio::time::sleep(left))));
        }
        let (_, late) = self.late.as_mut().expect("just set");
        late.as_mut().poll(context)
    }
}

fn late() -> axum::Error {
    let message = format!("a message has not come within {} s", MESSAGE_TIME.as_secs());
    let refusal = Refusal::new(StatusCode::REQUEST_TIMEOUT, "timeout", message);
    axum::Error::new(Status::from(refusal))
}

impl http_body::Body for Metered {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        if self.waiting.is_none() {
            let frame = match Pin::new(&mut self.body).poll_frame(context) {
                Poll::Ready(Some(Ok(frame))) => frame,
                Poll::Ready(other) => return Poll::Ready(other),
                Poll::Pending => {
                    ready!(self.poll_late(context));
                    return Poll::Ready(Some(Err(late())));
                }
            };
            let bytes = frame.data_ref().map_or(0, Bytes::len) as u64;
            let state = self.state.clone();
            let room = async move { state.bodies.room(bytes).await };
            self.waiting = Some((frame, Box::pin(room)));
        }
        let (_, room) = self.waiting.as_mut().expect("just set");
        let room = ready!(room.as_mut().poll(context));
        let (frame, _) = self.waiting.take().expect("it waited");
        Poll::Ready(Some(match room {
            Ok(room) => {
                if room.num_permits() > 0 {
                    self.held.add(room);
                }
                Ok(frame)
            }
            Err(refusal) => Err(axum::Error::new(Status::from(refusal))),
        }))
    }

    fn is_end_stream(&self) -> bool {
        self.waiting.is_none() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
