//! Files beneath `refs`, `packed-refs` and HEAD into one sorted, immutable view.

use bstr::BStr;
use gix_hash::ObjectId;

/// What a ref holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target<'a> {
    /// An object.
    Object(ObjectId),
    /// Another ref, by its full name.
    Symbolic(&'a BStr),
}

/// What is known of the object behind an annotated tag without opening it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Peeled {
    /// The ref's file does not say; open the object.
    Unknown,
    /// It is no tag object.
    Itself,
    /// It is a tag object that finally leads to this.
    To(ObjectId),
}

/// One ref.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RefEntry<'a> {
    /// Full name, such as `refs/heads/main`.
    pub name: &'a BStr,
    /// What the ref itself holds.
    pub target: Target<'a>,
    /// The object that it finally leads to; `None` for a symbolic ref to a branch that is not born.
    pub id: Option<ObjectId>,
    /// What lies behind `id`.
    pub peeled: Peeled,
}

/// What HEAD holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Head {
    /// A commit itself.
    Detached(ObjectId),
    /// A ref by its full name, and its value if it has one.
    Symbolic(bstr::BString, Option<ObjectId>),
    /// There is no usable HEAD.
    Missing,
}

/// All refs of a repository at one moment, sorted by name. HEAD stands beside them, not among them.
///
/// Broken refs (empty files, bad names, loops) are left out with a warning in the log, as git does.
#[derive(Debug, Default)]
pub struct Refs {}

impl Refs {
    /// How many refs there are, symbolic ones included.
    pub fn len(&self) -> usize {
        todo!()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Ref number `at` in order of names; `at` is below [`Refs::len`].
    pub fn get(&self, at: usize) -> RefEntry<'_> {
        let _ = at;
        todo!()
    }

    /// The ref with this full name.
    pub fn find(&self, name: &BStr) -> Option<RefEntry<'_>> {
        let _ = name;
        todo!()
    }

    /// The numbers of all refs whose names begin with `prefix`: they are neighbours.
    pub fn range_with_prefix(&self, prefix: &BStr) -> std::ops::Range<usize> {
        let _ = prefix;
        todo!()
    }

    /// All refs in order of names.
    pub fn iter(&self) -> impl Iterator<Item = RefEntry<'_>> + '_ {
        (0..self.len()).map(|at| self.get(at))
    }
}
