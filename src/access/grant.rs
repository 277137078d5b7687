//! What a user may do with the refs of one repository during one command.

use super::BoxError;
use super::rules::Roles;
use crate::serve::{Changes, Proposal, ProposedEdit, Verdict};
use crate::store::Snapshot;
use bstr::{BStr, BString};
use std::future::Future;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;

/// Rules for single refs: which exist for this user, and which edits of a push may happen.
///
/// A ref that may not be read does not exist for the client: it is not advertised, cannot be wanted, and nothing
/// that it alone reaches is sent. An edit of it is refused without asking [`RefRules::judge`]'s opinion.
pub trait RefRules: Send + Sync + 'static {
    /// Whether the ref with this full name may be seen. Asked for every ref of the repository: answer quickly.
    fn may_read(&self, name: &BStr) -> bool;

    /// One verdict per edit, in order. Asked once per push with all its edits, before anything has changed.
    fn judge(&self, push: &PushProposal) -> impl Future<Output = Result<Vec<Verdict>, BoxError>> + Send;
}

/// A whole push before anything has changed, to keep as long as the judgement takes.
#[derive(Clone)]
#[non_exhaustive]
pub struct PushProposal {
    /// All its edits.
    pub edits: Vec<ProposedEdit>,
    /// The push options as the client sent them.
    pub push_options: Vec<BString>,
    /// The push would make this repository.
    pub creates_repository: bool,
    /// The repository as it was, with the push's objects on top.
    pub view: Snapshot,
    /// What its edits change, found out when it is asked for; that takes time, so ask where a thread may block.
    pub changes: Changes,
}

impl From<&Proposal<'_>> for PushProposal {
    fn from(proposal: &Proposal<'_>) -> Self {
        Self {
            edits: proposal.edits.to_vec(),
            push_options: proposal.push_options.to_vec(),
            creates_repository: proposal.creates_repository,
            view: proposal.view.clone(),
            changes: proposal.changes.clone(),
        }
    }
}

type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// [`RefRules`] without its type.
pub(super) trait ErasedRules: Send + Sync {
    fn may_read(&self, name: &BStr) -> bool;
    fn judge<'a>(&'a self, push: &'a PushProposal) -> BoxFuture<'a, Result<Vec<Verdict>, BoxError>>;
}

impl<R: RefRules> ErasedRules for R {
    fn may_read(&self, name: &BStr) -> bool {
        RefRules::may_read(self, name)
    }

    fn judge<'a>(&'a self, push: &'a PushProposal) -> BoxFuture<'a, Result<Vec<Verdict>, BoxError>> {
        Box::pin(RefRules::judge(self, push))
    }
}

/// A yes to one command on one repository, with the rules for its refs.
#[derive(Clone)]
pub struct Grant {
    pub(super) rules: Rules,
    may_create: bool,
    /// Who will have made the repository, if a push does.
    creator: Option<String>,
    /// What was read of the repository, and must still be so when it is opened.
    roles: Option<Arc<Roles>>,
    may_administer: bool,
    rule: Option<Arc<str>>,
}

#[derive(Clone)]
pub(super) enum Rules {
    Everything,
    Erased(Arc<dyn ErasedRules>),
}

impl Grant {
    /// Every ref may be seen and every edit may happen.
    pub fn everything() -> Self {
        Self { rules: Rules::Everything, may_create: false, creator: None, roles: None, may_administer: false, rule: None }
    }

    /// `rules` decide ref by ref.
    pub fn new(rules: impl RefRules) -> Self {
        Self { rules: Rules::Erased(Arc::new(rules)), ..Self::everything() }
    }

    /// A push may also make the repository where there is none.
    #[must_use]
    pub fn and_create_repository(mut self) -> Self {
        self.may_create = true;
        self
    }

    /// The same, and `creator` is written into it as who made it: [`Roles`].
    #[must_use]
    pub fn and_create_repository_for(mut self, creator: impl Into<String>) -> Self {
        self.creator = Some(creator.into());
        self.and_create_repository()
    }

    /// This grant is worth nothing where the repository has other roles than these by the time it is opened: somebody else may have
    /// made it meanwhile, or its creator may have taken a role back. One that is not there yet has those with which it will be made.
    #[must_use]
    pub fn where_roles_are(mut self, roles: Roles) -> Self {
        self.roles = Some(Arc::new(roles));
        self
    }

    /// Name the rule that says yes, with its place, for the audit log: such as `rule 2 (config.toml:29)`.
    #[must_use]
    pub fn because_of(mut self, rule: impl Into<Arc<str>>) -> Self {
        self.rule = Some(rule.into());
        self
    }

    /// The rule that says yes, where one is named.
    pub fn rule(&self) -> Option<&str> {
        self.rule.as_deref()
    }

    /// What to write into a repository that a push makes.
    pub(super) fn first_roles(&self) -> Option<Roles> {
        self.creator.as_deref().map(Roles::made_by)
    }

    /// Whether the repository in `folder` is still the one that was judged.
    pub(super) fn still_counts_in(&self, folder: &Path) -> Result<bool, crate::store::Error> {
        self.roles.as_deref().map_or(Ok(true), |judged| Ok(Roles::read(folder)? == *judged))
    }

    /// The command that was asked about may happen although it administers the repository as a whole.
    #[must_use]
    pub fn and_administer(mut self) -> Self {
        self.may_administer = true;
        self
    }

    /// Whether the repository as a whole may be administered.
    pub fn may_administer(&self) -> bool {
        self.may_administer
    }

    /// Whether a push may make the repository.
    pub fn may_create_repository(&self) -> bool {
        self.may_create
    }
}

impl std::fmt::Debug for Grant {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let rules = match self.rules {
            Rules::Everything => "everything",
            Rules::Erased(_) => "rules",
        };
        f.debug_struct("Grant")
            .field("rules", &rules)
            .field("may_create", &self.may_create)
            .field("may_administer", &self.may_administer)
            .finish()
    }
}
