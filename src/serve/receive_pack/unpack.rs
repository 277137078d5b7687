//! The pack of a push into the quarantine, and "is everything there that the new tips reach".

use super::{Conversation, Error};
use crate::base::{Progress, span};
use crate::pack::index::IngestLimits;
use crate::serve::attend::attend;
use crate::store::Push;
use std::io::Read;

/// Take the pack.
pub(super) fn unpack(conversation: &mut Conversation<'_>, push: &mut Push, input: &mut (dyn Read + Send)) -> Result<(), Error> {
    let _span = tracing::debug_span!(span::INGEST).entered();
    let limits = limits(conversation);
    let (progress, cancel) = (Progress::new(), conversation.cancel);
    let quiet = conversation.request.capabilities.has("quiet");
    let keepalive_ms = conversation.options.keepalive_ms;
    let ingested =
        attend(&mut conversation.bands, &progress, quiet, keepalive_ms, cancel, || push.ingest(input, &limits, &progress, cancel))?;
    conversation.statistics.objects = u64::from(ingested.objects);
    conversation.statistics.pack_bytes = ingested.bytes;
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
