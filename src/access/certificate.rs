//! An OpenSSH user certificate into facts that were checked.
//!
//! The format is that of OpenSSH's `PROTOCOL.certkeys`. Checked here: it is a user's, its authority's signature is right and not
//! one of SHA-1, this moment lies within its validity, its critical options are known and fulfilled (`source-address`;
//! `force-command` is obeyed by the transport). Any other critical option refuses it, `verify-required` among them: whether
//! somebody touched a hardware key or gave it a PIN is not told here. Left to the driver: whether the authority is trusted, whom the
//! principals name, and revocation. Extensions are rights that a git server never gives (a terminal, forwarding), so they change nothing.

use super::PublicKey;
use russh::keys::ssh_key::certificate::CertType;
use russh::keys::{Algorithm, HashAlg};
use std::collections::BTreeMap;
use std::net::IpAddr;

const SOURCE_ADDRESS: &str = "source-address";
const FORCE_COMMAND: &str = "force-command";

/// A user certificate whose signatures, times and critical options were found right.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Certificate {
    /// The key that it is about; the client holds its private half.
    pub key: PublicKey,
    /// The key of the authority that signed it. Nothing is known of it yet: anybody can make one.
    pub authority: PublicKey,
    /// What the authority calls it.
    pub key_id: String,
    /// Its number; 0 where the authority does not count.
    pub serial: u64,
    /// Whom it is for; a certificate that names nobody is for nobody.
    pub principals: Vec<String>,
    /// The first second of its validity, since 1970.
    pub valid_after_s: u64,
    /// The first second after it.
    pub valid_before_s: u64,
    /// `source-address` and `force-command`, where it has them.
    pub critical_options: BTreeMap<String, String>,
    /// What else it says.
    pub extensions: BTreeMap<String, String>,
}

/// Why a certificate does not count.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum CertificateFault {
    #[error("it is not a user's certificate")]
    NotOfAUser,
    #[error("its authority signed it with {0}, which is not taken")]
    WeakSignature(String),
    #[error("its authority's signature is wrong")]
    BadSignature,
    #[error("it is valid from second {after_s} to {before_s} since 1970, and now is {now_s}")]
    OutOfTime { after_s: u64, before_s: u64, now_s: u64 },
    #[error("its critical option '{0}' is not known here")]
    UnknownOption(String),
    #[error("it may be used from {allowed}, not from {peer}")]
    WrongAddress { allowed: String, peer: String },
}

impl Certificate {
    /// Check everything that needs no driver, for a client at `peer` in the second `now_s` since 1970.
    pub(crate) fn check(shown: &russh::keys::Certificate, peer: Option<IpAddr>, now_s: u64) -> Result<Self, CertificateFault> {
        if shown.cert_type() != CertType::User {
            return Err(CertificateFault::NotOfAUser);
        }
        let algorithm = shown.signature().algorithm();
        if matches!(algorithm, Algorithm::Dsa | Algorithm::Rsa { hash: None }) {
            return Err(CertificateFault::WeakSignature(super::printable(algorithm.as_str())));
        }
        let facts = Self {
            key: PublicKey::from_ssh(shown.public_key().clone().into()),
            authority: PublicKey::from_ssh(shown.signature_key().clone().into()),
            key_id: shown.key_id().to_owned(),
            serial: shown.serial(),
            principals: shown.valid_principals().to_vec(),
            valid_after_s: shown.valid_after(),
            valid_before_s: shown.valid_before(),
            critical_options: shown.critical_options().0.clone(),
            extensions: shown.extensions().0.clone(),
        };
        facts.check_time(now_s)?;
        // Says that the signature is that of the key inside, which may be anybody's.
        let own_authority = shown.signature_key().fingerprint(HashAlg::Sha256);
        shown.validate_at(now_s, [&own_authority]).map_err(|_| CertificateFault::BadSignature)?;
        for (name, value) in &facts.critical_options {
            match name.as_str() {
                SOURCE_ADDRESS => check_source(value, peer)?,
                FORCE_COMMAND => {}
                other => return Err(CertificateFault::UnknownOption(super::printable(other))),
            }
        }
        Ok(facts)
    }

    /// Whether the second `now_s` since 1970 lies within its validity.
    pub(crate) fn check_time(&self, now_s: u64) -> Result<(), CertificateFault> {
        let (after_s, before_s) = (self.valid_after_s, self.valid_before_s);
        if after_s <= now_s && now_s < before_s { Ok(()) } else { Err(CertificateFault::OutOfTime { after_s, before_s, now_s }) }
    }

    /// The only command that it is for: whatever the client asks for, this is run.
    pub fn forced_command(&self) -> Option<&str> {
        self.critical_options.get(FORCE_COMMAND).map(String::as_str)
    }
}

impl std::fmt::Display for Certificate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "certificate '{}' (serial {}) of {}", super::printable(&self.key_id), self.serial, self.key.fingerprint())
    }
}

/// Whether `peer` is in the list `allowed` of addresses and networks, separated by commas. What cannot be read allows nobody.
fn check_source(allowed: &str, peer: Option<IpAddr>) -> Result<(), CertificateFault> {
    let is_inside = peer.is_some_and(|peer| {
        let found: Option<Vec<bool>> = allowed.split(',').map(|network| holds(network, peer.to_canonical())).collect();
        found.is_some_and(|found| found.contains(&true))
    });
    let shown = peer.map_or_else(|| "nowhere".to_owned(), |peer| peer.to_string());
    if is_inside { Ok(()) } else { Err(CertificateFault::WrongAddress { allowed: super::printable(allowed), peer: shown }) }
}

/// Whether `network` (`192.0.2.0/24`, `2001:db8::/32`, or one address) holds `address`; none where it is no network.
fn holds(network: &str, address: IpAddr) -> Option<bool> {
    let (first, bits) = network.split_once('/').map_or((network, None), |(first, bits)| (first, Some(bits)));
    let first: IpAddr = first.parse().ok()?;
    let as_bits = |address: IpAddr| match address {
        IpAddr::V4(address) => (u128::from(address.to_bits()) << 96, 32),
        IpAddr::V6(address) => (address.to_bits(), 128),
    };
    let (base, width) = as_bits(first);
    let bits: u32 = bits.map_or(Some(width), |bits| bits.parse().ok())?;
    let mask = if bits == 0 { 0 } else { u128::MAX.checked_shl(128_u32.checked_sub(bits)?)? };
    // As OpenSSH has it: bits beyond the prefix are a mistake, and a mistake allows nothing.
    if bits > width || base & !mask != 0 {
        return None;
    }
    Some(first.is_ipv4() == address.is_ipv4() && as_bits(address).0 & mask == base)
}

#[cfg(test)]
mod tests {
    use super::*;
    use russh::keys::PrivateKey;
    use russh::keys::ssh_key::certificate::Builder;
    use russh::keys::ssh_key::private::Ed25519Keypair;

    fn key(seed: u8) -> PrivateKey {
        Ed25519Keypair::from_seed(&[seed; 32]).into()
    }

    /// A certificate of key 1 by authority 2, valid from second 100 to 200, with what `change` adds.
    fn made(change: impl FnOnce(&mut Builder)) -> russh::keys::Certificate {
        let mut builder = Builder::new([7; 16], key(1).public_key().key_data().clone(), 100, 200).expect("a builder");
        builder.key_id("laptop").expect("an id").serial(7).expect("a number").valid_principal("ann").expect("a name");
        change(&mut builder);
        builder.sign(&key(2)).expect("signed")
    }

    fn checked(change: impl FnOnce(&mut Builder), peer: &str) -> Result<Certificate, CertificateFault> {
        Certificate::check(&made(change), peer.parse().ok(), 150)
    }

    #[test]
    fn what_is_right_is_told() {
        let facts = checked(|_| {}, "192.0.2.1").expect("right");
        assert_eq!(facts.key, PublicKey::from_ssh(key(1).public_key().clone()));
        assert_eq!(facts.authority, PublicKey::from_ssh(key(2).public_key().clone()));
        assert_eq!((facts.key_id.as_str(), facts.serial, &facts.principals[..]), ("laptop", 7, &["ann".to_owned()][..]));
        assert!(facts.to_string().starts_with("certificate 'laptop' (serial 7) of SHA256:"), "{facts}");
    }

    #[test]
    fn validity_begins_with_its_first_second_and_ends_before_its_last() {
        let shown = made(|_| {});
        for (now_s, is_valid) in [(99, false), (100, true), (199, true), (200, false), (u64::MAX, false)] {
            let found = Certificate::check(&shown, None, now_s);
            assert_eq!(found.is_ok(), is_valid, "{now_s}");
            assert!(is_valid || matches!(found, Err(CertificateFault::OutOfTime { .. })), "{found:?}");
        }
    }

    #[test]
    fn a_changed_certificate_a_hosts_and_unknown_options_do_not_count() {
        let mut bytes = made(|_| {}).to_bytes().expect("bytes");
        let at = bytes.windows(6).position(|word| word == b"laptop").expect("the id");
        bytes[at] = b'L';
        let changed = russh::keys::Certificate::from_bytes(&bytes).expect("still a certificate");
        assert_eq!(Certificate::check(&changed, None, 150), Err(CertificateFault::BadSignature));
        let host = checked(
            |builder| {
                builder.cert_type(CertType::Host).expect("a type");
            },
            "",
        );
        assert_eq!(host, Err(CertificateFault::NotOfAUser));
        for option in ["verify-required", "anything@example.com"] {
            let found = checked(
                |builder| {
                    builder.critical_option(option, "").expect("an option");
                },
                "",
            );
            assert_eq!(found, Err(CertificateFault::UnknownOption(option.to_owned())));
        }
    }

    #[test]
    fn a_forced_command_is_told_and_an_extension_changes_nothing() {
        let facts = checked(
            |builder| {
                builder.critical_option(FORCE_COMMAND, "git-upload-pack 'x'").expect("an option");
                builder.extension("permit-pty", "").expect("an extension");
            },
            "",
        );
        let facts = facts.expect("right");
        assert_eq!(facts.forced_command(), Some("git-upload-pack 'x'"));
        assert_eq!(facts.extensions.keys().collect::<Vec<_>>(), ["permit-pty"]);
    }

    #[test]
    fn a_source_address_is_held_against_the_clients() {
        for (allowed, peer, is_inside) in [
            ("192.0.2.0/24", "192.0.2.77", true),
            ("192.0.2.0/24", "192.0.3.77", false),
            ("10.0.0.0/8,192.0.2.1", "192.0.2.1", true),
            ("192.0.2.1", "::ffff:192.0.2.1", true),
            ("2001:db8::/32", "2001:db8:1::1", true),
            ("2001:db8::/32", "192.0.2.1", false),
            ("0.0.0.0/0", "192.0.2.1", true),
            ("0.0.0.0/0", "2001:db8::1", false),
            ("::/0", "2001:db8::1", true),
            ("192.0.2.1/24", "192.0.2.1", false),
            ("192.0.2.0/33", "192.0.2.0", false),
            ("192.0.2.1,nonsense", "192.0.2.1", false),
            ("2001:db8::/129", "2001:db8::", false),
            ("", "192.0.2.1", false),
            ("0.0.0.0/0", "nobody", false),
        ] {
            let found = checked(
                |builder| {
                    builder.critical_option(SOURCE_ADDRESS, allowed).expect("an option");
                },
                peer,
            );
            assert_eq!(found.is_ok(), is_inside, "{allowed} {peer}: {found:?}");
        }
    }
}
