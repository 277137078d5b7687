//! git's configuration into the values that this house honours.

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
        }
    }
}
