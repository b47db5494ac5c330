//! Modules use only modules to their left.

use std::fs;
use std::path::{Path, PathBuf};

/// Layers from left to right, as `src/lib.rs` says.
const LAYERS: [&[&str]; 8] = [
    &["time", "metrics", "diagnostics"],
    &["strangers"],
    &["etf"],
    &["event_log", "match_spec", "proto"],
    &["node"],
    &["instance"],
    &["api"],
    &["app", "config", "cli"],
];

fn layer(module: &str) -> Option<usize> {
    LAYERS.iter().position(|layer| layer.contains(&module))
}

fn sources(dir: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).unwrap().map(Result::unwrap) {
        let path = entry.path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

/// Reads every `crate::MODULE` in the code; modules of the last layer may use each other.
#[test]
fn no_module_uses_one_beside_it_or_to_its_right() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    sources(&root, &mut files);
    let mut checked = 0;
    let mut wrong = Vec::new();
    for file in files {
        let relative = file.strip_prefix(&root).unwrap().to_str().unwrap().to_owned();
        let user = relative.split(['/', '.']).next().unwrap().to_owned();
        let Some(own) = layer(&user) else { continue };
        for part in fs::read_to_string(&file).unwrap().split("crate::").skip(1) {
            let used: String =
                part.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
            let Some(other) = layer(&used) else { continue };
            checked += 1;
            if used != user && other >= own && own != LAYERS.len() - 1 {
                wrong.push(format!("{relative} uses {used}"));
            }
        }
    }
    assert!(checked > 20, "the check sees uses");
    assert!(wrong.is_empty(), "{wrong:#?}");
}
