//! The paths that an archive is limited to, into "this one or not".
//!
//! Source: gitglossary, "pathspec". A path takes itself and everything beneath it, one that ends in a slash only as a
//! folder; `*`, `?` and `[…]` match across slashes. Limit: magic (`:(…)`, `:!…`) is refused.

use super::Error;
use bstr::{BStr, BString, ByteSlice};
use gix_attributes::glob::wildmatch;
use gix_attributes::glob::wildmatch::Mode;

/// All of them; none: everything is taken.
pub(super) struct Paths(Vec<Pattern>);

struct Pattern {
    text: BString,
    folders_only: bool,
    /// Bytes before the first character with a meaning.
    literal_bytes: usize,
}

impl Paths {
    /// Understand the words of a request.
    pub fn new<'a>(words: impl IntoIterator<Item = &'a BString>) -> Result<Self, Error> {
        words.into_iter().filter(|word| !word.is_empty()).map(|word| Pattern::new(word.as_ref())).collect::<Result<_, _>>().map(Self)
    }

    /// Whether the entry `path` goes out; `is_folder` for folders and submodules, whose slash is left away.
    pub fn takes(&self, path: &[u8], is_folder: bool) -> bool {
        self.0.is_empty() || self.0.iter().any(|pattern| pattern.takes(path, is_folder))
    }

    /// Whether something in `folder` may go out.
    pub fn may_lie_beneath(&self, folder: &[u8]) -> bool {
        self.0.is_empty() || self.0.iter().any(|pattern| pattern.may_lie_beneath(folder))
    }
}

impl Pattern {
    fn new(word: &BStr) -> Result<Self, Error> {
        if word.starts_with(b":") {
            return Err(Error::Refused(format!("pathspec magic is not taken here: '{word}'")));
        }
        let folders_only = word.ends_with(b"/");
        let mut parts = vec![];
        for part in word.split_str("/").filter(|part| !matches!(*part, b"" | b".")) {
            if part == b".." || word.starts_with(b"/") {
                return Err(Error::Refused(format!("'{word}' is outside the repository")));
            }
            parts.push(part);
        }
        let text: BString = parts.join(&b'/').into();
        let literal_bytes = text.find_byteset(b"*?[\\").unwrap_or(text.len());
        let folders_only = folders_only && !text.is_empty();
        Ok(Self { text, folders_only, literal_bytes })
    }

    fn is_literal(&self) -> bool {
        self.literal_bytes == self.text.len()
    }

    fn takes(&self, path: &[u8], is_folder: bool) -> bool {
        if self.text.is_empty() {
            return true;
        }
        let beneath = path.strip_prefix(self.text.as_slice());
        match beneath {
            Some([]) => return is_folder || !self.folders_only,
            Some([b'/', ..]) => return true,
            _ if self.is_literal() => return false,
            _ => {}
        }
        let matches = |value: &[u8]| wildmatch(self.text.as_ref(), value.as_bstr(), Mode::empty());
        // A folder that matches takes everything in it: `*` matches across slashes, so only other ends tell.
        (is_folder || !self.folders_only) && matches(path) || path.rfind_byte(b'/').is_some_and(|_| folders_of(path).any(matches))
    }

    fn may_lie_beneath(&self, folder: &[u8]) -> bool {
        if self.takes(folder, true) {
            return true;
        }
        let literal = &self.text[..self.literal_bytes];
        let common = literal.len().min(folder.len());
        if literal[..common] != folder[..common] {
            return false;
        }
        !self.is_literal() || literal.get(folder.len()) == Some(&b'/')
    }
}

/// The folders that `path` lies in, without their slashes.
fn folders_of(path: &[u8]) -> impl Iterator<Item = &[u8]> {
    path.iter().enumerate().filter(|(_, byte)| **byte == b'/').map(|(at, _)| &path[..at])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paths(words: &[&str]) -> Paths {
        let words: Vec<BString> = words.iter().map(|word| BString::from(*word)).collect();
        Paths::new(&words).expect("plain paths")
    }

    #[test]
    fn a_path_takes_itself_and_what_lies_beneath() {
        let some = paths(&["a/b", "./c//d/"]);
        for (path, taken) in [("a/b", true), ("a/b/c", true), ("a/bc", false), ("a", false), ("c/d", false), ("c/d/e", true)] {
            assert_eq!(some.takes(path.as_bytes(), false), taken, "{path}");
        }
        assert!(some.takes(b"c/d", true) && some.may_lie_beneath(b"a") && some.may_lie_beneath(b"c") && !some.may_lie_beneath(b"e"));
        assert!(paths(&[]).takes(b"x", false) && paths(&["."]).takes(b"x", false));
    }

    #[test]
    fn wildcards_match_across_slashes() {
        let some = paths(&["*.c", "d?c/[ab]*"]);
        for (path, taken) in [("x.c", true), ("a/b/x.c", true), ("x.h", false), ("doc/bar", true), ("doc/x", false)] {
            assert_eq!(some.takes(path.as_bytes(), false), taken, "{path}");
        }
        assert!(some.may_lie_beneath(b"anything"));
        assert!(!paths(&["doc/*"]).may_lie_beneath(b"src"));
    }

    #[test]
    fn what_leads_out_and_magic_is_refused() {
        for word in ["../x", "a/../../x", "/etc/passwd", ":(exclude)x", ":!x"] {
            assert!(Paths::new(&[BString::from(word)]).is_err(), "{word}");
        }
    }
}
