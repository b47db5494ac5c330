//! logmachine: a durable event log that joins an Erlang cluster as a hidden node.
//!
//! Modules in reading order; a module uses modules to its left, never beside it or to its right:
//!
//! `time` < `metrics, diagnostics` < `strangers` < `etf` < `event_log, match_spec, proto` < `node` < `instance` <
//! `app, config, cli`
//!
//! - [`time`]: timestamps, and the only place that asks what time it is
//! - [`metrics`]: every counter
//! - [`diagnostics`]: what the program says of itself, on its way to standard error
//! - [`strangers`]: what strangers may put into our diagnostics
//! - [`etf`]: Erlang terms and their bytes
//! - [`match_spec`]: match specifications, the filters of subscribers
//! - [`proto`]: the distribution protocol, without sockets
//! - [`node`]: the same, with sockets and tasks
//! - [`event_log`]: the log: segments, index, cache, cursors
//! - [`instance`]: one event log with all its parts, in the order an event travels
//! - [`app`]: builds everything, stops everything
//! - [`config`], [`cli`]: what the operator writes
//!
//! `ARCHITECTURE.md` has the picture.

pub mod app;
#[cfg(feature = "cli")]
pub mod cli;
pub mod config;
pub mod diagnostics;
pub mod etf;
pub mod event_log;
pub mod instance;
pub mod match_spec;
pub mod metrics;
pub mod node;
pub mod proto;
pub mod strangers;
pub mod time;
