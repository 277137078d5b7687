//! What a pushing client hears first: the refs, what else its pack may build on, and what the server can do.
//!
//! Source: `builtin/receive-pack.c`: `write_head_info`, `show_ref_cb`. In a namespace the refs outside of it are told as
//! `.have`, without their names; so are those of alternates, unless a ref has told of the object already. Where a gate
//! hides any ref, neither is told: what lies outside of the view may not be seen.

use super::capabilities::{self, Offer};
use crate::base::FastSet;
use crate::serve::visible::is_hidden;
use crate::serve::{Error, Gate, Protocol, Visibility};
use crate::store::Snapshot;
use crate::walk::{Listed, VisibleRefs};
use crate::wire::{AdvertisedRef, Advertisement, write_text};
use bstr::ByteSlice;
use gix_hash::ObjectId;
use std::io::Write;

/// Write the advertisement.
pub(super) fn advertise(
    offer: &Offer<'_>,
    snapshot: &Snapshot,
    refs: &VisibleRefs,
    gate: &dyn Gate,
    mut out: &mut dyn Write,
) -> Result<(), Error> {
    if offer.options.protocol == Protocol::V1 {
        write_text(&mut out, "version 1")?;
    }
    let words = capabilities::words(offer);
    let mut lines = Advertisement::new(out, &words);
    let in_namespace = !snapshot.settings().namespace.is_empty();
    let mut told = FastSet::default();
    let mut alternates = vec![];
    if in_namespace || !snapshot.objects().alternates().is_empty() {
        let sees_all = matches!(gate.visible(snapshot.refs()), Visibility::All);
        alternates = if sees_all { snapshot.alternate_tips() } else { vec![] };
        add_each(snapshot, refs, sees_all, &mut told, &mut lines)?;
    } else {
        refs.try_for_each_listed(refs.all(), |listed| -> Result<(), Error> {
            match listed {
                Listed::Text(text) => lines.add_text(text.line, None)?,
                Listed::Ref(entry) => lines.add(AdvertisedRef { name: entry.name, id: entry.id, peeled: None })?,
            }
            Ok(())
        })?;
    }
    refs.check()?;
    for id in alternates.into_iter().filter(|id| !told.contains(id)) {
        lines.add(AdvertisedRef { name: ".have".into(), id, peeled: None })?;
    }
    for id in snapshot.shallow() {
        lines.add_shallow(*id)?;
    }
    lines.finish(snapshot.hash_kind())?;
    Ok(())
}

/// One by one, where it matters which objects were told of.
fn add_each(
    snapshot: &Snapshot,
    refs: &VisibleRefs,
    sees_all: bool,
    told: &mut FastSet<ObjectId>,
    lines: &mut Advertisement<'_, &mut dyn Write>,
) -> Result<(), Error> {
    let settings = snapshot.settings();
    for entry in snapshot.refs().iter() {
        let Some(id) = entry.id else { continue };
        match entry.name.strip_prefix(settings.namespace.as_slice()).map(ByteSlice::as_bstr) {
            Some(name) => {
                // HEAD of a namespace is a ref like any other here.
                let is_seen = if name == "HEAD" {
                    sees_all && !is_hidden(name, entry.name, &settings.receive_hide_refs)
                } else {
                    refs.find(name).is_some()
                };
                if is_seen {
                    told.insert(id);
                    lines.add(AdvertisedRef { name, id, peeled: None })?;
                }
            }
            // It has no name in the namespace that a pattern could speak of, but one outside of it.
            None if sees_all && !is_hidden("".into(), entry.name, &settings.receive_hide_refs) && told.insert(id) => {
                lines.add(AdvertisedRef { name: ".have".into(), id, peeled: None })?;
            }
            None => {}
        }
    }
    Ok(())
}
