//! What can go wrong when a driver is asked. All of it denies; what the peer hears is [`Error::for_peer`].

/// What a callback may fail with: anything.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// A callback that gave no answer. `Display` is for the log.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The driver said that it failed.
    #[error("{callback} failed: {source}")]
    Failed {
        /// Which callback.
        callback: &'static str,
        /// What the driver said.
        source: BoxError,
    },
    /// The driver took too long.
    #[error("{callback} gave no answer within {timeout_ms} ms")]
    Late {
        /// Which callback.
        callback: &'static str,
        /// The deadline.
        timeout_ms: u64,
    },
    /// The driver panicked.
    #[error("{callback} panicked")]
    Panicked {
        /// Which callback.
        callback: &'static str,
    },
}

impl Error {
    /// One sentence for the peer.
    pub fn for_peer(&self) -> &'static str {
        "access could not be checked, so it is denied; tell the administrator, whose log says more"
    }
}
