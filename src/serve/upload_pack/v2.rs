//! Protocol version 2: one table says what is advertised and what is served; requests come one after another.
//!
//! Source: gitprotocol-v2. A request's head names its command; capabilities that are not in the table do not exist.

use super::may_want::check_wants;
use super::send::{Agreed, send_pack};
use super::shallow::OwnBoundary;
use super::{Conversation, Error, ls_refs, shallow};
use crate::store::Unborn;
use crate::walk::Negotiation;
use crate::wire::{CommandHead, FetchFeatures, FetchRequest, agent, read_command, read_fetch_v2, write_delim, write_flush, write_text};

type Serve = fn(&mut Conversation<'_>, &CommandHead) -> Result<(), Error>;

/// One capability: what to say of it (`None`: nothing, it is off), and what answers it if it is a command.
struct Capability {
    name: &'static str,
    advertise: fn(&Conversation<'_>) -> Option<String>,
    serve: Option<Serve>,
}

const BARE: fn(&Conversation<'_>) -> Option<String> = |_| Some(String::new());

const CAPABILITIES: [Capability; 6] = [
    Capability { name: "agent", advertise: |_| Some(agent().to_owned()), serve: None },
    Capability { name: "ls-refs", advertise: advertise_ls_refs, serve: Some(ls_refs::serve) },
    Capability { name: "fetch", advertise: |_| Some("shallow wait-for-done".to_owned()), serve: Some(fetch) },
    Capability { name: "server-option", advertise: BARE, serve: None },
    Capability { name: "object-format", advertise: |conversation| Some(conversation.hash().to_string()), serve: None },
    Capability { name: "session-id", advertise: advertise_session_id, serve: None },
];

fn advertise_ls_refs(conversation: &Conversation<'_>) -> Option<String> {
    let advertise = conversation.snapshot.settings().ls_refs_unborn == Unborn::Advertise;
    Some(if advertise { "unborn".to_owned() } else { String::new() })
}

fn advertise_session_id(conversation: &Conversation<'_>) -> Option<String> {
    conversation.options.session_id.clone().filter(|_| conversation.snapshot.settings().advertise_sid)
}

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
        check_object_format(conversation, &head)?;
        let serve = CAPABILITIES
            .iter()
            .find(|capability| head.name == capability.name && (capability.advertise)(conversation).is_some())
            .and_then(|capability| capability.serve)
            .ok_or_else(|| Error::Protocol(format!("invalid command '{}'", head.name)))?;
        serve(conversation, &head)?;
        conversation.out.flush()?;
        if conversation.options.stateless {
            break;
        }
    }
    Ok(())
}

fn advertise(conversation: &mut Conversation<'_>) -> Result<(), Error> {
    write_text(&mut conversation.out, "version 2")?;
    for capability in &CAPABILITIES {
        match (capability.advertise)(conversation) {
            Some(value) if value.is_empty() => write_text(&mut conversation.out, capability.name)?,
            Some(value) => write_text(&mut conversation.out, format!("{}={value}", capability.name))?,
            None => {}
        }
    }
    write_flush(&mut conversation.out)?;
    Ok(conversation.out.flush()?)
}

fn check_object_format(conversation: &Conversation<'_>, head: &CommandHead) -> Result<(), Error> {
    let ours = conversation.hash().to_string();
    let theirs = head.object_format.as_ref().map_or("sha1".into(), |format| format.to_string());
    if theirs == ours {
        return Ok(());
    }
    Err(Error::Protocol(format!("mismatched object format: server {ours}; client {theirs}")))
}

/// The states of a fetch: arguments read; acknowledgements, unless the client is done; the pack, once enough is known.
fn fetch(conversation: &mut Conversation<'_>, head: &CommandHead) -> Result<(), Error> {
    let hash = conversation.hash();
    let request = match head.has_arguments {
        true => read_fetch_v2(&mut conversation.reader, hash, FetchFeatures::default())?,
        false => FetchRequest::default(),
    };
    if request.wants.is_empty() && !request.wait_for_done {
        // As in git: the client has thought better of it.
        return Ok(());
    }
    let mut may_tell = check_wants(conversation, &request.wants)?;
    let snapshot = conversation.snapshot;
    let mut known = Negotiation::new(&**snapshot.objects(), snapshot.shallow(), &request.wants)?;
    for have in &request.haves {
        known.take_have(*have, &mut |id| may_tell.ask(id))?;
    }
    if !request.done && (!request.haves.is_empty() || request.wait_for_done) {
        write_text(&mut conversation.out, "acknowledgments")?;
        if known.common().is_empty() {
            write_text(&mut conversation.out, "NAK")?;
        }
        for id in known.common() {
            write_text(&mut conversation.out, format!("ACK {id}"))?;
        }
        if request.wait_for_done || !known.is_enough(conversation.cancel)? {
            return Ok(write_flush(&mut conversation.out)?);
        }
        write_text(&mut conversation.out, "ready")?;
        write_delim(&mut conversation.out)?;
    }
    let boundary = shallow::find(conversation, &request, OwnBoundary::Told, &mut may_tell)?;
    if shallow::has_news(&request, &boundary) {
        write_text(&mut conversation.out, "shallow-info")?;
        shallow::write_changes(&mut *conversation.out, &boundary)?;
        write_delim(&mut conversation.out)?;
    }
    write_text(&mut conversation.out, "packfile")?;
    send_pack(conversation, Agreed { request: &request, boundary: &boundary, haves: known.common() })
}
