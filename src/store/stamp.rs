//! What the system says of files and folders into "nothing has changed since": how a view is kept from one request to the next.
//!
//! A stamp is taken before its file is read. It tells nothing when the file had changed so shortly before that the next
//! change could bear the same time: then the file is read again. A change through a lock and a rename, as git and we
//! make it, shows in the folder, one in place in the file itself; both are looked at.
//!
//! Limit: clocks of file systems that belong to another machine are taken for ours.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// A file changed within this time before it was looked at may change again without its time of change moving: twice the
/// longest tick of the kernel's coarse clock.
const CLOCK_STEP: Duration = Duration::from_millis(20);
/// The same where times have no parts of a second.
pub(super) const COARSE_CLOCK_STEP: Duration = Duration::from_secs(3);

/// One file or folder at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stamp {
    Absent,
    There {
        device: u64,
        inode: u64,
        bytes: u64,
        modified: (i64, i64),
        changed: (i64, i64),
    },
    /// It cannot be looked at.
    Unknown,
}

impl Stamp {
    fn of(path: &Path) -> Self {
        match path.metadata() {
            Ok(meta) => Self::There {
                device: meta.dev(),
                inode: meta.ino(),
                bytes: meta.len(),
                modified: (meta.mtime(), meta.mtime_nsec()),
                changed: (meta.ctime(), meta.ctime_nsec()),
            },
            Err(err) if matches!(err.kind(), std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory) => Self::Absent,
            Err(_) => Self::Unknown,
        }
    }

    /// Whether a change after `now` is sure to give another stamp.
    fn tells(&self, now: Duration) -> bool {
        let Self::There { changed: (seconds, nanos), .. } = *self else { return *self == Self::Absent };
        let at = u64::try_from(seconds).ok().zip(u32::try_from(nanos).ok()).map(|(seconds, nanos)| Duration::new(seconds, nanos));
        // No part of a second: the file system counts in whole ones, or in two.
        let step = if nanos == 0 { COARSE_CLOCK_STEP } else { CLOCK_STEP };
        at.is_some_and(|at| at + step < now)
    }
}

/// Which file lies at a path. It tells nothing of changes in place: for files that are never changed so, whose times move all
/// the same, since git sets those of a pack when it would write what lies in it (`object-file.c`: `freshen_packed_object`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FileIdentity {
    device: u64,
    inode: u64,
    bytes: u64,
}

impl FileIdentity {
    /// That of the file at `path`, where there is one that can be looked at.
    pub(super) fn of(path: &Path) -> Option<Self> {
        let meta = path.metadata().ok()?;
        Some(Self { device: meta.dev(), inode: meta.ino(), bytes: meta.len() })
    }
}

/// Files and folders that some view was made of.
#[derive(Clone, Debug, Default)]
pub(super) struct Stamps {
    /// `None`: nobody will ask.
    seen: Option<Vec<(PathBuf, Stamp)>>,
    unclear: bool,
}

impl Stamps {
    /// To be asked later.
    pub(super) fn new() -> Self {
        Self { seen: Some(vec![]), unclear: false }
    }

    /// For a view that is used once: nothing is looked at.
    pub(super) fn off() -> Self {
        Self::default()
    }

    /// `path` is about to be read.
    pub(super) fn note(&mut self, path: &Path) {
        let Some(seen) = &mut self.seen else { return };
        if self.unclear {
            return;
        }
        let stamp = Stamp::of(path);
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        self.unclear |= !stamp.tells(now);
        seen.push((path.to_owned(), stamp));
    }

    /// What is about to be read can change without any of the stamps changing.
    pub(super) fn give_up(&mut self) {
        self.unclear = true;
    }

    /// Whether all is as it was.
    pub(super) fn hold(&self) -> bool {
        let Some(seen) = &self.seen else { return false };
        !self.unclear && seen.iter().all(|(path, stamp)| Stamp::of(path) == *stamp)
    }

    /// Memory taken, about.
    pub(super) fn held_bytes(&self) -> usize {
        self.seen.iter().flatten().map(|(path, _)| size_of::<(PathBuf, Stamp)>() + path.as_os_str().len()).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn noted(paths: &[&Path]) -> Stamps {
        let mut stamps = Stamps::new();
        paths.iter().for_each(|path| stamps.note(path));
        stamps
    }

    fn settle() {
        std::thread::sleep(CLOCK_STEP * 3);
    }

    #[test]
    fn a_change_in_place_a_rename_a_new_file_and_a_lost_one_are_seen() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        let changes: [(&str, &dyn Fn()); 5] = [
            ("in place, same length", &|| std::fs::write(at("a"), "2").unwrap()),
            ("renamed over", &|| {
                std::fs::write(at("new"), "3").unwrap();
                std::fs::rename(at("new"), at("a")).unwrap();
            }),
            ("a new file", &|| std::fs::write(at("absent"), "").unwrap()),
            ("a lost file", &|| std::fs::remove_file(at("a")).unwrap()),
            ("times set back", &|| {
                let file = std::fs::File::options().write(true).open(at("a")).unwrap();
                let modified = file.metadata().unwrap().modified().unwrap();
                std::io::Write::write_all(&mut &file, b"4").unwrap();
                file.set_modified(modified).unwrap();
            }),
        ];
        for (what, change) in changes {
            std::fs::write(at("a"), "1").unwrap();
            let _ = std::fs::remove_file(at("absent"));
            settle();
            let stamps = noted(&[&at("a"), &at("absent")]);
            assert!(stamps.hold(), "before: {what}");
            change();
            assert!(!stamps.hold(), "{what}");
        }
    }

    #[test]
    fn a_file_that_has_just_changed_is_not_relied_on() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("a"), "1").unwrap();
        assert!(!noted(&[dir.path()]).hold());
        settle();
        assert!(noted(&[dir.path()]).hold());
        assert!(!Stamps::off().hold(), "nothing was looked at");
    }
    #[test]
    fn where_times_have_no_parts_of_a_second_more_time_must_have_passed() {
        let stamp = |nanos| Stamp::There { device: 1, inode: 1, bytes: 1, modified: (0, 0), changed: (100, nanos) };
        let at = Duration::from_millis;
        assert!(!stamp(0).tells(at(102_900)), "the next change may come in the same tick of two seconds");
        assert!(stamp(0).tells(at(103_100)));
        assert!(!stamp(1_000_000).tells(at(100_015)));
        assert!(stamp(1_000_000).tells(at(100_030)));
    }
}
