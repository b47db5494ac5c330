//! `logmachine tail`: the end of a running node's log, and what comes.
//!
//! Following is a loop around one stream of server-sent events: whatever ends it, the next one goes on right behind the last
//! entry that was taken whole. Only what the node refuses for good ends the loop.
//!
//! # Invariants
//!
//! - `exactly_once`: the place only moves forward, with an entry that came whole; one that is not behind it was there before.
//! - `whole`: of an entry whose end has not come nothing is shown.

use std::io::{BufRead, BufReader, IsTerminal, Read};
use std::time::Duration;

use clap::Args;
use rustix::event::{PollFd, PollFlags, poll};
use tracing::{info, warn};

use super::Failure;
use super::output::Output;
use super::selection::{Entry, Order, Search, Selection};
use crate::time::{Timestamp, pause};

/// Entries that are shown unless told.
const LINES: usize = 10;

/// How long it is waited before the connection is made again; twice as long each time, as nothing comes.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// The longest line of a stream: the JSON of an event can be several times as long as the event.
const MAX_LINE_BYTES: u64 = 256 << 20;

#[derive(Args)]
pub(super) struct Tail {
    #[command(flatten)]
    selection: Selection,
    /// Go on with what comes, until --until or for ever; connects again by itself, without gap or repeat
    #[arg(short, long)]
    follow: bool,
}

impl Tail {
    pub(super) fn run(self) -> Result<(), Failure> {
        let selection = &self.selection;
        let search = selection.begin()?;
        let mut output = Output::new(selection.output);
        // Whoever says where to begin wants all from there on, if it goes on.
        let is_all = self.follow && selection.has_begin() && selection.lines.is_none();
        let mut place = search.reached();
        if is_all {
            place = search.since.previous();
        } else {
            let lines = selection.lines.unwrap_or(LINES);
            search.print(Some(lines), Order::OldestFirst, &mut output)?;
        }
        output.flush()?;
        if self.follow && search.until.is_none_or(|until| place < until) {
            end_with_reader();
            let mut follower = Follower { search: &search, output: &mut output, place };
            follower.run()?;
            place = search.until.map_or(follower.place, |until| until.max(follower.place));
        }
        output.finish(selection.show_cursor.then_some(place))
    }
}

/// Ends this program when nobody reads its output any more, also while there is nothing to write.
fn end_with_reader() {
    if std::io::stdout().is_terminal() {
        return;
    }
    let watch = || {
        let output = std::io::stdout();
        // Asks for nothing, so that only the end of the other side is told.
        let mut watched = [PollFd::new(&output, PollFlags::empty())];
        while poll(&mut watched, None).is_ok() {
            if watched[0].revents().intersects(PollFlags::ERR | PollFlags::HUP) {
                std::process::exit(0);
            }
        }
    };
    // Without it the next entry shows that nobody reads.
    let _ = std::thread::Builder::new().name("reader".into()).spawn(watch);
}

/// Takes what comes.
struct Follower<'a> {
    search: &'a Search<'a>,
    output: &'a mut Output,
    /// Everything up to it has been shown.
    place: Timestamp,
}

/// Why a stream is over.
enum Over {
    /// All that is selected has come.
    Complete,
    /// The connection broke, or the node ends.
    Broken(String),
    /// Nothing can be written any more.
    Failed(Failure),
}

impl Follower<'_> {
    fn run(&mut self) -> Result<(), Failure> {
        let client = &self.search.client;
        let mut address = self.search.address("stream");
        if let Some(until) = self.search.until {
            address = address.with("to", &until.micros().to_string());
        }
        let (mut is_lost, mut wait) = (false, FIRST_PAUSE);
        loop {
            let why = match client.try_stream(&address, &self.place.micros().to_string()) {
                Ok(mut stream) => {
                    if is_lost {
                        info!("connected again");
                        is_lost = false;
                    }
                    let mut has_come = false;
                    let over = self.take(&mut stream, &mut has_come);
                    self.output.flush()?;
                    if has_come {
                        wait = FIRST_PAUSE;
                    }
                    match over {
                        Over::Failed(failure) => return Err(failure),
                        Over::Complete => return Ok(()),
                        Over::Broken(why) => why,
                    }
                }
                Err(trouble) if client.may_pass(&trouble) => trouble.to_string(),
                Err(trouble) => return Err(client.failure(&trouble)),
            };
            if !is_lost {
                warn!("connection lost: {why}; trying again");
                is_lost = true;
            }
            pause(wait);
            wait = (wait * 2).min(LONGEST_PAUSE);
        }
    }

    /// Takes events until the stream is over. `has_come`: an event or a comment.
    fn take(&mut self, stream: &mut BufReader<impl Read>, has_come: &mut bool) -> Over {
        let mut event = Event::default();
        let mut line = Vec::new();
        loop {
            // What follows may take its time.
            if !stream.buffer().windows(2).any(|end| end == b"\n\n")
                && let Err(failure) = self.output.flush()
            {
                return Over::Failed(failure);
            }
            line.clear();
            match stream.by_ref().take(MAX_LINE_BYTES).read_until(b'\n', &mut line) {
                Ok(_) if line.ends_with(b"\n") && event.data.len() as u64 <= MAX_LINE_BYTES => {}
                Ok(bytes) if bytes as u64 >= MAX_LINE_BYTES || line.ends_with(b"\n") => {
                    return Over::Broken("what comes is no entry".to_owned());
                }
                Ok(_) => return Over::Broken("it was closed".to_owned()),
                Err(error) => return Over::Broken(error.to_string()),
            }
            let Ok(text) = str::from_utf8(&line) else {
                return Over::Broken("what comes is no text".to_owned());
            };
            *has_come |= text.starts_with(['d', ':']);
            if !event.take_line(text.trim_end_matches(['\r', '\n'])) {
                continue;
            }
            match std::mem::take(&mut event) {
                Event { kind, data, .. } if kind == "error" => {
                    let said: Option<String> = serde_json::from_str(&data).ok();
                    return Over::Broken(said.unwrap_or(data));
                }
                Event { kind, .. } if kind == "end" => return Over::Complete,
                Event { data, .. } if data.is_empty() => {}
                Event { data, .. } => {
                    if let Err(failure) = self.show(&data) {
                        return Over::Failed(failure);
                    }
                }
            }
        }
    }

    /// Shows an entry that is behind the place (`exactly_once`).
    fn show(&mut self, json: &str) -> Result<(), Failure> {
        let entry = Entry::parse(json)?;
        if entry.timestamp() <= self.place {
            return Ok(());
        }
        self.output.entry(&entry)?;
        self.place = entry.timestamp();
        Ok(())
    }
}

/// A server-sent event as it comes, line by line (HTML Living Standard, "Server-sent events").
#[derive(Default)]
struct Event {
    kind: String,
    data: String,
}

impl Event {
    /// Whether the line ends the event (`whole`).
    fn take_line(&mut self, line: &str) -> bool {
        if line.is_empty() {
            return true;
        }
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "event" => value.clone_into(&mut self.kind),
            "data" => {
                if !self.data.is_empty() {
                    self.data.push('\n');
                }
                self.data.push_str(value);
            }
            // A comment has no name. The id is the entry's timestamp.
            _ => {}
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Comments, fields without a space or a value, data of two lines, and what nobody knows.
    #[test]
    fn an_event_is_whole_at_its_empty_line() {
        let mut event = Event::default();
        for line in
            [":", ": comment", "retry: 1000", "id: 7", "data: {", "data:}", "event: error", "new"]
        {
            assert!(!event.take_line(line), "{line}");
        }
        assert!(event.take_line(""));
        assert_eq!((&*event.kind, &*event.data), ("error", "{\n}"));
    }
}
