//! Our own diagnostics, on their way to standard error.
//!
//! Whoever reads standard error may be slow, stuck or gone, and the disk behind it may be full. None of that may
//! stop the node: a line is queued by whoever has something to say, without waiting, and written by a thread that
//! does nothing else. What finds the queue full or cannot be written is counted, and said once writing works again.
//!
//! `tracing-appender` does much of this with `crossbeam-channel` and `time`; it bounds lines, not bytes, does not say
//! what it lost, and prints to standard output, which may panic, when its queue is full at the end.
//!
//! # Invariants
//!
//! - `never_waits`: nobody but the writing thread touches standard error, and the queue's lock is held only to copy.
//! - `never_fails`: no way through this module panics; a line that can't be kept is a number.
//! - `bounded`: at most `QUEUE_BYTES` wait, and as many are being written.

use std::any::Any;
use std::io::{self, Write};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread;
use std::time::Duration;

use tracing::{error, warn};
use tracing_subscriber::EnvFilter;

/// How much may wait for a reader: some thousand lines.
const QUEUE_BYTES: usize = 1 << 20;

/// How long the end of the program, for one, waits for what is still queued.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// Between two tries where standard error is set not to block.
const TRY_AGAIN: Duration = Duration::from_millis(20);

/// Sends diagnostics from `level` on, and the words of a panic, to standard error: as JSON objects or as lines for
/// people, with `colours` or without. The first call counts.
pub fn start(json: bool, level: tracing::Level, colours: bool) {
    let others = level.min(tracing::Level::WARN);
    let builder = tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::new(format!("logmachine={level},{others}")))
        // Its own complaints would go to standard error straight, and panic there.
        .log_internal_errors(false)
        .with_writer(standard_error);
    let result = if json {
        builder.json().try_init()
    } else {
        builder.with_ansi(colours).with_target(false).try_init()
    };
    debug_assert!(result.is_ok(), "diagnostics are set up once");
    std::panic::set_hook(Box::new(|panic| {
        let thread = thread::current();
        let name = thread.name().unwrap_or("unnamed").to_owned();
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        // Quoted, so that a line break in it starts no line of its own.
        let words = panic.payload_as_str().unwrap_or("no words");
        error!(thread = name, place, "panic: {words:?}");
        let trace = std::backtrace::Backtrace::capture();
        if trace.status() == std::backtrace::BacktraceStatus::Captured {
            error!("{trace}");
        }
    }));
}

/// A line of the program's own, outside of any diagnostics: why it ends.
pub fn complain(line: &str) {
    standard_error().take(format!("{line}\n").as_bytes());
}

/// Gives the writing thread a moment to write what is queued.
pub fn flush() {
    if let Some(queue) = QUEUE.get() {
        queue.flush(LAST_WORDS);
    }
}

/// What a panic said.
pub fn panic_words(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(ToString::to_string);
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "no words".into())
}

static QUEUE: OnceLock<Queue> = OnceLock::new();

/// The queue to standard error, with its thread.
fn standard_error() -> Queue {
    let queue = QUEUE.get_or_init(|| {
        let queue = Queue::default();
        let writing = queue.clone();
        let thread = thread::Builder::new().name("diagnostics".into());
        // Without a thread to spare, diagnostics are counted and the node runs.
        let _ = thread.spawn(move || writing.write_to(io::stderr()));
        queue
    });
    queue.clone()
}

/// Lines on their way to a writer.
#[derive(Clone, Default)]
struct Queue(Arc<Shared>);

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    /// Lines came in, or were written.
    changed: Condvar,
}

#[derive(Default)]
struct State {
    /// Whole lines.
    waiting: Vec<u8>,
    writing: bool,
    /// Lines that nobody will see.
    lost: u64,
}

impl Queue {
    fn state(&self) -> MutexGuard<'_, State> {
        // A panic elsewhere leaves at worst half a line.
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Queues one entry. Lines of it after the first are indented: whatever brought a line break in, it cannot pass
    /// for an entry of its own.
    fn take(&self, entry: &[u8]) {
        let mut state = self.state();
        if state.waiting.len() + entry.len() > QUEUE_BYTES {
            state.lost += 1;
            return;
        }
        for (number, line) in entry.trim_ascii_end().split(|byte| *byte == b'\n').enumerate() {
            if number > 0 {
                state.waiting.push(b'\t');
            }
            state.waiting.extend_from_slice(line);
            state.waiting.push(b'\n');
        }
        self.0.changed.notify_all();
    }

    /// Waits until all is written, or for `patience`; whether it is.
    fn flush(&self, patience: Duration) -> bool {
        let is_busy = |state: &mut State| state.writing || !state.waiting.is_empty();
        let waited = self.0.changed.wait_timeout_while(self.state(), patience, is_busy);
        !waited.unwrap_or_else(PoisonError::into_inner).1.timed_out()
    }

    /// Writes what comes, for ever.
    fn write_to(&self, mut output: impl Write) {
        let mut lines = Vec::new();
        loop {
            self.next(&mut lines);
            let written = write_all(&mut output, &lines);
            let unwritten = lines[written..].iter().filter(|byte| **byte == b'\n').count() as u64;
            let lost = {
                let mut state = self.state();
                state.writing = false;
                state.lost += unwritten;
                self.0.changed.notify_all();
                if unwritten == 0 { std::mem::take(&mut state.lost) } else { 0 }
            };
            if lost > 0 {
                warn!("{lost} diagnostics lines lost");
            }
        }
    }

    /// Waits for lines and takes them all.
    fn next(&self, lines: &mut Vec<u8>) {
        lines.clear();
        let mut state = self.state();
        while state.waiting.is_empty() {
            state = self.0.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        std::mem::swap(&mut state.waiting, lines);
        state.writing = true;
    }
}

/// How much of `bytes` went out; the rest can't, for now.
fn write_all(output: &mut impl Write, bytes: &[u8]) -> usize {
    let mut written = 0;
    while written < bytes.len() {
        match output.write(&bytes[written..]) {
            Ok(0) => break,
            Ok(n) => written += n,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            // Set by somebody who shares the terminal or pipe with us.
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                crate::time::pause(TRY_AGAIN)
            }
            Err(_) => break,
        }
    }
    written
}

impl Write for Queue {
    fn write(&mut self, entry: &[u8]) -> io::Result<usize> {
        self.take(entry);
        Ok(entry.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[test]
    fn a_line_break_starts_no_entry() {
        let queue = Queue::default();
        queue.take(b"WARN refused x\n2026 INFO all is well\n");
        queue.take(b"next\n");
        let mut lines = Vec::new();
        queue.next(&mut lines);
        assert_eq!(lines, b"WARN refused x\n\t2026 INFO all is well\nnext\n");
    }

    /// Waits in each write for leave to go on, or for a reason to fail.
    struct Slow {
        leave: mpsc::Receiver<io::Result<()>>,
        seen: mpsc::Sender<Vec<u8>>,
    }

    impl Write for Slow {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            match self.leave.recv() {
                Ok(Ok(())) => {
                    self.seen.send(bytes.to_vec()).expect("the test reads");
                    Ok(bytes.len())
                }
                Ok(Err(error)) => Err(error),
                // The test is over.
                Err(_) => loop {
                    thread::park();
                },
            }
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// A writer that is stuck with the first line while ten times the queue's size comes in, fails once, and goes on.
    #[test]
    fn a_stuck_and_then_failing_writer_costs_lines_that_are_counted_and_no_time() {
        let queue = Queue::default();
        let (leave, given) = mpsc::channel();
        let (seen, sees) = mpsc::channel();
        let writing = queue.clone();
        thread::spawn(move || writing.write_to(Slow { leave: given, seen }));
        queue.take(b"first\n");
        while !queue.state().writing {
            thread::yield_now();
        }
        let line = [vec![b'x'; 1023], vec![b'\n']].concat();
        for _ in 0..10 * QUEUE_BYTES / line.len() {
            queue.take(&line);
        }
        let kept = (QUEUE_BYTES / line.len()) as u64;
        assert_eq!(queue.state().lost, 9 * kept);
        assert_eq!(queue.state().waiting.len(), QUEUE_BYTES, "bounded");
        assert!(!queue.flush(Duration::ZERO));
        leave.send(Ok(())).unwrap();
        assert_eq!(sees.recv().unwrap(), b"first\n");
        leave.send(Err(io::ErrorKind::StorageFull.into())).unwrap();
        queue.flush(Duration::from_secs(30));
        // What was lost until the first line was out was said; nobody listens to `tracing` here.
        assert_eq!(queue.state().lost, kept);
        leave.send(Err(io::ErrorKind::WouldBlock.into())).unwrap();
        leave.send(Err(io::ErrorKind::Interrupted.into())).unwrap();
        leave.send(Ok(())).unwrap();
        queue.take(b"last\n");
        assert_eq!(sees.recv().unwrap(), b"last\n");
        assert!(queue.flush(Duration::from_secs(30)));
        assert_eq!(queue.state().lost, 0);
    }
}
