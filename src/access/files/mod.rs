//! GitServerGlue's three files into a driver: people by `.htpasswd` and `.rsakeys`, rights by `.repoperms`.
//!
//! | file | turns what into what |
//! |---|---|
//! | `htpasswd` | the text of `.htpasswd` into hashes of passwords |
//! | `repoperms` | the text of `.repoperms` into rights |
//! | `book` | all three files into a [`FileBook`] |
//!
//! As in GitServerGlue (`gitserverglue/__init__.py`, `ssh.py`): the user name that the client gives counts (`ssh://ann@host/...`)
//! and must be one of those whom the key or the password belongs to; the first part of a path is the folder of a repository
//! beneath the root, and what follows it means nothing; `w` alone lets push without letting fetch; nobody makes a repository by
//! pushing. Unlike there: `x` means `x.git`, keys may be of any kind, and `anonymous` may come over SSH and may only read.

mod book;
mod htpasswd;
mod repoperms;

pub use book::{FileBook, FilesError};
pub(super) use htpasswd::OldHash;

use super::rules::ANONYMOUS;
use super::{
    AuthMethods, Authentication, BoxError, Command, Credentials, Decision, Description, Driver, Grant, Location, PasswordPool, Place,
    PublicKey, Refusal, RequestPath, Transport, UserId, printable,
};
use crate::store::{Repositories, RepositoryName};
use repoperms::Rights;
use std::sync::{Arc, PoisonError, RwLock};

/// The driver that follows a [`FileBook`], over the repositories beneath one root.
#[derive(Clone, Debug)]
pub struct Files {
    book: Arc<RwLock<Arc<FileBook>>>,
    repositories: Arc<Repositories>,
    passwords: PasswordPool,
}

/// Somebody, under the book that was in force when the command began.
#[derive(Debug)]
pub struct Member {
    name: String,
    book: Arc<FileBook>,
}

impl Files {
    /// Follow `book`.
    pub fn new(book: FileBook, repositories: Arc<Repositories>) -> Self {
        Self { book: Arc::new(RwLock::new(Arc::new(book))), repositories, passwords: PasswordPool::default() }
    }

    /// Follow `book` from the next command on; what is under way ends as it began.
    pub fn replace(&self, book: FileBook) {
        *self.book.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(book);
    }

    /// What is followed.
    pub fn book(&self) -> Arc<FileBook> {
        self.book.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Member {
    fn may(&self, repository: &RepositoryName) -> Rights {
        self.book.permissions.of(&self.name, &format!("{}.git", repository.as_str()))
    }
}

/// The repository that a path means: its first part, which ends in `.git` unless it is the only one.
fn repository(path: &RequestPath) -> Option<RepositoryName> {
    let path = path.as_str().trim_matches('/');
    let (first, is_alone) = path.split_once('/').map_or((path, true), |(first, _)| (first, false));
    let is_folder = first.ends_with(".git");
    (is_folder || is_alone).then(|| RepositoryName::parse(first).ok()).flatten()
}

impl Driver for Files {
    type User = Member;

    async fn methods(&self, transport: &Transport) -> Result<AuthMethods, BoxError> {
        let book = self.book();
        let mut methods = AuthMethods::KEYS;
        methods.passwords = book.has_passwords() && transport.is_encrypted();
        methods.anonymous = book.is_open;
        Ok(methods)
    }

    async fn authenticate(&self, credentials: &Credentials) -> Result<Authentication, BoxError> {
        let book = self.book();
        let name = credentials.user_name();
        let is_known = match credentials {
            Credentials::PublicKey(shown) => book.has_key(name, &shown.key),
            Credentials::Password(said) => {
                let Some((hash, is_theirs)) = book.password_of(name) else { return Ok(Authentication::Unknown) };
                self.passwords.verify(hash, said).await? && is_theirs
            }
            Credentials::Anonymous(_) => ["", ANONYMOUS].contains(&name) && book.is_open,
            Credentials::Certificate(_) => false,
        };
        let id = if name.is_empty() { ANONYMOUS } else { name };
        Ok(if is_known { Authentication::Accepted(UserId::new(id)) } else { Authentication::Unknown })
    }

    async fn user(&self, id: &UserId) -> Result<Member, BoxError> {
        Ok(Member { name: id.as_str().to_owned(), book: self.book() })
    }

    async fn authorise(&self, user: &Member, command: Command, path: &RequestPath, _: &Transport) -> Result<Decision, BoxError> {
        let Some(repository) = repository(path) else {
            return Ok(Decision::Refused(Refusal::hidden("the path names no repository beneath the root")));
        };
        let rights = user.may(&repository);
        let shown = printable(repository.as_str());
        let refusal = match command {
            Command::UploadPack if rights.read => return Ok(Decision::Granted(Grant::everything())),
            Command::ReceivePack if rights.write && user.name != ANONYMOUS => return Ok(Decision::Granted(Grant::everything())),
            Command::ReceivePack if rights.read && user.name == ANONYMOUS => {
                Refusal::told("who pushes says who they are: you have not logged in")
            }
            Command::ReceivePack if rights.read => Refusal::told(format!("you may read '{shown}' but not push to it")),
            Command::UploadPack if rights.write => Refusal::told(format!("you may push to '{shown}' but not read it")),
            _ => return Ok(Decision::Refused(Refusal::hidden(".repoperms gives them nothing there"))),
        };
        Ok(Decision::Refused(refusal.because_of(format!(".repoperms:{}", rights.line))))
    }

    async fn locate(&self, path: &RequestPath, _: &Transport) -> Result<Location, BoxError> {
        Ok(repository(path).map_or(Location::NotFound, |name| Location::Place(Place::beneath(&self.repositories, name))))
    }

    async fn roots(&self) -> Result<Vec<Arc<Repositories>>, BoxError> {
        Ok(vec![self.repositories.clone()])
    }

    async fn may_know(&self, key: &PublicKey) -> Result<bool, BoxError> {
        Ok(self.book().knows_key(key))
    }

    async fn describe(&self, user: &Member) -> Result<Description, BoxError> {
        let repositories = self.repositories.clone();
        let all = tokio::task::spawn_blocking(move || repositories.names()).await??;
        let mut names: Vec<String> = all.iter().filter(|name| user.may(name).read).map(|name| name.as_str().to_owned()).collect();
        names.retain(|name| !name.contains('/'));
        Ok(Description { rights: String::new(), repositories: names })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_means_the_folder_that_is_its_first_part() {
        for (path, means) in [
            ("/website.git", Some("website")),
            ("website.git", Some("website")),
            ("//website.git/", Some("website")),
            ("website", Some("website")),
            // What GitServerGlue passes over.
            ("/website.git/info/refs", Some("website")),
            ("/website/x.git", None),
            ("", None),
            ("/", None),
            (".git", None),
            ("../website.git", None),
            ("..git", None),
            (".packmule.git", None),
        ] {
            assert_eq!(repository(&RequestPath::new(path)).as_ref().map(RepositoryName::as_str), means, "{path}");
        }
    }
}
