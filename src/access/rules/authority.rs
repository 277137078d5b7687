//! Authorities that sign certificates, whom they may speak for, and what they took back.
//!
//! What is taken back stands in a file in the form that `ssh-keygen -k` is fed with (ssh-keygen(1), "KEY REVOCATION LISTS"):
//! `serial: 7`, `serial: 10-20`, `id: NAME`, `key: LINE OF A .pub FILE` (`sha1:` and `sha256:` mean the same), `hash: SHA256:...`, or
//! just the line of a `.pub` file; `#` begins a comment. Serial numbers and ids are those of this authority; a key is the one
//! in the certificate. The binary form that `ssh-keygen -k` writes is not read.

use super::book::{ANONYMOUS, Compiler, RuleBook, Who};
use super::written::{Written, WrittenAuthority};
use crate::access::{Certificate, PublicKey};
use std::collections::HashSet;
use std::path::Path;

/// Somebody who signs certificates.
#[derive(Debug)]
pub(super) struct Authority {
    /// For whom it may speak; empty: for everybody.
    speaks_for: Vec<Who>,
    revoked: Revoked,
}

/// Who holds a certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Holder<'a> {
    /// This user.
    User(&'a str),
    /// No authority of ours signed it, or it names nobody here.
    Unknown,
    /// It does not count; why, for the log.
    Refused(String),
}

impl RuleBook {
    /// The user whom this certificate means. Where its principals name several, the name that the client claims decides.
    pub(super) fn holder(&self, shown: &Certificate, claimed: &str) -> Holder<'_> {
        let Some(authority) = self.authority_keys.get(&shown.authority).map(|at| &self.authorities[*at]) else { return Holder::Unknown };
        if let Some(why) = authority.revoked.holds(shown) {
            return Holder::Refused(format!("{shown} was revoked: {why}"));
        }
        let named = shown.principals.iter().filter_map(|principal| self.principals.get(principal)).flatten();
        let may_speak = |user: &&usize| {
            let speaks_for = &authority.speaks_for;
            speaks_for.is_empty() || speaks_for.iter().any(|who| who.means(&self.users[**user]))
        };
        let named: HashSet<usize> = named.filter(may_speak).copied().collect();
        let mut names: Vec<&str> = named.iter().map(|user| self.users[*user].name.as_str()).collect();
        names.sort_unstable();
        match names[..] {
            [] => Holder::Unknown,
            [only] => Holder::User(only),
            _ => match names.iter().find(|name| **name == claimed) {
                Some(name) => Holder::User(name),
                None => Holder::Refused(format!("{shown} is for several users ({}): NAME@host says which", names.join(", "))),
            },
        }
    }
}

impl Compiler {
    /// Read the authorities; and whoever has no principals of their own goes by their name.
    pub(super) fn authorities(&mut self, written: &Written<'_>) {
        if written.authorities.is_empty() {
            return;
        }
        let has_own = |name: &str| written.users.iter().any(|(user, of)| user.get_ref() == name && !of.principals.is_empty());
        for number in 0..self.book.users.len() {
            let name = self.book.users[number].name.clone();
            if name != ANONYMOUS && !has_own(&name) {
                self.book.principals.entry(name).or_default().push(number);
            }
        }
        for authority in written.authorities {
            let WrittenAuthority { keys, key_files, users, revoked } = authority.get_ref();
            let head = authority.span().start..authority.span().start + "[[certificate_authority]]".len();
            if keys.is_empty() && key_files.is_empty() {
                self.fault("this authority lacks keys: which ones does it sign with?", Some(head), None);
            }
            for (key, span) in self.read_keys(keys, key_files) {
                let number = self.book.authorities.len();
                if *self.book.authority_keys.entry(key).or_insert(number) != number {
                    self.fault("this key is that of another authority, too", Some(span), None);
                }
            }
            let mut speaks_for = vec![];
            for word in users {
                speaks_for.extend(if word.get_ref() == "*" { Some(Who::Everybody) } else { self.subject(word, written) });
            }
            let revoked = match revoked.as_ref().map(|file| (file.span(), Revoked::read(file.get_ref()))) {
                None => Revoked::default(),
                Some((_, Ok(revoked))) => revoked,
                Some((span, Err(why))) => {
                    self.fault(why, Some(span), Some("lines are wanted such as serial: 7, id: NAME, key: ssh-ed25519 AAAA..."));
                    Revoked::default()
                }
            };
            self.book.authorities.push(Authority { speaks_for, revoked });
        }
    }
}

/// What one authority took back.
#[derive(Debug, Default, PartialEq, Eq)]
struct Revoked {
    /// From, to, both included.
    serials: Vec<(u64, u64)>,
    ids: HashSet<String>,
    /// Their SHA-256.
    fingerprints: HashSet<String>,
}

impl Revoked {
    fn read(file: &Path) -> Result<Self, String> {
        let bytes = std::fs::read(file).map_err(|error| format!("{}: {error}", file.display()))?;
        if bytes.starts_with(b"SSHKRL\n") {
            return Err(format!("{}: the binary form is not read, only the text that ssh-keygen -k makes it of", file.display()));
        }
        let text = String::from_utf8(bytes).map_err(|_| format!("{}: not text", file.display()))?;
        let mut revoked = Self::default();
        for (at, line) in text.lines().enumerate().map(|(at, line)| (at + 1, line.trim())) {
            if !line.is_empty() && !line.starts_with('#') {
                revoked.line(line).map_err(|why| format!("{}:{at}: {why}", file.display()))?;
            }
        }
        Ok(revoked)
    }

    fn line(&mut self, line: &str) -> Result<(), String> {
        let (word, rest) = line.split_once(':').map_or(("key", line), |(word, rest)| (word, rest.trim()));
        match word.trim() {
            "serial" => {
                let (from, to) = rest.split_once('-').unwrap_or((rest, rest));
                let serials = (number(from)?, number(to)?);
                if serials.0 > serials.1 {
                    return Err(format!("the range {rest} is backwards"));
                }
                self.serials.push(serials);
            }
            "id" => {
                self.ids.insert(rest.to_owned());
            }
            "hash" if rest.starts_with("SHA256:") => {
                self.fingerprints.insert(rest.trim_end_matches('=').to_owned());
            }
            "key" | "sha1" | "sha256" => {
                let key = PublicKey::from_openssh(rest).map_err(|error| error.to_string())?;
                self.fingerprints.insert(key.fingerprint());
            }
            // The comment of a key may hold a colon.
            _ if PublicKey::from_openssh(line).is_ok() => return self.line(&format!("key: {line}")),
            other => return Err(format!("'{}' is nothing that can be revoked", crate::access::printable(other))),
        }
        Ok(())
    }

    /// Why `shown` counts no more, if so.
    fn holds(&self, shown: &Certificate) -> Option<&'static str> {
        // Serial number 0 is that of all which were not counted.
        if shown.serial != 0 && self.serials.iter().any(|(from, to)| (*from..=*to).contains(&shown.serial)) {
            Some("its serial number")
        } else if self.ids.contains(&shown.key_id) {
            Some("its id")
        } else if self.fingerprints.contains(&shown.key.fingerprint()) {
            Some("its key")
        } else if self.fingerprints.contains(&shown.authority.fingerprint()) {
            Some("its authority's key")
        } else {
            None
        }
    }
}

fn number(text: &str) -> Result<u64, String> {
    let text = text.trim();
    let read = text.strip_prefix("0x").map_or_else(|| text.parse(), |digits| u64::from_str_radix(digits, 16));
    read.map_err(|_| format!("'{}' is no serial number", crate::access::printable(text)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ANN: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJdD7y3aLq454yWBdwLWbieU1ebz9/cu7/QEXn9OIeZJ";
    const BOB: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIB2kMbWcEzcqCV6Xd5LBWJRO3gN1tNb0HIm4bgWkKZ1B";

    fn certificate(serial: u64, id: &str) -> Certificate {
        Certificate {
            key: PublicKey::from_openssh(ANN).expect("a key"),
            authority: PublicKey::from_openssh(BOB).expect("a key"),
            key_id: id.to_owned(),
            serial,
            principals: vec![],
            valid_after_s: 0,
            valid_before_s: u64::MAX,
            critical_options: Default::default(),
            extensions: Default::default(),
        }
    }

    fn read(text: &str) -> Result<Revoked, String> {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("revoked");
        std::fs::write(&file, text).expect("written");
        Revoked::read(&file).map_err(|why| why.rsplit('/').next().unwrap_or_default().to_owned())
    }

    #[test]
    fn serials_ids_and_keys_are_taken_back() {
        let hash = format!("hash: {}", PublicKey::from_openssh(ANN).expect("a key").fingerprint());
        for (line, why) in [
            ("serial: 7", "its serial number"),
            ("serial: 0x7", "its serial number"),
            ("serial: 1-9", "its serial number"),
            ("id: laptop", "its id"),
            (ANN, "its key"),
            (&format!("{ANN} ann: her key"), "its key"),
            (&format!("key: {ANN} ann"), "its key"),
            (&format!("sha256: {ANN}"), "its key"),
            (&hash, "its key"),
            (BOB, "its authority's key"),
        ] {
            assert_eq!(read(&format!("# a list\n\n{line}\n")).expect(line).holds(&certificate(7, "laptop")), Some(why), "{line}");
        }
        for line in ["serial: 8-9", "serial: 0-6", "id: lap", "", "id: 7"] {
            assert_eq!(read(line).expect(line).holds(&certificate(7, "laptop")), None, "{line}");
        }
        assert_eq!(read("serial: 0-9").expect("a range").holds(&certificate(0, "")), None);
    }

    #[test]
    fn a_list_that_cannot_be_read_whole_is_not_read_at_all() {
        for (text, says) in [
            ("serial: 7\nserial: x", "revoked:2: 'x' is no serial number"),
            ("serial: 9-7", "backwards"),
            ("nonsense", "revoked:1: not a public key"),
            ("user: ann", "revoked:1: 'user' is nothing"),
            ("hash: MD5:00", "'hash' is nothing"),
            ("SSHKRL\n\0", "binary form"),
        ] {
            let fault = read(text).expect_err(text);
            assert!(fault.contains(says), "{text}: {fault}");
        }
        assert!(Revoked::read(Path::new("/nowhere/at/all")).is_err());
    }
}
