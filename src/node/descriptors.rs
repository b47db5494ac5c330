//! Open files: how many there may be, and what for.
//!
//! Every socket of a stranger is a file that the log cannot open. When they ran out, a rotation failed, and with it
//! the recording. So the limit is raised as far as the system lets us, and sockets get a part of it only: whatever
//! strangers do, files can be opened.
//!
//! A process starts with a soft limit, mostly 1,024, that it may raise itself up to the hard one. What there is, is
//! divided so (`SocketBudget::of`): a third for files, at least `MIN_FILES`; of the rest three eighths for connections of nodes,
//! a quarter for handshakes under way, a quarter for clients of the port mapper, an eighth for HTTP. No part is larger than
//! it can be of use for.

use std::fmt;

/// Open files kept for logs, however few there are: segments, indexes, cursors and readers of a few instances.
const MIN_FILES: usize = 64;

/// The fewest open files with which a node runs: a few of every sort.
pub const MIN_DESCRIPTORS: usize = 128;

/// The most nodes connected at once.
pub const MAX_CONNECTIONS: usize = 1024;

/// The most unfinished handshakes at once.
pub const MAX_HANDSHAKES: usize = 512;

/// The most clients of the embedded port mapper at once, registered nodes among them.
pub const MAX_MAPPER_CLIENTS: usize = 1024;

/// The most HTTP connections at once.
pub const MAX_HTTP: usize = 2048;

/// How many sockets of each sort there may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SocketBudget {
    /// Connections to other nodes.
    pub connections: usize,
    /// Handshakes under way.
    pub handshakes: usize,
    /// Clients of the embedded port mapper.
    pub mapper_clients: usize,
    /// HTTP connections.
    pub http: usize,
}

impl SocketBudget {
    /// What may be had of `limit` open files.
    const fn of(limit: usize) -> Self {
        let third = limit / 3;
        let sockets = limit - if third > MIN_FILES { third } else { MIN_FILES };
        SocketBudget {
            connections: least(sockets / 8 * 3, MAX_CONNECTIONS),
            handshakes: least(sockets / 4, MAX_HANDSHAKES),
            mapper_clients: least(sockets / 4, MAX_MAPPER_CLIENTS),
            http: least(sockets / 8, MAX_HTTP),
        }
    }
}

const fn least(a: usize, b: usize) -> usize {
    if a < b { a } else { b }
}

impl Default for SocketBudget {
    /// Of the soft limit that systems start a process with.
    fn default() -> Self {
        SocketBudget::of(1024)
    }
}

/// The process may open too few files.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "this process may have {limit} files open, and needs at least {MIN_DESCRIPTORS}: raise the hard limit (ulimit -Hn, LimitNOFILE)"
)]
pub struct TooFew {
    limit: usize,
}

/// The limit of open files, raised as far as it goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Raised {
    /// What it was.
    from: Option<u64>,
    /// What it is.
    to: Option<u64>,
}

impl fmt::Display for Raised {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = |limit: Option<u64>| limit.map_or("no limit".into(), |limit| limit.to_string());
        match self.from == self.to {
            true => write!(f, "{}", text(self.to)),
            false => write!(f, "{}, raised from {}", text(self.to), text(self.from)),
        }
    }
}

/// Raises the soft limit of open files to the hard one. A system that does not let us leaves it as it is.
pub fn raise() -> Raised {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let is_raised = current != maximum
        && setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }).is_ok();
    Raised { from: current, to: if is_raised { maximum } else { current } }
}

impl Raised {
    /// What sockets there may be.
    ///
    /// # Errors
    ///
    /// [`TooFew`].
    pub fn budget(self) -> Result<SocketBudget, TooFew> {
        let limit = self.to.map_or(usize::MAX, |limit| limit.try_into().unwrap_or(usize::MAX));
        if limit < MIN_DESCRIPTORS { Err(TooFew { limit }) } else { Ok(SocketBudget::of(limit)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whatever the limit, a third of it and at least `MIN_FILES` are left for files.
    #[test]
    fn sockets_never_take_what_files_need() {
        for limit in MIN_DESCRIPTORS..70_000 {
            let raised = Raised { from: None, to: Some(limit as u64) };
            let SocketBudget { connections, handshakes, mapper_clients, http } =
                raised.budget().unwrap();
            let sockets = connections + handshakes + mapper_clients + http;
            assert!(limit - sockets >= (limit / 3).max(MIN_FILES), "{limit}");
            assert!(connections.min(handshakes).min(mapper_clients) >= 16 && http >= 8, "{limit}");
        }
        let most = Raised { from: None, to: None }.budget().unwrap();
        assert_eq!(most.connections, MAX_CONNECTIONS);
        assert_eq!(most.handshakes, MAX_HANDSHAKES);
        assert_eq!(most.mapper_clients, MAX_MAPPER_CLIENTS);
        assert_eq!(most.http, MAX_HTTP);
        let few = Raised { from: None, to: Some(127) }.budget().unwrap_err();
        assert_eq!(few, TooFew { limit: 127 });
    }
}
