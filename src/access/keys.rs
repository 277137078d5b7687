//! The driver that needs no configuration: some public keys may do everything beneath one root, nobody else anything.

use super::{
    Authentication, BoxError, Command, Credentials, Decision, Description, Driver, Grant, HashKind, Location, Place, PublicKey, Refusal,
    RequestPath, Transport, UserId,
};
use crate::store::Repositories;
use std::sync::Arc;

/// Public keys that may read, write and create every repository beneath one root.
#[derive(Debug)]
pub struct Keys {
    keys: Vec<(PublicKey, UserId)>,
    repositories: Arc<Repositories>,
    new_hash: HashKind,
}

impl Keys {
    /// Nobody may do anything yet.
    pub fn new(repositories: Arc<Repositories>) -> Self {
        Self { keys: Vec::new(), repositories, new_hash: HashKind::Sha1 }
    }

    /// Whoever holds `key` is `user` and may do everything. The first name given to a key stays.
    #[must_use]
    pub fn allow(mut self, key: PublicKey, user: UserId) -> Self {
        if self.find(&key).is_none() {
            self.keys.push((key, user));
        }
        self
    }

    /// New repositories hash their objects with `hash`.
    #[must_use]
    pub fn hash_new_with(mut self, hash: HashKind) -> Self {
        self.new_hash = hash;
        self
    }

    fn find(&self, key: &PublicKey) -> Option<&UserId> {
        self.keys.iter().find(|(known, _)| known == key).map(|(_, user)| user)
    }
}

impl Driver for Keys {
    type User = UserId;

    async fn authenticate(&self, credentials: &Credentials) -> Result<Authentication, BoxError> {
        let Credentials::PublicKey(proof) = credentials else { return Ok(Authentication::Unknown) };
        Ok(self.find(&proof.key).cloned().map_or(Authentication::Unknown, Authentication::Accepted))
    }

    async fn user(&self, id: &UserId) -> Result<UserId, BoxError> {
        Ok(id.clone())
    }

    async fn authorise(&self, _: &UserId, _: Command, path: &RequestPath, _: &Transport) -> Result<Decision, BoxError> {
        Ok(match path.name() {
            Ok(_) => Decision::Granted(Grant::everything().and_create_repository().and_administer()),
            // Whoever may see everything may hear why a name can never be one.
            Err(crate::store::Error::BadName { why, .. }) => {
                Decision::Refused(Refusal::told(format!("'{path}' is no name for a repository: {why}")))
            }
            Err(error) => return Err(error.into()),
        })
    }

    async fn locate(&self, path: &RequestPath, _: &Transport) -> Result<Location, BoxError> {
        Ok(Location::Place(Place::beneath(&self.repositories, path.name()?).hashed_with(self.new_hash)))
    }

    async fn may_know(&self, key: &PublicKey) -> Result<bool, BoxError> {
        Ok(self.find(key).is_some())
    }

    async fn roots(&self) -> Result<Vec<Arc<Repositories>>, BoxError> {
        Ok(vec![self.repositories.clone()])
    }

    async fn describe(&self, _: &UserId) -> Result<Description, BoxError> {
        let repositories = self.repositories.clone();
        let names = tokio::task::spawn_blocking(move || repositories.names()).await??;
        Ok(Description {
            rights: "You may read and write everything here.".to_owned(),
            repositories: names.iter().map(|name| name.as_str().to_owned()).collect(),
        })
    }
}
