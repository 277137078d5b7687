//! Refs that a client wants by name into the objects that they lead to.
//!
//! Source: gitprotocol-v2, "fetch" (`want-ref`, section `wanted-refs`); `upload-pack.c`: `parse_want_ref`. A ref that is
//! hidden and one that does not exist get the same answer.

use super::{Conversation, Error};
use crate::walk::VisibleHead;
use bstr::{BStr, BString, ByteSlice};
use gix_hash::ObjectId;

/// The ids of the refs `names`, in order.
pub(super) fn resolve(conversation: &Conversation<'_>, names: &[BString]) -> Result<Vec<ObjectId>, Error> {
    names.iter().map(|name| find(conversation, name.as_bstr()).ok_or_else(|| Error::Refused(format!("unknown ref {name}")))).collect()
}

fn find(conversation: &Conversation<'_>, name: &BStr) -> Option<ObjectId> {
    if name == "HEAD" {
        return match conversation.refs.head() {
            VisibleHead::Born(id, _) => Some(id),
            VisibleHead::Unborn(_) | VisibleHead::None => None,
        };
    }
    conversation.refs.find(name)?.id
}

/// Say which object each ref led to.
pub(super) fn write_section(conversation: &mut Conversation<'_>, names: &[BString], ids: &[ObjectId]) -> Result<(), Error> {
    if names.is_empty() {
        return Ok(());
    }
    conversation.line("wanted-refs")?;
    for (id, name) in ids.iter().zip(names) {
        conversation.line(format!("{id} {name}"))?;
    }
    conversation.delim()
}
