//! What events mean.
//!
//! Pure functions over the bytes of events: whoever reads the log asks them. Nothing here waits, and nothing asks the time.

pub mod alert_event;
pub mod alerts;
mod behaviour;
pub mod deployment;
mod distinct;
mod elixir;
mod exception;
pub mod explain;
pub mod facts;
mod failure;
pub mod fault;
#[cfg(test)]
mod fault_corpus;
pub mod fault_event;
pub mod fault_rule;
pub mod fingerprint;
#[cfg(test)]
mod golden_tests;
pub mod grep;
pub mod grouping;
mod id;
pub mod inventory;
pub mod kind;
pub mod occurrence;
mod origin;
pub(crate) mod pairs;
mod platform;
mod report;
pub mod rule;
pub mod series;
mod shape;
pub mod silences;
mod template;
mod told;
pub mod tracker;
pub mod view;
pub mod window;
pub mod window_value;
