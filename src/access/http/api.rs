//! The bodies of our own API's questions and answers, as they are documented in [`super`], into values and back.

use super::client::Fault;
use crate::access::rules::RefList;
use crate::access::{Command, Credentials, PublicKey, RequestPath, Transport};
use crate::serve::{EditKind, ProposedEdit};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The way that somebody came.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Way {
    kind: &'static str,
    encrypted: bool,
    /// Without the port: two connections of one client are the same question.
    address: Option<String>,
    host: Option<String>,
}

impl From<&Transport> for Way {
    fn from(transport: &Transport) -> Self {
        Self {
            kind: transport.kind().as_str(),
            encrypted: transport.is_encrypted(),
            address: transport.peer_ip().map(|ip| ip.to_string()),
            host: transport.host().map(str::to_owned),
        }
    }
}

#[derive(Serialize)]
struct Key {
    openssh: String,
    algorithm: String,
    sha256: String,
    md5: String,
}

impl From<&PublicKey> for Key {
    fn from(key: &PublicKey) -> Self {
        let (algorithm, sha256, md5) = (key.algorithm(), key.fingerprint(), key.fingerprint_md5());
        Self { openssh: key.to_openssh().trim().to_owned(), algorithm, sha256, md5 }
    }
}

#[derive(Serialize)]
struct Certificate<'a> {
    key: Key,
    authority: Key,
    key_id: &'a str,
    serial: u64,
    principals: &'a [String],
    valid_after: u64,
    valid_before: u64,
}

/// `POST /authenticate`.
#[derive(Serialize)]
pub(super) struct Authenticate<'a> {
    method: &'static str,
    user_name: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<Key>,
    #[serde(skip_serializing_if = "Option::is_none")]
    certificate: Option<Certificate<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    password: Option<&'a str>,
    transport: Way,
}

impl<'a> From<&'a Credentials> for Authenticate<'a> {
    fn from(credentials: &'a Credentials) -> Self {
        let mut question = Self {
            method: "anonymous",
            user_name: credentials.user_name(),
            key: None,
            certificate: None,
            password: None,
            transport: credentials.transport().into(),
        };
        match credentials {
            Credentials::PublicKey(shown) => (question.method, question.key) = ("key", Some((&shown.key).into())),
            Credentials::Password(said) => (question.method, question.password) = ("password", Some(said.password.expose())),
            Credentials::Anonymous(_) => {}
            Credentials::Certificate(shown) => {
                let facts = &shown.certificate;
                question.method = "certificate";
                question.certificate = Some(Certificate {
                    key: (&facts.key).into(),
                    authority: (&facts.authority).into(),
                    key_id: &facts.key_id,
                    serial: facts.serial,
                    principals: &facts.principals,
                    valid_after: facts.valid_after_s,
                    valid_before: facts.valid_before_s,
                });
            }
        }
        question
    }
}

/// Its answer.
#[derive(Debug, Deserialize)]
#[serde(tag = "answer", rename_all = "lowercase", deny_unknown_fields)]
pub(super) enum Authenticated {
    Accepted { user: String },
    Unknown,
    Refused { reason: String },
}

/// `POST /user`.
#[derive(Serialize)]
pub(super) struct AskUser<'a> {
    pub(super) id: &'a str,
}

/// Its answer.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Hydrated {
    /// Whatever the server wants to hear again; `null` means that there is nobody of this name any more.
    pub(super) user: Value,
    #[serde(default)]
    pub(super) rights: String,
    #[serde(default)]
    pub(super) repositories: Vec<String>,
}

/// What `POST /authorise` and `POST /judge` say about the command.
#[derive(Clone, Debug, Serialize)]
pub(super) struct About {
    pub(super) id: String,
    pub(super) user: Value,
    pub(super) command: &'static str,
    pub(super) path: String,
    /// The path as a name, where it can be one.
    pub(super) name: Option<String>,
    pub(super) transport: Way,
}

impl About {
    pub(super) fn new(id: &str, user: &Value, command: Command, path: &RequestPath, transport: &Transport) -> Self {
        Self {
            id: id.to_owned(),
            user: user.clone(),
            command: command.as_str(),
            path: path.as_str().to_owned(),
            name: name(path),
            transport: transport.into(),
        }
    }
}

fn name(path: &RequestPath) -> Option<String> {
    path.name().ok().map(|name| name.as_str().to_owned())
}

/// The answer of `POST /authorise`.
#[derive(Debug, Deserialize)]
#[serde(tag = "answer", rename_all = "lowercase", deny_unknown_fields)]
pub(super) enum Authorised {
    Granted {
        #[serde(default)]
        create: bool,
        #[serde(default)]
        administer: bool,
        #[serde(default)]
        judge: bool,
        #[serde(default)]
        rules: Option<Vec<WrittenRule>>,
    },
    Refused {
        reason: String,
        #[serde(default)]
        tell: bool,
    },
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct WrittenRule {
    #[serde(default)]
    refs: Vec<String>,
    #[serde(default)]
    allow: Vec<String>,
    #[serde(default)]
    deny: Vec<String>,
}

/// The rules of an answer, ready to judge.
pub(super) fn list(rules: &[WrittenRule]) -> Result<RefList, Fault> {
    let mut list = RefList::default();
    for rule in rules {
        list.add(&rule.refs, &rule.allow, &rule.deny).map_err(|why| Fault::Answer(format!("rules: {why}")))?;
    }
    Ok(list)
}

/// `POST /locate`.
#[derive(Serialize)]
pub(super) struct Locate<'a> {
    path: &'a str,
    name: Option<String>,
    transport: Way,
}

impl<'a> Locate<'a> {
    pub(super) fn new(path: &'a RequestPath, transport: &Transport) -> Self {
        Self { path: path.as_str(), name: name(path), transport: transport.into() }
    }
}

/// Its answer.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Located {
    /// A name beneath the root; `null`: nothing.
    pub(super) repository: Option<String>,
}

/// `POST /judge`.
#[derive(Serialize)]
pub(super) struct Judge<'a> {
    #[serde(flatten)]
    pub(super) about: &'a About,
    pub(super) creates_repository: bool,
    pub(super) push_options: Vec<String>,
    pub(super) edits: Vec<Edit>,
}

#[derive(Serialize)]
pub(super) struct Edit {
    #[serde(rename = "ref")]
    name: String,
    old: String,
    new: String,
    kind: &'static str,
}

impl Edit {
    /// `None` where the name cannot be written in JSON.
    pub(super) fn new(edit: &ProposedEdit) -> Option<Self> {
        let kind = match edit.kind {
            EditKind::Create => "create",
            EditKind::Update => "update",
            EditKind::Rewind => "rewind",
            EditKind::Delete => "delete",
        };
        let name = std::str::from_utf8(&edit.name).ok()?.to_owned();
        Some(Self { name, old: edit.old.to_string(), new: edit.new.to_string(), kind })
    }
}

/// Its answer.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Judged {
    /// One for each edit, in order.
    pub(super) verdicts: Vec<EditVerdict>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum EditVerdict {
    Allow,
    Refuse(String),
}

/// Read an answer. What is wrong with it is told by its place, for the text may hold anything.
pub(super) fn read<T: DeserializeOwned>(body: &[u8]) -> Result<T, Fault> {
    serde_json::from_slice(body).map_err(|error| {
        let what = if error.is_data() { "a field is wrong, missing or unknown" } else { "it is no JSON" };
        Fault::Answer(format!("{what} (line {}, column {})", error.line(), error.column()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_read_as_they_are_documented_and_not_otherwise() {
        assert!(matches!(read(br#"{"answer":"accepted","user":"ann"}"#), Ok(Authenticated::Accepted { user }) if user == "ann"));
        assert!(matches!(read(br#"{"answer":"unknown"}"#), Ok(Authenticated::Unknown)));
        for wrong in [
            "",
            "{}",
            "null",
            "[]",
            "true",
            "\"accepted\"",
            r#"{"answer":"yes"}"#,
            r#"{"answer":"accepted"}"#,
            r#"{"answer":"accepted","user":7}"#,
            r#"{"answer":"accepted","user":"ann","canary":1}"#,
            r#"{"user":"ann"}"#,
            r#"{"answer":"accepted","user":"ann"} x"#,
            r#"{"answer":"unknown","answer":"accepted","user":"ann"}"#,
        ] {
            let fault = read::<Authenticated>(wrong.as_bytes()).expect_err(wrong).to_string();
            assert!(fault.contains("not what is documented") && !fault.contains("canary"), "{wrong}: {fault}");
        }
        for wrong in [r#"{"answer":"granted","rule":[]}"#, r#"{"answer":"granted","rules":{}}"#, r#"{"answer":"granted","create":"yes"}"#] {
            assert!(read::<Authorised>(wrong.as_bytes()).is_err(), "{wrong}");
        }
        assert!(matches!(read(br#"{"answer":"granted"}"#), Ok(Authorised::Granted { create: false, judge: false, rules: None, .. })));
        assert!(matches!(read(br#"{"verdicts":["allow",{"refuse":"no"}]}"#), Ok(Judged { verdicts }) if verdicts.len() == 2));
    }

    #[test]
    fn json_that_is_nested_without_end_is_no_answer() {
        let deep = format!("{{\"user\":{}{}}}", "[".repeat(100_000), "]".repeat(100_000));
        assert!(read::<Hydrated>(deep.as_bytes()).is_err());
        assert!(read::<Hydrated>(br#"{"user":{"groups":[["a"]]}}"#).is_ok());
    }
}
