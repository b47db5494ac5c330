//! What stays the same in texts that somebody logs again and again.
//!
//! What looks like data is left out at once. What does not, names in small letters for instance, shows when a similar text
//! comes from the same place: both are then of the first one's kind. The idea is that of log parsers such as Drain (He et
//! al. 2017).

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

/// So many kinds of texts are told apart at one place, and so many at all.
const MAX_OF_PLACE: usize = 100;
const MAX_KINDS: usize = 20_000;

/// The kinds of texts that came from each place.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Kinds {
    by_place: HashMap<String, Vec<String>>,
    count: usize,
}

impl Kinds {
    /// The kind that words from a place are of, if it is known.
    pub(super) fn find(&self, place: &str, words: &str) -> Option<&str> {
        let known = self.by_place.get(place)?;
        // The first one, so that the answer stays the same.
        known.iter().find(|kind| is_similar(kind, words)).map(String::as_str)
    }

    /// The same, which is known from then on.
    pub(super) fn learn(&mut self, place: &str, words: &str) -> String {
        if let Some(kind) = self.find(place, words) {
            return kind.to_owned();
        }
        if self.count < MAX_KINDS {
            let known = self.by_place.entry(place.to_owned()).or_default();
            if known.len() < MAX_OF_PLACE {
                known.push(words.to_owned());
                self.count += 1;
            }
        }
        words.to_owned()
    }
}

/// Whether more than 60 % of the words of the longer text are in the other one, in the same order.
fn is_similar(a: &str, b: &str) -> bool {
    if a == b {
        return true;
    }
    let [a, b] =
        [a, b].map(|text| -> Vec<&str> { text.split(' ').filter(|word| *word != DATA).collect() });
    // The longest common subsequence, row by row.
    let mut row = vec![0; b.len() + 1];
    for x in &a {
        let mut before = 0;
        for (n, y) in b.iter().enumerate() {
            let above = row[n + 1];
            row[n + 1] = if x == y { before + 1 } else { above.max(row[n]) };
            before = above;
        }
    }
    5 * row[b.len()] > 3 * a.len().max(b.len())
}

/// So many words tell a text.
const MAX_WORDS: usize = 16;

/// Stands for what is left out.
const DATA: &str = "_";

/// The words of a text's first line, with `_` for each run of words that look like data: what holds digits or quotes, is
/// a path, an address or a value behind `=`, or is written large within a sentence.
pub(super) fn of_text(text: &str) -> String {
    let line = text.lines().find(|line| !line.trim().is_empty()).unwrap_or_default();
    let mut out: Vec<&str> = Vec::new();
    let mut quoted_until = None;
    let mut begins_sentence = true;
    for word in line.split_whitespace() {
        let bare = word
            .trim_matches(|c: char| c.is_ascii_punctuation() && c != '_' && c != '<' && c != '=');
        let is_data = match quoted_until {
            Some(quote) => {
                if word.trim_end_matches([',', '.', ':', ';', ')']).ends_with(quote) {
                    quoted_until = None;
                }
                true
            }
            None => {
                let opened = word.chars().next().filter(|c| matches!(c, '"' | '\'' | '`' | '“'));
                if let Some(quote) = opened {
                    let closing = if quote == '“' { '”' } else { quote };
                    let rest = &word[quote.len_utf8()..];
                    if !rest.contains(closing) {
                        quoted_until = Some(closing);
                    }
                }
                opened.is_some() || is_data(bare, word, begins_sentence)
            }
        };
        begins_sentence = word.ends_with([':', '.', '!', '?', '-', ']', '}']);
        let kept = if is_data { DATA } else { bare };
        if kept.is_empty() || (kept == DATA && out.last() == Some(&DATA)) {
            continue;
        }
        out.push(kept);
        if out.len() == MAX_WORDS {
            break;
        }
    }
    out.join(" ")
}

fn is_data(bare: &str, word: &str, begins_sentence: bool) -> bool {
    let marks = |c: char| {
        c.is_ascii_digit()
            || matches!(c, '@' | '/' | '\\' | '<' | '#' | '{' | '[' | '%' | '"' | '=')
    };
    word.contains(marks)
        || (!begins_sentence
            && bare.chars().next().is_some_and(char::is_uppercase)
            && !bare.contains('.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn similar_texts_of_one_place_are_of_one_kind() {
        let mut kinds = Kinds::default();
        for (text, kind) in [
            ("user bob has no address", "user bob has no address"),
            ("user alice has no address", "user bob has no address"),
            ("payment declined for bob", "payment declined for bob"),
            ("payment timed out for bob", "payment timed out for bob"),
            ("user _ not found", "user _ not found"),
            ("user _ is blocked", "user _ is blocked"),
        ] {
            assert_eq!(kinds.learn("shop:f/1", text), kind);
        }
        assert_eq!(kinds.find("another:f/1", "user bob has no address"), None);
    }

    #[test]
    fn data_in_a_text_is_left_out() {
        for (text, template) in [
            ("user 17 not found", "user _ not found"),
            ("payment of 12.50 EUR failed: declined\nmore", "payment of _ failed declined"),
            ("cannot open \"/var/my file\", giving up", "cannot open _ giving up"),
            ("mail to ann@example.org bounced", "mail to _ bounced"),
            ("order id=77 amount=3 lost", "order _ lost"),
            ("Could not charge Alice Smith today", "Could not charge _ today"),
            ("", ""),
            ("process <0.1.2> is gone", "process _ is gone"),
        ] {
            assert_eq!(of_text(text), template, "{text}");
        }
    }
}
