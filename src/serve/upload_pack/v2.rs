//! Protocol version 2: requests come one after another, each for a command of the capability table.
//!
//! Source: gitprotocol-v2; `serve.c`: `process_request`; `upload-pack.c`: `upload_pack_v2`. A capability or command that was
//! not offered does not exist.

use super::may_filter::check_filter;
use super::may_want::check_wants;
use super::send::{Agreed, send_pack};
use super::shallow::OwnBoundary;
use super::{Conversation, Error, Voice, capabilities, promisor, shallow, want_ref};
use crate::walk::Negotiation;
use crate::wire::{CommandHead, FetchRequest, read_command, read_fetch_v2, write_flush, write_text};
use bstr::ByteSlice;

/// Serve one client: the advertisement, then requests until it wants no more.
pub(super) fn serve(conversation: &mut Conversation<'_>) -> Result<(), Error> {
    if conversation.options.advertise_only || !conversation.options.stateless {
        advertise(conversation)?;
    }
    if conversation.options.advertise_only {
        return Ok(());
    }
    while let Some(head) = read_command(&mut conversation.reader)? {
        conversation.cancel.check()?;
        let serve = find_command(conversation, &head)?;
        if let Some(Some(names)) = head.value("promisor-remote") {
            // Said once, it counts for what follows.
            conversation.accepts_promised |= promisor::accepts(conversation, names);
        }
        serve(conversation, &head)?;
        conversation.out.flush()?;
        (conversation.voice, conversation.all_in_bands) = (Voice::Line, false);
        if conversation.options.stateless {
            break;
        }
    }
    Ok(())
}

/// What answers a request, if all that its head says was offered.
fn find_command(conversation: &Conversation<'_>, head: &CommandHead) -> Result<capabilities::Serve, Error> {
    for (name, value) in &head.capabilities {
        if !capabilities::is_line(conversation, name.as_bstr()) {
            let value = value.as_ref().map_or_else(String::new, |value| format!("={value}"));
            return Err(Error::Protocol(format!("unknown capability '{name}{value}'")));
        }
    }
    let serve = capabilities::command(conversation, head.name.as_bstr());
    let serve = serve.ok_or_else(|| Error::Protocol(format!("invalid command '{}'", head.name)))?;
    check_object_format(conversation, head)?;
    Ok(serve)
}

fn advertise(conversation: &mut Conversation<'_>) -> Result<(), Error> {
    write_text(&mut conversation.out, "version 2")?;
    for line in capabilities::lines_v2(conversation) {
        write_text(&mut conversation.out, line)?;
    }
    write_flush(&mut conversation.out)?;
    Ok(conversation.out.flush()?)
}

fn check_object_format(conversation: &Conversation<'_>, head: &CommandHead) -> Result<(), Error> {
    let ours = conversation.hash().to_string();
    let theirs = match head.value("object-format") {
        None => "sha1".to_owned(),
        Some(Some(format)) => format.to_string(),
        Some(None) => return Err(Error::Protocol("object-format capability requires an argument".to_owned())),
    };
    match theirs == ours {
        true => Ok(()),
        false if ["sha1", "sha256"].contains(&&*theirs) => {
            Err(Error::Protocol(format!("mismatched object format: server {ours}; client {theirs}")))
        }
        false => Err(Error::Protocol(format!("unknown object format '{theirs}'"))),
    }
}

/// The states of a fetch: arguments read; acknowledgements, unless the client is done; the pack, once enough is known.
pub(super) fn fetch(conversation: &mut Conversation<'_>, head: &CommandHead) -> Result<(), Error> {
    let hash = conversation.hash();
    let features = capabilities::fetch_features(conversation);
    let mut request = match head.has_arguments {
        true => read_fetch_v2(&mut conversation.reader, hash, features)?,
        false => FetchRequest::default(),
    };
    request.accepts_promised = conversation.accepts_promised;
    if request.sideband_all {
        (conversation.voice, conversation.all_in_bands) = (Voice::Bands, true);
    }
    if let Some(filter) = &request.filter {
        check_filter(conversation, filter)?;
    }
    let wanted_refs = want_ref::resolve(conversation, &request.want_refs)?;
    request.want_also(&wanted_refs);
    if request.wants.is_empty() && !request.wait_for_done {
        // As in git: the client has thought better of it.
        return Ok(());
    }
    let mut may_tell = check_wants(conversation, &request.wants)?;
    let snapshot = conversation.snapshot;
    let mut known = Negotiation::new(&**snapshot.objects(), snapshot.shallow(), &request.wants, conversation.cancel)?;
    for (count, have) in request.haves.iter().enumerate() {
        if count.is_multiple_of(1024) {
            conversation.cancel.check()?;
        }
        known.take_have(*have, &mut |id| may_tell.ask(id))?;
    }
    if !request.done && (!request.haves.is_empty() || request.wait_for_done) {
        conversation.line("acknowledgments")?;
        if known.common().is_empty() {
            conversation.line("NAK")?;
        }
        for id in known.common() {
            conversation.line(format!("ACK {id}"))?;
        }
        if request.wait_for_done || !known.is_enough(conversation.cancel)? {
            return conversation.end();
        }
        conversation.line("ready")?;
        conversation.delim()?;
    }
    let boundary = shallow::find(conversation, &request, OwnBoundary::Told, &mut may_tell)?;
    if shallow::has_news(&request, &boundary) {
        conversation.line("shallow-info")?;
        shallow::write_changes(conversation, &boundary)?;
        conversation.delim()?;
    }
    want_ref::write_section(conversation, &request.want_refs, &wanted_refs)?;
    if request.packfile_uris.is_empty() {
        conversation.line("packfile")?;
    }
    send_pack(conversation, Agreed { request: &request, boundary: &boundary, haves: known.common() })
}
