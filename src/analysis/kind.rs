//! How severe an event is, and what it is about.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::etf::{AtomRef, Term, TermRef};

/// How severe an event is, as `logger` has it. The more severe one is greater.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[allow(missing_docs, reason = "the names are logger's")]
pub enum Level {
    Debug,
    Info,
    Notice,
    Warning,
    Error,
    Critical,
    Alert,
    Emergency,
}

impl Level {
    /// All of them, the least severe first.
    pub const ALL: [Level; 8] = [
        Level::Debug,
        Level::Info,
        Level::Notice,
        Level::Warning,
        Level::Error,
        Level::Critical,
        Level::Alert,
        Level::Emergency,
    ];

    /// The level's name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Level::Debug => "debug",
            Level::Info => "info",
            Level::Notice => "notice",
            Level::Warning => "warning",
            Level::Error => "error",
            Level::Critical => "critical",
            Level::Alert => "alert",
            Level::Emergency => "emergency",
        }
    }

    /// The level of this name.
    pub fn named(name: &str) -> Option<Self> {
        Level::ALL.into_iter().find(|level| level.as_str() == name)
    }

    /// Whether an event may be of level `error` or worse: a look at how it begins, some 30 ns.
    pub(super) fn may_be_error(event: TermRef<'_>) -> bool {
        let Term::Tuple(mut elements) = event.view() else { return false };
        match elements.len() {
            3 => {
                let tag = elements.next().and_then(TermRef::as_atom);
                tag.is_some_and(|tag| tag.is("error") || tag.is("error_report"))
            }
            5 => elements.nth(2).and_then(Level::of).is_some_and(|level| level >= Level::Error),
            _ => false,
        }
    }

    pub(super) fn of(term: TermRef<'_>) -> Option<Self> {
        let name = term.as_atom()?;
        Level::ALL.into_iter().find(|level| name.is(level.as_str()))
    }

    /// What the tag of an event of `error_logger` means, with the type of a report.
    pub(super) fn of_tag(tag: AtomRef<'_>, what: TermRef<'_>) -> Option<Self> {
        Some(match &*tag.to_str() {
            "error" | "error_report" => Level::Error,
            "warning_msg" | "warning_report" => Level::Warning,
            "info_report" if what.is_atom("progress") => Level::Info,
            "info_report" | "info_msg" | "info" => Level::Notice,
            _ => return None,
        })
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What an event is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Kind {
    /// Somebody logged something.
    Log,
    /// A process crashed: a crash report, or the emulator's word for a process without one.
    Crash,
    /// A generic server, state machine or event handler terminates.
    GenServer,
    /// A supervisor tells of a child that ended, or did not start.
    Supervisor,
    /// A task of Elixir's terminates.
    Task,
    /// A supervisor or an application has started something.
    Progress,
    /// An alarm was set or cleared.
    Alarm,
    /// Events were lost on their way to us.
    Dropped,
}

impl Kind {
    /// All of them, in the order of their numbers.
    pub const ALL: [Kind; 8] = [
        Kind::Log,
        Kind::Crash,
        Kind::GenServer,
        Kind::Supervisor,
        Kind::Task,
        Kind::Progress,
        Kind::Alarm,
        Kind::Dropped,
    ];

    /// The kind's name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Kind::Log => "log",
            Kind::Crash => "crash",
            Kind::GenServer => "gen_server",
            Kind::Supervisor => "supervisor",
            Kind::Task => "task",
            Kind::Progress => "progress",
            Kind::Alarm => "alarm",
            Kind::Dropped => "dropped",
        }
    }

    /// The kind of this name.
    pub fn named(name: &str) -> Option<Self> {
        Kind::ALL.into_iter().find(|kind| kind.as_str() == name)
    }

    /// What a format of OTP's own, or of Elixir's tasks, is about, by how it begins.
    pub(super) fn of_format(format: &str) -> Self {
        const BEGINNINGS: [(&str, Kind); 5] = [
            ("** Generic server ", Kind::GenServer),
            ("** State machine ", Kind::GenServer),
            ("** gen_event handler ", Kind::GenServer),
            ("** Task ", Kind::Task),
            ("Error in process ", Kind::Crash),
        ];
        Self::beginning(&BEGINNINGS, format)
    }

    /// What a text that Elixir made of OTP's words is about, by how it begins.
    pub(super) fn of_elixir(text: &str) -> Self {
        const BEGINNINGS: [(&str, Kind); 7] = [
            ("GenServer ", Kind::GenServer),
            (":gen_statem ", Kind::GenServer),
            (":gen_event handler ", Kind::GenServer),
            ("Task ", Kind::Task),
            ("Process ", Kind::Crash),
            ("Child ", Kind::Supervisor),
            ("Children ", Kind::Supervisor),
        ];
        Self::beginning(&BEGINNINGS, text)
    }

    fn beginning(beginnings: &[(&str, Kind)], text: &str) -> Self {
        let found = beginnings.iter().find(|(beginning, _)| text.starts_with(beginning));
        found.map_or(Kind::Log, |(_, kind)| *kind)
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
