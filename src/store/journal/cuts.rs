//! Where commits cut history off into what of that counts still.
//!
//! A line that is not in the file `shallow` may never have reached the disk, may have been dropped by stock git's `prune`
//! because no ref reached its commit yet, or may be gone for good because the rest of history has come (`fetch --unshallow`).
//! Times of files do not tell these apart, but objects do: history is cut off at a commit where a parent, or a commit or its
//! root tree that a parent reaches, is not here. Other cuts end that search. A commit that is gone itself cuts off nothing: should
//! it come again, it comes with its parents or with a line of its own.
//!
//! Limits: what lies within root trees is not looked at; stock git takes a line away only where it is there as well. Where
//! a parent is here, all of its history is read.

use super::super::{Error, ObjectStore, Repository};
use super::file::{Found, JournalFile};
use crate::base::{Cancel, FastSet};
use crate::pack::{self, Decoder, Kind};
use bstr::ByteSlice as _;
use gix_hash::ObjectId;

/// Decoded bases of deltas that are kept.
const CACHE_BYTES_MAX: usize = 8 << 20;

/// Those of `cuts` where history is cut off though `stored`, which is sorted, does not say so. Sorted. What is damaged counts
/// as not there.
///
/// # Errors
/// Reading fails: then nothing is known, and nothing may be written on the strength of it.
pub(super) fn needed(
    repository: &Repository,
    stored: &[ObjectId],
    cuts: impl IntoIterator<Item = ObjectId>,
) -> Result<Vec<ObjectId>, Error> {
    let mut cuts: Vec<ObjectId> = cuts.into_iter().filter(|id| stored.binary_search(id).is_err()).collect();
    cuts.sort_unstable();
    cuts.dedup();
    if cuts.is_empty() {
        return Ok(cuts);
    }
    let objects = repository.object_store(repository.companions(&[]), None);
    let mut history = History::new(&objects, [stored, &cuts].concat());
    let mut needed = vec![];
    for id in cuts {
        if history.is_cut_off(&id)? {
            needed.push(id);
        }
    }
    Ok(needed)
}

/// What pushes that are on disk and not yet applied cut off, as far as it is needed and not stored, of `among`, which is sorted.
pub(in super::super) fn pending_cuts(repository: &Repository, among: &[ObjectId]) -> Result<Vec<ObjectId>, Error> {
    let Some(journal) = JournalFile::open(repository.common_dir(), false)? else { return Ok(vec![]) };
    let Some(tail) = journal.unsettled()? else { return Ok(vec![]) };
    let pending = tail.found.iter().filter(|found| Found::is_pending(found)).flat_map(|found| &found.commit.cuts).copied();
    let cuts: Vec<ObjectId> = pending.filter(|id| among.binary_search(id).is_ok()).collect();
    if cuts.is_empty() { Ok(cuts) } else { needed(repository, &repository.stored_shallow()?, cuts) }
}

/// For each list of tips whether one of them reaches one of `cuts`, which are sorted; what cannot be read may.
pub(in super::super) fn that_reach(objects: &ObjectStore, cuts: &[ObjectId], lists: &[Vec<ObjectId>]) -> Vec<bool> {
    let mut history = History::new(objects, cuts.to_vec());
    lists.iter().map(|tips| history.reaches(tips)).collect()
}

/// Commits, as they are met.
struct History<'a> {
    decoder: Decoder<'a>,
    /// Where it ends, sorted.
    ends: Vec<ObjectId>,
    /// What was walked to all its ends in vain.
    done: FastSet<ObjectId>,
}

/// What an object leads to.
enum Links {
    Commit { tree: ObjectId, parents: Vec<ObjectId> },
    Tag(ObjectId),
    None,
}

impl<'a> History<'a> {
    fn new(objects: &'a ObjectStore, mut ends: Vec<ObjectId>) -> Self {
        ends.sort_unstable();
        Self { decoder: Decoder::new(objects, CACHE_BYTES_MAX), ends, done: FastSet::default() }
    }

    fn is_cut_off(&mut self, id: &ObjectId) -> Result<bool, Error> {
        match self.links(id) {
            Ok(Some(Links::Commit { parents, .. })) => Ok(!self.is_whole(parents)?),
            Ok(_) => Ok(false),
            Err(err) => damaged(id, err).map(|()| true),
        }
    }

    /// Whether all that these commits reach is here, down to the ends.
    fn is_whole(&mut self, mut left: Vec<ObjectId>) -> Result<bool, Error> {
        let mut met = FastSet::default();
        while let Some(id) = left.pop() {
            if self.done.contains(&id) || !met.insert(id) {
                continue;
            }
            let (tree, parents) = match self.links(&id) {
                Ok(Some(Links::Commit { tree, parents })) => (tree, parents),
                Ok(_) => return Ok(false),
                Err(err) => return damaged(&id, err).map(|()| false),
            };
            let objects = self.decoder.objects();
            if objects.locate(&tree)?.is_none() && !objects.is_promised(&tree, &Cancel::new())? {
                return Ok(false);
            }
            if self.ends.binary_search(&id).is_err() {
                left.extend(parents);
            }
        }
        self.done.extend(met);
        Ok(true)
    }

    /// Whether one of these reaches an end.
    fn reaches(&mut self, tips: &[ObjectId]) -> bool {
        let (mut met, mut left) = (FastSet::default(), tips.to_vec());
        while let Some(id) = left.pop() {
            if self.ends.binary_search(&id).is_ok() {
                return true;
            }
            if self.done.contains(&id) || !met.insert(id) {
                continue;
            }
            match self.links(&id) {
                Ok(Some(Links::Commit { parents, .. })) => left.extend(parents),
                Ok(Some(Links::Tag(target))) => left.push(target),
                Ok(_) => {}
                Err(_) => return true,
            }
        }
        self.done.extend(met);
        false
    }

    /// `None`: it is not here.
    fn links(&mut self, id: &ObjectId) -> Result<Option<Links>, pack::Error> {
        let Some(location) = self.decoder.objects().locate(id)? else { return Ok(None) };
        if !matches!(self.decoder.kind(&location)?, Kind::Commit | Kind::Tag) {
            return Ok(Some(Links::None));
        }
        let (kind, data) = self.decoder.get(&location)?;
        parse_links(kind, &data).map(Some).ok_or_else(|| pack::Error::corrupt(format!("{id} is no {kind}")))
    }
}

/// What is damaged is damaged; but an object that could not be read now may be whole.
fn damaged(id: &ObjectId, err: pack::Error) -> Result<(), Error> {
    if matches!(err, pack::Error::Io(_) | pack::Error::Cancelled(_)) {
        return Err(err.into());
    }
    tracing::warn!(%id, %err, "history counts as cut off where a commit cannot be read");
    Ok(())
}

fn parse_links(kind: Kind, data: &[u8]) -> Option<Links> {
    let mut lines = data.lines();
    let mut id_behind = |word: &str| ObjectId::from_hex(lines.next()?.strip_prefix(word.as_bytes())?).ok();
    if kind == Kind::Tag {
        return id_behind("object ").map(Links::Tag);
    }
    let tree = id_behind("tree ")?;
    let parents = lines.map_while(|line| line.strip_prefix(b"parent ")).map(|hex| ObjectId::from_hex(hex).ok());
    Some(Links::Commit { tree, parents: parents.collect::<Option<_>>()? })
}

#[cfg(test)]
mod tests {
    use super::super::super::ConfigScope;
    use super::super::super::testing::{git, git_with_input, init};
    use super::*;

    #[test]
    fn history_is_cut_off_where_a_parent_or_what_it_reaches_is_missing_and_nowhere_else() {
        let dir = tempfile::tempdir().expect("a folder");
        init(dir.path(), &["--bare"]);
        let repository = Repository::open(dir.path(), ConfigScope::RepositoryOnly).expect("opens");
        let tree = git_with_input(dir.path(), &["mktree"], "").trim().to_owned();
        let blob = git_with_input(dir.path(), &["hash-object", "-w", "--stdin"], "x").trim().to_owned();
        let full = git_with_input(dir.path(), &["mktree"], &format!("100644 blob {blob}\tfile\n")).trim().to_owned();
        let commit = |tree: &str, parents: &[&ObjectId]| {
            let parents: String = parents.iter().map(|id| format!("parent {id}\n")).collect();
            let text = format!("tree {tree}\n{parents}author A <a@x> 1 +0000\ncommitter A <a@x> 1 +0000\n\nx\n");
            let id = git_with_input(dir.path(), &["hash-object", "-t", "commit", "-w", "--stdin"], &text);
            ObjectId::from_hex(id.trim().as_bytes()).expect("hex")
        };
        let gone = ObjectId::from_bytes_or_panic(&[9; 20]);
        let root = commit(&full, &[]);
        let (whole, cut) = (commit(&tree, &[&root]), commit(&tree, &[&gone]));
        let (merge, above) = (commit(&tree, &[&whole, &gone]), commit(&tree, &[&cut]));
        let (needs_cut, over_root) = (commit(&tree, &[&above]), commit(&tree, &[&whole]));
        let needed = |stored: &[ObjectId], cuts: &[ObjectId]| {
            let mut found = needed(&repository, stored, cuts.iter().copied()).expect("all can be read");
            found.sort();
            found
        };
        let sorted = |ids: &[ObjectId]| {
            let mut ids = ids.to_vec();
            ids.sort();
            ids
        };
        assert!(needed(&[], &[root, whole, over_root, gone]).is_empty());
        assert_eq!(needed(&[], &[cut, merge]), sorted(&[cut, merge]));
        assert_eq!(needed(&[cut], &[cut, merge]), [merge], "it is stored");
        assert_eq!(needed(&[], &[needs_cut]), [needs_cut], "a parent that is not whole");
        assert_eq!(needed(&[], &[needs_cut, cut]), [cut], "whole down to another cut");
        assert!(needed(&[cut], &[needs_cut]).is_empty(), "or to a line that is there");

        let objects = repository.object_store(repository.companions(&[]), None);
        git(dir.path(), &["tag", "-a", "-m", "t", "v", &needs_cut.to_string()]);
        let tag = ObjectId::from_hex(git(dir.path(), &["rev-parse", "refs/tags/v"]).trim().as_bytes()).expect("hex");
        let lists = [vec![over_root, root], vec![root, tag], vec![merge], vec![ObjectId::from_hex(blob.as_bytes()).expect("hex")]];
        assert_eq!(that_reach(&objects, &[cut], &lists), [false, true, false, false]);

        // A root tree that is gone.
        std::fs::remove_file(dir.path().join("objects").join(&full[..2]).join(&full[2..])).expect("removed");
        assert_eq!(needed(&[], &[root, whole]), [whole]);
    }
}
