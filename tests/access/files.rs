//! A folder that GitServerGlue served, served by `packmule serve --files FOLDER`, with real clients.

use crate::common::server::{Server, has_ssh, make_key, write_ssh_config};
use crate::common::{PACKMULE, Sandbox, check, report, run, write_program};
use std::path::{Path, PathBuf};

/// Of `canary`: by `openssl passwd -apr1`, by crypt(3) with bcrypt, SHA-1, SHA-256 and SHA-512 of crypt(3); the last, of `password`, from argon2's own tests.
const HASHES: [(&str, &str); 6] = [
    ("apr", "$apr1$saltsalt$cNZdDqnjzv5AQ91SLlegY."),
    ("bcr", "$2y$04$abcdefghijklmnopqrstuuDID1/tx.qq/9b0XGGVoFA5x6CWhZpGW"),
    ("sha", "{SHA}tH3f1q/SqcODlHyJjVtD/w71Drg="),
    ("five", "$5$saltsalt$Wsx0DawilzAcwjERqUGZc6NYKAijSO2DeJQkFtyUnl6"),
    ("six", "$6$rounds=1000$saltsalt$vVf/CVd/r2I0SXQCAYshaKTTsenLRjcRA4xIp7wI8Zd10vkBJ9Bj9zitHA05OcCZd5YZnhz67AXKd7AjxCR3E."),
    ("argon", "$argon2id$v=19$m=256,t=2,p=1$c29tZXNhbHQ$nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4"),
];

const PERMISSIONS: &str = "[website.git]\nann = rw\nbob = r\nanonymous = r\napr = r\nbcr = r\nsha = r\nfive = r\nsix = rw\nargon = r\ndes = r\n\
                           [plans.git]\nann = rw\ncleo = w\n";

struct House {
    sandbox: Sandbox,
    server: Server,
}

/// Keys of ann, bob and eve, two repositories, and the three files, in `served`.
fn furnish(sandbox: &Sandbox) {
    let key = |name: &str| {
        let path = make_key(sandbox, &sandbox.path("keys").join(name), &["ed25519"]);
        std::fs::read_to_string(path.with_extension("pub")).expect("a key")
    };
    let (ann, bob, _eve) = (key("ann"), key("bob"), key("eve"));
    let seed = sandbox.work_tree("seed", "sha1");
    for name in ["website", "plans"] {
        let bare = sandbox.bare(format!("served/{name}.git"), "sha1");
        sandbox.git(&seed, ["push", "-q", &bare.to_string_lossy(), "main"]);
    }
    let passwords: String = HASHES.iter().map(|(user, hash)| format!("{user}:{hash}\n")).collect();
    write(sandbox, ".htpasswd", &format!("{passwords}des:abJnggxhB/yWI\n"));
    write(sandbox, ".repoperms", PERMISSIONS);
    write(sandbox, ".rsakeys", &format!("ann: {ann}bob: {bob}cleo: {ann}\n"));
}

fn write(sandbox: &Sandbox, name: &str, text: &str) {
    std::fs::write(sandbox.path("served").join(name), text).expect("written");
}

impl House {
    fn start() -> Self {
        let sandbox = Sandbox::new();
        furnish(&sandbox);
        let config = "log = \"trace\"\n[ssh]\nlisten = \"127.0.0.1:0\"\n[ssh.penalties]\nenabled = false\n";
        std::fs::write(sandbox.path("config.toml"), config).expect("written");
        let mut serve = sandbox.command(PACKMULE);
        serve.args(["serve", "--config"]).arg(sandbox.path("config.toml")).arg("--files").arg(sandbox.path("served"));
        let server = Server::start_command(&sandbox, serve, sandbox.path("served"));
        Self { sandbox, server }
    }

    fn url(&self, user: &str, path: &str) -> String {
        format!("ssh://{user}@127.0.0.1:{}/{path}", self.server.port)
    }

    /// git with this key, and whether it worked.
    fn git(&self, folder: &Path, key: &str, words: &[&str]) -> (bool, String) {
        let config = write_ssh_config(&self.sandbox, self.server.port, &self.sandbox.path("keys").join(key));
        self.run(folder, format!("ssh -F {}", config.display()), words)
    }

    /// git that is told the password by a program.
    fn git_with_password(&self, folder: &Path, password: &str, words: &[&str]) -> (bool, String) {
        let config = write_ssh_config(&self.sandbox, self.server.port, &self.sandbox.path("keys/eve"));
        let askpass = self.sandbox.path("askpass");
        write_program(&askpass, &format!("#!/bin/sh\necho '{password}'\n"));
        let options = "-o PubkeyAuthentication=no -o PreferredAuthentications=password -o BatchMode=no -o NumberOfPasswordPrompts=1";
        let environment = format!("SSH_ASKPASS={} SSH_ASKPASS_REQUIRE=force DISPLAY=none", askpass.display());
        self.run(folder, format!("env {environment} ssh -F {} {options}", config.display()), words)
    }

    fn run(&self, folder: &Path, ssh: String, words: &[&str]) -> (bool, String) {
        let mut command = self.sandbox.git_command(folder, words);
        let output = run(command.env("GIT_SSH_COMMAND", ssh));
        (output.status.success(), report(&command, &output))
    }

    fn top(&self) -> PathBuf {
        self.sandbox.path("")
    }
}

#[test]
fn a_folder_of_gitserverglue_is_served_by_one_command() {
    if !has_ssh() {
        return;
    }
    let house = House::start();
    assert!(house.server.said().contains("9 users, 2 repositories in"), "{}", house.server.said());
    let (success, said) = house.git(&house.top(), "ann", &["clone", "-q", &house.url("ann", "website.git"), "copy"]);
    assert!(success, "{said}");
    let copy = house.sandbox.path("copy");
    house.sandbox.commit_file(&copy, "new", "new");
    let (success, said) = house.git(&copy, "ann", &["push", "-q", "origin", "main"]);
    assert!(success, "{said}");
    let served = house.sandbox.path("served/website.git");
    check::sound(&house.sandbox, &served);
    check::same_objects(&house.sandbox, &served, &copy);
    // What GitServerGlue passes over behind the folder's name, and packmule's own spelling.
    for path in ["website.git/info/refs", "/website.git", "website"] {
        let (success, said) = house.git(&house.top(), "bob", &["ls-remote", &house.url("bob", path)]);
        assert!(success && said.contains("refs/heads/main"), "{said}");
    }
    house.server.wait_for("crypt(3)'s DES is not taken");
}

#[test]
fn the_files_refuse_what_they_do_not_give() {
    if !has_ssh() {
        return;
    }
    let house = House::start();
    let seed = house.sandbox.path("seed");
    house.sandbox.commit_file(&seed, "new", "new");
    let before = check::ref_value(&house.sandbox, &house.sandbox.path("served/website.git"), "refs/heads/main");
    for (key, user, path, word, says) in [
        ("bob", "bob", "website.git", "push", "you may read 'website' but not push to it"),
        ("bob", "bob", "plans.git", "push", "no repository \"plans"),
        ("bob", "bob", "plans.git", "ls-remote", "no repository \"plans"),
        ("bob", "bob", "nothing.git", "ls-remote", "no repository \"nothing"),
        ("bob", "bob", "other/website.git", "ls-remote", "no repository"),
        ("ann", "ann", "new.git", "push", "no repository \"new"),
        ("ann", "cleo", "plans.git", "ls-remote", "you may push to 'plans' but not read it"),
        // A key of somebody else's, a name of nobody, a key of nobody.
        ("ann", "bob", "website.git", "ls-remote", "Permission denied"),
        ("ann", "git", "website.git", "ls-remote", "Permission denied"),
        ("eve", "ann", "website.git", "ls-remote", "Permission denied"),
    ] {
        let url = house.url(user, path);
        let words = if word == "push" { vec!["push", url.as_str(), "main"] } else { vec![word, url.as_str()] };
        let (success, said) = house.git(&seed, key, &words);
        assert!(!success && said.contains(says), "{key} {user} {path}: {said}");
    }
    assert_eq!(check::ref_value(&house.sandbox, &house.sandbox.path("served/website.git"), "refs/heads/main"), before);
    assert!(!house.sandbox.path("served/new.git").exists());
    // Who may only write, writes.
    let (success, said) = house.git(&seed, "ann", &["push", "-q", &house.url("cleo", "plans.git"), "main"]);
    assert!(success, "{said}");
    check::sound(&house.sandbox, &house.sandbox.path("served/plans.git"));
}

#[test]
fn every_kind_of_password_leads_in_and_is_never_written_down() {
    if !has_ssh() {
        return;
    }
    let house = House::start();
    for (user, hash) in HASHES {
        let url = house.url(user, "website.git");
        let password = if user == "argon" { "password" } else { "canary" };
        let (success, said) = house.git_with_password(&house.top(), password, &["ls-remote", &url]);
        assert!(success, "{user}: {said}");
        let (success, said) = house.git_with_password(&house.top(), "canard", &["ls-remote", &url]);
        assert!(!success && said.contains("Permission denied"), "{user}: {said}");
        assert!(!house.server.said().contains(hash), "{}", house.server.said());
    }
    for (user, password) in [("des", "canary"), ("nobody", "canary"), ("ann", "canary"), ("apr", "")] {
        let (success, said) = house.git_with_password(&house.top(), password, &["ls-remote", &house.url(user, "website.git")]);
        assert!(!success && said.contains("Permission denied"), "{user}: {said}");
    }
    assert!(!house.server.said().contains("canar"), "{}", house.server.said());
    let seed = house.sandbox.path("seed");
    house.sandbox.commit_file(&seed, "new", "new");
    let (success, said) = house.git_with_password(&seed, "canary", &["push", "-q", &house.url("six", "website.git"), "main"]);
    assert!(success, "{said}");
}

#[test]
fn anonymous_reads_what_is_open_to_all_and_pushes_nothing() {
    if !has_ssh() {
        return;
    }
    let house = House::start();
    let url = house.url("anonymous", "website.git");
    let (success, said) = house.git(&house.top(), "eve", &["clone", "-q", &url, "copy"]);
    assert!(success, "{said}");
    write(&house.sandbox, ".repoperms", &PERMISSIONS.replace("anonymous = r", "anonymous = rw"));
    house.server.signal("HUP");
    house.server.wait_for("files read again");
    house.server.wait_for("'anonymous' may read and nothing else");
    let copy = house.sandbox.path("copy");
    house.sandbox.commit_file(&copy, "new", "new");
    let (success, said) = house.git(&copy, "eve", &["push", &url, "main"]);
    assert!(!success && said.contains("who pushes says who they are"), "{said}");
    let (success, said) = house.git(&copy, "eve", &["ls-remote", &house.url("anonymous", "plans.git")]);
    assert!(!success && said.contains("no repository"), "{said}");
}

#[test]
fn the_files_are_read_again_when_they_change_and_a_broken_one_leaves_what_was() {
    if !has_ssh() {
        return;
    }
    let house = House::start();
    let sees = |key: &str, user: &str, path: &str| house.git(&house.top(), key, &["ls-remote", &house.url(user, path)]).0;
    assert!(!sees("bob", "bob", "plans.git") && sees("bob", "bob", "website.git"));
    // Without a signal: it is looked at from time to time.
    write(&house.sandbox, ".repoperms", &format!("{PERMISSIONS}bob = r\n"));
    house.server.wait_for("files read again");
    assert!(sees("bob", "bob", "plans.git"));
    write(&house.sandbox, ".repoperms", "bob = rw\n");
    house.server.signal("HUP");
    house.server.wait_for("the files that were read before stay in force");
    house.server.wait_for(".repoperms:1: a line stands above the first [section]");
    assert!(sees("bob", "bob", "plans.git"));
    std::fs::remove_file(house.sandbox.path("served/.rsakeys")).expect("removed");
    write(&house.sandbox, ".repoperms", PERMISSIONS);
    house.server.signal("HUP");
    house.server.wait_for(".rsakeys has gone");
    assert!(sees("bob", "bob", "website.git"));
    write(&house.sandbox, ".rsakeys", "");
    house.server.signal("HUP");
    house.server.wait_for("users=6");
    assert!(!sees("bob", "bob", "website.git"));
}

#[test]
fn its_host_key_goes_on_once_it_has_openssh_s_form() {
    if !has_ssh() {
        return;
    }
    let sandbox = Sandbox::new();
    furnish(&sandbox);
    // As Twisted writes it.
    let key = make_key(&sandbox, &sandbox.path("key.pem"), &["rsa", "-b", "2048", "-m", "PEM"]);
    let text = || std::fs::read_to_string(&key).expect("a key");
    assert!(text().starts_with("-----BEGIN RSA PRIVATE KEY-----"));
    let mut turn = sandbox.command("ssh-keygen");
    let turned = run(turn.args(["-q", "-p", "-P", "", "-N", "", "-f"]).arg(&key));
    assert!(turned.status.success() && text().starts_with("-----BEGIN OPENSSH"), "{}", report(&turn, &turned));
    let config = "driver = \"files\"\nroot = \"served\"\n[ssh]\nlisten = \"127.0.0.1:0\"\nhost_key = \"key.pem\"\n";
    std::fs::write(sandbox.path("config.toml"), config).expect("written");
    let mut serve = sandbox.command(PACKMULE);
    serve.args(["serve", "--config"]).arg(sandbox.path("config.toml"));
    let server = Server::start_command(&sandbox, serve, sandbox.path("served"));
    // What a client has kept of it.
    let line = std::fs::read_to_string(key.with_extension("pem.pub")).expect("a key");
    let known = format!("[127.0.0.1]:{} {line}", server.port);
    std::fs::write(sandbox.path(format!("known_hosts_{}", server.port)), known).expect("written");
    let house = House { sandbox, server };
    let config = write_ssh_config(&house.sandbox, house.server.port, &house.sandbox.path("keys/bob"));
    let strict = format!("ssh -F {} -o StrictHostKeyChecking=yes", config.display());
    let (success, said) = house.run(&house.top(), strict, &["ls-remote", &house.url("bob", "website.git")]);
    assert!(success, "{said}");
}

#[test]
fn a_chain_asks_the_files_first_and_the_rules_of_whom_they_do_not_know() {
    if !has_ssh() {
        return;
    }
    let sandbox = Sandbox::new();
    furnish(&sandbox);
    let config = "driver = [\"files\", \"rules\"]\nroot = \"served\"\n[users.eve]\nkey_files = [\"keys/eve.pub\"]\n[users.bob]\n\
                  key_files = [\"keys/bob.pub\"]\n[[rule]]\nusers = [\"eve\", \"bob\"]\nrepositories = [\"plans\"]\nallow = [\"read\"]\n\
                  [ssh]\nlisten = \"127.0.0.1:0\"\nown_keys = false\n";
    std::fs::write(sandbox.path("config.toml"), config).expect("written");
    let mut check = sandbox.command(PACKMULE);
    let checked = run(check.args(["check", "--config"]).arg(sandbox.path("config.toml")));
    let said = report(&check, &checked);
    assert!(
        checked.status.success() && said.contains("2 users with 2 keys, 1 rules") && said.contains("9 users, 2 repositories"),
        "{said}"
    );
    let mut serve = sandbox.command(PACKMULE);
    serve.args(["serve", "--config"]).arg(sandbox.path("config.toml"));
    let server = Server::start_command(&sandbox, serve, sandbox.path("served"));
    let house = House { sandbox, server };
    let sees = |key: &str, user: &str, path: &str| house.git(&house.top(), key, &["ls-remote", &house.url(user, path)]).0;
    // The files know bob, and give him nothing of the plans; the rules are not asked then.
    assert!(sees("bob", "bob", "website.git") && !sees("bob", "bob", "plans.git"));
    // Under another name they do not know his key, and the rules do.
    assert!(sees("bob", "git", "plans.git") && sees("eve", "git", "plans.git") && !sees("eve", "git", "website.git"));
}

#[test]
fn what_no_named_driver_would_read_is_a_fault() {
    let sandbox = Sandbox::new();
    let serve = |config: &str| {
        std::fs::write(sandbox.path("config.toml"), config).expect("written");
        let mut serve = sandbox.command(PACKMULE);
        let output = run(serve.args(["serve", "--config"]).arg(sandbox.path("config.toml")));
        assert_eq!(output.status.code(), Some(2), "{}", report(&serve, &output));
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    let rule = "[users.ann]\n[[rule]]\nusers = [\"ann\"]\nrepositories = [\"*\"]\nallow = [\"read\"]\n";
    for (config, says) in [
        (format!("driver = \"files\"\n{rule}"), "the driver that reads them is not named"),
        ("driver = \"files\"\n[ssh]\nadmin_keys = [\"a.pub\"]\n".to_owned(), "the driver that lets them in is not named"),
        ("driver = \"files\"\n".to_owned(), ".repoperms: No such file"),
        ("driver = \"filez\"\n".to_owned(), "unknown variant `filez`"),
        ("driver = [\"files\", \"files\"]\n".to_owned(), "twice"),
        ("driver = []\n".to_owned(), "nobody may do anything"),
        ("driver = 7\n".to_owned(), "the name of a driver"),
    ] {
        let said = serve(&config);
        assert!(said.contains(says), "{config}: {said}");
    }
}
