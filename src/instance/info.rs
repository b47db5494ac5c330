//! What an instance says of itself: everything at one moment, as types. Erlang code gets it as a property list.

use std::path::PathBuf;

use super::Recording;
use super::locator::HandlerInfo;
use super::session::SessionInfo;
use crate::metrics::{InstanceStats, LogStats};
use crate::node::epmd::Standing;
use crate::node::names::Held;
use crate::store::Started;
use crate::time::Timestamp;

/// An instance, as it is at the moment.
#[derive(Clone, Debug)]
pub struct InstanceInfo {
    /// The name that casts, calls and files go by.
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
    /// How the log had ended when it was opened.
    pub started: Started,
    /// Its numbers, those of its log apart.
    pub stats: InstanceStats,
    /// The numbers of its log.
    pub log: LogStats,
    /// How recording goes.
    pub recording: Recording,
    /// The sessions that run.
    pub sessions: Vec<SessionInfo>,
    /// Handlers on other nodes.
    pub handlers: Vec<HandlerInfo>,
    /// How it stands with the port mapper; `None` for a node that does not register.
    pub port_mapper: Option<Standing>,
}
