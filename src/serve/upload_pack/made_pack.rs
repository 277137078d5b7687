//! A small pack that more than one client wants, into memory: so that objects which must be deflated anew for it are
//! deflated once. Packs that are mostly copied from disk are not worth it, and big ones do not fit.

use super::Error;
use crate::base::{Cancel, Progress};
use crate::pack::{PackPlan, write_pack};
use crate::serve::SharedState;
use crate::serve::shared::{Made, Reserved, Shareable};
use crate::store::Snapshot;
use std::io::{ErrorKind, Write};
use std::sync::Arc;

/// Out of so many objects one must be made anew for the pack to be kept.
const RECODED_ONE_IN: u32 = 16;
/// One pack may take so much of all that may be kept: a depth-1 clone of a big tree (47 MB, benches/serve) should fit.
const KEPT_ONE_IN: usize = 2;
/// Bytes between two looks at the cancel flag.
const WRITE_BYTES: usize = 1 << 20;

/// All bytes of a pack, and the room they take; `None`: there are too many.
pub(super) struct MadePack(Option<(Vec<u8>, Reserved)>);

impl Shareable for MadePack {
    fn held_bytes(&self) -> usize {
        size_of::<Self>() + self.0.as_ref().map_or(0, |(bytes, _)| bytes.len())
    }
}

impl MadePack {
    /// The pack that `plan` makes, kept under `from`; `None` where each client's own stream is as cheap.
    pub(super) fn find(
        shared: &SharedState,
        from: Made,
        snapshot: &Snapshot,
        plan: &PackPlan,
        cancel: &Cancel,
    ) -> Result<Option<Arc<Self>>, Error> {
        let recoded = plan.objects().saturating_sub(plan.copied());
        if recoded <= plan.objects() / RECODED_ONE_IN {
            return Ok(None);
        }
        let make = || {
            let Some(mut room) = shared.reserve(shared.bytes_max() / KEPT_ONE_IN) else { return Ok(Self(None)) };
            let mut out = Bounded { bytes: vec![], bytes_max: shared.bytes_max() / KEPT_ONE_IN, is_full: false };
            let written = Progress::new().begin("Writing objects", u64::from(plan.objects()));
            match write_pack(&**snapshot.objects(), plan, &mut out, &written, cancel) {
                Err(_) if out.is_full => Ok(Self(None)),
                Err(err) => Err(err.into()),
                Ok(_) => {
                    out.bytes.shrink_to_fit();
                    room.shrink_to(out.bytes.len());
                    Ok(Self(Some((out.bytes, room))))
                }
            }
        };
        let (made, _) = shared.get_or_make(from, cancel, make)?;
        Ok(Some(made).filter(|made| made.0.is_some()))
    }

    /// Send it; returns its bytes.
    pub(super) fn write(&self, out: &mut dyn Write, cancel: &Cancel) -> Result<u64, Error> {
        let bytes = self.0.as_ref().map_or(&[][..], |(bytes, _)| bytes);
        for part in bytes.chunks(WRITE_BYTES) {
            cancel.check()?;
            out.write_all(part)?;
        }
        Ok(bytes.len() as u64)
    }
}

/// Takes so many bytes and no more.
struct Bounded {
    bytes: Vec<u8>,
    bytes_max: usize,
    is_full: bool,
}

impl Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        if self.bytes.len() + bytes.len() > self.bytes_max {
            self.is_full = true;
            return Err(ErrorKind::FileTooLarge.into());
        }
        self.bytes.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
