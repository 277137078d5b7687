//! An API server's answers into a driver: the four callbacks as JSON over HTTP, HTTPS or a unix socket.
//!
//! | file | turns what into what |
//! |---|---|
//! | `settings` | `[http]` of `config.toml` into an address and how to ask there |
//! | `client` | a question into an answer, within bounds |
//! | `cache` | answers into answers that need not be asked for again |
//! | `api` | the bodies of our own API into values and back |
//! | `gitmouth` | gitmouth's two calls into the callbacks |
//!
//! # Our own API
//!
//! Every question is a `POST` with a JSON body; every answer has status 200 and a body of `application/json`, at most 1 MiB. Anything
//! else denies: another status, a redirect, another type, a field that is not listed here, silence. Questions change nothing, so
//! one that got no answer is asked again, but for those with a password. Positive answers (all but those of `/judge` and those to a
//! password) are kept for `cache_s` seconds.
//!
//! | path | question | answer |
//! |---|---|---|
//! | `/authenticate` | `{"method": "key", "user_name": "git", "key": KEY, "transport": WAY}`; `"certificate"`: `"certificate": {"key": KEY, "authority": KEY, "key_id", "serial", "principals", "valid_after", "valid_before"}`; `"password"`: `"password": "..."`; `"anonymous"` | `{"answer": "accepted", "user": "ann"}`, `{"answer": "unknown"}` or `{"answer": "refused", "reason": "..."}` (for the log) |
//! | `/user` | `{"id": "ann"}` | `{"user": ANYTHING}`, and if you like `"rights": "a sentence"` and `"repositories": ["name"]` for the greeting; `{"user": null}`: there is nobody of that name |
//! | `/authorise` | `{"id": "ann", "user": ANYTHING, "command": "upload-pack", "path": "/x.git", "name": "x", "transport": WAY}`; `"receive-pack"`, and what administers: `"create"`, `"rename"`, `"delete"`, `"restore"`, `"list"`, `"roles"` | `{"answer": "granted"}` with `"create": true` (a push may make it), `"administer": true` (commands that administer), `"rules": [RULE]`, `"judge": true`; or `{"answer": "refused", "reason": "..."}`, which the client hears with `"tell": true` and which otherwise looks as if there were no such repository |
//! | `/locate` | `{"path": "/x.git", "name": "x", "transport": WAY}` | `{"repository": "name/beneath/the/root"}`, or `null` |
//! | `/judge` | what `/authorise` was asked, and `"creates_repository"`, `"push_options": [...]`, `"edits": [{"ref", "old", "new", "kind"}]`; kinds: `"create"`, `"update"`, `"rewind"`, `"delete"` | `{"verdicts": ["allow", {"refuse": "a sentence"}]}`, one for each edit |
//!
//! KEY is `{"openssh": "ssh-ed25519 AAAA...", "algorithm", "sha256": "SHA256:...", "md5": "MD5:..."}`, WAY `{"kind": "ssh",
//! "encrypted": true, "address": "192.0.2.7", "host": null}`. A RULE is `{"refs": ["main", "refs/tags/*"], "allow": ["read", "write"]}`
//! or with `"deny"`, in the words of `config.toml`; the first that is about ref and verb decides. Without `"rules"` everything may be
//! read and changed. With `"judge"` the rules say what may be seen, and `/judge` is asked about each push. `name` is the path
//! without leading slash and `.git`, `null` where it can be no name. Administering needs rights of its own: a grant without
//! `"administer"` gives none.

mod api;
mod cache;
mod client;
mod gitmouth;
mod settings;

pub use client::HttpError;
pub use gitmouth::{Gitmouth, GitmouthUser};
pub use settings::{ApiKind, FingerprintKind, HttpSettings, SettingsError, ShownMethod};

use super::rules::{RefList, Verb};
use super::{
    AuthMethods, Authentication, BoxError, Command, Credentials, Decision, Description, Driver, Grant, HashKind, Location, Place,
    PushProposal, RefRules, Refusal, RequestPath, Transport, UserId, printable,
};
use crate::serve::Verdict;
use crate::store::{Repositories, RepositoryName};
use api::{About, AskUser, Authenticate, Authenticated, Authorised, Edit, EditVerdict, Hydrated, Judge, Judged, Locate, Located};
use bstr::BStr;
use cache::Cache;
use client::{Client, Fault, Question, Repeat};
use hyper::Method;
use hyper::body::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Bytes of a user's name.
const NAME_BYTES_MAX: usize = 256;

/// The driver that asks a server with our own API.
#[derive(Clone)]
pub struct Api(Arc<Asking>);

struct Asking {
    client: Client,
    answers: Cache<(&'static str, Bytes), Bytes>,
    methods: Vec<ShownMethod>,
    repositories: Arc<Repositories>,
    new_hash: HashKind,
}

/// Somebody, as the server describes them.
#[derive(Debug)]
pub struct ApiUser {
    id: String,
    facts: Hydrated,
}

impl Api {
    /// Ask as `settings` say; names are those of repositories beneath one root, new ones hash their objects with `new_hash`.
    ///
    /// # Errors
    /// The settings cannot be followed.
    pub fn new(settings: &HttpSettings, repositories: Arc<Repositories>, new_hash: HashKind) -> Result<Self, SettingsError> {
        let answers = Cache::new(Duration::from_secs(settings.cache_s), settings.cache_entries_max);
        Ok(Self(Arc::new(Asking { client: Client::new(settings)?, answers, methods: settings.methods.clone(), repositories, new_hash })))
    }
}

impl Asking {
    /// Ask; an answer that `is_positive` may be kept, if one may be kept at all.
    async fn ask<T: DeserializeOwned>(
        &self,
        path: &'static str,
        question: &impl Serialize,
        may_keep: bool,
        is_positive: fn(&T) -> bool,
    ) -> Result<T, HttpError> {
        let fault = |fault| self.client.error(&Method::POST, path, fault);
        let body = Bytes::from(serde_json::to_vec(question).map_err(|error| fault(Fault::Answer(error.to_string())))?);
        let key = (path, body.clone());
        if may_keep && let Some(answer) = self.answers.get(&key, Instant::now()) {
            return api::read(&answer).map_err(fault);
        }
        // When the question was asked, not when the answer came: it may have been long on its way.
        let since = Instant::now();
        let repeat = if path == AUTHENTICATE && !may_keep { Repeat::ArrivesOnce } else { Repeat::MayArriveTwice };
        let question =
            Question { method: Method::POST, path: path.to_owned(), query: String::new(), body: Some(body), authorization: None, repeat };
        let reply = self.client.ask(question).await?;
        if reply.status != 200 {
            return Err(fault(Fault::Status(reply.status)));
        } else if !reply.is_json {
            return Err(fault(Fault::ContentType));
        }
        let answer = api::read(&reply.body).map_err(fault)?;
        if may_keep && is_positive(&answer) {
            self.answers.put(key, reply.body, since);
        }
        Ok(answer)
    }

    async fn judge(&self, about: &About, push: &PushProposal) -> Result<Vec<Verdict>, BoxError> {
        let edits: Vec<Option<Edit>> = push.edits.iter().map(Edit::new).collect();
        if edits.iter().any(Option::is_none) {
            let why = "this push names a ref that is not UTF-8, and the API server is asked in JSON".to_owned();
            return Ok(vec![Verdict::Refuse(why); edits.len()]);
        }
        let question = Judge {
            about,
            creates_repository: push.creates_repository,
            push_options: push.push_options.iter().map(ToString::to_string).collect(),
            edits: edits.into_iter().flatten().collect(),
        };
        let judged: Judged = self.ask("/judge", &question, false, |_| false).await?;
        if judged.verdicts.len() != push.edits.len() {
            let why = format!("{} verdicts for {} edits", judged.verdicts.len(), push.edits.len());
            return Err(self.client.error(&Method::POST, "/judge", Fault::Answer(why)).into());
        }
        Ok(judged.verdicts.into_iter().map(verdict).collect())
    }
}

/// Where `settings` let ask, in words, if they can be followed. Nothing is asked.
///
/// # Errors
/// They cannot.
pub fn check(settings: &HttpSettings) -> Result<String, SettingsError> {
    gitmouth::check(settings)?;
    let client = Client::new(settings)?;
    let note = if client.is_private() { "" } else { " (whoever stands on the way there can answer in its place: https prevents that)" };
    Ok(client.shown() + note)
}

const AUTHENTICATE: &str = "/authenticate";

fn verdict(verdict: EditVerdict) -> Verdict {
    match verdict {
        EditVerdict::Allow => Verdict::Allow,
        EditVerdict::Refuse(why) => Verdict::Refuse(printable(&why)),
    }
}

/// What these ways of showing who one is are on this transport.
fn auth_methods(methods: &[ShownMethod], transport: &Transport) -> AuthMethods {
    AuthMethods {
        keys: methods.contains(&ShownMethod::Key),
        certificates: methods.contains(&ShownMethod::Certificate),
        passwords: methods.contains(&ShownMethod::Password) && transport.is_encrypted(),
        anonymous: methods.contains(&ShownMethod::Anonymous),
    }
}

/// A name that can stand in a log; `None` for any other.
fn user_id(name: &str) -> Option<UserId> {
    let is_name = !name.is_empty() && name.len() <= NAME_BYTES_MAX && !name.chars().any(char::is_control);
    is_name.then(|| UserId::new(name))
}

impl Driver for Api {
    type User = ApiUser;

    async fn methods(&self, transport: &Transport) -> Result<AuthMethods, BoxError> {
        Ok(auth_methods(&self.0.methods, transport))
    }

    async fn authenticate(&self, credentials: &Credentials) -> Result<Authentication, BoxError> {
        let may_keep = !matches!(credentials, Credentials::Password(_));
        let question = Authenticate::from(credentials);
        let answer = self.0.ask(AUTHENTICATE, &question, may_keep, |answer| matches!(answer, Authenticated::Accepted { .. }));
        let answer = match answer.await {
            // A wrong password must not be free because it is answered like this.
            Err(error) if !may_keep && error.is_unauthorized() => return Ok(Authentication::Refused(Refusal::hidden(error.to_string()))),
            answer => answer?,
        };
        Ok(match answer {
            Authenticated::Accepted { user } => {
                let why = || Fault::Answer("a user's name has 1 to 256 bytes and no control characters".to_owned());
                Authentication::Accepted(user_id(&user).ok_or_else(|| self.0.client.error(&Method::POST, AUTHENTICATE, why()))?)
            }
            Authenticated::Unknown => Authentication::Unknown,
            Authenticated::Refused { reason } => Authentication::Refused(Refusal::hidden(printable(&reason))),
        })
    }

    async fn user(&self, id: &UserId) -> Result<ApiUser, BoxError> {
        let facts: Hydrated = self.0.ask("/user", &AskUser { id: id.as_str() }, true, |facts: &Hydrated| facts.user != Value::Null).await?;
        if facts.user == Value::Null {
            return Err(format!("the API server {} knows nobody called '{id}' any more", self.0.client.shown()).into());
        }
        Ok(ApiUser { id: id.as_str().to_owned(), facts })
    }

    async fn authorise(&self, user: &ApiUser, command: Command, path: &RequestPath, transport: &Transport) -> Result<Decision, BoxError> {
        let about = About::new(&user.id, &user.facts.user, command, path, transport);
        let answer = self.0.ask("/authorise", &about, true, |answer| matches!(answer, Authorised::Granted { .. }));
        let (create, administer, judge, rules) = match answer.await? {
            Authorised::Granted { create, administer, judge, rules } => (create, administer, judge, rules),
            Authorised::Refused { reason, tell } => {
                let reason = printable(&reason);
                return Ok(Decision::Refused(if tell { Refusal::told(reason) } else { Refusal::hidden(reason) }));
            }
        };
        let rules = rules.as_deref().map(api::list).transpose();
        let rules = rules.map_err(|fault| self.0.client.error(&Method::POST, "/authorise", fault))?;
        let mut grant = match (rules, judge) {
            (None, false) => Grant::everything(),
            (rules, judge) => Grant::new(RefAnswers { rules, judge: judge.then(|| self.0.clone()), about }),
        };
        if create {
            grant = grant.and_create_repository();
        }
        Ok(Decision::Granted(if administer { grant.and_administer() } else { grant }))
    }

    async fn locate(&self, path: &RequestPath, transport: &Transport) -> Result<Location, BoxError> {
        let question = Locate::new(path, transport);
        let located: Located = self.0.ask("/locate", &question, true, |located: &Located| located.repository.is_some()).await?;
        let Some(name) = located.repository else { return Ok(Location::NotFound) };
        let name = RepositoryName::parse(name.trim_start_matches('/'))
            .map_err(|error| self.0.client.error(&Method::POST, "/locate", Fault::Answer(error.to_string())))?;
        Ok(Location::Place(Place::beneath(&self.0.repositories, name).hashed_with(self.0.new_hash)))
    }

    async fn describe(&self, user: &ApiUser) -> Result<Description, BoxError> {
        Ok(Description {
            rights: printable(&user.facts.rights),
            repositories: user.facts.repositories.iter().map(|name| printable(name)).collect(),
        })
    }
}

impl std::fmt::Debug for Api {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Api").field("server", &self.0.client.shown()).finish()
    }
}

/// What a server said of refs, and whether it wants to be asked about pushes.
struct RefAnswers {
    /// None: everything.
    rules: Option<RefList>,
    judge: Option<Arc<Asking>>,
    about: About,
}

impl RefAnswers {
    fn allows(&self, verb: Verb, name: &BStr) -> bool {
        self.rules.as_ref().is_none_or(|rules| rules.allows(verb, name))
    }
}

impl RefRules for RefAnswers {
    fn may_read(&self, name: &BStr) -> bool {
        self.allows(Verb::Read, name)
    }

    async fn judge(&self, push: &PushProposal) -> Result<Vec<Verdict>, BoxError> {
        if let Some(asking) = &self.judge {
            return asking.judge(&self.about, push).await;
        }
        let judge = |edit: &crate::serve::ProposedEdit| {
            let verb = Verb::from(edit.kind);
            if self.allows(verb, edit.name.as_ref()) { Verdict::Allow } else { Verdict::Refuse(format!("you may not {verb} it")) }
        };
        Ok(push.edits.iter().map(judge).collect())
    }
}
