//! How bytes from a peer fail to be the git protocol. Sentences are meant for the peer.

/// A fault of the peer, or of the connection.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The bytes are not what the protocol allows here.
    #[error("protocol error: {0}")]
    Protocol(String),
    /// More of something than we take.
    #[error("too many {what}: at most {limit}")]
    Limit {
        /// What there is too much of.
        what: &'static str,
        /// The bound.
        limit: usize,
    },
    /// The request is well formed and cannot be served; the sentence is for the peer.
    #[error("{0}")]
    Request(String),
    /// The peer hung up in the middle of something.
    #[error("the remote end hung up unexpectedly")]
    HungUp,
    /// Reading or writing failed.
    #[error(transparent)]
    Io(#[from] std::io::Error),
}

impl Error {
    pub(crate) fn protocol(what: impl Into<String>) -> Self {
        Self::Protocol(what.into())
    }
}
