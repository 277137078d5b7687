//! git's configuration into the values that this house honours.
//!
//! Source: git-config, "receive.*", "transfer.*", "uploadpack.*", "lsrefs.unborn", "core.logAllRefUpdates",
//! "core.commitGraph", "core.multiPackIndex", "pack.useBitmaps".
//! The last value of a key counts, wherever it stands. A value that cannot be understood is an error that
//! names key and file, as in git.

use super::Error;
use bstr::{BString, ByteSlice};

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
    /// `receive.advertiseAtomic`.
    pub advertise_atomic: bool,
    /// `repack.useDeltaBaseOffset`: whether `ofs-delta` is advertised for pushes.
    pub prefer_ofs_delta: bool,
    /// `transfer.hideRefs` and `uploadpack.hideRefs`, in order.
    pub upload_hide_refs: Vec<bstr::BString>,
    /// `transfer.hideRefs` and `receive.hideRefs`, in order.
    pub receive_hide_refs: Vec<bstr::BString>,
    /// `uploadpack.allowTipSHA1InWant`, or implied by `allowAnySHA1InWant`.
    pub allow_tip_sha1_in_want: bool,
    /// `uploadpack.allowReachableSHA1InWant`, or implied by `allowAnySHA1InWant`.
    pub allow_reachable_sha1_in_want: bool,
    /// `uploadpack.allowAnySHA1InWant`.
    pub allow_any_sha1_in_want: bool,
    /// `lsrefs.unborn`: whether an unborn HEAD is advertised, and told about when asked.
    pub ls_refs_unborn: Unborn,
    /// `transfer.advertiseSID`.
    pub advertise_sid: bool,
    /// `transfer.advertiseObjectInfo`.
    pub advertise_object_info: bool,
    /// `uploadpack.keepAlive` in seconds; 0 turns it off.
    pub keep_alive_s: u64,
    /// `receive.keepAlive` in seconds; 0 turns it off.
    pub receive_keep_alive_s: u64,
    /// `receive.fsckObjects`, else `transfer.fsckObjects`; `None` where neither is set.
    pub fsck_objects: Option<bool>,
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
            deny_current_branch: DenyCurrent::Refuse,
            deny_delete_current: DenyCurrent::Refuse,
            max_input_size_bytes: 0,
            advertise_atomic: true,
            prefer_ofs_delta: true,
            upload_hide_refs: vec![],
            receive_hide_refs: vec![],
            allow_tip_sha1_in_want: false,
            allow_reachable_sha1_in_want: false,
            allow_any_sha1_in_want: false,
            ls_refs_unborn: Unborn::Advertise,
            advertise_sid: false,
            advertise_object_info: false,
            keep_alive_s: 5,
            receive_keep_alive_s: 5,
            fsck_objects: None,
        }
    }
}

impl Settings {
    /// Pick the values out of a configuration that has been put together in order of precedence.
    pub(super) fn read(config: &gix_config::File) -> Result<Self, Error> {
        let keys = Keys(config);
        let default = Self::default();
        let bare = keys.boolean("core", "bare")?;
        let any = keys.boolean("uploadpack", "allowAnySHA1InWant")?.unwrap_or(false);
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
            advertise_atomic: keys.boolean("receive", "advertiseAtomic")?.unwrap_or(default.advertise_atomic),
            prefer_ofs_delta: keys.boolean("repack", "useDeltaBaseOffset")?.unwrap_or(default.prefer_ofs_delta),
            upload_hide_refs: keys.hide_refs("uploadpack"),
            receive_hide_refs: keys.hide_refs("receive"),
            allow_tip_sha1_in_want: any || keys.boolean("uploadpack", "allowTipSHA1InWant")?.unwrap_or(false),
            allow_reachable_sha1_in_want: any || keys.boolean("uploadpack", "allowReachableSHA1InWant")?.unwrap_or(false),
            allow_any_sha1_in_want: any,
            ls_refs_unborn: keys.unborn()?.unwrap_or(default.ls_refs_unborn),
            advertise_sid: keys.boolean("transfer", "advertiseSID")?.unwrap_or(default.advertise_sid),
            advertise_object_info: keys.boolean("transfer", "advertiseObjectInfo")?.unwrap_or(default.advertise_object_info),
            keep_alive_s: keys.unsigned("uploadpack", "keepAlive")?.unwrap_or(default.keep_alive_s),
            receive_keep_alive_s: keys.unsigned("receive", "keepAlive")?.unwrap_or(default.receive_keep_alive_s),
            fsck_objects: receive_fsck.or(transfer_fsck),
        })
    }
}

/// Values by key, with the file that a bad one stands in.
struct Keys<'a>(&'a gix_config::File);

/// The last value of a key (`None`: the key stands there without `=`), and where it stands.
struct Value {
    text: Option<BString>,
    key: String,
    origin: String,
}

impl Value {
    fn bad(&self) -> Error {
        let text = self.text.as_ref().map_or_else(String::new, |text| format!("'{text}' "));
        Error::Config(format!("{}: bad value {text}of {}", self.origin, self.key))
    }

    fn boolean(&self) -> Result<bool, Error> {
        match &self.text {
            None => Ok(true),
            Some(text) => gix_config::Boolean::try_from(text.as_bstr()).map(|value| value.0).map_err(|_| self.bad()),
        }
    }
}

impl Keys<'_> {
    fn last(&self, section: &str, name: &str) -> Option<Value> {
        let plain = |found: &gix_config::file::SectionRef<'_>| found.header().subsection_name().is_none();
        let sections: Vec<_> = self.0.sections_by_name(section)?.filter(plain).collect();
        sections.iter().rev().find_map(|found| {
            let text = found.value_implicit(name)?;
            let origin = found.meta().path.as_ref().map_or_else(|| "environment".to_owned(), |path| path.display().to_string());
            Some(Value { text, key: format!("{section}.{name}"), origin })
        })
    }

    fn boolean(&self, section: &str, name: &str) -> Result<Option<bool>, Error> {
        self.last(section, name).map(|value| value.boolean()).transpose()
    }

    /// A number that means nothing when it is negative: then it is 0.
    fn unsigned(&self, section: &str, name: &str) -> Result<Option<u64>, Error> {
        let Some(value) = self.last(section, name) else { return Ok(None) };
        let text = value.text.as_ref().ok_or_else(|| value.bad())?;
        let number: i64 = gix_config::Integer::from_bytes(text).map_err(|_| value.bad())?;
        Ok(Some(u64::try_from(number).unwrap_or(0)))
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
        let counts = |name: &[u8]| name.eq_ignore_ascii_case(b"transfer") || name.eq_ignore_ascii_case(service.as_bytes());
        self.0
            .sections()
            .filter(|section| counts(section.header().name()) && section.header().subsection_name().is_none())
            .flat_map(|section| section.values("hideRefs"))
            .map(|pattern| pattern.trim_end_with(|end| end == '/').into())
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
             allowAnySHA1InWant=true\nhiderefs=!refs/a/b\n[receive]\nhiderefs=refs/c\n[transfer]\nhiderefs=refs/d//\n[lsrefs]\nunborn=allow\n",
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
            allow_tip_sha1_in_want: true,
            allow_reachable_sha1_in_want: true,
            allow_any_sha1_in_want: true,
            ls_refs_unborn: Unborn::Allow,
            upload_hide_refs: vec!["refs/a".into(), "!refs/a/b".into(), "refs/d".into()],
            receive_hide_refs: vec!["refs/a".into(), "refs/c".into(), "refs/d".into()],
            ..Settings::default()
        };
        assert_eq!(read, wanted);
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
}
