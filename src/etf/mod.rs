//! Erlang terms and their bytes.
//!
//! An event is stored and sent on as the bytes that arrived, so almost nothing here builds a tree.
//! [`walk`] finds where a term ends and whether it is well formed; [`TermRef`] looks inside the bytes in
//! place; [`encode`] writes the few terms that this program makes itself.
//!
//! Format: External Term Format, ERTS User's Guide. Tags keep the manual's names.

pub mod decode;
pub mod encode;
mod error;
pub mod id;
pub mod tag;
pub mod term;

pub use decode::{Needs, Walked, walk};
pub use error::DecodeError;
pub use id::{Pid, Reference};
pub use term::{AtomRef, Elements, ListRef, Pairs, Term, TermRef};

/// How deep terms may nest. A bound on the memory of every walk; OTP itself has none.
pub const MAX_DEPTH: usize = 1024;
