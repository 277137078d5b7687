//! The commands of a push past its hooks: what each hook is told, and what its answer does to them.
//!
//! Source: githooks; `builtin/receive-pack.c` (`execute_commands`, `run_receive_hook`, `run_update_hook`,
//! `run_proc_receive_hook`), `refs.c` (`run_transaction_hook`). Hooks come after all other judges: `pre-receive` hears of
//! every command that has a proper name and that the gate allows, `update` and `proc-receive` of each that still stands,
//! `reference-transaction` of the edits under way, `post-receive` and `post-update`, behind the report, of what was done.
//!
//! Where a push makes the repository shallow, hooks find in `GIT_SHALLOW_FILE` where history ends for them.
//! As in git but for this: `update` and `reference-transaction` run while the new objects are still in quarantine, so that
//! what they refuse leaves nothing; and all refs of a push change in one transaction, so the latter is asked once.

use super::certificate::SignedPush;
use super::judge::Command;
use super::{Conversation, Error};
use crate::pack::Objects;
use crate::serve::hooks::proc_receive::{self, Chosen, Given};
use crate::serve::hooks::{Call, Hooks, When};
use crate::store::{Push, TransactionObserver, TransactionState};
use crate::wire::{Band, SideBand, StatusOptions};
use bstr::{BStr, ByteSlice};
use gix_hash::ObjectId;
use std::ffi::{OsStr, OsString};
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

const PRE_RECEIVE: &str = "pre-receive";
const UPDATE: &str = "update";
const POST_RECEIVE: &str = "post-receive";
const POST_UPDATE: &str = "post-update";
const REFERENCE_TRANSACTION: &str = "reference-transaction";
const PROC_RECEIVE: &str = "proc-receive";

fn line(old: &ObjectId, new: &ObjectId, name: &[u8]) -> Vec<u8> {
    [format!("{old} {new} ").as_bytes(), name, b"\n"].concat()
}

fn word(bytes: &[u8]) -> OsString {
    OsStr::from_bytes(bytes).to_owned()
}

impl Conversation<'_> {
    /// What hooks need of the push and what the push must look for once they have run.
    pub(super) fn ready_hooks(&mut self, hooks: Option<&mut Hooks<'_>>, push: &mut Push) -> Result<(), Error> {
        let Some(hooks) = hooks else { return Ok(()) };
        push.expect_objects_of_hooks();
        // As git does: of all that the client names, and only where something of it may count.
        if self.request.has_pack() && push.view().settings().push.shallow_update {
            let mut may_count = false;
            for id in &self.request.shallow {
                may_count |= push.view().shallow().binary_search(id).is_err() && push.view().objects().locate(id)?.is_some();
            }
            if may_count {
                hooks.cut_history(push.write_shallow_file(&self.request.shallow)?);
            }
        }
        Ok(())
    }

    /// Before anything happens: what no hook agrees to is refused.
    pub(super) fn ask_hooks(&mut self, hooks: Option<&Hooks<'_>>, push: &mut Push, commands: &mut [Command]) -> Result<(), Error> {
        if let Some(hooks) = hooks
            && !self.ask_pre_receive(hooks, push, commands)?
        {
            let open = commands.iter_mut().filter(|command| command.result.is_ok());
            open.for_each(|command| command.refuse("pre-receive hook declined"));
            return Ok(());
        }
        self.settle_atomic(commands);
        // Also without hooks: then nobody knows what these names mean, and they are no refs to be made.
        self.ask_proc_receive(hooks, push, commands)?;
        hooks.map_or(Ok(()), |hooks| self.ask_update(hooks, push, commands))
    }

    fn ask_pre_receive(&mut self, hooks: &Hooks<'_>, push: &Push, commands: &[Command]) -> Result<bool, Error> {
        let shown = || commands.iter().filter(|command| command.is_shown);
        if shown().next().is_none() || !hooks.has(PRE_RECEIVE, &mut self.bands)? {
            return Ok(true);
        }
        let env = self.push_environment();
        let call = Call { name: PRE_RECEIVE, when: When::Before(push.quarantine_dir()), args: vec![], env: &env };
        let mut lines = shown().map(|command| line(&command.old, &command.new, &command.name));
        hooks.run(&call, Some(&mut lines), &mut self.bands)
    }

    /// Deletions first, as git since 2.51; an atomic push goes by its own order, and has no need of a second refusal.
    fn ask_update(&mut self, hooks: &Hooks<'_>, push: &Push, commands: &mut [Command]) -> Result<(), Error> {
        let is_asked = |command: &Command| command.result.is_ok() && command.same_as.is_none() && !command.is_given;
        let mut asked: Vec<usize> = (0..commands.len()).filter(|at| is_asked(&commands[*at])).collect();
        if asked.is_empty() || !hooks.has(UPDATE, &mut self.bands)? {
            return Ok(());
        }
        if !self.is_atomic {
            asked.sort_by_key(|at| !commands[*at].new.is_null());
        }
        for at in asked {
            let command = &mut commands[at];
            let args = vec![word(&command.name), command.old.to_string().into(), command.new.to_string().into()];
            let call = Call { name: UPDATE, when: When::Before(push.quarantine_dir()), args, env: &[] };
            if hooks.run(&call, None, &mut self.bands)? {
                continue;
            }
            let text = format!("error: hook declined to update {}\n", command.name);
            self.bands.say(Band::Progress, text.as_bytes())?;
            command.refuse("hook declined");
            if self.is_atomic {
                self.settle_atomic(commands);
                break;
            }
        }
        Ok(())
    }

    /// Let the hook do what is its to do. Its objects must be in place: it makes refs of them.
    fn ask_proc_receive(&mut self, hooks: Option<&Hooks<'_>>, push: &mut Push, commands: &mut [Command]) -> Result<(), Error> {
        if !commands.iter().any(|command| command.is_given && command.result.is_ok()) {
            return Ok(());
        }
        let (is_good, report) = match hooks {
            Some(hooks) if hooks.has(PROC_RECEIVE, &mut self.bands)? => {
                push.publish_objects()?;
                self.talk_to_proc_receive(hooks, commands)?
            }
            _ => (false, proc_receive::Report { complaint: "cannot find hook 'proc-receive'".to_owned(), ..Default::default() }),
        };
        if !report.complaint.is_empty() {
            self.bands.say(Band::Progress, format!("error: {}\n", report.complaint).as_bytes())?;
        }
        let (mut answers, mut is_broken) = (report.answers.into_iter(), false);
        for command in commands.iter_mut() {
            let answer = answers.next().unwrap_or_default();
            if !command.is_given || command.result.is_err() {
                continue;
            }
            command.reports = answer.reports;
            if answer.falls_through {
                is_broken |= !command.fall_through();
            } else if let Some(why) = answer.refusal {
                command.refuse(why);
            } else if !answer.is_answered {
                command.refuse("fail to run proc-receive hook");
            }
        }
        if !is_good && self.is_atomic {
            let untouched = commands.iter_mut().filter(|command| command.result.is_ok() && !command.is_given);
            untouched.for_each(|command| command.refuse("fail to run proc-receive hook"));
        }
        if is_broken {
            self.settle_atomic(commands);
        }
        Ok(())
    }

    fn talk_to_proc_receive(&mut self, hooks: &Hooks<'_>, commands: &[Command]) -> Result<(bool, proc_receive::Report), Error> {
        let give = |command: &Command| {
            let is_its = command.is_given && command.result.is_ok();
            (command.name.clone(), command.old, command.new, is_its)
        };
        let given: Vec<_> = commands.iter().map(give).collect();
        let given: Vec<_> =
            given.iter().map(|(name, old, new, is_its)| Given { name: name.as_bstr(), old: *old, new: *new, is_its: *is_its }).collect();
        let push_options = self.request.has_options.then_some(self.request.push_options.as_slice());
        let chosen = Chosen { is_atomic: self.is_atomic, push_options };
        let call = Call { name: PROC_RECEIVE, when: When::Within, args: vec![], env: &[] };
        let (agreed, said) = hooks.talk(&call, &mut self.bands, |out, input| proc_receive::converse(&given, chosen, out, input))?;
        let report = said.unwrap_or_default();
        Ok((agreed && report.is_good, report))
    }

    /// What was done: told once it is reported, whether the peer is still there or not.
    pub(super) fn tell_hooks(&mut self, hooks: &Hooks<'_>, commands: &[Command]) -> Result<(), Error> {
        let done = || commands.iter().filter(|command| command.result.is_ok() && !(command.old.is_null() && command.new.is_null()));
        if done().next().is_none() {
            return Ok(());
        }
        if hooks.has(POST_RECEIVE, &mut self.bands).unwrap_or(false) {
            let env = self.push_environment();
            let call = Call { name: POST_RECEIVE, when: When::After, args: vec![], env: &env };
            hooks.run(&call, Some(&mut done().flat_map(lines_of)), &mut self.bands)?;
        }
        if hooks.has(POST_UPDATE, &mut self.bands).unwrap_or(false) {
            let call = Call { name: POST_UPDATE, when: When::After, args: done().map(|command| word(&command.name)).collect(), env: &[] };
            hooks.run(&call, None, &mut self.bands)?;
        }
        Ok(())
    }

    /// What `pre-receive` and `post-receive` are told of the push as a whole.
    fn push_environment(&self) -> Vec<(OsString, OsString)> {
        let options = &self.request.push_options;
        let mut env: Vec<_> =
            options.iter().enumerate().map(|(at, option)| (format!("GIT_PUSH_OPTION_{at}").into(), word(option))).collect();
        env.push(("GIT_PUSH_OPTION_COUNT".into(), options.len().to_string().into()));
        env.extend(self.signed.iter().flat_map(SignedPush::environment));
        env
    }
}

/// A command as it was done: more than once, or otherwise, where `proc-receive` says so.
fn lines_of(command: &Command) -> Vec<Vec<u8>> {
    if command.reports.is_empty() {
        return vec![line(&command.old, &command.new, &command.name)];
    }
    let line_of = |report: &StatusOptions| {
        let (old, new) = (report.old.unwrap_or(command.old), report.new.unwrap_or(command.new));
        line(&old, &new, report.refname.as_ref().unwrap_or(&command.name))
    };
    command.reports.iter().map(line_of).collect()
}

/// Tells `reference-transaction` of every state.
pub(super) struct Watcher<'a, 'b, W: Write> {
    pub hooks: &'a Hooks<'b>,
    pub bands: &'a mut SideBand<W>,
    pub quarantine: PathBuf,
    /// The edits as they were when all began: those that are given up are told in full.
    edits: Vec<Vec<u8>>,
    /// The peer went away meanwhile.
    pub fault: Option<Error>,
}

impl<'a, 'b, W: Write> Watcher<'a, 'b, W> {
    /// `None` where there is no such hook.
    pub fn new(hooks: Option<&'a Hooks<'b>>, bands: &'a mut SideBand<W>, push: &Push) -> Result<Option<Self>, Error> {
        let Some(hooks) = hooks else { return Ok(None) };
        if !hooks.has(REFERENCE_TRANSACTION, bands)? {
            return Ok(None);
        }
        Ok(Some(Self { hooks, bands, quarantine: push.quarantine_dir().to_owned(), edits: vec![], fault: None }))
    }
}

impl<W: Write> TransactionObserver for Watcher<'_, '_, W> {
    fn entered(&mut self, state: TransactionState, edits: &[(&BStr, ObjectId, ObjectId)]) -> Result<(), String> {
        let mut lines: Vec<Vec<u8>> = edits.iter().map(|(name, old, new)| line(old, new, name)).collect();
        let (name, when) = match state {
            TransactionState::Preparing => ("preparing", When::Before(&self.quarantine)),
            TransactionState::Prepared => ("prepared", When::Before(&self.quarantine)),
            TransactionState::Committed => ("committed", When::After),
            TransactionState::Aborted => ("aborted", When::After),
        };
        match state {
            TransactionState::Preparing => self.edits.clone_from(&lines),
            TransactionState::Aborted => lines = std::mem::take(&mut self.edits),
            _ => {}
        }
        // What the hook has reserved it must hear of, even when the client has gone meanwhile.
        if lines.is_empty() || self.fault.is_some() && state != TransactionState::Aborted {
            return Ok(());
        }
        let call = Call { name: REFERENCE_TRANSACTION, when, args: vec![name.into()], env: &[] };
        match self.hooks.run(&call, Some(&mut lines.into_iter()), self.bands) {
            Ok(true) => Ok(()),
            Ok(false) => Err(format!("in '{name}' phase, update aborted by the reference-transaction hook")),
            Err(err) => {
                let why = err.to_string();
                self.fault = Some(err);
                Err(why)
            }
        }
    }
}
