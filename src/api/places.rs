//! Ingress caps: how many connections there may be, in all and from one address.

use parking_lot::Mutex;
use prometheus_client::metrics::gauge::Gauge;
use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;

/// Why a connection has no place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Crowded {
    /// There are as many as there may be.
    All,
    /// There are as many as there may be from this address.
    Address,
}

impl Crowded {
    /// The word in metrics.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Crowded::All => "all",
            Crowded::Address => "address",
        }
    }
}

/// Who is connected, by address. An address that has nobody costs nothing.
pub(super) struct Places {
    at_most: usize,
    at_most_per_address: usize,
    taken: Mutex<Taken>,
}

#[derive(Default)]
struct Taken {
    all: usize,
    by_address: HashMap<IpAddr, usize>,
}

/// A connection's place; free again when it is dropped.
pub(super) struct Place {
    places: Arc<Places>,
    address: IpAddr,
    counted: Gauge,
}

impl Places {
    pub(super) fn new(at_most: usize, at_most_per_address: usize) -> Arc<Self> {
        Arc::new(Self { at_most, at_most_per_address, taken: Mutex::default() })
    }

    /// Takes a place for a connection from this address, and counts it in `counted` for as long as it lasts.
    pub(super) fn take(self: &Arc<Self>, address: IpAddr, counted: Gauge) -> Result<Place, Crowded> {
        let address = whose(address);
        let mut taken = self.taken.lock();
        if taken.all >= self.at_most {
            return Err(Crowded::All);
        }
        let here = taken.by_address.get(&address).copied().unwrap_or_default();
        if here >= self.at_most_per_address {
            return Err(Crowded::Address);
        }
        taken.all += 1;
        taken.by_address.insert(address, here + 1);
        counted.inc();
        Ok(Place { places: Arc::clone(self), address, counted })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.counted.dec();
        let mut taken = self.places.taken.lock();
        taken.all = taken.all.saturating_sub(1);
        if let Some(here) = taken.by_address.get_mut(&self.address) {
            *here -= 1;
            if *here == 0 {
                taken.by_address.remove(&self.address);
            }
        }
    }
}

/// Whom an address stands for: IPv4 in IPv6 is the IPv4 address, and a host has a whole /64 of IPv6 to itself.
fn whose(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(six) => IpAddr::V6(Ipv6Addr::from_bits(six.to_bits() & (u128::MAX << 64))),
        four => four,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn a_place_is_free_again_when_its_connection_has_ended() {
        let places = Places::new(3, 2);
        let (one, two) = (
            places.take(address("10.0.0.1"), Gauge::default()).unwrap(),
            places.take(address("10.0.0.1"), Gauge::default()).unwrap(),
        );
        assert_eq!(places.take(address("::ffff:10.0.0.1"), Gauge::default()).err(), Some(Crowded::Address));
        let _other = places.take(address("10.0.0.2"), Gauge::default()).unwrap();
        assert_eq!(places.take(address("10.0.0.3"), Gauge::default()).err(), Some(Crowded::All));
        drop((one, two));
        assert_eq!(places.taken.lock().by_address.len(), 1, "an address that has nobody is forgotten");
        assert!(places.take(address("10.0.0.1"), Gauge::default()).is_ok());
    }

    #[test]
    fn one_host_of_ipv6_is_one_address() {
        let places = Places::new(9, 1);
        let _one = places.take(address("2001:db8:1:2::1"), Gauge::default()).unwrap();
        assert_eq!(places.take(address("2001:db8:1:2:ffff::1"), Gauge::default()).err(), Some(Crowded::Address));
        assert!(places.take(address("2001:db8:1:3::1"), Gauge::default()).is_ok());
    }
}
