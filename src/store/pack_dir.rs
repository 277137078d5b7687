//! The folder `pack` of one object directory into its packs and multi-pack indexes.
//!
//! Source: gitrepository-layout, "objects/pack"; technical/multi-pack-index, "Incremental multi-pack indexes". Only
//! names are listed and tables of multi-pack indexes read: packs are opened when they are first needed. A pack counts
//! whatever stands beside it: `.keep`, `.promisor`, `.mtimes`.

use super::Mapped;
use super::stamp::FileIdentity;
use crate::pack::{LocalBytes, MultiPackIndex, PackBytes, PackSource};
use bytes::Bytes;
use std::collections::{HashMap, HashSet};
use std::io::Result;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

/// Longest list of a chain's layers that is read, in bytes.
const CHAIN_BYTES_MAX: u64 = 1 << 20;

/// What lies in one folder of packs.
pub(super) struct PackDir {
    path: PathBuf,
    /// Names without ending of packs with an index.
    packs: Vec<String>,
    others: HashSet<String>,
}

impl PackDir {
    /// List the folder at `path`; one that is not there is empty.
    pub fn list(path: &Path) -> Self {
        let (mut indexes, mut packs, mut others) = (vec![], HashSet::new(), HashSet::new());
        for entry in std::fs::read_dir(path).into_iter().flatten().flatten() {
            let Ok(name) = entry.file_name().into_string() else { continue };
            if let Some(stem) = name.strip_suffix(".idx").filter(|stem| stem.starts_with("pack-")) {
                indexes.push(stem.to_owned());
            } else if let Some(stem) = name.strip_suffix(".pack") {
                packs.insert(stem.to_owned());
            } else if name.ends_with(".bitmap") || name.starts_with("multi-pack-index") {
                others.insert(name);
            }
        }
        // git writes the index last: without a pack beside it, it is being removed.
        indexes.retain(|name| packs.contains(name));
        Self { path: path.to_owned(), packs: indexes, others }
    }

    /// The names of its packs, as `pack-…` without ending.
    pub fn names(&self) -> HashSet<&str> {
        self.packs.iter().map(String::as_str).collect()
    }

    /// The names of those packs that are `wanted`, biggest index first: fewest are asked in vain.
    pub fn names_by_size(&self, wanted: &dyn Fn(&str) -> bool) -> Vec<String> {
        let size = |name: &String| self.path.join(format!("{name}.idx")).metadata().map_or(0, |meta| meta.len());
        let mut packs: Vec<_> = self.packs.iter().filter(|name| wanted(name)).map(|name| (size(name), name)).collect();
        packs.sort_unstable_by(|a, b| b.0.cmp(&a.0).then_with(|| a.1.cmp(b.1)));
        packs.into_iter().map(|(_, name)| name.clone()).collect()
    }

    /// The bitmap of the pack `name`, where it has one.
    pub fn bitmap(&self, name: &str) -> Option<PathBuf> {
        let file = format!("{name}.bitmap");
        self.others.contains(&file).then(|| self.path.join(file))
    }

    /// The bitmap of a multi-pack index and where its order stands (`None`: in the index itself), if both are there.
    pub fn multi_pack_bitmap(&self, index: &MultiPackIndex) -> Option<(PathBuf, Option<PathBuf>)> {
        let id = gix_hash::oid::from_bytes_unchecked(index.checksum()).to_hex().to_string();
        let existing = |ending: &str| {
            let file = format!("multi-pack-index-{id}.{ending}");
            self.others.contains(&file).then(|| self.path.join(file))
        };
        let bitmap = existing("bitmap")?;
        if index.order().is_some() { Some((bitmap, None)) } else { Some((bitmap, Some(existing("rev")?))) }
    }

    /// Its multi-pack index, or the layers of a chain, newest first. One that is damaged is left out with a warning;
    /// its packs count all the same.
    pub fn multi_pack_indexes(&self, hash: gix_hash::Kind) -> Vec<Arc<MultiPackIndex>> {
        if self.others.contains("multi-pack-index")
            && let Some(index) = open_index(&self.path.join("multi-pack-index"), hash)
        {
            return vec![index];
        }
        if !self.others.contains("multi-pack-index.d") {
            return vec![];
        }
        let dir = self.path.join("multi-pack-index.d");
        let layers = read_chain(&dir.join("multi-pack-index-chain"), hash);
        let mut indexes: Vec<_> =
            layers.iter().map_while(|id| open_index(&dir.join(format!("multi-pack-index-{id}.midx")), hash)).collect();
        indexes.reverse();
        indexes
    }
}

fn open_index(path: &Path, hash: gix_hash::Kind) -> Option<Arc<MultiPackIndex>> {
    let index = super::companions::map_or_warn(path)?;
    match MultiPackIndex::open(index, hash) {
        Ok(index) => Some(Arc::new(index)),
        Err(why) => {
            tracing::warn!(path = %path.display(), why, "ignoring a multi-pack index that cannot be used");
            None
        }
    }
}

/// The names of layers in a chain file, lowest first: as far as they are hashes.
pub(super) fn read_chain(path: &Path, hash: gix_hash::Kind) -> Vec<String> {
    let is_small = path.metadata().is_ok_and(|meta| meta.len() <= CHAIN_BYTES_MAX);
    let text = if is_small { std::fs::read_to_string(path).unwrap_or_default() } else { String::new() };
    let is_hash = |line: &&str| line.len() == hash.len_in_hex() && line.bytes().all(|byte| byte.is_ascii_hexdigit());
    text.lines().take_while(is_hash).map(str::to_owned).collect()
}

/// Numbers by name.
pub(super) type Numbers = HashMap<String, u32>;

/// The files of one pack.
pub(super) struct PackFiles {
    /// Path without ending.
    stem: PathBuf,
    /// Which ones were mapped.
    mapped: Mutex<Vec<(PathBuf, FileIdentity)>>,
}

impl PackFiles {
    /// Those of the pack `name` in the folder `dir`.
    pub fn new(dir: &Path, name: &str) -> Self {
        Self { stem: dir.join(name), mapped: Mutex::default() }
    }

    fn map(&self, ending: &str) -> Result<Bytes> {
        let mut path = self.stem.clone().into_os_string();
        path.push(ending);
        let path = PathBuf::from(path);
        // Looked at before it is opened: if another one takes its place meanwhile, it counts as another one.
        let identity = FileIdentity::of(&path);
        let map = Mapped::open(&path)?;
        let mut mapped = self.mapped.lock().unwrap_or_else(PoisonError::into_inner);
        mapped.extend(identity.map(|identity| (path, identity)));
        Ok(map)
    }
}

impl PackSource for PackFiles {
    fn index(&self) -> Result<Bytes> {
        self.map(".idx")
    }

    fn data(&self) -> Result<Box<dyn PackBytes>> {
        Ok(Box::new(LocalBytes(self.map(".pack")?)))
    }

    fn rev(&self) -> Option<Bytes> {
        self.map(".rev").ok()
    }

    fn is_current(&self) -> bool {
        let mapped = self.mapped.lock().unwrap_or_else(PoisonError::into_inner);
        mapped.iter().all(|(path, identity)| FileIdentity::of(path) == Some(*identity))
    }
}
