//! What was granted about a whole repository into the deed: make, rename, delete, take back, give roles.
//!
//! Each wants a [`Granted`] of its own [`Command`]; a yes to one is none to another. All of them touch the disk.

use super::rules::Roles;
use super::{Command, Granted, HashKind, UserId};
use crate::store::{Error, Found, Repositories, RepositoryName, Trashed};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

static CHANGING_ROLES: Mutex<()> = Mutex::new(());

impl Granted {
    /// Make the repository, empty, with objects hashed by `hash` or as its place says.
    ///
    /// # Errors
    /// It is there, or its name can be none.
    pub fn create(&self, hash: Option<HashKind>) -> Result<(), Error> {
        let (repositories, name, usual) = self.named(Command::Create)?;
        repositories.create(name, hash.unwrap_or(usual), |folder| self.grant.first_roles().map_or(Ok(()), |roles| roles.write(folder)))
    }

    /// Give the repository the name for which `to` was granted; `false` where there is none. `alone` is told its git directory
    /// once nobody uses it, to let go of what is kept of it.
    ///
    /// # Errors
    /// It is in use, or there is something at the new name.
    pub fn rename(&self, to: &Self, alone: impl FnOnce(&Path)) -> Result<bool, Error> {
        let (repositories, name, _) = self.named(Command::Rename)?;
        let (others, new_name, _) = to.named(Command::Create)?;
        if !Arc::ptr_eq(repositories, others) {
            return Err(Error::InTheWay(
                "the two names lie in folders of different kinds; a repository cannot go from one to the other".into(),
            ));
        }
        repositories.rename(name, new_name, self.unless_roles_changed(alone))
    }

    /// Move the repository to the trash in the name of `by`; `None` where there is none. `alone`: as for [`Granted::rename`].
    ///
    /// # Errors
    /// It is in use.
    pub fn delete(&self, by: &UserId, alone: impl FnOnce(&Path)) -> Result<Option<Trashed>, Error> {
        let (repositories, name, _) = self.named(Command::Delete)?;
        repositories.delete(name, by.as_str(), self.unless_roles_changed(alone))
    }

    /// Take back from the trash what had this name last; `None` where nothing had.
    ///
    /// # Errors
    /// Something else has its place by now.
    pub fn restore(&self) -> Result<Option<Trashed>, Error> {
        let (repositories, name, _) = self.named(Command::Restore)?;
        repositories.restore(name, |git_dir| self.grant.still_counts_in(git_dir))
    }

    /// What was granted counts for nothing where the repository has other roles by now.
    fn unless_roles_changed(&self, alone: impl FnOnce(&Path)) -> impl FnOnce(&Path) -> Result<bool, Error> {
        move |git_dir| {
            alone(git_dir);
            self.grant.still_counts_in(git_dir)
        }
    }

    /// Who made the repository, and who has which role there; `None` where there is none.
    ///
    /// # Errors
    /// What is written of that cannot be read.
    pub fn roles(&self) -> Result<Option<Roles>, Error> {
        let (repositories, name, _) = self.named(Command::Roles)?;
        let Found::Repository(repository) = repositories.find(name)? else { return Ok(None) };
        if self.grant.still_counts_in(repository.git_dir())? { Roles::read(repository.git_dir()).map(Some) } else { Ok(None) }
    }

    /// Let `change` have them, and write what it makes of them; `None` where there is no repository.
    ///
    /// # Errors
    /// They cannot be read or written, or `change` says no: nothing has changed then.
    pub fn change_roles(&self, change: impl FnOnce(&mut Roles) -> Result<(), Error>) -> Result<Option<Roles>, Error> {
        // Two that change them at one moment must not lose each other's change.
        let _held = CHANGING_ROLES.lock().unwrap_or_else(PoisonError::into_inner);
        let (repositories, name, _) = self.named(Command::Roles)?;
        let Found::Repository(repository) = repositories.find(name)? else { return Ok(None) };
        let mut roles = Roles::read(repository.git_dir())?;
        if !self.grant.still_counts_in(repository.git_dir())? {
            return Ok(None);
        }
        change(&mut roles)?;
        roles.write(repository.git_dir())?;
        Ok(Some(roles))
    }

    fn named(&self, command: Command) -> Result<(&Arc<Repositories>, &RepositoryName, HashKind), Error> {
        if self.command != command || !self.grant.may_administer() {
            return Err(Error::InTheWay(format!("'{command}' was not granted here")));
        }
        self.place.name().ok_or_else(|| Error::InTheWay("this repository has its place from elsewhere, and is not moved from here".into()))
    }
}
