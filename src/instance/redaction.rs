//! Keeps secrets out of the log: values whose names say that they are secret never get there.
//!
//! What is captured holds whatever a process had in its state or its arguments when it failed. A name is the key of a map
//! (an Elixir struct is one), or the first element of a pair, as in property lists and keyword lists: an atom, a binary or a
//! string. Values inside closures, and names within a text that was formatted already, are out of reach.

use std::borrow::Cow;

use crate::etf::stream::Stream;
use crate::etf::tag::{MAP_EXT, SMALL_TUPLE_EXT};
use crate::etf::{Term, TermRef, encode};
use crate::node::listener::glob_matches;

/// Names longer than this are no names.
const MAX_NAME_BYTES: usize = 255;

/// Whose values are replaced.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Redaction {
    /// In lower case; `*` stands for anything.
    names: Vec<String>,
}

impl Redaction {
    /// For names in which `*` stands for anything; whether they are in upper or lower case does not matter.
    pub fn new(names: &[String]) -> Self {
        Redaction { names: names.iter().map(|name| name.to_lowercase()).collect() }
    }

    /// Whether no name is secret.
    pub const fn is_none(&self) -> bool {
        self.names.is_empty()
    }

    /// The event with `'[redacted]'` for what is secret in it. Costs a walk, and a copy where something is.
    pub(crate) fn apply<'a>(&self, event: TermRef<'a>) -> Cow<'a, [u8]> {
        let bytes = event.bytes();
        if self.is_none() {
            return Cow::Borrowed(bytes);
        }
        let mut out = Vec::new();
        // Up to where the event was copied.
        let mut copied = 0;
        let mut stream = Stream::new(event);
        let mut replace = |stream: &mut Stream<'_>| {
            let begin = bytes.len() - stream.left().len();
            stream.term();
            out.extend_from_slice(&bytes[copied..begin]);
            encode::atom(&mut out, "[redacted]");
            copied = bytes.len() - stream.left().len();
        };
        // What is open: how many terms are due, and whether they are a map's keys and values.
        let mut open: Vec<(u64, bool)> = vec![(1, false)];
        while let Some((due, is_map)) = open.last_mut() {
            if *due == 0 {
                open.pop();
                continue;
            }
            *due -= 1;
            if *is_map && *due % 2 == 1 {
                let key = stream.term();
                if self.is_secret(key) {
                    *due -= 1;
                    replace(&mut stream);
                }
                continue;
            }
            match stream.left() {
                [SMALL_TUPLE_EXT, 2, ..] => {
                    stream.step();
                    let mut ahead = stream;
                    if self.is_secret(ahead.term()) {
                        stream = ahead;
                        replace(&mut stream);
                    } else {
                        open.push((2, false));
                    }
                }
                [tag, ..] => {
                    let is_map = *tag == MAP_EXT;
                    open.push((stream.step(), is_map));
                }
                [] => unreachable!("a walked term has all its parts"),
            }
        }
        if copied == 0 {
            return Cow::Borrowed(bytes);
        }
        out.extend_from_slice(&bytes[copied..]);
        Cow::Owned(out)
    }

    /// Whether this is the name of something secret.
    fn is_secret(&self, name: TermRef<'_>) -> bool {
        let name = match name.view() {
            Term::Atom(atom) => atom.to_str(),
            Term::Binary(bytes) | Term::String(bytes) if bytes.len() <= MAX_NAME_BYTES => {
                String::from_utf8_lossy(bytes)
            }
            _ => return false,
        };
        let name = name.to_lowercase();
        self.names.iter().any(|glob| glob_matches(glob, &name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::etf::{TermBuf, text};

    fn redacted(names: &[&str], event: &str) -> String {
        let names: Vec<String> = names.iter().map(ToString::to_string).collect();
        let event = text::parse(event).expect("a term");
        let bytes = Redaction::new(&names).apply(event.as_term()).into_owned();
        TermBuf::new(bytes).expect("still one term").to_string()
    }

    #[test]
    fn values_with_secret_names_are_replaced_wherever_they_are() {
        const NAMES: [&str; 3] = ["password", "*secret*", "*_key"];
        let check = |event: &str, expected: &str| {
            assert_eq!(redacted(&NAMES, event), expected.replace('R', "'[redacted]'"), "{event}");
        };
        check("#{password => <<\"x\">>,user => a}", "#{password => R,user => a}");
        check("[{password,\"x\"},{user,b}]", "[{password,R},{user,b}]");
        check("{\"Password\",1}", "{\"Password\",R}");
        check("#{<<\"API_KEY\">> => {1,[2]}}", "#{<<\"API_KEY\">> => R}");
        check(
            "{a,#{my_secrets => #{b => 1},c => [{private_key,1,2}]},d}",
            "{a,#{my_secrets => R,c => [{private_key,1,2}]},d}",
        );
        check("[{a,{b,{aws_key,[1|2]}}}|{secret,1}]", "[{a,{b,{aws_key,R}}}|{secret,R}]");
        check("{password,{password,1}}", "{password,R}");
        check(
            "#{{password,1} => 2,#{password => 1} => {password,2}}",
            "#{{password,1} => 2,#{password => 1} => {password,R}}",
        );
        for same in [
            "password",
            "{password}",
            "{1,password}",
            "#{a => password}",
            "[]",
            "\"password\"",
            "{passwords,1}",
            "#{}",
        ] {
            check(same, same);
            let event = text::parse(same).expect("a term");
            assert!(matches!(
                Redaction::new(&["x".into()]).apply(event.as_term()),
                Cow::Borrowed(_)
            ));
        }
        assert_eq!(redacted(&[], "{password,1}"), "{password,1}");
        assert_eq!(
            redacted(&["*"], "[{a,1},#{b => 2}]"),
            "[{a,'[redacted]'},#{b => '[redacted]'}]"
        );
    }
}
