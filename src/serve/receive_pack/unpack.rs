//! The pack of a push into the quarantine, its objects checked as settings say.

use super::{Conversation, Error};
use crate::base::{Progress, span};
use crate::pack::check::{Checks, Rules};
use crate::pack::index::IngestLimits;
use crate::serve::attend::attend;
use crate::store::Push;
use crate::wire::Band;
use std::io::Read;

/// Take the pack.
pub(super) fn unpack(conversation: &mut Conversation<'_>, push: &mut Push, input: &mut (dyn Read + Send)) -> Result<(), Error> {
    let _span = tracing::debug_span!(span::INGEST).entered();
    let limits = limits(conversation);
    let (progress, cancel) = (Progress::new(), conversation.cancel);
    let quiet = conversation.is_quiet();
    let keepalive_ms = conversation.options.keepalive_ms;
    if conversation.options.reject_thin_pack {
        push.reject_thin_packs();
    }
    let (rules, notes) = conversation.repository.receive_rules(conversation.options.checks)?;
    conversation.links_must_hold = rules.as_ref().is_some_and(Rules::is_strict);
    let checks = rules.map_or_else(Checks::off, Checks::by);
    notes.into_iter().for_each(|note| checks.warn(note));
    let outcome =
        attend(&mut conversation.bands, &progress, quiet, keepalive_ms, cancel, || push.ingest(input, &limits, &checks, &progress, cancel));
    tell_warnings(conversation, &checks)?;
    let ingested = outcome?;
    conversation.statistics.objects = u64::from(ingested.objects);
    conversation.statistics.pack_bytes = ingested.bytes;
    Ok(())
}

/// What the objects are told about though they are taken.
fn tell_warnings(conversation: &mut Conversation<'_>, checks: &Checks) -> Result<(), Error> {
    let (warnings, left_out) = checks.take_warnings();
    let mut text: String = warnings.iter().map(|warning| format!("warning: {warning}\n")).collect();
    if left_out > 0 {
        text += &format!("warning: {left_out} more warnings about objects\n");
    }
    if !text.is_empty() {
        conversation.bands.say(Band::Progress, text.as_bytes())?;
    }
    Ok(())
}

/// The server's bounds, and `receive.maxInputSize` where that is lower.
fn limits(conversation: &Conversation<'_>) -> IngestLimits {
    let mut limits = conversation.options.ingest;
    let of_repository = conversation.repository.settings().max_input_size_bytes;
    if of_repository != 0 && (limits.pack_bytes_max == 0 || of_repository < limits.pack_bytes_max) {
        limits.pack_bytes_max = of_repository;
    }
    limits
}
