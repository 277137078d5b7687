//! An API server decides: our own four callbacks and gitmouth's two calls, with a real server, real clients, and everything that can go wrong.

use crate::api_server::{ApiServer, Asked, Fault};
use crate::common::server::{Server, has_ssh, make_key, write_ssh_config};
use crate::common::{PACKMULE, Sandbox, check, report, run, skipped, write_program};
use serde_json::{Value, json};
use std::collections::HashMap;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::{ServerConfig, crypto::ring};

/// Whose key has which fingerprint.
type People = Arc<Mutex<HashMap<String, String>>>;

/// Our own API: `plans` lies at `teams/plans`; ann may do everything there but to `frozen`, bob sees no secrets and writes `bob/*`.
fn answers(people: &People) -> impl Fn(&Asked) -> (u16, String) + Send + Sync + 'static + use<> {
    let people = people.clone();
    move |asked| {
        let question = asked.json();
        let text = |field: &str| question[field].as_str().unwrap_or_default().to_owned();
        let answer = match asked.target.as_str() {
            "/authenticate" => authenticate(&people, &question),
            "/user" => json!({"user": {"groups": [text("id")]}, "rights": "The server knows you.", "repositories": ["plans"]}),
            "/authorise" => authorise(question["user"]["groups"][0].as_str().unwrap_or_default(), &text("command"), &text("name")),
            "/locate" => {
                json!({"repository": if text("name") == "nowhere" { Value::Null } else { json!(format!("teams/{}", text("name"))) }})
            }
            "/judge" => judge(&question),
            _ => return (404, "{}".to_owned()),
        };
        (200, answer.to_string())
    }
}

fn authenticate(people: &People, question: &Value) -> Value {
    let sha256 = question["key"]["sha256"].as_str().unwrap_or_default();
    match question["method"].as_str() {
        Some("key") if sha256 == "SHA256:refused" => json!({"answer": "refused", "reason": "has left"}),
        Some("key") => match people.lock().expect("nobody panicked").get(sha256) {
            Some(name) => json!({"answer": "accepted", "user": name}),
            None => json!({"answer": "unknown"}),
        },
        Some("password") if question["user_name"] == "ann" && question["password"] == "canary" => {
            json!({"answer": "accepted", "user": "ann"})
        }
        Some("anonymous") if question["user_name"] == "anonymous" => json!({"answer": "accepted", "user": "guest"}),
        _ => json!({"answer": "unknown"}),
    }
}

fn authorise(user: &str, command: &str, name: &str) -> Value {
    match (user, name, command) {
        ("ann", "plans" | "nowhere", _) => json!({"answer": "granted", "judge": true}),
        ("ann", "new", _) => json!({"answer": "granted", "create": true}),
        ("bob", "plans", _) => json!({"answer": "granted", "rules": [
            {"refs": ["secret"], "deny": ["read"]},
            {"allow": ["read"]},
            {"refs": ["bob/*"], "allow": ["write"]},
        ]}),
        ("guest", "plans", "upload-pack") => json!({"answer": "granted", "rules": [{"refs": ["main"], "allow": ["read"]}]}),
        ("bob", "odd", _) => json!({"answer": "granted", "rules": [{"allow": ["everything"]}]}),
        (_, "told", _) => json!({"answer": "refused", "reason": "ask\u{1b}[31m ann", "tell": true}),
        _ => json!({"answer": "refused", "reason": "not theirs"}),
    }
}

fn judge(question: &Value) -> Value {
    let edits = question["edits"].as_array().expect("edits");
    let verdicts: Vec<Value> = edits
        .iter()
        .map(|edit| if edit["ref"] == "refs/heads/frozen" { json!({"refuse": "winter has come"}) } else { json!("allow") })
        .collect();
    json!({"verdicts": verdicts})
}

struct House {
    sandbox: Sandbox,
    server: Server,
}

/// Keys of ann, bob and eve, `served/teams/plans.git` with a secret branch, and whose keys a server shall know.
fn furnish() -> (Sandbox, People) {
    let sandbox = Sandbox::new();
    let people = People::default();
    for name in ["ann", "bob", "eve"] {
        let key = make_key(&sandbox, &sandbox.path("keys").join(name), &["ed25519"]);
        if name != "eve" {
            people.lock().expect("nobody panicked").insert(fingerprint(&sandbox, &key, "sha256"), name.to_owned());
        }
    }
    let seed = sandbox.work_tree("seed", "sha1");
    let plans = sandbox.bare("served/teams/plans.git", "sha1");
    sandbox.git(&seed, ["push", "-q", &plans.to_string_lossy(), "main", "main:secret"]);
    (sandbox, people)
}

/// As `ssh-keygen -l` shows it.
fn fingerprint(sandbox: &Sandbox, key: &Path, hash: &str) -> String {
    let mut keygen = sandbox.command("ssh-keygen");
    let output = run(keygen.args(["-l", "-E", hash, "-f"]).arg(key));
    String::from_utf8_lossy(&output.stdout).split(' ').nth(1).expect("a fingerprint").to_owned()
}

/// `packmule serve` that asks at `url`, with more settings of `[http]`.
fn start(sandbox: Sandbox, url: &str, more: &str) -> House {
    start_drivers(sandbox, "\"http\"", url, more)
}

/// The same with other drivers, and what they want.
fn start_drivers(sandbox: Sandbox, drivers: &str, url: &str, more: &str) -> House {
    let config = format!(
        "root = \"served\"\ndriver = {drivers}\nlog = \"trace\"\n[http]\nurl = \"{url}\"\n{more}\n[ssh]\nlisten = \"127.0.0.1:0\"\n\
         own_keys = false\n[ssh.penalties]\nenabled = false\n"
    );
    std::fs::write(sandbox.path("config.toml"), config).expect("written");
    let mut serve = sandbox.command(PACKMULE);
    serve.args(["serve", "--config"]).arg(sandbox.path("config.toml"));
    let server = Server::start_command(&sandbox, serve, sandbox.path("served"));
    House { sandbox, server }
}

impl House {
    fn url(&self, user: &str, path: &str) -> String {
        format!("ssh://{user}@127.0.0.1:{}/{path}", self.server.port)
    }

    fn git(&self, folder: &Path, key: &str, words: &[&str]) -> (bool, String) {
        let config = write_ssh_config(&self.sandbox, self.server.port, &self.sandbox.path("keys").join(key));
        let mut command = self.sandbox.git_command(folder, words);
        let output = run(command.env("GIT_SSH_COMMAND", format!("ssh -F {}", config.display())));
        (output.status.success(), report(&command, &output))
    }

    /// What somebody sees of `path`, if anything.
    fn sees(&self, key: &str, path: &str) -> Option<String> {
        let (success, said) = self.git(&self.top(), key, &["ls-remote", &self.url("git", path)]);
        success.then_some(said)
    }

    fn top(&self) -> PathBuf {
        self.sandbox.path("")
    }

    /// Clone and push as ann.
    fn clone_and_push(&self) {
        let (success, said) = self.git(&self.top(), "ann", &["clone", "-q", &self.url("git", "plans.git"), "copy"]);
        assert!(success, "{said}");
        let copy = self.sandbox.path("copy");
        self.sandbox.commit_file(&copy, "new", "new");
        let (success, said) = self.git(&copy, "ann", &["push", "-q", "origin", "HEAD:main"]);
        assert!(success, "{said}");
        check::sound(&self.sandbox, &self.sandbox.path("served/teams/plans.git"));
    }
}

#[test]
fn the_server_says_who_what_and_where() {
    if !has_ssh() {
        return;
    }
    let (sandbox, people) = furnish();
    let api = ApiServer::tcp(answers(&people));
    std::fs::write(sandbox.path("token"), "canary-token\n").expect("written");
    let house = start(sandbox, &api.url, "token_file = \"token\"");
    house.clone_and_push();
    let copy = house.sandbox.path("copy");
    let push = |key: &str, name: &str, to: &str| house.git(&copy, key, &["push", &house.url("git", name), &format!("HEAD:{to}")]);
    // Each push is judged, and a name that is not there yet is made where the server says so.
    let (success, said) = push("ann", "plans", "frozen");
    assert!(!success && said.contains("winter has come"), "{said}");
    assert!(push("ann", "new", "main").0 && house.sandbox.path("served/teams/new.git").exists());
    // Rules of the answer: what may not be read is not there.
    let seen = house.sees("bob", "/plans.git").expect("bob sees the plans");
    assert!(seen.contains("refs/heads/main") && !seen.contains("secret"), "{seen}");
    assert!(push("bob", "plans", "bob/x").0);
    let (success, said) = push("bob", "plans", "refs/heads/topic");
    assert!(!success && said.contains("you may not create it"), "{said}");
    for (key, path, says) in [
        ("bob", "new", "no repository"),
        ("ann", "nowhere", "no repository"),
        ("bob", "told", "ask\\u{1b}[31m ann"),
        ("bob", "odd", "access could not be checked"),
        ("eve", "plans", "Permission denied"),
    ] {
        let (success, said) = house.git(&copy, key, &["ls-remote", &house.url("git", path)]);
        assert!(!success && said.contains(says), "{key} {path}: {said}");
    }
    bodies_are_as_documented(&house, &api);
    assert!(!house.server.said().contains("canary"), "{}", house.server.said());
}

fn bodies_are_as_documented(house: &House, api: &ApiServer) {
    let of = |path: &str| api.asked().into_iter().find(|asked| asked.target == path).unwrap_or_else(|| panic!("{path} was never asked"));
    let fields = |value: &Value| {
        let mut names: Vec<String> = value.as_object().expect("an object").keys().cloned().collect();
        names.sort();
        names.join(" ")
    };
    for (path, wants) in [
        ("/authenticate", "key method transport user_name"),
        ("/user", "id"),
        ("/authorise", "command id name path transport user"),
        ("/locate", "name path transport"),
        ("/judge", "command creates_repository edits id name path push_options transport user"),
    ] {
        let asked = of(path);
        assert_eq!((asked.method.as_str(), fields(&asked.json()).as_str()), ("POST", wants), "{path}");
        assert_eq!(asked.headers.get("authorization").map(String::as_str), Some("Bearer canary-token"));
        assert_eq!(asked.headers.get("content-type").map(String::as_str), Some("application/json"));
    }
    let shown = of("/authenticate").json();
    let key = house.sandbox.path("keys/ann");
    let line = std::fs::read_to_string(key.with_extension("pub")).expect("a key");
    let openssh: Vec<&str> = line.split(' ').take(2).collect();
    assert_eq!(shown["key"]["openssh"], openssh.join(" "));
    assert_eq!(shown["key"]["sha256"], fingerprint(&house.sandbox, &key, "sha256"));
    assert_eq!(shown["key"]["md5"], fingerprint(&house.sandbox, &key, "md5"));
    assert_eq!(shown["transport"], json!({"kind": "ssh", "encrypted": true, "address": "127.0.0.1", "host": null}));
    let judged = of("/judge").json();
    assert_eq!((&judged["path"], &judged["name"], &judged["id"]), (&json!("/plans.git"), &json!("plans"), &json!("ann")));
    assert_eq!((&judged["edits"][0]["kind"], &judged["edits"][0]["ref"]), (&json!("update"), &json!("refs/heads/main")));
}

#[test]
fn a_unix_socket_serves_as_well() {
    if !has_ssh() {
        return;
    }
    let (sandbox, people) = furnish();
    let api = ApiServer::unix(&sandbox.path("api.sock"), answers(&people));
    let house = start(sandbox, &api.url, "");
    house.clone_and_push();
    assert!(api.times("/judge") == 1);
}

#[test]
fn https_is_asked_when_its_certificate_is_right_and_not_otherwise() {
    let (sandbox, people) = furnish();
    let openssl = ["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "3650"];
    for (name, subject) in [("right", "IP:127.0.0.1"), ("wrong", "DNS:elsewhere.example")] {
        let mut make = std::process::Command::new("openssl");
        make.args(openssl).args(["-subj", "/CN=api", "-addext", "basicConstraints=critical,CA:FALSE", "-addext"]);
        make.arg(format!("subjectAltName={subject}")).arg("-keyout").arg(sandbox.path(format!("{name}.key")));
        make.arg("-out").arg(sandbox.path(format!("{name}.pem"))).env("HOME", sandbox.home());
        match make.output() {
            Ok(output) if has_ssh() => assert!(output.status.success(), "{output:?}"),
            _ => return skipped("no openssl or ssh here"),
        }
    }
    let config = |name: &str| {
        let certificate = CertificateDer::from_pem_file(sandbox.path(format!("{name}.pem"))).expect("a certificate");
        let key = PrivateKeyDer::from_pem_file(sandbox.path(format!("{name}.key"))).expect("a key");
        let builder = ServerConfig::builder_with_provider(Arc::new(ring::default_provider())).with_safe_default_protocol_versions();
        builder.expect("versions").with_no_client_auth().with_single_cert(vec![certificate], key).expect("a certificate and its key")
    };
    let (right, wrong) = (ApiServer::tls(config("right"), answers(&people)), ApiServer::tls(config("wrong"), answers(&people)));
    let house = start(sandbox, &right.url, "ca_file = \"right.pem\"");
    house.clone_and_push();
    let House { sandbox, server } = house;
    drop(server);
    // Another name, another authority.
    let house = start(sandbox, &wrong.url, "ca_file = \"wrong.pem\"");
    assert_eq!(house.sees("ann", "plans"), None);
    house.server.wait_for("cannot be reached: invalid peer certificate");
    let House { sandbox, server } = house;
    drop(server);
    let house = start(sandbox, &right.url, "ca_file = \"wrong.pem\"");
    assert_eq!(house.sees("ann", "plans"), None);
    house.server.wait_for("cannot be reached: invalid peer certificate");
    assert!(wrong.asked().is_empty());
}

#[test]
fn whatever_goes_wrong_lets_in_nobody_and_is_logged() {
    if !has_ssh() {
        return;
    }
    let (sandbox, people) = furnish();
    let api = ApiServer::tcp(answers(&people));
    let house = start(sandbox, &api.url, "cache_s = 0\nattempts_max = 1\ntimeout_ms = 5000");
    for (fault, says) in [
        (Fault::Silent, "gave no answer in time"),
        (Fault::Status(500), "answered with status 500"),
        (Fault::Status(201), "answered with status 201"),
        (Fault::Status(401), "answered with status 401"),
        (Fault::Redirect, "answered with status 307"),
        (Fault::Garbage, "broke the protocol"),
        (Fault::Huge, "larger than 1048576 bytes"),
        (Fault::HugeHead, "broke the protocol"),
        (Fault::HangUp, "its body broke off"),
        (Fault::WrongType, "no application/json"),
        (Fault::NotJson, "it is no JSON"),
        (Fault::Nested, "it is no JSON"),
        (Fault::Surprise, "a field is wrong, missing or unknown"),
    ] {
        // At the first question, and, where it is let come so far, at a later one.
        api.fail(fault, usize::MAX);
        assert_eq!(house.sees("ann", "plans"), None, "{fault:?}");
        house.server.wait_for(says);
        api.mend();
    }
    assert!(house.sees("ann", "plans").is_some() && !house.server.said().contains("canary"));
    assert_eq!(api.times("/right"), 0);
}

#[test]
fn a_fault_at_any_question_denies() {
    if !has_ssh() {
        return;
    }
    let (sandbox, people) = furnish();
    let at = Arc::new(Mutex::new(String::new()));
    let right = answers(&people);
    let api = ApiServer::tcp({
        let at = at.clone();
        move |asked| if *at.lock().expect("nobody panicked") == asked.target { (500, "{}".to_owned()) } else { right(asked) }
    });
    let house = start(sandbox, &api.url, "cache_s = 0");
    let seed = house.sandbox.path("seed");
    house.sandbox.commit_file(&seed, "new", "new");
    for path in ["/authenticate", "/user", "/authorise", "/locate", "/judge"] {
        path.clone_into(&mut at.lock().expect("nobody panicked"));
        let before = check::ref_value(&house.sandbox, &house.sandbox.path("served/teams/plans.git"), "refs/heads/main");
        let (success, said) = house.git(&seed, "ann", &["push", &house.url("git", "plans"), "main"]);
        assert!(!success, "{path}: {said}");
        assert_eq!(check::ref_value(&house.sandbox, &house.sandbox.path("served/teams/plans.git"), "refs/heads/main"), before);
        house.server.wait_for(&format!("(POST {path}): answered with status 500"));
    }
    at.lock().expect("nobody panicked").clear();
    assert!(house.git(&seed, "ann", &["push", &house.url("git", "plans"), "main"]).0);
}

#[test]
fn when_the_server_is_down_nobody_gets_in_and_when_it_is_back_they_do() {
    if !has_ssh() {
        return;
    }
    let (sandbox, people) = furnish();
    let socket = sandbox.path("api.sock");
    let api = ApiServer::unix(&socket, answers(&people));
    let house = start(sandbox, &api.url, "cache_s = 0");
    assert!(house.sees("ann", "plans").is_some());
    drop(api);
    std::fs::remove_file(&socket).expect("removed");
    assert_eq!(house.sees("ann", "plans"), None);
    house.server.wait_for("(POST /authenticate): cannot be reached");
    let _api = ApiServer::unix(&socket, answers(&people));
    assert!(house.sees("ann", "plans").is_some());
}

#[test]
fn rules_behind_a_server_are_for_whom_it_does_not_know_and_not_for_when_it_is_silent() {
    if !has_ssh() {
        return;
    }
    let (sandbox, people) = furnish();
    let api = ApiServer::tcp(answers(&people));
    let rules = "cache_s = 0\n[users.eve]\nkey_files = [\"keys/eve.pub\"]\n[users.bob]\nkey_files = [\"keys/bob.pub\"]\n[[rule]]\n\
                 users = [\"eve\", \"bob\"]\nrepositories = [\"teams/*\"]\nallow = [\"read\"]";
    let house = start_drivers(sandbox, "[\"http\", \"rules\"]", &api.url, rules);
    house.server.wait_for("the API server at http://");
    house.server.wait_for("2 users, 1 rules");
    // Paths mean what they mean to whoever knows somebody.
    assert!(house.sees("bob", "plans").is_some() && house.sees("bob", "teams/plans").is_none());
    assert!(house.sees("eve", "teams/plans").is_some_and(|seen| seen.contains("secret")) && house.sees("eve", "plans").is_none());
    api.fail(Fault::Status(500), usize::MAX);
    assert!(house.sees("eve", "teams/plans").is_none() && house.sees("bob", "teams/plans").is_none());
    api.mend();
    assert!(house.sees("eve", "teams/plans").is_some());
}

#[test]
fn a_push_that_cannot_be_asked_about_in_json_is_refused() {
    if !has_ssh() {
        return;
    }
    let (sandbox, people) = furnish();
    let api = ApiServer::tcp(answers(&people));
    let house = start(sandbox, &api.url, "");
    let seed = house.sandbox.path("seed");
    let config = write_ssh_config(&house.sandbox, house.server.port, &house.sandbox.path("keys/ann"));
    let name = [&b"main:refs/heads/"[..], b"\xff"].concat();
    let url = house.url("git", "plans");
    let words = [OsStr::new("push"), OsStr::new(&url), OsStr::from_bytes(&name), OsStr::new("main:fine")];
    let mut push = house.sandbox.git_command(&seed, words);
    let output = run(push.env("GIT_SSH_COMMAND", format!("ssh -F {}", config.display())));
    let said = report(&push, &output);
    assert!(!output.status.success() && said.contains("is not UTF-8"), "{said}");
    assert_eq!(
        (api.times("/judge"), check::ref_value(&house.sandbox, &house.sandbox.path("served/teams/plans.git"), "refs/heads/fine").as_str()),
        (0, "")
    );
}

#[test]
fn a_yes_is_kept_for_its_time_and_a_no_never() {
    if !has_ssh() {
        return;
    }
    let (sandbox, people) = furnish();
    let api = ApiServer::tcp(answers(&people));
    let house = start(sandbox, &api.url, "cache_s = 3600");
    assert_eq!(house.sees("eve", "plans"), None);
    let eve = fingerprint(&house.sandbox, &house.sandbox.path("keys/eve"), "sha256");
    people.lock().expect("nobody panicked").insert(eve.clone(), "bob".to_owned());
    assert!(house.sees("eve", "plans").is_some());
    let asked = api.asked().len();
    assert!(house.sees("eve", "plans").is_some());
    assert_eq!(api.asked().len(), asked, "everything was known");
    let House { sandbox, server } = house;
    drop(server);
    let house = start(sandbox, &api.url, "cache_s = 1");
    assert!(house.sees("eve", "plans").is_some());
    people.lock().expect("nobody panicked").remove(&eve);
    std::thread::sleep(Duration::from_millis(1_100));
    assert_eq!(house.sees("eve", "plans"), None);
}

#[test]
fn a_question_is_asked_again_and_one_with_a_password_is_not() {
    if !has_ssh() {
        return;
    }
    let (sandbox, people) = furnish();
    let api = ApiServer::tcp(answers(&people));
    let house = start(sandbox, &api.url, "cache_s = 0\nmethods = [\"key\", \"password\", \"anonymous\"]");
    for fault in [Fault::Status(503), Fault::Garbage] {
        api.fail(fault, 2);
        assert!(house.sees("ann", "plans").is_some(), "{fault:?}");
    }
    api.mend();
    let askpass = house.sandbox.path("askpass");
    write_program(&askpass, "#!/bin/sh\necho canary\n");
    let config = write_ssh_config(&house.sandbox, house.server.port, &house.sandbox.path("keys/eve"));
    let log_in = || {
        let mut ssh = house.sandbox.command("ssh");
        ssh.arg("-F").arg(&config).args(["-o", "PubkeyAuthentication=no", "-o", "PreferredAuthentications=password", "-o", "BatchMode=no"]);
        ssh.args(["-o", "NumberOfPasswordPrompts=1", "-l", "ann", "mule"]);
        let output = run(ssh.env("SSH_ASKPASS", &askpass).env("SSH_ASKPASS_REQUIRE", "force").env("DISPLAY", "none"));
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    let by_password = || api.asked().iter().filter(|asked| asked.body.contains("\"password\":")).count();
    assert!(log_in().contains("The server knows you."));
    let before = by_password();
    api.fail(Fault::Status(503), usize::MAX);
    assert_eq!(log_in(), "");
    assert_eq!(by_password(), before + 1);
    api.mend();
    // Who shows nothing sees what the server lets them see.
    let (success, seen) = house.git(&house.top(), "eve", &["ls-remote", &house.url("anonymous", "plans")]);
    assert!(success && seen.contains("refs/heads/main") && !seen.contains("secret"), "{seen}");
    assert!(!house.server.said().contains("canary"), "{}", house.server.said());
}

/// gitmouth's API: the body of the second call is `action`.
fn gitmouth(
    keys: HashMap<String, String>,
    action: &Arc<Mutex<(u16, String)>>,
) -> impl Fn(&Asked) -> (u16, String) + Send + Sync + 'static + use<> {
    let action = action.clone();
    move |asked| {
        let authorization = asked.headers.get("authorization").map(String::as_str).unwrap_or_default();
        if let Some(fingerprint) = asked.target.strip_prefix("/internal/lookupUserByPublicKey?fingerprint=") {
            // Basic of `:canary-server`.
            return match keys.get(fingerprint).filter(|_| authorization == "Basic OmNhbmFyeS1zZXJ2ZXI=") {
                Some(user) => (200, format!("{user}:canary-{user}")),
                None => (404, String::new()),
            };
        }
        // Basic of `:canary-ann`.
        let is_ann = authorization == "Basic OmNhbmFyeS1hbm4=";
        if asked.method == "POST" && is_ann { action.lock().expect("nobody panicked").clone() } else { (401, String::new()) }
    }
}

#[test]
fn gitmouths_server_is_asked_as_gitmouth_asks_it() {
    if !has_ssh() {
        return;
    }
    let (sandbox, _) = furnish();
    let seed = sandbox.path("seed");
    for name in ["shop", "d7-shop"] {
        let bare = sandbox.bare(format!("served/{name}.git"), "sha1");
        sandbox.git(&seed, ["push", "-q", &bare.to_string_lossy(), "main"]);
    }
    let known = |hash: &str| {
        let print = |name: &str| fingerprint(&sandbox, &sandbox.path("keys").join(name), hash);
        let form = |text: String| match text.strip_prefix("MD5:") {
            Some(md5) => md5.replace(':', ""),
            None => text.replace(':', "%3A").replace('+', "%2B").replace('/', "%2F"),
        };
        HashMap::from([(form(print("ann")), "ann".to_owned()), (form(print("bob")), "bob".to_owned())])
    };
    let action = Arc::new(Mutex::new((200, String::new())));
    let (md5, sha256) = (ApiServer::tcp(gitmouth(known("md5"), &action)), ApiServer::tcp(gitmouth(known("sha256"), &action)));
    std::fs::write(sandbox.path("token"), "canary-server").expect("written");
    let settings = "api = \"gitmouth\"\ntoken_file = \"token\"\n";
    let house = start(sandbox, &md5.url, settings);
    let (success, said) = house.git(&house.top(), "ann", &["clone", "-q", &house.url("git", "shop.git"), "copy"]);
    assert!(success, "{said}");
    let copy = house.sandbox.path("copy");
    house.sandbox.commit_file(&copy, "new", "new");
    let (success, said) = house.git(&copy, "ann", &["push", "-q", "origin", "main"]);
    assert!(success, "{said}");
    let last = md5.asked().pop().expect("a question");
    assert_eq!((last.method.as_str(), last.target.as_str()), ("POST", "/internal/shop/gitaction?command=git-receive-pack"));
    // bob is known, and not let do this; eve is not known; a path of two parts is no application.
    for (key, path, says) in
        [("bob", "shop.git", "no repository"), ("eve", "shop.git", "Permission denied"), ("ann", "a/shop.git", "no repository")]
    {
        let (success, said) = house.git(&copy, key, &["ls-remote", &house.url("git", path)]);
        assert!(!success && said.contains(says), "{key} {path}: {said}");
    }
    // What gitmouth is told to bridge to, and a server in trouble: asked once, for it may have started something.
    *action.lock().expect("nobody panicked") = (200, json!({"host": "dyno7.example", "dyno_id": "d7"}).to_string());
    let (success, said) = house.git(&copy, "ann", &["ls-remote", &house.url("git", "shop.git")]);
    assert!(!success && said.contains("packmule serves repositories of its own; bridging to another host is not offered"), "{said}");
    *action.lock().expect("nobody panicked") = (503, String::new());
    let before = md5.asked().len();
    let (success, said) = house.git(&copy, "ann", &["ls-remote", &house.url("git", "shop.git")]);
    assert!(!success && said.contains("access could not be checked"), "{said}");
    assert_eq!(md5.asked()[before..].iter().filter(|asked| asked.method == "POST").count(), 1);
    assert!(!house.server.said().contains("canary"), "{}", house.server.said());
    let House { sandbox, server } = house;
    drop(server);

    // A template over the answer, and the other fingerprint.
    *action.lock().expect("nobody panicked") = (200, json!({"host": "localhost", "dyno_id": "d7"}).to_string());
    let house = start(sandbox, &sha256.url, &format!("{settings}fingerprint = \"sha256\"\nrepository = \"{{body.dyno_id}}-{{app}}\"\n"));
    let (success, said) = house.git(&copy, "ann", &["push", "-q", &house.url("git", "shop"), "main:dyno"]);
    assert!(success, "{said}");
    let value = check::ref_value(&house.sandbox, &house.sandbox.path("served/d7-shop.git"), "refs/heads/dyno");
    assert_eq!(value, house.sandbox.git(&copy, ["rev-parse", "main"]));
}

#[test]
fn settings_that_cannot_be_followed_are_told() {
    let sandbox = Sandbox::new();
    std::fs::write(sandbox.path("token"), "canary").expect("written");
    for (settings, says) in [
        ("", "url: where is the server?"),
        ("url = \"http://ann:canary@127.0.0.1\"", "names and passwords do not belong into it"),
        ("url = \"http://192.0.2.1\"\nmethods = [\"password\"]", "passwords are sent over https"),
        ("url = \"http://192.0.2.1\"\ntoken_file = \"token\"", "a token is sent over https"),
        ("url = \"http://127.0.0.1\"\ntoken_file = \"none\"", "token_file"),
        ("url = \"http://127.0.0.1\"\nca_file = \"token\"", "only https has certificates"),
        ("url = \"https://127.0.0.1\"\nca_file = \"token\"", "ca_file"),
        ("url = \"http://127.0.0.1\"\nmethods = []", "nobody could log in"),
        ("url = \"http://127.0.0.1\"\napi = \"gitmouth\"\nrepository = \"fixed\"", "put {app} into it"),
        ("url = \"http://127.0.0.1\"\napi = \"gitmouth\"\nmethods = [\"anonymous\"]", "knows keys only"),
        ("url = \"http://127.0.0.1\"\ntimeout_ms = 0", "at least 1"),
    ] {
        std::fs::write(sandbox.path("config.toml"), format!("driver = \"http\"\n[http]\n{settings}\n")).expect("written");
        let mut check = sandbox.command(PACKMULE);
        let output = run(check.args(["check", "--config"]).arg(sandbox.path("config.toml")));
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.code() == Some(2) && said.contains(says) && !said.contains("canary"), "{settings}: {said}");
    }
}

#[test]
fn an_address_where_others_can_answer_is_told() {
    let sandbox = Sandbox::new();
    for (url, is_told) in [("http://192.0.2.1:8000", true), ("http://127.0.0.1:8000", false), ("unix:api.sock", false)] {
        std::fs::write(sandbox.path("config.toml"), format!("driver = \"http\"\n[http]\nurl = \"{url}\"\n")).expect("written");
        let mut check = sandbox.command(PACKMULE);
        let output = run(check.args(["check", "--config"]).arg(sandbox.path("config.toml")));
        let said = report(&check, &output);
        assert!(output.status.success() && said.contains("the API server at"), "{said}");
        assert_eq!(said.contains("can answer in its place"), is_told, "{said}");
    }
}
