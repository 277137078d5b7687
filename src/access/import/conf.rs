//! Lines of gitolite's configuration into groups, rules and options, in order.
//!
//! | line | meaning |
//! |---|---|
//! | `@name = word ...` | adds to a group of users, of repositories or of refs; a group on the right stands for what it holds by then |
//! | `repo word ...` | what follows is about these |
//! | `PERMISSION [refex ...] = user ...` | a rule; `PERMISSION` is `-`, `C`, `R`, or `RW` with `+`, `C`, `D`, `M` |
//! | `option name = value`, `config key = value` | of the repositories above; the last one counts |
//! | `owner`, `desc`, `category` | the same for gitweb |
//!
//! Of groups of users and repositories a rule means what they hold in the end, of groups of refs what they hold by then. What gitolite
//! refuses is a fault; what it passes over with a warning is a note.

use super::lines::{Line, MASTER};
use super::names::{is_name, is_pattern};
use super::{Remark, Remarks};
use crate::access::printable;
use std::collections::{BTreeMap, HashSet};
use std::rc::Rc;

/// Words that one refex, user or repository may be spread to.
const EXPANDED_MAX: usize = 100_000;

/// What a rule gives.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Permission {
    /// `-`
    pub(super) denies: bool,
    /// `C` alone: make the repository.
    pub(super) makes: bool,
    pub(super) reads: bool,
    pub(super) writes: bool,
    pub(super) plus: bool,
    pub(super) creates: bool,
    pub(super) deletes: bool,
    pub(super) merges: bool,
}

impl Permission {
    pub(super) fn parse(word: &str) -> Option<Self> {
        let none = Self::default();
        match word {
            "-" => return Some(Self { denies: true, ..none }),
            "C" => return Some(Self { makes: true, ..none }),
            "R" => return Some(Self { reads: true, ..none }),
            _ => {}
        }
        let rest = word.strip_prefix("RW")?;
        let (rest, plus) = rest.strip_prefix('+').map_or((rest, false), |rest| (rest, true));
        let (rest, merges) = rest.strip_suffix('M').map_or((rest, false), |rest| (rest, true));
        let (creates, deletes) = match rest {
            "" => (false, false),
            "C" => (true, false),
            "D" => (false, true),
            "CD" | "DC" => (true, true),
            _ => return None,
        };
        Some(Self { reads: true, writes: true, plus, creates, deletes, merges, ..none })
    }
}

/// One line of a rule.
#[derive(Debug)]
pub(super) struct Rule {
    pub(super) line: Line,
    pub(super) permission: Permission,
    /// Beginning with `refs/` or `VREF/`.
    pub(super) refexes: Vec<String>,
    pub(super) users: Vec<String>,
    pub(super) block: Rc<Block>,
}

/// A `repo` line.
#[derive(Debug)]
pub(super) struct Block {
    pub(super) number: usize,
    pub(super) line: Line,
    pub(super) words: Vec<String>,
}

/// An `option` for the repositories of a block.
#[derive(Debug)]
pub(super) struct Setting {
    pub(super) name: String,
    pub(super) value: String,
    pub(super) block: Rc<Block>,
}

/// All of it.
#[derive(Debug, Default)]
pub(super) struct Conf {
    /// Members in order, with the part that named each first.
    pub(super) groups: BTreeMap<String, Vec<(String, String)>>,
    pub(super) rules: Vec<Rule>,
    pub(super) settings: Vec<Setting>,
}

impl Conf {
    /// # Errors
    /// None is returned: `remarks` has them.
    pub(super) fn parse(lines: &[Line], roles: &[String], remarks: &mut Remarks) -> Self {
        let mut parser =
            Parser { conf: Self::default(), block: None, blocks: 0, members: HashSet::new(), said: HashSet::new(), roles, remarks };
        for line in lines {
            parser.line(line);
        }
        parser.conf
    }
}

struct Parser<'a> {
    conf: Conf,
    block: Option<Rc<Block>>,
    blocks: usize,
    /// Groups with each of their members.
    members: HashSet<(String, String)>,
    /// Letters that a rule of this block had: each says once that it means something.
    said: HashSet<&'static str>,
    roles: &'a [String],
    remarks: &'a mut Remarks,
}

impl Parser<'_> {
    fn line(&mut self, line: &Line) {
        let (left, right) = line.text.split_once(" = ").unwrap_or((&line.text, ""));
        let words: Vec<&str> = left.split(' ').collect();
        match (words.as_slice(), right) {
            (["repo", names @ ..], "") if !names.is_empty() && !line.text.contains('=') => self.block(line, names),
            ([group], right) if group.starts_with('@') && !right.is_empty() => self.group(line, group, right),
            (["option", name], value) if !value.is_empty() => self.setting(line, name, value),
            (["config", key], _) if line.text.contains('=') => self.git_setting(line, key, right),
            ([key @ ("owner" | "desc" | "category")], value) if !value.is_empty() => {
                let note = line.remark("", format!("'{key}' is for gitweb, which packmule does not feed"));
                self.remarks.note(note.hinted(
                    "write it to the repository's own configuration: git config gitweb.owner, gitweb.description, gitweb.category",
                ));
            }
            ([permission, refexes @ ..], users) if !users.is_empty() && Permission::parse(permission).is_some() => {
                if let Some(permission) = Permission::parse(permission) {
                    self.rule(line, permission, refexes, users);
                }
            }
            (["macro" | "end", ..], _) => {
                let fault = line.remark("", "macros are not spread here: what they stand for would be missing");
                self.remarks.fault(fault.hinted("write out what the macro makes, and import that"));
            }
            _ => self.remarks.note(line.remark("", "this is no line of gitolite's: it passes over it, and so does this")),
        }
    }

    fn fault(&mut self, line: &Line, word: &str, what: &str) {
        self.remarks.fault(line.remark(word, format!("'{}' {what}", printable(word))));
    }

    fn group(&mut self, line: &Line, name: &str, members: &str) {
        if !is_name(&name[1..]) {
            return self.fault(line, name, "is no name for a group: letters, digits and - . _ @ / + are taken");
        }
        let members: Vec<&str> = members.split(' ').collect();
        for member in &members {
            if !is_pattern(member.strip_prefix('@').unwrap_or(member)) {
                self.fault(line, member, "can be no user and no repository");
            }
        }
        let members = self.spread(line, &members);
        let group = self.conf.groups.entry(name.to_owned()).or_default();
        for member in members {
            if self.members.insert((name.to_owned(), member.clone())) {
                group.push((member, line.part.clone()));
            }
        }
    }

    /// Groups among `words` stand for what they hold now.
    fn spread(&mut self, line: &Line, words: &[&str]) -> Vec<String> {
        let mut spread = vec![];
        for word in words {
            if !word.starts_with('@') || *word == "@all" {
                spread.push((*word).to_owned());
            } else if let Some(group) = self.conf.groups.get(*word) {
                spread.extend(group.iter().map(|(member, _)| member.clone()));
            } else {
                self.remarks.fault(line.remark(word, format!("there is no group '{}' yet", printable(word))));
            }
            if spread.len() > EXPANDED_MAX {
                self.remarks.fault(line.remark(word, format!("these are more than {EXPANDED_MAX} names")));
                return vec![];
            }
        }
        spread
    }

    fn block(&mut self, line: &Line, names: &[&str]) {
        let mut words = vec![];
        for name in names {
            let bare = name.strip_suffix(".git").unwrap_or(name);
            if !is_pattern(bare.strip_prefix('@').unwrap_or(bare)) {
                self.fault(line, name, "is no name or expression of repositories");
            } else if self.may_set(line, bare) {
                words.push(bare.to_owned());
            } else {
                let message = format!(
                    "the part '{}' has no say over '{}': gitolite passes over it, and so does this",
                    printable(&line.part),
                    printable(bare)
                );
                self.remarks.note(line.remark(name, message));
            }
        }
        self.said.clear();
        self.blocks += 1;
        self.block = Some(Rc::new(Block { number: self.blocks, line: line.clone(), words }));
    }

    /// A part may speak of repositories of its own name, and of those in the group of its name as the whole defined it.
    fn may_set(&self, line: &Line, name: &str) -> bool {
        let part = &line.part;
        if part == MASTER || part == name || name.strip_prefix('@') == Some(part) {
            return true;
        }
        let own = self.conf.groups.get(&format!("@{part}"));
        own.into_iter().flatten().filter(|(_, by)| by == MASTER).any(|(member, _)| {
            member == name || super::refex::matcher_of_repositories(member).is_ok_and(|matcher| matcher.is_match(name.as_bytes()))
        })
    }

    fn block_of(&mut self, line: &Line) -> Option<Rc<Block>> {
        if self.block.is_none() {
            self.remarks.note(line.remark("", "it stands above every 'repo' line, and is about none"));
        }
        self.block.clone()
    }

    fn rule(&mut self, line: &Line, permission: Permission, refexes: &[&str], users: &str) {
        let Some(block) = self.block_of(line) else { return };
        let named: Vec<String> =
            refexes.iter().map(|word| if word.starts_with("NAME/") { format!("VREF/{word}") } else { (*word).to_owned() }).collect();
        let mut refexes = self.spread(line, &named.iter().map(String::as_str).collect::<Vec<_>>());
        if named.is_empty() {
            refexes.push("refs/.*".to_owned());
        }
        refexes.retain(|refex| {
            if !is_pattern(refex) {
                self.remarks.fault(line.remark(refex, format!("'{}' is no expression of refs", printable(refex))));
            }
            is_pattern(refex)
        });
        for refex in refexes.iter_mut().filter(|refex| !refex.starts_with("refs/") && !refex.starts_with("VREF/")) {
            refex.insert_str(0, "refs/heads/");
        }
        let users: Vec<String> = users
            .split(' ')
            .map(|user| if user == "CREATOR" || self.is_role(user) { format!("<{}>", user.to_lowercase()) } else { user.to_owned() })
            .collect();
        for user in &users {
            let bare = user.trim_start_matches(['@', '<']).trim_end_matches('>');
            if !is_name(bare) || bare.contains('/') {
                self.fault(line, user, "is no name of a user");
            }
        }
        for (says, name) in [(permission.deletes, "DELETE_IS_D"), (permission.creates, "CREATE_IS_C"), (permission.merges, "MERGE_CHECK")] {
            if says && self.said.insert(name) {
                self.conf.settings.push(Setting { name: name.to_owned(), value: "1".to_owned(), block: block.clone() });
            }
        }
        self.conf.rules.push(Rule { line: line.clone(), permission, refexes, users, block });
    }

    fn is_role(&self, word: &str) -> bool {
        ["READERS", "WRITERS"].contains(&word) || self.roles.iter().any(|role| role == word)
    }

    fn setting(&mut self, line: &Line, name: &str, value: &str) {
        let Some(block) = self.block_of(line) else { return };
        let value = value.trim_matches(['"', '\'']).to_owned();
        let note: Option<(&str, &str)> = match name {
            "deny-rules" | "DELETE_IS_D" | "CREATE_IS_C" | "MERGE_CHECK" => None,
            name if name.starts_with("mirror.") => Some(("mirroring is not part of packmule", "a cron job with git push --mirror does it")),
            name if name.starts_with("default.roles") => {
                Some(("a repository that somebody makes has no roles at first", "its creator gives them"))
            }
            name if name.starts_with("upstream.") => Some(("nothing is fetched from elsewhere", "a cron job with git fetch does it")),
            "writable" => Some(("there is no such switch", "a rule that denies write, rewind and delete, above the others, does it")),
            name if name.starts_with("hook.") => {
                Some(("hooks are not told apart by options", "put them into the repository's own hooks, and see [hooks]"))
            }
            _ => Some(("this option means nothing here", "what it did for gitolite's own programs or hooks has to be done by these")),
        };
        if let Some((message, hint)) = note {
            self.remarks.note(line.remark(name, message).hinted(hint));
        }
        self.conf.settings.push(Setting { name: name.to_owned(), value, block });
    }

    fn git_setting(&mut self, line: &Line, key: &str, value: &str) {
        if let Some(name) = key.strip_prefix("gitolite-options.") {
            return self.setting(line, name, if value.is_empty() { "\"\"" } else { value });
        }
        let (message, hint): (&str, String) = if key == "gitolite.partialCopyOf" {
            (
                "a copy without some branches is not needed: who may not read a ref does not see it",
                "serve the repository itself, with deny = [\"read\"] on those refs".to_owned(),
            )
        } else {
            (
                "packmule does not write to a repository's configuration",
                format!("git -C REPOSITORY config {} VALUE: it stays there", printable(key)),
            )
        };
        self.remarks.note(line.remark("", message).hinted(hint));
    }
}

/// Whether Perl takes this for true.
pub(super) fn is_true(value: &str) -> bool {
    !value.is_empty() && value != "0"
}

impl Rule {
    /// A remark on this line.
    pub(super) fn remark(&self, word: &str, message: impl Into<String>) -> Remark {
        self.line.remark(word, message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn permissions_are_those_of_the_documentation() {
        let mut known = vec!["-", "R"].into_iter().map(str::to_owned).collect::<Vec<_>>();
        for base in ["RW", "RW+"] {
            for letters in ["", "C", "D", "CD", "DC"] {
                known.extend([format!("{base}{letters}"), format!("{base}{letters}M")]);
            }
        }
        assert!(known.iter().all(|word| Permission::parse(word).is_some()), "{known:?}");
        for word in ["W", "+", "RC", "RW++", "RWMC", "RWM+", "rw", "RW-", "M", ""] {
            assert_eq!(Permission::parse(word), None, "{word}");
        }
    }
}
