//! What a pushing client hears first: the refs and what the server can do.

use crate::serve::{Error, Options};
use crate::store::{Settings, Snapshot};
use crate::walk::VisibleRefs;
use crate::wire::{AdvertisedRef, Advertisement, agent, write_text};
use std::io::Write;

/// What is advertised, in git's order, and when. Each is served by `read_push_request` and what follows it.
type Advertise = fn(&Settings) -> bool;
const CAPABILITIES: [(&str, Advertise); 7] = [
    ("report-status", |_| true),
    ("report-status-v2", |_| true),
    ("delete-refs", |_| true),
    ("side-band-64k", |_| true),
    ("quiet", |_| true),
    ("atomic", |settings| settings.advertise_atomic),
    ("ofs-delta", |settings| settings.prefer_ofs_delta),
];

/// Write the advertisement.
pub(super) fn advertise(
    snapshot: &Snapshot,
    refs: &VisibleRefs,
    options: &Options,
    version_1: bool,
    mut out: &mut dyn Write,
) -> Result<(), Error> {
    if version_1 {
        write_text(&mut out, "version 1")?;
    }
    let settings = snapshot.settings();
    let mut words: Vec<String> = CAPABILITIES.iter().filter(|(_, when)| when(settings)).map(|(word, _)| (*word).to_owned()).collect();
    words.push(format!("object-format={}", snapshot.hash_kind()));
    words.extend(options.session_id.iter().filter(|_| settings.advertise_sid).map(|id| format!("session-id={id}")));
    words.push(format!("agent={}", agent()));
    let words = words.join(" ");
    let mut lines = Advertisement::new(out, &words);
    for entry in refs.iter() {
        lines.add(AdvertisedRef { name: entry.name, id: entry.id, peeled: None })?;
    }
    refs.check()?;
    lines.finish(snapshot.hash_kind())?;
    Ok(())
}
