//! Two objects into the paths that differ between their trees; a tip into what of its history is new.
//!
//! Paths are those of `git diff --name-only --no-renames OLD NEW`: a file whose bytes or mode differ, that came or that went away; a
//! submodule counts as a file. Source: `tree-diff.c`. Limits: so many paths, so many bytes of them, folders so deep.

use super::Error;
use super::commit::{author_email, parse_commit};
use super::cover::tree_data;
use super::peel::peel;
use super::tree::TreeEntry;
use super::want_have::{FetchSides, Missing, find_objects};
use crate::base::limits::{CHANGED_PATH_BYTES_MAX, CHANGED_PATHS_MAX, TREE_DEPTH_MAX};
use crate::base::{Cancel, Progress};
use crate::pack::{Decoder, Kind, Objects};
use bstr::BString;
use gix_hash::ObjectId;
use std::cmp::Ordering;
use std::sync::Arc;

/// A path, and what stands there on both sides.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChangedPath {
    /// From the root, with slashes.
    pub path: BString,
    /// The blob that stood there, or a submodule's commit; none: the path is new.
    pub old: Option<ObjectId>,
    /// What stands there now; none: it went away.
    pub new: Option<ObjectId>,
}

/// A commit that nothing reached before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewCommit {
    /// Its id.
    pub id: ObjectId,
    /// Its parents.
    pub parents: Vec<ObjectId>,
    /// What stands between the angle brackets of its author.
    pub author_email: BString,
}

/// What one tip reaches and others did not.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NewObjects {
    /// In no order.
    pub commits: Vec<NewCommit>,
    /// Blobs with their sizes in bytes; some that were elsewhere before and only moved may be among them, as in a pack of git's.
    pub blobs: Vec<(ObjectId, u64)>,
}

/// One side of a folder: the bytes of its tree.
type Side = Option<Arc<Vec<u8>>>;

/// What differs between the trees that `old` and `new` lead to; what leads to no tree, and none, has no paths.
///
/// # Errors
/// Something is not here or no tree, or more differs than can be held.
pub fn changed_paths(
    objects: &dyn Objects,
    old: Option<ObjectId>,
    new: Option<ObjectId>,
    cancel: &Cancel,
) -> Result<Vec<ChangedPath>, Error> {
    let mut search = Search { decoder: Decoder::new(objects, 1 << 20).growing_to(16 << 20), found: vec![], bytes: 0, cancel };
    let (old, new) = (search.tree_of(old)?, search.tree_of(new)?);
    search.compare(old, new)?;
    search.found.sort_unstable_by(|a, b| a.path.cmp(&b.path));
    Ok(search.found)
}

struct Search<'a> {
    decoder: Decoder<'a>,
    found: Vec<ChangedPath>,
    bytes: usize,
    cancel: &'a Cancel,
}

impl Search<'_> {
    fn tree_of(&mut self, id: Option<ObjectId>) -> Result<Option<ObjectId>, Error> {
        let Some(id) = id else { return Ok(None) };
        Ok(match peel(&mut self.decoder, id)?.ok_or_else(|| Error::missing(id))? {
            (id, Kind::Commit) => {
                let data = self.decoder.find(&id)?.ok_or_else(|| Error::missing(id))?.1;
                let commit = parse_commit(&data, self.decoder.objects().hash_kind());
                Some(commit.ok_or(Error::Malformed { id, kind: Kind::Commit })?.tree)
            }
            (id, Kind::Tree) => Some(id),
            _ => None,
        })
    }

    fn read(&mut self, id: Option<ObjectId>) -> Result<Side, Error> {
        let Some(id) = id else { return Ok(None) };
        let location = self.decoder.objects().locate(&id)?.ok_or_else(|| Error::missing(id))?;
        Ok(Some(tree_data(&mut self.decoder, id, &location)?))
    }

    fn compare(&mut self, old: Option<ObjectId>, new: Option<ObjectId>) -> Result<(), Error> {
        let mut todo = vec![(BString::default(), 0, old, new)];
        while let Some((folder, depth, old, new)) = todo.pop() {
            self.cancel.check()?;
            if old == new {
                continue;
            }
            if depth > TREE_DEPTH_MAX {
                return Err(Error::TooMany { what: "folders within folders", max: TREE_DEPTH_MAX });
            }
            let (ours, theirs) = (self.read(new)?, self.read(old)?);
            let id_len = self.decoder.objects().hash_kind().len_in_bytes();
            let mut each = |name: &[u8], old: Option<TreeEntry<'_>>, new: Option<TreeEntry<'_>>| {
                let mut path = folder.clone();
                path.extend_from_slice(name);
                if old.iter().chain(&new).any(TreeEntry::is_tree) {
                    path.push(b'/');
                    self.hold(path.len())?;
                    todo.push((path, depth + 1, old.map(|entry| entry.id()), new.map(|entry| entry.id())));
                    return Ok(());
                }
                self.hold(path.len())?;
                self.found.push(ChangedPath { path, old: old.map(|entry| entry.id()), new: new.map(|entry| entry.id()) });
                Ok(())
            };
            let malformed =
                |id: Option<ObjectId>| Error::Malformed { id: id.unwrap_or(ObjectId::null(gix_hash::Kind::Sha1)), kind: Kind::Tree };
            let sides = [theirs.as_ref().map_or(&[][..], |data| data), ours.as_ref().map_or(&[][..], |data| data)];
            for_each_difference(sides, id_len, [malformed(old), malformed(new)], &mut each)?;
        }
        Ok(())
    }

    fn hold(&mut self, bytes: usize) -> Result<(), Error> {
        self.bytes += bytes;
        if self.found.len() >= CHANGED_PATHS_MAX {
            Err(Error::TooMany { what: "changed paths", max: CHANGED_PATHS_MAX })
        } else if self.bytes > CHANGED_PATH_BYTES_MAX {
            Err(Error::TooMany { what: "bytes of changed paths", max: CHANGED_PATH_BYTES_MAX })
        } else {
            Ok(())
        }
    }
}

/// Call `each` for every name whose entry is not the same in both trees. A file and a folder of one name are two.
fn for_each_difference<'a, F>([mut old, mut new]: [&'a [u8]; 2], id_len: usize, malformed: [Error; 2], each: &mut F) -> Result<(), Error>
where
    F: FnMut(&[u8], Option<TreeEntry<'a>>, Option<TreeEntry<'a>>) -> Result<(), Error>,
{
    let [bad_old, bad_new] = malformed;
    loop {
        let first = |tree: &'a [u8]| if tree.is_empty() { Some(None) } else { TreeEntry::read(tree, id_len).map(Some) };
        let (Some(was), Some(is)) = (first(old), first(new)) else {
            return Err(if first(old).is_none() { bad_old } else { bad_new });
        };
        let order = match (&was, &is) {
            (None, None) => return Ok(()),
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some(was), Some(is)) => was.order(is),
        };
        let was = was.filter(|_| order.is_le());
        let is = is.filter(|_| order.is_ge());
        old = &old[was.map_or(0, |entry| entry.len())..];
        new = &new[is.map_or(0, |entry| entry.len())..];
        let Some(name) = was.or(is).map(|entry| entry.name()) else { return Ok(()) };
        if was != is {
            each(name, was, is)?;
        }
    }
}

/// What `tip` reaches and none of `had` does: commits, and blobs with their sizes. Objects that a promisor keeps count as had.
///
/// # Errors
/// Something of it is not here.
pub fn find_new_objects(
    objects: &dyn Objects,
    shallow: &[ObjectId],
    tip: ObjectId,
    had: &[ObjectId],
    cancel: &Cancel,
) -> Result<NewObjects, Error> {
    let phase = Progress::new().begin("Counting objects", 0);
    let missing = Missing::Promised;
    let sides = FetchSides { wants: &[tip], haves: had, shallow, aggressive: false, tags: &[], filter: None, missing };
    let set = find_objects(objects, &sides, &phase, cancel)?.set;
    let mut decoder = Decoder::new(objects, 1 << 20).growing_to(16 << 20);
    let mut new = NewObjects::default();
    for location in set.locations() {
        cancel.check()?;
        match decoder.kind(&location)? {
            Kind::Commit => {
                let (id, data) = (location.id(objects), decoder.get(&location)?.1);
                let malformed = || Error::Malformed { id, kind: Kind::Commit };
                let parents = parse_commit(&data, objects.hash_kind()).ok_or_else(malformed)?.parents().collect();
                let author_email = author_email(&data).ok_or_else(malformed)?.into();
                new.commits.push(NewCommit { id, parents, author_email });
            }
            Kind::Blob => new.blobs.push((location.id(objects), decoder.size(&location)?)),
            Kind::Tree | Kind::Tag => {}
        }
    }
    Ok(new)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(old: Vec<u8>, new: Vec<u8>) {
            let bad = || Error::TooMany { what: "x", max: 1 };
            let mut count = 0;
            let _ = for_each_difference([&old, &new], 20, [bad(), bad()], &mut |_, was, is| {
                assert!(was != is);
                count += 1;
                Ok(())
            });
            prop_assert!(count <= old.len() + new.len());
        }
    }
}
