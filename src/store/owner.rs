//! Locks and quarantines of ours, each with an owner whose life is proven by a held `flock`, into nothing once that owner is dead.
//!
//! A push owns one folder `packmule-incoming-<random>` in the repository's object directory. Its name does not begin with
//! `tmp_objdir-`: stock git's `gc --prune=now` removes such folders, those of living pushes too. In it lie
//!
//! | file | what it is |
//! |---|---|
//! | `owner` | the pushing process holds an exclusive `flock` on it for as long as the push lives; in it one line per lock that the push may take: a file of this folder, a space, the lock's path relative to the repository; then `end` |
//! | `lock-…` | what each lock was linked from, so that a lock is ours exactly when both are one inode |
//! | `pack/` | packs not yet visible, and as their `.keep` another link to `owner`; those linked into `objects/pack` are likewise known by their inode |
//!
//! Few files come and go with a push ([`super::spares`] tells why).
//!
//! A process that dies, however suddenly, lets go of its `flock`: that is the only proof of death that is believed.
//! Locks that are in nobody's record, and quarantines of other programs, are never touched.
//! Making the folder and sweeping happen under a short `flock` on `packmule.lock` in the repository, so that a
//! half-made owner is never taken for a dead one. Nothing here is synced: where a power cut took the record of locks
//! or tore it, they are looked for by their inodes. What a dead owner's journal entry still needs waits for
//! its recovery ([`super::journal`]).
//!
//! Limits: the file system must know hard links and `flock`; on NFS before version 4 a `flock` may not reach other hosts.
//! `objects` must lie on the same file system as `refs`, through the same mount: locks are linked from one to the
//! other. Where it does not, every push is refused with a sentence that says so; reading is not affected.

use super::flock::Flock;
use super::spares::Spares;
use super::turns::{Turn, Turns};
use super::{Error, Repository, journal, loose_ref};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// How the names of our quarantines begin.
pub(super) const QUARANTINE_PREFIX: &str = "packmule-incoming-";
/// The proof of life in a quarantine, and its record of locks.
pub(super) const OWNER_FILE: &str = "owner";
/// How a whole record ends.
pub(super) const LOCKS_END: &[u8] = b"end\n";
/// Endings of a pack's files in the order in which they become visible: with the `.idx` the pack is there.
pub(super) const PACK_ENDINGS: [&str; 3] = ["pack", "rev", "idx"];

/// What the lock of the file `shallow` is linked from; it needs no record, for its name is always the same.
pub(super) const SHALLOW_LOCK_FILE: &str = "lock-shallow";

const REPOSITORY_LOCK_FILE: &str = "packmule.lock";
/// Sweeping and publishing a pack take milliseconds; whoever holds the lock this long hangs.
const REPOSITORY_LOCK_TIMEOUT_MS: u64 = 30_000;

/// What to do when a link fails with `EXDEV`; without a path, for pushers see it.
const ACROSS_FILE_SYSTEMS: &str = "the repository's 'objects' and 'refs' lie on different file systems or mounts; \
    tell its administrator to move the whole repository to one of them";

/// What the system said, or the next step where that alone would help nobody.
pub(super) fn explain(err: io::Error) -> io::Error {
    if err.kind() == ErrorKind::CrossesDevices { io::Error::new(ErrorKind::CrossesDevices, ACROSS_FILE_SYSTEMS) } else { err }
}

/// Where the parts of one repository lie.
#[derive(Clone, Debug)]
pub(super) struct Places {
    /// Holds HEAD; another one than `common_dir` in a linked work tree.
    pub git_dir: PathBuf,
    /// Holds `refs`, `packed-refs` and `logs`.
    pub common_dir: PathBuf,
    /// Holds `pack`.
    pub objects_dir: PathBuf,
}

impl Places {
    pub(super) fn of(repository: &Repository) -> Self {
        Self {
            git_dir: repository.git_dir().to_owned(),
            common_dir: repository.common_dir().to_owned(),
            objects_dir: repository.objects_dir(),
        }
    }
}

/// The short lock of one repository; let go when dropped. Threads of this process get it in the order in which they ask.
pub(super) struct RepositoryLock {
    // Let go before the next one's turn comes.
    _file: Flock<File>,
    _turn: Turn,
}

impl RepositoryLock {
    pub(super) fn acquire(places: &Places) -> Result<Self, Error> {
        Self::acquire_within(places, REPOSITORY_LOCK_TIMEOUT_MS)
    }

    fn acquire_within(places: &Places, timeout_ms: u64) -> Result<Self, Error> {
        let path = places.common_dir.join(REPOSITORY_LOCK_FILE);
        let deadline = Instant::now() + Duration::from_millis(timeout_ms);
        let turn = Turns::of(&places.common_dir).wait(deadline);
        let file = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&path)
            .map_err(Error::io(format!("opening {}", path.display())))?;
        let file = Flock::take_until(file, deadline).map_err(Error::io(format!("locking {}", path.display())))?;
        if let (Some(turn), Some(file)) = (turn, file) {
            return Ok(Self { _file: file, _turn: turn });
        }
        tracing::error!(lock = %path.display(), timeout_ms, "somebody holds the repository's lock and does not let go");
        Err(Error::InTheWay(format!("another process has held the repository's lock for {timeout_ms} ms; try again later")))
    }
}

/// A quarantine's folder and the proof that its owner lives.
pub(super) struct Claim {
    /// The folder.
    pub dir: PathBuf,
    /// The file `owner`.
    pub owner: Flock<File>,
}

/// Sweep, then make a quarantine that is owned from its first visible moment, or take a spare one.
pub(super) fn claim(places: &Places, spares: Option<&Spares>) -> Result<Claim, Error> {
    let lock = RepositoryLock::acquire(places)?;
    sweep_under(&lock, places)?;
    match spares.and_then(|spares| spares.take(&lock, places)) {
        Some(claim) => Ok(claim),
        None => claim_under(&lock, places),
    }
}

/// Give the quarantine `dir` of ours, which is empty, a new name.
pub(super) fn rename_folder(_: &RepositoryLock, dir: &Path, objects_dir: &Path) -> Result<PathBuf, Error> {
    let new = objects_dir.join(new_name()?);
    // Were there a folder of that name, it would have to be empty, which no quarantine is.
    fs::rename(dir, &new).map_err(Error::io(format!("making {}", new.display())))?;
    Ok(new)
}

fn new_name() -> Result<String, Error> {
    let mut random = [0u8; 8];
    getrandom::fill(&mut random).map_err(|err| Error::io("reading random bytes")(io::Error::other(err.to_string())))?;
    Ok(format!("{QUARANTINE_PREFIX}{:016x}", u64::from_be_bytes(random)))
}

/// Make a quarantine that is owned from its first visible moment.
pub(super) fn claim_under(_: &RepositoryLock, places: &Places) -> Result<Claim, Error> {
    let dir = make_folder(&places.objects_dir)?;
    let made = (|| {
        let owner = Flock::try_take(File::create_new(dir.join(OWNER_FILE))?)?.ok_or(ErrorKind::WouldBlock)?;
        fs::create_dir(dir.join("pack"))?;
        Ok(owner)
    })();
    match made {
        Ok(owner) => Ok(Claim { dir, owner }),
        Err(err) => {
            let _ = fs::remove_dir_all(&dir); // what matters is the first failure; the next sweep tries again
            Err(Error::io(format!("making a quarantine in {}", places.objects_dir.display()))(err))
        }
    }
}

fn make_folder(objects_dir: &Path) -> Result<PathBuf, Error> {
    loop {
        let dir = objects_dir.join(new_name()?);
        match fs::DirBuilder::new().mode(0o700).create(&dir) {
            Ok(()) => return Ok(dir),
            Err(err) if err.kind() == ErrorKind::AlreadyExists => {}
            Err(err) => return Err(Error::io(format!("making {}", dir.display()))(err)),
        }
    }
}

/// Remove what pushes into `repository` left whose process is dead: their locks, then their quarantines.
///
/// What they committed is brought to its end first. Returns how many there were. Every push begins with this; a server
/// calls it at its start as well, so that locks of a crash do not stand in the way of stock git until the next push.
pub fn sweep(repository: &Repository) -> Result<usize, Error> {
    journal::recover(repository)?;
    let places = Places::of(repository);
    let entries = fs::read_dir(&places.objects_dir).map_err(Error::io(format!("reading {}", places.objects_dir.display())))?;
    if !entries.flatten().any(|entry| entry.file_name().as_bytes().starts_with(QUARANTINE_PREFIX.as_bytes())) {
        return Ok(0); // nothing to lock for
    }
    let lock = RepositoryLock::acquire(&places)?;
    sweep_under(&lock, &places)
}

/// Remove what dead pushes left, and hold off new ones of any process for as long as the answer lives.
///
/// # Errors
/// [`Error::InTheWay`] where a push is under way.
pub(super) fn stand_still(repository: &Repository) -> Result<RepositoryLock, Error> {
    journal::recover(repository)?;
    let places = Places::of(repository);
    let lock = RepositoryLock::acquire(&places)?;
    sweep_under(&lock, &places)?;
    let entries = fs::read_dir(&places.objects_dir).map_err(Error::io(format!("reading {}", places.objects_dir.display())))?;
    if entries.flatten().any(|entry| entry.file_name().as_bytes().starts_with(QUARANTINE_PREFIX.as_bytes())) {
        return Err(Error::InTheWay("another process pushes into this repository; try again in a moment".into()));
    }
    Ok(lock)
}

fn sweep_under(lock: &RepositoryLock, places: &Places) -> Result<usize, Error> {
    let reading = || format!("reading {}", places.objects_dir.display());
    let mut swept = 0;
    let mut needed = None;
    for entry in fs::read_dir(&places.objects_dir).map_err(Error::io(reading()))? {
        let entry = entry.map_err(Error::io(reading()))?;
        if !entry.file_name().as_bytes().starts_with(QUARANTINE_PREFIX.as_bytes()) {
            continue;
        }
        let dir = entry.path();
        // One that cannot be removed (another user's, say) must not keep this push from its work.
        let result = is_dead(&dir).and_then(|dead| {
            if !dead {
                return Ok(false);
            }
            let needed = match &mut needed {
                Some(needed) => needed,
                none => none.insert(journal::owners_of_pending(&places.common_dir).map_err(io::Error::other)?),
            };
            if needed.iter().any(|name| *name == entry.file_name().as_bytes()) {
                return Ok(false);
            }
            dissolve(lock, &dir, places).map(|()| true)
        });
        match result {
            Ok(true) => {
                tracing::info!(quarantine = %dir.display(), "removed what a dead push left");
                swept += 1;
            }
            Ok(false) => {}
            Err(err) => tracing::warn!(quarantine = %dir.display(), %err, "cannot remove what a dead push left"),
        }
    }
    Ok(swept)
}

/// Whether nobody holds the owner's `flock`. No owner file is proof as well: it is made under the repository's lock,
/// which the caller holds, and it is removed only after the locks.
pub(super) fn is_dead(dir: &Path) -> io::Result<bool> {
    match File::options().write(true).open(dir.join(OWNER_FILE)) {
        Ok(owner) => Ok(Flock::try_take(owner)?.is_some()),
        Err(err) if err.kind() == ErrorKind::NotFound => Ok(true),
        Err(err) => Err(err),
    }
}

/// Take back all that the quarantine `dir` made visible without completing it, then remove it.
///
/// Only for its owner, or when there is none alive.
pub(super) fn dissolve(_: &RepositoryLock, dir: &Path, places: &Places) -> io::Result<()> {
    release_recorded_locks(dir, &places.common_dir)?;
    withdraw_packs(dir, &places.objects_dir)?;
    remove_folder(dir)
}

/// Remove a quarantine that no longer holds anything visible; it may be going away meanwhile.
pub(super) fn remove_folder(dir: &Path) -> io::Result<()> {
    match fs::remove_dir_all(dir) {
        Err(err) if err.kind() != ErrorKind::NotFound => Err(err),
        _ => Ok(()),
    }
}

fn release_recorded_locks(dir: &Path, common_dir: &Path) -> io::Result<()> {
    for (staged, path) in recorded_locks(dir, common_dir)? {
        remove_if_same(&staged, &path)?;
    }
    Ok(())
}

/// The locks that the owner of the quarantine `dir` may hold: what each was linked from, and where.
pub(super) fn recorded_locks(dir: &Path, common_dir: &Path) -> io::Result<Vec<(PathBuf, PathBuf)>> {
    let mut locks = recorded_ref_locks(dir, common_dir)?;
    locks.push((dir.join(SHALLOW_LOCK_FILE), common_dir.join("shallow.lock")));
    Ok(locks)
}

fn recorded_ref_locks(dir: &Path, common_dir: &Path) -> io::Result<Vec<(PathBuf, PathBuf)>> {
    let record = match fs::read(dir.join(OWNER_FILE)) {
        Ok(record) => record,
        Err(err) if err.kind() == ErrorKind::NotFound => vec![],
        Err(err) => return Err(err),
    };
    if !record.ends_with(LOCKS_END) {
        return locks_by_inode(dir, common_dir);
    }
    let split = |line: &[u8]| {
        let space = line.iter().position(|byte| *byte == b' ')?;
        Some((dir.join(OsStr::from_bytes(&line[..space])), common_dir.join(OsStr::from_bytes(&line[space + 1..]))))
    };
    Ok(record.split(|byte| *byte == b'\n').filter_map(split).collect())
}

/// The same without a record: every lock beneath `refs` that is one file with something in `dir`.
fn locks_by_inode(dir: &Path, common_dir: &Path) -> io::Result<Vec<(PathBuf, PathBuf)>> {
    let mut staged = HashMap::new();
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        if entry.file_name().as_bytes().starts_with(b"lock-") {
            staged.insert(entry.metadata()?.ino(), entry.path());
        }
    }
    let mut found = vec![];
    if staged.is_empty() {
        return Ok(found); // none was taken, for each would be here
    }
    let mut look = |path: PathBuf, inode: u64| found.extend(staged.get(&inode).map(|staged| (staged.clone(), path)));
    loose_ref::folders_from(&common_dir.join("refs"), |entry| {
        if entry.file_name().as_bytes().ends_with(b".lock") {
            look(entry.path(), entry.metadata()?.ino());
        }
        Ok(())
    })?;
    let packed = common_dir.join("packed-refs.lock");
    if let Ok(meta) = packed.symlink_metadata() {
        look(packed, meta.ino());
    }
    Ok(found)
}

/// Packs that were linked but whose `.idx` is not there yet serve nobody; nor does the `.keep` of a dead push.
fn withdraw_packs(dir: &Path, objects_dir: &Path) -> io::Result<()> {
    let visible = objects_dir.join("pack");
    let entries = match fs::read_dir(dir.join("pack")) {
        Ok(entries) => entries,
        Err(err) if err.kind() == ErrorKind::NotFound => return Ok(()),
        Err(err) => return Err(err),
    };
    for entry in entries {
        let path = entry?.path();
        let Some(name) = path.file_name() else { continue };
        let target = visible.join(name);
        let is_keep = target.extension() == Some(OsStr::new("keep"));
        if is_keep || !target.with_extension("idx").try_exists()? {
            remove_if_same(&path, &target)?;
        }
    }
    Ok(())
}

/// Every lock that somebody dead still holds, and what it is linked from.
pub(super) fn dead_locks(_: &RepositoryLock, places: &Places) -> io::Result<BTreeMap<PathBuf, PathBuf>> {
    let mut locks = BTreeMap::new();
    for entry in fs::read_dir(&places.objects_dir)? {
        let entry = entry?;
        if !entry.file_name().as_bytes().starts_with(QUARANTINE_PREFIX.as_bytes()) || !is_dead(&entry.path())? {
            continue;
        }
        for (staged, path) in recorded_locks(&entry.path(), &places.common_dir)? {
            if is_same(&staged, &path)? {
                locks.insert(path, staged);
            }
        }
    }
    Ok(locks)
}

/// After a power cut: take back torn packs that a dead push made visible and that no journal entry names, `named`. They were
/// never synced, and nobody can have built on them: whoever saw them wrote into the journal behind their entry. One that
/// `is_whole` stays: its entry may be gone because all of it was on the disk.
pub(super) fn withdraw_unnamed(
    _: &RepositoryLock,
    places: &Places,
    named: &HashSet<&str>,
    is_whole: &dyn Fn(&Path) -> bool,
) -> io::Result<()> {
    let visible = places.objects_dir.join("pack");
    for entry in fs::read_dir(&places.objects_dir)? {
        let entry = entry?;
        let ours = entry.path().join("pack");
        if !entry.file_name().as_bytes().starts_with(QUARANTINE_PREFIX.as_bytes()) || !ours.exists() || !is_dead(&entry.path())? {
            continue;
        }
        for index in fs::read_dir(&ours)?.flatten().map(|entry| entry.path()).filter(|path| path.extension() == Some(OsStr::new("idx"))) {
            let Some(name) = index.file_stem().and_then(OsStr::to_str).filter(|name| !named.contains(name)) else { continue };
            let file = |ending: &str| visible.join(format!("{name}.{ending}"));
            let stays = is_whole(&file("pack")) && is_whole(&file("idx"));
            for ending in PACK_ENDINGS.iter().rev().filter(|ending| !stays || **ending == "rev" && !is_whole(&file(ending))) {
                if remove_if_same(&ours.join(format!("{name}.{ending}")), &file(ending))? {
                    tracing::info!(name, ending, "took back what a power cut left of a push");
                }
            }
        }
    }
    Ok(())
}

/// Remove `path` if it is the same inode as `staged`, which only its maker can have brought about.
pub(super) fn remove_if_same(staged: &Path, path: &Path) -> io::Result<bool> {
    if !is_same(staged, path)? {
        return Ok(false);
    }
    match fs::remove_file(path) {
        Ok(()) => Ok(true),
        Err(err) if err.kind() == ErrorKind::NotFound => Ok(false),
        Err(err) => Err(err),
    }
}

pub(super) fn is_same(one: &Path, other: &Path) -> io::Result<bool> {
    let inode = |path: &Path| match fs::symlink_metadata(path) {
        Ok(metadata) => Ok(Some((metadata.dev(), metadata.ino()))),
        Err(err) if matches!(err.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => Ok(None),
        Err(err) => Err(err),
    };
    Ok(match (inode(one)?, inode(other)?) {
        (Some(one), Some(other)) => one == other,
        _ => false,
    })
}

/// Bring everything on the file system that `path` lies on to the disk.
pub(super) fn sync_file_system(path: &Path) -> io::Result<()> {
    Ok(rustix::fs::syncfs(File::open(path)?)?)
}

/// Bring a folder's entries to the disk.
pub(super) fn sync_folder(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_that_is_held_too_long_is_an_error_without_a_path() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = || dir.path().to_owned();
        let places = Places { git_dir: path(), common_dir: path(), objects_dir: path() };
        let held = RepositoryLock::acquire(&places).expect("free");
        let Err(Error::InTheWay(what)) = RepositoryLock::acquire_within(&places, 10) else { panic!("it is held") };
        assert!(what.contains("try again") && !what.contains('/'), "{what}");
        drop(held);
        RepositoryLock::acquire_within(&places, 10).expect("free again");
    }
}
