//! The `.gitattributes` of a tree into what an archive does with each path.
//!
//! Source: gitattributes, "Creating an archive", "End-of-line conversion", "ident". As git does for archives, files of
//! attributes come from the tree that is archived, with the repository's own `info/attributes` above them; those of
//! the system and the user are not read. Limits: `working-tree-encoding`, `core.autocrlf` and `core.eol` count as unset,
//! and `filter` too: it names programs. A file that is too long is left out, as are lines of more than 2,048 bytes.

use crate::base::limits::ATTRIBUTES_BYTES_MAX;
use bstr::{BStr, ByteSlice};
use gix_attributes::glob::pattern::Case;
use gix_attributes::search::{MetadataCollection, Outcome};
use gix_attributes::{Search, StateRef};
use std::path::{Path, PathBuf};

/// Longest line of a file of attributes (`attr.h`: `ATTR_MAX_LINE_LENGTH`).
const LINE_BYTES_MAX: usize = 2048;
const NAMES: [&str; 7] = ["export-ignore", "export-subst", "diff", "text", "crlf", "eol", "ident"];

/// How line ends of a text go out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LineEnds {
    /// As they are.
    Kept,
    /// As CR LF.
    CrLf,
    /// As CR LF where the content looks like text without any.
    CrLfIfText,
}

/// What attributes say of one path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Treatment {
    /// Leave it out.
    pub ignore: bool,
    /// Replace `$Format:…$`.
    pub substitute: bool,
    /// Replace `$Id$`.
    pub ident: bool,
    /// What becomes of line ends.
    pub line_ends: LineEnds,
    /// Whether it is binary, if that is said.
    pub binary: Option<bool>,
}

impl Treatment {
    /// Nothing in the content is to be replaced.
    pub fn is_plain(&self) -> bool {
        !self.substitute && !self.ident && self.line_ends == LineEnds::Kept
    }
}

/// Lines of attributes in force at one place, over all folders above it: each is looked at for each file, and takes some
/// hundred bytes. Files beyond that are left out.
const LINES_MAX: usize = 100_000;

/// The attributes in force while a tree is walked.
pub(super) struct Attributes {
    /// Of the folders from the root to where the walk is, the innermost last.
    folders: Search,
    /// Of the repository.
    above: Search,
    known: MetadataCollection,
    found: Outcome,
    is_stale: bool,
    /// Lines in force of each folder.
    lines: Vec<usize>,
}

impl Attributes {
    /// Those of the repository alone (`info/attributes`).
    pub fn new(repository: &[u8]) -> Self {
        let (folders, above) = (Search::default(), Search::default());
        let mut attributes =
            Self { folders, above, known: MetadataCollection::default(), found: Outcome::default(), is_stale: true, lines: vec![] };
        let Self { folders, above, known, .. } = &mut attributes;
        // Buffers are parsed leniently: there is nothing that could fail.
        let _ = folders.add_patterns_buffer(b"[attr]binary -diff -merge -text", "[builtin]".into(), None, known, true);
        let _ = above.add_patterns_buffer(&bounded(repository), "info/attributes".into(), None, known, true);
        attributes
    }

    /// Enter `folder` (a path without a slash at its end; empty: the root), whose file of attributes is `file`.
    pub fn enter(&mut self, folder: &BStr, file: &[u8]) {
        let lines = file.lines().count();
        let held: usize = self.lines.iter().sum();
        let file = if held + lines > LINES_MAX { &b""[..] } else { file };
        self.lines.push(if file.is_empty() { 0 } else { lines });
        let source: PathBuf = gix_attributes_path(folder).join(".gitattributes");
        let _ = self.folders.add_patterns_buffer(&bounded(file), source, Some(Path::new("")), &mut self.known, folder.is_empty());
        self.is_stale = true;
    }

    /// Leave the folder that was entered last.
    pub fn leave(&mut self) {
        self.folders.pop_pattern_list();
        self.lines.pop();
    }

    /// What is in force for `path`.
    pub fn of(&mut self, path: &BStr, is_folder: bool) -> Treatment {
        if self.is_stale {
            self.found.initialize_with_selection(&self.known, NAMES);
            self.is_stale = false;
        } else {
            self.found.reset();
        }
        for search in [&self.above, &self.folders] {
            if !self.found.is_done() {
                search.pattern_matching_relative_path(path, Case::Sensitive, Some(is_folder), &mut self.found);
            }
        }
        let mut states = [StateRef::Unspecified; NAMES.len()];
        for (state, found) in states.iter_mut().zip(self.found.iter_selected()) {
            *state = found.assignment.state;
        }
        treatment(&states)
    }
}

fn gix_attributes_path(folder: &BStr) -> PathBuf {
    use std::os::unix::ffi::OsStrExt;
    std::ffi::OsStr::from_bytes(folder).into()
}

fn bounded(file: &[u8]) -> Vec<u8> {
    if file.len() > ATTRIBUTES_BYTES_MAX {
        tracing::warn!(bytes = file.len(), "a file of attributes is too long and left out");
        return vec![];
    }
    file.lines_with_terminator().filter(|line| line.len() < LINE_BYTES_MAX).flatten().copied().collect()
}

/// The states of [`NAMES`], in that order, into what is done (`convert.c`: `convert_attrs`; `userdiff.c` for `diff`).
fn treatment(states: &[StateRef<'_>; NAMES.len()]) -> Treatment {
    let [ignore, substitute, diff, text, crlf, eol, ident] = states;
    let is_set = |state: &StateRef<'_>| matches!(state, StateRef::Set);
    let value = |state: &StateRef<'_>| match state {
        StateRef::Value(value) => Some(value.as_bstr().to_owned()),
        _ => None,
    };
    // What says nothing that is understood says nothing.
    let speaks = |state: &StateRef<'_>| match state {
        StateRef::Set | StateRef::Unset => true,
        StateRef::Value(value) => [&b"auto"[..], b"input"].contains(&value.as_bstr().as_bytes()),
        StateRef::Unspecified => false,
    };
    let text = if speaks(text) { text } else { crlf };
    let wants_crlf = value(eol).is_some_and(|eol| eol == "crlf");
    let is_auto = value(text).is_some_and(|text| text == "auto");
    // `eol` alone makes a text of it; `text=input` is overruled by it.
    let line_ends = match text {
        StateRef::Unset => LineEnds::Kept,
        _ if !wants_crlf => LineEnds::Kept,
        _ if is_auto => LineEnds::CrLfIfText,
        _ => LineEnds::CrLf,
    };
    let binary = match diff {
        StateRef::Set => Some(false),
        StateRef::Unset => Some(true),
        _ => None,
    };
    Treatment { ignore: is_set(ignore), substitute: is_set(substitute), ident: is_set(ident), line_ends, binary }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(attributes: &mut Attributes, path: &str) -> Treatment {
        attributes.of(path.into(), false)
    }

    #[test]
    fn inner_folders_win_and_the_repository_wins_over_all() {
        let mut attributes = Attributes::new(b"forced export-ignore\n");
        attributes.enter("".into(), b"*.x export-ignore\n*.t eol=crlf\nforced -export-ignore\n[attr]left export-ignore\nm left\n");
        assert!(of(&mut attributes, "a.x").ignore && of(&mut attributes, "d/a.x").ignore);
        assert!(of(&mut attributes, "forced").ignore && of(&mut attributes, "m").ignore);
        attributes.enter("d".into(), b"*.x -export-ignore\n/only export-subst\n");
        assert!(!of(&mut attributes, "d/a.x").ignore && of(&mut attributes, "d/only").substitute);
        assert!(!of(&mut attributes, "d/e/only").substitute);
        assert_eq!(of(&mut attributes, "d/a.t").line_ends, LineEnds::CrLf);
        attributes.leave();
        assert!(of(&mut attributes, "d/a.x").ignore && of(&mut attributes, "a.x").ignore);
    }

    #[test]
    fn a_pattern_for_folders_matches_folders_only() {
        let mut attributes = Attributes::new(b"");
        attributes.enter("".into(), b"docs/ export-ignore\n*.bin binary\n*.auto text=auto eol=crlf\n*.no -text eol=crlf\n");
        assert!(attributes.of("docs".into(), true).ignore && !attributes.of("docs".into(), false).ignore);
        assert_eq!(of(&mut attributes, "a.bin").binary, Some(true));
        assert_eq!(of(&mut attributes, "a.auto").line_ends, LineEnds::CrLfIfText);
        assert_eq!(of(&mut attributes, "a.no").line_ends, LineEnds::Kept);
    }

    #[test]
    fn with_too_many_lines_in_force_a_file_is_left_out_until_others_are_left() {
        let mut attributes = Attributes::new(b"");
        attributes.enter("".into(), "x export-ignore\n".repeat(LINES_MAX / 2).as_bytes());
        attributes.enter("d".into(), "b export-ignore\n".repeat(LINES_MAX / 2 + 1).as_bytes());
        assert!(of(&mut attributes, "d/x").ignore && !of(&mut attributes, "d/b").ignore);
        attributes.leave();
        attributes.enter("e".into(), "b export-ignore\n".repeat(LINES_MAX / 2).as_bytes());
        assert!(of(&mut attributes, "e/x").ignore && of(&mut attributes, "e/b").ignore);
        attributes.leave();
        attributes.leave();
        attributes.enter("".into(), "b export-ignore\n".repeat(LINES_MAX).as_bytes());
        assert!(of(&mut attributes, "b").ignore);
    }

    #[test]
    fn lines_and_files_that_are_too_long_are_left_out() {
        let long = format!("a {}\nb export-ignore\n", "x ".repeat(LINE_BYTES_MAX));
        let mut attributes = Attributes::new(b"");
        attributes.enter("".into(), long.as_bytes());
        assert!(of(&mut attributes, "b").ignore);
        let mut attributes = Attributes::new(b"");
        attributes.enter("".into(), "b export-ignore\n".repeat(ATTRIBUTES_BYTES_MAX / 10).as_bytes());
        assert!(!of(&mut attributes, "b").ignore);
    }
}
