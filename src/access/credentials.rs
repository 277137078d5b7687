//! What a client proved about itself, and the name that a driver gives it for that.

use russh::keys::{HashAlg, PublicKey as Key};
use std::net::SocketAddr;

/// A public key, such as a line of `authorized_keys` holds. Equal keys are equal whatever their comments say.
#[derive(Clone, Debug)]
pub struct PublicKey(Key);

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
        Key::from_openssh(line.trim()).map(Self).map_err(|error| PublicKeyError(error.to_string()))
    }

    pub(crate) fn from_ssh(key: Key) -> Self {
        Self(key)
    }

    /// `SHA256:` and base64, as `ssh-keygen -l` shows it.
    pub fn fingerprint(&self) -> String {
        self.0.fingerprint(HashAlg::Sha256).to_string()
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

/// Something that a client has proved. Nothing is in here before its proof was checked.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Credentials {
    /// The client holds the private half of this key: it signed this very session with it.
    PublicKey(KeyCredentials),
}

/// A key that signed, and the circumstances.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct KeyCredentials {
    /// The key.
    pub key: PublicKey,
    /// The user name that the client gave (`git` in `git@host`): a claim, proved by nothing.
    pub user_name: String,
    /// The algorithm of the signature; for RSA keys it tells the hash.
    pub algorithm: String,
    /// Where the client connects from.
    pub peer: SocketAddr,
}

impl KeyCredentials {
    pub(crate) fn new(key: PublicKey, user_name: String, algorithm: String, peer: SocketAddr) -> Self {
        Self { key, user_name, algorithm, peer }
    }
}

/// The name of somebody whom a driver knows.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct UserId(String);

impl UserId {
    /// A user called `name`.
    pub fn new(name: impl Into<String>) -> Self {
        Self(name.into())
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Display for UserId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&super::printable(&self.0))
    }
}

/// The answer to credentials.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Authentication {
    /// They belong to this user.
    Accepted(UserId),
    /// This driver does not know them.
    Unknown,
    /// This driver knows them and says no; the reason is for the log.
    Refused(super::Refusal),
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
        assert!(bare.fingerprint().starts_with("SHA256:"), "{}", bare.fingerprint());
    }

    #[test]
    fn other_text_is_no_key() {
        for text in ["", "ssh-ed25519", "ssh-ed25519 AAAA", "-----BEGIN OPENSSH PRIVATE KEY-----"] {
            assert!(PublicKey::from_openssh(text).is_err(), "{text}");
        }
    }
}
