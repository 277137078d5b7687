//! Packs that came from a promisor into which objects may be missing, because the promisor has them.
//!
//! Source: gitrepository-layout, `.promisor`; technical/partial-clone; `packfile.c`: `is_promisor_object`. What an object of such
//! a pack refers to is promised, what anything else refers to is not. All trees, commits and tags of these packs are read, once,
//! when something turns out to be missing for the first time; kept is a number for each object that they name and that is not
//! here. As these numbers are made under a key that only this view knows, nobody can choose ids that fall on others.
//!
//! Limits: more missing objects than [`PROMISED_MAX`] are refused. Whether a promisor is configured still is not asked.

use crate::base::{Cancel, FastSet};
use crate::pack::{Decoder, Error, Kind, Location, Object, Objects};
use gix_hash::{ObjectId, oid};
use gix_object::{CommitRefIter, TagRefIter, TreeRefIter};
use std::collections::HashSet;
use std::hash::{BuildHasher as _, RandomState};
use std::path::PathBuf;

/// Decoded bases of deltas that are kept.
const CACHE_BYTES_MAX: usize = 24 << 20;

/// Promised objects that are not here: about 150 MB.
pub(super) const PROMISED_MAX: usize = 1 << 23;

/// Names met last that are not looked for again: neighbours in a pack name the same.
const MET_LAST: usize = 1 << 16;

/// What was promised and is not here.
pub(super) struct Promised {
    key: RandomState,
    numbers: FastSet<u64>,
}

impl Promised {
    /// Read the packs in `dirs` that came from a promisor, as far as they are among those of `objects`, and of them what `may_see`
    /// lets through. Parents of commits at which the repository's history is cut off are no links (`commit.c`: `parse_commit_buffer`).
    pub fn read(
        objects: &dyn Objects,
        dirs: &[PathBuf],
        may_see: &dyn Fn(&Location) -> bool,
        is_here: &dyn Fn(&oid) -> Result<bool, Error>,
        cancel: &Cancel,
    ) -> Result<Self, Error> {
        let names = promisor_packs(dirs);
        let mut promised = Self { key: RandomState::new(), numbers: FastSet::default() };
        if names.is_empty() {
            return Ok(promised);
        }
        let mut met = vec![0; MET_LAST];
        let cut = cut_beside(dirs);
        let mut decoder = Decoder::new(objects, CACHE_BYTES_MAX);
        for (pack, file) in (0..).zip(objects.packs()).filter(|(_, file)| names.contains(file.name()) && file.is_usable()) {
            for position in 0..file.len() {
                cancel.check()?;
                let entry = file.entry_at(position)?;
                let location = Location::Packed { pack, entry };
                if !may_see(&location) {
                    continue;
                }
                match read_linking(&mut decoder, &location) {
                    Ok(None) => {}
                    Ok(Some((kind, data))) => {
                        let is_cut = kind == Kind::Commit && !cut.is_empty() && cut.contains(file.id(entry));
                        each_link(kind, &data, is_cut, objects.hash_kind(), &mut |id| promised.meet(is_here, id, &mut met))?;
                    }
                    Err(err @ (Error::Io(_) | Error::Cancelled(_))) => return Err(err),
                    Err(err) => tracing::warn!(pack = file.name(), %err, "an object that may promise others cannot be read"),
                }
            }
        }
        Ok(promised)
    }

    /// Whether the object with this id, which is not here, is promised.
    pub fn contains(&self, id: &oid) -> bool {
        self.numbers.contains(&self.key.hash_one(id.as_bytes()))
    }

    fn meet(&mut self, is_here: &dyn Fn(&oid) -> Result<bool, Error>, id: &oid, met: &mut [u64]) -> Result<(), Error> {
        let number = self.key.hash_one(id.as_bytes());
        let last = &mut met[number as usize % MET_LAST];
        if *last == number || self.numbers.contains(&number) {
            return Ok(());
        }
        *last = number;
        if !is_here(id)? {
            if self.numbers.len() == PROMISED_MAX {
                return Err(Error::Limit { what: "promised objects that are not here", limit: PROMISED_MAX as u64 });
            }
            self.numbers.insert(number);
        }
        Ok(())
    }
}

/// The names without ending of packs that came from a promisor.
pub(super) fn promisor_packs(dirs: &[PathBuf]) -> HashSet<String> {
    let files = dirs.iter().filter_map(|dir| std::fs::read_dir(dir.join("pack")).ok()).flatten().flatten();
    files.filter_map(|file| Some(file.file_name().to_str()?.strip_suffix(".promisor")?.to_owned())).collect()
}

/// An object that names others; `None`: a blob.
fn read_linking(decoder: &mut Decoder<'_>, location: &Location) -> Result<Option<Object>, Error> {
    if decoder.kind(location)? == Kind::Blob { Ok(None) } else { decoder.get(location).map(Some) }
}

/// The commits in the file `shallow` beside the first object directory.
fn cut_beside(dirs: &[PathBuf]) -> HashSet<ObjectId> {
    let path = dirs.first().and_then(|dir| dir.parent()).map(|dir| dir.join("shallow"));
    let text = path.and_then(|path| std::fs::read_to_string(path).ok()).unwrap_or_default();
    text.lines().filter_map(|line| ObjectId::from_hex(line.trim().as_bytes()).ok()).collect()
}

/// What an object names; of a commit that `is_cut` its tree. One that cannot be parsed names what stands before that place, as for git; its faults are told elsewhere.
fn each_link(
    kind: Kind,
    data: &[u8],
    is_cut: bool,
    hash: gix_hash::Kind,
    each: &mut dyn FnMut(&oid) -> Result<(), Error>,
) -> Result<(), Error> {
    match kind {
        Kind::Blob => Ok(()),
        Kind::Tree => {
            let mut entries = TreeRefIter::from_bytes(data, hash).map_while(Result::ok).filter(|entry| !entry.mode.is_commit());
            entries.try_for_each(|entry| each(entry.oid))
        }
        Kind::Commit => {
            let mut links: Vec<ObjectId> = CommitRefIter::from_bytes(data, hash).tree_id().into_iter().collect();
            if !is_cut {
                links.extend(CommitRefIter::from_bytes(data, hash).parent_ids());
            }
            links.iter().try_for_each(|id| each(id))
        }
        Kind::Tag => TagRefIter::from_bytes(data, hash).target_id().map_or(Ok(()), |id| each(&id)),
    }
}
