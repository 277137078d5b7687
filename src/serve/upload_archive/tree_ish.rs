//! The name that a client gives into the tree to archive, and the commit behind it.
//!
//! Source: git-upload-archive, "SECURITY"; gitrevisions, "`<refname>`" for the order in which a short name is looked up.
//! Taken are names of refs and `REF:PATH`; where `uploadArchive.allowUnreachable` says so, ids, `~N`, `^N` and `^{…}` too.
//! Limit: no abbreviated ids, no reflogs, no searches.

use super::Error;
use super::entries::{find_in_tree, find_tree};
use crate::pack::{self, Decoder, Kind};
use crate::walk::{VisibleHead, VisibleRefs, peel};
use bstr::{BStr, ByteSlice};
use gix_hash::ObjectId;
use gix_object::CommitRefIter;
use gix_object::tree::EntryKind;
use std::sync::Arc;

/// What is archived.
pub(super) struct Subject {
    /// The tree.
    pub tree: ObjectId,
    /// The commit whose tree it is, and its data; none for a tree that was named by itself or by a path.
    pub commit: Option<(ObjectId, Arc<Vec<u8>>)>,
}

impl Subject {
    /// The commit's time in seconds since 1970; 0 where it cannot be read.
    pub fn time(&self) -> Option<u64> {
        let (id, data) = self.commit.as_ref()?;
        let seconds = CommitRefIter::from_bytes(data, id.kind()).committer().ok().and_then(|committer| committer.time().ok());
        Some(seconds.and_then(|time| u64::try_from(time.seconds).ok()).unwrap_or(0))
    }
}

/// Find what `name` means. `any`: not only what a ref names.
pub(super) fn find_subject(decoder: &mut Decoder<'_>, refs: &VisibleRefs, name: &BStr, any: bool) -> Result<Subject, Error> {
    let (base, path) = match name.split_once_str(":") {
        Some((base, path)) => (base.as_bstr(), Some(path)),
        None => (name, None),
    };
    let id = match find_ref(refs, base) {
        Some(id) => id,
        None if any => find_revision(decoder, refs, base)?.ok_or_else(|| refused("not a valid object name", name))?,
        None => return Err(refused("no such ref", base)),
    };
    let (end, kind) = peel(decoder, id)?.ok_or_else(|| refused("not a valid object name", name))?;
    let subject = match (kind, decoder.find(&end)?) {
        (Kind::Commit, Some((_, data))) => {
            let tree = CommitRefIter::from_bytes(&data, end.kind()).tree_id();
            let tree = tree.map_err(|_| pack::Error::Corrupt(format!("commit {end} cannot be read")))?;
            Subject { tree, commit: Some((end, data)) }
        }
        (Kind::Tree, _) => Subject { tree: end, commit: None },
        _ => return Err(refused("not a tree object", name)),
    };
    match path {
        None => Ok(subject),
        Some(path) => {
            let tree = descend(decoder, subject.tree, path)?.ok_or_else(|| refused("not a tree object", name))?;
            Ok(Subject { tree, commit: None })
        }
    }
}

fn refused(why: &str, name: &BStr) -> Error {
    Error::Refused(format!("{why}: {name}"))
}

/// The visible ref that a short name means, in git's order.
fn find_ref(refs: &VisibleRefs, name: &BStr) -> Option<ObjectId> {
    if name == "HEAD" || name == "@" {
        return match refs.head() {
            VisibleHead::Born(id, _) => Some(id),
            VisibleHead::Unborn(_) | VisibleHead::None => None,
        };
    }
    let rules = [("", ""), ("refs/", ""), ("refs/tags/", ""), ("refs/heads/", ""), ("refs/remotes/", ""), ("refs/remotes/", "/HEAD")];
    let full = |(before, after): (&str, &str)| [before.as_bytes(), name, after.as_bytes()].concat();
    rules.into_iter().map(full).filter(|name| name.starts_with(b"refs/")).find_map(|name| refs.find(name.as_bstr())?.id)
}

/// `BASE`, then any of `~N`, `^N`, `^{TYPE}`.
fn find_revision(decoder: &mut Decoder<'_>, refs: &VisibleRefs, name: &BStr) -> Result<Option<ObjectId>, Error> {
    let hash = decoder.objects().hash_kind();
    let end = name.find_byteset(b"^~").unwrap_or(name.len());
    let base = name[..end].as_bstr();
    let literal = ObjectId::from_hex(base).ok().filter(|id| id.kind() == hash);
    let Some(mut at) = find_ref(refs, base).or(literal) else { return Ok(None) };
    let mut rest = name[end..].as_bytes();
    while let Some((mark, behind)) = rest.split_first() {
        let digits = behind.iter().take_while(|byte| byte.is_ascii_digit()).count();
        let count = if digits == 0 { Some(1) } else { behind[..digits].to_str().ok().and_then(|text| text.parse::<usize>().ok()) };
        rest = &behind[digits..];
        let found = match (mark, count) {
            (b'^', _) if behind.starts_with(b"{") => {
                let Some((wanted, after)) = behind[1..].split_once_str("}") else { return Ok(None) };
                rest = after;
                peel_to(decoder, at, wanted)?
            }
            (b'^', Some(0)) => peel_to(decoder, at, b"commit")?,
            (b'^', Some(count)) => parent(decoder, at, count)?,
            (b'~', Some(count)) => ancestor(decoder, at, count)?,
            _ => None,
        };
        let Some(found) = found else { return Ok(None) };
        at = found;
    }
    Ok(Some(at))
}

fn peel_to(decoder: &mut Decoder<'_>, id: ObjectId, wanted: &[u8]) -> Result<Option<ObjectId>, Error> {
    let Some((end, kind)) = peel(decoder, id)? else { return Ok(None) };
    Ok(match (wanted, kind) {
        (b"", _) | (b"commit", Kind::Commit) | (b"tree", Kind::Tree) => Some(end),
        (b"tree", Kind::Commit) => match decoder.find(&end)? {
            Some((_, data)) => CommitRefIter::from_bytes(&data, end.kind()).tree_id().ok(),
            None => None,
        },
        _ => None,
    })
}

fn parent(decoder: &mut Decoder<'_>, id: ObjectId, number: usize) -> Result<Option<ObjectId>, Error> {
    let Some((end, Kind::Commit)) = peel(decoder, id)? else { return Ok(None) };
    let Some((_, data)) = decoder.find(&end)? else { return Ok(None) };
    Ok(CommitRefIter::from_bytes(&data, end.kind()).parent_ids().nth(number - 1))
}

fn ancestor(decoder: &mut Decoder<'_>, id: ObjectId, count: usize) -> Result<Option<ObjectId>, Error> {
    let mut at = peel_to(decoder, id, b"commit")?;
    for _ in 0..count {
        let Some(id) = at else { return Ok(None) };
        at = parent(decoder, id, 1)?;
    }
    Ok(at)
}

/// The tree at `path` beneath `tree`.
fn descend(decoder: &mut Decoder<'_>, tree: ObjectId, path: &[u8]) -> Result<Option<ObjectId>, Error> {
    let mut at = tree;
    for name in path.split_str("/").filter(|name| !name.is_empty()) {
        let data = find_tree(decoder, at)?;
        match find_in_tree(&data, name, at.kind()) {
            Some((id, EntryKind::Tree)) => at = id,
            _ => return Ok(None),
        }
    }
    Ok(Some(at))
}
