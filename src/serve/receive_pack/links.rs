//! What new values lead to: all of it is here, or ends where the client's own history ends.
//!
//! Source: `builtin/receive-pack.c` (`execute_commands`, `update_shallow_info`, `update_shallow_ref`); git-config,
//! `receive.shallowUpdate`. A push whose history ends at a shallow commit of the client is refused, unless that setting allows it:
//! then the commit becomes one of ours when a ref that needs it changes.

use super::judge::{Command, MISSING};
use super::{Conversation, Error};
use crate::base::{Progress, span};
use crate::pack::{Location, Objects};
use crate::serve::Visibility;
use crate::serve::attend::attend;
use crate::serve::visible::visible_refs;
use crate::store::{Head, Push, Snapshot};
use crate::walk::{Connections, Known, Pushed, ReachableObjects, check_connected};
use bstr::ByteSlice;
use gix_hash::ObjectId;
use std::sync::Arc;

impl Conversation<'_> {
    /// For a pusher who may not see every ref, there is only what the others reach: whatever is built on anything else could be
    /// fetched as the pusher's own. Costs a walk through all that they may see.
    pub(super) fn see_only_what_refs_show(&mut self, push: &mut Push) -> Result<(), Error> {
        let view = push.view().clone();
        let takes_values = self.request.commands.iter().any(|command| !command.new.is_null());
        if !takes_values || matches!(self.gate.visible(view.refs()), Visibility::All) {
            return Ok(());
        }
        let refs = visible_refs(&view, self.gate, &[]);
        let tips: Vec<ObjectId> = refs.tips().collect();
        let (quiet, keepalive_ms, cancel) = (self.is_quiet(), self.options.keepalive_ms, self.cancel);
        let reached = attend(&mut self.bands, &Progress::new(), quiet, keepalive_ms, cancel, || {
            ReachableObjects::find_what_is_here(&**view.objects(), view.shallow(), &tips, cancel)
        })?;
        push.see_only(Arc::new(move |location| reached.contains(location)));
        self.seen = Some(refs);
        Ok(())
    }

    /// Refuse what leads to something that is not here.
    pub(super) fn check_links(&mut self, push: &Push, commands: &mut [Command]) -> Result<(), Error> {
        let open: Vec<usize> = (0..commands.len()).filter(|at| commands[*at].result.is_ok() && !commands[*at].new.is_null()).collect();
        let tips: Vec<ObjectId> = open.iter().map(|at| commands[*at].new).collect();
        // To cut history off is to cut it off for everybody: whoever does not see all of it cannot tell where that does no harm.
        let may_cut = push.view().settings().push.shallow_update && self.seen.is_none();
        let connections = self.connections(push, commands, &tips)?;
        for (at, connected) in open.into_iter().zip(connections.tips) {
            if connected.is_cut && !may_cut {
                commands[at].refuse("shallow update not allowed");
            } else if connected.is_broken && !self.options.skip_connectivity_check {
                commands[at].refuse(if connected.is_cut { "shallow error" } else { MISSING });
            }
            commands[at].is_cut = connected.is_cut;
        }
        Ok(())
    }

    /// The client's shallow commits that become ours with what is about to be done.
    pub(super) fn cuts(&mut self, push: &Push, commands: &[Command]) -> Result<Vec<ObjectId>, Error> {
        let done = commands.iter().filter(|command| command.is_cut && command.needs_edit());
        let tips: Vec<ObjectId> = done.map(|command| command.new).collect();
        Ok(self.connections(push, commands, &tips)?.cuts)
    }

    fn connections(&mut self, push: &Push, commands: &[Command], tips: &[ObjectId]) -> Result<Connections, Error> {
        if tips.is_empty() || self.options.skip_connectivity_check && self.request.shallow.is_empty() {
            return Ok(Connections { tips: vec![Default::default(); tips.len()], cuts: vec![] });
        }
        let _span = tracing::debug_span!(span::CONNECTIVITY).entered();
        let view = push.view();
        let base_packs = push.base_packs();
        let is_new = |location: &Location| matches!(location, Location::Packed { pack, .. } if *pack >= base_packs);
        // Of what may be seen, any ref may be near.
        let near = if self.seen.is_some() { vec![] } else { near_tips(view, commands) };
        let seen = self.seen.as_ref();
        let each = |hear: &mut dyn FnMut(ObjectId)| match seen {
            Some(refs) => refs.tips().for_each(hear),
            None => {
                view.refs().iter().filter_map(|entry| entry.id).for_each(&mut *hear);
                view.alternate_tips().into_iter().for_each(hear);
            }
        };
        let pushed = Pushed {
            objects: &**view.objects(),
            shallow: view.shallow(),
            offered: &self.request.shallow,
            known: Known { near: &near, each: &each },
            was_here: &|id| Ok(push.base().locate(id)?.is_some()),
            is_new: &is_new,
        };
        let (progress, cancel) = (Progress::new(), self.cancel);
        let quiet = self.is_quiet();
        let keepalive_ms = self.options.keepalive_ms;
        // git is silent about this step.
        let connections = attend(&mut self.bands, &Progress::new(), quiet, keepalive_ms, cancel, || {
            let phase = progress.begin("Checking connectivity", 0);
            let outcome = check_connected(&pushed, tips, &phase, cancel);
            phase.finish();
            outcome
        })?;
        view.refs().check()?;
        Ok(connections)
    }
}

/// What a push most likely builds on: HEAD, and what its own refs were.
fn near_tips(view: &Snapshot, commands: &[Command]) -> Vec<ObjectId> {
    let head = match view.head() {
        Head::Symbolic(_, id) => *id,
        Head::Detached(id) => Some(*id),
        Head::Missing => None,
    };
    let before = commands.iter().filter_map(|command| view.refs().find(command.resolved.as_bstr())?.id);
    head.into_iter().chain(before).collect()
}
