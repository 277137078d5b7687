//! git's configuration into the values that this house honours.
//!
//! Source: git-config, "receive.*", "transfer.*", "lsrefs.unborn", "core.logAllRefUpdates", "core.commitGraph",
//! "core.multiPackIndex", "pack.useBitmaps", "pack.window", "pack.depth", "pack.threads"; what only fetches look at is in
//! `fetch_settings`, what only pushes do in `push_settings`.
//! The last value of a key counts, wherever it stands. A value that cannot be understood is an error that
//! names key and file, as in git.

use super::Error;
use super::config::Env;
use super::fetch_settings::FetchSettings;
use super::fsck_settings::FsckSettings;
use super::hook_settings::HookSettings;
use super::keys::Keys;
use super::push_settings::PushSettings;
use crate::pack::DeltaSearch;
use bstr::{BStr, BString, ByteSlice};
use std::os::unix::ffi::OsStrExt;

/// As in git (`pack-objects.c`: `(1 << OE_DEPTH_BITS) - 1`).
const PACK_DEPTH_MAX: u64 = 4095;
/// A repository's own file must not make one fetch dear without bound.
const PACK_WINDOW_MAX: u64 = 250;
const PACK_THREADS_MAX: u64 = 64;

/// When ref updates are written to reflogs (`core.logAllRefUpdates`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum LogRefs {
    /// Only where a log file is there already: the default of a bare repository.
    #[default]
    Existing,
    /// Branches, remote-tracking branches, notes and HEAD.
    Usual,
    /// Every ref.
    Always,
}

/// What to do with a push to, or a deletion of, the branch that HEAD names (`receive.denyCurrentBranch`, `receive.denyDeleteCurrent`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DenyCurrent {
    /// Let it happen silently.
    Ignore,
    /// Let it happen and tell the pusher.
    Warn,
    /// Refuse it.
    Refuse,
    /// Nothing is set: refuse it, and tell the pusher what could be.
    Unset,
    /// `updateInstead`: needs a work tree, so it is refused with a sentence of its own.
    UpdateInstead,
}

/// The values honoured, each with git's default.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Settings {
    /// `core.bare`; `None` where it is not set.
    pub bare: Option<bool>,
    /// `core.logAllRefUpdates`.
    pub log_refs: LogRefs,
    /// `core.commitGraph`: whether commit-graph files are read.
    pub commit_graph: bool,
    /// `core.multiPackIndex`: whether multi-pack indexes, and bitmaps over them, are read.
    pub multi_pack_index: bool,
    /// `pack.useBitmaps`: whether bitmaps are read.
    pub use_bitmaps: bool,
    /// `receive.denyDeletes`.
    pub deny_deletes: bool,
    /// `receive.denyNonFastForwards`.
    pub deny_non_fast_forwards: bool,
    /// `receive.denyCurrentBranch`: counts only where there is a work tree.
    pub deny_current_branch: DenyCurrent,
    /// `receive.denyDeleteCurrent`.
    pub deny_delete_current: DenyCurrent,
    /// `receive.maxInputSize` in bytes; 0: no limit.
    pub max_input_size_bytes: u64,
    /// `transfer.hideRefs` and `uploadpack.hideRefs`, in order.
    pub upload_hide_refs: Vec<bstr::BString>,
    /// `transfer.hideRefs` and `receive.hideRefs`, in order.
    pub receive_hide_refs: Vec<bstr::BString>,
    /// `GIT_NAMESPACE` as the beginning of names, such as `refs/namespaces/a/`; empty outside of any.
    pub namespace: BString,
    /// What a fetch may ask for.
    pub fetch: FetchSettings,
    /// What a push may ask for.
    pub push: PushSettings,
    /// `lsrefs.unborn`: whether an unborn HEAD is advertised, and told about when asked.
    pub ls_refs_unborn: Unborn,
    /// `transfer.advertiseSID`.
    pub advertise_sid: bool,
    /// `receive.keepAlive` in seconds; 0 turns it off.
    pub receive_keep_alive_s: u64,
    /// `uploadArchive.allowUnreachable`: counts in drop-ins only.
    pub archive_unreachable: bool,
    /// `tar.tgz.remote`: whether the format `tgz` is served.
    pub archive_tgz: bool,
    /// `tar.tar.gz.remote`: whether the format `tar.gz` is served.
    pub archive_tar_gz: bool,
    /// `tar.umask`; `None`: the server's own (`user`).
    pub tar_umask: Option<u32>,
    /// `receive.fsckObjects`, else `transfer.fsckObjects`; `None` where neither is set.
    pub fsck_objects: Option<bool>,
    /// `receive.fsck.*`.
    pub fsck: FsckSettings,
    /// Where hooks lie, and what they are asked about.
    pub hooks: HookSettings,
    /// `pack.window`, `pack.depth`, `pack.threads`: how far deltas are searched.
    pub delta_search: DeltaSearch,
}

/// `lsrefs.unborn`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unborn {
    /// Advertised and told: git's default.
    Advertise,
    /// Told when asked, not advertised.
    Allow,
    /// Neither.
    Ignore,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            bare: None,
            log_refs: LogRefs::Existing,
            commit_graph: true,
            multi_pack_index: true,
            use_bitmaps: true,
            deny_deletes: false,
            deny_non_fast_forwards: false,
            deny_current_branch: DenyCurrent::Unset,
            deny_delete_current: DenyCurrent::Unset,
            max_input_size_bytes: 0,
            upload_hide_refs: vec![],
            receive_hide_refs: vec![],
            namespace: BString::default(),
            fetch: FetchSettings::default(),
            push: PushSettings::default(),
            ls_refs_unborn: Unborn::Advertise,
            advertise_sid: false,
            receive_keep_alive_s: 5,
            archive_unreachable: false,
            archive_tgz: true,
            archive_tar_gz: true,
            tar_umask: Some(Self::TAR_UMASK),
            fsck_objects: None,
            fsck: FsckSettings::default(),
            hooks: HookSettings::default(),
            delta_search: DeltaSearch::default(),
        }
    }
}

impl Settings {
    /// The bits that tar files of archives never have (git-config, `tar.umask`).
    pub const TAR_UMASK: u32 = 0o002;

    /// Pick the values out of a configuration that has been put together in order of precedence.
    pub(super) fn read(config: &gix_config::File) -> Result<Self, Error> {
        let keys = Keys(config);
        let default = Self::default();
        let bare = keys.boolean("core", "bare")?;
        let receive_fsck = keys.boolean("receive", "fsckObjects")?;
        let transfer_fsck = keys.boolean("transfer", "fsckObjects")?;
        Ok(Self {
            bare,
            log_refs: keys.log_refs(bare)?,
            commit_graph: keys.boolean("core", "commitGraph")?.unwrap_or(default.commit_graph),
            multi_pack_index: keys.boolean("core", "multiPackIndex")?.unwrap_or(default.multi_pack_index),
            use_bitmaps: keys.boolean("pack", "useBitmaps")?.unwrap_or(default.use_bitmaps),
            deny_deletes: keys.boolean("receive", "denyDeletes")?.unwrap_or(default.deny_deletes),
            deny_non_fast_forwards: keys.boolean("receive", "denyNonFastForwards")?.unwrap_or(default.deny_non_fast_forwards),
            deny_current_branch: keys.deny("denyCurrentBranch")?.unwrap_or(default.deny_current_branch),
            deny_delete_current: keys.deny("denyDeleteCurrent")?.unwrap_or(default.deny_delete_current),
            max_input_size_bytes: keys.unsigned("receive", "maxInputSize")?.unwrap_or(default.max_input_size_bytes),
            upload_hide_refs: keys.hide_refs("uploadpack"),
            receive_hide_refs: keys.hide_refs("receive"),
            namespace: default.namespace,
            fetch: FetchSettings::read(&keys)?,
            push: PushSettings::read(&keys)?,
            ls_refs_unborn: keys.unborn()?.unwrap_or(default.ls_refs_unborn),
            advertise_sid: keys.boolean("transfer", "advertiseSID")?.unwrap_or(default.advertise_sid),
            receive_keep_alive_s: keys.unsigned("receive", "keepAlive")?.unwrap_or(default.receive_keep_alive_s),
            archive_unreachable: keys.boolean("uploadarchive", "allowUnreachable")?.unwrap_or(default.archive_unreachable),
            archive_tgz: keys.archive_format("tgz")?.unwrap_or(default.archive_tgz),
            archive_tar_gz: keys.archive_format("tar.gz")?.unwrap_or(default.archive_tar_gz),
            tar_umask: keys.umask()?.unwrap_or(default.tar_umask),
            fsck_objects: receive_fsck.or(transfer_fsck),
            fsck: FsckSettings::read(&keys)?,
            hooks: HookSettings::read(&keys)?,
            delta_search: keys.delta_search()?,
        })
    }
}

impl Settings {
    /// What a drop-in takes from its environment beside the configuration.
    pub(super) fn read_env(&mut self, env: Env<'_>) -> Result<(), Error> {
        if let Some(value) = env("GIT_TEST_SIDEBAND_ALL") {
            let all = gix_config::Boolean::try_from(value).map_err(|_| Error::Config("GIT_TEST_SIDEBAND_ALL is no boolean".into()))?;
            if all.0 {
                self.fetch.allow_sideband_all = Some(true);
            }
        }
        if let Some(raw) = env("GIT_NAMESPACE") {
            self.namespace = namespace(raw.as_bytes().as_bstr())?;
        }
        Ok(())
    }
}

/// `a/b` into `refs/namespaces/a/refs/namespaces/b/` (gitnamespaces).
fn namespace(raw: &BStr) -> Result<BString, Error> {
    let mut name = BString::default();
    for part in raw.split_str("/").filter(|part| !part.is_empty()) {
        name.extend_from_slice(&[b"refs/namespaces/", part, b"/"].concat());
    }
    let valid = name.is_empty() || gix_validate::reference::name(name.trim_end_with(|end| end == '/').as_bstr()).is_ok();
    if valid { Ok(name) } else { Err(Error::Config(format!("bad git namespace path \"{raw}\""))) }
}

/// Keys whose values are words of their own.
impl Keys<'_> {
    fn delta_search(&self) -> Result<DeltaSearch, Error> {
        let default = DeltaSearch::default();
        let number = |name: &str| self.unsigned("pack", name);
        Ok(DeltaSearch {
            window: number("window")?.map_or(default.window, |window| window.min(PACK_WINDOW_MAX) as usize),
            depth: number("depth")?.map_or(default.depth, |depth| depth.min(PACK_DEPTH_MAX) as u32),
            threads: number("threads")?.map_or(default.threads, |threads| threads.min(PACK_THREADS_MAX) as usize),
            ..default
        })
    }

    /// Whether the archive format is served to clients (`tar.<format>.remote`).
    fn archive_format(&self, format: &str) -> Result<Option<bool>, Error> {
        let is_it = |subsection: &BString| *subsection == format;
        let of_it =
            self.all().filter(|entry| entry.section == "tar" && entry.name == "remote" && entry.subsection.as_ref().is_some_and(is_it));
        of_it.last().map(|entry| entry.value.boolean()).transpose()
    }

    fn deny(&self, name: &str) -> Result<Option<DenyCurrent>, Error> {
        let Some(value) = self.last("receive", name) else { return Ok(None) };
        let text = value.text.as_ref().map(|text| text.to_ascii_lowercase()).unwrap_or_default();
        Ok(Some(match text.as_slice() {
            b"ignore" => DenyCurrent::Ignore,
            b"warn" => DenyCurrent::Warn,
            b"refuse" => DenyCurrent::Refuse,
            b"updateinstead" => DenyCurrent::UpdateInstead,
            _ if value.boolean()? => DenyCurrent::Refuse,
            _ => DenyCurrent::Ignore,
        }))
    }

    /// Octal with a leading 0, as C reads it; `user` is `None`.
    fn umask(&self) -> Result<Option<Option<u32>>, Error> {
        let Some(value) = self.last("tar", "umask") else { return Ok(None) };
        let text = value.text.as_ref().and_then(|text| text.to_str().ok()).ok_or_else(|| value.bad())?;
        if text == "user" {
            return Ok(Some(None));
        }
        let radix = if text.len() > 1 && text.starts_with('0') { 8 } else { 10 };
        u32::from_str_radix(text, radix).map(|umask| Some(Some(umask & 0o777))).map_err(|_| value.bad())
    }

    fn unborn(&self) -> Result<Option<Unborn>, Error> {
        let Some(value) = self.last("lsrefs", "unborn") else { return Ok(None) };
        match value.text.as_ref().map(|text| text.as_slice()) {
            Some(b"advertise") => Ok(Some(Unborn::Advertise)),
            Some(b"allow") => Ok(Some(Unborn::Allow)),
            Some(b"ignore") => Ok(Some(Unborn::Ignore)),
            _ => Err(value.bad()),
        }
    }

    /// Where the key is not set, a repository with a work tree keeps the usual logs (`refs.c`: `should_autocreate_reflog`).
    fn log_refs(&self, bare: Option<bool>) -> Result<LogRefs, Error> {
        let Some(value) = self.last("core", "logAllRefUpdates") else {
            return Ok(if bare == Some(false) { LogRefs::Usual } else { LogRefs::Existing });
        };
        if value.text.as_ref().is_some_and(|text| text.eq_ignore_ascii_case(b"always")) {
            return Ok(LogRefs::Always);
        }
        Ok(if value.boolean()? { LogRefs::Usual } else { LogRefs::Existing })
    }

    /// `transfer.hideRefs` and `<service>.hideRefs` as they stand, without `/` at the end.
    fn hide_refs(&self, service: &str) -> Vec<BString> {
        self.all()
            .filter(|entry| entry.is("transfer", "hiderefs") || entry.is(service, "hiderefs"))
            .filter_map(|entry| Some(entry.value.text?.trim_end_with(|end| end == '/').into()))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(config: &str) -> Result<Settings, String> {
        Settings::read(&gix_config::File::try_from(config).unwrap()).map_err(|err| err.to_string())
    }

    #[test]
    fn an_empty_configuration_gives_gits_defaults() {
        assert_eq!(read("").unwrap(), Settings::default());
    }

    #[test]
    fn the_last_value_counts_and_names_ignore_case() {
        let read = read(
            "[receive]\ndenyDeletes\nDENYNONFASTFORWARDS=yes\nmaxinputsize=2k\ndenyCurrentBranch=updateInstead\ndenyDeleteCurrent=false\n\
             [Receive]\ndenydeletes=off\nkeepalive=-1\n[core]\nbare=false\n[transfer]\nfsckObjects=true\nhideRefs=refs/a/\n[uploadpack]\n\
             hiderefs=!refs/a/b\n[receive]\nhiderefs=refs/c\n[transfer]\nhiderefs=refs/d//\n[lsrefs]\nunborn=allow\n",
        )
        .unwrap();
        let wanted = Settings {
            bare: Some(false),
            log_refs: LogRefs::Usual,
            deny_deletes: false,
            deny_non_fast_forwards: true,
            deny_current_branch: DenyCurrent::UpdateInstead,
            deny_delete_current: DenyCurrent::Ignore,
            max_input_size_bytes: 2048,
            receive_keep_alive_s: 0,
            fsck_objects: Some(true),
            ls_refs_unborn: Unborn::Allow,
            upload_hide_refs: vec!["refs/a".into(), "!refs/a/b".into(), "refs/d".into()],
            receive_hide_refs: vec!["refs/a".into(), "refs/c".into(), "refs/d".into()],
            ..Settings::default()
        };
        assert_eq!(read, wanted);
    }

    #[test]
    fn the_search_for_deltas_goes_as_far_as_told_but_not_without_bound() {
        let default = DeltaSearch::default();
        let read = |config: &str| read(config).unwrap().delta_search;
        assert_eq!(read("[pack]\nwindow=0\ndepth=7\nthreads=1"), DeltaSearch { window: 0, depth: 7, threads: 1, ..default.clone() });
        let most = DeltaSearch { window: 250, depth: 4095, threads: 64, ..default };
        assert_eq!(read("[pack]\nwindow=1m\ndepth=1m\nthreads=1m"), most);
    }

    #[test]
    fn the_setting_of_the_service_wins_over_the_one_of_all_transfers() {
        assert_eq!(read("[receive]\nfsckObjects=false\n[transfer]\nfsckObjects=true").unwrap().fsck_objects, Some(false));
    }

    #[test]
    fn a_bad_value_is_an_error_that_names_its_key() {
        for (config, key) in [
            ("[receive]\ndenyDeletes=maybe", "receive.denyDeletes"),
            ("[receive]\nmaxInputSize=much", "receive.maxInputSize"),
            ("[receive]\nmaxInputSize", "receive.maxInputSize"),
            ("[receive]\ndenyCurrentBranch=perhaps", "receive.denyCurrentBranch"),
            ("[lsrefs]\nunborn=yes", "lsrefs.unborn"),
            ("[core]\nlogAllRefUpdates=sometimes", "core.logAllRefUpdates"),
        ] {
            let err = read(config).unwrap_err();
            assert!(err.contains(key), "{config}: {err}");
        }
    }

    #[test]
    fn a_namespace_nests_and_must_be_a_name() {
        let of = |raw: &str| namespace(raw.into()).map(|name| name.to_string()).map_err(|err| err.to_string());
        assert_eq!(of("").unwrap(), "");
        assert_eq!(of("a//b/").unwrap(), "refs/namespaces/a/refs/namespaces/b/");
        assert!(of("a/../b").unwrap_err().contains("bad git namespace path \"a/../b\""));
    }
}
