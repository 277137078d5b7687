//! An async [`Grant`] into the sync [`Gate`] of the engine: one call and one deadline; failure denies.

use super::erased::ask;
use super::grant::{ErasedRules, Rules};
use super::{Grant, PushProposal};
use crate::pack::Bits;
use crate::serve::{Gate, Proposal, Verdict, Visibility};
use crate::store::Refs;
use bstr::BStr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

const HIDDEN: &str = "no rule lets you see this ref";

impl Grant {
    /// The gate of one command, for a thread that may block while `runtime` runs the rules.
    pub(crate) fn into_gate(self, runtime: tokio::runtime::Handle, timeout: Duration) -> Box<dyn Gate> {
        match self.rules {
            Rules::Everything => Box::new(crate::serve::OpenGate),
            Rules::Erased(rules) => Box::new(RulesGate { rules, runtime, timeout }),
        }
    }
}

struct RulesGate {
    rules: Arc<dyn ErasedRules>,
    runtime: tokio::runtime::Handle,
    timeout: Duration,
}

impl RulesGate {
    /// A panic hides the ref: it must neither show anything nor reach the engine.
    fn may_read(&self, name: &BStr) -> bool {
        catch_unwind(AssertUnwindSafe(|| self.rules.may_read(name))).unwrap_or_else(|_| {
            tracing::error!("may_read panicked; the ref is hidden");
            false
        })
    }

    fn verdicts(&self, proposal: &Proposal<'_>) -> Vec<Verdict> {
        let rules = self.rules.clone();
        let push = PushProposal::from(proposal);
        let asked = ask("judge", self.timeout, async move { rules.judge(&push).await });
        match self.runtime.block_on(asked) {
            Ok(verdicts) if verdicts.len() == proposal.edits.len() => verdicts,
            Ok(verdicts) => {
                tracing::error!(
                    edits = proposal.edits.len(),
                    verdicts = verdicts.len(),
                    "judge must give one verdict per edit; all are refused"
                );
                refuse_all(proposal, "access could not be checked; tell the administrator")
            }
            Err(error) => {
                tracing::error!(%error, "the push is refused");
                refuse_all(proposal, error.for_peer())
            }
        }
    }
}

fn refuse_all(proposal: &Proposal<'_>, why: &str) -> Vec<Verdict> {
    vec![Verdict::Refuse(why.to_owned()); proposal.edits.len()]
}

impl Gate for RulesGate {
    fn visible(&self, refs: &Refs) -> Visibility {
        let mut seen = Bits::new(refs.len());
        for (at, entry) in refs.iter().enumerate() {
            if self.may_read(entry.name) {
                seen.insert(at);
            }
        }
        if seen.count() == refs.len() { Visibility::All } else { Visibility::Only(seen) }
    }

    fn judge(&self, proposal: &Proposal<'_>) -> Vec<Verdict> {
        let mut verdicts = self.verdicts(proposal);
        for (verdict, edit) in verdicts.iter_mut().zip(proposal.edits) {
            if *verdict == Verdict::Allow && !self.may_read(edit.name.as_ref()) {
                *verdict = Verdict::Refuse(HIDDEN.to_owned());
            }
        }
        verdicts
    }
}
