//! What the operator says of which errors are the same fault.

use crate::etf::text::{Lines, Printer};
use crate::etf::{AtomRef, Term, TermRef};
use crate::match_spec::{MatchSpec, Outcome, Scratch};

/// The most bytes of what a rule makes of an event.
const MAX_BYTES: usize = 200;

/// So many steps a rule may take for an event, of about 20 ns each.
const MAX_STEPS: u64 = 100_000;

/// Errors that a match spec takes are one fault for each text that is made of its result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FaultRule {
    /// Which errors.
    pub spec: MatchSpec,
    /// The text, in which `$1` stands for the result.
    pub fingerprint: String,
}

/// The fault's name, if a rule takes the event: the first that does decides.
pub(super) fn named(rules: &[FaultRule], event: TermRef<'_>) -> Option<String> {
    rules.iter().find_map(|rule| {
        let mut result = Vec::new();
        let outcome =
            rule.spec.run_within(&mut Scratch::default(), event, &mut result, &mut { MAX_STEPS });
        if outcome != Outcome::Result {
            return None;
        }
        let mut name = filled(&rule.fingerprint, &text(TermRef::from_walked(&result)));
        name.truncate(name.floor_char_boundary(MAX_BYTES));
        Some(name)
    })
}

/// The text with the result in the place of `$1`, but not of the beginning of `$10`.
fn filled(fingerprint: &str, result: &str) -> String {
    let mut parts = fingerprint.split("$1");
    let mut name = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let is_other = part.starts_with(|next: char| next.is_ascii_digit());
        name.push_str(if is_other { "$1" } else { result });
        name.push_str(part);
    }
    name
}

fn text(term: TermRef<'_>) -> String {
    let mut out = Printer::new(MAX_BYTES, Lines::One, None);
    match term.view() {
        Term::Atom(_) => {
            return term.as_atom().map(AtomRef::to_str).unwrap_or_default().into_owned();
        }
        Term::Binary(_) | Term::String(_) => out.chardata(term),
        _ => out.term(term),
    }
    out.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_result_takes_the_place_of_the_first_variable_alone() {
        for (fingerprint, name) in [
            ("x", "x"),
            ("", ""),
            ("$1", "it"),
            ("on $1, $1.", "on it, it."),
            ("$10 for $1", "$10 for it"),
            ("$2$1$11$", "$2it$11$"),
        ] {
            assert_eq!(filled(fingerprint, "it"), name, "{fingerprint}");
        }
    }
}
