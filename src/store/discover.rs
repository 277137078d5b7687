//! The words of a drop-in's command line into a repository, by git's rules.
//!
//! Source: `path.c`/`setup.c`: `enter_repo`, `is_git_directory`, `read_gitfile`; git-config, "safe.directory".
//! git asks for the right owner when somebody pushes and takes any when somebody fetches; so [`discover`] is
//! for receive-pack and [`discover_any_owner`] for upload-pack.
//! Limits: `GIT_OBJECT_DIRECTORY` is not looked at.

use super::config::{self, Env};
use super::{ConfigScope, Error, Repository};
use bstr::ByteSlice;
use std::ffi::OsStr;
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// How to look for the repository that a drop-in was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Discover {
    /// Take the path itself only (`--strict`).
    Strict,
    /// Also try `path/.git`, `path.git/.git` and `path.git`, follow `gitfile`s, expand `~user`.
    Guess,
}

/// Longest `gitfile` that is read, in bytes (`setup.c`: `read_gitfile_gently`).
const GITFILE_BYTES_MAX: u64 = 1 << 20;

/// Find and open the repository meant by `path` with git's own configuration (system, global, repository, environment).
///
/// # Errors
/// Those of [`Repository::open`]; [`Error::DubiousOwnership`] when it belongs to somebody else and `safe.directory` does not name it.
pub fn discover(path: &Path, how: Discover) -> Result<Repository, Error> {
    enter(path, how, true)
}

/// As [`discover`], whoever owns the repository: git's rule for fetches.
pub fn discover_any_owner(path: &Path, how: Discover) -> Result<Repository, Error> {
    enter(path, how, false)
}

fn enter(path: &Path, how: Discover, owner_counts: bool) -> Result<Repository, Error> {
    let none = || Error::NotARepository(path.to_owned());
    let found = match how {
        Discover::Strict => path.to_owned(),
        Discover::Guess => guess(path).ok_or_else(none)?,
    };
    let gitfile = read_gitfile(&found)?;
    if owner_counts {
        check_owner(&found, gitfile.as_deref(), &config::process_env)?;
    }
    // A guess, and a folder that a file leads to, have been looked at.
    if how == Discover::Strict && gitfile.is_none() && !is_git_dir(&found) {
        return Err(none());
    }
    let git_dir = std::path::absolute(gitfile.unwrap_or(found)).map_err(Error::io("find the working folder"))?;
    Repository::open_git_dir(&git_dir, ConfigScope::Git)
}

fn guess(path: &Path) -> Option<PathBuf> {
    let bytes = path.as_os_str().as_bytes();
    let base = match bytes.trim_end_with(|end| end == '/') {
        b"" if !bytes.is_empty() => b"/",
        base => base,
    };
    let base = match base.first()? {
        b'~' => expand_home(base, &config::process_env)?.into_os_string(),
        _ => OsStr::from_bytes(base).to_owned(),
    };
    ["/.git", "", ".git/.git", ".git"].iter().find_map(|suffix| {
        let mut candidate = base.clone();
        candidate.push(suffix);
        let candidate = PathBuf::from(candidate);
        let meta = std::fs::metadata(&candidate).ok()?;
        (meta.is_file() || meta.is_dir() && is_git_dir(&candidate)).then_some(candidate)
    })
}

/// `~/rest` and `~user/rest`.
fn expand_home(path: &[u8], env: Env<'_>) -> Option<PathBuf> {
    let (user, rest) = path.strip_prefix(b"~")?.split_once_str("/").unwrap_or((&path[1..], b""));
    let home = if user.is_empty() { env("HOME").map(PathBuf::from)? } else { config::home_of(user.to_str().ok()?)? };
    Some(if rest.is_empty() { home } else { home.join(OsStr::from_bytes(rest)) })
}

/// Whether `path` holds a usable `HEAD` and the folders `objects` and `refs`.
pub(super) fn is_git_dir(path: &Path) -> bool {
    let Ok(common) = common_dir(path) else { return false };
    let enter = |name: &str| rustix::fs::access(common.join(name), rustix::fs::Access::EXEC_OK).is_ok();
    is_head(&path.join("HEAD")) && enter("objects") && enter("refs")
}

fn is_head(path: &Path) -> bool {
    let Ok(meta) = std::fs::symlink_metadata(path) else { return false };
    if meta.is_symlink() {
        return std::fs::read_link(path).is_ok_and(|target| target.as_os_str().as_bytes().starts_with(b"refs/"));
    }
    let mut text = Vec::new();
    if std::fs::File::open(path).and_then(|file| file.take(255).read_to_end(&mut text)).is_err() {
        return false;
    }
    match text.strip_prefix(b"ref:") {
        Some(target) => target.trim_start().starts_with(b"refs/"),
        None => text.get(..40).is_some_and(|hex| hex.iter().all(u8::is_ascii_hexdigit)),
    }
}

/// Where refs, objects and `config` lie: for a linked worktree the folder that its file `commondir` names, else `git_dir` itself.
pub(super) fn common_dir(git_dir: &Path) -> Result<PathBuf, Error> {
    let file = git_dir.join("commondir");
    match std::fs::read(&file) {
        Ok(text) => {
            let joined = git_dir.join(OsStr::from_bytes(text.trim_end_with(|end| matches!(end, '\n' | '\r'))));
            joined.canonicalize().map_err(Error::io(format!("find {}", joined.display())))
        }
        Err(err) if err.kind() == std::io::ErrorKind::NotFound => Ok(git_dir.to_owned()),
        Err(err) if err.kind() == std::io::ErrorKind::NotADirectory => Ok(git_dir.to_owned()),
        Err(err) => Err(Error::io(format!("read {}", file.display()))(err)),
    }
}

/// The git directory that a `gitfile` names; `None` when `path` is a folder or nothing.
fn read_gitfile(path: &Path) -> Result<Option<PathBuf>, Error> {
    let bad = || Error::NotARepository(path.to_owned());
    let Ok(meta) = std::fs::metadata(path) else { return Ok(None) };
    if meta.is_dir() {
        return Ok(None);
    }
    if !meta.is_file() || meta.len() > GITFILE_BYTES_MAX {
        return Err(bad());
    }
    let text = std::fs::read(path).map_err(Error::io(format!("read {}", path.display())))?;
    let target = text.strip_prefix(b"gitdir: ").ok_or_else(bad)?.trim_end_with(|end| matches!(end, '\n' | '\r'));
    let target = path.parent().unwrap_or(Path::new("")).join(OsStr::from_bytes(target));
    if !is_git_dir(&target) {
        return Err(bad());
    }
    target.canonicalize().map(Some).map_err(Error::io(format!("find {}", target.display())))
}

/// Refuse a repository of somebody else unless protected configuration calls it safe.
pub(super) fn check_owner(path: &Path, gitfile: Option<&Path>, env: Env<'_>) -> Result<(), Error> {
    let strict =
        env("GIT_TEST_ASSUME_DIFFERENT_OWNER").is_some_and(|value| gix_config::Boolean::try_from(value).is_ok_and(|value| value.0));
    if !strict && gitfile.is_none_or(|gitfile| is_ours(gitfile, env)) && is_ours(path, env) {
        return Ok(());
    }
    let refused = || Error::DubiousOwnership(gitfile.unwrap_or(path).to_owned());
    let real = path.canonicalize().map_err(|_| refused())?;
    let mut safe = false;
    for entry in config::read_protected(env)?.strings("safe.directory").unwrap_or_default() {
        match entry.as_slice() {
            b"" => safe = false,
            b"*" => safe = true,
            entry => safe |= names(entry, &real, env),
        }
    }
    if safe { Ok(()) } else { Err(refused()) }
}

fn is_ours(path: &Path, env: Env<'_>) -> bool {
    let Ok(meta) = std::fs::symlink_metadata(path) else { return false };
    let user = rustix::process::geteuid();
    if user.is_root() && meta.uid() != 0 {
        return env("SUDO_UID").and_then(|value| value.to_str()?.parse().ok()) == Some(meta.uid());
    }
    meta.uid() == user.as_raw()
}

/// Whether one value of `safe.directory` names `real`: the path itself, or `folder/*` for all beneath a folder.
fn names(entry: &[u8], real: &Path, env: Env<'_>) -> bool {
    let path = if entry.starts_with(b"~") { expand_home(entry, env) } else { Some(PathBuf::from(OsStr::from_bytes(entry))) };
    let Some(path) = path.filter(|path| path.is_absolute() || path == Path::new(".")) else { return false };
    if path.ends_with("*") {
        return path
            .parent()
            .and_then(|folder| folder.canonicalize().ok())
            .is_some_and(|folder| real != folder && real.starts_with(folder));
    }
    path.canonicalize().is_ok_and(|path| path == real)
}

#[cfg(test)]
mod tests {
    use super::super::testing::{git, init};
    use super::*;
    use std::ffi::OsString;

    #[test]
    fn suffixes_are_tried_in_gits_order() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        init(&at("bare.git"), &["--bare"]);
        init(&at("tree"), &[]);
        init(&at("both"), &[]);
        init(&at("both.git"), &["--bare"]);
        for (asked, found) in [
            ("bare", Some("bare.git")),
            ("bare.git", Some("bare.git")),
            ("bare.git//", Some("bare.git")),
            ("tree", Some("tree/.git")),
            ("tree/.git", Some("tree/.git")),
            ("both", Some("both/.git")),
            ("none", None),
        ] {
            let discovered = discover(&at(asked), Discover::Guess).ok().map(|found| found.git_dir().to_owned());
            assert_eq!(discovered, found.map(at), "{asked}");
        }
        assert!(discover(&at("bare"), Discover::Strict).is_err());
        assert!(discover(&at("tree"), Discover::Strict).is_err());
        assert_eq!(discover(&at("bare.git"), Discover::Strict).unwrap().git_dir(), at("bare.git"));
    }

    #[test]
    fn a_gitfile_is_followed_and_a_plain_file_is_none() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        init(&at("main"), &[]);
        git(&at("main"), &["commit", "--allow-empty", "-qm", "c"]);
        git(&at("main"), &["worktree", "add", "-q", "../linked"]);
        let linked = discover(&at("linked"), Discover::Guess).unwrap();
        assert_eq!(linked.git_dir(), at("main/.git/worktrees/linked").canonicalize().unwrap());
        assert_eq!(linked.common_dir(), at("main/.git").canonicalize().unwrap());
        std::fs::write(at("file"), "text").unwrap();
        assert!(matches!(discover(&at("file"), Discover::Guess), Err(Error::NotARepository(_))));
    }

    #[test]
    fn a_repository_of_somebody_else_needs_to_be_called_safe() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().canonicalize().unwrap().join("r.git");
        init(&path, &["--bare"]);
        let with = |directory: &str| {
            let directory = directory.to_owned();
            move |name: &str| {
                Some(OsString::from(match name {
                    "GIT_TEST_ASSUME_DIFFERENT_OWNER" | "GIT_CONFIG_NOSYSTEM" | "GIT_CONFIG_COUNT" => "1",
                    "GIT_CONFIG_GLOBAL" => "/dev/null",
                    "GIT_CONFIG_KEY_0" => "safe.directory",
                    "GIT_CONFIG_VALUE_0" => &directory,
                    _ => return None,
                }))
            }
        };
        let parent = path.parent().unwrap().to_str().unwrap();
        for (directory, safe) in [
            ("", false),
            ("*", true),
            (path.to_str().unwrap(), true),
            ("/elsewhere", false),
            (&format!("{parent}/*"), true),
            (parent, false),
        ] {
            assert_eq!(check_owner(&path, None, &with(directory)).is_ok(), safe, "{directory}");
        }
    }
}
