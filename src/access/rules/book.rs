//! A book of users, groups and rules that answers: whose key is this, and which rule decides?
//!
//! Looking up a key is one look into a table. Of many rules a command meets only those for its user and repository: they are
//! sorted out once, and the refs of a push are then held against these few, sorted by their names in turn.

use super::authority::Authority;
use super::condition::{Condition, Moment, Scene, Way};
use super::limit::{Limit, untold};
use super::pattern::{Names, Pattern};
use super::patterns::Patterns;
use super::roles::Roles;
use super::scope::{Asker, Scope, Scopes, User};
use super::verb::{Verb, Verbs};
use crate::access::{PasswordHash, PublicKey, printable};
use crate::serve::Changes;
use std::collections::{BTreeMap, HashMap};
use std::hash::{BuildHasher as _, RandomState};
use std::sync::{Arc, LazyLock, OnceLock};

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
    pub(super) limits: Vec<Limit>,
    pub(super) limit_scopes: Scopes,
    /// Keys that sign certificates, with the number of whose they are.
    pub(super) authority_keys: HashMap<PublicKey, usize>,
    pub(super) authorities: Vec<Authority>,
    /// Who is meant by a name in certificates.
    pub(super) principals: HashMap<String, Vec<u32>>,
    /// Some rule or limit has a condition.
    pub(super) has_conditions: bool,
    /// Users with passwords, each behind a number made of their name.
    passwords: BTreeMap<u64, u32>,
}

/// Characters of a path that a refusal shows.
const PATH_CHARS_TOLD: usize = 100;

/// Chooses stand-ins for users without a password. Always the same while this program runs: with another one after each change
/// of a file, a name for which a comparison takes now longer, now shorter, would be that of nobody.
static STAND_INS: LazyLock<RandomState> = LazyLock::new(RandomState::new);

/// What a rule says.
#[derive(Debug)]
pub(super) struct Rule {
    pub(super) place: String,
    /// Empty: it is about refs as such.
    pub(super) paths: Vec<Pattern>,
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
    limits: Vec<u32>,
}

/// The rules about one user in one repository.
#[derive(Debug)]
pub(super) struct Applying {
    rules: Vec<u32>,
    /// Those of the rules that are about paths.
    of_paths: Vec<u32>,
    limits: Vec<u32>,
    names: Names,
    scene: Scene,
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
        // The next one on the circle of numbers: who comes or goes changes few of these choices.
        let (_, chosen) = self.passwords.range(STAND_INS.hash_one(name)..).next().or_else(|| self.passwords.first_key_value())?;
        self.users[*chosen as usize].password.clone().map(|hash| (hash, None))
    }

    /// Whoever this is has a password.
    pub(super) fn set_password(&mut self, user: u32, hash: PasswordHash) {
        let whose = &mut self.users[user as usize];
        whose.password = Some(Arc::new(hash));
        self.passwords.insert(STAND_INS.hash_one(&whose.name), user);
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
        self.scopes.need_roles() || self.limit_scopes.need_roles()
    }

    /// The rules about `user`; none for a user who is not there.
    pub(super) fn about(&self, user: &str) -> About {
        let Some(user) = self.number_of(user) else { return About { user: u32::MAX, rules: vec![], limits: vec![] } };
        let somebody = &self.users[user as usize];
        About { user, rules: self.scopes.about(user, somebody), limits: self.limit_scopes.about(user, somebody) }
    }

    /// Those of the rules `about` somebody that are about them in the repository of this name, where these are the `roles`.
    pub(super) fn applying(&self, about: &About, repository: &str, roles: &Roles, way: &Way) -> Applying {
        let (mut rules, mut of_paths, mut limits, mut names, mut groups) = (vec![], vec![], vec![], Names::default(), vec![]);
        if let Some(user) = self.users.get(about.user as usize) {
            names = Names { user: user.name.clone(), creator: roles.creator.clone() };
            let asker = Asker { number: about.user, user, roles, groups: &self.groups };
            let applying = self.scopes.applying(&about.rules, repository, asker, &names);
            (of_paths, rules) = applying.into_iter().partition(|number| !self.rule(*number).paths.is_empty());
            limits = self.limit_scopes.applying(&about.limits, repository, asker, &names);
            if self.has_conditions {
                let is_in = |(name, group): (&String, &u32)| user.groups.binary_search(group).is_ok().then(|| name.clone());
                groups = self.groups.iter().filter_map(is_in).collect();
            }
        }
        let scene = Scene { user: names.user.clone(), groups, repository: repository.to_owned(), way: way.clone() };
        Applying { rules, of_paths, limits, names, scene, refs: std::array::from_fn(|_| OnceLock::new()) }
    }

    /// The roles in a repository that is not there yet: `user` is its creator if they may make it, and nobody has any otherwise.
    pub fn roles_of_new(&self, user: &str, repository: &str) -> Roles {
        let roles = Roles::made_by(user);
        let applying = self.applying(&self.about(user), repository, &roles, &Way::to_do(Verb::CreateRepository));
        let may_create = self.judge_some(&applying, Verb::CreateRepository).is_some_and(|rule| rule.allows);
        if may_create { roles } else { Roles::default() }
    }

    /// The first of the rules `applying` that is about `verb` on the ref `name` decides.
    pub(super) fn judge(&self, applying: &Applying, moment: Moment<'_>) -> Option<&Rule> {
        let refs = applying.refs[moment.verb as usize].get_or_init(|| self.refs_of(applying, moment.verb));
        let counts = |number: u32| self.takes_part(number, applying, Some(&moment)).unwrap_or(true);
        refs.first(moment.name, counts).map(|number| self.rule(number))
    }

    /// Whether the condition of a rule, if it has one, holds; none where that depends on a ref. What cannot be told allows nothing.
    fn takes_part(&self, number: u32, applying: &Applying, moment: Option<&Moment<'_>>) -> Option<bool> {
        let rule = self.rule(number);
        holds(self.scopes.get(number).when.as_ref(), &rule.place, applying, moment).map(|told| told.unwrap_or(!rule.allows))
    }

    /// What rules about paths and limits have against the edit with this number, for the pusher.
    pub(super) fn refusal_of_changes(&self, applying: &Applying, moment: Moment<'_>, changes: &Changes, edit: usize) -> Option<String> {
        self.refusal_of_paths(applying, moment, changes, edit).or_else(|| {
            let is_about = |number: u32| {
                let (scope, place) = (self.limit_scopes.get(number), &self.limits[number as usize].place);
                let counts = || holds(scope.when.as_ref(), place, applying, Some(&moment)).and_then(Result::ok).unwrap_or(true);
                scope.has_ref(moment.name, &applying.names) && counts()
            };
            let mut limits = applying.limits.iter().filter(|number| moment.verb != Verb::Delete && is_about(**number));
            limits.find_map(|number| self.limits[*number as usize].refusal(changes, edit, &applying.names))
        })
    }

    /// Each path goes down the rules about paths; what none is about may be changed.
    fn refusal_of_paths(&self, applying: &Applying, moment: Moment<'_>, changes: &Changes, edit: usize) -> Option<String> {
        let mut paths = Patterns::default();
        for number in applying.of_paths.iter().copied() {
            let (rule, scope) = (self.rule(number), self.scopes.get(number));
            let is_about = |scope: &Scope| scope.has_ref(moment.name, &applying.names);
            if rule.verbs.contains(moment.verb) && is_about(scope) && self.takes_part(number, applying, Some(&moment)) == Some(true) {
                let patterns = rule.paths.iter().filter_map(|pattern| pattern.filled(&applying.names));
                patterns.for_each(|pattern| paths.add(&pattern, number));
            }
        }
        if paths.is_empty() {
            return None;
        }
        let changed = match changes.paths(edit) {
            Ok(changed) => changed,
            Err(error) => return Some(untold(&error)),
        };
        changed.iter().find_map(|changed| {
            let rule = paths.first(changed.path.as_ref(), |_| true).map(|number| self.rule(number)).filter(|rule| !rule.allows)?;
            // The rule must not get lost behind a path that somebody made long.
            let path: String = printable(&changed.path.to_string()).chars().take(PATH_CHARS_TOLD).collect();
            Some(format!("you may not change '{path}': {}", rule.place))
        })
    }

    fn rule(&self, number: u32) -> &Rule {
        &self.rules[number as usize]
    }

    fn refs_of(&self, applying: &Applying, verb: Verb) -> Patterns {
        let mut refs = Patterns::default();
        for number in applying.rules.iter().copied().filter(|number| self.rule(*number).verbs.contains(verb)) {
            let scope = self.scopes.get(number);
            if scope.has_every_ref() || !verb.is_about_refs() {
                refs.add_every(number);
                if scope.when.is_none() {
                    break; // whatever comes later never decides
                }
                continue;
            }
            for pattern in scope.refs.iter().filter_map(|pattern| pattern.filled(&applying.names)) {
                refs.add(&pattern, number);
            }
        }
        refs
    }

    /// Whether there may be a ref on which `verb` is allowed; a denial counts when it is about every ref.
    pub(super) fn judge_some(&self, applying: &Applying, verb: Verb) -> Option<&Rule> {
        let mut rules = applying.rules.iter().map(|number| (*number, self.rule(*number))).filter(|(_, rule)| rule.verbs.contains(verb));
        let is_about_all = |number| !verb.is_about_refs() || self.scopes.get(number).has_every_ref();
        // Where a condition depends on the ref, there may be one for which it holds, and one for which it does not.
        let of_repository = Moment { verb, name: "".into(), options: &[] };
        let moment = (!verb.is_about_refs()).then_some(&of_repository);
        let counts = |number, rule: &Rule| self.takes_part(number, applying, moment).unwrap_or(rule.allows);
        rules.find(|(number, rule)| (rule.allows || is_about_all(*number)) && counts(*number, rule)).map(|(_, rule)| rule)
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

/// Whether a condition holds, where it can be told yet. A fault is logged with the place of its rule.
fn holds(when: Option<&Condition>, place: &str, applying: &Applying, moment: Option<&Moment<'_>>) -> Option<Result<bool, ()>> {
    let Some(when) = when else { return Some(Ok(true)) };
    when.holds_for(&applying.scene, moment).map(|told| {
        told.map_err(|why| {
            tracing::warn!(rule = place, why = printable(&why), user = printable(&applying.scene.user), "a condition failed")
        })
    })
}
