//! Faults that one test build has planted in it, each behind a switch, so that a test can prove that the tests find them.
//!
//! Whoever writes a sync, a barrier, an order or a check into the log, or into what records into it, asks [`planted`] there
//! whether it is to be left out, and adds the name to the list in `event_log/tests/planted.rs`, or to that of `instance`'s
//! simulation. Outside tests the answer is a constant, and nothing is left of the question.

#[cfg(test)]
use std::cell::{Cell, RefCell};
#[cfg(test)]
use std::collections::BTreeSet;

/// Whether the fault of this name is switched on in this thread.
#[cfg(not(test))]
#[inline(always)]
pub(crate) const fn planted(_name: &'static str) -> bool {
    false
}

#[cfg(test)]
thread_local! {
    static ON: Cell<Option<&'static str>> = const { Cell::new(None) };
    static REACHED: Cell<bool> = const { Cell::new(false) };
    static ASKED: RefCell<Option<BTreeSet<&'static str>>> = const { RefCell::new(None) };
}

#[cfg(test)]
pub(crate) fn planted(name: &'static str) -> bool {
    // A thread that ends has nobody any more who wants to know.
    let _ = ASKED.try_with(|asked| {
        if let Some(asked) = &mut *asked.borrow_mut() {
            asked.insert(name);
        }
    });
    let is_on = ON.get() == Some(name);
    if is_on {
        REACHED.set(true);
    }
    is_on
}

/// Does something, unless the fault of this name says that it is left out.
pub(crate) fn unless<E>(name: &'static str, what: impl FnOnce() -> Result<(), E>) -> Result<(), E> {
    if planted(name) { Ok(()) } else { what() }
}

/// Has one fault while `what` runs; and whether anything came by it.
#[cfg(test)]
pub(crate) fn with<T>(name: &'static str, what: impl FnOnce() -> T) -> (T, bool) {
    ON.set(Some(name));
    REACHED.set(false);
    let did = what();
    ON.set(None);
    (did, REACHED.get())
}

/// The faults that are planted in some of the program's files and directories, below `src`; those of tests not counted.
#[cfg(test)]
pub(crate) fn named_in(paths: &[&str], except: &str) -> BTreeSet<String> {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut paths: Vec<_> = paths.iter().map(|path| root.join(path)).collect();
    let mut named = BTreeSet::new();
    while let Some(path) = paths.pop() {
        let file = path.file_name().unwrap_or_default().to_string_lossy();
        if file.starts_with("tests") || (!except.is_empty() && file.starts_with(except)) {
            continue;
        }
        if let Ok(dir) = std::fs::read_dir(&path) {
            paths.extend(dir.flatten().map(|file| file.path()));
            continue;
        }
        let code = std::fs::read_to_string(&path).expect("it can be read");
        for call in ["planted(", "unless("] {
            for behind in code.split(call).skip(1) {
                if let Some(name) = behind.trim_start().strip_prefix('"') {
                    named.insert(name.split('"').next().unwrap_or_default().to_owned());
                }
            }
        }
    }
    named
}

/// Which faults would come by something that `what` does: to have any other changes nothing of it.
#[cfg(test)]
pub(crate) fn asked<T>(what: impl FnOnce() -> T) -> (T, BTreeSet<&'static str>) {
    ASKED.set(Some(BTreeSet::new()));
    let did = what();
    (did, ASKED.take().unwrap_or_default())
}
