//! The commands that edit `config.toml`, and a server that follows what they write.

use crate::common::server::{Server, has_ssh, make_key, write_ssh_config};
use crate::common::{PACKMULE, Sandbox, report, run, run_with_input, write_program};
use std::path::Path;
use std::process::Output;
use std::time::{Duration, Instant};

/// Far more than a change of a file takes to be noticed.
const PATIENCE: Duration = Duration::from_secs(60);

const CONFIG: &str = r#"# ours
root = "served"
ssh.listen = "127.0.0.1:0"
ssh.own_keys = false
ssh.penalties.enabled = false

[users.ann]
key_files = ["private/ann.pub"] # the first

# the first may do everything
[[rule]]
users = ["ann"]
repositories = ["*"]
allow = ["read", "write", "rewind", "delete", "create-repository"]
"#;

struct House {
    sandbox: Sandbox,
    server: Server,
}

impl House {
    fn start() -> Self {
        let sandbox = Sandbox::new();
        for name in ["ann", "bob"] {
            make_key(&sandbox, &sandbox.path("private").join(name), &["ed25519"]);
        }
        std::fs::write(sandbox.path("config.toml"), CONFIG).expect("written");
        let mut serve = sandbox.command(PACKMULE);
        serve.args(["serve", "--config"]).arg(sandbox.path("config.toml"));
        let server = Server::start_command(&sandbox, serve, sandbox.path("served"));
        let house = Self { sandbox, server };
        let seed = house.sandbox.work_tree("seed", "sha1");
        let (pushed, said) = house.git("ann", &seed, &["push", "-q", &house.server.url("website"), "main"]);
        assert!(pushed, "{said}");
        house
    }

    fn git(&self, who: &str, folder: &Path, args: &[&str]) -> (bool, String) {
        let config = write_ssh_config(&self.sandbox, self.server.port, &self.sandbox.path("private").join(who));
        let mut command = self.sandbox.git_command(folder, args);
        command.env("GIT_SSH_COMMAND", format!("ssh -F {}", config.display())).env("GIT_SSH_VARIANT", "ssh");
        let output = run(&mut command);
        (output.status.success(), report(&command, &output))
    }

    /// Wait until the server has read the rules once more than now, after `change`.
    fn after_reload<T>(&self, change: impl FnOnce() -> T) -> T {
        let readings = || self.server.said().matches("rules read again").count();
        let (before, begun) = (readings(), Instant::now());
        let answer = change();
        self.server.signal("HUP");
        while readings() == before {
            assert!(begun.elapsed() < PATIENCE, "{}", self.server.said());
            std::thread::sleep(Duration::from_millis(20));
        }
        answer
    }

    fn text(&self) -> String {
        std::fs::read_to_string(self.sandbox.path("config.toml")).expect("there")
    }
}

fn code_and_words(output: &Output) -> (i32, String) {
    let text = [&output.stdout[..], &output.stderr].concat();
    (output.status.code().expect("an exit code"), String::from_utf8_lossy(&text).into_owned())
}

/// What `packmule ARGS` answers, and its exit code.
fn packmule(sandbox: &Sandbox, args: &[&str]) -> (i32, String) {
    code_and_words(&run(sandbox.command(PACKMULE).args(args)))
}

#[test]
fn a_key_a_right_and_their_end_are_each_one_command_on_a_running_server() {
    if !has_ssh() {
        return;
    }
    let house = House::start();
    let (sandbox, seed, url) = (&house.sandbox, house.sandbox.path("seed"), house.server.url("website"));
    let may_read = || house.git("bob", &seed, &["ls-remote", &url]).0;
    let may_push = |branch: &str| house.git("bob", &seed, &["push", "-q", &url, &format!("main:{branch}")]).0;
    assert!(!may_read());

    let (code, said) = house.after_reload(|| packmule(sandbox, &["keys", "add", "bob", "private/bob.pub"]));
    assert!(code == 0 && said.contains("added (config.toml:12)") && said.contains("bob is new here"), "{said}");
    assert!(!may_read(), "known, and allowed nothing");
    let (code, said) = house.after_reload(|| packmule(sandbox, &["grant", "bob", "website", "write", "--ref", "feature/*"]));
    assert!(code == 0 && said.contains("rule 2 (config.toml:"), "{said}");
    assert!(!may_push("main2") && may_push("feature/x"));
    assert_eq!(packmule(sandbox, &["why", "bob", "website", "feature/y", "create"]).0, 0);

    let back = said.split("to take it back: packmule ").nth(1).expect("the way back").trim().replace('\'', "");
    let (code, said) = house.after_reload(|| packmule(sandbox, &back.split(' ').collect::<Vec<_>>()));
    assert!(code == 0, "{said}");
    assert!(!may_push("feature/z"));
    let listed = packmule(sandbox, &["keys", "list", "bob"]).1;
    let fingerprint = listed.split(' ').nth(1).expect("a fingerprint");
    let (code, said) = house.after_reload(|| packmule(sandbox, &["keys", "remove", "bob", fingerprint]));
    assert!(code == 0 && said.contains("bob has no key left"), "{said}");
    assert!(!may_read());
    assert_eq!(house.text().replace("\n[users.bob]\n", ""), CONFIG, "nothing else has changed");
    assert!(house.git("ann", &seed, &["ls-remote", &url]).0);
}

#[test]
fn a_password_is_set_from_standard_input_and_lets_in() {
    if !has_ssh() {
        return;
    }
    let house = House::start();
    let set = |word: &[u8]| code_and_words(&run_with_input(house.sandbox.command(PACKMULE).args(["users", "password", "ann"]), word));
    let (code, said) = house.after_reload(|| set(b"canary 1\n"));
    assert!(code == 0 && !said.contains("canary") && !house.text().contains("canary"), "{said}");
    assert!(house.text().contains("[\"private/ann.pub\"] # the first\npassword = \"$argon2id$v=19$m=19456,t=2,p=1$"), "{}", house.text());
    assert!(set(b"\n").1.contains("an empty password is none"));
    let askpass = house.sandbox.path("askpass");
    write_program(&askpass, "#!/bin/sh\necho 'canary 1'\n");
    let config = write_ssh_config(&house.sandbox, house.server.port, &house.sandbox.path("private/bob"));
    let mut ssh = house.sandbox.command("ssh");
    ssh.arg("-F").arg(config).args(["-l", "ann", "-o", "BatchMode=no", "-o", "PubkeyAuthentication=no", "mule"]);
    let output = run(ssh.env("SSH_ASKPASS", askpass).env("SSH_ASKPASS_REQUIRE", "force").env("DISPLAY", "none"));
    assert!(String::from_utf8_lossy(&output.stdout).starts_with("hello ann ("), "{}", report(&ssh, &output));
    assert!(packmule(&house.sandbox, &["users"]).1.starts_with("ann: 1 key, a password\n"));
}

#[test]
fn a_private_key_is_not_taken_and_nothing_is_written_that_check_would_not_pass() {
    if !has_ssh() {
        return;
    }
    let sandbox = Sandbox::new();
    let key = make_key(&sandbox, &sandbox.path("bob"), &["ed25519"]);
    let config = "ssh.own_keys = false\n[users.ann]\n";
    std::fs::write(sandbox.path("config.toml"), config).expect("written");
    let private = std::fs::read_to_string(&key).expect("a key");
    let (code, said) = packmule(&sandbox, &["keys", "add", "bob", "bob"]);
    assert!(code == 2 && said.contains("this is a private key") && !said.contains(private.lines().nth(1).expect("a line")), "{said}");
    let (code, said) = packmule(&sandbox, &["users", "add", "b/b"]);
    assert!(code == 2 && said.contains("'b/b' is no name") && said.contains("nothing was changed"), "{said}");
    assert_eq!(std::fs::read_to_string(sandbox.path("config.toml")).expect("there"), config);
    // From standard input, and to another file.
    let public = std::fs::read(key.with_extension("pub")).expect("a key");
    let (code, said) = code_and_words(&run_with_input(sandbox.command(PACKMULE).args(["keys", "add", "bob"]), &public));
    assert!(code == 0 && said.contains("bob: SHA256:"), "{said}");
    let (code, said) = packmule(&sandbox, &["keys", "list", "--config", "other.toml"]);
    assert!(code == 2 && said.contains("other.toml"), "{said}");
    let (code, said) = packmule(&sandbox, &["users", "remove", "--config", "other.toml", "bob"]);
    assert!(code == 2 && said.contains("packmule init makes one"), "{said}");
}

#[test]
fn tests_of_rules_end_as_a_script_wants() {
    let sandbox = Sandbox::new();
    let rules = "[[rule]]\nusers = [\"bob\"]\nrepositories = [\"website\"]\nallow = [\"read\"]\n";
    let test = "[[test]]\nuser = \"bob\"\nrepository = \"website\"\ncan = [\"read\"]\ncannot = [\"write\"]\n";
    let write = |test: &str| {
        std::fs::write(sandbox.path("config.toml"), format!("ssh.own_keys = false\n[users.bob]\n{rules}{test}")).expect("written");
    };
    write(test);
    assert_eq!(packmule(&sandbox, &["rules", "test"]), (0, "config.toml: 2 assertions, 0 fail\n".to_owned()));
    let (code, said) = packmule(&sandbox, &["grant", "bob", "website", "write"]);
    assert!(code == 0 && said.contains("rule 1 (config.toml:3)"), "{said}");
    let (code, said) = packmule(&sandbox, &["rules", "test"]);
    assert!(code == 1 && said.starts_with("config.toml:11: bob can create in website, and should not: rule 1 (config.toml:3)\n"), "{said}");
    write(&test.replace("bob", "eve"));
    let (code, said) = packmule(&sandbox, &["rules", "test", "--config", "config.toml"]);
    assert!(code == 2 && said.contains("there is no user 'eve'\n --> config.toml:8:8"), "{said}");
}

#[test]
fn why_knows_whose_own_key_may_do_everything() {
    if !has_ssh() {
        return;
    }
    let sandbox = Sandbox::new();
    make_key(&sandbox, &sandbox.home().join(".ssh/id_ed25519"), &["ed25519"]);
    let (code, said) = packmule(&sandbox, &["why", "ann", "website", "main", "rewind"]);
    assert!(
        code == 0 && said.starts_with("yes: the key SHA256:") && said.ends_with("(~/.ssh/id_ed25519.pub) may do everything\n"),
        "{said}"
    );
    let (code, said) = packmule(&sandbox, &["why", "bob", "website", "read"]);
    assert!(code == 2 && said.contains("by their keys may do everything: ann"), "{said}");
    std::fs::write(sandbox.path("config.toml"), "[users.ann]\n").expect("written");
    let (code, said) = packmule(&sandbox, &["why", "ann", "website", "read"]);
    assert!(code == 1 && said.starts_with("no: no rule is about it\nwith the key SHA256:") && said.contains("'ann (admin)'"), "{said}");
    std::fs::write(sandbox.path("config.toml"), "ssh.own_keys = false\n[users.bob]\n").expect("written");
    assert_eq!(packmule(&sandbox, &["why", "ann", "website", "read"]).0, 2);
}

#[test]
fn a_key_that_was_taken_back_lets_in_nobody_while_it_still_stands_among_the_users() {
    if !has_ssh() {
        return;
    }
    let house = House::start();
    let (sandbox, seed, url) = (&house.sandbox, house.sandbox.path("seed"), house.server.url("website"));
    make_key(sandbox, &sandbox.path("private/ca"), &["ed25519"]);
    std::fs::write(sandbox.path("spec"), format!("key: {}", std::fs::read_to_string(sandbox.path("private/ann.pub")).expect("a key")))
        .expect("written");
    let made = run(sandbox.command("ssh-keygen").args(["-q", "-k", "-f", "revoked", "spec"]));
    assert!(made.status.success());
    assert!(house.git("ann", &seed, &["ls-remote", &url]).0);
    let authority = "\n[[certificate_authority]]\nkey_files = [\"private/ca.pub\"]\nrevoked = \"revoked\"\n";
    house.after_reload(|| std::fs::write(sandbox.path("config.toml"), format!("{CONFIG}{authority}")).expect("written"));
    assert!(!house.git("ann", &seed, &["ls-remote", &url]).0);
    house.server.wait_for("was revoked");
    // Of a list that is cut off nothing counts, and what was read before does.
    let whole = std::fs::read(sandbox.path("revoked")).expect("a list");
    for wrong in [&whole[..whole.len() - 1], b"", &[&whole[..], b"x"].concat()] {
        std::fs::write(sandbox.path("revoked"), wrong).expect("written");
        assert_eq!(packmule(sandbox, &["check"]).0, 2);
    }
    house.server.signal("HUP");
    house.server.wait_for("the rules that were read before stay in force");
    assert!(!house.git("ann", &seed, &["ls-remote", &url]).0);
}
