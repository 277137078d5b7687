//! An async [`Grant`] into the sync [`Gate`] of the engine: one call and one deadline; failure denies.

use super::erased::ask;
use super::grant::{ErasedRules, Rules};
use super::{Grant, PushProposal};
use crate::base::limits::TICK_MS;
use crate::pack::Bits;
use crate::serve::{Changes, Gate, Proposal, Verdict, Visibility};
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
        let answered = self.runtime.block_on(until_answered(asked, proposal.changes));
        // Whoever is late, or goes on for a client that is gone, has nothing more to find out.
        proposal.changes.stop();
        match answered {
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
                tracing::error!(error = super::printable(&error.to_string()), "the push is refused");
                refuse_all(proposal, error.for_peer())
            }
        }
    }
}

/// Wait for the answer; nothing more is found out for a client that is gone meanwhile.
async fn until_answered<T>(answer: impl Future<Output = T>, changes: &Changes) -> T {
    tokio::pin!(answer);
    loop {
        tokio::select! {
            answered = &mut answer => return answered,
            () = tokio::time::sleep(Duration::from_millis(TICK_MS)) => if changes.is_abandoned() {
                changes.stop();
            },
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::{BoxError, RefRules};
    use crate::serve::{EditKind, ProposedEdit};
    use crate::store::{ConfigScope, Repository};
    use std::process::Command;

    /// Hides `refs/heads/secret`; what it says of a push is in its hands.
    struct Says(fn(usize) -> Result<Vec<Verdict>, BoxError>);

    impl RefRules for Says {
        fn may_read(&self, name: &BStr) -> bool {
            assert!(name != "refs/heads/panic", "on purpose");
            name != "refs/heads/secret"
        }

        async fn judge(&self, push: &PushProposal) -> Result<Vec<Verdict>, BoxError> {
            if push.edits.len() == 3 {
                std::future::pending::<()>().await;
            }
            (self.0)(push.edits.len())
        }
    }

    /// Judge a push of `names` under rules that answer `says`.
    fn judged(says: fn(usize) -> Result<Vec<Verdict>, BoxError>, names: &[&str]) -> Vec<Verdict> {
        let folder = tempfile::tempdir().expect("a folder");
        let init = Command::new("git").args(["init", "-q", "--bare"]).arg(folder.path()).env("GIT_CONFIG_GLOBAL", "/dev/null").status();
        assert!(init.expect("git runs").success());
        let view =
            Repository::open(folder.path(), ConfigScope::RepositoryOnly).and_then(|repository| repository.snapshot()).expect("a view");
        let null = gix_hash::ObjectId::null(gix_hash::Kind::Sha1);
        let edit = |name: &&str| ProposedEdit { name: (*name).into(), old: null, new: null, kind: EditKind::Create };
        let edits: Vec<_> = names.iter().map(edit).collect();
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime");
        let gate = Grant::new(Says(says)).into_gate(runtime.handle().clone(), Duration::from_millis(100));
        let changes = Changes::new(&view, &edits, &crate::base::Cancel::new());
        gate.judge(&Proposal { edits: &edits, push_options: &[], view: &view, creates_repository: false, changes: &changes })
    }

    fn allow(count: usize) -> Result<Vec<Verdict>, BoxError> {
        Ok(vec![Verdict::Allow; count])
    }

    fn refused(verdicts: &[Verdict]) -> bool {
        verdicts.iter().all(|verdict| matches!(verdict, Verdict::Refuse(_)))
    }

    #[test]
    fn a_yes_is_passed_on_but_not_for_a_hidden_ref() {
        let verdicts = judged(allow, &["refs/heads/main", "refs/heads/secret"]);
        assert_eq!(verdicts, [Verdict::Allow, Verdict::Refuse(HIDDEN.to_owned())]);
        assert_eq!(judged(allow, &["refs/heads/panic"]), [Verdict::Refuse(HIDDEN.to_owned())]);
    }

    #[test]
    fn an_error_a_panic_silence_and_a_wrong_count_refuse_everything() {
        let two = ["refs/heads/a", "refs/heads/b"];
        for verdicts in
            [judged(|_| Err("no database at /secret".into()), &two), judged(|_| panic!("on purpose"), &two), judged(|_| allow(1), &two)]
        {
            assert_eq!(verdicts.len(), 2);
            assert!(refused(&verdicts) && !format!("{verdicts:?}").contains("secret"), "{verdicts:?}");
        }
        let late = judged(allow, &["refs/heads/a", "refs/heads/b", "refs/heads/c"]);
        assert!(late.len() == 3 && refused(&late), "{late:?}");
    }
}
