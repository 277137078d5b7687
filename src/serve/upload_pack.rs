//! A fetch or clone: from the advertisement to the last byte of the pack.

use super::{Error, Gate, Options};
use crate::base::Cancel;
use crate::store::Repository;
use std::io::{Read, Write};

/// What one request did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FetchStatistics {
    /// Objects sent.
    pub objects: u64,
    /// Pack bytes sent.
    pub pack_bytes: u64,
}

/// Serve one conversation. What the peer must hear, an error included, has been written when this returns.
pub fn upload_pack(
    repository: &Repository,
    gate: &dyn Gate,
    options: &Options,
    input: impl Read + Send,
    output: impl Write,
    cancel: &Cancel,
) -> Result<FetchStatistics, Error> {
    let _ = (repository, gate, options, input, output, cancel);
    todo!()
}
