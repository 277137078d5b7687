//! Many patterns into those that match a name, without holding the name against each.
//!
//! Names that stand there in full are one look into a table. All others are sorted by what their matches begin with, and only
//! those whose beginning the name has are held against it: with nothing in common at the beginning that is all of them.

use super::pattern::{Names, Pattern};
use bstr::{BStr, ByteSlice as _};
use std::collections::HashMap;

/// A number, and what has to match beyond the beginning.
type Numbered = (u32, Option<Pattern>);

/// Patterns, each with a number; they are added in the order of their numbers.
#[derive(Debug, Default)]
pub(super) struct Patterns {
    all: Vec<u32>,
    exact: HashMap<Box<[u8]>, Vec<u32>>,
    /// By what their matches begin with; without a pattern: whatever begins so.
    heads: HashMap<Box<[u8]>, Vec<Numbered>>,
    /// Of these beginnings, from the shortest.
    head_lengths: Vec<usize>,
}

impl Patterns {
    /// A pattern of the thing called `number`.
    pub(super) fn add(&mut self, pattern: &Pattern, number: u32) {
        let head: Box<[u8]> = pattern.head().to_vec().into();
        let own = match pattern {
            Pattern::All => return self.all.push(number),
            Pattern::Exact(_) => return self.exact.entry(head).or_default().push(number),
            Pattern::Prefix(_) => None,
            other => Some(other.clone()),
        };
        if let Err(at) = self.head_lengths.binary_search(&head.len()) {
            self.head_lengths.insert(at, head.len());
        }
        self.heads.entry(head).or_default().push((number, own));
    }

    /// Something that every name matches.
    pub(super) fn add_every(&mut self, number: u32) {
        self.all.push(number);
    }

    /// Whether there is none.
    pub(super) fn is_empty(&self) -> bool {
        self.all.is_empty() && self.exact.is_empty() && self.heads.is_empty()
    }

    /// The lowest number with a pattern that matches `name` and that is `accepted`.
    pub(super) fn first(&self, name: &BStr, accepted: impl Fn(u32) -> bool) -> Option<u32> {
        let mut best = u32::MAX;
        let exact = self.exact.get(name.as_bytes()).into_iter();
        for list in exact.chain([&self.all]) {
            best = list.iter().copied().take_while(|number| *number < best).find(|number| accepted(*number)).unwrap_or(best);
        }
        for list in self.with_head_of(name) {
            let lower = list.iter().take_while(|(number, _)| *number < best);
            let found = lower.into_iter().find(|(number, pattern)| pattern.as_ref().is_none_or(|p| p.matches(name)) && accepted(*number));
            best = found.map_or(best, |(number, _)| *number);
        }
        (best != u32::MAX).then_some(best)
    }

    /// All numbers with a pattern that matches `name` once `names` are put in, in order.
    pub(super) fn all_of(&self, name: &BStr, names: &Names) -> Vec<u32> {
        let mut found: Vec<u32> = self.all.clone();
        found.extend(self.exact.get(name.as_bytes()).into_iter().flatten());
        for list in self.with_head_of(name) {
            let matches = |pattern: &Pattern| pattern.filled(names).is_some_and(|pattern| pattern.matches(name));
            found.extend(list.iter().filter(|(_, pattern)| pattern.as_ref().is_none_or(matches)).map(|(number, _)| *number));
        }
        found.sort_unstable();
        found.dedup();
        found
    }

    fn with_head_of<'a>(&'a self, name: &'a BStr) -> impl Iterator<Item = &'a Vec<Numbered>> {
        let heads = self.head_lengths.iter().map_while(|length| name.get(..*length));
        heads.filter_map(|head| self.heads.get(head))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_is_found_is_what_matches_one_by_one(
            texts in proptest::collection::vec("(\\*|[ab]{1,3}|[ab]{0,2}\\*|[ab]?\\*[ab]|[ab]\\?|/[ab]{0,2}[+*?]?[ab]/|/a\\|b/|<user>[ab]?|a<user>\\*|b<creator>)", 0..12),
            name in "[ab]{1,4}",
            refused in any::<u16>(),
        ) {
            let names = Names { user: "a".to_owned(), creator: None };
            let parsed: Vec<_> = texts.iter().map(|text| Pattern::of_repositories(text).ok()).collect();
            let (mut templates, mut plain) = (Patterns::default(), Patterns::default());
            for (at, pattern) in parsed.iter().enumerate() {
                let Some(pattern) = pattern else { continue };
                templates.add(pattern, at as u32);
                if let Some(filled) = pattern.filled(&names) {
                    plain.add(&filled, at as u32);
                }
            }
            let matches = |pattern: &Option<Pattern>| {
                pattern.as_ref().and_then(|p| p.filled(&names)).is_some_and(|p| p.matches(name.as_str().into()))
            };
            let expected: Vec<u32> = (0..parsed.len()).filter(|at| matches(&parsed[*at])).map(|at| at as u32).collect();
            prop_assert_eq!(&templates.all_of(name.as_str().into(), &names), &expected);
            let accepted = |number: u32| refused >> (number % 16) & 1 == 0;
            let first = expected.iter().copied().find(|number| accepted(*number));
            prop_assert_eq!(plain.first(name.as_str().into(), accepted), first);
        }
    }
}
