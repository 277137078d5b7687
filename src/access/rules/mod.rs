//! Rules of `config.toml` into a driver: people by their keys, and what each may do to which refs of which repositories.
//!
//! | file | turns what into what |
//! |---|---|
//! | `written` | the text into words with their places |
//! | `verb` | words into what somebody may do |
//! | `ref_list` | rules that an API server made for one user and one repository into a judge of refs |
//! | `pattern` | what a rule says of names into a yes or no |
//! | `patterns` | many of those into which match a name, without asking each |
//! | `scope` | whom and what rules are about, into the few about one user and one repository |
//! | `condition` | the text of a `when` into a yes or no |
//! | `limit` | what a push brings into a refusal, or none |
//! | `roles` | who made a repository, and whom they gave which role: a file in its folder |
//! | `authority` | certificates into whom they mean |
//! | `revoked` | lists of what authorities took back into a yes or no |
//! | `compile` | all of it into a [`RuleBook`], or into every [`Fault`] at once |
//! | `book` | questions into the rule that decides |
//! | `explain` | a question of somebody's into an answer that tells no more than they may know |
//!
//! The first rule that is about user, repository, ref and verb decides; what no rule is about is denied. A repository whose
//! refs may none be read does not exist for that user. A command keeps the book under which it began.
//!
//! `<user>` in names of repositories and refs is who asks, `<creator>` who made the repository, `<writers>` among users whom they
//! gave that role: [`Roles`]. The creator of a repository that is not there yet is whoever asks, if they may make it.
//!
//! Who shows nothing is `anonymous`, where a rule or a group names them, and may only read: `anonymous@host` over SSH, no name at
//! all elsewhere. Passwords are taken where somebody has one and nobody can listen.

mod authority;
mod book;
mod compile;
mod condition;
mod explain;
mod limit;
mod pattern;
mod patterns;
mod ref_list;
mod revoked;
mod roles;
mod scope;
mod verb;
mod written;

pub use book::{Judgement, RuleBook};
pub use compile::Fault;
pub use roles::Roles;
pub use verb::Verb;
pub use written::{Written, WrittenAuthority, WrittenGroups, WrittenLimit, WrittenRule, WrittenUser, WrittenUsers};

use super::{
    AuthMethods, Authentication, BoxError, Command, Credentials, Decision, Description, Driver, Explanation, Grant, HashKind, Location,
    PasswordCredentials, PasswordPool, Place, PublicKey, PushProposal, Question, RefRules, Refusal, RequestPath, Transport, UserId,
    printable,
};
use crate::serve::{ProposedEdit, Verdict};
use crate::store::{Repositories, RepositoryName};
use authority::Holder;
pub(crate) use book::ANONYMOUS;
use book::{Applying, Rule};
use bstr::BStr;
use condition::{Moment, Way};
pub(in crate::access) use ref_list::RefList;
use std::sync::{Arc, PoisonError, RwLock};
use verb::Verbs;

/// The driver that follows a [`RuleBook`], over the repositories beneath one root.
#[derive(Clone, Debug)]
pub struct Rules {
    book: Arc<RwLock<Arc<RuleBook>>>,
    repositories: Arc<Repositories>,
    new_hash: HashKind,
    passwords: PasswordPool,
}

/// Somebody, under the book that was in force when the command began.
#[derive(Debug)]
pub struct Person {
    name: String,
    book: Arc<RuleBook>,
}

impl Rules {
    /// Follow `book`; new repositories hash their objects with `new_hash`.
    pub fn new(book: RuleBook, repositories: Arc<Repositories>, new_hash: HashKind) -> Self {
        Self { book: Arc::new(RwLock::new(Arc::new(book))), repositories, new_hash, passwords: PasswordPool::default() }
    }

    /// Follow `book` from the next command on; what is under way ends as it began.
    pub fn replace(&self, book: RuleBook) {
        *self.book.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(book);
    }

    fn book(&self) -> Arc<RuleBook> {
        self.book.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Who made this repository and whom they gave roles in it, as far as it is there and `book` asks for it.
    async fn roles_of(&self, book: &RuleBook, repository: &RepositoryName) -> Result<Option<Roles>, BoxError> {
        if !book.needs_roles() {
            return Ok(None);
        }
        let (repositories, repository) = (self.repositories.clone(), repository.clone());
        Ok(tokio::task::spawn_blocking(move || Roles::find(repositories.root(), &repository)).await??)
    }

    /// Those by which `command` of `user` is judged: of what lies in the trash, of the repository, or of the one that they would make.
    async fn roles_for(&self, command: Command, book: &RuleBook, user: &str, repository: &RepositoryName) -> Result<Roles, BoxError> {
        let (repositories, name) = (self.repositories.clone(), repository.clone());
        let on_disk = match command {
            Command::Restore if !book.needs_roles() => return Ok(Roles::default()),
            Command::Restore => tokio::task::spawn_blocking(move || {
                repositories.find_in_trash(&name)?.map_or_else(|| Ok(Roles::default()), |folder| Roles::read(&folder))
            }),
            Command::Roles => tokio::task::spawn_blocking(move || Roles::find(repositories.root(), &name).map(Option::unwrap_or_default)),
            _ => {
                let found = self.roles_of(book, repository).await?;
                return Ok(found.unwrap_or_else(|| book.roles_of_new(user, repository.as_str())));
            }
        };
        Ok(on_disk.await??)
    }

    /// The same work whether or not there is such a user: somebody's hash is always compared.
    async fn by_password(&self, said: &PasswordCredentials) -> Result<Authentication, BoxError> {
        let book = self.book();
        let Some((hash, user)) = book.password_of(&said.user_name) else { return Ok(Authentication::Unknown) };
        let is_right = self.passwords.verify(hash, said).await?;
        Ok(user.filter(|_| is_right).map_or(Authentication::Unknown, |name| Authentication::Accepted(UserId::new(name))))
    }
}

impl RuleBook {
    /// May `user` do `verb` in the repository of this name, which is not there yet: to the ref `name`, or to some ref? What
    /// cannot be read cannot be changed either, and the judgement then is that of reading.
    pub fn ask(&self, user: &str, repository: &str, name: Option<&BStr>, verb: Verb) -> Judgement {
        self.ask_of(user, repository, &self.roles_of_new(user, repository), name, verb)
    }

    /// The same of a repository with these `roles`; asked now, over SSH, from no address and without push options. Of rules about paths
    /// and of limits it says nothing.
    pub fn ask_of(&self, user: &str, repository: &str, roles: &Roles, name: Option<&BStr>, verb: Verb) -> Judgement {
        if self.is_admin(user) {
            return Judgement { is_allowed: true, rule: None };
        }
        if user == ANONYMOUS && verb != Verb::Read {
            return Judgement { is_allowed: false, rule: None };
        }
        let applying = self.applying(&self.about(user), repository, roles, &Way::to_do(verb));
        let of_ref = |verb, name| self.judge(&applying, Moment { verb, name, options: &[] });
        let judge = |verb| name.map_or_else(|| self.judge_some(&applying, verb), |name| of_ref(verb, name));
        let read = judge(Verb::Read);
        if read.is_some_and(|rule| rule.allows) { judge(verb).into() } else { read.into() }
    }
}

impl Driver for Rules {
    type User = Person;

    async fn methods(&self, transport: &Transport) -> Result<AuthMethods, BoxError> {
        let book = self.book();
        let mut methods = AuthMethods::KEYS;
        methods.certificates = !book.authorities.is_empty();
        methods.passwords = book.has_passwords() && transport.is_encrypted();
        methods.anonymous = book.knows(ANONYMOUS);
        Ok(methods)
    }

    async fn authenticate(&self, credentials: &Credentials) -> Result<Authentication, BoxError> {
        let accepted = |name: &str| Authentication::Accepted(UserId::new(name));
        let book = self.book();
        Ok(match credentials {
            Credentials::PublicKey(shown) if book.is_revoked(&shown.key) => {
                Authentication::Refused(Refusal::hidden(format!("the key {} was revoked", shown.key.fingerprint())))
            }
            Credentials::PublicKey(shown) => book.owner(&shown.key).map_or(Authentication::Unknown, accepted),
            Credentials::Certificate(shown) => match book.holder(&shown.certificate, &shown.user_name) {
                Holder::User(name) => accepted(name),
                Holder::Unknown => Authentication::Unknown,
                Holder::Refused(why) => Authentication::Refused(Refusal::hidden(why)),
            },
            Credentials::Password(said) => self.by_password(said).await?,
            Credentials::Anonymous(shown) if ["", ANONYMOUS].contains(&shown.user_name.as_str()) && book.knows(ANONYMOUS) => {
                accepted(ANONYMOUS)
            }
            Credentials::Anonymous(_) => Authentication::Unknown,
        })
    }

    async fn user(&self, id: &UserId) -> Result<Person, BoxError> {
        Ok(Person { name: id.as_str().to_owned(), book: self.book() })
    }

    async fn authorise(&self, user: &Person, command: Command, path: &RequestPath, way: &Transport) -> Result<Decision, BoxError> {
        let Person { name, book } = user;
        let is_admin = book.is_admin(name);
        let repository = match path.name() {
            Ok(repository) => repository,
            Err(crate::store::Error::BadName { why, .. }) if is_admin => {
                return Ok(Decision::Refused(Refusal::told(format!("'{path}' is no name for a repository: {why}"))));
            }
            Err(error) => return Ok(Decision::Refused(Refusal::hidden(error.to_string()))),
        };
        if is_admin {
            return Ok(Decision::Granted(Grant::everything().and_create_repository_for(name).and_administer()));
        }
        if command.administers() && name == ANONYMOUS {
            return Ok(Decision::Refused(Refusal::hidden("who shows nothing administers nothing")));
        }
        let roles = match self.roles_for(command, book, name, &repository).await {
            Ok(roles) => roles,
            // To a stranger it is as if it were not there.
            Err(error) => {
                tracing::error!(repository = repository.as_str(), error = printable(&error.to_string()), "nobody knows who has which role");
                return Ok(Decision::Refused(Refusal::hidden(format!("its roles cannot be read: {error}"))));
            }
        };
        let applying = book.applying(&book.about(name), repository.as_str(), &roles, &Way::of(command, way));
        let allows = |rule: Option<&Rule>| rule.is_some_and(|rule| rule.allows);
        let no = |rule: Option<&Rule>, refusal: Refusal| match rule {
            Some(rule) => refusal.because_of(&rule.place),
            None => refusal,
        };
        let read = book.judge_some(&applying, Verb::Read);
        if !allows(read) {
            return Ok(Decision::Refused(no(read, Refusal::hidden("no rule lets them read it"))));
        }
        if command != Command::UploadPack && name == ANONYMOUS {
            return Ok(Decision::Refused(Refusal::told("who pushes says who they are: you have not logged in")));
        }
        let (wanted, what) = wanted(command);
        let judged: Vec<_> = wanted.iter().map(|verb| book.judge_some(&applying, *verb)).collect();
        let is_creators = command == Command::Roles && roles.creator.as_deref() == Some(name.as_str());
        let decides = judged.iter().copied().find(|rule| allows(*rule)).flatten();
        if !is_creators && decides.is_none() {
            let denied = judged.into_iter().next().unwrap_or(read);
            let sentence = format!("you may read '{}' but not {what} it", printable(repository.as_str()));
            return Ok(Decision::Refused(no(denied, Refusal::told(sentence))));
        }
        let may_create = allows(book.judge_some(&applying, Verb::CreateRepository));
        let mut grant = Grant::new(RulesOfRefs(Arc::new((book.clone(), applying))));
        if may_create || command == Command::Create {
            grant = grant.and_create_repository_for(name);
        }
        if command.administers() {
            grant = grant.and_administer();
        }
        if let Some(rule) = decides {
            grant = grant.because_of(rule.place.as_str());
        }
        Ok(Decision::Granted(if book.needs_roles() || command == Command::Roles { grant.where_roles_are(roles) } else { grant }))
    }

    async fn locate(&self, path: &RequestPath, _: &Transport) -> Result<Location, BoxError> {
        Ok(Location::Place(Place::beneath(&self.repositories, path.name()?).hashed_with(self.new_hash)))
    }

    async fn roots(&self) -> Result<Vec<Arc<Repositories>>, BoxError> {
        Ok(vec![self.repositories.clone()])
    }

    async fn why(&self, user: &Person, question: &Question) -> Result<Option<Explanation>, BoxError> {
        let roles = match question.path.name() {
            Ok(repository) => self.roles_of(&user.book, &repository).await?,
            Err(_) => None,
        };
        Ok(Some(explain::why(&user.book, &user.name, roles.as_ref(), question)))
    }

    async fn may_know(&self, key: &PublicKey) -> Result<bool, BoxError> {
        Ok(self.book().owner(key).is_some())
    }

    async fn describe(&self, user: &Person) -> Result<Description, BoxError> {
        let (repositories, book, name) = (self.repositories.clone(), user.book.clone(), user.name.clone());
        let named = tokio::task::spawn_blocking(move || {
            let (is_admin, about) = (book.is_admin(&name), book.about(&name));
            let may_read = |repository: &RepositoryName| {
                if is_admin {
                    return true;
                }
                let found = if book.needs_roles() { Roles::find(repositories.root(), repository) } else { Ok(None) };
                // Nothing is told of what cannot be judged.
                let Ok(roles) = found else { return false };
                let applying = book.applying(&about, repository.as_str(), &roles.unwrap_or_default(), &Way::to_do(Verb::Read));
                book.judge_some(&applying, Verb::Read).is_some_and(|rule| rule.allows)
            };
            let all = repositories.names()?;
            Ok::<_, crate::store::Error>(all.iter().filter(|name| may_read(name)).map(|name| name.as_str().to_owned()).collect())
        });
        let is_admin = user.book.is_admin(&user.name);
        let rights = if is_admin { "You may read and write everything here." } else { "" };
        Ok(Description { rights: rights.to_owned(), repositories: named.await?? })
    }
}

/// Which verbs a command wants one of, and what it does in words.
fn wanted(command: Command) -> (&'static [Verb], &'static str) {
    match command {
        Command::UploadPack => (&[Verb::Read], "fetch from"),
        Command::ReceivePack => (&Verbs::WRITING, "push to"),
        Command::Create => (&[Verb::Admin, Verb::CreateRepository], "create"),
        Command::Rename => (&[Verb::Admin], "rename"),
        Command::Delete => (&[Verb::Admin], "delete"),
        Command::Restore => (&[Verb::Admin], "restore"),
        Command::List | Command::Roles => (&[Verb::Admin], "administer"),
    }
}

/// The rules for one user and one repository.
#[derive(Clone)]
struct RulesOfRefs(Arc<(Arc<RuleBook>, Applying)>);

impl RulesOfRefs {
    fn reads(&self, name: &BStr) -> bool {
        let (book, applying) = &*self.0;
        book.judge(applying, Moment { verb: Verb::Read, name, options: &[] }).is_some_and(|rule| rule.allows)
    }

    /// What speaks against the edit with this number.
    fn verdict(&self, push: &PushProposal, at: usize, edit: &ProposedEdit) -> Verdict {
        let (book, applying) = &*self.0;
        let verb = Verb::from(edit.kind);
        let moment = Moment { verb, name: edit.name.as_ref(), options: &push.push_options };
        match book.judge(applying, moment) {
            Some(rule) if !rule.allows => Verdict::Refuse(format!("you may not {verb} it: {}", rule.place)),
            None => Verdict::Refuse(format!("you may not {verb} it: no rule lets you")),
            // Of what one may not read nothing is told; the gate refuses it.
            Some(_) if !self.reads(moment.name) => Verdict::Allow,
            Some(_) => book.refusal_of_changes(applying, moment, &push.changes, at).map_or(Verdict::Allow, Verdict::Refuse),
        }
    }

    fn verdicts(&self, push: &PushProposal) -> Vec<Verdict> {
        let judge = |(at, edit)| match push.changes.is_over() {
            true => Verdict::Refuse("there was no time to judge it".to_owned()),
            false => self.verdict(push, at, edit),
        };
        push.edits.iter().enumerate().map(judge).collect()
    }
}

impl RefRules for RulesOfRefs {
    fn may_read(&self, name: &BStr) -> bool {
        self.reads(name)
    }

    async fn judge(&self, push: &PushProposal) -> Result<Vec<Verdict>, BoxError> {
        // A push may have a million edits, and each may ask for what it changes.
        let (rules, push) = (self.clone(), push.clone());
        Ok(tokio::task::spawn_blocking(move || rules.verdicts(&push)).await?)
    }
}

#[cfg(test)]
mod tests;
