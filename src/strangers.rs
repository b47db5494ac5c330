//! What strangers may put into our diagnostics: how many lines, and which characters.
//!
//! Whoever can reach a port of ours can cause a line: a failed handshake, a refused call, a malformed packet.
//! A flood of them must neither fill a disk nor hide what matters, and none may look like lines of ours.
//!
//! # Invariants
//!
//! - `few_lines`: of one kind at most `shown` lines are written in [`PERIOD`], then one that says how many more
//!   there were. While a flood lasts, one line a period stands for it.
//! - `one_line`: what a stranger says stays on its line: see [`Escaped`].

use std::fmt::{self, Display};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use tracing::{debug, warn};

use crate::time::monotonic;

/// Within which lines of one kind are counted.
pub const PERIOD: Duration = Duration::from_secs(60);

/// Handshakes that failed, whoever called.
pub static HANDSHAKES: Lines = Lines::new("handshakes that failed or were refused", 10);
/// Calls, spawn requests and functions that we do not have.
pub static REFUSALS: Lines = Lines::new("requests to run something, refused", 10);
/// Packets that broke the protocol, and events that are no terms.
pub static MALFORMED: Lines = Lines::new("malformed packets or events", 20);
/// Nodes that connect and go: a whole cluster may do so at once.
pub static CONNECTIONS: Lines = Lines::new("connections made or ended", 400);
/// Connections that the system did not let us accept.
pub static ACCEPTS: Lines = Lines::new("connections that could not be accepted", 5);
/// Requests to our port mapper that it refused.
pub static PORT_MAPPER: Lines = Lines::new("refusals of our port mapper", 10);
/// Everything else that our port mapper is asked; of interest at the level `debug` only.
pub static REQUESTS: Lines = Lines::detail("requests to our port mapper", 100);
/// Ports that `local` does not call because of whose they are.
pub static LOCAL: Lines = Lines::new("nodes of this host that are not called", 10);
/// HTTP requests without a token that is accepted.
pub static HTTP: Lines = Lines::new("HTTP requests refused", 10);

const ALL: [&Lines; 9] = [
    &HANDSHAKES,
    &REFUSALS,
    &MALFORMED,
    &CONNECTIONS,
    &ACCEPTS,
    &PORT_MAPPER,
    &REQUESTS,
    &LOCAL,
    &HTTP,
];

/// How often it is looked whether a period is over.
const LOOK: Duration = Duration::from_secs(1);

/// Lines of one kind that strangers can cause.
pub struct Lines {
    what: &'static str,
    shown: u32,
    /// Whether they are at the level `debug`, and so is their sum.
    is_detail: bool,
    window: Mutex<Window>,
}

struct Window {
    /// When the first line of the period was asked for.
    began: Option<Instant>,
    /// Lines that may still be written in it.
    left: u32,
    /// Lines that were not written.
    more: u64,
}

impl Lines {
    const fn new(what: &'static str, shown: u32) -> Self {
        let window = Window { began: None, left: shown, more: 0 };
        Lines { what, shown, is_detail: false, window: Mutex::new(window) }
    }

    const fn detail(what: &'static str, shown: u32) -> Self {
        let window = Window { began: None, left: shown, more: 0 };
        Lines { what, shown, is_detail: true, window: Mutex::new(window) }
    }

    /// Whether one more line may be written; it is counted otherwise.
    pub fn admit(&self) -> bool {
        self.admit_at(monotonic())
    }

    fn admit_at(&self, now: Instant) -> bool {
        let mut window = self.window.lock().expect("no panic while the window is held");
        window.began.get_or_insert(now);
        match window.left.checked_sub(1) {
            Some(left) => window.left = left,
            None => window.more += 1,
        }
        window.more == 0
    }

    /// At the end of a period: how many lines were not written, if any. `at_once` ends the period now.
    fn close(&self, now: Instant, at_once: bool) -> Option<u64> {
        let mut window = self.window.lock().expect("no panic while the window is held");
        if !at_once && now < window.began? + PERIOD {
            return None;
        }
        let more = window.more;
        // While it goes on, the next period shows one.
        let left = if more == 0 { self.shown } else { 1 };
        *window = Window { began: (more > 0).then_some(now), left, more: 0 };
        (more > 0).then_some(more)
    }
}

/// Says how many lines were not written, as periods end; for ever.
pub async fn sum_up() {
    loop {
        tokio::time::sleep(LOOK).await;
        write_sums(monotonic(), false);
    }
}

/// Says it before the program ends.
pub fn sum_up_now() {
    write_sums(monotonic(), true);
}

fn write_sums(now: Instant, at_once: bool) {
    for lines in ALL {
        let Some(more) = lines.close(now, at_once) else { continue };
        let (seconds, what) = (PERIOD.as_secs(), lines.what);
        if lines.is_detail {
            debug!("{more} more like this in the last {seconds} s: {what}");
        } else {
            warn!("{more} more like this in the last {seconds} s: {what}");
        }
    }
}

/// Text of a stranger, for a line of diagnostics: without line ends, control characters and whatever else changes
/// how a terminal shows the rest, and not longer than an atom.
pub struct Escaped<'a>(pub &'a str);

/// The longest text shown, an atom's length.
const MAX_SHOWN_CHARS: usize = 255;

impl Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.char_indices().nth(MAX_SHOWN_CHARS) {
            Some((end, _)) => write!(f, "{}...", Plain(&self.0[..end])),
            None => write!(f, "{}", Plain(self.0)),
        }
    }
}

/// The same, however long: for who asked to see it.
pub struct Plain<'a>(pub &'a str);

impl Display for Plain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rest = self.0;
        while let Some((at, c)) = rest.char_indices().find(|(_, c)| !is_plain(*c)) {
            write!(f, "{}{}", &rest[..at], c.escape_default())?;
            rest = &rest[at + c.len_utf8()..];
        }
        f.write_str(rest)
    }
}

/// Whether a character stands for itself on a terminal and changes nothing else: no control character, no separator of
/// lines or paragraphs, no mark that turns the direction of writing.
pub fn is_plain(c: char) -> bool {
    let is_invisible = matches!(c, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}');
    !c.is_control() && !is_invisible
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `few_lines`: a flood of three periods, then silence.
    #[test]
    fn a_flood_is_a_few_lines_and_sums_that_add_up() {
        let lines = Lines::new("x", 10);
        let begin = monotonic();
        let (mut written, mut summed) = (0, 0);
        for milli in 0..180_000 {
            let now = begin + Duration::from_millis(milli);
            written += u64::from(lines.admit_at(now));
            summed += lines.close(now, false).unwrap_or(0);
        }
        let later = begin + Duration::from_secs(300);
        summed += lines.close(later, false).unwrap_or(0);
        assert_eq!(written + summed, 180_000, "every one is written or counted");
        assert!(written <= 13, "{written}");
        // After a quiet period the first ones are shown again.
        assert_eq!(lines.close(later + PERIOD, false), None);
        assert!((0..10).all(|_| lines.admit_at(later + PERIOD)));
        assert!(!lines.admit_at(later + PERIOD));
        assert_eq!(lines.close(later + PERIOD, true), Some(1), "at the end of the program");
    }

    /// `one_line`.
    #[test]
    fn text_of_strangers_stays_on_its_line() {
        for (text, shown) in [
            ("a\nb\r\u{85}c\u{2028}", r"a\nb\r\u{85}c\u{2028}"),
            ("\u{1b}[2Jx\u{202e}", r"\u{1b}[2Jx\u{202e}"),
            ("grüße \"日本\" \\", "grüße \"日本\" \\"),
        ] {
            assert_eq!(Escaped(text).to_string(), shown);
        }
        assert_eq!(Escaped(&"x".repeat(1000)).to_string().len(), 258);
    }
}
