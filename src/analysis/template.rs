//! What stays the same in texts that somebody logs again and again.
//!
//! What looks like data is left out at once. What does not, names in small letters for instance, shows when a similar text
//! comes from the same place: both are then of the first one's kind. The idea is that of log parsers such as Drain (He et
//! al. 2017).

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

/// So many kinds of texts are told apart at one place; the one that was least recently seen gives way.
const MAX_OF_PLACE: usize = 100;

/// So many kinds are known at least, those of the places that were seen last, and twice as many at most.
const MAX_KINDS: usize = 20_000;

/// The kinds of texts that came from each place.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Kinds {
    /// Those of the places that were seen last.
    recent: Places,
    /// Those of the places that were seen before; they go when there are enough recent ones.
    older: Places,
    /// How many kinds are recent.
    recent_count: usize,
    /// How many texts have been seen.
    texts: u64,
}

type Places = HashMap<String, Vec<Kind>>;

/// A kind of texts from one place, none of which is similar to another.
#[derive(Debug, Serialize, Deserialize)]
struct Kind {
    text: String,
    /// The number of its last text.
    seen: u64,
    #[serde(skip)]
    words: Words,
}

impl Kinds {
    /// Makes what is not stored of it.
    pub(super) fn restore(&mut self) {
        for kind in self.recent.values_mut().chain(self.older.values_mut()).flatten() {
            kind.words = Words::of(&kind.text);
        }
    }

    /// The kind that words from a place are of, if it is known.
    pub(super) fn find(&self, place: &str, words: &str) -> Option<&str> {
        let known = self.recent.get(place).or_else(|| self.older.get(place))?;
        let numbers = Words::of(words);
        // The first one, so that the answer stays the same.
        known.iter().find(|kind| kind.has(words, &numbers)).map(|kind| kind.text.as_str())
    }

    /// The same, which is known from then on.
    pub(super) fn learn(&mut self, place: &str, words: &str) -> String {
        self.texts += 1;
        if !self.recent.contains_key(place) {
            let known = self.older.remove(place).unwrap_or_default();
            self.recent_count += known.len();
            self.recent.insert(place.to_owned(), known);
        }
        let known = self.recent.get_mut(place).expect("it is there by now");
        let numbers = Words::of(words);
        if let Some(kind) = known.iter_mut().find(|kind| kind.has(words, &numbers)) {
            kind.seen = self.texts;
            return kind.text.clone();
        }
        if known.len() >= MAX_OF_PLACE {
            let seen = |(_, kind): &(usize, &Kind)| kind.seen;
            let (oldest, _) = known.iter().enumerate().min_by_key(seen).expect("there are some");
            known.remove(oldest);
            self.recent_count -= 1;
        }
        known.push(Kind { text: words.to_owned(), seen: self.texts, words: numbers });
        self.recent_count += 1;
        if self.recent_count >= MAX_KINDS {
            self.older = std::mem::take(&mut self.recent);
            self.recent_count = 0;
        }
        words.to_owned()
    }
}

impl Kind {
    fn has(&self, text: &str, words: &Words) -> bool {
        self.text == text || (self.words.may_be_similar(words) && is_similar(&self.text, text))
    }
}

/// The words of a text but for what is left out, as numbers: whether two texts cannot be similar shows quickly. To find that a
/// text is of none of 100 kinds takes 1.5 µs so, and 25 µs if all have the same words in other orders.
#[derive(Debug, Default)]
struct Words {
    /// The same word has the same number.
    numbers: [u32; MAX_WORDS],
    count: u32,
    /// For each word the bit of its number modulo 64.
    bits: u64,
}

impl Words {
    fn of(text: &str) -> Self {
        let mut words = Words::default();
        for word in text.split(' ').filter(|word| *word != DATA).take(MAX_WORDS) {
            // FNV-1a.
            let number = word.bytes().fold(0x811c_9dc5, |number: u32, byte| {
                (number ^ u32::from(byte)).wrapping_mul(0x0100_0193)
            });
            words.numbers[words.count as usize] = number;
            words.count += 1;
            words.bits |= 1 << (number % 64);
        }
        words
    }

    fn numbers(&self) -> &[u32] {
        &self.numbers[..self.count as usize]
    }

    /// False where [`is_similar`] is.
    fn may_be_similar(&self, other: &Words) -> bool {
        let longer = self.count.max(other.count);
        let is_enough = |common: u32| 5 * common > 3 * longer;
        let met = || other.numbers().iter().filter(|number| self.bits >> (*number % 64) & 1 == 1);
        is_enough(self.count.min(other.count))
            && is_enough(u32::try_from(met().count()).expect("there are few"))
            && is_enough(self.common(other))
    }

    /// The length of the longest common subsequence: a bit for each word of ours that is not in it yet (Hyyrö 2004).
    fn common(&self, other: &Words) -> u32 {
        let ours = (1 << self.count) - 1;
        let mut left = u32::MAX;
        for number in other.numbers() {
            let equal = |(n, it): (usize, &u32)| u32::from(it == number) << n;
            let places: u32 = self.numbers.iter().enumerate().map(equal).sum();
            let met = left & places & ours;
            left = left.wrapping_add(met) | (left - met);
        }
        (!left).count_ones()
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
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Texts of few words, which have many in common.
        #[test]
        fn what_is_left_out_unseen_is_not_similar(a in "([abcdef_] ){1,15}[ab]", b in "([abcdef_] ){1,15}[ab]") {
            let (words, others) = (Words::of(&a), Words::of(&b));
            prop_assert_eq!(words.common(&others), others.common(&words));
            if a != b {
                prop_assert_eq!(words.may_be_similar(&others), is_similar(&a, &b));
            }
        }
    }

    /// `bounded`: more kinds and places than there may be.
    #[test]
    fn what_was_seen_least_recently_gives_way() {
        let mut kinds = Kinds::default();
        let text = |n: usize| ["a", "b", "c", "d"].map(|word| format!("{word}{n}")).join(" ");
        for n in 0..=MAX_OF_PLACE {
            kinds.learn("f", &text(n));
            kinds.learn("f", &text(0));
        }
        assert_eq!(kinds.find("f", &text(0)), Some(&*text(0)));
        assert_eq!((kinds.find("f", &text(1)), kinds.recent_count), (None, MAX_OF_PLACE));
        for n in 0..3 * MAX_KINDS {
            kinds.learn(&format!("g{n}"), &text(n));
            if n % 1000 == 0 {
                kinds.learn("f", &text(0));
            }
        }
        assert_eq!(kinds.find("f", &text(0)), Some(&*text(0)));
        assert_eq!(kinds.find("g0", &text(0)), None);
        // What is similar to the last ones is of their kind.
        let n = 2 * MAX_KINDS + 1;
        assert_eq!(kinds.learn(&format!("g{n}"), &format!("{} e", text(n))), text(n));
        let count = |places: &Places| places.values().map(Vec::len).sum::<usize>();
        assert!(count(&kinds.recent) + count(&kinds.older) <= 2 * MAX_KINDS);
        let stored = postcard::to_allocvec(&kinds).unwrap();
        let mut again: Kinds = postcard::from_bytes(&stored).unwrap();
        again.restore();
        assert_eq!(again.find("f", &format!("{} e", text(0))), Some(&*text(0)));
    }

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
