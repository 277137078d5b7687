//! A tag into what it finally leads to.

use super::Error;
use super::commit::parse_tag;
use crate::pack::{Decoder, Kind};
use gix_hash::ObjectId;

/// Tags that point at tags, followed until here.
const TAGS_MAX: usize = 10_000;

/// Follow tags from `id` to an object of another type: its id and type. `Ok(None)` when an object on the way is not here or
/// no valid tag.
pub fn peel(decoder: &mut Decoder<'_>, id: ObjectId) -> Result<Option<(ObjectId, Kind)>, Error> {
    let mut at = id;
    for _ in 0..TAGS_MAX {
        let Some(location) = decoder.objects().locate(&at)? else { return Ok(None) };
        let kind = decoder.kind(&location)?;
        if kind != Kind::Tag {
            return Ok(Some((at, kind)));
        }
        let (_, data) = decoder.get(&location)?;
        let Some((target, _)) = parse_tag(&data, decoder.objects().hash_kind()) else { return Ok(None) };
        at = target;
    }
    Ok(None)
}
