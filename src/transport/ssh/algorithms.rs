//! Ciphers and limits into russh's configuration: what is offered, what is accepted, how buffers are sized.

use super::super::limits::{CHANNEL_BUFFER, EVENT_BUFFER, KEEPALIVES_MAX, PACKET_BYTES, WINDOW_BYTES};
use super::super::{HostKey, SshLimits};
use super::identification::{Ciphers, SERVER_ID};
use crate::access::AuthMethods;
use russh::keys::{Algorithm, EcdsaCurve, HashAlg};
use russh::server::Config;
use russh::{MethodKind, MethodSet, Preferred, SshId, cipher, compression, mac};
use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

const GCM: &[cipher::Name] = &[cipher::AES_128_GCM, cipher::AES_256_GCM];
const ALL: &[cipher::Name] =
    &[cipher::AES_128_GCM, cipher::AES_256_GCM, cipher::CHACHA20_POLY1305, cipher::AES_128_CTR, cipher::AES_192_CTR, cipher::AES_256_CTR];
/// GCM and chacha20 need none. The last two are for counter mode with libssh2 before 1.11, which knows no etm.
const MACS: &[mac::Name] = &[mac::HMAC_SHA256_ETM, mac::HMAC_SHA512_ETM, mac::HMAC_SHA256, mac::HMAC_SHA512];
/// Without SHA-1's `ssh-rsa` and without DSA. Security keys come last: see [`Algorithms`].
const KEYS: &[Algorithm] = &[
    Algorithm::Ed25519,
    Algorithm::Ecdsa { curve: EcdsaCurve::NistP256 },
    Algorithm::Ecdsa { curve: EcdsaCurve::NistP384 },
    Algorithm::Ecdsa { curve: EcdsaCurve::NistP521 },
    Algorithm::Rsa { hash: Some(HashAlg::Sha512) },
    Algorithm::Rsa { hash: Some(HashAlg::Sha256) },
    Algorithm::SkEd25519,
    Algorithm::SkEcdsaSha2NistP256,
];

/// Why a security key is not taken.
pub(super) const UNTOUCHED: &str = "a security key, and whether it was touched cannot be told: keys_without_touch takes them all the same";

/// Signatures that count. A signature of a security key says whether somebody touched it, which OpenSSH demands unless told
/// otherwise (PROTOCOL.u2f of OpenSSH, "SSH U2F Signatures"); russh 0.65 verifies such a signature but does not hand that on.
#[derive(Clone, Copy, Debug, Default)]
pub(in crate::transport) struct Algorithms {
    /// Security keys count, touched or not.
    pub(in crate::transport) has_untouched: bool,
}

impl Algorithms {
    /// Whether a signature of this kind counts.
    pub(super) fn accepts(self, algorithm: &Algorithm) -> bool {
        self.all().contains(algorithm)
    }

    /// Whether it would, if security keys did.
    pub(super) fn wants_touch(self, algorithm: &Algorithm) -> bool {
        !self.accepts(algorithm) && KEYS.contains(algorithm)
    }

    fn all(self) -> &'static [Algorithm] {
        let is_touched = |algorithm: &Algorithm| matches!(algorithm, Algorithm::SkEd25519 | Algorithm::SkEcdsaSha2NistP256);
        let plain = KEYS.iter().position(is_touched).unwrap_or(KEYS.len());
        if self.has_untouched { KEYS } else { &KEYS[..plain] }
    }
}

/// What a client may try where drivers take `methods`.
pub(super) fn method_set(methods: AuthMethods) -> MethodSet {
    let mut set = MethodSet::empty();
    if methods.keys || methods.certificates {
        set.push(MethodKind::PublicKey);
    }
    if methods.passwords {
        set.push(MethodKind::Password);
        set.push(MethodKind::KeyboardInteractive);
    }
    set
}

/// One configuration per choice of ciphers.
#[derive(Debug)]
pub(in crate::transport) struct Configs {
    gcm: Arc<Config>,
    all: Arc<Config>,
}

impl Configs {
    pub(in crate::transport) fn new(host_keys: &[HostKey], limits: &SshLimits, algorithms: Algorithms) -> Self {
        let config = |ciphers| Arc::new(config(host_keys, limits, algorithms, ciphers));
        Self { gcm: config(GCM), all: config(ALL) }
    }

    pub(super) fn get(&self, ciphers: Ciphers) -> Arc<Config> {
        match ciphers {
            Ciphers::Gcm => self.gcm.clone(),
            Ciphers::All => self.all.clone(),
        }
    }
}

fn config(host_keys: &[HostKey], limits: &SshLimits, algorithms: Algorithms, ciphers: &'static [cipher::Name]) -> Config {
    Config {
        server_id: SshId::Standard(Cow::Borrowed(SERVER_ID)),
        methods: MethodSet::from(&[MethodKind::PublicKey][..]),
        // Nothing is to be guessed by time: signatures leave nothing to guess, and whoever compares passwords does as much for
        // users that are not there. So a no may be quick.
        auth_rejection_time: Duration::ZERO,
        auth_rejection_time_initial: Some(Duration::ZERO),
        keys: host_keys.iter().map(|key| key.private().clone()).collect(),
        window_size: WINDOW_BYTES,
        maximum_packet_size: PACKET_BYTES,
        channel_buffer_size: CHANNEL_BUFFER,
        event_buffer_size: EVENT_BUFFER,
        preferred: Preferred {
            key: Cow::Borrowed(algorithms.all()),
            cipher: Cow::Borrowed(ciphers),
            mac: Cow::Borrowed(MACS),
            compression: Cow::Borrowed(&[compression::NONE]),
            ..Preferred::DEFAULT
        },
        // The first attempt of every client is "none", to ask for the methods.
        max_auth_attempts: limits.auth_attempts_max + 1,
        // The watchdog knows better what counts as activity.
        inactivity_timeout: None,
        keepalive_interval: (limits.keepalive_s > 0).then(|| Duration::from_secs(limits.keepalive_s)),
        keepalive_max: KEEPALIVES_MAX,
        ..Config::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sha_1_and_dsa_signatures_do_not_count() {
        for algorithms in [Algorithms { has_untouched: false }, Algorithms { has_untouched: true }] {
            assert!(algorithms.accepts(&Algorithm::Ed25519));
            assert!(algorithms.accepts(&Algorithm::Rsa { hash: Some(HashAlg::Sha512) }));
            assert!(!algorithms.accepts(&Algorithm::Rsa { hash: None }) && !algorithms.wants_touch(&Algorithm::Rsa { hash: None }));
            assert!(!algorithms.accepts(&Algorithm::Dsa));
            for key in [Algorithm::SkEd25519, Algorithm::SkEcdsaSha2NistP256] {
                assert_eq!((algorithms.accepts(&key), algorithms.wants_touch(&key)), (algorithms.has_untouched, !algorithms.has_untouched));
            }
        }
    }
}
