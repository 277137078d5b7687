//! Users, groups and rules in `config.toml`: what real clients may do under them, and what the commands say of them.

use crate::common::server::{Server, has_ssh, make_key, write_ssh_config};
use crate::common::{PACKMULE, Sandbox, check, report, run, run_with_input};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Far more than a change of a file takes to be noticed.
const PATIENCE: Duration = Duration::from_secs(60);

const RULES: &str = r#"
[groups]
staff = ["ann", "bob"]

[[rule]]
users = ["bob"]
repositories = ["*"]
refs = ["secret", "other"]
deny = ["read"]

[[rule]]
users = ["@staff"]
repositories = ["plans"]
allow = ["read"]

[[rule]]
users = ["ann"]
repositories = ["*"]
allow = ["read", "write", "rewind", "delete", "create-repository"]

[[rule]]
users = ["@staff"]
repositories = ["plans"]
refs = ["wip/*", "refs/tags/*"]
allow = ["write"]
"#;

/// A server under rules for ann and bob, whose keys lie in a folder; eve has a key that nobody knows.
struct House {
    sandbox: Sandbox,
    server: Server,
}

impl House {
    fn start() -> Self {
        let sandbox = Sandbox::new();
        for name in ["ann", "bob", "eve"] {
            make_key(&sandbox, &sandbox.path("private").join(name), &["ed25519"]);
        }
        std::fs::create_dir(sandbox.path("keys")).expect("a folder");
        for name in ["ann.pub", "bob.pub"] {
            std::fs::copy(sandbox.path("private").join(name), sandbox.path("keys").join(name)).expect("copied");
        }
        write_config(&sandbox, RULES);
        let mut serve = sandbox.command(PACKMULE);
        serve.args(["serve", "--config"]).arg(sandbox.path("config.toml"));
        let server = Server::start_command(&sandbox, serve, sandbox.path("served"));
        let house = Self { sandbox, server };
        let seed = house.sandbox.work_tree("seed", "sha1");
        for branch in ["secret", "release"] {
            house.sandbox.git(&seed, ["checkout", "-q", "-b", branch, "main"]);
            house.sandbox.commit_file(&seed, branch, branch);
        }
        house.sandbox.git(&seed, ["checkout", "-q", "main"]);
        let (pushed, said) = house.git("ann", &seed, &["push", "-q", &house.server.url("plans"), "main", "secret", "release"]);
        assert!(pushed, "{said}");
        house
    }

    /// What `git ARGS`, run by `who`, says, and whether it succeeds.
    fn git(&self, who: &str, folder: &Path, args: &[&str]) -> (bool, String) {
        let config = write_ssh_config(&self.sandbox, self.server.port, &self.sandbox.path("private").join(who));
        let mut command = self.sandbox.git_command(folder, args);
        command.env("GIT_SSH_COMMAND", format!("ssh -F {}", config.display())).env("GIT_SSH_VARIANT", "ssh");
        let output = run(&mut command);
        (output.status.success(), report(&command, &output))
    }

    fn served(&self) -> PathBuf {
        self.sandbox.path("served/plans.git")
    }
}

fn write_config(sandbox: &Sandbox, rules: &str) {
    let settings =
        "root = \"served\"\nkey_folder = \"keys\"\nssh.listen = \"127.0.0.1:0\"\nssh.own_keys = false\nssh.penalties.enabled = false\n";
    std::fs::write(sandbox.path("config.toml"), format!("{settings}{rules}")).expect("written");
}

/// What `packmule ARGS` answers, and its exit code.
fn packmule(sandbox: &Sandbox, args: &[&str]) -> (i32, String) {
    let mut command = sandbox.command(PACKMULE);
    command.args(args);
    let output = run(&mut command);
    let text = [output.stdout, output.stderr].concat();
    (output.status.code().expect("an exit code"), String::from_utf8_lossy(&text).into_owned())
}

#[test]
fn what_init_writes_serves_its_first_user_and_nobody_else_and_is_not_overwritten() {
    if !has_ssh() {
        return;
    }
    let sandbox = Sandbox::new();
    let (own, other) = (sandbox.home().join(".ssh/id_ed25519"), sandbox.path("other"));
    std::fs::create_dir_all(own.parent().expect("a folder")).expect("made");
    for key in [&own, &other] {
        make_key(&sandbox, key, &["ed25519"]);
    }
    let root = sandbox.path("served");
    let root_word = root.display().to_string();
    let (code, said) = packmule(&sandbox, &["init", &root_word]);
    let config = root.join("config.toml");
    let next = format!("try:  packmule serve --config {}\n", config.display());
    assert!(code == 0 && said.contains("~/.ssh/id_ed25519.pub, who may do everything") && said.ends_with(&next), "{said}");
    let (code, said) = packmule(&sandbox, &["check", "--config", &config.display().to_string()]);
    assert!(code == 0 && said.contains("1 users with 1 keys, 1 rules"), "{said}");
    let (before, (code, said)) = (std::fs::read(&config).expect("there"), packmule(&sandbox, &["init", &root_word]));
    assert!(code == 2 && said.contains("nothing was changed"), "{said}");
    assert_eq!(std::fs::read(&config).expect("there"), before);

    let mut serve = sandbox.command(PACKMULE);
    serve.args(["serve", "--ssh", "127.0.0.1:0", "--config"]).arg(&config);
    let server = Server::start_command(&sandbox, serve, root.clone());
    let seed = sandbox.work_tree("seed", "sha1");
    for (key, may) in [(&own, true), (&other, false)] {
        let ssh = write_ssh_config(&sandbox, server.port, key);
        let mut push = sandbox.git_command(&seed, ["push", "-q", &server.url("first"), "HEAD:refs/heads/main"]);
        let output = run(push.env("GIT_SSH_COMMAND", format!("ssh -F {}", ssh.display())).env("GIT_SSH_VARIANT", "ssh"));
        assert_eq!(output.status.success(), may, "{}", report(&push, &output));
    }
    check::sound(&sandbox, &root.join("first.git"));
}

#[test]
fn a_ref_that_somebody_may_not_read_does_not_exist_for_them() {
    if !has_ssh() {
        return;
    }
    let house = House::start();
    let (seed, url) = (house.sandbox.path("seed"), house.server.url("plans"));
    for (who, sees) in [("ann", true), ("bob", false)] {
        let (success, said) = house.git(who, &seed, &["ls-remote", &url]);
        assert!(success && said.contains("refs/heads/release") && said.contains("refs/heads/secret") == sees, "{who}: {said}");
    }
    let (success, said) = house.git("bob", &house.sandbox.path(""), &["clone", "-q", &url, "copy"]);
    assert!(success, "{said}");
    let (copy, secret) = (house.sandbox.path("copy"), house.sandbox.git(&seed, ["rev-parse", "secret"]));
    let has = |what: &str| run(&mut house.sandbox.git_command(&copy, ["cat-file", "-e", what])).status.success();
    assert!(!has(&secret) && has("origin/release"));
    for version in ["0", "2"] {
        let protocol = format!("protocol.version={version}");
        let (success, said) = house.git("bob", &copy, &["-c", &protocol, "fetch", "origin", &secret]);
        assert!(!success && !has(&secret), "{said}");
        let (success, said) =
            house.git("ann", &house.sandbox.path(""), &["-c", &protocol, "clone", "-q", &url, &format!("whole{version}")]);
        assert!(success, "{said}");
    }
    check::same_objects(&house.sandbox, &house.served(), &house.sandbox.path("whole2"));
    let (success, said) = house.git("bob", &copy, &["push", "origin", "main:secret"]);
    assert!(!success && said.contains("remote rejected"), "{said}");
    let (success, said) = house.git("eve", &copy, &["ls-remote", &url]);
    assert!(!success && said.contains("Permission denied"), "{said}");
}

/// What the server says when `who` sends one command and this pack, word by word.
fn push_raw(house: &House, who: &str, new: &str, name: &str, pack: &[u8]) -> String {
    let config = write_ssh_config(&house.sandbox, house.server.port, &house.sandbox.path("private").join(who));
    let line = format!("{} {new} {name}\0report-status", "0".repeat(40));
    let request = [format!("{:04x}{line}0000", line.len() + 4).as_bytes(), pack].concat();
    let mut command = house.sandbox.command("ssh");
    command.arg("-F").arg(config).args(["mule", "git-receive-pack 'plans'"]);
    let output = run_with_input(&mut command, &request);
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn with_trailer(mut pack: Vec<u8>) -> Vec<u8> {
    let mut hasher = gix_hash::hasher(gix_hash::Kind::Sha1);
    hasher.update(&pack);
    pack.extend_from_slice(hasher.try_finalize().expect("no collision").as_slice());
    pack
}

#[test]
fn nothing_hidden_can_be_had_by_pushing_to_it() {
    if !has_ssh() {
        return;
    }
    let house = House::start();
    let (served, url) = (house.served(), house.server.url("plans"));
    let id = |what: &str| house.sandbox.git(&served, ["rev-parse", what]);
    let empty = with_trailer(b"PACK\0\0\0\x02\0\0\0\0".to_vec());
    // Ann sees everything, and so may name what is there; what bob sees he may name, too.
    for (who, what, name, is_taken) in [
        ("bob", "secret", "refs/heads/wip/commit", false),
        ("bob", "secret:secret", "refs/tags/blob", false),
        ("bob", "secret^{tree}", "refs/tags/tree", false),
        ("bob", "release", "refs/heads/wip/seen", true),
        ("bob", "main^{tree}", "refs/tags/seen", true),
        ("ann", "secret", "refs/heads/other", true),
    ] {
        let said = push_raw(&house, who, &id(what), name, &empty);
        let expected = if is_taken { format!("ok {name}") } else { format!("ng {name} missing necessary objects") };
        assert!(said.contains(&expected), "{who} {what}: {said}");
    }
    // A delta that copies the whole of a base which is not sent, and a letter more.
    let (secret, size) = (id("secret:secret"), house.sandbox.git(&served, ["cat-file", "-s", "secret:secret"]));
    let size: u8 = size.parse().expect("a small file");
    let mut pack = b"PACK\0\0\0\x02\0\0\0\x01".to_vec();
    let delta = [size, size + 1, 0x90, size, 1, b'x'];
    packmule::pack::write_entry_header(7, delta.len() as u64, &mut pack);
    pack.extend_from_slice(gix_hash::ObjectId::from_hex(secret.as_bytes()).expect("an id").as_slice());
    packmule::pack::Deflater::new(1).whole(&delta, &mut pack).expect("into memory");
    let pack = with_trailer(pack);
    let bytes = [house.sandbox.git(&served, ["cat-file", "blob", "secret:secret"]).into_bytes(), b"x".to_vec()].concat();
    for (who, is_taken) in [("bob", false), ("ann", true)] {
        let made = gix_object::compute_hash(gix_hash::Kind::Sha1, gix_object::Kind::Blob, &bytes).expect("no collision").to_string();
        let said = push_raw(&house, who, &made, &format!("refs/tags/{who}"), &pack);
        assert_eq!(said.contains("unpack ok"), is_taken, "{who}: {said}");
    }
    // Whoever sends the bytes has them: that is no way to learn anything.
    let (all, bob) = (house.sandbox.path("all"), house.sandbox.path("bob"));
    assert!(house.git("ann", &house.sandbox.path(""), &["clone", "-q", &url, "all"]).0);
    assert!(house.git("bob", &house.sandbox.path(""), &["clone", "-q", &url, "bob"]).0);
    house.sandbox.git(&bob, ["fetch", "-q", &all.to_string_lossy(), "origin/secret:mine"]);
    let (success, said) = house.git("bob", &bob, &["push", "origin", "mine:refs/heads/wip/mine"]);
    assert!(success, "{said}");
    house.sandbox.git(&served, ["fsck", "--strict"]);
}

#[test]
fn each_edit_is_judged_by_what_it_does() {
    if !has_ssh() {
        return;
    }
    let house = House::start();
    let (bob, url) = (house.sandbox.path("bob"), house.server.url("plans"));
    let (success, said) = house.git("bob", &house.sandbox.path(""), &["clone", "-q", &url, "bob"]);
    assert!(success, "{said}");
    house.sandbox.commit_file(&bob, "one", "one");
    let push = |who: &str, refspecs: &[&str]| house.git(who, &bob, &[&["push", "origin"], refspecs].concat());
    let (success, said) = push("bob", &["HEAD:refs/heads/wip/a", "HEAD:refs/tags/v1", "+HEAD:release"]);
    assert!(!success, "{said}");
    assert!(said.contains("[new branch]") && said.contains("[new tag]"), "only the one is refused: {said}");
    assert!(said.contains("you may not rewind it: no rule lets you"), "{said}");
    house.sandbox.commit_file(&bob, "two", "two");
    for (refspecs, words) in [
        (&["HEAD~2:refs/heads/wip/a", "-f"][..], "you may not rewind it: no rule lets you"),
        (&["HEAD:refs/tags/v1", "-f"][..], "you may not rewind it: no rule lets you"),
        (&[":refs/heads/wip/a"][..], "you may not delete it: no rule lets you"),
        (&["HEAD:refs/heads/main"][..], "you may not update it: no rule lets you"),
        (&["--atomic", "HEAD:refs/heads/wip/b", "HEAD:refs/heads/main"][..], "atomic"),
    ] {
        let (success, said) = push("bob", refspecs);
        assert_eq!(success, words.is_empty(), "{refspecs:?}: {said}");
        assert!(said.contains(words), "{refspecs:?}: {said}");
    }
    let there = house.sandbox.git(&house.served(), ["for-each-ref", "--format=%(refname)"]);
    assert!(!there.contains("wip/b") && there.contains("wip/a"), "{there}");
    let (success, said) = push("ann", &[":refs/heads/wip/a", "+HEAD:release", "+HEAD:refs/tags/v1"]);
    assert!(success, "{said}");
    house.sandbox.git(&house.served(), ["fsck", "--strict"]);
}

#[test]
fn repositories_are_made_by_whom_a_rule_lets_and_hidden_from_others() {
    if !has_ssh() {
        return;
    }
    let house = House::start();
    let seed = house.sandbox.path("seed");
    let (success, said) = house.git("bob", &seed, &["push", &house.server.url("new"), "main"]);
    assert!(!success && said.contains("no repository \"new\" here"), "{said}");
    let (success, said) = house.git("ann", &seed, &["push", &house.server.url("new"), "main"]);
    assert!(success, "{said}");
    let hears = |name: &str| {
        let (success, said) = house.git("bob", &seed, &["ls-remote", &house.server.url(name)]);
        assert!(!success, "{said}");
        said.split("fatal: ").last().map(|sentence| sentence.replace(name, "it"))
    };
    assert_eq!(hears("new"), hears("gone"), "what is there and what is not look alike");
}

#[test]
fn who_makes_a_repository_owns_it_and_gives_roles() {
    if !has_ssh() {
        return;
    }
    let readme = include_str!("../../README.md");
    let (_, from) = readme.split_once("### Repositories that users make").expect("the section");
    let rules = from.split("```toml\n").nth(1).and_then(|block| block.split("```").next()).expect("a block");
    let house = House::start();
    write_config(&house.sandbox, &format!("[groups]\nstaff = [\"ann\", \"bob\"]\n{rules}"));
    house.server.signal("HUP");
    house.server.wait_for("rules read again");
    let (seed, url) = (house.sandbox.path("seed"), house.server.url("home/bob/notes"));
    let push = |who: &str, url: &str, refspec: &str| house.git(who, &seed, &["push", url, refspec]);
    let (success, said) = push("ann", &url, "main");
    assert!(!success && said.contains("no repository"), "{said}");
    assert!(push("bob", &url, "main").0);
    let folder = house.sandbox.path("served/home/bob/notes.git");
    assert_eq!(std::fs::read_to_string(folder.join("packmule.access")).expect("there from the start"), "creator = \"bob\"\n");
    assert!(!push("bob", &house.server.url("home/ann/x"), "main").0, "beneath another's name");
    let ls = |who: &str| house.git(who, &seed, &["ls-remote", &url]).0;
    assert!(ls("bob") && !ls("ann"));
    std::fs::write(folder.join("packmule.access"), "creator = \"bob\"\n[roles]\nwriters = [\"ann\"]\n").expect("written");
    assert!(push("ann", &url, "main:refs/heads/users/ann/x").0, "counts from the next command on");
    let (success, said) = push("ann", &url, "main:refs/heads/users/bob/x");
    assert!(!success && said.contains("no rule lets you"), "{said}");
    for (question, code) in [
        ("ann home/bob/notes users/ann/y create", 0),
        ("ann home/bob/notes users/bob/y create", 1),
        ("ann home/bob/other users/ann/y read", 1),
        ("bob home/bob/other create-repository", 0),
        ("ann home/bob/other create-repository", 1),
    ] {
        let words: Vec<_> = ["why"].into_iter().chain(question.split(' ')).collect();
        let (answered, said) = packmule(&house.sandbox, &words);
        assert_eq!(answered, code, "{question}: {said}");
    }
    std::fs::write(folder.join("packmule.access"), "creator = \n").expect("written");
    assert!(!ls("bob") && !ls("ann"), "what cannot be read means no");
}

#[test]
fn rules_are_read_again_and_a_mistake_leaves_those_that_were() {
    if !has_ssh() {
        return;
    }
    let house = House::start();
    let (seed, url) = (house.sandbox.path("seed"), house.server.url("plans"));
    let may = |who: &str| house.git(who, &seed, &["ls-remote", &url]).0;
    assert!(may("bob"));
    write_config(&house.sandbox, "[[rule]]\nusers = [\"ann\"]\nrepositories = [\"*\"]\nallow = [\"reed\"]\n");
    house.server.signal("HUP");
    house.server.wait_for("the rules that were read before stay in force");
    assert!(house.server.said().contains("'reed' is nothing that one may do") && may("bob"));
    // Noticed without a signal, too.
    write_config(&house.sandbox, "[[rule]]\nusers = [\"ann\"]\nrepositories = [\"*\"]\nallow = [\"read\"]\n");
    let begun = Instant::now();
    while may("bob") {
        assert!(begun.elapsed() < PATIENCE, "{}", house.server.said());
    }
    assert!(may("ann"));
    std::fs::copy(house.sandbox.path("private/eve.pub"), house.sandbox.path("keys/eve.pub")).expect("copied");
    write_config(&house.sandbox, "[[rule]]\nusers = [\"eve\"]\nrepositories = [\"*\"]\nallow = [\"read\"]\n");
    while !may("eve") {
        assert!(begun.elapsed() < PATIENCE * 2, "{}", house.server.said());
    }
    assert!(!may("ann"));
}

#[test]
fn a_key_that_is_taken_away_is_of_no_use_to_an_open_connection() {
    if !has_ssh() {
        return;
    }
    let house = House::start();
    let config = write_ssh_config(&house.sandbox, house.server.port, &house.sandbox.path("private/bob"));
    // One connection for all commands, which ends with its first one's shell, at the latest after half a minute.
    let socket = house.sandbox.path("mux");
    let ssh = format!("ssh -F {} -o ControlMaster=auto -o ControlPersist=30 -o ControlPath={}", config.display(), socket.display());
    let look = || {
        let mut command = house.sandbox.git_command(&house.sandbox.path("seed"), ["ls-remote", &house.server.url("plans")]);
        let output = run(command.env("GIT_SSH_COMMAND", &ssh).env("GIT_SSH_VARIANT", "ssh"));
        (output.status.success(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    assert!(look().0 && look().0);
    assert_eq!(house.server.said().matches("logged in").count(), 2, "ann's, and one of bob's for both commands");
    std::fs::copy(house.sandbox.path("private/eve.pub"), house.sandbox.path("keys/bob.pub")).expect("bob has another key now");
    house.server.signal("HUP");
    house.server.wait_for("rules read again");
    let (success, said) = look();
    let mut greeting = house.sandbox.command("ssh");
    greeting.arg("-F").arg(&config).arg("-o").arg(format!("ControlPath={}", socket.display())).args(["-T", "mule"]);
    let greeted = run(&mut greeting);
    let mut end = house.sandbox.command("ssh");
    run(end.arg("-F").arg(&config).arg("-o").arg(format!("ControlPath={}", socket.display())).args(["-O", "exit", "127.0.0.1"]));
    assert!(!success && said.contains("you are not known here any more"), "{said}");
    let refused = String::from_utf8_lossy(&greeted.stderr).contains("you are not known here any more");
    assert!(refused && greeted.stdout.is_empty(), "{}", report(&greeting, &greeted));
}

#[test]
fn mistakes_are_drawn_all_at_once() {
    let sandbox = Sandbox::new();
    std::fs::create_dir(sandbox.path("keys")).expect("a folder");
    write_config(&sandbox, "[[rule]]\nusers = [\"ann\"]\nrepositories = [\"a[\"]\nallow = [\"read\"]\n");
    let (code, said) = packmule(&sandbox, &["check"]);
    assert_eq!(code, 2, "{said}");
    assert_eq!(
        said,
        "error: there is no user 'ann'
 --> config.toml:7:10
  |
7 | users = [\"ann\"]
  |          ^^^^^
hint: [users.NAME] makes one
error: 'a[': unclosed character class; missing ']'
 --> config.toml:8:17
  |
8 | repositories = [\"a[\"]
  |                 ^^^^
"
    );
    write_config(&sandbox, "[users.ann]\n[[rule]]\nusers = [\"ann\"]\nrepositories = [\"a\"]\nallow = [\"read\"]\n");
    assert_eq!(packmule(&sandbox, &["check"]), (0, "config.toml is right: 1 users with 0 keys, 1 rules\n".to_owned()));
}

#[test]
fn why_names_the_rule_and_what_would_change_it() {
    let sandbox = Sandbox::new();
    std::fs::create_dir(sandbox.path("keys")).expect("a folder");
    write_config(&sandbox, &format!("[users.ann]\n[users.bob]\n{RULES}"));
    assert_eq!(packmule(&sandbox, &["why", "bob", "plans", "main", "read"]), (0, "yes: rule 2 (config.toml:18)\n".to_owned()));
    let (code, said) = packmule(&sandbox, &["why", "bob", "plans", "secret", "read"]);
    assert_eq!(
        (code, said.as_str()),
        (
            1,
            "no: rule 1 (config.toml:12)
this would allow it, before that rule in config.toml:

[[rule]]
users = [\"bob\"]
repositories = [\"plans\"]
refs = [\"refs/heads/secret\"]
allow = [\"read\"]

or: packmule grant bob plans read --ref refs/heads/secret
"
        )
    );
    let (code, said) = packmule(&sandbox, &["why", "bob", "plans", "main", "write"]);
    assert!(code == 1 && said.ends_with("\nor: packmule grant bob plans write --ref refs/heads/main\n"), "{said}");
    let grant = said.rsplit("or: packmule ").next().expect("a command").trim();
    assert_eq!(packmule(&sandbox, &grant.split(' ').collect::<Vec<_>>()).0, 0, "{grant}");
    assert_eq!(packmule(&sandbox, &["why", "bob", "plans", "main", "write"]).0, 0);
    let (code, said) = packmule(&sandbox, &["why", "bob", "new", "create-repository"]);
    assert!(code == 1 && said.starts_with("no: no rule is about it\n"), "{said}");
    let (code, said) = packmule(&sandbox, &["why", "eve", "new", "read"]);
    assert!(code == 2 && said.contains("no user 'eve'"), "{said}");
}

#[test]
fn the_rules_of_the_readme_are_right() {
    if !has_ssh() {
        return;
    }
    let sandbox = Sandbox::new();
    for name in ["ann", "bob"] {
        make_key(&sandbox, &sandbox.path("keys").join(name), &["ed25519"]);
    }
    let readme = include_str!("../../README.md");
    let (_, from) = readme.split_once("## Who may do what").expect("the section");
    let block = from.split("```toml\n").nth(1).and_then(|block| block.split("```").next()).expect("a block");
    std::fs::write(sandbox.path("config.toml"), block).expect("written");
    assert_eq!(packmule(&sandbox, &["check"]), (0, "config.toml is right: 2 users with 2 keys, 3 rules\n".to_owned()));
    for (question, code) in [
        ("ann libs/x main update", 0),
        ("bob libs/x main update", 0),
        ("bob libs/x main rewind", 1),
        ("bob proj-7 secret/a/b read", 1),
        ("ann elsewhere refs/tags/v1 delete", 0),
        ("bob elsewhere read", 1),
    ] {
        let words: Vec<_> = ["why"].into_iter().chain(question.split(' ')).collect();
        assert_eq!(packmule(&sandbox, &words).0, code, "{question}");
    }
}
