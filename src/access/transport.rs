//! How a client reached the server: what a driver may want to know of the way itself.

use std::net::{IpAddr, SocketAddr};

/// The way between one client and the server.
///
/// A driver sees it in the [`Credentials`](super::Credentials), and again when it authorises and locates: rules may depend on
/// the source address, and one path may mean different repositories on different ways.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Transport {
    kind: TransportKind,
    is_encrypted: bool,
    peer: Option<SocketAddr>,
    host: Option<String>,
}

/// The protocol that carries git's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum TransportKind {
    /// SSH: always encrypted.
    Ssh,
    /// HTTP: encrypted where it is HTTPS.
    Http,
    /// `git://`: never encrypted, and nobody has a name there.
    Git,
    /// Within this process.
    InMemory,
}

impl TransportKind {
    /// The word by which rules and log lines name it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ssh => "ssh",
            Self::Http => "http",
            Self::Git => "git",
            Self::InMemory => "in-memory",
        }
    }
}

impl std::fmt::Display for TransportKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Transport {
    /// SSH from `peer`.
    pub fn ssh(peer: SocketAddr) -> Self {
        Self { kind: TransportKind::Ssh, is_encrypted: true, peer: Some(peer), host: None }
    }

    /// HTTP, or HTTPS where it `is_encrypted`; no `peer` where it came through a unix socket.
    pub fn http(peer: Option<SocketAddr>, is_encrypted: bool) -> Self {
        Self { kind: TransportKind::Http, is_encrypted, peer, host: None }
    }

    /// `git://` from `peer`.
    pub fn git(peer: SocketAddr) -> Self {
        Self { kind: TransportKind::Git, is_encrypted: false, peer: Some(peer), host: None }
    }

    /// Nothing leaves this process.
    pub fn in_memory() -> Self {
        Self { kind: TransportKind::InMemory, is_encrypted: true, peer: None, host: None }
    }

    /// The client said that it wants this host (HTTP's `Host`, the `host=` of `git://`): a claim.
    #[must_use]
    pub fn to_host(mut self, host: impl Into<String>) -> Self {
        self.host = Some(host.into());
        self
    }

    /// Which protocol.
    pub fn kind(&self) -> TransportKind {
        self.kind
    }

    /// Whether nobody on the way can read or change what is said. Secrets are worth nothing where they can.
    pub fn is_encrypted(&self) -> bool {
        self.is_encrypted
    }

    /// Where the client connects from; none where there is no such address.
    pub fn peer(&self) -> Option<SocketAddr> {
        self.peer
    }

    /// The address alone; an IPv4 address that came in the form of IPv6 is an IPv4 address.
    pub fn peer_ip(&self) -> Option<IpAddr> {
        self.peer.map(|peer| peer.ip().to_canonical())
    }

    /// The host that the client named, where its protocol has it say so.
    pub fn host(&self) -> Option<&str> {
        self.host.as_deref()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_way_knows_what_it_is() {
        let peer: SocketAddr = "[::ffff:192.0.2.1]:7".parse().expect("an address");
        let ways = [
            (Transport::ssh(peer), "ssh", true, true),
            (Transport::http(Some(peer), true), "http", true, true),
            (Transport::http(None, false), "http", false, false),
            (Transport::git(peer), "git", false, true),
            (Transport::in_memory(), "in-memory", true, false),
        ];
        for (way, word, is_encrypted, has_peer) in ways {
            assert_eq!((way.kind().as_str(), way.is_encrypted(), way.peer().is_some()), (word, is_encrypted, has_peer));
        }
        assert_eq!(Transport::ssh(peer).peer_ip(), Some("192.0.2.1".parse().expect("an address")));
        assert_eq!(Transport::git(peer).to_host("git.example").host(), Some("git.example"));
    }
}
