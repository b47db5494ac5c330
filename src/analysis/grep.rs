//! Regular expressions that people write, for the texts of events.

use regex::Regex;

/// The longest regular expression, and the most memory that one may take when it is compiled.
pub const MAX_GREP_BYTES: usize = 4096;
const MAX_REGEX_BYTES: usize = 1 << 20;

/// Compiles it.
///
/// # Errors
///
/// What is wrong with it, in one line.
pub fn compile(written: &str) -> Result<Regex, String> {
    if written.len() > MAX_GREP_BYTES {
        return Err(format!(
            "a regular expression of {} bytes, limit is {MAX_GREP_BYTES}",
            written.len()
        ));
    }
    let regex = regex::RegexBuilder::new(written).size_limit(MAX_REGEX_BYTES).build();
    regex.map_err(|wrong| {
        // The lines before the last one show where, in letters of one width.
        let wrong = wrong.to_string();
        let what = wrong.lines().last().unwrap_or_default().trim_start_matches("error: ");
        what.to_owned()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refused_regular_expression_is_told_in_one_line() {
        for (written, wrong) in [("(", "unclosed group"), ("a{100}{100}{100}", "size limit")] {
            let refusal = compile(written).unwrap_err();
            assert!(refusal.contains(wrong) && !refusal.contains('\n'), "{refusal}");
        }
        assert!(compile(&"a".repeat(MAX_GREP_BYTES + 1)).is_err());
    }
}
