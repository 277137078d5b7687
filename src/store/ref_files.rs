//! Files beneath `refs`, and `HEAD`, into names and values.
//!
//! Source: gitrepository-layout ("refs", "HEAD"), gitglossary ("symref"). Plain reads only: these files are small or
//! replaced while we look.

use super::stamp::Stamps;
use super::{Error, Head, Refs, Target};
use crate::base::limits;
use bstr::{BString, ByteSlice};
use gix_hash::ObjectId;
use std::ffi::OsStr;
use std::io::ErrorKind::{Interrupted, IsADirectory, NotADirectory, NotFound};
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// What a ref's file holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum OwnedTarget {
    /// An object.
    Object(ObjectId),
    /// Another ref, by its full name.
    Symbolic(BString),
    /// Nothing that can be understood. It hides a packed value, as in git.
    Broken,
}

/// Refs that every worktree has for itself (git-worktree, "REFS"), beside those outside `refs`.
const PER_WORKTREE: [&str; 3] = ["refs/bisect/", "refs/rewritten/", "refs/worktree/"];

/// Symbolic links to folders beneath `refs` that are followed within one another.
const FOLDER_LINKS_MAX: usize = 3;

fn is_per_worktree(name: &[u8]) -> bool {
    !name.starts_with(b"refs/") || PER_WORKTREE.iter().any(|prefix| name.starts_with(prefix.as_bytes()))
}

/// Whether git takes `name` for a ref within `refs/`.
pub(super) fn is_ref_name(name: &[u8]) -> bool {
    name.starts_with(b"refs/")
        && name.len() <= limits::REF_NAME_BYTES_MAX
        && (is_plain(name) || gix_validate::reference::name(name.as_bstr()).is_ok())
}

/// A cheap sufficient condition: only letters, digits, `-`, `_`, and single slashes and dots between them, no `.lock`.
fn is_plain(name: &[u8]) -> bool {
    /// As many bytes as are looked at in one step.
    const BLOCK: usize = 16;
    let (Some((first, rest)), Some(last)) = (name.split_first(), name.last()) else { return false };
    let is_word = |byte: u8| (byte | 0x20).wrapping_sub(b'a') < 26 || byte.wrapping_sub(b'0') < 10 || byte == b'-' || byte == b'_';
    let is_mark = |byte: u8| byte == b'/' || byte == b'.';
    if !is_word(*first) || !is_word(*last) {
        return false;
    }
    // No branch per byte: a repository may have a million names. Each byte is looked at with the one before it.
    let (mut plain, mut dots) = (true, false);
    let mut look = |before: &[u8], bytes: &[u8]| {
        for (before, byte) in before.iter().zip(bytes) {
            plain &= is_word(*byte) || is_mark(*byte) && is_word(*before);
            dots |= *byte == b'.';
        }
    };
    let blocks = |bytes| <[u8]>::as_chunks::<BLOCK>(bytes).0;
    for (before, bytes) in blocks(name).iter().zip(blocks(rest)) {
        look(before, bytes);
    }
    match rest.len().checked_sub(BLOCK) {
        // The last block overlaps the one before it.
        Some(tail) => look(&name[tail..tail + BLOCK], &rest[tail..]),
        None => look(name, rest),
    }
    plain && !(dots && memchr::memmem::find(name, b".lock").is_some())
}

/// The text of one loose ref or `HEAD` into its value; `None` when it is broken.
fn parse_loose(text: &[u8]) -> Option<OwnedTarget> {
    if let Some(target) = text.strip_prefix(b"ref:") {
        let target = target.trim();
        return gix_validate::reference::name(target.as_bstr()).is_ok().then(|| OwnedTarget::Symbolic(target.into()));
    }
    let end = text.iter().position(|byte| !byte.is_ascii_hexdigit()).unwrap_or(text.len());
    if text.get(end).is_some_and(|byte| !byte.is_ascii_whitespace()) {
        return None;
    }
    ObjectId::from_hex(&text[..end]).ok().map(OwnedTarget::Object)
}

/// More than a name and what stands round it: of what is longer the beginning counts.
const LOOSE_BYTES_MAX: usize = limits::REF_NAME_BYTES_MAX + 256;

/// The beginning of the file at `path`. Refs may be thousands of files: each is read in one step, for a regular file gives
/// less than is asked for only at its end.
fn read_beginning<'a>(path: &Path, buffer: &'a mut [u8]) -> std::io::Result<&'a [u8]> {
    let mut file = std::fs::File::open(path)?;
    loop {
        match file.read(buffer) {
            Ok(len) => return Ok(&buffer[..len]),
            Err(err) if err.kind() == Interrupted => {}
            Err(err) => return Err(err),
        }
    }
}

/// What lies at the path of a loose ref.
enum LooseFile {
    Absent,
    Broken,
    Value(OwnedTarget),
}

/// Read one file; `link` tells that it is a symbolic link, the oldest form of a symbolic ref.
fn read_loose_file(path: &Path, link: bool) -> Result<LooseFile, Error> {
    if link
        && let Ok(target) = std::fs::read_link(path)
        && is_ref_name(target.as_os_str().as_bytes())
    {
        return Ok(LooseFile::Value(OwnedTarget::Symbolic(target.as_os_str().as_bytes().into())));
    }
    match read_beginning(path, &mut [0; LOOSE_BYTES_MAX]) {
        Ok(text) => Ok(parse_loose(text).map_or(LooseFile::Broken, LooseFile::Value)),
        Err(err) if matches!(err.kind(), NotFound | NotADirectory | IsADirectory) => Ok(LooseFile::Absent),
        Err(err) => Err(Error::io(format!("read {}", path.display()))(err)),
    }
}

/// All loose refs, not sorted.
pub(super) fn read_all_loose(
    git_dir: &Path,
    common_dir: &Path,
    hash: gix_hash::Kind,
    stamps: &mut Stamps,
) -> Result<Vec<(BString, OwnedTarget)>, Error> {
    let mut found = Vec::new();
    let mut walk = LooseWalk { base: common_dir, hash, found: &mut found, wanted: |_| true, stamps };
    if git_dir == common_dir {
        walk.all_beneath("refs/")?;
        return Ok(found);
    }
    walk.wanted = |name| !is_per_worktree(name);
    walk.all_beneath("refs/")?;
    let mut own = LooseWalk { base: git_dir, hash, found: &mut found, wanted: is_per_worktree, stamps };
    for prefix in PER_WORKTREE {
        own.all_beneath(prefix)?;
    }
    Ok(found)
}

struct LooseWalk<'a> {
    base: &'a Path,
    hash: gix_hash::Kind,
    found: &'a mut Vec<(BString, OwnedTarget)>,
    wanted: fn(&[u8]) -> bool,
    /// What was looked at.
    stamps: &'a mut Stamps,
}

impl LooseWalk<'_> {
    /// Walk the folder called `prefix`, which ends in `/`. One folder is open at a time, however deep a pusher's names are.
    fn all_beneath(&mut self, prefix: &str) -> Result<(), Error> {
        let mut folders = vec![(BString::from(prefix), 0)];
        while let Some((prefix, links)) = folders.pop() {
            self.folder(prefix, links, &mut folders)?;
        }
        Ok(())
    }

    /// Read what lies in the folder `prefix`, reached through so many `links`; add the folders in it to `folders`.
    fn folder(&mut self, prefix: BString, links: usize, folders: &mut Vec<(BString, usize)>) -> Result<(), Error> {
        let path = self.base.join(OsStr::from_bytes(&prefix));
        let failed = || Error::io(format!("list {}", path.display()));
        self.stamps.note(&path);
        let entries = match std::fs::read_dir(&path) {
            Ok(entries) => entries,
            Err(err) if matches!(err.kind(), NotFound | NotADirectory) => return Ok(()),
            Err(err) => return Err(failed()(err)),
        };
        for entry in entries {
            let entry = entry.map_err(failed())?;
            let file_name = entry.file_name();
            if file_name.as_bytes().starts_with(b".") || file_name.as_bytes().ends_with(b".lock") {
                continue;
            }
            let mut name = prefix.clone();
            name.extend_from_slice(file_name.as_bytes());
            if name.len() > limits::REF_NAME_BYTES_MAX {
                continue;
            }
            let kind = entry.file_type().map_err(failed())?;
            if kind.is_symlink() {
                self.stamps.give_up(); // it may come to lead elsewhere while all that it leads to stays
            }
            let link_to_folder = kind.is_symlink() && std::fs::metadata(entry.path()).is_ok_and(|meta| meta.is_dir());
            if kind.is_dir() || link_to_folder && links < FOLDER_LINKS_MAX {
                name.push(b'/');
                folders.push((name, links + usize::from(link_to_folder)));
            } else if !link_to_folder && (self.wanted)(&name) {
                self.file(name, &entry.path(), kind.is_symlink())?;
            }
        }
        Ok(())
    }

    fn file(&mut self, name: BString, path: &Path, link: bool) -> Result<(), Error> {
        if !is_ref_name(&name) {
            tracing::warn!(%name, "ignoring a ref with a broken name");
            return Ok(());
        }
        self.stamps.note(path);
        match read_loose_file(path, link)? {
            LooseFile::Value(OwnedTarget::Object(id)) if id.is_null() || id.kind() != self.hash => self.broken(name),
            LooseFile::Value(value) => self.found.push((name, value)),
            LooseFile::Broken => self.broken(name),
            LooseFile::Absent => {}
        }
        Ok(())
    }

    fn broken(&mut self, name: BString) {
        tracing::warn!(%name, "ignoring a broken ref");
        self.found.push((name, OwnedTarget::Broken));
    }
}

/// What `HEAD` holds, with the value that `refs` give it.
pub(super) fn read_head(git_dir: &Path, refs: &Refs, hash: gix_hash::Kind) -> Result<Head, Error> {
    Ok(match read_loose_file(&git_dir.join("HEAD"), true)? {
        LooseFile::Value(OwnedTarget::Object(id)) if id.kind() == hash => Head::Detached(id),
        LooseFile::Value(OwnedTarget::Symbolic(name)) => {
            let found = refs.find(name.as_bstr());
            let id = found.and_then(|entry| entry.id);
            match found.map(|entry| entry.target) {
                Some(Target::Symbolic(end)) => Head::Symbolic(end.to_owned(), id),
                _ => Head::Symbolic(name, id),
            }
        }
        _ => Head::Missing,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_plain_name_is_one_that_git_takes(name in "refs/[a-c./@{^-]{0,8}(\\.lock)?[/a]?") {
            prop_assert!(!is_plain(name.as_bytes()) || gix_validate::reference::name(name.as_str().into()).is_ok());
        }
    }

    #[test]
    fn usual_names_are_plain() {
        for name in ["refs/heads/main", "refs/tags/v1.2.3-rc_4", "refs/pull/123/head"] {
            assert!(is_plain(name.as_bytes()), "{name}");
        }
    }
}
