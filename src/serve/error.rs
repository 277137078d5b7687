//! What ends a request, named by whose fault it is. What the peer is shown is [`Error::for_peer`]; `Display` is for the log.

use crate::base::Cancelled;
use crate::{pack, store, walk, wire};

/// A request that did not come to its end.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The peer broke the protocol.
    #[error("protocol error: {0}")]
    Protocol(String),
    /// The peer asked for what it may not have; the sentence is for it.
    #[error("refused: {0}")]
    Refused(String),
    /// A bound of ours was hit; the sentence is for the peer.
    #[error("limit: {0}")]
    Limit(String),
    /// The peer went away.
    #[error("the peer hung up")]
    HungUp,
    /// The repository is damaged, in the way, or unreadable.
    #[error(transparent)]
    Store(store::Error),
    /// Pack data is damaged, a peer's or ours.
    #[error(transparent)]
    Pack(pack::Error),
    /// A walk went wrong.
    #[error(transparent)]
    Walk(walk::Error),
    /// The request was given up.
    #[error(transparent)]
    Cancelled(#[from] Cancelled),
    /// Reading from or writing to the peer failed.
    #[error(transparent)]
    Io(#[from] std::io::Error),
    /// What it was; the peer has been told already.
    #[error("{0}")]
    Told(Box<Error>),
    /// A fault of ours.
    #[error("bug: {0}")]
    Bug(String),
}

impl Error {
    /// One sentence for the peer, without paths; `None` when there is nobody to tell.
    pub fn for_peer(&self) -> Option<String> {
        self.sentence().map(|sentence| sentence.replace(char::is_control, "?"))
    }

    /// It may quote the peer, control characters and all.
    fn sentence(&self) -> Option<String> {
        match self {
            Self::Protocol(what) | Self::Refused(what) | Self::Limit(what) => Some(what.clone()),
            Self::HungUp | Self::Cancelled(_) | Self::Io(_) | Self::Told(_) => None,
            Self::Pack(pack::Error::BadPack(what) | pack::Error::BadObject { why: what, .. }) => Some(what.clone()),
            Self::Pack(pack::Error::Limit { what, limit }) => Some(format!("{what} exceeds the limit of {limit}")),
            Self::Pack(pack::Error::Missing(id)) => Some(format!("the repository lacks object {id}; tell its administrator")),
            Self::Store(err @ (store::Error::AlreadyCreated { .. } | store::Error::Rules(_))) => Some(err.to_string()),
            Self::Pack(_) | Self::Store(_) => {
                Some("the repository cannot be read or written; tell its administrator, whose log says more".to_owned())
            }
            Self::Walk(_) => Some("the repository is damaged; tell its administrator, whose log says more".to_owned()),
            Self::Bug(_) => Some("internal error; tell the administrator, whose log says more".to_owned()),
        }
    }
}

impl From<store::Error> for Error {
    fn from(err: store::Error) -> Self {
        match err {
            store::Error::Pack(err) => err.into(),
            err => Self::Store(err),
        }
    }
}

impl From<pack::Error> for Error {
    fn from(err: pack::Error) -> Self {
        match err {
            pack::Error::Cancelled(err) => Self::Cancelled(err),
            err => Self::Pack(err),
        }
    }
}

impl From<walk::Error> for Error {
    fn from(err: walk::Error) -> Self {
        match err {
            walk::Error::Pack(err) => err.into(),
            walk::Error::Cancelled(err) => Self::Cancelled(err),
            err => Self::Walk(err),
        }
    }
}

impl From<wire::Error> for Error {
    fn from(err: wire::Error) -> Self {
        match err {
            wire::Error::Protocol(what) => Self::Protocol(what),
            wire::Error::Request(what) => Self::Refused(what),
            wire::Error::Limit { what, limit } => Self::Limit(format!("too many {what}: at most {limit}")),
            wire::Error::HungUp => Self::HungUp,
            wire::Error::Io(err) if err.get_ref().is_some_and(|cause| cause.is::<Cancelled>()) => Self::Cancelled(Cancelled),
            wire::Error::Io(err) => Self::Io(err),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_loses_the_race_to_create_a_repository_is_told_to_push_again() {
        let told = |err: store::Error| Error::from(err).for_peer().unwrap();
        assert_eq!(told(store::Error::AlreadyCreated { name: "g/x".into() }), "'g/x' was created by somebody else meanwhile; push again");
        assert!(!told(store::Error::NotARepository("/srv/g".into())).contains("/srv"));
    }
}
