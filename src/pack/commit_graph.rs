//! Commit-graph files into the links, dates and generation numbers of commits.
//!
//! Source: gitformat-commit-graph; technical/commit-graph, "Commit-Graphs Chains". One file, or a chain whose layers
//! count their commits on from those beneath. Of generation numbers only corrected commit dates (`GDA2`) are told, and
//! only when every layer has them, as in git: topological levels say little where branches are old. Changed-path filters
//! are not read.
//!
//! A wrong parent would give a wrong set without a sign: [`CommitGraph::is_sound`] looks at the checksums, once. What
//! makes no sense all the same is answered with `None`; the caller reads the commit itself then.

use super::chunks::{Chunks, OidTable, be32, be64, checksum_holds};
use super::midx::hash_version;
use bytes::Bytes;
use gix_hash::{ObjectId, oid};
use std::ops::Range;
use std::sync::OnceLock;

/// Bytes of the header: signature, version, hash, chunks, bases.
const HEADER_BYTES: usize = 8;
/// Bytes of a commit's row behind its tree: two parents, generation, date.
const LINKS_BYTES: usize = 16;
/// No parent in this place.
const NO_PARENT: u32 = 0x7000_0000;
/// The second parent is a place in the list of extra edges; there, the last one; in `GDA2`, a place in `GDO2`.
const HIGH_BIT: u32 = 1 << 31;
/// Parents of one commit that are told; git's own limit on what it makes is 16.
const PARENTS_MAX: usize = 4_096;

/// One commit as the graph knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GraphCommit {
    /// Its tree.
    pub tree: ObjectId,
    /// Positions of its parents in the graph, in order.
    pub parents: Vec<u32>,
    /// Committer time in seconds since 1970.
    pub date: u64,
    /// Corrected commit date: greater than that of any commit that it reaches.
    pub generation: Option<u64>,
}

/// One file or a whole chain.
pub struct CommitGraph {
    layers: Vec<Layer>,
    hash: gix_hash::Kind,
    has_generations: bool,
    sound: OnceLock<bool>,
}

struct Layer {
    data: Bytes,
    ids: OidTable,
    /// Commits in the layers beneath.
    before: u32,
    commits: usize,
    generations: Option<usize>,
    overflow: Range<usize>,
    edges: Range<usize>,
}

impl CommitGraph {
    /// Read the tables of one file, or of the files of a chain from the lowest layer up; what is wrong is told in words
    /// that follow "the file".
    pub fn open(files: Vec<Bytes>, hash: gix_hash::Kind) -> Result<Self, &'static str> {
        let mut layers: Vec<Layer> = vec![];
        for data in files {
            let layer = Layer::open(data, &layers, hash)?;
            layers.push(layer);
        }
        let has_generations = layers.iter().all(|layer| layer.generations.is_some());
        Ok(Self { layers, hash, has_generations, sound: OnceLock::new() })
    }

    /// How many commits there are.
    pub fn len(&self) -> u32 {
        self.layers.last().map_or(0, |layer| layer.before + layer.ids.len())
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether commits have corrected commit dates.
    pub fn has_generations(&self) -> bool {
        self.has_generations
    }

    /// Bytes of all files: what [`CommitGraph::is_sound`] reads the first time.
    pub fn bytes(&self) -> u64 {
        self.layers.iter().map(|layer| layer.data.len() as u64).sum()
    }

    /// Whether all checksums hold: looked at once. Nothing of the graph should be believed before.
    pub fn is_sound(&self) -> bool {
        *self.sound.get_or_init(|| {
            let sound = self.layers.iter().all(|layer| checksum_holds(&layer.data, self.hash));
            if !sound {
                tracing::warn!("ignoring a commit-graph whose checksum is wrong");
            }
            sound
        })
    }

    /// What [`CommitGraph::is_sound`] found out, if it was ever asked.
    pub fn is_known_sound(&self) -> Option<bool> {
        self.sound.get().copied()
    }

    /// The position of the commit `id`.
    pub fn find(&self, id: &oid) -> Option<u32> {
        self.layers.iter().rev().find_map(|layer| Some(layer.before + layer.ids.find(id)?))
    }

    /// The id of the commit at `position`; `None` when there is no such position.
    pub fn id(&self, position: u32) -> Option<&oid> {
        let layer = self.layer(position)?;
        Some(layer.ids.id(position - layer.before))
    }

    fn layer(&self, position: u32) -> Option<&Layer> {
        let at = self.layers.partition_point(|layer| layer.before + layer.ids.len() <= position);
        self.layers.get(at)
    }

    /// The commit at `position`; `None` when what the file says of it makes no sense.
    pub fn commit(&self, position: u32) -> Option<GraphCommit> {
        let layer = self.layer(position)?;
        let rank = (position - layer.before) as usize;
        let tree_bytes = self.hash.len_in_bytes();
        let row = layer.data.get(layer.commits + rank * (tree_bytes + LINKS_BYTES)..)?;
        let tree = ObjectId::try_from(row.get(..tree_bytes)?).ok()?;
        let links = row.get(tree_bytes..tree_bytes + LINKS_BYTES)?;
        let date = u64::from(be32(links, 8) & 3) << 32 | u64::from(be32(links, 12));
        let parents = layer.parents(be32(links, 0), be32(links, 4))?;
        // A layer knows nothing of those above it.
        let known = |parent: &u32| *parent < layer.before + layer.ids.len();
        if !parents.iter().all(known) {
            return None;
        }
        let generation = if self.has_generations { Some(date.checked_add(layer.correction(rank)?)?) } else { None };
        Some(GraphCommit { tree, parents, date, generation })
    }
}

impl Layer {
    fn open(data: Bytes, beneath: &[Layer], hash: gix_hash::Kind) -> Result<Self, &'static str> {
        let header = data.get(..HEADER_BYTES).ok_or("it is too short")?;
        if &header[..5] != b"CGPH\x01" {
            return Err("it is no commit-graph of version 1");
        }
        if header[5] != hash_version(hash) {
            return Err("its hash is not the repository's");
        }
        let hash_len = hash.len_in_bytes();
        let chunks = Chunks::read(&data, HEADER_BYTES, header[6], hash_len)?;
        let ids = OidTable::read(&data, &chunks, hash)?;
        let len = ids.len() as usize;
        let commits = chunks.find_of_len(b"CDAT", len * (hash_len + LINKS_BYTES))?.start;
        let generations = chunks.find(b"GDA2").filter(|range| range.len() == len * 4).map(|range| range.start);
        if usize::from(header[7]) != beneath.len() {
            return Err("its chain has another number of layers");
        }
        if !beneath.is_empty() {
            let bases = chunks.find_of_len(b"BASE", beneath.len() * hash_len)?;
            let trailers = beneath.iter().map(|layer| &layer.data[layer.data.len() - hash_len..]);
            if !data[bases].chunks_exact(hash_len).eq(trailers) {
                return Err("its chain has other layers");
            }
        }
        let before = beneath.last().map_or(0, |layer| layer.before + layer.ids.len());
        if before.checked_add(ids.len()).is_none_or(|sum| sum >= NO_PARENT) {
            return Err("its chain has too many commits");
        }
        let of = |id| chunks.find(id).unwrap_or(0..0);
        let (overflow, edges) = (of(b"GDO2"), of(b"EDGE"));
        Ok(Self { data, ids, before, commits, generations, overflow, edges })
    }

    fn parents(&self, first: u32, second: u32) -> Option<Vec<u32>> {
        if first == NO_PARENT {
            return Some(vec![]);
        }
        let mut parents = vec![first];
        if second & HIGH_BIT == 0 {
            parents.extend((second != NO_PARENT).then_some(second));
            return Some(parents);
        }
        let edges = self.data[self.edges.clone()].get((second & !HIGH_BIT) as usize * 4..)?;
        for edge in edges.chunks_exact(4).take(PARENTS_MAX).map(|edge| be32(edge, 0)) {
            parents.push(edge & !HIGH_BIT);
            if edge & HIGH_BIT != 0 {
                return Some(parents);
            }
        }
        None
    }

    /// By how many seconds the corrected date of a commit is after its date.
    fn correction(&self, rank: usize) -> Option<u64> {
        let correction = be32(&self.data, self.generations? + rank * 4);
        if correction & HIGH_BIT == 0 {
            return Some(u64::from(correction));
        }
        let at = (correction & !HIGH_BIT) as usize * 8;
        Some(be64(self.data[self.overflow.clone()].get(at..at + 8)?, 0))
    }
}
