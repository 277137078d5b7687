//! Configurations of older servers into users, groups and rules as `config.toml` has them.
//!
//! | file | turns what into what |
//! |---|---|
//! | `lines` | a configuration and the files that it includes into cleaned lines with their places |
//! | `conf` | lines of gitolite into groups, rules and options |
//! | `names` | what a `repo` line names into patterns, and which of them lie within others |
//! | `refex` | gitolite's regular expressions into ours |
//! | `options` | options of gitolite into what holds for a repository |
//! | `gitolite` | gitolite's rules into drafts of ours |
//! | `checks` | gitolite's virtual refs and the `M` of its rules into rules about paths and limits |
//! | `gitosis` | sections of gitosis, or rules of gitosis-lite, into drafts |
//! | `keys` | a folder of keys into the keys of each user |
//! | `write` | all of it into TOML |
//!
//! What is written decides as the original did; what cannot be said so is told in a [`Remark`], never passed over, and where there is
//! a choice the stricter side is taken. gitolite's rules are those of its documentation ("conf", "conf-2", "wild", "vref", "deleg").

mod checks;
mod conf;
mod gitolite;
mod gitosis;
mod keys;
mod lines;
mod names;
mod options;
mod refex;
mod write;

pub use gitolite::from_gitolite;
pub use gitosis::from_gitosis_lite;

use std::collections::BTreeSet;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

/// What is to be translated.
#[derive(Clone, Debug)]
pub struct Original<'a> {
    /// The configuration.
    pub conf: &'a Path,
    /// The folder of its users' keys; without one nobody has a key.
    pub key_folder: Option<&'a Path>,
    /// Names of roles beside `READERS` and `WRITERS`, as gitolite's `ROLES` has them.
    pub roles: &'a [String],
}

/// What came of it.
#[derive(Clone, Debug)]
pub struct Import {
    /// A `config.toml`.
    pub toml: String,
    /// What has no equal in it.
    pub notes: Vec<Remark>,
}

/// A text in which something is remarked on.
#[derive(Debug, PartialEq, Eq)]
pub struct SourceText {
    /// Its file's name.
    pub name: String,
    /// All of it.
    pub text: String,
}

/// Something to tell about a place of the original.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Remark {
    /// The text.
    pub source: Arc<SourceText>,
    /// Its bytes in question; none: it is about the file.
    pub span: Option<Range<usize>>,
    /// What.
    pub message: String,
    /// What to do.
    pub hint: Option<String>,
}

impl Remark {
    fn about(file: &Path, message: impl Into<String>) -> Self {
        let source = SourceText { name: file.display().to_string(), text: String::new() };
        Self { source: Arc::new(source), span: None, message: message.into(), hint: None }
    }

    fn hinted(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// The number of its line, from 1, and the line itself.
    pub fn line(&self) -> Option<(usize, &str)> {
        let at = self.span.as_ref()?.start;
        let before = self.source.text.get(..at)?;
        let line = &self.source.text[before.rfind('\n').map_or(0, |end| end + 1)..];
        Some((before.matches('\n').count() + 1, line.lines().next().unwrap_or_default().trim()))
    }
}

/// Notes and faults as they are found.
#[derive(Debug, Default)]
struct Remarks {
    notes: Vec<Remark>,
    faults: Vec<Remark>,
}

impl Remarks {
    /// All of it, if nothing was wrong; remarks in the order of the lines.
    ///
    /// # Errors
    /// What was.
    fn import(mut self, toml: String) -> Result<Import, Vec<Remark>> {
        for remarks in [&mut self.notes, &mut self.faults] {
            remarks.sort_by_key(|remark| remark.span.as_ref().map(|span| span.start));
        }
        if self.faults.is_empty() { Ok(Import { toml, notes: self.notes }) } else { Err(self.faults) }
    }

    fn note(&mut self, remark: Remark) {
        if !self.notes.contains(&remark) {
            self.notes.push(remark);
        }
    }

    fn fault(&mut self, remark: Remark) {
        if !self.faults.contains(&remark) {
            self.faults.push(remark);
        }
    }
}

/// A rule of ours before it is written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Draft {
    /// Where it comes from, and how it stood there.
    origin: String,
    users: Vec<String>,
    repositories: Vec<String>,
    /// Empty: all.
    refs: Vec<String>,
    /// Empty: it is not about paths.
    paths: Vec<String>,
    verbs: Vec<&'static str>,
    allows: bool,
    /// When it counts; none: always.
    when: Option<String>,
}

/// A limit of ours before it is written: one key with its value.
#[derive(Clone, Debug, PartialEq, Eq)]
struct DraftLimit {
    origin: String,
    users: Vec<String>,
    repositories: Vec<String>,
    refs: Vec<String>,
    limit: String,
    when: Option<String>,
}

/// Everything that is to be written.
#[derive(Debug, Default)]
struct Drafts {
    /// Users without keys, too.
    users: BTreeSet<String>,
    groups: Vec<(String, Vec<String>)>,
    rules: Vec<Draft>,
    limits: Vec<DraftLimit>,
}

#[cfg(test)]
mod tests;
