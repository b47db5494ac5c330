//! What the operator writes: a configuration file, flags over it, defaults under it.
//!
//! A file is read into [`File`], where every key may be missing; [`File::instances`] puts an instance's own keys
//! over `[instance_defaults]` over the built-in defaults. Errors name the file, the line, the key and what is
//! allowed (`check.rs`). The original's Erlang form becomes the same [`File`] (`erlang.rs`).

mod analyses;
pub(crate) mod check;
mod erlang;
mod rules;

use std::path::{Component, Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;
use serde::de::{self, Deserializer, Visitor};

use crate::analysis::fault_rule::FaultRule;
use crate::api::{HttpConfig, Role, TlsFiles, Token};
use crate::etf::{TermBuf, text};
use crate::event_log::LogConfig;
use crate::instance::locator::target::{
    Capture, ERROR_LOGGER, LoggerFilters, LoggerLevel, Mode, OWN_HANDLER, Target,
};
use crate::instance::redaction::Redaction;
use crate::instance::{InstanceConfig, Overload, SyncMode};
use crate::match_spec::{Limits, MatchSpec};
pub use crate::node::epmd::Mode as EpmdMode;
pub use analyses::{AnalysisSection, StartSetting, ValueText};
use check::Section;
pub use rules::{
    ByText, FaultSetting, GrepText, LevelText, ReceiverText, RuleSection, SecretText, TemplateText,
    UrlText, WebhookSection,
};

/// Why a configuration cannot be used. Nothing was started.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("{}: cannot be read", path.display())]
    Read {
        /// The configuration file, as it was named.
        path: PathBuf,
        /// What the system says of it.
        #[source]
        source: std::io::Error,
    },
    /// The file is not what was expected at this place.
    #[error("{}:{line}: {key}{message}", path.display())]
    Content {
        /// The configuration file, as it was named.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// `key: `, or nothing where no key is at fault.
        key: String,
        /// What is wrong.
        message: String,
    },
    /// Values that are fine by themselves do not go together, or a flag is wrong.
    #[error("{0}")]
    Value(String),
}

/// A configuration file.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct File {
    /// `[node]`.
    pub node: NodeSection,
    /// `[http]`.
    pub http: HttpSection,
    /// `[instance_defaults]`.
    pub instance_defaults: InstanceSection,
    /// `[[instance]]`.
    pub instance: Vec<InstanceSection>,
    /// `[[fault_rule]]`.
    pub fault_rule: Vec<FaultRuleSection>,
    /// `[[analysis]]`.
    pub analysis: Vec<AnalysisSection>,
    /// `[[rule]]`.
    pub rule: Vec<RuleSection>,
    /// `[[webhook]]`.
    pub webhook: Vec<WebhookSection>,
}

/// `[[fault_rule]]`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FaultRuleSection {
    /// Which errors.
    pub r#match: MatchSpecText,
    /// The text that is the same for all errors of one fault; `$1` is what the match spec makes of the event.
    pub fingerprint: Fingerprint,
}

/// A text that is not blank.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fingerprint(pub String);

/// A match spec, written as an Erlang term.
#[derive(Clone, Debug)]
pub struct MatchSpecText {
    /// For events.
    pub spec: MatchSpec,
    /// As it was written.
    pub term: TermBuf,
}

/// `[node]`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[allow(missing_docs, reason = "the keys are those of `logmachine run --help`")]
pub struct NodeSection {
    pub name: Option<String>,
    pub sname: Option<String>,
    pub cookie_file: Option<PathBuf>,
    pub connect: Vec<String>,
    pub listen: Option<String>,
    pub epmd: Option<EpmdMode>,
    /// Silence after which a node counts as down.
    pub net_ticktime: Option<Span>,
    /// Nodes that may connect, as globs.
    pub allow: Vec<String>,
    pub data_dir: Option<PathBuf>,
    pub log_format: Option<LogFormat>,
    pub verbose: Option<u8>,
    pub quiet: Option<bool>,
}

/// The form of our own diagnostics.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// Lines for people.
    Text,
    /// A JSON object a line.
    Json,
}

/// `[http]`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[allow(missing_docs, reason = "the keys are those of the manual's table")]
pub struct HttpSection {
    pub listen: Option<String>,
    pub token: Vec<TokenSection>,
    pub hosts: Vec<String>,
    pub plain: bool,
    pub tls: Option<TlsSection>,
    /// What links to us begin with.
    pub public_url: Option<String>,
}

/// `[[http.token]]`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TokenSection {
    /// Whose it is.
    pub name: String,
    /// What it allows.
    pub role: Role,
    /// The digest of its text.
    pub sha256: Sha256,
}

/// `[http.tls]`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TlsSection {
    /// The file of the certificate.
    pub cert: PathBuf,
    /// That of its key.
    pub key: PathBuf,
}

/// A SHA-256 digest, as 64 digits of base 16.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sha256(pub [u8; 32]);

/// `[[instance]]` and `[instance_defaults]`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[allow(missing_docs, reason = "the keys are those of the manual's table")]
pub struct InstanceSection {
    pub name: Option<String>,
    pub dir: Option<PathBuf>,
    pub arch_dir: Option<PathBuf>,
    pub evict_after: Option<Limit<Span>>,
    pub evict_period: Option<Span>,
    pub reopen_period: Option<Limit<Span>>,
    pub archive_after: Option<Limit<Span>>,
    pub archive_period: Option<Span>,
    pub locate_em: Option<Limit<LocateEm>>,
    pub handler: Option<String>,
    pub capture: Option<CaptureSetting>,
    pub logger_level: Option<LoggerLevel>,
    pub logger_filters: Option<LoggerFilters>,
    pub cache_bytes: Option<Limit<Size>>,
    pub segment_bytes: Option<Limit<Size>>,
    pub delete_after: Option<Limit<Span>>,
    pub max_bytes: Option<Limit<Size>>,
    pub min_free_bytes: Option<Limit<Size>>,
    pub scrub_period: Option<Limit<Span>>,
    pub sync: Option<SyncSetting>,
    pub overload: Option<OverloadSetting>,
    pub block_for: Option<Limit<Span>>,
    pub pending_bytes: Option<Size>,
    pub redact: Option<Vec<String>>,
    pub max_event_bytes: Option<Size>,
    pub takeover: Option<Limit<Span>>,
    /// Whether its errors are kept together as faults.
    pub faults: Option<bool>,
}

/// What to do when events come faster than they can be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OverloadSetting {
    /// Stop reading from their senders.
    Block,
    /// Drop and count them.
    Drop,
}

/// `capture`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CaptureSetting {
    /// Through the event manager, and for `error_logger` through `logger` too.
    Auto,
    /// Through the event manager alone.
    GenEvent,
    /// Through `logger` alone.
    Logger,
}

/// `locate_em`, an Erlang term.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LocateEm(pub Target);

/// A time span, written `"30min"`, `"4h"`, `"7day"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span(pub Duration);

impl Span {
    /// In microseconds, as far as there are numbers for it.
    fn micros(self) -> u64 {
        u64::try_from(self.0.as_micros()).unwrap_or(u64::MAX)
    }
}

/// A number of bytes, written `268435456` or `"256MiB"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size(pub u64);

/// A limit that `"none"` switches off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit<T> {
    /// Switched off.
    None,
    /// In force.
    Some(T),
}

/// `sync`: `"none"`, `"always"`, or an interval.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SyncSetting(pub SyncMode);

/// A value written as text or, where that makes sense, as a number.
trait Written: Sized {
    const EXPECTED: &'static str;
    fn from_text(text: &str) -> Option<Self>;
    fn from_number(_number: u64) -> Option<Self> {
        None
    }
}

impl Written for Span {
    const EXPECTED: &'static str = "a time span such as \"30min\", \"4h\" or \"7day\"";
    fn from_text(text: &str) -> Option<Self> {
        humantime::parse_duration(text).ok().filter(|span| !span.is_zero()).map(Span)
    }
}

impl Written for Sha256 {
    const EXPECTED: &'static str = "64 digits of base 16, as `logmachine token` prints them";
    fn from_text(text: &str) -> Option<Self> {
        let is_base_16 = text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        let pair = |at: usize| u8::from_str_radix(&text[2 * at..2 * at + 2], 16).ok();
        is_base_16.then(|| Sha256(std::array::from_fn(|at| pair(at).expect("checked above"))))
    }
}

impl Written for Size {
    const EXPECTED: &'static str = "a number of bytes such as 1048576 or \"256MiB\"";
    fn from_text(text: &str) -> Option<Self> {
        let text = text.trim();
        let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
        let (number, unit) = text.split_at(digits);
        let factor: u64 = match unit.trim() {
            "" | "B" => 1,
            "kB" | "KB" => 1_000,
            "KiB" => 1 << 10,
            "MB" => 1_000_000,
            "MiB" => 1 << 20,
            "GB" => 1_000_000_000,
            "GiB" => 1 << 30,
            "TB" => 1_000_000_000_000,
            "TiB" => 1 << 40,
            _ => return None,
        };
        number.parse::<u64>().ok()?.checked_mul(factor).map(Size)
    }
    fn from_number(number: u64) -> Option<Self> {
        Some(Size(number))
    }
}

impl Written for LocateEm {
    const EXPECTED: &'static str = "an Erlang term such as \"{local, error_logger}\" or \"{global, quotes_bus, {exc, [a@host]}}\"";
    fn from_text(text: &str) -> Option<Self> {
        Target::parse(text).map(LocateEm)
    }
}

impl Written for MatchSpecText {
    const EXPECTED: &'static str =
        "a match spec such as \"[{{log,'_','_',{report,#{id => '$1'}},'_'},[],['$1']}]\"";
    fn from_text(text: &str) -> Option<Self> {
        let term = text::parse(text).ok()?;
        let spec = MatchSpec::compile(term.as_term(), Limits::default()).ok()?;
        Some(MatchSpecText { spec, term })
    }
}

impl Written for Fingerprint {
    const EXPECTED: &'static str = "a text such as \"timeout:$1\"";
    fn from_text(text: &str) -> Option<Self> {
        (!text.trim().is_empty()).then(|| Fingerprint(text.to_owned()))
    }
}

impl Written for LoggerFilters {
    const EXPECTED: &'static str =
        "Erlang text such as \"[{quiet, {fun logger_filters:domain/2, {stop, sub, [otp]}}}]\"";
    fn from_text(text: &str) -> Option<Self> {
        LoggerFilters::parse(text::parse(text).ok()?.as_term())
    }
}

impl<T: Written> Written for Limit<T> {
    const EXPECTED: &'static str = T::EXPECTED;
    fn from_text(text: &str) -> Option<Self> {
        if text == "none" { Some(Limit::None) } else { T::from_text(text).map(Limit::Some) }
    }
    fn from_number(number: u64) -> Option<Self> {
        T::from_number(number).map(Limit::Some)
    }
}

impl Written for SyncSetting {
    const EXPECTED: &'static str = "\"none\", \"always\" or an interval such as \"1s\"";
    fn from_text(text: &str) -> Option<Self> {
        Some(SyncSetting(match text {
            "none" => SyncMode::None,
            "always" => SyncMode::Always,
            interval => SyncMode::Interval(Span::from_text(interval)?.0),
        }))
    }
}

struct WrittenVisitor<T>(std::marker::PhantomData<T>);

impl<T: Written> Visitor<'_> for WrittenVisitor<T> {
    type Value = T;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(T::EXPECTED)
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<T, E> {
        T::from_text(text).ok_or_else(|| E::invalid_value(de::Unexpected::Str(text), &self))
    }

    fn visit_i64<E: de::Error>(self, number: i64) -> Result<T, E> {
        let value = u64::try_from(number).ok().and_then(T::from_number);
        value.ok_or_else(|| E::invalid_value(de::Unexpected::Signed(number), &self))
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<T, E> {
        T::from_number(number)
            .ok_or_else(|| E::invalid_value(de::Unexpected::Unsigned(number), &self))
    }
}

macro_rules! deserialize_written {
    ($($type:ty),*) => {$(
        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                deserializer.deserialize_any(WrittenVisitor(std::marker::PhantomData))
            }
        }
    )*};
}

deserialize_written!(
    ByText,
    Fingerprint,
    LevelText,
    ReceiverText,
    TemplateText,
    Sha256,
    Span,
    Size,
    Limit<Span>,
    Limit<Size>,
    Limit<LocateEm>,
    LoggerFilters,
    MatchSpecText,
    SyncSetting
);

impl File {
    /// Reads a file: the original's Erlang form if its name ends in `.config`, else TOML.
    ///
    /// # Errors
    ///
    /// [`ConfigError`], naming file, line and key.
    pub fn read(path: &Path) -> Result<Self, ConfigError> {
        let read = std::fs::read_to_string(path);
        let text = read.map_err(|source| ConfigError::Read { path: path.to_owned(), source })?;
        if path.extension().is_some_and(|extension| extension == "config") {
            return erlang::read(path, &text);
        }
        let mut file: File = toml::from_str(&text).map_err(|error| located(path, &text, &error))?;
        let place = |section, key: &str| (path.to_owned(), check::toml_line(&text, section, key));
        check::check(&file, &place)?;
        file.place_instances(place);
        Ok(file)
    }

    /// Where HTTP is served: at `listen`, the file's address, or the default one, unless that is `off`.
    ///
    /// # Errors
    ///
    /// [`ConfigError::Value`].
    pub fn http(&self, listen: Option<&str>) -> Result<Option<HttpConfig>, ConfigError> {
        const DEFAULT: &str = "127.0.0.1:4370";
        let section = &self.http;
        let asked = listen.or(section.listen.as_deref());
        let listen = asked.unwrap_or(DEFAULT);
        if listen == "off" {
            return Ok(None);
        }
        let listen = check::http_address(listen);
        let listen = listen.map_err(|why| ConfigError::Value(format!("--http {why}")))?;
        let token = |token: &TokenSection| Token {
            name: token.name.clone(),
            role: token.role,
            sha256: token.sha256.0,
        };
        Ok(Some(HttpConfig {
            is_asked_for: asked.is_some(),
            tokens: section.token.iter().map(token).collect(),
            hosts: section.hosts.clone(),
            public_url: section.public_url.clone(),
            plain: section.plain,
            tls: section
                .tls
                .as_ref()
                .map(|tls| TlsFiles { cert: tls.cert.clone(), key: tls.key.clone() }),
            ..HttpConfig::new(listen)
        }))
    }

    /// What the file says of which errors are the same fault.
    pub fn fault_rules(&self) -> Vec<FaultRule> {
        let rule = |rule: &FaultRuleSection| FaultRule {
            spec: rule.r#match.spec.clone(),
            fingerprint: rule.fingerprint.0.clone(),
        };
        self.fault_rule.iter().map(rule).collect()
    }

    /// Remembers where it is said which instances analyses and rules read.
    fn place_instances(&mut self, place: impl Fn(Section, &str) -> (PathBuf, usize)) {
        for (number, analysis) in self.analysis.iter_mut().enumerate() {
            analysis.place = place(Section::Analysis(number), "from");
        }
        for (number, rule) in self.rule.iter_mut().enumerate() {
            let key = if rule.instance.is_some() { "instance" } else { "name" };
            rule.place = place(Section::Rule(number), key);
        }
    }

    /// Whether analysis writes the instance of this name.
    fn is_of_analysis(&self, name: &str) -> bool {
        OF_ANALYSIS.contains(&name) || self.analysis.iter().any(|analysis| analysis.name == name)
    }

    /// The instances to run: those of the file, then `names` that are not among them, or `error_logger` if there would be
    /// none; then what analysis writes and nobody configured.
    ///
    /// # Errors
    ///
    /// [`ConfigError::Value`] for names that no instance can have.
    pub fn instances(
        &self,
        names: &[String],
        data_dir: &Path,
    ) -> Result<Vec<InstanceConfig>, ConfigError> {
        let mut sections = self.instance.clone();
        let add = |sections: &mut Vec<InstanceSection>, name: &str| {
            if !sections.iter().any(|section| section.name.as_deref() == Some(name)) {
                sections
                    .push(InstanceSection { name: Some(name.to_owned()), ..Default::default() });
            }
        };
        for name in names {
            add(&mut sections, name);
        }
        // Who only says how long analysis keeps what it writes has not said what to log.
        let is_of_analysis = |section: &InstanceSection| {
            section.name.as_deref().is_some_and(|name| self.is_of_analysis(name))
        };
        if sections.iter().all(is_of_analysis) {
            add(&mut sections, ERROR_LOGGER);
        }
        for name in OF_ANALYSIS.into_iter().chain(self.analysis.iter().map(|it| &*it.name)) {
            add(&mut sections, name);
        }
        let reads = self.analysis.iter().map(|it| ("from", &*it.from, &it.place));
        for (key, name, (path, line)) in
            reads.chain(self.rule.iter().map(|it| ("instance", it.instance(), &it.place)))
        {
            if !sections.iter().any(|section| section.name.as_deref() == Some(name)) {
                let names: Vec<_> = sections.iter().filter_map(|it| it.name.as_deref()).collect();
                return Err(ConfigError::Content {
                    path: path.clone(),
                    line: *line,
                    key: format!("{key}: "),
                    message: format!("there is no instance {name}; there is {}", names.join(", ")),
                });
            }
        }
        let of_analysis = self.instance_defaults.for_analysis();
        let mut managers = std::collections::HashSet::new();
        let mut configs = Vec::new();
        for section in sections {
            let is_ours = is_of_analysis(&section);
            let defaults = if is_ours { &of_analysis } else { &self.instance_defaults };
            let mut config = section.over(defaults).complete(data_dir)?;
            if is_ours && config.max_event_bytes < OF_ANALYSIS_EVENT_BYTES {
                return Err(ConfigError::Value(format!(
                    "instance {}: analysis writes events of up to {} KiB: leave max_event_bytes out, or write more",
                    config.log.name,
                    OF_ANALYSIS_EVENT_BYTES >> 10,
                )));
            }
            if let Some(capture) = config.capture.as_mut().filter(|capture| capture.wants_manager())
            {
                let handler = if capture.is_own_handler() { OWN_HANDLER } else { &capture.handler };
                let place = (capture.target.manager.clone(), handler.to_owned());
                capture.is_shared = !managers.insert(place);
            }
            configs.push(config);
        }
        check_places(&configs)?;
        Ok(configs)
    }
}

/// Instances may share directories, since their files begin with their names; but where one has its live segment, which
/// bears its name alone, no instance can have a directory, nor what analysis knows of another one.
fn check_places(configs: &[InstanceConfig]) -> Result<(), ConfigError> {
    let directories: Vec<_> = configs
        .iter()
        .flat_map(|config| {
            [&config.log.dir, &config.log.arch_dir].map(|dir| (config, resolved(dir)))
        })
        .collect();
    let known: Vec<_> =
        configs.iter().map(|config| (config, resolved(&config.log.dir.join(KNOWN)))).collect();
    for LogConfig { name, dir, .. } in configs.iter().map(|config| &config.log) {
        let live = resolved(dir).join(name);
        let of_others = known.iter().filter(|(other, _)| other.log.name != *name);
        let mut taken = directories.iter().chain(of_others);
        if let Some((other, taken)) = taken.find(|(_, dir)| dir.starts_with(&live)) {
            return Err(ConfigError::Value(format!(
                "instance {name}: its live segment would be {}, but instance {} has the directory {}; use another name, dir or arch_dir",
                live.display(),
                other.log.name,
                taken.display(),
            )));
        }
    }
    Ok(())
}

/// A path with its links followed as far as it exists, and without `.` and `..`.
fn resolved(path: &Path) -> PathBuf {
    let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let existing = absolute.ancestors().find_map(|part| Some((part, part.canonicalize().ok()?)));
    let Some((part, mut path)) = existing else { return absolute };
    let mut has_parents = false;
    for component in absolute.strip_prefix(part).into_iter().flat_map(Path::components) {
        match component {
            Component::ParentDir => {
                path.pop();
                has_parents = true;
            }
            component => path.push(component),
        }
    }
    // Without them more of it may exist.
    if has_parents { resolved(&path) } else { path }
}

/// The directory, within an instance's own, of what analysis knows.
const KNOWN: &str = "known";

/// What analysis writes besides: these instances exist without being configured.
const OF_ANALYSIS: [&str; 3] = ["alerts", "faults", "nodes"];

/// How much an instance of analysis keeps unless its own section says otherwise: years, as a rule.
const OF_ANALYSIS_BYTES: u64 = 1 << 30;

/// The largest event that analysis may write.
const OF_ANALYSIS_EVENT_BYTES: usize = 128 << 10;

impl InstanceSection {
    /// These defaults, for an instance that analysis writes. Who says what to capture, how large an event may be and how
    /// long all of that is kept thinks of what applications log. What analysis makes of it is little, and meant to be
    /// there when the events that it came from are long gone.
    fn for_analysis(&self) -> InstanceSection {
        InstanceSection {
            locate_em: None,
            max_event_bytes: None,
            delete_after: None,
            max_bytes: Some(Limit::Some(Size(OF_ANALYSIS_BYTES))),
            faults: Some(false),
            ..self.clone()
        }
    }

    /// These keys where they are set, `defaults` elsewhere. A directory is never a default: instances would
    /// share it.
    fn over(self, defaults: &InstanceSection) -> InstanceSection {
        let d = defaults.clone();
        InstanceSection {
            name: self.name,
            dir: self.dir,
            arch_dir: self.arch_dir,
            evict_after: self.evict_after.or(d.evict_after),
            evict_period: self.evict_period.or(d.evict_period),
            reopen_period: self.reopen_period.or(d.reopen_period),
            archive_after: self.archive_after.or(d.archive_after),
            archive_period: self.archive_period.or(d.archive_period),
            locate_em: self.locate_em.or(d.locate_em),
            handler: self.handler.or(d.handler),
            capture: self.capture.or(d.capture),
            logger_level: self.logger_level.or(d.logger_level),
            logger_filters: self.logger_filters.or(d.logger_filters),
            cache_bytes: self.cache_bytes.or(d.cache_bytes),
            segment_bytes: self.segment_bytes.or(d.segment_bytes),
            delete_after: self.delete_after.or(d.delete_after),
            max_bytes: self.max_bytes.or(d.max_bytes),
            min_free_bytes: self.min_free_bytes.or(d.min_free_bytes),
            scrub_period: self.scrub_period.or(d.scrub_period),
            sync: self.sync.or(d.sync),
            overload: self.overload.or(d.overload),
            block_for: self.block_for.or(d.block_for),
            pending_bytes: self.pending_bytes.or(d.pending_bytes),
            max_event_bytes: self.max_event_bytes.or(d.max_event_bytes),
            redact: self.redact.or(d.redact),
            takeover: self.takeover.or(d.takeover),
            faults: self.faults.or(d.faults),
        }
    }

    /// With the built-in defaults for what is left open.
    fn complete(self, data_dir: &Path) -> Result<InstanceConfig, ConfigError> {
        let name = self.name.unwrap_or_default();
        check::instance_name(&name).map_err(ConfigError::Value)?;
        let dir = self.dir.unwrap_or_else(|| data_dir.join(&name));
        let mut config = InstanceConfig::new(&name, &dir);
        let span = |into: &mut Duration, span: Option<Span>| {
            if let Some(Span(span)) = span {
                *into = span;
            }
        };
        let span_limit = |into: &mut Option<Duration>, limit: Option<Limit<Span>>| match limit {
            None => {}
            Some(Limit::None) => *into = None,
            Some(Limit::Some(Span(span))) => *into = Some(span),
        };
        let size_limit = |into: &mut Option<u64>, limit: Option<Limit<Size>>| match limit {
            None => {}
            Some(Limit::None) => *into = None,
            Some(Limit::Some(Size(size))) => *into = Some(size),
        };
        let bytes = |into: &mut usize, size: Option<Size>| {
            if let Some(Size(size)) = size {
                *into = usize::try_from(size).unwrap_or(usize::MAX);
            }
        };
        // What an instance of this name is for, however it came to be.
        let locate_em = self.locate_em.or_else(|| {
            (name == ERROR_LOGGER).then(|| Limit::Some(LocateEm(Capture::of_error_logger().target)))
        });
        config.capture = capture(&name, locate_em, self.handler, self.capture)?;
        if let Some(capture) = &mut config.capture {
            capture.logger_level = self.logger_level.unwrap_or_default();
            capture.logger_filters = self.logger_filters.unwrap_or_default();
        }
        let log = &mut config.log;
        if let Some(arch_dir) = self.arch_dir {
            log.arch_dir = arch_dir;
        }
        size_limit(&mut log.segment_bytes, self.segment_bytes);
        span_limit(&mut log.reopen_period, self.reopen_period);
        size_limit(&mut log.cache_bytes, self.cache_bytes);
        span_limit(&mut log.evict_after, self.evict_after);
        span(&mut log.evict_period, self.evict_period);
        span_limit(&mut log.archive_after, self.archive_after);
        span(&mut log.archive_period, self.archive_period);
        span_limit(&mut log.delete_after, self.delete_after);
        size_limit(&mut log.max_bytes, self.max_bytes);
        size_limit(&mut log.min_free_bytes, self.min_free_bytes);
        span_limit(&mut log.scrub_period, self.scrub_period);
        if let Some(sync) = self.sync {
            config.recorder.sync = sync.0;
        }
        match (self.overload, &mut config.recorder.overload) {
            (Some(OverloadSetting::Drop), overload) => *overload = Overload::Drop,
            (_, Overload::Block { at_most }) => span_limit(at_most, self.block_for),
            (_, Overload::Drop) => {}
        }
        bytes(&mut config.recorder.pending_bytes, self.pending_bytes);
        bytes(&mut config.max_event_bytes, self.max_event_bytes);
        config.redaction = Redaction::new(&self.redact.unwrap_or_default());
        span_limit(&mut config.takeover, self.takeover);
        config.faults = self.faults.unwrap_or(true);
        Ok(config)
    }
}

/// What an instance captures; nothing without `locate_em`.
fn capture(
    instance: &str,
    locate_em: Option<Limit<LocateEm>>,
    handler: Option<String>,
    setting: Option<CaptureSetting>,
) -> Result<Option<Capture>, ConfigError> {
    let Some(Limit::Some(LocateEm(target))) = locate_em else { return Ok(None) };
    let mut capture = Capture::new(target);
    if let Some(handler) = handler {
        capture.handler = handler;
    }
    capture.mode = match setting {
        None | Some(CaptureSetting::Auto) => Mode::Auto,
        Some(CaptureSetting::GenEvent) => Mode::GenEvent,
        Some(CaptureSetting::Logger) => Mode::Logger,
    };
    if capture.mode == Mode::Logger && (!capture.is_error_logger() || !capture.is_own_handler()) {
        return Err(ConfigError::Value(format!(
            "instance {instance}: capture \"logger\" goes with locate_em {{local, error_logger}} and no handler of your own; it forwards what logger handles"
        )));
    }
    Ok(Some(capture))
}

/// Puts file, line and key before what the parser says.
fn located(path: &Path, text: &str, error: &toml::de::Error) -> ConfigError {
    let at = error.span().map_or(0, |span| span.start.min(text.len()));
    let line = text[..at].matches('\n').count() + 1;
    let source = text.lines().nth(line - 1).unwrap_or_default();
    let key = source.split_once('=').map_or("", |(key, _)| key.trim());
    let key =
        if key.is_empty() || key.starts_with('#') { String::new() } else { format!("{key}: ") };
    let message = with_nearest(&error.message().trim().replace('\n', "; "));
    ConfigError::Content { path: path.to_owned(), line, key, message }
}

/// Says the nearest known name where the parser met an unknown one; of keys, in the place of all the others.
fn with_nearest(message: &str) -> String {
    let mut names = message.split('`').skip(1).step_by(2);
    let Some(unknown) = names.next().filter(|_| message.starts_with("unknown ")) else {
        return message.to_owned();
    };
    let nearest = names.map(|name| (distance(unknown, name), name)).min();
    match nearest {
        Some((distance, name)) if distance <= 1 + unknown.chars().count() / 3 => {
            if message.starts_with("unknown variant") {
                return format!("{message}; did you mean `{name}`?");
            }
            let what = message.split('`').next().unwrap_or_default();
            format!("{what}`{unknown}`; did you mean `{name}`?")
        }
        _ => message.to_owned(),
    }
}

/// How many characters must be changed, left out, added, or exchanged with their neighbour.
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let mut rows = vec![(0..=b.len()).collect::<Vec<_>>()];
    for i in 1..=a.len() {
        let mut row = vec![i];
        for j in 1..=b.len() {
            let same = usize::from(a[i - 1] != b[j - 1]);
            let mut least = (rows[i - 1][j] + 1).min(row[j - 1] + 1).min(rows[i - 1][j - 1] + same);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                least = least.min(rows[i - 2][j - 2] + 1);
            }
            row.push(least);
        }
        rows.push(row);
    }
    rows[a.len()][b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<File, ConfigError> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("c.toml");
        std::fs::write(&path, text).unwrap();
        File::read(&path)
    }

    /// The error's text without the directory.
    fn error(text: &str) -> String {
        let text = read(text).unwrap_err().to_string();
        text.split_once("c.toml").unwrap().1.to_owned()
    }

    #[test]
    fn the_manuals_example_is_read() {
        let file = read(
            r#"
            [node]
            name = "logmachine@10.0.0.5"
            connect = ["a@10.0.0.1", "b@10.0.0.2"]
            net_ticktime = "60s"
            allow = ["*@10.*"]
            [http]
            listen = "127.0.0.1:4370"
            [instance_defaults]
            evict_after = "4h"
            sync = "always"
            [[instance]]
            name = "error_logger"
            locate_em = "{local, error_logger}"
            archive_after = "7day"
            segment_bytes = "1MiB"
            [[instance]]
            name = "quotes"
            evict_after = "none"
            cache_bytes = 1000
            block_for = "none"
            takeover = "none"
            "#,
        )
        .unwrap();
        let more = ["quotes".to_owned(), "more".to_owned()];
        let instances = file.instances(&more, Path::new("d")).unwrap();
        let names: Vec<_> = instances.iter().map(|i| i.log.name.as_str()).collect();
        assert_eq!(names, ["error_logger", "quotes", "more", "alerts", "faults", "nodes"]);
        assert_eq!(instances[0].log.segment_bytes, Some(1 << 20));
        assert_eq!(instances[0].log.dir, Path::new("d/error_logger"));
        assert_eq!(instances[0].log.evict_after, Some(Duration::from_secs(4 * 3600)));
        assert_eq!(instances[0].takeover, Some(Duration::from_secs(30)));
        assert_eq!(instances[1].takeover, None);
        assert_eq!(instances[1].log.evict_after, None);
        assert_eq!(instances[1].log.cache_bytes, Some(1000));
        assert_eq!(instances[1].log.arch_dir, Path::new("d/quotes/archive"));
        assert!(instances.iter().all(|i| i.recorder.sync == SyncMode::Always));
        let block = |at_most| Overload::Block { at_most };
        assert_eq!(instances[0].recorder.overload, block(Some(Duration::from_secs(2))));
        assert_eq!(instances[1].recorder.overload, block(None));
    }

    #[test]
    fn errors_name_line_and_key() {
        let checks = [
            ("[node]\nnmae = 1\n", ":2: nmae: unknown field `nmae`; did you mean `name`?"),
            (
                "\n[[instance]]\nname = \"a\"\nevict_after = \"soon\"\n",
                ":4: evict_after: invalid value: string \"soon\"",
            ),
            (
                "[[instance]]\nname = \"a\"\nsegment_bytes = -1\n",
                ":3: segment_bytes: invalid value: integer `-1`",
            ),
            ("[[instance]]\nsync = \"1s\"\n", ":1: name: an instance needs a name"),
            (
                "[[instance]]\nname = \"a\"\nlocate_em = \"{here, x}\"\n",
                ":3: locate_em: invalid value: string \"{here, x}\", expected an Erlang term",
            ),
            (
                "[[instance]]\nname = \"a\"\ncapture = \"gen_evnet\"\n",
                ":3: capture: unknown variant `gen_evnet`, expected one of `auto`, `gen_event`, `logger`; did you mean `gen_event`?",
            ),
            (
                "[[instance]]\nname = \"a\"\nlogger_level = \"eror\"\n",
                ":3: logger_level: unknown variant `eror`, expected one of `all`,",
            ),
            (
                "[[instance]]\nname = \"a\"\nwibble = 1\n",
                ":3: wibble: unknown field `wibble`, expected one of",
            ),
            (
                "[[instance]]\nname = \"a\"\nblock_for = \"0s\"\n",
                ":3: block_for: invalid value: string \"0s\", expected a time span",
            ),
            (
                "[[instance]]\nname = \"a\"\n[[instance]]\nname = \"archive\"\n",
                ":4: name: \"archive\" is the directory of",
            ),
            (
                "[[fault_rule]]\nmatch = \"[{'_',[],['$_']}]\"\nfingerprint = \" \"\n",
                ":3: fingerprint: invalid value: string \" \", expected a text such as",
            ),
            ("[node\n", ":1: "),
        ];
        for (text, expected) in checks {
            let found = error(text);
            assert!(found.starts_with(expected), "{found}");
        }
    }

    #[test]
    fn names_that_are_no_file_names_are_refused() {
        let long = "x".repeat(181);
        for name in ["", "../x", "a/b", "a b", ".", "..", "a\n", &long] {
            let names = [name.to_owned()];
            let result = File::default().instances(&names, Path::new("d"));
            assert!(matches!(result, Err(ConfigError::Value(_))), "{name}");
        }
        let names = ["x".repeat(180)];
        assert!(File::default().instances(&names, Path::new("d")).is_ok());
    }

    /// A live segment where a directory is to be, written in every way that comes to the same.
    #[test]
    fn a_live_segment_and_a_directory_cannot_have_one_path() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().display().to_string();
        std::fs::create_dir(dir.path().join("real")).unwrap();
        std::os::unix::fs::symlink(dir.path().join("real"), dir.path().join("link")).unwrap();
        let text = |name: &str, place: &str| {
            format!("[[instance]]\nname = \"{name}\"\n{}\n", place.replace("ROOT", &root))
        };
        let check = |first: &str, second: &str, sound: bool| {
            let file = read(&(text("a", first) + &text("b", second))).unwrap();
            let result = file.instances(&[], Path::new("d"));
            assert_eq!(result.is_ok(), sound, "{first}; {second}");
            if let Err(error) = result {
                assert!(error.to_string().contains("its live segment would be"), "{error}");
            }
        };
        // Shared directories are fine, however they are written.
        check("dir = \"ROOT/real\"", "dir = \"ROOT/link/.\"", true);
        check("dir = \"ROOT/real\"", "dir = \"ROOT/x\"\narch_dir = \"ROOT/real\"", true);
        check("dir = \"ROOT/real\"", "dir = \"ROOT/link/a\"", false);
        check("dir = \"ROOT/real\"", "dir = \"ROOT/x/../link/a/deeper\"", false);
        check("dir = \"ROOT/real\"", "arch_dir = \"ROOT/./real/a\"", false);
        check("dir = \"ROOT/link\"\narch_dir = \"ROOT/real/a\"", "", false);
        // Where what analysis knows is stored.
        let of_known = |dir: &str| {
            let text = text("a", "dir = \"ROOT/x\"") + &text("known", dir);
            read(&text).unwrap().instances(&[], Path::new("d"))
        };
        assert!(of_known("dir = \"ROOT/y\"").is_ok() && of_known("").is_ok());
        let shared = of_known("dir = \"ROOT/x\"").unwrap_err().to_string();
        assert!(shared.contains("instance a has the directory"), "{shared}");
        // The defaults, and the names that once were directories' names.
        let names = |names: &[&str]| {
            let names: Vec<_> = names.iter().map(|name| (*name).to_owned()).collect();
            File::default().instances(&names, Path::new("d"))
        };
        assert!(names(&["cursors", "quotes"]).is_ok());
        assert!(matches!(names(&["archive"]), Err(ConfigError::Value(_))));
    }

    #[test]
    fn error_logger_captures_however_it_came_to_be_unless_it_is_told_not_to() {
        let capture = |text: &str, name: &str| {
            let file = if text.starts_with("[{") {
                erlang::read(Path::new("c.config"), text)
            } else {
                read(text)
            };
            let names: Vec<_> = (!name.is_empty()).then(|| name.to_owned()).into_iter().collect();
            file.unwrap().instances(&names, Path::new("d")).unwrap().remove(0).capture
        };
        let captured = Some(Capture::of_error_logger());
        for (text, name) in [
            ("", ""),
            ("", "error_logger"),
            ("[[instance]]\nname = \"error_logger\"\n", ""),
            ("[[instance]]\nname = \"error_logger\"\n", "error_logger"),
            ("[{logmachine, [{instances, [{error_logger, []}]}]}].", ""),
            ("[{logmachine, []}].", "error_logger"),
        ] {
            assert_eq!(capture(text, name), captured, "{text} {name}");
        }
        for (text, name) in [
            ("", "quotes"),
            ("[instance_defaults]\nlocate_em = \"none\"\n", ""),
            ("[instance_defaults]\nlocate_em = \"none\"\n", "error_logger"),
            ("[[instance]]\nname = \"error_logger\"\nlocate_em = \"none\"\n", ""),
            ("[{logmachine, [{instances, [{error_logger, [{locate_em, none}]}]}]}].", ""),
        ] {
            assert_eq!(capture(text, name), None, "{text} {name}");
        }
    }

    #[test]
    fn what_analysis_writes_is_there_and_kept_unless_it_is_told_otherwise() {
        let settle = |text: &str, names: &[&str]| {
            let names: Vec<_> = names.iter().map(|&name| name.to_owned()).collect();
            read(text).unwrap().instances(&names, Path::new("d")).unwrap()
        };
        let names = |configs: &[InstanceConfig]| -> Vec<String> {
            configs.iter().map(|config| config.log.name.clone()).collect()
        };
        assert_eq!(names(&settle("", &[])), ["error_logger", "alerts", "faults", "nodes"]);
        assert_eq!(names(&settle("", &["a", "nodes"])), ["a", "nodes", "alerts", "faults"]);
        let text = r#"
            [instance_defaults]
            locate_em = "bus"
            delete_after = "1day"
            max_bytes = "1MiB"
            max_event_bytes = "1KiB"
            sync = "always"
            [[instance]]
            name = "nodes"
            delete_after = "90day"
        "#;
        let configs = settle(text, &[]);
        assert_eq!(names(&configs), ["nodes", "error_logger", "alerts", "faults"]);
        let day = Duration::from_secs(86_400);
        let deleted: Vec<_> = configs.iter().map(|it| it.log.delete_after).collect();
        assert_eq!(deleted, [Some(90 * day), Some(day), None, None]);
        let bytes: Vec<_> = configs.iter().map(|it| it.log.max_bytes).collect();
        assert_eq!(bytes, [Some(1 << 30), Some(1 << 20), Some(1 << 30), Some(1 << 30)]);
        let captured: Vec<_> = configs.iter().map(|it| it.capture.is_some()).collect();
        assert_eq!(captured, [false, true, false, false]);
        assert_eq!(configs[2].max_event_bytes, 16 << 20);
        assert!(configs.iter().all(|it| it.recorder.sync == SyncMode::Always));
    }

    #[test]
    fn two_instances_at_one_manager_get_handlers_of_different_ids() {
        let text = |name, em| format!("[[instance]]\nname = \"{name}\"\nlocate_em = \"{em}\"\n");
        // Ours stands for the original's where that isn't.
        let original = text("d", "other") + "handler = \"logmachine_event_handler\"\n";
        let other = text("e", "other") + "handler = \"mine\"\n";
        let all = text("a", "bus") + &text("b", "{global, bus}") + &text("c", "other");
        let file = read(&(all + &original + &other));
        let instances = file.unwrap().instances(&[], Path::new("d")).unwrap();
        let shared: Vec<_> =
            instances.iter().filter_map(|i| Some(i.capture.as_ref()?.is_shared)).collect();
        assert_eq!(shared, [false, true, false, true, false]);
    }

    #[test]
    fn capture_by_logger_needs_error_logger() {
        let file = read("[[instance]]\nname = \"a\"\nlocate_em = \"bus\"\ncapture = \"logger\"\n");
        assert!(matches!(file.unwrap().instances(&[], Path::new("d")), Err(ConfigError::Value(_))));
    }
}
