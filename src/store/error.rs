//! What can go wrong with a repository on disk, named by whose fault it is.

use std::path::PathBuf;

/// A fault of this floor. `Display` is for the log: it may name paths.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// There is no repository at this path.
    #[error("'{}' does not appear to be a git repository", .0.display())]
    NotARepository(PathBuf),
    /// The repository's format is one that this version does not understand.
    #[error("{}: {what}", .path.display())]
    UnknownFormat {
        /// The repository.
        path: PathBuf,
        /// What is not understood, by its name in the repository's `config`.
        what: String,
    },
    /// A name that no repository may have.
    #[error("'{name}' is no name for a repository: {why}")]
    BadName {
        /// As the client sent it.
        name: String,
        /// Which rule it breaks.
        why: &'static str,
    },
    /// Somebody else's doing is in the way: a lock, a second server, two folders of one name. Clients may be shown it,
    /// so it names no path, but for the root's in what only the one who starts a server meets.
    #[error("{0}")]
    InTheWay(String),
    /// While a push made a repository, somebody else made it too and was faster; the sentence is for the pusher.
    #[error("'{name}' was created by somebody else meanwhile; push again")]
    AlreadyCreated {
        /// The repository's name beneath the root.
        name: String,
    },
    /// Configuration that cannot be read.
    #[error("bad configuration: {0}")]
    Config(String),
    /// Settings by which pushes are checked and that cannot be used; in git's words, which pushers see.
    #[error("{0}")]
    Rules(String),
    /// The owner of this repository is somebody else (git's `safe.directory`).
    #[error("detected dubious ownership in repository at '{}'", .0.display())]
    DubiousOwnership(PathBuf),
    /// Stored data is damaged.
    #[error("corrupt repository: {0}")]
    Corrupt(String),
    /// A fault of the packs.
    #[error(transparent)]
    Pack(#[from] crate::pack::Error),
    /// Reading or writing failed.
    #[error("{what}: {source}")]
    Io {
        /// What was being done, with the path.
        what: String,
        /// What the system said.
        source: std::io::Error,
    },
}

impl Error {
    /// An I/O fault while doing `what` (a verb and a path).
    pub fn io(what: impl Into<String>) -> impl FnOnce(std::io::Error) -> Self {
        let what = what.into();
        move |source| Self::Io { what, source }
    }
}
