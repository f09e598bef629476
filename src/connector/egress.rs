//! The guard at the door: which addresses connectors may reach.
//!
//! Public ones only, unless a network is allowed; loopback while the broker itself serves loopback only.
//! What is checked is the address that is connected to, not the name: the guard is the client's resolver, and
//! literals, for which no resolver is asked, are checked before the request.

use crate::model::Invalid;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::sync::Arc;

/// An address range, as in `10.1.0.0/16`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Network {
    address: IpAddr,
    prefix: u8,
}

impl Network {
    /// Reads `ADDRESS/PREFIX`, or one address.
    ///
    /// # Errors
    /// Other text.
    pub fn parse(field: &'static str, text: &str) -> Result<Self, Invalid> {
        let bad = || Invalid::new(field, format!("'{text}' is not a network; write one as in 10.1.0.0/16"));
        let (address, prefix) = text.split_once('/').map_or((text, None), |(a, p)| (a, Some(p)));
        let address: IpAddr = address.parse().map_err(|_| bad())?;
        let longest = if address.is_ipv4() { 32 } else { 128 };
        let prefix = prefix.map_or(Ok(longest), str::parse).map_err(|_| bad())?;
        if prefix > longest { Err(bad()) } else { Ok(Self { address, prefix }) }
    }

    fn contains(&self, other: IpAddr) -> bool {
        match (self.address, other) {
            (IpAddr::V4(ours), IpAddr::V4(other)) => {
                let shift = 32 - u32::from(self.prefix);
                u32::from(ours).checked_shr(shift).unwrap_or(0) == u32::from(other).checked_shr(shift).unwrap_or(0)
            }
            (IpAddr::V6(ours), IpAddr::V6(other)) => {
                let shift = 128 - u32::from(self.prefix);
                u128::from(ours).checked_shr(shift).unwrap_or(0) == u128::from(other).checked_shr(shift).unwrap_or(0)
            }
            _ => false,
        }
    }
}

/// What is allowed.
#[derive(Debug, Clone, Default)]
pub struct Egress {
    /// Whether loopback is: while the broker itself serves loopback only.
    pub loopback: bool,
    /// Networks that are allowed although they are not public.
    pub allow: Vec<Network>,
    /// Where the broker itself listens: no connector calls it, or an event would publish itself for ever.
    pub own: Option<SocketAddr>,
}

impl Egress {
    /// Whether connectors may connect there.
    #[must_use]
    pub fn permits(&self, address: IpAddr) -> bool {
        let address = plain(address);
        self.allow.iter().any(|network| network.contains(address))
            || (self.loopback && address.is_loopback())
            || is_public(address)
    }

    /// Whether the broker itself listens on that port, and might be reached there by name.
    pub(super) fn is_own_port(&self, port: Option<u16>) -> bool {
        self.own.is_some_and(|own| Some(own.port()) == port)
    }

    /// Whether the broker itself listens there.
    #[must_use]
    pub fn is_own(&self, at: SocketAddr) -> bool {
        let (ip, port) = (plain(at.ip()), at.port());
        self.own.is_some_and(|own| {
            let ours = plain(own.ip());
            // On every address of the machine; which those are only the machine knows, and a socket bound to one tells.
            let any = ours.is_unspecified() && (ip.is_loopback() || UdpSocket::bind((ip, 0)).is_ok());
            own.port() == port && (ours == ip || ip.is_unspecified() || any)
        })
    }
}

/// An IPv4 address in one of its IPv6 spellings, taken out.
fn plain(address: IpAddr) -> IpAddr {
    let IpAddr::V6(v6) = address else { return address };
    let [a, b, c, d, e, f, g, h] = v6.segments();
    let v4 = |high: u16, low: u16| IpAddr::V4(Ipv4Addr::from((u32::from(high) << 16) | u32::from(low)));
    match [a, b, c, d, e, f] {
        // Mapped (RFC 4291), compatible (deprecated), translated (RFC 2765).
        [0, 0, 0, 0, 0, 0xffff] | [0, 0, 0, 0, 0xffff, 0] => v4(g, h),
        [0, 0, 0, 0, 0, 0] if (g, h) != (0, 0) && (g, h) != (0, 1) => v4(g, h),
        // NAT64 (RFC 6052, RFC 8215).
        [0x64, 0xff9b, 0, 0, 0, 0] | [0x64, 0xff9b, 1, _, _, _] => v4(g, h),
        // 6to4 (RFC 3056).
        [0x2002, high, low, _, _, _] => v4(high, low),
        // Teredo (RFC 4380) holds the client's address inverted.
        [0x2001, 0, _, _, _, _] => v4(!g, !h),
        _ => address,
    }
}

fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => is_public_v4(v4),
        IpAddr::V6(v6) => is_public_v6(v6),
    }
}

/// Not one of the special-purpose registries of RFC 6890 and its successors.
fn is_public_v4(v4: Ipv4Addr) -> bool {
    let [a, b, c, _] = v4.octets();
    !(v4.is_private()
        || v4.is_loopback()
        || v4.is_link_local()
        || v4.is_multicast()
        || v4.is_documentation()
        // Public by number, and the platform's own on Azure.
        || v4.octets() == [168, 63, 129, 16]
        || a == 0
        || a >= 240
        || (a == 100 && (64..128).contains(&b))
        || (a == 192 && b == 0 && c == 0)
        || (a == 192 && b == 88 && c == 99)
        || (a == 198 && (b == 18 || b == 19)))
}

fn is_public_v6(v6: Ipv6Addr) -> bool {
    let [a, b, ..] = v6.segments();
    // Only global unicast (2000::/3) is, without its documentation and benchmarking parts.
    a & 0xe000 == 0x2000 && !(a == 0x2001 && (b == 0x0db8 || b == 2)) && a & 0xfff0 != 0x3ff0
}

/// A resolver that gives permitted addresses only.
pub(super) struct Guarded(pub(super) Arc<Egress>);

impl Resolve for Guarded {
    fn resolve(&self, name: Name) -> Resolving {
        let egress = Arc::clone(&self.0);
        Box::pin(async move {
            let found: Vec<SocketAddr> = tokio::net::lookup_host((name.as_str(), 0)).await?.collect();
            let permitted: Vec<SocketAddr> = found.into_iter().filter(|at| egress.permits(at.ip())).collect();
            if permitted.is_empty() {
                return Err(format!("{} has no address that connectors may reach", name.as_str()).into());
            }
            let permitted: Addrs = Box::new(permitted.into_iter());
            Ok(permitted)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn private_addresses_are_denied_in_every_spelling() {
        let guard = Egress::default();
        for denied in [
            "127.0.0.1",
            "10.0.0.1",
            "172.16.5.4",
            "192.168.1.1",
            "169.254.169.254",
            "0.0.0.0",
            "100.64.0.1",
            "224.0.0.1",
            "255.255.255.255",
            "198.18.0.1",
            "192.0.0.8",
            "::1",
            "::",
            "fe80::1",
            "fc00::1",
            "fd12::1",
            "ff02::1",
            "::ffff:127.0.0.1",
            "::127.0.0.1",
            "64:ff9b::7f00:1",
            "64:ff9b:1::a00:1",
            "2002:7f00:1::",
            "2001:0:1:2:3:4:80ff:fffe",
            "2001:db8::1",
            "::ffff:0:10.0.0.1",
        ] {
            assert!(!guard.permits(denied.parse().unwrap()), "{denied}");
        }
        for public in ["1.1.1.1", "93.184.216.34", "2606:4700::1111", "::ffff:8.8.8.8"] {
            assert!(guard.permits(public.parse().unwrap()), "{public}");
        }
    }

    #[test]
    fn loopback_and_named_networks_can_be_allowed() {
        let allow = vec![Network::parse("connectors.allow", "10.1.0.0/16").unwrap()];
        let guard = Egress { loopback: true, allow, ..Egress::default() };
        for (address, permitted) in [("127.0.0.1", true), ("::1", true), ("10.1.2.3", true), ("10.2.0.1", false)] {
            assert_eq!(guard.permits(address.parse().unwrap()), permitted, "{address}");
        }
        assert!(Network::parse("connectors.allow", "10.1.0.0/33").is_err());
    }
}
