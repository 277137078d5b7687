//! A repository that is only being made into one in its place, or into nothing.
//!
//! It is made whole in `.packmule/new/<random>` and renamed into its place when the first push succeeds, so that
//! nobody ever sees half of it and a refused creation leaves no folder. Only the holder of the root's lock makes
//! and sweeps there. Source of the files: gitrepository-layout, as `git init --bare` makes them, without samples.

use super::listing::Listing;
use super::loose_ref::folders_from;
use super::repositories::git_dir_in;
use super::{ConfigScope, Error, Repository};
use bstr::{BStr, ByteSlice};
use rustix::fs::{CWD, RenameFlags};
use std::fs::{DirBuilder, File};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// How often a folder above is made again because somebody else's failure took it away.
const TRIES_MAX: usize = 8;

/// What is staged; its last owner removes it unless it was published.
#[derive(Debug)]
pub(super) struct Staged {
    path: PathBuf,
    root: PathBuf,
    /// To be told when it is in its place.
    listing: Arc<Listing>,
    published: AtomicBool,
}

impl Drop for Staged {
    fn drop(&mut self) {
        if !*self.published.get_mut()
            && let Err(err) = remove_all(&self.path)
        {
            tracing::warn!(path = %self.path.display(), error = %err, "cannot remove a repository that was not made; the next start sweeps it away");
        }
    }
}

/// Remove what a crash left in `state`; the caller holds the root's lock. What cannot be removed is in nobody's way.
pub(super) fn sweep(state: &Path) {
    let new = state.join("new");
    if let Err(err) = remove_all(&new) {
        tracing::warn!(folder = %new.display(), %err, "what a crash or the trash left cannot be removed: somebody else's files?");
    }
}

/// Remove the folder at `path`, if it is there, with all in it. What the standard library has for this keeps a file
/// open per level, and the names of refs in what was staged are a pusher's.
pub(super) fn remove_all(path: &Path) -> std::io::Result<()> {
    if path.is_symlink() {
        return std::fs::remove_file(path); // never what it leads to
    }
    for folder in folders_from(path, |file| absent_is_fine(std::fs::remove_file(file.path())))?.iter().rev() {
        absent_is_fine(std::fs::remove_dir(folder))?;
    }
    Ok(())
}

fn absent_is_fine(result: std::io::Result<()>) -> std::io::Result<()> {
    result.or_else(|err| if err.kind() == ErrorKind::NotFound { Ok(()) } else { Err(err) })
}

/// Make an empty bare repository within `state`, to be published as `place` beneath `root`.
pub(super) fn stage(state: &Path, root: &Path, place: &Path, hash: gix_hash::Kind, listing: Arc<Listing>) -> Result<Repository, Error> {
    let new = state.join("new");
    DirBuilder::new().recursive(true).mode(0o700).create(&new).map_err(Error::io(format!("make {}", new.display())))?;
    let random = getrandom::u64().map_err(|err| Error::io("get random bytes")(std::io::Error::other(err.to_string())))?;
    let path = new.join(format!("{random:016x}"));
    std::fs::create_dir(&path).map_err(Error::io(format!("make {}", path.display())))?;
    let staged = Arc::new(Staged { path: path.clone(), root: root.to_owned(), listing, published: AtomicBool::new(false) });
    write_files(&path, hash).map_err(Error::io(format!("make a repository in {}", path.display())))?;
    let mut repository = Repository::open(&path, ConfigScope::RepositoryOnly)?;
    repository.staged_for = Some(place.to_owned());
    repository.staged = Some(staged);
    Ok(repository)
}

fn write_files(path: &Path, hash: gix_hash::Kind) -> std::io::Result<()> {
    for folder in ["objects/info", "objects/pack", "refs/heads", "refs/tags", "info"] {
        std::fs::create_dir_all(path.join(folder))?;
    }
    let (version, extensions) = match hash {
        gix_hash::Kind::Sha1 => (0, String::new()),
        other => (1, format!("[extensions]\n\tobjectformat = {other}\n")),
    };
    let config = format!("[core]\n\trepositoryformatversion = {version}\n\tfilemode = true\n\tbare = true\n{extensions}");
    std::fs::write(path.join("config"), config)?;
    std::fs::write(path.join("HEAD"), "ref: refs/heads/main\n")?;
    std::fs::write(path.join("description"), "Unnamed repository; edit this file 'description' to name the repository.\n")
}

impl Repository {
    /// Put a staged repository into its place, durably, with HEAD at `head_branch` (a full name) where one is given.
    ///
    /// Returns its git directory; this handle still means the old place, so open it anew.
    ///
    /// # Errors
    /// [`Error::AlreadyCreated`] when a repository lies there by now, or where a folder above should be; [`Error::InTheWay`]
    /// for anything else there. After a failure no folder stays that this call made.
    pub(super) fn publish(&self, head_branch: Option<&BStr>) -> Result<PathBuf, Error> {
        let (Some(place), Some(staged)) = (&self.staged_for, &self.staged) else {
            return Err(Error::InTheWay("the repository is in its place already".into()));
        };
        if let Some(branch) = head_branch {
            let path = self.git_dir.join("HEAD");
            let mut line = b"ref: ".to_vec();
            line.extend_from_slice(branch.as_bytes());
            line.push(b'\n');
            File::create(&path).and_then(|mut file| file.write_all(&line)).map_err(Error::io(format!("write {}", path.display())))?;
        }
        sync_all(&self.git_dir)?;
        let made = put_in_place(&staged.path, &staged.root, place)?;
        staged.published.store(true, Ordering::Release);
        staged.listing.change();
        sync_names(&made, place)?;
        Ok(place.clone())
    }
}

/// Bring the name of what was put into `place`, and of the folders that were `made` for it, to the disk.
pub(super) fn sync_names(made: &[PathBuf], place: &Path) -> Result<(), Error> {
    made.iter().map(PathBuf::as_path).chain([place]).filter_map(Path::parent).try_for_each(sync)
}

/// Rename `from` to `place`; returns the folders above it that were made for it. None of them stays after a failure.
pub(super) fn put_in_place(from: &Path, root: &Path, place: &Path) -> Result<Vec<PathBuf>, Error> {
    let mut made = Vec::new();
    match try_put_in_place(from, root, place, &mut made) {
        Ok(()) => Ok(made),
        Err(err) => {
            // Innermost first; one that somebody else uses by now is not empty and stays.
            for folder in made.iter().rev() {
                let _ = std::fs::remove_dir(folder);
            }
            Err(err)
        }
    }
}

fn try_put_in_place(from: &Path, root: &Path, place: &Path, made: &mut Vec<PathBuf>) -> Result<(), Error> {
    let parent = place.parent().ok_or_else(|| Error::NotARepository(place.to_owned()))?;
    for _ in 0..TRIES_MAX {
        if !make_folders(root, parent, made)? {
            continue;
        }
        if git_dir_in(&other_spelling(place))?.is_some() {
            return Err(already_created(place, root));
        }
        match rename_new(from, place) {
            Ok(()) => return Ok(()),
            Err(err) if matches!(err.kind(), ErrorKind::AlreadyExists | ErrorKind::DirectoryNotEmpty | ErrorKind::NotADirectory) => {
                return Err(already_created(place, root));
            }
            Err(err) if err.kind() == ErrorKind::NotFound && from.is_dir() => {}
            Err(err) => return Err(Error::io(format!("rename {} to {}", from.display(), place.display()))(err)),
        }
    }
    Err(Error::InTheWay(format!("the folder of {} vanishes again and again; push again", shown(place, root))))
}

/// Where a repository of the same name may lie, too: with or without `.git`.
fn other_spelling(place: &Path) -> PathBuf {
    match place.extension() {
        Some(ending) if ending == "git" => place.with_extension(""),
        _ => {
            let mut name = place.as_os_str().to_owned();
            name.push(".git");
            name.into()
        }
    }
}

/// Somebody else won the race to make the repository at `place`.
fn already_created(place: &Path, root: &Path) -> Error {
    let name = place.strip_prefix(root).unwrap_or(place).to_string_lossy();
    Error::AlreadyCreated { name: name.strip_suffix(".git").unwrap_or(&name).to_owned() }
}

/// A place as a pusher may see it: without the root.
fn shown(path: &Path, root: &Path) -> String {
    format!("'{}'", path.strip_prefix(root).unwrap_or(path).display())
}

/// Make `parent` and the folders between it and `root`; `false` when one of them vanished meanwhile.
fn make_folders(root: &Path, parent: &Path, made: &mut Vec<PathBuf>) -> Result<bool, Error> {
    let mut folder = root.to_owned();
    for component in parent.strip_prefix(root).into_iter().flat_map(Path::components) {
        folder.push(component);
        match std::fs::create_dir(&folder) {
            Ok(()) => made.push(folder.clone()),
            Err(err) if err.kind() == ErrorKind::AlreadyExists => {}
            Err(err) if err.kind() == ErrorKind::NotFound => return Ok(false),
            Err(err) => return Err(Error::io(format!("make {}", folder.display()))(err)),
        }
        if git_dir_in(&folder)?.is_some() {
            return Err(already_created(&folder, root));
        }
        match folder.symlink_metadata() {
            Ok(meta) if meta.is_dir() => {}
            Ok(_) => return Err(Error::InTheWay(format!("{} is no folder", shown(&folder, root)))),
            Err(_) => return Ok(false),
        }
    }
    Ok(true)
}

/// Rename a folder to a name that nothing has.
fn rename_new(from: &Path, to: &Path) -> std::io::Result<()> {
    match rustix::fs::renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
        // Some file systems cannot; a plain rename replaces at most an empty folder.
        Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOSYS) => std::fs::rename(from, to),
        result => result.map_err(Into::into),
    }
}

pub(super) fn sync(path: &Path) -> Result<(), Error> {
    File::open(path).and_then(|file| file.sync_all()).map_err(Error::io(format!("sync {}", path.display())))
}

/// Sync every file and folder beneath `folder`, and itself; what is in a folder before it.
fn sync_all(folder: &Path) -> Result<(), Error> {
    let sync_file = |entry: &std::fs::DirEntry| {
        if entry.file_type()?.is_file() { File::open(entry.path())?.sync_all() } else { Ok(()) }
    };
    let folders = folders_from(folder, sync_file).map_err(Error::io(format!("sync what is in {}", folder.display())))?;
    folders.iter().rev().try_for_each(|folder| sync(folder))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_rename_leaves_no_folder_but_those_that_were_there() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path();
        std::fs::create_dir(root.join("there")).unwrap();
        let place = root.join("there/a/b/x.git");
        assert!(put_in_place(&root.join("absent"), root, &place).is_err());
        assert!(root.join("there").is_dir() && !root.join("there/a").exists());
        std::fs::create_dir(root.join("from")).unwrap();
        let made = put_in_place(&root.join("from"), root, &place).unwrap();
        assert_eq!(made, [root.join("there/a"), root.join("there/a/b")]);
        assert!(place.is_dir());
    }

    #[test]
    fn nothing_is_replaced_not_even_an_empty_folder() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["from", "to"] {
            std::fs::create_dir(dir.path().join(name)).unwrap();
        }
        assert_eq!(rename_new(&dir.path().join("from"), &dir.path().join("to")).unwrap_err().kind(), ErrorKind::AlreadyExists);
    }
}
