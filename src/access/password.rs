//! Hashes of passwords into a yes or no, a few at a time and off the async threads.
//!
//! Read are argon2 (`$argon2id$v=19$m=…,t=…,p=…$salt$hash`, RFC 9106 in the form of PHC strings) and bcrypt (`$2b$12$…`, also `2a` and
//! `2y`, which `htpasswd -B` writes; it looks at the first 72 bytes of a password). A hash that would cost more than the limits
//! below is refused when it is read, not when somebody logs in.

use super::files::OldHash;
use super::{BoxError, PasswordCredentials, Secret, Turns};
use argon2::password_hash::{PasswordHasher as _, PasswordVerifier as _, phc};
use argon2::{Argon2, Params};
use std::net::IpAddr;
use std::sync::Arc;
use tokio::sync::Semaphore;

/// Most memory that one comparison may take, in KiB.
const ARGON2_MEMORY_KIB_MAX: u32 = 1 << 20;
/// Most of it with all passes over it, in KiB: some seconds.
const ARGON2_WORK_KIB_MAX: u64 = 4 << 20;
/// Most lanes; they are computed one after the other.
const ARGON2_LANES_MAX: u32 = 64;
/// What RFC 9106 asks for.
const SALT_BYTES: usize = 16;
/// Each step doubles the time: this one takes some two seconds.
const BCRYPT_COST_MAX: u32 = 15;
/// Passwords compared at once: each takes a core and, with argon2's usual settings, 19 MiB.
const COMPARED_AT_ONCE_MAX: usize = 4;

/// What is kept instead of a password.
#[derive(Clone)]
pub struct PasswordHash {
    /// As it stands in a file.
    text: String,
    kind: Kind,
}

#[derive(Clone)]
enum Kind {
    Argon2(Box<phc::PasswordHash>),
    Bcrypt,
    Old(OldHash),
}

impl PasswordHash {
    /// One of the older kinds that `.htpasswd` may hold, as it stands there.
    pub(super) fn old(text: &str, hash: OldHash) -> Self {
        Self { text: text.to_owned(), kind: Kind::Old(hash) }
    }

    /// Read a hash as it stands in a file.
    ///
    /// # Errors
    /// A sentence that says what is wrong with it, and nothing of the hash itself.
    pub fn parse(text: &str) -> Result<Self, String> {
        if text.starts_with("$argon2") {
            let hash = phc::PasswordHash::new(text).map_err(|error| format!("not a hash of argon2: {error}"))?;
            let params = Params::try_from(&hash).map_err(|error| format!("not a hash of argon2: {error}"))?;
            if hash.salt.is_none() || hash.hash.is_none() {
                return Err("a hash of argon2 without its salt or its end".to_owned());
            }
            if argon2::Algorithm::try_from(hash.algorithm.as_str()).is_err() {
                return Err("argon2id, argon2i and argon2d are known".to_owned());
            }
            let (memory_kib, passes, lanes) = (params.m_cost(), params.t_cost(), params.p_cost());
            let work_kib = u64::from(memory_kib) * u64::from(passes);
            if memory_kib > ARGON2_MEMORY_KIB_MAX || work_kib > ARGON2_WORK_KIB_MAX || lanes > ARGON2_LANES_MAX {
                return Err(format!(
                    "this hash costs too much: at most m={ARGON2_MEMORY_KIB_MAX} and p={ARGON2_LANES_MAX} are taken, and m times t of {ARGON2_WORK_KIB_MAX}"
                ));
            }
            return Ok(Self { text: text.to_owned(), kind: Kind::Argon2(Box::new(hash)) });
        }
        if text.starts_with("$2") {
            let parts: bcrypt::HashParts = text.parse().map_err(|error| format!("not a hash of bcrypt: {error}"))?;
            if parts.get_cost() > BCRYPT_COST_MAX {
                return Err(format!("this hash costs too much: at most {BCRYPT_COST_MAX} is taken"));
            }
            return Ok(Self { text: text.to_owned(), kind: Kind::Bcrypt });
        }
        Err("not a hash of a password: it begins with $argon2id$ or $2b$".to_owned())
    }

    /// The text to keep of `password`: argon2id with the usual costs (19 MiB, two passes) and a salt of its own.
    ///
    /// # Errors
    /// The system gives no random bytes, or no password can be hashed.
    pub fn make(password: &Secret) -> Result<String, String> {
        let mut salt = [0; SALT_BYTES];
        getrandom::fill(&mut salt).map_err(|error| format!("no random bytes: {error}"))?;
        let hash = Argon2::default().hash_password_with_salt(password.expose().as_bytes(), &salt);
        hash.map(|hash: phc::PasswordHash| hash.to_string()).map_err(|error| error.to_string())
    }

    /// Whether it is that of `password`. Takes long, and that on purpose.
    pub fn verify(&self, password: &str) -> bool {
        match &self.kind {
            Kind::Argon2(hash) => Argon2::default().verify_password(password.as_bytes(), &**hash).is_ok(),
            Kind::Bcrypt => bcrypt::verify(password, &self.text).unwrap_or(false),
            Kind::Old(hash) => hash.verify(password),
        }
    }
}

impl PartialEq for PasswordHash {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for PasswordHash {}

impl std::fmt::Debug for PasswordHash {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let kind = match self.kind {
            Kind::Argon2(_) => "argon2",
            Kind::Bcrypt => "bcrypt",
            Kind::Old(_) => "of .htpasswd",
        };
        write!(f, "PasswordHash({kind})")
    }
}

/// Where passwords are compared: a bounded number at once, one of them for each address; the others wait.
#[derive(Clone, Debug)]
pub struct PasswordPool {
    places: Arc<Semaphore>,
    turns: Arc<Turns<Option<IpAddr>>>,
}

impl Default for PasswordPool {
    fn default() -> Self {
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        Self::new(cores.min(COMPARED_AT_ONCE_MAX))
    }
}

impl PasswordPool {
    fn new(places: usize) -> Self {
        Self { places: Arc::new(Semaphore::new(places)), turns: Turns::new(1) }
    }

    /// Whether what somebody `said` is the password that `hash` was made of. Free where the same credentials were right for the same
    /// hash before.
    ///
    /// # Errors
    /// The comparison panicked.
    pub async fn verify(&self, hash: Arc<PasswordHash>, said: &PasswordCredentials) -> Result<bool, BoxError> {
        let password = said.password.clone();
        if password.was_right_for(&hash) {
            return Ok(true);
        }
        let turn = self.turns.take(said.transport.peer_ip().map(source)).await;
        let permit = self.places.clone().acquire_owned().await?;
        // Both are kept by the comparison itself: whoever gives up waiting frees no core.
        let compared = tokio::task::spawn_blocking(move || {
            let is_right = hash.verify(password.expose());
            if is_right {
                password.is_right_for(hash);
            }
            drop((permit, turn));
            is_right
        });
        Ok(compared.await?)
    }
}

/// The address itself, or its network of 64 bits: whoever has one IPv6 address has as many.
fn source(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => IpAddr::V6((u128::from(address) >> 64 << 64).into()),
        address => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::{Credentials, Secret, Transport};

    /// Of `password`, from argon2's own tests (`src/test.c`), and of `correct horse`, by `crypt(3)`.
    const HASHES: [(&str, &str); 2] = [
        ("$argon2id$v=19$m=256,t=2,p=1$c29tZXNhbHQ$nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4", "password"),
        ("$2b$04$abcdefghijklmnopqrstuujydOTSfIH/d5oUHpsygqV5X9xJLQc6e", "correct horse"),
    ];

    #[test]
    fn the_right_password_is_told_from_others() {
        for (text, password) in HASHES {
            let hash = PasswordHash::parse(text).expect(text);
            assert!(hash.verify(password) && !hash.verify("passwore") && !hash.verify(""), "{text}");
            assert!(!format!("{hash:?}").contains(&text[10..]), "{hash:?}");
        }
    }

    #[test]
    fn a_hash_that_is_made_is_that_of_its_password_and_of_no_other_moment() {
        let [one, two] = [(); 2].map(|()| PasswordHash::make(&Secret::new("correct horse")).expect("made"));
        assert!(one.starts_with("$argon2id$v=19$m=19456,t=2,p=1$") && one != two, "{one}");
        let hash = PasswordHash::parse(&one).expect("a hash");
        assert!(hash.verify("correct horse") && !hash.verify("correct horsf"));
    }

    #[test]
    fn what_is_no_hash_or_costs_too_much_is_told() {
        let (argon, bcrypt) = (HASHES[0].0, HASHES[1].0);
        for (text, says) in [
            (argon.replace("m=256", "m=1048577"), "costs too much"),
            (argon.replace("m=256,t=2", "m=1048576,t=5"), "costs too much"),
            (argon.replace("t=2", "t=4294967295"), "costs too much"),
            (argon.rsplit_once('$').expect("parts").0.to_owned(), "without"),
            ("$argon2id$".to_owned(), "not a hash of argon2"),
            (argon.replace("argon2id", "argon2x"), "known"),
            (bcrypt.replace("$04$", "$16$"), "costs too much"),
            ("$2b$04$short".to_owned(), "not a hash of bcrypt"),
            ("hunter2".to_owned(), "begins with"),
            (String::new(), "begins with"),
        ] {
            let fault = PasswordHash::parse(&text).expect_err(&text);
            assert!(fault.contains(says) && !fault.contains("hunter2"), "{text}: {fault}");
        }
    }

    /// What somebody says who comes from `address`.
    fn said(password: &str, address: &str) -> PasswordCredentials {
        let transport = Transport::ssh(address.parse().expect("an address"));
        match Credentials::password("ann", Secret::new(password), transport) {
            Credentials::Password(said) => said,
            other => panic!("{other:?}"),
        }
    }

    /// Compare on a task of its own, which has then come as far as it can.
    async fn comparing(pool: &PasswordPool, hash: &Arc<PasswordHash>, said: &PasswordCredentials) -> tokio::task::JoinHandle<bool> {
        let (pool, hash, said) = (pool.clone(), hash.clone(), said.clone());
        let task = tokio::spawn(async move { pool.verify(hash, &said).await.expect("compared") });
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
        task
    }

    #[tokio::test]
    async fn passwords_wait_for_their_turn() {
        let pool = PasswordPool::new(1);
        let hash = Arc::new(PasswordHash::parse(HASHES[1].0).expect("a hash"));
        let held = pool.places.clone().acquire_owned().await.expect("open");
        let waiting = comparing(&pool, &hash, &said("correct horse", "192.0.2.1:1")).await;
        assert!(!waiting.is_finished());
        drop(held);
        assert!(waiting.await.expect("joined"));
        assert!(!pool.verify(hash, &said("wrong", "192.0.2.1:2")).await.expect("compared"));
    }

    #[tokio::test]
    async fn one_address_waits_for_itself_and_not_for_others() {
        let pool = PasswordPool::new(2);
        let hash = Arc::new(PasswordHash::parse(HASHES[1].0).expect("a hash"));
        let busy = pool.turns.take(Some(source("2001:db8::1".parse().expect("an address")))).await;
        let near = comparing(&pool, &hash, &said("correct horse", "[2001:db8::2]:1")).await;
        assert!(pool.verify(hash.clone(), &said("correct horse", "[2001:db8:0:1::1]:1")).await.expect("compared"));
        assert!(!near.is_finished(), "the same network is the same source");
        drop(busy);
        assert!(near.await.expect("joined"));
    }

    #[tokio::test]
    async fn who_was_right_is_not_compared_again_but_for_another_hash() {
        let pool = PasswordPool::new(1);
        let hash = Arc::new(PasswordHash::parse(HASHES[1].0).expect("a hash"));
        let right = said("correct horse", "192.0.2.1:1");
        assert!(pool.verify(hash.clone(), &right).await.expect("compared"));
        let _held = pool.places.clone().acquire_owned().await.expect("open");
        assert!(pool.verify(hash.clone(), &right).await.expect("known"), "no place is needed");
        let (other, wrong) = (Arc::new(PasswordHash::parse(HASHES[0].0).expect("a hash")), said("wrong", "192.0.2.1:1"));
        assert!(!comparing(&pool, &other, &right).await.is_finished());
        assert!(!comparing(&pool, &hash, &wrong).await.is_finished());
    }
}
