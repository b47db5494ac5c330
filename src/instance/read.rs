//! A bounded part of the log, and where to go on.
//!
//! A read looks for entries on threads that may block on files, in slices, and gives up its place and its answer with
//! what it has once it has looked for long enough.

use std::sync::Arc;
use std::time::Duration;

use tracing::error;

use super::Instance;
use super::budget::SLICE_STEPS;
use super::reader::{Order, Reader, Selected, Selection, Stopped, Taken};
use crate::etf::TermBuf;
use crate::store::ReadError;
use crate::time::{Timestamp, monotonic};

/// Takes what a read finds, entry by entry.
pub(super) trait Collect: Send + 'static {
    /// One more.
    fn take(&mut self, entry: &Selected<'_>);

    /// Whether anybody still waits for it.
    fn is_wanted(&self) -> bool {
        true
    }
}

/// An entry that outlives the log's buffers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// When it was received.
    pub timestamp: Timestamp,
    /// The event, or what the match spec made of it.
    pub event: TermBuf,
}

impl Collect for Vec<Entry> {
    fn take(&mut self, entry: &Selected<'_>) {
        self.push(Entry { timestamp: entry.timestamp, event: entry.event.to_buf() });
    }
}

/// What a read found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    /// The entries, in the order that was asked for.
    pub entries: Vec<Entry>,
    /// The `from` of a selection that goes on there; `None` if there was nothing more at that moment.
    pub next: Option<Timestamp>,
}

/// Why a read found nothing.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReadFailure {
    /// The node has as many reads as it takes, or no memory left for the match spec.
    #[error("too many reads")]
    SystemLimit,
    /// Nobody waits for it any more.
    #[error("nobody waits for the answer")]
    Unwanted,
    /// We have a bug; it was reported.
    #[error("internal error")]
    Internal,
    /// The log says so, or the machine.
    #[error("cannot read the log")]
    Log(#[from] ReadError),
}

/// How long one read goes on filtering before it ends with what it has, and where to go on. `gen_server:call/2` waits
/// for 5 seconds.
const SEARCH_TIME: Duration = Duration::from_secs(2);

/// Steps that a match spec takes at once, on a thread of its own.
const READ_STEPS: u64 = 10 * SLICE_STEPS;

/// Bytes of records that are taken from the log at once.
const FETCH_BYTES: usize = 1 << 20;

impl Instance {
    /// Reads what is selected, as far as its limits go: it is kept in memory. With a match spec that lets little
    /// through it ends after 2 s with what it has, perhaps nothing, and where to go on.
    ///
    /// # Errors
    ///
    /// [`ReadFailure`].
    pub async fn read(self: &Arc<Self>, selection: Selection) -> Result<Page, ReadFailure> {
        let is_settled = settled(self, &selection).await;
        let (entries, next) = collect(self, selection, is_settled, Vec::new()).await?;
        Ok(Page { entries, next })
    }
}

/// Waits until everything up to the later end that was taken in is in the log, unless the recorder is stuck. Whether
/// the end of the log is then the end of what was asked for; more is about to be recorded otherwise.
pub(super) async fn settled(instance: &Instance, selection: &Selection) -> bool {
    let (latest, is_end) = match selection.order {
        Order::Ascending => (selection.to, true),
        Order::Descending => (Some(selection.from), false),
    };
    let Some(latest) = latest else { return true };
    let committed = tokio::time::timeout(SEARCH_TIME, instance.tail().committed(latest));
    committed.await.is_ok() || !is_end
}

/// Looks for entries; what took them, and where to go on.
pub(super) async fn collect<C: Collect>(
    instance: &Arc<Instance>,
    selection: Selection,
    is_settled: bool,
    into: C,
) -> Result<(C, Option<Timestamp>), ReadFailure> {
    let budget = instance.budget();
    let Some(_place) = budget.read(selection.filter.as_ref()) else {
        instance.counters().sessions_refused.inc();
        return Err(ReadFailure::SystemLimit);
    };
    let _turn = budget.search().await;
    let until = monotonic() + SEARCH_TIME;
    let fetch_bytes = selection.max_bytes.min(FETCH_BYTES);
    let reader = Reader::new(instance.log(), selection);
    let mut search =
        Search { instance: instance.clone(), reader, fetch_bytes, is_settled, into, found: 0 };
    let mut is_alone = false;
    loop {
        if !search.into.is_wanted() {
            return Err(ReadFailure::Unwanted);
        }
        let alone = if is_alone { Some(budget.read_alone().await) } else { None };
        let looking = tokio::task::spawn_blocking(move || {
            let step = search.look(is_alone);
            (search, step)
        });
        let looked = looking.await;
        drop(alone);
        let (back, step) = looked.map_err(|failure| {
            error!("a read failed: {failure}");
            ReadFailure::Internal
        })?;
        search = back;
        match step? {
            Look::End(next) => return Ok((search.into, next)),
            // A read without a match spec is bounded by its limits.
            Look::More if search.reader.has_filter() && monotonic() >= until => {
                return Ok((search.into, search.reader.position()));
            }
            Look::More => is_alone = false,
            Look::Alone => is_alone = true,
        }
    }
}

/// What a stretch of looking for entries came to.
enum Look {
    /// It is done; where to go on.
    End(Option<Timestamp>),
    /// There is more to look at.
    More,
    /// The next event needs more steps than were allowed.
    Alone,
}

/// A read on its way.
struct Search<C> {
    instance: Arc<Instance>,
    reader: Reader,
    fetch_bytes: usize,
    is_settled: bool,
    into: C,
    found: u64,
}

impl<C: Collect> Search<C> {
    /// Looks at what is next, about 1 MiB of entries or a slice at most; with `alone` at one entry for as long as it
    /// takes.
    fn look(&mut self, alone: bool) -> Result<Look, ReadError> {
        let ahead = if alone { self.reader.look_ahead(self.fetch_bytes) } else { Ok(()) };
        match ahead.and_then(|()| self.reader.fetch(self.fetch_bytes)) {
            Ok(true) => {}
            Ok(false) if self.is_settled => return Ok(Look::End(None)),
            Ok(false) => return Ok(Look::End(self.reader.position())),
            // First what came before; the next read meets the same again.
            Err(_) if self.found > 0 => return Ok(Look::End(self.reader.position())),
            Err(error) => return Err(error),
        }
        let into = &mut self.into;
        let looked = self.reader.look(READ_STEPS, |entry| {
            into.take(&entry);
            Taken::More
        });
        self.found += looked.taken;
        self.instance.counters().unfiltered.add(looked.over_budget);
        Ok(match looked.stopped {
            Some(Stopped::AtEnd) => Look::End(None),
            Some(Stopped::Full | Stopped::Refused) => Look::End(self.reader.position()),
            Some(Stopped::TooLong) => Look::Alone,
            Some(Stopped::Paused) | None => Look::More,
        })
    }
}
