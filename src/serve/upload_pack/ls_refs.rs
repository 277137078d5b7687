//! The `ls-refs` command: which refs are there.
//!
//! Source: gitprotocol-v2, "ls-refs". HEAD comes first.

use super::{Conversation, Error};
use crate::pack::Decoder;
use crate::serve::shared::Made;
use crate::store::{Snapshot, Unborn};
use crate::walk::{Listed, VisibleHead, VisibleRefs};
use crate::wire::{CommandHead, LsRefs, LsRefsLine, add_ls_refs_text, read_ls_refs, write_flush};
use bstr::BStr;

/// Bytes of lines that are gathered before they are written.
const GATHERED_BYTES: usize = 1 << 16;

/// Answer one command.
pub(super) fn serve(conversation: &mut Conversation<'_>, head: &CommandHead) -> Result<(), Error> {
    let asked = if head.has_arguments { read_ls_refs(&mut conversation.reader)? } else { LsRefs::default() };
    let (snapshot, refs, cancel) = (conversation.snapshot, conversation.refs, conversation.cancel);
    let from = Made::new("ls-refs", snapshot).from(refs).from(&asked);
    conversation.answer(from, |out| {
        let mut lines = Vec::with_capacity(GATHERED_BYTES + 4096);
        if asked.matches("HEAD".into()) {
            write_head(snapshot, refs, &asked, &mut lines)?;
        }
        let mut decoder = Decoder::new(&**snapshot.objects(), 1 << 20);
        let mut write = |listed: Listed<'_>| -> Result<(), Error> {
            match listed {
                Listed::Text(text) => add_ls_refs_text(&mut lines, text.line, text.peeled.filter(|_| asked.peel))?,
                Listed::Ref(entry) => {
                    let peeled = if asked.peel { entry.peeled(&mut decoder)? } else { None };
                    let symref_target = entry.symref_target.filter(|_| asked.symrefs);
                    LsRefsLine { id: Some(entry.id), name: entry.name, symref_target, peeled }.write(&mut lines)?;
                }
            }
            if lines.len() >= GATHERED_BYTES {
                cancel.check()?;
                out.write_all(&lines)?;
                lines.clear();
            }
            Ok(())
        };
        // The prefixes are sorted and none begins another, so the ranges come in order and do not overlap.
        for prefix in &asked.prefixes {
            refs.try_for_each_listed(prefix.as_ref(), &mut write)?;
        }
        if asked.prefixes.is_empty() {
            refs.try_for_each_listed(refs.all(), &mut write)?;
        }
        refs.check()?;
        write_flush(&mut lines)?;
        Ok(out.write_all(&lines)?)
    })
}

fn write_head(snapshot: &Snapshot, refs: &VisibleRefs, asked: &LsRefs, lines: &mut Vec<u8>) -> Result<(), Error> {
    let name: &BStr = "HEAD".into();
    let tells_unborn = asked.unborn && asked.symrefs && snapshot.settings().ls_refs_unborn != Unborn::Ignore;
    let line = match refs.head() {
        VisibleHead::Born(id, target) => LsRefsLine { id: Some(id), name, symref_target: target.filter(|_| asked.symrefs), peeled: None },
        VisibleHead::Unborn(target) if tells_unborn => LsRefsLine { id: None, name, symref_target: Some(target), peeled: None },
        VisibleHead::Unborn(_) | VisibleHead::None => return Ok(()),
    };
    Ok(line.write(lines)?)
}
