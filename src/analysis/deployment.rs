//! What runs where: the events that say which releases and applications nodes came with.
//!
//! ```erlang
//! {node, up | changed, Node, #{creation => integer(), since => erlang:timestamp(), node_type => visible | hidden,
//!                              answered => boolean(), otp_release => binary(), erts_version => binary(),
//!                              applications => #{App => #{version => binary(), origin => own | dependency | otp,
//!                                                         modules => [module()]}}}}
//! {node, down, Node, #{creation, since, node_type, reason => atom(), detail => binary()}}
//! ```
//!
//! What a node did not tell is left out; `detail` says why, then. `applications_at` stands in the place of `applications` that
//! are those of an earlier entry, and has its timestamp. What the limits below cut off is counted: `modules_left_out` of an
//! application, `applications_left_out` of a node.

use std::collections::BTreeMap;

pub use super::origin::{Clues, Origin, is_otp, origins};
use super::pairs::Pairs;
use super::view::timestamp;
use crate::etf::{Term, TermBuf, TermRef, encode};
use crate::time::Timestamp;

/// The most applications that an event has.
const MAX_APPLICATIONS: usize = 1000;

/// The most bytes that the names of all modules take in an event.
const MAX_MODULE_BYTES: usize = 1 << 20;

/// The longest version, and the longest detail, in bytes.
const MAX_TEXT_BYTES: usize = 200;

/// What happened to a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// It connected.
    Up,
    /// It stayed, and has other applications, or other versions of them.
    Changed,
    /// The connection is gone.
    Down,
}

impl Change {
    /// What this atom stands for.
    pub fn of_name(name: &str) -> Option<Self> {
        [Change::Up, Change::Changed, Change::Down].into_iter().find(|it| it.name() == name)
    }

    /// The atom that events have.
    pub const fn name(self) -> &'static str {
        match self {
            Change::Up => "up",
            Change::Changed => "changed",
            Change::Down => "down",
        }
    }
}

/// An event of the instance `nodes`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Deployment {
    /// The node's name.
    pub node: String,
    /// What happened to it.
    pub change: Change,
    /// Tells one life of the node from the next.
    pub creation: u32,
    /// When the connection came up.
    pub since: Timestamp,
    /// Whether the node is one of `nodes(visible)`.
    pub is_visible: bool,
    /// Why it went, as `net_kernel:monitor_nodes/2` would say.
    pub reason: Option<String>,
    /// More about that, or why it did not tell what it runs.
    pub detail: Option<String>,
    /// What it runs; empty when it went.
    pub software: Software,
}

/// What a node runs, as far as it told.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Software {
    /// The release of OTP, `27`.
    pub otp_release: Option<String>,
    /// The version of its emulator, `15.2.7`.
    pub erts_version: Option<String>,
    /// The applications that are loaded.
    pub applications: Applications,
}

/// The applications of a node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Applications {
    /// It did not tell.
    #[default]
    Unknown,
    /// These, by name.
    Told {
        /// By name.
        by_name: BTreeMap<String, Application>,
        /// How many more there are.
        left_out: u64,
    },
    /// Those of the entry with this timestamp.
    At(Timestamp),
}

/// An application.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Application {
    /// `vsn` of its `.app` file.
    pub version: String,
    /// Whose it is.
    pub origin: Origin,
    /// Its modules, in order.
    pub modules: Vec<String>,
    /// How many more it has.
    pub modules_left_out: u64,
}

impl Applications {
    /// The application that has a module.
    pub fn of_module(&self, module: &str) -> Option<(&str, &Application)> {
        let Applications::Told { by_name, .. } = self else { return None };
        let has = |it: &Application| {
            it.modules.binary_search_by(|name| name.as_str().cmp(module)).is_ok()
        };
        by_name.iter().find(|(_, it)| has(it)).map(|(name, it)| (name.as_str(), it))
    }
}

impl Software {
    /// Keeps within what an event may have. Modules of the team's own applications are the last that are left out.
    pub fn cut(&mut self) {
        for text in [&mut self.otp_release, &mut self.erts_version].into_iter().flatten() {
            cut(text);
        }
        let Applications::Told { by_name, left_out } = &mut self.applications else { return };
        while by_name.len() > MAX_APPLICATIONS {
            by_name.pop_last();
            *left_out += 1;
        }
        let mut room = MAX_MODULE_BYTES;
        for origin in [Origin::Own, Origin::Dependency, Origin::Otp] {
            for it in by_name.values_mut().filter(|it| it.origin == origin) {
                cut(&mut it.version);
                let mut kept = 0;
                while let Some(more) = it.modules.get(kept).filter(|name| name.len() + 3 <= room) {
                    room -= more.len() + 3;
                    kept += 1;
                }
                it.modules_left_out += (it.modules.len() - kept) as u64;
                it.modules.truncate(kept);
            }
        }
    }
}

fn cut(text: &mut String) {
    text.truncate(text.floor_char_boundary(MAX_TEXT_BYTES));
}

impl Deployment {
    /// The event.
    pub fn encode(&self) -> TermBuf {
        let mut pairs = Pairs::default();
        pairs.add("creation", |out| encode::unsigned(out, self.creation.into()));
        pairs.add("since", |out| encode::timestamp(out, self.since));
        let node_type = if self.is_visible { "visible" } else { "hidden" };
        pairs.add("node_type", |out| encode::atom(out, node_type));
        if let Some(reason) = &self.reason {
            pairs.add("reason", |out| encode::atom(out, reason));
        }
        if let Some(detail) = &self.detail {
            pairs.add("detail", |out| {
                let end = detail.floor_char_boundary(MAX_TEXT_BYTES);
                encode::binary(out, &detail.as_bytes()[..end]);
            });
        }
        if self.change != Change::Down {
            self.software.write(&mut pairs);
        }
        TermBuf::written(|out| {
            encode::tuple_header(out, 4);
            encode::atom(out, "node");
            encode::atom(out, self.change.name());
            encode::atom(out, &self.node);
            pairs.write(out);
        })
    }

    /// What an event says, within what an event of ours may have; `None` if it isn't one of these.
    pub fn decode(event: TermRef<'_>) -> Option<Self> {
        let [tag, change, node, about] = event.as_tuple()?;
        let change = change.as_atom().filter(|_| tag.is_atom("node"))?;
        let creation = about.map_get("creation")?.as_integer()?;
        let mut software = Software::read(about);
        software.cut();
        Some(Deployment {
            node: atom(node)?,
            change: Change::of_name(&change.to_str())?,
            creation: u32::try_from(creation).ok()?,
            since: timestamp(about.map_get("since")?)?,
            is_visible: about.map_get("node_type")?.is_atom("visible"),
            reason: about.map_get("reason").and_then(atom),
            detail: about.map_get("detail").and_then(text),
            software,
        })
    }
}

impl Software {
    fn write(&self, pairs: &mut Pairs) {
        let is_known = self.applications != Applications::Unknown;
        pairs.add("answered", |out| encode::boolean(out, is_known));
        for (key, text) in
            [("otp_release", &self.otp_release), ("erts_version", &self.erts_version)]
        {
            if let Some(text) = text {
                pairs.add(key, |out| encode::binary(out, text.as_bytes()));
            }
        }
        match &self.applications {
            Applications::Unknown => {}
            Applications::At(stamp) => {
                pairs.add("applications_at", |out| encode::timestamp(out, *stamp));
            }
            Applications::Told { by_name, left_out } => {
                pairs.add("applications", |out| {
                    encode::map_header(out, by_name.len());
                    for (name, application) in by_name {
                        encode::atom(out, name);
                        application.write(out);
                    }
                });
                if *left_out > 0 {
                    pairs.add("applications_left_out", |out| encode::unsigned(out, *left_out));
                }
            }
        }
    }

    fn read(about: TermRef<'_>) -> Self {
        let told = |applications: TermRef<'_>| Applications::Told {
            by_name: pairs(applications)
                .filter_map(|(name, it)| Some((atom(name)?, Application::read(it)?)))
                .collect(),
            left_out: count(about, "applications_left_out"),
        };
        let at = || Some(Applications::At(timestamp(about.map_get("applications_at")?)?));
        Software {
            otp_release: about.map_get("otp_release").and_then(text),
            erts_version: about.map_get("erts_version").and_then(text),
            applications: about.map_get("applications").map(told).or_else(at).unwrap_or_default(),
        }
    }
}

impl Application {
    fn write(&self, out: &mut Vec<u8>) {
        let mut pairs = Pairs::default();
        pairs.add("version", |out| encode::binary(out, self.version.as_bytes()));
        pairs.add("origin", |out| encode::atom(out, self.origin.name()));
        pairs.add("modules", |out| {
            encode::list(out, self.modules.iter(), |out, module| encode::atom(out, module));
        });
        if self.modules_left_out > 0 {
            pairs.add("modules_left_out", |out| encode::unsigned(out, self.modules_left_out));
        }
        pairs.write(out);
    }

    fn read(term: TermRef<'_>) -> Option<Self> {
        let mut modules: Vec<_> = term.map_get("modules")?.cells().filter_map(atom).collect();
        modules.sort_unstable();
        Some(Application {
            version: text(term.map_get("version")?)?,
            origin: Origin::of_name(&term.map_get("origin")?.as_atom()?.to_str())?,
            modules,
            modules_left_out: count(term, "modules_left_out"),
        })
    }
}

fn pairs(map: TermRef<'_>) -> impl Iterator<Item = (TermRef<'_>, TermRef<'_>)> {
    let pairs = if let Term::Map(pairs) = map.view() { Some(pairs) } else { None };
    pairs.into_iter().flatten()
}

fn atom(term: TermRef<'_>) -> Option<String> {
    Some(term.as_atom()?.to_str().into_owned())
}

fn text(term: TermRef<'_>) -> Option<String> {
    let bytes = term.as_binary()?;
    // A character that this breaks ends beyond what is kept.
    let bytes = &bytes[..bytes.len().min(MAX_TEXT_BYTES + char::MAX_LEN_UTF8)];
    let mut text = String::from_utf8_lossy(bytes).into_owned();
    cut(&mut text);
    Some(text)
}

fn count(map: TermRef<'_>, key: &str) -> u64 {
    let count = map.map_get(key).and_then(TermRef::as_integer);
    count.and_then(|count| u64::try_from(count).ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn application(version: &str, origin: Origin, modules: &[&str]) -> Application {
        let modules = modules.iter().map(|&module| module.to_owned()).collect();
        Application { version: version.to_owned(), origin, modules, modules_left_out: 0 }
    }

    fn up(applications: Applications) -> Deployment {
        Deployment {
            node: "a@h".to_owned(),
            change: Change::Up,
            creation: 1_700_000_000,
            since: Timestamp::from_micros(1_234_567_890_123),
            is_visible: true,
            reason: None,
            detail: None,
            software: Software {
                otp_release: Some("27".to_owned()),
                erts_version: Some("15.2".to_owned()),
                applications,
            },
        }
    }

    #[test]
    fn what_is_written_is_read() {
        let shop = application("1.4.2", Origin::Own, &["shop", "shop_cart"]);
        let by_name = BTreeMap::from([("shop".to_owned(), shop.clone())]);
        let told = up(Applications::Told { by_name, left_out: 3 });
        let text = crate::etf::text::to_text(told.encode().as_term());
        assert!(text.starts_with("{node,up,a@h,#{creation => 1700000000,since => {1,234567,890123},node_type => visible,answered => true"), "{text}");
        assert!(
            text.contains(
                "shop => #{version => <<\"1.4.2\">>,origin => own,modules => [shop,shop_cart]}"
            ),
            "{text}"
        );
        assert_eq!(told.software.applications.of_module("shop_cart"), Some(("shop", &shop)));
        assert_eq!(told.software.applications.of_module("lists"), None);
        let down = Deployment {
            change: Change::Down,
            is_visible: false,
            reason: Some("net_tick_timeout".to_owned()),
            detail: Some("nothing heard for 60s".to_owned()),
            software: Software::default(),
            ..told.clone()
        };
        let same = up(Applications::At(Timestamp::from_micros(5)));
        for it in [told, same, up(Applications::Unknown), down] {
            assert_eq!(Deployment::decode(it.encode().as_term()), Some(it));
        }
    }

    #[test]
    fn other_terms_are_no_deployments() {
        for text in [
            "a",
            "{node,up,a@h,#{}}",
            "{node,up,a@h,[]}",
            "{node,left,a@h,#{creation => 1,since => {1,2,3},node_type => hidden}}",
        ] {
            let term = crate::etf::text::parse(text).expect("a term");
            assert_eq!(Deployment::decode(term.as_term()), None, "{text}");
        }
    }

    /// Far more of everything than an event may have.
    #[test]
    fn an_event_is_bounded_and_keeps_the_modules_of_the_teams_own() {
        let module = |at: usize| format!("{}{at:05}", "m".repeat(200));
        let modules: Vec<String> = (0..4000).map(module).collect();
        let modules: Vec<&str> = modules.iter().map(String::as_str).collect();
        let long = "1".repeat(5000);
        let mut by_name = BTreeMap::from([
            ("a".to_owned(), application(&long, Origin::Otp, &modules)),
            ("b".to_owned(), application(&long, Origin::Own, &modules)),
        ]);
        by_name.extend(
            (0..1200).map(|n| (format!("c{n:04}"), application("", Origin::Dependency, &[]))),
        );
        let mut it = up(Applications::Told { by_name, left_out: 0 });
        it.software.cut();
        assert!(it.encode().bytes().len() < MAX_MODULE_BYTES + MAX_APPLICATIONS * 100);
        let Applications::Told { by_name, left_out } = &it.software.applications else { panic!() };
        assert_eq!((by_name.len(), *left_out), (MAX_APPLICATIONS, 202));
        assert_eq!((by_name["b"].modules.len(), by_name["b"].modules_left_out), (4000, 0));
        let otp = &by_name["a"];
        assert_eq!(otp.modules.len() as u64 + otp.modules_left_out, 4000);
        assert!(otp.modules_left_out > 0 && otp.version.len() == MAX_TEXT_BYTES);
    }

    /// Anybody who can cast can write an event that is larger than ours are.
    #[test]
    fn what_is_read_is_bounded_as_what_is_written() {
        let long = "1".repeat(199) + &"é".repeat(1000);
        let application = application(&long, Origin::Own, &[]);
        let by_name = (0..1200).map(|n| (format!("c{n:04}"), application.clone())).collect();
        let mut it = up(Applications::Told { by_name, left_out: 0 });
        it.software.otp_release = Some(long);
        let read = Deployment::decode(it.encode().as_term()).expect("a deployment");
        it.software.cut();
        assert_eq!(read, it);
        assert_eq!(read.software.otp_release.map(|text| text.len()), Some(199));
    }
}
