//! What can keep a server from starting, named by whose fault it is.

use std::path::PathBuf;

/// A fault of this floor. `Display` is for the person who starts the server.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The address cannot be listened on.
    #[error("cannot listen on {address}: {source}")]
    Bind {
        /// As it was given.
        address: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// A server without a host key cannot prove who it is.
    #[error("the server has no host key")]
    NoHostKey,
    /// A server without a driver could let nobody in.
    #[error("the server has no driver")]
    NoDriver,
    /// A host key that others can read, or that is none.
    #[error("{}: {why}", .path.display())]
    HostKey {
        /// The key's file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// Reading or writing failed.
    #[error("{}: {source}", .path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
}
