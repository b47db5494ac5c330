//! What a value's type does not tell: how large, whether a name can be one, what is there twice.
//!
//! A file's mistakes are found when it is read, so that they are told with file, line and key; what is found here is
//! true of flags and variables too, whose values come without a place.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use super::{
    ConfigError, File, InstanceSection, Limit, LocateEm, Size, Span, SyncSetting, analyses, rules,
};
use crate::event_log::MAX_NAME_BYTES;
use crate::instance::SyncMode;
use crate::instance::locator::target::Nodes;
use crate::proto::NodeName;

/// A part of a file that has keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Section {
    Node,
    Http,
    Defaults,
    /// The instance of this number, from 0.
    Instance(usize),
    /// Likewise.
    Analysis(usize),
    /// Likewise.
    Rule(usize),
    /// Likewise.
    Webhook(usize),
}

/// Tells in which file and line a key of a section stands.
pub(super) type FindKey<'a> = &'a dyn Fn(Section, &str) -> (PathBuf, usize);

/// The largest event that any configuration allows: a packet's limit, less room for what surrounds it.
pub(super) const MAX_EVENT_BYTES: u64 = crate::proto::packet::MAX_PACKET_BYTES as u64 - (64 << 10);

/// The directory of an instance's archives, within its own, which has its name.
pub(super) const ARCHIVES: &str = "archive";

/// Spans of time in an instance: shorter ones keep a processor busy, longer ones are no limit.
const SPANS: RangeInclusive<Duration> = Duration::from_millis(10)..=Duration::from_secs(YEARS_100);
const SPANS_TEXT: &str = "10ms to 36500day";
const YEARS_100: u64 = 36_500 * 86_400;

/// Silence between nodes. OTP takes whole seconds, from one on.
const TICK_TIMES: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(86_400);

/// Reads a key of an instance.
type Get<T> = fn(&InstanceSection) -> Option<T>;

/// A size of an instance, and from how much to how much it makes sense.
struct SizeKey {
    key: &'static str,
    get: Get<u64>,
    range: RangeInclusive<u64>,
    allowed: &'static str,
}

const SIZE_KEYS: [SizeKey; 6] = [
    SizeKey {
        key: "segment_bytes",
        get: |i| limit_bytes(i.segment_bytes),
        range: 4 << 10..=1 << 50,
        allowed: "4KiB to 1024TiB",
    },
    SizeKey {
        key: "cache_bytes",
        get: |i| limit_bytes(i.cache_bytes),
        range: 0..=1 << 50,
        allowed: "0 to 1024TiB",
    },
    SizeKey {
        key: "max_bytes",
        get: |i| limit_bytes(i.max_bytes),
        range: 4 << 10..=1 << 50,
        allowed: "4KiB to 1024TiB",
    },
    SizeKey {
        key: "min_free_bytes",
        get: |i| limit_bytes(i.min_free_bytes),
        range: 0..=1 << 50,
        allowed: "0 to 1024TiB",
    },
    SizeKey {
        key: "pending_bytes",
        get: |i| bytes(i.pending_bytes),
        range: 64 << 10..=1 << 40,
        allowed: "64KiB to 1TiB",
    },
    SizeKey {
        key: "max_event_bytes",
        get: |i| bytes(i.max_event_bytes),
        range: 1 << 10..=MAX_EVENT_BYTES,
        allowed: "1KiB to 134152192 bytes: a packet between nodes holds no more",
    },
];

/// The spans of an instance.
const SPAN_KEYS: [(&str, Get<Duration>); 10] = [
    ("evict_after", |i| limit_span(i.evict_after)),
    ("evict_period", |i| span(i.evict_period)),
    ("reopen_period", |i| limit_span(i.reopen_period)),
    ("archive_after", |i| limit_span(i.archive_after)),
    ("archive_period", |i| span(i.archive_period)),
    ("delete_after", |i| limit_span(i.delete_after)),
    ("scrub_period", |i| limit_span(i.scrub_period)),
    ("block_for", |i| limit_span(i.block_for)),
    ("takeover", |i| limit_span(i.takeover)),
    ("sync", |i| match i.sync {
        Some(SyncSetting(SyncMode::Interval(interval))) => Some(interval),
        _ => None,
    }),
];

fn bytes(size: Option<Size>) -> Option<u64> {
    size.map(|Size(bytes)| bytes)
}

fn limit_bytes(limit: Option<Limit<Size>>) -> Option<u64> {
    if let Some(Limit::Some(Size(bytes))) = limit { Some(bytes) } else { None }
}

fn span(span: Option<Span>) -> Option<Duration> {
    span.map(|Span(span)| span)
}

fn limit_span(limit: Option<Limit<Span>>) -> Option<Duration> {
    if let Some(Limit::Some(Span(span))) = limit { Some(span) } else { None }
}

/// Checks all of a file.
pub(super) fn check(file: &File, place: FindKey<'_>) -> Result<(), ConfigError> {
    node(file, place)?;
    let listen = file.http.listen.as_deref();
    if let Some(listen) = listen.filter(|listen| *listen != "off") {
        http_address(listen).map_err(|why| at(place, Section::Http, "listen", why))?;
    }
    let mut tokens = std::collections::HashSet::new();
    for token in &file.http.token {
        let wrong = |why| Err(at(place, Section::Http, "token", why));
        if token.name.trim().is_empty() {
            return wrong("a token needs a name, for people".to_owned());
        }
        if !tokens.insert(&token.name) {
            return wrong(format!("token {} is there twice", token.name));
        }
    }
    instance(&file.instance_defaults, Section::Defaults, place)?;
    let mut names = std::collections::HashSet::new();
    for (number, section) in file.instance.iter().enumerate() {
        let here = Section::Instance(number);
        let wrong = |why| at(place, here, "name", why);
        let name = section.name.as_deref();
        let name = name.ok_or_else(|| wrong("an instance needs a name".to_owned()))?;
        instance_name(name).map_err(wrong)?;
        if name == ARCHIVES && section.arch_dir.is_none() {
            return Err(wrong(format!(
                "{ARCHIVES:?} is the directory of an instance's archives; use another name, or set arch_dir"
            )));
        }
        if !names.insert(name) {
            return Err(wrong(format!("instance {name} is configured twice")));
        }
        instance(section, here, place)?;
    }
    analyses::check(file, place)?;
    rules::check(file, place)
}

pub(super) fn at(place: FindKey<'_>, section: Section, key: &str, message: String) -> ConfigError {
    let (path, line) = place(section, key);
    ConfigError::Content { path, line, key: format!("{key}: "), message }
}

fn node(file: &File, place: FindKey<'_>) -> Result<(), ConfigError> {
    let section = &file.node;
    let wrong = |key, why| at(place, Section::Node, key, why);
    if let Some(name) = &section.name {
        long_name(name).map_err(|why| wrong("name", why))?;
    }
    if let Some(sname) = &section.sname {
        short_name(sname).map_err(|why| wrong("sname", why))?;
        if section.name.is_some() {
            return Err(wrong("sname", "a node has either a name or a sname".to_owned()));
        }
    }
    let mut seen = std::collections::HashSet::new();
    for node in &section.connect {
        if node != "local" {
            node_name(node).map_err(|why| wrong("connect", why))?;
        }
        if !seen.insert(node) {
            return Err(wrong("connect", format!("{node} is there twice")));
        }
    }
    if let Some(listen) = &section.listen {
        address(listen).map_err(|why| wrong("listen", why))?;
    }
    for glob in &section.allow {
        node_glob(glob).map_err(|why| wrong("allow", why))?;
    }
    if section.net_ticktime.is_some_and(|Span(span)| !TICK_TIMES.contains(&span)) {
        return Err(wrong("net_ticktime", "write 1s to 1day".to_owned()));
    }
    if section.verbose.is_some_and(|verbose| verbose > 2) {
        return Err(wrong("verbose", "write 0, 1 or 2".to_owned()));
    }
    Ok(())
}

fn instance(
    section: &InstanceSection,
    here: Section,
    place: FindKey<'_>,
) -> Result<(), ConfigError> {
    let wrong = |key, why| at(place, here, key, why);
    for SizeKey { key, get, range, allowed } in &SIZE_KEYS {
        if let Some(bytes) = get(section).filter(|bytes| !range.contains(bytes)) {
            return Err(wrong(key, format!("{bytes} bytes make no sense; write {allowed}")));
        }
    }
    for (key, get) in SPAN_KEYS {
        if get(section).is_some_and(|span| !SPANS.contains(&span)) {
            return Err(wrong(key, format!("write {SPANS_TEXT}")));
        }
    }
    if let Some(Limit::Some(LocateEm(target))) = &section.locate_em
        && let Nodes::Only(globs) | Nodes::Except(globs) = &target.nodes
    {
        for glob in globs {
            node_glob(glob).map_err(|why| wrong("locate_em", why))?;
        }
    }
    if let Some(handler) = &section.handler
        && (handler.is_empty() || handler.chars().count() > 255)
    {
        return Err(wrong("handler", format!("{handler:?} is no module name")));
    }
    Ok(())
}

/// `name@host`.
pub(crate) fn node_name(name: &str) -> Result<NodeName, String> {
    NodeName::new(name).ok_or_else(|| format!("{name:?} is no node name: write name@host"))
}

/// A name with a host that has a dot.
pub(crate) fn long_name(name: &str) -> Result<NodeName, String> {
    let parsed = node_name(name)?;
    if parsed.host().contains('.') {
        return Ok(parsed);
    }
    Err(format!(
        "long node name {name}: its host needs a dot, as in n@host.example.com or n@127.0.0.1; use sname (--sname) for short names"
    ))
}

/// A name with a host that has none, or without a host: then this host's short name is added.
pub(crate) fn short_name(name: &str) -> Result<NodeName, String> {
    let full = if name.contains('@') {
        name.to_owned()
    } else {
        let host = gethostname::gethostname().to_string_lossy().into_owned();
        format!("{name}@{}", host.split('.').next().unwrap_or_default())
    };
    let parsed = node_name(&full)?;
    if parsed.host().contains('.') {
        return Err(format!(
            "short node name {full}: its host must not have a dot; use name (--name) for long names"
        ));
    }
    Ok(parsed)
}

/// `ADDR`, `ADDR:PORT`, or `:PORT` for loopback.
pub(crate) fn address(text: &str) -> Result<SocketAddr, String> {
    let parsed = text.parse().or_else(|_| text.parse::<IpAddr>().map(|ip| SocketAddr::new(ip, 0)));
    parsed.or_else(|_| {
        let port = text.strip_prefix(':').and_then(|port| port.parse().ok());
        let port = port.ok_or_else(|| format!("{text:?}: write an address, or address:port"))?;
        Ok(SocketAddr::new(Ipv4Addr::LOCALHOST.into(), port))
    })
}

/// `ADDR:PORT`.
pub(crate) fn http_address(text: &str) -> Result<SocketAddr, String> {
    text.parse().map_err(|_| format!("{text:?}: write address:port, or off"))
}

/// A node's name in which `*` stands for anything. One that no node's name can fit is a mistake.
fn node_glob(glob: &str) -> Result<(), String> {
    let has_at = glob.matches('@').count() <= 1 && (glob.contains('@') || glob.contains('*'));
    let filled = glob.replace('*', "x");
    let filled = if filled.contains('@') { filled } else { format!("{filled}@x") };
    let special = glob.contains(['?', '[', ']', '{', '}', ',']);
    if has_at && !special && NodeName::new(&filled).is_some() {
        return Ok(());
    }
    Err(format!("{glob:?} fits no node: write name@host, with * for anything, as in \"*@10.*\""))
}

/// An instance's name is an atom, a registered name, a file name and a directory name.
pub(super) fn instance_name(name: &str) -> Result<(), String> {
    let sound = |c: char| c.is_alphanumeric() || matches!(c, '_' | '-' | '@');
    if name.is_empty() || name.len() > MAX_NAME_BYTES || !name.chars().all(sound) {
        return Err(format!(
            "instance name {name:?}: use 1 to {MAX_NAME_BYTES} letters, digits, _ - or @; it names files too"
        ));
    }
    Ok(())
}

/// The line of a key in a TOML text; of its section where the key is written in a way of its own.
pub(super) fn toml_line(text: &str, section: Section, key: &str) -> usize {
    let (header, number) = match section {
        Section::Node => ("[node]", 0),
        Section::Http => ("[http]", 0),
        Section::Defaults => ("[instance_defaults]", 0),
        Section::Instance(number) => ("[[instance]]", number),
        Section::Analysis(number) => ("[[analysis]]", number),
        Section::Rule(number) => ("[[rule]]", number),
        Section::Webhook(number) => ("[[webhook]]", number),
    };
    let (mut seen, mut inside, mut begin) = (0, false, 1);
    for (line, content) in (1..).zip(text.lines().map(str::trim)) {
        if content.starts_with('[') && !content.contains('=') {
            let is_header = content.split('#').next().unwrap_or_default().trim() == header;
            inside = is_header && seen == number;
            seen += usize::from(is_header);
            if inside {
                begin = line;
            }
        } else if inside {
            let rest = content.trim_start_matches('"').strip_prefix(key);
            let rest = rest.map(|rest| rest.trim_start_matches('"').trim_start());
            if rest.is_some_and(|rest| rest.starts_with('=')) {
                return line;
            }
        }
    }
    begin
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::path::Path;

    use super::*;
    use crate::config::{AnalysisSection, HttpSection, NodeSection, RuleSection, WebhookSection};

    const MANUAL: &str = include_str!("../../docs/configuration.md");

    /// The keys that a section takes, which the parser tells where it meets an unknown one.
    fn keys<T: serde::de::DeserializeOwned + std::fmt::Debug>() -> BTreeSet<String> {
        let error = toml::from_str::<T>("no_such_key = 1").unwrap_err();
        let known = error.message().split_once("expected").unwrap().1.split('`');
        known.skip(1).step_by(2).map(str::to_owned).collect()
    }

    /// Keys and defaults of the manual's table below a heading.
    fn table(heading: &str) -> Vec<(String, String)> {
        let from = MANUAL.split_once(heading).expect("the heading is there").1;
        let rows = from.lines().skip_while(|line| !line.starts_with('|')).skip(2);
        let rows = rows.take_while(|line| line.starts_with('|'));
        let mut found = Vec::new();
        for row in rows {
            let cells: Vec<&str> = row.split('|').map(str::trim).collect();
            let keys: Vec<&str> = cells[1].split(", ").collect();
            let mut defaults: Vec<&str> = cells[2].split(", ").collect();
            defaults.resize(keys.len(), cells[2]);
            let keys = keys.iter().map(|key| key.trim_matches('`').to_owned());
            found.extend(keys.zip(defaults.iter().map(|&default| default.to_owned())));
        }
        found
    }

    /// A default of the manual as TOML has it; nothing where it is told in words.
    fn literal(default: &str) -> Option<String> {
        let code = default.strip_prefix('`').and_then(|code| code.strip_suffix('`'));
        if let Some(code) = code {
            return (code.starts_with('"')).then(|| code.to_owned());
        }
        let number = default.split(' ').next()?.parse::<u64>().ok()?;
        let unit = default.split_once(' ').map(|(_, unit)| unit);
        Some(unit.map_or_else(|| number.to_string(), |unit| format!("\"{number}{unit}\"")))
    }

    #[test]
    fn the_manual_has_every_key() {
        let told = |heading| -> BTreeSet<String> {
            table(heading).into_iter().map(|(key, _)| key).collect()
        };
        assert_eq!(told("## `[node]`"), keys::<NodeSection>());
        assert_eq!(told("## `[[instance]]`"), keys::<InstanceSection>());
        assert_eq!(told("## `[http]`"), keys::<HttpSection>());
        assert_eq!(told("## `[[analysis]]`"), keys::<AnalysisSection>());
        assert_eq!(told("## `[[rule]]`"), keys::<RuleSection>());
        assert_eq!(told("## `[[webhook]]`"), keys::<WebhookSection>());
    }

    /// Each is written into a configuration, which then has to be the same as without it.
    #[test]
    fn the_manuals_defaults_are_true() {
        let settled = |text: &str| {
            let text = format!("[[instance]]\nname = \"q\"\nlocate_em = \"bus\"\n{text}\n");
            let file: File = toml::from_str(&text).unwrap();
            check(&file, &|_, key| (key.into(), 0)).unwrap();
            format!("{:?}", file.instances(&[], Path::new("d")).unwrap())
        };
        let mut compared = 0;
        for (key, default) in table("## `[[instance]]`") {
            if let Some(value) = literal(&default) {
                assert_eq!(settled(&format!("{key} = {value}")), settled(""), "{key} = {value}");
                compared += 1;
            }
        }
        assert!(compared >= 14, "{compared}");
    }
}
