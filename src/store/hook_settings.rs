//! `core.hooksPath`, `receive.procReceiveRefs` and `advice.ignoredHook` into where hooks lie and what they are asked about.
//!
//! Source: git-config; `builtin/receive-pack.c` (`receive_pack_config`), `config.c` (`git_config_pathname`). A relative
//! path counts from the git directory, where hooks are run.
//! Limits: hooks that stand in the configuration itself (`hook.<name>.command`) are not known.

use super::config;
use super::keys::Keys;
use super::{Error, Repository};
use bstr::{BString, ByteSlice};
use std::path::PathBuf;

/// What the configuration says of hooks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HookSettings {
    /// `core.hooksPath` as it stands; whoever reads configuration as data must not look at it.
    pub hooks_path: Option<BString>,
    /// `receive.procReceiveRefs`, in order.
    pub proc_receive_refs: Vec<BString>,
    /// `advice.ignoredHook` is off.
    pub is_advice_off: bool,
}

impl HookSettings {
    pub(super) fn read(keys: &Keys<'_>) -> Result<Self, Error> {
        let hooks_path = match keys.last("core", "hooksPath") {
            Some(value) => Some(value.text.clone().ok_or_else(|| value.unreadable("core.hookspath"))?),
            None => None,
        };
        let mut proc_receive_refs = vec![];
        for entry in keys.all().filter(|entry| entry.is("receive", "procreceiverefs")) {
            proc_receive_refs.push(entry.value.text.clone().ok_or_else(|| entry.value.unreadable("receive.procreceiverefs"))?);
        }
        let is_advice_off = keys.boolean("advice", "ignoredHook")? == Some(false);
        Ok(Self { hooks_path, proc_receive_refs, is_advice_off })
    }
}

impl Repository {
    /// The folder of the repository's own hooks.
    pub fn hooks_dir(&self) -> PathBuf {
        self.common_dir.join("hooks")
    }

    /// The folder that `core.hooksPath` names, as git's programs read it; else [`Repository::hooks_dir`].
    ///
    /// # Errors
    /// [`Error::Config`]: `~` leads to no home.
    pub fn configured_hooks_dir(&self) -> Result<PathBuf, Error> {
        let Some(path) = &self.settings.hooks.hooks_path else { return Ok(self.hooks_dir()) };
        let Some((user, rest)) = path.strip_prefix(b"~").map(|rest| rest.split_once_str("/").unwrap_or((rest, b""))) else {
            return Ok(self.git_dir.join(path.to_path_lossy()));
        };
        let home =
            if user.is_empty() { config::process_env("HOME").map(PathBuf::from) } else { user.to_str().ok().and_then(config::home_of) };
        let home = home.ok_or_else(|| Error::Config(format!("core.hooksPath: no home for '{path}'")))?;
        Ok(home.join(rest.to_path_lossy()))
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{git, init};
    use super::super::{ConfigScope, Repository};
    use super::*;

    #[test]
    fn hooks_lie_where_git_looks_for_them() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("r.git");
        init(&path, &["--bare"]);
        let open = || Repository::open(&path, ConfigScope::RepositoryOnly).expect("a repository");
        assert_eq!(open().configured_hooks_dir().expect("a folder"), path.join("hooks"));
        for (value, wanted) in
            [("../h", path.join("../h")), ("/h", "/h".into()), ("~root/h", config::home_of("root").expect("root").join("h"))]
        {
            git(&path, &["config", "core.hooksPath", value]);
            assert_eq!(open().configured_hooks_dir().expect("a folder"), wanted);
            assert_eq!(open().hooks_dir(), path.join("hooks"));
        }
        git(&path, &["config", "core.hooksPath", "~nobody-of-that-name/h"]);
        let err = open().configured_hooks_dir().expect_err("no such home");
        assert!(err.to_string().contains("core.hooksPath"), "{err}");
    }

    #[test]
    fn every_pattern_of_proc_receive_counts_in_order() {
        let file = gix_config::File::try_from(
            "[receive]\nprocReceiveRefs=refs/for\n[Receive]\nPROCRECEIVEREFS=ad:refs/x\n[advice]\nignoredHook=no\n",
        )
        .expect("legal");
        let read = HookSettings::read(&Keys(&file)).expect("legal");
        assert_eq!(read.proc_receive_refs, ["refs/for", "ad:refs/x"]);
        assert!(read.is_advice_off && read.hooks_path.is_none());
        let file = gix_config::File::try_from("[receive]\nprocReceiveRefs\n").expect("legal");
        assert!(HookSettings::read(&Keys(&file)).is_err());
    }
}
