//! The repositories that this one borrows from into what their refs lead to.
//!
//! Source: `odb.c`: `odb_for_each_alternate_ref`, `refs_from_alternate_cb`; git-config, "core.alternateRefsPrefixes". An
//! alternate counts where its folder is called `objects` and lies in a repository; one whose refs cannot be read is left
//! out with a warning. `core.alternateRefsCommand`, which would choose instead, is never run: where it is set,
//! nothing is known of alternates.

use super::{ConfigScope, Refs, Repository, Snapshot};
use crate::base::FastSet;
use bstr::{BStr, ByteSlice};
use gix_hash::ObjectId;
use std::path::Path;

impl Snapshot {
    /// The objects that the refs of alternates lead to, each once; read anew each time.
    pub fn alternate_tips(&self) -> Vec<ObjectId> {
        let (mut tips, mut seen) = (vec![], FastSet::default());
        if self.settings.push.has_alternate_refs_command {
            return tips;
        }
        for objects in self.objects.alternates().iter().filter(|dir| dir.file_name() == Some("objects".as_ref())) {
            let Some(refs) = objects.parent().and_then(|git_dir| open_refs(git_dir, self.hash)) else { continue };
            let prefixes = &self.settings.push.alternate_refs_prefixes;
            let told =
                refs.iter().filter(|entry| prefixes.is_empty() || prefixes.iter().any(|prefix| matches(prefix.as_bstr(), entry.name)));
            tips.extend(told.filter_map(|entry| entry.id).filter(|id| seen.insert(*id)));
        }
        tips
    }
}

fn open_refs(git_dir: &Path, hash: gix_hash::Kind) -> Option<Refs> {
    let open = || {
        let repository = Repository::open(git_dir, ConfigScope::RepositoryOnly)?;
        Refs::open(&repository).map(|(refs, _)| refs)
    };
    match open() {
        Ok(refs) if refs.hash() == hash => Some(refs),
        Ok(_) => None,
        Err(err) => {
            tracing::warn!(alternate = %git_dir.display(), %err, "the refs of an alternate are left out");
            None
        }
    }
}

/// As `git for-each-ref` matches its arguments: a name, what lies beneath it, or a pattern.
fn matches(pattern: &BStr, name: &BStr) -> bool {
    let beneath = name.strip_prefix(pattern.as_bytes()).is_some_and(|rest| rest.is_empty() || rest[0] == b'/' || pattern.ends_with(b"/"));
    beneath || gix_glob::wildmatch(pattern, name, gix_glob::wildmatch::Mode::NO_MATCH_SLASH_LITERAL)
}

#[cfg(test)]
mod tests {
    use super::super::testing::{git, init};
    use super::*;

    #[test]
    fn a_prefix_is_a_name_a_folder_or_a_pattern() {
        for (pattern, name, wanted) in [
            ("refs/heads", "refs/heads/a", true),
            ("refs/heads/", "refs/heads/a", true),
            ("refs/head", "refs/heads/a", false),
            ("refs/heads/a", "refs/heads/a", true),
            ("refs/heads/*", "refs/heads/a", true),
            ("refs/*", "refs/heads/a", false),
        ] {
            assert_eq!(matches(pattern.into(), name.into()), wanted, "{pattern} {name}");
        }
    }

    #[test]
    fn tips_of_alternates_are_known_unless_a_command_would_choose_them() {
        let dir = tempfile::tempdir().unwrap();
        let (base, fork) = (dir.path().join("base"), dir.path().join("fork"));
        init(&base, &[]);
        git(&base, &["commit", "--allow-empty", "-qm", "a"]);
        git(&base, &["tag", "-a", "-m", "t", "v1"]);
        git(&base, &["branch", "same"]);
        git(dir.path(), &["clone", "-q", "--bare", "--shared", "base", "fork"]);
        git(&fork, &["for-each-ref", "--format=delete %(refname)"]);
        let tips = |pairs: &[(&str, &str)]| {
            pairs.iter().for_each(|(key, value)| drop(git(&fork, &["config", key, value])));
            let snapshot = Repository::open(&fork, ConfigScope::RepositoryOnly).unwrap().snapshot().unwrap();
            snapshot.alternate_tips().iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        let id = |name: &str| git(&base, &["rev-parse", name]).trim().to_owned();
        assert_eq!(tips(&[]), [id("HEAD"), id("v1")]);
        assert_eq!(tips(&[("core.alternateRefsPrefixes", "refs/tags refs/none")]), [id("v1")]);
        assert!(tips(&[("core.alternateRefsCommand", "echo")]).is_empty());
    }
}
