//! A public key and its fingerprints.

use russh::keys::ssh_key::Fingerprint;
use russh::keys::{HashAlg, PublicKey as Key};
use std::sync::Arc;

/// A public key, such as a line of `authorized_keys` holds. Equal keys are equal whatever their comments say.
#[derive(Clone, Debug)]
pub struct PublicKey(Arc<Key>);

/// Text that is not a public key.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a public key in OpenSSH's form: {0}")]
pub struct PublicKeyError(String);

impl PublicKey {
    /// Read `algorithm base64 [comment]`: the one line of a `.pub` file.
    ///
    /// # Errors
    /// [`PublicKeyError`] when it is not that, or the algorithm is not known.
    pub fn from_openssh(line: &str) -> Result<Self, PublicKeyError> {
        Key::from_openssh(line.trim()).map(Self::from_ssh).map_err(|error| PublicKeyError(error.to_string()))
    }

    /// The one line of a `.pub` file, its comment included.
    pub fn to_openssh(&self) -> String {
        // As for `to_bytes`.
        self.0.to_openssh().unwrap_or_default()
    }

    pub(crate) fn from_ssh(key: Key) -> Self {
        Self(Arc::new(key))
    }

    /// `SHA256:` and base64, as `ssh-keygen -l` shows it.
    pub fn fingerprint(&self) -> String {
        self.0.fingerprint(HashAlg::Sha256).to_string()
    }

    pub(crate) fn from_bytes(bytes: &[u8]) -> Result<Self, PublicKeyError> {
        Key::from_bytes(bytes).map(Self::from_ssh).map_err(|error| PublicKeyError(error.to_string()))
    }

    /// The fingerprint of the key with this SHA-256.
    pub(crate) fn fingerprint_from(sha256: [u8; 32]) -> String {
        Fingerprint::Sha256(sha256).to_string()
    }

    /// The key as it goes over the wire.
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        // A key that was read can be written: only an encoder that runs out of space fails.
        self.0.to_bytes().unwrap_or_default()
    }

    /// `MD5:` and pairs of hexadecimal digits, as `ssh-keygen -l -E md5` shows it: for lists that were kept that way. MD5 can be
    /// made to collide, so nobody is to be known by this alone.
    pub fn fingerprint_md5(&self) -> String {
        let digest = md5::compute(self.to_bytes());
        let pairs: Vec<String> = digest.iter().map(|byte| format!("{byte:02x}")).collect();
        format!("MD5:{}", pairs.join(":"))
    }

    /// `ssh-ed25519`, `ecdsa-sha2-nistp256`, `ssh-rsa`, `sk-ssh-ed25519@openssh.com`, …
    pub fn algorithm(&self) -> String {
        self.0.algorithm().to_string()
    }

    /// What stands behind the key on its line; empty for a key that came over the wire.
    pub fn comment(&self) -> String {
        self.0.comment().as_str_lossy().to_owned()
    }
}

impl PartialEq for PublicKey {
    fn eq(&self, other: &Self) -> bool {
        self.0.key_data() == other.0.key_data()
    }
}

impl Eq for PublicKey {}

impl std::hash::Hash for PublicKey {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.0.key_data().hash(state);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINE: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJdD7y3aLq454yWBdwLWbieU1ebz9/cu7/QEXn9OIeZJ";

    #[test]
    fn keys_are_compared_without_their_comments() {
        let named = PublicKey::from_openssh(&format!("{LINE} ann@laptop\n")).expect("a key");
        let bare = PublicKey::from_openssh(LINE).expect("a key");
        assert_eq!(named, bare);
        assert_eq!(named.comment(), "ann@laptop");
        assert_eq!(bare.comment(), "");
        assert_eq!(bare.algorithm(), "ssh-ed25519");
        assert_eq!(bare.fingerprint(), "SHA256:T7SvZ2cslqpPj6nKzitCBHHlpVF3r3MvLwmFL0fk0IE");
        assert_eq!(bare.fingerprint_md5(), "MD5:46:5d:0f:4b:7b:74:b6:5f:ce:80:b0:33:70:9e:33:96");
    }

    #[test]
    fn other_text_is_no_key() {
        for text in ["", "ssh-ed25519", "ssh-ed25519 AAAA", "-----BEGIN OPENSSH PRIVATE KEY-----"] {
            assert!(PublicKey::from_openssh(text).is_err(), "{text}");
        }
    }
}
