//! What a node is asked, by `rpc`, and what is made of its answers.
//!
//! Four calls, whatever the number of applications: functions of OTP are mapped over lists by functions of OTP, which every
//! release from 23 on has. A configuration is never asked for, as it holds passwords. Sources are looked up in the files of
//! modules, so that none is loaded for it.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use crate::analysis::deployment::{Application, Applications, Clues, Software, is_otp, origins};
use crate::etf::{Term, TermBuf, TermRef, encode, text};
use crate::node::{Node, Peer};

/// The most applications of a node that are looked at.
const MAX_APPLICATIONS: usize = 2000;

/// The most modules, of all applications together.
const MAX_MODULES: usize = 50_000;

/// The most characters of a version, a path, or an error.
const MAX_CHARS: usize = 1000;

/// The most applications that one needs.
const MAX_NEEDS: usize = 1000;

/// The applications that a node has loaded, and their versions.
pub(super) async fn loaded(
    node: &Node,
    peer: &Arc<Peer>,
) -> Result<BTreeMap<String, String>, String> {
    let answer = rpc(node, peer, "application", "loaded_applications", encode::nil).await?;
    let version = |application: TermRef<'_>| {
        let [name, _, version] = application.as_tuple()?;
        Some((atom(name)?, characters(version)))
    };
    Ok(answer.as_term().cells().take(MAX_APPLICATIONS).filter_map(version).collect())
}

/// What a node answered.
#[derive(Default)]
pub(super) struct Answers {
    otp_release: Option<String>,
    erts_version: Option<String>,
    /// Of its applications, by name.
    pub(super) versions: BTreeMap<String, String>,
    modules: HashMap<String, Modules>,
    clues: BTreeMap<String, Clues>,
}

#[derive(Default)]
struct Modules {
    names: Vec<String>,
    left_out: u64,
}

impl Answers {
    /// Asks one thing after the other; what was answered before a failure is kept.
    pub(super) async fn gather(&mut self, node: &Node, peer: &Arc<Peer>) -> Result<(), String> {
        let system_info = |out: &mut Vec<u8>| {
            encode::list_header(out, 2);
            encode::export(out, "erlang", "system_info", 1);
            encode::list(out, ["otp_release", "version"].into_iter(), encode::atom);
            encode::nil(out);
        };
        let (system, loaded) =
            tokio::join!(rpc(node, peer, "lists", "map", system_info), loaded(node, peer),);
        let system = system?;
        let mut texts = system.as_term().cells().map(characters);
        (self.otp_release, self.erts_version) = (texts.next(), texts.next());
        self.versions = loaded?;
        let keys = rpc(node, peer, "lists", "zipwith", |out| self.write_keys(out)).await?;
        self.read_keys(keys.as_term());
        // Without sources there is another way to tell whose an application is.
        let _ = self.find_sources(node, peer).await;
        Ok(())
    }

    /// `[fun application:get_key/2, Names, Keys]`
    fn write_keys(&self, out: &mut Vec<u8>) {
        let count = 2 * self.versions.len();
        encode::list_header(out, 3);
        encode::export(out, "application", "get_key", 2);
        let names = self.versions.keys().flat_map(|name| [name, name]).collect::<Vec<_>>();
        encode::list(out, names.into_iter(), |out, name| encode::atom(out, name));
        let key = |at: usize| ["modules", "applications"][at % 2];
        encode::list(out, 0..count, |out, at| encode::atom(out, key(at)));
        encode::nil(out);
    }

    /// For each application `{ok, Modules}` and `{ok, Applications}`, or `undefined`.
    fn read_keys(&mut self, keys: TermRef<'_>) {
        let mut keys = keys.cells().map(|key| match key.as_tuple() {
            Some([tag, value]) if tag.is_atom("ok") => value,
            _ => TermRef::NIL,
        });
        let mut room = MAX_MODULES;
        for name in self.versions.keys() {
            let (Some(modules), Some(needs)) = (keys.next(), keys.next()) else { return };
            let mut cells = modules.cells();
            let names: Vec<_> = cells.by_ref().take(room).filter_map(atom).collect();
            room -= names.len();
            let left_out = cells.count() as u64;
            self.modules.insert(name.clone(), Modules { names, left_out });
            let needs = needs.cells().take(MAX_NEEDS).filter_map(atom).collect();
            self.clues.insert(name.clone(), Clues { source: None, needs });
        }
    }

    /// The source of the first, or else of the last, module of each application that isn't OTP's.
    async fn find_sources(&mut self, node: &Node, peer: &Arc<Peer>) -> Result<(), String> {
        let mut looked_at = Vec::new();
        for (name, modules) in self.modules.iter().filter(|(name, _)| !is_otp(name)) {
            let (first, last) = (modules.names.first(), modules.names.last());
            let both = first.into_iter().chain(last.filter(|last| Some(*last) != first));
            looked_at.extend(both.map(|module| (name.clone(), module.clone())));
        }
        if looked_at.is_empty() {
            return Ok(());
        }
        let which = |out: &mut Vec<u8>| {
            encode::list_header(out, 2);
            encode::export(out, "code", "which", 1);
            encode::list(out, looked_at.iter(), |out, (_, module)| encode::atom(out, module));
            encode::nil(out);
        };
        let files = rpc(node, peer, "lists", "map", which).await?;
        if !peer.abilities().decode(files.bytes()) {
            return Err("its answer cannot be sent to it".to_owned());
        }
        let chunks = |out: &mut Vec<u8>| {
            encode::list_header(out, 3);
            encode::export(out, "beam_lib", "chunks", 2);
            out.extend_from_slice(files.bytes());
            encode::list(out, looked_at.iter(), |out, _| {
                encode::list(out, ["compile_info"].into_iter(), encode::atom);
            });
            encode::nil(out);
        };
        let chunks = rpc(node, peer, "lists", "zipwith", chunks).await?;
        for ((name, _), chunk) in looked_at.iter().zip(chunks.as_term().cells()) {
            if let Some(clues) = self.clues.get_mut(name) {
                clues.source = clues.source.take().or_else(|| source(chunk));
            }
        }
        Ok(())
    }

    /// All of it, within what an event may have.
    pub(super) fn software(self) -> Software {
        let Answers { otp_release, erts_version, versions, mut modules, mut clues } = self;
        if versions.is_empty() {
            return Software { otp_release, erts_version, applications: Applications::Unknown };
        }
        for name in versions.keys() {
            clues.entry(name.clone()).or_default();
        }
        let origins = origins(&clues);
        let application = |(name, version): (String, String)| {
            let Modules { mut names, left_out } = modules.remove(&name).unwrap_or_default();
            names.sort_unstable();
            let origin = origins[name.as_str()];
            let modules_left_out = left_out;
            (name, Application { version, origin, modules: names, modules_left_out })
        };
        let by_name = versions.into_iter().map(application).collect();
        let applications = Applications::Told { by_name, left_out: 0 };
        let mut software = Software { otp_release, erts_version, applications };
        software.cut();
        software
    }
}

/// The source in `{ok, {Module, [{compile_info, [{source, Path}, ...]}]}}`.
fn source(chunk: TermRef<'_>) -> Option<String> {
    let [_, chunk] = chunk.as_tuple()?;
    let [_, chunks] = chunk.as_tuple()?;
    let [_, info] = chunks.cells().next()?.as_tuple()?;
    let source = info.cells().find_map(|pair| {
        let [key, value] = pair.as_tuple()?;
        key.is_atom("source").then_some(value)
    })?;
    Some(characters(source)).filter(|source| !source.is_empty())
}

async fn rpc(
    node: &Node,
    peer: &Arc<Peer>,
    module: &str,
    function: &str,
    args: impl FnOnce(&mut Vec<u8>),
) -> Result<TermBuf, String> {
    let answer = node.rpc(peer, module, function, args).await.map_err(|error| error.to_string())?;
    match answer.as_term().as_tuple() {
        Some([tag, reason]) if tag.is_atom("badrpc") => {
            let reason = if reason.bytes().len() > MAX_CHARS {
                "an error".to_owned()
            } else {
                text::to_text(reason)
            };
            Err(format!("{module}:{function}: {reason}"))
        }
        _ => Ok(answer),
    }
}

fn atom(term: TermRef<'_>) -> Option<String> {
    Some(term.as_atom()?.to_str().into_owned())
}

/// A string, as a list of characters or as a binary; of anything else, as much as is one.
fn characters(term: TermRef<'_>) -> String {
    if let Term::Binary(bytes) = term.view() {
        return String::from_utf8_lossy(bytes).chars().take(MAX_CHARS).collect();
    }
    let character = |cell: TermRef<'_>| char::from_u32(u32::try_from(cell.as_integer()?).ok()?);
    term.cells().take(MAX_CHARS).filter_map(character).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn term(text: &str) -> TermBuf {
        text::parse(text).expect("a term")
    }

    fn answers(names: &[&str]) -> Answers {
        let versions = names.iter().map(|&name| (name.to_owned(), "1".to_owned())).collect();
        Answers { versions, ..Answers::default() }
    }

    /// What a node may say in the place of what it was asked.
    #[test]
    fn nonsense_is_taken_for_as_much_as_it_tells() {
        for keys in ["ok", "[]", "[a|b]", "[{ok,a}]", "[{ok,[1,x|y]},{ok,{}},undefined]", "\"abc\""]
        {
            let mut answers = answers(&["a", "b"]);
            answers.read_keys(term(keys).as_term());
            let software = answers.software();
            let Applications::Told { by_name, .. } = software.applications else {
                panic!("{keys}")
            };
            assert_eq!(by_name.len(), 2, "{keys}");
        }
        for chunk in [
            "ok",
            "{ok,a}",
            "{ok,{a,[]}}",
            "{ok,{a,[{compile_info,[source]}]}}",
            "{error,beam_lib,x}",
        ] {
            assert_eq!(source(term(chunk).as_term()), None, "{chunk}");
        }
        let chunk = "{ok,{a,[{compile_info,[{version,\"8\"},{source,\"/a/deps/b/c.erl\"}]}]}}";
        assert_eq!(source(term(chunk).as_term()).as_deref(), Some("/a/deps/b/c.erl"));
    }

    #[test]
    fn modules_beyond_the_limit_are_counted() {
        let modules = TermBuf::written(|out| {
            encode::list(out, 0..MAX_MODULES + 5, |out, n| encode::atom(out, &format!("m{n}")));
        });
        let ok = |out: &mut Vec<u8>, value: TermRef<'_>| {
            encode::tuple_header(out, 2);
            encode::atom(out, "ok");
            out.extend_from_slice(value.bytes());
        };
        let keys = TermBuf::written(|out| {
            encode::list(out, [modules.as_term(), TermRef::NIL, modules.as_term()].into_iter(), ok);
        });
        let mut answers = answers(&["a", "b"]);
        answers.read_keys(keys.as_term());
        assert_eq!(answers.modules["a"].names.len(), MAX_MODULES);
        assert_eq!(answers.modules["a"].left_out, 5);
    }
}
