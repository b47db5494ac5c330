//! A bounded part of the log, and where to go on.
//!
//! A read looks for entries on threads that may block on files, in slices, and gives up its place and its answer with
//! what it has once it has looked for long enough.

use std::sync::Arc;
use std::time::Duration;

use super::Instance;
use super::reader::{Order, Selected, Selection, Taken};
pub use super::search::ReadFailure;
use super::search::{Collect, Search, Step};
use crate::etf::TermBuf;
use crate::time::{Timestamp, monotonic};

/// An entry that outlives the log's buffers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// When it was received.
    pub timestamp: Timestamp,
    /// The event, or what the match spec made of it.
    pub event: TermBuf,
}

impl Collect for Vec<Entry> {
    fn take(&mut self, entry: &Selected<'_>) -> Taken {
        self.push(Entry { timestamp: entry.timestamp, event: entry.event.to_buf() });
        Taken::More
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

/// How long one read goes on filtering before it ends with what it has, and where to go on. `gen_server:call/2` waits
/// for 5 seconds.
const SEARCH_TIME: Duration = Duration::from_secs(2);

impl Instance {
    /// Reads what is selected, as far as its limits go: it is kept in memory. With a match spec that lets little
    /// through it ends after 2 s with what it has, perhaps nothing, and where to go on.
    ///
    /// # Errors
    ///
    /// [`ReadFailure`].
    pub async fn read(self: &Arc<Self>, selection: Selection) -> Result<Page, ReadFailure> {
        let is_settled = settled(self, &selection).await;
        let found = collect(self, selection, is_settled, Vec::new()).await?;
        Ok(Page { entries: found.into, next: found.next })
    }
}

/// Waits until everything up to the later end that was taken in is in the log, unless the recorder is stuck. Whether
/// the end of the log is then the end of what was asked for; more is about to be recorded otherwise.
pub(crate) async fn settled(instance: &Instance, selection: &Selection) -> bool {
    let (latest, is_end) = match selection.order {
        Order::Ascending => (selection.to, true),
        Order::Descending => (Some(selection.from), false),
    };
    let Some(latest) = latest else { return true };
    let committed = tokio::time::timeout(SEARCH_TIME, instance.tail().committed(latest));
    committed.await.is_ok() || !is_end
}

/// What a read came to.
pub(crate) struct Found<C> {
    /// Who took what was found.
    pub(crate) into: C,
    /// The `from` of a selection that goes on there; `None` if there was nothing more at that moment.
    pub(crate) next: Option<Timestamp>,
    /// The same for who comes again later; `None` if nothing more can come.
    #[cfg_attr(not(feature = "http"), allow(dead_code, reason = "pollers come by the API"))]
    pub(crate) later: Option<Timestamp>,
}

/// Looks for the entry with a timestamp, if the log still has it.
#[cfg_attr(not(feature = "http"), allow(dead_code, reason = "the API shows samples"))]
pub(crate) async fn at<C: Collect>(
    instance: &Arc<Instance>,
    timestamp: Timestamp,
    into: C,
) -> Result<C, ReadFailure> {
    let only = Selection { to: Some(timestamp), max_entries: 1, ..Selection::starting(timestamp) };
    Ok(collect(instance, only, true, into).await?.into)
}

/// Looks for entries, as far as the limits go and for at most 2 s.
pub(crate) async fn collect<C: Collect>(
    instance: &Arc<Instance>,
    selection: Selection,
    is_settled: bool,
    into: C,
) -> Result<Found<C>, ReadFailure> {
    let mut search = Search::new(instance, selection, into)?;
    let _turn = instance.budget().search().await;
    let until = monotonic() + SEARCH_TIME;
    let (next, later) = loop {
        match search.step().await? {
            Step::End(next) => break (next, next),
            Step::CaughtUp => {
                let position = search.position();
                break (if is_settled { None } else { position }, position);
            }
            // A read without a match spec is bounded by its limits.
            Step::More if search.has_filter() && monotonic() >= until => {
                break (search.position(), search.position());
            }
            Step::More => {}
        }
    };
    Ok(Found { into: search.into_inner(), next, later })
}
