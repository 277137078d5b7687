//! What somebody may do, in one word each.

use crate::serve::EditKind;
use std::fmt;

/// Something that a rule allows or denies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Verb {
    /// See a ref and fetch what it reaches.
    Read,
    /// Make a ref.
    Create,
    /// Move a ref forward.
    Update,
    /// Move a ref to where its old value is lost.
    Rewind,
    /// Remove a ref.
    Delete,
    /// Make the repository, by pushing to it or empty.
    CreateRepository,
    /// Make, rename and delete the repository, see it in lists for administrators, and say who has which role there.
    Admin,
}

impl Verb {
    /// All, in the order in which they are listed.
    pub const ALL: [Self; 7] = [Self::Read, Self::Create, Self::Update, Self::Rewind, Self::Delete, Self::CreateRepository, Self::Admin];

    /// What a word of rules means: one of them, or two for `write`.
    pub fn meant_by(word: &str) -> Option<Vec<Self>> {
        let verbs = Verbs::parse(word)?;
        Some(Self::ALL.into_iter().filter(|verb| verbs.contains(*verb)).collect())
    }

    /// The word for it in rules.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Create => "create",
            Self::Update => "update",
            Self::Rewind => "rewind",
            Self::Delete => "delete",
            Self::CreateRepository => "create-repository",
            Self::Admin => "admin",
        }
    }

    /// Whether it is about single refs, and not about a repository as a whole.
    pub fn is_about_refs(self) -> bool {
        !matches!(self, Self::CreateRepository | Self::Admin)
    }
}

impl fmt::Display for Verb {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl From<EditKind> for Verb {
    fn from(kind: EditKind) -> Self {
        match kind {
            EditKind::Create => Self::Create,
            EditKind::Update => Self::Update,
            EditKind::Rewind => Self::Rewind,
            EditKind::Delete => Self::Delete,
        }
    }
}

/// Some verbs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Verbs(u8);

impl Verbs {
    /// What a push may do to refs.
    pub(super) const WRITING: [Verb; 4] = [Verb::Create, Verb::Update, Verb::Rewind, Verb::Delete];

    /// The verbs that `word` stands for: one of theirs, or `write` for `create` and `update`.
    pub(super) fn parse(word: &str) -> Option<Self> {
        let named = |verbs: &[Verb]| Self(verbs.iter().fold(0, |bits, verb| bits | 1 << *verb as u8));
        match word {
            "write" => Some(named(&[Verb::Create, Verb::Update])),
            word => Verb::ALL.iter().find(|verb| verb.as_str() == word).map(|verb| named(&[*verb])),
        }
    }

    pub(super) fn and(self, others: Self) -> Self {
        Self(self.0 | others.0)
    }

    pub(super) fn contains(self, verb: Verb) -> bool {
        self.0 >> verb as u8 & 1 == 1
    }

    /// Whether each is one of these.
    pub(super) fn are_only(self, verbs: &[Verb]) -> bool {
        Verb::ALL.iter().all(|verb| verbs.contains(verb) || !self.contains(*verb))
    }

    /// Whether one of them changes anything.
    pub(super) fn has_writing(self) -> bool {
        Verb::ALL.iter().any(|verb| *verb != Verb::Read && self.contains(*verb))
    }

    /// Whether one of them is about refs.
    pub(super) fn has_refs(self) -> bool {
        Verb::ALL.iter().any(|verb| verb.is_about_refs() && self.contains(*verb))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_word_is_read_back() {
        for verb in Verb::ALL {
            let verbs = Verbs::parse(verb.as_str()).expect("a word");
            assert!(Verb::ALL.iter().all(|other| verbs.contains(*other) == (*other == verb)), "{verb}");
        }
        let write = Verbs::parse("write").expect("a word");
        assert!(
            write.contains(Verb::Create) && write.contains(Verb::Update) && !write.contains(Verb::Rewind) && !write.contains(Verb::Read)
        );
        assert_eq!(Verbs::parse("Read"), None);
        assert_eq!((Verb::meant_by("write"), Verb::meant_by("x")), (Some(vec![Verb::Create, Verb::Update]), None));
    }
}
