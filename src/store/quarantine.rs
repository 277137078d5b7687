//! Pack bytes from a peer into a pack that nobody sees until the push commits.
//!
//! Packs become visible by hard links, in the order `.keep`, `.pack`, `.rev`, `.idx`: a reader takes up a pack by its
//! `.idx`, so it never meets half of one. The `.keep` holds off a repack that began before the refs were there; it
//! goes when they are. The folder's layout and fate after a crash: see the `owner` module.

use super::flock::Flock;
use super::journal::{EMBEDDED_BYTES_MAX, NamedPack};
use super::owner::{self, Claim, OWNER_FILE, PACK_ENDINGS, Places, RepositoryLock};
use super::spares::Spares;
use super::{Error, hook_objects};
use bstr::BString;
use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

/// One push's own folder; with everything in it and every lock recorded in it, it vanishes when dropped.
pub(super) struct Quarantine {
    places: Places,
    /// `None` once it has been handed over.
    owner: Option<Flock<File>>,
    dir: PathBuf,
    spares: Option<Arc<Spares>>,
}

impl Quarantine {
    /// Make one, after removing what dead owners left, or take it from `spares`, to whom it returns.
    pub(super) fn begin(places: Places, spares: Option<Arc<Spares>>) -> Result<Self, Error> {
        let Claim { dir, owner } = owner::claim(&places, spares.as_deref())?;
        Ok(Self { places, owner: Some(owner), dir, spares })
    }

    /// Let it vanish in the end: others may have put into it what they like.
    pub(super) fn keep_for_nobody(&mut self) {
        self.spares = None;
    }

    /// The folder's name, by which the journal knows it.
    pub(super) fn name(&self) -> BString {
        self.dir.file_name().unwrap_or_default().as_encoded_bytes().into()
    }

    /// The folder.
    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }

    /// Where packs are received.
    pub(super) fn pack_dir(&self) -> PathBuf {
        self.dir.join("pack")
    }

    /// The packs `names` (`pack-…` without ending) as the journal names them: a small one with its bytes, a big one once it is
    /// on disk. Index and `.rev` are not synced: they can be made anew from the pack.
    pub(super) fn name_packs(&self, names: &[String]) -> Result<Vec<NamedPack>, Error> {
        let name_pack = |name: &String| {
            let path = self.pack_dir().join(format!("{name}.pack"));
            let bytes = if fs::metadata(&path)?.len() <= EMBEDDED_BYTES_MAX {
                Some(fs::read(&path)?)
            } else {
                File::open(&path)?.sync_all()?;
                None
            };
            Ok(NamedPack { name: name.clone(), bytes })
        };
        names.iter().map(name_pack).collect::<io::Result<_>>().map_err(Error::io("reading or syncing a received pack"))
    }

    /// Make the packs `names` visible and durable by themselves, without the journal.
    pub(super) fn publish(&self, names: &[String]) -> Result<(), Error> {
        for path in names.iter().flat_map(|name| PACK_ENDINGS.map(|ending| self.pack_dir().join(format!("{name}.{ending}")))) {
            match File::open(&path).and_then(|file| file.sync_all()) {
                Err(err) if err.kind() != ErrorKind::NotFound => return Err(Error::io("syncing a received pack")(err)),
                _ => {}
            }
        }
        let is_new = self.link_packs(&RepositoryLock::acquire(&self.places)?, names)?;
        self.sync_names(is_new)
    }

    /// Make the packs `names` visible; nothing is synced. Under the lock, so that nobody's sweep takes a pack without an
    /// .idx for a dead push's. Returns whether their folder is new.
    pub(super) fn link_packs(&self, _: &RepositoryLock, names: &[String]) -> Result<bool, Error> {
        let visible = self.places.objects_dir.join("pack");
        let link = || {
            let made = match fs::create_dir(&visible) {
                Ok(()) => true,
                Err(err) if err.kind() == ErrorKind::AlreadyExists => false,
                Err(err) => return Err(err),
            };
            names.iter().try_for_each(|name| self.link_pack(name, &visible)).map_err(owner::explain)?;
            Ok(made)
        };
        link().map_err(Error::io(format!("making a received pack visible in {}", visible.display())))
    }

    /// Bring the names of what is visible to the disk, in a folder that is new or not.
    pub(super) fn sync_names(&self, is_new: bool) -> Result<(), Error> {
        let objects = &self.places.objects_dir;
        let above = if is_new { owner::sync_folder(objects) } else { Ok(()) };
        owner::sync_folder(&objects.join("pack")).and(above).map_err(Error::io("syncing the folder of packs"))
    }

    /// Make visible and durable what hooks wrote into the folder beside the packs `names`.
    pub(super) fn publish_what_hooks_wrote(&self, hash: gix_hash::Kind, names: &[String]) -> Result<(), Error> {
        let failed = |err| Error::io("keeping the objects that a hook wrote")(err);
        let written = hook_objects::Written::sync(&self.dir, hash, names).map_err(failed)?;
        let lock = RepositoryLock::acquire(&self.places)?;
        written.publish(&lock, &self.places.objects_dir).map_err(failed)
    }

    fn link_pack(&self, name: &str, visible: &Path) -> io::Result<()> {
        let ours = self.pack_dir();
        let keep = format!("{name}.keep");
        link_if_free(&self.dir.join(OWNER_FILE), &ours.join(&keep))?; // another time where hooks had it published
        link_if_free(&ours.join(&keep), &visible.join(&keep))?; // somebody else's .keep does as well
        for ending in PACK_ENDINGS {
            let file = format!("{name}.{ending}");
            if ours.join(&file).try_exists()? {
                link_or_keep(&ours.join(&file), &visible.join(&file), &self.dir.join(&file))?;
            }
        }
        Ok(())
    }

    /// The refs stand (or none will): take the `.keep`s away, then the folder.
    pub(super) fn finish(mut self, names: &[String]) {
        for name in names {
            let keep = format!("{name}.keep");
            let visible = self.places.objects_dir.join("pack").join(&keep);
            if let Err(err) = owner::remove_if_same(&self.pack_dir().join(&keep), &visible) {
                tracing::warn!(keep = %visible.display(), %err, "a .keep of ours stays");
            }
        }
        let Some(owner) = self.owner.take() else { return };
        let claim = Claim { dir: self.dir.clone(), owner };
        self.warn(match &self.spares {
            Some(spares) => spares.keep(&self.places, claim),
            None => owner::remove_folder(&claim.dir),
        });
    }

    fn warn(&self, removed: io::Result<()>) {
        if let Err(err) = removed {
            // Once the proof of life is let go, the next push sweeps it.
            tracing::warn!(quarantine = %self.dir.display(), %err, "a quarantine of ours stays");
        }
    }
}

impl Drop for Quarantine {
    fn drop(&mut self) {
        if self.owner.is_none() {
            return; // nothing of it is visible any more: nothing is to be taken back
        }
        self.warn(match RepositoryLock::acquire(&self.places) {
            Ok(lock) => owner::dissolve(&lock, &self.dir, &self.places),
            Err(err) => Err(io::Error::other(err)),
        });
        // The flock ends with the struct, after all else is gone.
    }
}

/// Link `from` to `to`, if nothing is there.
fn link_if_free(from: &Path, to: &Path) -> io::Result<()> {
    match fs::hard_link(from, to) {
        Err(err) if err.kind() != ErrorKind::AlreadyExists => Err(err),
        _ => Ok(()),
    }
}

/// Link `from` to `to`. A file of that name and size is the same one, for packs are named by their content: it stays,
/// freshened against pruning. One of another size was torn by a crash and is replaced, by way of `spare`.
pub(super) fn link_or_keep(from: &Path, to: &Path, spare: &Path) -> io::Result<()> {
    match fs::hard_link(from, to) {
        Err(err) if err.kind() == ErrorKind::AlreadyExists => {}
        other => return other,
    }
    if fs::metadata(from)?.len() == fs::metadata(to)?.len() {
        let file = File::open(to)?;
        if let Err(err) = file.set_modified(SystemTime::now()) {
            tracing::debug!(path = %to.display(), %err, "a pack that was here already cannot be freshened");
        }
        return file.sync_all(); // whoever wrote it may not have
    }
    tracing::warn!(path = %to.display(), "a torn file is replaced by the one just received");
    fs::hard_link(from, spare)?;
    fs::rename(spare, to)
}
