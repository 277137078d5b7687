//! Objects that the client fetches elsewhere (`packfile-uris`): out of the pack, and into a section before it.
//!
//! Source: gitprotocol-v2, "packfile-uris section"; git-config, `uploadpack.blobPackfileUri`; `pack-objects.c`:
//! `want_object_in_pack`. Only objects that would have been sent are named. git sends packed ones all the same; here they
//! are left out wherever they lie.

use super::Error;
use crate::pack::{Found, Objects};
use crate::store::{self, FetchSettings, PackfileUri};
use crate::wire::{Band, SideBand, write_delim};
use bstr::BString;
use gix_hash::ObjectId;
use std::io::Write;

/// Take out of `found` what has a URI of one of these `protocols`; returns what was taken.
pub(super) fn leave_out(
    objects: &dyn Objects,
    found: &mut Found,
    settings: &FetchSettings,
    protocols: &[BString],
) -> Result<Vec<ObjectId>, Error> {
    let is_spoken = |uri: &PackfileUri| {
        let rest = |protocol: &BString| uri.uri.strip_prefix(protocol.as_slice());
        protocols.iter().filter_map(rest).any(|rest| rest.starts_with(b":"))
    };
    let mut left_out = vec![];
    if protocols.is_empty() {
        return Ok(left_out);
    }
    if let Some(bad) = &settings.bad_packfile_uri {
        return Err(store::Error::Config(bad.clone()).into());
    }
    for uri in settings.blob_packfile_uris.iter().filter(|uri| is_spoken(uri)) {
        if let Some(location) = objects.locate(&uri.object)?
            && found.set.remove(&location)
        {
            left_out.push(uri.object);
        }
    }
    Ok(left_out)
}

/// Write the section about what was left out, if anything, and begin that of the pack.
pub(super) fn write_section(bands: &mut SideBand<impl Write>, uris: &[PackfileUri], left_out: &[ObjectId]) -> Result<(), Error> {
    if !left_out.is_empty() {
        bands.say(Band::Data, b"packfile-uris\n")?;
        for uri in uris.iter().filter(|uri| left_out.contains(&uri.object)) {
            bands.say(Band::Data, &[uri.pack.to_string().as_bytes(), b" ", &uri.uri, b"\n"].concat())?;
        }
        write_delim(bands.inner())?;
    }
    Ok(bands.say(Band::Data, b"packfile\n")?)
}
