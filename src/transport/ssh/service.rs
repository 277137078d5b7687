//! One command of git's into the engine's work: options, time, and the line about it in the log.

use super::super::audit::{self, Outcome};
use super::super::bridge::outbox;
use super::command::GitCommand;
use super::conversation::{BUG, Conversation, FATAL, FINE, REFUSED, Ready, STDERR, ms_since};
use super::reply;
use crate::access::printable;
use crate::base::Cancel;
use crate::serve::{self, Defaults, Options, Protocol, PushStatistics, Service, Wants};
use bytes::Bytes;
use std::future::Future;
use std::io::Write;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// What the engine did, for the log.
struct Done {
    objects: u64,
    pack_bytes: u64,
    /// Not one command of a push happened.
    all_refused: bool,
    /// What a push did to refs.
    refs: Option<String>,
    created: bool,
    has_changed: bool,
}

impl Done {
    /// Of a push.
    fn pushed(done: &PushStatistics) -> Self {
        let all_refused = done.refused > 0 && done.updated.is_empty();
        let has_changed = !done.updated.is_empty();
        Self {
            objects: done.objects,
            pack_bytes: done.pack_bytes,
            all_refused,
            refs: audit::refs(done),
            created: done.created,
            has_changed,
        }
    }
}

impl Conversation {
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

    pub(super) async fn run_engine(self, command: GitCommand, ready: Ready, began: Instant) {
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
        let rule = ready.granted.rule().map(str::to_owned);
        let gate = ready.granted.into_gate(tokio::runtime::Handle::current());
        let cancel = Cancel::new();
        let (service, is_archive, its_cancel) = (command.service, command.is_archive, cancel.clone());
        let repository = ready.repository;
        let judged = options.judged.clone();
        let engine = tokio::task::spawn_blocking(move || {
            let mut output = output;
            let outcome = match service {
                Service::UploadPack if is_archive => serve::upload_archive(&repository, &*gate, &options, input, &mut output, &its_cancel)
                    .map(|done| Done {
                        objects: done.entries,
                        pack_bytes: done.bytes,
                        all_refused: false,
                        refs: None,
                        created: false,
                        has_changed: false,
                    }),
                Service::UploadPack => {
                    serve::upload_pack(&repository, &*gate, &options, input, &mut output, &its_cancel).map(|done| Done {
                        objects: done.objects,
                        pack_bytes: done.pack_bytes,
                        all_refused: false,
                        refs: None,
                        created: false,
                        has_changed: false,
                    })
                }
                Service::ReceivePack => {
                    serve::receive_pack(&repository, &*gate, &options, input, &mut output, &its_cancel).map(|done| Done::pushed(&done))
                }
            };
            let flushed = output.flush();
            outcome.and_then(|done| flushed.map(|()| done).map_err(serve::Error::from))
        });
        let ((fed, outcome), is_too_long) = self.in_its_time(async { (self.feed(chunks).await, engine.await) }, &cancel).await;
        let sent = sent.load(Ordering::Relaxed);
        let (status, mut sentence) = self.log(&command, outcome, (judged.get(), rule), sent, began, is_too_long);
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

    /// One line for the log; the exit status, and a sentence where the engine could not speak itself.
    fn log(
        &self,
        command: &GitCommand,
        outcome: Result<Result<Done, serve::Error>, tokio::task::JoinError>,
        (judged, rule): (Option<&PushStatistics>, Option<String>),
        sent_bytes: u64,
        began: Instant,
        is_too_long: bool,
    ) -> (u32, Option<String>) {
        let request = &self.request;
        let mut line = Outcome { sent_bytes, received_bytes: self.inbox.bytes(), duration_ms: ms_since(began), ..Outcome::default() };
        let (status, sentence) = match outcome {
            Ok(Ok(Done { objects, pack_bytes, all_refused, refs, created, has_changed })) => {
                let verdict = if all_refused { "refused" } else { "done" };
                line = Outcome { verdict, objects, pack_bytes, refs, created, has_changed, ..line };
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
        // What has happened has, whether the client heard of it or not.
        if status != FINE
            && let Some(Done { objects, pack_bytes, refs, created, has_changed, .. }) = judged.map(Done::pushed)
        {
            line = Outcome { objects, pack_bytes, refs, created, has_changed, ..line };
        }
        self.audit(command.word(), Some(&command.path), Outcome { rule, ..line });
        (status, sentence)
    }
}

/// Comes back after `time`, never without one.
async fn after(time: Option<Duration>) {
    match time {
        Some(time) => tokio::time::sleep(time).await,
        None => std::future::pending().await,
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
