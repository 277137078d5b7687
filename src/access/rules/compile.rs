//! Users, groups and rules as written into a [`RuleBook`], or into every fault at once.

use super::book::{ANONYMOUS, Rule, RuleBook};
use super::condition::Condition;
use super::limit::Limit;
use super::pattern::Pattern;
use super::scope::{Scope, Who};
use super::verb::{Verb, Verbs};
use super::written::{Written, WrittenLimit, WrittenRule, WrittenUser};
use crate::access::{PasswordHash, PublicKey, printable};
use std::collections::{BTreeMap, HashSet};
use std::ops::Range;
use std::path::{Path, PathBuf};
use toml::Spanned;

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
        let mut lines = Lines { source, counted: 0, line: 1 };
        for (at, rule) in written.rules.iter().enumerate() {
            let place = format!("rule {} ({file}:{})", at + 1, lines.line_of(rule.span().start));
            if let Some((rule, scope)) = compiler.rule(rule, place) {
                compiler.book.rules.push(rule);
                compiler.book.scopes.push(scope);
            }
        }
        let mut lines = Lines { source, counted: 0, line: 1 };
        for (at, limit) in written.limits.iter().enumerate() {
            let place = format!("limit {} ({file}:{})", at + 1, lines.line_of(limit.span().start));
            if let Some((limit, scope)) = compiler.limit(limit, place) {
                compiler.book.limits.push(limit);
                compiler.book.limit_scopes.push(scope);
            }
        }
        if compiler.faults.is_empty() { Ok(compiler.book) } else { Err(compiler.faults) }
    }
}

/// Counts lines from place to place, which come in order.
struct Lines<'a> {
    source: &'a str,
    counted: usize,
    line: usize,
}

impl Lines<'_> {
    fn line_of(&mut self, at: usize) -> usize {
        let at = at.max(self.counted);
        self.line += self.source.get(self.counted..at).map_or(0, |between| between.matches('\n').count());
        self.counted = at;
        self.line
    }
}

/// A book that is being written.
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

    fn key(&mut self, key: PublicKey, user: u32, span: Option<Range<usize>>) {
        let owner = *self.book.keys.entry(key.clone()).or_insert(user);
        if owner != user {
            let fingerprint = key.fingerprint();
            let (name, other) = (&self.book.users[user as usize].name, &self.book.users[owner as usize].name);
            let message = format!("the key {fingerprint} of '{name}' is that of '{other}' too");
            self.fault(message, span, Some("a key must tell who somebody is: take it from one of them"));
        }
    }

    fn password(&mut self, user: &WrittenUser, number: u32) {
        let Some(written) = &user.password else { return };
        match PasswordHash::parse(written.get_ref()) {
            Ok(hash) => self.book.set_password(number, hash),
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
        for (name, number) in written.groups.keys().zip(0..) {
            if let Err(why) = check_name(name.get_ref()) {
                self.fault(why, Some(name.span()), None);
            }
            self.book.groups.insert(name.get_ref().clone(), number);
        }
        let groups: BTreeMap<&str, &Vec<Spanned<String>>> = written.groups.iter().map(|(name, of)| (name.get_ref().as_str(), of)).collect();
        for ((name, members), number) in written.groups.iter().zip(0..) {
            for member in members {
                self.subject(member);
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
                            if let Some(user) = self.book.number_of(member.get_ref()) {
                                self.book.users[user as usize].join(number);
                            }
                        }
                    }
                }
            }
        }
    }

    /// A user or a group that is there.
    pub(super) fn subject(&mut self, word: &Spanned<String>) -> Option<Who> {
        let text = word.get_ref();
        if let Some(group) = text.strip_prefix('@') {
            if let Some(number) = self.book.groups.get(group) {
                return Some(Who::Group(*number));
            }
            self.fault(format!("there is no group '{group}'"), Some(word.span()), Some("[groups] names them"));
        } else if let Some(user) = self.book.number_of(text) {
            return Some(Who::User(user));
        } else {
            let hint = match text.strip_prefix('<') {
                Some(_) => "what a repository's creator decides stands in the users of rules, not here",
                None if self.book.groups.contains_key(text) => "a group is written @name",
                None => "[users.NAME] makes one",
            };
            self.fault(format!("there is no user '{text}'"), Some(word.span()), Some(hint));
        }
        None
    }

    /// Whom a rule is about: users, groups, everybody, or whom each repository's own file names.
    fn who(&mut self, words: &[Spanned<String>]) -> Vec<Who> {
        let mut who = vec![];
        for word in words {
            let role = word.get_ref().strip_prefix('<').and_then(|word| word.strip_suffix('>'));
            who.extend(match role {
                _ if word.get_ref() == "*" => Some(Who::Everybody),
                Some("creator") => Some(Who::Creator),
                Some(role) if role != "user" && is_role(role) => Some(Who::Role(role.to_lowercase())),
                Some(_) => {
                    let hint = "<creator> is who made the repository, <readers>, <writers> or another name whom they gave that role";
                    self.fault(format!("'{}' names no role", word.get_ref()), Some(word.span()), Some(hint));
                    None
                }
                None => self.subject(word),
            });
        }
        who
    }

    fn rule(&mut self, spanned: &Spanned<WrittenRule>, place: String) -> Option<(Rule, Scope)> {
        let (rule, faults) = (spanned.get_ref(), self.faults.len());
        let who = self.who(&rule.users);
        let repositories = self.patterns(&rule.repositories, Pattern::of_repositories);
        let refs = self.patterns(&rule.refs, Pattern::of_refs);
        let paths = self.patterns(&rule.paths, Pattern::of_paths);
        let when = self.condition(rule.when.as_ref());
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
        if !rule.paths.is_empty() && !verbs.are_only(&Verbs::WRITING) && self.faults.len() == faults {
            let hint = Some("write, create, update, rewind and delete can be allowed or denied");
            self.fault("paths are about what a push changes", Some(rule.paths[0].span()), hint);
        }
        let is_right = self.faults.len() == faults;
        is_right.then(|| (Rule { place, paths, verbs, allows: rule.deny.is_empty() }, Scope { who, repositories, refs, when }))
    }

    fn limit(&mut self, spanned: &Spanned<WrittenLimit>, place: String) -> Option<(Limit, Scope)> {
        let (limit, faults) = (spanned.get_ref(), self.faults.len());
        let WrittenLimit { paths_max, new_paths_max, file_bytes_max, new_binary_bytes_max, .. } = *limit;
        let who = self.who(&limit.users);
        let repositories = self.patterns(&limit.repositories, Pattern::of_repositories);
        let refs = self.patterns(&limit.refs, Pattern::of_refs);
        let when = self.condition(limit.when.as_ref());
        let author_emails = self.patterns(&limit.author_emails, Pattern::of_words);
        let no_merges = limit.merges == Some(false);
        let sizes = [paths_max, new_paths_max, file_bytes_max, new_binary_bytes_max];
        let head = spanned.span().start..spanned.span().start + "[[limit]]".len();
        for (is_missing, what) in [
            (limit.users.is_empty(), "users: whom is it about? [\"*\"] is everybody who has logged in"),
            (limit.repositories.is_empty(), "repositories: which? [\"*\"] is every one"),
            (
                sizes.iter().all(Option::is_none) && limit.merges.is_none() && limit.author_emails.is_empty(),
                "paths_max, new_paths_max, file_bytes_max, new_binary_bytes_max, merges or author_emails: what may not be?",
            ),
        ] {
            if is_missing {
                self.fault(format!("this limit lacks {what}"), Some(head.clone()), None);
            }
        }
        let limit = Limit { place, paths_max, new_paths_max, file_bytes_max, new_binary_bytes_max, no_merges, author_emails };
        (self.faults.len() == faults).then(|| (limit, Scope { who, repositories, refs, when }))
    }

    fn condition(&mut self, text: Option<&Spanned<String>>) -> Option<Condition> {
        let text = text?;
        self.book.has_conditions = true;
        match Condition::read(text.get_ref()) {
            Ok(condition) => Some(condition),
            Err(why) => {
                self.fault(format!("no condition: {why}"), Some(text.span()), None);
                None
            }
        }
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
        return Err(format!("'{}' is no name: letters, digits and . _ - + @ are taken, a letter or digit first", printable(name)));
    }
    Ok(())
}

/// A word for a role.
fn is_role(word: &str) -> bool {
    word.starts_with(char::is_alphabetic) && word.chars().all(|letter| letter.is_alphanumeric() || "_-".contains(letter))
}
