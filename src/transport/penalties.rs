//! Failed logins into penalties for the address they came from and the user whose password was guessed, as OpenSSH has them
//! (sshd_config, `PerSourcePenalties` and `PerSourceNetBlockSize`).
//!
//! Each connection that ends without a login adds seconds to the penalty of its address; once they come to
//! [`PenaltySettings::min_s`] they count, until they have passed. Whoever earns another penalty soon after one pays double, then four
//! times, up to [`PenaltySettings::max_s`]. While a penalty lasts, what is shown from there is refused before any driver is asked,
//! unless the same key, certificate or password with its user got in from there before.
//!
//! A user is penalised for wrong passwords only, each at once: a name that comes with a key is no guess at anything, and all
//! clients call themselves `git`.
//!
//! Limits: [`PenaltySettings::sources_max`] addresses, as many users and as many successes are remembered; beyond that those
//! go that would have been forgotten first. Some 150 bytes each.

use super::limits::{any_time, at_least_one};
use crate::access::{Credentials, is_network, network_holds};
use crate::base::Clock;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};
use std::collections::{BTreeSet, HashMap};
use std::hash::{BuildHasher, Hash, RandomState};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// What failed logins cost.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct PenaltySettings {
    /// Whether they cost anything.
    pub enabled: bool,
    /// Seconds for a connection that tried to log in and failed, and for a wrong password of one user.
    #[serde(deserialize_with = "any_time")]
    pub auth_failed_s: u64,
    /// Seconds for a connection that ended without trying.
    #[serde(deserialize_with = "any_time")]
    pub no_auth_s: u64,
    /// Seconds for a connection that did not log in in time.
    #[serde(deserialize_with = "any_time")]
    pub grace_exceeded_s: u64,
    /// Penalties of fewer seconds do not count yet.
    #[serde(deserialize_with = "any_time")]
    pub min_s: u64,
    /// No penalty lasts longer; and so long after one the next is doubled.
    #[serde(deserialize_with = "at_least_one")]
    pub max_s: u64,
    /// Bits of an IPv4 address that tell one source from another.
    #[serde(deserialize_with = "bits_of_ipv4")]
    pub ipv4_prefix: u32,
    /// The same of an IPv6 address.
    #[serde(deserialize_with = "bits_of_ipv6")]
    pub ipv6_prefix: u32,
    /// Sources that are remembered.
    #[serde(deserialize_with = "at_least_one")]
    pub sources_max: usize,
    /// Addresses and networks that are never penalised.
    #[serde(deserialize_with = "networks")]
    pub exempt: Vec<String>,
}

impl Default for PenaltySettings {
    fn default() -> Self {
        Self {
            enabled: true,
            auth_failed_s: 5,
            no_auth_s: 1,
            grace_exceeded_s: 10,
            min_s: 15,
            max_s: 600,
            ipv4_prefix: 32,
            ipv6_prefix: 64,
            sources_max: 65_536,
            exempt: vec![],
        }
    }
}

fn prefix<'de, D: Deserializer<'de>>(deserializer: D, most: u32) -> Result<u32, D::Error> {
    let bits = u32::deserialize(deserializer)?;
    if bits <= most { Ok(bits) } else { Err(D::Error::custom(format!("this must be at most {most}"))) }
}

fn bits_of_ipv4<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u32, D::Error> {
    prefix(deserializer, Ipv4Addr::BITS)
}

fn bits_of_ipv6<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u32, D::Error> {
    prefix(deserializer, Ipv6Addr::BITS)
}

fn networks<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    let networks = Vec::<String>::deserialize(deserializer)?;
    match networks.iter().find(|network| !is_network(network)) {
        None => Ok(networks),
        Some(wrong) => Err(D::Error::custom(format!("'{wrong}' is no address and no network such as 192.0.2.0/24 or 2001:db8::/32"))),
    }
}

impl PenaltySettings {
    /// What one party has to itself: the network round its address.
    pub(super) fn source(&self, address: IpAddr) -> IpAddr {
        match address.to_canonical() {
            IpAddr::V4(address) => Ipv4Addr::from_bits(address.to_bits() & mask(self.ipv4_prefix, Ipv4Addr::BITS) as u32).into(),
            IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() & mask(self.ipv6_prefix, Ipv6Addr::BITS)).into(),
        }
    }
}

/// The first `prefix` of `bits` bits.
fn mask(prefix: u32, bits: u32) -> u128 {
    u128::MAX.checked_shl(bits.saturating_sub(prefix)).unwrap_or_default()
}

/// How a connection ended on which nobody logged in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// What was shown let nobody in.
    AuthFailed,
    /// Nothing was shown.
    NoAuth,
    /// The time was over.
    GraceExceeded,
}

/// All that is remembered of failures and successes.
pub(super) struct Penalties {
    settings: PenaltySettings,
    clock: Arc<dyn Clock>,
    /// Of its own for each process: nobody can choose names that meet.
    hasher: RandomState,
    inside: Mutex<Inside>,
}

struct Inside {
    sources: Table<IpAddr>,
    /// By the hash of the claimed name.
    users: Table<u64>,
    /// By source and the hash of what was shown.
    successes: Recent<(IpAddr, u64), u64>,
    /// Sources that any of these came from.
    friends: Recent<IpAddr, ()>,
}

impl Penalties {
    pub(super) fn new(settings: PenaltySettings, clock: Arc<dyn Clock>) -> Self {
        let max = settings.sources_max;
        let inside = Inside { sources: Table::new(max), users: Table::new(max), successes: Recent::new(max), friends: Recent::new(max) };
        Self { settings, clock, hasher: RandomState::new(), inside: Mutex::new(inside) }
    }

    /// The source that `address` belongs to.
    pub(super) fn source(&self, address: IpAddr) -> IpAddr {
        self.settings.source(address)
    }

    /// Seconds that `address` is still penalised; none where it is not, or somebody got in from there before.
    pub(super) fn of_strangers_at(&self, address: IpAddr) -> Option<u64> {
        let source = self.source(address);
        let inside = self.inside();
        if inside.friends.holds(&source) {
            return None;
        }
        inside.sources.left_ms(&source, self.clock.now_ms()).map(seconds)
    }

    /// Whether `address` is penalised, whoever got in from there before.
    pub(super) fn lasts_at(&self, address: IpAddr) -> bool {
        self.inside().sources.left_ms(&self.source(address), self.clock.now_ms()).is_some()
    }

    /// Why these credentials are refused unheard, if they are.
    pub(super) fn judge(&self, address: IpAddr, shown: &Credentials) -> Option<String> {
        let (source, now) = (self.source(address), self.clock.now_ms());
        let mut inside = self.inside();
        let user = match shown {
            Credentials::Password(said) => inside.users.left_ms(&self.hasher.hash_one(&said.user_name), now),
            _ => None,
        };
        let of_source = inside.sources.left_ms(&source, now);
        of_source.or(user)?;
        let (whose, identity) = self.identity(shown);
        match inside.successes.get(&(source, whose)) {
            Some(known) if *known == identity => return None,
            // Another password for the same user: were the right one still heard, it could be guessed for nothing.
            Some(_) => inside.successes.remove(&(source, whose)),
            None => {}
        }
        drop(inside);
        Some(match of_source {
            Some(left_ms) => format!("{source} has a penalty of {} more seconds for failed logins", seconds(left_ms)),
            None => format!("this user has a penalty of {} more seconds for wrong passwords", user.map_or(0, seconds)),
        })
    }

    /// Somebody got in.
    pub(super) fn succeeded(&self, address: IpAddr, shown: &Credentials) {
        // To show nothing is no merit.
        if self.settings.enabled && !matches!(shown, Credentials::Anonymous(_)) {
            let (source, now) = (self.source(address), self.clock.now_ms());
            let mut inside = self.inside();
            let (whose, identity) = self.identity(shown);
            inside.successes.put((source, whose), identity, now);
            inside.friends.put(source, (), now);
        }
    }

    /// A password was wrong. Seconds of the penalty, where one begins with it.
    pub(super) fn wrong_password(&self, address: IpAddr, user_name: &str) -> Option<u64> {
        if !self.counts(address) {
            return None;
        }
        let weight_s = self.settings.auth_failed_s;
        self.inside().users.add(self.hasher.hash_one(user_name), weight_s, &self.settings, self.clock.now_ms()).map(seconds)
    }

    /// A connection from `address` ended without a login. Seconds of the penalty, where one begins with it.
    pub(super) fn ended(&self, address: IpAddr, fault: Fault) -> Option<u64> {
        if !self.counts(address) {
            return None;
        }
        let settings = &self.settings;
        let weight_s = match fault {
            Fault::AuthFailed => settings.auth_failed_s,
            Fault::NoAuth => settings.no_auth_s,
            Fault::GraceExceeded => settings.grace_exceeded_s,
        };
        self.inside().sources.add(self.source(address), weight_s, settings, self.clock.now_ms()).map(seconds)
    }

    fn counts(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.settings.enabled && !self.settings.exempt.iter().any(|network| network_holds(network, address) == Some(true))
    }

    /// Whose it is and what was shown, as numbers that say neither: for a password its user and itself, otherwise twice the same.
    fn identity(&self, shown: &Credentials) -> (u64, u64) {
        let (user, password) = match shown {
            Credentials::Password(said) => (Some(said.user_name.as_str()), Some(said.password.expose())),
            _ => (None, None),
        };
        let whose = (shown.proof(), user);
        (self.hasher.hash_one(&whose), self.hasher.hash_one((&whose, password)))
    }

    fn inside(&self) -> MutexGuard<'_, Inside> {
        self.inside.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn seconds(ms: u64) -> u64 {
    ms.div_ceil(1_000)
}

/// Penalties by whom they are for.
struct Table<K> {
    max: usize,
    entries: HashMap<K, Entry>,
    /// In the order in which they will be forgotten.
    by_end: BTreeSet<(u64, K)>,
}

#[derive(Clone, Copy, Default)]
struct Entry {
    until_ms: u64,
    forget_ms: u64,
    /// It has come to the least that counts, and has not passed.
    is_active: bool,
    /// Penalties that counted before this one, one soon after the other.
    before: u32,
}

impl<K: Hash + Ord + Copy> Table<K> {
    fn new(max: usize) -> Self {
        Self { max, entries: HashMap::new(), by_end: BTreeSet::new() }
    }

    fn left_ms(&self, who: &K, now_ms: u64) -> Option<u64> {
        let entry = self.entries.get(who).filter(|entry| entry.is_active)?;
        entry.until_ms.checked_sub(now_ms).filter(|left| *left > 0)
    }

    /// Add `weight_s`; how long the penalty lasts where one begins to count with it.
    fn add(&mut self, who: K, weight_s: u64, settings: &PenaltySettings, now_ms: u64) -> Option<u64> {
        while let Some(first) = self.by_end.first().copied().filter(|(end_ms, _)| *end_ms <= now_ms) {
            self.forget(first);
        }
        let (min_ms, max_ms) = (settings.min_s.saturating_mul(1_000), settings.max_s.saturating_mul(1_000));
        let mut entry = self.entries.get(&who).copied().unwrap_or_default();
        self.by_end.remove(&(entry.forget_ms, who));
        if entry.until_ms <= now_ms {
            entry.before += u32::from(entry.is_active);
            (entry.until_ms, entry.is_active) = (now_ms, false);
        }
        let weight_ms = weight_s.saturating_mul(1_000).saturating_mul(1 << entry.before.min(20));
        entry.until_ms = entry.until_ms.saturating_add(weight_ms).min(now_ms.saturating_add(max_ms));
        let left_ms = entry.until_ms - now_ms;
        let begins = !entry.is_active && left_ms > 0 && left_ms >= min_ms.min(max_ms);
        entry.is_active |= begins;
        entry.forget_ms = entry.until_ms.saturating_add(max_ms);
        self.entries.insert(who, entry);
        self.by_end.insert((entry.forget_ms, who));
        if self.entries.len() > self.max
            && let Some(first) = self.by_end.first().copied()
        {
            self.forget(first);
        }
        begins.then_some(left_ms)
    }

    fn forget(&mut self, entry: (u64, K)) {
        self.by_end.remove(&entry);
        self.entries.remove(&entry.1);
    }
}

/// What happened last, and no more of it than so much.
struct Recent<K, V> {
    max: usize,
    entries: HashMap<K, (u64, V)>,
    by_time: BTreeSet<(u64, K)>,
}

impl<K: Hash + Ord + Copy, V> Recent<K, V> {
    fn new(max: usize) -> Self {
        Self { max, entries: HashMap::new(), by_time: BTreeSet::new() }
    }

    fn holds(&self, what: &K) -> bool {
        self.entries.contains_key(what)
    }

    fn get(&self, what: &K) -> Option<&V> {
        self.entries.get(what).map(|(_, value)| value)
    }

    fn remove(&mut self, what: &K) {
        if let Some((before, _)) = self.entries.remove(what) {
            self.by_time.remove(&(before, *what));
        }
    }

    fn put(&mut self, what: K, value: V, now_ms: u64) {
        self.remove(&what);
        self.entries.insert(what, (now_ms, value));
        self.by_time.insert((now_ms, what));
        if self.entries.len() > self.max
            && let Some((_, first)) = self.by_time.pop_first()
        {
            self.entries.remove(&first);
        }
    }
}

#[cfg(test)]
mod tests;
