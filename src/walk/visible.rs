//! A view's refs and a gate's answer into what one request sees: the only way in which `walk` and `serve` see refs.

use super::{Error, peel};
use crate::pack::{Bits, Decoder};
use crate::store::{Head, ListedRef, Peeled, RefEntry, RefText, Refs, Snapshot, Target};
use bstr::{BStr, BString, ByteSlice};
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
    /// What the full names begin with, and what is seen of them does not (gitnamespaces); empty outside of any namespace.
    namespace: BString,
}

/// Which refs are seen, HEAD among them: two views of one [`Snapshot::state`] that hash alike see the same.
impl Hash for VisibleRefs {
    fn hash<H: Hasher>(&self, state: &mut H) {
        let Self { refs: _, only, head, namespace } = self;
        namespace.hash(state);
        only.hash(state);
        head.hash(state);
    }
}

/// One visible ref that leads to an object.
#[derive(Clone, Copy, Debug)]
pub struct VisibleRef<'a> {
    /// Full name, as it is seen in its namespace.
    pub name: &'a BStr,
    /// The object that it finally leads to.
    pub id: ObjectId,
    /// Where it points, when it is symbolic and that ref is visible too.
    pub symref_target: Option<&'a BStr>,
    /// What its file says of the object behind a tag.
    pub peeled: Peeled,
}

/// One visible ref on its way to the client.
#[derive(Clone, Copy, Debug)]
pub enum Listed<'a> {
    /// No symbolic one; it can be told as it stands.
    Text(RefText<'a>),
    /// Any.
    Ref(VisibleRef<'a>),
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
    /// The refs of `snapshot` whose numbers are in `only` (`None`: all), and HEAD as this request may see it. In a namespace,
    /// `only` has none from outside, and names `head` in full.
    pub fn new(snapshot: &Snapshot, only: Option<Bits>, head: Head) -> Self {
        Self { refs: snapshot.refs().clone(), only, head, namespace: snapshot.settings().namespace.clone() }
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
            Target::Symbolic(target) => self.within(target).filter(|target| self.find(target).is_some()),
            Target::Object(_) => None,
        };
        Some(VisibleRef { name: self.within(entry.name)?, id: entry.id?, symref_target, peeled: entry.peeled })
    }

    /// A full name as it is seen in the namespace; `None` outside of it.
    fn within<'a>(&self, name: &'a BStr) -> Option<&'a BStr> {
        name.strip_prefix(self.namespace.as_slice()).map(ByteSlice::as_bstr)
    }

    /// The numbers of the refs whose names in the namespace begin with `prefix`.
    fn numbers(&self, prefix: &BStr) -> Range<usize> {
        match self.namespace.is_empty() {
            true => self.refs.range_with_prefix(prefix),
            false => self.refs.range_with_prefix([self.namespace.as_slice(), prefix].concat().as_bstr()),
        }
    }

    /// The visible refs in order of names; those that lead to no object are left out.
    pub fn iter(&self) -> impl Iterator<Item = VisibleRef<'_>> {
        self.with_prefix(self.all())
    }

    /// The prefix of all names: in a namespace HEAD is a ref like any other; it stands apart.
    pub fn all(&self) -> &'static BStr {
        if self.namespace.is_empty() { "".into() } else { "refs/".into() }
    }

    /// The visible refs whose names begin with `prefix`.
    pub fn with_prefix<'a>(&'a self, prefix: &'a BStr) -> impl Iterator<Item = VisibleRef<'a>> {
        // Where all are seen, none needs a number.
        let is_all = self.only.is_none() && self.namespace.is_empty();
        let all = is_all.then(|| self.refs.with_prefix(prefix)).into_iter().flatten();
        let some = (!is_all).then(|| self.numbers(prefix).filter(|at| self.sees(*at)).map(|at| self.refs.get(at)));
        all.chain(some.into_iter().flatten()).filter_map(|entry| self.view(entry))
    }

    /// Tell `hear` of the visible refs whose names begin with `prefix`: those that can be told as they stand, unread.
    pub fn try_for_each_listed<E>(&self, prefix: &BStr, mut hear: impl FnMut(Listed<'_>) -> Result<(), E>) -> Result<(), E> {
        if self.only.is_some() || !self.namespace.is_empty() {
            return self.with_prefix(prefix).try_for_each(|entry| hear(Listed::Ref(entry)));
        }
        for listed in self.refs.listed(prefix) {
            match listed {
                ListedRef::Text(text) => hear(Listed::Text(text))?,
                ListedRef::Entry(entry) => self.view(entry).map_or(Ok(()), |entry| hear(Listed::Ref(entry)))?,
            }
        }
        Ok(())
    }

    /// Whether all refs that were looked at so far could be read.
    ///
    /// # Errors
    /// As [`Refs::check`].
    pub fn check(&self) -> Result<(), crate::store::Error> {
        self.refs.check()
    }

    /// The visible ref with this full name; what is returned bears its name outside of the namespace.
    pub fn find(&self, name: &BStr) -> Option<RefEntry<'_>> {
        if self.only.is_none() && self.namespace.is_empty() {
            return self.refs.find(name);
        }
        let at = self.numbers(name).next()?;
        let entry = self.refs.get(at);
        (self.within(entry.name)? == name && self.sees(at)).then_some(entry)
    }

    /// HEAD.
    pub fn head(&self) -> VisibleHead<'_> {
        match &self.head {
            Head::Missing => VisibleHead::None,
            Head::Detached(id) => VisibleHead::Born(*id, None),
            Head::Symbolic(name, Some(id)) => VisibleHead::Born(*id, self.within(name.as_bstr())),
            Head::Symbolic(name, None) => self.within(name.as_bstr()).map_or(VisibleHead::None, VisibleHead::Unborn),
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
