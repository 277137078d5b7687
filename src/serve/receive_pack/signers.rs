//! An SSH signature and a list of allowed signers into who made it.
//!
//! Source: PROTOCOL.sshsig and ssh-keygen(1), "ALLOWED SIGNERS", of OpenSSH; `gpg-interface.c`: `verify_ssh_signed_buffer`,
//! which asks ssh-keygen for the principals of a key and then for each in turn. Lines are `principals [options] key`,
//! options `cert-authority`, `namespaces`, `valid-after`, `valid-before`; a line with anything else counts for nothing. A
//! key that is listed nowhere is told from one that is: where git says `G` without a signer, this is [`Verdict::Unknown`].
//! Limits: times without `Z` are taken for UTC, and a revocation list in OpenSSH's binary form cannot be read.

use bstr::ByteSlice;
use ssh_key::certificate::CertType;
use ssh_key::public::KeyData;
use ssh_key::{Algorithm, HashAlg, PublicKey, SshSig};

/// What git's signatures are for.
const NAMESPACE: &str = "git";
/// How a revocation list in OpenSSH's binary form begins.
const KRL_MAGIC: &[u8] = b"SSHKRL\n\0";
/// Principals of one key that are tried.
const PRINCIPALS_MAX: usize = 1_000;

/// What a signature amounts to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It is good, and so is who made it.
    Good { signer: String, key: String },
    /// It is good, but nobody knows the key; or not now.
    Unknown { key: String },
    /// It is not.
    Bad,
    /// It cannot be checked.
    Unchecked,
}

/// Which keys may sign, and which may not any more.
pub(super) struct Signers<'a> {
    pub allowed: &'a [u8],
    pub revoked: Option<&'a [u8]>,
}

/// One line that could be understood.
struct Line<'a> {
    principals: &'a [u8],
    options: Options,
    key: KeyData,
}

#[derive(Default)]
struct Options {
    is_authority: bool,
    namespaces: Option<Vec<u8>>,
    valid_after: Option<u64>,
    valid_before: Option<u64>,
}

impl Signers<'_> {
    /// Who made `signature` over `payload`, at `now_s` seconds since 1970.
    pub fn verify(&self, payload: &[u8], signature: &[u8], now_s: u64) -> Verdict {
        let Ok(signature) = SshSig::from_pem(signature.trim_ascii()) else { return Verdict::Bad };
        if !is_good(&signature, payload) {
            return Verdict::Bad;
        }
        let signed_by = signature.public_key();
        let key = PublicKey::from(signed_by.clone()).fingerprint(HashAlg::Sha256).to_string();
        let lines: Vec<Line<'_>> = self.allowed.lines().filter_map(Line::read).collect();
        let Some(principals) = lines.iter().find_map(|line| line.principals_of(signed_by, now_s)) else { return Verdict::Unknown { key } };
        match self.is_revoked(signed_by) {
            Some(false) => {}
            Some(true) => return Verdict::Bad,
            None => return Verdict::Unchecked,
        }
        let allowed = |principal: &Vec<u8>| lines.iter().any(|line| line.allows(principal, signed_by, now_s));
        match principals.into_iter().take(PRINCIPALS_MAX).find(allowed) {
            Some(signer) => Verdict::Good { signer: signer.to_str_lossy().into_owned(), key },
            None => Verdict::Bad,
        }
    }

    /// `None`: the list cannot be read, or a line of it: it might have been the one that counts.
    fn is_revoked(&self, signed_by: &KeyData) -> Option<bool> {
        let list = self.revoked.unwrap_or_default();
        if list.starts_with(KRL_MAGIC) {
            return None;
        }
        let (key, authority) = match signed_by.certificate() {
            Some(certificate) => (certificate.public_key(), Some(certificate.signature_key())),
            None => (signed_by, None),
        };
        let mut is_revoked = false;
        for line in list.lines().map(|line| line.trim_ascii()).filter(|line| !line.is_empty() && !line.starts_with(b"#")) {
            let revoked = read_key(line)?;
            is_revoked |= revoked == *key || authority == Some(&revoked);
        }
        Some(is_revoked)
    }
}

/// Whether the key in the signature made it.
fn is_good(signature: &SshSig, payload: &[u8]) -> bool {
    if matches!(signature.algorithm(), Algorithm::Rsa { hash: None }) {
        return false;
    }
    let key = signature.public_key();
    let Some(certificate) = key.certificate() else {
        return PublicKey::from(key.clone()).verify(NAMESPACE, payload, signature).is_ok();
    };
    let plain = certificate.public_key().clone();
    let unwrapped = SshSig::new(plain.clone(), signature.namespace(), signature.hash_alg(), signature.signature().clone());
    certificate.verify_signature().is_ok()
        && unwrapped.is_ok_and(|plain_sig| PublicKey::from(plain).verify(NAMESPACE, payload, &plain_sig).is_ok())
}

fn read_key(line: &[u8]) -> Option<KeyData> {
    // Either may stand between the parts of a key; what reads it knows of spaces only.
    let line = line.to_str().ok()?.trim().replace('\t', " ");
    if line.is_empty() || line.starts_with('#') { None } else { Some(PublicKey::from_openssh(&line).ok()?.key_data().clone()) }
}

impl<'a> Line<'a> {
    fn read(line: &'a [u8]) -> Option<Self> {
        let line = line.trim_start_with(|c| c == ' ' || c == '\t');
        if line.is_empty() || line.starts_with(b"#") || line.contains(&0) {
            return None;
        }
        let (principals, rest) = match line.strip_prefix(b"\"") {
            Some(quoted) => quoted.split_once_str("\"")?,
            None => line.split_at(line.find_byteset(b" \t")?),
        };
        let rest = rest.trim_ascii_start();
        if let Some(key) = read_key(rest) {
            return Some(Self { principals, options: Options::default(), key });
        }
        let (options, rest) = rest.split_at(options_len(rest));
        Some(Self { principals, options: Options::read(options)?, key: read_key(rest)? })
    }

    fn is_valid(&self, now_s: u64) -> bool {
        self.options.valid_after.is_none_or(|after| now_s >= after) && self.options.valid_before.is_none_or(|before| now_s <= before)
    }

    /// The principals that this line gives to a key.
    fn principals_of(&self, signed_by: &KeyData, now_s: u64) -> Option<Vec<Vec<u8>>> {
        if !self.is_valid(now_s) {
            return None;
        }
        match (self.options.is_authority, signed_by.certificate()) {
            (false, _) if self.key == *signed_by => {
                let principals = self.principals.split(|byte| *byte == b',').take_while(|principal| !principal.is_empty());
                Some(principals.map(<[u8]>::to_vec).collect())
            }
            (true, Some(certificate)) if *certificate.signature_key() == self.key => {
                let names = certificate.valid_principals().iter().map(|name| name.clone().into_bytes());
                let names: Vec<_> = names.filter(|name| matches_list(name, self.principals) && certifies(signed_by, name, now_s)).collect();
                if names.is_empty() { None } else { Some(names) }
            }
            _ => None,
        }
    }

    /// Whether `principal` may sign with this key.
    fn allows(&self, principal: &[u8], signed_by: &KeyData, now_s: u64) -> bool {
        let is_it = match self.options.is_authority {
            false => self.key == *signed_by,
            true => {
                signed_by.certificate().is_some_and(|certificate| *certificate.signature_key() == self.key)
                    && certifies(signed_by, principal, now_s)
            }
        };
        let is_for_git = self.options.namespaces.as_ref().is_none_or(|list| matches_list(NAMESPACE.as_bytes(), list));
        is_it && is_for_git && self.is_valid(now_s) && matches_list(principal, self.principals)
    }
}

/// Whether a certificate is one of a user called `principal`, and valid.
fn certifies(signed_by: &KeyData, principal: &[u8], now_s: u64) -> bool {
    signed_by.certificate().is_some_and(|certificate| {
        certificate.cert_type() == CertType::User
            && (certificate.valid_after()..certificate.valid_before()).contains(&now_s)
            && certificate.valid_principals().iter().any(|name| name.as_bytes() == principal)
    })
}

/// Up to the first blank outside of quotes.
fn options_len(text: &[u8]) -> usize {
    let (mut at, mut quoted) = (0, false);
    while let Some(byte) = text.get(at) {
        match byte {
            b' ' | b'\t' if !quoted => break,
            b'\\' if text.get(at + 1) == Some(&b'"') => at += 1,
            b'"' => quoted = !quoted,
            _ => {}
        }
        at += 1;
    }
    at.min(text.len())
}

impl Options {
    fn read(mut text: &[u8]) -> Option<Self> {
        let mut options = Self::default();
        while !text.is_empty() {
            let end = text.find_byteset(b"=,").unwrap_or(text.len());
            let name = text[..end].to_ascii_lowercase();
            text = &text[end..];
            let mut value = None;
            if let Some(quoted) = text.strip_prefix(b"=\"") {
                let (word, rest) = unquote(quoted)?;
                (value, text) = (Some(word), rest);
            }
            match (name.as_slice(), value) {
                (b"cert-authority", None) => options.is_authority = true,
                (b"namespaces", Some(list)) if options.namespaces.is_none() => options.namespaces = Some(list),
                (b"valid-after", Some(time)) if options.valid_after.is_none() => options.valid_after = Some(read_time(&time)?),
                (b"valid-before", Some(time)) if options.valid_before.is_none() => options.valid_before = Some(read_time(&time)?),
                _ => return None,
            }
            text = match text.strip_prefix(b",") {
                Some(rest) if !rest.is_empty() => rest,
                None if text.is_empty() => text,
                _ => return None,
            };
        }
        let is_ordered = options.valid_after.zip(options.valid_before).is_none_or(|(after, before)| after < before);
        is_ordered.then_some(options)
    }
}

/// What stands before the closing quote, and what behind it.
fn unquote(text: &[u8]) -> Option<(Vec<u8>, &[u8])> {
    let (mut word, mut at) = (vec![], 0);
    loop {
        match text.get(at)? {
            b'"' => return Some((word, &text[at + 1..])),
            b'\\' if text.get(at + 1) == Some(&b'"') => {
                word.push(b'"');
                at += 2;
            }
            byte => {
                word.push(*byte);
                at += 1;
            }
        }
    }
}

/// `YYYYMMDD[HHMM[SS]][Z]` into seconds since 1970.
fn read_time(text: &[u8]) -> Option<u64> {
    let digits = text.strip_suffix(b"Z").unwrap_or(text);
    if ![8, 12, 14].contains(&digits.len()) || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let number = |from: usize, to: usize| {
        digits.get(from..to).map_or(0, |part| part.iter().fold(0, |all, digit| all * 10 + u64::from(digit - b'0')))
    };
    let (year, month, day) = (number(0, 4), number(4, 6), number(6, 8));
    let (hour, minute, second) = (number(8, 10), number(10, 12), number(12, 14));
    if year < 1970 || !(1..=12).contains(&month) || !(1..=31).contains(&day) || hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    // Days since March of year 0, whose leap day comes last.
    let (years, months) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let days = years * 365 + years / 4 - years / 100 + years / 400 + (months * 153 + 2) / 5 + day - 1 - 719_468;
    Some(((days * 24 + hour) * 60 + minute) * 60 + second)
}

/// OpenSSH's lists of patterns: `*` and `?`; one that begins with `!` and matches speaks against.
fn matches_list(text: &[u8], list: &[u8]) -> bool {
    let mut found = false;
    for pattern in list.split(|byte| *byte == b',') {
        match pattern.strip_prefix(b"!") {
            Some(pattern) if matches(text, pattern) => return false,
            Some(_) => {}
            None => found |= matches(text, pattern),
        }
    }
    found
}

/// In time linear in the product of both, whatever the pattern.
fn matches(text: &[u8], pattern: &[u8]) -> bool {
    let (mut at, mut from, mut star) = (0, 0, None);
    while at < text.len() {
        match pattern.get(from) {
            Some(b'*') => {
                star = Some((from, at));
                from += 1;
            }
            Some(byte) if *byte == b'?' || *byte == text[at] => {
                at += 1;
                from += 1;
            }
            _ => match star {
                Some((star_at, begin)) => {
                    (at, from) = (begin + 1, star_at + 1);
                    star = Some((star_at, begin + 1));
                }
                None => return false,
            },
        }
    }
    pattern[from..].iter().all(|byte| *byte == b'*')
}

#[cfg(test)]
mod tests;
