//! A `gitosis.conf`, or the configuration of gitosis-lite, into drafts.
//!
//! gitosis has sections, each with lines `key = words`:
//!
//! | section | key | meaning |
//! |---|---|---|
//! | `[group NAME]` | `members` | users, and `@group`; `@all` is everybody; everybody is in the group `all` |
//! | | `writable`, `writeable` | repositories that they may change in every way, and make; `*` and `?` stand for letters |
//! | | `readonly`, `readable` | those that they may read |
//! | `[repo NAME]` | `gitweb`, `daemon`, `owner`, `description` | for gitweb and git daemon |
//!
//! gitosis-lite, from which gitolite grew, has no sections: its lines are `@group = words`, `repo words` and `R`, `RW` or `RW+` with
//! refexes and users, as gitolite's.

use super::lines::{self, Line};
use super::{Draft, Drafts, Import, Original, Remark, Remarks, from_gitolite, keys, write};
use crate::access::printable;
use std::collections::{BTreeMap, BTreeSet};

const EVERYTHING: [&str; 5] = ["read", "write", "rewind", "delete", "create-repository"];

/// Translate a `gitosis.conf`, or the configuration of gitosis-lite.
///
/// # Errors
/// Everything that cannot be read.
pub fn from_gitosis_lite(original: &Original<'_>) -> Result<Import, Vec<Remark>> {
    let mut remarks = Remarks::default();
    let lines = lines::read(original.conf, &mut remarks);
    if !lines.first().is_some_and(|line| line.text.starts_with('[')) {
        return from_gitolite(original);
    }
    let sections = Sections::read(&lines, &mut remarks);
    let keys = keys::read(original.key_folder, keys::Naming::Gitosis, &mut remarks);
    let mut drafts = sections.drafts(&mut remarks);
    drafts.users.extend(keys.keys().cloned());
    if original.key_folder.is_none() && !drafts.users.is_empty() {
        let note = Remark::about(original.conf, "no folder of keys was named, so nobody has a key");
        remarks.note(note.hinted("packmule import gitosis-lite CONF KEYDIR"));
    }
    let title = format!("Users and rules of gitosis' {}.", printable(&original.conf.display().to_string()));
    remarks.import(write::toml(&title, &drafts, &keys))
}

/// A list of words with the line where it begins.
type Words = (Line, Vec<String>);

#[derive(Default)]
struct Sections {
    /// By group.
    members: BTreeMap<String, Vec<Words>>,
    /// Group, whether they may write, and what.
    rights: Vec<(String, bool, Words)>,
}

impl Sections {
    fn read(lines: &[Line], remarks: &mut Remarks) -> Self {
        let (mut sections, mut section, mut key): (Self, Vec<String>, Option<String>) = (Self::default(), vec![], None);
        for line in lines {
            if let Some(name) = line.text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
                (section, key) = (name.split_whitespace().map(str::to_owned).collect(), None);
                let known =
                    matches!(section.first().map(String::as_str), Some("group" | "repo")) && section.len() == 2 || section.len() == 1;
                if !known {
                    remarks.fault(line.remark("", "a section is [gitosis], [group NAME] or [repo NAME]"));
                }
                continue;
            }
            let value = match (line.text.split_once(" ="), &key) {
                (None, Some(_)) if line.is_indented() => line.text.as_str(),
                (Some((name, value)), _) => {
                    key = Some(name.to_owned());
                    value
                }
                _ => {
                    remarks.fault(line.remark("", "a line is 'key = words'"));
                    continue;
                }
            };
            let words = (line.clone(), value.split_whitespace().map(str::to_owned).collect());
            sections.line(&section, key.as_deref().unwrap_or_default(), words, remarks);
        }
        sections
    }

    fn line(&mut self, section: &[String], key: &str, words: Words, remarks: &mut Remarks) {
        let line = words.0.clone();
        let note: (&str, &str) = match (section, key) {
            ([kind, group], "members") if kind == "group" => return self.members.entry(group.clone()).or_default().push(words),
            ([kind, group], "writable" | "writeable") if kind == "group" => return self.rights.push((group.clone(), true, words)),
            ([kind, group], "readonly" | "readable") if kind == "group" => return self.rights.push((group.clone(), false, words)),
            ([kind, _], _) if kind == "group" && key.starts_with("map ") => {
                return remarks.fault(
                    line.remark("", "a repository has one name here").hinted("name it as it is called on disk, and tell its users"),
                );
            }
            ([kind, ..], "repositories") if kind == "group" => {
                return remarks
                    .fault(line.remark("", "there is one folder of repositories").hinted("serve each folder by a server of its own"));
            }
            (_, "repositories") => ("the folder of repositories is named when the server starts", "packmule serve --config FILE FOLDER"),
            (_, "gitweb" | "description" | "owner") => (
                "this is for gitweb, which packmule does not feed",
                "write it to the repository's own configuration: git config gitweb.owner, gitweb.description",
            ),
            (_, "daemon") if words.1.iter().any(|word| word != "no") => {
                ("git:// is not served", "to let anybody read without logging in, write a rule with users = [\"anonymous\"]")
            }
            (_, "daemon") => return,
            (_, "loglevel") => ("what is logged is said otherwise", "log = \"info\" in config.toml"),
            _ => ("this key means nothing here", "what it did has no equal"),
        };
        remarks.note(line.remark("", note.0).hinted(note.1));
    }

    /// Everybody in a group, through others too; `None`: everybody there is.
    fn inside(&self, group: &str) -> Option<BTreeSet<String>> {
        let (mut users, mut seen, mut next) = (BTreeSet::new(), BTreeSet::from([group]), vec![group]);
        while let Some(group) = next.pop() {
            if group == "all" {
                return None;
            }
            for member in self.members.get(group).into_iter().flatten().flat_map(|(_, words)| words) {
                match member.strip_prefix('@') {
                    Some(inner) if seen.insert(inner) => next.push(inner),
                    Some(_) => {}
                    None => {
                        users.insert(member.clone());
                    }
                }
            }
        }
        Some(users)
    }

    fn drafts(&self, remarks: &mut Remarks) -> Drafts {
        let mut drafts = Drafts::default();
        let is_user = |word: &str| super::names::is_name(word) && !word.contains('/') && word != "anonymous";
        for (line, words) in self.members.values().flatten() {
            for word in words.iter().filter(|word| !is_user(word.strip_prefix('@').unwrap_or(word))) {
                remarks.fault(line.remark(word, format!("'{}' is no name of a user", printable(word))));
            }
        }
        for (group, may_write, (line, words)) in &self.rights {
            let repositories: Vec<String> = words.iter().map(|word| word.strip_suffix(".git").unwrap_or(word).to_owned()).collect();
            for word in &repositories {
                let is_plain = |letter: char| letter.is_ascii_alphanumeric() || "-._@/+*?[]".contains(letter);
                if word.starts_with('/') || !word.chars().all(is_plain) {
                    remarks.fault(line.remark(word, format!("'{}' is no name of a repository", printable(word))));
                }
            }
            if !super::names::is_name(group) || group.contains('/') {
                remarks.fault(line.remark("", format!("'{}' is no name of a group", printable(group))));
            }
            let users = match self.inside(group) {
                None => "*".to_owned(),
                Some(users) if !drafts.groups.iter().any(|(name, _)| name == group) => {
                    drafts.users.extend(users.iter().cloned());
                    drafts.groups.push((group.clone(), users.into_iter().collect()));
                    format!("@{group}")
                }
                Some(_) => format!("@{group}"),
            };
            if repositories.is_empty() {
                continue;
            }
            let verbs = if *may_write { EVERYTHING.to_vec() } else { vec!["read"] };
            drafts.rules.push(Draft { origin: line.origin(), users: vec![users], repositories, verbs, allows: true, ..Draft::default() });
        }
        for users in self.members.keys().filter_map(|group| self.inside(group)) {
            drafts.users.extend(users);
        }
        drafts
    }
}
