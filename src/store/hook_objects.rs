//! What hooks wrote into a push's quarantine into the repository's objects: loose objects, and packs beside those that were
//! received.
//!
//! Source: githooks, "pre-receive"; git-receive-pack, "Quarantine Environment"; `tmp-objdir.c` (`migrate_paths`). Files
//! are linked to where they belong, a pack's index last; one that is there already stays. All of it is on the disk before
//! anything else of the push is: the journal does not name it. Files are synced before the repository's lock is taken, names
//! under it.
//!
//! Limits: what is neither a loose object nor a file of a pack that has an index goes with the quarantine; git moves that
//! too.

use super::owner::{self, PACK_ENDINGS, RepositoryLock};
use super::quarantine::link_or_keep;
use std::collections::BTreeSet;
use std::fs::{self, DirEntry, File};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

/// Files that hooks wrote, in the order in which they may be seen.
pub(super) struct Written {
    from: PathBuf,
    /// Paths within a folder of objects.
    files: Vec<PathBuf>,
}

impl Written {
    /// What the quarantine `from` holds beside the packs `received` (`pack-…` without ending), on the disk.
    pub(super) fn sync(from: &Path, hash: gix_hash::Kind, received: &[String]) -> io::Result<Self> {
        let mut files = vec![];
        for shard in entries(from)?.into_iter().filter(|entry| is_hex(entry, 2)) {
            let objects = entries(&shard.path())?;
            let objects = objects.iter().filter(|entry| is_hex(entry, hash.len_in_hex() - 2));
            files.extend(objects.map(|object| Path::new(&shard.file_name()).join(object.file_name())));
        }
        let packs = pack_files(&from.join("pack"), received)?;
        files.extend(packs.iter().filter_map(|path| Some(Path::new("pack").join(path.file_name()?))));
        let mut plain = vec![];
        for file in files {
            let path = from.join(&file);
            if fs::symlink_metadata(&path)?.is_file() {
                File::open(&path)?.sync_all()?;
                plain.push(file);
            }
        }
        Ok(Self { from: from.to_owned(), files: plain })
    }

    /// Make them visible in `objects_dir`.
    pub(super) fn publish(&self, _: &RepositoryLock, objects_dir: &Path) -> io::Result<()> {
        let mut changed = BTreeSet::new();
        for file in &self.files {
            put(&self.from.join(file), &objects_dir.join(file), &mut changed)?;
        }
        changed.iter().try_for_each(|folder| owner::sync_folder(folder))
    }
}

fn entries(folder: &Path) -> io::Result<Vec<DirEntry>> {
    match fs::read_dir(folder) {
        Err(err) if matches!(err.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => Ok(vec![]),
        entries => entries?.collect(),
    }
}

fn is_hex(entry: &DirEntry, digits: usize) -> bool {
    let name = entry.file_name();
    name.len() == digits && name.as_encoded_bytes().iter().all(u8::is_ascii_hexdigit)
}

/// The files of every pack that was not received, in the order in which they may be seen.
fn pack_files(folder: &Path, received: &[String]) -> io::Result<Vec<PathBuf>> {
    let mut found: Vec<PathBuf> = entries(folder)?.iter().map(DirEntry::path).collect();
    let is_of_hooks = |path: &PathBuf| {
        let stem = path.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
        let is_keep = path.extension().is_some_and(|ending| ending == "keep");
        stem.starts_with("pack-") && !is_keep && !received.iter().any(|name| name == stem) && path.with_extension("idx").exists()
    };
    found.retain(is_of_hooks);
    found.sort_by_key(|path| PACK_ENDINGS.iter().position(|ending| path.extension().is_some_and(|has| has == *ending)));
    Ok(found)
}

/// Link one file to its place, on the disk but for the names of what `changed`.
fn put(from: &Path, to: &Path, changed: &mut BTreeSet<PathBuf>) -> io::Result<()> {
    let folder = to.parent().unwrap_or(to);
    match fs::create_dir(folder) {
        Ok(()) => drop(changed.insert(folder.parent().unwrap_or(folder).to_owned())),
        Err(err) if err.kind() == ErrorKind::AlreadyExists => {}
        Err(err) => return Err(err),
    }
    match fs::hard_link(from, to) {
        // One object has files of many sizes, by how it was deflated: that of a loose one tells nothing.
        Err(err) if err.kind() == ErrorKind::AlreadyExists && !folder.ends_with("pack") => File::open(to)?.sync_all()?,
        Err(err) if err.kind() == ErrorKind::AlreadyExists => link_or_keep(from, to, &from.with_extension("spare"))?,
        linked => linked?,
    }
    changed.insert(folder.to_owned());
    Ok(())
}
