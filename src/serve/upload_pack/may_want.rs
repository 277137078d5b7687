//! Which objects a client may ask for by id, and which it may be told of.
//!
//! git's own rules (`upload-pack.c`: `check_non_tip`): version 2 serves any object; before, tips that were advertised,
//! and what the settings add. A server that hides refs cannot live with that: with [`Wants::ReachableFromVisible`]
//! only what visible refs reach may be wanted, or is acknowledged when the client has it, whether any ref is hidden or not:
//! what nothing leads to any more is nobody's business either. An object that is not here and one that may not be seen get the
//! same answer from the same place: it costs to find out all that visible refs reach, once per state of the repository
//! where requests share.
//!
//! Limits: before that is found out, a refused commit has cost a walk through younger ones as well.

use super::{Conversation, Error};
use crate::base::{Cancel, FastSet};
use crate::pack::{Decoder, Kind, Objects as _};
use crate::serve::shared::{Made, Shareable};
use crate::serve::{Protocol, SharedState, Wants};
use crate::store::Snapshot;
use crate::walk::{self, ReachableObjects, ReachedCommits, VisibleRefs, find_in_newest, find_unreachable, newest_trees_max};
use gix_hash::ObjectId;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Commits that are looked at to prove a have by what is wanted, before it is asked what all visible refs reach: about as many
/// as the fetch of an update looks at anyway.
const NEAR_COMMITS: usize = 4_096;

/// Answers whether the client may know that an object is here.
pub(super) enum MayTell<'a> {
    /// Every one.
    Always,
    /// Visible tips, and commits that they reach.
    Visible(Box<Visible<'a>>),
}

impl MayTell<'_> {
    /// About `id`, which is here.
    pub fn ask(&mut self, id: ObjectId) -> Result<bool, walk::Error> {
        match self {
            Self::Always => Ok(true),
            Self::Visible(visible) => visible.ask(id),
        }
    }
}

/// What visible refs lead to, found out as far as it is asked for: most haves are what the wants build upon. One walk serves all
/// questions, whatever their number.
pub(super) struct Visible<'a> {
    snapshot: &'a Snapshot,
    refs: &'a VisibleRefs,
    cancel: &'a Cancel,
    decoder: Decoder<'a>,
    wants: Vec<ObjectId>,
    /// What the wants reach, and from the first question on that they do not answer, what all tips reach.
    commits: Option<ReachedCommits<'a>>,
    has_all_tips: bool,
    tips: Option<FastSet<ObjectId>>,
    /// What somebody else has found out.
    known: Option<Arc<ReachableObjects>>,
}

impl<'a> Visible<'a> {
    /// For a client that may have `wants`.
    fn new(conversation: &Conversation<'a>, wants: &[ObjectId]) -> Result<Self, Error> {
        let (snapshot, refs, cancel) = (conversation.snapshot, conversation.refs, conversation.cancel);
        let known = known_reachable(snapshot, refs, conversation.options.shared.as_deref())?;
        let decoder = Decoder::new(&**snapshot.objects(), 1 << 20);
        Ok(Self { snapshot, refs, cancel, decoder, wants: wants.to_vec(), commits: None, has_all_tips: false, tips: None, known })
    }

    fn ask(&mut self, id: ObjectId) -> Result<bool, walk::Error> {
        let (objects, cancel) = (&**self.snapshot.objects(), self.cancel);
        let Some(location) = objects.locate(&id)? else { return Ok(false) };
        if self.decoder.kind(&location)? != Kind::Commit {
            // Nothing but commits and tips, or the answer would depend on what others asked before.
            return Ok(self.tips()?.contains(&id));
        }
        if let Some(known) = &self.known {
            return Ok(known.contains(&location));
        }
        let mut commits = match self.commits.take() {
            Some(commits) => commits,
            None => ReachedCommits::new(objects, self.snapshot.shallow(), &mut self.wants.drain(..), cancel)?,
        };
        let mut is_reached = commits.contains_near(id, NEAR_COMMITS, cancel)?;
        if !is_reached {
            if !std::mem::replace(&mut self.has_all_tips, true) {
                commits.add(&mut self.refs.tips(), cancel)?;
            }
            is_reached = commits.contains(id, cancel)?;
        }
        self.commits = Some(commits);
        Ok(is_reached)
    }

    fn tips(&mut self) -> Result<&FastSet<ObjectId>, walk::Error> {
        let tips = match self.tips.take() {
            Some(tips) => tips,
            None => all(&mut self.refs.tips(), self.cancel)?,
        };
        Ok(self.tips.insert(tips))
    }
}

/// Refuse wants that this client may not have; otherwise say what it may be told in the negotiation.
pub(super) fn check_wants<'a>(conversation: &mut Conversation<'a>, wants: &[ObjectId]) -> Result<MayTell<'a>, Error> {
    if conversation.options.wants == Wants::Git {
        return check_as_git(conversation, wants).map(|()| MayTell::Always);
    }
    let refs = conversation.refs;
    let not_tips = without_tips(wants, &mut refs.tips(), conversation.cancel)?;
    refs.check()?;
    match unreachable(conversation, not_tips)?.first() {
        Some(want) => Err(not_our_ref(want)),
        None => Ok(MayTell::Visible(Box::new(Visible::new(conversation, wants)?))),
    }
}

fn check_as_git(conversation: &Conversation<'_>, wants: &[ObjectId]) -> Result<(), Error> {
    let (snapshot, refs, cancel) = (conversation.snapshot, conversation.refs, conversation.cancel);
    let objects = &**snapshot.objects();
    for want in wants {
        if objects.locate(want)?.is_none() {
            return Err(not_our_ref(want));
        }
    }
    let settings = &snapshot.settings().fetch;
    if conversation.options.protocol == Protocol::V2 || settings.allow_any_sha1_in_want {
        return Ok(()); // there may be a million tips: they are looked at only where they count
    }
    // Either setting lets hidden tips count (`upload-pack.c`: `is_our_ref`).
    let counts_hidden = settings.allow_tip_sha1_in_want || settings.allow_reachable_sha1_in_want;
    let namespace = &snapshot.settings().namespace;
    let hidden = || snapshot.refs().iter().filter(|entry| counts_hidden && entry.name.starts_with(namespace)).filter_map(|entry| entry.id);
    let tips = || refs.tips().chain(hidden());
    let not_tips = without_tips(wants, &mut tips(), cancel)?;
    refs.check()?;
    let Some(want) = not_tips.first() else { return Ok(()) };
    // Between two requests of a stateless talk the tips may have moved.
    if !settings.allow_reachable_sha1_in_want && !conversation.options.stateless {
        return Err(not_our_ref(want));
    }
    match find_unreachable(objects, snapshot.shallow(), &not_tips, &mut tips(), cancel)?.first() {
        Some(want) => Err(not_our_ref(want)),
        None => Ok(()),
    }
}

fn all(tips: &mut dyn Iterator<Item = ObjectId>, cancel: &Cancel) -> Result<FastSet<ObjectId>, walk::Error> {
    let mut all = FastSet::default();
    for (count, tip) in tips.enumerate() {
        if count.is_multiple_of(4096) {
            cancel.check()?;
        }
        all.insert(tip);
    }
    Ok(all)
}

/// Those of `ids` that are none of `tips`, in order: there may be a million tips, so they are not gathered.
fn without_tips(ids: &[ObjectId], tips: &mut dyn Iterator<Item = ObjectId>, cancel: &Cancel) -> Result<Vec<ObjectId>, Error> {
    let mut open: FastSet<ObjectId> = ids.iter().copied().collect();
    for (count, tip) in tips.enumerate() {
        if count.is_multiple_of(4096) {
            cancel.check()?;
        }
        if open.remove(&tip) && open.is_empty() {
            break;
        }
    }
    Ok(ids.iter().copied().filter(|id| open.contains(id)).collect())
}

/// Those of `ids` that this client may not hear of, or that are not here: by git's rules none.
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

/// Whoever asks for what neither a walk through commits nor a look at newest trees finds pays for the answer to all questions
/// that follow, where requests share; what is not here goes the same way.
fn find_unreached(
    snapshot: &Snapshot,
    refs: &VisibleRefs,
    shared: Option<&SharedState>,
    ids: &[ObjectId],
    cancel: &Cancel,
) -> Result<Vec<ObjectId>, Error> {
    let objects = &**snapshot.objects();
    let mut open = ids.to_vec();
    let known = known_reachable(snapshot, refs, shared)?;
    if known.is_none() {
        let (mut decoder, mut commits) = (Decoder::new(objects, 1 << 20), vec![]);
        for id in ids {
            if let Some(location) = objects.locate(id)?
                && decoder.kind(&location)? == Kind::Commit
            {
                commits.push(*id);
            }
        }
        if !commits.is_empty() {
            let unreached = find_unreachable(objects, snapshot.shallow(), &commits, &mut refs.tips(), cancel)?;
            let (commits, unreached): (FastSet<_>, FastSet<_>) = (commits.into_iter().collect(), unreached.into_iter().collect());
            open.retain(|id| !commits.contains(id) || unreached.contains(id));
        }
        if let Some(shared) = shared.filter(|_| !open.is_empty()) {
            let newest = find_in_newest_shared(snapshot, refs, shared, &open, cancel)?;
            open.retain(|id| !newest.contains(id));
        }
    }
    if open.is_empty() {
        return Ok(open);
    }
    let make = || {
        let tips: Vec<ObjectId> = refs.tips().collect();
        Ok(ReachableObjects::find(objects, snapshot.shallow(), &tips, cancel)?)
    };
    let reached = match (known, shared) {
        (Some(known), _) => known,
        (None, Some(shared)) => shared.get_or_make(made_from(snapshot, refs), cancel, make)?.0,
        (None, None) => Arc::new(make()?),
    };
    let mut unreached = vec![];
    for id in open {
        if !objects.locate(&id)?.is_some_and(|location| reached.contains(&location)) {
            unreached.push(id);
        }
    }
    Ok(unreached)
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

fn not_our_ref(want: &ObjectId) -> Error {
    Error::Refused(format!("upload-pack: not our ref {want}"))
}
