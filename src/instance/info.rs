//! What an instance says of itself: everything at one moment, as types. Erlang code gets it as a property list.

use std::path::PathBuf;

use super::Recording;
use super::locator::HandlerInfo;
use super::session::SessionStats;
use crate::event_log::LogStats;
use crate::node::epmd::Standing;
use crate::node::names::Held;
use crate::time::Timestamp;

/// An instance, as it is at the moment.
#[derive(Clone, Debug)]
pub struct InstanceInfo {
    /// Its name.
    pub name: String,
    /// The directory of its segments.
    pub data_dir: PathBuf,
    /// The directory of its archives.
    pub arch_data_dir: PathBuf,
    /// How it stands with its global name.
    pub global_alias: Held,
    /// The first and the latest timestamp in the log.
    pub interval: Option<(Timestamp, Timestamp)>,
    /// The first and the latest timestamp in RAM.
    pub cache_interval: Option<(Timestamp, Timestamp)>,
    /// Counters and sizes of the log.
    pub log: LogStats,
    /// Bytes of events that are taken in and not written.
    pub pending_bytes: usize,
    /// By how many microseconds stamps are ahead of the clock.
    pub stamp_lead: u64,
    /// How recording goes.
    pub recording: Recording,
    /// The sessions that run.
    pub sessions: Vec<SessionStats>,
    /// Handlers on other nodes.
    pub handlers: Vec<HandlerInfo>,
    /// How it stands with the port mapper; `None` for a node that does not register.
    pub port_mapper: Option<Standing>,
    /// Name, help and value of each of its counters.
    pub counters: Vec<(&'static str, &'static str, u64)>,
}
