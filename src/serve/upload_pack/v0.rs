//! Protocol versions 0 and 1: everything is advertised at once, then wants, then rounds of haves.
//!
//! Source: gitprotocol-pack, "Fetching Data From a Server". The answers to haves are those of git's
//! `upload-pack.c`: `get_common_commits`.

use super::may_filter::check_filter;
use super::may_want::{MayTell, check_wants};
use super::send::{Agreed, send_pack};
use super::shallow::OwnBoundary;
use super::{Conversation, Error, capabilities, shallow};
use crate::base::Cancel;
use crate::serve::Protocol;
use crate::serve::shared::Made;
use crate::store::Snapshot;
use crate::walk::{Boundary, Common, Listed, Negotiation, VisibleHead, VisibleRefs};
use crate::wire::{
    AckMode, AdvertisedRef, Advertisement, Deepen, FetchRequest, NegotiationLine, read_fetch_v0, read_negotiation_line, write_text,
};
use gix_hash::ObjectId;
use std::io::Write;

/// Serve one client.
pub(super) fn serve(conversation: &mut Conversation<'_>) -> Result<(), Error> {
    if conversation.options.advertise_only || !conversation.options.stateless {
        advertise(conversation)?;
    }
    if conversation.options.advertise_only {
        return Ok(());
    }
    let hash = conversation.hash();
    let features = capabilities::fetch_features(conversation);
    let Some(request) = read_fetch_v0(&mut conversation.reader, hash, features)? else { return Ok(()) };
    if let Some(filter) = &request.filter {
        check_filter(conversation, filter)?;
    }
    let mut may_tell = check_wants(conversation, &request.wants)?;
    let boundary = shallow::find(conversation, &request, OwnBoundary::Advertised, &mut may_tell)?;
    if request.deepen != Deepen::No {
        shallow::write_changes(conversation, &boundary)?;
        conversation.end()?;
        conversation.out.flush()?;
    }
    match negotiate(conversation, &request, &boundary, &mut may_tell)? {
        Some(haves) => send_pack(conversation, Agreed { request: &request, boundary: &boundary, haves: &haves }),
        None => Ok(()),
    }
}

fn advertise(conversation: &mut Conversation<'_>) -> Result<(), Error> {
    if conversation.options.protocol == Protocol::V1 {
        write_text(&mut conversation.out, "version 1")?;
    }
    let words = capabilities::words_v0(conversation);
    let own = shallow::visible_own(conversation)?;
    let (snapshot, refs, cancel) = (conversation.snapshot, conversation.refs, conversation.cancel);
    let from = Made::new("advertisement", snapshot).from(refs).from(&words).from(&own);
    conversation.answer(from, |out| write_refs(snapshot, refs, &words, &own, out, cancel))?;
    Ok(conversation.out.flush()?)
}

fn write_refs(
    snapshot: &Snapshot,
    refs: &VisibleRefs,
    words: &str,
    own: &[ObjectId],
    out: &mut dyn Write,
    cancel: &Cancel,
) -> Result<(), Error> {
    let mut decoder = crate::pack::Decoder::new(&**snapshot.objects(), 1 << 20);
    let mut lines = Advertisement::new(out, words);
    if let VisibleHead::Born(id, _) = refs.head() {
        lines.add(AdvertisedRef { name: "HEAD".into(), id, peeled: None })?;
    }
    let mut count = 0u32;
    refs.try_for_each_listed(refs.all(), |listed| -> Result<(), Error> {
        count = count.wrapping_add(1);
        if count.is_multiple_of(1024) {
            cancel.check()?;
        }
        match listed {
            Listed::Text(text) => Ok(lines.add_text(text.line, text.peeled)?),
            Listed::Ref(entry) => {
                let peeled = entry.peeled(&mut decoder)?;
                Ok(lines.add(AdvertisedRef { name: entry.name, id: entry.id, peeled })?)
            }
        }
    })?;
    refs.check()?;
    for id in own {
        lines.add_shallow(*id)?;
    }
    lines.finish(snapshot.hash_kind())?;
    Ok(())
}

/// Rounds of haves until the client is done. `None`: this was one round of a stateless talk.
fn negotiate(
    conversation: &mut Conversation<'_>,
    request: &FetchRequest,
    boundary: &Boundary,
    may_tell: &mut MayTell<'_>,
) -> Result<Option<Vec<ObjectId>>, Error> {
    let snapshot = conversation.snapshot;
    let hash = conversation.hash();
    // What is uncovered is wanted as well: a client that deepens its history is asked on until it has said all.
    let wants = [&request.wants[..], &boundary.uncovered].concat();
    let mut known = Negotiation::new(&**snapshot.objects(), &boundary.cut, &wants, conversation.cancel)?;
    let multi = request.ack_mode != AckMode::Single;
    let detailed = request.ack_mode == AckMode::Detailed;
    let (mut got_common, mut got_other, mut sent_ready) = (false, false, false);
    let mut last = None;
    loop {
        match read_negotiation_line(&mut conversation.reader, hash)? {
            NegotiationLine::Have(id) => match known.take_have(id, &mut |id| may_tell.ask(id))? {
                Common::Yes => {
                    got_common = true;
                    last = Some(id);
                    match request.ack_mode {
                        AckMode::Detailed => ack(conversation, id, " common")?,
                        AckMode::Multi => ack(conversation, id, " continue")?,
                        AckMode::Single if known.common().len() == 1 => ack(conversation, id, "")?,
                        AckMode::Single => {}
                    }
                }
                Common::No => {
                    got_other = true;
                    if multi && known.is_enough(conversation.cancel)? {
                        sent_ready |= detailed;
                        ack(conversation, id, if detailed { " ready" } else { " continue" })?;
                    }
                }
            },
            NegotiationLine::EndOfRound => {
                if let (true, true, false, Some(last)) = (detailed, got_common, got_other, last)
                    && known.is_enough(conversation.cancel)?
                {
                    sent_ready = true;
                    ack(conversation, last, " ready")?;
                }
                if known.common().is_empty() || multi {
                    write_text(&mut conversation.out, "NAK")?;
                }
                if let (true, true, Some(last)) = (request.no_done, sent_ready, last) {
                    ack(conversation, last, "")?;
                    return Ok(Some(known.common().to_vec()));
                }
                conversation.out.flush()?;
                if conversation.options.stateless {
                    return Ok(None);
                }
                (got_common, got_other) = (false, false);
            }
            NegotiationLine::Done => {
                match last.filter(|_| multi) {
                    Some(last) => ack(conversation, last, "")?,
                    None if known.common().is_empty() => write_text(&mut conversation.out, "NAK")?,
                    None => {}
                }
                return Ok(Some(known.common().to_vec()));
            }
            // Between two requests of a stateless talk that is how a client leaves.
            NegotiationLine::Closed if conversation.options.stateless => return Ok(None),
            NegotiationLine::Closed => return Err(Error::HungUp),
        }
    }
}

fn ack(conversation: &mut Conversation<'_>, id: ObjectId, status: &str) -> Result<(), Error> {
    Ok(write_text(&mut conversation.out, format!("ACK {id}{status}"))?)
}
