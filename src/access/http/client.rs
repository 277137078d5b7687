//! Questions into answers over HTTP/1.1: to a TCP address with or without TLS, or to a unix socket, within bounds of time and size.
//!
//! An answer that is too late, too large or breaks the protocol is an error; what a status or a body means is for the caller.
//! Redirects are not followed. A question is asked again, after a pause, when no connection came about, and, where it may arrive
//! twice, when the connection broke or the server said 502, 503 or 504.

use super::settings::{Address, ApiKind, HttpSettings, SettingsError, Target};
use crate::access::{Secret, printable};
use base64ct::{Base64, Encoding as _};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http1::{Builder, SendRequest};
use hyper::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HOST, HeaderValue, USER_AGENT};
use hyper::{Method, Request};
use hyper_util::rt::TokioIo;
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout, timeout_at};
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore, crypto::ring};

/// Bytes of an answer's body.
const ANSWER_BYTES_MAX: usize = 1 << 20;
/// Bytes of an answer's head, and of what is read ahead.
const HEAD_BYTES_MAX: usize = 64 << 10;
const HEADERS_MAX: usize = 64;
/// Time for all attempts, in milliseconds: somewhat less than a callback has, so that the reason reaches the log.
const QUESTION_MS: u64 = crate::access::CALLBACK_TIMEOUT_MS - 1_000;
/// Pause before the second attempt, in milliseconds; doubled before each further one.
const PAUSE_MS: u64 = 50;
/// Connections that are kept for the next question, and how long, in milliseconds.
const IDLE_MAX: usize = 8;
const IDLE_MS: u64 = 5_000;

/// An API server gave no answer that can be followed.
#[derive(Debug, thiserror::Error)]
#[error("the API server {server} ({question}): {fault}")]
pub struct HttpError {
    server: String,
    question: String,
    fault: Fault,
}

#[derive(Debug, thiserror::Error)]
pub(super) enum Fault {
    #[error("cannot be reached: {0}")]
    Unreachable(io::Error),
    #[error("broke the protocol: {}", printable(&said(.0)))]
    Broken(hyper::Error),
    #[error("its body broke off or is larger than {ANSWER_BYTES_MAX} bytes: {}", printable(.0))]
    Body(String),
    #[error("gave no answer in time")]
    Late,
    #[error("was not asked: no address can be made of this question")]
    Address,
    #[error("answered with status {0}")]
    Status(u16),
    #[error("its answer is no application/json")]
    ContentType,
    #[error("its answer is not what is documented: {0}")]
    Answer(String),
}

impl HttpError {
    /// Whether the status is what many servers say to a wrong password.
    pub(super) fn is_unauthorized(&self) -> bool {
        matches!(self.fault, Fault::Status(401 | 403))
    }
}

/// The error and what it comes from: hyper says the whole story in pieces.
fn said(error: &hyper::Error) -> String {
    match std::error::Error::source(error) {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    }
}

/// Whether a question may arrive twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Repeat {
    /// It changes nothing.
    MayArriveTwice,
    /// It may do something: asked again only if it was never sent.
    ArrivesOnce,
}

/// One question.
pub(super) struct Question {
    pub(super) method: Method,
    /// Behind the base: `/authenticate`.
    pub(super) path: String,
    /// What follows the path in the address: `?x=y`.
    pub(super) query: String,
    /// JSON.
    pub(super) body: Option<Bytes>,
    /// Instead of the token of the settings.
    pub(super) authorization: Option<HeaderValue>,
    pub(super) repeat: Repeat,
}

/// What came back.
#[derive(Debug)]
pub(super) struct Reply {
    pub(super) status: u16,
    pub(super) is_json: bool,
    pub(super) body: Bytes,
}

/// Asks one server.
pub(super) struct Client {
    address: Address,
    tls: Option<(TlsConnector, ServerName<'static>)>,
    authorization: Option<HeaderValue>,
    timeout: Duration,
    attempts_max: u32,
    places: Semaphore,
    idle: Mutex<Vec<(Instant, Connection)>>,
}

/// Ends with whoever holds it.
struct Connection {
    sender: SendRequest<Full<Bytes>>,
    driving: JoinHandle<()>,
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.driving.abort();
    }
}

impl Client {
    /// Follow `settings`; reads the files that they name.
    pub(super) fn new(settings: &HttpSettings) -> Result<Self, SettingsError> {
        let address = Address::parse(&settings.url)?;
        settings.check(&address)?;
        let authorization = settings.token()?.map(|token| match (settings.api, settings.user.as_str()) {
            (ApiKind::Packmule, "") => bearer(&token),
            (_, user) => Ok(basic(user, &token)),
        });
        Ok(Self {
            tls: tls(&address, &settings.ca_file)?,
            authorization: authorization.transpose()?,
            timeout: Duration::from_millis(settings.timeout_ms),
            attempts_max: settings.attempts_max,
            places: Semaphore::new(settings.connections_max.min(Semaphore::MAX_PERMITS)),
            idle: Mutex::default(),
            address,
        })
    }

    /// Where it asks, for people.
    pub(super) fn shown(&self) -> String {
        self.address.shown()
    }

    /// Whether nobody but the server can read the questions and make the answers.
    pub(super) fn is_private(&self) -> bool {
        self.address.is_private()
    }

    /// `fault` of the answer to the question at `path`, as the log shall have it.
    pub(super) fn error(&self, method: &Method, path: &str, fault: Fault) -> HttpError {
        HttpError { server: self.shown(), question: printable(&format!("{method} {path}")), fault }
    }

    /// Ask, more than once if need be.
    pub(super) async fn ask(&self, question: Question) -> Result<Reply, HttpError> {
        let deadline = Instant::now() + Duration::from_millis(QUESTION_MS);
        let asked = timeout_at(deadline, self.ask_until_answered(&question)).await;
        asked.unwrap_or(Err(Fault::Late)).map_err(|fault| self.error(&question.method, &question.path, fault))
    }

    async fn ask_until_answered(&self, question: &Question) -> Result<Reply, Fault> {
        // It is never closed.
        let _place = self.places.acquire().await.map_err(|_| Fault::Late)?;
        let mut pause = Duration::from_millis(PAUSE_MS);
        let may_repeat = question.repeat == Repeat::MayArriveTwice;
        for attempt in 1.. {
            let mut was_sent = false;
            let answer = timeout(self.timeout, self.attempt(question, &mut was_sent)).await.unwrap_or(Err(Fault::Late));
            let is_worth_another = match &answer {
                Ok(reply) => matches!(reply.status, 502..=504) && may_repeat,
                Err(Fault::Unreachable(_) | Fault::Late | Fault::Broken(_)) => may_repeat || !was_sent,
                Err(_) => false,
            };
            if !is_worth_another || attempt >= self.attempts_max {
                return answer;
            }
            if let Err(fault) = &answer {
                tracing::debug!(server = %self.shown(), attempt, %fault, "asked again");
            }
            sleep(pause).await;
            pause *= 2;
        }
        Err(Fault::Late)
    }

    async fn attempt(&self, question: &Question, was_sent: &mut bool) -> Result<Reply, Fault> {
        // A connection that was kept may be closed at this moment by the other side: not for what must not be repeated.
        let kept = if question.repeat == Repeat::MayArriveTwice { self.take_idle() } else { None };
        let mut connection = match kept {
            Some(connection) => connection,
            None => self.connect().await?,
        };
        let request = self.request(question)?;
        *was_sent = true;
        let response = connection.sender.send_request(request).await.map_err(Fault::Broken)?;
        let (head, body) = response.into_parts();
        let body = Limited::new(body, ANSWER_BYTES_MAX).collect().await.map_err(|error| Fault::Body(error.to_string()))?;
        self.keep(connection);
        let content_type = head.headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let essence = content_type.split(';').next().unwrap_or_default().trim();
        Ok(Reply { status: head.status.as_u16(), is_json: essence.eq_ignore_ascii_case("application/json"), body: body.to_bytes() })
    }

    fn request(&self, question: &Question) -> Result<Request<Full<Bytes>>, Fault> {
        let mut request = Request::new(Full::new(question.body.clone().unwrap_or_default()));
        *request.method_mut() = question.method.clone();
        let target = format!("{}{}{}", self.address.base, question.path, question.query);
        *request.uri_mut() = target.parse().map_err(|_| Fault::Address)?;
        let headers = request.headers_mut();
        if let Ok(host) = HeaderValue::from_str(&self.address.host_header) {
            headers.insert(HOST, host);
        }
        headers.insert(USER_AGENT, HeaderValue::from_static(concat!("packmule/", env!("CARGO_PKG_VERSION"))));
        headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
        if question.body.is_some() {
            headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        }
        if let Some(authorization) = question.authorization.as_ref().or(self.authorization.as_ref()) {
            headers.insert(AUTHORIZATION, authorization.clone());
        }
        Ok(request)
    }

    fn take_idle(&self) -> Option<Connection> {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        idle.retain(|(since, connection)| since.elapsed() < Duration::from_millis(IDLE_MS) && connection.sender.is_ready());
        idle.pop().map(|(_, connection)| connection)
    }

    fn keep(&self, connection: Connection) {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.len() < IDLE_MAX && !connection.sender.is_closed() {
            idle.push((Instant::now(), connection));
        }
    }

    async fn connect(&self) -> Result<Connection, Fault> {
        match &self.address.target {
            Target::Unix(path) => hold(UnixStream::connect(path).await.map_err(Fault::Unreachable)?).await,
            Target::Tcp { host, port, .. } => {
                let stream = TcpStream::connect((host.as_str(), *port)).await.map_err(Fault::Unreachable)?;
                // Without it the same works more slowly.
                let _ = stream.set_nodelay(true);
                match &self.tls {
                    Some((tls, name)) => hold(tls.connect(name.clone(), stream).await.map_err(Fault::Unreachable)?).await,
                    None => hold(stream).await,
                }
            }
        }
    }
}

/// Begin HTTP on `stream`.
async fn hold(stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static) -> Result<Connection, Fault> {
    let mut builder = Builder::new();
    builder.max_buf_size(HEAD_BYTES_MAX).max_headers(HEADERS_MAX);
    let (sender, connection) = builder.handshake(TokioIo::new(stream)).await.map_err(Fault::Broken)?;
    let driving = tokio::spawn(async move {
        // Whoever waits for an answer hears what went wrong.
        let _ = connection.await;
    });
    Ok(Connection { sender, driving })
}

/// `Basic` of a name and a password; no log shows it.
pub(super) fn basic(user: &str, password: &Secret) -> HeaderValue {
    let text = Base64::encode_string(format!("{user}:{}", password.expose()).as_bytes());
    secret(&format!("Basic {text}")).unwrap_or_else(|| HeaderValue::from_static("Basic"))
}

fn bearer(token: &Secret) -> Result<HeaderValue, SettingsError> {
    secret(&format!("Bearer {}", token.expose())).ok_or_else(|| SettingsError("token_file: its first line is no token".to_owned()))
}

fn secret(text: &str) -> Option<HeaderValue> {
    let mut value = HeaderValue::from_str(text).ok()?;
    value.set_sensitive(true);
    Some(value)
}

fn tls(address: &Address, ca_file: &Path) -> Result<Option<(TlsConnector, ServerName<'static>)>, SettingsError> {
    let Target::Tcp { host, is_tls: true, .. } = &address.target else {
        return if ca_file.as_os_str().is_empty() {
            Ok(None)
        } else {
            Err(SettingsError("ca_file: only https has certificates".to_owned()))
        };
    };
    let name = ServerName::try_from(host.clone()).map_err(|_| SettingsError("url: a certificate cannot name this host".to_owned()))?;
    let mut roots = RootCertStore::empty();
    if ca_file.as_os_str().is_empty() {
        let found = rustls_native_certs::load_native_certs();
        roots.add_parsable_certificates(found.certs);
    } else {
        let fault = |why: String| SettingsError(format!("ca_file {}: {why}", ca_file.display()));
        let certificates = CertificateDer::pem_file_iter(ca_file).map_err(|error| fault(error.to_string()))?;
        for certificate in certificates {
            let certificate = certificate.map_err(|error| fault(error.to_string()))?;
            roots.add(certificate).map_err(|error| fault(error.to_string()))?;
        }
    }
    if roots.is_empty() {
        return Err(SettingsError("ca_file: there is no root certificate to trust; name a file of them".to_owned()));
    }
    let versions = ClientConfig::builder_with_provider(Arc::new(ring::default_provider())).with_safe_default_protocol_versions();
    let config = versions.map_err(|error| SettingsError(format!("no TLS: {error}")))?.with_root_certificates(roots).with_no_client_auth();
    Ok(Some((TlsConnector::from(Arc::new(config)), name)))
}
