//! A small pack that more than one client wants, into memory: so that objects which must be deflated anew for it are
//! deflated once. Packs that are mostly copied from disk are not worth it, and big ones do not fit.

use super::Error;
use crate::base::{Cancel, Progress};
use crate::pack::{PackPlan, write_pack};
use crate::serve::SharedState;
use crate::serve::shared::{Made, Reserved, Shareable};
use crate::store::Snapshot;
use std::cell::Cell;
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
        let is_full = Cell::new(false);
        let make = || {
            let Some(mut room) = shared.reserve(shared.bytes_max() / KEPT_ONE_IN) else {
                // True of this moment only, so nothing to be remembered.
                is_full.set(true);
                return Err(Error::Limit("no room to make a pack in memory".to_owned()));
            };
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
        match shared.get_or_make(from, cancel, make) {
            Ok((made, _)) => Ok(Some(made).filter(|made| made.0.is_some())),
            Err(_) if is_full.get() => Ok(None),
            Err(err) => Err(err),
        }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pack::{Found, ObjectSet, Objects, PackOptions};
    use crate::store::{ConfigScope, Repository};
    use std::process::Command;

    #[test]
    fn that_there_was_no_room_is_not_remembered_but_that_a_pack_is_too_big_is() {
        let dir = tempfile::tempdir().expect("a folder");
        let git = |args: &[&str]| {
            let output = Command::new("git").current_dir(dir.path()).args(args).output().expect("git runs");
            assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
        };
        git(&["init", "-q", "--bare"]);
        std::fs::write(dir.path().join("blob"), "loose").expect("ours");
        git(&["hash-object", "-w", "blob"]);
        let snapshot = Repository::open(dir.path(), ConfigScope::RepositoryOnly).and_then(|found| found.snapshot()).expect("readable");
        let mut set = ObjectSet::new();
        let hash = gix_hash::Kind::Sha1;
        let id = gix_object::compute_hash(hash, gix_object::Kind::Blob, b"loose").expect("a hash");
        let objects = &**snapshot.objects();
        set.insert(objects, &objects.locate(&id).expect("readable").expect("here"));
        let plan = PackPlan::new(objects, &Found::from(set), &PackOptions::default(), &Cancel::new()).expect("a plan");
        let find = |shared: &SharedState| {
            MadePack::find(shared, Made::new("pack", &snapshot), &snapshot, &plan, &Cancel::new()).expect("no fault")
        };
        let shared = SharedState::new(1_000);
        let room = shared.reserve(1_000).expect("all is free");
        assert!(find(&shared).is_none());
        assert_eq!(shared.statistics().entries, 0);
        drop(room);
        let made = find(&shared).expect("now there is room");
        assert!(Arc::ptr_eq(&made, &find(&shared).expect("kept")));
        let shared = SharedState::new(50);
        assert!(find(&shared).is_none() && find(&shared).is_none());
        let statistics = shared.statistics();
        assert_eq!((statistics.made, statistics.found), (1, 1), "a pack of more than 25 bytes is tried once");
    }
}
