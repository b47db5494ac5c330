//! Erlang terms and their bytes.
//!
//! An event is stored and sent on as the bytes that arrived, so almost nothing here builds a tree.
//! [`walk`] finds where a term ends and whether it is well formed; [`TermRef`] looks inside the bytes in
//! place; [`encode`] writes the few terms that this program makes itself; [`order`] compares terms and
//! [`text`] prints and parses them.
//!
//! Format: External Term Format, ERTS User's Guide. Tags keep the manual's names.

mod abilities;
pub(crate) mod base64;
pub(crate) mod build;
pub(crate) mod canonical;
pub mod decode;
pub mod encode;
mod error;
#[cfg(test)]
mod golden_tests;
pub mod id;
mod inflate;
pub mod json;
mod keys;
pub mod order;
#[cfg(test)]
mod property_tests;
pub(crate) mod stream;
pub mod tag;
pub mod term;
pub mod text;

pub use abilities::Abilities;
pub use decode::{Needs, Walked, walk};
pub use error::DecodeError;
pub use id::{Pid, Reference};
pub use inflate::inflate;
pub use term::{AtomRef, Cells, Elements, ListRef, Pairs, Term, TermBuf, TermRef};

/// How deep terms may nest. A bound on the memory of every walk; OTP itself has none.
pub const MAX_DEPTH: usize = 1024;
