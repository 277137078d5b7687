//! The seam to whoever decides: which refs this request may see, and which edits it may make.

use super::Changes;
use crate::pack::Bits;
use crate::store::{Refs, Snapshot};
use bstr::BString;
use gix_hash::ObjectId;

/// What an edit does to the value that it really replaces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EditKind {
    /// The ref does not exist yet.
    Create,
    /// The new commit has the old one among its ancestors.
    Update,
    /// The old value would be lost: not a fast-forward, or a tag that moves.
    Rewind,
    /// The ref goes away.
    Delete,
}

/// One edit that a push asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProposedEdit {
    /// Full name, symbolic refs resolved.
    pub name: BString,
    /// The value that the client named as old; null for a creation.
    pub old: ObjectId,
    /// The new value; null for a deletion.
    pub new: ObjectId,
    /// What it amounts to.
    pub kind: EditKind,
}

/// A whole push before anything has changed.
pub struct Proposal<'a> {
    /// All its edits.
    pub edits: &'a [ProposedEdit],
    /// The push options as the client sent them.
    pub push_options: &'a [BString],
    /// The repository as it was, with the push's objects on top.
    pub view: &'a Snapshot,
    /// The push would make this repository.
    pub creates_repository: bool,
    /// What its edits change, found out when it is asked for.
    pub changes: &'a Changes,
}

/// The answer for one edit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Let it happen.
    Allow,
    /// Do not; the sentence is shown behind `ng`.
    Refuse(String),
}

/// Which of some refs may be seen.
#[derive(Clone, Debug)]
pub enum Visibility {
    /// Every one.
    All,
    /// Those whose number (as [`Refs::get`] counts) is set.
    Only(Bits),
}

/// Decides for one request of one user on one repository. Asked synchronously; called once per question.
pub trait Gate: Send + Sync {
    /// Which refs exist for this request. HEAD is visible where the ref it names is, and detached where any ref is.
    fn visible(&self, refs: &Refs) -> Visibility;

    /// One verdict per edit, in order; asked once per push with all its edits.
    fn judge(&self, proposal: &Proposal<'_>) -> Vec<Verdict>;
}

/// Lets everything happen: for standard input and output, where the caller's own rights decide.
#[derive(Clone, Copy, Debug, Default)]
pub struct OpenGate;

impl Gate for OpenGate {
    fn visible(&self, _: &Refs) -> Visibility {
        Visibility::All
    }

    fn judge(&self, proposal: &Proposal<'_>) -> Vec<Verdict> {
        vec![Verdict::Allow; proposal.edits.len()]
    }
}
