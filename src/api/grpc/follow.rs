//! Reading, and subscribing.
//!
//! A task pulls entries from the log as fast as the client takes them and, where it gives credit, no faster than that: what waits for
//! a client is a batch or two. Another hears what the client says meanwhile: credit folds into a number, acknowledgements are stored.
//!
//! # Invariants
//!
//! - `within_credit`: no entry is sent that credit was not given for.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use futures_util::stream::poll_fn;
use tokio::sync::{Notify, mpsc, oneshot};
use tonic::{Status, Streaming};

use super::entry::{size, written};
use super::generated::subscribe_request::Request;
use super::generated::subscribe_response::Response;
use super::generated::{
    Batch, Entry, Format, ReadRequest, Started, SubscribeOptions, SubscribeRequest,
    SubscribeResponse,
};
use super::metered::Held;
use super::selection::{format, wanted};
use super::status::{Refused, bad, stopping, unread};
use super::{Answers, hear_out};
use crate::api::access::Caller;
use crate::api::error::Refusal;
use crate::api::state::{Searching, Shared};
use crate::api::stream::Counted;
use crate::instance::Instance;
use crate::instance::read;
use crate::instance::reader::{Order, Selected, Taken};
use crate::instance::search::{Collect, Search, Step};
use crate::store::MAX_CURSOR_NAME_BYTES;
use crate::time::Timestamp;

/// Bytes of a batch, about.
const BATCH_BYTES: usize = 64 << 10;

/// How long a client that takes nothing keeps entries and a file at hand.
const LINGER: Duration = Duration::from_millis(50);

/// How long a client may take to say what it wants.
const OPTIONS_TIME: Duration = Duration::from_secs(20);

/// Sends what is selected, to the end of the log.
pub(super) async fn read(
    state: &Shared,
    caller: &Caller,
    request: ReadRequest,
) -> Result<Answers<Batch>, Status> {
    let ReadRequest { instance, selection, format: form, views } = request;
    let instance = state.instance(&instance)?;
    let wanted = wanted(state, instance, selection, Timestamp::MIN)?;
    let output = Output::new(format(form)?, views);
    let searching = state.search(caller)?;
    read::settled(instance, &wanted.selection).await;
    let (to, left) = (wanted.selection.to, wanted.selection.max_entries);
    let search = Search::new(instance, wanted.selection, output).map_err(Refused::from)?;
    let (sender, answers) = mpsc::channel(1);
    let carrier = Carrier {
        state: state.clone(),
        instance: instance.clone(),
        search,
        to,
        left,
        follows: false,
        batch: usize::MAX,
        credit: Arc::new(Credit::new(None)),
        sender,
        wrap: |batch| batch,
        last: None,
        all_sent: None,
        _searching: Some(searching),
    };
    tokio::spawn(carrier.run());
    Ok(received(answers))
}

/// Sends what is selected, and what comes, as far as there is credit.
pub(super) async fn subscribe(
    state: &Shared,
    held: Held,
    mut requests: Streaming<SubscribeRequest>,
) -> Result<Answers<SubscribeResponse>, Status> {
    let first = tokio::time::timeout(OPTIONS_TIME, requests.message()).await;
    let first = first.map_err(|_| Status::deadline_exceeded("no options have come"))?;
    let first = first.map_err(unread)?;
    held.release();
    let Some(Request::Options(options)) = first.and_then(|first| first.request) else {
        return Err(bad("options", "the first message has to have them"));
    };
    let SubscribeOptions { instance, selection, format: form, views, cursor, credit, batch } =
        options;
    let instance = state.instance(&instance)?.clone();
    let mut wanted = wanted(state, &instance, selection, instance.tail().next_stamp())?;
    if wanted.selection.order == Order::Descending {
        return Err(bad("newest_first", "a subscription goes on with what comes: it ascends"));
    }
    let cursor = named(&cursor)?;
    let position = match &cursor {
        Some(name) => stored_position(&instance, name.clone()).await?,
        None => None,
    };
    if let Some(position) = position {
        wanted.selection.from = position.next();
    }
    let (to, left) = (wanted.selection.to, wanted.selection.max_entries);
    let output = Output::new(format(form)?, views);
    let search = Search::following(&instance, wanted.selection, output).map_err(Refused::from)?;
    let credit = Arc::new(Credit::new(credit));
    let (sender, answers) = mpsc::channel(2);
    let started = Started { cursor_micros: position.map(Timestamp::micros) };
    sender.try_send(Ok(answer(Response::Started(started)))).expect("it is empty");
    let (all_sent, sent) = oneshot::channel();
    let listener = Listener {
        instance: instance.clone(),
        cursor,
        credit: credit.clone(),
        sender: sender.clone(),
        held,
        sent,
    };
    let carrier = Carrier {
        state: state.clone(),
        instance,
        search,
        to,
        left,
        follows: true,
        batch: if batch == 0 { usize::MAX } else { batch as usize },
        credit,
        sender,
        wrap: |batch| answer(Response::Batch(batch)),
        last: None,
        all_sent: Some(all_sent),
        _searching: None,
    };
    tokio::spawn(carrier.run());
    tokio::spawn(listener.run(state.clone(), requests));
    Ok(received(answers))
}

fn answer(response: Response) -> SubscribeResponse {
    SubscribeResponse { response: Some(response) }
}

fn received<T: Send + 'static>(mut answers: mpsc::Receiver<Result<T, Status>>) -> Answers<T> {
    Box::pin(poll_fn(move |context| answers.poll_recv(context)))
}

/// The name of a cursor, if there is one.
fn named(cursor: &str) -> Result<Option<Box<[u8]>>, Status> {
    match cursor.len() {
        0 => Ok(None),
        1..=MAX_CURSOR_NAME_BYTES => Ok(Some(cursor.as_bytes().into())),
        _ => Err(bad("cursor", format!("it has at most {MAX_CURSOR_NAME_BYTES} bytes"))),
    }
}

/// How far a cursor's name is acknowledged; reading it may block.
async fn stored_position(
    instance: &Arc<Instance>,
    name: Box<[u8]>,
) -> Result<Option<Timestamp>, Status> {
    let instance = instance.clone();
    let loading = tokio::task::spawn_blocking(move || instance.cursors().load(&name));
    let loaded = loading.await.expect("loading does not panic");
    loaded.map_err(|error| {
        Refusal::busy("cursor_unreadable", format!("the cursor cannot be read: {error}")).into()
    })
}

/// How many entries may be sent.
struct Credit {
    /// `u64::MAX`: as many as there are.
    left: AtomicU64,
    /// Whether no more can come.
    is_last: AtomicBool,
    changed: Notify,
}

impl Credit {
    fn new(given: Option<u64>) -> Self {
        let left = AtomicU64::new(given.unwrap_or(u64::MAX));
        Credit { left, is_last: AtomicBool::new(false), changed: Notify::new() }
    }

    fn left(&self) -> usize {
        usize::try_from(self.left.load(Ordering::Acquire)).unwrap_or(usize::MAX)
    }

    fn change(&self, by: impl Fn(u64) -> u64) {
        let without_end = |left| if left == u64::MAX { left } else { by(left) };
        let change = |left| Some(without_end(left));
        let _ = self.left.fetch_update(Ordering::AcqRel, Ordering::Acquire, change);
        self.changed.notify_one();
    }

    fn give(&self, more: u64) {
        self.change(|left| left.saturating_add(more).min(u64::MAX - 1));
    }

    fn spend(&self, sent: usize) {
        self.change(|left| left.saturating_sub(sent as u64));
    }

    fn end(&self) {
        self.is_last.store(true, Ordering::Release);
        self.changed.notify_one();
    }
}

/// Hears what a subscriber says.
struct Listener {
    instance: Arc<Instance>,
    cursor: Option<Box<[u8]>>,
    credit: Arc<Credit>,
    sender: mpsc::Sender<Result<SubscribeResponse, Status>>,
    held: Held,
    /// When all has been sent, the timestamp of the last entry, if there was one.
    sent: oneshot::Receiver<Option<Timestamp>>,
}

impl Listener {
    async fn run(mut self, state: Shared, mut requests: Streaming<SubscribeRequest>) {
        self.hear(&mut requests).await;
        let held = self.held.clone();
        // This ends the answers, if nothing else has.
        drop(self);
        hear_out(&state, &held, requests).await;
    }

    async fn hear(&mut self, requests: &mut Streaming<SubscribeRequest>) {
        let (mut acknowledged, mut unsaid) = (None, None);
        // The entry, if any, of which the acknowledgement would be the last.
        let mut due = None;
        loop {
            if let Some(due) = due {
                let is_dealt_with = due <= acknowledged && unsaid.is_none();
                if is_dealt_with || self.cursor.is_none() {
                    return;
                }
            }
            let stored = self.instance.cursors().stored(self.cursor.as_deref());
            let request = tokio::select! {
                request = requests.message() => request,
                // Waited for anew with the next message: what is stored stays so.
                () = stored, if unsaid.is_some() => {
                    let stored = unsaid.take().map(Timestamp::micros).expect("checked");
                    let said = answer(Response::Acknowledged(stored));
                    match self.sender.send(Ok(said)).await {
                        Ok(()) => continue,
                        Err(_) => return,
                    }
                }
                // Once; and who reads it is the only one that acts on it.
                last = &mut self.sent, if due.is_none() => match last {
                    Ok(last) => {
                        due = Some(last);
                        continue;
                    }
                    // It ended otherwise, and that was said.
                    Err(_) => return,
                },
                () = self.sender.closed() => return,
            };
            self.held.release();
            let heard = match request {
                Ok(Some(SubscribeRequest { request: Some(Request::Credit(more)) })) => {
                    self.credit.give(more);
                    Ok(())
                }
                Ok(Some(SubscribeRequest { request: Some(Request::Ack(micros)) })) => {
                    self.ack(micros).map(|stamp| {
                        (acknowledged, unsaid) = (Some(stamp), Some(stamp));
                    })
                }
                Ok(Some(SubscribeRequest { request: Some(Request::Options(_)) })) => {
                    Err(bad("options", "they are there already"))
                }
                Ok(Some(SubscribeRequest { request: None })) => {
                    Err(bad("request", "it is empty: set credit or ack"))
                }
                Ok(None) => break,
                // The client is gone, or says what nobody understands.
                Err(status) => Err(unread(status)),
            };
            if let Err(status) = heard {
                // Nobody may be there any more.
                let _ = self.sender.send(Err(status)).await;
                return self.credit.end();
            }
        }
        self.credit.end();
        if let (Some(stamp), Some(name)) = (unsaid, &self.cursor) {
            self.instance.cursors().stored(Some(name)).await;
            // Nobody may be there any more.
            let said = answer(Response::Acknowledged(stamp.micros()));
            let _ = self.sender.send(Ok(said)).await;
        }
    }

    fn ack(&self, micros: u64) -> Result<Timestamp, Status> {
        let Some(name) = &self.cursor else {
            return Err(bad("ack", "the subscription has no cursor that it could be stored under"));
        };
        let stamp = Timestamp::from_micros(micros);
        let newest = self.instance.log().committed().last;
        if newest.is_none_or(|newest| stamp > newest) {
            self.instance.metrics().acks_refused.inc();
            return Err(bad("ack", "it is later than the newest entry"));
        }
        self.instance.cursors().ack(name, stamp);
        Ok(stamp)
    }
}

/// What was found and is not sent yet.
struct Output {
    entries: Vec<Entry>,
    bytes: usize,
    /// So many entries may be in the batch.
    room: usize,
    format: Format,
    has_views: bool,
}

impl Output {
    const fn new(format: Format, has_views: bool) -> Self {
        Output { entries: Vec::new(), bytes: 0, room: 0, format, has_views }
    }

    const fn is_full(&self) -> bool {
        self.bytes >= BATCH_BYTES || self.entries.len() >= self.room
    }
}

impl Collect for Output {
    fn take(&mut self, entry: &Selected<'_>) -> Taken {
        let entry = written(entry, self.format, self.has_views);
        self.bytes += size(&entry);
        self.entries.push(entry);
        if self.is_full() { Taken::Enough } else { Taken::More }
    }
}

/// Who carries entries to a client.
struct Carrier<T> {
    state: Shared,
    instance: Arc<Instance>,
    search: Search<Output>,
    /// Entries at or before it are selected.
    to: Option<Timestamp>,
    /// So many entries may still be taken.
    left: usize,
    follows: bool,
    /// Entries of a batch at most.
    batch: usize,
    credit: Arc<Credit>,
    sender: mpsc::Sender<Result<T, Status>>,
    wrap: fn(Batch) -> T,
    /// The timestamp of the last entry sent.
    last: Option<Timestamp>,
    /// Who is told when all has been sent.
    all_sent: Option<oneshot::Sender<Option<Timestamp>>>,
    _searching: Option<Searching>,
}

/// Why entries are carried no further, if not because there are no more.
enum Ended {
    /// The client is gone.
    Gone,
    Because(Status),
}

impl<T: Send + 'static> Carrier<T> {
    async fn run(mut self) {
        let _counted = Counted::new(&self.state);
        let state = self.state.clone();
        let ended = tokio::select! {
            ended = self.carry() => ended,
            // Clients come again, and go on where they were.
            () = state.stopped() => Err(Ended::Because(stopping())),
        };
        match ended {
            Ok(()) => {
                if let Some(all_sent) = self.all_sent.take() {
                    // Nobody may be there any more.
                    let _ = all_sent.send(self.last);
                }
            }
            Err(Ended::Because(status)) => {
                self.search_is_over();
                // Nobody may be there any more.
                let _ = self.sender.send(Err(status)).await;
            }
            Err(Ended::Gone) => {}
        }
    }

    /// Nothing is looked for any more: a client that takes nothing holds nothing.
    fn search_is_over(&mut self) {
        self._searching = None;
    }

    async fn carry(&mut self) -> Result<(), Ended> {
        loop {
            let credit = self.credit.left();
            if credit == 0 {
                if self.credit.is_last.load(Ordering::Acquire) && self.credit.left() == 0 {
                    return Ok(());
                }
                self.search.let_go();
                // Each says only that it is time to look again.
                tokio::select! {
                    () = self.credit.changed.notified() => continue,
                    () = self.sender.closed() => return Err(Ended::Gone),
                }
            }
            self.search.collector().room = credit.min(self.batch);
            let step = self.search.step_near().await;
            let step = step.map_err(|failure| Ended::Because(Refused::from(failure).into()))?;
            let is_quick = !self.search.has_filter();
            let output = self.search.collector();
            if step == Step::More && is_quick && !output.is_full() {
                // More is at hand: what was committed entry by entry need not be sent so.
                tokio::task::consume_budget().await;
                continue;
            }
            output.bytes = 0;
            let entries = std::mem::take(&mut output.entries);
            if !entries.is_empty() {
                self.send(entries).await?;
            } else if self.sender.is_closed() {
                return Err(Ended::Gone);
            }
            if self.left == 0 {
                // Though there may be nothing yet behind the last one.
                return Ok(());
            }
            match step {
                Step::More => tokio::task::consume_budget().await,
                Step::End(None) => return Ok(()),
                Step::End(Some(_)) => return Err(Ended::Because(unreadable())),
                Step::CaughtUp if !self.follows => return Ok(()),
                Step::CaughtUp => tokio::select! {
                    more = self.search.wait() => if !more {
                        // Nothing more can come, or the log is closed.
                        let tail = self.instance.tail();
                        let is_all = self.to.is_some_and(|to| tail.outstanding(to).is_none());
                        return if is_all { Ok(()) } else { Err(Ended::Because(stopping())) };
                    },
                    () = self.sender.closed() => return Err(Ended::Gone),
                },
            }
        }
    }

    /// Gives entries to the connection, once it takes them; the log's are let go meanwhile.
    async fn send(&mut self, entries: Vec<Entry>) -> Result<(), Ended> {
        let sent = entries.len();
        self.last = entries.last().map(|entry| Timestamp::from_micros(entry.micros));
        self.credit.spend(sent);
        self.left = self.left.saturating_sub(sent);
        self.state.metrics.streamed.add(sent as u64);
        let batch = (self.wrap)(Batch { entries });
        let permit = match tokio::time::timeout(LINGER, self.sender.reserve()).await {
            Ok(permit) => permit,
            Err(_) => {
                self.search.let_go();
                self.sender.reserve().await
            }
        };
        permit.map_err(|_| Ended::Gone)?.send(Ok(batch));
        Ok(())
    }
}

fn unreadable() -> Status {
    Refusal::busy("read_failed", "the log cannot be read any further").into()
}
