//! Names beneath a root into repositories: find, list, make.

use super::{Error, Repository};
use std::path::{Path, PathBuf};

/// A repository's name: path components joined by `/`, without leading slash and without `.git`.
///
/// `x`, `/x`, `x.git` and `/x.git/` are the same name. A component that begins with a dot, is empty, holds a
/// control character, a backslash or a colon, or is longer than 255 bytes is refused, as is a name of more than
/// 4,096 bytes.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RepositoryName(String);

impl RepositoryName {
    /// Normalise a path as a client sends it.
    pub fn parse(path: &str) -> Result<Self, Error> {
        let _ = path;
        todo!()
    }

    /// `group/name`.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// What lies at a name.
#[derive(Clone, Debug)]
pub enum Found {
    /// A repository.
    Repository(Repository),
    /// Nothing: one could be made.
    Nothing,
}

/// All repositories beneath one root.
#[derive(Debug)]
pub struct Repositories {
    root: PathBuf,
}

impl Repositories {
    /// Take the folder `root` for serving: make it if it is not there, hold its lock (`.packmule/lock`), and sweep
    /// away repositories that a crash left half made.
    ///
    /// # Errors
    /// [`Error::InTheWay`] when another server holds the root.
    pub fn open(root: &Path) -> Result<Self, Error> {
        Ok(Self { root: root.to_owned() })
    }

    /// The root.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Files of our own: host key, lock, repositories being made.
    pub fn state_dir(&self) -> PathBuf {
        self.root.join(".packmule")
    }

    /// The repository called `name`, on disk `name.git` or `name` (a bare one, or one with a work tree).
    ///
    /// Resolved without following links out of the root. A component that is itself a repository ends the path:
    /// nothing is found beneath it. `name` and `name.git` side by side are [`Error::InTheWay`].
    pub fn find(&self, name: &RepositoryName) -> Result<Found, Error> {
        let _ = name;
        todo!()
    }

    /// Begin to make the repository `name`: it lies aside until a push into it commits, and vanishes if none does.
    pub fn stage(&self, name: &RepositoryName, hash: gix_hash::Kind) -> Result<Repository, Error> {
        let _ = (name, hash);
        todo!()
    }

    /// The names of all repositories, sorted.
    pub fn list(&self) -> Result<Vec<RepositoryName>, Error> {
        todo!()
    }
}
