//! What can go wrong with pack data, named by whose fault it is.

use crate::base::Cancelled;
use gix_hash::ObjectId;

/// A fault of this floor.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Bytes that a peer sent are not a pack, or not the pack that they promise.
    #[error("{0}")]
    BadPack(String),
    /// An object that a peer sent is one that git's fsck refuses.
    #[error("{why}: {}", reports.join("; "))]
    BadObject {
        /// What git ends with.
        why: String,
        /// What is wrong with it: `object <id>: <message id>: <text>`.
        reports: Vec<String>,
    },
    /// A bound of ours was hit.
    #[error("{what} exceeds the limit of {limit}")]
    Limit {
        /// What was too much, with its unit.
        what: &'static str,
        /// The bound.
        limit: u64,
    },
    /// Stored data is damaged.
    #[error("corrupt repository: {0}")]
    Corrupt(String),
    /// An object that stored data refers to is not there.
    #[error("object {0} is missing")]
    Missing(ObjectId),
    /// Reading or writing failed.
    #[error(transparent)]
    Io(#[from] std::io::Error),
    /// The request was given up.
    #[error(transparent)]
    Cancelled(#[from] Cancelled),
}

impl Error {
    pub(crate) fn corrupt(what: impl Into<String>) -> Self {
        Self::Corrupt(what.into())
    }
}
