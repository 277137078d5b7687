//! What can be said of a pack only when it is whole: objects that are stored already with other bytes, and what the blobs
//! say that its trees call `.gitmodules` or `.gitattributes`.
//!
//! Source: `builtin/index-pack.c` (`sha1_object`), `fsck.c` (`fsck_finish`). Looking up which objects are stored already
//! is all that a usual push pays. Those that are, are compared in the order of the pack, where neighbours share bases;
//! large ones by a second hash of each, piece by piece where they are stored whole. Limits: a stored object that would have
//! to be held as a whole, above [`IngestLimits::held_object_bytes_max`], is taken for the same.

use super::super::check::{Checks, GITATTRIBUTES_BYTES_MAX, GITMODULES_BYTES_MAX, Meant};
use super::super::pieces::WholeEntry;
use super::super::{Decoder, Error, Kind, Location, Objects};
use super::permit::Permit;
use super::{IngestLimits, Ingested};
use crate::base::Cancel;
use gix_hash::ObjectId;

/// Two objects up to this size are held beside each other; others need the [`Permit`], or are read in pieces.
const HELD_BYTES: u64 = 16 << 20;
const CACHE_BYTES: usize = 16 << 20;

/// A pack that came in.
pub struct Incoming<'a> {
    /// What was stored before.
    pub before: &'a dyn Objects,
    /// The same with the pack.
    pub view: &'a dyn Objects,
    /// The pack's number there.
    pub pack: u32,
    /// What [`ingest_checked`](super::ingest_checked) said of it.
    pub ingested: &'a Ingested,
}

/// Refuse objects that are stored already with other bytes; then look at the blobs that trees have told `checks` about.
///
/// # Errors
/// [`Error::BadPack`], [`Error::BadObject`]; damage of what was stored before.
pub fn settle(incoming: &Incoming<'_>, checks: &Checks, limits: &IngestLimits, cancel: &Cancel) -> Result<(), Error> {
    check_collisions(incoming, limits, cancel)?;
    if checks.are_on() { look_at_meanings(incoming, checks, cancel) } else { Ok(()) }
}

fn check_collisions(incoming: &Incoming<'_>, limits: &IngestLimits, cancel: &Cancel) -> Result<(), Error> {
    let &Incoming { before, view, pack, ingested, .. } = incoming;
    let file = &view.packs()[pack as usize];
    // Behind what was received stand bases that were appended: they come from what is stored.
    let end = ingested.bytes - view.hash_kind().len_in_bytes() as u64;
    let mut stored = vec![];
    let mut ids = (0..file.len()).map(|entry| file.id(entry));
    before.locate_sorted(&mut ids, &mut |entry, location| {
        let offset = file.offset(entry)?;
        if offset < end {
            stored.push((offset, entry, location));
        }
        cancel.check().map_err(Error::from)
    })?;
    stored.sort_unstable();
    let (mut ours, mut theirs) = (Decoder::new(before, CACHE_BYTES), Decoder::new(view, CACHE_BYTES));
    for (_, entry, location) in stored {
        cancel.check()?;
        let new = Location::Packed { pack, entry };
        if !is_same(&mut ours, &location, &mut theirs, &new, limits, cancel)? {
            return Err(Error::BadPack(format!("SHA1 COLLISION FOUND WITH {} !", file.id(entry))));
        }
    }
    Ok(())
}

fn is_same(
    ours: &mut Decoder<'_>,
    location: &Location,
    theirs: &mut Decoder<'_>,
    new: &Location,
    limits: &IngestLimits,
    cancel: &Cancel,
) -> Result<bool, Error> {
    let size = theirs.size(new)?;
    if ours.size(location)? != size || ours.kind(location)? != theirs.kind(new)? {
        return Ok(false);
    }
    if size <= HELD_BYTES {
        return Ok(ours.get(location)?.1 == theirs.get(new)?.1);
    }
    let digest = |decoder: &Decoder<'_>, location: &Location| digest(decoder.objects(), location, size, limits, cancel);
    match (digest(ours, location)?, digest(theirs, new)?) {
        (Some(one), Some(two)) => Ok(one == two),
        _ => Ok(true),
    }
}

/// A hash of the bytes at `location`; `None` where they would have to be held and are too large for that.
fn digest(
    objects: &dyn Objects,
    location: &Location,
    size: u64,
    limits: &IngestLimits,
    cancel: &Cancel,
) -> Result<Option<ObjectId>, Error> {
    let mut hasher = gix_hash::hasher(gix_hash::Kind::Sha256);
    if let Some(entry) = WholeEntry::at(objects, location)? {
        entry.each_piece(|piece| {
            hasher.update(piece);
            cancel.check().map_err(Error::from)
        })?;
    } else {
        if size > limits.held_object_bytes_max {
            return Ok(None);
        }
        let _permit = Permit::wait(|| cancel.check())?;
        hasher.update(&Decoder::new(objects, 0).get(location)?.1);
    }
    hasher.try_finalize().map(Some).map_err(|err| Error::corrupt(err.to_string()))
}

fn look_at_meanings(incoming: &Incoming<'_>, checks: &Checks, cancel: &Cancel) -> Result<(), Error> {
    let mut decoder = Decoder::new(incoming.view, CACHE_BYTES);
    for (id, is_modules, is_attributes) in checks.take_meanings() {
        cancel.check()?;
        let Some(location) = incoming.view.locate(&id)? else {
            if !incoming.view.is_promised(&id, cancel)? {
                checks.blob(&id, is_modules, is_attributes, Meant::Missing)?;
            }
            continue;
        };
        if decoder.kind(&location)? != Kind::Blob {
            checks.blob(&id, is_modules, is_attributes, Meant::NoBlob)?;
            continue;
        }
        let size = decoder.size(&location)?;
        let size_max = if is_attributes { GITATTRIBUTES_BYTES_MAX } else { GITMODULES_BYTES_MAX };
        if size > size_max {
            checks.blob(&id, is_modules, is_attributes, Meant::TooLarge)?;
            continue;
        }
        let _permit = if size > HELD_BYTES { Some(Permit::wait(|| cancel.check())?) } else { None };
        let (_, bytes) = decoder.get(&location)?;
        checks.blob(&id, is_modules, is_attributes, Meant::Bytes(&bytes))?;
    }
    Ok(())
}
