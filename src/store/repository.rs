//! A repository on disk whose format is understood: the handle from which snapshots and pushes begin.

use super::{Error, Push, Settings, Snapshot};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Which configuration counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConfigScope {
    /// As git's own programs: system, global, repository, includes, environment, `safe.directory`.
    Git,
    /// Only the repository's own `config`, as data: known keys, no includes, nothing executed.
    RepositoryOnly,
}

/// One repository.
#[derive(Clone, Debug)]
pub struct Repository {
    pub(super) git_dir: PathBuf,
    pub(super) hash: gix_hash::Kind,
    pub(super) settings: Arc<Settings>,
    /// Where a repository that is only being made will lie, once a push into it succeeds.
    pub(super) staged_for: Option<PathBuf>,
}

impl Repository {
    /// Open the repository whose git directory is exactly `git_dir`.
    ///
    /// # Errors
    /// [`Error::NotARepository`], [`Error::UnknownFormat`], [`Error::Config`], [`Error::DubiousOwnership`], [`Error::Io`].
    pub fn open(git_dir: &Path, scope: ConfigScope) -> Result<Self, Error> {
        let _ = (git_dir, scope);
        todo!()
    }

    /// The folder that holds `HEAD`, `objects` and `refs`.
    pub fn git_dir(&self) -> &Path {
        &self.git_dir
    }

    /// SHA-1 or SHA-256.
    pub fn hash_kind(&self) -> gix_hash::Kind {
        self.hash
    }

    /// git's settings for this repository.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Whether this repository comes into being only with the first push that succeeds.
    pub fn is_staged(&self) -> bool {
        self.staged_for.is_some()
    }

    /// Pin one consistent view of refs and objects.
    pub fn snapshot(&self) -> Result<Snapshot, Error> {
        todo!()
    }

    /// Begin a push.
    pub fn push(&self) -> Result<Push, Error> {
        Push::begin(self)
    }
}
