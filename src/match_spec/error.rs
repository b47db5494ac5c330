//! Why a term is no match specification.

use crate::etf::{TermRef, encode, text};

/// The most bytes of the offending part that an error's text shows.
const SHOWN_BYTES: usize = 200;

/// Why a term is no match specification, and which part of it.
///
/// The specification is at fault; nothing was kept of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CompileError {
    /// Where the part is: the clause, in it the head, guards or body, and so on inwards, each counted from 1.
    /// Keys and values of a map are counted one after the other. Empty for the whole specification.
    pub path: Vec<u32>,
    /// What is wrong with it.
    pub problem: Problem,
    /// The part, a term without version byte.
    pub part: Box<[u8]>,
}

/// What is wrong with a part of a match specification.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Problem {
    /// The specification is no proper list of at least one clause.
    #[error("a match spec is a list of clauses")]
    Spec,
    /// The specification has too many bytes.
    #[error("match spec of {bytes} bytes, limit is {limit}")]
    TooLarge {
        /// Bytes of the specification.
        bytes: usize,
        /// The most allowed.
        limit: usize,
    },
    /// The clause is no tuple of head, guards and body.
    #[error("a clause is {{Head, Guards, Body}}")]
    Clause,
    /// The guards are no proper list.
    #[error("guards are a list")]
    Guards,
    /// The body is no proper list of at least one expression.
    #[error("a body is a list of at least one expression")]
    Body,
    /// The variable does not occur in the head.
    #[error("variable is not bound in the head")]
    Unbound,
    /// The key of a map in a head is a variable or `'_'`.
    #[error("a key of a map in a head cannot be a variable")]
    VariableKey,
    /// The tuple is neither a function call nor written in double braces.
    #[error("neither a function call nor a tuple, which is written {{{{...}}}}")]
    Call,
    /// There is no such function for match specifications of an event log.
    #[error("no function {name}/{arity} here")]
    Function {
        /// The function's name, as it was written.
        name: String,
        /// Its number of arguments.
        arity: usize,
    },
}

impl Problem {
    /// A name for the problem, an atom in what an Erlang caller gets.
    pub const fn reason(&self) -> &'static str {
        match self {
            Problem::Spec => "not_a_match_spec",
            Problem::TooLarge { .. } => "too_large",
            Problem::Clause => "not_a_clause",
            Problem::Guards => "not_a_guard_list",
            Problem::Body => "not_a_body",
            Problem::Unbound => "unbound_variable",
            Problem::VariableKey => "variable_key",
            Problem::Call => "not_a_call",
            Problem::Function { .. } => "unknown_function",
        }
    }
}

impl CompileError {
    /// Appends `{Path, Reason, Part}`: a list of integers, an atom, and the offending part, which is left
    /// out (`[]`) if the whole specification was too large.
    pub fn write_term(&self, out: &mut Vec<u8>) {
        encode::tuple_header(out, 3);
        encode::list(out, self.path.iter(), |out, &step| encode::integer(out, i64::from(step)));
        encode::atom(out, self.problem.reason());
        out.extend_from_slice(&self.part);
    }
}

impl std::error::Error for CompileError {}

impl std::fmt::Display for CompileError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.problem)?;
        if !self.path.is_empty() {
            write!(f, " at {:?}: ", self.path)?;
            text::write_term(f, TermRef::from_walked(&self.part), SHOWN_BYTES)?;
        }
        Ok(())
    }
}
