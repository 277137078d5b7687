//! Which objects a client may ask for by id, and which it may be told of.
//!
//! git's own rules (`upload-pack.c`: `check_non_tip`): version 2 serves any object; before, tips that were advertised,
//! and what the settings add. A server that hides refs cannot live with that: with [`Wants::ReachableFromVisible`]
//! only what visible refs reach may be wanted, or is acknowledged when the client has it. An object that is not
//! here and one that is hidden get the same answer from the same place.

use super::{Conversation, Error};
use crate::base::{Cancel, FastSet};
use crate::pack::{Decoder, Kind, Objects as _};
use crate::serve::shared::{Made, Shareable};
use crate::serve::{Protocol, SharedState, Wants};
use crate::store::Snapshot;
use crate::walk::{self, ReachableObjects, ReachedCommits, VisibleRefs, find_in_newest, find_unreachable, newest_trees_max};
use bstr::BStr;
use gix_hash::ObjectId;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Answers whether the client may know that an object is here.
pub(super) enum MayTell<'a> {
    /// Every one.
    Always,
    /// Commits that visible refs reach, and what they name.
    Reachable { tips: FastSet<ObjectId>, commits: Box<ReachedCommits<'a>>, cancel: &'a Cancel },
    /// The same, where another request has found out already what visible refs reach.
    Known { tips: FastSet<ObjectId>, reached: Arc<ReachableObjects>, decoder: Box<Decoder<'a>> },
}

impl MayTell<'_> {
    /// About `id`, which is here.
    pub fn ask(&mut self, id: ObjectId) -> Result<bool, walk::Error> {
        match self {
            Self::Always => Ok(true),
            Self::Reachable { tips, commits, cancel } => Ok(tips.contains(&id) || commits.contains(id, cancel)?),
            Self::Known { tips, .. } if tips.contains(&id) => Ok(true),
            Self::Known { reached, decoder, .. } => match decoder.objects().locate(&id)? {
                // Nothing but commits, or the answer would depend on what others asked before.
                Some(location) => Ok(reached.contains(&location) && decoder.kind(&location)? == Kind::Commit),
                None => Ok(false),
            },
        }
    }
}

/// Refuse wants that this client may not have; otherwise say what it may be told in the negotiation.
///
/// A client that names `shallow` commits may have history unfold behind them: then each of them counts only if it is
/// reachable, even where no ref is hidden.
pub(super) fn check_wants<'a>(conversation: &mut Conversation<'a>, wants: &[ObjectId], shallow: &[ObjectId]) -> Result<MayTell<'a>, Error> {
    let (snapshot, refs, cancel) = (conversation.snapshot, conversation.refs, conversation.cancel);
    let objects = &**snapshot.objects();
    if conversation.options.wants == Wants::Git {
        for want in wants {
            if crate::pack::Objects::locate(objects, want)?.is_none() {
                return Err(not_our_ref(want));
            }
        }
    }
    if conversation.options.wants == Wants::Git && git_rules(conversation).0 {
        return Ok(MayTell::Always); // there may be a million tips: they are looked at only where they count
    }
    let mut tips: FastSet<ObjectId> = FastSet::default();
    for (count, tip) in refs.tips().enumerate() {
        if count.is_multiple_of(4096) {
            cancel.check()?;
        }
        tips.insert(tip);
    }
    refs.check()?;
    let not_tips: Vec<ObjectId> = wants.iter().copied().filter(|want| !tips.contains(want)).collect();
    let tells_all = !refs.hides_any() && shallow.is_empty();
    let reachable = conversation.options.wants == Wants::ReachableFromVisible || git_rules(conversation).1;
    if let Some(want) = not_tips.first() {
        let settings = snapshot.settings();
        let within = |name: &BStr| name.starts_with(&settings.namespace);
        let all_tips: FastSet<ObjectId> = match settings.fetch.allow_tip_sha1_in_want {
            true => snapshot.refs().iter().filter(|entry| within(entry.name)).filter_map(|entry| entry.id).collect(),
            false => FastSet::default(),
        };
        let allowed_tip = |want: &ObjectId| all_tips.contains(want);
        let left: Vec<ObjectId> = match conversation.options.wants {
            Wants::Git => not_tips.iter().copied().filter(|want| !allowed_tip(want)).collect(),
            Wants::ReachableFromVisible => not_tips.clone(),
        };
        if !reachable && !left.is_empty() {
            return Err(not_our_ref(left.first().unwrap_or(want)));
        }
        if let Some(want) = unreachable(conversation, left)?.first() {
            return Err(not_our_ref(want));
        }
    }
    Ok(match conversation.options.wants {
        Wants::ReachableFromVisible if !tells_all => match known_reachable(snapshot, refs, conversation.options.shared.as_deref())? {
            Some(reached) => MayTell::Known { tips, reached, decoder: Box::new(Decoder::new(objects, 1 << 20)) },
            None => {
                let commits = Box::new(ReachedCommits::new(objects, snapshot.shallow(), &mut refs.tips(), cancel)?);
                MayTell::Reachable { tips, commits, cancel }
            }
        },
        _ => MayTell::Always,
    })
}

/// Those of `ids`, all of which are here, that this client may not hear of: by git's rules none.
pub(super) fn find_forbidden(conversation: &mut Conversation<'_>, ids: Vec<ObjectId>) -> Result<Vec<ObjectId>, Error> {
    match conversation.options.wants {
        Wants::Git => Ok(vec![]),
        Wants::ReachableFromVisible => unreachable(conversation, ids),
    }
}

/// Those of `ids` that visible refs do not reach.
fn unreachable(conversation: &mut Conversation<'_>, ids: Vec<ObjectId>) -> Result<Vec<ObjectId>, Error> {
    let (snapshot, refs, shared, cancel) =
        (conversation.snapshot, conversation.refs, conversation.options.shared.as_deref(), conversation.cancel);
    conversation.attended(move || find_unreached(snapshot, refs, shared, &ids, cancel))
}

/// Where requests share, one that asks for what no newest tree names pays for the answers to all that follow.
fn find_unreached(
    snapshot: &Snapshot,
    refs: &VisibleRefs,
    shared: Option<&SharedState>,
    ids: &[ObjectId],
    cancel: &Cancel,
) -> Result<Vec<ObjectId>, Error> {
    let objects = &**snapshot.objects();
    let without_sharing = || Ok(find_unreachable(objects, snapshot.shallow(), ids, &mut refs.tips(), cancel)?);
    let Some(shared) = shared else { return without_sharing() };
    let mut found = vec![];
    for id in ids {
        found.push((*id, objects.locate(id)?));
    }
    let reached = match known_reachable(snapshot, refs, Some(shared))? {
        Some(reached) => reached,
        None => {
            let (mut decoder, mut others) = (Decoder::new(objects, 1 << 20), vec![]);
            for (id, location) in &found {
                if let Some(location) = location
                    && decoder.kind(location)? != Kind::Commit
                {
                    others.push(*id);
                }
            }
            if others.is_empty() {
                return without_sharing();
            }
            let newest = find_in_newest_shared(snapshot, refs, shared, &others, cancel)?;
            found.retain(|(id, _)| !newest.contains(id));
            if found.is_empty() {
                return Ok(vec![]);
            }
            let make = || {
                let tips: Vec<ObjectId> = refs.tips().collect();
                Ok(ReachableObjects::find(objects, snapshot.shallow(), &tips, cancel)?)
            };
            shared.get_or_make(made_from(snapshot, refs), cancel, make)?.0
        }
    };
    found.retain(|(_, location)| !location.is_some_and(|location| reached.contains(&location)));
    Ok(found.into_iter().map(|(id, _)| id).collect())
}

/// How many trees may still be read in search of what newest trees name, before it pays to find all that is reachable.
struct TreesLeft(AtomicUsize);

impl Shareable for TreesLeft {
    fn held_bytes(&self) -> usize {
        size_of::<Self>()
    }
}

/// Those of `ids` that newest trees name. All requests together read as many trees as are worth it, and then no more.
fn find_in_newest_shared(
    snapshot: &Snapshot,
    refs: &VisibleRefs,
    shared: &SharedState,
    ids: &[ObjectId],
    cancel: &Cancel,
) -> Result<FastSet<ObjectId>, Error> {
    let objects = &**snapshot.objects();
    let from = Made::new("trees left", snapshot).from(refs);
    let (left, _) = shared.get_or_make(from, cancel, || Ok(TreesLeft(newest_trees_max(objects).into())))?;
    let trees_max = left.0.load(Ordering::Relaxed);
    let newest = find_in_newest(objects, snapshot.shallow(), ids, &mut refs.tips(), trees_max, cancel)?;
    let less = |left: usize| Some(left.saturating_sub(newest.trees));
    let _ = left.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less);
    Ok(newest.found)
}

/// What visible refs reach is found out once for all that see the same.
fn made_from(snapshot: &Snapshot, refs: &VisibleRefs) -> Made {
    Made::new("reachable", snapshot).from(refs)
}

/// What visible refs reach, where a request has found it out already.
fn known_reachable(snapshot: &Snapshot, refs: &VisibleRefs, shared: Option<&SharedState>) -> Result<Option<Arc<ReachableObjects>>, Error> {
    match shared {
        Some(shared) => shared.find(made_from(snapshot, refs)),
        None => Ok(None),
    }
}

impl Shareable for ReachableObjects {
    fn held_bytes(&self) -> usize {
        self.held_bytes()
    }
}

/// git's rules as two answers: any object at all, any object that advertised refs reach.
fn git_rules(conversation: &Conversation<'_>) -> (bool, bool) {
    let settings = &conversation.snapshot.settings().fetch;
    let any = conversation.options.protocol == Protocol::V2 || settings.allow_any_sha1_in_want;
    // Between two requests of a stateless talk the tips may have moved.
    (any, settings.allow_reachable_sha1_in_want || conversation.options.stateless)
}

fn not_our_ref(want: &ObjectId) -> Error {
    Error::Refused(format!("upload-pack: not our ref {want}"))
}
