//! gitolite's rules into drafts of ours that decide alike.
//!
//! gitolite asks twice. Before git starts it asks whether any rule lets somebody read or write at all, whatever its refex; `-` counts
//! there only where `option deny-rules` is set. For each ref of a push it asks again: the first rule that names user and ref and is `-`
//! or has the letter for what is done decides. So here:
//!
//! - what lets read is about every ref, in a rule of its own where gitolite's has a refex;
//! - `-` denies writing on its refs, and where `deny-rules` holds reading of everything;
//! - `W` is `update`, `+` is `rewind`; to create wants `C` where a rule for the repository has it, else `W`; to delete wants `D`, else `+`;
//! - who may write to a repository that is named may make it, unless a rule is about its creator: gitolite makes those itself, and
//!   then nobody is their creator.

use super::conf::{Conf, Permission, Rule};
use super::names::{Overlap, Repositories, is_name};
use super::options::{Holds, Switch, condition};
use super::{Draft, Drafts, Import, Original, Remark, Remarks, checks, keys, lines, refex, write};
use crate::access::printable;
use std::collections::{BTreeSet, HashMap, HashSet};
use std::rc::Rc;

/// Verbs that change refs.
pub(super) const WRITING: [&str; 3] = ["write", "rewind", "delete"];
const CREATE_REPOSITORY: &str = "create-repository";
/// Users that stand for programs, for which gitolite writes lists.
const PROGRAMS: [&str; 2] = ["gitweb", "daemon"];

/// Translate a `gitolite.conf`.
///
/// # Errors
/// Everything that gitolite would refuse, and what cannot be said here at all.
pub fn from_gitolite(original: &Original<'_>) -> Result<Import, Vec<Remark>> {
    let mut remarks = Remarks::default();
    let lines = lines::read(original.conf, &mut remarks);
    let conf = Conf::parse(&lines, original.roles, &mut remarks);
    let keys = keys::read(original.key_folder, keys::Naming::Gitolite, &mut remarks);
    let mut drafts = drafts(&conf, keys.keys().cloned().collect(), &mut remarks);
    drafts.users.extend(keys.keys().cloned());
    let title = format!("Users and rules of gitolite's {}.", printable(&original.conf.display().to_string()));
    if original.key_folder.is_none() && !drafts.users.is_empty() {
        let note = Remark::about(original.conf, "no folder of keys was named, so nobody has a key");
        remarks.note(note.hinted("packmule import gitolite CONF KEYDIR"));
    }
    remarks.import(write::toml(&title, &drafts, &keys))
}

/// Rules and groups of `conf`; `keyed` are users who have keys.
pub(super) fn drafts(conf: &Conf, keyed: BTreeSet<String>, remarks: &mut Remarks) -> Drafts {
    let mut translator = Translator::new(conf, keyed, remarks);
    for at in 0..conf.rules.len() {
        translator.rule(at);
    }
    checks::merges(&mut translator);
    translator.people();
    translator.drafts
}

/// What a rule says of refs.
pub(super) struct Parts {
    /// Patterns of ours; none: it names no refs, only virtual ones. Empty: all.
    pub(super) refs: Option<Vec<String>>,
    pub(super) virtual_refs: Vec<String>,
}

impl Parts {
    pub(super) fn is_every_ref(&self) -> bool {
        self.refs.as_ref().is_some_and(Vec::is_empty)
    }
}

/// What options say of some repositories.
#[derive(Clone)]
pub(super) struct Class {
    pub(super) create: Holds,
    pub(super) delete: Holds,
    pub(super) denies: Holds,
    pub(super) merges: Holds,
}

struct Switches {
    create: Switch,
    delete: Switch,
    denies: Switch,
    merges: Switch,
}

pub(super) struct Translator<'a> {
    pub(super) conf: &'a Conf,
    pub(super) remarks: &'a mut Remarks,
    pub(super) drafts: Drafts,
    pub(super) parts: Vec<Parts>,
    keyed: BTreeSet<String>,
    /// By the number of the block.
    repositories: HashMap<usize, Rc<Vec<Repositories>>>,
    switches: Switches,
    classes: HashMap<String, Class>,
    /// Blocks and users to whom a rule gave reading.
    read: HashSet<(usize, String)>,
    /// Repositories that have rules for their creator, or for roles.
    created: Vec<Repositories>,
}

impl<'a> Translator<'a> {
    fn new(conf: &'a Conf, keyed: BTreeSet<String>, remarks: &'a mut Remarks) -> Self {
        let mut repositories: HashMap<usize, Rc<Vec<Repositories>>> = HashMap::new();
        let blocks = conf.rules.iter().map(|rule| &rule.block).chain(conf.settings.iter().map(|setting| &setting.block));
        for block in blocks {
            repositories.entry(block.number).or_insert_with(|| Rc::new(repositories_of(conf, block, remarks)));
        }
        let switch = |name| Switch::of(name, &conf.settings, |setting| repositories[&setting.block.number].to_vec());
        let switches = Switches {
            create: switch("CREATE_IS_C"),
            delete: switch("DELETE_IS_D"),
            denies: switch("deny-rules"),
            merges: switch("MERGE_CHECK"),
        };
        let parts = conf.rules.iter().map(|rule| parts_of(rule, remarks)).collect();
        let has_role = |rule: &&Rule| rule.users.iter().any(|user| user.starts_with('<'));
        let created = conf.rules.iter().filter(has_role).flat_map(|rule| repositories[&rule.block.number].to_vec()).collect();
        let (classes, read) = (HashMap::new(), HashSet::new());
        Self { conf, remarks, drafts: Drafts::default(), parts, keyed, repositories, switches, classes, read, created }
    }

    pub(super) fn repositories(&self, rule: &Rule) -> Rc<Vec<Repositories>> {
        self.repositories.get(&rule.block.number).cloned().unwrap_or_default()
    }

    pub(super) fn class(&mut self, these: &Repositories) -> Class {
        let switches = &self.switches;
        let make = || Class {
            create: switches.create.holds(these),
            delete: switches.delete.holds(these),
            denies: switches.denies.holds(these),
            merges: switches.merges.holds(these),
        };
        self.classes.entry(these.as_pattern().to_owned()).or_insert_with(make).clone()
    }

    fn rule(&mut self, at: usize) {
        let rule = &self.conf.rules[at];
        let users = self.users(rule);
        let these = self.repositories(rule);
        if users.is_empty() || these.is_empty() {
            return;
        }
        if rule.permission.denies {
            self.denial(at, &users, &these);
        } else if rule.permission.makes {
            self.push(at, &users, &these, Some(vec![]), vec![CREATE_REPOSITORY], true, None);
        } else {
            self.grant(at, &users, &these);
        }
        checks::of_rule(self, at, &users);
        if rule.permission.writes && rule.block.words.iter().any(|word| word == "gitolite-admin") {
            let note = rule.block.line.remark("gitolite-admin", "a push to 'gitolite-admin' changes nothing here");
            self.remarks.note(note.hinted("users and rules are those of config.toml; packmule check tells its mistakes"));
        }
    }

    /// One rule of ours, if it is about any refs.
    #[expect(clippy::too_many_arguments, reason = "a rule has as many parts")]
    pub(super) fn push(
        &mut self,
        at: usize,
        users: &[String],
        these: &[Repositories],
        refs: Option<Vec<String>>,
        verbs: Vec<&'static str>,
        allows: bool,
        when: Option<String>,
    ) {
        let Some(refs) = refs.filter(|_| !users.is_empty() && !these.is_empty() && !verbs.is_empty()) else { return };
        let origin = self.conf.rules[at].line.origin();
        let repositories = patterns(these);
        self.drafts.rules.push(Draft { origin, users: users.to_vec(), repositories, refs, paths: vec![], verbs, allows, when });
    }

    fn grant(&mut self, at: usize, users: &[String], these: &[Repositories]) {
        let (rule, every) = (&self.conf.rules[at], self.parts[at].is_every_ref());
        if !every {
            let readers: Vec<String> = users.iter().filter(|user| !self.reads_otherwise(at, user, these)).cloned().collect();
            self.read.extend(readers.iter().map(|user| (rule.block.number, user.clone())));
            self.push(at, &readers, these, Some(vec![]), vec!["read"], true, None);
        }
        for (verbs, when, some) in self.outcomes(&rule.permission, these, true) {
            let verbs = every.then_some("read").into_iter().chain(verbs).collect();
            self.push(at, users, &some, self.parts[at].refs.clone(), verbs, true, when);
        }
    }

    /// What the rule lets do, for those repositories of `these` for which it is the same, and when.
    pub(super) fn outcomes(&mut self, permission: &Permission, these: &[Repositories], may_make: bool) -> Vec<Outcome> {
        let mut outcomes: Vec<Outcome> = vec![];
        for word in these {
            let class = self.class(word);
            for (create_is_c, delete_is_d, when) in cases(&class, permission) {
                let mut verbs = verbs(permission, create_is_c, delete_is_d);
                let is_made = matches!(word, Repositories::Name(_)) && self.created.iter().all(|other| word.within(other) == Overlap::None);
                if may_make && permission.writes && is_made {
                    verbs.push(CREATE_REPOSITORY);
                }
                match outcomes.iter_mut().find(|(others, condition, _)| *others == verbs && *condition == when) {
                    Some((_, _, same)) => same.push(word.clone()),
                    None => outcomes.push((verbs, when, vec![word.clone()])),
                }
            }
        }
        outcomes
    }

    /// Whether reading is given to `user` by a rule of the same block in any case: an earlier one, or any where `-` hinders nobody.
    fn reads_otherwise(&mut self, at: usize, user: &str, these: &[Repositories]) -> bool {
        let block = self.conf.rules[at].block.number;
        let any_order = these.iter().all(|word| self.class(word).denies == Holds::Never);
        self.read.contains(&(block, user.to_owned()))
            || self.conf.rules.iter().enumerate().any(|(other, rule)| {
                rule.block.number == block
                    && rule.permission.reads
                    && self.parts[other].is_every_ref()
                    && (other < at || any_order && other != at)
                    && rule.users.iter().any(|word| word == user || word == "@all")
            })
    }

    fn denial(&mut self, at: usize, users: &[String], these: &[Repositories]) {
        let refs = self.parts[at].refs.clone();
        let mut groups: Vec<(Holds, Vec<Repositories>)> = vec![];
        for word in these {
            let holds = self.class(word).denies;
            match groups.iter_mut().find(|(other, _)| *other == holds) {
                Some((_, words)) => words.push(word.clone()),
                None => groups.push((holds, vec![word.clone()])),
            }
        }
        let every = self.parts[at].is_every_ref();
        for (holds, some) in groups {
            let when = match &holds {
                Holds::Never => {
                    self.push(at, users, &some, refs.clone(), WRITING.to_vec(), false, None);
                    continue;
                }
                Holds::Always if every => {
                    self.push(at, users, &some, Some(vec![]), [&["read"], &WRITING[..], &[CREATE_REPOSITORY]].concat(), false, None);
                    continue;
                }
                Holds::Always => None,
                Holds::Where(condition) => Some(condition.clone()),
            };
            let (readers, others): (Vec<String>, Vec<String>) =
                users.iter().cloned().partition(|user| self.reads_otherwise(at, user, &some));
            self.push(at, &others, &some, Some(vec![]), vec!["read", CREATE_REPOSITORY], false, when.clone());
            if self.is_made_later(at, &some) {
                self.push(at, &readers, &some, Some(vec![]), vec![CREATE_REPOSITORY], false, when.clone());
            }
            if !every {
                for word in &some {
                    for (mere_readers, target, but) in self.mere_readers(at, users, word) {
                        let when = Some(when.iter().chain(&but).map(String::as_str).collect::<Vec<_>>().join(" && "));
                        self.push(
                            at,
                            &mere_readers,
                            &[target],
                            Some(vec![]),
                            WRITING.to_vec(),
                            false,
                            when.filter(|when| !when.is_empty()),
                        );
                    }
                }
            }
            self.push(at, users, &some, refs.clone(), WRITING.to_vec(), false, None);
        }
    }

    /// Whether a rule behind this one lets somebody make any of these.
    fn is_made_later(&self, at: usize, these: &[Repositories]) -> bool {
        let later = self.conf.rules[at..].iter().filter(|rule| rule.permission.makes);
        later.flat_map(|rule| self.repositories(rule).to_vec()).any(|others| these.iter().any(|word| word.within(&others) != Overlap::None))
    }

    /// Those of `users` whom an earlier rule let read but none let write: with `deny-rules` they do not get past this one. In which
    /// repositories, and when.
    fn mere_readers(&self, at: usize, users: &[String], word: &Repositories) -> Vec<(Vec<String>, Repositories, Option<String>)> {
        let rules = &self.conf.rules;
        let (readers, writers): (Vec<&Rule>, Vec<&Rule>) =
            rules[..at].iter().filter(|rule| rule.permission.reads).partition(|rule| !rule.permission.writes);
        let mut found: Vec<(Vec<String>, Repositories, Option<String>)> = vec![];
        for reader in readers {
            for others in self.repositories(reader).iter() {
                let (target, within) = match (word.within(others), others.within(word)) {
                    (Overlap::None, _) => continue,
                    (Overlap::All, _) => (word, None),
                    (_, Overlap::All) => (others, None),
                    _ => (word, Some(condition(others))),
                };
                let overlapping: Vec<(&Rule, Vec<Option<String>>)> = writers
                    .iter()
                    .map(|writer| (*writer, self.overlaps(target, writer)))
                    .filter(|(_, overlaps)| !overlaps.is_empty())
                    .collect();
                let mut add = |names: Vec<String>, when: Option<String>| {
                    let is_same = |(_, other, condition): &&mut (Vec<String>, Repositories, Option<String>)| {
                        other.as_pattern() == target.as_pattern() && *condition == when
                    };
                    match found.iter_mut().find(is_same) {
                        Some((known, _, _)) => names.into_iter().for_each(|name| {
                            if !known.contains(&name) {
                                known.push(name)
                            }
                        }),
                        None => found.push((names, target.clone(), when)),
                    }
                };
                if overlapping.is_empty() {
                    add(users.to_vec(), within);
                    continue;
                }
                for user in self.known_users().into_iter().filter(|user| self.names(&rules[at], user) && self.names(reader, user)) {
                    let own = overlapping.iter().filter(|(writer, _)| self.names(writer, &user)).flat_map(|(_, overlaps)| overlaps);
                    let Some(partly) = own.cloned().collect::<Option<Vec<String>>>() else { continue };
                    let but = partly.iter().map(|condition| format!("!{condition}"));
                    let when: Vec<String> = within.clone().into_iter().chain(but).collect();
                    add(vec![user], Some(when.join(" && ")).filter(|when| !when.is_empty()));
                }
            }
        }
        found
    }

    /// What of the repositories of `rule` is among `these`: none for all of these, a condition for some.
    fn overlaps(&self, these: &Repositories, rule: &Rule) -> Vec<Option<String>> {
        let overlap = |others: &Repositories| match these.within(others) {
            Overlap::None => None,
            Overlap::Some => Some(Some(condition(others))),
            Overlap::All => Some(None),
        };
        self.repositories(rule).iter().filter_map(overlap).collect()
    }

    /// Whether the rule is about this user.
    fn names(&self, rule: &Rule, user: &str) -> bool {
        rule.users.iter().any(|word| {
            word == user
                || word == "@all"
                || self.conf.groups.get(word).is_some_and(|members| members.iter().any(|(member, _)| member == user))
        })
    }

    fn known_users(&self) -> BTreeSet<String> {
        let words = self.conf.rules.iter().flat_map(|rule| &rule.users);
        let single = words.clone().filter(|word| !word.starts_with(['@', '<'])).cloned();
        let members = words.filter_map(|word| self.conf.groups.get(word)).flatten().map(|(member, _)| member.clone());
        let all = single.chain(members).chain(self.keyed.iter().cloned());
        all.filter(|name| is_user(name) && !PROGRAMS.contains(&name.as_str())).collect()
    }

    /// The users of a rule as ours have them.
    fn users(&mut self, rule: &Rule) -> Vec<String> {
        let mut users = vec![];
        for word in &rule.users {
            if PROGRAMS.contains(&word.as_str()) && !self.keyed.contains(word) {
                let for_whom =
                    if word == "daemon" { "git://, which packmule does not serve" } else { "gitweb, which packmule does not feed" };
                let note = rule.remark(word, format!("'{word}' stands for {for_whom}: left out"));
                self.remarks.note(note.hinted("to let anybody read without logging in, write a rule with users = [\"anonymous\"]"));
            } else if word == "anonymous" {
                self.remarks.fault(rule.remark(word, "'anonymous' is who shows nothing, and can be no user's name"));
            } else {
                users.push(if word == "@all" { "*".to_owned() } else { word.clone() });
            }
        }
        users.dedup();
        users
    }

    /// Groups and users of all rules.
    fn people(&mut self) {
        let conf = self.conf;
        let mut seen = HashSet::new();
        for rule in &conf.rules {
            for word in rule.users.iter().filter(|word| word.starts_with('@') && *word != "@all") {
                if !seen.insert(word.clone()) {
                    continue;
                }
                let members = conf.groups.get(word);
                if members.is_none() {
                    let note = rule.remark(word, format!("the group '{}' has no members here", printable(word)));
                    self.remarks.note(note.hinted("if a program told gitolite who is in it (GROUPLIST_PGM), name them in [groups]"));
                }
                let mut names = vec![];
                for (member, _) in members.into_iter().flatten() {
                    if is_user(member) && !PROGRAMS.contains(&member.as_str()) {
                        names.push(member.clone());
                    } else {
                        let message = format!("'{}' in the group '{}' is no user: left out of it", printable(member), printable(word));
                        self.remarks.note(rule.remark(word, message));
                    }
                }
                self.drafts.groups.push((word[1..].to_owned(), names));
            }
        }
        self.drafts.users = self.known_users();
    }
}

/// Verbs, when, and for which repositories.
pub(super) type Outcome = (Vec<&'static str>, Option<String>, Vec<Repositories>);

pub(super) fn patterns(these: &[Repositories]) -> Vec<String> {
    let mut seen = HashSet::new();
    these.iter().map(|word| word.as_pattern().to_owned()).filter(|pattern| seen.insert(pattern.clone())).collect()
}

fn is_user(name: &str) -> bool {
    is_name(name) && !name.contains('/')
}

/// What `permission` lets do where creating wants `C`, and deleting `D`.
fn verbs(permission: &Permission, create_is_c: bool, delete_is_d: bool) -> Vec<&'static str> {
    let creates = if create_is_c { permission.creates } else { permission.writes };
    let deletes = if delete_is_d { permission.deletes } else { permission.plus };
    let writing = match (creates, permission.writes) {
        (true, true) => Some("write"),
        (true, false) => Some("create"),
        (false, true) => Some("update"),
        (false, false) => None,
    };
    [writing, permission.plus.then_some("rewind"), deletes.then_some("delete")].into_iter().flatten().collect()
}

/// Each way in which the options can stand that makes a difference to `permission`: does creating want `C`, deleting `D`, and when.
fn cases(class: &Class, permission: &Permission) -> Vec<(bool, bool, Option<String>)> {
    let ways = |holds: &Holds, matters: bool| match holds {
        Holds::Always => vec![(true, None)],
        Holds::Where(condition) if matters => vec![(true, Some(condition.clone())), (false, Some(format!("!{condition}")))],
        _ => vec![(false, None)],
    };
    let deletes = ways(&class.delete, permission.deletes != permission.plus);
    let both = ways(&class.create, permission.creates != permission.writes).into_iter().flat_map(|(create, when)| {
        deletes
            .iter()
            .map(move |(delete, also)| {
                let conditions: Vec<&str> = when.iter().chain(also).map(String::as_str).collect();
                (create, *delete, Some(conditions.join(" && ")).filter(|condition| !condition.is_empty()))
            })
            .collect::<Vec<_>>()
    });
    both.collect()
}

fn repositories_of(conf: &Conf, block: &super::conf::Block, remarks: &mut Remarks) -> Vec<Repositories> {
    let mut these = vec![];
    for word in &block.words {
        let members: Vec<&str> = match conf.groups.get(word) {
            Some(members) => members.iter().map(|(member, _)| member.as_str()).filter(|member| *member != "@all").collect(),
            None if word.starts_with('@') && word != "@all" => {
                remarks.note(block.line.remark(word, format!("the group '{}' has no members: no repository is meant", printable(word))));
                vec![]
            }
            None => vec![word],
        };
        for member in members {
            match Repositories::parse(member) {
                Ok(parsed) => these.push(parsed),
                Err(why) => remarks.fault(block.line.remark(word, format!("'{}' cannot be said here: {why}", printable(member)))),
            }
        }
    }
    these
}

fn parts_of(rule: &Rule, remarks: &mut Remarks) -> Parts {
    let (mut refs, mut every, mut virtual_refs, mut named) = (vec![], false, vec![], false);
    for refex in &rule.refexes {
        if refex.starts_with("VREF/") {
            virtual_refs.push(refex.clone());
            continue;
        }
        named = true;
        match refex::of_refs(refex) {
            Ok(Some(pattern)) => refs.push(pattern),
            Ok(None) => every = true,
            Err(why) => {
                let word = refex.strip_prefix("refs/heads/").unwrap_or(refex);
                remarks.fault(rule.remark(word, format!("'{}' cannot be said here: {why}", printable(word))));
            }
        }
    }
    if every {
        refs.clear();
    }
    Parts { refs: named.then_some(refs), virtual_refs }
}
