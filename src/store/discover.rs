//! The words of a drop-in's command line into a repository, by git's rules (`path.c`: `enter_repo`).

use super::{Error, Repository};
use std::path::Path;

/// How to look for the repository that a drop-in was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Discover {
    /// Take the path itself only (`--strict`).
    Strict,
    /// Also try `path/.git`, `path.git/.git` and `path.git`, follow `gitfile`s, expand `~user`.
    Guess,
}

/// Find and open the repository meant by `path` with git's own configuration (system, global, repository, environment).
pub fn discover(path: &Path, how: Discover) -> Result<Repository, Error> {
    let _ = (path, how);
    todo!()
}
