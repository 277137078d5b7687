//! What a walk found for one request: the objects that go out, those that the client is known to have, and what
//! tells good bases of deltas.
//!
//! Filled by `walk`, read by [`super::PackPlan`]. A whole closure is an [`ObjectSet`] and nothing else:
//! `Found::from(set)`.

use super::{Decoded, Location, ObjectSet, Objects};
use crate::base::{FastMap, FastSet};
use gix_hash::ObjectId;

/// The answer to "which objects?".
#[derive(Debug, Default)]
pub struct Found {
    /// What goes out.
    pub set: ObjectSet,
    /// What the client is known to have, as far as it is worth knowing: bases for thin packs. Never more than it has.
    pub known: ObjectSet,
    /// More of that, by id: nobody has looked yet where it lies, nor whether it is here.
    pub known_ids: FastSet<ObjectId>,
    /// What stood before at the path of an object that goes out.
    pub hints: DeltaHints,
    /// Trees that were looked into on the way: whoever searches deltas needs them again.
    pub decoded: Decoded,
}

impl From<ObjectSet> for Found {
    fn from(set: ObjectSet) -> Self {
        Self { set, ..Self::default() }
    }
}

impl Found {
    /// Whether the client is known to have the object that lies at `location` of `objects`.
    pub fn is_known(&self, objects: &dyn Objects, location: &Location) -> bool {
        self.known.contains(location) || !self.known_ids.is_empty() && self.known_ids.contains(&location.id(objects))
    }
}

/// What is known of one object that goes out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeltaHint {
    /// The object of the same type at the same path that the client has.
    pub base: Option<Location>,
    /// Hash of its last path component ([`name_hash`]).
    pub name: u32,
}

/// Hints kept for one request; a fetch with more new objects is nearly a clone, whose stored deltas serve it well.
const HINTS_MAX: usize = 1 << 17;

/// Hints by object.
#[derive(Debug, Default)]
pub struct DeltaHints(FastMap<Location, DeltaHint>);

impl DeltaHints {
    /// Keep the hint of an object that goes out: its last path component hashes to `name`; `before` is the object of
    /// the same type that stood there, and whether the client has that; else it goes out and has a hint of its own.
    pub fn insert(&mut self, object: &Location, name: u32, before: Option<(&Location, bool)>) {
        if self.0.len() < HINTS_MAX {
            let base = before.and_then(|(before, known)| if known { Some(*before) } else { self.get(before)?.base });
            self.0.entry(*object).or_insert(DeltaHint { base, name });
        }
    }

    /// What is known of this object.
    pub fn get(&self, object: &Location) -> Option<DeltaHint> {
        self.0.get(object).copied()
    }

    /// How many objects have hints.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is no hint at all.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// A number by which names with the same end sort near each other, as in git's search (`pack_name_hash`).
pub fn name_hash(name: &[u8]) -> u32 {
    let letters = name.iter().filter(|byte| !byte.is_ascii_whitespace());
    letters.fold(0, |hash: u32, byte| (hash >> 2).wrapping_add(u32::from(*byte) << 24))
}

#[cfg(test)]
mod tests {
    use super::*;
    #[test]
    fn a_hint_leads_through_what_goes_out_to_what_the_client_has() {
        let object = |number: u8| Location::Loose(ObjectId::from_bytes_or_panic(&[number; 20]));
        let mut hints = DeltaHints::default();
        hints.insert(&object(1), 7, Some((&object(0), true)));
        hints.insert(&object(2), 7, Some((&object(1), false)));
        hints.insert(&object(3), 8, None);
        hints.insert(&object(4), 8, Some((&object(3), false)));
        assert_eq!(hints.get(&object(2)), Some(DeltaHint { base: Some(object(0)), name: 7 }));
        assert_eq!(hints.get(&object(4)), Some(DeltaHint { base: None, name: 8 }));
        assert_eq!(hints.get(&object(5)), None);
    }

    #[test]
    fn names_with_the_same_end_sort_together() {
        let far = name_hash(b"main.c").abs_diff(name_hash(b"lib.rs"));
        assert!(name_hash(b"main.rs").abs_diff(name_hash(b"lib.rs")) < far);
        assert_eq!(name_hash(b"a b"), name_hash(b"ab"), "spaces do not count");
    }
}
