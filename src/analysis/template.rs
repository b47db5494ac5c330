//! What stays the same in texts that somebody logs again and again.

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
