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
/// Without SHA-1's `ssh-rsa` and without DSA.
const KEYS: &[Algorithm] = &[
    Algorithm::Ed25519,
    Algorithm::SkEd25519,
    Algorithm::Ecdsa { curve: EcdsaCurve::NistP256 },
    Algorithm::Ecdsa { curve: EcdsaCurve::NistP384 },
    Algorithm::Ecdsa { curve: EcdsaCurve::NistP521 },
    Algorithm::SkEcdsaSha2NistP256,
    Algorithm::Rsa { hash: Some(HashAlg::Sha512) },
    Algorithm::Rsa { hash: Some(HashAlg::Sha256) },
];

/// Whether a signature of this kind counts.
pub(super) fn accepts(algorithm: &Algorithm) -> bool {
    KEYS.contains(algorithm)
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
    pub(in crate::transport) fn new(host_keys: &[HostKey], limits: &SshLimits) -> Self {
        let config = |ciphers| Arc::new(config(host_keys, limits, ciphers));
        Self { gcm: config(GCM), all: config(ALL) }
    }

    pub(super) fn get(&self, ciphers: Ciphers) -> Arc<Config> {
        match ciphers {
            Ciphers::Gcm => self.gcm.clone(),
            Ciphers::All => self.all.clone(),
        }
    }
}

fn config(host_keys: &[HostKey], limits: &SshLimits, ciphers: &'static [cipher::Name]) -> Config {
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
            key: Cow::Borrowed(KEYS),
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
        assert!(accepts(&Algorithm::Ed25519));
        assert!(accepts(&Algorithm::Rsa { hash: Some(HashAlg::Sha512) }));
        assert!(accepts(&Algorithm::SkEd25519));
        assert!(!accepts(&Algorithm::Rsa { hash: None }));
        assert!(!accepts(&Algorithm::Dsa));
    }
}
