//! The seam for people who embed packmule: four callbacks, and what they answer.

use super::{
    AuthMethods, Authentication, BoxError, Command, Credentials, Explanation, Grant, Location, PublicKey, Question, RequestPath, Transport,
    UserId,
};
use crate::store::Repositories;
use std::future::Future;
use std::sync::Arc;

/// Decides who somebody is, what they may do, and what repository a path means.
///
/// The methods may be written as `async fn`. Each has [`CALLBACK_TIMEOUT_MS`](super::CALLBACK_TIMEOUT_MS) to
/// answer; an error, a panic or silence denies, is logged, and ends that one command. Without a driver's yes
/// nobody may do anything.
///
/// # Order
/// 1. [`Driver::methods`] and [`Driver::may_know`] may be asked at any time before somebody has logged in. Nothing follows from
///    their answers but what the client is told to try.
/// 2. [`Driver::authenticate`] is asked once per proof. Only its [`Authentication::Accepted`] makes an identity, and that name
///    counts from there on, not the one that the client claimed.
/// 3. For each command: [`Driver::authenticate`] again unless the login is as good as new (an answer other than that of the
///    login ends its rights), then [`Driver::user`], [`Driver::authorise`], and only after its yes [`Driver::locate`].
/// 4. The [`Grant`] judges the refs: what it hides is asked before anything is sent, a push once, before anything has changed.
///
/// [`Driver::describe`], [`Driver::roots`] and [`Driver::why`] are asked of who has logged in, after [`Driver::user`]; nothing may be done
/// because of their answers.
///
/// # Whom to believe
/// A [`Credentials::PublicKey`] or [`Credentials::Certificate`] is made only after the client's signature over this very session
/// was verified; a key that a client merely offers reaches nobody but [`Driver::may_know`]. The user name in credentials is a
/// claim. A password is compared by the driver, and [`Credentials::Anonymous`] proves nothing: a driver that does not offer them
/// in [`Driver::methods`] is never asked about them.
///
/// # Example
/// A server in which everybody whose key is known reads `website`, only `ann` writes, and `refs/heads/secret`
/// is hers alone:
///
/// ```
/// use packmule::access::*;
/// use packmule::serve::{ProposedEdit, Verdict};
/// use packmule::store::Repositories;
/// use packmule::transport::{HostKey, Server};
/// use std::path::Path;
/// use std::sync::Arc;
///
/// struct Team {
///     keys: Vec<(PublicKey, &'static str)>,
///     repositories: Arc<Repositories>,
/// }
///
/// struct Member {
///     name: String,
/// }
///
/// struct Rules {
///     is_ann: bool,
/// }
///
/// impl Driver for Team {
///     type User = Member;
///
///     async fn authenticate(&self, credentials: &Credentials) -> Result<Authentication, BoxError> {
///         let Credentials::PublicKey(proof) = credentials else { return Ok(Authentication::Unknown) };
///         let known = self.keys.iter().find(|(key, _)| *key == proof.key);
///         Ok(known.map_or(Authentication::Unknown, |(_, name)| Authentication::Accepted(UserId::new(*name))))
///     }
///
///     async fn user(&self, id: &UserId) -> Result<Member, BoxError> {
///         Ok(Member { name: id.as_str().to_owned() })
///     }
///
///     async fn authorise(&self, user: &Member, command: Command, path: &RequestPath, _: &Transport) -> Result<Decision, BoxError> {
///         let is_ann = user.name == "ann";
///         Ok(match (path.name()?.as_str(), command) {
///             ("website", Command::UploadPack) => Decision::Granted(Grant::new(Rules { is_ann })),
///             ("website", Command::ReceivePack) if is_ann => Decision::Granted(Grant::new(Rules { is_ann })),
///             ("website", Command::ReceivePack) => Decision::Refused(Refusal::told("only ann may push to website")),
///             _ => Decision::Refused(Refusal::hidden("no rule")),
///         })
///     }
///
///     async fn locate(&self, path: &RequestPath, _: &Transport) -> Result<Location, BoxError> {
///         Ok(Location::Place(Place::beneath(&self.repositories, path.name()?)))
///     }
/// }
///
/// impl RefRules for Rules {
///     fn may_read(&self, name: &bstr::BStr) -> bool {
///         self.is_ann || name != "refs/heads/secret"
///     }
///
///     async fn judge(&self, push: &PushProposal) -> Result<Vec<Verdict>, BoxError> {
///         Ok(push.edits.iter().map(|_: &ProposedEdit| Verdict::Allow).collect())
///     }
/// }
///
/// /// Serve the folder `root` until `shutdown` comes back; `ann` is the line of her `.pub` file.
/// async fn serve(root: &Path, ann: &str, shutdown: impl Future<Output = ()>) -> Result<(), Box<dyn std::error::Error>> {
///     let repositories = Arc::new(Repositories::open(root)?);
///     let (host_key, _) = HostKey::load_or_create(&root.join(".packmule/host_key"))?;
///     let server = Server::builder()
///         .driver(Team { keys: vec![(PublicKey::from_openssh(ann)?, "ann")], repositories })
///         .host_key(host_key)
///         .bind("127.0.0.1:0")
///         .await?;
///     println!("ssh://{}/website", server.local_addr());
///     server.serve(shutdown).await;
///     Ok(())
/// }
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// #     let folder = tempfile::tempdir()?;
/// #     let ann = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJdD7y3aLq454yWBdwLWbieU1ebz9/cu7/QEXn9OIeZJ ann@laptop";
/// #     tokio::runtime::Runtime::new()?.block_on(serve(folder.path(), ann, std::future::ready(())))
/// # }
/// ```
pub trait Driver: Send + Sync + 'static {
    /// Whatever this driver knows about somebody: groups, attributes, a row of a table.
    type User: Send + Sync + 'static;

    /// Which ways of showing who one is does this driver take on this transport? Credentials of other kinds never reach it. By
    /// default keys alone.
    fn methods(&self, transport: &Transport) -> impl Future<Output = Result<AuthMethods, BoxError>> + Send {
        let _ = transport;
        async { Ok(AuthMethods::KEYS) }
    }

    /// Whom do these credentials belong to? Signatures have been verified. Asked at login, and again before every command of the
    /// connection but the first: another answer ends the rights of that login.
    fn authenticate(&self, credentials: &Credentials) -> impl Future<Output = Result<Authentication, BoxError>> + Send;

    /// Everything about this user that the next question needs; asked for every command anew.
    fn user(&self, id: &UserId) -> impl Future<Output = Result<Self::User, BoxError>> + Send;

    /// May this user run this command on this path, coming this way, and under which rules for refs? What administers needs a grant
    /// that says so: [`Grant::and_administer`].
    fn authorise(
        &self,
        user: &Self::User,
        command: Command,
        path: &RequestPath,
        transport: &Transport,
    ) -> impl Future<Output = Result<Decision, BoxError>> + Send;

    /// Where does the repository lie for who comes this way? Asked only after [`Driver::authorise`] granted the command.
    fn locate(&self, path: &RequestPath, transport: &Transport) -> impl Future<Output = Result<Location, BoxError>> + Send;

    /// Could this key be known? A client that only asks whether to sign hears no to keys that could not, and so
    /// asks nobody for a passphrase or a touch in vain. Nothing is granted by a yes, which is the default.
    fn may_know(&self, key: &PublicKey) -> impl Future<Output = Result<bool, BoxError>> + Send {
        let _ = key;
        async { Ok(true) }
    }

    /// What this user may do, in words: for the greeting and for hints. Says nothing by default.
    fn describe(&self, user: &Self::User) -> impl Future<Output = Result<Description, BoxError>> + Send {
        let _ = user;
        async { Ok(Description::default()) }
    }

    /// Folders in which names are what this driver's paths mean, so that its repositories can be listed, and what was deleted there,
    /// too. Of each name [`Driver::authorise`] is asked before it is shown. None by default: what [`Driver::describe`] names is taken then.
    fn roots(&self) -> impl Future<Output = Result<Vec<Arc<Repositories>>, BoxError>> + Send {
        async { Ok(vec![]) }
    }

    /// Why may somebody do something, or not? None by default: this driver does not tell. The answer must tell `user` no more than
    /// they may know.
    fn why(&self, user: &Self::User, question: &Question) -> impl Future<Output = Result<Option<Explanation>, BoxError>> + Send {
        let _ = (user, question);
        async { Ok(None) }
    }
}

/// The answer to "may they?".
#[derive(Clone, Debug)]
pub enum Decision {
    /// Yes, under these rules.
    Granted(Grant),
    /// No.
    Refused(Refusal),
}

/// A no, as a value: why, and which rule said so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    reason: String,
    rule: Option<String>,
    told: bool,
}

impl Refusal {
    /// A no that looks to the client as if there were no such repository; the reason is for the log.
    pub fn hidden(reason: impl Into<String>) -> Self {
        Self { reason: reason.into(), rule: None, told: false }
    }

    /// A no whose reason the client is told: only where it may know that the repository exists.
    pub fn told(reason: impl Into<String>) -> Self {
        Self { reason: reason.into(), rule: None, told: true }
    }

    /// Name the rule that said no, with its place, such as `rule 2 (config.toml:29)`.
    #[must_use]
    pub fn because_of(mut self, rule: impl Into<String>) -> Self {
        self.rule = Some(rule.into());
        self
    }

    /// The sentence for the client; `None` if it must not learn that there is anything.
    pub fn for_peer(&self) -> Option<String> {
        self.told.then(|| self.to_string())
    }
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.rule {
            Some(rule) => write!(f, "{}; {rule}", self.reason),
            None => f.write_str(&self.reason),
        }
    }
}

/// What a user may do, in words.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Description {
    /// One sentence, such as `You may read and write everything here.`
    pub rights: String,
    /// Names of the repositories that the user may see.
    pub repositories: Vec<String>,
}
