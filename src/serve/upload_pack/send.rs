//! A request and the common objects into a pack on its way to the client.

use super::made_pack::MadePack;
use super::object_filter::Eyes;
use super::{Conversation, Error, Voice, packfile_uris};
use crate::base::{Cancel, Progress, span};
use crate::pack::{Found, PackOptions, PackPlan, write_pack};
use crate::serve::SharedState;
use crate::serve::attend::attend;
use crate::serve::shared::{Made, Shareable};
use crate::store::Snapshot;
use crate::walk::{Boundary, FetchSides, Missing, VisibleRefs, find_objects};
use crate::wire::{AckMode, Band, Bands, Deepen, FetchRequest, SideBand, write_flush};
use bstr::BStr;
use gix_hash::ObjectId;
use std::io::Write;
use std::sync::Arc;

/// All that a pack depends on but for the repository and what is visible of it.
#[derive(Clone, Copy)]
pub(super) struct Agreed<'a> {
    pub request: &'a FetchRequest,
    /// Where history ends.
    pub boundary: &'a Boundary,
    /// Common objects.
    pub haves: &'a [ObjectId],
}

/// Find, plan and stream the pack; in bands it ends with a flush packet.
pub(super) fn send_pack(conversation: &mut Conversation<'_>, agreed: Agreed<'_>) -> Result<(), Error> {
    let request = agreed.request;
    let (snapshot, refs, cancel) = (conversation.snapshot, conversation.refs, conversation.cancel);
    let (progress, keepalive_ms) = (Progress::new(), conversation.keepalive_ms());
    let mut bands = match request.bands {
        Bands::Large => SideBand::large(&mut *conversation.out),
        Bands::Small => SideBand::small(&mut *conversation.out),
        Bands::None => SideBand::none(&mut *conversation.out),
    };
    conversation.voice = if bands.has_bands() { Voice::Bands } else { Voice::Line };
    let quiet = request.no_progress;
    let has_uris = !request.packfile_uris.is_empty();
    if has_uris {
        bands.keep_alive_on(Band::Progress);
    }
    let eyes = Eyes { snapshot, refs, wants: conversation.options.wants, cancel };
    let shared = conversation.options.shared.as_deref();
    let (plan, made) = attend(&mut bands, &progress, quiet, keepalive_ms, cancel, || match shared {
        Some(shared) => shared_plan(shared, &eyes, agreed, &progress),
        None => plan(&eyes, agreed, &progress).map(|plan| (Arc::new(plan), None)),
    })?;
    if has_uris {
        packfile_uris::write_section(&mut bands, &snapshot.settings().fetch.blob_packfile_uris, plan.left_out())?;
        bands.keep_alive_on(Band::Data);
    }
    if !bands.has_bands() {
        conversation.voice = Voice::Nothing;
    }
    let _span = tracing::debug_span!(span::STREAM, objects = plan.objects()).entered();
    let written = Progress::new().begin("Writing objects", u64::from(plan.objects()));
    let bytes = match made {
        Some(made) => made.write(&mut bands, cancel)?,
        None => write_pack(&**snapshot.objects(), &plan, &mut bands, &written, cancel)?,
    };
    let in_bands = bands.has_bands();
    if !quiet {
        bands.say(Band::Progress, total(&plan).as_bytes())?;
    }
    bands.flush()?;
    bands.finish()?;
    if in_bands {
        write_flush(&mut conversation.out)?;
    }
    conversation.voice = Voice::Line;
    conversation.statistics.objects += u64::from(plan.objects());
    conversation.statistics.pack_bytes += bytes;
    Ok(())
}

/// git's last words about a pack. What goes out as stored is copied by runs, in which deltas are not counted: git says
/// `pack-reused` of that.
fn total(plan: &PackPlan) -> String {
    let (objects, deltas, copied, packs) = (plan.objects(), plan.deltas(), plan.copied(), plan.packs_copied());
    format!("Total {objects} (delta {deltas}), reused 0 (delta 0), pack-reused {copied} (from {packs})\n")
}

/// What goes out is known: so many objects.
fn counted(progress: &Progress, objects: u64) {
    let phase = progress.begin("Counting objects", objects);
    phase.set(objects);
    phase.finish();
}

/// The plan that somebody else has made or is making from the same state, view and request; else one for all who
/// come meanwhile. Whoever is not the first may get its pack, too.
fn shared_plan(
    shared: &SharedState,
    eyes: &Eyes<'_>,
    agreed: Agreed<'_>,
    progress: &Progress,
) -> Result<(Arc<PackPlan>, Option<Arc<MadePack>>), Error> {
    let Agreed { request, boundary, haves } = agreed;
    let mut common = haves.to_vec();
    common.sort_unstable();
    let counts = what_counts(request);
    let made = |kind| Made::new(kind, eyes.snapshot).from(eyes.refs).from(eyes.wants).from(&counts).from(boundary).from(&common);
    let (plan, found) = shared.get_or_make(made("plan"), eyes.cancel, || plan(eyes, agreed, progress))?;
    if !found {
        return Ok((plan, None));
    }
    let phase = progress.begin("Enumerating objects", 0);
    phase.set(u64::from(plan.objects()));
    phase.finish();
    counted(progress, u64::from(plan.objects()));
    let pack = MadePack::find(shared, made("pack"), eyes.snapshot, &plan, eyes.cancel)?;
    Ok((plan, pack))
}

/// `request` without that on which the pack does not depend: what is said in another order, how it is talked about,
/// and by whom. The haves count as far as they are common, and the client's boundary by what came of it.
fn what_counts(request: &FetchRequest) -> FetchRequest {
    let mut counts = FetchRequest {
        haves: vec![],
        shallow: vec![],
        deepen: Deepen::No,
        done: false,
        wait_for_done: false,
        ack_mode: AckMode::default(),
        no_done: false,
        bands: Bands::default(),
        sideband_all: false,
        no_progress: false,
        agent: None,
        session_id: None,
        ..request.clone()
    };
    counts.wants.sort_unstable();
    counts.want_refs.sort_unstable();
    counts
}

impl Shareable for PackPlan {
    fn held_bytes(&self) -> usize {
        self.held_bytes()
    }
}

fn plan(eyes: &Eyes<'_>, agreed: Agreed<'_>, progress: &Progress) -> Result<PackPlan, Error> {
    let Agreed { request, boundary, haves } = agreed;
    let (snapshot, refs, cancel) = (eyes.snapshot, eyes.refs, eyes.cancel);
    let filter = request.filter.as_ref().map(|filter| eyes.object_filter(filter)).transpose()?;
    let objects = &**snapshot.objects();
    let tags = if request.include_tag { annotated_tags(snapshot, refs, cancel)? } else { vec![] };
    let (found, left_out) = {
        let _span = tracing::debug_span!(span::WANT_HAVE, wants = request.wants.len(), haves = haves.len()).entered();
        let phase = progress.begin("Enumerating objects", 0);
        let (wants, haves) = ([&request.wants[..], &boundary.uncovered].concat(), [haves, &boundary.unshallow].concat());
        let aggressive = !boundary.cut.is_empty();
        let filter = filter.as_ref();
        let missing = if request.accepts_promised { Missing::Promised } else { Missing::Refused };
        let sides = FetchSides { wants: &wants, haves: &haves, shallow: &boundary.cut, aggressive, tags: &tags, filter, missing };
        let mut found: Found = find_objects(objects, &sides, &phase, cancel)?;
        phase.set(found.set.len() as u64);
        phase.finish();
        let left_out = packfile_uris::leave_out(objects, &mut found, &snapshot.settings().fetch, &request.packfile_uris)?;
        counted(progress, found.set.len() as u64);
        (found, left_out)
    };
    let _span = tracing::debug_span!(span::PLAN, objects = found.set.len()).entered();
    let search = snapshot.settings().delta_search.clone();
    let options = PackOptions { ofs_delta: request.ofs_delta, thin: request.thin_pack, search, progress: progress.clone() };
    Ok(PackPlan::new(objects, &found, &options, cancel)?.leaving_out(left_out))
}

/// Visible tags that are objects of their own, with what they lead to.
fn annotated_tags(snapshot: &Snapshot, refs: &VisibleRefs, cancel: &Cancel) -> Result<Vec<(ObjectId, ObjectId)>, Error> {
    let mut decoder = crate::pack::Decoder::new(&**snapshot.objects(), 1 << 20);
    let mut tags = vec![];
    for (count, entry) in refs.with_prefix(BStr::new("refs/tags/")).enumerate() {
        if count.is_multiple_of(1024) {
            cancel.check()?;
        }
        if let Some(peeled) = entry.peeled(&mut decoder)? {
            tags.push((entry.id, peeled));
        }
    }
    Ok(tags)
}
