//! One consistent view of a repository, pinned when a request begins.

use super::{Head, ObjectStore, Refs, Settings};
use gix_hash::ObjectId;
use std::sync::Arc;

/// Refs, objects and settings as they were at one moment; packs that are removed meanwhile stay readable.
///
/// Refs are read before packs are opened, so that every object a ref names is in view.
#[derive(Clone)]
pub struct Snapshot {
    pub(super) state: u64,
    pub(super) refs: Arc<Refs>,
    pub(super) head: Head,
    pub(super) objects: Arc<ObjectStore>,
    pub(super) settings: Arc<Settings>,
    pub(super) shallow: Arc<Vec<ObjectId>>,
    pub(super) hash: gix_hash::Kind,
}

impl Snapshot {
    /// A number for what this view shows, good as a key: two views with the same number show the same, those of two
    /// repositories never have the same.
    pub fn state(&self) -> u64 {
        self.state
    }

    /// All refs but HEAD.
    pub fn refs(&self) -> &Arc<Refs> {
        &self.refs
    }

    /// HEAD.
    pub fn head(&self) -> &Head {
        &self.head
    }

    /// Packs and loose objects.
    pub fn objects(&self) -> &Arc<ObjectStore> {
        &self.objects
    }

    /// git's settings for this repository.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Commits whose parents are not here although they name some (file `shallow`), sorted.
    pub fn shallow(&self) -> &[ObjectId] {
        &self.shallow
    }

    /// SHA-1 or SHA-256.
    pub fn hash_kind(&self) -> gix_hash::Kind {
        self.hash
    }
}
