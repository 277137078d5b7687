//! `[http]` of `config.toml` into an address to ask, and how.

use crate::access::Secret;
use hyper::Uri;
use serde::{Deserialize, Serialize};
use std::net::IpAddr;
use std::path::PathBuf;

/// Bytes that a token may have.
const TOKEN_BYTES_MAX: usize = 4096;

/// How an API server is asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct HttpSettings {
    /// Whose calls are made.
    pub api: ApiKind,
    /// `https://host/base`, `http://127.0.0.1:8000` or `unix:/run/api.sock`.
    pub url: String,
    /// File of the token that is shown to the server; empty: none.
    pub token_file: PathBuf,
    /// With a name the token is HTTP Basic's password, else a Bearer.
    pub user: String,
    /// File of root certificates; empty: the system's.
    pub ca_file: PathBuf,
    /// What people may show.
    pub methods: Vec<ShownMethod>,
    /// Milliseconds that one attempt may take.
    pub timeout_ms: u64,
    /// Attempts for one question.
    pub attempts_max: u32,
    /// Questions at once.
    pub connections_max: usize,
    /// Seconds that a positive answer is kept.
    pub cache_s: u64,
    /// Answers of each kind that are kept.
    pub cache_entries_max: usize,
    /// gitmouth: the fingerprint that is asked about.
    pub fingerprint: FingerprintKind,
    /// gitmouth: what repository an answer means.
    pub repository: String,
}

impl Default for HttpSettings {
    fn default() -> Self {
        Self {
            api: ApiKind::Packmule,
            url: String::new(),
            token_file: PathBuf::new(),
            user: String::new(),
            ca_file: PathBuf::new(),
            methods: vec![ShownMethod::Key],
            timeout_ms: 3_000,
            attempts_max: 3,
            connections_max: 32,
            cache_s: 30,
            cache_entries_max: 10_000,
            fingerprint: FingerprintKind::Md5,
            repository: "{app}".to_owned(),
        }
    }
}

/// Whose calls are made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ApiKind {
    /// Our own four.
    Packmule,
    /// gitmouth's two.
    Gitmouth,
}

/// Something that people may show to say who they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ShownMethod {
    /// A key that signs.
    Key,
    /// A certificate whose key signs.
    Certificate,
    /// A password.
    Password,
    /// Nothing.
    Anonymous,
}

/// How a key is named.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FingerprintKind {
    /// 32 hexadecimal digits, as gitmouth sends them.
    Md5,
    /// `SHA256:` and base64, as `ssh-keygen -l` shows it.
    Sha256,
}

/// Settings that cannot be followed; a sentence, and nothing of any secret.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("[http] {0}")]
pub struct SettingsError(pub(super) String);

/// Where a server listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Target {
    Unix(PathBuf),
    Tcp { host: String, port: u16, is_tls: bool },
}

/// An address: where to connect, what stands in `Host`, and what every path begins with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Address {
    pub(super) target: Target,
    pub(super) host_header: String,
    pub(super) base: String,
}

impl Address {
    pub(super) fn parse(url: &str) -> Result<Self, SettingsError> {
        let fault = |why: &str| Err(SettingsError(format!("url: {why}")));
        if let Some(path) = url.strip_prefix("unix:") {
            return if path.is_empty() {
                fault("behind unix: stands the path of a socket, such as unix:/run/api.sock")
            } else {
                Ok(Self { target: Target::Unix(path.into()), host_header: "localhost".to_owned(), base: String::new() })
            };
        }
        if url.is_empty() {
            return fault("where is the server? https://host/base, http://127.0.0.1:8000 or unix:/run/api.sock");
        }
        let Ok(uri) = url.parse::<Uri>() else { return fault("this is no address") };
        let (Some(scheme @ ("http" | "https")), Some(authority)) = (uri.scheme_str(), uri.authority()) else {
            return fault("it begins with https://, http:// or unix:");
        };
        if authority.as_str().contains('@') {
            return fault("names and passwords do not belong into it: user = \"...\" and token_file = \"...\" say them");
        }
        if uri.query().is_some() {
            return fault("nothing may stand behind a question mark");
        }
        let is_tls = scheme == "https";
        let host = authority.host().trim_start_matches('[').trim_end_matches(']').to_owned();
        let port = authority.port_u16().unwrap_or(if is_tls { 443 } else { 80 });
        Ok(Self {
            target: Target::Tcp { host, port, is_tls },
            host_header: authority.to_string(),
            base: uri.path().trim_end_matches('/').to_owned(),
        })
    }

    /// Whether nobody but the server can read what is sent there.
    pub(super) fn is_private(&self) -> bool {
        match &self.target {
            Target::Unix(_) | Target::Tcp { is_tls: true, .. } => true,
            Target::Tcp { host, .. } => host == "localhost" || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback()),
        }
    }

    /// How it is called in logs: without anything secret, for it holds nothing secret.
    pub(super) fn shown(&self) -> String {
        match &self.target {
            Target::Unix(path) => format!("unix:{}", path.display()),
            Target::Tcp { is_tls, .. } => format!("{}://{}{}", if *is_tls { "https" } else { "http" }, self.host_header, self.base),
        }
    }
}

impl HttpSettings {
    /// The token, read from its file; its first line counts.
    pub(super) fn token(&self) -> Result<Option<Secret>, SettingsError> {
        if self.token_file.as_os_str().is_empty() {
            return Ok(None);
        }
        let shown = self.token_file.display();
        let text = std::fs::read_to_string(&self.token_file).map_err(|error| SettingsError(format!("token_file {shown}: {error}")))?;
        let line = text.lines().next().unwrap_or_default().trim();
        let is_token = !line.is_empty() && line.len() <= TOKEN_BYTES_MAX && line.bytes().all(|byte| byte.is_ascii_graphic());
        if is_token { Ok(Some(Secret::new(line))) } else { Err(SettingsError(format!("token_file {shown}: its first line is no token"))) }
    }

    /// What does not fit together.
    pub(super) fn check(&self, address: &Address) -> Result<(), SettingsError> {
        let fault = |why: &str| Err(SettingsError(why.to_owned()));
        if self.methods.is_empty() {
            return fault("methods: with none of them nobody could log in");
        } else if self.methods.contains(&ShownMethod::Password) && !address.is_private() {
            return fault("methods: passwords are sent over https, to a unix socket or to this host only");
        } else if !self.token_file.as_os_str().is_empty() && !address.is_private() {
            return fault("token_file: a token is sent over https, to a unix socket or to this host only");
        } else if self.timeout_ms == 0 || self.attempts_max == 0 || self.connections_max == 0 {
            return fault("timeout_ms, attempts_max and connections_max are at least 1");
        } else if self.user.contains(':') {
            return fault("user: HTTP Basic knows no colon in a name");
        } else if self.api == ApiKind::Gitmouth && self.methods != [ShownMethod::Key] {
            return fault("methods: gitmouth's API knows keys only");
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tcp(host: &str, port: u16, is_tls: bool) -> Target {
        Target::Tcp { host: host.to_owned(), port, is_tls }
    }

    #[test]
    fn an_address_says_where_how_and_beneath_what() {
        for (url, target, host, base) in [
            ("https://api.example", tcp("api.example", 443, true), "api.example", ""),
            ("http://127.0.0.1:8000/", tcp("127.0.0.1", 8000, false), "127.0.0.1:8000", ""),
            ("https://[::1]:8443/v1/git/", tcp("::1", 8443, true), "[::1]:8443", "/v1/git"),
            ("unix:/run/api.sock", Target::Unix("/run/api.sock".into()), "localhost", ""),
        ] {
            let address = Address::parse(url).expect(url);
            assert_eq!((address.target, address.host_header.as_str(), address.base.as_str()), (target, host, base), "{url}");
        }
        for url in ["", "api.example", "ftp://x", "unix:", "http://ann:canary@x/", "http://x/?a=canary", "http://", "http:// x"] {
            let fault = Address::parse(url).expect_err(url).to_string();
            assert!(fault.starts_with("[http] url") && !fault.contains("canary"), "{fault}");
        }
    }

    #[test]
    fn secrets_go_only_where_nobody_listens() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("token");
        std::fs::write(&file, "canary\n").expect("written");
        for (url, is_private) in [
            ("http://api.example", false),
            ("http://192.0.2.1:80", false),
            ("http://localhost.example", false),
            ("https://api.example", true),
            ("http://127.0.0.1:1", true),
            ("http://[::1]:1", true),
            ("http://localhost:1", true),
            ("unix:/x", true),
        ] {
            let address = Address::parse(url).expect(url);
            let with_passwords = HttpSettings { methods: vec![ShownMethod::Key, ShownMethod::Password], ..HttpSettings::default() };
            let with_token = HttpSettings { token_file: file.clone(), ..HttpSettings::default() };
            assert_eq!((with_passwords.check(&address).is_ok(), with_token.check(&address).is_ok()), (is_private, is_private), "{url}");
            assert!(HttpSettings::default().check(&address).is_ok());
        }
    }

    #[test]
    fn a_token_is_the_first_line_of_its_file() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("token");
        let settings = HttpSettings { token_file: file.clone(), ..HttpSettings::default() };
        assert!(settings.token().is_err() && HttpSettings::default().token().expect("none").is_none());
        std::fs::write(&file, " canary \nmore").expect("written");
        assert_eq!(settings.token().expect("read").expect("a token").expose(), "canary");
        for wrong in ["", "\n", "two words", "a\r\nb: c\u{7f}\u{e4}"].map(|text| text.replace('b', "\u{e4}")) {
            std::fs::write(&file, &wrong).expect("written");
            let first_is_fine = wrong.starts_with('a');
            assert_eq!(settings.token().is_ok(), first_is_fine, "{wrong:?}");
        }
    }
}
