//! What is said over SSH besides git: who may see and do what with whole repositories, with a real client.

use crate::common::server::{Server, has_ssh, make_key, write_ssh_config};
use crate::common::{PACKMULE, Sandbox, check, report, run};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(60);

/// ann administers what lies beneath `team` and makes `own/…`, bob reads one of these but for a branch, eve is known and may do nothing.
const RULES: &str = r#"
[[rule]]
users = ["bob"]
repositories = ["team/plans"]
refs = ["secret"]
deny = ["read"]
[[rule]]
users = ["bob"]
repositories = ["team/plans"]
allow = ["read"]
[[rule]]
users = ["ann"]
repositories = ["team/*"]
allow = ["read", "write", "rewind", "delete", "create-repository", "admin"]
[[rule]]
users = ["ann"]
repositories = ["own/*"]
allow = ["read", "write", "create-repository"]
"#;

struct House {
    sandbox: Sandbox,
    server: Server,
    seed: PathBuf,
}

impl House {
    fn start() -> Self {
        Self::start_with("")
    }

    /// A server with `team/plans`, and `hidden`, which only root may see; root is who started it.
    fn start_with(settings: &str) -> Self {
        Self::start_with_rules(settings, "")
    }

    fn start_with_rules(settings: &str, more_rules: &str) -> Self {
        let sandbox = Sandbox::new();
        for name in ["ann", "bob", "eve", "root"] {
            make_key(&sandbox, &sandbox.path("private").join(name), &["ed25519"]);
        }
        std::fs::create_dir(sandbox.path("keys")).expect("a folder");
        for name in ["ann.pub", "bob.pub", "eve.pub"] {
            std::fs::copy(sandbox.path("private").join(name), sandbox.path("keys").join(name)).expect("copied");
        }
        let head = "root = \"served\"\nkey_folder = \"keys\"\nssh.listen = \"127.0.0.1:0\"\nssh.own_keys = false\n\
                    ssh.admin_keys = [\"private/root.pub\"]\naudit.file = \"audit.log\"\n";
        std::fs::write(sandbox.path("config.toml"), format!("{head}{settings}{RULES}{more_rules}")).expect("written");
        std::fs::create_dir(sandbox.path("served")).expect("a root");
        let seed = sandbox.work_tree("seed", "sha1");
        sandbox.commit_file(&seed, "first", "1");
        for name in ["team/plans", "hidden"] {
            let bare = sandbox.bare(format!("served/{name}.git"), "sha1");
            sandbox.git(&seed, ["push", "-q", &bare.to_string_lossy(), "main", "main:secret"]);
        }
        let server = Self::serve(&sandbox);
        Self { sandbox, server, seed }
    }

    fn serve(sandbox: &Sandbox) -> Server {
        let mut serve = sandbox.command(PACKMULE);
        serve.args(["serve", "--config"]).arg(sandbox.path("config.toml"));
        Server::start_command(sandbox, serve, sandbox.path("served"))
    }

    fn config(&self, who: &str) -> PathBuf {
        write_ssh_config(&self.sandbox, self.server.port, &self.sandbox.path("private").join(who))
    }

    /// Exit status, standard output and standard error of `ssh mule LINE` as `who`.
    fn ssh(&self, who: &str, line: &str) -> (i32, String, String) {
        let mut command = self.sandbox.command("ssh");
        let output = run(command.arg("-F").arg(self.config(who)).arg("mule").arg(line));
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (output.status.code().expect("an exit status"), text(&output.stdout), text(&output.stderr))
    }

    /// What `ssh mule LINE` prints, where it must succeed.
    #[track_caller]
    fn says(&self, who: &str, line: &str) -> String {
        let (status, said, error) = self.ssh(who, line);
        assert_eq!((status, error.as_str()), (0, ""), "{who}: {line}: {said}");
        said
    }

    /// The sentence with which `ssh mule LINE` is refused.
    #[track_caller]
    fn refuses(&self, who: &str, line: &str) -> String {
        let (status, said, error) = self.ssh(who, line);
        assert!(status != 0 && said.is_empty() && error.starts_with("packmule: "), "{who}: {line}: {status} {said:?} {error:?}");
        error
    }

    fn git(&self, who: &str, folder: &Path, args: &[&str]) -> (bool, String) {
        let mut command = self.sandbox.git_command(folder, args);
        command.env("GIT_SSH_COMMAND", format!("ssh -F {}", self.config(who).display())).env("GIT_SSH_VARIANT", "ssh");
        let output = run(&mut command);
        (output.status.success(), report(&command, &output))
    }

    fn served(&self, name: &str) -> PathBuf {
        self.sandbox.path("served").join(name)
    }
}

#[test]
fn info_shows_what_one_may_see_and_nothing_else() {
    if !has_ssh() {
        return;
    }
    let house = House::start();
    assert_eq!(house.says("root", "info"), "R W  hidden\nR W  team/plans\n");
    assert_eq!(house.says("ann", "info"), "R W  team/plans\n");
    assert_eq!(house.says("bob", "info"), "R    team/plans\n");
    assert_eq!(house.says("eve", "info"), "");
    assert_eq!(house.says("bob", "info --json"), "[{\"name\":\"team/plans\",\"read\":true,\"write\":false}]\n");
    assert_eq!(house.says("eve", "info --json"), "[]\n");
    assert_eq!(house.says("ann", "list"), "team/plans\n");
    assert_eq!(house.says("bob", "list"), "");
    assert_eq!(house.says("root", "list --json"), "[{\"name\":\"hidden\"},\n{\"name\":\"team/plans\"}]\n");
    assert!(house.says("eve", "help").contains("create REPOSITORY"));
    assert!(house.refuses("eve", "lsit").contains("'ssh HOST help' tells of"));
    assert!(house.refuses("ann", "create").contains("exactly this is taken: ssh HOST create REPOSITORY"));
}

#[test]
fn why_tells_the_rule_and_no_more_than_one_may_know() {
    if !has_ssh() {
        return;
    }
    let house = House::start();
    assert_eq!(house.says("bob", "why team/plans main read"), "yes: rule 2 (config.toml:13)\n");
    let no = |who: &str, line: &str| {
        let (status, said, error) = house.ssh(who, line);
        assert_eq!((status, error.as_str()), (1, ""), "{line}");
        said
    };
    assert_eq!(no("bob", "why team/plans secret read"), "no: no rule is about it\n");
    assert_eq!(no("ann", "why --user bob team/plans secret read"), "no: rule 1 (config.toml:8)\n");
    assert!(house.refuses("bob", "why --user ann team/plans read").contains("who administer"));
    // One that is there and one that is not sound alike.
    let [there, absent] = ["hidden", "absent"].map(|name| house.refuses("bob", &format!("why {name} read")).replace(name, "NAME"));
    assert_eq!(there, absent);
    assert!(there.starts_with("packmule: no repository \"NAME\" here, or bob may not see it"), "{there}");
}

#[test]
fn repositories_are_made_renamed_deleted_and_taken_back_by_who_may() {
    if !has_ssh() {
        return;
    }
    let house = House::start();
    assert_eq!(house.says("ann", "create team/new"), "created team/new\n");
    assert_eq!(house.says("ann", "create own/mine --sha256"), "created own/mine\n");
    assert_eq!(house.sandbox.git(&house.served("own/mine.git"), ["rev-parse", "--show-object-format"]), "sha256");
    let url = house.server.url("team/new");
    let (pushed, said) = house.git("ann", &house.seed, &["push", "-q", &url, "main"]);
    assert!(pushed, "{said}");
    assert_eq!(house.says("ann", "rename team/new 'team/it'\\''s a name'"), "renamed team/new to team/it's a name\n");
    check::sound(&house.sandbox, &house.served("team/it's a name.git"));
    let (found, said) = house.git("ann", &house.seed, &["ls-remote", &url]);
    assert!(!found && said.contains("no repository \"team/new\" here"), "{said}");
    assert!(house.says("ann", "delete \"team/plans\"".replace('"', "'").as_str()).starts_with("deleted team/plans;"));
    assert!(!house.served("team/plans.git").exists());
    assert_eq!(house.says("ann", "info"), "R W  own/mine\nR W  team/it's a name\n", "at once, whatever list is kept");
    let trash = house.says("ann", "trash");
    assert!(trash.ends_with("Z  team/plans  (deleted by ann)\n") && trash.lines().count() == 1, "{trash}");
    assert!(house.says("root", "trash --json").contains("\"name\":\"team/plans\",\"deleted\":\"20"));
    assert_eq!(house.says("bob", "trash"), "");
    assert!(house.says("ann", "restore /team/plans.git").starts_with("restored team/plans, deleted 20"));
    check::sound(&house.sandbox, &house.served("team/plans.git"));
    assert_eq!(house.says("ann", "trash"), "");
    assert!(house.refuses("ann", "restore team/plans").contains("no team/plans in the trash"));
    assert!(house.refuses("ann", "create team/plans").contains("there already"));
    assert!(house.refuses("ann", "rename team/plans 'team/it'\\''s a name'").contains("there already"));
    assert!(house.refuses("ann", "create team/plans.git/inside").contains("must not end in .git"));
    // Who makes one does not administer it.
    assert!(house.refuses("ann", "delete own/mine").contains("you may read 'own/mine' but not delete it"));
    assert!(house.refuses("ann", "rename team/plans own2/x").contains("no repository \"own2/x\" here"));
    for line in ["delete team/plans", "rename team/plans team/x", "restore team/plans", "create team/plans"] {
        assert!(house.refuses("bob", line).contains("you may read 'team/plans' but not"), "{line}");
    }
    // What is not theirs is not there.
    for line in ["delete NAME", "rename NAME x", "restore NAME", "create NAME"] {
        let [there, absent] = ["hidden", "absent"].map(|name| house.refuses("ann", &line.replace("NAME", name)).replace(name, "NAME"));
        assert_eq!(there, absent, "{line}");
        assert!(house.served("hidden.git").exists() && !house.served("absent.git").exists());
    }
    for name in ["../x", "team/../x", "/team//x", "team/.git", "team/x.git/y", ".packmule/x", "team/a\\b"] {
        house.refuses("ann", &format!("create '{name}'"));
        house.refuses("root", &format!("create '{name}'"));
    }
    let tops: Vec<_> = std::fs::read_dir(house.served("")).expect("a root").map(|entry| entry.expect("an entry").file_name()).collect();
    assert_eq!(tops.len(), 4, "{tops:?}");
}

/// What ann makes beneath `home` is hers, and others have there what she gives them.
const WILD: &str = r#"
[[rule]]
users = ["ann", "bob"]
repositories = ["home/<creator>/*"]
allow = ["create-repository"]
[[rule]]
users = ["<creator>"]
repositories = ["home/*"]
allow = ["read", "write", "rewind", "delete", "admin"]
[[rule]]
users = ["<writers>"]
repositories = ["home/*"]
allow = ["read", "write"]
"#;

#[test]
fn roles_are_given_and_taken_by_the_creator_and_administrators() {
    if !has_ssh() {
        return;
    }
    let house = House::start_with_rules("", WILD);
    house.says("ann", "create home/ann/x");
    assert_eq!(house.says("ann", "perms home/ann/x"), "creator ann\n");
    let may_push = |who: &str| house.git(who, &house.seed, &["push", "-q", &house.server.url("home/ann/x"), "main"]).0;
    assert!(!may_push("bob"));
    assert!(house.refuses("bob", "perms home/ann/x + writers bob").contains("no repository \"home/ann/x\" here"));
    assert_eq!(house.says("ann", "perms home/ann/x + WRITERS bob"), "creator ann\nwriters bob\n");
    assert_eq!(house.says("bob", "info"), "R W  home/ann/x\nR    team/plans\n");
    assert!(may_push("bob"));
    assert!(house.refuses("bob", "perms home/ann/x + writers eve").contains("you may read 'home/ann/x' but not administer it"));
    assert!(house.refuses("bob", "delete home/ann/x").contains("but not delete it"));
    assert!(house.refuses("ann", "perms home/ann/x + writers bob").contains("already"));
    assert_eq!(house.says("root", "perms home/ann/x + readers '*'"), "creator ann\nreaders *\nwriters bob\n");
    assert_eq!(house.says("ann", "perms home/ann/x - writers bob"), "creator ann\nreaders *\n");
    assert!(!may_push("bob"));
    // Deleted by its creator, it is its creator's to take back, and nobody else's, whatever they may make there themselves.
    house.says("ann", "delete home/ann/x");
    assert!(house.refuses("bob", "restore home/ann/x").contains("no repository \"home/ann/x\" here"));
    assert_eq!(house.says("bob", "trash"), "");
    house.says("ann", "restore home/ann/x");
    assert_eq!(house.says("ann", "perms home/ann/x"), "creator ann\nreaders *\n");
    // What nobody made here is nobody's, but the administrators'.
    assert_eq!(house.says("ann", "perms team/plans"), "");
    assert!(house.refuses("bob", "perms team/plans").contains("you may read 'team/plans' but not administer it"));
}

#[test]
fn nothing_of_a_deleted_repository_is_served_under_its_name() {
    if !has_ssh() {
        return;
    }
    let house = House::start();
    let url = house.server.url("team/plans");
    let copy = |to: &str| house.git("ann", &house.sandbox.path(""), &["clone", "-q", "--bare", &url, to]);
    let old = house.sandbox.git(&house.seed, ["rev-parse", "main"]);
    for round in 0..3 {
        // Twice, so that all that fetches share is there to be served again.
        assert!(copy(&format!("before{round}a")).0 && copy(&format!("before{round}b")).0);
        house.says("ann", "delete team/plans");
        house.says("ann", "create team/plans");
        let (listed, said) = house.git("ann", &house.seed, &["ls-remote", &url]);
        assert!(listed && !said.contains("refs/"), "{said}");
        let (fetched, said) = house.git("ann", &house.sandbox.bare(format!("empty{round}"), "sha1"), &["fetch", &url, &old]);
        assert!(!fetched, "{said}");
        house.says("ann", "rename team/plans team/other");
        house.says("ann", "restore team/plans");
        assert!(copy(&format!("after{round}")).0);
        assert_eq!(house.sandbox.git(&house.sandbox.path(format!("after{round}")), ["rev-parse", "main"]), old);
        house.says("ann", "delete team/other");
        // Pushes in quick succession leave a quarantine for the next one, which must not be in the way of a move.
        for number in 0..3 {
            house.sandbox.commit_file(&house.seed, "more", format!("{round} {number}"));
            let (pushed, said) = house.git("ann", &house.seed, &["push", "-q", &url, &format!("main:refs/heads/b{round}{number}")]);
            assert!(pushed, "{said}");
        }
        house.says("ann", "rename team/plans team/moved");
        check::sound(&house.sandbox, &house.served("team/moved.git"));
        house.says("ann", "rename team/moved team/plans");
    }
    assert_eq!(house.sandbox.git(&house.served("team/plans.git"), ["for-each-ref", "--format=%(refname)"]).lines().count(), 2 + 9);
    check::sound(&house.sandbox, &house.served("team/plans.git"));
}

#[test]
fn each_is_one_line_in_the_audit_log() {
    if !has_ssh() {
        return;
    }
    let house = House::start();
    for (who, line, says) in [
        ("ann", "create team/x", &["service=\"create\"", "repository=\"team/x\"", "verdict=\"done\""][..]),
        ("ann", "rename team/x 'team/y\u{202e}'", &["service=\"rename to team/y\\\\u{202e}\"", "path=\"team/x\"", "verdict=\"done\""]),
        ("bob", "delete team/plans", &["service=\"delete\"", "verdict=\"refused\"", "not delete it"]),
        ("bob", "delete hidden", &["service=\"delete\"", "verdict=\"refused\"", "no rule lets them read it"]),
        ("ann", "delete team/absent", &["service=\"delete\"", "verdict=\"not found\""]),
        ("bob", "info", &["service=\"info\"", "verdict=\"done\""]),
        ("bob", "why team/plans main read", &["service=\"why refs/heads/main read\"", "verdict=\"done\""]),
        ("bob", "frobnicate\u{1b}[2J", &["service=\"frobnicate\\\\u{1b}[2J\"", "verdict=\"refused\""]),
    ] {
        house.ssh(who, line);
        let (began, user) = (Instant::now(), format!("user=\"{who}\""));
        loop {
            let text = std::fs::read_to_string(house.sandbox.path("audit.log")).unwrap_or_default();
            let of_it =
                text.lines().filter(|line| line.contains("command") && says.iter().all(|word| line.contains(word)) && line.contains(&user));
            if of_it.count() == 1 {
                break;
            }
            assert!(began.elapsed() < PATIENCE, "{line}: no line with {says:?}:\n{text}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

#[test]
fn a_kill_at_any_moment_loses_nothing() {
    if !has_ssh() {
        return;
    }
    let mut house = House::start();
    let plans = house.served("team/plans.git");
    let tip = house.sandbox.git(&plans, ["rev-parse", "main"]);
    for round in 0..6 {
        std::thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    for line in ["delete team/plans", "restore team/plans", "rename team/plans team/a/b", "rename team/a/b team/plans"]
                        .iter()
                        .cycle()
                    {
                        if house.ssh("ann", line).0 == 255 {
                            return; // the server is gone
                        }
                    }
                });
            }
            // Somewhere among those, another place in each round.
            std::thread::sleep(Duration::from_millis(60 + 35 * round));
            house.server.signal("KILL");
        });
        house.server.wait();
        house.server = House::serve(&house.sandbox);
        if house.ssh("ann", "restore team/plans").0 != 0 && !plans.exists() {
            house.says("ann", "rename team/a/b team/plans");
        }
        assert_eq!(house.sandbox.git(&plans, ["rev-parse", "main"]), tip, "round {round}");
        check::sound(&house.sandbox, &plans);
        assert_eq!(house.says("ann", "list"), "team/plans\n");
        assert_eq!(house.says("ann", "trash"), "");
    }
}

#[test]
fn what_was_deleted_goes_for_good_after_its_time() {
    if !has_ssh() {
        return;
    }
    let mut house = House::start_with("trash.keep_s = 0\n");
    house.says("ann", "delete team/plans");
    house.server.signal("TERM");
    house.server.wait();
    house.server = House::serve(&house.sandbox);
    house.server.wait_for("removed for good what was deleted");
    assert_eq!(house.says("ann", "trash"), "");
    assert!(house.refuses("ann", "restore team/plans").contains("in the trash"));
    assert_eq!(std::fs::read_dir(house.served(".packmule/trash")).expect("a trash").count(), 0);
}
