//! The audit log: one line for each login, refusal and command, in text and in JSON, which no name can forge and no secret reaches.

use crate::common::server::{Server, has_ssh, make_key, write_ssh_config};
use crate::common::{PACKMULE, Sandbox, report, run, write_program};
use std::path::{Path, PathBuf};
use std::process::Output;
use std::time::{Duration, Instant};

/// Of the password `canary-password`, by crypt(3).
const HASH: &str = "$2b$04$abcdefghijklmnopqrstuuag0.YlF7tv7WKWN7rgqJ5KkJ9XU2wny";
const PATIENCE: Duration = Duration::from_secs(20);

const RULES: &str = r#"
[[rule]]
users = ["ann"]
repositories = ["plans"]
refs = ["main"]
deny = ["rewind"]
[[rule]]
users = ["ann"]
repositories = ["plans", "new"]
allow = ["read", "write", "rewind", "delete", "create-repository"]
"#;

struct House {
    sandbox: Sandbox,
    server: Server,
    log: PathBuf,
}

impl House {
    /// A server in which ann has a key, a certificate's name and a password, which logs everything in this `format`.
    fn start(format: &str) -> Self {
        Self::start_with_log(format, "audit.log")
    }

    fn start_with_log(format: &str, file: &str) -> Self {
        let sandbox = Sandbox::new();
        for name in ["ann", "eve", "ca"] {
            make_key(&sandbox, &sandbox.path("keys").join(name), &["ed25519"]);
        }
        std::fs::create_dir(sandbox.path("served")).expect("a root");
        let plans = sandbox.bare("served/plans.git", "sha1");
        sandbox.git(&plans, ["config", "receive.advertisePushOptions", "true"]);
        let seed = sandbox.work_tree("seed", "sha1");
        sandbox.commit_file(&seed, "first", "1");
        sandbox.git(&seed, ["push", "-q", &plans.to_string_lossy(), "main"]);
        let head = format!("root = \"served\"\nlog = \"trace\"\n[audit]\nfile = \"{file}\"\nformat = \"{format}\"\n");
        let people = format!(
            "[users.ann]\nkey_files = [\"keys/ann.pub\"]\npassword = \"{HASH}\"\n[[certificate_authority]]\nkey_files = [\"keys/ca.pub\"]\n"
        );
        let ssh = "[ssh]\nlisten = \"127.0.0.1:0\"\nown_keys = false\n[ssh.penalties]\nenabled = false\n";
        let secret = "[push]\ncert_nonce_seed = \"canary-seed\"\n";
        std::fs::write(sandbox.path("config.toml"), [&head, ssh, secret, &people, RULES].concat()).expect("written");
        let mut serve = sandbox.command(PACKMULE);
        serve.args(["serve", "--config"]).arg(sandbox.path("config.toml"));
        let server = Server::start_command(&sandbox, serve, sandbox.path("served"));
        let log = sandbox.path("audit.log");
        Self { sandbox, server, log }
    }

    fn ssh_words(&self, user: &str, key: &str, options: &[String]) -> Vec<String> {
        let config = write_ssh_config(&self.sandbox, self.server.port, &self.sandbox.path("keys").join(key));
        let options = options.iter().flat_map(|option| ["-o".to_owned(), option.clone()]);
        [vec!["-F".to_owned(), config.display().to_string(), "-l".to_owned(), user.to_owned()], options.collect()].concat()
    }

    fn ssh(&self, user: &str, key: &str, options: &[String], words: &[&str]) -> Output {
        let mut command = self.sandbox.command("ssh");
        run(command.args(self.ssh_words(user, key, options)).arg("mule").args(words))
    }

    fn ssh_with_password(&self, user: &str, password: &str) -> Output {
        let askpass = self.sandbox.path("askpass");
        write_program(&askpass, &format!("#!/bin/sh\necho '{password}'\n"));
        let options = ["PreferredAuthentications=password", "BatchMode=no", "NumberOfPasswordPrompts=1", "PubkeyAuthentication=no"];
        let options = options.map(str::to_owned);
        let mut command = self.sandbox.command("ssh");
        command.args(self.ssh_words(user, "ann", &options)).arg("mule");
        run(command.env("SSH_ASKPASS", askpass).env("SSH_ASKPASS_REQUIRE", "force").env("DISPLAY", "none"))
    }

    /// `git ARGS` as ann with her key.
    fn git(&self, folder: &Path, args: &[&str]) -> (bool, String) {
        let mut git = self.sandbox.git_command(folder, args);
        let ssh = format!("ssh {}", self.ssh_words("git", "ann", &[]).join(" "));
        let output = run(git.env("GIT_SSH_COMMAND", ssh).env("GIT_SSH_VARIANT", "ssh"));
        (output.status.success(), report(&git, &output))
    }

    /// All lines, once one has all of `words`: lines come just after the client has its answer.
    #[track_caller]
    fn lines(&self, words: &[&str]) -> Vec<String> {
        let began = Instant::now();
        loop {
            let text = std::fs::read_to_string(&self.log).expect("an audit log");
            if text.lines().any(|line| words.iter().all(|word| line.contains(word))) {
                return text.lines().map(str::to_owned).collect();
            }
            assert!(began.elapsed() < PATIENCE, "no line with {words:?}:\n{text}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn fingerprint(&self, key: &str) -> String {
        let mut keygen = self.sandbox.command("ssh-keygen");
        let output = run(keygen.arg("-lf").arg(self.sandbox.path("keys").join(format!("{key}.pub"))));
        String::from_utf8_lossy(&output.stdout).split(' ').nth(1).expect("a fingerprint").to_owned()
    }
}

/// The value of `field` in a line of JSON, as it stands there.
fn value<'a>(line: &'a str, field: &str) -> Option<&'a str> {
    let (_, rest) = line.split_once(&format!("\"{field}\":"))?;
    let end = match rest.as_bytes()[0] {
        b'"' => rest[1..].find('"')? + 2,
        _ => rest.find([',', '}'])?,
    };
    Some(rest[..end].trim_matches('"'))
}

#[test]
fn each_login_refusal_and_command_is_one_line_that_says_everything() {
    if !has_ssh() {
        return;
    }
    let house = House::start("json");
    let (seed, url) = (house.sandbox.path("seed"), house.server.url("plans"));
    let key = house.fingerprint("ann");
    let old = house.sandbox.git(&seed, ["rev-parse", "main"]);
    house.sandbox.commit_file(&seed, "second", "2");
    let new = house.sandbox.git(&seed, ["rev-parse", "main"]);
    let (success, said) = house.git(&seed, &["push", "-q", &url, "main", "main:side"]);
    assert!(success, "{said}");
    let lines = house.lines(&["\"service\":\"receive-pack\"", "\"verdict\":\"done\""]);
    assert_eq!(lines.len(), 2, "{lines:#?}");
    let login: Vec<_> = ["event", "user", "claims", "proof", "verdict"].iter().map(|field| value(&lines[0], field)).collect();
    assert_eq!(login, [Some("logged in"), Some("ann"), Some("git"), Some(&key), Some("accepted")]);
    assert!(value(&lines[0], "peer").is_some_and(|peer| peer.starts_with("127.0.0.1:")), "{lines:#?}");
    let push = &lines[1];
    for (field, expected) in [
        ("event", "command"),
        ("user", "ann"),
        ("proof", &key),
        ("path", "/plans"),
        ("repository", "plans"),
        ("request", "1.1"),
        ("connection", "1"),
        ("objects", "3"),
        ("created", "false"),
    ] {
        assert_eq!(value(push, field), Some(expected), "{field}: {push}");
    }
    assert!(["pack_bytes", "sent_bytes", "received_bytes"].iter().all(|field| value(push, field).is_some_and(|n| n != "0")), "{push}");
    assert!(value(push, "duration_ms").is_some_and(|n| n.parse::<u64>().is_ok()), "{push}");
    let null = "0".repeat(40);
    let edit = |change: &str, name: &str, old: &str, verdict: &str| {
        format!("{{\"change\":\"{change}\",\"name\":\"refs/heads/{name}\",\"old\":\"{old}\",\"new\":\"{new}\",\"verdict\":\"{verdict}\"")
    };
    assert!(push.contains(&edit("update", "main", &old, "done")) && push.contains(&edit("create", "side", &null, "done")), "{push}");
    // A rule says no: by its place.
    let (success, said) = house.git(&seed, &["push", "-q", &url, &format!("+{old}:main")]);
    assert!(!success, "{said}");
    let refused = house.lines(&[&format!("\"old\":\"{new}\",\"new\":\"{old}\",\"verdict\":\"refused\"")]).pop().expect("a line");
    assert!(refused.contains("rule 1 (") && refused.contains("config.toml:") && value(&refused, "verdict") == Some("refused"), "{refused}");
    // What is none of ours, what is not there, who is not known.
    for (key, words, says) in [
        (
            "ann",
            &["git-upload-pack '/absent'"][..],
            &["\"path\":\"/absent\"", "\"verdict\":\"refused\"", "\"why\":\"no rule lets them read it\""][..],
        ),
        ("ann", &["git-upload-pack '/new'"], &["\"path\":\"/new\"", "\"verdict\":\"not found\""]),
        ("ann", &["rm -rf /"], &["\"service\":\"rm -rf /\"", "\"verdict\":\"refused\""]),
        ("ann", &[], &["\"service\":\"greeting\"", "\"verdict\":\"done\""]),
        ("eve", &[], &["\"event\":\"login refused\"", &house.fingerprint("eve"), "\"verdict\":\"unknown\""]),
    ] {
        house.ssh("git", key, &[], words);
        house.lines(says);
    }
}

#[test]
fn the_file_may_be_moved_away_and_is_for_nobody_else_to_read() {
    if !has_ssh() {
        return;
    }
    let house = House::start("json");
    house.ssh("git", "ann", &[], &[]);
    house.lines(&["\"event\":\"logged in\""]);
    std::fs::rename(&house.log, house.sandbox.path("audit.old")).expect("moved");
    house.server.signal("HUP");
    let began = Instant::now();
    while !house.log.exists() {
        assert!(began.elapsed() < PATIENCE, "no new file");
        std::thread::sleep(Duration::from_millis(20));
    }
    house.ssh("git", "ann", &[], &[]);
    house.lines(&["\"event\":\"logged in\""]);
    let mode = std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(&house.log).expect("a file").permissions());
    assert_eq!(mode & 0o777, 0o600);
}

#[test]
fn a_log_that_cannot_be_written_stops_nobody() {
    if !has_ssh() || !Path::new("/dev/full").exists() {
        return;
    }
    for format in ["text", "json"] {
        let house = House::start_with_log(format, "/dev/full");
        let (seed, url) = (house.sandbox.path("seed"), house.server.url("new"));
        let (success, said) = house.git(&seed, &["push", "-q", &url, "main"]);
        assert!(success && house.sandbox.path("served/new.git").exists(), "{said}");
        let (success, said) = house.git(&house.sandbox.path(""), &["clone", "-q", &url, "copy"]);
        assert!(success, "{said}");
    }
}

#[test]
fn no_secret_is_written_at_any_level_and_no_name_forges_a_line() {
    if !has_ssh() {
        return;
    }
    for format in ["text", "json"] {
        let house = House::start(format);
        let seed = house.sandbox.path("seed");
        // Passwords, right and wrong; one where a name belongs is the client's own doing, so none is.
        assert!(house.ssh_with_password("ann", "canary-password").status.success());
        assert!(!house.ssh_with_password("ann", "canary-wrong").status.success());
        assert!(!house.ssh_with_password("nobody", "canary-password").status.success());
        // Names made to forge fields, lines, and what a terminal shows.
        for name in
            ["x verdict=accepted user=root", "x\" verdict=\"accepted", "x\nlogged in", "\u{1b}[2Jx", "a\u{202e}b", &"long".repeat(500)]
        {
            house.ssh(name, "eve", &[], &[]);
        }
        let paths = ["git-upload-pack 'x\u{1b}[2J'", "git-upload-pack 'x\" verdict=\"done'", "ls\n\u{1b}[2Jlogged in", "ls \u{202e}"];
        for path in paths {
            house.ssh("git", "ann", &[], &[path]);
        }
        // A certificate, a signature, push options.
        let mut keygen = house.sandbox.command("ssh-keygen");
        keygen.arg("-q").arg("-s").arg(house.sandbox.path("keys/ca")).args(["-I", "a\u{1b}[2J verdict=done", "-n", "ann"]);
        let signed = run(keygen.arg(house.sandbox.path("keys/eve.pub")));
        assert!(signed.status.success(), "{}", report(&keygen, &signed));
        let options = [format!("CertificateFile={}", house.sandbox.path("keys/eve-cert.pub").display())];
        assert!(house.ssh("ann", "eve", &options, &[]).status.success());
        house.sandbox.commit_file(&seed, "new", "new");
        let (success, said) = house.git(&seed, &["push", "-q", "-o", "token=canary-option", &house.server.url("plans"), "main:a\"b=c"]);
        assert!(success, "{said}");
        let lines = house.lines(&["a\\\"b=c"]);
        let everything = [lines.join("\n"), house.server.said()].concat();
        let private = std::fs::read_to_string(house.sandbox.path("keys/ann")).expect("a key");
        let private = private.lines().nth(1).expect("a line");
        for secret in ["canary", HASH, private, "PRIVATE KEY"] {
            assert!(!everything.contains(secret), "{secret} in\n{everything}");
        }
        assert!(
            everything.chars().all(|char| char == '\n' || !char.is_control() && !('\u{202a}'..='\u{202e}').contains(&char)),
            "{everything:?}"
        );
        // The names did get there, and what is said at the lowest level was looked at.
        for name in ["verdict=accepted user=root", "u{1b}[2J", "u{202e}b", "u{202e}"] {
            assert!(lines.iter().any(|line| line.contains(name)), "{name} {lines:#?}");
        }
        assert!(house.server.said().contains("DEBUG identified"), "{}", house.server.said());
        // What counts as a login or as accepted is what was one: of ann's password, key and certificate.
        let accepted = if format == "json" { "\"verdict\":\"accepted\"" } else { " verdict=\"accepted\"" };
        let logins: Vec<_> = lines.iter().filter(|line| line.contains(accepted)).collect();
        assert_eq!(logins.len(), 1 + paths.len() + 1 + 1, "{logins:#?}");
        assert!(lines.iter().all(|line| line.len() < 4_000), "{lines:#?}");
        let begins = |line: &&String| {
            if format == "json" { line.starts_with("{\"time\":\"") && line.ends_with('}') } else { line.contains(" INFO ") }
        };
        assert!(lines.iter().all(|line| begins(&line)), "{lines:#?}");
    }
}
