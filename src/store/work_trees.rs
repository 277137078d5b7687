//! The folders of a repository's work trees into the branches that are checked out there, which a push would leave behind.
//!
//! Source: gitrepository-layout, "worktrees"; git-worktree, "DETAILS"; `worktree.c` (`get_worktrees`, `is_shared_symref`).
//! A branch is checked out where `HEAD` names it, and, where `HEAD` is detached meanwhile, where it is being rebased or
//! bisected. A linked work tree counts whether or not its folder is still there, as in git.

use super::ref_files::read_head;
use super::{Error, Head, Refs, Repository};
use bstr::{BStr, BString, ByteSlice};
use std::io::ErrorKind;
use std::path::Path;

/// The branches that are checked out somewhere, with files.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WorkTrees {
    branches: Vec<BString>,
}

impl WorkTrees {
    /// Whether `name`, in full, is the branch of one of them.
    pub fn have_checked_out(&self, name: &BStr) -> bool {
        self.branches.iter().any(|branch| branch == name)
    }

    /// The branches of the work tree whose `HEAD` lies in `folder`.
    fn add(&mut self, folder: &Path, repository: &Repository, refs: &Refs) -> Result<(), Error> {
        if let Head::Symbolic(name, _) = read_head(folder, refs, repository.hash_kind())? {
            self.branches.push(name);
            return Ok(());
        }
        // `git am` uses the first folder too, and leaves the branch where it is.
        let rebased = match folder.join("rebase-apply").is_dir() {
            true => (!folder.join("rebase-apply/applying").exists()).then_some("rebase-apply/head-name"),
            false => Some("rebase-merge/head-name"),
        };
        let bisected = folder.join("BISECT_LOG").exists().then_some("BISECT_START");
        for file in rebased.into_iter().chain(bisected) {
            let text = read_line(&folder.join(file))?;
            if text.starts_with(b"refs/") {
                self.branches.push(text);
            } else if !text.is_empty() {
                self.branches.push([b"refs/heads/".as_slice(), &text].concat().into());
            }
        }
        Ok(())
    }
}

impl Repository {
    /// What is checked out in its own work tree and in those linked to it.
    ///
    /// # Errors
    /// When a file of a work tree cannot be read.
    pub fn work_trees(&self, refs: &Refs) -> Result<WorkTrees, Error> {
        let mut found = WorkTrees::default();
        if !self.is_bare() {
            found.add(self.common_dir(), self, refs)?;
        }
        let folder = self.common_dir().join("worktrees");
        let entries = match std::fs::read_dir(&folder) {
            Ok(entries) => entries,
            Err(err) if matches!(err.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => return Ok(found),
            Err(err) => return Err(Error::io(format!("read {}", folder.display()))(err)),
        };
        for entry in entries {
            let linked = entry.map_err(Error::io(format!("read {}", folder.display())))?.path();
            if !read_line(&linked.join("gitdir"))?.is_empty() {
                found.add(&linked, self, refs)?;
            }
        }
        Ok(found)
    }
}

/// The only line of a file; empty where there is none.
fn read_line(path: &Path) -> Result<BString, Error> {
    match std::fs::read(path) {
        Ok(text) => Ok(text.trim_end_with(|end| end == '\n').into()),
        Err(err) if matches!(err.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => Ok(BString::default()),
        Err(err) => Err(Error::io(format!("read {}", path.display()))(err)),
    }
}
