//! The `object-info` command: sizes of objects without the objects.
//!
//! Source: gitprotocol-v2, "object-info"; `protocol-caps.c`. An object that is not here and one that this client may not
//! have get the same answer: no size. git answers an argument that makes no sense line by line and goes on; here it ends
//! the request.

use super::may_want::find_forbidden;
use super::{Conversation, Error};
use crate::base::limits::OBJECT_INFO_MAX;
use crate::base::{FastSet, span};
use crate::pack::{Decoder, Objects};
use crate::wire::{CommandHead, Pkt, write_data, write_flush};
use bstr::ByteSlice;
use gix_hash::ObjectId;

/// What the client wants to know.
#[derive(Default)]
struct Asked {
    size: bool,
    ids: Vec<ObjectId>,
}

/// Answer one command.
pub(super) fn serve(conversation: &mut Conversation<'_>, head: &CommandHead) -> Result<(), Error> {
    let asked = if head.has_arguments { read(conversation)? } else { Asked::default() };
    let _span = tracing::debug_span!(span::OBJECT_INFO, objects = asked.ids.len()).entered();
    let objects = &**conversation.snapshot.objects();
    let mut here = vec![];
    for id in asked.ids.iter().filter(|_| asked.size) {
        conversation.cancel.check()?;
        here.extend(objects.locate(id)?.map(|_| *id));
    }
    let forbidden: FastSet<ObjectId> = find_forbidden(conversation, here)?.into_iter().collect();
    let mut decoder = Decoder::new(objects, 1 << 20);
    let mut out = std::io::BufWriter::new(&mut *conversation.out);
    if asked.size && !asked.ids.is_empty() {
        write_data(&mut out, b"size")?;
    }
    for id in &asked.ids {
        conversation.cancel.check()?;
        let location = if asked.size && !forbidden.contains(id) { objects.locate(id)? } else { None };
        let size = match location {
            Some(location) => decoder.size(&location)?.to_string(),
            None => String::new(),
        };
        let line = if asked.size { format!("{id} {size}") } else { id.to_string() };
        write_data(&mut out, line.as_bytes())?;
    }
    write_flush(&mut out)?;
    Ok(std::io::Write::flush(&mut out)?)
}

fn read(conversation: &mut Conversation<'_>) -> Result<Asked, Error> {
    let hash = conversation.hash();
    let mut asked = Asked::default();
    loop {
        let pkt = conversation.reader.expect()?;
        let Some(line) = pkt.text() else {
            if pkt == Pkt::Flush {
                return Ok(asked);
            }
            return Err(Error::Protocol("object-info: expected flush after arguments".to_owned()));
        };
        match line.strip_prefix(b"oid ") {
            _ if line == b"size" => asked.size = true,
            Some(hex) => {
                let id = ObjectId::from_hex(hex).ok().filter(|id| id.kind() == hash);
                let bad = || Error::Protocol(format!("object-info: protocol error, expected to get oid, not '{}'", hex.as_bstr()));
                asked.ids.push(id.ok_or_else(bad)?);
            }
            None => return Err(Error::Protocol(format!("object-info: unexpected line: '{}'", line.as_bstr()))),
        }
        if asked.ids.len() > OBJECT_INFO_MAX {
            return Err(Error::Limit(format!("too many objects in one object-info: at most {OBJECT_INFO_MAX}")));
        }
    }
}
