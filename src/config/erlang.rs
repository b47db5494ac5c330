//! The original's configuration: `sys.config`, `[{logmachine, [...]}].`
//!
//! Periods are `{30, min}`, names are atoms, and a property beside `instances` goes for all of them. New keys and
//! the sections `{node, [...]}` and `{http, [...]}` may stand beside the old ones; what other applications have in
//! the file is left alone. Each value is rewritten the way TOML has it and read by the same code, so that a key
//! means the same in both forms.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

use serde::Deserialize;
use toml::{Table, Value};

use super::check::{Section, check};
use super::rules::{RuleDraft, RuleSection, WebhookDraft, WebhookSection};
use super::{
    AnalysisSection, ConfigError, FaultRuleSection, File, Fingerprint, InstanceSection, LocateEm,
    LoggerFilters, MatchSpecText, Size, Span, StartSetting, SyncSetting, ValueText, Written,
    with_nearest,
};
use crate::etf::{Cells, Term, TermBuf, TermRef, text};

/// Reads the text of a `.config` file, and the files it includes.
///
/// As in OTP's `config(4)`: the list may hold names of further files, with or without `.config`, looked for beside
/// this one and then in the working directory. In the order of the list, what comes later takes the place of
/// parameters that came before. An included file includes no others.
pub(super) fn read(path: &Path, text: &str) -> Result<File, ConfigError> {
    let whole = Source::parse(path, text)?;
    let mut included = Vec::new();
    for element in whole.elements() {
        if let Some(name) = string(element).filter(|_| element.as_atom().is_none()) {
            included.push(whole.include(&name)?);
        }
    }
    let mut files = included.iter();
    let mut parameters = Parameters::default();
    for element in whole.elements() {
        match element.as_tuple() {
            Some([application, properties]) if application.is_atom("logmachine") => {
                parameters.merge(&whole.reader, properties)?;
            }
            // What other applications have is left alone.
            Some([application, _]) if application.as_atom().is_some() => {}
            _ if element.as_atom().is_none() && string(element).is_some() => {
                let file = files.next().expect("one for each name");
                for element in file.elements() {
                    match element.as_tuple() {
                        Some([application, properties]) if application.is_atom("logmachine") => {
                            parameters.merge(&file.reader, properties)?;
                        }
                        Some([application, _]) if application.as_atom().is_some() => {}
                        _ => {
                            return Err(file.reader.error(
                                1,
                                "",
                                &format!("an included file holds applications alone: {FORM}"),
                            ));
                        }
                    }
                }
            }
            _ => {
                let element = text::to_text(element);
                let message = format!(
                    "{element} is neither {{Application, [...]}} nor the name of a file: {FORM}"
                );
                return Err(whole.reader.error(1, "", &message));
            }
        }
    }
    if !parameters.found {
        let message = format!("no {{logmachine, [...]}} in the list of applications: {FORM}");
        return Err(whole.reader.error(1, "", &message));
    }
    parameters.file()
}

/// What a file looks like.
const FORM: &str =
    "expected [{logmachine, [{Key, Value}, {instances, [{Name, [{Key, Value}]}]}]}].";

/// One file.
struct Source {
    reader: Reader,
    term: TermBuf,
}

impl Source {
    fn parse(path: &Path, text: &str) -> Result<Self, ConfigError> {
        let reader = Reader { path: path.to_owned(), opens: opens(text) };
        let terms = text::parse_terms(text).map_err(|error| {
            let message = format!("column {}: {}", error.column, error.problem);
            reader.error(error.line, "", &message)
        })?;
        let [whole] = terms.as_slice() else {
            let message = format!("there are {} terms in the file; {FORM}", terms.len());
            return Err(reader.error(1, "", &message));
        };
        let term = whole.as_term();
        if term.as_list().is_none() {
            let message =
                format!("not a list of applications, but {}; {FORM}", text::to_text(term));
            return Err(reader.error(1, "", &message));
        }
        Ok(Source { reader, term: term.to_buf() })
    }

    /// The elements of the list that it is.
    fn elements(&self) -> impl Iterator<Item = TermRef<'_>> {
        self.term.as_term().cells()
    }

    /// Reads a file that this one names.
    fn include(&self, name: &str) -> Result<Source, ConfigError> {
        let mut name = PathBuf::from(name);
        if name.extension().is_none_or(|ending| ending != "config") {
            name.as_mut_os_string().push(".config");
        }
        let beside = self.reader.path.parent().map(|dir| dir.join(&name));
        let path = beside.filter(|path| path.exists()).unwrap_or(name);
        let text = std::fs::read_to_string(&path).map_err(|error| {
            let message = format!("included file {}: cannot be read: {error}", path.display());
            self.reader.error(1, "", &message)
        })?;
        Source::parse(&path, &text)
    }
}

/// The parameters of `logmachine`, each with the file it was read from.
#[derive(Default)]
struct Parameters<'a> {
    found: bool,
    list: Vec<(String, TermRef<'a>, &'a Reader)>,
}

impl<'a> Parameters<'a> {
    /// Puts an application's parameters over those that are there. Of one given twice in a list the first counts, as
    /// in `proplists`.
    fn merge(&mut self, reader: &'a Reader, properties: TermRef<'a>) -> Result<(), ConfigError> {
        self.found = true;
        let mut own: Vec<String> = Vec::new();
        for pair in pairs(properties) {
            let (key, value) = reader.pair(pair, &["logmachine"])?;
            if own.contains(&key) {
                continue;
            }
            self.list.retain(|(known, ..)| *known != key);
            own.push(key.clone());
            self.list.push((key, value, reader));
        }
        Ok(())
    }

    /// Where a parameter was read.
    fn reader(&self, key: &str) -> Option<&'a Reader> {
        self.list.iter().find(|(known, ..)| known == key).map(|(.., reader)| *reader)
    }

    fn file(self) -> Result<File, ConfigError> {
        let mut file = File::default();
        let mut defaults = Table::new();
        let top = ["logmachine"];
        for (key, value, reader) in &self.list {
            match key.as_str() {
                "instances" => file.instance = reader.instances(*value)?,
                "node" => file.node = reader.section(&["logmachine", "node"], *value)?,
                "http" => file.http = reader.section(&["logmachine", "http"], *value)?,
                "fault_rule" => file.fault_rule = reader.fault_rules(*value)?,
                "analysis" => file.analysis = reader.analyses(*value)?,
                "rule" => file.rule = reader.rules(*value)?,
                "webhook" => file.webhook = reader.webhooks(*value)?,
                "name" => {
                    let line = reader.line(&["logmachine", "name"]);
                    return Err(reader.error(line, "name", "belongs into {node, [...]}"));
                }
                _ => {
                    let value = reader.value::<InstanceSection>(&top, key, *value)?;
                    defaults.insert(key.clone(), value);
                }
            }
        }
        let defaults = defaults.try_into::<InstanceSection>();
        let mut defaults = defaults.map_err(|error| ConfigError::Value(error.message().into()))?;
        // The original let all instances inherit a directory, too.
        for (key, common) in [("dir", defaults.dir.take()), ("arch_dir", defaults.arch_dir.take())]
        {
            let (Some(common), Some(reader)) = (common, self.reader(key)) else { continue };
            let [only] = file.instance.as_mut_slice() else {
                let line = reader.line(&["logmachine", key]);
                return Err(reader.error(line, key, "give each instance a directory of its own"));
            };
            let own = if key == "dir" { &mut only.dir } else { &mut only.arch_dir };
            own.get_or_insert(common);
        }
        file.instance_defaults = defaults;
        check(&file, &|section, key| self.place(&file, section, key))?;
        let found = file.clone();
        file.place_instances(|section, key| self.place(&found, section, key));
        Ok(file)
    }

    /// The file and line of a key.
    fn place(&self, file: &File, section: Section, key: &str) -> (PathBuf, usize) {
        let name = |number: usize| file.instance[number].name.as_deref().unwrap_or_default();
        let nth_of = match section {
            Section::Analysis(n) => {
                Some(("analysis", file.analysis[..n].iter().filter(|it| it.has(key)).count()))
            }
            Section::Rule(n) => {
                Some(("rule", file.rule[..n].iter().filter(|it| it.has(key)).count()))
            }
            Section::Webhook(n) => {
                Some(("webhook", file.webhook[..n].iter().filter(|it| it.has(key)).count()))
            }
            _ => None,
        };
        if let Some((parameter, nth)) = nth_of {
            let reader = self.reader(parameter).expect("the key was read somewhere");
            return (reader.path.clone(), reader.nth_line(&["logmachine", parameter, key], nth));
        }
        let (parameter, keys) = match section {
            Section::Node => ("node", vec!["logmachine", "node", key]),
            Section::Http => ("http", vec!["logmachine", "http", key]),
            Section::Defaults => (key, vec!["logmachine", key]),
            // The name stands before the list of keys.
            Section::Instance(n) if key == "name" => {
                ("instances", vec!["logmachine", "instances", name(n)])
            }
            Section::Instance(n) => ("instances", vec!["logmachine", "instances", name(n), key]),
            Section::Analysis(_) | Section::Rule(_) | Section::Webhook(_) => {
                unreachable!("they have no names before their keys")
            }
        };
        let reader = self.reader(parameter).expect("the key was read somewhere");
        (reader.path.clone(), reader.line(&keys))
    }
}

/// Finds the places of keys in a file.
struct Reader {
    path: PathBuf,
    opens: Vec<OpenKey>,
}

/// A `{key` in the text: where, and which of the further ones are inside its braces.
struct OpenKey {
    key: String,
    line: usize,
    depth: usize,
}

impl Reader {
    fn error(&self, line: usize, key: &str, message: &str) -> ConfigError {
        let key = if key.is_empty() { String::new() } else { format!("{key}: ") };
        ConfigError::Content { path: self.path.clone(), line, key, message: message.to_owned() }
    }

    /// The line of a key inside keys; of the innermost one that is there.
    fn line(&self, keys: &[&str]) -> usize {
        self.nth_line(keys, 0)
    }

    /// The same, of the last key the `nth` one, counted from 0.
    fn nth_line(&self, keys: &[&str], nth: usize) -> usize {
        let (mut from, mut to, mut line) = (0, self.opens.len(), 1);
        for (place, key) in keys.iter().enumerate() {
            let inside = self.opens[from..to].iter();
            let least = inside.clone().map(|open| open.depth).min();
            let mut found =
                inside.enumerate().filter(|(_, it)| it.key == *key && Some(it.depth) == least);
            let nth = if place + 1 == keys.len() { nth } else { 0 };
            let Some((at, open)) = found.nth(nth) else { break };
            line = open.line;
            from += at + 1;
            let end = self.opens[from..to].iter().position(|inner| inner.depth <= open.depth);
            to = end.map_or(to, |end| from + end);
        }
        line
    }

    fn instances(&self, list: TermRef<'_>) -> Result<Vec<InstanceSection>, ConfigError> {
        let outer = ["logmachine", "instances"];
        let mut instances = Vec::new();
        for pair in pairs(list) {
            let (name, properties) = self.pair(pair, &outer)?;
            let keys = [outer[0], outer[1], name.as_str()];
            let mut section: InstanceSection = self.section(&keys, properties)?;
            if section.name.is_some() {
                let line = self.line(&[outer[0], outer[1], &name, "name"]);
                return Err(self.error(line, "name", "an instance's name stands before its list"));
            }
            section.name = Some(name);
            instances.push(section);
        }
        Ok(instances)
    }

    /// Tables in a list without names, so a key's line is found by how many tables before have the key. `T` is a table,
    /// `Draft` one of which any key may be missing.
    fn tables<T, Draft>(
        &self,
        parameter: &str,
        list: TermRef<'_>,
        expected: &str,
    ) -> Result<Vec<T>, ConfigError>
    where
        T: for<'de> Deserialize<'de>,
        Draft: for<'de> Deserialize<'de>,
    {
        let keys = ["logmachine", parameter];
        let Some(list) = list.as_list() else {
            let message = format!("expected a list of {expected}");
            return Err(self.error(self.line(&keys), parameter, &message));
        };
        let mut seen: HashMap<String, usize> = HashMap::new();
        let mut tables = Vec::new();
        for properties in list {
            let mut table = Table::new();
            let mut begins = None;
            for pair in pairs(properties) {
                let (key, term) = self.pair(pair, &keys)?;
                let nth = seen.entry(key.clone()).or_default();
                let line = self.nth_line(&[keys[0], keys[1], &key], *nth);
                *nth += 1;
                begins.get_or_insert(line);
                let value =
                    self.value::<Draft>(&keys, &key, term).map_err(|error| match error {
                        ConfigError::Content { path, key, message, .. } => {
                            ConfigError::Content { path, line, key, message }
                        }
                        error => error,
                    })?;
                table.entry(key).or_insert(value);
            }
            let line = begins.unwrap_or_else(|| self.line(&keys));
            let whole = table.try_into::<T>();
            tables
                .push(whole.map_err(|error| self.error(line, parameter, error.message().trim()))?);
        }
        Ok(tables)
    }

    fn fault_rules(&self, list: TermRef<'_>) -> Result<Vec<FaultRuleSection>, ConfigError> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields, rename = "FaultRuleSection")]
        struct Draft {
            #[serde(rename = "match")]
            _match: Option<MatchSpecText>,
            #[serde(rename = "fingerprint")]
            _fingerprint: Option<Fingerprint>,
        }
        let expected = "rules, [[{match, MatchSpec}, {fingerprint, Text}]]";
        self.tables::<FaultRuleSection, Draft>("fault_rule", list, expected)
    }

    fn analyses(&self, list: TermRef<'_>) -> Result<Vec<AnalysisSection>, ConfigError> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields, rename = "AnalysisSection")]
        #[allow(dead_code, reason = "the keys are only tried")]
        struct Draft {
            name: Option<String>,
            from: Option<String>,
            match_spec: Option<MatchSpecText>,
            by: Option<usize>,
            window: Option<Span>,
            every: Option<Span>,
            values: Option<BTreeMap<String, ValueText>>,
            start: Option<StartSetting>,
        }
        let expected = "analyses, [[{name, Name}, {from, Instance}, {window, {1, min}}, {values, [{n, count}]}]]";
        self.tables::<AnalysisSection, Draft>("analysis", list, expected)
    }

    fn rules(&self, list: TermRef<'_>) -> Result<Vec<RuleSection>, ConfigError> {
        let expected = "rules, [[{name, Name}, {level, error}, {count, 10}, {within, {1, min}}]]";
        self.tables::<RuleSection, RuleDraft>("rule", list, expected)
    }

    fn webhooks(&self, list: TermRef<'_>) -> Result<Vec<WebhookSection>, ConfigError> {
        let expected = "webhooks, [[{name, Name}, {url, \"https://...\"}]]";
        self.tables::<WebhookSection, WebhookDraft>("webhook", list, expected)
    }

    /// Key and value; an error for what is not `{Key, Value}`.
    fn pair<'t>(
        &self,
        pair: Option<(TermRef<'t>, TermRef<'t>)>,
        keys: &[&str],
    ) -> Result<(String, TermRef<'t>), ConfigError> {
        let key = keys.last().copied().unwrap_or_default();
        let (name, value) = pair
            .and_then(|(name, value)| Some((name.as_atom()?.to_str().into_owned(), value)))
            .ok_or_else(|| {
                self.error(self.line(keys), key, &format!("not a list of {{Key, Value}}; {FORM}"))
            })?;
        Ok((name, value))
    }

    /// A section, key by key, so that an error has the line of its key. Of a key given twice the first counts,
    /// as in `proplists`.
    fn section<T: for<'de> Deserialize<'de>>(
        &self,
        keys: &[&str],
        list: TermRef<'_>,
    ) -> Result<T, ConfigError> {
        let mut table = Table::new();
        for pair in pairs(list) {
            let (key, term) = self.pair(pair, keys)?;
            let value = self.value::<T>(keys, &key, term)?;
            table.entry(key).or_insert(value);
        }
        let whole = table.try_into::<T>();
        whole.map_err(|error| self.error(self.line(keys), "", error.message().trim()))
    }

    /// The value of one key of a `T`, as TOML has it.
    fn value<T: for<'de> Deserialize<'de>>(
        &self,
        keys: &[&str],
        key: &str,
        term: TermRef<'_>,
    ) -> Result<Value, ConfigError> {
        let path: Vec<&str> = keys.iter().copied().chain([key]).collect();
        let read = |value| Table::from_iter([(key.to_owned(), value)]).try_into::<T>();
        let message = match value(key, term) {
            Some(value) => match read(value.clone()) {
                Ok(_) => return Ok(value),
                Err(error) => error.message().trim().to_owned(),
            },
            // It has no form in TOML: what the key takes is told by the error for something that it doesn't take.
            None => {
                let odd = [Value::Table(Table::new()), Value::String(text::to_text(term))];
                let errors = odd.into_iter().filter_map(|odd| read(odd).err());
                let mut messages = errors.map(|error| error.message().trim().to_owned());
                let telling = |message: &String| message.contains("expected");
                messages.find(telling).unwrap_or_else(|| "unexpected value".to_owned())
            }
        };
        let message = with_nearest(&in_erlang(&message, term));
        Err(self.error(self.line(&path), key, &message))
    }
}

/// What the parser of TOML says of a value, in the words of this form.
fn in_erlang(message: &str, term: TermRef<'_>) -> String {
    let Some((_, expected)) =
        message.split_once(", expected ").filter(|_| message.starts_with("invalid "))
    else {
        return message.to_owned();
    };
    let expected = match expected {
        Span::EXPECTED => "a period such as {30, min}, {4, hour}, {7, day} or {{1, 30, 0}, hms}",
        SyncSetting::EXPECTED => "none, always or a period such as {1, sec}",
        Size::EXPECTED => "a number of bytes such as 1048576 or \"256MiB\"",
        LocateEm::EXPECTED => {
            "{local, Manager}, {global, Manager}, {global, Manager, {inc, Nodes}}, {global, Manager, {exc, Nodes}} or {global, Manager, exc_local}"
        }
        LoggerFilters::EXPECTED => {
            "a list such as [{quiet, {fun logger_filters:domain/2, {stop, sub, [otp]}}}]"
        }
        "a string" | "path string" => "an atom or a string",
        "a sequence" => "a list",
        other => other,
    };
    format!("{} is not what belongs here: expected {expected}", text::to_text(term))
}

/// The pairs of a list; `None` for an element, or a whole, of another kind.
fn pairs(list: TermRef<'_>) -> impl Iterator<Item = Option<(TermRef<'_>, TermRef<'_>)>> {
    let cells: Cells<'_> = list.cells();
    let is_list = cells.tail().bytes() == TermRef::NIL.bytes();
    let odd = (!is_list).then_some(None);
    cells.map(|element| element.as_tuple().map(|[key, value]| (key, value))).chain(odd)
}

/// A value as TOML has it.
fn value(key: &str, term: TermRef<'_>) -> Option<Value> {
    if matches!(key, "locate_em" | "logger_filters") {
        return Some(Value::String(text::to_text(term)));
    }
    if let Some(span) = span(term) {
        return Some(Value::String(span));
    }
    match term.view() {
        Term::Integer(number) => Some(Value::Integer(number)),
        Term::Nil => Some(Value::Array(Vec::new())),
        Term::List(_) => string(term).map(Value::String).or_else(|| {
            let elements = term.as_list()?;
            let array = elements.map(|element| value("", element)).collect::<Option<_>>();
            array.map(Value::Array).or_else(|| section(term).map(Value::Table))
        }),
        Term::Atom(atom) if atom.is("true") || atom.is("false") => {
            Some(Value::Boolean(atom.is("true")))
        }
        _ => string(term).map(Value::String),
    }
}

/// A list of `{Key, Value}` within a section. Of a key given twice the first counts.
fn section(list: TermRef<'_>) -> Option<Table> {
    let mut table = Table::new();
    for pair in pairs(list) {
        let (key, term) = pair?;
        let key = key.as_atom()?.to_str().into_owned();
        let value = value(&key, term)?;
        table.entry(key).or_insert(value);
    }
    Some(table)
}

/// An atom, a string or a binary.
fn string(term: TermRef<'_>) -> Option<String> {
    match term.view() {
        Term::Atom(atom) => Some(atom.to_str().into_owned()),
        Term::Binary(bytes) => String::from_utf8(bytes.to_vec()).ok(),
        Term::String(_) | Term::List(_) => {
            let chars = term.cells().map(|c| char::from_u32(u32::try_from(c.as_integer()?).ok()?));
            chars.collect()
        }
        _ => None,
    }
}

/// `{30, min}` and `{{H, M, S}, hms}`.
fn span(term: TermRef<'_>) -> Option<String> {
    let [count, unit] = term.as_tuple()?;
    let unit = unit.as_atom()?.to_str().into_owned();
    if unit == "hms" {
        let [hours, minutes, seconds] = count.as_tuple()?;
        let number = |term: TermRef<'_>| term.as_integer().filter(|number| *number >= 0);
        let (hours, minutes) = (number(hours)?, number(minutes)?);
        return Some(format!("{hours}h {minutes}m {}s", number(seconds)?));
    }
    let unit = ["sec", "min", "hour", "day"].into_iter().find(|known| *known == unit)?;
    Some(format!("{}{unit}", count.as_integer()?))
}

/// Every `{` that is followed by an atom, in order, with its line. The text is known to be a term.
fn opens(text: &str) -> Vec<OpenKey> {
    let mut opens: Vec<OpenKey> = Vec::new();
    let (mut line, mut depth, mut after_brace) = (1, 0_usize, false);
    let mut rest = text.char_indices().peekable();
    while let Some((at, c)) = rest.next() {
        match c {
            '\n' => line += 1,
            '%' => while rest.next_if(|(_, c)| *c != '\n').is_some() {},
            '$' => {
                // A character such as $" or $\".
                if let Some((_, '\\')) = rest.next() {
                    rest.next();
                }
                after_brace = false;
            }
            '"' | '\'' => {
                let start = at + 1;
                let mut end = start;
                let begun = line;
                while let Some((at, inner)) = rest.next() {
                    end = at;
                    match inner {
                        '\\' => drop(rest.next()),
                        '\n' => line += 1,
                        _ if inner == c => break,
                        _ => {}
                    }
                }
                if c == '\'' && after_brace {
                    opens.push(OpenKey { key: text[start..end].to_owned(), line: begun, depth });
                }
                after_brace = false;
            }
            '{' => {
                depth += 1;
                after_brace = true;
            }
            '[' => {
                depth += 1;
                after_brace = false;
            }
            '}' | ']' => {
                depth = depth.saturating_sub(1);
                after_brace = false;
            }
            _ if c.is_whitespace() => {}
            _ => {
                let mut end = at + c.len_utf8();
                while let Some((at, c)) =
                    rest.next_if(|(_, c)| c.is_alphanumeric() || matches!(c, '_' | '@'))
                {
                    end = at + c.len_utf8();
                }
                if after_brace && c.is_alphabetic() {
                    opens.push(OpenKey { key: text[at..end].to_owned(), line, depth });
                }
                after_brace = false;
            }
        }
    }
    opens
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::api::Role;
    use crate::config::{Limit, LocateEm, LoggerLevel, Span};

    fn read(text: &str) -> Result<File, ConfigError> {
        super::read(Path::new("c.config"), text)
    }

    fn error(text: &str) -> String {
        read(text).unwrap_err().to_string()
    }

    #[test]
    fn the_originals_example_is_read() {
        let file = read(
            r#"%% -*- mode: erlang; -*-
            [{kernel, [{logger_level, info}]},
             {logmachine,
              [{evict_period, {5, sec}}, % for all
               {instances,
                [{error_logger,
                  [{dir, "./errlogs"}, {evict_after, {3, hour}}, {reopen_period, {30, min}},
                   {archive_after, {7, day}}, {archive_period, {{1, 30, 0}, hms}},
                   {arch_dir, 'old'}, {handler, my_handler},
                   {locate_em, {global, error_logger, {exc, ['a@h', b@h]}}}]},
                 {quotes, []}]}]}]."#,
        )
        .unwrap();
        let [errors, quotes] = file.instance.as_slice() else { panic!("two instances") };
        let seconds = |seconds| Duration::from_secs(seconds);
        assert_eq!(file.instance_defaults.evict_period, Some(Span(seconds(5))));
        assert_eq!(errors.name.as_deref(), Some("error_logger"));
        assert_eq!(errors.dir.as_deref(), Some(Path::new("./errlogs")));
        assert_eq!(errors.arch_dir.as_deref(), Some(Path::new("old")));
        assert_eq!(errors.evict_after, Some(Limit::Some(Span(seconds(3 * 3600)))));
        assert_eq!(errors.archive_after, Some(Limit::Some(Span(seconds(7 * 86400)))));
        assert_eq!(errors.archive_period, Some(Span(seconds(5400))));
        assert_eq!(errors.handler.as_deref(), Some("my_handler"));
        let Some(Limit::Some(LocateEm(target))) = &errors.locate_em else { panic!("a target") };
        assert!(target.wants("c@h", true) && !target.wants("b@h", true));
        assert_eq!(quotes.name.as_deref(), Some("quotes"));
        assert!(file.instances(&[], Path::new("d")).is_ok());
    }

    #[test]
    fn new_keys_and_sections_stand_beside_the_old_ones() {
        let file = read(
            r#"[{logmachine, [
                {node, [{name, 'lm@10.0.0.5'}, {connect, ['a@10.0.0.1', "b@10.0.0.2"]}, {allow, []},
                        {net_ticktime, {60, sec}}, {epmd, none}]},
                {http, [{listen, "off"}, {plain, true}, {hosts, ["logs.example"]}, {tls, [{cert, "c.pem"}, {key, "k.pem"}]},
                        {token, [[{name, "me"}, {role, read}, {sha256, "0000000000000000000000000000000000000000000000000000000000000001"}]]}]},
                {redact, [password, "*secret*"]}, {sync, always}, {block_for, none}, {segment_bytes, "1MiB"}, {dir, <<"d">>},
                {instances, [{q, [{cache_bytes, 1000}, {delete_after, none}, {capture, gen_event},
                                 {logger_level, warning}, {block_for, {3, sec}}, {takeover, {1, min}}]}]}]}]."#,
        )
        .unwrap();
        assert_eq!(file.node.name.as_deref(), Some("lm@10.0.0.5"));
        assert_eq!(file.node.connect, ["a@10.0.0.1", "b@10.0.0.2"]);
        assert_eq!(file.http.listen.as_deref(), Some("off"));
        assert_eq!((file.http.plain, &*file.http.hosts), (true, &["logs.example".to_owned()][..]));
        assert_eq!(file.http.tls.map(|tls| tls.key), Some("k.pem".into()));
        let [token] = &*file.http.token else { panic!("a token") };
        assert_eq!((&*token.name, token.role, token.sha256.0[31]), ("me", Role::Read, 1));
        let secrets = file.instance_defaults.redact.as_deref();
        assert_eq!(secrets, Some(&["password".to_owned(), "*secret*".to_owned()][..]));
        assert_eq!(file.instance[0].dir.as_deref(), Some(Path::new("d")));
        assert_eq!(file.instance[0].delete_after, Some(Limit::None));
        assert_eq!(file.instance[0].logger_level, Some(LoggerLevel::Warning));
        assert_eq!(file.instance[0].block_for, Some(Limit::Some(Span(Duration::from_secs(3)))));
        assert_eq!(file.instance_defaults.block_for, Some(Limit::None));
        let minute = Span(Duration::from_secs(60));
        assert_eq!(file.instance[0].takeover, Some(Limit::Some(minute)));
    }

    #[test]
    fn errors_name_line_and_key() {
        for (text, expected) in [
            ("[{logmachine, [", "c.config:1: column 16: the text ends inside a term"),
            ("[{kernel, []}].", "c.config:1: no {logmachine, [...]}"),
            (
                "[{logmachine,\n [{evict_perod, {5, sec}}]}].",
                "c.config:2: evict_perod: unknown field `evict_perod`; did you mean `evict_period`?",
            ),
            (
                "[{logmachine, [{evict_after, {1, hour}},\n {instances, [{a, []},\n {b, [\n {evict_after, soon}]}]}]}].",
                "c.config:4: evict_after: soon is not what belongs here: expected a period such as {30, min}",
            ),
            (
                "[{logmachine, [{node,\n [{connect, {a, b}}]}]}].",
                "c.config:2: connect: {a,b} is not what belongs here: expected a list",
            ),
            (
                "[{logmachine, [{instances,\n [{a, [{locate_em, {x, y}}]}]}]}].",
                "c.config:2: locate_em: {x,y} is not what belongs here: expected {local, Manager}",
            ),
            (
                "[{logmachine, [{dir, \"{dir\"},\n{instances, [{a, []}, {b, []}]}]}].",
                "c.config:1: dir: give each instance a directory of its own",
            ),
            (
                "[{logmachine, [{instances, [a]}]}].",
                "c.config:1: instances: not a list of {Key, Value}; expected [{logmachine,",
            ),
        ] {
            let found = error(text);
            assert!(found.starts_with(expected), "{found}");
        }
    }
}
