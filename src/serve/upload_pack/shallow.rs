//! What a request says of the client's boundary into the lines that tell the new one.
//!
//! Source: gitprotocol-pack, "Packfile Negotiation" (`shallow-update`); gitprotocol-v2, "fetch" (`shallow-info`).
//! Commits that this client may not be told of are treated as if they were not here, and names behind `deepen-not` are
//! those of visible refs (git: of all refs).

use super::may_want::MayTell;
use super::{Conversation, Error};
use crate::pack::{Decoder, Kind, Objects};
use crate::walk::{Boundaries, Boundary, Deepening, ReachedCommits, VisibleHead, VisibleRefs, find_boundary};
use crate::wire::{Deepen, FetchRequest};
use bstr::{BStr, BString, ByteSlice};
use gix_hash::ObjectId;

/// Who tells the client where this repository's own history ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum OwnBoundary {
    /// The advertisement did so (versions 0 and 1).
    Advertised,
    /// This answer does (version 2).
    Told,
}

/// The boundary that `request`, whose wants have been checked, leads to.
pub(super) fn find(
    conversation: &Conversation<'_>,
    request: &FetchRequest,
    own_boundary: OwnBoundary,
    may_tell: &mut MayTell<'_>,
) -> Result<Boundary, Error> {
    let snapshot = conversation.snapshot;
    let objects = &**snapshot.objects();
    let client = known_commits(objects, &request.shallow, may_tell)?;
    let deepening = match &request.deepen {
        Deepen::No if own_boundary == OwnBoundary::Told && !snapshot.shallow().is_empty() => Deepening::TellOwn,
        Deepen::No => Deepening::No,
        Deepen::Commits { depth, relative: false } => Deepening::Depth(*depth),
        Deepen::Commits { depth, relative: true } => Deepening::RelativeDepth(*depth),
        Deepen::History { since, not } => {
            let not = not.iter().map(|name| find_named(conversation.refs, name)).collect::<Result<_, _>>()?;
            Deepening::History { since: since.unwrap_or(0), not }
        }
    };
    let sides = Boundaries { own: snapshot.shallow(), client: &client, wants: &request.wants };
    find_boundary(objects, &sides, &deepening, conversation.cancel)?
        .ok_or_else(|| Error::Protocol("no commits selected for shallow requests".to_owned()))
}

/// Those of the client's shallow commits that are here, as far as it may know.
fn known_commits(objects: &dyn Objects, ids: &[ObjectId], may_tell: &mut MayTell<'_>) -> Result<Vec<ObjectId>, Error> {
    let mut known = vec![];
    let mut decoder = Decoder::new(objects, 1 << 20);
    for &id in ids {
        let Some(location) = objects.locate(&id)? else { continue };
        if !may_tell.ask(id)? {
            continue;
        }
        if decoder.kind(&location)? != Kind::Commit {
            return Err(Error::Protocol(format!("invalid shallow object {id}")));
        }
        known.push(id);
    }
    Ok(known)
}

/// A name as people say it into the object of the one ref that it can mean.
///
/// Source: gitrevisions, `<refname>`, without the files directly in the repository but for HEAD.
fn find_named(refs: &VisibleRefs, name: &BString) -> Result<ObjectId, Error> {
    let find = |name: &BStr| refs.find(name).and_then(|entry| entry.id);
    let head = match refs.head() {
        VisibleHead::Born(id, _) if name == "HEAD" => Some(id),
        _ => None,
    };
    let rules = ["", "refs/", "refs/tags/", "refs/heads/", "refs/remotes/"];
    let full_names = rules.iter().map(|prefix| [prefix.as_bytes(), name].concat());
    let of_remote = [b"refs/remotes/", name.as_slice(), b"/HEAD"].concat();
    let mut meanings = head.into_iter().chain(full_names.chain([of_remote]).filter_map(|name| find(name.as_bstr())));
    match (meanings.next(), meanings.next()) {
        (Some(id), None) => Ok(id),
        (None, _) => Err(Error::Protocol(format!("git upload-pack: deepen-not is not a ref: deepen-not {name}"))),
        (Some(_), Some(_)) => Err(Error::Protocol(format!("git upload-pack: ambiguous deepen-not: deepen-not {name}"))),
    }
}

/// Whether version 2 has a `shallow-info` section for this boundary.
pub(super) fn has_news(request: &FetchRequest, boundary: &Boundary) -> bool {
    let is_known = |id: &ObjectId| boundary.cut.binary_search(id).is_ok();
    request.deepen != Deepen::No || !boundary.shallow.is_empty() || request.shallow.iter().any(is_known)
}

/// Tell the changes, without line ends as git does.
pub(super) fn write_changes(conversation: &mut Conversation<'_>, boundary: &Boundary) -> Result<(), Error> {
    for (word, ids) in [("shallow", &boundary.shallow), ("unshallow", &boundary.unshallow)] {
        for id in ids {
            conversation.data(format!("{word} {id}").as_bytes())?;
        }
    }
    Ok(())
}

/// This repository's own shallow commits, as far as the client may know of them.
pub(super) fn visible_own<'a>(conversation: &Conversation<'a>) -> Result<Vec<ObjectId>, Error> {
    let (snapshot, refs) = (conversation.snapshot, conversation.refs);
    let own = snapshot.shallow();
    if own.is_empty() || conversation.options.wants == crate::serve::Wants::Git || !refs.hides_any() {
        return Ok(own.to_vec());
    }
    let mut reached = ReachedCommits::new(&**snapshot.objects(), own, &mut refs.tips(), conversation.cancel)?;
    let mut visible = vec![];
    for id in own {
        if reached.contains(*id, conversation.cancel)? {
            visible.push(*id);
        }
    }
    Ok(visible)
}
