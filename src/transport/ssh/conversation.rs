//! One command into its answer: who is it, may they, where does it lie, engine, exit status, end.
//!
//! A refusal before the engine starts is an `ERR` packet: git prints its sentence and nothing else. Every other command
//! hears its sentence on standard error.

use super::super::audit::{Asked, Outcome};
use super::super::bridge::Inbox;
use super::super::hangup::Hangup;
use super::super::limits::DESCRIPTIONS_MAX;
use super::command::{self, GitCommand, Wanted};
use super::connection::{Connection, Phase, Shared};
use super::handler::Login;
use super::reply;
use crate::access::{self, Admission, Caller, Command, Description, Granted, RequestPath, Turn, printable};
use crate::store::{self, Repository};
use bytes::Bytes;
use russh::ChannelWriteHalf;
use russh::server::Msg;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Exit statuses of a command: fine, refused, as git's programs end on a fatal error, a bug of ours.
pub(super) const FINE: u32 = 0;
pub(super) const REFUSED: u32 = 1;
pub(super) const FATAL: u32 = 128;
pub(super) const BUG: u32 = 70;
/// The data type of standard error (RFC 4254, section 5.2).
pub(super) const STDERR: u32 = 1;

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
pub(super) struct Ready {
    pub(super) repository: Repository,
    pub(super) granted: Granted,
}

/// A login is as good as new for the first command that comes so soon.
const NEW_LOGIN_MS: u128 = 10_000;

/// Why they hear it.
const NOT_KNOWN: &str = "what they logged in with counts no more";

/// How long a description is waited for; without one nothing is said of what there is.
const DESCRIPTION_WAIT_MS: u64 = 2_000;

/// Turns in which descriptions are made.
pub(in crate::transport) fn descriptions() -> Semaphore {
    Semaphore::new(DESCRIPTIONS_MAX)
}

/// What somebody hears whose key counts no more.
const FORGOTTEN: &str = "you are not known here any more; connect anew";

/// Why a command does not reach the engine.
pub(super) struct Denied {
    pub(super) sentence: String,
    pub(super) status: u32,
    pub(super) verdict: &'static str,
    /// For the log: why, with the rule.
    pub(super) why: Option<String>,
}

impl Denied {
    pub(super) fn refused(sentence: &str) -> Self {
        Self { sentence: sentence.to_owned(), status: REFUSED, verdict: "refused", why: Some(sentence.to_owned()) }
    }
}

impl Conversation {
    pub(super) async fn run(self, ask: Ask) {
        match ask {
            Ask::Greeting => self.greet().await,
            Ask::Command(line) => match command::parse(&line) {
                Ok(Wanted::Git(command)) => self.serve(command).await,
                Ok(Wanted::Errand(errand)) => self.run_errand(errand).await,
                Err(sentence) => {
                    let line = String::from_utf8_lossy(&line).into_owned();
                    self.audit(&line, None, Outcome { verdict: "refused", why: Some("not understood".to_owned()), ..Outcome::default() });
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

    /// None where the driver gave no answer: then nothing is said about it either. A few are made at a time, whoever asks: it is
    /// courtesy, and comes before any bound on commands.
    async fn describe(&self, caller: &Caller) -> Option<Description> {
        let turn = self.shared.descriptions.acquire();
        let _turn = tokio::time::timeout(Duration::from_millis(DESCRIPTION_WAIT_MS), turn).await.ok()?.ok()?;
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
    pub(super) fn audit(&self, service: &str, path: Option<&RequestPath>, outcome: Outcome) {
        let asked = Asked { request: &self.request, user: &self.login.user, proof: &self.login.proof, service, path };
        self.connection.audited.command(&asked, outcome);
    }

    /// The callbacks in their order, then the repository itself.
    async fn prepare(&self, command: &GitCommand) -> Result<Ready, Denied> {
        let caller = self.caller().await?;
        let granted = self.admit(&caller, command.service.into(), &command.path).await?;
        let opening = move || granted.open().map(|repository| repository.map(|repository| Ready { repository, granted }));
        match self.on_disk(opening).await? {
            Some(ready) => Ok(ready),
            None => Err(self.not_found(&caller, &command.path).await),
        }
    }

    /// Whoever logged in, as they are now, while the server takes commands.
    pub(super) async fn caller(&self) -> Result<Caller, Denied> {
        if self.shared.is_stopping() {
            return Err(Denied::refused("the server is stopping; try again in a moment"));
        }
        if !self.is_still_known().await.map_err(|error| self.no_answer(&error))? {
            return Err(Denied { why: Some(NOT_KNOWN.to_owned()), ..Denied::refused(FORGOTTEN) });
        }
        self.login.session.caller().await.map_err(|error| self.no_answer(&error))
    }

    /// May they, and where is it?
    pub(super) async fn admit(&self, caller: &Caller, command: Command, path: &RequestPath) -> Result<Granted, Denied> {
        match caller.ask(command, path).await.map_err(|error| self.no_answer(&error))? {
            Admission::Granted(granted) => Ok(granted),
            Admission::Refused(refusal) => {
                let why = Some(refusal.to_string());
                Err(match refusal.for_peer() {
                    Some(sentence) => Denied { why, ..Denied::refused(&sentence) },
                    None => Denied { verdict: "refused", why, ..self.not_found(caller, path).await },
                })
            }
            Admission::NotFound => Err(self.not_found(caller, path).await),
        }
    }

    /// A driver gave no answer, which means no.
    pub(super) fn no_answer(&self, error: &access::Error) -> Denied {
        let shown = printable(&error.to_string());
        tracing::error!(request = %self.request, user = %self.login.user, error = %shown, "access denied");
        Denied { sentence: error.for_peer().to_owned(), status: FATAL, verdict: "failed", why: Some(error.to_string()) }
    }

    /// There is nothing, or nothing for them.
    pub(super) async fn not_found(&self, caller: &Caller, path: &RequestPath) -> Denied {
        let description = self.describe(caller).await;
        let sentence = reply::no_repository(path, &self.login.user, description.as_ref());
        Denied { sentence, status: REFUSED, verdict: "not found", why: None }
    }

    /// Do what touches the disk where it holds up nobody else.
    pub(super) async fn on_disk<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T, store::Error> + Send + 'static,
    ) -> Result<T, Denied> {
        let failed = |sentence: String| Denied { verdict: "failed", why: Some(sentence.clone()), sentence, status: FATAL };
        let error = match tokio::task::spawn_blocking(work).await {
            Ok(Ok(done)) => return Ok(done),
            Ok(Err(store::Error::BadName { name, why })) => {
                return Err(failed(format!("'{}' is no name for a repository: {why}", printable(&name))));
            }
            Ok(Err(store::Error::InTheWay(what))) => {
                // It speaks of names beneath the root, and whoever gets here may know that they exist.
                tracing::warn!(request = %self.request, user = %self.login.user, what = printable(&what), "something is in the way");
                return Err(failed(what));
            }
            Ok(Err(error @ store::Error::AlreadyCreated { .. })) => return Err(failed(printable(&error.to_string()))),
            Ok(Err(error)) => error.to_string(),
            Err(panic) => panic.to_string(),
        };
        tracing::error!(request = %self.request, user = %self.login.user, error = printable(&error), "a repository cannot be reached");
        Err(Denied {
            why: Some(error),
            ..failed("the repository cannot be opened; tell its administrator, whose log says more".to_owned())
        })
    }

    /// Whether the driver would still let in whoever logged in: a connection may outlive a key.
    async fn is_still_known(&self) -> Result<bool, crate::access::Error> {
        let login = &self.login;
        if !login.is_used.swap(true, Ordering::Relaxed) && login.since.elapsed().as_millis() < NEW_LOGIN_MS {
            return Ok(true);
        }
        login.session.is_still_known().await
    }

    /// Wait for a place among the commands at once; none where the client is gone, a sentence where it waited in vain.
    pub(super) async fn turn(&self) -> Result<Option<(Turn<String>, OwnedSemaphorePermit)>, &'static str> {
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
}

pub(super) fn ms_since(began: Instant) -> u64 {
    u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX)
}
