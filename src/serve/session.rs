//! What a request is before its first packet: service, protocol version, who decides what may be wanted.

use super::{HookOptions, PushStatistics, SharedState};
use crate::base::limits;
use crate::pack::check::CheckMode;
use crate::pack::index::IngestLimits;
use crate::store::{self, Repository, Snapshot, Spares};
use std::sync::{Arc, OnceLock};

/// Which of the two services.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Service {
    /// Sends a pack to a client that fetches.
    UploadPack,
    /// Takes a pack from a client that pushes.
    ReceivePack,
}

/// Protocol version (gitprotocol-v2, gitprotocol-pack "version 1").
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Protocol {
    /// The first one, without a version line.
    #[default]
    V0,
    /// As version 0 with a version line.
    V1,
    /// Commands; fetches only: a push falls back to version 0.
    V2,
}

impl Protocol {
    /// The version that the value of `GIT_PROTOCOL` asks for: the highest known one among its colon-separated `version=` keys.
    pub fn from_env(value: &str) -> Self {
        value.split(':').filter_map(|key| key.strip_prefix("version=")).fold(Self::V0, |best, version| match (version, best) {
            ("2", _) => Self::V2,
            ("1", Self::V0) => Self::V1,
            _ => best,
        })
    }
}

/// Which objects a client may ask for by id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Wants {
    /// git's rules: in version 2 any object; before, advertised tips and what the settings add.
    Git,
    /// Only what is reachable from visible refs, whatever the protocol.
    ReachableFromVisible,
}

/// Which capabilities are on where a repository's configuration is silent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Defaults {
    /// As git's own programs.
    Git,
    /// Everything that is safe.
    Safe {
        /// The deepest `tree:<depth>` filter, unless the repository says otherwise.
        tree_depth_max: u64,
    },
}

/// What signed pushes need, where the repository's configuration is silent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Certificates {
    /// What nonces are made of; `None`: push certificates are not taken.
    pub nonce_seed: Option<bstr::BString>,
    /// How old, in seconds, a nonce of another process may be.
    pub nonce_slop_s: u64,
    /// File of the SSH keys that may sign.
    pub allowed_signers: Option<bstr::BString>,
}

/// How to serve one request.
#[derive(Clone, Debug)]
pub struct Options {
    /// Protocol version that the client asked for.
    pub protocol: Protocol,
    /// One request and its answer only, as behind HTTP (`--stateless-rpc`).
    pub stateless: bool,
    /// Only the advertisement (`--http-backend-info-refs`).
    pub advertise_only: bool,
    /// Which objects may be wanted.
    pub wants: Wants,
    /// Which capabilities are on.
    pub defaults: Defaults,
    /// Milliseconds of silence after which a keep-alive is sent, unless the repository says otherwise; 0: never.
    pub keepalive_ms: u64,
    /// Bounds of a push.
    pub ingest: IngestLimits,
    /// Whether and how what is pushed is checked, unless the repository says otherwise.
    pub checks: CheckMode,
    /// Whether hooks are run, and how; `None`: no program is ever started.
    pub hooks: Option<HookOptions>,
    /// What is known of push certificates where the repository says nothing.
    pub certificates: Certificates,
    /// A push is told nothing of its progress, as when the client asks for that.
    pub quiet: bool,
    /// What was pushed is taken for whole (`--skip-connectivity-check`).
    pub skip_connectivity_check: bool,
    /// A pack whose deltas build on what is here already is refused (`--reject-thin-pack-for-testing`).
    pub reject_thin_pack: bool,
    /// What the repository is called in nonces of push certificates: the same for every process that serves it.
    pub place: bstr::BString,
    /// This session's id, advertised where `transfer.advertiseSID` says so.
    pub session_id: Option<String>,
    /// What the client calls the repository: told when a push makes it.
    pub repository_name: Option<String>,
    /// Where a push puts down what it changed and refused as soon as that is settled, for whoever wants to know it although the client
    /// was gone before the report and the push ends with an error.
    pub judged: Arc<OnceLock<PushStatistics>>,
    /// The name that stands in reflogs: `Name <mail>`.
    pub identity: bstr::BString,
    /// What the requests of one server share; `None`: this request stands alone.
    pub shared: Option<Arc<SharedState>>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            protocol: Protocol::V0,
            stateless: false,
            advertise_only: false,
            wants: Wants::Git,
            defaults: Defaults::Git,
            keepalive_ms: limits::KEEPALIVE_MS,
            ingest: IngestLimits::default(),
            checks: CheckMode::Off,
            hooks: None,
            certificates: Certificates::default(),
            quiet: false,
            skip_connectivity_check: false,
            reject_thin_pack: false,
            place: bstr::BString::default(),
            session_id: None,
            repository_name: None,
            judged: Arc::default(),
            identity: "packmule <packmule@localhost>".into(),
            shared: None,
        }
    }
}

impl Options {
    /// A view of `repository` as it is now; what has not changed since another request looked is shared with it.
    pub(super) fn snapshot(&self, repository: &Repository) -> Result<Snapshot, store::Error> {
        match &self.shared {
            Some(shared) => shared.snapshot(repository),
            None => repository.snapshot(),
        }
    }

    /// Where the quarantine of a push goes for the next one.
    pub(super) fn spares(&self) -> Option<Arc<Spares>> {
        self.shared.as_ref().map(|shared| shared.spares.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_highest_known_version_counts() {
        for (value, wanted) in [
            ("", Protocol::V0),
            ("version=2", Protocol::V2),
            ("version=1", Protocol::V1),
            ("foo:version=2:version=1", Protocol::V2),
            ("version=3", Protocol::V0),
            ("version=22", Protocol::V0),
        ] {
            assert_eq!(Protocol::from_env(value), wanted, "{value}");
        }
    }
}
