//! What a rule says of names into a yes or no: always for the whole name, never for a part of it.
//!
//! | written | matches |
//! |---|---|
//! | `website` | that name |
//! | `libs/*`, `v[0-9]?`, `{a,b}/x` | a glob; `*` and `?` stand for slashes too, as in a refspec of git |
//! | `/proj-[0-9]+/` | a regular expression between slashes |
//!
//! Names of refs that do not begin with `refs/` are those of branches: `main` is `refs/heads/main`. `*` alone is every name.

use bstr::{BStr, BString, ByteSlice as _};
use globset::{GlobBuilder, GlobMatcher};
use regex::bytes::{Regex, RegexBuilder};

/// Bytes that a compiled expression may take.
const COMPILED_BYTES_MAX: usize = 1 << 20;
const BRANCHES: &str = "refs/heads/";

/// One pattern.
#[derive(Clone, Debug)]
pub(super) enum Pattern {
    All,
    Exact(BString),
    /// All that begins so.
    Prefix(BString),
    Glob(Box<GlobMatcher>),
    Regex(Box<Regex>),
}

impl Pattern {
    /// Of names of repositories; `.git` at the end means nothing, as in an address.
    pub(super) fn of_repositories(text: &str) -> Result<Self, String> {
        if text.len() > 1 && text.starts_with('/') && text.ends_with('/') {
            return Self::parse(text);
        }
        let bare = text.trim_matches('/');
        Self::parse(bare.strip_suffix(".git").unwrap_or(bare))
    }

    /// Of full names of refs.
    pub(super) fn of_refs(text: &str) -> Result<Self, String> {
        let is_whole = text.starts_with("refs/") || text.starts_with('/') || text.chars().all(|letter| letter == '*');
        if is_whole || text.is_empty() { Self::parse(text) } else { Self::parse(&format!("{BRANCHES}{text}")) }
    }

    fn parse(text: &str) -> Result<Self, String> {
        if text.is_empty() {
            return Err("an empty name matches nothing".to_owned());
        } else if text.chars().all(|letter| letter == '*') {
            return Ok(Self::All);
        } else if let Some(expression) = text.strip_prefix('/').and_then(|text| text.strip_suffix('/')) {
            let regex = RegexBuilder::new(&format!(r"\A(?:{expression})\z")).size_limit(COMPILED_BYTES_MAX).build();
            return regex.map(|regex| Self::Regex(Box::new(regex))).map_err(|err| format!("no regular expression: {err}"));
        } else if text.starts_with('/') {
            return Err("a regular expression ends with a slash: /.../".to_owned());
        }
        let is_special = |letter| matches!(letter, '*' | '?' | '[' | ']' | '{' | '}' | '\\');
        match text.find(is_special) {
            None => Ok(Self::Exact(text.into())),
            Some(at) if text[at..].chars().all(|letter| letter == '*') => Ok(Self::Prefix(text[..at].into())),
            Some(_) => {
                let glob = GlobBuilder::new(text).literal_separator(false).backslash_escape(true).build();
                glob.map(|glob| Self::Glob(Box::new(glob.compile_matcher()))).map_err(|err| err.kind().to_string())
            }
        }
    }

    /// Whether this is every name there can be.
    pub(super) fn is_all(&self) -> bool {
        matches!(self, Self::All)
    }

    pub(super) fn matches(&self, name: &BStr) -> bool {
        match self {
            Self::All => true,
            Self::Exact(exact) => name == exact,
            Self::Prefix(prefix) => name.starts_with(prefix),
            Self::Glob(glob) => name.to_path().is_ok_and(|path| glob.is_match(path)),
            Self::Regex(regex) => regex.is_match(name),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn repository(pattern: &str, name: &str) -> bool {
        Pattern::of_repositories(pattern).expect(pattern).matches(name.into())
    }

    fn reference(pattern: &str, name: &str) -> bool {
        Pattern::of_refs(pattern).expect(pattern).matches(name.into())
    }

    #[test]
    fn the_whole_name_counts() {
        for (pattern, yes, no) in [
            ("website", "website", "website2"),
            ("website.git", "website", "my-website"),
            ("libs/*", "libs/a/b", "libs"),
            ("*/x", "a/b/x", "a/x/b"),
            ("/proj-[0-9]+/", "proj-17", "proj-17a"),
            ("/a|b/", "b", "ab"),
            ("v[0-9]?", "v1x", "v1"),
            ("{a,b}/x", "b/x", "c/x"),
            (r"a\*", "a*", "ab"),
        ] {
            assert!(repository(pattern, yes) && !repository(pattern, no), "{pattern}");
        }
        assert!(repository("*", "anything/at/all"));
    }

    #[test]
    fn a_short_name_of_a_ref_is_a_branch() {
        for (pattern, yes, no) in [
            ("main", "refs/heads/main", "refs/heads/main2"),
            ("main", "refs/heads/main", "refs/heads/MAIN"),
            ("main", "refs/heads/main", "refs/tags/main"),
            ("wip/*", "refs/heads/wip/a/b", "refs/heads/wip"),
            ("refs/tags/v*", "refs/tags/v1", "refs/heads/v1"),
            ("/refs/heads/[a-z]+/", "refs/heads/x", "refs/heads/X"),
        ] {
            assert!(reference(pattern, yes) && !reference(pattern, no), "{pattern}");
        }
        assert!(reference("*", "refs/notes/commits") && Pattern::of_refs("**").expect("all").is_all());
    }

    #[test]
    fn what_is_no_pattern_is_told() {
        for (pattern, says) in [("", "empty"), ("a[", "class"), ("/a(/", "regular expression"), ("{a", "alternate")] {
            let fault = Pattern::of_repositories(pattern).expect_err(pattern);
            assert!(fault.contains(says), "{pattern}: {fault}");
        }
        assert!(Pattern::of_refs("/refs").expect_err("half").contains("ends with a slash"));
    }

    #[test]
    fn names_that_are_no_text_are_matched_byte_by_byte() {
        let name = BStr::new(b"refs/heads/\xff");
        assert!(Pattern::of_refs("*").expect("all").matches(name) && Pattern::of_refs("refs/h?ads/*").expect("a glob").matches(name));
    }
}
