//! What a rule says of names into a yes or no: always for the whole name, never for a part of it.
//!
//! | written | matches |
//! |---|---|
//! | `website` | that name |
//! | `libs/*`, `v[0-9]?`, `{a,b}/x` | a glob; `*` and `?` stand for slashes too, as in a refspec of git |
//! | `/proj-[0-9]+/` | a regular expression between slashes, over bytes: `.` is any of them |
//!
//! Names and globs of refs that do not begin with `refs/` are those of branches: `main` is `refs/heads/main`; a regular
//! expression is always about the whole name. `*` alone is every name. What could match nothing is a fault.

use bstr::{BStr, BString, ByteSlice as _};
use globset::{GlobBuilder, GlobMatcher};
use regex::bytes::{Regex, RegexBuilder};

/// Bytes that a compiled expression may take.
const COMPILED_BYTES_MAX: usize = 1 << 20;
const REFS: &str = "refs/";
const BRANCHES: &str = "refs/heads/";

/// What stands between the slashes.
fn expression(text: &str) -> Option<&str> {
    text.strip_prefix('/')?.strip_suffix('/')
}

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
        if let Some(expression) = expression(text) {
            return if expression.ends_with(".git") { Err("names have no .git at their end here".to_owned()) } else { Self::parse(text) };
        }
        let bare = text.trim_matches('/');
        Self::parse(bare.strip_suffix(".git").unwrap_or(bare))
    }

    /// Of full names of refs.
    pub(super) fn of_refs(text: &str) -> Result<Self, String> {
        let begins = expression(text).unwrap_or(REFS).trim_start_matches(['(', '^']);
        if begins.starts_with(char::is_alphanumeric) && !begins.starts_with(REFS.trim_end_matches('/')) {
            return Err("a regular expression is about the whole name, which begins with refs/".to_owned());
        } else if text.starts_with('{') && text.contains(REFS) {
            return Err("what stands before the brace is refs/heads/: make several patterns of it".to_owned());
        }
        let is_whole = text.starts_with("refs/") || text.starts_with('/') || text.chars().all(|letter| letter == '*');
        if is_whole || text.is_empty() { Self::parse(text) } else { Self::parse(&format!("{BRANCHES}{text}")) }
    }

    fn parse(text: &str) -> Result<Self, String> {
        if text.is_empty() {
            return Err("an empty name matches nothing".to_owned());
        } else if text.chars().all(|letter| letter == '*') {
            return Ok(Self::All);
        } else if let Some(expression) = expression(text) {
            // By itself first: a stray bracket must not reach out of the frame that makes it match as a whole.
            let compile = |expression: &str| {
                let mut builder = RegexBuilder::new(expression);
                builder.unicode(false).dot_matches_new_line(true).size_limit(COMPILED_BYTES_MAX).build()
            };
            let regex = compile(expression).and_then(|_| compile(&format!(r"\A(?:{expression})\z")));
            return regex.map(|regex| Self::Regex(Box::new(regex))).map_err(|err| format!("no regular expression: {err}"));
        } else if text.starts_with('/') {
            return Err("a regular expression ends with a slash: /.../".to_owned());
        }
        let is_special = |letter| matches!(letter, '*' | '?' | '[' | ']' | '{' | '}' | '\\');
        match text.find(is_special) {
            None => Ok(Self::Exact(text.into())),
            Some(at) if text[at..].chars().all(|letter| letter == '*') => Ok(Self::Prefix(text[..at].into())),
            Some(_) => {
                let glob = GlobBuilder::new(text).literal_separator(false).backslash_escape(true).empty_alternates(true).build();
                glob.map(|glob| Self::Glob(Box::new(glob.compile_matcher()))).map_err(|err| err.kind().to_string())
            }
        }
    }

    /// Whether this is every name that a ref can have.
    pub(super) fn is_every_ref(&self) -> bool {
        match self {
            Self::All => true,
            Self::Prefix(prefix) => REFS.as_bytes().starts_with(prefix),
            _ => false,
        }
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
            ("a{,/*}", "a", "ab"),
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
        assert!(reference("*", "refs/notes/commits") && Pattern::of_refs("**").expect("all").is_every_ref());
    }

    #[test]
    fn what_is_no_pattern_or_matches_nothing_is_told() {
        for (pattern, says) in [
            ("", "empty"),
            ("a[", "class"),
            ("/a(/", "regular expression"),
            ("/a)|(?:b/", "regular expression"),
            ("{a", "alternate"),
            (r"/website\.git/", "no .git"),
        ] {
            let fault = Pattern::of_repositories(pattern).expect_err(pattern);
            assert!(fault.contains(says), "{pattern}: {fault}");
        }
        for (pattern, says) in [
            ("/refs", "ends with a slash"),
            ("/release-.*/", "begins with refs/"),
            ("/(main|x)/", "begins with refs/"),
            ("{main,refs/tags/*}", "several patterns"),
        ] {
            let fault = Pattern::of_refs(pattern).expect_err(pattern);
            assert!(fault.contains(says), "{pattern}: {fault}");
        }
    }

    #[test]
    fn every_ref_is_known_as_such() {
        for (pattern, is_every) in [("*", true), ("refs/*", true), ("refs/heads/*", false), ("main", false), ("/refs.*/", false)] {
            assert_eq!(Pattern::of_refs(pattern).expect(pattern).is_every_ref(), is_every, "{pattern}");
        }
    }

    #[test]
    fn names_that_are_no_text_are_matched_byte_by_byte() {
        let name = BStr::new(b"refs/heads/\xff");
        for pattern in ["*", "refs/h?ads/*", "/refs\\/heads\\/.*/", "/refs.heads.[^\\/]+/"] {
            assert!(Pattern::of_refs(pattern).expect(pattern).matches(name), "{pattern}");
        }
    }
}
