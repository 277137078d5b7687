//! An embedder's program: a driver of its own decides who somebody is, where a repository lies, and what may happen to each ref.

use crate::common::server::{has_ssh, make_key, write_ssh_config};
use crate::common::{Sandbox, check, report, run};
use packmule::access::{
    Authentication, BoxError, Chain, Command, Credentials, Decision, Door, Driver, Grant, Keys, Location, Place, PublicKey, PushProposal,
    RefRules, Refusal, RequestPath, Transport, UserId,
};
use packmule::serve::{ProposedEdit, Verdict};
use packmule::store::Repositories;
use packmule::transport::{HostKey, Server};
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

/// Ann may do everything; Bob does not see `refs/heads/secret` and may not push to `refs/heads/main`; nobody else is known.
struct House {
    keys: Vec<(PublicKey, &'static str)>,
    folder: PathBuf,
}

struct Member {
    name: String,
}

struct Rules {
    is_ann: bool,
}

impl Driver for House {
    type User = Member;

    async fn authenticate(&self, credentials: &Credentials) -> Result<Authentication, BoxError> {
        let Credentials::PublicKey(proof) = credentials else { return Ok(Authentication::Unknown) };
        let known = self.keys.iter().find(|(key, _)| *key == proof.key);
        Ok(known.map_or(Authentication::Unknown, |(_, name)| Authentication::Accepted(UserId::new(*name))))
    }

    async fn user(&self, id: &UserId) -> Result<Member, BoxError> {
        Ok(Member { name: id.as_str().to_owned() })
    }

    async fn authorise(&self, user: &Member, _: Command, path: &RequestPath, _: &Transport) -> Result<Decision, BoxError> {
        Ok(match path.name()?.as_str() {
            "shared/plans" => Decision::Granted(Grant::new(Rules { is_ann: user.name == "ann" })),
            "private" if user.name != "ann" => Decision::Refused(Refusal::told("only ann may look at private").because_of("rule 7")),
            _ => Decision::Refused(Refusal::hidden("no rule")),
        })
    }

    async fn locate(&self, path: &RequestPath, _: &Transport) -> Result<Location, BoxError> {
        assert_eq!(path.name()?.as_str(), "shared/plans", "asked only for what was granted");
        Ok(Location::Place(Place::at(self.folder.join("somewhere/else.git"))))
    }
}

impl RefRules for Rules {
    fn may_read(&self, name: &bstr::BStr) -> bool {
        self.is_ann || name != "refs/heads/secret"
    }

    async fn judge(&self, push: &PushProposal) -> Result<Vec<Verdict>, BoxError> {
        let verdict = |edit: &ProposedEdit| match (self.is_ann, edit.name == "refs/heads/main") {
            (false, true) => Verdict::Refuse("bob may not write main".to_owned()),
            _ => Verdict::Allow,
        };
        Ok(push.edits.iter().map(verdict).collect())
    }
}

/// The program at work, and its clients.
struct Household {
    sandbox: Sandbox,
    repository: PathBuf,
    port: u16,
    _runtime: tokio::runtime::Runtime,
}

impl Household {
    /// Serve a repository with `main`, `open` and `secret` to ann and bob.
    fn start() -> Self {
        Self::start_with(|keys, sandbox| Door::new(House { keys, folder: sandbox.path("") }))
    }

    /// Likewise, with the door that is made of the keys of ann and bob.
    fn start_with(make: impl FnOnce(Vec<(PublicKey, &'static str)>, &Sandbox) -> Door) -> Self {
        let sandbox = Sandbox::new();
        let repository = sandbox.bare("somewhere/else.git", "sha1");
        let seed = sandbox.work_tree("seed", "sha1");
        for branch in ["open", "secret"] {
            sandbox.git(&seed, ["checkout", "-q", "-b", branch, "main"]);
            sandbox.commit_file(&seed, branch, branch);
        }
        sandbox.git(&seed, ["push", "-q", &repository.to_string_lossy(), "main", "open", "secret"]);
        let keys = ["ann", "bob"].map(|name| {
            let file = make_key(&sandbox, &sandbox.path("keys").join(name), &["ed25519"]).with_extension("pub");
            (PublicKey::from_openssh(&std::fs::read_to_string(file).expect("a key")).expect("a key"), name)
        });
        make_key(&sandbox, &sandbox.path("keys/eve"), &["ed25519"]);
        let door = make(keys.into(), &sandbox);
        let runtime = tokio::runtime::Runtime::new().expect("a runtime");
        let bound = Server::builder().door(door).host_key(HostKey::generate().expect("a key")).bind("127.0.0.1:0");
        let server = runtime.block_on(bound).expect("a port");
        let port = server.local_addr().port();
        runtime.spawn(server.serve(std::future::pending()));
        Self { sandbox, repository, port, _runtime: runtime }
    }

    fn url(&self, name: &str) -> String {
        format!("ssh://127.0.0.1:{}/{name}", self.port)
    }

    /// What `git ARGS`, run by `who`, says, and whether it succeeds.
    fn git(&self, who: &str, folder: &Path, protocol: u8, args: &[&str]) -> (bool, String) {
        let config = write_ssh_config(&self.sandbox, self.port, &self.sandbox.path("keys").join(who));
        let mut command = self.sandbox.git_command(folder, ["-c", &format!("protocol.version={protocol}")]);
        command.args(args).env("GIT_SSH_COMMAND", format!("ssh -F {}", config.display())).env("GIT_SSH_VARIANT", "ssh");
        let output = run(&mut command);
        (output.status.success(), report(&command, &output))
    }
}

#[test]
fn the_driver_decides_who_somebody_is() {
    if has_ssh() {
        let house = Household::start();
        for (who, known) in [("ann", true), ("bob", true), ("eve", false)] {
            let (success, said) = house.git(who, &house.sandbox.path(""), 2, &["ls-remote", &house.url("shared/plans")]);
            assert_eq!(success, known, "{who}: {said}");
        }
    }
}

#[test]
fn the_driver_decides_where_a_repository_lies_and_whether_it_is_there_at_all() {
    if has_ssh() {
        let house = Household::start();
        let home = house.sandbox.path("");
        let (success, said) = house.git("ann", &home, 2, &["clone", "-q", &house.url("shared/plans.git"), "copy"]);
        assert!(success, "{said}");
        check::same_objects(&house.sandbox, &house.repository, &house.sandbox.path("copy"));
        for path in ["somewhere/else", "elsewhere"] {
            let (success, said) = house.git("bob", &home, 2, &["ls-remote", &house.url(path)]);
            assert!(!success && said.contains(&format!("remote error: no repository \"{path}\" here")), "{said}");
        }
        let (success, said) = house.git("bob", &home, 2, &["ls-remote", &house.url("private")]);
        assert!(!success && said.contains("remote error: only ann may look at private") && said.contains("rule 7"), "{said}");
    }
}

#[test]
fn a_hidden_branch_does_not_exist_for_whom_it_is_hidden_from() {
    if !has_ssh() {
        return;
    }
    let house = Household::start();
    let sandbox = &house.sandbox;
    let secret = sandbox.git(&house.repository, ["rev-parse", "secret"]);
    let blob = sandbox.git(&house.repository, ["rev-parse", "secret:secret"]);
    for protocol in [2, 0] {
        let listed = |who| house.git(who, &sandbox.path(""), protocol, &["ls-remote", &house.url("shared/plans")]).1;
        assert!(listed("ann").contains("refs/heads/secret"));
        assert!(!listed("bob").contains("secret") && listed("bob").contains("refs/heads/open"), "{}", listed("bob"));
        let copy = format!("copy{protocol}");
        let (success, said) =
            house.git("bob", &sandbox.path(""), protocol, &["clone", "-q", "--mirror", &house.url("shared/plans"), &copy]);
        assert!(success, "{said}");
        let copy = sandbox.path(copy);
        assert!(!check::packed(sandbox, &copy).contains(&secret) && !check::reachable(sandbox, &copy).contains(&secret));
        for hidden in [&secret, &blob, &"1".repeat(40)] {
            let (success, said) = house.git("bob", &copy, protocol, &["fetch", "-q", &house.url("shared/plans"), hidden]);
            assert!(!success && said.contains(&format!("not our ref {hidden}")), "{said}");
        }
        // What is hidden and what is not there answer alike whatever else is asked for; git asks in order of ids.
        let absent = "f".repeat(40);
        for first in [&secret, &"1".repeat(40)] {
            let said = house.git("bob", &copy, protocol, &["fetch", "-q", &house.url("shared/plans"), &absent, first]).1;
            assert!(said.contains(&format!("not our ref {first}")), "{said}");
        }
        let (success, said) = house.git("ann", &copy, protocol, &["fetch", "-q", &house.url("shared/plans"), &secret]);
        assert!(success, "{said}");
    }
}

#[test]
fn a_branch_is_closed_to_one_and_open_to_another() {
    if !has_ssh() {
        return;
    }
    let house = Household::start();
    let sandbox = &house.sandbox;
    let url = house.url("shared/plans");
    let (success, said) = house.git("bob", &sandbox.path(""), 2, &["clone", "-q", &url, "bobs"]);
    assert!(success, "{said}");
    let bobs = sandbox.path("bobs");
    let before = check::ref_value(sandbox, &house.repository, "refs/heads/main");
    let tip = sandbox.commit_file(&bobs, "bob", "bob\n");
    let (success, said) = house.git("bob", &bobs, 2, &["push", &url, "main", "main:refs/heads/bob"]);
    assert!(!success && said.contains("! [remote rejected] main -> main (bob may not write main)"), "{said}");
    assert_eq!(check::ref_value(sandbox, &house.repository, "refs/heads/main"), before);
    assert_eq!(check::ref_value(sandbox, &house.repository, "refs/heads/bob"), tip);
    let (success, said) = house.git("bob", &bobs, 2, &["push", "--force", &url, "main:refs/heads/secret"]);
    assert!(!success && said.contains("[remote rejected]"), "{said}");
    let (success, said) = house.git("ann", &bobs, 2, &["push", &url, "main"]);
    assert!(success, "{said}");
    assert_eq!(check::ref_value(sandbox, &house.repository, "refs/heads/main"), tip);
    check::sound(sandbox, &house.repository);
}

/// A forge: people's repositories are rows of a table, `/OWNER/NAME` is no place on the disk, and teams change while it runs.
struct Forge {
    keys: Vec<(PublicKey, &'static str)>,
    /// `owner/name`, with the number under which its objects are kept.
    rows: HashMap<&'static str, u32>,
    teams: Arc<Mutex<HashMap<String, Vec<&'static str>>>>,
    folder: PathBuf,
}

/// A person with their teams of this moment.
struct Person {
    name: String,
    teams: Vec<&'static str>,
}

/// The owner does as they like, the team `release` moves `release/*`, everybody else reads.
struct Branches {
    is_owner: bool,
    is_release: bool,
}

impl Driver for Forge {
    type User = Person;

    async fn authenticate(&self, credentials: &Credentials) -> Result<Authentication, BoxError> {
        let Credentials::PublicKey(proof) = credentials else { return Ok(Authentication::Unknown) };
        assert!(proof.key.fingerprint_md5().starts_with("MD5:") && proof.user_name == "git");
        let known = self.keys.iter().find(|(key, _)| *key == proof.key);
        Ok(known.map_or(Authentication::Unknown, |(_, name)| Authentication::Accepted(UserId::new(*name))))
    }

    async fn user(&self, id: &UserId) -> Result<Person, BoxError> {
        let teams = self.teams.lock().map_err(|_| "the table of teams is lost")?;
        Ok(Person { name: id.as_str().to_owned(), teams: teams.get(id.as_str()).cloned().unwrap_or_default() })
    }

    async fn authorise(&self, user: &Person, _: Command, path: &RequestPath, transport: &Transport) -> Result<Decision, BoxError> {
        assert!(transport.is_encrypted() && transport.peer_ip().is_some_and(|ip| ip.is_loopback()));
        let name = path.name()?;
        if !self.rows.contains_key(name.as_str()) {
            return Ok(Decision::Refused(Refusal::hidden("no such row")));
        }
        let is_owner = name.as_str().starts_with(&format!("{}/", user.name));
        Ok(Decision::Granted(Grant::new(Branches { is_owner, is_release: user.teams.contains(&"release") })))
    }

    async fn locate(&self, path: &RequestPath, _: &Transport) -> Result<Location, BoxError> {
        let row = self.rows.get(path.name()?.as_str());
        Ok(row.map_or(Location::NotFound, |number| Location::Place(Place::at(self.folder.join(format!("{number}.git"))))))
    }
}

impl RefRules for Branches {
    fn may_read(&self, _: &bstr::BStr) -> bool {
        true
    }

    async fn judge(&self, push: &PushProposal) -> Result<Vec<Verdict>, BoxError> {
        let may = |edit: &ProposedEdit| self.is_owner || self.is_release && edit.name.starts_with(b"refs/heads/release/");
        let verdict = |edit| if may(edit) { Verdict::Allow } else { Verdict::Refuse("only the owner may".to_owned()) };
        Ok(push.edits.iter().map(verdict).collect())
    }
}

#[test]
fn paths_may_be_names_in_a_table_and_teams_may_change_while_it_runs() {
    if !has_ssh() {
        return;
    }
    let teams = Arc::new(Mutex::new(HashMap::new()));
    let of_driver = teams.clone();
    let house = Household::start_with(|keys, sandbox| {
        for number in [17, 23] {
            sandbox.bare(format!("storage/{number}.git"), "sha1");
        }
        Door::new(Forge { keys, rows: [("ann/x", 17), ("bob/x", 23)].into(), teams: of_driver, folder: sandbox.path("storage") })
    });
    let (sandbox, seed) = (&house.sandbox, house.sandbox.path("seed"));
    let stored = |number: u32| sandbox.path(format!("storage/{number}.git"));
    let push = |who, path: &str, refspec| house.git(who, &seed, 2, &["push", &house.url(path), refspec]);
    let (success, said) = push("ann", "ann/x.git", "main");
    assert!(success, "{said}");
    // One name, two owners, two repositories.
    let main = sandbox.git(&seed, ["rev-parse", "main"]);
    let value = |number| check::ref_value(sandbox, &stored(number), "refs/heads/main");
    assert_eq!((value(17), value(23)), (main, String::new()));
    let (success, said) = push("bob", "ann/x", "main:refs/heads/release/1");
    assert!(!success && said.contains("(only the owner may)"), "{said}");
    teams.lock().expect("no panic").insert("bob".to_owned(), vec!["release"]);
    let (success, said) = push("bob", "/ann/x", "main:refs/heads/release/1");
    assert!(success, "{said}");
    let (success, said) = push("bob", "ann/x", "open:refs/heads/main");
    assert!(!success && said.contains("(only the owner may)"), "{said}");
    for path in ["17", "storage/17", "ann/y", "ann"] {
        let (success, said) = house.git("ann", &seed, 2, &["ls-remote", &house.url(path)]);
        assert!(!success && said.contains(&format!("no repository \"{path}\" here")), "{said}");
    }
    let (success, said) = house.git("bob", &sandbox.path(""), 0, &["clone", "-q", &house.url("ann/x"), "copy"]);
    assert!(success, "{said}");
    check::same_objects(sandbox, &stored(17), &sandbox.path("copy"));
    check::sound(sandbox, &stored(17));
}

#[test]
fn of_two_drivers_in_a_row_each_has_people_and_paths_of_its_own() {
    if !has_ssh() {
        return;
    }
    let house = Household::start_with(|keys, sandbox| {
        let root = sandbox.path("of-keys");
        std::fs::create_dir(&root).expect("a root");
        let [(ann, _), (bob, _)] = &keys[..] else { panic!("ann and bob") };
        let repositories = Arc::new(Repositories::open(&root).expect("a root"));
        let (first, ann) = (Keys::new(repositories).allow(bob.clone(), UserId::new("bob")), ann.clone());
        // The second knows both, but bob never gets there.
        Chain::new().then(first).then(House { keys: vec![(ann, "ann"), (bob.clone(), "ann")], folder: sandbox.path("") }).into()
    });
    let (sandbox, seed) = (&house.sandbox, house.sandbox.path("seed"));
    let (success, said) = house.git("bob", &seed, 2, &["push", &house.url("private"), "main"]);
    assert!(success && sandbox.path("of-keys/private.git").exists(), "{said}");
    let (success, said) = house.git("ann", &seed, 2, &["ls-remote", &house.url("private")]);
    assert!(!success && said.contains("no repository \"private\" here"), "{said}");
    let (success, said) = house.git("ann", &seed, 2, &["ls-remote", &house.url("shared/plans")]);
    assert!(success && said.contains("refs/heads/secret"), "{said}");
    let (success, said) = house.git("bob", &seed, 2, &["ls-remote", &house.url("shared/plans")]);
    assert!(!success && said.contains("no repository \"shared/plans\" here"), "{said}");
    let (success, said) = house.git("eve", &seed, 2, &["ls-remote", &house.url("private")]);
    assert!(!success && said.contains("Permission denied"), "{said}");
}
