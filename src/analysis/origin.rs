//! Whose an application is: Erlang's, somebody else's, or the team's own.
//!
//! The path of the source that a module was compiled from tells, where the build left it in: dependencies have places of
//! their own below a project. Where it doesn't (deterministic builds, stripped releases), who needs whom has to.

use std::collections::BTreeMap;

/// Whose an application is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// It comes with Erlang/OTP or Elixir.
    Otp,
    /// The project depends on it.
    Dependency,
    /// It is the project's.
    Own,
}

impl Origin {
    /// The atom that events have.
    pub const fn name(self) -> &'static str {
        match self {
            Origin::Otp => "otp",
            Origin::Dependency => "dependency",
            Origin::Own => "own",
        }
    }

    /// What this atom stands for.
    pub fn of_name(name: &str) -> Option<Self> {
        [Origin::Otp, Origin::Dependency, Origin::Own].into_iter().find(|it| it.name() == name)
    }
}

/// The applications of Erlang/OTP 23 to 29, and those of Elixir.
const OTP: [&str; 45] = [
    "asn1",
    "common_test",
    "compiler",
    "crypto",
    "debugger",
    "dialyzer",
    "diameter",
    "edoc",
    "eex",
    "eldap",
    "elixir",
    "erl_docgen",
    "erl_interface",
    "erts",
    "et",
    "eunit",
    "ex_unit",
    "ftp",
    "hex",
    "hipe",
    "iex",
    "inets",
    "jinterface",
    "kernel",
    "logger",
    "megaco",
    "mix",
    "mnesia",
    "observer",
    "odbc",
    "os_mon",
    "parsetools",
    "public_key",
    "reltool",
    "runtime_tools",
    "sasl",
    "snmp",
    "ssh",
    "ssl",
    "stdlib",
    "syntax_tools",
    "tftp",
    "tools",
    "wx",
    "xmerl",
];

/// Whether an application of this name comes with Erlang/OTP or Elixir.
pub fn is_otp(application: &str) -> bool {
    OTP.contains(&application)
}

/// What is known of an application.
#[derive(Clone, Debug, Default)]
pub struct Clues {
    /// The path of a source of it.
    pub source: Option<String>,
    /// The applications that it names as those it needs.
    pub needs: Vec<String>,
}

/// Whose each of the applications of one node is.
///
/// Without a source, one is a dependency if one that isn't Erlang's needs it; but not if that is the project's own and
/// both names begin with the same word, as those of an umbrella project do: `shop`, `shop_web`.
pub fn origins(applications: &BTreeMap<String, Clues>) -> BTreeMap<&str, Origin> {
    let known = |(name, clues): (&'_ String, &Clues)| {
        if is_otp(name) { Some(Origin::Otp) } else { clues.source.as_deref().and_then(of_source) }
    };
    let mut origins: BTreeMap<&str, Option<Origin>> =
        applications.iter().map(|it| (it.0.as_str(), known(it))).collect();
    // What a dependency needs is one, so each found may lead to more.
    let mut is_settled = false;
    while !is_settled {
        is_settled = true;
        for (name, clues) in applications {
            let by = origins[name.as_str()];
            if by == Some(Origin::Otp) {
                continue;
            }
            for needed in &clues.needs {
                let is_kin = by != Some(Origin::Dependency) && word(name) == word(needed);
                if let Some(origin @ None) = origins.get_mut(needed.as_str())
                    && !is_kin
                {
                    *origin = Some(Origin::Dependency);
                    is_settled = false;
                }
            }
        }
    }
    origins.into_iter().map(|(name, origin)| (name, origin.unwrap_or(Origin::Own))).collect()
}

/// Whose it is that was compiled from the source at this path; `None` if the path says nothing.
///
/// mix and erlang.mk have dependencies in `deps`, rebar3 in `_build/PROFILE/lib`, and what is checked out to be worked on
/// in `_checkouts`.
fn of_source(path: &str) -> Option<Origin> {
    let is_whole =
        path.starts_with('/') || path.get(1..).is_some_and(|path| path.starts_with(":/"));
    let (dir, _) = path.rsplit_once('/').filter(|_| is_whole)?;
    let parts: Vec<&str> = dir.split('/').collect();
    let has = |part: &str| parts.contains(&part);
    let is_built = parts.iter().skip_while(|part| **part != "_build").any(|part| *part == "lib");
    Some(if !has("_checkouts") && (has("deps") || is_built) {
        Origin::Dependency
    } else {
        Origin::Own
    })
}

/// The name up to its first underscore.
fn word(application: &str) -> &str {
    application.split('_').next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sources_path_tells_whose_it_is() {
        use Origin::{Dependency, Own};
        for (path, expected) in [
            ("/app/lib/shop/cart.ex", Some(Own)),
            ("/app/apps/shop_web/lib/shop_web.ex", Some(Own)),
            ("/app/deps/phoenix/lib/phoenix.ex", Some(Dependency)),
            ("/app/src/shop.erl", Some(Own)),
            ("/app/_build/default/lib/cowboy/src/cowboy.erl", Some(Dependency)),
            ("/app/_build/prod+x/lib/cowboy/src/cowboy.erl", Some(Dependency)),
            ("/app/_checkouts/cowboy/src/cowboy.erl", Some(Own)),
            ("/app/_build/default/plugins/a/src/a.erl", Some(Own)),
            ("/lib/_build/shop.erl", Some(Own)),
            ("C:/app/deps/jsx/src/jsx.erl", Some(Dependency)),
            ("/app/depsy/a.erl", Some(Own)),
            ("shop.erl", None),
            ("src/shop.erl", None),
            ("", None),
            ("é/shop.erl", None),
        ] {
            assert_eq!(of_source(path), expected, "{path}");
        }
    }

    /// Each application with its source and what it needs; those that come out as the project's own.
    fn own(applications: &[(&str, &str, &[&str])]) -> Vec<String> {
        let clues = |(name, source, needs): &(&str, &str, &[&str])| {
            let source = (!source.is_empty()).then(|| (*source).to_owned());
            let needs = needs.iter().map(|&need| need.to_owned()).collect();
            ((*name).to_owned(), Clues { source, needs })
        };
        let applications = applications.iter().map(clues).collect();
        let origins = origins(&applications).into_iter();
        origins.filter(|(_, it)| *it == Origin::Own).map(|(name, _)| name.to_owned()).collect()
    }

    #[test]
    fn without_sources_what_is_needed_by_others_is_a_dependency() {
        let umbrella: [(&str, &str, &[&str]); 9] = [
            ("kernel", "", &[]),
            ("elixir", "", &["kernel"]),
            ("shop", "", &["elixir", "ecto_sql"]),
            ("shop_web", "", &["shop", "phoenix", "plug_cowboy"]),
            ("phoenix", "", &["plug"]),
            ("plug_cowboy", "", &["plug", "cowboy"]),
            ("plug", "", &["elixir"]),
            ("ecto_sql", "", &["ecto"]),
            ("ecto", "", &[]),
        ];
        assert_eq!(own(&umbrella), ["shop", "shop_web"]);
        assert_eq!(own(&[("a", "", &["b"]), ("b", "", &["a"])]), [""; 0]);
    }

    #[test]
    fn a_source_counts_more_than_who_needs_it() {
        let applications: [(&str, &str, &[&str]); 4] = [
            ("shop", "/app/apps/shop/src/shop.erl", &["billing", "jsx", "lager"]),
            ("billing", "/app/apps/billing/src/billing.erl", &[]),
            ("jsx", "/app/_build/default/lib/jsx/src/jsx.erl", &[]),
            ("lager", "", &[]),
        ];
        assert_eq!(own(&applications), ["billing", "shop"]);
    }
}
