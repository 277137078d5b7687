//! Users, groups and rules as written into a book that answers: whose key is this, and which rule decides?
//!
//! All faults are found at once. Looking up a key is one look into a table. Of many rules a command meets only those for
//! its user and repository: they are sorted out once, and the refs of a push are then held against these few.

use super::authority::Authority;
use super::pattern::Pattern;
use super::verb::{Verb, Verbs};
use super::written::{Written, WrittenRule, WrittenUser};
use crate::access::{PasswordHash, PublicKey};
use bstr::BStr;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::hash::{BuildHasher as _, RandomState};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use toml::Spanned;

/// Who shows nothing: a user without keys, who is there when rules or groups name them.
pub(crate) const ANONYMOUS: &str = "anonymous";

/// Something wrong with what was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// What.
    pub message: String,
    /// Bytes of the text at fault; none where it is about a file.
    pub span: Option<Range<usize>>,
    /// What to do.
    pub hint: Option<String>,
}

/// Who may do what.
#[derive(Debug, Default)]
pub struct RuleBook {
    /// Every key with its user's number.
    keys: HashMap<PublicKey, usize>,
    pub(super) users: Vec<User>,
    names: HashMap<String, usize>,
    rules: Vec<Rule>,
    /// Keys that sign certificates, with the number of whose they are.
    pub(super) authority_keys: HashMap<PublicKey, usize>,
    pub(super) authorities: Vec<Authority>,
    /// Who is meant by a name in certificates.
    pub(super) principals: HashMap<String, Vec<usize>>,
    /// Users with passwords.
    passwords: Vec<usize>,
    /// Chooses stand-ins for users without; different in every book.
    stand_ins: RandomState,
}

#[derive(Debug, Default)]
pub(super) struct User {
    pub(super) name: String,
    is_admin: bool,
    /// Groups that it is in, through others too.
    groups: HashSet<String>,
    password: Option<Arc<PasswordHash>>,
}

/// Whom a rule is about.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) enum Who {
    Everybody,
    Group(String),
    User(String),
}

impl Who {
    /// Whoever shows nothing is not everybody who has logged in.
    pub(super) fn means(&self, user: &User) -> bool {
        match self {
            Self::Everybody => user.name != ANONYMOUS,
            Self::Group(name) => user.groups.contains(name),
            Self::User(name) => user.name == *name,
        }
    }
}

#[derive(Debug)]
struct Rule {
    place: String,
    who: Vec<Who>,
    repositories: Vec<Pattern>,
    /// Empty: all.
    refs: Vec<Pattern>,
    verbs: Verbs,
    allows: bool,
}

impl Rule {
    fn is_about(&self, user: &User) -> bool {
        self.who.iter().any(|who| who.means(user))
    }

    fn has_repository(&self, name: &BStr) -> bool {
        self.repositories.iter().any(|pattern| pattern.matches(name))
    }

    fn has_ref(&self, name: &BStr) -> bool {
        self.refs.is_empty() || self.refs.iter().any(|pattern| pattern.matches(name))
    }

    fn has_every_ref(&self) -> bool {
        self.refs.is_empty() || self.refs.iter().any(Pattern::is_every_ref)
    }
}

/// A yes or no, and the rule that decided: none for what no rule is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Judgement {
    /// The answer.
    pub is_allowed: bool,
    /// Such as `rule 2 (config.toml:29)`.
    pub rule: Option<String>,
}

impl RuleBook {
    /// Put together what was `written` in the text `source` of `file`, reading the files of keys that it names.
    ///
    /// # Errors
    /// Everything that is wrong, in no order.
    pub fn compile(written: &Written<'_>, file: &str, source: &str) -> Result<Self, Vec<Fault>> {
        let mut compiler = Compiler { book: Self::default(), faults: vec![] };
        compiler.users(written);
        compiler.anonymous(written);
        compiler.groups(written);
        compiler.authorities(written);
        let (mut line, mut counted) = (1, 0);
        for (at, rule) in written.rules.iter().enumerate() {
            let begins = rule.span().start.max(counted);
            line += source.get(counted..begins).map_or(0, |between| between.matches('\n').count());
            counted = begins;
            let place = format!("rule {} ({file}:{line})", at + 1);
            if let Some(rule) = compiler.rule(rule, place, written) {
                compiler.book.rules.push(rule);
            }
        }
        if compiler.faults.is_empty() { Ok(compiler.book) } else { Err(compiler.faults) }
    }

    /// Let whoever holds `key` do everything, under the name `name`. Where a user of the rules has that name, or the key, no
    /// other key of theirs counts for more: with this one they are `name (admin)`, which no user of the rules can be.
    pub fn add_admin(&mut self, key: &PublicKey, name: &str) {
        // Nobody shows a key to be anonymous: under that name whoever shows nothing would do everything.
        let is_taken = name == ANONYMOUS || self.names.get(name).is_some_and(|user| !self.users[*user].is_admin);
        let user = self.add_user(&if is_taken { format!("{name} (admin)") } else { name.to_owned() });
        self.users[user].is_admin = true;
        self.keys.insert(key.clone(), user);
    }

    /// The name of the user who holds `key`.
    pub fn owner(&self, key: &PublicKey) -> Option<&str> {
        self.keys.get(key).map(|user| self.users[*user].name.as_str())
    }

    /// The hash to compare a password with, and the user if it is theirs. For names without a password it is that of somebody
    /// else, chosen by the name: the work is the same, and the answer is no. None where nobody has one.
    pub(super) fn password_of(&self, name: &str) -> Option<(Arc<PasswordHash>, Option<&str>)> {
        let known = self.names.get(name).map(|user| &self.users[*user]);
        if let Some((user, hash)) = known.and_then(|user| user.password.as_ref().map(|hash| (user, hash))) {
            return Some((hash.clone(), Some(&user.name)));
        }
        let many = u64::try_from(self.passwords.len()).ok().filter(|many| *many > 0)?;
        let chosen = usize::try_from(self.stand_ins.hash_one(name) % many).ok()?;
        self.users[self.passwords[chosen]].password.clone().map(|hash| (hash, None))
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
        user != ANONYMOUS && self.names.get(user).is_some_and(|user| self.users[*user].is_admin)
    }

    /// How many keys, users and rules there are.
    pub fn counts(&self) -> (usize, usize, usize) {
        (self.keys.len(), self.users.len(), self.rules.len())
    }

    /// The rules about `user`, by their numbers; none for a user who is not there.
    pub(super) fn about(&self, user: &str) -> Vec<usize> {
        let Some(user) = self.names.get(user).map(|user| &self.users[*user]) else { return vec![] };
        (0..self.rules.len()).filter(|at| self.rules[*at].is_about(user)).collect()
    }

    /// Those of the rules `about` somebody that are about the repository of this name, too.
    pub(super) fn applying(&self, about: &[usize], repository: &str) -> Vec<usize> {
        about.iter().copied().filter(|at| self.rules[*at].has_repository(repository.into())).collect()
    }

    /// The first of the rules `applying` that is about `verb` on the ref `name` decides.
    pub(super) fn judge(&self, applying: &[usize], verb: Verb, name: &BStr) -> Judgement {
        let rules = applying.iter().map(|at| &self.rules[*at]);
        self.decided_by(rules.filter(|rule| rule.verbs.contains(verb)).find(|rule| !verb.is_about_refs() || rule.has_ref(name)))
    }

    /// Whether there may be a ref on which `verb` is allowed; a denial counts when it is about every ref.
    pub(super) fn judge_some(&self, applying: &[usize], verb: Verb) -> Judgement {
        let rules = applying.iter().map(|at| &self.rules[*at]);
        self.decided_by(
            rules.filter(|rule| rule.verbs.contains(verb)).find(|rule| rule.allows || !verb.is_about_refs() || rule.has_every_ref()),
        )
    }

    fn decided_by(&self, rule: Option<&Rule>) -> Judgement {
        Judgement { is_allowed: rule.is_some_and(|rule| rule.allows), rule: rule.map(|rule| rule.place.clone()) }
    }

    fn add_user(&mut self, name: &str) -> usize {
        *self.names.entry(name.to_owned()).or_insert_with(|| {
            self.users.push(User { name: name.to_owned(), ..User::default() });
            self.users.len() - 1
        })
    }
}

pub(super) struct Compiler {
    pub(super) book: RuleBook,
    faults: Vec<Fault>,
}

impl Compiler {
    pub(super) fn fault(&mut self, message: impl Into<String>, span: Option<Range<usize>>, hint: Option<&str>) {
        self.faults.push(Fault { message: message.into(), span, hint: hint.map(str::to_owned) });
    }

    fn users(&mut self, written: &Written<'_>) {
        for (name, user) in written.users {
            if let Err(why) = check_name(name.get_ref()) {
                self.fault(why, Some(name.span()), None);
            }
            let number = self.book.add_user(name.get_ref());
            for (key, span) in self.read_keys(&user.keys, &user.key_files) {
                self.key(key, number, Some(span));
            }
            self.password(user, number);
            for principal in &user.principals {
                self.book.principals.entry(principal.get_ref().clone()).or_default().push(number);
            }
        }
        if !written.key_folder.as_os_str().is_empty() {
            self.key_folder(written.key_folder);
        }
    }

    fn key(&mut self, key: PublicKey, user: usize, span: Option<Range<usize>>) {
        let fingerprint = key.fingerprint();
        let owner = *self.book.keys.entry(key).or_insert(user);
        if owner != user {
            let (name, other) = (&self.book.users[user].name, &self.book.users[owner].name);
            let message = format!("the key {fingerprint} of '{name}' is that of '{other}' too");
            self.fault(message, span, Some("a key must tell who somebody is: take it from one of them"));
        }
    }

    fn password(&mut self, user: &WrittenUser, number: usize) {
        let Some(written) = &user.password else { return };
        match PasswordHash::parse(written.get_ref()) {
            Ok(hash) => {
                self.book.users[number].password = Some(Arc::new(hash));
                self.book.passwords.push(number);
            }
            Err(why) => self.fault(why, Some(written.span()), Some("htpasswd -nB NAME makes one")),
        }
    }

    /// Keys as they are written, and those of files, each with its place.
    pub(super) fn read_keys(&mut self, keys: &[Spanned<String>], files: &[Spanned<PathBuf>]) -> Vec<(PublicKey, Range<usize>)> {
        let mut read = vec![];
        for key in keys {
            match PublicKey::from_openssh(key.get_ref()) {
                Ok(known) => read.push((known, key.span())),
                Err(err) => self.fault(err.to_string(), Some(key.span()), Some("one line of a .pub file is wanted")),
            }
        }
        for file in files {
            read.extend(self.read_key_file(file.get_ref(), Some(file.span())).into_iter().map(|key| (key, file.span())));
        }
        read
    }

    fn read_key_file(&mut self, file: &Path, span: Option<Range<usize>>) -> Vec<PublicKey> {
        let text = match std::fs::read_to_string(file) {
            Ok(text) => text,
            Err(err) => {
                self.fault(format!("{}: {err}", file.display()), span, None);
                return vec![];
            }
        };
        let mut keys = vec![];
        for line in text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')) {
            match PublicKey::from_openssh(line) {
                Ok(key) => keys.push(key),
                Err(err) => self.fault(format!("{}: {err}", file.display()), span.clone(), None),
            }
        }
        keys
    }

    fn key_folder(&mut self, folder: &Path) {
        let entries = match std::fs::read_dir(folder).and_then(|entries| entries.collect::<Result<Vec<_>, _>>()) {
            Ok(entries) => entries,
            Err(err) => return self.fault(format!("key_folder {}: {err}", folder.display()), None, None),
        };
        let mut files: Vec<_> = entries.iter().map(std::fs::DirEntry::path).collect();
        files.sort();
        for file in files {
            let Some(name) = file.file_name().and_then(|name| name.to_str()).and_then(|name| name.strip_suffix(".pub")) else { continue };
            if name.ends_with("-cert") {
                continue; // ssh-keygen puts certificates beside the keys
            }
            match check_name(name) {
                Ok(()) => {
                    let user = self.book.add_user(name);
                    self.read_key_file(&file, None).into_iter().for_each(|key| self.key(key, user, None));
                }
                Err(why) => self.fault(format!("{}: {why}", file.display()), None, None),
            }
        }
    }

    /// Somebody who shows nothing is somebody where they are named.
    fn anonymous(&mut self, written: &Written<'_>) {
        let in_rules = written.rules.iter().flat_map(|rule| &rule.get_ref().users);
        if in_rules.chain(written.groups.values().flatten()).any(|word| word.get_ref() == ANONYMOUS) {
            self.book.add_user(ANONYMOUS);
        }
    }

    /// Tell every user all groups that it is in.
    fn groups(&mut self, written: &Written<'_>) {
        let groups: BTreeMap<&str, &Vec<Spanned<String>>> = written.groups.iter().map(|(name, of)| (name.get_ref().as_str(), of)).collect();
        for (name, members) in written.groups {
            if let Err(why) = check_name(name.get_ref()) {
                self.fault(why, Some(name.span()), None);
            }
            for member in members {
                self.subject(member, written);
            }
            // Everything that is inside, however deep; each group once.
            let (mut inside, mut next) = (HashSet::new(), vec![name.get_ref().as_str()]);
            while let Some(group) = next.pop() {
                for member in groups.get(group).into_iter().flat_map(|members| members.iter()) {
                    match member.get_ref().strip_prefix('@') {
                        Some(inner) if inner == name.get_ref() => {
                            self.fault(format!("the group '{inner}' holds itself"), Some(member.span()), None);
                        }
                        Some(inner) if inside.insert(inner) => next.push(inner),
                        Some(_) => {}
                        None => {
                            if let Some(user) = self.book.names.get(member.get_ref()) {
                                self.book.users[*user].groups.insert(name.get_ref().clone());
                            }
                        }
                    }
                }
            }
        }
    }

    /// A user or a group that is there.
    pub(super) fn subject(&mut self, word: &Spanned<String>, written: &Written<'_>) -> Option<Who> {
        let text = word.get_ref();
        if let Some(group) = text.strip_prefix('@') {
            if written.groups.keys().any(|name| name.get_ref() == group) {
                return Some(Who::Group(group.to_owned()));
            }
            self.fault(format!("there is no group '{group}'"), Some(word.span()), Some("[groups] names them"));
        } else if self.book.knows(text) {
            return Some(Who::User(text.clone()));
        } else {
            let hint = if written.groups.keys().any(|name| name.get_ref() == text) {
                "a group is written @name"
            } else {
                "[users.NAME] makes one"
            };
            self.fault(format!("there is no user '{text}'"), Some(word.span()), Some(hint));
        }
        None
    }

    fn rule(&mut self, spanned: &Spanned<WrittenRule>, place: String, written: &Written<'_>) -> Option<Rule> {
        let (rule, faults) = (spanned.get_ref(), self.faults.len());
        let mut who = vec![];
        for word in &rule.users {
            who.extend(if word.get_ref() == "*" { Some(Who::Everybody) } else { self.subject(word, written) });
        }
        let repositories = self.patterns(&rule.repositories, Pattern::of_repositories);
        let refs = self.patterns(&rule.refs, Pattern::of_refs);
        let (allow, deny) = (self.verbs(&rule.allow), self.verbs(&rule.deny));
        let head = spanned.span().start..spanned.span().start + "[[rule]]".len();
        for (is_missing, what) in [
            (rule.users.is_empty(), "users: whom is it about? [\"*\"] is everybody who has logged in"),
            (rule.repositories.is_empty(), "repositories: which? [\"*\"] is every one"),
            (rule.allow.is_empty() && rule.deny.is_empty(), "allow or deny: what? [\"read\", \"write\"] for example"),
        ] {
            if is_missing {
                self.fault(format!("this rule lacks {what}"), Some(head.clone()), None);
            }
        }
        if !rule.allow.is_empty() && !rule.deny.is_empty() {
            self.fault(
                "a rule either allows or denies",
                Some(rule.deny[0].span()),
                Some("make two rules of it; the first that matches decides"),
            );
        }
        if rule.users.iter().any(|word| word.get_ref() == ANONYMOUS) && allow.has_writing() {
            let message = format!("'{ANONYMOUS}' may read and nothing else");
            self.fault(message, Some(rule.allow[0].span()), Some("who pushes says who they are"));
        }
        let verbs = allow.and(deny);
        if !rule.refs.is_empty() && !verbs.has_refs() && self.faults.len() == faults {
            self.fault("create-repository and admin are not about refs", Some(rule.refs[0].span()), Some("leave refs out"));
        }
        (self.faults.len() == faults).then(|| Rule { place, who, repositories, refs, verbs, allows: rule.deny.is_empty() })
    }

    fn patterns(&mut self, words: &[Spanned<String>], parse: fn(&str) -> Result<Pattern, String>) -> Vec<Pattern> {
        let mut patterns = vec![];
        for word in words {
            match parse(word.get_ref()) {
                Ok(pattern) => patterns.push(pattern),
                Err(why) => self.fault(format!("'{}': {why}", word.get_ref()), Some(word.span()), None),
            }
        }
        patterns
    }

    fn verbs(&mut self, words: &[Spanned<String>]) -> Verbs {
        let mut verbs = Verbs::default();
        for word in words {
            match Verbs::parse(word.get_ref()) {
                Some(more) => verbs = verbs.and(more),
                None => {
                    let known = Verb::ALL.map(Verb::as_str).join(", ");
                    self.fault(
                        format!("'{}' is nothing that one may do", word.get_ref()),
                        Some(word.span()),
                        Some(&format!("these are: {known}, and write for create and update")),
                    );
                }
            }
        }
        verbs
    }
}

/// A name that can stand in a rule, in a log and in a file's name.
fn check_name(name: &str) -> Result<(), String> {
    if name == ANONYMOUS {
        return Err(format!("'{ANONYMOUS}' is who shows nothing, and has nothing to show: name it in rules"));
    }
    let is_plain = |letter: char| letter.is_alphanumeric() || "._-+@".contains(letter);
    if name.is_empty() || !name.chars().all(is_plain) || name.starts_with(['@', '-', '.']) {
        return Err(format!(
            "'{}' is no name: letters, digits and . _ - + @ are taken, a letter or digit first",
            super::super::printable(name)
        ));
    }
    Ok(())
}
