//! Places for strangers: how many may be served at once, and who gives way to a newcomer.
//!
//! Somebody who opens connections as fast as he can must not keep others out. So places are counted by where they
//! are taken from: an address, or on this host, where all share one, a user.
//!
//! # Invariants
//!
//! - `newcomers_get_in`: a newcomer always gets a place. Where none is free, one gives way: the oldest of the
//!   origin that holds most of them.
//! - `bounded`: no more sockets are open than there are places, and one or two besides.
//! - `quota`: one origin holds at most `quota` places, so that even alone it does not hold all.

use std::collections::{HashMap, VecDeque};
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex};

use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::task::AbortHandle;

use super::socket_owner;

/// Where a connection comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Origin {
    /// Another host, or all of this one where users cannot be told apart.
    Address(IpAddr),
    /// A user of this host.
    User(u32),
    /// A socket of this host that no process holds any more: it was closed already.
    Nobody,
}

impl Origin {
    /// Where the other end of an accepted connection is.
    pub(super) fn of(stream: &TcpStream) -> Origin {
        let (Ok(peer), Ok(here)) = (stream.peer_addr(), stream.local_addr()) else {
            return Origin::Nobody;
        };
        if !is_here(peer, here) {
            return Origin::Address(network(peer.ip()));
        }
        match socket_owner::of_connection_quickly(peer, here) {
            Some(owner) => owner.user().map_or(Origin::Nobody, Origin::User),
            None => Origin::Address(peer.ip()),
        }
    }
}

impl Origin {
    /// Whether it is our own user, or root.
    pub(super) fn is_ours(self) -> bool {
        matches!(self, Origin::User(user) if socket_owner::is_trusted(user))
    }
}

/// Whether `peer`, seen at our end `here` of a connection, is on this host. As OTP's port mapper decides it.
pub(super) fn is_here(peer: SocketAddr, here: SocketAddr) -> bool {
    let ip = peer.ip().to_canonical();
    ip.is_loopback() || ip == here.ip().to_canonical()
}

/// Whoever has an IPv6 address has 2^64 of them.
fn network(ip: IpAddr) -> IpAddr {
    match ip.to_canonical() {
        IpAddr::V4(ip) => ip.into(),
        IpAddr::V6(ip) => Ipv6Addr::from(u128::from(ip) & !u128::from(u64::MAX)).into(),
    }
}

/// A door that many come through: listening sockets share one.
pub(super) struct Door {
    places: Mutex<Places<AbortHandle>>,
    /// Sockets that are open. Who gives way closes his a moment later, and a flood must not outrun that: the next
    /// connection is accepted only when there is room.
    room: Arc<Semaphore>,
}

impl Door {
    /// For `limit` strangers at once.
    pub(super) fn new(limit: usize) -> Self {
        // One more than can stay, so that there is always one on its way out when there is no room.
        let room = Arc::new(Semaphore::new(limit + 1));
        Door { places: Mutex::new(Places::new(limit)), room }
    }

    /// Serves a stranger on a task of its own, once there is room; whether another had to give way.
    pub(super) async fn serve(
        &self,
        origin: Origin,
        serve: impl Future<Output = ()> + Send + 'static,
    ) -> bool {
        let room = self.room.clone().acquire_owned().await.expect("it is never closed");
        let task = tokio::spawn(async move {
            serve.await;
            drop(room);
        });
        let mut places = self.places.lock().expect("no panic while the places are held");
        let displaced = places.take(origin, task.abort_handle(), AbortHandle::is_finished);
        displaced.inspect(AbortHandle::abort).is_some()
    }
}

/// Places, some of them taken by a `T` each.
struct Places<T> {
    limit: usize,
    quota: usize,
    taken: HashMap<Origin, VecDeque<T>>,
}

impl<T> Places<T> {
    /// `limit` places, of which one origin may hold a quarter.
    fn new(limit: usize) -> Self {
        Places { limit, quota: (limit / 4).max(1), taken: HashMap::new() }
    }

    /// Gives a place to a newcomer; who gives way for it, if anybody. `is_done` tells whose place is free again.
    fn take(&mut self, origin: Origin, newcomer: T, is_done: impl Fn(&T) -> bool) -> Option<T> {
        if self.is_short(origin) {
            self.taken.retain(|_, places| {
                places.retain(|place| !is_done(place));
                !places.is_empty()
            });
        }
        let gives_way = self.is_short(origin).then(|| self.largest(origin));
        let displaced =
            gives_way.and_then(|from| self.taken.get_mut(&from)).and_then(VecDeque::pop_front);
        self.taken.entry(origin).or_default().push_back(newcomer);
        displaced
    }

    fn is_short(&self, origin: Origin) -> bool {
        self.held_by(origin) >= self.quota || self.len() >= self.limit
    }

    fn held_by(&self, origin: Origin) -> usize {
        self.taken.get(&origin).map_or(0, VecDeque::len)
    }

    fn len(&self) -> usize {
        self.taken.values().map(VecDeque::len).sum()
    }

    /// Who has to give a place to `origin`: itself, if it has its quota or nobody holds more.
    fn largest(&self, origin: Origin) -> Origin {
        let own = self.held_by(origin);
        if own >= self.quota {
            return origin;
        }
        let largest = self.taken.iter().max_by_key(|(_, places)| places.len());
        largest.filter(|(_, places)| places.len() > own).map_or(origin, |(largest, _)| *largest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(last: u8) -> Origin {
        Origin::Address([10, 0, 0, last].into())
    }

    /// `newcomers_get_in`, `quota`: one stranger takes thousands of places, another takes one in between, good ones
    /// come a few at a time.
    #[test]
    fn a_flood_displaces_only_itself() {
        let mut places = Places::new(64);
        let never = |_: &(Origin, u32)| false;
        let mut good = Vec::new();
        for n in 0..10_000 {
            let flood = address(1);
            if let Some((from, _)) = places.take(flood, (flood, n), never) {
                assert_eq!(from, flood);
            }
            assert!(places.held_by(flood) <= 16);
            if n % 1000 == 0 {
                let origin = Origin::User(n / 5000);
                assert_eq!(places.take(origin, (origin, n), never), None);
                good.push((origin, n));
            }
        }
        let held: Vec<_> = places.taken.values().flatten().copied().collect();
        assert!(good.iter().all(|one| held.contains(one)));
    }

    /// Many strangers at their quotas: who comes new takes a place of one of them, and keeps it.
    #[test]
    fn whoever_holds_most_gives_way() {
        let mut places = Places::new(8);
        let never = |_: &(Origin, u32)| false;
        for n in 0..8 {
            let origin = address(1 + n % 4);
            assert_eq!(places.take(origin, (origin, 0), |_| false), None);
        }
        let good = Origin::User(7);
        let (from, _) = places.take(good, (good, 1), never).unwrap();
        assert_ne!(from, good);
        for n in 0..100 {
            let origin = address(1 + n % 4);
            let (from, _) = places.take(origin, (origin, 2), never).unwrap();
            assert_ne!(from, good);
            assert_eq!(places.len(), 8);
        }
        // A place whose holder is done is free.
        let other = address(9);
        assert_eq!(places.take(other, (other, 3), |(origin, _)| *origin != good), None);
        assert_eq!(places.len(), 2);
    }

    #[test]
    fn this_host_is_loopback_or_our_own_address() {
        for (peer, here, expected) in [
            ("127.0.0.1:1", "127.0.0.1:2", true),
            ("127.9.9.9:1", "127.0.0.1:2", true),
            ("[::1]:1", "[::1]:2", true),
            ("[::ffff:127.0.0.1]:1", "[::ffff:127.0.0.1]:2", true),
            ("10.0.0.5:1", "10.0.0.5:2", true),
            ("10.0.0.6:1", "10.0.0.5:2", false),
            ("[2001:db8::1]:1", "[2001:db8::2]:2", false),
        ] {
            assert_eq!(is_here(peer.parse().unwrap(), here.parse().unwrap()), expected, "{peer}");
        }
        assert_eq!(
            network("2001:db8::1".parse().unwrap()),
            network("2001:db8::2".parse().unwrap())
        );
    }
}
