//! Names for nodes that come without one.
//!
//! Such a node (`erl -sname undefined`, `erl_call -R`) asks the first node that it connects to for a name and keeps
//! it as long as that connection lasts. Every name is an atom in the nodes that it connects to next, and atoms are
//! never freed there. So a name that came back is lent again, with another creation.
//!
//! Source: `generate_node_name/2` in `net_kernel.erl` of `kernel`.

use std::collections::VecDeque;
use std::sync::Mutex;

use super::descriptors::MAX_CONNECTIONS;
use crate::proto::NodeName;

/// Names that are free again: as many as were ever in use at once. Beyond, the one that is free for longest is forgotten.
const MAX_FREE: usize = MAX_CONNECTIONS;

/// The names that came back.
#[derive(Default)]
pub(super) struct LentNames(Mutex<VecDeque<NodeName>>);

impl LentNames {
    /// A name on `host` that no node has now; `None` if that is no host. `random` makes a new one unlike any other.
    pub(super) fn lend(&self, host: &str, random: u64) -> Option<NodeName> {
        let mut free = self.0.lock().expect("no panic while the names are held");
        let again = free.iter().position(|name| name.host() == host);
        again
            .and_then(|at| free.remove(at))
            .or_else(|| NodeName::new(&format!("{}@{host}", base36(random))))
    }

    /// The node that had the name is gone.
    pub(super) fn give_back(&self, name: &NodeName) {
        let mut free = self.0.lock().expect("no panic while the names are held");
        if free.len() == MAX_FREE {
            free.pop_front();
        }
        free.push_back(name.clone());
    }
}

/// As `integer_to_list(N, 36)` writes it.
fn base36(mut number: u64) -> String {
    let mut digits = Vec::new();
    loop {
        let digit = u32::try_from(number % 36).expect("less than 36");
        digits.push(char::from_digit(digit, 36).expect("less than 36").to_ascii_uppercase());
        number /= 36;
        if number == 0 {
            return digits.into_iter().rev().collect();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_lent_again_when_it_came_back_and_only_on_its_host() {
        let names = LentNames::default();
        let first = names.lend("h", 46_655).unwrap();
        assert_eq!(first.as_str(), "ZZZ@h");
        assert_ne!(names.lend("h", 7).unwrap(), first);
        names.give_back(&first);
        assert_eq!(names.lend("other", 0).unwrap().as_str(), "0@other");
        assert_eq!(names.lend("h", 8).unwrap(), first);
        assert_eq!(names.lend("h", 8).unwrap().as_str(), "8@h");
    }

    #[test]
    fn what_is_no_host_gets_no_name_and_free_names_are_bounded() {
        let names = LentNames::default();
        for host in ["", "a@b", "a b", "\n"] {
            assert_eq!(names.lend(host, 1), None, "{host:?}");
        }
        for number in 0..2 * MAX_FREE as u64 {
            names.give_back(&NodeName::new(&format!("{number}@h")).unwrap());
        }
        assert_eq!(names.0.lock().unwrap().len(), MAX_FREE);
    }
}
