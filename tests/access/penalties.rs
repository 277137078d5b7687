//! Failed logins and what they cost: OpenSSH's clients from several addresses of the loopback network against `packmule serve`.

use crate::common::server::{Server, has_ssh, make_key, write_ssh_config};
use crate::common::{PACKMULE, Sandbox, run, write_program};
use std::process::Output;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Two failures earn the longest penalty: none of these tests outlasts it.
const HARD: &str = "auth_failed_s = 4000\nmin_s = 5000\nmax_s = 6000\n";

/// Of the password `canary-password`, by crypt(3).
const HASH: &str = "$2b$04$abcdefghijklmnopqrstuuag0.YlF7tv7WKWN7rgqJ5KkJ9XU2wny";

struct House {
    sandbox: Sandbox,
    server: Server,
}

impl House {
    /// A server that knows ann and bob by their keys and a password, and not eve, mallory and trudy by theirs.
    fn start(limits: &str, penalties: &str) -> Self {
        let sandbox = Sandbox::new();
        for name in ["ann", "bob", "eve", "mallory", "trudy"] {
            make_key(&sandbox, &sandbox.path("keys").join(name), &["ed25519"]);
        }
        std::fs::create_dir(sandbox.path("served")).expect("a root");
        let ssh = format!(
            "root = \"served\"\n[ssh]\nlisten = \"127.0.0.1:0\"\nown_keys = false\n[ssh.limits]\n{limits}\n[ssh.penalties]\n{penalties}\n"
        );
        let user = |name: &str| format!("[users.{name}]\nkey_files = [\"keys/{name}.pub\"]\npassword = \"{HASH}\"\n");
        let rules = "[[rule]]\nusers = [\"*\"]\nrepositories = [\"*\"]\nallow = [\"read\"]\n";
        std::fs::write(sandbox.path("config.toml"), [ssh, user("ann"), user("bob"), rules.to_owned()].concat()).expect("written");
        let mut serve = sandbox.command(PACKMULE);
        serve.args(["serve", "--config"]).arg(sandbox.path("config.toml"));
        let server = Server::start_command(&sandbox, serve, sandbox.path("served"));
        let house = Self { sandbox, server };
        // Made before many clients use them at once.
        for name in ["ann", "bob", "eve", "trudy"] {
            house.ssh_config(name);
        }
        house
    }

    fn ssh_config(&self, key: &str) -> std::path::PathBuf {
        let path = self.sandbox.path(format!("ssh_config_of_{key}"));
        if !path.exists() {
            std::fs::rename(write_ssh_config(&self.sandbox, self.server.port, &self.sandbox.path("keys").join(key)), &path).expect("moved");
        }
        path
    }

    fn ssh_from(&self, address: &str, key: &str, more: &[String]) -> Output {
        let mut ssh = self.sandbox.command("ssh");
        run(ssh.arg("-F").arg(self.ssh_config(key)).args(more).args(["-b", address, "mule"]))
    }

    /// Whether this key lets in who comes from there.
    fn lets_in(&self, address: &str, key: &str) -> bool {
        let output = self.ssh_from(address, key, &[]);
        String::from_utf8_lossy(&output.stdout).starts_with(&format!("hello {key} ("))
    }

    fn lets_in_with_password(&self, address: &str, user: &str, password: &str) -> bool {
        let askpass = self.sandbox.path("askpass");
        write_program(&askpass, &format!("#!/bin/sh\necho '{password}'\n"));
        let options = ["PreferredAuthentications=password", "BatchMode=no", "NumberOfPasswordPrompts=1", "PubkeyAuthentication=no"];
        let options = options.iter().flat_map(|option| ["-o", option]);
        let mut ssh = self.sandbox.command("ssh");
        ssh.arg("-F").arg(self.ssh_config("trudy")).args(options).args(["-b", address, "-l", user, "mule"]);
        let output = run(ssh.env("SSH_ASKPASS", askpass).env("SSH_ASKPASS_REQUIRE", "force").env("DISPLAY", "none"));
        String::from_utf8_lossy(&output.stdout).starts_with(&format!("hello {user} ("))
    }

    fn fingerprint(&self, key: &str) -> String {
        let mut keygen = self.sandbox.command("ssh-keygen");
        let output = run(keygen.arg("-lf").arg(self.sandbox.path("keys").join(format!("{key}.pub"))));
        String::from_utf8_lossy(&output.stdout).split(' ').nth(1).expect("a fingerprint").to_owned()
    }

    /// The line that says that bob's key was not heard from 127.0.0.2.
    fn wait_for_refusal_of_bob(&self) {
        let why = "verdict=\"penalty\" why=\"127.0.0.2 has a penalty of ";
        self.server.wait_for(&format!("claims=\"git\" proof=\"{}\" {why}", self.fingerprint("bob")));
    }
}

#[test]
fn a_flood_from_one_address_keeps_out_nobody_but_strangers_from_there() {
    if !has_ssh() {
        return;
    }
    let house = House::start("", HARD);
    assert!(house.lets_in("127.0.0.2", "ann"));
    let left = AtomicUsize::new(60);
    std::thread::scope(|scope| {
        for _ in 0..6 {
            scope.spawn(|| {
                while left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_ok() {
                    assert!(!house.lets_in("127.0.0.2", "eve"));
                }
            });
        }
        house.server.wait_for("penalty begins");
        assert!(house.lets_in("127.0.0.3", "ann") && house.lets_in("127.0.0.3", "bob"), "from elsewhere");
        assert!(house.lets_in("127.0.0.2", "ann"), "it got in from there before");
        assert!(!house.lets_in("127.0.0.2", "bob"), "it did not");
        house.wait_for_refusal_of_bob();
    });
    assert!(house.lets_in("127.0.0.2", "ann") && !house.lets_in("127.0.0.2", "bob"));
    assert!(house.lets_in("127.0.0.3", "bob"));
    // Neither was this bought with lines for the log without an end.
    assert!(house.server.said().lines().count() < 250, "{}", house.server.said());
}

#[test]
fn a_stranger_is_refused_where_nobody_ever_got_in_and_the_log_says_why() {
    if !has_ssh() {
        return;
    }
    let house = House::start("", HARD);
    assert!(!house.lets_in("127.0.0.2", "eve") && !house.lets_in("127.0.0.2", "eve"));
    house.server.wait_for("penalty begins");
    house.server.wait_for("of=\"127.0.0.2\" seconds=6000");
    assert!(!house.lets_in("127.0.0.2", "bob"));
    house.wait_for_refusal_of_bob();
    assert!(house.lets_in("127.0.0.3", "bob"));
    // Strangers from there come two at a time, the others are not even heard.
    std::thread::scope(|scope| {
        for _ in 0..6 {
            scope.spawn(|| assert!((0..5).all(|_| !house.lets_in("127.0.0.2", "eve"))));
        }
    });
    house.server.wait_for("connection refused peer=127.0.0.2:");
    assert!(house.lets_in("127.0.0.3", "bob"));
}

#[test]
fn a_user_whose_password_is_guessed_is_not_locked_out_where_they_are() {
    if !has_ssh() {
        return;
    }
    let house = House::start("", HARD);
    assert!(house.lets_in_with_password("127.0.0.5", "ann", "canary-password"));
    // Each from an address of its own, none of which is penalised for one failure.
    for address in ["127.0.0.2", "127.0.0.3"] {
        assert!(!house.lets_in_with_password(address, "ann", "guess"));
    }
    house.server.wait_for("of=\"user ann\" seconds=6000");
    assert!(!house.lets_in_with_password("127.0.0.4", "ann", "canary-password"));
    house.server.wait_for("proof=\"password\" verdict=\"penalty\" why=\"this user has a penalty of ");
    assert!(house.lets_in_with_password("127.0.0.5", "ann", "canary-password"), "it got in from there before");
    assert!(house.lets_in("127.0.0.4", "ann") && house.lets_in_with_password("127.0.0.6", "bob", "canary-password"));
    assert!(!house.server.said().contains("canary"));
}

#[test]
fn an_address_that_is_exempt_pays_nothing() {
    if !has_ssh() {
        return;
    }
    let house = House::start("", &format!("{HARD}exempt = [\"127.0.0.2/31\"]\n"));
    for address in ["127.0.0.2", "127.0.0.4"] {
        assert!((0..3).all(|_| !house.lets_in(address, "eve")));
    }
    house.server.wait_for("of=\"127.0.0.4\"");
    assert!(house.lets_in("127.0.0.2", "bob") && !house.lets_in("127.0.0.4", "bob"));
    assert!(!house.server.said().contains("of=\"127.0.0.2\""));
}

#[test]
fn a_client_may_try_so_many_keys() {
    if !has_ssh() {
        return;
    }
    for (attempts, is_let_in) in [(2, false), (3, true)] {
        let house = House::start(&format!("auth_attempts_max = {attempts}"), "enabled = false");
        let keys = ["eve", "mallory", "bob"].map(|key| format!("-oIdentityFile={}", house.sandbox.path("keys").join(key).display()));
        let output = house.ssh_from("127.0.0.1", "trudy", &keys);
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        // The configuration's own key comes behind those of the command line.
        assert_eq!(said.starts_with("hello bob ("), is_let_in, "{attempts}: {output:?}");
    }
}
