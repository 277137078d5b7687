//! A tree, paths and attributes into the entries of an archive, in git's order.
//!
//! Source: `archive.c`: `write_archive_entries`. A folder goes out before the first thing in it that does, so that empty
//! ones leave no trace; a submodule is an empty folder. What attributes replace is replaced here.
//! Limits: nesting and the number of entries are bounded; a blob is held whole unless a pack stores it whole.

use super::Error;
use super::attributes::{Attributes, Treatment};
use super::convert::{Substitute, convert};
use super::pathspec::Paths;
use crate::base::Cancel;
use crate::base::limits::{ARCHIVE_ENTRIES_MAX, ARCHIVE_STREAM_BYTES_MIN, TREE_DEPTH_MAX};
use crate::pack::{self, Decoder, Kind, WholeEntry};
use bstr::{BStr, BString, ByteSlice};
use gix_hash::ObjectId;
use gix_object::tree::{EntryKind, EntryRef};
use std::sync::Arc;

/// What an entry is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    /// A folder, or a submodule; its path ends in a slash.
    Folder,
    /// A symbolic link; its content is the target.
    Link,
    /// A file.
    File,
    /// A file that may be executed.
    Executable,
}

/// The bytes of an entry.
pub(super) enum Content<'a> {
    /// It has none.
    None,
    /// All at hand.
    Whole(&'a [u8]),
    /// To be had piece by piece, as long as nobody cancels.
    Pieces(WholeEntry<'a>, &'a Cancel),
}

impl Content<'_> {
    /// How many there are.
    pub fn size(&self) -> u64 {
        match self {
            Self::None => 0,
            Self::Whole(data) => data.len() as u64,
            Self::Pieces(whole, _) => whole.size(),
        }
    }
}

/// One entry of an archive.
pub(super) struct Entry<'a> {
    /// Its whole path, prefix included.
    pub path: &'a [u8],
    /// The object behind it.
    pub id: ObjectId,
    pub mode: Mode,
    pub content: Content<'a>,
    /// Whether attributes call it binary.
    pub binary: Option<bool>,
}

/// A format.
pub(super) trait Archiver {
    /// Write one entry.
    fn add(&mut self, entry: &Entry<'_>) -> Result<(), Error>;
}

/// Somebody to tell a path to.
pub(super) type Tell<'a> = &'a dyn Fn(&[u8]);

/// Everything that decides what goes into an archive.
pub(super) struct Walk<'a> {
    pub decoder: Decoder<'a>,
    pub attributes: Option<Attributes>,
    pub paths: &'a Paths,
    pub prefix: &'a [u8],
    pub substitute: Option<Substitute<'a>>,
    /// Told each path, where that was asked for.
    pub tell: Option<Tell<'a>>,
    pub cancel: &'a Cancel,
    pub seen: u64,
}

/// One folder on the way from the root to where the walk is.
struct Folder {
    id: ObjectId,
    tree: Arc<Vec<u8>>,
    next: usize,
    path_bytes: usize,
    has_attributes: bool,
    is_written: bool,
}

impl Walk<'_> {
    /// Hand every entry beneath `tree` to `archiver`; how many there were.
    pub fn run(&mut self, tree: ObjectId, archiver: &mut dyn Archiver) -> Result<u64, Error> {
        let mut count = 0;
        if self.prefix.ends_with(b"/") {
            let prefix = self.prefix.trim_end_with(|c| c == '/').len();
            self.say(&self.prefix[..prefix + 1]);
            archiver.add(&Entry {
                path: &self.prefix[..prefix + 1],
                id: tree,
                mode: Mode::Folder,
                content: Content::None,
                binary: None,
            })?;
            count += 1;
        }
        let mut path = BString::from(self.prefix);
        let mut stack = vec![self.enter(tree, path.as_ref())?];
        while let Some(folder) = stack.last_mut() {
            path.truncate(folder.path_bytes);
            let Some((entry, after)) = next_entry(folder, self.hash_bytes())? else {
                if folder.has_attributes
                    && let Some(attributes) = &mut self.attributes
                {
                    attributes.leave();
                }
                stack.pop();
                continue;
            };
            let (name, kind, id) = (entry.filename.to_owned(), entry.mode.kind(), entry.oid.to_owned());
            folder.next = after;
            self.count()?;
            path.extend_from_slice(&name);
            let (inner, is_folder) = (&path[self.prefix.len()..], kind == EntryKind::Tree);
            if is_folder && !self.paths.may_lie_beneath(inner) || !is_folder && !self.paths.takes(inner, kind == EntryKind::Commit) {
                continue;
            }
            let treatment = self.attributes.as_mut().map(|attributes| attributes.of(inner.as_bstr(), is_folder));
            let is_ignored = treatment.is_some_and(|treatment| treatment.ignore);
            if is_folder && is_ignored {
                continue;
            }
            if is_folder {
                if stack.len() >= TREE_DEPTH_MAX {
                    return Err(Error::Limit(format!("folders lie more than {TREE_DEPTH_MAX} deep")));
                }
                path.push(b'/');
                stack.push(self.enter(id, path.as_ref())?);
                continue;
            }
            for folder in stack.iter_mut().skip(1).filter(|folder| !folder.is_written) {
                folder.is_written = true;
                let path = &path[..folder.path_bytes];
                self.say(path);
                archiver.add(&Entry { path, id: folder.id, mode: Mode::Folder, content: Content::None, binary: None })?;
                count += 1;
            }
            // Only now, as git does: a folder is there for a file that is then left out.
            if is_ignored {
                continue;
            }
            self.leaf(&mut path, kind, id, treatment, archiver)?;
            count += 1;
        }
        Ok(count)
    }

    fn hash_bytes(&self) -> usize {
        self.decoder.objects().hash_kind().len_in_bytes()
    }

    fn count(&mut self) -> Result<(), Error> {
        self.cancel.check()?;
        self.seen += 1;
        if self.seen > ARCHIVE_ENTRIES_MAX {
            return Err(Error::Limit(format!("an archive of more than {ARCHIVE_ENTRIES_MAX} entries")));
        }
        Ok(())
    }

    fn say(&self, path: &[u8]) {
        if let Some(tell) = self.tell {
            tell(path);
        }
    }

    /// The folder whose path is `path` (empty, or with a slash at its end), its attributes in force.
    fn enter(&mut self, id: ObjectId, path: &BStr) -> Result<Folder, Error> {
        let tree = find_tree(&mut self.decoder, id)?;
        let mut folder = Folder { id, tree, next: 0, path_bytes: path.len(), has_attributes: false, is_written: false };
        if let Some(attributes) = &mut self.attributes
            && let Some(file) = attributes_file(&folder.tree, self.decoder.objects().hash_kind())
            && let Some((Kind::Blob, file)) = self.decoder.find(&file)?
        {
            let inner = &path[self.prefix.len()..];
            attributes.enter(inner.strip_suffix(b"/").unwrap_or(inner).as_bstr(), &file);
            folder.has_attributes = true;
        }
        Ok(folder)
    }

    fn leaf(
        &mut self,
        path: &mut BString,
        kind: EntryKind,
        id: ObjectId,
        treatment: Option<Treatment>,
        archiver: &mut dyn Archiver,
    ) -> Result<(), Error> {
        let binary = treatment.and_then(|treatment| treatment.binary);
        let mode = match kind {
            EntryKind::Commit => {
                path.push(b'/');
                self.say(path);
                return archiver.add(&Entry { path, id, mode: Mode::Folder, content: Content::None, binary });
            }
            EntryKind::Link => Mode::Link,
            EntryKind::BlobExecutable => Mode::Executable,
            EntryKind::Blob | EntryKind::Tree => Mode::File,
        };
        self.say(path);
        let objects = self.decoder.objects();
        let location = objects.locate(&id)?.ok_or(pack::Error::Missing(id))?;
        let replaced = treatment.filter(|treatment| mode != Mode::Link && !treatment.is_plain());
        if mode != Mode::Link
            && replaced.is_none()
            && let Some(whole) = WholeEntry::at(objects, &location)?
            && whole.kind() == Kind::Blob
            && whole.size() >= ARCHIVE_STREAM_BYTES_MIN
        {
            return archiver.add(&Entry { path, id, mode, content: Content::Pieces(whole, self.cancel), binary });
        }
        let (found, data) = self.decoder.get(&location)?;
        if found != Kind::Blob {
            return Err(pack::Error::Corrupt(format!("a tree calls {id} a blob, which it is not")).into());
        }
        let converted = replaced.and_then(|how| convert(&data, id, &how, self.substitute.as_mut()));
        let data = converted.as_deref().unwrap_or(&data);
        archiver.add(&Entry { path, id, mode, content: Content::Whole(data), binary })
    }
}

/// The entry of `folder` that comes next, and where the one behind it begins.
fn next_entry(folder: &Folder, hash_bytes: usize) -> Result<Option<(EntryRef<'_>, usize)>, Error> {
    let rest = &folder.tree[folder.next..];
    if rest.is_empty() {
        return Ok(None);
    }
    let (after, entry) = read_entry(rest, hash_bytes).ok_or_else(|| pack::Error::Corrupt(format!("tree {} is malformed", folder.id)))?;
    let name = entry.filename.as_bytes();
    // Unpacked somewhere else, such names would lead out of their folder, or into another repository.
    if matches!(name, b"" | b"." | b"..") || name.contains(&b'/') || name.eq_ignore_ascii_case(b".git") {
        return Err(Error::Refused(format!("invalid path '{}' in a tree", name.escape_ascii())));
    }
    Ok(Some((entry, folder.tree.len() - after.len())))
}

fn read_entry(bytes: &[u8], hash_bytes: usize) -> Option<(&[u8], EntryRef<'_>)> {
    let space = memchr::memchr(b' ', &bytes[..bytes.len().min(8)])?;
    let mode = gix_object::tree::EntryMode::from_bytes(&bytes[..space])?;
    let nul = space + 1 + memchr::memchr(0, &bytes[space + 1..])?;
    let id = bytes.get(nul + 1..nul + 1 + hash_bytes)?;
    let oid = gix_hash::oid::from_bytes_unchecked(id);
    Some((&bytes[nul + 1 + hash_bytes..], EntryRef { mode, filename: bytes[space + 1..nul].as_bstr(), oid }))
}

fn attributes_file(tree: &[u8], hash: gix_hash::Kind) -> Option<ObjectId> {
    find_in_tree(tree, b".gitattributes", hash)
        .filter(|(_, kind)| matches!(kind, EntryKind::Blob | EntryKind::BlobExecutable))
        .map(|(id, _)| id)
}

/// The entry called `name`.
pub(super) fn find_in_tree(tree: &[u8], name: &[u8], hash: gix_hash::Kind) -> Option<(ObjectId, EntryKind)> {
    let mut rest = tree;
    while !rest.is_empty() {
        let (after, entry) = read_entry(rest, hash.len_in_bytes())?;
        if entry.filename == name {
            return Some((entry.oid.to_owned(), entry.mode.kind()));
        }
        rest = after;
    }
    None
}

/// The bytes of the tree `id`.
pub(super) fn find_tree(decoder: &mut Decoder<'_>, id: ObjectId) -> Result<Arc<Vec<u8>>, Error> {
    match decoder.find(&id)? {
        Some((Kind::Tree, data)) => Ok(data),
        Some(_) => Err(pack::Error::Corrupt(format!("{id} is called a tree, which it is not")).into()),
        None => Err(pack::Error::Missing(id).into()),
    }
}

/// Whether anything beneath `tree` is taken by `paths`, attributes or not.
pub(super) fn any_taken(decoder: &mut Decoder<'_>, tree: ObjectId, paths: &Paths, cancel: &Cancel) -> Result<bool, Error> {
    let hash_bytes = decoder.objects().hash_kind().len_in_bytes();
    let folder = |id, tree, path_bytes| Folder { id, tree, next: 0, path_bytes, has_attributes: false, is_written: false };
    let (mut path, mut seen) = (BString::default(), 0);
    let mut stack = vec![folder(tree, find_tree(decoder, tree)?, 0)];
    while let Some(top) = stack.last_mut() {
        path.truncate(top.path_bytes);
        let Some((entry, after)) = next_entry(top, hash_bytes)? else {
            stack.pop();
            continue;
        };
        path.extend_from_slice(entry.filename);
        let (kind, id) = (entry.mode.kind(), entry.oid.to_owned());
        top.next = after;
        cancel.check()?;
        seen += 1;
        if seen > ARCHIVE_ENTRIES_MAX || stack.len() > TREE_DEPTH_MAX {
            return Err(Error::Limit("the tree is too big or too deep to look for a path".to_owned()));
        }
        if paths.takes(&path, matches!(kind, EntryKind::Tree | EntryKind::Commit)) {
            return Ok(true);
        }
        if kind == EntryKind::Tree && paths.may_lie_beneath(&path) {
            path.push(b'/');
            let tree = find_tree(decoder, id)?;
            stack.push(folder(id, tree, path.len()));
        }
    }
    Ok(false)
}
