//! russh's callbacks into channels, environment and commands; everything that git does not need is refused.
//!
//! No callback waits without an end: while one does, nothing else of its connection moves.

use super::super::bridge::Inbox;
use super::super::hangup::Hangup;
use super::super::limits::GIT_PROTOCOL_BYTES_MAX;
use super::algorithms::accepts;
use super::connection::{Connection, Shared};
use super::conversation::{Ask, Conversation};
use crate::access::{Authentication, Credentials, KeyCredentials, PublicKey, UserId, printable};
use russh::server::{Auth, ChannelOpenHandle, Msg, PublicKeyOffer, Session, VerifiedPublicKey};
use russh::{Channel, ChannelId, ChannelOpenFailure, ChannelWriteHalf, Error, Pty};
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

/// Commands that may still run per channel: one that is just ending may overlap the next.
const RUNNING_PER_CHANNEL_MAX: usize = 2;

/// Who logged in, and with what.
#[derive(Clone, Debug)]
pub(super) struct Login {
    pub(super) user: UserId,
    pub(super) fingerprint: Arc<str>,
    /// What it was proved with, to ask again: connections may live long.
    pub(super) credentials: Credentials,
    pub(super) since: Instant,
    /// A command has come since.
    pub(super) is_used: Arc<AtomicBool>,
}

/// One connection's state between russh's callbacks.
pub(super) struct Handler {
    shared: Arc<Shared>,
    connection: Arc<Connection>,
    login: Option<Login>,
    channels: HashMap<ChannelId, ChannelState>,
}

struct ChannelState {
    /// Taken by the one command that the channel may run.
    writer: Option<ChannelWriteHalf<Msg>>,
    git_protocol: Option<String>,
    inbox: Arc<Inbox>,
    hangup: Arc<Hangup>,
    /// The command has said its last word. russh tells of a channel's end only where the client closes first.
    done: Arc<AtomicBool>,
}

impl ChannelState {
    fn hang_up(&self) {
        self.hangup.set();
        self.inbox.abort();
    }
}

impl Handler {
    pub(super) fn new(shared: Arc<Shared>, connection: Arc<Connection>) -> Self {
        Self { shared, connection, login: None, channels: HashMap::new() }
    }

    /// Start the one command of `channel`; false when there is no such channel or it has had its command.
    fn start(&mut self, channel: ChannelId, ask: Ask) -> bool {
        let (Some(login), Some(state)) = (self.login.clone(), self.channels.get_mut(&channel)) else { return false };
        // A client may close channels while their work runs on: that is bounded too.
        if self.connection.running() >= self.shared.limits.channels_max.saturating_mul(RUNNING_PER_CHANNEL_MAX) {
            return false;
        }
        let Some(writer) = state.writer.take() else { return false };
        let running = self.connection.begin_command();
        let conversation = Conversation {
            shared: self.shared.clone(),
            connection: self.connection.clone(),
            request: running.request(),
            login,
            git_protocol: state.git_protocol.take(),
            writer,
            inbox: state.inbox.clone(),
            hangup: state.hangup.clone(),
            done: state.done.clone(),
        };
        let (connection, done, inbox) = (self.connection.clone(), state.done.clone(), state.inbox.clone());
        tokio::spawn(async move {
            if let Err(bug) = tokio::spawn(conversation.run(ask)).await {
                // Nobody is left to end the channel, so the client would wait for ever.
                let bug = printable(&bug.to_string());
                tracing::error!(request = running.request(), %bug, "bug; connection closed");
                connection.guard.kill();
            }
            done.store(true, Ordering::Release);
            inbox.discard();
            drop(running);
        });
        true
    }
}

impl Drop for Handler {
    /// russh has let go of the connection, for whatever reason: all work for it ends.
    fn drop(&mut self) {
        self.channels.values().for_each(ChannelState::hang_up);
    }
}

impl russh::server::Handler for Handler {
    type Error = Error;

    async fn auth_publickey_offered(&mut self, _: &str, offer: PublicKeyOffer<'_>) -> Result<Auth, Error> {
        if !accepts(offer.algorithm) {
            return Ok(Auth::reject());
        }
        // A driver that cannot answer now gets the question again with the signature.
        let known = self.shared.driver.may_know(PublicKey::from_ssh(offer.public_key.clone())).await.unwrap_or(true);
        Ok(if known { Auth::Accept } else { Auth::reject() })
    }

    async fn auth_publickey(&mut self, user: &str, key: VerifiedPublicKey<'_>) -> Result<Auth, Error> {
        if !accepts(key.algorithm) {
            return Ok(Auth::reject());
        }
        let peer = self.connection.peer;
        let public_key = PublicKey::from_ssh(key.public_key.clone());
        let fingerprint: Arc<str> = public_key.fingerprint().into();
        let proof = KeyCredentials::new(public_key, user.to_owned(), key.algorithm.to_string(), peer);
        let connection = self.connection.number;
        let credentials = Credentials::PublicKey(proof);
        match self.shared.driver.authenticate(credentials.clone()).await {
            Ok(Authentication::Accepted(user)) => {
                tracing::info!(connection, %peer, %user, %fingerprint, "logged in");
                self.login = Some(Login { user, fingerprint, credentials, since: Instant::now(), is_used: Arc::default() });
                self.connection.logged_in();
                return Ok(Auth::Accept);
            }
            Ok(Authentication::Unknown) => tracing::info!(connection, %peer, claims = %printable(user), %fingerprint, "unknown key"),
            Ok(Authentication::Refused(why)) => {
                tracing::info!(connection, %peer, %fingerprint, why = printable(&why.to_string()), "refused key")
            }
            Err(error) => tracing::error!(connection, %peer, %fingerprint, error = printable(&error.to_string()), "login denied"),
        }
        Ok(Auth::reject())
    }

    async fn channel_open_session(&mut self, channel: Channel<Msg>, reply: ChannelOpenHandle, _: &mut Session) -> Result<(), Error> {
        self.channels.retain(|_, state| !state.done.load(Ordering::Acquire));
        if self.login.is_none() || self.channels.len() >= self.shared.limits.channels_max {
            reply.reject(ChannelOpenFailure::ResourceShortage).await;
            return Ok(());
        }
        // The read half is dropped: what it would carry comes through `data`, and it must not fill up unread.
        let (_, writer) = channel.split();
        let id = writer.id();
        let state =
            ChannelState { writer: Some(writer), git_protocol: None, inbox: Arc::default(), hangup: Arc::default(), done: Arc::default() };
        self.channels.insert(id, state);
        reply.accept().await;
        Ok(())
    }

    async fn channel_close(&mut self, channel: ChannelId, _: &mut Session) -> Result<(), Error> {
        if let Some(state) = self.channels.remove(&channel) {
            state.hang_up();
        }
        Ok(())
    }

    async fn channel_eof(&mut self, channel: ChannelId, _: &mut Session) -> Result<(), Error> {
        if let Some(state) = self.channels.get(&channel) {
            state.inbox.end();
        }
        Ok(())
    }

    async fn data(&mut self, channel: ChannelId, data: &[u8], _: &mut Session) -> Result<(), Error> {
        let Some(state) = self.channels.get(&channel) else { return Ok(()) };
        if state.writer.is_some() {
            // No command, and so nobody who would ever read it.
            return Ok(());
        }
        tokio::select! {
            () = state.inbox.push(data) => Ok(()),
            () = self.connection.guard.wait() => Err(Error::Disconnect),
            () = tokio::time::sleep(self.shared.limits.input_idle()) => Err(Error::Disconnect),
        }
    }

    async fn env_request(&mut self, channel: ChannelId, name: &str, value: &str, session: &mut Session) -> Result<(), Error> {
        match self.channels.get_mut(&channel) {
            Some(state) if name == "GIT_PROTOCOL" && is_git_protocol(value) => {
                state.git_protocol = Some(value.to_owned());
                session.channel_success(channel)
            }
            _ => session.channel_failure(channel),
        }
    }

    async fn exec_request(&mut self, channel: ChannelId, command: &[u8], session: &mut Session) -> Result<(), Error> {
        if self.start(channel, Ask::Command(command.to_vec())) {
            session.channel_success(channel)
        } else {
            session.channel_failure(channel)
        }
    }

    async fn shell_request(&mut self, channel: ChannelId, session: &mut Session) -> Result<(), Error> {
        if self.start(channel, Ask::Greeting) { session.channel_success(channel) } else { session.channel_failure(channel) }
    }

    async fn pty_request(
        &mut self,
        channel: ChannelId,
        _: &str,
        _: u32,
        _: u32,
        _: u32,
        _: u32,
        _: &[(Pty, u32)],
        session: &mut Session,
    ) -> Result<(), Error> {
        session.channel_failure(channel)
    }

    async fn x11_request(&mut self, channel: ChannelId, _: bool, _: &str, _: &str, _: u32, session: &mut Session) -> Result<(), Error> {
        session.channel_failure(channel)
    }

    async fn subsystem_request(&mut self, channel: ChannelId, _: &str, session: &mut Session) -> Result<(), Error> {
        session.channel_failure(channel)
    }
}

/// Whether `value` is `version=<digit>` keys and the like, separated by colons (gitprotocol-v2: "Initial Client Request").
///
/// Keys that we do not know are let through, as git does: a client may ask for more than one thing.
fn is_git_protocol(value: &str) -> bool {
    let is_key = |key: &str| !key.is_empty() && key.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"=-_.".contains(&byte));
    value.len() <= GIT_PROTOCOL_BYTES_MAX && value.split(':').all(is_key)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_keys_of_git_protocol_are_taken() {
        for (value, taken) in [
            ("version=2", true),
            ("version=1:version=2", true),
            ("version=2:object-format=sha256", true),
            ("", false),
            ("version=2:", false),
            ("version=2;id", false),
            ("version=2\nX=1", false),
        ] {
            assert_eq!(is_git_protocol(value), taken, "{value}");
        }
        assert!(!is_git_protocol(&"x".repeat(GIT_PROTOCOL_BYTES_MAX + 1)));
    }
}
