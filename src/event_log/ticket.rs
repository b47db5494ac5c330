//! How one thread tells another that something is durable.

use std::sync::{Arc, Condvar, Mutex, PoisonError};

use super::lock;

/// Whether a segment is durable; clones are the same ticket.
#[derive(Clone, Debug, Default)]
pub(super) struct Ticket(Arc<(Mutex<Option<Sealed>>, Condvar)>);

/// Whether it worked; if not, why.
type Sealed = Result<(), Arc<str>>;

impl Ticket {
    pub(super) fn finish(&self, result: Sealed) {
        *lock(&self.0.0) = Some(result);
        self.0.1.notify_all();
    }

    /// Waits until the segment is durable.
    pub(super) fn wait(&self) -> Sealed {
        #[cfg(test)]
        super::stepped::wait(|| self.is_done());
        let mut done = lock(&self.0.0);
        loop {
            if let Some(result) = &*done {
                return result.clone();
            }
            done = self.0.1.wait(done).unwrap_or_else(PoisonError::into_inner);
        }
    }

    pub(super) fn is_done(&self) -> bool {
        lock(&self.0.0).is_some()
    }

    pub(super) fn failure(&self) -> Option<Arc<str>> {
        lock(&self.0.0).as_ref()?.as_ref().err().cloned()
    }
}
