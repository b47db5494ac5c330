//! Tasks that end with their owner, and panics that end a task's work but not its owner.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::task::Poll;

use tokio::task::{JoinError, JoinHandle};

use crate::diagnostics::panic_words;

/// A task that ends, at its next await, when this is dropped.
#[derive(Debug)]
pub struct Owned<T = ()>(Option<JoinHandle<T>>);

impl<T: Send + 'static> Owned<T> {
    /// Starts a task.
    pub fn spawn(work: impl Future<Output = T> + Send + 'static) -> Self {
        Owned(Some(tokio::spawn(work)))
    }
}

impl<T> Owned<T> {
    /// Waits for its result, or that it panicked or was aborted; `None` if that was told before. The wait can be
    /// given up and begun again.
    pub async fn join(&mut self) -> Option<Result<T, JoinError>> {
        let ended = self.0.as_mut()?.await;
        self.0 = None;
        Some(ended)
    }

    /// Ends it at its next await.
    pub fn abort(&self) {
        if let Some(task) = &self.0 {
            task.abort();
        }
    }
}

impl<T> Drop for Owned<T> {
    fn drop(&mut self) {
        self.abort();
    }
}

/// Does `work`, or says with which words it panicked.
///
/// What `work` owns is gone then; what it only borrows has to be in order whenever `work` may panic.
pub(super) async fn survive<T>(work: impl Future<Output = T>) -> Result<T, String> {
    let mut work = pin!(work);
    std::future::poll_fn(|context| {
        match catch_unwind(AssertUnwindSafe(|| work.as_mut().poll(context))) {
            Ok(Poll::Ready(done)) => Poll::Ready(Ok(done)),
            Ok(Poll::Pending) => Poll::Pending,
            Err(panic) => Poll::Ready(Err(panic_words(&*panic))),
        }
    })
    .await
}
