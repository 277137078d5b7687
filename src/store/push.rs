//! One push from its first pack byte to its last ref: ingest, look, commit; nothing left behind when it is dropped.

use super::{Error, Repository, Snapshot};
use crate::base::{Cancel, Progress};
use crate::pack::index::{IngestLimits, Ingested};
use bstr::BString;
use gix_hash::ObjectId;
use std::io::Read;

/// One change of one ref.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RefEdit {
    /// Full name.
    pub name: BString,
    /// The value that must be there when the edit happens; null: the ref must not exist.
    pub old: ObjectId,
    /// The value to set; null: delete the ref.
    pub new: ObjectId,
    /// The reflog's message.
    pub message: BString,
}

/// All edits or none, or each on its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CommitMode {
    /// One refusal refuses all.
    Atomic,
    /// Each edit stands or falls alone.
    PerRef,
}

/// Why one edit did not happen; `Display` is what the pusher sees behind `ng`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RefRefusal {
    /// The ref has another value than the edit expects (or exists, or is gone).
    #[error("failed to update ref: somebody else changed it; fetch first")]
    Stale,
    /// A lock that is not ours is held; by path relative to the repository.
    #[error("failed to lock: {0} is held by another process; try again")]
    Locked(String),
    /// A directory/file conflict with this other ref.
    #[error("'{0}' exists; cannot create this ref beside it")]
    Conflict(BString),
    /// The ref's name is not valid.
    #[error("funny refname")]
    BadName,
    /// Another edit of an atomic push was refused.
    #[error("atomic push failure")]
    Atomic,
    /// Writing failed; the log has more.
    #[error("failed to update ref: {0}")]
    Io(String),
}

/// What a commit did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Committed {
    /// Per edit, in order.
    pub results: Vec<Result<(), RefRefusal>>,
    /// The repository came into being with this push.
    pub created: bool,
}

/// A push under way.
pub struct Push {}

impl Push {
    /// Begin: remove what dead owners left, become an owner, pin the base view.
    pub fn begin(repository: &Repository) -> Result<Self, Error> {
        let _ = repository;
        todo!()
    }

    /// Read one pack from `input` into the quarantine: hashed, indexed, thin ones completed. `input` is read to
    /// the pack's trailer and not beyond.
    pub fn ingest(
        &mut self,
        input: &mut (dyn Read + Send),
        limits: &IngestLimits,
        progress: &Progress,
        cancel: &Cancel,
    ) -> Result<Ingested, Error> {
        let _ = (input, limits, progress, cancel);
        todo!()
    }

    /// The repository as it was when the push began, the quarantine on top.
    pub fn view(&self) -> &Snapshot {
        todo!()
    }

    /// How many packs of [`Push::view`] were there before: those with greater numbers are this push's.
    pub fn base_packs(&self) -> u32 {
        todo!()
    }

    /// Make the objects permanent and durable, then edit the refs, durably, then publish a staged repository.
    ///
    /// Every edit requires its old value under lock. When this returns, what the results call done is on disk.
    /// With no edit that succeeds, nothing of the push stays.
    pub fn commit(self, edits: &[RefEdit], mode: CommitMode, identity: &BString) -> Result<Committed, Error> {
        let _ = (edits, mode, identity);
        todo!()
    }
}
