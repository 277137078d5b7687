//! A request's filter into one that a walk can apply: what a `sparse:oid` names is found and read.
//!
//! Source: git-rev-list, `--filter=sparse:oid=<blob-ish>`. Names are resolved among the refs that this client may see; where
//! git's own rules hold, among all refs, as in git. A blob that may not be seen and one that is not here get the same answer.

use super::Error;
use crate::base::Cancel;
use crate::pack::{Decoder, Kind};
use crate::serve::Wants;
use crate::store::Snapshot;
use crate::walk::{ObjectFilter, Patterns, VisibleHead, VisibleRefs, find_named, find_unreachable, peel};
use crate::wire::Filter;
use bstr::BStr;
use gix_hash::ObjectId;

/// Patterns for which a tree's every path is matched; git allows 100 MB.
const PATTERN_BYTES_MAX: u64 = 1 << 20;
/// And so many lines: each is tried at every path of every tree.
const PATTERNS_MAX: usize = 10_000;

/// Who asks, and what may be seen.
pub(super) struct Eyes<'a> {
    pub snapshot: &'a Snapshot,
    pub refs: &'a VisibleRefs,
    pub wants: Wants,
    pub cancel: &'a Cancel,
}

impl Eyes<'_> {
    /// What `filter` means here.
    pub fn object_filter(&self, filter: &Filter) -> Result<ObjectFilter, Error> {
        ObjectFilter::new(filter, |name| self.read_patterns(name))
    }

    fn read_patterns(&self, name: &BStr) -> Result<Patterns, Error> {
        let no_access = || Error::Refused(format!("unable to access sparse blob in '{name}'"));
        let mut decoder = Decoder::new(&**self.snapshot.objects(), 1 << 20);
        let named = find_named(&mut decoder, name, &|name| self.find_ref(name))?.ok_or_else(no_access)?;
        let Some((id, Kind::Blob)) = peel(&mut decoder, named.id)? else { return Err(no_access()) };
        if self.wants == Wants::ReachableFromVisible && named.by_id && !self.is_reachable(id)? {
            return Err(no_access());
        }
        let location = decoder.objects().locate(&id)?.ok_or_else(no_access)?;
        if decoder.size(&location)? > PATTERN_BYTES_MAX {
            return Err(Error::Refused(format!("sparse filter data in '{name}' is too big: more than {PATTERN_BYTES_MAX} bytes")));
        }
        let patterns = Patterns::parse(&decoder.get(&location)?.1);
        if patterns.len() > PATTERNS_MAX {
            return Err(Error::Refused(format!("sparse filter data in '{name}' is too big: more than {PATTERNS_MAX} patterns")));
        }
        Ok(patterns)
    }

    fn find_ref(&self, name: &BStr) -> Option<ObjectId> {
        if name == "HEAD" {
            return match self.refs.head() {
                VisibleHead::Born(id, _) => Some(id),
                VisibleHead::Unborn(_) | VisibleHead::None => None,
            };
        }
        let entry = match self.wants {
            Wants::Git => self.snapshot.refs().find(name),
            Wants::ReachableFromVisible => self.refs.find(name),
        };
        entry?.id
    }

    fn is_reachable(&self, id: ObjectId) -> Result<bool, Error> {
        let (objects, shallow) = (&**self.snapshot.objects(), self.snapshot.shallow());
        Ok(find_unreachable(objects, shallow, &[id], &mut self.refs.tips(), self.cancel)?.is_empty())
    }
}
