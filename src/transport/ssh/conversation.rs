//! One command into its answer: who is it, may they, where does it lie, engine, exit status, end.
//!
//! A refusal before the engine starts is an `ERR` packet: git prints its sentence and nothing else. What is no
//! git command at all hears its sentence on standard error.

use super::super::audit::{self, Asked, Outcome};
use super::super::bridge::{Inbox, outbox};
use super::super::hangup::Hangup;
use super::super::limits::GOODBYE_MS;
use super::command::{self, GitCommand};
use super::connection::{Connection, Phase, Shared};
use super::guarded::Guard;
use super::handler::Login;
use super::reply;
use crate::access::{Admission, Caller, Description, Granted, RequestPath, Turn, printable};
use crate::base::Cancel;
use crate::serve::{self, Defaults, Options, Protocol, PushStatistics, Service, Wants};
use crate::store::Repository;
use bytes::Bytes;
use russh::ChannelWriteHalf;
use russh::server::Msg;
use std::future::Future;
use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use tokio::sync::{OwnedSemaphorePermit, mpsc};

/// Exit statuses of a command: fine, refused, as git's programs end on a fatal error, a bug of ours.
const FINE: u32 = 0;
const REFUSED: u32 = 1;
const FATAL: u32 = 128;
const BUG: u32 = 70;
/// The data type of standard error (RFC 4254, section 5.2).
const STDERR: u32 = 1;
/// How often one piece for a slow client may take the time in which at least a byte must move.
const STALLS_MAX: u32 = 10;

/// What the client wants of a channel.
pub(super) enum Ask {
    /// Nothing in particular: it asked for a shell.
    Greeting,
    /// This command.
    Command(Vec<u8>),
}

/// Everything that one command needs.
pub(super) struct Conversation {
    pub(super) shared: Arc<Shared>,
    pub(super) connection: Arc<Connection>,
    pub(super) request: String,
    pub(super) login: Login,
    pub(super) git_protocol: Option<String>,
    pub(super) writer: ChannelWriteHalf<Msg>,
    pub(super) inbox: Arc<Inbox>,
    pub(super) hangup: Arc<Hangup>,
    /// To be set when the channel is about to be closed.
    pub(super) done: Arc<AtomicBool>,
}

/// A repository and the rules for it.
struct Ready {
    repository: Repository,
    granted: Granted,
}

/// A login is as good as new for the first command that comes so soon.
const NEW_LOGIN_MS: u128 = 10_000;

/// Why they hear it.
const NOT_KNOWN: &str = "what they logged in with counts no more";

/// What somebody hears whose key counts no more.
const FORGOTTEN: &str = "you are not known here any more; connect anew";

/// Why a command does not reach the engine.
struct Denied {
    sentence: String,
    status: u32,
    verdict: &'static str,
    /// For the log: why, with the rule.
    why: Option<String>,
}

impl Denied {
    fn refused(sentence: &str) -> Self {
        Self { sentence: sentence.to_owned(), status: REFUSED, verdict: "refused", why: Some(sentence.to_owned()) }
    }
}

/// What the engine did, for the log.
struct Done {
    objects: u64,
    pack_bytes: u64,
    /// Not one command of a push happened.
    all_refused: bool,
    /// What a push did to refs.
    refs: Option<String>,
    created: bool,
}

impl Done {
    /// Of a push.
    fn pushed(done: &PushStatistics) -> Self {
        let all_refused = done.refused > 0 && done.updated.is_empty();
        Self { objects: done.objects, pack_bytes: done.pack_bytes, all_refused, refs: audit::refs(done), created: done.created }
    }
}

impl Conversation {
    pub(super) async fn run(self, ask: Ask) {
        match ask {
            Ask::Greeting => self.greet().await,
            Ask::Command(line) => match command::parse(&line) {
                Ok(command) => self.serve(command).await,
                Err(sentence) => {
                    let line = String::from_utf8_lossy(&line).into_owned();
                    self.audit(&line, None, Outcome { verdict: "refused", why: Some("no git command".to_owned()), ..Outcome::default() });
                    self.tell(Some(STDERR), Bytes::from(format!("packmule: {sentence}\n")), REFUSED).await;
                }
            },
        }
    }

    async fn greet(&self) {
        self.inbox.discard();
        if !self.is_still_known().await.unwrap_or(false) {
            self.audit("greeting", None, Outcome { verdict: "refused", why: Some(NOT_KNOWN.to_owned()), ..Outcome::default() });
            return self.tell(Some(STDERR), Bytes::from(format!("packmule: {FORGOTTEN}\n")), REFUSED).await;
        }
        let description = match self.login.session.caller().await {
            Ok(caller) => self.describe(&caller).await,
            Err(error) => {
                let error = printable(&error.to_string());
                tracing::error!(request = %self.request, %error, "greeting without rights");
                None
            }
        };
        self.audit("greeting", None, Outcome { verdict: "done", ..Outcome::default() });
        let text = reply::greeting(&self.login.user, &self.login.proof, description.as_ref());
        self.tell(None, Bytes::from(text), FINE).await;
    }

    /// None where the driver gave no answer: then nothing is said about it either.
    async fn describe(&self, caller: &Caller) -> Option<Description> {
        let described = caller.describe().await;
        described
            .inspect_err(|error| tracing::error!(request = %self.request, error = printable(&error.to_string()), "no description"))
            .ok()
    }

    async fn serve(self, command: GitCommand) {
        let began = Instant::now();
        tracing::debug!(request = %self.request, user = %self.login.user, path = %command.path, service = ?command.service, "begins");
        match self.prepare(&command).await {
            Ok(ready) => self.run_engine(command, ready, began).await,
            Err(Denied { sentence, status, verdict, why }) => {
                self.audit(
                    command.word(),
                    Some(&command.path),
                    Outcome { verdict, why, duration_ms: ms_since(began), ..Outcome::default() },
                );
                self.tell(None, reply::err_packet(&sentence), status).await;
            }
        }
    }

    /// The line about this command.
    fn audit(&self, service: &str, path: Option<&RequestPath>, outcome: Outcome) {
        let asked = Asked { request: &self.request, user: &self.login.user, proof: &self.login.proof, service, path };
        self.connection.audited.command(&asked, outcome);
    }

    /// The callbacks in their order, then the repository itself.
    async fn prepare(&self, command: &GitCommand) -> Result<Ready, Denied> {
        if self.shared.is_stopping() {
            return Err(Denied::refused("the server is stopping; try again in a moment"));
        }
        let failed = |error: crate::access::Error| {
            let shown = printable(&error.to_string());
            tracing::error!(request = %self.request, user = %self.login.user, path = %command.path, error = %shown, "access denied");
            Denied { sentence: error.for_peer().to_owned(), status: FATAL, verdict: "failed", why: Some(error.to_string()) }
        };
        if !self.is_still_known().await.map_err(failed)? {
            return Err(Denied { why: Some(NOT_KNOWN.to_owned()), ..Denied::refused(FORGOTTEN) });
        }
        let caller = self.login.session.caller().await.map_err(failed)?;
        let granted = match caller.ask(command.service.into(), &command.path).await.map_err(failed)? {
            Admission::Granted(granted) => granted,
            Admission::Refused(refusal) => {
                let sentence = match refusal.for_peer() {
                    Some(sentence) => sentence,
                    None => self.no_repository(command, &caller).await,
                };
                return Err(Denied { sentence, status: REFUSED, verdict: "refused", why: Some(refusal.to_string()) });
            }
            Admission::NotFound => {
                let sentence = self.no_repository(command, &caller).await;
                return Err(Denied { sentence, status: REFUSED, verdict: "not found", why: None });
            }
        };
        match self.open(granted).await {
            Ok(Some(ready)) => Ok(ready),
            Ok(None) => {
                let sentence = self.no_repository(command, &caller).await;
                Err(Denied { sentence, status: REFUSED, verdict: "not found", why: None })
            }
            Err(sentence) => Err(Denied { verdict: "failed", why: Some(sentence.clone()), sentence, status: FATAL }),
        }
    }

    /// Whether the driver would still let in whoever logged in: a connection may outlive a key.
    async fn is_still_known(&self) -> Result<bool, crate::access::Error> {
        let login = &self.login;
        if !login.is_used.swap(true, Ordering::Relaxed) && login.since.elapsed().as_millis() < NEW_LOGIN_MS {
            return Ok(true);
        }
        login.session.is_still_known().await
    }

    async fn open(&self, granted: Granted) -> Result<Option<Ready>, String> {
        let opened = tokio::task::spawn_blocking(move || {
            granted.open().map(|repository| repository.map(|repository| Ready { repository, granted }))
        })
        .await;
        let error = match opened {
            Ok(Ok(ready)) => return Ok(ready),
            Ok(Err(crate::store::Error::BadName { name, why })) => {
                return Err(format!("'{}' is no name for a repository: {why}", printable(&name)));
            }
            Ok(Err(crate::store::Error::InTheWay(what))) => {
                // It speaks of names beneath the root, and whoever gets here may know that they exist.
                tracing::error!(request = %self.request, user = %self.login.user, what = printable(&what), "repository cannot be opened");
                return Err(what);
            }
            Ok(Err(error)) => error.to_string(),
            Err(panic) => panic.to_string(),
        };
        tracing::error!(request = %self.request, user = %self.login.user, error = printable(&error), "repository cannot be opened");
        Err("the repository cannot be opened; tell its administrator, whose log says more".to_owned())
    }

    async fn no_repository(&self, command: &GitCommand, caller: &Caller) -> String {
        let description = self.describe(caller).await;
        reply::no_repository(&command.path, &self.login.user, description.as_ref())
    }

    /// Wait for a place among the commands at once; none where the client is gone, a sentence where it waited in vain.
    async fn turn(&self) -> Result<Option<(Turn<String>, OwnedSemaphorePermit)>, &'static str> {
        let mut phase = self.shared.phase.clone();
        // Whoever waits for their own commands takes nothing from others.
        let place = async {
            let turn = self.shared.turns.take(self.login.user.as_str().to_owned()).await;
            let permit = self.shared.commands.clone().acquire_owned().await.ok()?;
            Some((turn, permit))
        };
        tokio::select! {
            biased;
            place = place => Ok(place),
            () = self.hangup.wait() => Ok(None),
            _ = phase.wait_for(|phase| *phase != Phase::Running) => Err("the server is stopping; try again in a moment"),
            () = tokio::time::sleep(self.shared.limits.queue()) => Err("the server is busy; try again in a moment"),
        }
    }

    /// What the engine is told of this command.
    fn options(&self, command: &GitCommand) -> Options {
        Options {
            protocol: Protocol::from_env(self.git_protocol.as_deref().unwrap_or_default()),
            wants: Wants::ReachableFromVisible,
            defaults: Defaults::Safe { tree_depth_max: self.shared.tree_depth_max },
            ingest: self.shared.ingest,
            checks: self.shared.checks,
            hooks: self.shared.hooks.clone(),
            certificates: self.shared.certificates.clone(),
            shared: Some(self.shared.state.clone()),
            session_id: Some(format!("packmule-{}-{}", std::process::id(), self.request)),
            identity: identity(self.login.user.as_str()).into(),
            place: command.path.name().map_or_else(|_| bstr::BString::default(), |name| name.as_str().into()),
            repository_name: command.path.name().ok().map(|name| name.as_str().to_owned()),
            ..Options::default()
        }
    }

    async fn run_engine(self, command: GitCommand, ready: Ready, began: Instant) {
        let _place = match self.turn().await {
            Ok(Some(place)) => place,
            Ok(None) => {
                let gone = Outcome { verdict: "gone", duration_ms: ms_since(began), ..Outcome::default() };
                return self.audit(command.word(), Some(&command.path), gone);
            }
            Err(sentence) => {
                let why = Some(sentence.to_owned());
                let outcome = Outcome { verdict: "refused", why, duration_ms: ms_since(began), ..Outcome::default() };
                self.audit(command.word(), Some(&command.path), outcome);
                return self.tell(None, reply::err_packet(sentence), REFUSED).await;
            }
        };
        let options = self.options(&command);
        let (output, chunks, sent) = outbox();
        let limits = &self.shared.limits;
        // A push may wait long before its first byte: the client's pre-push hook runs after the advertisement.
        let first = if command.service == Service::UploadPack { limits.request().min(limits.input_idle()) } else { limits.input_idle() };
        let input = self.inbox.reader(first, limits.input_idle());
        let gate = ready.granted.into_gate(tokio::runtime::Handle::current());
        let cancel = Cancel::new();
        let (service, is_archive, its_cancel) = (command.service, command.is_archive, cancel.clone());
        let repository = ready.repository;
        let engine = tokio::task::spawn_blocking(move || {
            let mut output = output;
            let outcome = match service {
                Service::UploadPack if is_archive => serve::upload_archive(&repository, &*gate, &options, input, &mut output, &its_cancel)
                    .map(|done| Done { objects: done.entries, pack_bytes: done.bytes, all_refused: false, refs: None, created: false }),
                Service::UploadPack => serve::upload_pack(&repository, &*gate, &options, input, &mut output, &its_cancel).map(|done| {
                    Done { objects: done.objects, pack_bytes: done.pack_bytes, all_refused: false, refs: None, created: false }
                }),
                Service::ReceivePack => {
                    serve::receive_pack(&repository, &*gate, &options, input, &mut output, &its_cancel).map(|done| Done::pushed(&done))
                }
            };
            let flushed = output.flush();
            outcome.and_then(|done| flushed.map(|()| done).map_err(serve::Error::from))
        });
        let ((fed, outcome), is_too_long) = self.in_its_time(async { (self.feed(chunks).await, engine.await) }, &cancel).await;
        let sent = sent.load(Ordering::Relaxed);
        let (status, mut sentence) = self.log(&command, outcome, sent, began, is_too_long);
        if is_too_long && status == FATAL {
            sentence = Some(format!("a command may take no longer than {} seconds here", self.shared.limits.command_max_s));
        }
        if fed {
            self.finish(sentence.map(|sentence| (Some(STDERR), Bytes::from(format!("packmule: {sentence}\n")))), status).await;
        }
    }

    /// Run `command` to its end, which comes soon after that of the client or of its time; whether it was the time's.
    async fn in_its_time<T>(&self, command: impl Future<Output = T>, cancel: &Cancel) -> (T, bool) {
        let time = after(self.shared.limits.command());
        tokio::pin!(command, time);
        let is_too_long = tokio::select! {
            ended = &mut command => return (ended, false),
            () = self.hangup.wait() => false,
            () = time => true,
        };
        cancel.set();
        if is_too_long {
            // The client is still there, and hears why.
            self.inbox.abort();
        }
        (command.await, is_too_long)
    }

    /// Hand pieces to the channel until the engine is done; false when the peer is gone or too slow.
    async fn feed(&self, mut chunks: mpsc::Receiver<Bytes>) -> bool {
        while let Some(chunk) = chunks.recv().await {
            if !self.in_time(self.writer.data_bytes(chunk)).await {
                return false;
            }
        }
        true
    }

    /// Whether `write` came to its end before the peer left or stood still for too long, which ends the connection.
    async fn in_time(&self, write: impl Future<Output = Result<(), russh::Error>>) -> bool {
        let stall: Duration = self.shared.limits.output_stall();
        tokio::select! {
            written = write => written.is_ok(),
            () = self.hangup.wait() => false,
            () = stands_still(&self.connection.guard, stall) => {
                tracing::warn!(request = %self.request, user = %self.login.user, stall_s = stall.as_secs(), "the client takes nothing; connection closed");
                self.hangup.set();
                self.inbox.abort();
                self.connection.guard.kill();
                false
            }
        }
    }

    /// One line for the log; the exit status, and a sentence where the engine could not speak itself.
    fn log(
        &self,
        command: &GitCommand,
        outcome: Result<Result<Done, serve::Error>, tokio::task::JoinError>,
        sent_bytes: u64,
        began: Instant,
        is_too_long: bool,
    ) -> (u32, Option<String>) {
        let request = &self.request;
        let mut line = Outcome { sent_bytes, received_bytes: self.inbox.bytes(), duration_ms: ms_since(began), ..Outcome::default() };
        let (status, sentence) = match outcome {
            Ok(Ok(Done { objects, pack_bytes, all_refused, refs, created })) => {
                line = Outcome { verdict: if all_refused { "refused" } else { "done" }, objects, pack_bytes, refs, created, ..line };
                (FINE, None)
            }
            Ok(Err(error)) => {
                let verdict = match (is_too_long, self.hangup.is_set()) {
                    (true, _) => "too long",
                    (false, true) => "gone",
                    (false, false) => "failed",
                };
                line = Outcome { verdict, why: Some(error.to_string()), ..line };
                (FATAL, None)
            }
            Err(panic) => {
                let panic = printable(&panic.to_string());
                tracing::error!(request, user = %self.login.user, path = %command.path, panic, "bug");
                line = Outcome { verdict: "bug", why: Some(panic), ..line };
                (BUG, Some(format!("internal error in request {request}; tell the administrator, whose log says more")))
            }
        };
        self.audit(command.word(), Some(&command.path), line);
        (status, sentence)
    }

    /// Say one thing and end.
    async fn tell(&self, stream: Option<u32>, text: Bytes, status: u32) {
        self.inbox.discard();
        self.finish(Some((stream, text)), status).await;
    }

    /// Last words, exit status, end of file, close: in that order.
    async fn finish(&self, words: Option<(Option<u32>, Bytes)>, status: u32) {
        let end = async {
            match words {
                Some((Some(stream), text)) => self.writer.extended_data_bytes(stream, text).await?,
                Some((None, text)) => self.writer.data_bytes(text).await?,
                None => {}
            }
            self.writer.exit_status(status).await?;
            self.writer.eof().await?;
            if status != FINE {
                self.linger().await;
            }
            // Before the client can know: it may open its next channel at once.
            self.done.store(true, Ordering::Release);
            self.writer.close().await
        };
        self.in_time(end).await;
    }

    /// Let the client hear what was wrong: one that still sends when the channel closes sees a broken pipe instead. git
    /// stops sending when it has read the error; others are waited for a moment.
    async fn linger(&self) {
        for _ in 0..GOODBYE_MS / LINGER_STEP_MS {
            if self.inbox.is_ended() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(LINGER_STEP_MS)).await;
        }
    }
}

/// Comes back after `time`, never without one.
async fn after(time: Option<Duration>) {
    match time {
        Some(time) => tokio::time::sleep(time).await,
        None => std::future::pending().await,
    }
}

fn ms_since(began: Instant) -> u64 {
    u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX)
}

/// How often to look whether the client has heard, in milliseconds.
const LINGER_STEP_MS: u64 = 10;

/// Comes back when no byte has gone out for `stall`, or one piece has taken [`STALLS_MAX`] times that.
async fn stands_still(guard: &Guard, stall: Duration) {
    for _ in 0..STALLS_MAX {
        let before = guard.bytes().1;
        tokio::time::sleep(stall).await;
        if guard.bytes().1 == before {
            return;
        }
    }
}

/// `Name <mail>` for reflogs, without the characters that have a meaning there.
fn identity(user: &str) -> String {
    let name: String = user.chars().filter(|char| !char.is_control() && !"<>".contains(*char)).collect();
    let name = name.trim();
    let name = if name.is_empty() { "unknown" } else { name };
    format!("{name} <{}@packmule>", name.replace(' ', "."))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_cannot_break_a_reflog_line() {
        assert_eq!(identity("ann"), "ann <ann@packmule>");
        assert_eq!(identity("ann lee\n<x>"), "ann leex <ann.leex@packmule>");
        assert_eq!(identity(" \t"), "unknown <unknown@packmule>");
    }
}
