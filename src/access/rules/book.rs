//! A book of users, groups and rules that answers: whose key is this, and which rule decides?
//!
//! Looking up a key is one look into a table. Of many rules a command meets only those for its user and repository: they are
//! sorted out once, and the refs of a push are then held against these few, sorted by their names in turn.

use super::authority::Authority;
use super::pattern::Names;
use super::patterns::Patterns;
use super::roles::Roles;
use super::scope::{Asker, Scopes, User};
use super::verb::{Verb, Verbs};
use crate::access::{PasswordHash, PublicKey};
use bstr::BStr;
use std::collections::HashMap;
use std::hash::{BuildHasher as _, RandomState};
use std::sync::{Arc, OnceLock};

/// Who shows nothing: a user without keys, who is there when rules or groups name them.
pub(crate) const ANONYMOUS: &str = "anonymous";

/// Who may do what.
#[derive(Debug, Default)]
pub struct RuleBook {
    /// Every key with its user's number.
    pub(super) keys: HashMap<PublicKey, u32>,
    pub(super) users: Vec<User>,
    names: HashMap<String, u32>,
    pub(super) groups: HashMap<String, u32>,
    pub(super) rules: Vec<Rule>,
    /// Whom and what each of them is about.
    pub(super) scopes: Scopes,
    /// Keys that sign certificates, with the number of whose they are.
    pub(super) authority_keys: HashMap<PublicKey, usize>,
    pub(super) authorities: Vec<Authority>,
    /// Who is meant by a name in certificates.
    pub(super) principals: HashMap<String, Vec<u32>>,
    /// Users with passwords.
    pub(super) passwords: Vec<u32>,
    /// Chooses stand-ins for users without; different in every book.
    stand_ins: RandomState,
}

/// What a rule says.
#[derive(Debug)]
pub(super) struct Rule {
    pub(super) place: String,
    pub(super) verbs: Verbs,
    pub(super) allows: bool,
}

/// A yes or no, and the rule that decided: none for what no rule is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Judgement {
    /// The answer.
    pub is_allowed: bool,
    /// Such as `rule 2 (config.toml:29)`.
    pub rule: Option<String>,
}

impl From<Option<&Rule>> for Judgement {
    fn from(rule: Option<&Rule>) -> Self {
        Self { is_allowed: rule.is_some_and(|rule| rule.allows), rule: rule.map(|rule| rule.place.clone()) }
    }
}

/// The rules that are, or may be, about one user.
#[derive(Debug)]
pub(super) struct About {
    user: u32,
    rules: Vec<u32>,
}

/// The rules about one user in one repository.
#[derive(Debug)]
pub(super) struct Applying {
    rules: Vec<u32>,
    names: Names,
    /// For each verb the refs that these rules name: sorted when first asked for.
    refs: [OnceLock<Patterns>; Verb::ALL.len()],
}

impl RuleBook {
    /// Let whoever holds `key` do everything, under the name `name`. Where a user of the rules has that name, or the key, no
    /// other key of theirs counts for more: with this one they are `name (admin)`, which no user of the rules can be.
    pub fn add_admin(&mut self, key: &PublicKey, name: &str) {
        // Nobody shows a key to be anonymous: under that name whoever shows nothing would do everything.
        let is_taken = name == ANONYMOUS || self.user(name).is_some_and(|user| !user.is_admin);
        let user = self.add_user(&if is_taken { format!("{name} (admin)") } else { name.to_owned() });
        self.users[user as usize].is_admin = true;
        self.keys.insert(key.clone(), user);
    }

    /// The name of the user who holds `key`.
    pub fn owner(&self, key: &PublicKey) -> Option<&str> {
        self.keys.get(key).map(|user| self.users[*user as usize].name.as_str())
    }

    /// The hash to compare a password with, and the user if it is theirs. For names without a password it is that of somebody
    /// else, chosen by the name: the work is the same, and the answer is no. None where nobody has one.
    pub(super) fn password_of(&self, name: &str) -> Option<(Arc<PasswordHash>, Option<&str>)> {
        if let Some((user, hash)) = self.user(name).and_then(|user| user.password.as_ref().map(|hash| (user, hash))) {
            return Some((hash.clone(), Some(&user.name)));
        }
        let many = u64::try_from(self.passwords.len()).ok().filter(|many| *many > 0)?;
        let chosen = usize::try_from(self.stand_ins.hash_one(name) % many).ok()?;
        self.users[self.passwords[chosen] as usize].password.clone().map(|hash| (hash, None))
    }

    /// Whether anybody has a password.
    pub(super) fn has_passwords(&self) -> bool {
        !self.passwords.is_empty()
    }

    /// Whether there is such a user.
    pub fn knows(&self, user: &str) -> bool {
        self.names.contains_key(user)
    }

    /// Whether `user` may do everything.
    pub fn is_admin(&self, user: &str) -> bool {
        user != ANONYMOUS && self.user(user).is_some_and(|user| user.is_admin)
    }

    /// How many keys, users and rules there are.
    pub fn counts(&self) -> (usize, usize, usize) {
        (self.keys.len(), self.users.len(), self.rules.len())
    }

    /// Whether some answer depends on who made a repository, and on the roles that they gave.
    pub fn needs_roles(&self) -> bool {
        self.scopes.need_roles()
    }

    /// The rules about `user`; none for a user who is not there.
    pub(super) fn about(&self, user: &str) -> About {
        let found = self.number_of(user).map(|user| About { user, rules: self.scopes.about(user, &self.users[user as usize]) });
        found.unwrap_or(About { user: u32::MAX, rules: vec![] })
    }

    /// Those of the rules `about` somebody that are about them in the repository of this name, where these are the `roles`.
    pub(super) fn applying(&self, about: &About, repository: &str, roles: &Roles) -> Applying {
        let (mut rules, mut names) = (vec![], Names::default());
        if let Some(user) = self.users.get(about.user as usize) {
            names = Names { user: user.name.clone(), creator: roles.creator.clone() };
            let asker = Asker { number: about.user, user, roles, groups: &self.groups };
            rules = self.scopes.applying(&about.rules, repository, asker, &names);
        }
        Applying { rules, names, refs: std::array::from_fn(|_| OnceLock::new()) }
    }

    /// The roles in a repository that is not there yet: `user` is its creator if they may make it, and nobody has any otherwise.
    pub fn roles_of_new(&self, user: &str, repository: &str) -> Roles {
        let roles = Roles::made_by(user);
        let applying = self.applying(&self.about(user), repository, &roles);
        let may_create = self.judge_some(&applying, Verb::CreateRepository).is_some_and(|rule| rule.allows);
        if may_create { roles } else { Roles::default() }
    }

    /// The first of the rules `applying` that is about `verb` on the ref `name` decides.
    pub(super) fn judge(&self, applying: &Applying, verb: Verb, name: &BStr) -> Option<&Rule> {
        let refs = applying.refs[verb as usize].get_or_init(|| self.refs_of(applying, verb));
        refs.first(name, |_| true).map(|number| &self.rules[number as usize])
    }

    fn refs_of(&self, applying: &Applying, verb: Verb) -> Patterns {
        let mut refs = Patterns::default();
        for number in applying.rules.iter().copied().filter(|number| self.rules[*number as usize].verbs.contains(verb)) {
            let scope = self.scopes.get(number);
            if scope.has_every_ref() || !verb.is_about_refs() {
                refs.add_every(number);
                break; // whatever comes later never decides
            }
            for pattern in scope.refs.iter().filter_map(|pattern| pattern.filled(&applying.names)) {
                refs.add(&pattern, number);
            }
        }
        refs
    }

    /// Whether there may be a ref on which `verb` is allowed; a denial counts when it is about every ref.
    pub(super) fn judge_some(&self, applying: &Applying, verb: Verb) -> Option<&Rule> {
        let rules = applying.rules.iter().map(|number| (*number, &self.rules[*number as usize]));
        let mut rules = rules.filter(|(_, rule)| rule.verbs.contains(verb));
        let decides = |number, rule: &Rule| rule.allows || !verb.is_about_refs() || self.scopes.get(number).has_every_ref();
        rules.find(|(number, rule)| decides(*number, rule)).map(|(_, rule)| rule)
    }

    pub(super) fn number_of(&self, user: &str) -> Option<u32> {
        self.names.get(user).copied()
    }

    fn user(&self, name: &str) -> Option<&User> {
        self.number_of(name).map(|user| &self.users[user as usize])
    }

    pub(super) fn add_user(&mut self, name: &str) -> u32 {
        if let Some(number) = self.number_of(name) {
            return number;
        }
        let number = u32::try_from(self.users.len()).expect("a file has fewer users");
        self.users.push(User { name: name.to_owned(), ..User::default() });
        self.names.insert(name.to_owned(), number);
        number
    }
}
