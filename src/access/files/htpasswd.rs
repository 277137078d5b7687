//! `.htpasswd` into hashes of passwords by user name: what Apache's `htpasswd` writes, and what crypt(3) makes of newer kinds.
//!
//! | begins with | kind |
//! |---|---|
//! | `$2y$`, `$2b$`, `$2a$` | bcrypt (`htpasswd -B`) |
//! | `$apr1$` | Apache's MD5 (`htpasswd -m`, its default), after apr_md5.c of the Apache Portable Runtime |
//! | `{SHA}` | SHA-1 without salt (`htpasswd -s`) |
//! | `$5$`, `$6$` | SHA-256 and SHA-512 of crypt(3) (`htpasswd -2`, `-5`) |
//! | `$argon2id$` | argon2 |
//!
//! As in Apache and passlib, empty lines and those that begin with `#` are passed over, and of several lines of one user the
//! first counts. Not taken: crypt(3)'s DES, which looks at eight bytes of a password, and passwords in clear text. Who has such a
//! line has no password; the others keep theirs.

use crate::access::PasswordHash;
use crate::access::printable;
use base64ct::{Base64, Encoding as _};
use sha_crypt::password_hash::PasswordVerifier as _;
use sha_crypt::{Params, PasswordHash as Crypt, ShaCrypt};
use std::collections::HashMap;
use std::sync::Arc;

/// Longer passwords are wrong: the cost of crypt(3)'s hashes grows with their length.
const PASSWORD_BYTES_MAX: usize = 1024;
/// Each takes about a microsecond.
const SHA_CRYPT_ROUNDS_MAX: u32 = 1_000_000;
const APR1: &str = "$apr1$";
const APR1_SALT_BYTES_MAX: usize = 8;
const APR1_ROUNDS: usize = 1_000;
/// The digits of crypt(3)'s way to write bytes.
const CRYPT_DIGITS: &[u8; 64] = b"./0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// What `.htpasswd` keeps of one password, in the kinds that only it may hold.
#[derive(Clone)]
pub(in crate::access) enum OldHash {
    /// Salt, and the hash as it is written.
    Apr1 {
        salt: String,
        hash: String,
    },
    Sha1([u8; 20]),
    ShaCrypt(Crypt),
}

/// Read a hash of any kind as it stands behind the colon.
///
/// # Errors
/// A sentence that says what is wrong with it, and nothing of the hash itself.
fn parse_hash(text: &str) -> Result<PasswordHash, String> {
    if text.starts_with("$argon2") || text.starts_with("$2") {
        PasswordHash::parse(text)
    } else {
        OldHash::parse(text).map(|hash| PasswordHash::old(text, hash))
    }
}

impl OldHash {
    fn parse(text: &str) -> Result<Self, String> {
        if let Some(rest) = text.strip_prefix(APR1) {
            let parts = rest.split_once('$').filter(|(salt, hash)| salt.len() <= APR1_SALT_BYTES_MAX && hash.len() == 22);
            return match parts {
                Some((salt, hash)) if hash.bytes().all(|digit| CRYPT_DIGITS.contains(&digit)) => {
                    Ok(Self::Apr1 { salt: salt.to_owned(), hash: hash.to_owned() })
                }
                _ => Err("not a hash of Apache's MD5: $apr1$, up to 8 letters of salt, $, 22 letters".to_owned()),
            };
        }
        if let Some(base64) = text.strip_prefix("{SHA}") {
            let mut digest = [0; 20];
            return match Base64::decode(base64, &mut digest).map(<[u8]>::len) {
                Ok(20) => Ok(Self::Sha1(digest)),
                _ => Err("not a hash of SHA-1: {SHA} and 28 letters of base64".to_owned()),
            };
        }
        if text.starts_with("$5$") || text.starts_with("$6$") {
            return Self::parse_sha_crypt(text);
        }
        let is_des = text.len() == 13 && text.bytes().all(|digit| CRYPT_DIGITS.contains(&digit));
        Err(if is_des {
            "crypt(3)'s DES is not taken: it looks at the first eight letters of a password, and all of these are found in hours".to_owned()
        } else {
            "neither bcrypt ($2y$), apr1, {SHA}, $5$, $6$ nor argon2; passwords in clear text are not taken".to_owned()
        })
    }

    fn parse_sha_crypt(text: &str) -> Result<Self, String> {
        let fault = || "not a hash of crypt(3)'s SHA: $5$ or $6$, perhaps rounds=NUMBER$, salt, $, hash".to_owned();
        let fields: Vec<&str> = text[3..].split('$').collect();
        let (salt, hash) = match fields[..] {
            [rounds, salt, hash] => {
                let rounds: u32 = rounds.strip_prefix("rounds=").and_then(|rounds| rounds.parse().ok()).ok_or_else(fault)?;
                if rounds > SHA_CRYPT_ROUNDS_MAX {
                    return Err(format!("this hash costs too much: at most rounds={SHA_CRYPT_ROUNDS_MAX} is taken"));
                } else if rounds < Params::ROUNDS_MIN {
                    return Err(format!("its rounds are fewer than {}", Params::ROUNDS_MIN));
                }
                (salt, hash)
            }
            [salt, hash] => (salt, hash),
            _ => return Err(fault()),
        };
        let length = if text.starts_with("$5$") { 43 } else { 86 };
        if salt.len() > 16 || hash.len() != length || !hash.bytes().all(|digit| CRYPT_DIGITS.contains(&digit)) {
            return Err(fault());
        }
        Crypt::new(text).map(Self::ShaCrypt).map_err(|_| fault())
    }

    /// Whether it is that of `password`.
    pub(in crate::access) fn verify(&self, password: &str) -> bool {
        let bytes = password.as_bytes();
        if bytes.len() > PASSWORD_BYTES_MAX {
            return false;
        }
        match self {
            Self::Apr1 { salt, hash } => same(apr1(bytes, salt.as_bytes()).as_bytes(), hash.as_bytes()),
            Self::Sha1(digest) => {
                use sha1::Digest as _;
                same(&sha1::Sha1::digest(bytes), digest)
            }
            Self::ShaCrypt(hash) => ShaCrypt::default().verify_password(bytes, hash).is_ok(),
        }
    }
}

/// Equal, in a time that does not depend on where they differ.
fn same(a: &[u8], b: &[u8]) -> bool {
    a.len() == b.len() && a.iter().zip(b).fold(0, |differs, (a, b)| differs | (a ^ b)) == 0
}

/// Apache's MD5 of a password, as it is written behind the salt.
fn apr1(password: &[u8], salt: &[u8]) -> String {
    let inner = md5::compute([password, salt, password].concat()).0;
    let mut text = [password, APR1.as_bytes(), salt].concat();
    text.extend(inner.iter().cycle().take(password.len()));
    let mut bits = password.len();
    while bits > 0 {
        text.push(if bits & 1 == 1 { 0 } else { password[0] });
        bits >>= 1;
    }
    let mut digest = md5::compute(&text).0;
    for round in 0..APR1_ROUNDS {
        let (first, last) = if round % 2 == 1 { (password, &digest[..]) } else { (&digest[..], password) };
        let mut text = first.to_vec();
        if round % 3 != 0 {
            text.extend_from_slice(salt);
        }
        if round % 7 != 0 {
            text.extend_from_slice(password);
        }
        text.extend_from_slice(last);
        digest = md5::compute(&text).0;
    }
    let mut written = String::with_capacity(22);
    let mut write = |bytes: [u8; 3], digits: usize| {
        let mut value = u32::from_be_bytes([0, bytes[0], bytes[1], bytes[2]]);
        for _ in 0..digits {
            written.push(CRYPT_DIGITS[value as usize & 63].into());
            value >>= 6;
        }
    };
    for [a, b, c] in [[0, 6, 12], [1, 7, 13], [2, 8, 14], [3, 9, 15], [4, 10, 5]] {
        write([digest[a], digest[b], digest[c]], 4);
    }
    write([0, 0, digest[11]], 2);
    written
}

/// Hashes by user, and what was left out.
#[derive(Debug, Default)]
pub(super) struct Passwords {
    pub(super) by_user: HashMap<String, Arc<PasswordHash>>,
    pub(super) left_out: Vec<String>,
}

impl Passwords {
    /// Read the file's text; `name` is that of the file.
    ///
    /// # Errors
    /// A line without a colon: this is no such file.
    pub(super) fn parse(text: &str, name: &str) -> Result<Self, String> {
        let mut read = Self::default();
        for (number, line) in (1..).zip(text.lines()) {
            let line = line.trim_end();
            if line.trim_start().is_empty() || line.trim_start().starts_with('#') {
                continue;
            }
            let Some((user, hash)) = line.split_once(':') else {
                return Err(format!("{name}:{number}: a line is USER:HASH, and this one has no colon"));
            };
            if read.by_user.contains_key(user) {
                read.left_out.push(format!("{name}:{number}: '{}' has a line above, which counts", printable(user)));
                continue;
            }
            match parse_hash(hash) {
                Ok(hash) => drop(read.by_user.insert(user.to_owned(), Arc::new(hash))),
                Err(why) => read.left_out.push(format!("{name}:{number}: '{}' has no password: {why}", printable(user))),
            }
        }
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of `correct horse`, by `openssl passwd -apr1|-5|-6`, by `openssl dgst -sha1 -binary | base64`, and of `password` and
    /// `correct horse` by argon2's own tests and crypt(3).
    const HASHES: [(&str, &str); 7] = [
        ("$apr1$abcdefgh$sIQmFnT1CuEXAsyjuXjUX/", "correct horse"),
        ("{SHA}L55TUjtiq8FBorTWAZ0jy6g129A=", "correct horse"),
        ("$5$saltsalt$myjXcpMpE2Ofk7fj9hqyNYSn6lmWG4Mqnjx.KIRRr4/", "correct horse"),
        ("$6$saltsalt$hRM5XZ86KXEw9UOmjigeVqFgULtFB2sgpC9lXQDfMib3Zgw7mEiUvBJI2EplzfAqxL5Vvwp2scFtv/uamSo5z0", "correct horse"),
        ("$5$rounds=1400$saltsalt$Pma0efJomQQR7iRLDviYvTgTJiP1.guXjicgSj.HI86", "correct horse"),
        ("$argon2id$v=19$m=256,t=2,p=1$c29tZXNhbHQ$nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4", "password"),
        ("$2y$04$abcdefghijklmnopqrstuujydOTSfIH/d5oUHpsygqV5X9xJLQc6e", "correct horse"),
    ];

    #[test]
    fn every_kind_of_hash_tells_the_right_password_from_others() {
        for (text, password) in HASHES {
            let hash = parse_hash(text).expect(text);
            assert!(hash.verify(password) && !hash.verify("correct hors") && !hash.verify(""), "{text}");
            assert!(!hash.verify(&"x".repeat(PASSWORD_BYTES_MAX + 1)) && !format!("{hash:?}").contains(&text[8..]), "{text}");
        }
    }

    #[test]
    fn apaches_hash_is_that_of_openssl_for_every_length() {
        for (password, hash) in [
            ("a", "bXyKpShCa.c/9qWoinNZb0"),
            ("ab", "IlYHylkXzf0HC2rKWxCKa."),
            ("sixteen letters.", "uTnG70edBSJ8WnrCjuEhh/"),
            ("seventeen letters", "onLO6B/shPkSo8K568Ez8/"),
            ("xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx", "oQ/e8JspwNSVs5WlWQ.ul."),
        ] {
            assert_eq!(apr1(password.as_bytes(), b"salt"), hash, "{password}");
        }
    }

    #[test]
    fn what_is_no_hash_costs_too_much_or_is_weak_is_told_and_not_shown() {
        for (text, says) in [
            ("abJnggxhB/yWI", "DES is not taken"),
            ("hunter2", "clear text"),
            ("", "clear text"),
            ("$apr1$toolongasalt$sIQmFnT1CuEXAsyjuXjUX/", "Apache's MD5"),
            ("$apr1$salt$hunter2", "Apache's MD5"),
            ("{SHA}hunter2", "SHA-1"),
            ("$5$salt$hunter2", "crypt(3)'s SHA"),
            (
                "$6$rounds=1000001$saltsalt$hRM5XZ86KXEw9UOmjigeVqFgULtFB2sgpC9lXQDfMib3Zgw7mEiUvBJI2EplzfAqxL5Vvwp2scFtv/uamSo5z0",
                "costs too much",
            ),
            (
                "$6$rounds=99$saltsalt$hRM5XZ86KXEw9UOmjigeVqFgULtFB2sgpC9lXQDfMib3Zgw7mEiUvBJI2EplzfAqxL5Vvwp2scFtv/uamSo5z0",
                "fewer than 1000",
            ),
            ("$2y$31$abcdefghijklmnopqrstuujydOTSfIH/d5oUHpsygqV5X9xJLQc6e", "costs too much"),
        ] {
            let fault = parse_hash(text).expect_err(text);
            assert!(fault.contains(says) && !fault.contains("hunter2"), "{text}: {fault}");
        }
    }

    #[test]
    fn the_first_line_of_a_user_counts_and_what_is_wrong_is_left_out() {
        let (sha, text) = (HASHES[1].0, HASHES[6].0);
        let read = Passwords::parse(&format!("# people\n\nann:{sha}\nbob:abJnggxhB/yWI\nann:{text}\n"), ".htpasswd").expect("read");
        assert!(read.by_user["ann"].as_ref() == &parse_hash(sha).expect("a hash") && read.by_user.len() == 1);
        assert!(read.left_out[0].starts_with(".htpasswd:4: 'bob'") && read.left_out[1].starts_with(".htpasswd:5: 'ann'"));
        assert!(Passwords::parse("ann\n", ".htpasswd").expect_err("a fault").contains(".htpasswd:1:"));
    }
}
