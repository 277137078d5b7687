//! The folders of a repository's work trees into the branches that are checked out there, which a push would leave behind.
//!
//! Source: gitrepository-layout, "worktrees"; git-worktree, "DETAILS"; `worktree.c` (`get_worktrees`, `is_shared_symref`).
//! A branch is checked out where `HEAD` names it, and, where `HEAD` is detached meanwhile, where it is being rebased or
//! bisected. A linked work tree counts whether or not its folder is still there, as in git; what cannot be read does not,
//! as in git too, and is told in the log.

use super::ref_files::read_head;
use super::{Head, Refs, Repository};
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
    fn add(&mut self, folder: &Path, repository: &Repository, refs: &Refs) {
        match read_head(folder, refs, repository.hash_kind()) {
            Ok(Head::Symbolic(name, _)) => return self.branches.push(name),
            Ok(_) => {}
            Err(err) => tracing::warn!(folder = %folder.display(), %err, "a work tree whose HEAD cannot be read"),
        }
        // `git am` uses the first folder too, and leaves the branch where it is.
        let rebased = match folder.join("rebase-apply").is_dir() {
            true => (!folder.join("rebase-apply/applying").exists()).then_some("rebase-apply/head-name"),
            false => Some("rebase-merge/head-name"),
        };
        let bisected = folder.join("BISECT_LOG").exists().then_some("BISECT_START");
        for file in rebased.into_iter().chain(bisected) {
            let text = read_line(&folder.join(file));
            if text.starts_with(b"refs/") {
                self.branches.push(text);
            } else if !text.is_empty() {
                self.branches.push([b"refs/heads/".as_slice(), &text].concat().into());
            }
        }
    }
}

impl Repository {
    /// What is checked out in its own work tree and in those linked to it.
    pub fn work_trees(&self, refs: &Refs) -> WorkTrees {
        let mut found = WorkTrees::default();
        if !self.is_bare() {
            found.add(self.common_dir(), self, refs);
        }
        let folder = self.common_dir().join("worktrees");
        let entries = match std::fs::read_dir(&folder) {
            Ok(entries) => entries,
            Err(err) if matches!(err.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => return found,
            Err(err) => {
                tracing::warn!(folder = %folder.display(), %err, "linked work trees cannot be listed");
                return found;
            }
        };
        for linked in entries.flatten().map(|entry| entry.path()) {
            if !read_line(&linked.join("gitdir")).is_empty() {
                found.add(&linked, self, refs);
            }
        }
        found
    }
}

/// The only line of a file; empty where there is none that can be read.
fn read_line(path: &Path) -> BString {
    match std::fs::read(path) {
        Ok(text) => text.trim_end_with(|end| end == '\n').into(),
        Err(err) if matches!(err.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => BString::default(),
        Err(err) => {
            tracing::warn!(path = %path.display(), %err, "a file of a work tree cannot be read");
            BString::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::ConfigScope;
    use super::super::testing::{git, init};
    use super::*;

    #[test]
    fn a_work_tree_that_cannot_be_read_is_left_out_and_the_others_count_as_in_git() {
        let dir = tempfile::tempdir().expect("a folder");
        let server = dir.path().join("server.git");
        init(&server, &["--bare"]);
        let tree = git(&server, &["mktree"]);
        let commit = git(&server, &["commit-tree", "-m", "x", tree.trim()]);
        for name in ["whole", "no-gitdir", "no-head"] {
            git(&server, &["branch", name, commit.trim()]);
            git(&server, &["worktree", "add", "-q", &format!("../{name}"), name]);
        }
        // A folder in a file's place cannot be read, whoever asks.
        for file in ["no-gitdir/gitdir", "no-head/HEAD"] {
            let path = server.join("worktrees").join(file);
            std::fs::remove_file(&path).expect("removed");
            std::fs::create_dir(&path).expect("made");
        }
        let repository = Repository::open(&server, ConfigScope::RepositoryOnly).expect("opens");
        let found = repository.work_trees(repository.snapshot().expect("reads").refs());
        assert_eq!(found.branches, ["refs/heads/whole"]);
        let theirs = git(&server, &["worktree", "list", "--porcelain"]);
        let theirs: Vec<&str> = theirs.lines().filter_map(|line| line.strip_prefix("branch ")).collect();
        assert_eq!(theirs, ["refs/heads/whole"]);
    }
}
