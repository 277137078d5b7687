//! The edits of a push into the paths that they change and the objects that are new with them, when somebody asks.
//!
//! Both are found once per edit, in the view with the push's objects on top, and only where the edit is whole and its ref still has
//! the value that the client named: of anything else there is nothing to be learned here. An edit that makes a ref changes every
//! path (its old side is the empty tree, as in gitolite's VREFs), one that deletes a ref likewise.

use super::ProposedEdit;
use crate::base::Cancel;
use crate::pack::{Decoder, Kind};
use crate::store::Snapshot;
use crate::walk::{self, ChangedPath, NewObjects, changed_paths, find_new_objects};
use bstr::BString;
use gix_hash::ObjectId;
use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

/// Bytes of a blob at the beginning of which a NUL makes it binary, as git has it (`xdiff-interface.c`: `FIRST_FEW_BYTES`).
const TEXT_BYTES: usize = 8_000;
/// A blob from this size on counts as binary without being looked at.
const BINARY_BYTES_MIN: u64 = 32 << 20;

/// What the edits of one push change; clones share what was found. It answers while the push is judged, no longer.
#[derive(Clone)]
pub struct Changes(Arc<Inner>);

struct Inner {
    view: Snapshot,
    edits: Vec<Edit>,
    /// The tips of all refs as they were.
    had: OnceLock<Vec<ObjectId>>,
    /// The client's patience.
    request: Cancel,
    stop: Cancel,
}

#[derive(Default)]
struct Edit {
    /// None where nothing may be told of it.
    values: Option<(Option<ObjectId>, Option<ObjectId>)>,
    paths: OnceLock<Result<Vec<ChangedPath>, Arc<walk::Error>>>,
    objects: OnceLock<Result<NewObjects, Arc<walk::Error>>>,
    pushed: OnceLock<Result<BTreeMap<BString, bool>, Arc<walk::Error>>>,
}

/// Why it cannot be told what an edit changes.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ChangesError {
    /// Something else speaks against the edit already, or its ref has another value by now.
    #[error("the edit cannot happen as it is")]
    Unsound,
    /// Objects could not be read, or there are too many.
    #[error(transparent)]
    Walk(#[from] Arc<walk::Error>),
}

impl Changes {
    /// Those of `edits`, in `view`; until `request` is cancelled.
    pub fn new(view: &Snapshot, edits: &[ProposedEdit], request: &Cancel) -> Self {
        let of = |edit: &ProposedEdit| {
            let some = |id: ObjectId| (!id.is_null()).then_some(id);
            let is_current = view.refs().find(edit.name.as_ref()).and_then(|entry| entry.id) == some(edit.old);
            Edit { values: is_current.then(|| (some(edit.old), some(edit.new))), ..Edit::default() }
        };
        let edits = edits.iter().map(of).collect();
        Self(Arc::new(Inner { view: view.clone(), edits, had: OnceLock::new(), request: request.clone(), stop: Cancel::new() }))
    }

    /// Tell nothing of the edits that are not `sound`, in order: their objects may be somebody else's secret.
    pub(super) fn only_of(self, sound: impl Iterator<Item = bool>) -> Self {
        let (view, request) = (self.0.view.clone(), self.0.request.clone());
        let values = self.0.edits.iter().map(|edit| edit.values);
        let edits = values.zip(sound).map(|(values, is_sound)| Edit { values: values.filter(|_| is_sound), ..Edit::default() });
        Self(Arc::new(Inner { edits: edits.collect(), view, had: OnceLock::new(), request, stop: Cancel::new() }))
    }

    /// The paths that differ between old and new value of the edit with this number.
    ///
    /// # Errors
    /// [`ChangesError`]; then the edit must be refused.
    pub fn paths(&self, edit: usize) -> Result<&[ChangedPath], ChangesError> {
        let (edit, (old, new)) = self.edit(edit)?;
        let found = edit.paths.get_or_init(|| changed_paths(&**self.0.view.objects(), old, new, &self.0.stop).map_err(Arc::new));
        found.as_deref().map_err(|error| error.clone().into())
    }

    /// What the new value of the edit reaches and no ref did before; nothing for one that deletes.
    ///
    /// # Errors
    /// [`ChangesError`]; then the edit must be refused.
    pub fn new_objects(&self, edit: usize) -> Result<&NewObjects, ChangesError> {
        let (edit, (_, new)) = self.edit(edit)?;
        let view = &self.0.view;
        let find = |tip| find_new_objects(&**view.objects(), view.shallow(), tip, self.had(), &self.0.stop);
        let found = edit.objects.get_or_init(|| new.map_or_else(|| Ok(NewObjects::default()), find).map_err(Arc::new));
        found.as_ref().map_err(|error| error.clone().into())
    }

    /// All paths that the new commits of the edit change, merges left out, and whether some commit adds them
    /// (`git log --name-status --no-renames NEW --not --all`).
    ///
    /// # Errors
    /// [`ChangesError`]; then the edit must be refused.
    pub fn paths_of_new_commits(&self, edit: usize) -> Result<&BTreeMap<BString, bool>, ChangesError> {
        let new = self.new_objects(edit)?;
        let (edit, _) = self.edit(edit)?;
        let found = edit.pushed.get_or_init(|| self.each_commit(new).map_err(Arc::new));
        found.as_ref().map_err(|error| error.clone().into())
    }

    fn each_commit(&self, new: &NewObjects) -> Result<BTreeMap<BString, bool>, walk::Error> {
        let mut paths = BTreeMap::new();
        for commit in new.commits.iter().filter(|commit| commit.parents.len() < 2) {
            let parent = commit.parents.first().filter(|_| self.0.view.shallow().binary_search(&commit.id).is_err());
            for changed in changed_paths(&**self.0.view.objects(), parent.copied(), Some(commit.id), &self.0.stop)? {
                *paths.entry(changed.path).or_default() |= changed.old.is_none();
            }
            if paths.len() > crate::base::limits::CHANGED_PATHS_MAX {
                return Err(walk::Error::TooMany { what: "changed paths", max: crate::base::limits::CHANGED_PATHS_MAX });
            }
        }
        Ok(paths)
    }

    /// Bytes of the blob `id` if git would call it binary.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn binary_bytes(&self, id: ObjectId) -> Result<Option<u64>, ChangesError> {
        let read = || -> Result<Option<u64>, walk::Error> {
            self.0.stop.check()?;
            let objects = &**self.0.view.objects();
            let mut decoder = Decoder::new(objects, 1 << 20);
            let Some(location) = crate::pack::Objects::locate(objects, &id)? else { return Ok(None) };
            let bytes = decoder.size(&location)?;
            if bytes >= BINARY_BYTES_MIN {
                return Ok(Some(bytes));
            }
            let (kind, data) = decoder.get(&location)?;
            let is_binary = kind == Kind::Blob && data[..data.len().min(TEXT_BYTES)].contains(&0);
            Ok(is_binary.then_some(bytes))
        };
        read().map_err(|error| Arc::new(error).into())
    }

    /// Whether the client is gone.
    pub(crate) fn is_abandoned(&self) -> bool {
        self.0.request.is_set()
    }

    /// Whether nobody waits for an answer any more.
    pub fn is_over(&self) -> bool {
        self.0.stop.is_set() || self.0.request.is_set()
    }

    /// Let whoever still computes give up.
    pub(crate) fn stop(&self) {
        self.0.stop.set();
    }

    fn had(&self) -> &[ObjectId] {
        self.0.had.get_or_init(|| {
            let mut had: Vec<ObjectId> = self.0.view.refs().iter().filter_map(|entry| entry.id).collect();
            had.sort_unstable();
            had.dedup();
            // A ref that leads nowhere shows nothing.
            had.retain(|id| matches!(crate::pack::Objects::locate(&**self.0.view.objects(), id), Ok(Some(_))));
            had
        })
    }

    #[allow(clippy::type_complexity, reason = "old and new value beside what is known of the edit")]
    fn edit(&self, at: usize) -> Result<(&Edit, (Option<ObjectId>, Option<ObjectId>)), ChangesError> {
        let edit = self.0.edits.get(at).ok_or(ChangesError::Unsound)?;
        edit.values.map(|values| (edit, values)).ok_or(ChangesError::Unsound)
    }
}

impl std::fmt::Debug for Changes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Changes").field("edits", &self.0.edits.len()).finish()
    }
}
