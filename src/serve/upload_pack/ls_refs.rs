//! The `ls-refs` command: which refs are there.
//!
//! Source: gitprotocol-v2, "ls-refs". HEAD comes first.

use super::{Conversation, Error};
use crate::pack::Decoder;
use crate::store::Unborn;
use crate::walk::{VisibleHead, VisibleRef};
use crate::wire::{CommandHead, LsRefs, LsRefsLine, read_ls_refs, write_flush};
use bstr::BStr;

/// Answer one command.
pub(super) fn serve(conversation: &mut Conversation<'_>, head: &CommandHead) -> Result<(), Error> {
    let asked = if head.has_arguments { read_ls_refs(&mut conversation.reader)? } else { LsRefs::default() };
    let mut buffer = vec![];
    if asked.matches("HEAD".into()) {
        write_head(conversation, &asked, &mut buffer)?;
    }
    let mut decoder = Decoder::new(&**conversation.snapshot.objects(), 1 << 20);
    let (refs, cancel) = (conversation.refs, conversation.cancel);
    let mut out = std::io::BufWriter::with_capacity(1 << 16, &mut *conversation.out);
    let mut write = |entry: VisibleRef<'_>| -> Result<(), Error> {
        cancel.check()?;
        let peeled = if asked.peel { entry.peeled(&mut decoder)? } else { None };
        let symref_target = entry.symref_target.filter(|_| asked.symrefs);
        let line = LsRefsLine { id: Some(entry.id), name: entry.name, symref_target, peeled };
        Ok(line.write(&mut buffer, &mut out)?)
    };
    if asked.prefixes.is_empty() {
        refs.iter().try_for_each(&mut write)?;
    } else {
        // The prefixes are sorted and none begins another, so the ranges come in order and do not overlap.
        asked.prefixes.iter().flat_map(|prefix| refs.with_prefix(prefix.as_ref())).try_for_each(&mut write)?;
    }
    write_flush(&mut out)?;
    std::io::Write::flush(&mut out)?;
    Ok(())
}

fn write_head(conversation: &mut Conversation<'_>, asked: &LsRefs, buffer: &mut Vec<u8>) -> Result<(), Error> {
    let name: &BStr = "HEAD".into();
    let tells_unborn = asked.unborn && asked.symrefs && conversation.snapshot.settings().ls_refs_unborn != Unborn::Ignore;
    let line = match conversation.refs.head() {
        VisibleHead::Born(id, target) => LsRefsLine { id: Some(id), name, symref_target: target.filter(|_| asked.symrefs), peeled: None },
        VisibleHead::Unborn(target) if tells_unborn => LsRefsLine { id: None, name, symref_target: Some(target), peeled: None },
        VisibleHead::Unborn(_) | VisibleHead::None => return Ok(()),
    };
    Ok(line.write(buffer, &mut conversation.out)?)
}
