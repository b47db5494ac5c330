//! What to capture, and where: `locate_em`, `handler`, `capture` and `logger_level` of an instance's configuration.

use serde::Deserialize;

use crate::etf::{Term, TermRef, text};
use crate::node::listener::glob_matches;

/// The handler module that is uploaded where the configuration names no other.
pub const OWN_HANDLER: &str = "logmachine_forwarder";

/// The original's handler module, and the name that ours had at first. Where a node has one of this name that is
/// not ours, it is used if the configuration says so; elsewhere ours stands for it.
pub const ORIGINAL_HANDLER: &str = "logmachine_event_handler";

/// The event manager that OTP's own reports go to.
pub const ERROR_LOGGER: &str = "error_logger";

/// How an instance captures.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Capture {
    /// The event manager, and the nodes to look for it.
    pub target: Target,
    /// The `gen_event` module to install; [`OWN_HANDLER`] is uploaded, also for [`ORIGINAL_HANDLER`] where that
    /// isn't; any other has to be there.
    pub handler: String,
    /// Through what.
    pub mode: Mode,
    /// From which level on events are captured. Of event managers, only what `error_logger` gets has levels.
    pub logger_level: LoggerLevel,
    /// The filters it asks for, a term.
    pub logger_filters: LoggerFilters,
    /// Whether another instance of this node has a handler of the same module in the same manager: the
    /// handler's id then tells the instance too.
    pub is_shared: bool,
}

/// `capture`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// A `gen_event` handler, and for `error_logger` also a `logger` handler for what it never sees.
    #[default]
    Auto,
    /// A `gen_event` handler alone.
    GenEvent,
    /// A `logger` handler alone, which forwards every log event.
    Logger,
}

/// `logger_level`: this level and what is more severe. A node's primary level decides before.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs, reason = "the levels are those of OTP's logger")]
pub enum LoggerLevel {
    All,
    Debug,
    Info,
    #[default]
    Notice,
    Warning,
    Error,
    Critical,
    Alert,
    Emergency,
}

/// `logger_filters`: `[{Id, {fun Module:Function/2, Extra}}]`, what `logger:add_handler/3` takes. A filter runs on the
/// node that logs, so its function has to be there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoggerFilters(Box<[u8]>);

impl Default for LoggerFilters {
    fn default() -> Self {
        LoggerFilters(TermRef::NIL.to_bytes())
    }
}

impl LoggerFilters {
    /// Takes a term of that form.
    pub fn parse(term: TermRef<'_>) -> Option<Self> {
        let is_filter = |filter: TermRef<'_>| {
            let [id, action] = filter.as_tuple()?;
            let [function, _extra] = action.as_tuple()?;
            let is_function = matches!(function.view(), Term::Export { arity: 2, .. });
            (id.as_atom().is_some() && is_function).then_some(())
        };
        term.as_list()?
            .all(|filter| is_filter(filter).is_some())
            .then(|| LoggerFilters(term.to_bytes()))
    }

    /// Appends the filters as `logger:add_handler/3` takes them.
    pub fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.0);
    }
}

impl LoggerLevel {
    /// The atom that `logger` knows it by.
    pub fn name(self) -> &'static str {
        match self {
            LoggerLevel::All => "all",
            LoggerLevel::Debug => "debug",
            LoggerLevel::Info => "info",
            LoggerLevel::Notice => "notice",
            LoggerLevel::Warning => "warning",
            LoggerLevel::Error => "error",
            LoggerLevel::Critical => "critical",
            LoggerLevel::Alert => "alert",
            LoggerLevel::Emergency => "emergency",
        }
    }
}

/// `locate_em`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// The name the event manager is registered under.
    pub manager: String,
    /// Whether a manager that only `global` knows by this name is meant too.
    pub is_global: bool,
    /// On which nodes.
    pub nodes: Nodes,
}

/// Which nodes to look on; entries are node names with `*` for anything.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Nodes {
    /// All visible ones.
    All,
    /// These; a hidden node too, if it is named without `*`.
    Only(Vec<String>),
    /// All visible ones but these.
    Except(Vec<String>),
}

impl Target {
    /// From the text of a term, as TOML has it; `None` if it has none of the forms.
    pub fn parse(text: &str) -> Option<Self> {
        Self::from_term(text::parse(text).ok()?.as_term())
    }

    /// From `{local, EM}`, `{global, EM}`, `{global, EM, {inc, Nodes}}`, `{global, EM, {exc, Nodes}}`,
    /// `{global, EM, exc_local}`, or `EM` as the original's first versions had it.
    pub fn from_term(term: TermRef<'_>) -> Option<Self> {
        let (scope, manager, nodes) = if let Some([scope, manager]) = term.as_tuple() {
            (scope, manager, Nodes::All)
        } else if let Some([scope, manager, nodes]) = term.as_tuple() {
            if !scope.is_atom("global") {
                return None;
            }
            (scope, manager, Nodes::from_term(nodes)?)
        } else {
            let manager = term.as_atom()?.to_str().into_owned();
            return Some(Target { manager, is_global: false, nodes: Nodes::All });
        };
        let is_global = scope.is_atom("global");
        if !is_global && !scope.is_atom("local") {
            return None;
        }
        Some(Target { manager: manager.as_atom()?.to_str().into_owned(), is_global, nodes })
    }

    /// Whether to look for the manager on this node.
    pub fn wants(&self, node: &str, is_visible: bool) -> bool {
        let listed = |globs: &[String]| globs.iter().any(|glob| glob_matches(glob, node));
        match &self.nodes {
            Nodes::All => is_visible,
            Nodes::Only(globs) if is_visible => listed(globs),
            Nodes::Only(names) => names.iter().any(|name| name == node),
            Nodes::Except(globs) => is_visible && !listed(globs),
        }
    }
}

impl Nodes {
    fn from_term(term: TermRef<'_>) -> Option<Self> {
        if term.is_atom("exc_local") {
            // This node has no event managers of its own to leave out.
            return Some(Nodes::All);
        }
        let [which, list] = term.as_tuple()?;
        let names = list.as_list()?.map(|name| Some(name.as_atom()?.to_str().into_owned()));
        let names = names.collect::<Option<Vec<_>>>()?;
        if which.is_atom("inc") {
            Some(Nodes::Only(names))
        } else if which.is_atom("exc") {
            Some(Nodes::Except(names))
        } else {
            None
        }
    }
}

impl Capture {
    /// Captures `target` with the handler and mode that are used unless configured.
    pub fn new(target: Target) -> Self {
        let handler = OWN_HANDLER.to_owned();
        let (mode, logger_level, logger_filters) = Default::default();
        Capture { target, handler, mode, logger_level, logger_filters, is_shared: false }
    }

    /// What an instance captures when nobody configured any.
    pub fn of_error_logger() -> Self {
        let manager = ERROR_LOGGER.to_owned();
        Capture::new(Target { manager, is_global: false, nodes: Nodes::All })
    }

    /// Whether the manager is `error_logger`, which OTP starts only on demand.
    pub fn is_error_logger(&self) -> bool {
        self.target.manager == ERROR_LOGGER
    }

    /// Whether the handler is ours, wherever the node has none of the original's.
    pub fn is_own_handler(&self) -> bool {
        self.handler == OWN_HANDLER || self.handler == ORIGINAL_HANDLER
    }

    /// Whether a `gen_event` handler is wanted.
    pub fn wants_manager(&self) -> bool {
        self.mode != Mode::Logger
    }

    /// Whether a `logger` handler is wanted.
    pub fn wants_logger(&self) -> bool {
        self.mode == Mode::Logger || (self.mode == Mode::Auto && self.is_error_logger())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_originals_forms_are_read() {
        let names = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect();
        for (text, is_global, nodes) in [
            ("{local, em}", false, Nodes::All),
            ("em", false, Nodes::All),
            ("{global, em}", true, Nodes::All),
            ("{global, em, exc_local}", true, Nodes::All),
            ("{global, em, {inc, [a@h, '*@10.*']}}", true, Nodes::Only(names(&["a@h", "*@10.*"]))),
            ("{global, em, {exc, []}}.", true, Nodes::Except(Vec::new())),
        ] {
            let manager = "em".to_owned();
            assert_eq!(Target::parse(text), Some(Target { manager, is_global, nodes }), "{text}");
        }
        for text in ["", "{em}", "{local, 1}", "{local, em, exc_local}", "{global, em, {inc, a}}"] {
            assert_eq!(Target::parse(text), None, "{text}");
        }
    }

    #[test]
    fn constraints_choose_nodes() {
        for (nodes, name, is_visible, expected) in [
            ("exc_local", "a@h", true, true),
            ("exc_local", "a@h", false, false),
            ("{inc, ['a@*', b@h]}", "a@h", true, true),
            ("{inc, ['a@*', b@h]}", "a@h", false, false),
            ("{inc, ['a@*', b@h]}", "b@h", false, true),
            ("{inc, ['a@*', b@h]}", "c@h", true, false),
            ("{exc, ['a@*']}", "a@h", true, false),
            ("{exc, ['a@*']}", "c@h", true, true),
            ("{exc, ['a@*']}", "c@h", false, false),
        ] {
            let target = Target::parse(&format!("{{global, em, {nodes}}}")).unwrap();
            assert_eq!(target.wants(name, is_visible), expected, "{nodes} {name} {is_visible}");
        }
    }
}
