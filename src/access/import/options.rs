//! Options of gitolite into what holds for a repository: of all settings for it the last one counts.
//!
//! For names this is known. For an expression it may be one thing for some of its repositories and another for the rest; then it is
//! a condition on the repository's name.

use super::conf::{Setting, is_true};
use super::names::{Overlap, Repositories};

/// Whether something holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Holds {
    Always,
    Never,
    /// Where this expression (CEL) is true.
    Where(String),
}

/// Settings of one option in order, each with the repositories that it is about.
#[derive(Debug, Default)]
pub(super) struct Switch(Vec<(Vec<Repositories>, bool)>);

impl Switch {
    /// Those called `name`; `repositories` says what the words of a `repo` line are.
    pub(super) fn of(name: &str, settings: &[Setting], repositories: impl Fn(&Setting) -> Vec<Repositories>) -> Self {
        let those = settings.iter().filter(|setting| setting.name == name);
        Self(those.map(|setting| (repositories(setting), is_true(&setting.value))).collect())
    }

    /// Whether it holds for `these`.
    pub(super) fn holds(&self, these: &Repositories) -> Holds {
        let (mut base, mut parts): (bool, Vec<(String, bool)>) = (false, vec![]);
        for (others, value) in &self.0 {
            let overlaps: Vec<_> = others.iter().map(|other| (other, these.within(other))).collect();
            if overlaps.iter().any(|(_, overlap)| *overlap == Overlap::All) {
                (base, parts) = (*value, vec![]);
                continue;
            }
            let some = overlaps.iter().filter(|(_, overlap)| *overlap == Overlap::Some).map(|(other, _)| condition(other));
            parts.extend(some.map(|test| (test, *value)));
        }
        // What says again what is said anyway adds nothing.
        let dull = parts.iter().take_while(|(_, value)| *value == base).count();
        parts.drain(..dull);
        if parts.is_empty() {
            return if base { Holds::Always } else { Holds::Never };
        }
        let expression = parts.iter().fold(base.to_string(), |before, (test, value)| match (value, before.as_str()) {
            (true, "false") => test.clone(),
            (true, _) => format!("({test} || {before})"),
            (false, "true") => format!("!{test}"),
            (false, _) => format!("(!{test} && {before})"),
        });
        Holds::Where(expression)
    }
}

/// Whether a repository is one of these, as an expression.
pub(super) fn condition(these: &Repositories) -> String {
    let quoted = |text: &str| format!("\"{}\"", text.replace('\\', r"\\").replace('"', "\\\""));
    let pattern = these.as_pattern();
    match pattern.strip_prefix('/').and_then(|rest| rest.strip_suffix('/')) {
        Some(expression) => format!("repository.matches({})", quoted(&format!("^(?:{})$", expression.replace("<creator>", "[^/]+")))),
        None => format!("(repository == {})", quoted(pattern)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_setting_counts_and_what_differs_within_is_a_condition() {
        let parse = |word: &str| Repositories::parse(word).expect("a pattern");
        let switch = |settings: &[(&str, bool)]| {
            Switch(settings.iter().map(|(words, value)| (words.split(' ').map(parse).collect(), *value)).collect())
        };
        let all_but_some = switch(&[("@all", true), ("open pub/..*", false)]);
        assert_eq!(all_but_some.holds(&parse("open")), Holds::Never);
        assert_eq!(all_but_some.holds(&parse("pub/x")), Holds::Never);
        assert_eq!(all_but_some.holds(&parse("other")), Holds::Always);
        assert_eq!(all_but_some.holds(&parse("pub/..*")), Holds::Never);
        assert_eq!(all_but_some.holds(&parse("s/..*")), Holds::Always);
        let Holds::Where(expression) = all_but_some.holds(&parse("@all")) else { panic!("it differs") };
        assert_eq!(expression, r#"(!repository.matches("^(?:pub/..*)$") && !(repository == "open"))"#);
        assert_eq!(switch(&[]).holds(&parse("@all")), Holds::Never);
        assert_eq!(
            switch(&[("x", true), ("x", false)]).holds(&parse("@all")),
            Holds::Where(r#"(!(repository == "x") && (repository == "x"))"#.to_owned())
        );
        assert_eq!(switch(&[("x", false)]).holds(&parse("@all")), Holds::Never);
    }
}
