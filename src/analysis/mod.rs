//! What events mean.
//!
//! Pure functions over the bytes of events: whoever reads the log asks them. Nothing here waits, and nothing asks the time.

mod elixir;
mod exception;
#[cfg(test)]
mod golden_tests;
mod report;
pub mod view;
