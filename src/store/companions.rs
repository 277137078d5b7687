//! The companion files of a repository's packs into bitmaps and commit-graph, opened when first asked for.
//!
//! Source: gitrepository-layout, "objects/info/commit-graph"; technical/commit-graph, "Commit-Graphs Chains"; git's
//! bitmap format. A file that is damaged, stale or unknown is left out with one warning.

use super::Mapped;
use super::pack_dir::read_chain;
use crate::pack::{BitmapOwner, Bitmaps, CommitGraph, MultiPackIndex, PackFile};
use bytes::Bytes;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Bytes before the numbers of a `.rev` file: signature, version, hash.
const REV_HEADER_BYTES: usize = 12;

/// Which companion files may be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Companions {
    /// Not in shallow repositories, nor with grafts: what the files say is not what history looks like there.
    pub commit_graph: bool,
    /// As above.
    pub bitmaps: bool,
    /// Only speeds lookup up.
    pub multi_pack_index: bool,
}

#[cfg(test)]
impl Companions {
    /// Whatever is there.
    pub const ALL: Self = Self { commit_graph: true, bitmaps: true, multi_pack_index: true };
}

/// The one bitmap file that is used, if it turns out to be sound. Places of objects are chosen so that they fit it.
pub(super) enum BitmapFile {
    /// Of the pack with this number.
    Pack { path: PathBuf, pack: u32 },
    /// Of the multi-pack index that is asked first; `order`: the `.rev` file where the index does not hold it.
    MultiPack { path: PathBuf, order: Option<PathBuf> },
}

impl BitmapFile {
    /// Open it. `index`: the multi-pack index that is asked first, and the numbers of its packs.
    pub fn open(&self, index: Option<&IndexedPacks>, packs: &[Arc<PackFile>], hash: gix_hash::Kind) -> Option<Bitmaps> {
        let (path, owner) = match self {
            Self::Pack { path, pack } => (path, Some(BitmapOwner::Pack(*pack)).filter(|_| packs[*pack as usize].is_usable())),
            Self::MultiPack { path, order } => (path, index.and_then(|index| multi_pack(index, order.as_deref(), packs, hash))),
        };
        let Some(owner) = owner else {
            tracing::warn!(path = %path.display(), "ignoring a bitmap whose packs cannot all be read");
            return None;
        };
        let opened = Bitmaps::open(map_or_warn(path)?, owner, packs, hash);
        opened.inspect_err(|err| tracing::warn!(path = %path.display(), error = %err, "ignoring a bitmap that cannot be used")).ok()
    }
}

/// A multi-pack index, and for each pack that it names the number of the pack; `None` when that is gone.
pub(super) struct IndexedPacks {
    pub index: Arc<MultiPackIndex>,
    pub numbers: Vec<Option<u32>>,
}

fn multi_pack(indexed: &IndexedPacks, order: Option<&Path>, packs: &[Arc<PackFile>], hash: gix_hash::Kind) -> Option<BitmapOwner> {
    let numbers: Vec<u32> = indexed.numbers.iter().copied().collect::<Option<_>>()?;
    if !numbers.iter().all(|number| packs[*number as usize].is_usable()) {
        return None;
    }
    let index = indexed.index.clone();
    let order = match order {
        None => index.order()?,
        Some(path) => read_rev(&map_or_warn(path)?, &index, hash)?,
    };
    Some(BitmapOwner::MultiPack { index, order, packs: numbers })
}

/// The numbers of a multi-pack `.rev` file; whoever uses them checks that they fit.
fn read_rev(rev: &Bytes, index: &MultiPackIndex, hash: gix_hash::Kind) -> Option<Bytes> {
    let (numbers_bytes, hash_bytes) = (index.len() as usize * 4, hash.len_in_bytes());
    let numbers_end = REV_HEADER_BYTES + numbers_bytes;
    let fits = rev.len() == numbers_end + 2 * hash_bytes
        && rev.starts_with(b"RIDX\x00\x00\x00\x01")
        && rev[numbers_end..numbers_end + hash_bytes] == *index.checksum();
    fits.then(|| rev.slice(REV_HEADER_BYTES..numbers_end))
}

/// The commit-graph of the first of these object directories that has one; layers of a chain may lie in any of them.
pub(super) fn open_commit_graph(dirs: &[PathBuf], hash: gix_hash::Kind) -> Option<CommitGraph> {
    dirs.iter().find_map(|dir| {
        let single = dir.join("info/commit-graph");
        if let Some(graph) = map_or_warn(&single).and_then(|file| open_layers(vec![file], &single, hash)) {
            return Some(graph);
        }
        let chain = dir.join("info/commit-graphs/commit-graph-chain");
        let names = read_chain(&chain, hash);
        let map = |name: &String| dirs.iter().find_map(|dir| map_or_warn(&dir.join(format!("info/commit-graphs/graph-{name}.graph"))));
        let layers: Vec<Bytes> = names.iter().map_while(map).collect();
        if layers.len() < names.len() {
            tracing::warn!(path = %chain.display(), "layers of a commit-graph chain are missing");
        }
        if layers.is_empty() { None } else { open_layers(layers, &chain, hash) }
    })
}

fn open_layers(layers: Vec<Bytes>, path: &Path, hash: gix_hash::Kind) -> Option<CommitGraph> {
    let opened = CommitGraph::open(layers, hash);
    opened.inspect_err(|why| tracing::warn!(path = %path.display(), why, "ignoring a commit-graph that cannot be used")).ok()
}

/// The file at `path`, if it is there.
pub(super) fn map_or_warn(path: &Path) -> Option<Bytes> {
    match Mapped::open(path) {
        Ok(bytes) => Some(bytes),
        Err(err) => {
            if !matches!(err.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) {
                tracing::warn!(path = %path.display(), error = %err, "ignoring a file that cannot be read");
            }
            None
        }
    }
}
