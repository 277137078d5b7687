//! What a `repo` line of gitolite names into patterns of ours, and which of them lie within others.
//!
//! A word without signs of an expression is a name; others are expressions about the whole name; `@all` is everything. Whether two
//! expressions have names in common is not worked out: unless one is the other's text, or they begin differently, they may.

use super::refex;
use regex::bytes::Regex;

/// A name, or a pattern of names.
#[derive(Clone, Debug)]
pub(super) enum Repositories {
    All,
    Name(String),
    Pattern(Pattern),
}

/// An expression.
#[derive(Clone, Debug)]
pub(super) struct Pattern {
    text: String,
    ours: String,
    matcher: Regex,
}

/// How much of some names is within others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Overlap {
    None,
    /// Or perhaps none.
    Some,
    All,
}

/// Whether this may be the name of one repository (gitolite's `REPONAME_PATT`).
pub(super) fn is_name(word: &str) -> bool {
    word.starts_with(|letter: char| letter.is_ascii_alphanumeric())
        && word.chars().all(|letter| letter.is_ascii_alphanumeric() || "-._@/+".contains(letter))
}

/// Whether this may be a name or an expression of names or of refs (`REPOPATT_PATT`).
pub(super) fn is_pattern(word: &str) -> bool {
    word.starts_with(|letter: char| letter.is_ascii_alphanumeric() || letter == '[')
        && word.chars().all(|letter| letter.is_ascii_alphanumeric() || r"-._@/+\^$|()[]*?{},".contains(letter))
}

impl Repositories {
    /// # Errors
    /// An expression that cannot be said in ours.
    pub(super) fn parse(word: &str) -> Result<Self, String> {
        if word == "@all" {
            return Ok(Self::All);
        } else if is_name(word) && !word.contains("CREATOR") {
            return Ok(Self::Name(word.to_owned()));
        }
        let (ours, matcher) = (refex::of_repositories(word)?, refex::matcher_of_repositories(word)?);
        Ok(Self::Pattern(Pattern { text: word.to_owned(), ours, matcher }))
    }

    /// As our rules have it.
    pub(super) fn as_pattern(&self) -> &str {
        match self {
            Self::All => "*",
            Self::Name(name) => name,
            Self::Pattern(pattern) => &pattern.ours,
        }
    }

    /// How many of these names are within `others`.
    pub(super) fn within(&self, others: &Self) -> Overlap {
        let when = |is_so, then| if is_so { then } else { Overlap::None };
        match (self, others) {
            (_, Self::All) => Overlap::All,
            (Self::All, _) => Overlap::Some,
            (Self::Name(name), Self::Name(other)) => when(name == other, Overlap::All),
            (Self::Name(name), Self::Pattern(pattern)) => {
                // Whoever made it decides: that is not known here.
                let found = if pattern.text.contains("CREATOR") { Overlap::Some } else { Overlap::All };
                when(pattern.matcher.is_match(name.as_bytes()), found)
            }
            (Self::Pattern(pattern), Self::Name(name)) => when(pattern.matcher.is_match(name.as_bytes()), Overlap::Some),
            (Self::Pattern(pattern), Self::Pattern(other)) if pattern.text == other.text => Overlap::All,
            (Self::Pattern(pattern), Self::Pattern(other)) => {
                let (a, b) = (pattern.beginning(), other.beginning());
                when(a.starts_with(b) || b.starts_with(a), Overlap::Some)
            }
        }
    }
}

impl Pattern {
    /// What all its names begin with.
    fn beginning(&self) -> &str {
        let text = self.text.split("CREATOR").next().unwrap_or_default();
        if text.contains('|') {
            return "";
        }
        match text.find(|letter: char| !(letter.is_ascii_alphanumeric() || "-_@/".contains(letter))) {
            // A letter before a quantifier may be missing.
            Some(at) if text[at..].starts_with(['*', '?', '{', '+']) => &text[..at.saturating_sub(1)],
            Some(at) => &text[..at],
            None => text,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_lies_within_what() {
        let within = |a: &str, b: &str| {
            let parse = |word| Repositories::parse(word).expect("a pattern");
            parse(a).within(&parse(b))
        };
        for (a, b, overlap) in [
            ("foo", "foo", Overlap::All),
            ("foo", "bar", Overlap::None),
            ("foo", "@all", Overlap::All),
            ("@all", "foo", Overlap::Some),
            ("foo/x", "foo/..*", Overlap::All),
            ("foo", "foo/..*", Overlap::None),
            ("foo/..*", "foo/x", Overlap::Some),
            ("foo/..*", "bar/..*", Overlap::None),
            ("foo/..*", "foo/[a-z]*", Overlap::Some),
            ("foo/..*", "foo/..*", Overlap::All),
            ("foo/ann/x", "foo/CREATOR/..*", Overlap::Some),
            ("a|b..*", "c..*", Overlap::Some),
            ("ab?c..*", "ac..*", Overlap::Some),
        ] {
            assert_eq!(within(a, b), overlap, "{a} {b}");
        }
    }
}
