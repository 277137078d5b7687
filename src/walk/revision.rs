//! A name such as `main:folder/file` into the object that it names.
//!
//! Source: gitrevisions, "SPECIFYING REVISIONS": a whole object id, `HEAD` or `@`, a ref's name in full or shortened by the
//! usual rules, and `<rev>:<path>`. Not understood: abbreviated ids, reflogs, `^` and `~`, searches, the index.

use super::Error;
use super::commit::parse_commit;
use super::peel::peel;
use super::tree::for_each_entry;
use crate::pack::{Decoder, Kind};
use bstr::{BStr, BString, ByteSlice};
use gix_hash::ObjectId;

/// What a name led to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Named {
    /// The object.
    pub id: ObjectId,
    /// It was found through an object id, not through a ref: the caller knows whether it may be seen.
    pub by_id: bool,
}

/// The rules by which a short name stands for a ref, in order (`refs.c`: `ref_rev_parse_rules`).
const RULES: [(&str, &str); 6] =
    [("", ""), ("refs/", ""), ("refs/tags/", ""), ("refs/heads/", ""), ("refs/remotes/", ""), ("refs/remotes/", "/HEAD")];

/// The object called `name`; `find_ref` answers for refs by full name, and for `HEAD`.
pub fn find_named(decoder: &mut Decoder<'_>, name: &BStr, find_ref: &dyn Fn(&BStr) -> Option<ObjectId>) -> Result<Option<Named>, Error> {
    let (revision, path) = match name.split_once_str(":") {
        Some((revision, path)) => (revision.as_bstr(), Some(path)),
        None => (name, None),
    };
    let Some(named) = find_revision(decoder, revision, find_ref) else { return Ok(None) };
    let Some(path) = path else { return Ok(Some(named)) };
    let Some((id, kind)) = peel(decoder, named.id)? else { return Ok(None) };
    let tree = match kind {
        Kind::Commit => {
            let data = decoder.find(&id)?.ok_or_else(|| Error::missing(id))?.1;
            parse_commit(&data, decoder.objects().hash_kind()).ok_or(Error::Malformed { id, kind })?.tree
        }
        Kind::Tree => id,
        Kind::Blob | Kind::Tag => return Ok(None),
    };
    Ok(find_path(decoder, tree, path)?.map(|id| Named { id, ..named }))
}

fn find_revision(decoder: &Decoder<'_>, name: &BStr, find_ref: &dyn Fn(&BStr) -> Option<ObjectId>) -> Option<Named> {
    let hash = decoder.objects().hash_kind();
    if let Some(id) = ObjectId::from_hex(name).ok().filter(|id| id.kind() == hash) {
        return Some(Named { id, by_id: true });
    }
    let name = if name == "@" { "HEAD".into() } else { name };
    let found = RULES.iter().find_map(|(before, after)| {
        let full: BString = [before.as_bytes(), name, after.as_bytes()].concat().into();
        find_ref(full.as_bstr())
    });
    found.map(|id| Named { id, by_id: false })
}

/// What stands at `path` beneath `tree`.
fn find_path(decoder: &mut Decoder<'_>, tree: ObjectId, path: &[u8]) -> Result<Option<ObjectId>, Error> {
    let mut at = tree;
    for name in path.split_str("/").filter(|name| !name.is_empty()) {
        let Some((Kind::Tree, data)) = decoder.find(&at)? else { return Ok(None) };
        let mut found = None;
        let parsed = for_each_entry(&data, at.as_slice().len(), |entry| {
            if entry.name() == name {
                found = Some(entry.id());
            }
        });
        parsed.ok_or(Error::Malformed { id: at, kind: Kind::Tree })?;
        match found {
            Some(id) => at = id,
            None => return Ok(None),
        }
    }
    Ok(Some(at))
}
