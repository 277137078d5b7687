//! The `bundle-uri` command: where parts of the history may be fetched from elsewhere.
//!
//! Source: gitprotocol-v2, "bundle-uri"; `bundle-uri.c`: `bundle_uri_command`. The answer is the `bundle.*` part of the
//! configuration, line by line, as it stands.

use super::{Conversation, Error};
use crate::base::limits::PKT_PAYLOAD_BYTES_MAX;
use crate::store;
use crate::wire::{CommandHead, Pkt, write_data, write_flush};
use bstr::ByteSlice;

/// Answer one command.
pub(super) fn serve(conversation: &mut Conversation<'_>, head: &CommandHead) -> Result<(), Error> {
    if head.has_arguments {
        let pkt = conversation.reader.expect()?;
        match (pkt, pkt.text()) {
            (Pkt::Flush, _) => {}
            (_, Some(line)) => return Err(Error::Protocol(format!("bundle-uri: unexpected argument: '{}'", line.as_bstr()))),
            (_, None) => return Err(Error::Protocol("bundle-uri: expected flush after arguments".to_owned())),
        }
    }
    for (key, value) in &conversation.snapshot.settings().fetch.bundles {
        let line = [key.as_slice(), b"=", value].concat();
        if line.len() > PKT_PAYLOAD_BYTES_MAX {
            return Err(store::Error::Config(format!("{key} is longer than a packet")).into());
        }
        write_data(&mut conversation.out, &line)?;
    }
    Ok(write_flush(&mut conversation.out)?)
}
