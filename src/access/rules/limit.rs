//! What a `[[limit]]` says into a refusal, or none: how many paths a push may change, how large its files are, who wrote its commits.
//!
//! All limits that are about an edit hold. As in gitolite's VREFs: `paths_max` and `new_paths_max` count what the new commits of a
//! push change (COUNT), new binary files are those that the old value of the ref lacks (MAX_NEWBIN_SIZE), and merges (MERGE-CHECK),
//! authors (EMAIL-CHECK) and `file_bytes_max` are about everything that no ref reached before. What cannot be found out is refused.
//! Not looked at: what attributes say is binary.

use super::pattern::{Names, Pattern};
use crate::access::printable;
use crate::serve::{Changes, ChangesError};

/// Bounds of one edit.
#[derive(Debug, Default)]
pub(super) struct Limit {
    pub(super) place: String,
    pub(super) paths_max: Option<u64>,
    pub(super) new_paths_max: Option<u64>,
    pub(super) file_bytes_max: Option<u64>,
    pub(super) new_binary_bytes_max: Option<u64>,
    pub(super) no_merges: bool,
    /// Empty: whoever.
    pub(super) author_emails: Vec<Pattern>,
}

impl Limit {
    /// What speaks against the edit with this number, for the pusher.
    pub(super) fn refusal(&self, changes: &Changes, edit: usize, names: &Names) -> Option<String> {
        let refused = self.find_refusal(changes, edit, names).unwrap_or_else(|error| Some(untold(&error)));
        refused.map(|why| format!("{why}: {}", self.place))
    }

    fn find_refusal(&self, changes: &Changes, edit: usize, names: &Names) -> Result<Option<String>, ChangesError> {
        let count = |count: usize| u64::try_from(count).unwrap_or(u64::MAX);
        if self.paths_max.is_some() || self.new_paths_max.is_some() {
            let paths = changes.paths_of_new_commits(edit)?;
            for (max, found, what) in [
                (self.paths_max, count(paths.len()), "paths"),
                (self.new_paths_max, count(paths.values().filter(|is_new| **is_new).count()), "new paths"),
            ] {
                if let Some(max) = max.filter(|max| found > *max) {
                    return Ok(Some(format!("it changes {found} {what}, {max} at most may be")));
                }
            }
        }
        if let Some(max) = self.new_binary_bytes_max {
            for changed in changes.paths(edit)?.iter().filter(|changed| changed.old.is_none()) {
                let Some(id) = changed.new else { continue };
                if let Some(bytes) = changes.binary_bytes(id)?.filter(|bytes| *bytes > max) {
                    let path = printable(&changed.path.to_string());
                    return Ok(Some(format!("the new binary file '{path}' has {bytes} bytes, {max} at most may be")));
                }
            }
        }
        if self.file_bytes_max.is_none() && !self.no_merges && self.author_emails.is_empty() {
            return Ok(None);
        }
        let new = changes.new_objects(edit)?;
        if let Some(max) = self.file_bytes_max
            && let Some((id, bytes)) = new.blobs.iter().find(|(_, bytes)| *bytes > max)
        {
            return Ok(Some(format!("the file {id} has {bytes} bytes, {max} at most may be")));
        }
        if let Some(merge) = new.commits.iter().find(|commit| self.no_merges && commit.parents.len() > 1) {
            return Ok(Some(format!("{} is a merge", merge.id)));
        }
        let emails: Vec<_> = self.author_emails.iter().filter_map(|pattern| pattern.filled(names)).collect();
        let is_known = |email: &bstr::BString| emails.iter().any(|pattern| pattern.matches(email.as_ref()));
        let stranger = new.commits.iter().find(|commit| !self.author_emails.is_empty() && !is_known(&commit.author_email));
        Ok(stranger.map(|commit| format!("{} was written by {}", commit.id, printable(&commit.author_email.to_string()))))
    }
}

/// Why nothing can be said of what an edit changes, for the pusher.
pub(super) fn untold(error: &ChangesError) -> String {
    match error {
        ChangesError::Walk(error) if matches!(**error, crate::walk::Error::TooMany { .. }) => format!("it changes {error}"),
        _ => "what it changes cannot be told".to_owned(),
    }
}
