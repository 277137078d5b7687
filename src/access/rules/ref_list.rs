//! Rules for the refs of one repository that somebody else made for one user, into a judge of names and verbs.

use super::pattern::Pattern;
use super::verb::{Verb, Verbs};
use bstr::BStr;

/// Rules in order: the first that is about ref and verb decides, and what no rule is about is denied.
#[derive(Clone, Debug, Default)]
pub(in crate::access) struct RefList(Vec<RefRule>);

#[derive(Clone, Debug)]
struct RefRule {
    /// None: every ref.
    refs: Vec<Pattern>,
    verbs: Verbs,
    allows: bool,
}

impl RefList {
    /// Add a rule in the words of `config.toml`: patterns of `refs` (none: all), and what it allows or denies.
    ///
    /// # Errors
    /// A sentence: what is wrong with the first word that means nothing.
    pub(in crate::access) fn add(&mut self, refs: &[String], allow: &[String], deny: &[String]) -> Result<(), String> {
        if allow.is_empty() == deny.is_empty() {
            return Err("a rule either allows or denies".to_owned());
        }
        let mut rule = RefRule { refs: vec![], verbs: Verbs::default(), allows: deny.is_empty() };
        for pattern in refs {
            match Pattern::of_refs(pattern)? {
                Pattern::Template { .. } => return Err("<user> and <creator> mean nothing here: say the name".to_owned()),
                pattern => rule.refs.push(pattern),
            }
        }
        for word in allow.iter().chain(deny) {
            let verbs = Verbs::parse(word).filter(|verbs| verbs.has_refs());
            rule.verbs = rule.verbs.and(verbs.ok_or_else(|| "read, create, update, write, rewind and delete are known".to_owned())?);
        }
        self.0.push(rule);
        Ok(())
    }

    /// Whether `verb` may be done to the ref of this full name. What may not be read may not be changed either.
    pub(in crate::access) fn allows(&self, verb: Verb, name: &BStr) -> bool {
        let first = |verb| self.0.iter().find(|rule| rule.verbs.contains(verb) && rule.is_about(name)).is_some_and(|rule| rule.allows);
        first(Verb::Read) && (verb == Verb::Read || first(verb))
    }
}

impl RefRule {
    fn is_about(&self, name: &BStr) -> bool {
        self.refs.is_empty() || self.refs.iter().any(|pattern| pattern.matches(name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<String> {
        text.split_whitespace().map(str::to_owned).collect()
    }

    #[test]
    fn the_first_rule_that_is_about_it_decides() {
        let mut list = RefList::default();
        assert!(!list.allows(Verb::Read, "refs/heads/main".into()));
        for (refs, allow, deny) in [("secret/*", "", "read"), ("main refs/tags/*", "", "rewind delete"), ("", "read write rewind", "")] {
            list.add(&words(refs), &words(allow), &words(deny)).expect("a rule");
        }
        for (name, verb, is_allowed) in [
            ("refs/heads/main", Verb::Read, true),
            ("refs/heads/main", Verb::Update, true),
            ("refs/heads/main", Verb::Rewind, false),
            ("refs/heads/topic", Verb::Rewind, true),
            ("refs/heads/topic", Verb::Delete, false),
            ("refs/heads/secret/x", Verb::Read, false),
            ("refs/heads/secret/x", Verb::Update, false),
        ] {
            assert_eq!(list.allows(verb, name.into()), is_allowed, "{name} {verb}");
        }
    }

    #[test]
    fn what_means_nothing_is_told() {
        let mut list = RefList::default();
        for (refs, allow, deny) in [
            ("main", "", ""),
            ("main", "read", "write"),
            ("main", "everything", ""),
            ("[", "read", ""),
            ("<user>/*", "read", ""),
            ("", "create-repository", ""),
        ] {
            assert!(list.add(&words(refs), &words(allow), &words(deny)).is_err(), "{refs} {allow} {deny}");
        }
    }
}
