//! What events mean.
//!
//! Pure functions over the bytes of events: whoever reads the log asks them. Nothing here waits, and nothing asks the time.

mod behaviour;
mod elixir;
mod exception;
pub mod explain;
pub mod facts;
mod failure;
#[cfg(test)]
mod golden_tests;
pub mod kind;
mod report;
pub mod view;
