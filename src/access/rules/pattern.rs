//! What a rule says of names into a yes or no: always for the whole name, never for a part of it.
//!
//! | written | matches |
//! |---|---|
//! | `website` | that name |
//! | `libs/*`, `v[0-9]?`, `{a,b}/x` | a glob; `*` and `?` stand for slashes too, as in a refspec of git |
//! | `/proj-[0-9]+/` | a regular expression between slashes, over bytes: `.` is any of them |
//! | `home/<user>/*` | names with `<user>`, who asks, or `<creator>`, who made the repository, put in |
//!
//! Names and globs of refs that do not begin with `refs/` are those of branches: `main` is `refs/heads/main`; a regular
//! expression is always about the whole name. `*` alone is every name. What could match nothing is a fault.

use bstr::{BStr, BString, ByteSlice as _};
use globset::{Glob, GlobBuilder, GlobMatcher};
use regex::bytes::{Regex, RegexBuilder};
use std::borrow::Cow;
use std::sync::{Arc, OnceLock};

/// Bytes that a compiled expression may take.
const COMPILED_BYTES_MAX: usize = 1 << 20;
/// Bytes of a pattern.
const PATTERN_BYTES_MAX: usize = 4096;
const REFS: &str = "refs/";
const BRANCHES: &str = "refs/heads/";
const USER: &str = "<user>";
const CREATOR: &str = "<creator>";

/// What stands between the slashes.
fn expression(text: &str) -> Option<&str> {
    text.strip_prefix('/')?.strip_suffix('/')
}

/// One pattern; clones share what is compiled.
#[derive(Clone, Debug)]
pub(super) enum Pattern {
    All,
    Exact(BString),
    /// All that begins so.
    Prefix(BString),
    Glob(Arc<LazyGlob>),
    Regex(Arc<LazyRegex>),
    /// A pattern only once names have been put in.
    Template {
        head: BString,
        text: Arc<str>,
    },
}

/// A glob that is right, compiled when it is first asked: of ten thousand that are read most never are, and to compile one costs
/// as much as to ask it a thousand times.
#[derive(Debug)]
pub(super) struct LazyGlob {
    head: BString,
    glob: Glob,
    matcher: OnceLock<GlobMatcher>,
}

/// An expression that is right, likewise.
#[derive(Debug)]
pub(super) struct LazyRegex {
    head: BString,
    expression: String,
    regex: OnceLock<Regex>,
}

impl LazyRegex {
    fn read(expression: &str) -> Result<Self, String> {
        let no_expression = |err: &dyn std::fmt::Display| format!("no regular expression: {err}");
        // By itself: a stray bracket must not reach out of the frame that makes it match as a whole.
        let parser = || regex_syntax::ParserBuilder::new().utf8(false).unicode(false).dot_matches_new_line(true).build();
        parser().parse(expression).map_err(|err| no_expression(&err))?;
        // And within it: a comment (`(?x)a # note`) must not swallow the frame's end.
        parser().parse(&in_frame(expression)).map_err(|err| no_expression(&err))?;
        let regex = OnceLock::new();
        // Only what counts repetitions can be much larger than it looks.
        if expression.contains('{') {
            let _ = regex.set(framed(expression, COMPILED_BYTES_MAX).map_err(|err| no_expression(&err))?);
        }
        Ok(Self { head: literal_head(expression), expression: expression.to_owned(), regex })
    }

    fn is_match(&self, name: &BStr) -> bool {
        let compile = || framed(&self.expression, COMPILED_BYTES_MAX * 64).expect("it was parsed, and counts no repetitions");
        self.regex.get_or_init(compile).is_match(name)
    }
}

fn in_frame(expression: &str) -> String {
    format!(r"\A(?:{expression})\z")
}

/// An expression that matches whole names.
fn framed(expression: &str, bytes_max: usize) -> Result<Regex, regex::Error> {
    let mut builder = RegexBuilder::new(&in_frame(expression));
    builder.unicode(false).dot_matches_new_line(true).size_limit(bytes_max).build()
}

/// What is put into patterns.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Names {
    pub(super) user: String,
    /// None where nobody knows who made the repository: then what names its creator matches nothing.
    pub(super) creator: Option<String>,
}

impl Pattern {
    /// Of names of repositories; `.git` at the end means nothing, as in an address.
    pub(super) fn of_repositories(text: &str) -> Result<Self, String> {
        if let Some(expression) = expression(text) {
            return if expression.ends_with(".git") { Err("names have no .git at their end here".to_owned()) } else { Self::read(text) };
        }
        let bare = text.trim_matches('/');
        Self::read(bare.strip_suffix(".git").unwrap_or(bare))
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
        if is_whole || text.is_empty() { Self::read(text) } else { Self::read(&format!("{BRANCHES}{text}")) }
    }

    /// Of paths in a tree.
    pub(super) fn of_paths(text: &str) -> Result<Self, String> {
        let is_plain = |expression: &str| !expression.contains(|letter: char| r".^$*+?()[]{}|\".contains(letter));
        match expression(text) {
            Some(plain) if is_plain(plain) => {
                Err(format!("a regular expression that matches '{plain}' alone; all in a folder is '{plain}/*'"))
            }
            None if text.ends_with('/') => Err(format!("no path ends with a slash; all in a folder is '{text}*'")),
            _ => Self::read(text),
        }
    }

    /// Of addresses of authors.
    pub(super) fn of_words(text: &str) -> Result<Self, String> {
        Self::read(text)
    }

    fn read(text: &str) -> Result<Self, String> {
        if text.len() > PATTERN_BYTES_MAX {
            return Err(format!("a pattern has {PATTERN_BYTES_MAX} bytes at most"));
        }
        let Some(at) = [USER, CREATOR].iter().filter_map(|word| next_of(text, word, 0)).min() else { return Self::parse(text) };
        // Whatever the names will be, what is wrong now is wrong then.
        let sample = Names { user: "x".to_owned(), creator: Some("x".to_owned()) };
        if let Some(filled) = fill(text, &sample) {
            Self::parse(&filled)?;
        }
        let head = match expression(text) {
            Some(_) => BString::default(),
            None => text[..text.find(is_special).unwrap_or(at).min(at)].into(),
        };
        Ok(Self::Template { head, text: text.into() })
    }

    fn parse(text: &str) -> Result<Self, String> {
        if text.is_empty() {
            return Err("an empty name matches nothing".to_owned());
        } else if text.chars().all(|letter| letter == '*') {
            return Ok(Self::All);
        } else if let Some(expression) = expression(text) {
            return LazyRegex::read(expression).map(|regex| Self::Regex(regex.into()));
        } else if text.starts_with('/') {
            return Err("a regular expression ends with a slash: /.../".to_owned());
        }
        match text.find(is_special) {
            None => Ok(Self::Exact(text.into())),
            Some(at) if text[at..].chars().all(|letter| letter == '*') => Ok(Self::Prefix(text[..at].into())),
            Some(at) => {
                let glob = GlobBuilder::new(text).literal_separator(false).backslash_escape(true).empty_alternates(true).build();
                let lazy = |glob| LazyGlob { head: text[..at].into(), glob, matcher: OnceLock::new() };
                glob.map(|glob| Self::Glob(lazy(glob).into())).map_err(|err| err.kind().to_string())
            }
        }
    }

    /// With these names put in; none where it needs one that nobody knows. Panics where a name makes the pattern too large to
    /// be compiled: whoever asked is denied then.
    pub(super) fn filled(&self, names: &Names) -> Option<Cow<'_, Self>> {
        match self {
            Self::Template { text, .. } => {
                Some(Cow::Owned(Self::parse(&fill(text, names)?).expect("a name, put in as nothing but itself, breaks no pattern")))
            }
            plain => Some(Cow::Borrowed(plain)),
        }
    }

    /// Whether it is about who made the repository.
    pub(super) fn names_creator(&self) -> bool {
        matches!(self, Self::Template { text, .. } if next_of(text, CREATOR, 0).is_some())
    }

    /// What every name that it matches begins with.
    pub(super) fn head(&self) -> &BStr {
        match self {
            Self::All => BStr::new(b""),
            Self::Exact(head) | Self::Prefix(head) | Self::Template { head, .. } => head.as_ref(),
            Self::Glob(glob) => glob.head.as_ref(),
            Self::Regex(regex) => regex.head.as_ref(),
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

    /// Whether it matches; what still lacks names matches nothing.
    pub(super) fn matches(&self, name: &BStr) -> bool {
        match self {
            Self::All => true,
            Self::Exact(exact) => name == exact,
            Self::Prefix(prefix) => name.starts_with(prefix),
            Self::Glob(glob) => {
                let matcher = || glob.matcher.get_or_init(|| glob.glob.compile_matcher());
                name.to_path().is_ok_and(|path| matcher().is_match(path))
            }
            Self::Regex(regex) => regex.is_match(name),
            Self::Template { .. } => false,
        }
    }
}

/// A letter that makes a glob of a name.
fn is_special(letter: char) -> bool {
    matches!(letter, '*' | '?' | '[' | ']' | '{' | '}' | '\\')
}

/// Where `word` stands next in `text`, from `from` on; in `(?<user>...)` it is the name of a group.
fn next_of(text: &str, word: &str, from: usize) -> Option<usize> {
    let places = text[from..].match_indices(word).map(|(at, _)| from + at);
    places.into_iter().find(|at| !["(?", "(?P"].iter().any(|before| text[..*at].ends_with(before)))
}

/// `text` with names in their places, each as nothing but itself.
fn fill(text: &str, names: &Names) -> Option<String> {
    let is_expression = expression(text).is_some();
    let quoted = |name: &str| match is_expression {
        true => regex::escape(name),
        false => name.chars().flat_map(|letter| is_special(letter).then_some('\\').into_iter().chain([letter])).collect(),
    };
    let (mut filled, mut at) = (String::new(), 0);
    loop {
        let next = [USER, CREATOR].into_iter().filter_map(|word| next_of(text, word, at).map(|place| (place, word))).min();
        let Some((place, word)) = next else { break };
        let name = if word == USER { &names.user } else { names.creator.as_ref()? };
        filled += &text[at..place];
        filled += &quoted(name);
        at = place + word.len();
    }
    Some(filled + &text[at..])
}

/// What every match of an expression begins with, as far as it is plain.
fn literal_head(expression: &str) -> BString {
    let mut head = String::new();
    if expression.contains('|') {
        return head.into();
    }
    let mut letters = expression.strip_prefix('^').unwrap_or(expression).chars();
    while let Some(letter) = letters.next() {
        match letter {
            '*' | '?' | '{' => {
                head.pop();
                break;
            }
            '\\' => match letters.next() {
                // `\<` and `\>` are places, not letters.
                Some(quoted) if quoted.is_ascii_punctuation() && !"<>".contains(quoted) => head.push(quoted),
                _ => break,
            },
            letter if letter.is_ascii_alphanumeric() || "/_-:@%,~ !".contains(letter) => head.push(letter),
            _ => break,
        }
    }
    head.into()
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
            ("/(?x)a # note/", "regular expression"),
            ("/((a{1000}){1000}){1000}/", "regular expression"),
            ("{a", "alternate"),
            (r"/website\.git/", "no .git"),
        ] {
            let fault = Pattern::of_repositories(pattern).expect_err(pattern);
            assert!(fault.contains(says), "{pattern}: {fault}");
        }
        for (pattern, says) in [("secret/", "'secret/*'"), ("/secret/", "'secret/*'"), ("", "empty")] {
            let fault = Pattern::of_paths(pattern).expect_err(pattern);
            assert!(fault.contains(says), "{pattern}: {fault}");
        }
        assert!(Pattern::of_paths("/secret.*/").is_ok() && Pattern::of_paths("secret/*").is_ok() && Pattern::of_paths("secret").is_ok());
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
    fn names_are_put_in_as_nothing_but_themselves() {
        let names = |user: &str, creator: Option<&str>| Names { user: user.to_owned(), creator: creator.map(str::to_owned) };
        let says = |pattern: Result<Pattern, String>, names: &Names, name: &str| {
            let pattern = pattern.expect("a pattern");
            assert!(
                name.starts_with(pattern.head().to_str().expect("text")) || !pattern.filled(names).is_some_and(|p| p.matches(name.into()))
            );
            pattern.filled(names).is_some_and(|pattern| pattern.matches(name.into()))
        };
        for (pattern, user, yes, no) in [
            ("home/<user>/*", "ann", "home/ann/x", "home/bob/x"),
            ("<user>", "ann", "ann", "<user>"),
            ("/home\\/<user>\\/[a-z]+/", "a.n", "home/a.n/x", "home/axn/x"),
            ("/(?<user>a+)-<user>/", "bob", "aa-bob", "aa-aa"),
            ("{<user>,x}/*", "ann", "ann/1", "y/1"),
            ("x-<user>-<user>", "ann", "x-ann-ann", "x-ann"),
        ] {
            let names = names(user, None);
            assert!(says(Pattern::of_repositories(pattern), &names, yes), "{pattern} {yes}");
            assert!(!says(Pattern::of_repositories(pattern), &names, no), "{pattern} {no}");
        }
        // Somebody's name is never more than a name.
        for user in ["*", "refs", "a|b", "[a-z]", "**", "{a,b}"] {
            for name in ["refs/heads/main", "refs/heads/a", "refs/tags/refs"] {
                for pattern in ["<user>/*", "<user>", "refs/tags/<user>*x"] {
                    assert!(!says(Pattern::of_refs(pattern), &names(user, None), name), "{user} {pattern} {name}");
                }
            }
        }
        assert!(says(Pattern::of_refs("<user>/*"), &names("refs", None), "refs/heads/refs/x"));
        assert!(says(Pattern::of_refs("of/<creator>"), &names("bob", Some("ann")), "refs/heads/of/ann"));
        assert!(!says(Pattern::of_refs("of/<creator>"), &names("bob", None), "refs/heads/of/"));
        assert!(Pattern::of_refs("/refs\\/<user>(/").is_err() && Pattern::of_repositories("<user>[").is_err());
    }

    #[test]
    fn every_match_begins_with_the_head() {
        for (pattern, head) in [
            ("/refs\\/heads\\/x+y/", "refs/heads/x"),
            ("/refs\\/heads\\/xy?/", "refs/heads/x"),
            ("/refs\\/a|b/", ""),
            ("/(?i)refs.*/", ""),
            ("/refs.heads/", "refs"),
            ("refs/heads/a*b", "refs/heads/a"),
            ("main", "refs/heads/main"),
            ("u/<user>/x", "refs/heads/u/"),
        ] {
            assert_eq!(Pattern::of_refs(pattern).expect(pattern).head(), head, "{pattern}");
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
