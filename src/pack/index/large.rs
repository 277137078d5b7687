//! Commits, trees and tags that were too large to be held while they came in: back into memory, one at a time, to be checked.
//!
//! Whoever sends slowly would hold the one [`Permit`] for as long as it likes, so nothing large is held before the
//! whole pack has come.

use super::super::Error;
use super::super::check::{Checker, Checks};
use super::permit::Permit;
use super::receive::Received;
use super::resolve::deflated_bytes_max;
use super::source::Source;
use super::{IngestLimits, bad_object};
use crate::base::Cancel;
use std::fs::File;

/// Check the objects that `received` has put off.
pub(super) fn check_large(pack: &File, received: &Received, checks: &Checks, limits: &IngestLimits, cancel: &Cancel) -> Result<(), Error> {
    let table = &received.table;
    let mut checker = Checker::new(checks);
    let limit = limits.held_object_bytes_max;
    for &entry in &received.unchecked {
        let entry = entry as usize;
        let range = table.offsets[entry]..table.offsets.get(entry + 1).copied().unwrap_or(received.end);
        let _permit = Permit::wait(|| cancel.check())?;
        let mut source = Source::new(pack, received.trailer.kind(), received.end);
        let header = source.header(&range)?;
        if header.size > limit || range.end - range.start > deflated_bytes_max(limit) {
            return Err(Error::Limit { what: "size in bytes of a commit, tree or tag", limit });
        }
        let mut object = vec![];
        let kind = source.inflate(&range, &header, &mut object)?.ok_or_else(|| bad_object(range.start, "it has changed"))?;
        checker.object(kind, table.ids.get(entry), &object)?;
    }
    Ok(())
}
