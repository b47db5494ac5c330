//! Entries without end: server-sent events that follow the log, and answers that go through all that is selected.
//!
//! A task of its own pulls entries from the log as fast as the client takes them: what waits for a client is what its
//! connection holds, so a slow one costs a position in the log.

use std::fmt::Write;
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract;
use axum::http::{HeaderMap, header};
use axum::response::IntoResponse;
use futures_util::Stream;
use futures_util::stream::poll_fn;
use tokio::sync::mpsc;

use super::entry::{EntrySchema, Format, write_entry, write_entry_record, write_text};
use super::error::{ErrorBody, Refusal};
use super::parameters::Parameters;
use super::select::Wanted;
use super::state::{Named, Searching, Shared};
use crate::instance::Instance;
use crate::instance::read::ReadFailure;
use crate::instance::reader::{Selected, Taken};
use crate::instance::search::{Collect, Search, Step};
use crate::time::{Timestamp, monotonic};

/// Bytes given to a connection at once.
const CHUNK_BYTES: usize = 64 << 10;

/// How often a stream that has nothing to say says so.
const HEARTBEAT: Duration = Duration::from_secs(15);

/// How long a stream whose client takes nothing keeps entries and a file at hand.
const LINGER: Duration = Duration::from_millis(50);

/// The form in which entries go out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    /// Lines of JSON.
    Lines,
    /// Records, as segments have them.
    Records,
    /// Server-sent events.
    Events,
}

/// Follows an instance.
///
/// Server-sent events, each with an entry as JSON, its timestamp in microseconds as `id`: first what is selected of the past,
/// then what comes, each once and in order. Without `from` or `cursor` it begins now. A client that connects again with
/// `Last-Event-ID` gets what follows that entry. A comment comes at least every 15 s. Where `to` or `limit` is reached, an
/// event `end` comes last; a stream that ends without it has broken off, and is to be asked for again.
#[utoipa::path(
    get, path = "/api/v1/instances/{instance}/stream",
    params(
        ("instance" = String, Path, description = "Its name"), Parameters,
        ("Last-Event-ID" = Option<String>, Header, description = "The id of the last event seen; it beats `from` and `cursor`"),
    ),
    responses(
        (status = 200, description = "A stream without end", content((EntrySchema = "text/event-stream"))),
        (status = 400, body = ErrorBody), (status = 404, body = ErrorBody), (status = 503, body = ErrorBody),
    )
)]
pub(super) async fn follow(
    extract::State(state): extract::State<Shared>,
    Named(instance): Named,
    mut parameters: Parameters,
    headers: HeaderMap,
) -> Result<impl IntoResponse, Refusal> {
    if parameters.order.as_deref() == Some("desc") {
        return Err(Refusal::bad("order", "a stream goes on with what comes: it is ascending"));
    }
    if let Some(last) = headers.get("last-event-id").filter(|last| !last.is_empty()) {
        let last = last.to_str().map_err(|_| Refusal::bad("Last-Event-ID", "it is no text"))?;
        parameters.cursor = Some(last.to_owned());
    }
    let begin = instance.tail().next_stamp();
    let wanted = parameters.stream(&instance, begin)?;
    let stream = stream_body(&state, &instance, wanted, Shape::Events, true, None)?;
    let headers = [
        (header::CONTENT_TYPE, "text/event-stream"),
        (header::HeaderName::from_static("x-accel-buffering"), "no"),
    ];
    Ok((headers, Body::from_stream(stream)))
}

/// All that is selected, and, if it follows, what comes.
pub(super) fn stream_body(
    state: &Shared,
    instance: &Arc<Instance>,
    wanted: Wanted,
    shape: Shape,
    follows: bool,
    searching: Option<Searching>,
) -> Result<impl Stream<Item = io::Result<Bytes>> + use<>, Refusal> {
    let output =
        Output { text: String::new(), records: Vec::new(), shape, format: wanted.format, taken: 0 };
    let (to, left) = (wanted.selection.to, wanted.selection.max_entries);
    let search = match follows {
        true => Search::following(instance, wanted.selection, output)?,
        false => Search::new(instance, wanted.selection, output)?,
    };
    let (sender, mut receiver) = mpsc::channel(1);
    let streaming = Streaming {
        search,
        sender,
        shape,
        instance: instance.clone(),
        to,
        left,
        state: state.clone(),
        _searching: searching,
    };
    // It ends when the client goes, and with the program.
    tokio::spawn(streaming.run(follows));
    Ok(poll_fn(move |context| receiver.poll_recv(context)))
}

/// What was found and is not sent yet.
struct Output {
    text: String,
    records: Vec<u8>,
    shape: Shape,
    format: Format,
    taken: u64,
}

impl Collect for Output {
    fn take(&mut self, entry: &Selected<'_>) -> Taken {
        self.taken += 1;
        match self.shape {
            Shape::Records => write_entry_record(&mut self.records, entry),
            Shape::Lines => {
                write_entry(&mut self.text, entry, self.format);
                self.text.push('\n');
            }
            Shape::Events => {
                let id = entry.timestamp.micros();
                write!(self.text, "id: {id}\ndata: ").expect("strings take everything");
                write_entry(&mut self.text, entry, self.format);
                self.text.push_str("\n\n");
            }
        }
        match self.text.len() + self.records.len() < CHUNK_BYTES {
            true => Taken::More,
            false => Taken::Enough,
        }
    }
}

/// Who follows a log for a client.
struct Streaming {
    search: Search<Output>,
    sender: mpsc::Sender<io::Result<Bytes>>,
    shape: Shape,
    instance: Arc<Instance>,
    /// Entries at or before it are selected.
    to: Option<Timestamp>,
    /// So many entries may still be taken.
    left: usize,
    state: Shared,
    _searching: Option<Searching>,
}

/// How carrying entries came to an end.
enum Carried {
    /// All that is selected was carried.
    All,
    /// The rest cannot be had now.
    Part,
}

/// The client is gone, or the program ends.
struct Gone;

impl Streaming {
    async fn run(mut self, follows: bool) {
        let _counted = Counted::new(&self.state);
        let state = self.state.clone();
        tokio::select! {
            carried = self.carry(follows) => match carried {
                Ok(Ok(Carried::All)) => self.end().await,
                Ok(Ok(Carried::Part)) => self.break_off().await,
                Ok(Err(failure)) => self.fail(failure).await,
                Err(Gone) => {}
            },
            // Clients come again, and go on where they were.
            () = state.stopped() => {}
        }
    }

    /// Carries entries to the end of the selection.
    async fn carry(&mut self, follows: bool) -> Result<Result<Carried, ReadFailure>, Gone> {
        let mut said = monotonic();
        if self.shape == Shape::Events {
            self.send(Bytes::from_static(b"retry: 1000\n\n")).await?;
        }
        loop {
            let step = match self.search.step_near().await {
                Ok(step) => step,
                Err(failure) => return Ok(Err(failure)),
            };
            if let Some(found) = self.take_found() {
                self.send(found).await?;
                said = monotonic();
            } else if self.sender.is_closed() {
                return Err(Gone);
            }
            if self.shape == Shape::Events && said.elapsed() >= HEARTBEAT {
                self.send(Bytes::from_static(b":\n\n")).await?;
                said = monotonic();
            }
            if self.left == 0 {
                // The limit is reached, though there may be nothing yet behind the last one.
                return Ok(Ok(Carried::All));
            }
            match step {
                Step::More => tokio::task::consume_budget().await,
                Step::End(None) => return Ok(Ok(Carried::All)),
                // A file cannot be read.
                Step::End(Some(_)) => return Ok(Ok(Carried::Part)),
                Step::CaughtUp if !follows => return Ok(Ok(Carried::All)),
                Step::CaughtUp => tokio::select! {
                    more = self.search.wait() => if !more {
                        // Nothing more can come, or the log is closed.
                        let tail = self.instance.tail();
                        let is_all = self.to.is_some_and(|to| tail.outstanding(to).is_none());
                        return Ok(Ok(if is_all { Carried::All } else { Carried::Part }));
                    },
                    // Only says that it is time to say something.
                    () = tokio::time::sleep_until((said + HEARTBEAT).into()) => {}
                    () = self.sender.closed() => return Err(Gone),
                },
            }
        }
    }

    fn take_found(&mut self) -> Option<Bytes> {
        let output = self.search.collector();
        let found = std::mem::take(&mut output.taken);
        self.state.metrics.streamed.add(found);
        self.left = self.left.saturating_sub(usize::try_from(found).unwrap_or(usize::MAX));
        match output.shape {
            Shape::Records => (found > 0).then(|| std::mem::take(&mut output.records).into()),
            Shape::Lines | Shape::Events => {
                (found > 0).then(|| std::mem::take(&mut output.text).into())
            }
        }
    }

    /// Gives bytes to the connection, once it takes them; entries and files are let go meanwhile.
    async fn send(&mut self, bytes: Bytes) -> Result<(), Gone> {
        let permit = match tokio::time::timeout(LINGER, self.sender.reserve()).await {
            Ok(permit) => permit,
            Err(_) => {
                self.search.let_go();
                self.sender.reserve().await
            }
        };
        permit.map_err(|_| Gone)?.send(Ok(bytes));
        Ok(())
    }

    /// Ends a stream whose client would connect again, as there is nothing left to come.
    async fn end(&mut self) {
        if self.shape == Shape::Events {
            // Nobody may be there any more.
            let _ = self.send(Bytes::from_static(b"event: end\ndata: {}\n\n")).await;
        }
    }

    /// Ends an answer of which the rest cannot be had now: clients of streams connect again, and meet what is wrong.
    async fn break_off(&mut self) {
        if self.shape != Shape::Events {
            let _ =
                self.sender.send(Err(io::Error::other("the log cannot be read any further"))).await;
        }
    }

    /// Ends an answer that cannot go on: it breaks off, or, where clients connect again by themselves, says why.
    async fn fail(&mut self, failure: ReadFailure) {
        let last = match self.shape {
            Shape::Events => {
                let mut text = "event: error\ndata: ".to_owned();
                write_text(&mut text, &failure.to_string());
                text.push_str("\n\n");
                Ok(text.into())
            }
            Shape::Lines | Shape::Records => Err(io::Error::other(failure)),
        };
        // Nobody may be there any more.
        let _ = self.sender.send(last).await;
    }
}

/// Counts a stream while it lasts.
pub(super) struct Counted(Shared);

impl Counted {
    pub(super) fn new(state: &Shared) -> Self {
        state.streams.fetch_add(1, Ordering::Relaxed);
        Counted(state.clone())
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.streams.fetch_sub(1, Ordering::Relaxed);
    }
}
