//! Drivers in a row into sessions: who came in, and what each of their commands may do.
//!
//! Every transport asks through a [`Door`], so that the order of the callbacks and their deadlines are the same everywhere.

use super::erased::{ErasedDriver, ErasedUser, erase};
use super::{
    AuthMethods, Authentication, CALLBACK_TIMEOUT_MS, Command, Credentials, Decision, Description, Driver, Error, Explanation, Grant,
    Location, Place, PublicKey, Question, Refusal, RequestPath, Transport, UserId, printable,
};
use crate::serve::Gate;
use crate::store::{self, Repositories, Repository};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Drivers in a row, for people who are kept in several places.
///
/// Each login goes along the row: a driver that answers [`Authentication::Unknown`] passes it on, the first that answers
/// [`Authentication::Accepted`] owns the session and alone is asked from there on, [`Authentication::Refused`] is final, and an
/// error ends it, too: whoever stands behind a driver that cannot answer must not let in somebody whom it would have refused.
///
/// ```
/// use packmule::access::{Chain, Door, Keys, UserId, PublicKey};
/// use packmule::store::Repositories;
/// use std::sync::Arc;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let (staff_folder, guest_folder) = (tempfile::tempdir()?, tempfile::tempdir()?);
/// let key = PublicKey::from_openssh("ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJdD7y3aLq454yWBdwLWbieU1ebz9/cu7/QEXn9OIeZJ ann")?;
/// let staff = Keys::new(Arc::new(Repositories::open(staff_folder.path())?)).allow(key.clone(), UserId::new("ann"));
/// // Ann is known here, too, but the first that knows her decides, and her paths mean what they mean there.
/// let guests = Keys::new(Arc::new(Repositories::open(guest_folder.path())?)).allow(key, UserId::new("guest"));
/// let door = Door::from(Chain::new().then(staff).then(guests));
/// // Server::builder().door(door)
/// # let _ = door;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Chain {
    drivers: Vec<Arc<dyn ErasedDriver>>,
    timeout: Duration,
}

impl Chain {
    /// Nobody yet, so nobody comes in.
    pub fn new() -> Self {
        Self { drivers: Vec::new(), timeout: Duration::from_millis(CALLBACK_TIMEOUT_MS) }
    }

    /// Ask `driver` about whom all before it do not know.
    #[must_use]
    pub fn then(mut self, driver: impl Driver) -> Self {
        self.drivers.push(erase(driver, self.timeout));
        self
    }

    /// Drivers that are added from here on have `timeout` for each answer.
    #[must_use]
    pub fn within(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }
}

impl Default for Chain {
    fn default() -> Self {
        Self::new()
    }
}

type WallClock = Arc<dyn Fn() -> SystemTime + Send + Sync>;

/// Where clients come in. Clones are one and the same door.
#[derive(Clone)]
pub struct Door {
    drivers: Arc<[Arc<dyn ErasedDriver>]>,
    timeout: Duration,
    clock: WallClock,
}

impl From<Chain> for Door {
    fn from(chain: Chain) -> Self {
        Self { drivers: chain.drivers.into(), timeout: chain.timeout, clock: Arc::new(SystemTime::now) }
    }
}

/// What becomes of somebody who wants to come in.
#[derive(Debug)]
pub enum LogIn {
    /// They are somebody.
    Accepted(Session),
    /// No driver knows them.
    Unknown,
    /// A driver knows them and says no; the reason is for the log.
    Refused(Refusal),
}

/// Somebody who came in.
#[derive(Clone)]
pub struct Session {
    door: Door,
    /// Which of the drivers knows them.
    owner: usize,
    user: UserId,
    /// To ask again: connections may live long.
    credentials: Arc<Credentials>,
}

/// Somebody with everything that their driver knows of them, for one command.
pub struct Caller {
    user: Arc<dyn ErasedUser>,
    transport: Transport,
    timeout: Duration,
}

/// What becomes of a command.
#[derive(Debug)]
pub enum Admission {
    /// It may begin.
    Granted(Granted),
    /// It may not.
    Refused(Refusal),
    /// Its path means nothing.
    NotFound,
}

/// Where a command's repository lies, and what may be done there.
#[derive(Debug)]
pub struct Granted {
    pub(super) place: Place,
    pub(super) grant: Grant,
    pub(super) command: Command,
    timeout: Duration,
}

enum Identity {
    Of { owner: usize, user: UserId },
    Nobody,
    Refused(Refusal),
}

impl Door {
    /// One driver decides.
    pub fn new(driver: impl Driver) -> Self {
        Chain::new().then(driver).into()
    }

    /// Certificates begin and end by this clock.
    #[must_use]
    pub fn with_clock(mut self, clock: impl Fn() -> SystemTime + Send + Sync + 'static) -> Self {
        self.clock = Arc::new(clock);
        self
    }

    /// Seconds since 1970.
    pub(crate) fn now_s(&self) -> u64 {
        // A clock before 1970 is wrong: then no certificate counts yet.
        (self.clock)().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
    }

    /// What one may log in with: what any of the drivers takes. One that gives no answer takes nothing.
    pub async fn methods(&self, transport: &Transport) -> AuthMethods {
        let mut all = AuthMethods::NONE;
        for driver in self.drivers.iter() {
            match driver.methods(transport.clone()).await {
                Ok(methods) => all = all.or(methods),
                Err(error) => tracing::error!(error = printable(&error.to_string()), "no methods"),
            }
        }
        all
    }

    /// Whether some driver could know this key. One that gives no answer might: it is asked again with the signature.
    pub async fn may_know(&self, key: &PublicKey) -> bool {
        for driver in self.drivers.iter() {
            if driver.may_know(key.clone()).await.unwrap_or(true) {
                return true;
            }
        }
        false
    }

    /// Let in whoever shows these credentials, if a driver knows them.
    ///
    /// # Errors
    /// A driver gave no answer: nobody comes in.
    pub async fn log_in(&self, credentials: Credentials) -> Result<LogIn, Error> {
        Ok(match self.identify(&credentials).await? {
            Identity::Of { owner, user } => {
                LogIn::Accepted(Session { door: self.clone(), owner, user, credentials: Arc::new(credentials) })
            }
            Identity::Nobody => LogIn::Unknown,
            Identity::Refused(why) => LogIn::Refused(why),
        })
    }

    async fn identify(&self, credentials: &Credentials) -> Result<Identity, Error> {
        if let Credentials::Certificate(shown) = credentials
            && let Err(fault) = shown.certificate.check_time(self.now_s())
        {
            return Ok(Identity::Refused(Refusal::hidden(fault.to_string())));
        }
        for (owner, driver) in self.drivers.iter().enumerate() {
            if !driver.methods(credentials.transport().clone()).await?.take(credentials) {
                continue;
            }
            match driver.authenticate(credentials.clone()).await? {
                Authentication::Accepted(user) => return Ok(Identity::Of { owner, user }),
                Authentication::Unknown => {}
                Authentication::Refused(why) => return Ok(Identity::Refused(why)),
            }
        }
        Ok(Identity::Nobody)
    }
}

impl Session {
    /// Who it is.
    pub fn user(&self) -> &UserId {
        &self.user
    }

    /// What they came in with.
    pub fn credentials(&self) -> &Credentials {
        &self.credentials
    }

    /// Whether these credentials would still let in the same user: a connection may outlive a key.
    ///
    /// # Errors
    /// A driver gave no answer, which means no.
    pub async fn is_still_known(&self) -> Result<bool, Error> {
        let found = self.door.identify(&self.credentials).await?;
        Ok(matches!(found, Identity::Of { owner, user } if owner == self.owner && user == self.user))
    }

    /// Hydrate the user for one command.
    ///
    /// # Errors
    /// The driver gave no answer.
    pub async fn caller(&self) -> Result<Caller, Error> {
        let user = self.door.drivers[self.owner].user(self.user.clone()).await?;
        Ok(Caller { user, transport: self.credentials.transport().clone(), timeout: self.door.timeout })
    }
}

impl Caller {
    /// May they, and where is it? The second is asked only after a yes to the first, which for what administers a repository must
    /// have said so.
    ///
    /// # Errors
    /// The driver gave no answer, which means no.
    pub async fn ask(&self, command: Command, path: &RequestPath) -> Result<Admission, Error> {
        let grant = match self.authorise(command, path).await? {
            Decision::Granted(grant) => grant,
            Decision::Refused(refusal) => return Ok(Admission::Refused(refusal)),
        };
        Ok(match self.user.locate(path.clone(), self.transport.clone()).await? {
            Location::Place(place) => Admission::Granted(Granted { place, grant, command, timeout: self.timeout }),
            Location::NotFound => Admission::NotFound,
        })
    }

    /// May they? For lists: what is done needs [`Caller::ask`].
    ///
    /// # Errors
    /// The driver gave no answer, which means no.
    pub async fn may(&self, command: Command, path: &RequestPath) -> Result<bool, Error> {
        Ok(matches!(self.authorise(command, path).await?, Decision::Granted(_)))
    }

    async fn authorise(&self, command: Command, path: &RequestPath) -> Result<Decision, Error> {
        Ok(match self.user.authorise(command, path.clone(), self.transport.clone()).await? {
            Decision::Granted(grant) if command.administers() && !grant.may_administer() => {
                Decision::Refused(Refusal::hidden("the driver granted it without saying that they may administer"))
            }
            decision => decision,
        })
    }

    /// What they may do, in words.
    ///
    /// # Errors
    /// The driver gave no answer.
    pub async fn describe(&self) -> Result<Description, Error> {
        self.user.describe().await
    }

    /// Folders in which the repositories of their driver can be listed.
    ///
    /// # Errors
    /// The driver gave no answer.
    pub async fn roots(&self) -> Result<Vec<Arc<Repositories>>, Error> {
        self.user.roots().await
    }

    /// Why may somebody do something, or not? None where the driver does not tell.
    ///
    /// # Errors
    /// The driver gave no answer.
    pub async fn why(&self, question: Question) -> Result<Option<Explanation>, Error> {
        self.user.why(question).await
    }
}

impl Granted {
    /// Open the repository, or begin to make it where a push may; `None` where there is nothing. Touches the disk.
    ///
    /// # Errors
    /// What lies there cannot be opened.
    pub fn open(&self) -> Result<Option<Repository>, store::Error> {
        let may_create = self.command == Command::ReceivePack && self.grant.may_create_repository();
        let Some(repository) = self.place.open(may_create)? else { return Ok(None) };
        if !repository.is_staged() {
            let still_counts = self.grant.still_counts_in(repository.git_dir())?;
            if !still_counts {
                // Whoever was judged as if they made it must not learn that somebody else has.
                tracing::warn!(folder = %repository.git_dir().display(), "its roles changed while a command began: it begins in vain");
            }
            return Ok(still_counts.then_some(repository));
        }
        if let Some(roles) = self.grant.first_roles() {
            roles.write(repository.git_dir())?;
        }
        Ok(Some(repository))
    }

    /// Where it lies.
    pub fn place(&self) -> &Place {
        &self.place
    }

    /// The rule that let the command begin, where the driver names one.
    pub fn rule(&self) -> Option<&str> {
        self.grant.rule()
    }

    /// What the engine sees of the rules, on a thread that may block while `runtime` runs them.
    pub fn into_gate(self, runtime: tokio::runtime::Handle) -> Box<dyn Gate> {
        self.grant.into_gate(runtime, self.timeout)
    }
}

impl std::fmt::Debug for Chain {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Chain").field("drivers", &self.drivers.len()).finish()
    }
}

impl std::fmt::Debug for Door {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Door").field("drivers", &self.drivers.len()).finish()
    }
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session").field("user", &self.user).field("owner", &self.owner).field("credentials", &self.credentials).finish()
    }
}

impl std::fmt::Debug for Caller {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Caller").field("transport", &self.transport).finish()
    }
}

#[cfg(test)]
mod tests;
