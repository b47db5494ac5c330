//! logmachine: a durable event log that joins an Erlang cluster as a hidden node.
//!
//! This is the library, for programs that have such a node, or only its log, inside them; most people run the program
//! `logmachine`. What is listed here is the interface. The modules behind it are public for the program, its benchmarks and
//! its fuzz targets alone, and change from day to day.
//!
//! ```
//! use logmachine::{App, EpmdMode, InstanceConfig, Selection, Settings, SyncMode};
//!
//! # #[tokio::main]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let dir = tempfile::tempdir()?;
//! let mut orders = InstanceConfig::new("orders", &dir.path().join("orders"));
//! orders.recorder.sync = SyncMode::Always;
//! let mut settings = Settings::new("shop@127.0.0.1", "a cookie").expect("a node's name");
//! // Nobody has to find this node.
//! settings.epmd = EpmdMode::None;
//! settings.instances.push(orders);
//!
//! let app = App::start(settings).await?;
//! let orders = app.instances()["orders"].clone();
//! let stamped = orders.append(&["{paid, 1}".parse()?]).await?;
//! let page = orders.read(Selection::starting(stamped.first)).await?;
//! assert_eq!(page.entries[0].event.to_string(), "{paid,1}");
//! app.stop().await?;
//! # Ok(())
//! # }
//! ```
//!
//! # The code
//!
//! Modules in reading order; a module uses modules to its left, never beside it or to its right:
//!
//! `time` < `metrics, diagnostics, planted` < `strangers, outgoing` < `etf` < `event_log, match_spec, proto` < `store` < `node` <
//! `instance` < `analysis` < `watchers` < `api` < `app, config, cli`
//!
//! - `time`: timestamps, and the only place that asks what time it is
//! - `metrics`: every counter
//! - `diagnostics`: what the program says of itself, on its way to standard error
//! - `planted`: faults that only a test build has, to test the tests
//! - `strangers`: what strangers may put into our diagnostics
//! - `outgoing`: what the HTTP requests that we send have in common
//! - `etf`: Erlang terms and their bytes
//! - `event_log`: the log in files: segments, index, cache, cursors
//! - `match_spec`: match specifications, the filters of subscribers
//! - `proto`: the distribution protocol, without sockets
//! - `store`: what an instance needs of the place where its log is kept; so far that is files
//! - `node`: the protocol with sockets and tasks
//! - `instance`: one event log with all its parts, in the order an event travels
//! - `analysis`: what events mean
//! - `watchers`: tasks that read nodes and logs and write what they make of them to instances of their own
//! - `api`: the same logs over HTTP
//! - `app`: builds everything, stops everything
//! - `config`, `cli`: what the operator writes
//!
//! `ARCHITECTURE.md` has the picture.

#[doc(hidden)]
pub mod analysis;
#[cfg(feature = "http")]
#[doc(hidden)]
pub mod api;
#[doc(hidden)]
pub mod app;
#[cfg(feature = "cli")]
#[doc(hidden)]
pub mod cli;
#[cfg(feature = "cli")]
#[doc(hidden)]
pub mod config;
#[doc(hidden)]
pub mod diagnostics;
#[doc(hidden)]
pub mod etf;
#[doc(hidden)]
pub mod event_log;
#[doc(hidden)]
pub mod instance;
#[doc(hidden)]
pub mod match_spec;
#[doc(hidden)]
pub mod metrics;
#[doc(hidden)]
pub mod node;
#[cfg(feature = "http")]
mod outgoing;
mod planted;
#[doc(hidden)]
pub mod proto;
#[doc(hidden)]
pub mod store;
#[doc(hidden)]
pub mod strangers;
#[doc(hidden)]
pub mod time;
#[doc(hidden)]
pub mod watchers;

#[cfg(feature = "http")]
pub use api::{HttpConfig, HttpError, Role, TlsFiles, Token};
pub use app::{App, AppError, Settings, StopError};
pub use etf::text::TextError;
pub use etf::{DecodeError, Pid, Reference, Term, TermBuf, TermRef};
pub use instance::info::InstanceInfo;
pub use instance::read::{Entry, Page, ReadFailure};
pub use instance::reader::{Order, Selection};
pub use instance::recorder::RecorderConfig;
pub use instance::subscription::{Method, Subscriber, Subscription};
pub use instance::{AppendError, Instance, InstanceConfig, Overload, Stamped, SyncMode};
pub use match_spec::{CompileError, Limits, MatchSpec};
pub use node::epmd::Mode as EpmdMode;
pub use node::{Node, NodeConfig};
pub use proto::NodeName;
pub use store::{LogConfig, ReadError};
pub use time::Timestamp;
