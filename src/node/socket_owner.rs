//! Whose a socket on the other end of a local TCP connection is, as the system tells.
//!
//! Nodes of one host reach each other over addresses that every user of the host shares. What tells a friend from
//! a stranger there is the user that a socket belongs to. Linux answers that for one connection in microseconds
//! (`sock_diag(7)`); where that is not to be had, the tables of `/proc/net` answer too, at the price of reading all
//! of them. Elsewhere nobody answers, and then nobody is trusted.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

/// The owner of a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Owner {
    /// The number of the user that the system lists for the socket.
    pub uid: u32,
    /// The socket's inode. A socket that no process holds (yet, or any more) has none, and then `uid` is 0 without
    /// meaning root.
    inode: u32,
}

impl Owner {
    /// The user that the socket belongs to, if it belongs to any.
    pub fn user(self) -> Option<u32> {
        (self.inode != 0).then_some(self.uid)
    }

    /// Whether it belongs to the user of this program, or to root.
    pub fn is_trusted(self) -> bool {
        self.user().is_some_and(is_trusted)
    }
}

/// Whether a user is that of this program, or root.
pub fn is_trusted(user: u32) -> bool {
    user == 0 || user == own_user()
}

/// The user of this program.
fn own_user() -> u32 {
    rustix::process::geteuid().as_raw()
}

/// Whether the system can tell whose sockets are.
pub const fn is_supported() -> bool {
    cfg!(target_os = "linux")
}

/// Sockets that listen, as they were at one moment.
pub struct Listeners(Vec<Row>);

impl Listeners {
    /// Those of one port; of all ports, if it is 0.
    ///
    /// # Errors
    ///
    /// The system does not tell.
    pub fn of(port: u16) -> io::Result<Self> {
        let is_it = |row: &Row| row.state == LISTEN && (port == 0 || row.from.port() == port);
        diag::listeners(port).or_else(|_| tables::rows(is_it)).map(Listeners)
    }

    /// The owners of those where a connection to `address` may end up.
    ///
    /// A socket of IPv6 at any address may take connections of IPv4 too, and not every table tells whether it does. It
    /// gets none as long as one of IPv4 listens that takes them.
    pub fn owners(&self, address: SocketAddr) -> impl Iterator<Item = Owner> {
        let takes = move |row: &&Row| {
            let ip = plain(row.from.ip());
            row.from.port() == address.port() && (ip == address.ip() || ip.is_unspecified())
        };
        let rows = self.0.iter().filter(takes);
        let is_of_its_family =
            move |row: &&Row| plain(row.from.ip()).is_ipv4() == address.is_ipv4();
        let is_known = rows.clone().any(|row| is_of_its_family(&row));
        rows.filter(move |row| !is_known || is_of_its_family(row)).map(|row| row.owner)
    }

    /// Whether a socket of our own user or of root listens on `port`, at any address.
    pub fn has_trusted(&self, port: u16) -> bool {
        self.0.iter().any(|row| row.from.port() == port && row.owner.is_trusted())
    }
}

/// The owner of the socket at `from` that is connected to `to`; `None` if there is none.
///
/// # Errors
///
/// The system does not tell.
pub fn of_connection(from: SocketAddr, to: SocketAddr) -> io::Result<Option<Owner>> {
    match diag::connection(from, to) {
        Ok(found) => Ok(found.map(|row| row.owner)),
        Err(_) => {
            let is_it = |row: &Row| (plain_socket(row.from), plain_socket(row.to)) == (from, to);
            Ok(tables::rows(is_it)?.first().map(|row| row.owner))
        }
    }
}

/// The same, only as fast as it is for one of many connections; `None` also if it cannot be told.
pub fn of_connection_quickly(from: SocketAddr, to: SocketAddr) -> Option<Owner> {
    diag::connection(from, to).ok().flatten().map(|row| row.owner)
}

/// A socket as the system lists it.
#[derive(Clone, Copy, Debug)]
struct Row {
    from: SocketAddr,
    to: SocketAddr,
    state: u8,
    owner: Owner,
}

/// `TCP_LISTEN` of the kernel.
const LISTEN: u8 = 10;

/// An IPv4 address, also where a socket for both families has it.
fn plain(ip: IpAddr) -> IpAddr {
    ip.to_canonical()
}

fn plain_socket(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(plain(address.ip()), address.port())
}

/// Questions to the kernel over a netlink socket: `struct inet_diag_req_v2` and `struct inet_diag_msg` of
/// `linux/inet_diag.h`.
#[cfg(target_os = "linux")]
mod diag {
    use std::io;
    use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

    use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, netlink};

    use super::{LISTEN, Owner, Row, plain_socket};

    const SOCK_DIAG_BY_FAMILY: u16 = 20;
    const NLM_F_REQUEST: u16 = 1;
    const NLM_F_DUMP: u16 = 0x300;
    const NLMSG_ERROR: u16 = 2;
    const NLMSG_DONE: u16 = 3;
    const NLMSG_HEADER: usize = 16;
    const AF_INET: u8 = 2;
    const AF_INET6: u8 = 10;
    const IPPROTO_TCP: u8 = 6;
    /// `struct inet_diag_msg`, without the attributes after it.
    const DIAG_MSG: usize = 72;
    const ENOENT: i32 = 2;

    /// The sockets that listen on `port`, or on any if it is 0, at any address of either family.
    pub(super) fn listeners(port: u16) -> io::Result<Vec<Row>> {
        let mut found = Vec::new();
        for family in [AF_INET, AF_INET6] {
            let any = SocketAddr::new(
                if family == AF_INET {
                    Ipv4Addr::UNSPECIFIED.into()
                } else {
                    Ipv6Addr::UNSPECIFIED.into()
                },
                port,
            );
            let nobody = SocketAddr::new(any.ip(), 0);
            let rows = ask(NLM_F_REQUEST | NLM_F_DUMP, any, nobody, 1 << LISTEN)?;
            found.extend(rows.into_iter().filter(|row| port == 0 || row.from.port() == port));
        }
        Ok(found)
    }

    /// The one socket at `from` that is connected to `to`.
    pub(super) fn connection(from: SocketAddr, to: SocketAddr) -> io::Result<Option<Row>> {
        let (from, to) = (plain_socket(from), plain_socket(to));
        let rows = match ask(NLM_F_REQUEST, from, to, u32::MAX) {
            Err(error) if error.raw_os_error() == Some(ENOENT) => return Ok(None),
            rows => rows?,
        };
        // Where no connection is, the kernel answers with the socket that listens there.
        let is_it = |row: &Row| (plain_socket(row.from), plain_socket(row.to)) == (from, to);
        Ok(rows.into_iter().find(is_it))
    }

    fn ask(flags: u16, from: SocketAddr, to: SocketAddr, states: u32) -> io::Result<Vec<Row>> {
        let socket = rustix::net::socket_with(
            AddressFamily::NETLINK,
            SocketType::RAW,
            SocketFlags::CLOEXEC,
            Some(netlink::SOCK_DIAG),
        )?;
        rustix::net::send(&socket, &request(flags, from, to, states), SendFlags::empty())?;
        let mut rows = Vec::new();
        let mut buffer = [0; 32 << 10];
        loop {
            let (read, _) = rustix::net::recv(&socket, &mut buffer[..], RecvFlags::empty())?;
            if take_messages(&buffer[..read], &mut rows)? || flags & NLM_F_DUMP == 0 {
                return Ok(rows);
            }
        }
    }

    fn request(flags: u16, from: SocketAddr, to: SocketAddr, states: u32) -> Vec<u8> {
        let family = if from.is_ipv4() { AF_INET } else { AF_INET6 };
        let mut body = vec![family, IPPROTO_TCP, 0, 0];
        body.extend_from_slice(&states.to_ne_bytes());
        body.extend_from_slice(&from.port().to_be_bytes());
        body.extend_from_slice(&to.port().to_be_bytes());
        for ip in [from.ip(), to.ip()] {
            let mut bytes = [0; 16];
            match ip {
                IpAddr::V4(ip) => bytes[..4].copy_from_slice(&ip.octets()),
                IpAddr::V6(ip) => bytes = ip.octets(),
            }
            body.extend_from_slice(&bytes);
        }
        // Any interface; no cookie.
        body.extend_from_slice(&0_u32.to_ne_bytes());
        body.extend_from_slice(&[0xff; 8]);
        let len = u32::try_from(NLMSG_HEADER + body.len()).expect("both are constant");
        let mut out = len.to_ne_bytes().to_vec();
        out.extend_from_slice(&SOCK_DIAG_BY_FAMILY.to_ne_bytes());
        out.extend_from_slice(&flags.to_ne_bytes());
        out.extend_from_slice(&[1, 0, 0, 0, 0, 0, 0, 0]);
        out.extend_from_slice(&body);
        out
    }

    /// Reads the messages of one datagram; true at the end of a dump.
    fn take_messages(mut bytes: &[u8], rows: &mut Vec<Row>) -> io::Result<bool> {
        let malformed = || io::Error::from(io::ErrorKind::InvalidData);
        while let Some((header, _)) = bytes.split_first_chunk::<NLMSG_HEADER>() {
            let len = u32::from_ne_bytes([header[0], header[1], header[2], header[3]]);
            let len = usize::try_from(len).map_err(|_| malformed())?;
            let body = bytes.get(NLMSG_HEADER..len).ok_or_else(malformed)?;
            match u16::from_ne_bytes([header[4], header[5]]) {
                NLMSG_DONE => return Ok(true),
                NLMSG_ERROR => {
                    let code = body.first_chunk().map_or(0, |code| i32::from_ne_bytes(*code));
                    return Err(io::Error::from_raw_os_error(-code));
                }
                SOCK_DIAG_BY_FAMILY => {
                    rows.push(row(body.first_chunk().ok_or_else(malformed)?));
                }
                _ => {}
            }
            bytes = bytes.get(len.next_multiple_of(4)..).unwrap_or_default();
        }
        Ok(false)
    }

    fn row(body: &[u8; DIAG_MSG]) -> Row {
        let ip = |at: usize| -> IpAddr {
            let bytes: [u8; 16] = body[at..at + 16].try_into().expect("sixteen bytes");
            if body[0] == AF_INET {
                Ipv4Addr::new(bytes[0], bytes[1], bytes[2], bytes[3]).into()
            } else {
                Ipv6Addr::from(bytes).into()
            }
        };
        let port = |at: usize| u16::from_be_bytes([body[at], body[at + 1]]);
        let word =
            |at: usize| u32::from_ne_bytes([body[at], body[at + 1], body[at + 2], body[at + 3]]);
        Row {
            from: SocketAddr::new(ip(8), port(4)),
            to: SocketAddr::new(ip(24), port(6)),
            state: body[1],
            owner: Owner { uid: word(64), inode: word(68) },
        }
    }
}

#[cfg(not(target_os = "linux"))]
mod diag {
    use std::io;
    use std::net::SocketAddr;

    use super::Row;

    pub(super) fn listeners(_port: u16) -> io::Result<Vec<Row>> {
        Err(io::ErrorKind::Unsupported.into())
    }

    pub(super) fn connection(_from: SocketAddr, _to: SocketAddr) -> io::Result<Option<Row>> {
        Err(io::ErrorKind::Unsupported.into())
    }
}

/// The tables of `/proc/net`, one socket a line.
mod tables {
    use super::{Ipv4Addr, Owner, Row, SocketAddr, io};

    /// The sockets that `want` likes.
    pub(super) fn rows(want: impl Fn(&Row) -> bool) -> io::Result<Vec<Row>> {
        let mut found = Vec::new();
        let v4 = std::fs::read_to_string("/proc/net/tcp")?;
        // Where there is no IPv6, there is no such table.
        let v6 = std::fs::read_to_string("/proc/net/tcp6").unwrap_or_default();
        for line in v4.lines().skip(1).chain(v6.lines().skip(1)) {
            let row = row(line).ok_or(io::ErrorKind::InvalidData)?;
            if want(&row) {
                found.push(row);
            }
        }
        Ok(found)
    }

    /// `sl local_address rem_address st tx_queue:rx_queue tr:tm->when retrnsmt uid timeout inode ...`.
    pub(super) fn row(line: &str) -> Option<Row> {
        let mut fields = line.split_ascii_whitespace().skip(1);
        let from = address(fields.next()?)?;
        let to = address(fields.next()?)?;
        let state = u8::from_str_radix(fields.next()?, 16).ok()?;
        let uid = fields.nth(3)?.parse().ok()?;
        let inode = fields.nth(1)?.parse().ok()?;
        Some(Row { from, to, state, owner: Owner { uid, inode } })
    }

    /// `0100007F:1F90`: each word of the address as this machine stores it.
    fn address(text: &str) -> Option<SocketAddr> {
        let (ip, port) = text.split_once(':')?;
        let port = u16::from_str_radix(port, 16).ok()?;
        let word = |at: usize| {
            let word = u32::from_str_radix(ip.get(at..at + 8)?, 16).ok()?;
            Some(word.to_ne_bytes())
        };
        let ip = if ip.len() == 8 {
            Ipv4Addr::from(word(0)?).into()
        } else {
            let words = [word(0)?, word(8)?, word(16)?, word(24)?];
            let bytes: [u8; 16] = words.concat().try_into().ok()?;
            std::net::Ipv6Addr::from(bytes).into()
        };
        Some(SocketAddr::new(ip, port))
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use super::*;

    /// Both sources must say the same of sockets that this test has made: a listener, a connection that was not
    /// accepted yet, and the same accepted.
    #[test]
    fn the_kernel_tells_whose_a_socket_is() {
        for (ip, dial) in [("127.0.0.1", "127.0.0.1"), ("[::]", "127.0.0.1"), ("[::1]", "[::1]")] {
            let Ok(listener) = TcpListener::bind(format!("{ip}:0")) else { continue };
            let port = listener.local_addr().unwrap().port();
            let address: SocketAddr = format!("{dial}:{port}").parse().unwrap();
            for listeners in [Listeners::of(port), Listeners::of(0)] {
                let owners: Vec<_> = listeners.unwrap().owners(address).collect();
                assert_eq!(owners.len(), 1, "{ip}");
                assert_eq!(owners[0].user(), Some(own_user()));
                assert!(owners[0].is_trusted());
            }
            let client = TcpStream::connect(address).unwrap();
            let here = client.local_addr().unwrap();
            let is_it =
                |row: &Row| (plain_socket(row.from), plain_socket(row.to)) == (address, here);
            for is_accepted in [false, true] {
                let accepted = is_accepted.then(|| listener.accept().unwrap());
                let expected = is_accepted.then_some(own_user());
                let told = [
                    of_connection(address, here).unwrap().unwrap(),
                    of_connection_quickly(address, here).unwrap(),
                    tables::rows(is_it).unwrap()[0].owner,
                ];
                for owner in told {
                    assert_eq!(owner.user(), expected, "{ip} accepted: {is_accepted}");
                    assert_eq!(owner.is_trusted(), is_accepted);
                }
                drop(accepted);
            }
        }
    }

    /// A socket of IPv6 alone beside one of IPv4, of different users.
    #[test]
    fn a_socket_of_another_family_counts_only_where_no_other_takes_the_connection() {
        let listens = |from: &str, uid| Row {
            from: from.parse().unwrap(),
            to: "0.0.0.0:0".parse().unwrap(),
            state: LISTEN,
            owner: Owner { uid, inode: 1 },
        };
        let owners = |rows: &[Row], address: &str| -> Vec<_> {
            let owners = Listeners(rows.to_vec());
            owners.owners(address.parse().unwrap()).map(|owner| owner.uid).collect()
        };
        let v6 = listens("[::]:9", 65534);
        for v4 in ["0.0.0.0:9", "127.0.0.1:9", "[::ffff:127.0.0.1]:9"] {
            let rows = [v6, listens(v4, 1000)];
            assert_eq!(owners(&rows, "127.0.0.1:9"), [1000], "{v4}");
            assert_eq!(owners(&rows, "[::1]:9"), [65534], "{v4}");
        }
        for rows in [vec![v6], vec![v6, listens("127.0.0.2:9", 1000)]] {
            assert_eq!(owners(&rows, "127.0.0.1:9"), [65534]);
        }
        let both = [listens("0.0.0.0:9", 1000), listens("127.0.0.1:9", 65534)];
        assert_eq!(owners(&both, "127.0.0.1:9"), [1000, 65534]);
    }

    /// Nobody listens, nobody is connected.
    #[test]
    fn where_nobody_is_nobody_is_told() {
        let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        assert_eq!(Listeners::of(address.port()).unwrap().owners(address).next(), None);
        assert_eq!(of_connection(address, address).unwrap(), None);
    }

    /// A line of a real table, of an x86-64 machine.
    #[cfg(target_endian = "little")]
    #[test]
    fn lines_of_proc_are_read() {
        let line = "   3: 0100007F:E2A3 0200007F:0FA0 01 00000000:00000000 00:00000000 00000000 65534        0 31247 1 0000000000000000 100 0 0 10 0";
        let row = tables::row(line).unwrap();
        assert_eq!(row.from, "127.0.0.1:58019".parse().unwrap());
        assert_eq!(row.to, "127.0.0.2:4000".parse().unwrap());
        assert_eq!((row.state, row.owner), (1, Owner { uid: 65534, inode: 31247 }));
        assert!(!row.owner.is_trusted() || own_user() == 65534);
        assert!(!Owner { uid: 0, inode: 0 }.is_trusted());
        assert!(tables::row("3: 0100007F").is_none());
    }
}
