//! What a client proved about itself, and the name that a driver gives it for that.

use super::{Certificate, PasswordHash, PublicKey, Transport};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use zeroize::Zeroizing;

/// Something that a client has proved, or the lack of it.
///
/// A key or certificate is in here only after the client's signature over this very session was verified with it: no code outside
/// this crate can make such a value, and a key that a client merely offers never becomes one. A password is not proof yet: to
/// compare it is the driver's part.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Credentials {
    /// The client holds the private half of this key: it signed this very session with it.
    PublicKey(KeyCredentials),
    /// The client holds the private half of a key for which somebody signed this certificate.
    Certificate(CertificateCredentials),
    /// The client says this password; nobody has compared it with anything.
    Password(PasswordCredentials),
    /// The client proves nothing.
    Anonymous(AnonymousCredentials),
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
    /// The way the client came.
    pub transport: Transport,
}

/// A certificate whose key signed, and the circumstances.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct CertificateCredentials {
    /// The certificate. Whether its authority is to be trusted, whom its principals name and whether it was revoked is for the
    /// driver to say; everything else about it was checked ([`Certificate`] says what).
    pub certificate: Certificate,
    /// The user name that the client gave: a claim, proved by nothing.
    pub user_name: String,
    /// The way the client came.
    pub transport: Transport,
}

/// A name and a password.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct PasswordCredentials {
    /// The user name that the client gave.
    pub user_name: String,
    /// What it says to prove it.
    pub password: Secret,
    /// The way the client came.
    pub transport: Transport,
}

/// Nothing but a name.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct AnonymousCredentials {
    /// The user name that the client gave, empty where it gave none: a claim. SSH clients ask for this first, whatever else they
    /// have to show, and look no further when it is accepted: accept it only under a name that is kept for it.
    pub user_name: String,
    /// The way the client came.
    pub transport: Transport,
}

impl Credentials {
    /// A name and a password that came over `transport`.
    pub fn password(user_name: impl Into<String>, password: Secret, transport: Transport) -> Self {
        Self::Password(PasswordCredentials { user_name: user_name.into(), password, transport })
    }

    /// Somebody who came over `transport` and shows nothing.
    pub fn anonymous(user_name: impl Into<String>, transport: Transport) -> Self {
        Self::Anonymous(AnonymousCredentials { user_name: user_name.into(), transport })
    }

    pub(crate) fn public_key(key: PublicKey, user_name: String, algorithm: String, transport: Transport) -> Self {
        Self::PublicKey(KeyCredentials { key, user_name, algorithm, transport })
    }

    pub(crate) fn certificate(certificate: Certificate, user_name: String, transport: Transport) -> Self {
        Self::Certificate(CertificateCredentials { certificate, user_name, transport })
    }

    /// The user name as the client sent it: a claim.
    pub fn user_name(&self) -> &str {
        match self {
            Self::PublicKey(shown) => &shown.user_name,
            Self::Certificate(shown) => &shown.user_name,
            Self::Password(shown) => &shown.user_name,
            Self::Anonymous(shown) => &shown.user_name,
        }
    }

    /// The way the client came.
    pub fn transport(&self) -> &Transport {
        match self {
            Self::PublicKey(shown) => &shown.transport,
            Self::Certificate(shown) => &shown.transport,
            Self::Password(shown) => &shown.transport,
            Self::Anonymous(shown) => &shown.transport,
        }
    }

    /// What was shown, for greetings and logs: a fingerprint, or a word. Never a secret.
    pub fn proof(&self) -> String {
        match self {
            Self::PublicKey(shown) => shown.key.fingerprint(),
            Self::Certificate(shown) => shown.certificate.to_string(),
            Self::Password(_) => "password".to_owned(),
            Self::Anonymous(_) => "anonymous".to_owned(),
        }
    }
}

/// Text that is wiped from memory when the last copy of this value goes, and that no `{:?}` shows.
#[derive(Clone)]
pub struct Secret(Arc<Kept>);

struct Kept {
    text: Zeroizing<String>,
    /// The hash that it was last found to be right for.
    right_for: Mutex<Option<Arc<PasswordHash>>>,
}

impl Secret {
    /// Keep `text`.
    pub fn new(text: impl Into<String>) -> Self {
        Self(Arc::new(Kept { text: Zeroizing::new(text.into()), right_for: Mutex::default() }))
    }

    /// The text itself: compare it, and let it go nowhere.
    pub fn expose(&self) -> &str {
        &self.0.text
    }

    /// Whether it was compared with this very hash before, and was right: it need not be again.
    pub(super) fn was_right_for(&self, hash: &PasswordHash) -> bool {
        self.right_for().as_deref() == Some(hash)
    }

    pub(super) fn is_right_for(&self, hash: Arc<PasswordHash>) {
        *self.right_for() = Some(hash);
    }

    fn right_for(&self) -> MutexGuard<'_, Option<Arc<PasswordHash>>> {
        self.0.right_for.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret(***)")
    }
}

/// Ways of showing who one is that a driver takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct AuthMethods {
    /// Keys that sign.
    pub keys: bool,
    /// Certificates whose keys sign.
    pub certificates: bool,
    /// Names with passwords.
    pub passwords: bool,
    /// Nothing at all, which is for reading what everybody may.
    pub anonymous: bool,
}

impl AuthMethods {
    /// None.
    pub const NONE: Self = Self { keys: false, certificates: false, passwords: false, anonymous: false };
    /// Keys that sign.
    pub const KEYS: Self = Self { keys: true, ..Self::NONE };

    /// Certificates, too.
    #[must_use]
    pub fn and_certificates(self) -> Self {
        Self { certificates: true, ..self }
    }

    /// Passwords, too.
    #[must_use]
    pub fn and_passwords(self) -> Self {
        Self { passwords: true, ..self }
    }

    /// Nothing at all, too.
    #[must_use]
    pub fn and_anonymous(self) -> Self {
        Self { anonymous: true, ..self }
    }

    /// What this or `other` takes.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        Self {
            keys: self.keys || other.keys,
            certificates: self.certificates || other.certificates,
            passwords: self.passwords || other.passwords,
            anonymous: self.anonymous || other.anonymous,
        }
    }

    /// Whether these credentials are of a kind that is taken.
    pub fn take(self, credentials: &Credentials) -> bool {
        match credentials {
            Credentials::PublicKey(_) => self.keys,
            Credentials::Certificate(_) => self.certificates,
            Credentials::Password(_) => self.passwords,
            Credentials::Anonymous(_) => self.anonymous,
        }
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

    #[test]
    fn a_secret_is_not_shown_by_anything_that_holds_it() {
        let shown = Credentials::password("ann", Secret::new("canary"), Transport::in_memory());
        let text = format!("{shown:?} {shown:#?} {}", shown.proof());
        assert!(text.contains("ann") && !text.contains("canary"), "{text}");
        let Credentials::Password(password) = shown else { panic!("a password") };
        assert_eq!(password.password.expose(), "canary");
    }

    #[test]
    fn methods_add_up() {
        let both = AuthMethods::KEYS.or(AuthMethods::NONE.and_anonymous());
        let nobody = Credentials::anonymous("", Transport::in_memory());
        let word = Credentials::password("ann", Secret::new("x"), Transport::in_memory());
        assert!(both.keys && both.take(&nobody) && !both.take(&word) && !AuthMethods::KEYS.take(&nobody));
    }
}
