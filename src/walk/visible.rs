//! A view's refs and a gate's answer into what one request sees: the only way in which `walk` and `serve` see refs.

use super::{Error, peel};
use crate::pack::{Bits, Decoder};
use crate::store::{Head, Peeled, RefEntry, Refs, Snapshot, Target};
use bstr::{BStr, ByteSlice};
use gix_hash::ObjectId;
use std::hash::{Hash, Hasher};
use std::ops::Range;
use std::sync::Arc;

/// The refs of a snapshot less those that are hidden from this request.
#[derive(Clone, Debug)]
pub struct VisibleRefs {
    refs: Arc<Refs>,
    only: Option<Bits>,
    head: Head,
}

/// Which refs are seen, HEAD among them: two views of one [`Snapshot::state`] that hash alike see the same.
impl Hash for VisibleRefs {
    fn hash<H: Hasher>(&self, state: &mut H) {
        let Self { refs: _, only, head } = self;
        only.hash(state);
        head.hash(state);
    }
}

/// One visible ref that leads to an object.
#[derive(Clone, Copy, Debug)]
pub struct VisibleRef<'a> {
    /// Full name.
    pub name: &'a BStr,
    /// The object that it finally leads to.
    pub id: ObjectId,
    /// Where it points, when it is symbolic and that ref is visible too.
    pub symref_target: Option<&'a BStr>,
    /// What its file says of the object behind a tag.
    pub peeled: Peeled,
}

/// HEAD as this request sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VisibleHead<'a> {
    /// It leads to a commit, through this ref if it is symbolic.
    Born(ObjectId, Option<&'a BStr>),
    /// It names a branch that is not there yet.
    Unborn(&'a BStr),
    /// There is none, or it may not be seen.
    None,
}

impl VisibleRefs {
    /// The refs of `snapshot` whose numbers are in `only` (`None`: all), and HEAD as this request may see it.
    pub fn new(snapshot: &Snapshot, only: Option<Bits>, head: Head) -> Self {
        Self { refs: snapshot.refs().clone(), only, head }
    }

    /// Whether any ref of the snapshot is hidden from this request.
    pub fn hides_any(&self) -> bool {
        self.only.is_some()
    }

    fn sees(&self, at: usize) -> bool {
        self.only.as_ref().is_none_or(|bits| bits.get(at))
    }

    fn view<'a>(&'a self, entry: RefEntry<'a>) -> Option<VisibleRef<'a>> {
        let symref_target = match entry.target {
            Target::Symbolic(target) => Some(target).filter(|target| self.find(target).is_some()),
            Target::Object(_) => None,
        };
        Some(VisibleRef { name: entry.name, id: entry.id?, symref_target, peeled: entry.peeled })
    }

    /// The visible refs in order of names; those that lead to no object are left out.
    pub fn iter(&self) -> impl Iterator<Item = VisibleRef<'_>> {
        self.range(0..self.refs.len())
    }

    /// The visible refs whose names begin with `prefix`.
    pub fn with_prefix(&self, prefix: &BStr) -> impl Iterator<Item = VisibleRef<'_>> {
        self.range(self.refs.range_with_prefix(prefix))
    }

    fn range(&self, range: Range<usize>) -> impl Iterator<Item = VisibleRef<'_>> {
        range.filter(|at| self.sees(*at)).filter_map(|at| self.view(self.refs.get(at)))
    }

    /// The visible ref with this full name.
    pub fn find(&self, name: &BStr) -> Option<RefEntry<'_>> {
        let entry = self.refs.find(name)?;
        match &self.only {
            None => Some(entry),
            Some(bits) => self.refs.range_with_prefix(name).next().filter(|at| bits.get(*at)).map(|_| entry),
        }
    }

    /// HEAD.
    pub fn head(&self) -> VisibleHead<'_> {
        match &self.head {
            Head::Missing => VisibleHead::None,
            Head::Detached(id) => VisibleHead::Born(*id, None),
            Head::Symbolic(name, Some(id)) => VisibleHead::Born(*id, Some(name.as_bstr())),
            Head::Symbolic(name, None) => VisibleHead::Unborn(name.as_bstr()),
        }
    }

    /// The objects that visible refs and HEAD lead to.
    pub fn tips(&self) -> impl Iterator<Item = ObjectId> {
        let head = match self.head() {
            VisibleHead::Born(id, _) => Some(id),
            VisibleHead::Unborn(_) | VisibleHead::None => None,
        };
        head.into_iter().chain(self.iter().map(|entry| entry.id))
    }
}

impl VisibleRef<'_> {
    /// What an annotated tag finally leads to; `None` for any other object, and for a tag that leads nowhere.
    pub fn peeled(&self, decoder: &mut Decoder<'_>) -> Result<Option<ObjectId>, Error> {
        match self.peeled {
            Peeled::Itself => Ok(None),
            Peeled::To(id) => Ok(Some(id)),
            Peeled::Unknown => Ok(peel(decoder, self.id)?.filter(|(id, _)| *id != self.id).map(|(id, _)| id)),
        }
    }
}
