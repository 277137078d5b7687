//! gitolite's regular expressions, which are Perl's, into patterns of ours, which are about the whole name.
//!
//! | gitolite's | for | means there | becomes |
//! |---|---|---|---|
//! | `master` | refs, paths | all that begins so | `master*` |
//! | `master$` | refs, paths | that name | `master` |
//! | `refs/.*`, none | refs | all | none |
//! | `release/v[0-9]` | refs, paths | a match at the beginning | `/refs/heads/release/v[0-9].*/` |
//! | `a\|b` | all | `a` at the beginning, or `b` anywhere | `/.*(?:^a\|b).*/` |
//! | `foo/..*` | repositories | the whole name | `/foo/..*/` |
//!
//! `/USER/` in a ref is whoever asks, `CREATOR` in a repository's name who made it. What Perl has and our expressions have not
//! (references back, `\Z`, `\G`, ...) is told.

use regex::bytes::{Regex, RegexBuilder};

/// Bytes that a compiled expression may take.
const COMPILED_BYTES_MAX: usize = 1 << 20;
const BRANCHES: &str = "refs/heads/";

/// Compile an expression as the rules do.
pub(super) fn compile(expression: &str) -> Result<Regex, String> {
    let mut builder = RegexBuilder::new(expression);
    builder.unicode(false).dot_matches_new_line(true).size_limit(COMPILED_BYTES_MAX);
    builder.build().map_err(|error| error.to_string().lines().last().unwrap_or_default().trim().to_owned())
}

/// The pattern of refs that a whole refex, which begins with `refs/`, means; none: every ref.
///
/// # Errors
/// It cannot be said so.
pub(super) fn of_refs(refex: &str) -> Result<Option<String>, String> {
    let refex = refex.replacen("/USER/", "/<user>/", 1);
    let pattern = begins(&refex)?;
    if pattern == "refs/*" {
        return Ok(None);
    }
    // A branch has a short name, unless that would say something else.
    let short = pattern.strip_prefix(BRANCHES).filter(|short| !short.trim_matches('*').is_empty() && !short.starts_with("refs/"));
    Ok(Some(short.map_or(pattern.clone(), str::to_owned)))
}

/// The pattern of paths that the rest of a `VREF/NAME/` refex means; none: every path.
///
/// # Errors
/// It cannot be said so.
pub(super) fn of_paths(refex: &str) -> Result<Option<String>, String> {
    let pattern = begins(&refex.replacen("/USER/", "/<user>/", 1))?;
    Ok(Some(pattern).filter(|pattern| pattern != "*"))
}

/// The pattern of repositories that an expression about whole names means.
///
/// # Errors
/// It cannot be said so.
pub(super) fn of_repositories(expression: &str) -> Result<String, String> {
    let expression = expression.replacen("CREATOR", "<creator>", 1);
    let parsed = Parsed::of(&expression)?;
    if parsed.is_literal {
        return Ok(expression);
    }
    let whole = if parsed.has_top_bar { format!(".*(?:^{}$).*", parsed.text) } else { bare(&parsed).0.to_owned() };
    compile(&whole)?;
    Ok(format!("/{whole}/"))
}

/// An expression that matches where gitolite's `/^(expression)$/` does; `CREATOR` is anybody.
pub(super) fn matcher_of_repositories(expression: &str) -> Result<Regex, String> {
    let parsed = Parsed::of(&expression.replacen("CREATOR", "[^/]+", 1))?;
    compile(&format!("^{}$", parsed.text))
}

/// What begins with a match of `refex`.
fn begins(refex: &str) -> Result<String, String> {
    let parsed = Parsed::of(refex)?;
    if parsed.has_top_bar {
        let whole = format!(".*(?:^{}).*", parsed.text);
        compile(&whole)?;
        return Ok(format!("/{whole}/"));
    }
    let (body, is_whole) = bare(&parsed);
    // `.*` at the end of what is not anchored there says nothing.
    let body = if is_whole { body } else { body.strip_suffix(".*").filter(|rest| !rest.ends_with('\\')).unwrap_or(body) };
    if Parsed::of(body)?.is_literal {
        return Ok(if is_whole { body.to_owned() } else { format!("{body}*") });
    }
    let whole = if is_whole { body.to_owned() } else { format!("{body}.*") };
    compile(&whole)?;
    Ok(format!("/{whole}/"))
}

/// Without `^` and `$` around it, and whether there was a `$`.
fn bare(parsed: &Parsed) -> (&str, bool) {
    let text = parsed.text.strip_prefix('^').unwrap_or(&parsed.text);
    match text.strip_suffix('$') {
        Some(rest) if !ends_in_escape(rest) => (rest, true),
        _ => (text, false),
    }
}

fn ends_in_escape(text: &str) -> bool {
    text.chars().rev().take_while(|letter| *letter == '\\').count() % 2 == 1
}

/// An expression that was looked at.
struct Parsed {
    /// As our expressions have it.
    text: String,
    /// It has an alternative outside of all brackets.
    has_top_bar: bool,
    /// No letter of it means more than itself.
    is_literal: bool,
}

impl Parsed {
    fn of(expression: &str) -> Result<Self, String> {
        let mut parsed = Self { text: String::with_capacity(expression.len()), has_top_bar: false, is_literal: true };
        let (mut depth, mut in_class, mut letters) = (0_usize, false, expression.chars().peekable());
        while let Some(letter) = letters.next() {
            parsed.is_literal &= !r"\^$|()[]*?{}.+".contains(letter);
            match letter {
                '\\' => {
                    let escaped = letters.next().ok_or("it ends with a backslash")?;
                    if escaped.is_ascii_alphanumeric() && !"dDsSwWbBAztnrf".contains(escaped) {
                        return Err(format!(r"'\{escaped}' is Perl's alone"));
                    }
                    parsed.text.push(letter);
                    parsed.text.push(escaped);
                    continue;
                }
                // Within a class Perl takes a bracket for itself; our expressions begin a class in the class.
                '[' if in_class => parsed.text.push('\\'),
                '[' => {
                    in_class = true;
                    parsed.text.push(letter);
                    // `]` first in a class is itself.
                    for first in ['^', ']'] {
                        if let Some(taken) = letters.next_if_eq(&first) {
                            parsed.text += if taken == ']' { r"\]" } else { "^" };
                        }
                    }
                    continue;
                }
                ']' => in_class = false,
                // Twice a hyphen takes away in classes of ours.
                '-' if in_class && letters.peek() == Some(&'-') => parsed.text.push('\\'),
                '(' if !in_class => depth += 1,
                ')' if !in_class => depth = depth.saturating_sub(1),
                '|' if !in_class && depth == 0 => parsed.has_top_bar = true,
                _ => {}
            }
            parsed.text.push(letter);
        }
        compile(&parsed.text)?;
        Ok(parsed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refexes_become_the_shortest_pattern_that_means_the_same() {
        for (refex, pattern) in [
            ("refs/heads/master", Some("master*")),
            ("refs/heads/master$", Some("master")),
            ("refs/heads/dev/", Some("dev/*")),
            ("refs/heads/dev/.*", Some("dev/*")),
            ("refs/.*", None),
            ("refs/", None),
            ("refs/heads/", Some("refs/heads/*")),
            ("refs/tags/v[0-9]", Some("/refs/tags/v[0-9].*/")),
            ("refs/tags/v[0-9]$", Some("/refs/tags/v[0-9]/")),
            ("refs/heads/v1.0", Some("/refs/heads/v1.0.*/")),
            ("refs/heads/(a|b)$", Some("/refs/heads/(a|b)/")),
            ("refs/heads/a|b", Some("/.*(?:^refs/heads/a|b).*/")),
            ("refs/heads/dev/USER/", Some("dev/<user>/*")),
            ("refs/heads/a[[b]", Some(r"/refs/heads/a[\[b].*/")),
        ] {
            assert_eq!(of_refs(refex).as_ref().map(Option::as_deref), Ok(pattern), "{refex}");
        }
    }

    #[test]
    fn patterns_of_repositories_and_paths() {
        for (expression, pattern) in [
            ("foo/..*", "/foo/..*/"),
            ("foo/CREATOR/[a-z]..*", "/foo/<creator>/[a-z]..*/"),
            ("a|b..*", "/.*(?:^a|b..*$).*/"),
            ("foo/CREATOR", "foo/<creator>"),
        ] {
            assert_eq!(of_repositories(expression).as_deref(), Ok(pattern));
        }
        assert_eq!(of_paths("").as_ref().map(Option::as_deref), Ok(None));
        assert_eq!(of_paths("Makefile").as_ref().map(Option::as_deref), Ok(Some("Makefile*")));
        assert_eq!(of_paths("doc/.*\\.html$").as_ref().map(Option::as_deref), Ok(Some("/doc/.*\\.html/")));
    }

    #[test]
    fn what_only_perl_has_is_told() {
        for refex in [r"refs/heads/(a)\1", r"refs/heads/a\Z", "refs/heads/a(", r"refs/heads/a\", "refs/heads/a{"] {
            assert!(of_refs(refex).is_err(), "{refex}");
        }
    }
}
