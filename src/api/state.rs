//! What all requests share.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::extract::{FromRequestParts, Path};
use axum::http::StatusCode;
use axum::http::request::Parts;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

use super::access::{Access, Caller};
use super::error::Refusal;
use super::idempotency::Remembered;
use crate::instance::Instance;
use crate::instance::calls::Instances;
use crate::metrics::{HttpMetrics, HttpStats};
use crate::node::Node;
use crate::time::{Clock, Timestamp};
use crate::watchers::analyses::AnalysisWatcher;
use crate::watchers::deployments::Asked;
use crate::watchers::faults::FaultWatcher;
use crate::watchers::{AlertWatcher, Watchers};

/// What all requests share.
pub(super) struct State {
    pub(super) node: Node,
    pub(super) instances: Instances,
    pub(super) deployed: Option<Asked>,
    pub(super) faults: Option<Arc<FaultWatcher>>,
    pub(super) analyses: Arc<AnalysisWatcher>,
    pub(super) alerts: Option<Arc<AlertWatcher>>,
    pub(super) access: Access,
    pub(super) clock: Clock,
    pub(super) started: Timestamp,
    pub(super) metrics: HttpMetrics,
    /// Streams under way.
    pub(super) streams: AtomicU64,
    /// Answers to appends that may be asked for again.
    pub(super) remembered: Remembered,
    /// What pages hold that are being sent.
    pub(super) pages: Memory,
    /// What bodies hold that are being read and appended.
    pub(super) bodies: Memory,
    /// How many searches each caller has under way.
    searches: Mutex<HashMap<Arc<str>, usize>>,
    stops: watch::Receiver<bool>,
}

pub(super) type Shared = Arc<State>;

/// Memory that many requests share: who finds none waits a while.
pub(super) struct Memory(Arc<Semaphore>);

/// KiB of each sort.
const MEMORY_KIB: u32 = 256 << 10;

/// How long a request waits for memory.
const MEMORY_PATIENCE: Duration = Duration::from_secs(5);

impl Memory {
    fn new() -> Self {
        Memory(Arc::new(Semaphore::new(MEMORY_KIB as usize)))
    }

    /// Gives back what is more than so many bytes.
    pub(super) fn keep(room: &mut OwnedSemaphorePermit, bytes: u64) {
        let kib = usize::try_from(bytes.div_ceil(1024)).unwrap_or(usize::MAX);
        drop(room.split(room.num_permits().saturating_sub(kib)));
    }

    /// Room for so many bytes, until it is dropped. What is larger than all there is gets all.
    pub(super) async fn room(&self, bytes: u64) -> Result<OwnedSemaphorePermit, Refusal> {
        let kib = u32::try_from(bytes.div_ceil(1024)).unwrap_or(MEMORY_KIB).min(MEMORY_KIB);
        let room = self.0.clone().acquire_many_owned(kib);
        match tokio::time::timeout(MEMORY_PATIENCE, room).await {
            Ok(Ok(room)) => Ok(room),
            _ => Err(Refusal::busy(
                "too_many_requests",
                "other requests hold all the memory there is",
            )),
        }
    }
}

/// Searches of one caller at once: requests that look at many entries for few.
const SEARCHES_AT_ONCE: usize = 16;

impl State {
    pub(super) fn new(
        node: Node,
        instances: Instances,
        watchers: &Watchers,
        access: Access,
        clock: Clock,
        stops: watch::Receiver<bool>,
    ) -> Self {
        State {
            node,
            instances,
            deployed: watchers.deployed(),
            faults: watchers.faults.clone(),
            analyses: watchers.analyses.clone(),
            alerts: watchers.alerts.clone(),
            access,
            started: clock.now(),
            clock,
            metrics: HttpMetrics::default(),
            streams: AtomicU64::new(0),
            remembered: Remembered::default(),
            pages: Memory::new(),
            bodies: Memory::new(),
            searches: Mutex::default(),
            stops,
        }
    }

    /// Its numbers, as they are now.
    pub(super) fn http_stats(&self) -> HttpStats {
        HttpStats { streams: self.streams.load(Ordering::Relaxed), ..self.metrics.read() }
    }

    /// Ends when the program stops.
    pub(super) async fn stopped(&self) {
        // Who could tell is gone with the program.
        let _ = self.stops.clone().wait_for(|stopping| *stopping).await;
    }

    /// The instance of a path.
    pub(super) fn instance(&self, name: &str) -> Result<&Arc<Instance>, Refusal> {
        self.instances.get(name).ok_or_else(|| {
            let names: Vec<_> = self.instances.keys().map(|name| &**name).collect();
            let message =
                format!("there is no instance of that name; there is {}", names.join(", "));
            Refusal::not_found(message).at("instance")
        })
    }

    /// A place for one more search of a caller; it ends when this is dropped.
    pub(super) fn search(self: &Arc<Self>, caller: &Caller) -> Result<Searching, Refusal> {
        let mut searches = self.searches.lock().unwrap_or_else(PoisonError::into_inner);
        let count = searches.entry(caller.name.clone()).or_default();
        if *count >= SEARCHES_AT_ONCE {
            let message = format!("{SEARCHES_AT_ONCE} searches of yours are under way");
            return Err(Refusal::new(StatusCode::TOO_MANY_REQUESTS, "too_many_searches", message));
        }
        *count += 1;
        Ok(Searching { state: self.clone(), caller: caller.name.clone() })
    }
}

/// A search that is under way.
pub(super) struct Searching {
    state: Shared,
    caller: Arc<str>,
}

impl Drop for Searching {
    fn drop(&mut self) {
        let mut searches = self.state.searches.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = searches.get_mut(&self.caller) {
            *count -= 1;
            if *count == 0 {
                searches.remove(&self.caller);
            }
        }
    }
}

/// The instance that a path names.
pub(super) struct Named(pub(super) Arc<Instance>);

impl FromRequestParts<Shared> for Named {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, state: &Shared) -> Result<Self, Refusal> {
        let name = Path::<String>::from_request_parts(parts, state).await;
        let Path(name) = name.map_err(|wrong| Refusal::bad("instance", wrong.to_string()))?;
        state.instance(&name).cloned().map(Named)
    }
}
