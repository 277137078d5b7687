//! Where a repository lies, or could be made.

use super::HashKind;
use crate::store::{Found, Repositories, Repository, RepositoryName};
use std::path::PathBuf;
use std::sync::Arc;

/// The answer of [`Driver::locate`](super::Driver::locate).
#[derive(Clone, Debug)]
pub enum Location {
    /// Look there.
    Place(Place),
    /// The path means nothing.
    NotFound,
}

/// Where to look for a repository.
#[derive(Clone, Debug)]
pub struct Place(Kind);

#[derive(Clone, Debug)]
enum Kind {
    Beneath { repositories: Arc<Repositories>, name: RepositoryName, new_hash: HashKind },
    At(PathBuf),
}

impl Place {
    /// By name beneath a root. Where nothing lies yet, a push may make it if the
    /// [`Grant`](super::Grant) says so; its objects will be hashed with SHA-1 unless [`Place::hashed_with`] says otherwise.
    pub fn beneath(repositories: &Arc<Repositories>, name: RepositoryName) -> Self {
        Self(Kind::Beneath { repositories: repositories.clone(), name, new_hash: HashKind::Sha1 })
    }

    /// The bare repository that lies exactly at `path`; nothing is made there.
    pub fn at(path: impl Into<PathBuf>) -> Self {
        Self(Kind::At(path.into()))
    }

    /// The hash of a repository that is made here.
    #[must_use]
    pub fn hashed_with(self, hash: HashKind) -> Self {
        match self.0 {
            Kind::Beneath { repositories, name, .. } => Self(Kind::Beneath { repositories, name, new_hash: hash }),
            at @ Kind::At(_) => Self(at),
        }
    }

    /// The folder of repositories and the name in it that a repository may be made, renamed or deleted by, and its hash if it is made.
    pub(super) fn name(&self) -> Option<(&Arc<Repositories>, &RepositoryName, HashKind)> {
        match &self.0 {
            Kind::Beneath { repositories, name, new_hash } => Some((repositories, name, *new_hash)),
            Kind::At(_) => None,
        }
    }

    /// Open what lies there, or begin to make it if `may_create`; `None` where there is nothing. Touches the disk.
    pub(crate) fn open(&self, may_create: bool) -> Result<Option<Repository>, crate::store::Error> {
        match &self.0 {
            Kind::At(path) => match Repository::open(path, crate::store::ConfigScope::RepositoryOnly) {
                Ok(repository) => Ok(Some(repository)),
                Err(crate::store::Error::NotARepository(_)) => Ok(None),
                Err(error) => Err(error),
            },
            Kind::Beneath { repositories, name, new_hash } => match repositories.find(name)? {
                Found::Repository(repository) => Ok(Some(repository)),
                Found::Nothing if may_create => repositories.stage(name, *new_hash).map(Some),
                Found::Nothing => Ok(None),
            },
        }
    }
}
