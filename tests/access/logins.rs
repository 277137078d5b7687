//! Ways of logging in besides plain keys: certificates of `ssh-keygen -s`, passwords, and nothing at all, each with OpenSSH's client.

use crate::common::server::{Server, has_ssh, make_key, write_ssh_config};
use crate::common::{PACKMULE, Sandbox, check, report, run, write_program};
use std::path::{Path, PathBuf};
use std::process::Output;

/// Of the password `canary`, by crypt(3).
const HASH: &str = "$2b$04$abcdefghijklmnopqrstuuDID1/tx.qq/9b0XGGVoFA5x6CWhZpGW";

const RULES: &str = r#"
log = "trace"
[users.ann]
[users.bob]
[groups]
staff = ["ann", "bob"]
[[rule]]
users = ["@staff"]
repositories = ["*"]
allow = ["read", "write", "create-repository"]
"#;

struct House {
    sandbox: Sandbox,
    server: Server,
}

impl House {
    /// A server under `config` that forgives failures, with `plans` in it, an authority `ca`, and keys for ann and eve that no rule names.
    fn start(config: &str) -> Self {
        let sandbox = Sandbox::new();
        for name in ["ann", "eve", "ca", "other-ca"] {
            make_key(&sandbox, &sandbox.path("keys").join(name), &["ed25519"]);
        }
        std::fs::write(sandbox.path("revoked"), "# nothing yet\n").expect("written");
        let head = "root = \"served\"\n";
        std::fs::write(
            sandbox.path("config.toml"),
            format!("{head}{config}\n[ssh]\nlisten = \"127.0.0.1:0\"\nown_keys = false\n[ssh.penalties]\nenabled = false\n"),
        )
        .expect("written");
        std::fs::create_dir(sandbox.path("served")).expect("a root");
        let plans = sandbox.bare("served/plans.git", "sha1");
        let seed = sandbox.work_tree("seed", "sha1");
        sandbox.git(&seed, ["push", "-q", &plans.to_string_lossy(), "main"]);
        let mut serve = sandbox.command(PACKMULE);
        serve.args(["serve", "--config"]).arg(sandbox.path("config.toml"));
        let server = Server::start_command(&sandbox, serve, sandbox.path("served"));
        Self { sandbox, server }
    }

    fn with_authority(rest: &str) -> Self {
        let authority = "[[certificate_authority]]\nkey_files = [\"keys/ca.pub\"]\nrevoked = \"revoked\"\n";
        Self::start(&format!("{RULES}\n{authority}{rest}"))
    }

    /// Let `authority` sign ann's key with these options of ssh-keygen; the certificate's file.
    fn sign(&self, name: &str, authority: &str, options: &[&str]) -> PathBuf {
        let keys = self.sandbox.path("keys");
        let (copy, certificate) = (keys.join(format!("{name}.pub")), keys.join(format!("{name}-cert.pub")));
        std::fs::copy(keys.join("ann.pub"), &copy).expect("copied");
        let mut keygen = self.sandbox.command("ssh-keygen");
        keygen.args(["-q", "-s"]).arg(keys.join(authority)).args(["-I", name]).args(options).arg(&copy);
        let output = run(&mut keygen);
        assert!(output.status.success(), "{}", report(&keygen, &output));
        certificate
    }

    /// The words that start ssh as `user`, with these options before all others.
    fn ssh_words(&self, user: &str, options: &[String]) -> Vec<String> {
        let config = write_ssh_config(&self.sandbox, self.server.port, &self.sandbox.path("keys/ann"));
        let options = options.iter().flat_map(|option| ["-o".to_owned(), option.clone()]);
        [vec!["-F".to_owned(), config.display().to_string(), "-l".to_owned(), user.to_owned()], options.collect()].concat()
    }

    fn ssh(&self, user: &str, options: &[String], words: &[&str]) -> Output {
        let mut command = self.sandbox.command("ssh");
        command.args(self.ssh_words(user, options)).arg("mule").args(words);
        run(&mut command)
    }

    /// Who the server says it is that comes with this certificate, if it lets them in.
    fn greeted(&self, user: &str, certificate: &Path) -> Option<String> {
        greeting(&self.ssh(user, &[format!("CertificateFile={}", certificate.display())], &[]))
    }

    /// `git ARGS` with these options of ssh.
    fn git(&self, folder: &Path, user: &str, options: &[String], args: &[&str]) -> (bool, String) {
        let mut git = self.sandbox.git_command(folder, args);
        git.env("GIT_SSH_COMMAND", format!("ssh {}", self.ssh_words(user, options).join(" "))).env("GIT_SSH_VARIANT", "ssh");
        let output = run(&mut git);
        (output.status.success(), report(&git, &output))
    }

    /// ssh, which is told this password by a program.
    fn ssh_with_password(&self, user: &str, password: &str, method: &str) -> Output {
        let askpass = self.sandbox.path("askpass");
        write_program(&askpass, &format!("#!/bin/sh\necho '{password}'\n"));
        let options = [
            format!("PreferredAuthentications={method}"),
            "BatchMode=no".to_owned(),
            "NumberOfPasswordPrompts=1".to_owned(),
            "PubkeyAuthentication=no".to_owned(),
        ];
        let mut command = self.sandbox.command("ssh");
        command.args(self.ssh_words(user, &options)).arg("mule");
        run(command.env("SSH_ASKPASS", askpass).env("SSH_ASKPASS_REQUIRE", "force").env("DISPLAY", "none"))
    }
}

/// `hello NAME (PROOF)…` into the name.
fn greeting(output: &Output) -> Option<String> {
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    said.strip_prefix("hello ").and_then(|rest| rest.split_once(" (")).map(|(name, _)| name.to_owned())
}

#[test]
fn a_certificate_lets_in_whom_it_names() {
    if !has_ssh() {
        return;
    }
    let house = House::with_authority("");
    let ann = house.sign("ann-laptop", "ca", &["-n", "ann", "-z", "7"]);
    assert_eq!(house.greeted("git", &ann).as_deref(), Some("ann"));
    house.server.wait_for("certificate 'ann-laptop' (serial 7) of SHA256:");
    let options = [format!("CertificateFile={}", ann.display())];
    let (seed, url) = (house.sandbox.path("seed"), house.server.url("new"));
    let (success, said) = house.git(&seed, "git", &options, &["push", "-q", &url, "main"]);
    assert!(success, "{said}");
    let (success, said) = house.git(&house.sandbox.path(""), "git", &options, &["clone", "-q", &url, "copy"]);
    assert!(success, "{said}");
    check::same_objects(&house.sandbox, &house.sandbox.path("served/new.git"), &house.sandbox.path("copy"));
    // Of two that it is for, the one that the client says.
    let both = house.sign("both", "ca", &["-n", "ann,bob"]);
    assert_eq!((house.greeted("bob", &both).as_deref(), house.greeted("git", &both)), (Some("bob"), None));
    house.server.wait_for("is for several users (ann, bob)");
    // The key alone is known to nobody.
    assert_eq!(greeting(&house.ssh("git", &[], &[])), None);
}

#[test]
fn a_certificate_that_lacks_anything_lets_in_nobody() {
    if !has_ssh() {
        return;
    }
    let house = House::with_authority("");
    for (name, authority, options, is_let_in) in [
        ("good", "ca", &["-n", "ann", "-V", "-5m:+1h"][..], true),
        ("stranger", "other-ca", &["-n", "ann"], false),
        ("expired", "ca", &["-n", "ann", "-V", "20200101:20200102"], false),
        ("early", "ca", &["-n", "ann", "-V", "20990101:20990102"], false),
        ("host", "ca", &["-h", "-n", "ann"], false),
        ("nobodys", "ca", &[], false),
        ("of-eve", "ca", &["-n", "eve"], false),
        ("from-here", "ca", &["-n", "ann", "-O", "source-address=10.0.0.0/8,127.0.0.0/8"], true),
        ("from-elsewhere", "ca", &["-n", "ann", "-O", "source-address=10.0.0.0/8"], false),
        ("unknown-option", "ca", &["-n", "ann", "-O", "critical:anything@example.com=1"], false),
        ("verified", "ca", &["-n", "ann", "-O", "verify-required"], false),
        ("extended", "ca", &["-n", "ann", "-O", "extension:anything@example.com=1"], true),
    ] {
        let certificate = house.sign(name, authority, options);
        let found = house.greeted("git", &certificate);
        assert_eq!(found.as_deref(), is_let_in.then_some("ann"), "{name}");
    }
    house.server.wait_for("its critical option 'anything@example.com' is not known here");
    house.server.wait_for("it may be used from 10.0.0.0/8, not from 127.0.0.1");
}

#[test]
fn every_kind_of_key_signs_and_is_signed() {
    if !has_ssh() {
        return;
    }
    let kinds = [&["rsa", "-b", "2048"][..], &["ecdsa", "-b", "256"], &["ecdsa", "-b", "521"], &["ed25519"]];
    let sandbox = Sandbox::new();
    let all: Vec<String> = (0..kinds.len())
        .map(|at| {
            std::fs::read_to_string(make_key(&sandbox, &sandbox.path(at.to_string()), kinds[at]).with_extension("pub")).expect("a key")
        })
        .collect();
    let keys: Vec<String> = all.iter().map(|line| format!("{:?}", line.trim())).collect();
    let house = House::start(&format!("{RULES}\n[[certificate_authority]]\nkeys = [{}]\n", keys.join(", ")));
    for authority in 0..kinds.len() {
        let of = (authority + 1) % kinds.len();
        let mut keygen = sandbox.command("ssh-keygen");
        keygen
            .arg("-q")
            .arg("-s")
            .arg(sandbox.path(authority.to_string()))
            .args(["-I", "x", "-n", "ann"])
            .arg(sandbox.path(format!("{of}.pub")));
        let signed = run(&mut keygen);
        assert!(signed.status.success(), "{}", report(&keygen, &signed));
        let options = [("IdentityFile", of.to_string()), ("CertificateFile", format!("{of}-cert.pub"))];
        let options = options.map(|(name, file)| format!("{name}={}", sandbox.path(file).display()));
        assert_eq!(greeting(&house.ssh("git", &options, &[])).as_deref(), Some("ann"), "{:?} by {:?}", kinds[of], kinds[authority]);
    }
    // SHA-1 is no signature, though ssh-keygen still makes it.
    let mut keygen = sandbox.command("ssh-keygen");
    keygen
        .args(["-q", "-t", "ssh-rsa", "-s"])
        .arg(sandbox.path("0"))
        .args(["-I", "x", "-n", "ann"])
        .arg(house.sandbox.path("keys/ann.pub"));
    let signed = run(&mut keygen);
    assert!(signed.status.success(), "{}", report(&keygen, &signed));
    assert_eq!(house.greeted("git", &house.sandbox.path("keys/ann-cert.pub")), None);
    house.server.wait_for("its authority signed it with ssh-rsa, which is not taken");
}

#[test]
fn a_certificate_may_be_for_one_command_only() {
    if !has_ssh() {
        return;
    }
    let house = House::with_authority("");
    let certificate = house.sign("mirror", "ca", &["-n", "ann", "-O", "force-command=git-upload-pack 'plans'"]);
    let options = [format!("CertificateFile={}", certificate.display())];
    for words in [&["git-receive-pack 'plans'"][..], &["ls"], &[]] {
        let output = house.ssh("git", &options, words);
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(said.contains("multi_ack") && !said.contains("report-status") && !said.contains("hello"), "{words:?}: {said}");
    }
    let (seed, url) = (house.sandbox.path("seed"), house.server.url("elsewhere"));
    house.sandbox.commit_file(&seed, "new", "new");
    let (success, said) = house.git(&seed, "git", &options, &["push", &url, "main"]);
    assert!(!success && !house.sandbox.path("served/elsewhere.git").exists(), "{said}");
    let (success, said) = house.git(&seed, "git", &options, &["ls-remote", &url]);
    assert!(success && said.contains("refs/heads/main"), "{said}");
}

#[test]
fn what_an_authority_takes_back_counts_no_more() {
    if !has_ssh() {
        return;
    }
    let house = House::with_authority("users = [\"ann\"]\n");
    let certificate = |serial: &str| house.sign(&format!("ann-{serial}"), "ca", &["-n", "ann", "-z", serial]);
    let (seven, eight, nine) = (certificate("7"), certificate("8"), certificate("9"));
    assert_eq!(house.greeted("git", &seven).as_deref(), Some("ann"));
    std::fs::write(house.sandbox.path("revoked"), "serial: 7\nid: ann-8\n").expect("written");
    house.server.signal("HUP");
    house.server.wait_for("rules read again");
    assert_eq!((house.greeted("git", &seven), house.greeted("git", &eight)), (None, None));
    assert_eq!(house.greeted("git", &nine).as_deref(), Some("ann"));
    // An authority speaks for those it may speak for.
    assert_eq!(house.greeted("bob", &house.sign("bobs", "ca", &["-n", "bob"])), None);
    // A list that cannot be read leaves in force what was.
    std::fs::remove_file(house.sandbox.path("revoked")).expect("removed");
    house.server.signal("HUP");
    house.server.wait_for("the rules that were read before stay in force");
    assert_eq!((house.greeted("git", &seven), house.greeted("git", &nine).as_deref()), (None, Some("ann")));
}

#[test]
fn a_password_lets_in_whoever_has_one_and_is_never_written_down() {
    if !has_ssh() {
        return;
    }
    let house = House::start(&RULES.replace("[users.ann]", &format!("[users.ann]\npassword = \"{HASH}\"")));
    for method in ["password", "keyboard-interactive"] {
        let output = house.ssh_with_password("ann", "canary", method);
        assert_eq!(greeting(&output).as_deref(), Some("ann"), "{method}: {output:?}");
        for (user, password) in [("ann", "canary2"), ("bob", "canary"), ("eve", "canary"), ("git", "canary"), ("ann", "")] {
            let output = house.ssh_with_password(user, password, method);
            assert_eq!((greeting(&output), output.status.code()), (None, Some(255)), "{method} {user} {password}");
        }
    }
    house.server.wait_for("proof=\"password\"");
    assert!(!house.server.said().contains("canary") && !house.server.said().contains(HASH), "{}", house.server.said());
}

#[test]
fn passwords_and_strangers_are_offered_nothing_where_nobody_has_a_password() {
    if !has_ssh() {
        return;
    }
    let house = House::start(RULES);
    let offered = |options: &[String]| {
        let mut command = house.sandbox.command("ssh");
        let output = run(command.args(house.ssh_words("anonymous", options)).args(["-v", "mule"]));
        assert_eq!(greeting(&output), None);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        let line = said.lines().find_map(|line| line.split_once("Authentications that can continue: "));
        line.map(|(_, methods)| methods.trim().to_owned()).unwrap_or(said)
    };
    assert_eq!(offered(&["LogLevel=DEBUG".to_owned()]), "publickey");
    // One that does not listen and tries all the same.
    for method in ["password", "keyboard-interactive"] {
        assert_eq!(greeting(&house.ssh_with_password("ann", "", method)), None);
    }
}

#[test]
fn who_shows_nothing_reads_what_is_open_to_all() {
    if !has_ssh() {
        return;
    }
    let open = "[[rule]]\nusers = [\"anonymous\"]\nrepositories = [\"plans\"]\nallow = [\"read\"]\n";
    let house = House::start(&format!("{RULES}\n{open}"));
    let here = house.sandbox.path("");
    let nothing = ["PubkeyAuthentication=no".to_owned()];
    let url = |name: &str| house.server.url(name);
    let (success, said) = house.git(&here, "anonymous", &nothing, &["clone", "-q", &url("plans"), "copy"]);
    assert!(success, "{said}");
    check::same_objects(&house.sandbox, &house.sandbox.path("served/plans.git"), &house.sandbox.path("copy"));
    let copy = house.sandbox.path("copy");
    house.sandbox.commit_file(&copy, "new", "new");
    let (success, said) = house.git(&copy, "anonymous", &nothing, &["push", &url("plans"), "main"]);
    assert!(!success && said.contains("who pushes says who they are"), "{said}");
    for (user, name) in [("anonymous", "other"), ("git", "plans"), ("ann", "plans")] {
        let (success, said) = house.git(&here, user, &nothing, &["ls-remote", &url(name)]);
        assert!(!success, "{user} {name}: {said}");
    }
    assert_eq!(greeting(&house.ssh("anonymous", &nothing, &[])).as_deref(), Some("anonymous"));
    check::sound(&house.sandbox, &house.sandbox.path("served/plans.git"));
}

#[test]
fn the_ways_of_the_readme_lead_in() {
    if !has_ssh() {
        return;
    }
    let readme = include_str!("../../README.md");
    let (_, from) = readme.split_once("## Ways to log in").expect("the section");
    let block = from.split("```toml\n").nth(1).and_then(|block| block.split("```").next()).expect("a block");
    let (_, options) = block.split_once("ssh-keygen -s ca ").and_then(|(_, rest)| rest.split_once("laptop ")).expect("how to sign");
    let options: Vec<&str> = options.lines().next().expect("a line").split(' ').filter(|word| !word.ends_with(".pub")).collect();
    let config = block.replace("\"ca.pub\"", "\"keys/ca.pub\"").replace("$2y$10$...", HASH).replace("\"website\"", "\"plans\"");
    let house = House::start(&config);
    assert_eq!(house.greeted("git", &house.sign("laptop", "ca", &options)).as_deref(), Some("ann"));
    assert_eq!(greeting(&house.ssh_with_password("ann", "canary", "password")).as_deref(), Some("ann"));
    let nothing = ["PubkeyAuthentication=no".to_owned()];
    let (success, said) = house.git(&house.sandbox.path(""), "anonymous", &nothing, &["clone", "-q", &house.server.url("plans"), "copy"]);
    assert!(success, "{said}");
}
