//! gitmouth's two calls to its API server into the callbacks.
//!
//! gitmouth's (`checker.py`, `extractors.py`, `session.py`):
//! - `GET /internal/lookupUserByPublicKey?fingerprint=MD5`, with HTTP Basic of no name and the server's key: status 200 and a body
//!   `NAME:KEY` say whose key it is, and the key by which the server knows that user. The user name that the client gives means nothing.
//! - `POST /internal/APP/gitaction?command=git-upload-pack` or `git-receive-pack`, with HTTP Basic of no name and the user's key: status
//!   200 means yes. APP is the path without slashes in front of it and `.git`: a letter or digit, then letters, digits, `@`, `_`, `-`.
//!
//! Ours:
//! - Other statuses: 400 to 499 mean that nobody knows the key, or no; anything else, and silence, that there is no answer. The
//!   first call is asked again when there was none; the second only if it was never sent, for it may have started something.
//! - In gitmouth the answer of the second call names a host and a dyno, to which it bridges. packmule serves repositories of its own: an
//!   answer whose `host` is another than this one is refused. The repository is what the template `repository` in `[http]` makes of `{app}`,
//!   `{user}` and `{body.FIELD}`, a text in the answer, which is JSON where it is not empty.
//! - `fingerprint = "sha256"` asks about `SHA256:...`, percent-encoded.
//! - `.git` may be left out of a path. No push makes a repository, and nobody administers.

use super::client::{self, Client, Fault, Question, Repeat, Reply};
use super::{Cache, FingerprintKind, HttpSettings, SettingsError, auth_methods, user_id};
use crate::access::{
    AuthMethods, Authentication, BoxError, Command, Credentials, Decision, Driver, Grant, Location, Place, PublicKey, Refusal, RequestPath,
    Secret, Transport, UserId, printable,
};
use crate::store::{Repositories, RepositoryName};
use hyper::Method;
use serde_json::{Map, Value};
use std::sync::Arc;
use std::time::{Duration, Instant};

const LOOKUP: &str = "/internal/lookupUserByPublicKey";
/// What is said instead of bridging.
const BRIDGES: &str = "packmule serves repositories of its own; bridging to another host is not offered";
/// How long a user's key is remembered between the two calls, in seconds, and how many.
const USER_KEY_S: u64 = 3_600;
const USER_KEYS_MAX: usize = 100_000;
/// The same of what an answer made of a path, for the callback that follows at once.
const PLACE_S: u64 = 60;

/// The driver that makes gitmouth's calls.
pub struct Gitmouth {
    client: Client,
    fingerprint: FingerprintKind,
    template: Template,
    /// Whose key it is, by what was asked.
    users: Cache<String, (String, Secret)>,
    user_keys: Cache<String, Secret>,
    /// Which repository the latest answer to this path and connection named.
    places: Cache<(RequestPath, Transport), RepositoryName>,
    repositories: Arc<Repositories>,
}

/// Somebody with the key by which the server knows them.
#[derive(Debug)]
pub struct GitmouthUser {
    name: String,
    key: Secret,
}

fn template(settings: &HttpSettings) -> Result<Template, SettingsError> {
    Template::parse(&settings.repository).map_err(|why| SettingsError(format!("repository: {why}")))
}

/// What concerns gitmouth alone.
pub(super) fn check(settings: &HttpSettings) -> Result<(), SettingsError> {
    template(settings).map(drop)
}

impl Gitmouth {
    /// Ask as `settings` say; names are those of repositories beneath one root.
    ///
    /// # Errors
    /// The settings cannot be followed.
    pub fn new(settings: &HttpSettings, repositories: Arc<Repositories>) -> Result<Self, SettingsError> {
        let entries = settings.cache_entries_max;
        Ok(Self {
            client: Client::new(settings)?,
            fingerprint: settings.fingerprint,
            template: template(settings)?,
            users: Cache::new(Duration::from_secs(settings.cache_s), entries),
            user_keys: Cache::new(Duration::from_secs(USER_KEY_S), USER_KEYS_MAX),
            places: Cache::new(Duration::from_secs(PLACE_S), USER_KEYS_MAX),
            repositories,
        })
    }

    /// Whose key this is, and the key by which the server knows them.
    async fn look_up(&self, key: &PublicKey) -> Result<Option<(String, Secret)>, BoxError> {
        let query = query(self.fingerprint, key);
        if let Some(known) = self.users.get(&query, Instant::now()) {
            return Ok(Some(known));
        }
        let since = Instant::now();
        let question = Question {
            method: Method::GET,
            path: LOOKUP.to_owned(),
            query: query.clone(),
            body: None,
            authorization: None,
            repeat: Repeat::MayArriveTwice,
        };
        let fault = |fault| self.client.error(&Method::GET, LOOKUP, fault);
        let reply = self.client.ask(question).await?;
        match reply.status {
            200 => {}
            400..=499 => return Ok(None),
            other => return Err(fault(Fault::Status(other)).into()),
        }
        let text = std::str::from_utf8(&reply.body).ok().map(str::trim);
        let mut parts = text.into_iter().flat_map(|text| text.split(':'));
        let found = parts.next().zip(parts.next()).filter(|(name, key)| user_id(name).is_some() && !key.is_empty());
        let (name, key) = found.ok_or_else(|| fault(Fault::Answer("its body is NAME:KEY".to_owned())))?;
        let known = (name.to_owned(), Secret::new(key));
        self.users.put(query, known.clone(), since);
        Ok(Some(known))
    }

    async fn ask_action(&self, user: &GitmouthUser, app: &str, command: &str) -> Result<Reply, BoxError> {
        let question = Question {
            method: Method::POST,
            path: format!("/internal/{app}/gitaction"),
            query: format!("?command=git-{command}"),
            body: None,
            authorization: Some(client::basic("", &user.key)),
            repeat: Repeat::ArrivesOnce,
        };
        Ok(self.client.ask(question).await?)
    }

    /// What repository an answer means; a sentence if it means one elsewhere.
    fn repository(&self, user: &str, app: &str, body: &[u8]) -> Result<Result<RepositoryName, &'static str>, Fault> {
        let fields = if body.iter().all(u8::is_ascii_whitespace) {
            Map::new()
        } else {
            serde_json::from_slice(body).map_err(|_| Fault::Answer("its body is no JSON object".to_owned()))?
        };
        let is_here = match fields.get("host") {
            None | Some(Value::Null) => true,
            Some(Value::String(host)) => matches!(host.as_str(), "" | "localhost" | "127.0.0.1" | "::1"),
            Some(_) => false,
        };
        if !is_here {
            return Ok(Err(BRIDGES));
        }
        let name = self.template.fill(user, app, &fields).map_err(Fault::Answer)?;
        RepositoryName::parse(&name).map(Ok).map_err(|error| Fault::Answer(error.to_string()))
    }
}

/// `?fingerprint=...`, as gitmouth sends it: MD5 without colons.
fn query(kind: FingerprintKind, key: &PublicKey) -> String {
    let shown = match kind {
        FingerprintKind::Md5 => key.fingerprint_md5().trim_start_matches("MD5:").replace(':', ""),
        FingerprintKind::Sha256 => key.fingerprint(),
    };
    let encoded: String = shown
        .bytes()
        .map(|byte| if byte.is_ascii_alphanumeric() { char::from(byte).to_string() } else { format!("%{byte:02X}") })
        .collect();
    format!("?fingerprint={encoded}")
}

/// The application that a path means, by gitmouth's rule.
fn app(path: &RequestPath) -> Option<&str> {
    let path = path.as_str().trim_start_matches('/');
    let name = path.strip_suffix(".git").unwrap_or(path);
    let is_app = name.starts_with(|first: char| first.is_ascii_alphanumeric())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"@_-".contains(&byte));
    is_app.then_some(name)
}

/// A name with gaps: text, then what fills the gap behind it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Template(Vec<Piece>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    Text(String),
    App,
    User,
    Field(String),
}

impl Template {
    fn parse(text: &str) -> Result<Self, String> {
        let mut pieces = vec![];
        let mut rest = text;
        while let Some((before, behind)) = rest.split_once('{') {
            let (gap, after) = behind.split_once('}').ok_or_else(|| "a { without its }".to_owned())?;
            pieces.push(Piece::Text(before.to_owned()));
            pieces.push(match (gap, gap.strip_prefix("body.")) {
                ("app", _) => Piece::App,
                ("user", _) => Piece::User,
                (_, Some(field)) if !field.is_empty() => Piece::Field(field.to_owned()),
                _ => return Err(format!("{{{gap}}} is unknown: {{app}}, {{user}} and {{body.FIELD}} are not")),
            });
            rest = after;
        }
        pieces.push(Piece::Text(rest.to_owned()));
        if pieces.len() == 1 { Err("it names one repository for all: put {app} into it".to_owned()) } else { Ok(Self(pieces)) }
    }

    /// The name; what fills a gap may not reach out of its part of the path.
    fn fill(&self, user: &str, app: &str, fields: &Map<String, Value>) -> Result<String, String> {
        let mut name = String::new();
        for piece in &self.0 {
            let filling = match piece {
                Piece::Text(text) => {
                    name.push_str(text);
                    continue;
                }
                Piece::App => app,
                Piece::User => user,
                Piece::Field(field) => match fields.get(field) {
                    Some(Value::String(text)) => text,
                    _ => return Err(format!("its field '{}' is no text", printable(field))),
                },
            };
            if filling.is_empty() || filling.contains('/') {
                return Err("what it puts into the name of a repository is empty or has a slash".to_owned());
            }
            name.push_str(filling);
        }
        Ok(name)
    }
}

impl Driver for Gitmouth {
    type User = GitmouthUser;

    async fn methods(&self, transport: &Transport) -> Result<AuthMethods, BoxError> {
        Ok(auth_methods(&[super::ShownMethod::Key], transport))
    }

    async fn authenticate(&self, credentials: &Credentials) -> Result<Authentication, BoxError> {
        let Credentials::PublicKey(shown) = credentials else { return Ok(Authentication::Unknown) };
        let Some((name, key)) = self.look_up(&shown.key).await? else { return Ok(Authentication::Unknown) };
        self.user_keys.put(name.clone(), key, Instant::now());
        Ok(Authentication::Accepted(UserId::new(name)))
    }

    async fn user(&self, id: &UserId) -> Result<GitmouthUser, BoxError> {
        let name = id.as_str().to_owned();
        let key = self.user_keys.get(&name, Instant::now());
        let key = key.ok_or_else(|| format!("the API server's key of '{id}' is forgotten: they must log in again"))?;
        Ok(GitmouthUser { name, key })
    }

    async fn authorise(
        &self,
        user: &GitmouthUser,
        command: Command,
        path: &RequestPath,
        transport: &Transport,
    ) -> Result<Decision, BoxError> {
        let Some(app) = app(path) else {
            return Ok(Decision::Refused(Refusal::hidden("the path names no application")));
        };
        if command.administers() {
            return Ok(Decision::Refused(Refusal::hidden("gitmouth's API knows fetching and pushing only")));
        }
        let reply = self.ask_action(user, app, command.as_str()).await?;
        let fault = |fault| self.client.error(&Method::POST, &format!("/internal/{app}/gitaction"), fault);
        match reply.status {
            200 => {}
            status @ 400..=499 => return Ok(Decision::Refused(Refusal::hidden(format!("the API server answered with status {status}")))),
            other => return Err(fault(Fault::Status(other)).into()),
        }
        match self.repository(&user.name, app, &reply.body).map_err(fault)? {
            Ok(name) => {
                self.places.put((path.clone(), transport.clone()), name, Instant::now());
                Ok(Decision::Granted(Grant::everything()))
            }
            Err(why) => Ok(Decision::Refused(Refusal::told(why))),
        }
    }

    async fn locate(&self, path: &RequestPath, transport: &Transport) -> Result<Location, BoxError> {
        // An address and a port are one connection, and one connection is one user's: without them two users' answers could be taken
        // for each other.
        if transport.peer().is_none() {
            return Err("without a client's address an answer cannot be told from another's".into());
        }
        let known = self.places.get(&(path.clone(), transport.clone()), Instant::now());
        Ok(known.map_or(Location::NotFound, |name| Location::Place(Place::beneath(&self.repositories, name))))
    }
}

impl std::fmt::Debug for Gitmouth {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Gitmouth").field("server", &self.client.shown()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fingerprints_are_written_as_gitmouth_writes_them() {
        let line = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJdD7y3aLq454yWBdwLWbieU1ebz9/cu7/QEXn9OIeZJ";
        let key = PublicKey::from_openssh(line).expect("a key");
        assert_eq!(query(FingerprintKind::Md5, &key), "?fingerprint=465d0f4b7b74b65fce80b033709e3396");
        assert_eq!(query(FingerprintKind::Sha256, &key), "?fingerprint=SHA256%3AT7SvZ2cslqpPj6nKzitCBHHlpVF3r3MvLwmFL0fk0IE");
    }

    #[test]
    fn a_path_is_an_application_by_gitmouths_rule() {
        for (path, means) in [
            ("/app.git", Some("app")),
            ("app.git", Some("app")),
            ("//a-b_c@7.git", Some("a-b_c@7")),
            ("app", Some("app")),
            ("/a/b.git", None),
            ("../app.git", None),
            ("-app.git", None),
            ("app.git.git", None),
            ("app%2e.git", None),
            ("app?x=1.git", None),
            ("", None),
            (".git", None),
        ] {
            assert_eq!(app(&RequestPath::new(path)), means, "{path}");
        }
    }

    #[test]
    fn a_template_is_filled_and_reaches_nowhere_else() {
        let fields: Map<String, Value> =
            serde_json::from_str(r#"{"dyno_id":"d7","evil":"../x","up":"..","number":7,"empty":""}"#).expect("JSON");
        let fill = |template: &str| Template::parse(template).and_then(|template| template.fill("ann", "shop", &fields));
        for (template, name) in [("{app}", "shop"), ("{user}/{app}", "ann/shop"), ("dynos/{body.dyno_id}-{app}.git", "dynos/d7-shop.git")] {
            assert_eq!(fill(template).as_deref(), Ok(name), "{template}");
        }
        for template in ["{body.evil}", "{body.number}", "{body.none}", "{body.empty}", "{host}", "{app", "fixed", "", "{body.}"] {
            assert!(fill(template).is_err(), "{template}");
        }
        assert!(RepositoryName::parse(&fill("x/{body.up}").expect("filled")).is_err());
    }
}
