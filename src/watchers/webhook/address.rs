//! Which addresses a webhook may have: those that anybody can reach.
//!
//! The resolver leaves the others out, so what is connected to is what was looked at, however the host was written and
//! whatever its name leads to a moment later.

use std::net::IpAddr;
use std::net::Ipv4Addr;
use std::net::Ipv6Addr;

use ureq::config::Config;
use ureq::http::Uri;
use ureq::unversioned::resolver::{DefaultResolver, ResolvedSocketAddrs, Resolver as Resolve};
use ureq::unversioned::transport::NextTimeout;

/// What a name leads to, without the addresses that must not be connected to.
#[derive(Debug)]
pub(super) struct Resolver {
    system: DefaultResolver,
    allow_private: bool,
}

impl Resolver {
    pub(super) fn new(allow_private: bool) -> Self {
        Resolver { system: DefaultResolver::default(), allow_private }
    }

    fn permitted(&self, found: &ResolvedSocketAddrs) -> Result<ResolvedSocketAddrs, ureq::Error> {
        let mut permitted = self.empty();
        for address in found.iter().filter(|it| self.allow_private || is_public(it.ip())) {
            permitted.push(*address);
        }
        match found.first() {
            None => Err(ureq::Error::HostNotFound),
            Some(first) if permitted.is_empty() => {
                Err(ureq::Error::Other(Box::new(NotPublic(first.ip()))))
            }
            Some(_) => Ok(permitted),
        }
    }
}

impl Resolve for Resolver {
    fn resolve(
        &self,
        uri: &Uri,
        config: &Config,
        timeout: NextTimeout,
    ) -> Result<ResolvedSocketAddrs, ureq::Error> {
        self.permitted(&self.system.resolve(uri, config, timeout)?)
    }
}

/// A host has no public address; this is one that it has.
#[derive(Debug, thiserror::Error)]
#[error("{0} is not a public address")]
pub(super) struct NotPublic(pub(super) IpAddr);

/// Refuses hosts that cannot be meant, as far as that is seen without a lookup.
pub(super) fn check_host(host: &str, allow_private: bool) -> Result<(), String> {
    let host = host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase();
    let bare = host.trim_matches(['[', ']']);
    let last = bare.rsplit('.').next().unwrap_or_default();
    let is_number = last.starts_with("0x") || last.bytes().all(|byte| byte.is_ascii_digit());
    if bare.is_empty() {
        return Err("it has no host".to_owned());
    }
    let is_private = match bare.parse() {
        Ok(address) => !is_public(address),
        // Systems take 127.1, 0x7f000001 and 2130706433 for addresses, too.
        Err(_) if is_number => {
            return Err("its host is no name: write an address as four decimal numbers".to_owned());
        }
        Err(_) => last == "localhost",
    };
    match is_private && !allow_private {
        true => Err(format!(
            "{host} is not a public address; if that is meant, set allow_private = true"
        )),
        false => Ok(()),
    }
}

/// Whether an address is one of the Internet's, and not of this machine, of our network, of a group, or of no one.
fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_public_v4(address),
        IpAddr::V6(address) => is_public_v6(address),
    }
}

fn is_public_v4(address: Ipv4Addr) -> bool {
    // This network; shared by a provider's customers; protocol assignments; benchmarks; future use and broadcast.
    let is_reserved = matches!(
        address.octets(),
        [0, ..] | [100, 64..=127, ..] | [192, 0, 0, _] | [198, 18..=19, ..] | [240..=255, ..]
    );
    !is_reserved
        && !address.is_loopback()
        && !address.is_private()
        && !address.is_link_local()
        && !address.is_multicast()
}

/// Of what is outside of 2000::/3 only two prefixes lead into the Internet, by an IPv4 address that they hold.
fn is_public_v6(address: Ipv6Addr) -> bool {
    let v4 = |high: u16, low: u16| Ipv4Addr::from(u32::from(high) << 16 | u32::from(low));
    match address.segments() {
        // Mapped, and NAT64.
        [0, 0, 0, 0, 0, 0xffff, high, low] | [0x64, 0xff9b, 0, 0, 0, 0, high, low] => {
            is_public_v4(v4(high, low))
        }
        // 6to4.
        [0x2002, high, low, ..] => is_public_v4(v4(high, low)),
        // Teredo: an IPv4 address, hidden.
        [0x2001, 0, ..] => false,
        [first, ..] => first & 0xe000 == 0x2000,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_addresses_that_anybody_can_reach_are_public() {
        for (address, expected) in [
            ("8.8.8.8", true),
            ("100.63.255.255", true),
            ("100.128.0.0", true),
            ("172.15.0.1", true),
            ("172.32.0.1", true),
            ("192.0.1.1", true),
            ("198.17.255.255", true),
            ("198.20.0.0", true),
            ("223.255.255.255", true),
            ("0.0.0.0", false),
            ("0.1.2.3", false),
            ("10.0.0.1", false),
            ("100.64.0.0", false),
            ("100.127.255.255", false),
            ("127.0.0.1", false),
            ("127.255.255.255", false),
            ("169.254.169.254", false),
            ("172.16.0.0", false),
            ("172.31.255.255", false),
            ("192.0.0.1", false),
            ("192.168.1.1", false),
            ("198.18.0.0", false),
            ("198.19.255.255", false),
            ("224.0.0.1", false),
            ("239.255.255.255", false),
            ("240.0.0.1", false),
            ("255.255.255.255", false),
            ("2606:4700::1111", true),
            ("2002:808:808::1", true),
            ("64:ff9b::8.8.8.8", true),
            ("::ffff:8.8.8.8", true),
            ("::", false),
            ("::1", false),
            ("::127.0.0.1", false),
            ("::ffff:127.0.0.1", false),
            ("::ffff:10.0.0.1", false),
            ("::ffff:0:127.0.0.1", false),
            ("64:ff9b::10.0.0.1", false),
            ("64:ff9b:1::a00:1", false),
            ("2002:7f00:1::1", false),
            ("2002:a00:1::", false),
            ("2001::1", false),
            ("2001:0:7f00:1::", false),
            ("fc00::1", false),
            ("fdff::1", false),
            ("fe80::1", false),
            ("febf::1", false),
            ("fec0::1", false),
            ("ff02::1", false),
        ] {
            assert_eq!(is_public(address.parse().unwrap()), expected, "{address}");
        }
    }

    #[test]
    fn what_is_not_public_is_left_out() {
        let resolver = Resolver::new(false);
        let found = |addresses: &[&str]| {
            let mut found = resolver.empty();
            for address in addresses {
                found.push(address.parse().unwrap());
            }
            resolver.permitted(&found)
        };
        let permitted = found(&["127.0.0.1:80", "8.8.8.8:80", "[::1]:80"]).unwrap();
        assert_eq!(permitted[..], ["8.8.8.8:80".parse().unwrap()]);
        let refused = found(&["10.0.0.1:80", "[::1]:80"]).unwrap_err().to_string();
        assert!(refused.contains("10.0.0.1 is not a public address"), "{refused}");
    }
}
