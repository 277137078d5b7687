//! The blob that a `sparse:oid` filter names, into patterns, and paths into chosen or not.
//!
//! Source: gitignore, "PATTERN FORMAT"; git-sparse-checkout; `dir.c`: `last_matching_pattern_from_list`. As for git's filter,
//! patterns that could be read in cone mode are patterns like all others: that gives the same answer.

use bstr::{BStr, BString, ByteSlice};
use gix_glob::wildmatch::Mode;

/// Patterns of one blob, in order.
#[derive(Clone, Debug, Default)]
pub struct Patterns(Vec<Pattern>);

#[derive(Clone, Debug)]
struct Pattern {
    text: BString,
    negative: bool,
    only_folders: bool,
    /// Without a slash it is matched with a name, else with a path.
    of_name: bool,
}

impl Patterns {
    /// Read the lines of a blob.
    pub fn parse(blob: &[u8]) -> Self {
        let blob = blob.strip_prefix(b"\xef\xbb\xbf").unwrap_or(blob);
        Self(blob.lines().filter(|line| !line.is_empty() && line[0] != b'#').map(Pattern::parse).collect())
    }

    /// How many there are: each may be tried at every path.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// What the last matching pattern says of `path`, whose last component begins at `name_at`; `None` when none matches.
    pub(super) fn chooses(&self, path: &BStr, name_at: usize, is_folder: bool) -> Option<bool> {
        self.0.iter().rev().find(|pattern| pattern.matches(path, name_at, is_folder)).map(|pattern| !pattern.negative)
    }
}

impl Pattern {
    fn parse(line: &[u8]) -> Self {
        let line = trim_trailing_spaces(line);
        let (negative, line) = line.strip_prefix(b"!").map_or((false, line), |rest| (true, rest));
        let (only_folders, line) = line.strip_suffix(b"/").map_or((false, line), |rest| (true, rest));
        let of_name = !line.contains(&b'/');
        // A slash in front only says that it is a path.
        let text = line.strip_prefix(b"/").unwrap_or(line);
        Self { text: text.into(), negative, only_folders, of_name }
    }

    fn matches(&self, path: &BStr, name_at: usize, is_folder: bool) -> bool {
        if self.only_folders && !is_folder {
            return false;
        }
        match self.of_name {
            true => gix_glob::wildmatch(self.text.as_bstr(), path[name_at..].as_bstr(), Mode::empty()),
            false => gix_glob::wildmatch(self.text.as_bstr(), path, Mode::NO_MATCH_SLASH_LITERAL),
        }
    }
}

/// Without spaces at the end that no backslash protects.
fn trim_trailing_spaces(line: &[u8]) -> &[u8] {
    let (mut end, mut at) = (0, 0);
    while at < line.len() {
        if line[at] == b'\\' {
            at += 1;
            end = line.len().min(at + 1);
        } else if line[at] != b' ' {
            end = at + 1;
        }
        at += 1;
    }
    &line[..end]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(patterns: &str, path: &str, is_folder: bool) -> Option<bool> {
        let name_at = path.rfind('/').map_or(0, |at| at + 1);
        Patterns::parse(patterns.as_bytes()).chooses(path.into(), name_at, is_folder)
    }

    #[test]
    fn the_last_matching_pattern_decides() {
        for (patterns, path, is_folder, wanted) in [
            ("*.c", "a/b/x.c", false, Some(true)),
            ("*.c\n!x.*\r\n", "a/b/x.c", false, Some(false)),
            ("# x.c\n\n", "x.c", false, None),
            ("/a/*.c", "a/x.c", false, Some(true)),
            ("/a/*.c", "a/b/x.c", false, None),
            ("a/**/x.c", "a/b/d/x.c", false, Some(true)),
            ("a/", "a", false, None),
            ("a/", "b/a", true, Some(true)),
            ("/*\n!/*/\n/a/", "top", false, Some(true)),
            ("/*\n!/*/\n/a/", "b", true, Some(false)),
            ("/*\n!/*/\n/a/", "a", true, Some(true)),
            ("/*\n!/*/", "", true, Some(false)),
            ("\\!x  ", "!x", false, Some(true)),
            ("x\\ ", "x ", false, Some(true)),
            ("[ab]?", "ax", false, Some(true)),
        ] {
            assert_eq!(chosen(patterns, path, is_folder), wanted, "{patterns:?} {path}");
        }
    }
}
