//! The commands of a push, and everything that may speak against each.
//!
//! In order: the name, the object, what it does to the value that the client named as old, the repository's own
//! settings (git's `receive-pack.c`: `update`), the links of what was pushed (`links`), the gate. Nothing is locked here: the
//! transaction later requires exactly the old values that were judged.

use super::{Conversation, Error};
use crate::base::FastMap;
use crate::pack::{Decoder, Kind};
use crate::serve::hooks::proc_receive::is_given;
use crate::serve::visible::is_hidden;
use crate::serve::{Changes, EditKind, Proposal, ProposedEdit, Verdict};
use crate::store::{DenyCurrent, Head, Push, RefEdit, RefRefusal, Snapshot, Target, WorkTrees};
use crate::walk::is_ancestor;
use crate::wire::{RefStatus, StatusOptions};
use crate::{base, pack, walk};
use bstr::{BStr, BString, ByteSlice};
use gix_hash::ObjectId;

/// git's words for a new value that reaches what is neither here nor in the pack.
pub(super) const MISSING: &str = "missing necessary objects";

/// One command and what is known of it.
pub(super) struct Command {
    /// As the client named it.
    pub name: BString,
    /// The ref that changes: where a symbolic one leads; in full, outside of any namespace.
    pub resolved: BString,
    pub old: ObjectId,
    pub new: ObjectId,
    pub kind: EditKind,
    /// Nothing speaks against it, or what does.
    pub result: Result<(), String>,
    /// The same edit as this other command, through another name.
    pub same_as: Option<usize>,
    /// For the pusher: more about why not.
    pub complaint: Option<String>,
    /// For the pusher, although it may happen.
    pub warnings: Vec<&'static str>,
    /// It names a ref properly: the gate is asked.
    well_named: bool,
    /// Hooks may hear of it: the name is one, and the gate did not refuse.
    pub is_shown: bool,
    /// It is for the hook `proc-receive` to do.
    pub is_given: bool,
    /// It reaches a commit whose parents the client lacks, and which is not such a one here yet.
    pub is_cut: bool,
    /// What speaks against it once that hook leaves it to us.
    deferred: Option<String>,
    /// What that hook did instead.
    pub reports: Vec<StatusOptions>,
}

impl Command {
    /// Whether the transaction has to do something for it.
    pub fn needs_edit(&self) -> bool {
        self.result.is_ok() && self.same_as.is_none() && !self.is_given && !(self.old.is_null() && self.new.is_null())
    }

    /// As an edit of the store.
    pub fn edit(&self) -> RefEdit {
        RefEdit { name: self.resolved.clone(), old: self.old, new: self.new, message: "push".into() }
    }

    /// What it would set leads to something that is not here.
    pub fn is_unconnected(&self) -> bool {
        self.result.as_ref().is_err_and(|why| why == MISSING)
    }

    /// As it stands in the report.
    pub fn status(&self) -> RefStatus {
        RefStatus { name: self.name.clone(), result: self.result.clone(), reports: self.reports.clone() }
    }

    /// What is for `proc-receive` to do need only be there: the other rules are about refs that we change.
    fn defer(&mut self) {
        if self.is_given && !self.is_unconnected() {
            self.deferred = std::mem::replace(&mut self.result, Ok(())).err();
        }
    }

    /// `proc-receive` leaves it to us. Whether nothing of ours speaks against it.
    pub fn fall_through(&mut self) -> bool {
        self.is_given = false;
        if let Some(why) = self.deferred.take() {
            self.refuse(why);
        }
        self.result.is_ok()
    }

    pub fn refuse(&mut self, why: impl Into<String>) {
        if self.result.is_ok() {
            self.result = Err(why.into());
        }
    }

    /// With more for the pusher than the report holds.
    fn refuse_and_complain(&mut self, why: &str, complaint: String) {
        if self.result.is_ok() {
            self.complaint = Some(complaint);
            self.refuse(why);
        }
    }

    /// The gate's word counts whatever else speaks against it.
    fn overrule(&mut self, why: String) {
        (self.result, self.is_shown) = (Err(why), false);
        (self.complaint, self.warnings) = (None, vec![]);
    }

    fn is_deletion(&self) -> bool {
        self.new.is_null()
    }
}

/// Judge every command of the request.
pub(super) fn judge(conversation: &mut Conversation<'_>, push: &Push) -> Result<Vec<Command>, Error> {
    let view = push.view();
    let mut commands: Vec<Command> = conversation.request.commands.iter().map(|command| resolve(view, command)).collect();
    if conversation.has_other_options() {
        commands.iter_mut().for_each(|command| command.refuse("inconsistent push options"));
    }
    refuse_doubles(&mut commands);
    let work_trees = conversation.repository.work_trees(view.refs());
    let mut decoder = Decoder::new(&**view.objects(), 4 << 20);
    for command in commands.iter_mut().filter(|command| command.result.is_ok()) {
        check_name(view, command);
        command.well_named = command.result.is_ok();
        if command.well_named {
            command.is_given = is_given(&view.settings().hooks.proc_receive_refs, command.name.as_bstr(), &command.old, &command.new);
            check_objects(view, &mut decoder, command, conversation.cancel)?;
            check_settings(view, &work_trees, command);
            command.defer();
        }
    }
    conversation.check_links(push, &mut commands)?;
    ask_gate(conversation, view, &mut commands);
    Ok(commands)
}

fn resolve(view: &Snapshot, command: &crate::wire::PushCommand) -> Command {
    let mut resolved = BString::from([view.settings().namespace.as_slice(), &command.name].concat());
    for _ in 0..base::limits::SYMREF_DEPTH_MAX {
        match view.refs().find(resolved.as_bstr()).map(|entry| entry.target) {
            Some(Target::Symbolic(target)) => resolved = target.into(),
            _ => break,
        }
    }
    let kind = match (command.old.is_null(), command.new.is_null()) {
        (_, true) => EditKind::Delete,
        (true, false) => EditKind::Create,
        (false, false) => EditKind::Rewind, // until shown to be a fast-forward
    };
    Command {
        name: command.name.clone(),
        resolved,
        old: command.old,
        new: command.new,
        kind,
        result: Ok(()),
        same_as: None,
        complaint: None,
        warnings: vec![],
        well_named: false,
        is_shown: false,
        is_given: false,
        is_cut: false,
        deferred: None,
        reports: vec![],
    }
}

/// One ref may be named twice only through a symbolic ref and with the same values.
fn refuse_doubles(commands: &mut [Command]) {
    let mut first: FastMap<BString, usize> = FastMap::default();
    for at in 0..commands.len() {
        let Some(&other) = first.get(&commands[at].resolved) else {
            first.insert(commands[at].resolved.clone(), at);
            continue;
        };
        if commands[at].name == commands[other].name {
            let why = format!("multiple updates for ref '{}' not allowed", commands[at].name);
            commands[at].refuse(why.clone());
            commands[other].refuse(why);
        } else if (commands[at].old, commands[at].new) == (commands[other].old, commands[other].new) {
            commands[at].same_as = Some(other);
        } else {
            let of = |command: &Command| {
                let short = |id: &ObjectId| id.to_hex_with_len(7).to_string();
                format!("'{}' ({}..{})", command.name, short(&command.old), short(&command.new))
            };
            commands[at].complaint =
                Some(format!("refusing inconsistent update between symref {} and {}", of(&commands[at]), of(&commands[other])));
            commands[at].refuse("inconsistent aliased update");
            commands[other].refuse("inconsistent aliased update");
        }
    }
}

fn check_name(view: &Snapshot, command: &mut Command) {
    let rest = command.resolved.strip_prefix(b"refs/");
    // Below `refs/` a single component is enough, as git has it; such a ref can only be deleted.
    let valid = command.name.starts_with(b"refs/")
        && rest.is_some_and(|rest| {
            gix_validate::reference::name(command.resolved.as_bstr()).is_ok() && (command.is_deletion() || rest.contains(&b'/'))
        });
    if !valid {
        command.refuse_and_complain("funny refname", format!("refusing to update funny ref '{}' remotely", command.name));
        return;
    }
    command.is_shown = true;
    if is_hidden(name_within(view, command), command.resolved.as_bstr(), &view.settings().receive_hide_refs) {
        command.refuse(if command.is_deletion() { "deny deleting a hidden ref" } else { "deny updating a hidden ref" });
    }
}

/// The name of the ref that changes, as it is in its namespace.
fn name_within<'a>(view: &Snapshot, command: &'a Command) -> &'a BStr {
    command.resolved.strip_prefix(view.settings().namespace.as_slice()).unwrap_or(&command.resolved).as_bstr()
}

/// The objects named must be there and fit the ref; old and new decide what the command is.
fn check_objects(view: &Snapshot, decoder: &mut Decoder<'_>, command: &mut Command, cancel: &base::Cancel) -> Result<(), Error> {
    if command.is_deletion() {
        if command.old.is_null() {
            match view.refs().find(command.resolved.as_bstr()) {
                None => command.warnings.push("deleting a non-existent ref"),
                Some(_) => command.refuse(RefRefusal::Stale.to_string()),
            }
        }
        return Ok(());
    }
    let kind_of = |decoder: &mut Decoder<'_>, id: &ObjectId| -> Result<Option<Kind>, pack::Error> {
        decoder.objects().locate(id)?.map(|location| decoder.kind(&location)).transpose()
    };
    let Some(new_kind) = kind_of(decoder, &command.new)? else {
        command.refuse(MISSING);
        return Ok(());
    };
    if name_within(view, command).starts_with(b"refs/heads/") && new_kind != Kind::Commit {
        let (new, name) = (command.new, &command.resolved);
        let complaint = format!("cannot update ref '{name}': trying to write non-commit object {new} to branch '{name}'");
        command.refuse_and_complain("invalid new value provided", complaint);
        return Ok(());
    }
    // A tag that moves is lost where it stood, whatever it led to.
    let is_tag = name_within(view, command).starts_with(b"refs/tags/");
    if command.kind == EditKind::Rewind && !is_tag && new_kind == Kind::Commit && kind_of(decoder, &command.old)? == Some(Kind::Commit) {
        let objects = &**view.objects();
        match is_ancestor(objects, view.shallow(), command.old, command.new, cancel) {
            Ok(true) => command.kind = EditKind::Update,
            Ok(false) => {}
            Err(walk::Error::Pack(pack::Error::Missing(_))) => command.refuse(MISSING),
            Err(err) => return Err(err.into()),
        }
    }
    Ok(())
}

/// What nobody has set, in one more line each.
const DENY_CURRENT_HINT: &str = "\nthe files beside it would no longer be those of the branch; receive.denyCurrentBranch in the remote \
                                 repository\nallows it ('warn', 'ignore'), or silences this hint ('refuse')";
const DENY_DELETE_HINT: &str = "\nwhoever clones next would find no branch checked out; receive.denyDeleteCurrent in the remote \
                                repository\nallows it ('warn', 'ignore'), or silences this hint ('refuse')";

/// `receive.deny*`.
fn check_settings(view: &Snapshot, work_trees: &WorkTrees, command: &mut Command) {
    let settings = view.settings();
    let is_branch = name_within(view, command).starts_with(b"refs/heads/");
    let is_checked_out = work_trees.have_checked_out(command.resolved.as_bstr());
    if is_checked_out {
        check_current(settings.deny_current_branch, command);
    }
    if command.is_deletion() {
        if settings.deny_deletes && is_branch && !command.old.is_null() {
            command.refuse_and_complain("deletion prohibited", format!("denying ref deletion for {}", command.name));
        }
        let is_current = is_checked_out || matches!(view.head(), Head::Symbolic(name, _) if *name == command.resolved);
        if is_current && !command.old.is_null() {
            check_delete_current(settings.deny_delete_current, command);
        }
        return;
    }
    if settings.deny_non_fast_forwards && command.kind == EditKind::Rewind && is_branch {
        let complaint = format!("denying non-fast-forward {} (you should pull first)", command.name);
        command.refuse_and_complain("non-fast-forward", complaint);
    }
}

fn check_current(deny: DenyCurrent, command: &mut Command) {
    let hint = match deny {
        DenyCurrent::Ignore => return,
        DenyCurrent::Warn => {
            command.warnings.push("updating the current branch");
            return;
        }
        DenyCurrent::UpdateInstead => {
            command.refuse("receive.denyCurrentBranch=updateInstead needs a work tree, which this server never touches");
            return;
        }
        DenyCurrent::Refuse => "",
        DenyCurrent::Unset => DENY_CURRENT_HINT,
    };
    let complaint = format!("refusing to update checked out branch: {}{hint}", command.name);
    command.refuse_and_complain("branch is currently checked out", complaint);
}

fn check_delete_current(deny: DenyCurrent, command: &mut Command) {
    let hint = match deny {
        DenyCurrent::Ignore => return,
        DenyCurrent::Warn => {
            command.warnings.push("deleting the current branch");
            return;
        }
        DenyCurrent::Refuse | DenyCurrent::UpdateInstead => "",
        DenyCurrent::Unset => DENY_DELETE_HINT,
    };
    let complaint = format!("refusing to delete the current branch: {}{hint}", command.name);
    command.refuse_and_complain("deletion of the current branch prohibited", complaint);
}

fn ask_gate(conversation: &Conversation<'_>, view: &Snapshot, commands: &mut [Command]) {
    // Also those that something speaks against already: what the gate refuses gets its answer whatever the objects are,
    // so that who may not write learns nothing about what is here.
    let open: Vec<usize> = (0..commands.len()).filter(|at| commands[*at].well_named).collect();
    let edits: Vec<ProposedEdit> = open
        .iter()
        .map(|at| &commands[*at])
        .map(|command| ProposedEdit { name: command.resolved.clone(), old: command.old, new: command.new, kind: command.kind })
        .collect();
    if edits.is_empty() {
        return;
    }
    let sound = open.iter().map(|at| commands[*at].result.is_ok());
    let changes = Changes::new(view, &edits, conversation.cancel).only_of(sound);
    let proposal = Proposal {
        edits: &edits,
        push_options: &conversation.request.push_options,
        view,
        creates_repository: conversation.repository.is_staged(),
        changes: &changes,
    };
    let mut verdicts = conversation.gate.judge(&proposal).into_iter();
    for at in open {
        // A gate that answers for too few has not allowed the rest.
        match verdicts.next() {
            Some(Verdict::Allow) => {}
            Some(Verdict::Refuse(why)) => commands[at].overrule(why),
            None => commands[at].overrule("refused".to_owned()),
        }
    }
}
