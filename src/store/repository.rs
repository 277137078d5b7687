//! A repository on disk whose format is understood: the handle from which snapshots and pushes begin.

use super::companions::Companions;
use super::config;
use super::discover::{check_owner, common_dir, is_git_dir};
use super::held::new_state;
use super::in_use::Use;
use super::staging::Staged;
use super::{Error, Push, Refs, Settings, Snapshot, ref_files};
use bstr::ByteSlice;
use gix_hash::ObjectId;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Which configuration counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConfigScope {
    /// As git's own programs: system, global, repository, includes, environment, `safe.directory`.
    Git,
    /// Only the repository's own `config`, as data: known keys, no includes, nothing executed.
    RepositoryOnly,
}

/// One repository.
#[derive(Clone, Debug)]
pub struct Repository {
    pub(super) git_dir: PathBuf,
    pub(super) common_dir: PathBuf,
    pub(super) hash: gix_hash::Kind,
    pub(super) scope: ConfigScope,
    pub(super) settings: Arc<Settings>,
    /// Where a repository that is only being made will lie, once a push into it succeeds.
    pub(super) staged_for: Option<PathBuf>,
    /// Removes what was staged when the last handle goes, unless it was published.
    pub(super) staged: Option<Arc<Staged>>,
    /// Keeps the repository where it is.
    pub(super) in_use: Option<Arc<Use>>,
}

impl Repository {
    /// Open the repository whose git directory is exactly `git_dir`.
    ///
    /// # Errors
    /// [`Error::NotARepository`], [`Error::UnknownFormat`], [`Error::Config`], [`Error::DubiousOwnership`], [`Error::Io`].
    pub fn open(git_dir: &Path, scope: ConfigScope) -> Result<Self, Error> {
        if !is_git_dir(git_dir) {
            return Err(Error::NotARepository(git_dir.to_owned()));
        }
        if scope == ConfigScope::Git {
            check_owner(git_dir, None, &config::process_env)?;
        }
        Self::open_git_dir(git_dir, scope)
    }

    /// Open a folder that has been found to be a git directory, whoever owns it.
    pub(super) fn open_git_dir(git_dir: &Path, scope: ConfigScope) -> Result<Self, Error> {
        let common_dir = common_dir(git_dir)?;
        let (format, config) = match scope {
            ConfigScope::Git => config::read_as_git(git_dir, &common_dir, &config::process_env)?,
            ConfigScope::RepositoryOnly => config::read_repository_only(git_dir, &common_dir)?,
        };
        let mut settings = Settings::read(&config)?;
        if scope == ConfigScope::Git {
            settings.read_env(&config::process_env)?;
        }
        Ok(Self {
            git_dir: git_dir.to_owned(),
            common_dir,
            hash: format.hash,
            scope,
            settings: Arc::new(settings),
            staged_for: None,
            staged: None,
            in_use: None,
        })
    }

    /// The folder that holds `HEAD`; and `objects` and `refs` too, unless this is a linked worktree.
    pub fn git_dir(&self) -> &Path {
        &self.git_dir
    }

    /// The folder that holds `objects`, `refs`, `packed-refs`, `shallow` and `config`: [`Repository::git_dir`] but for linked worktrees.
    pub fn common_dir(&self) -> &Path {
        &self.common_dir
    }

    /// The folder of loose objects and of `pack`.
    pub fn objects_dir(&self) -> PathBuf {
        self.common_dir.join("objects")
    }

    /// SHA-1 or SHA-256.
    pub fn hash_kind(&self) -> gix_hash::Kind {
        self.hash
    }

    /// git's settings for this repository.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Whether this repository comes into being only with the first push that succeeds.
    pub fn is_staged(&self) -> bool {
        self.staged_for.is_some()
    }

    /// Where the folder lies once a push has made the repository: [`Repository::git_dir`] but for one that is being made.
    pub fn final_git_dir(&self) -> &Path {
        self.staged_for.as_deref().unwrap_or(&self.git_dir)
    }

    /// Pin one consistent view of refs and objects.
    pub fn snapshot(&self) -> Result<Snapshot, Error> {
        if self.scope == ConfigScope::RepositoryOnly {
            return Ok(self.snapshot_again(None)?.into_snapshot());
        }
        let (refs, shallow) = Refs::open(self)?;
        let head = ref_files::read_head(&self.git_dir, &refs, self.hash)?;
        refs.check()?;
        let objects = self.object_store(self.companions(&shallow), None);
        Ok(Snapshot {
            state: new_state(),
            refs: Arc::new(refs),
            head,
            objects: Arc::new(objects),
            settings: self.settings.clone(),
            shallow: Arc::new(shallow),
            hash: self.hash,
        })
    }

    /// Which companion files of packs may be used, `shallow` being where history is cut off.
    pub(super) fn companions(&self, shallow: &[ObjectId]) -> Companions {
        let is_whole = shallow.is_empty() && !self.common_dir.join("info/grafts").exists();
        Companions {
            commit_graph: is_whole && self.settings.commit_graph,
            bitmaps: is_whole && self.settings.use_bitmaps,
            multi_pack_index: self.settings.multi_pack_index,
        }
    }

    /// Whether it has no work tree of its own. As `git init` guesses where `core.bare` is not set: a folder called `.git` lies
    /// within one.
    pub(super) fn is_bare(&self) -> bool {
        self.settings.bare.unwrap_or_else(|| self.common_dir.file_name() != Some(".git".as_ref()))
    }

    /// What the file `shallow` says; a push that is under way may cut off more.
    pub(super) fn stored_shallow(&self) -> Result<Vec<ObjectId>, Error> {
        let path = self.common_dir.join("shallow");
        let text = match std::fs::read(&path) {
            Ok(text) => text,
            Err(err) if err.kind() == std::io::ErrorKind::NotFound => return Ok(vec![]),
            Err(err) => return Err(Error::io(format!("read {}", path.display()))(err)),
        };
        let bad = |line: &[u8]| Error::Corrupt(format!("{}: bad line '{}'", path.display(), line.as_bstr()));
        let mut commits = text
            .lines()
            .map(|line| ObjectId::from_hex(line).ok().filter(|id| id.kind() == self.hash).ok_or_else(|| bad(line)))
            .collect::<Result<Vec<_>, _>>()?;
        commits.sort_unstable();
        commits.dedup();
        Ok(commits)
    }

    /// The attributes that this repository gives to paths, as they stand in `info/attributes`; empty where there are none.
    pub fn info_attributes(&self) -> Result<Vec<u8>, Error> {
        let path = self.common_dir.join("info/attributes");
        match std::fs::read(&path) {
            Ok(text) => Ok(text),
            Err(err) if err.kind() == std::io::ErrorKind::NotFound => Ok(vec![]),
            Err(err) => Err(Error::io(format!("read {}", path.display()))(err)),
        }
    }

    /// Begin a push.
    pub fn push(&self) -> Result<Push, Error> {
        Push::begin(self)
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{git, init};
    use super::*;

    #[test]
    fn a_reftable_repository_is_refused_by_name() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("r.git");
        init(&path, &["--bare", "--ref-format=reftable"]);
        for scope in [ConfigScope::Git, ConfigScope::RepositoryOnly] {
            let err = Repository::open(&path, scope).unwrap_err();
            assert!(matches!(err, Error::UnknownFormat { .. }) && err.to_string().contains("refstorage = reftable"), "{err}");
        }
    }

    #[test]
    fn a_repository_opened_as_data_follows_no_include() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("r.git");
        init(&path, &["--bare", "--object-format=sha256"]);
        std::fs::write(dir.path().join("other"), "[receive]\ndenyDeletes=true\n").unwrap();
        git(&path, &["config", "include.path", "../other"]);
        let as_data = Repository::open(&path, ConfigScope::RepositoryOnly).unwrap();
        assert!(!as_data.settings().deny_deletes);
        assert_eq!((as_data.settings().bare, as_data.hash_kind()), (Some(true), gix_hash::Kind::Sha256));
        let as_git = Repository::open(&path, ConfigScope::Git).unwrap();
        assert!(as_git.settings().deny_deletes);
    }

    #[test]
    fn a_shallow_clone_names_its_boundary() {
        let dir = tempfile::tempdir().unwrap();
        let (full, cut) = (dir.path().join("full"), dir.path().join("cut"));
        init(&full, &[]);
        for message in ["a", "b", "c"] {
            git(&full, &["commit", "--allow-empty", "-qm", message]);
        }
        let url = format!("file://{}", full.display());
        git(dir.path(), &["clone", "-q", "--bare", "--depth=2", &url, "cut"]);
        let snapshot = Repository::open(&cut, ConfigScope::RepositoryOnly).unwrap().snapshot().unwrap();
        let wanted = git(&full, &["rev-parse", "HEAD~1"]);
        assert_eq!(snapshot.shallow().iter().map(ToString::to_string).collect::<Vec<_>>(), [wanted.trim()]);
    }

    #[test]
    fn an_ordinary_folder_is_no_repository() {
        let dir = tempfile::tempdir().unwrap();
        assert!(matches!(Repository::open(dir.path(), ConfigScope::Git), Err(Error::NotARepository(_))));
    }
}
