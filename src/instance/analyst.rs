//! Who answers what is asked of an instance and is not in its log: what its events mean, all together.
//!
//! The modules that know are to the right of here; whoever starts them tells the instance.

use std::pin::Pin;
use std::sync::Arc;

use super::Instance;
use crate::etf::TermBuf;

/// What can be asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Question {
    /// `{faults, Options}`.
    Faults,
    /// `{explain, Options}`.
    Explain,
}

/// The answer, when it is there.
pub type Answer = Pin<Box<dyn Future<Output = TermBuf> + Send>>;

/// Whoever knows.
pub trait Analyst: Send + Sync {
    /// Answers `{ok, _}`, or `{error, _}`.
    fn answer(&self, instance: &Arc<Instance>, question: Question, options: TermBuf) -> Answer;
}
