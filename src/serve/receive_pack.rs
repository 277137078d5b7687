//! A push: from the advertisement to the report.

use super::{Error, Gate, Options};
use crate::base::Cancel;
use crate::store::Repository;
use bstr::BString;
use gix_hash::ObjectId;
use std::io::{Read, Write};

/// What one push did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PushStatistics {
    /// Objects received.
    pub objects: u64,
    /// Pack bytes received.
    pub pack_bytes: u64,
    /// Refs that changed: name, old and new value.
    pub updated: Vec<(BString, ObjectId, ObjectId)>,
    /// The repository came into being.
    pub created: bool,
}

/// Serve one conversation. What the peer must hear, an error included, has been written when this returns.
pub fn receive_pack(
    repository: &Repository,
    gate: &dyn Gate,
    options: &Options,
    input: impl Read + Send,
    output: impl Write,
    cancel: &Cancel,
) -> Result<PushStatistics, Error> {
    let _ = (repository, gate, options, input, output, cancel);
    todo!()
}
