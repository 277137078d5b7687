//! Wants and haves into the set of objects that go out: exactly what the wants reach and the haves do not show; and,
//! for deltas against it, what the client has next to them.
//!
//! As in git (`list-objects.c`: `mark_edges_uninteresting`), what the client has is: what stands in the trees of the
//! had commits that are parents of new ones, where anything new stands too (all of it when there is much that is new).
//! An older tree that came back, or one that was moved, is sent again only where git does so too.

use super::Error;
use super::bitmaps::Reached;
use super::commit::parse_tag;
use super::commits::{Commits, Number};
use super::cover::Cover;
use super::filter::ObjectFilter;
use super::filtered::add_by_place;
use super::scan::Scan;
use crate::base::{Cancel, FastSet, Phase};
use crate::pack::{DeltaHints, Found, Kind, Location, Objects, PackFile};
use gix_hash::ObjectId;
use std::sync::Arc;

/// What both sides of a fetch have said.
#[derive(Clone, Copy, Debug, Default)]
pub struct FetchSides<'a> {
    /// Objects wanted; each is here.
    pub wants: &'a [ObjectId],
    /// Objects that the client has and that are here.
    pub haves: &'a [ObjectId],
    /// Commits whose parents do not count, sorted: both sides' boundaries.
    pub shallow: &'a [ObjectId],
    /// The trees of all haves count as had, not only of those next to what is new: where history has been cut, a have
    /// may be near although no parent leads there (`--objects-edge-aggressive`).
    pub aggressive: bool,
    /// Tag objects and what they lead to: each goes along when that goes out (`include-tag`).
    pub tags: &'a [(ObjectId, ObjectId)],
    /// What the client does without, if anything.
    pub filter: Option<&'a ObjectFilter>,
    /// What becomes of trees and blobs that are not here.
    pub missing: Missing,
}

/// What becomes of trees and blobs that are not here.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Missing {
    /// The request is refused.
    #[default]
    Refused,
    /// Those that a promisor has are passed over, for the client has them from there.
    Promised,
    /// All are passed over.
    Passed,
}

/// How the trees of new commits are gone through. The set is the same.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Enumeration {
    /// By bitmaps, if there are any and the client has nothing yet; else by the size of the request.
    #[default]
    BySize,
    /// Each tree against the one before it.
    TreeDifferences,
    /// All trees of the packs in the order of their deltas.
    Scan,
}

/// A scan costs as much as tree differences when this many times the new commits are as many as the objects in packs:
/// so measured on a history of 100,000 commits and 680,611 objects.
const SCANNED_OBJECTS_PER_COMMIT: usize = 12;
/// Fewer new commits than these beside something had are an update, in which hints for deltas are worth more than time.
const UPDATE_COMMITS_MAX: usize = 10_000;
/// With more new commits than these, to look into all that the client has next to them costs less than to look for
/// where they differ.
const EDGES_COMMITS_MAX: usize = 200;

impl Enumeration {
    fn scans(self, objects: &dyn Objects, new: &[Number], is_update: bool) -> bool {
        match self {
            Self::BySize if is_update && new.len() <= UPDATE_COMMITS_MAX => false,
            Self::BySize => {
                // Each length opens an index: no more of them than it takes to know.
                let enough = new.len() * SCANNED_OBJECTS_PER_COMMIT;
                let left = |left: usize, file: &Arc<PackFile>| left.checked_sub(file.len() as usize);
                enough > 0 && objects.packs().iter().try_fold(enough, left).is_some()
            }
            Self::TreeDifferences => false,
            Self::Scan => true,
        }
    }
}

/// Find the objects to send. `phase` counts objects as they are found.
pub fn find_objects(objects: &dyn Objects, sides: &FetchSides<'_>, phase: &Phase, cancel: &Cancel) -> Result<Found, Error> {
    find_objects_by(Enumeration::BySize, objects, sides, phase, cancel)
}

/// As [`find_objects`], in one way.
pub fn find_objects_by(
    how: Enumeration,
    objects: &dyn Objects,
    sides: &FetchSides<'_>,
    phase: &Phase,
    cancel: &Cancel,
) -> Result<Found, Error> {
    let mut commits = Commits::new(objects, sides.shallow);
    let mut cover = Cover::new(objects, sides.filter, phase, cancel);
    cover.missing = sides.missing;
    // A scan looks for all that its trees lead to.
    let how = if sides.missing == Missing::Refused { how } else { Enumeration::TreeDifferences };
    if !sides.haves.is_empty() {
        cover.hints = Some(DeltaHints::default());
    }
    let had = sort_by_kind(&mut commits, sides.haves, cancel)?;
    for location in &had.tags {
        cover.exclude(location);
    }
    let wanted = sort_by_kind(&mut commits, sides.wants, cancel)?;
    if sides.filter.is_some() {
        cover.given = wanted.others.iter().map(|(id, _)| *id).collect();
    }
    let is_plain = sides.filter.is_none_or(|filter| leaves_out_kinds_alone(filter, sides, &wanted));
    // Whatever is wanted of a client that has nothing is a closure: no history needs to be painted.
    let from_nothing = sides.haves.is_empty() && sides.shallow.is_empty() && is_plain;
    let is_closure = how == Enumeration::BySize && from_nothing;
    let reached = match is_closure && !wanted.commits.is_empty() {
        true => Reached::find(objects, &mut commits, &wanted.commits, phase, cancel)?,
        false => None,
    };
    let reached = reached.filter(|reached| !how.scans(objects, &reached.walked, false));
    let new = match reached {
        Some(mut reached) => {
            reached.cover(&mut cover, phase)?;
            reached.walked
        }
        None => commits.paint(&wanted.commits, &had.commits, phase, cancel)?,
    };
    for number in had.commits.iter().filter(|_| sides.aggressive) {
        cover.exclude_tree(commits.tree(*number))?;
    }
    for (id, kind) in &had.others {
        match kind {
            Kind::Tree => cover.exclude_tree(*id)?,
            _ => drop(objects.locate(id)?.map(|location| cover.exclude(&location))),
        }
    }
    for location in &wanted.tags {
        cover.add(location);
    }
    match sides.filter {
        Some(filter) if !is_plain => cover_filtered(filter, &mut commits, &mut cover, &wanted, &new)?,
        _ => {
            cover_new(how, &mut commits, &mut cover, &new, phase, cancel)?;
            cover_others(&mut cover, &wanted.others)?;
        }
    }
    if !cover.kinds.commits {
        for &number in wanted.commits.iter().filter(|number| !commits.is_had(**number)) {
            cover.add(&commits.locate(number)?);
        }
    }
    include_tags(objects, &mut commits, &mut cover, sides.tags, cancel)?;
    Ok(cover.into_found())
}

/// Put trees and blobs that are wanted themselves into what goes out.
fn cover_others(cover: &mut Cover<'_>, others: &[(ObjectId, Kind)]) -> Result<(), Error> {
    for (id, kind) in others {
        match kind {
            Kind::Tree => cover.add_tree(*id, None)?,
            _ => drop(cover.add(&cover.objects.locate(id)?.ok_or_else(|| Error::missing(*id))?)),
        }
    }
    Ok(())
}

/// Whether what goes out under `filter` is all that the wants reach, less whole kinds of it. It is not where the client
/// has something, and where a tree is wanted by its own id: then it matters where an object is met first.
fn leaves_out_kinds_alone(filter: &ObjectFilter, sides: &FetchSides<'_>, wanted: &ByKind) -> bool {
    let of_kinds = matches!(filter, ObjectFilter::Kinds(_));
    of_kinds && sides.haves.is_empty() && wanted.others.iter().all(|(_, kind)| *kind == Kind::Blob)
}

/// Ids by what they finally lead to.
#[derive(Default)]
struct ByKind {
    commits: Vec<Number>,
    /// Tag objects on the way.
    tags: Vec<Location>,
    /// Trees and blobs.
    others: Vec<(ObjectId, Kind)>,
}

fn sort_by_kind(commits: &mut Commits<'_>, ids: &[ObjectId], cancel: &Cancel) -> Result<ByKind, Error> {
    let mut sorted = ByKind::default();
    let mut seen = FastSet::default();
    for &id in ids {
        let mut at = id;
        while seen.insert(at) {
            cancel.check()?;
            let location = commits.decoder().objects().locate(&at)?.ok_or_else(|| Error::missing(at))?;
            match commits.decoder().kind(&location)? {
                Kind::Commit => sorted.commits.push(commits.intern(at)),
                Kind::Tag => {
                    sorted.tags.push(location);
                    let (kind, data) = commits.decoder().get(&location)?;
                    let hash = commits.decoder().objects().hash_kind();
                    at = parse_tag(&data, hash).ok_or(Error::Malformed { id: at, kind })?.0;
                    continue;
                }
                kind => sorted.others.push((at, kind)),
            }
            break;
        }
    }
    Ok(sorted)
}

/// Put what `filter` lets through into what goes out: first of what is wanted itself, as in git, then of the commits `new`.
fn cover_filtered(
    filter: &ObjectFilter,
    commits: &mut Commits<'_>,
    cover: &mut Cover<'_>,
    wanted: &ByKind,
    new: &[Number],
) -> Result<(), Error> {
    for parent in boundary(commits, new) {
        cover.exclude(&commits.locate(parent)?);
        cover.exclude_tree(commits.tree(parent))?;
    }
    if !cover.given.is_empty() {
        // In git these trees count as met before any of them is looked into.
        for number in new {
            cover.given.remove(&commits.tree(*number));
        }
    }
    if let ObjectFilter::Places(places) = filter {
        add_by_place(commits, cover, places, &wanted.others, new)?;
    } else {
        for (id, kind) in &wanted.others {
            match kind {
                Kind::Tree => cover.add_given_tree(*id)?,
                _ => cover.add_given_blob(*id)?,
            }
        }
        cover_commits(commits, cover, new)?;
    }
    Ok(())
}

/// Put the objects of the commits `new` into what goes out.
fn cover_new(
    how: Enumeration,
    commits: &mut Commits<'_>,
    cover: &mut Cover<'_>,
    new: &[Number],
    phase: &Phase,
    cancel: &Cancel,
) -> Result<(), Error> {
    let boundary = boundary(commits, new);
    for &parent in &boundary {
        cover.step()?;
        let location = commits.locate(parent)?;
        cover.theirs.insert(cover.objects, &location);
    }
    let has_trees = !cover.kinds.is_shallowest();
    let scan = match has_trees && how.scans(cover.objects, new, cover.hints.is_some()) {
        true => Scan::read(cover.objects, cover.kinds.blobs_below_bytes > 0, phase, cancel)?,
        false => None,
    };
    if let Some(scan) = scan {
        if cover.kinds.commits {
            for &number in new {
                cover.step()?;
                let location = commits.locate(number)?;
                cover.add(&location);
            }
        }
        let trees = |numbers: &[Number]| numbers.iter().map(|number| commits.tree(*number)).collect::<Vec<_>>();
        return scan.cover(cover, &trees(&boundary), &trees(new), cancel);
    }
    let trees = |numbers: &[Number]| numbers.iter().map(|number| commits.tree(*number)).collect::<Vec<_>>();
    let had = trees(&boundary);
    if new.len() <= EDGES_COMMITS_MAX {
        cover.exclude_edges(&had, &trees(&oldest_first(new)))?;
    } else {
        for tree in had {
            cover.exclude_tree_by_id(tree)?;
        }
    }
    cover_commits(commits, cover, new)
}

fn oldest_first(new: &[Number]) -> Vec<Number> {
    new.iter().rev().copied().collect()
}

/// Had commits that are parents of new ones: what the client has next to what is new.
fn boundary(commits: &Commits<'_>, new: &[Number]) -> Vec<Number> {
    let mut seen = FastSet::default();
    let parents = new.iter().flat_map(|number| commits.parents(*number));
    parents.copied().filter(|parent| commits.is_had(*parent) && seen.insert(*parent)).collect()
}

/// From old to new, so that a commit's first parent is covered before it.
pub(super) fn cover_commits(commits: &mut Commits<'_>, cover: &mut Cover<'_>, new: &[Number]) -> Result<(), Error> {
    let mut covered = FastSet::default();
    for &number in new.iter().rev() {
        if cover.kinds.commits {
            let location = commits.locate(number)?;
            cover.add(&location);
        }
        let mut base = None;
        if let Some(first) = commits.parents(number).first().copied() {
            // What goes out already goes out as a whole, a commit that bitmaps spoke of for one.
            if commits.is_had(first) || covered.contains(&first) || commits.find(first)?.is_some_and(|at| cover.ours.contains(&at)) {
                commits.parse(first)?;
                base = Some(commits.tree(first));
            }
        }
        cover.add_tree(commits.tree(number), base)?;
        covered.insert(number);
    }
    Ok(())
}

/// Tags, and tags of tags, whose final object goes out.
fn include_tags(
    objects: &dyn Objects,
    commits: &mut Commits<'_>,
    cover: &mut Cover<'_>,
    tags: &[(ObjectId, ObjectId)],
    cancel: &Cancel,
) -> Result<(), Error> {
    for (tag, peeled) in tags {
        cancel.check()?;
        let Some(target) = objects.locate(peeled)? else { continue };
        if !cover.ours.contains(&target) {
            continue;
        }
        for location in sort_by_kind(commits, std::slice::from_ref(tag), cancel)?.tags {
            cover.add(&location);
        }
    }
    Ok(())
}
