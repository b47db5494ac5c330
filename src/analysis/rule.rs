//! What the operator wants to be told of: which events, how many of them or how long none, and one alert for each of what.

use std::cell::OnceCell;
use std::fmt::{self, Write as _};

use regex::Regex;

use super::alert_event::MAX_TEXT_BYTES;
use super::alerts::Unasked;
use super::facts::Facts;
use super::kind::Level;
use super::view::View;
use super::window::Key;
use crate::etf::{Term, TermBuf, TermRef, encode, text};
use crate::match_spec::{MatchSpec, Outcome, Scratch};

/// The most events that a rule counts.
pub const MAX_COUNT: usize = 100_000;

/// Keys that a rule tells apart, at most.
const MAX_KEYS: usize = 10_000;

/// Memory of a rule, about, and that of a key besides its events.
const STATE_BYTES: usize = 64 << 20;
const KEY_BYTES: usize = 400;

/// So many steps the match spec may take for an event, of about 20 ns each.
const MAX_STEPS: u64 = 100_000;

/// The most bytes of a text that is searched, of events of no known shape.
const MAX_SEARCHED_BYTES: usize = 1 << 20;

/// When it is so that there is an alert.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Condition {
    /// There are at least so many events.
    Count {
        /// So many.
        count: usize,
        /// In so many microseconds.
        within: u64,
    },
    /// There is none.
    Absent {
        /// For so many microseconds.
        after: u64,
    },
}

/// What there is an alert each for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum By {
    /// A field of the view.
    Field(Field),
    /// What the match spec makes of the event.
    Result,
}

/// A field of the view.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names are those of a view")]
pub enum Field {
    Node,
    Level,
    Kind,
    Module,
    Function,
    Pid,
    RegisteredName,
    Reason,
    Message,
    /// The id of the fault that is told of.
    Fault,
}

impl Field {
    /// All of them.
    pub const ALL: [Field; 10] = [
        Field::Node,
        Field::Level,
        Field::Kind,
        Field::Module,
        Field::Function,
        Field::Pid,
        Field::RegisteredName,
        Field::Reason,
        Field::Message,
        Field::Fault,
    ];

    /// Its name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Field::Node => "node",
            Field::Level => "level",
            Field::Kind => "kind",
            Field::Module => "module",
            Field::Function => "function",
            Field::Pid => "pid",
            Field::RegisteredName => "registered_name",
            Field::Reason => "reason",
            Field::Message => "message",
            Field::Fault => "fault",
        }
    }

    /// Whether those who tell of a fault have it.
    pub const fn is_of_faults(self) -> bool {
        matches!(self, Field::Node | Field::Level | Field::Kind | Field::Message | Field::Fault)
    }
}

/// Which news of faults.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names are those of states")]
pub enum FaultNews {
    New,
    Regressed,
}

impl FaultNews {
    /// Its name.
    pub const fn as_str(self) -> &'static str {
        match self {
            FaultNews::New => "new",
            FaultNews::Regressed => "regressed",
        }
    }
}

/// Who is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Receiver {
    /// A webhook of this name.
    Webhook(String),
    /// A process of the cluster.
    Process(Destination),
}

/// As it is written in the configuration.
impl fmt::Display for Receiver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Receiver::Webhook(name) => write!(f, "webhook:{name}"),
            Receiver::Process(Destination { to, is_cast }) => {
                write!(f, "{}:{to}", if *is_cast { "cast" } else { "erlang" })
            }
        }
    }
}

/// A process that is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Destination {
    /// The term that names it, as it was written: `{global, Name}` or `{Name, Node}`.
    pub to: TermBuf,
    /// Whether the event comes as `gen_server:cast` sends it, and not as it is.
    pub is_cast: bool,
}

/// A rule.
#[derive(Clone, Debug)]
pub struct Rule {
    /// Its name, and that of its alerts.
    pub name: String,
    /// The instance whose events, or faults, it is about.
    pub instance: String,
    /// Which events, and what is made of them; `None`: whatever else is asked.
    pub spec: Option<(MatchSpec, TermBuf)>,
    /// Those of this level or worse.
    pub level: Option<Level>,
    /// Those whose texts have this in them.
    pub grep: Option<Regex>,
    /// News of faults, instead of events.
    pub fault: Option<FaultNews>,
    /// When there is an alert.
    pub condition: Condition,
    /// For how many microseconds it has to be so.
    pub hold: u64,
    /// What there is an alert each for; `None`: one for all.
    pub by: Option<By>,
    /// How bad it is.
    pub severity: Level,
    /// What people are told, with `$message`, `$count`, `$by`, `$node` in it; `None`: what suits.
    pub text: Option<String>,
    /// Who is told.
    pub notify: Vec<Receiver>,
}

/// An event that many rules are asked about. What one has found out about it no other has to.
pub struct Sight<'a> {
    event: TermRef<'a>,
    facts: OnceCell<Option<Facts<'a>>>,
    texts: OnceCell<[String; 2]>,
}

impl<'a> Sight<'a> {
    /// Nothing is looked at yet.
    pub const fn of(event: TermRef<'a>) -> Self {
        Sight { event, facts: OnceCell::new(), texts: OnceCell::new() }
    }

    fn facts(&self) -> Option<Facts<'a>> {
        *self.facts.get_or_init(|| Facts::of(self.event))
    }

    /// Message and detail, or the text of the term.
    fn texts(&self) -> &[String; 2] {
        self.texts.get_or_init(|| match self.facts().map(Facts::view) {
            Some(View { message, detail, .. }) => [message, detail],
            None => {
                let mut text = String::new();
                text::write_term(&mut text, self.event, MAX_SEARCHED_BYTES)
                    .expect("strings take everything");
                [text, String::new()]
            }
        })
    }
}

/// Memory that one event leaves for the next.
#[derive(Default)]
pub struct Working {
    scratch: Scratch,
    result: Vec<u8>,
}

impl Rule {
    /// The instance whose entries it is asked about.
    pub fn reads(&self) -> &str {
        if self.fault.is_some() { "faults" } else { &self.instance }
    }

    /// How long after an event it plays no part any more, in microseconds.
    pub const fn horizon(&self) -> u64 {
        self.hold
            + match self.condition {
                Condition::Count { within, .. } => within,
                Condition::Absent { after } => after,
            }
    }

    /// How many keys are told apart.
    pub fn max_keys(&self) -> usize {
        let stamps = match self.condition {
            Condition::Count { count, .. } => count,
            Condition::Absent { .. } => 0,
        };
        (STATE_BYTES / (KEY_BYTES + stamps * size_of::<u64>())).clamp(1, MAX_KEYS)
    }

    /// All that decides about alerts; where it is another one, what was known does not go on.
    pub fn definition(&self) -> String {
        let Rule { instance, level, fault, condition, hold, by, .. } = self;
        let mut text = format!("{instance} {level:?} {fault:?} {condition:?} {hold} {by:?}");
        if let Some(grep) = &self.grep {
            write!(text, " grep {grep}").expect("strings take everything");
        }
        if let Some((_, term)) = &self.spec {
            write!(text, " match {term:?}").expect("strings take everything");
        }
        text
    }

    /// Whether it takes an event, and whose it is then.
    ///
    /// Costs some 50 ns for a level or a match spec that asks for another tag; some µs where texts are searched.
    ///
    /// # Errors
    ///
    /// [`Unasked`]: it would take it, or might, but cannot.
    pub fn takes(&self, sight: &Sight<'_>, working: &mut Working) -> Result<Option<Key>, Unasked> {
        if self.fault.is_some() {
            return self.takes_fault(sight, working);
        }
        if let Some(level) = self.level
            && sight.facts().is_none_or(|facts| facts.level() < level)
        {
            return Ok(None);
        }
        if !self.matches(sight.event, working)? {
            return Ok(None);
        }
        if let Some(grep) = &self.grep
            && !sight.texts().iter().any(|text| grep.is_match(text))
        {
            return Ok(None);
        }
        match self.by {
            None => Ok(Some(Key::Other)),
            Some(By::Result) => Ok(Some(Key::of(TermRef::from_walked(&working.result)))),
            Some(By::Field(field)) => {
                let value = sight.facts().and_then(|facts| of_view(facts, field));
                let value = value.ok_or(Unasked::WithoutKey)?;
                Ok(Some(Key::of(value.as_term())))
            }
        }
    }

    /// The same of what is told of a fault: `{fault, Id, new, #{...}}`.
    fn takes_fault(
        &self,
        sight: &Sight<'_>,
        working: &mut Working,
    ) -> Result<Option<Key>, Unasked> {
        let Some(news) = self.fault else { return Ok(None) };
        let Some([tag, id, state, about]) = sight.event.as_tuple() else { return Ok(None) };
        let get = |key| about.map_get(key);
        let is_of = |key, wanted: &str| {
            get(key).and_then(TermRef::as_binary).is_some_and(|it| it == wanted.as_bytes())
        };
        let is_wanted = tag.is_atom("fault")
            && state.is_atom(news.as_str())
            && matches!(about.view(), Term::Map(_))
            && is_of("instance", &self.instance);
        let is_level = || {
            let level = get("level").and_then(Level::of);
            self.level.is_none_or(|least| level.is_some_and(|level| level >= least))
        };
        let has_text = || {
            let title = get("title").and_then(TermRef::as_binary).unwrap_or_default();
            let title = String::from_utf8_lossy(title);
            self.grep.as_ref().is_none_or(|grep| grep.is_match(&title))
        };
        if !is_wanted || !is_level() || !has_text() || !self.matches(sight.event, working)? {
            return Ok(None);
        }
        let key = match self.by {
            // Each is something to mend by itself.
            None | Some(By::Field(Field::Fault)) => Some(id),
            Some(By::Result) => Some(TermRef::from_walked(&working.result)),
            Some(By::Field(Field::Message)) => get("title"),
            Some(By::Field(field)) => get(field.as_str()),
        };
        key.map(|key| Some(Key::of(key))).ok_or(Unasked::WithoutKey)
    }

    /// Whether the match spec takes it; what it makes of it is in `working` then.
    fn matches(&self, event: TermRef<'_>, working: &mut Working) -> Result<bool, Unasked> {
        let Some((spec, _)) = &self.spec else { return Ok(true) };
        let Working { scratch, result } = working;
        result.clear();
        match spec.run_within(scratch, event, result, &mut { MAX_STEPS }) {
            Outcome::Result => Ok(true),
            Outcome::NoMatch => Ok(false),
            Outcome::Budget | Outcome::Unfinished => Err(Unasked::OverBudget),
        }
    }

    /// What an alert of a key is of; `None` where there is one for all.
    pub fn value(&self, key: &Key) -> Option<TermBuf> {
        match key {
            Key::Term(bytes) => Some(TermRef::from_walked(bytes).to_buf()),
            Key::Other => self.by.map(|_| TermBuf::written(|out| encode::atom(out, "other"))),
        }
    }

    /// What people are told. `entry` is the last event that the alert is of, if the log still has it.
    pub fn words(&self, by: Option<TermRef<'_>>, count: u64, entry: Option<TermRef<'_>>) -> String {
        let sight = entry.map(Sight::of);
        let title = |event: TermRef<'_>| {
            let [.., about] = event.as_tuple::<4>()?;
            Some(String::from_utf8_lossy(about.map_get("title")?.as_binary()?).into_owned())
        };
        let message = || match &sight {
            None => String::new(),
            Some(sight) if self.fault.is_some() => title(sight.event).unwrap_or_default(),
            Some(sight) => sight.texts()[0].clone(),
        };
        let by = by.map(plain).unwrap_or_default();
        let mut words = match &self.text {
            Some(text) => {
                let node = sight.as_ref().and_then(Sight::facts).and_then(|facts| facts.node());
                let node = node.map(|node| node.to_str().into_owned()).unwrap_or_default();
                filled(text, |name| match name {
                    "message" => Some(message()),
                    "count" => Some(count.to_string()),
                    "by" | "1" => Some(by.clone()),
                    "node" => Some(node.clone()),
                    _ => None,
                })
            }
            None => {
                let what = match (self.condition, self.fault) {
                    (_, Some(FaultNews::New)) => format!("new fault: {}", message()),
                    (_, Some(FaultNews::Regressed)) => format!("it is back: {}", message()),
                    (Condition::Absent { after }, _) => {
                        format!("nothing for {}", span(after + self.hold))
                    }
                    (Condition::Count { count: 1, .. }, _) => message(),
                    (Condition::Count { within, .. }, _) => {
                        format!("{count} events within {}, the last: {}", span(within), message())
                    }
                };
                match self.by {
                    Some(_) if !by.is_empty() => format!("{by}: {what}"),
                    _ => what,
                }
            }
        };
        words.truncate(words.floor_char_boundary(MAX_TEXT_BYTES));
        words
    }
}

/// The field of an event, as a term.
fn of_view(facts: Facts<'_>, field: Field) -> Option<TermBuf> {
    let atom = |name: &str| TermBuf::written(|out| encode::atom(out, name));
    let binary = |text: String| TermBuf::written(|out| encode::binary(out, text.as_bytes()));
    match field {
        Field::Node => facts.node().map(|node| atom(&node.to_str())),
        Field::Level => Some(atom(facts.level().as_str())),
        Field::Kind => Some(atom(facts.kind().as_str())),
        Field::Module => facts.module().map(|module| atom(&module.to_str())),
        Field::Function => facts.view().function.map(binary),
        Field::Pid => facts.view().pid.map(binary),
        Field::RegisteredName => facts.view().registered_name.map(|name| atom(&name)),
        Field::Reason => facts.view().reason.map(binary),
        Field::Message => Some(binary(facts.view().message)),
        Field::Fault => None,
    }
}

/// A term for people: texts and names without quotes.
pub fn plain(term: TermRef<'_>) -> String {
    match term.view() {
        Term::Atom(atom) => atom.to_str().into_owned(),
        Term::Binary(bytes) if std::str::from_utf8(bytes).is_ok() => {
            String::from_utf8_lossy(bytes).into_owned()
        }
        _ => text::to_text(term),
    }
}

/// A text with the names behind its dollar signs replaced by what they stand for; those without a meaning stay.
fn filled(text: &str, value: impl Fn(&str) -> Option<String>) -> String {
    let mut parts = text.split('$');
    let mut out = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let end = part.find(|c: char| !c.is_ascii_alphanumeric()).unwrap_or(part.len());
        let (name, rest) = part.split_at(end);
        match value(name) {
            Some(value) => out.push_str(&value),
            None => out.extend(["$", name]),
        }
        out.push_str(rest);
    }
    out
}

/// The names behind the dollar signs of a text that have no meaning.
pub fn meaningless(text: &str) -> Vec<String> {
    let names = std::cell::RefCell::new(Vec::new());
    filled(text, |name| {
        if !matches!(name, "message" | "count" | "by" | "1" | "node") {
            names.borrow_mut().push(name.to_owned());
        }
        None
    });
    names.into_inner()
}

fn span(micros: u64) -> String {
    humantime::format_duration(std::time::Duration::from_micros(micros)).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::analysis::fingerprint::FaultId;
    use crate::match_spec::Limits;

    fn rule() -> Rule {
        Rule {
            name: "r".into(),
            instance: "error_logger".into(),
            spec: None,
            level: None,
            grep: None,
            fault: None,
            condition: Condition::Count { count: 1, within: 300_000_000 },
            hold: 0,
            by: None,
            severity: Level::Error,
            text: None,
            notify: Vec::new(),
        }
    }

    fn spec(written: &str) -> Option<(MatchSpec, TermBuf)> {
        let term = text::parse(written).unwrap();
        Some((MatchSpec::compile(term.as_term(), Limits::default()).unwrap(), term))
    }

    fn takes(rule: &Rule, event: &str) -> Result<Option<String>, Unasked> {
        let event = text::parse(event).unwrap();
        let key = rule.takes(&Sight::of(event.as_term()), &mut Working::default())?;
        Ok(key.map(|key| match key {
            Key::Other => "-".to_owned(),
            Key::Term(bytes) => text::to_text(TermRef::from_walked(&bytes)),
        }))
    }

    const LOG: &str =
        "{log, 'a@h', error, {string, <<\"disk full on sda\">>}, #{mfa => {m, f, 1}, line => 3}}";

    #[test]
    fn an_event_is_taken_if_all_that_is_asked_is_so() {
        let taken = |rule: Rule, event| takes(&rule, event).unwrap();
        let some = |key: &str| Some(key.to_owned());
        assert_eq!(taken(rule(), LOG), some("-"));
        assert_eq!(taken(rule(), "{any, term}"), some("-"));
        let level = |level| Rule { level: Some(level), ..rule() };
        assert_eq!(taken(level(Level::Error), LOG), some("-"));
        assert_eq!(taken(level(Level::Critical), LOG), None);
        assert_eq!(taken(level(Level::Debug), "{any, term}"), None, "it has no level");
        let grep = |text| Rule { grep: Some(Regex::new(text).unwrap()), ..rule() };
        assert_eq!(taken(grep("full on sd."), LOG), some("-"));
        assert_eq!(taken(grep("any, *term|any,term"), "{any, term}"), some("-"));
        assert_eq!(taken(grep("empty"), LOG), None);
        let spec = |text| Rule { spec: spec(text), by: Some(By::Result), ..rule() };
        assert_eq!(
            taken(spec("[{{quote, '$1', '_'}, [], ['$1']}]"), "{quote, acme, 1}"),
            some("acme")
        );
        assert_eq!(taken(spec("[{{quote, '$1', '_'}, [], ['$1']}]"), "{trade, acme, 1}"), None);
    }

    #[test]
    fn a_key_is_a_field_of_the_view() {
        let by = |field| takes(&Rule { by: Some(By::Field(field)), ..rule() }, LOG);
        let some = |key: &str| Ok(Some(key.to_owned()));
        assert_eq!(by(Field::Node), some("a@h"));
        assert_eq!(by(Field::Level), some("error"));
        assert_eq!(by(Field::Module), some("m"));
        assert_eq!(by(Field::Function), some("<<\"f/1\">>"));
        assert_eq!(by(Field::Message), some("<<\"disk full on sda\">>"));
        assert_eq!(by(Field::RegisteredName), Err(Unasked::WithoutKey));
    }

    #[test]
    fn news_of_a_fault_are_of_its_instance() {
        let id = FaultId::of("error_logger", "x");
        let told = |instance: &str, state: &str| {
            format!(
                "{{fault, <<\"{id}\">>, {state}, #{{instance => <<\"{instance}\">>, title => <<\"badmatch in shop\">>, level => error, node => 'a@h'}}}}"
            )
        };
        let new = Rule { fault: Some(FaultNews::New), ..rule() };
        let key = format!("<<\"{id}\">>");
        assert_eq!(takes(&new, &told("error_logger", "new")), Ok(Some(key)));
        assert_eq!(takes(&new, &told("other", "new")), Ok(None));
        assert_eq!(takes(&new, &told("error_logger", "regressed")), Ok(None));
        assert_eq!(takes(&new, "{fault, a, new, b}"), Ok(None));
        let by = Rule { by: Some(By::Field(Field::Node)), ..new.clone() };
        assert_eq!(takes(&by, &told("error_logger", "new")), Ok(Some("a@h".to_owned())));
        let grep = Rule { grep: Some(Regex::new("badarg").unwrap()), ..new.clone() };
        assert_eq!(takes(&grep, &told("error_logger", "new")), Ok(None));
        let event = text::parse(&told("error_logger", "new")).unwrap();
        assert_eq!(new.words(None, 1, Some(event.as_term())), "new fault: badmatch in shop");
    }

    #[test]
    fn people_are_told_what_suits() {
        let event = text::parse(LOG).unwrap();
        let words = |rule: &Rule, by: &str, count| {
            let by = text::parse(by).unwrap();
            rule.words(Some(by.as_term()), count, Some(event.as_term()))
        };
        assert_eq!(words(&rule(), "x", 1), "disk full on sda");
        let by = Some(By::Field(Field::Node));
        let many =
            Rule { condition: Condition::Count { count: 10, within: 60_000_000 }, by, ..rule() };
        assert_eq!(
            words(&many, "'a@h'", 10),
            "a@h: 10 events within 1m, the last: disk full on sda"
        );
        let absent = Rule { condition: Condition::Absent { after: 300_000_000 }, ..rule() };
        assert_eq!(absent.words(None, 0, None), "nothing for 5m");
        let written =
            Rule { text: Some("$by: $count of $$ and $node, $message ($nothing)".into()), ..many };
        assert_eq!(
            words(&written, "<<\"b\">>", 12),
            "b: 12 of $$ and a@h, disk full on sda ($nothing)"
        );
        assert_eq!(meaningless("$by $2 $wrong costs 5$"), ["2", "wrong", ""]);
    }

    #[test]
    fn the_memory_of_a_rule_is_bounded() {
        let keys =
            |count| Rule { condition: Condition::Count { count, within: 1 }, ..rule() }.max_keys();
        assert_eq!((keys(1), keys(MAX_COUNT)), (10_000, 83));
    }
}
