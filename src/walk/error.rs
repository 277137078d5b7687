//! What can go wrong on a walk.

use crate::base::Cancelled;
use crate::pack;
use gix_hash::ObjectId;

/// A fault of this floor.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Stored objects are damaged or missing.
    #[error(transparent)]
    Pack(#[from] pack::Error),
    /// An object is not what another one says it is.
    #[error("object {id} is a {found}, not a {wanted}")]
    WrongKind {
        /// The object.
        id: ObjectId,
        /// What it should be.
        wanted: pack::Kind,
        /// What it is.
        found: pack::Kind,
    },
    /// An object cannot be parsed.
    #[error("object {id} is no valid {kind}")]
    Malformed {
        /// The object.
        id: ObjectId,
        /// Its type.
        kind: pack::Kind,
    },
    /// More of something than can be held.
    #[error("more than {max} {what}")]
    TooMany {
        /// What.
        what: &'static str,
        /// How many could be.
        max: usize,
    },
    /// The request was given up.
    #[error(transparent)]
    Cancelled(#[from] Cancelled),
}

impl Error {
    pub(crate) fn missing(id: ObjectId) -> Self {
        Self::Pack(pack::Error::Missing(id))
    }
}
