//! Authorities that sign certificates, and whom they may speak for.

use super::book::{ANONYMOUS, RuleBook};
use super::compile::Compiler;
use super::revoked::Revoked;
use super::scope::Who;
use super::written::{Written, WrittenAuthority};
use crate::access::{Certificate, PublicKey};
use std::collections::HashSet;

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
        let lists = self.authorities.iter().map(|other| other.revoked.holds(shown, std::ptr::eq(other, authority)));
        if let Some(why) = lists.flatten().next() {
            return Holder::Refused(format!("{shown} was revoked: {why}"));
        }
        let named = shown.principals.iter().filter_map(|principal| self.principals.get(principal)).flatten();
        let may_speak = |user: &&u32| {
            let speaks_for = &authority.speaks_for;
            speaks_for.is_empty() || speaks_for.iter().any(|who| who.means(**user, &self.users[**user as usize]))
        };
        let named: HashSet<u32> = named.filter(may_speak).copied().collect();
        let mut names: Vec<&str> = named.iter().map(|user| self.users[*user as usize].name.as_str()).collect();
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

impl RuleBook {
    /// Whether an authority's list takes this key back: it lets in nobody then, by itself neither, as with sshd's `RevokedKeys`.
    pub fn is_revoked(&self, key: &PublicKey) -> bool {
        self.authorities.iter().any(|authority| authority.revoked.holds_key(key))
    }
}

impl Compiler {
    /// Read the authorities; and whoever has no principals of their own goes by their name.
    pub(super) fn authorities(&mut self, written: &Written<'_>) {
        if written.authorities.is_empty() {
            return;
        }
        let with_own = written.users.iter().filter(|(_, user)| !user.principals.is_empty());
        let with_own: HashSet<&str> = with_own.map(|(name, _)| name.get_ref().as_str()).collect();
        for (user, number) in self.book.users.iter().zip(0..) {
            let name = user.name.clone();
            if name != ANONYMOUS && !with_own.contains(name.as_str()) {
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
                speaks_for.extend(if word.get_ref() == "*" { Some(Who::Everybody) } else { self.subject(word) });
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
