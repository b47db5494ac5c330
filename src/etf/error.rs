//! Why bytes are not a term.

/// Why bytes could not be read as an Erlang term.
///
/// The bytes are at fault, nothing was kept of them; positions count from the first byte given.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// The bytes end inside a term, or a count claims more elements than bytes are left.
    #[error("term is cut short at byte {position}")]
    Truncated {
        /// Where more bytes were due.
        position: usize,
    },
    /// No release from OTP 23 to 29 sends this tag here.
    #[error("unknown term tag {tag} at byte {position}")]
    UnknownTag {
        /// The tag found.
        tag: u8,
        /// Where it was found.
        position: usize,
    },
    /// A field holds what its tag does not allow.
    #[error("malformed {what} at byte {position}")]
    Malformed {
        /// What kind of term it is.
        what: &'static str,
        /// Where the term begins.
        position: usize,
    },
    /// The term nests deeper than [`MAX_DEPTH`](super::MAX_DEPTH).
    #[error("term nests deeper than {limit} at byte {position}")]
    TooDeep {
        /// The deepest level allowed.
        limit: usize,
        /// Where one level more begins.
        position: usize,
    },
    /// A map has a key twice.
    #[error("a map has a key twice")]
    RepeatedKey,
    /// The bytes do not begin with version 131.
    #[error("external term version {found:?} where 131 was due")]
    Version {
        /// The byte found, if any.
        found: Option<u8>,
    },
    /// A compressed term says that it inflates to more than the caller takes.
    #[error("compressed term inflates to {size} bytes, limit is {limit}")]
    TooLarge {
        /// Bytes that it claims to hold.
        size: usize,
        /// The most that the caller takes.
        limit: usize,
    },
    /// Bytes are left after the term.
    #[error("{extra} bytes follow the term")]
    TrailingBytes {
        /// How many.
        extra: usize,
    },
}
