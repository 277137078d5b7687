//! A push: from the advertisement to the report.
//!
//! Source: gitprotocol-pack, "Pushing Data To a Server". The order is: read the commands, take the pack into
//! quarantine, judge every command, ask the hooks, commit what may happen, and only then report: what is called `ok` is on
//! disk. Hooks that come after are told of it behind the report.

mod advertise;
mod capabilities;
mod certificate;
mod hooked;
mod judge;
mod links;
mod signers;
mod unpack;

use self::capabilities::Offer;
use self::certificate::{Nonce, SignedPush};
use self::hooked::Watcher;
use self::judge::{Command, judge};
use super::hooks::Hooks;
use super::visible::visible_refs;
use super::{Error, Gate, Options};
use crate::base::limits::REFUSALS_KEPT_MAX;
use crate::base::{Cancel, span};
use crate::pack;
use crate::store::{CommitMode, Committed, Push, RefEdit, RefRefusal, Repository};
use crate::walk::VisibleRefs;
use crate::wire::{Band, PktReader, PushRequest, RefStatus, SideBand, read_push_request, write_error, write_flush, write_report};
use bstr::BString;
use gix_hash::ObjectId;
use std::io::{Read, Write};

/// What one push did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PushStatistics {
    /// Objects received.
    pub objects: u64,
    /// Pack bytes received.
    pub pack_bytes: u64,
    /// Refs that changed: name, old and new value.
    pub updated: Vec<(BString, ObjectId, ObjectId)>,
    /// Commands that were refused.
    pub refused: u64,
    /// The first of them, and why: no more than [`REFUSALS_KEPT_MAX`](crate::base::limits::REFUSALS_KEPT_MAX).
    pub refusals: Vec<RefusedCommand>,
    /// The repository came into being.
    pub created: bool,
}

/// A command that did not happen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RefusedCommand {
    /// Full name of the ref, symbolic ones resolved.
    pub name: BString,
    /// The value that the client named as old; null for a creation.
    pub old: ObjectId,
    /// The value that it should have; null for a deletion.
    pub new: ObjectId,
    /// What the client was told.
    pub why: String,
}

/// Serve one conversation. What the peer must hear, an error included, has been written when this returns.
///
/// # Errors
/// What ended the conversation before its end; the peer has been told what [`Error::for_peer`] gives. Commands that
/// were refused are no error: they stand in the report.
pub fn receive_pack(
    repository: &Repository,
    gate: &dyn Gate,
    options: &Options,
    mut input: impl Read + Send,
    mut output: impl Write,
    cancel: &Cancel,
) -> Result<PushStatistics, Error> {
    let mut out: &mut dyn Write = &mut output;
    let input: &mut (dyn Read + Send) = &mut input;
    match serve(repository, gate, options, PktReader::new(input), &mut *out, cancel) {
        Ok(statistics) => Ok(statistics),
        Err(err) => {
            if let Some(sentence) = err.for_peer() {
                // The peer may be gone: the error at hand matters more than that it could not be told.
                let _ = write_error(&mut out, &sentence).and_then(|()| out.flush());
            }
            Err(err)
        }
    }
}

fn serve<'a>(
    repository: &'a Repository,
    gate: &'a dyn Gate,
    options: &'a Options,
    mut reader: PktReader<&mut (dyn Read + Send)>,
    out: &'a mut (dyn Write + 'a),
    cancel: &'a Cancel,
) -> Result<PushStatistics, Error> {
    let nonce = Nonce::now(repository, options);
    let nonce_text = nonce.as_ref().and_then(Nonce::text);
    let offer = Offer { settings: repository.settings(), hash: repository.hash_kind(), options, nonce: nonce_text.as_deref() };
    if options.advertise_only || !options.stateless {
        let snapshot = options.snapshot(repository)?;
        let refs = visible_refs(&snapshot, gate, &snapshot.settings().receive_hide_refs);
        advertise::advertise(&offer, &snapshot, &refs, gate, &mut *out)?;
    }
    if options.advertise_only {
        return Ok(PushStatistics::default());
    }
    let Some(request) = read_push_request(&mut reader, repository.hash_kind(), capabilities::features(&offer))? else {
        return Ok(PushStatistics::default());
    };
    let is_atomic = capabilities::is_atomic(&offer, &request.capabilities)?;
    let bands = match request.capabilities.has("side-band-64k") {
        true => SideBand::large(out),
        false => SideBand::none(out),
    };
    let mut conversation = Conversation {
        repository,
        gate,
        options,
        request,
        is_atomic,
        nonce,
        signed: None,
        bands,
        cancel,
        statistics: PushStatistics::default(),
        links_must_hold: false,
        seen: None,
    };
    match conversation.push(reader.input()) {
        Ok(()) => Ok(conversation.statistics),
        Err(err) => conversation.fail(err),
    }
}

/// One client whose commands are known.
struct Conversation<'a> {
    repository: &'a Repository,
    gate: &'a dyn Gate,
    options: &'a Options,
    request: PushRequest,
    /// All commands stand or fall together.
    is_atomic: bool,
    /// What a certificate must hold.
    nonce: Option<Nonce>,
    /// What is known of the certificate.
    signed: Option<SignedPush>,
    bands: SideBand<&'a mut dyn Write>,
    cancel: &'a Cancel,
    statistics: PushStatistics,
    /// The pack must not lead to what is not there, or nothing of the push happens.
    links_must_hold: bool,
    /// The refs that the pusher may see, where there are others.
    seen: Option<VisibleRefs>,
}

impl Conversation<'_> {
    fn push(&mut self, input: &mut (dyn Read + Send)) -> Result<(), Error> {
        let mut push = Push::begin_with(self.repository, self.options.spares(), || self.options.snapshot(self.repository))?;
        self.see_only_what_refs_show(&mut push)?;
        if self.request.has_pack()
            && let Err(err) = unpack::unpack(self, &mut push, input)
        {
            return self.refuse_all(err);
        }
        self.take_certificate(&mut push)?;
        let mut commands = judge(self, &push)?;
        if self.links_must_hold && commands.iter().any(Command::is_unconnected) {
            // With checks as strict as git's this is the unpacker's to say (`builtin/index-pack.c`: `check_object`).
            return self.refuse_all(Error::Refused("did not receive all objects that the pushed ones lead to".to_owned()));
        }
        self.tell_about(&mut commands)?;
        let mut hooks = Hooks::of(self.repository, self.options, self.cancel)?;
        self.ready_hooks(hooks.as_mut(), &mut push)?;
        self.ask_hooks(hooks.as_ref(), &mut push, &mut commands)?;
        // A hook may have left to us what is refused, or let happen with a warning.
        self.tell_about(&mut commands)?;
        push.cut_history(self.cuts(&push, &commands)?);
        self.commit(push, &mut commands, hooks.as_ref())?;
        let statuses: Vec<_> = commands.iter().map(Command::status).collect();
        let reported = self.report(Ok(()), &statuses);
        if let Some(hooks) = &hooks {
            self.tell_hooks(hooks, &commands)?;
        }
        reported?;
        self.end()
    }

    fn is_quiet(&self) -> bool {
        self.options.quiet || self.request.capabilities.has("quiet")
    }

    /// One refusal refuses all, if all stand or fall together.
    fn settle_atomic(&self, commands: &mut [Command]) {
        if self.is_atomic && commands.iter().any(|command| command.result.is_err()) {
            commands.iter_mut().for_each(|command| command.refuse("atomic push failure"));
        }
    }

    /// What commands have to be told beside the report, once.
    fn tell_about(&mut self, commands: &mut [Command]) -> Result<(), Error> {
        for command in commands.iter_mut().filter(|command| !command.is_given) {
            let lines: Vec<String> = match command.result {
                Err(_) => command.complaint.take().iter().map(|text| format!("error: {text}\n")).collect(),
                Ok(()) => command.warnings.drain(..).map(|text| format!("warning: {text}\n")).collect(),
            };
            if !lines.is_empty() {
                self.bands.say(Band::Progress, lines.concat().as_bytes())?;
            }
        }
        Ok(())
    }

    /// Change the refs of every command that nothing speaks against.
    fn commit(&mut self, push: Push, commands: &mut [Command], hooks: Option<&Hooks<'_>>) -> Result<(), Error> {
        let chosen: Vec<usize> = (0..commands.len()).filter(|at| commands[*at].needs_edit()).collect();
        let edits: Vec<RefEdit> = chosen.iter().map(|at| commands[*at].edit()).collect();
        if !edits.is_empty() {
            let _span = tracing::debug_span!(span::REF_TRANSACTION, edits = edits.len()).entered();
            let mode = if self.is_atomic { CommitMode::Atomic } else { CommitMode::PerRef };
            let identity = &self.options.identity;
            let Committed { results, created } = match Watcher::new(hooks, &mut self.bands, &push)? {
                None => push.commit(&edits, mode, identity)?,
                Some(mut watcher) => {
                    let committed = push.commit_observed(&edits, mode, identity, &mut watcher)?;
                    watcher.fault.map_or(Ok(committed), Err)?
                }
            };
            for (at, result) in chosen.into_iter().zip(results) {
                match result {
                    Ok(()) => self.statistics.updated.push((commands[at].resolved.clone(), commands[at].old, commands[at].new)),
                    Err(refusal) => commands[at].result = Err(self.words(&refusal)),
                }
            }
            self.statistics.created = created;
        }
        if let (true, Some(name)) = (self.statistics.created, &self.options.repository_name) {
            // It has happened: hooks are told of it even when the pusher cannot be, which the report will find out.
            let _ = self.bands.say(Band::Progress, format!("created {name}\n").as_bytes());
        }
        self.statistics.refused = commands.iter().filter(|command| command.result.is_err()).count() as u64;
        let refused = commands.iter().filter_map(|command| Some((command, command.result.as_ref().err()?))).take(REFUSALS_KEPT_MAX);
        self.statistics.refusals = refused
            .map(|(command, why)| RefusedCommand { name: command.resolved.clone(), old: command.old, new: command.new, why: why.clone() })
            .collect();
        let _ = self.options.judged.set(self.statistics.clone());
        for at in 0..commands.len() {
            if let Some(other) = commands[at].same_as {
                commands[at].result = commands[other].result.clone();
            }
        }
        Ok(())
    }

    /// Why the transaction did not do it; of all of an atomic push git says the first of these words.
    fn words(&self, refusal: &RefRefusal) -> String {
        match refusal {
            RefRefusal::Atomic | RefRefusal::Vetoed(_) => refusal.to_string(),
            _ if self.is_atomic => format!("{}: {refusal}", RefRefusal::Atomic),
            _ => refusal.to_string(),
        }
    }

    /// The pack is no good: nothing changes, and the report says why.
    fn refuse_all(&mut self, err: Error) -> Result<(), Error> {
        let Some(why) = err.for_peer() else { return Err(err) };
        let statuses: Vec<_> = self
            .request
            .commands
            .iter()
            .map(|command| RefStatus { name: command.name.clone(), result: Err("unpacker error".to_owned()), reports: vec![] })
            .collect();
        let reports = match &err {
            Error::Pack(pack::Error::BadObject { reports, .. }) => reports.as_slice(),
            _ => &[],
        };
        let mut text: String = reports.iter().map(|report| format!("error: {report}\n")).collect();
        text += &format!("fatal: {why}\n");
        self.bands.say(Band::Progress, text.as_bytes())?;
        self.report(Err(&why), &statuses)?;
        self.end()?;
        self.statistics.refused = statuses.len() as u64;
        Err(Error::Told(Box::new(err)))
    }

    fn report(&mut self, unpack: Result<(), &str>, statuses: &[RefStatus]) -> Result<(), Error> {
        let chosen = &self.request.capabilities;
        let version_2 = chosen.has("report-status-v2");
        if version_2 || chosen.has("report-status") {
            let mut report = vec![];
            write_report(&mut report, unpack, statuses, version_2)?;
            self.bands.write_all(&report)?;
        }
        Ok(self.bands.flush()?)
    }

    fn end(&mut self) -> Result<(), Error> {
        if self.bands.has_bands() {
            write_flush(self.bands.inner())?;
            self.bands.inner().flush()?;
        }
        Ok(())
    }

    /// The push came to no end: tell the peer in the way it listens now.
    fn fail(mut self, err: Error) -> Result<PushStatistics, Error> {
        if !self.bands.has_bands() || matches!(err, Error::Told(_)) {
            return Err(err);
        }
        if let Some(sentence) = err.for_peer() {
            let _ = self.bands.say(Band::Error, format!("{sentence}\n").as_bytes());
        }
        Err(Error::Told(Box::new(err)))
    }
}
