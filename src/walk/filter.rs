//! A filter specification into what it means for a walk: which kinds of objects go out, how deep, and at which paths.
//!
//! Source: git-rev-list, `--filter`; `list-objects-filter.c`. What is wanted by its own id goes out whatever the filter says
//! (there: `NOT_USER_GIVEN`), and so do tags, which a walk meets in no other way. Filters that are combined each remember
//! what they have seen, so that in git an object goes out only if all of them let it pass where it is met first:
//! [`Places`] says which of that is kept.

use super::sparse::Patterns;
use crate::wire::Filter;
use gix_object::Kind;

/// Objects by kind and size alone: it does not matter where one is met.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KindFilter {
    /// Whether commits go out that are not wanted themselves.
    pub commits: bool,
    /// Whether trees go out that are not wanted themselves.
    pub trees: bool,
    /// Blobs go out that have fewer bytes than this, [`u64::MAX`]: all, 0: none.
    pub blobs_below_bytes: u64,
}

impl KindFilter {
    /// Everything goes out.
    pub const ALL: Self = Self { commits: true, trees: true, blobs_below_bytes: u64::MAX };

    /// Whether neither trees nor blobs go out: trees need not be looked at.
    pub fn is_shallowest(&self) -> bool {
        !self.trees && self.blobs_below_bytes == 0
    }

    fn and(self, other: Self) -> Self {
        Self {
            commits: self.commits && other.commits,
            trees: self.trees && other.trees,
            blobs_below_bytes: self.blobs_below_bytes.min(other.blobs_below_bytes),
        }
    }
}

/// What a filter asks of a walk.
#[derive(Clone, Debug)]
pub enum ObjectFilter {
    /// Only what an object is.
    Kinds(KindFilter),
    /// `tree:<n>`, above 0: trees and blobs at smaller depths than this, a commit's tree being at depth 0.
    Depth(u64),
    /// Where an object is met matters, and which of several filters saw it there.
    Places(Places),
}

/// Several filters of which one at least looks at depths or paths.
#[derive(Clone, Debug)]
pub struct Places {
    /// What all of them say about kinds.
    pub kinds: KindFilter,
    /// Trees and blobs at smaller depths than this; [`u64::MAX`]: at all.
    pub depth: u64,
    /// Blobs at paths that all of these choose; at most 32.
    pub patterns: Vec<Patterns>,
    /// One `sparse:oid` alone: an object is judged at every path, otherwise only where it is met first.
    pub every_path: bool,
}

impl ObjectFilter {
    /// What `filter` means; `read_patterns` finds the patterns that a `sparse:oid` names.
    pub fn new<E>(filter: &Filter, mut read_patterns: impl FnMut(&bstr::BStr) -> Result<Patterns, E>) -> Result<Self, E> {
        let mut all = Places { kinds: KindFilter::ALL, depth: u64::MAX, patterns: vec![], every_path: false };
        let parts = filter.parts();
        let mut several_depths = false;
        for part in &parts {
            match part {
                Filter::SparseOid(name) => all.patterns.push(read_patterns(name.as_ref())?),
                Filter::TreeDepth(depth) if *depth > 0 => {
                    several_depths |= all.depth != u64::MAX && all.depth != *depth;
                    all.depth = all.depth.min(*depth);
                }
                other => all.kinds = all.kinds.and(kinds_of(other)),
            }
        }
        if all.patterns.len() > 1 {
            // In git they share one mark for "shown", so each tree is shown by the first of them alone, and never by all.
            all.kinds.trees = false;
        }
        let by_place = all.depth < u64::MAX || !all.patterns.is_empty();
        if all.kinds.is_shallowest() || !by_place {
            return Ok(Self::Kinds(all.kinds));
        }
        if all.patterns.is_empty() && all.kinds == KindFilter::ALL && !several_depths {
            return Ok(Self::Depth(all.depth));
        }
        all.every_path = parts.len() == 1;
        Ok(Self::Places(all))
    }
}

/// What one filter that is not about places says.
fn kinds_of(filter: &Filter) -> KindFilter {
    let none = KindFilter { commits: false, trees: false, blobs_below_bytes: 0 };
    match filter {
        Filter::BlobNone => KindFilter { blobs_below_bytes: 0, ..KindFilter::ALL },
        Filter::BlobLimit(bytes) => KindFilter { blobs_below_bytes: *bytes, ..KindFilter::ALL },
        Filter::ObjectType(Kind::Commit) => KindFilter { commits: true, ..none },
        Filter::ObjectType(Kind::Tree) => KindFilter { trees: true, ..none },
        Filter::ObjectType(Kind::Blob) => KindFilter { blobs_below_bytes: u64::MAX, ..none },
        Filter::ObjectType(Kind::Tag) => none,
        Filter::TreeDepth(0) => KindFilter { commits: true, ..none },
        Filter::TreeDepth(_) | Filter::SparseOid(_) | Filter::Combine(_) => KindFilter::ALL,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filter(spec: &str) -> ObjectFilter {
        let parsed = Filter::parse(spec.into()).expect("a specification");
        ObjectFilter::new(&parsed, |_| Ok::<_, ()>(Patterns::parse(b"*.c"))).expect("patterns")
    }

    #[test]
    fn what_does_not_depend_on_places_becomes_one_filter_by_kind() {
        let none = KindFilter { commits: false, trees: false, blobs_below_bytes: 0 };
        for (spec, wanted) in [
            ("blob:none", KindFilter { blobs_below_bytes: 0, ..KindFilter::ALL }),
            ("combine:blob:limit=7+blob:limit=5", KindFilter { blobs_below_bytes: 5, ..KindFilter::ALL }),
            ("tree:0", KindFilter { commits: true, ..none }),
            ("object:type=tree", KindFilter { trees: true, ..none }),
            ("combine:object:type=blob+blob:limit=9", KindFilter { blobs_below_bytes: 9, ..none }),
            ("combine:tree:0+object:type=tag", none),
            ("combine:tree:5+object:type=commit", KindFilter { commits: true, ..none }),
        ] {
            assert!(matches!(filter(spec), ObjectFilter::Kinds(kinds) if kinds == wanted), "{spec}: {:?}", filter(spec));
        }
    }

    #[test]
    fn depths_and_paths_are_kept_apart() {
        assert!(matches!(filter("combine:tree:3+tree:3"), ObjectFilter::Depth(3)));
        assert!(matches!(filter("combine:tree:4+tree:3"), ObjectFilter::Places(Places { depth: 3, every_path: false, .. })));
        assert!(matches!(filter("sparse:oid=x"), ObjectFilter::Places(Places { every_path: true, .. })));
        let both = filter("combine:tree:4+blob:none+sparse:oid=x");
        assert!(
            matches!(&both, ObjectFilter::Places(places) if places.depth == 4 && places.patterns.len() == 1 && !places.every_path),
            "{both:?}"
        );
    }
}
