//! The instance as Erlang code sees it: requests that come as terms, and the terms that answer them.
//!
//! Nothing else of an instance but the messages of its sessions knows how something is written as a term.

pub(crate) mod answer;
pub mod request;
