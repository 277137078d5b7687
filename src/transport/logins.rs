//! Connections that have not logged in: bounded in all and per source address, so that one source cannot lock out the rest.

use super::limits::{LOGINS_PER_ADDRESS_MIN, LOGINS_PER_ADDRESS_PART};
use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Counts those who are in.
#[derive(Debug)]
pub(super) struct Logins {
    max: usize,
    per_source_max: usize,
    inside: Mutex<Inside>,
}

#[derive(Debug, Default)]
struct Inside {
    all: usize,
    by_source: HashMap<IpAddr, usize>,
}

/// One connection's place; dropped, it is free for the next.
#[derive(Debug)]
pub(super) struct LoginPlace {
    logins: Arc<Logins>,
    source: IpAddr,
}

impl Logins {
    /// `max` places in all.
    pub(super) fn new(max: usize) -> Arc<Self> {
        let per_source_max = (max / LOGINS_PER_ADDRESS_PART).max(LOGINS_PER_ADDRESS_MIN);
        Arc::new(Self { max, per_source_max, inside: Mutex::default() })
    }

    /// A place for a connection from `address`, if there is one.
    pub(super) fn enter(self: &Arc<Self>, address: IpAddr) -> Option<LoginPlace> {
        let source = source(address);
        let mut inside = self.inside();
        let of_source = inside.by_source.get(&source).copied().unwrap_or_default();
        if inside.all >= self.max || of_source >= self.per_source_max {
            return None;
        }
        inside.all += 1;
        inside.by_source.insert(source, of_source + 1);
        drop(inside);
        Some(LoginPlace { logins: self.clone(), source })
    }

    fn inside(&self) -> MutexGuard<'_, Inside> {
        self.inside.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for LoginPlace {
    fn drop(&mut self) {
        let mut inside = self.logins.inside();
        inside.all -= 1;
        if let Some(count) = inside.by_source.get_mut(&self.source) {
            *count -= 1;
            if *count == 0 {
                inside.by_source.remove(&self.source);
            }
        }
    }
}

/// What one party has to itself: an IPv4 address, or the network of 64 bits round an IPv6 address.
fn source(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() >> 64 << 64).into(),
        address => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    #[test]
    fn one_source_leaves_places_for_the_others() {
        let logins = Logins::new(25);
        let mut of_one: Vec<_> = (0..10).map(|_| logins.enter(address("192.0.2.1")).expect("a place")).collect();
        assert!(logins.enter(address("::ffff:192.0.2.1")).is_none());
        let _of_net: Vec<_> = (0..10).map(|at| logins.enter(address(&format!("2001:db8::{at}"))).expect("a place")).collect();
        assert!(logins.enter(address("2001:db8::ffff")).is_none());
        let others: Vec<_> = (0..5).map(|at| logins.enter(address(&format!("192.0.2.{}", at + 2))).expect("a place")).collect();
        assert!(logins.enter(address("192.0.2.99")).is_none(), "all places are taken");
        drop(others);
        of_one.pop();
        assert!(logins.enter(address("192.0.2.1")).is_some());
        drop(of_one);
        assert_eq!(logins.inside().by_source.len(), 1);
    }
}
