//! Looking for entries, step by step, for somebody who decides after each whether to go on.
//!
//! A step looks at what was fetched: at what is in RAM where it runs, in slices, at what is in files on threads that may
//! block. Reads take steps until they have enough; who follows the log waits in between for more.

use std::sync::Arc;

use tokio::sync::watch;
use tracing::error;

use super::Instance;
use super::budget::{Permit, SLICE_STEPS};
use super::reader::{Fetched, Looked, Reader, Selected, Selection, Stopped, Taken};
use super::recorder::Outstanding;
use super::session::{AtEnd, End, until};
use crate::store::{Committed, ReadError};
use crate::time::Timestamp;

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

/// Takes what a search finds, entry by entry.
pub(crate) trait Collect: Send + 'static {
    /// One more; whether this step may find another. One that is not taken is where the search ends.
    fn take(&mut self, entry: &Selected<'_>) -> Taken;

    /// Whether anybody still waits for it.
    fn is_wanted(&self) -> bool {
        true
    }
}

/// Steps that a match spec takes at once on a thread of its own.
const READ_STEPS: u64 = 10 * SLICE_STEPS;

/// Bytes of records that are taken from the log at once.
const FETCH_BYTES: usize = 1 << 20;

/// What a step came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// There may be more to look at.
    More,
    /// All that the log holds by now was looked at.
    CaughtUp,
    /// Nothing more is selected; the `from` of a selection that goes on there, if there may be anything.
    End(Option<Timestamp>),
}

/// A reader at work.
pub(crate) struct Search<C> {
    instance: Arc<Instance>,
    /// Not here while a step is under way, or after one that failed.
    work: Option<Work<C>>,
    has_filter: bool,
    committed: watch::Receiver<Committed>,
    end: End,
    _permit: Permit,
}

/// What goes to another thread for a step.
struct Work<C> {
    reader: Reader,
    fetch_bytes: usize,
    into: C,
    found: u64,
    /// The next event needs more steps than a slice has.
    is_alone: bool,
}

const AT_HAND: &str = "no step is under way";

impl<C: Collect> Search<C> {
    /// Begins. Nothing is looked up before the first step.
    ///
    /// # Errors
    ///
    /// [`ReadFailure::SystemLimit`].
    pub(crate) fn new(
        instance: &Arc<Instance>,
        selection: Selection,
        into: C,
    ) -> Result<Self, ReadFailure> {
        let permit = instance.budget().read(selection.filter.as_ref());
        Search::permitted(instance, permit, selection, into)
    }

    /// The same, for one that waits for more and goes on for long: it takes the place of a session.
    ///
    /// # Errors
    ///
    /// The same.
    pub(crate) fn following(
        instance: &Arc<Instance>,
        selection: Selection,
        into: C,
    ) -> Result<Self, ReadFailure> {
        let permit = instance.budget().session(selection.filter.as_ref(), 0);
        Search::permitted(instance, permit, selection, into)
    }

    fn permitted(
        instance: &Arc<Instance>,
        permit: Option<Permit>,
        selection: Selection,
        into: C,
    ) -> Result<Self, ReadFailure> {
        let Some(permit) = permit else {
            instance.metrics().sessions_refused.inc();
            return Err(ReadFailure::SystemLimit);
        };
        let fetch_bytes = selection.max_bytes.min(FETCH_BYTES);
        let end = End::at(selection.to);
        let reader = Reader::new(instance.log(), selection);
        Ok(Search {
            instance: instance.clone(),
            has_filter: reader.has_filter(),
            work: Some(Work { reader, fetch_bytes, into, found: 0, is_alone: false }),
            committed: instance.log().watch(),
            end,
            _permit: permit,
        })
    }

    /// Who takes what is found.
    pub(crate) fn collector(&mut self) -> &mut C {
        &mut self.work.as_mut().expect(AT_HAND).into
    }

    /// The same, at the end.
    pub(crate) fn into_inner(self) -> C {
        self.work.expect(AT_HAND).into
    }

    /// The `from` of a selection that goes on here; `None` if nothing more can come.
    pub(crate) fn position(&self) -> Option<Timestamp> {
        self.work.as_ref().expect(AT_HAND).reader.position()
    }

    /// Lets go of entries and files until the next step.
    pub(crate) fn let_go(&mut self) {
        self.work.as_mut().expect(AT_HAND).reader.let_go();
    }

    /// Whether looking takes time, as a condition or a match spec decides.
    pub(crate) const fn has_filter(&self) -> bool {
        self.has_filter
    }

    /// Looks at what is next, about 1 MiB of entries or a slice at most, on a thread that may block; at an event that needs
    /// more than a slice alone.
    ///
    /// # Errors
    ///
    /// [`ReadFailure`]. A search that failed is over.
    pub(crate) async fn step(&mut self) -> Result<Step, ReadFailure> {
        let mut work = self.work.take().expect(AT_HAND);
        if !work.into.is_wanted() {
            return Err(ReadFailure::Unwanted);
        }
        let alone =
            if work.is_alone { Some(self.instance.budget().read_alone().await) } else { None };
        let instance = self.instance.clone();
        let looking = tokio::task::spawn_blocking(move || {
            let step = work.step(&instance);
            (work, step)
        });
        let looked = looking.await;
        drop(alone);
        let (work, step) = looked.map_err(|failure| {
            error!("a read failed: {failure}");
            ReadFailure::Internal
        })?;
        self.work = Some(work);
        Ok(step?)
    }

    /// The same, right here where what is next is in RAM, and less at once.
    ///
    /// # Errors
    ///
    /// The same.
    pub(crate) async fn step_near(&mut self) -> Result<Step, ReadFailure> {
        let work = self.work.as_mut().expect(AT_HAND);
        let near =
            if work.is_alone { Fetched::Cold } else { work.reader.fetch_cached(work.fetch_bytes) };
        match near {
            Fetched::End => Ok(Step::CaughtUp),
            Fetched::Entries => {
                let budget = self.instance.budget().clone();
                let turn = if self.has_filter { Some(budget.slice().await) } else { None };
                let step = work.look(SLICE_STEPS, &self.instance);
                drop(turn);
                Ok(step)
            }
            Fetched::Cold => {
                let budget = self.instance.budget().clone();
                let _turn = budget.search().await;
                self.step().await
            }
        }
    }

    /// Waits until there may be more, once a step has caught up; false if nothing more can be stamped up to the end that
    /// was asked for. Holds neither entries nor files meanwhile.
    pub(crate) async fn wait(&mut self) -> bool {
        // Marked as seen before looking, so that a commit in between wakes us.
        self.committed.borrow_and_update();
        let work = self.work.as_mut().expect(AT_HAND);
        work.reader.let_go();
        if work
            .reader
            .position()
            .is_some_and(|next| self.instance.log().committed().last >= Some(next))
        {
            return true;
        }
        // Registered before asking, so that no commit in between is missed.
        let progress = self.instance.tail().progress();
        tokio::pin!(progress);
        progress.as_mut().enable();
        let outstanding = match self.end.at_end_of_log(self.instance.tail()) {
            AtEnd::Over => return false,
            AtEnd::LookAgain => return true,
            AtEnd::Wait(outstanding) => outstanding,
        };
        // Each says only that it is time to look again.
        tokio::select! {
            () = until(outstanding) => true,
            () = progress, if outstanding == Some(Outstanding::Commits) => true,
            changed = self.committed.changed() => changed.is_ok(),
        }
    }
}

impl<C: Collect> Work<C> {
    /// Looks at what is next, wherever it is.
    fn step(&mut self, instance: &Instance) -> Result<Step, ReadError> {
        let is_alone = std::mem::take(&mut self.is_alone);
        let ahead = if is_alone { self.reader.look_ahead(self.fetch_bytes) } else { Ok(()) };
        match ahead.and_then(|()| self.reader.fetch(self.fetch_bytes)) {
            Ok(true) => Ok(self.look(READ_STEPS, instance)),
            Ok(false) => Ok(Step::CaughtUp),
            // First what came before; the next read meets the same again.
            Err(_) if self.found > 0 => Ok(Step::End(self.reader.position())),
            Err(error) => Err(error),
        }
    }

    /// Looks at what was fetched.
    fn look(&mut self, steps: u64, instance: &Instance) -> Step {
        let into = &mut self.into;
        let looked: Looked = self.reader.look(steps, |entry| into.take(&entry));
        self.found += looked.taken;
        instance.metrics().unfiltered.add(looked.over_budget);
        self.is_alone = looked.stopped == Some(Stopped::TooLong);
        match looked.stopped {
            Some(Stopped::AtEnd) => Step::End(None),
            Some(Stopped::Full | Stopped::Refused) => Step::End(self.reader.position()),
            Some(Stopped::Paused | Stopped::TooLong) | None => Step::More,
        }
    }
}
