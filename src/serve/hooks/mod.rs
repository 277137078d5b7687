//! Hooks of a repository into programs that are run around a push: the one place where anything is started.
//!
//! Source: githooks; `hook.c`, `builtin/receive-pack.c`, `tmp-objdir.c`. A hook stands in the git directory, with
//! `GIT_DIR=.`. Until its push is accepted, `GIT_OBJECT_DIRECTORY`, `GIT_ALTERNATE_OBJECT_DIRECTORIES` and
//! `GIT_QUARANTINE_PATH` show it (and any git that it starts) the new objects. A hook that is not there, or that may not
//! be executed, is passed over; the latter with git's advice. Where no hook is there, nothing is started.
//!
//! | file | turns what into what |
//! |---|---|
//! | `run` | a program into its end |
//! | `proc_receive` | commands into packets for `proc-receive`, its answer into what became of each |
//!
//! Limits: what a hook itself writes into the quarantine is lost. `push-to-checkout` needs a work tree and is never run;
//! so are hooks that stand in the configuration.

pub(super) mod proc_receive;
mod run;

use self::run::{Ended, Program, Terms};
use super::{Error, Options};
use crate::base::Cancel;
use crate::store::Repository;
use crate::wire::{Band, SideBand};
use rustix::fs::{Access, access};
use std::cell::RefCell;
use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::io::Write;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

/// Where git is told that history ends elsewhere than the file `shallow` says.
const SHALLOW_FILE: &str = "GIT_SHALLOW_FILE";

/// Where hooks lie.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HookFolder {
    /// Where git looks: `core.hooksPath`, else the repository's own folder `hooks`.
    AsGit,
    /// The repository's own folder `hooks`, whatever its configuration says.
    OfRepository,
    /// This one, for every repository.
    At(PathBuf),
}

/// That hooks are run, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HookOptions {
    /// Where they lie.
    pub folder: HookFolder,
    /// `None`: our own environment; else nothing but these variables.
    pub environment: Option<Vec<(OsString, OsString)>>,
    /// Milliseconds that one may take; 0: as long as it likes.
    pub timeout_ms: u64,
    /// Where the peer has no band for it, what a hook says goes to our own standard error; else nowhere.
    pub own_stderr: bool,
}

impl HookOptions {
    /// As git's own programs run them.
    pub fn as_git() -> Self {
        Self { folder: HookFolder::AsGit, environment: None, timeout_ms: 0, own_stderr: true }
    }
}

/// Which objects a hook sees, and whom it outlives.
#[derive(Clone, Copy, Debug)]
pub(super) enum When<'a> {
    /// Before the push is accepted: the new objects lie in this quarantine.
    Before(&'a Path),
    /// While it is, with its objects in their place; it changes refs itself, so the peer's going does not end it.
    Within,
    /// When it is done, whether the peer is still there or not.
    After,
}

/// One run of a hook.
pub(super) struct Call<'a> {
    /// Such as `update`.
    pub name: &'a str,
    pub when: When<'a>,
    pub args: Vec<OsString>,
    /// Beside what every hook gets.
    pub env: &'a [(OsString, OsString)],
}

/// The hooks of one push.
pub(super) struct Hooks<'a> {
    options: &'a HookOptions,
    repository: &'a Repository,
    folder: PathBuf,
    keepalive_ms: u64,
    identity: &'a [u8],
    cancel: &'a Cancel,
    advised: RefCell<BTreeSet<String>>,
    /// What git within a hook takes for the file `shallow` until the push is done.
    shallow: Option<PathBuf>,
}

impl<'a> Hooks<'a> {
    /// `None` where none are run.
    pub fn of(repository: &'a Repository, options: &'a Options, cancel: &'a Cancel) -> Result<Option<Self>, Error> {
        let Some(hooks) = &options.hooks else { return Ok(None) };
        let folder = match &hooks.folder {
            HookFolder::AsGit => repository.configured_hooks_dir()?,
            HookFolder::OfRepository => repository.hooks_dir(),
            HookFolder::At(folder) => folder.clone(),
        };
        let (keepalive_ms, identity) = (options.keepalive_ms, options.identity.as_slice());
        Ok(Some(Self { options: hooks, repository, folder, keepalive_ms, identity, cancel, advised: RefCell::default(), shallow: None }))
    }

    /// The push's history ends at commits of its client: `file` has them beside ours. It need not be there any more when
    /// the push is done.
    pub fn cut_history(&mut self, file: PathBuf) {
        self.shallow = Some(file);
    }

    /// Whether the hook is there to be run; the pusher is advised of one that may not be executed.
    pub fn has(&self, name: &str, bands: &mut SideBand<impl Write>) -> Result<bool, Error> {
        match access(self.folder().join(name), Access::EXEC_OK) {
            Ok(()) => return Ok(true),
            Err(rustix::io::Errno::ACCESS) if self.advised.borrow_mut().insert(name.to_owned()) => {}
            Err(_) => return Ok(false),
        }
        tracing::warn!(hook = name, folder = %self.folder().display(), "a hook is not set as executable");
        if self.options.folder == HookFolder::AsGit && !self.repository.settings().hooks.is_advice_off {
            let shown = self.shown(name);
            let text = format!(
                "hint: The '{shown}' hook was ignored because it's not set as executable.\n\
                 hint: You can disable this warning with `git config set advice.ignoredHook false`.\n"
            );
            bands.say(Band::Progress, text.as_bytes())?;
        }
        Ok(false)
    }

    /// Run a hook that is there, give it `lines` to read, and say whether it agreed.
    ///
    /// # Errors
    /// The peer went away.
    pub fn run(
        &self,
        call: &Call<'_>,
        lines: Option<&mut (dyn Iterator<Item = Vec<u8>> + Send)>,
        bands: &mut SideBand<impl Write>,
    ) -> Result<bool, Error> {
        let ended = run::feed(&self.program(call), lines, bands, &self.terms(call));
        self.judge(call, ended, bands)
    }

    /// Run a hook that is there and talk to it. What came of the talk counts only where the hook agreed.
    pub fn talk<T: Send>(
        &self,
        call: &Call<'_>,
        bands: &mut SideBand<impl Write>,
        talk: impl FnOnce(&mut (dyn Write + Send), &mut (dyn std::io::Read + Send)) -> T + Send,
    ) -> Result<(bool, Option<T>), Error> {
        let speak = |mut input, mut output| talk(&mut input, &mut output);
        let (ended, said) = run::talk_to(&self.program(call), bands, &self.terms(call), speak);
        Ok((self.judge(call, ended, bands)?, said))
    }

    fn judge(&self, call: &Call<'_>, ended: Ended, bands: &mut SideBand<impl Write>) -> Result<bool, Error> {
        let shown = self.shown(call.name);
        tracing::debug!(hook = shown, ?ended, "a hook has ended");
        if let Some(complaint) = ended.complaint(&shown, self.options.timeout_ms) {
            tracing::warn!(%complaint, "a hook failed");
            let told = bands.say(Band::Progress, format!("error: {complaint}\n").as_bytes());
            if matches!(call.when, When::Before(_)) {
                told?;
            }
        }
        match ended {
            Ended::PeerGone(Some(err)) => Err(Error::Io(err)),
            Ended::PeerGone(None) => Err(Error::Cancelled(crate::base::Cancelled)),
            ended => Ok(ended.is_success()),
        }
    }

    fn terms(&self, call: &Call<'_>) -> Terms<'a> {
        Terms {
            cancel: self.cancel,
            outlives_peer: !matches!(call.when, When::Before(_)),
            timeout_ms: self.options.timeout_ms,
            keepalive_ms: self.keepalive_ms,
            grace_ms: run::GRACE_MS,
            own_stderr: self.options.own_stderr,
        }
    }

    /// The folder of hooks; a repository that a push has just made has moved.
    fn folder(&self) -> PathBuf {
        match self.folder.strip_prefix(self.repository.git_dir()) {
            Ok(within) => self.git_dir().join(within),
            Err(_) => self.folder.clone(),
        }
    }

    fn git_dir(&self) -> &Path {
        let git_dir = self.repository.git_dir();
        if git_dir.exists() { git_dir } else { self.repository.final_git_dir() }
    }

    /// How a hook is named to people, and to itself where it stands beneath the git directory.
    fn shown(&self, name: &str) -> String {
        let path = self.folder.join(name);
        path.strip_prefix(self.repository.git_dir()).unwrap_or(&path).display().to_string()
    }

    fn program(&self, call: &Call<'_>) -> Program {
        let git_dir = self.git_dir();
        let path = self.folder().join(call.name);
        let path = match path.strip_prefix(git_dir) {
            Ok(within) if within.components().count() > 1 => within.to_owned(),
            _ => path,
        };
        let mut env = self.options.environment.clone().unwrap_or_default();
        if self.options.environment.is_some() {
            env.extend(self.committer());
        }
        env.push(("GIT_DIR".into(), ".".into()));
        if let When::Before(quarantine) = call.when {
            env.extend(self.quarantine(quarantine));
        }
        match (&self.shallow, call.when) {
            (None, _) => {}
            (Some(file), When::Before(_) | When::Within) => env.push((SHALLOW_FILE.into(), file.into())),
            (Some(_), When::After) => {
                let common_dir = if git_dir == self.repository.git_dir() { self.repository.common_dir() } else { git_dir };
                env.push((SHALLOW_FILE.into(), common_dir.join("shallow").into()));
            }
        }
        env.extend_from_slice(call.env);
        Program { path: path.into(), args: call.args.clone(), is_clean: self.options.environment.is_some(), env, dir: git_dir.to_owned() }
    }

    /// Who pushes, as git's HTTP server tells it.
    fn committer(&self) -> Vec<(OsString, OsString)> {
        let identity = self.identity.strip_suffix(b">").unwrap_or(self.identity);
        let Some(at) = identity.windows(2).position(|two| two == b" <") else { return vec![] };
        let word = |bytes: &[u8]| OsStr::from_bytes(bytes).to_owned();
        vec![("GIT_COMMITTER_NAME".into(), word(&identity[..at])), ("GIT_COMMITTER_EMAIL".into(), word(&identity[at + 2..]))]
    }

    fn quarantine(&self, quarantine: &Path) -> [(OsString, OsString); 3] {
        let inherited = match self.options.environment {
            None => std::env::var_os("GIT_ALTERNATE_OBJECT_DIRECTORIES"),
            Some(_) => None,
        };
        let objects = quoted(self.repository.objects_dir().as_os_str());
        let alternates = match inherited {
            Some(inherited) => [inherited.as_bytes(), b":", &objects].concat(),
            None => objects,
        };
        [
            ("GIT_QUARANTINE_PATH".into(), quarantine.into()),
            ("GIT_OBJECT_DIRECTORY".into(), quarantine.into()),
            ("GIT_ALTERNATE_OBJECT_DIRECTORIES".into(), OsString::from_vec(alternates)),
        ]
    }
}

/// A path in a list with colons between its entries; in quotes where it must be (`tmp-objdir.c`: `env_append`).
fn quoted(path: &OsStr) -> Vec<u8> {
    let bytes = path.as_bytes();
    if !bytes.starts_with(b"\"") && !bytes.contains(&b':') {
        return bytes.to_vec();
    }
    let mut out = b"\"".to_vec();
    for byte in bytes {
        match byte {
            b'"' | b'\\' => out.extend_from_slice(&[b'\\', *byte]),
            0x20..0x7f => out.push(*byte),
            _ => out.extend_from_slice(format!("\\{byte:03o}").as_bytes()),
        }
    }
    out.push(b'"');
    out
}

/// Environment for the hooks of a server: what any program needs of ours, nothing that may be secret.
pub fn plain_environment() -> Vec<(OsString, OsString)> {
    const NAMES: [&str; 8] = ["PATH", "HOME", "USER", "LOGNAME", "LANG", "LC_ALL", "TZ", "TMPDIR"];
    NAMES.iter().filter_map(|name| Some(((*name).into(), std::env::var_os(name)?))).collect()
}
