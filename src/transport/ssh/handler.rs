//! russh's callbacks into channels, environment and commands; everything that git does not need is refused.
//!
//! No callback waits without an end: while one does, nothing else of its connection moves.

use super::super::audit::Attempt;
use super::super::bridge::Inbox;
use super::super::hangup::Hangup;
use super::super::limits::{GIT_PROTOCOL_BYTES_MAX, OFFERS_PER_ATTEMPT_MAX, PASSWORD_BYTES_MAX, PENALTY_PAUSE_MS};
use super::algorithms::{UNTOUCHED, method_set};
use super::connection::{Connection, Shared};
use super::conversation::{Ask, Conversation};
use crate::access::{AuthMethods, Certificate, Credentials, LogIn, PublicKey, Secret, Session as Visit, Transport, UserId, printable};
use russh::server::{Auth, ChannelOpenHandle, Msg, PublicKeyOffer, Response, Session, VerifiedPublicKey};
use russh::{Channel, ChannelId, ChannelOpenFailure, ChannelWriteHalf, Error, Pty};
use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Commands that may still run per channel: one that is just ending may overlap the next.
const RUNNING_PER_CHANNEL_MAX: usize = 2;

/// Who logged in, and with what.
#[derive(Clone, Debug)]
pub(super) struct Login {
    pub(super) user: UserId,
    /// What it was proved with, in words.
    pub(super) proof: Arc<str>,
    pub(super) session: Arc<Visit>,
    pub(super) since: Instant,
    /// A command has come since.
    pub(super) is_used: Arc<AtomicBool>,
}

/// One connection's state between russh's callbacks.
pub(super) struct Handler {
    shared: Arc<Shared>,
    connection: Arc<Connection>,
    login: Option<Login>,
    /// What the drivers take, once they have been asked.
    methods: Option<AuthMethods>,
    /// Keys that the client has asked about, and times that it wanted to be asked for a password.
    questions: usize,
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
        Self { shared, connection, login: None, methods: None, questions: 0, channels: HashMap::new() }
    }

    fn transport(&self) -> Transport {
        Transport::ssh(self.connection.peer)
    }

    /// Whether these credentials let somebody in.
    async fn log_in(&mut self, credentials: Credentials) -> bool {
        let peer = self.connection.peer.ip();
        let proof: Arc<str> = credentials.proof().into();
        let claims = credentials.user_name().to_owned();
        let attempt = Attempt { claims: &claims, proof: &proof };
        let audited = &self.connection.audited;
        let is_anonymous = matches!(credentials, Credentials::Anonymous(_));
        if !is_anonymous {
            self.connection.tried();
        }
        if let Some(why) = self.shared.penalties.judge(peer, &credentials) {
            self.connection.excused();
            // Every client tries first whether it has to show anything.
            if !is_anonymous {
                audited.login_refused(&attempt, "penalty", Some(&why));
                penalty_pause().await;
            }
            return false;
        }
        let is_password = matches!(credentials, Credentials::Password(_));
        match self.shared.door.log_in(credentials).await {
            Ok(LogIn::Accepted(session)) => {
                let user = session.user().clone();
                let Some(place) = self.shared.users.enter(user.as_str().to_owned()) else {
                    self.connection.excused();
                    audited.login_refused(&attempt, "too many", Some("connections_per_user_max"));
                    return false;
                };
                self.shared.penalties.succeeded(peer, session.credentials());
                audited.logged_in(&attempt, &user);
                self.login = Some(Login { user, proof, session: Arc::new(session), since: Instant::now(), is_used: Arc::default() });
                self.connection.logged_in(place, is_anonymous);
                return true;
            }
            // Every client tries first whether it has to show anything.
            Ok(LogIn::Unknown | LogIn::Refused(_)) if is_anonymous => {
                tracing::debug!(connection = self.connection.number, claims = printable(&claims), "not anonymous");
            }
            Ok(no @ (LogIn::Unknown | LogIn::Refused(_))) => {
                self.connection.guessed();
                match no {
                    LogIn::Refused(why) => audited.login_refused(&attempt, "refused", Some(&why.to_string())),
                    _ => audited.login_refused(&attempt, "unknown", None),
                }
                if is_password && let Some(seconds) = self.shared.penalties.wrong_password(peer, &claims) {
                    audited.penalty_begins(&format!("user {claims}"), seconds);
                }
            }
            Err(error) => {
                self.connection.excused();
                tracing::error!(connection = self.connection.number, error = printable(&error.to_string()), "login denied");
                audited.login_refused(&attempt, "failed", Some(&error.to_string()));
            }
        }
        false
    }

    /// What the drivers take; asked once per connection.
    async fn methods(&mut self) -> AuthMethods {
        match self.methods {
            Some(methods) => methods,
            None => *self.methods.insert(self.shared.door.methods(&self.transport()).await),
        }
    }

    /// russh counts what is rejected, and nothing else.
    fn count_question(&mut self) -> Result<(), Error> {
        self.questions += 1;
        let most = self.shared.limits.auth_attempts_max.saturating_mul(OFFERS_PER_ATTEMPT_MAX);
        if self.questions > most { Err(Error::Disconnect) } else { Ok(()) }
    }

    /// The same in SSH's words, to go on with.
    async fn no(&mut self) -> Auth {
        Auth::Reject { proceed_with_methods: Some(method_set(self.methods().await)), partial_success: false }
    }

    async fn log_in_with_password(&mut self, user: &str, password: &str) -> Auth {
        if password.len() > PASSWORD_BYTES_MAX || !self.methods().await.passwords {
            return self.no().await;
        }
        let credentials = Credentials::password(user, Secret::new(password), self.transport());
        if self.log_in(credentials).await { Auth::Accept } else { self.no().await }
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
        let ask = match login.session.credentials() {
            Credentials::Certificate(shown) => {
                shown.certificate.forced_command().map_or(ask, |forced| Ask::Command(forced.as_bytes().to_vec()))
            }
            _ => ask,
        };
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

    async fn auth_none(&mut self, user: &str) -> Result<Auth, Error> {
        let nobody = Credentials::anonymous(user, self.transport());
        Ok(if self.methods().await.anonymous && self.log_in(nobody).await { Auth::Accept } else { self.no().await })
    }

    async fn auth_password(&mut self, user: &str, password: &str) -> Result<Auth, Error> {
        Ok(self.log_in_with_password(user, password).await)
    }

    /// One question, and the password is its answer.
    async fn auth_keyboard_interactive<'a>(&'a mut self, user: &str, _: &str, response: Option<Response<'a>>) -> Result<Auth, Error> {
        if !self.methods().await.passwords {
            return Ok(self.no().await);
        }
        let Some(mut response) = response else {
            self.count_question()?;
            let prompts = vec![(Cow::Borrowed("Password: "), false)].into();
            return Ok(Auth::Partial { name: Cow::Borrowed(""), instructions: Cow::Borrowed(""), prompts });
        };
        let (answer, more) = (response.next(), response.next());
        match (answer.as_deref().map(std::str::from_utf8), more) {
            (Some(Ok(password)), None) => Ok(self.log_in_with_password(user, password).await),
            _ => Ok(self.no().await),
        }
    }

    async fn auth_publickey_offered(&mut self, user: &str, offer: PublicKeyOffer<'_>) -> Result<Auth, Error> {
        self.connection.tried();
        self.count_question()?;
        let algorithms = self.shared.algorithms;
        if !algorithms.accepts(offer.algorithm) {
            if algorithms.wants_touch(offer.algorithm) {
                let proof = PublicKey::from_ssh(offer.public_key.clone()).fingerprint();
                self.connection.audited.login_refused(&Attempt { claims: user, proof: &proof }, "refused", Some(UNTOUCHED));
            }
            return Ok(Auth::reject());
        }
        // A driver that cannot answer now gets the question again with the signature.
        // Whether it comes in a certificate is not told here.
        if self.methods().await.certificates {
            return Ok(Auth::Accept);
        }
        let known = self.shared.door.may_know(&PublicKey::from_ssh(offer.public_key.clone())).await;
        if !known && self.shared.penalties.lasts_at(self.connection.peer.ip()) {
            penalty_pause().await;
        }
        Ok(if known { Auth::Accept } else { Auth::reject() })
    }

    async fn auth_publickey(&mut self, user: &str, key: VerifiedPublicKey<'_>) -> Result<Auth, Error> {
        if !self.shared.algorithms.accepts(key.algorithm) {
            return Ok(Auth::reject());
        }
        let public_key = PublicKey::from_ssh(key.public_key.clone());
        let credentials = Credentials::public_key(public_key, user.to_owned(), key.algorithm.to_string(), self.transport());
        Ok(if self.log_in(credentials).await { Auth::Accept } else { Auth::reject() })
    }

    async fn auth_openssh_certificate(&mut self, user: &str, shown: &russh::keys::Certificate) -> Result<Auth, Error> {
        let transport = self.transport();
        match Certificate::check(shown, transport.peer_ip(), self.shared.door.now_s()) {
            Ok(certificate) => {
                let credentials = Credentials::certificate(certificate, user.to_owned(), transport);
                Ok(if self.log_in(credentials).await { Auth::Accept } else { Auth::reject() })
            }
            Err(fault) => {
                let key = PublicKey::from_ssh(shown.public_key().clone().into()).fingerprint();
                let proof = format!("certificate '{}' for {key}", shown.key_id());
                self.connection.audited.login_refused(&Attempt { claims: user, proof: &proof }, "refused", Some(&fault.to_string()));
                Ok(Auth::reject())
            }
        }
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

/// Whoever has a penalty and goes on trying does so slowly.
async fn penalty_pause() {
    tokio::time::sleep(Duration::from_millis(PENALTY_PAUSE_MS)).await;
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
