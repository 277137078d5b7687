//! The new tips of a push into "whole or not": everything that they reach is here.
//!
//! What a ref reaches is taken for whole, as git does (`connected.c`: `rev-list --objects --not --all`). The cost
//! grows with what is new: the walk stops at commits that are tips of refs; only where it meets an old commit that
//! is none, history is painted from all refs.

use super::Error;
use super::commit::parse_tag;
use super::commits::{Commits, Number};
use super::cover::Cover;
use super::peel::peel;
use super::want_have::cover_commits;
use crate::base::{Cancel, FastSet, Phase};
use crate::pack::{Kind, Location, Objects};
use gix_hash::ObjectId;

/// Check that `tips` reach only what is here. `known`: what refs lead to, taken for whole; `is_new`: did this push bring it.
///
/// # Errors
/// [`crate::pack::Error::Missing`] (inside [`Error::Pack`]) names the first object found missing.
pub fn check_connected(
    objects: &dyn Objects,
    shallow: &[ObjectId],
    tips: &[ObjectId],
    known: &FastSet<ObjectId>,
    is_new: &dyn Fn(&Location) -> bool,
    phase: &Phase,
    cancel: &Cancel,
) -> Result<(), Error> {
    let mut commits = Commits::new(objects, shallow);
    let mut cover = Cover::new(objects, None, phase, cancel);
    cover.are_kinds_checked = true;
    let mut starts = vec![];
    for &tip in tips {
        cancel.check()?;
        // What a tag takes the object that it names for.
        let (mut at, mut wanted) = (tip, None);
        loop {
            let location = objects.locate(&at)?.ok_or_else(|| Error::missing(at))?;
            let kind = commits.decoder().kind(&location)?;
            if let Some(wanted) = wanted.filter(|wanted| *wanted != kind) {
                return Err(Error::WrongKind { id: at, wanted, found: kind });
            }
            if known.contains(&at) {
                break;
            }
            match kind {
                Kind::Commit => starts.push(commits.intern(at)),
                Kind::Tree => cover.add_tree(at, None)?,
                Kind::Blob => {}
                Kind::Tag => {
                    let (kind, data) = commits.decoder().get(&location)?;
                    let (target, kind) = parse_tag(&data, objects.hash_kind()).ok_or(Error::Malformed { id: at, kind })?;
                    (at, wanted) = (target, Some(kind));
                    continue;
                }
            }
            break;
        }
    }
    let new = match commits.newer_than_tips(&starts, &|id| known.contains(id), is_new, cancel)? {
        Some(new) => new,
        None => paint_from_all(&mut commits, &starts, known, phase, cancel)?,
    };
    cover_commits(&mut commits, &mut cover, &new)
}

/// The long way: what do the refs reach of it?
fn paint_from_all(
    commits: &mut Commits<'_>,
    starts: &[Number],
    known: &FastSet<ObjectId>,
    phase: &Phase,
    cancel: &Cancel,
) -> Result<Vec<Number>, Error> {
    let mut haves = vec![];
    for &id in known {
        cancel.check()?;
        if let Some((id, Kind::Commit)) = peel(commits.decoder(), id)? {
            haves.push(commits.intern(id));
        }
    }
    commits.paint(starts, &haves, phase, cancel)
}
