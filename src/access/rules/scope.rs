//! Whom, which repositories and which refs rules are about; and many of those into the few that a command meets.
//!
//! Rules are sorted by their users and groups, and by the repositories that they name: a command looks at those about its user
//! and holds them against those about its repository, however many there are in all.

use super::book::ANONYMOUS;
use super::condition::Condition;
use super::pattern::{Names, Pattern};
use super::patterns::Patterns;
use super::roles::Roles;
use crate::access::PasswordHash;
use bstr::BStr;
use std::collections::HashMap;
use std::sync::Arc;

/// Somebody.
#[derive(Debug, Default)]
pub(super) struct User {
    pub(super) name: String,
    pub(super) is_admin: bool,
    /// Numbers of the groups that it is in, through others too; sorted.
    pub(super) groups: Vec<u32>,
    pub(super) password: Option<Arc<PasswordHash>>,
}

impl User {
    pub(super) fn join(&mut self, group: u32) {
        if let Err(at) = self.groups.binary_search(&group) {
            self.groups.insert(at, group);
        }
    }

    fn is_in(&self, group: u32) -> bool {
        self.groups.binary_search(&group).is_ok()
    }

    /// Whoever shows nothing is not everybody who has logged in.
    fn has_logged_in(&self) -> bool {
        self.name != ANONYMOUS
    }
}

/// Whom a rule is about; users and groups by their numbers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Who {
    Everybody,
    Group(u32),
    User(u32),
    /// Who made the repository.
    Creator,
    /// Whom the repository's creator gave this role.
    Role(String),
}

impl Who {
    /// Whether this is `user`, who has this number, whatever the repository.
    pub(super) fn means(&self, number: u32, user: &User) -> bool {
        match self {
            Self::Everybody => user.has_logged_in(),
            Self::Group(group) => user.is_in(*group),
            Self::User(other) => *other == number,
            Self::Creator | Self::Role(_) => false,
        }
    }

    fn depends_on_repository(&self) -> bool {
        matches!(self, Self::Creator | Self::Role(_))
    }
}

/// Whom and what one rule is about.
#[derive(Debug)]
pub(super) struct Scope {
    pub(super) who: Vec<Who>,
    pub(super) repositories: Vec<Pattern>,
    /// Empty: all.
    pub(super) refs: Vec<Pattern>,
    /// None: always.
    pub(super) when: Option<Condition>,
}

impl Scope {
    /// Whether it is about this ref, names put in.
    pub(super) fn has_ref(&self, name: &BStr, names: &Names) -> bool {
        self.refs.is_empty() || self.refs.iter().filter_map(|pattern| pattern.filled(names)).any(|pattern| pattern.matches(name))
    }

    pub(super) fn has_every_ref(&self) -> bool {
        self.refs.is_empty() || self.refs.iter().any(Pattern::is_every_ref)
    }
}

/// Somebody who asks about a repository.
#[derive(Clone, Copy)]
pub(super) struct Asker<'a> {
    pub(super) number: u32,
    pub(super) user: &'a User,
    pub(super) roles: &'a Roles,
    /// Numbers of groups by their names.
    pub(super) groups: &'a HashMap<String, u32>,
}

impl Asker<'_> {
    fn is(&self, who: &Who) -> bool {
        match who {
            Who::Creator => self.user.has_logged_in() && self.roles.creator.as_ref() == Some(&self.user.name),
            Who::Role(role) => self.roles.holders(role).iter().any(|word| match word.strip_prefix('@') {
                _ if word == "*" => self.user.has_logged_in(),
                Some(group) => self.groups.get(group).is_some_and(|group| self.user.is_in(*group)),
                None => *word == self.user.name,
            }),
            other => other.means(self.number, self.user),
        }
    }
}

/// Scopes by number, in the order in which they were written.
#[derive(Debug, Default)]
pub(super) struct Scopes {
    scopes: Vec<Scope>,
    by_user: HashMap<u32, Vec<u32>>,
    by_group: HashMap<u32, Vec<u32>>,
    of_everybody: Vec<u32>,
    /// Those about whom a repository's own file names.
    by_role: Vec<u32>,
    repositories: Patterns,
    names_creator: bool,
}

impl Scopes {
    pub(super) fn push(&mut self, scope: Scope) {
        let number = u32::try_from(self.scopes.len()).expect("a file has fewer rules");
        for who in &scope.who {
            let list = match who {
                Who::Everybody => &mut self.of_everybody,
                Who::Group(group) => self.by_group.entry(*group).or_default(),
                Who::User(user) => self.by_user.entry(*user).or_default(),
                Who::Creator | Who::Role(_) => &mut self.by_role,
            };
            if list.last() != Some(&number) {
                list.push(number);
            }
        }
        for pattern in &scope.repositories {
            self.repositories.add(pattern, number);
        }
        self.names_creator |= scope.repositories.iter().chain(&scope.refs).any(Pattern::names_creator);
        self.scopes.push(scope);
    }

    pub(super) fn get(&self, number: u32) -> &Scope {
        &self.scopes[number as usize]
    }

    /// Whether some answer depends on who made a repository.
    pub(super) fn need_roles(&self) -> bool {
        self.names_creator || !self.by_role.is_empty()
    }

    /// The scopes that are, or may be, about this user; sorted.
    pub(super) fn about(&self, number: u32, user: &User) -> Vec<u32> {
        let mut about: Vec<u32> = self.by_role.clone();
        if user.has_logged_in() {
            about.extend(&self.of_everybody);
        }
        about.extend(self.by_user.get(&number).into_iter().flatten());
        about.extend(user.groups.iter().filter_map(|group| self.by_group.get(group)).flatten());
        about.sort_unstable();
        about.dedup();
        about
    }

    /// Those of the scopes `about` somebody that are about them in the repository of this name; sorted.
    pub(super) fn applying(&self, about: &[u32], repository: &str, asker: Asker<'_>, names: &Names) -> Vec<u32> {
        let of_repository = self.repositories.all_of(repository.into(), names);
        let (mut applying, mut about) = (vec![], about.iter().copied().peekable());
        for number in of_repository {
            while about.next_if(|other| *other < number).is_some() {}
            if about.next_if_eq(&number).is_none() {
                continue;
            }
            let who = &self.get(number).who;
            if !who.iter().any(Who::depends_on_repository) || who.iter().any(|who| asker.is(who)) {
                applying.push(number);
            }
        }
        applying
    }
}
