//! Appending, one request or many.

use std::sync::Arc;

use ring::digest::{Context, SHA256};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tonic::{Status, Streaming};

use super::entry::{QUICK_BYTES, bytes_of, events};
use super::generated::term::Form;
use super::generated::{AppendRequest, AppendResponse};
use super::metered::Held;
use super::status::{bad, stopping, unread};
use super::{Answers, hear_out};
use crate::api::access::Caller;
use crate::api::append;
use crate::api::error::Refusal;
use crate::api::idempotency::Appended;
use crate::api::state::Shared;
use crate::etf::TermBuf;
use crate::instance::{AppendError, Failure, Instance, Stamped};

/// Requests of a stream that wait to be recorded, and their bytes.
const MAX_WAITING: usize = 4096;
const MAX_WAITING_KIB: usize = 16 << 10;

/// Appends the events of one request.
pub(super) async fn one(
    state: &Shared,
    caller: &Caller,
    request: AppendRequest,
) -> Result<AppendResponse, Status> {
    let instance = state.instance(&request.instance)?.clone();
    append::check_may(state, caller, &instance)?;
    let AppendRequest { events: terms, idempotency_key: key, .. } = request;
    if key.is_empty() {
        return Ok(append::recorded(&instance, parsed(terms).await?).await?.into());
    }
    let key = append::checked_key(key.as_bytes())?;
    let mut content = Context::new(&SHA256);
    for term in &terms {
        let (form, bytes) = match &term.form {
            None => (0, &[][..]),
            Some(Form::Etf(bytes)) => (1, &bytes[..]),
            Some(Form::Text(text)) => (2, text.as_bytes()),
            Some(Form::Json(json)) => (3, json.as_bytes()),
        };
        content.update(&[form]);
        content.update(&(bytes.len() as u64).to_be_bytes());
        content.update(bytes);
    }
    let sha256 = content.finish().as_ref().try_into().expect("32 bytes");
    let events = parsed(terms).await?;
    let to = instance.clone();
    let append = async move { append::recorded(&to, events).await };
    Ok(append::once(state, caller, &instance, key, sha256, append).await?.into())
}

/// Appends what comes, and answers in order.
///
/// One task reads and hands over, in order; another waits for what was handed over, in order. In between at most `MAX_WAITING`
/// requests wait.
pub(super) fn many(
    state: Shared,
    caller: Caller,
    held: Held,
    mut requests: Streaming<AppendRequest>,
) -> Answers<AppendResponse> {
    let (hand_over, handed_over) = mpsc::channel(MAX_WAITING);
    let (answer, mut answers) = mpsc::channel(64);
    let bytes = Arc::new(Semaphore::new(MAX_WAITING_KIB));
    let last = hand_over.clone();
    let reading = Reading {
        state: state.clone(),
        caller,
        held: held.clone(),
        instance: None,
        hand_over,
        bytes,
    };
    tokio::spawn(async move {
        tokio::select! {
            is_whole = reading.run(&mut requests) => if !is_whole {
                // Until the last answer is on its way.
                last.closed().await;
                hear_out(&state, &held, requests).await;
            },
            // What was handed over is answered; nobody may be there any more.
            () = state.stopped() => drop(last.send(Err(stopping())).await),
        }
    });
    tokio::spawn(answer_in_order(handed_over, answer));
    Box::pin(futures_util::stream::poll_fn(move |context| answers.poll_recv(context)))
}

/// A request whose events were handed over, or why there is none.
type HandedOver = Result<Waiting, Status>;

struct Waiting {
    recorded: oneshot::Receiver<Result<Stamped, Failure>>,
    count: usize,
    _bytes: OwnedSemaphorePermit,
}

struct Reading {
    state: Shared,
    caller: Caller,
    held: Held,
    instance: Option<Arc<Instance>>,
    hand_over: mpsc::Sender<HandedOver>,
    bytes: Arc<Semaphore>,
}

impl Reading {
    /// Whether the client closed its side.
    async fn run(mut self, requests: &mut Streaming<AppendRequest>) -> bool {
        loop {
            let handed_over = match requests.message().await {
                Ok(Some(request)) => self.take(request).await,
                Ok(None) => return true,
                Err(status) => Err(unread(status)),
            };
            self.held.release();
            let is_over = handed_over.is_err();
            // Nobody waits for answers any more, or this was the last one.
            if self.hand_over.send(handed_over).await.is_err() || is_over {
                return false;
            }
        }
    }

    async fn take(&mut self, request: AppendRequest) -> HandedOver {
        if !request.idempotency_key.is_empty() {
            return Err(bad("idempotency_key", "it is for Append"));
        }
        if !request.instance.is_empty() {
            let instance = self.state.instance(&request.instance)?.clone();
            append::check_may(&self.state, &self.caller, &instance)?;
            self.instance = Some(instance);
        }
        let Some(instance) = &self.instance else {
            return Err(bad("instance", "the first request has to name one"));
        };
        let kib = bytes_of(&request.events).div_ceil(1024).min(MAX_WAITING_KIB);
        let kib = u32::try_from(kib).expect("it is small");
        let bytes = self.bytes.clone().acquire_many_owned(kib).await;
        let events = parsed(request.events).await?;
        instance.check(&events).map_err(refusal)?;
        let (told, recorded) = oneshot::channel();
        let tell = move |result| {
            // Nobody waits any more.
            let _ = told.send(result);
        };
        // Not more than what is let wait is read, so nothing else has to hold it up.
        let _ = instance.take_in(events.iter().map(TermBuf::bytes), Some(Box::new(tell)));
        let count = events.len();
        Ok(Waiting { recorded, count, _bytes: bytes.expect("it is never closed") })
    }
}

async fn answer_in_order(
    mut handed_over: mpsc::Receiver<HandedOver>,
    answer: mpsc::Sender<Result<AppendResponse, Status>>,
) {
    while let Some(next) = handed_over.recv().await {
        let answered = match next {
            Ok(Waiting { recorded, count, .. }) => {
                let recorded = tokio::select! {
                    recorded = recorded => recorded,
                    // The disk may stay full, and nobody waits any more.
                    () = answer.closed() => return,
                };
                match recorded {
                    Ok(Ok(Stamped { first, last })) => {
                        Ok(response(first.micros(), last.micros(), count))
                    }
                    Ok(Err(error)) => Err(refusal(AppendError::Recorder(error))),
                    Err(_) => Err(stopping()),
                }
            }
            Err(status) => Err(status),
        };
        let is_over = answered.is_err();
        if answer.send(answered).await.is_err() || is_over {
            return;
        }
    }
}

/// The events of terms, parsed where that may take a while if they are long.
async fn parsed(terms: Vec<super::generated::Term>) -> Result<Vec<TermBuf>, Status> {
    if bytes_of(&terms) <= QUICK_BYTES {
        return events(&terms);
    }
    let parsing = tokio::task::spawn_blocking(move || events(&terms));
    parsing.await.expect("parsing does not panic")
}

fn refusal(error: AppendError) -> Status {
    Refusal::from(error).into()
}

impl From<Appended> for AppendResponse {
    fn from(Appended { first_micros, last_micros, count, .. }: Appended) -> Self {
        response(first_micros, last_micros, count)
    }
}

fn response(first_micros: u64, last_micros: u64, count: usize) -> AppendResponse {
    let count = u32::try_from(count).unwrap_or(u32::MAX);
    AppendResponse { first_micros, last_micros, count }
}
