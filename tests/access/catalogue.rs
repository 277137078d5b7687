//! What rights are got round by: symbolic refs, likenesses of names, two commands for one ref, refs beside branches, and requests
//! about what is hidden; each through `packmule serve` with real clients, or word by word where git would not say it.

use super::rules::{House, write_config};
use crate::common::pkt::data;
use crate::common::run_with_input;
use crate::common::server::{has_ssh, write_ssh_config};
use std::path::PathBuf;

const RULES: &str = r#"
[[rule]]  # 1
users = ["bob"]
repositories = ["plans"]
refs = ["secret"]
deny = ["read"]

[[rule]]  # 2
users = ["bob"]
repositories = ["plans"]
refs = ["main", "fixed", "lib/*", "/refs/heads/v[0-9]/"]
deny = ["write", "rewind", "delete"]

[[rule]]  # 3
users = ["bob"]
repositories = ["plans"]
allow = ["read", "write", "delete"]

[[rule]]  # 4
users = ["bob"]
repositories = ["other"]
refs = ["main", "fixed/*"]
allow = ["read", "write"]

[[rule]]  # 5
users = ["ann"]
repositories = ["*"]
allow = ["read", "write", "rewind", "delete", "create-repository"]
"#;

const NULL: &str = "0000000000000000000000000000000000000000";

/// A house under these rules, a branch `free` in it, and bob's clone with a commit more.
struct Place {
    house: House,
    bob: PathBuf,
}

impl Place {
    fn new() -> Self {
        let house = House::start();
        write_config(&house.sandbox, RULES);
        house.server.signal("HUP");
        house.server.wait_for("rules read again");
        let url = house.server.url("plans");
        let (success, said) = house.git("ann", &house.sandbox.path("seed"), &["push", "-q", &url, "release:refs/heads/free"]);
        assert!(success, "{said}");
        let (success, said) = house.git("bob", &house.sandbox.path(""), &["clone", "-q", &url, "bob"]);
        assert!(success, "{said}");
        let bob = house.sandbox.path("bob");
        house.sandbox.commit_file(&bob, "more", "more");
        Self { house, bob }
    }

    fn push(&self, who: &str, args: &[&str]) -> (bool, String) {
        self.house.git(who, &self.bob, &[&["push", "origin"], args].concat())
    }

    #[track_caller]
    fn is_taken(&self, who: &str, args: &[&str]) {
        let (success, said) = self.push(who, args);
        assert!(success, "{who} {args:?}: {said}");
    }

    /// The push is refused with these words, and no ref is another afterwards.
    #[track_caller]
    fn is_refused(&self, who: &str, args: &[&str], words: &str) {
        let before = self.refs();
        let (success, said) = self.push(who, args);
        assert!(!success && said.contains(words), "{who} {args:?}: {said}");
        assert_eq!(self.refs(), before, "{who} {args:?}");
    }

    fn served(&self, args: &[&str]) -> String {
        self.house.sandbox.git(&self.house.served(), args)
    }

    fn id(&self, name: &str) -> String {
        self.served(&["rev-parse", "--verify", name])
    }

    fn refs(&self) -> String {
        self.served(&["for-each-ref", "--format=%(refname) %(symref) %(objectname)"])
    }

    /// What `service` answers `who` to this request.
    fn ask(&self, who: &str, service: &str, request: &[u8]) -> String {
        let sandbox = &self.house.sandbox;
        let config = write_ssh_config(sandbox, self.house.server.port, &sandbox.path("private").join(who));
        let mut command = sandbox.command("ssh");
        command.arg("-F").arg(config);
        if service == "git-upload-pack" {
            command.args(["-o", "SetEnv=GIT_PROTOCOL=version=2"]);
        }
        let output = run_with_input(command.args(["mule", &format!("{service} 'plans'")]), request);
        String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned()
    }

    /// What is said to these commands, of old value, new value and name, with an empty pack; and no ref is another afterwards.
    #[track_caller]
    fn said_to(&self, who: &str, commands: &[(&str, &str, &str)]) -> String {
        let mut request = vec![];
        for (at, (old, new, name)) in commands.iter().enumerate() {
            let capabilities = if at == 0 { "\0report-status" } else { "" };
            request.extend(data(format!("{old} {new} {name}{capabilities}")));
        }
        let mut pack = b"PACK\0\0\0\x02\0\0\0\0".to_vec();
        let mut hasher = gix_hash::hasher(gix_hash::Kind::Sha1);
        hasher.update(&pack);
        pack.extend_from_slice(hasher.try_finalize().expect("no collision").as_slice());
        request.extend([b"0000".to_vec(), pack].concat());
        let before = self.refs();
        let said = self.ask(who, "git-receive-pack", &request);
        assert_eq!(self.refs(), before, "{who} {commands:?}: {said}");
        said.split_once("unpack ").map(|(_, said)| said.to_owned()).unwrap_or(said)
    }

    /// What is answered to a fetch of version 2 with these arguments.
    fn fetched(&self, who: &str, arguments: &[String]) -> String {
        let lines: Vec<u8> = arguments.iter().flat_map(|line| data(format!("{line}\n"))).collect();
        let said = self.ask(who, "git-upload-pack", &[&data("command=fetch\n")[..], b"0001", &lines, b"00000000"].concat());
        // What the server can do comes first, and ends with a flush.
        said.split_once("object-format=sha1\n").map(|(_, said)| said.to_owned()).unwrap_or(said)
    }
}

#[test]
fn a_push_through_a_symbolic_ref_needs_the_right_to_where_it_leads() {
    if !has_ssh() {
        return;
    }
    let place = Place::new();
    for (name, target) in [("alias", "main"), ("again", "alias"), ("open", "free"), ("unborn", "fixed"), ("v1", "free")] {
        place.served(&["symbolic-ref", &format!("refs/heads/{name}"), &format!("refs/heads/{target}")]);
    }
    for name in ["alias", "again"] {
        place.is_refused("bob", &[&format!("HEAD:refs/heads/{name}")], "you may not update it: rule 2");
        let said = place.said_to("bob", &[(&place.id("main"), NULL, &format!("refs/heads/{name}"))]);
        assert!(said.contains(&format!("ng refs/heads/{name} you may not delete it: rule 2")), "{said}");
    }
    place.is_refused("bob", &["HEAD:refs/heads/unborn"], "you may not create it: rule 2");
    place.house.sandbox.git(&place.bob, ["checkout", "-q", "-b", "on", "origin/free"]);
    let made = place.house.sandbox.commit_file(&place.bob, "on", "on");
    place.is_taken("bob", &["HEAD:refs/heads/open"]);
    assert_eq!(place.id("refs/heads/free"), made);
    // What bears a protected name and leads to what is not protected is judged by that, too.
    place.house.sandbox.commit_file(&place.bob, "further", "further");
    place.is_taken("bob", &["HEAD:refs/heads/v1"]);
    place.is_taken("ann", &["main:refs/heads/again"]);
    assert_eq!(place.id("refs/heads/main"), place.house.sandbox.git(&place.bob, ["rev-parse", "main"]));
    place.served(&["symbolic-ref", "--delete", "refs/heads/unborn"]);
    place.served(&["fsck", "--strict"]);
    place.served(&["symbolic-ref", "refs/heads/behind", "refs/heads/secret"]);
    place.served(&["symbolic-ref", "refs/heads/further-behind", "refs/heads/behind"]);
    let (_, listed) = place.house.git("bob", &place.bob, &["ls-remote", "origin"]);
    assert!(listed.contains("refs/heads/alias") && !listed.contains("behind"), "{listed}");
}

#[test]
fn a_pattern_is_about_the_whole_name_as_it_is_written() {
    if !has_ssh() {
        return;
    }
    let place = Place::new();
    for name in ["fixed", "lib/a", "lib/a/b", "v1"] {
        place.is_refused("bob", &[&format!("HEAD:refs/heads/{name}")], "you may not create it: rule 2");
    }
    place.is_refused("bob", &["HEAD:refs/heads/main"], "you may not update it: rule 2");
    let others = ["main2", "MAIN", "Main", "my/main", "mymain", "fixed/x", "FIXED", "lib", "LIB/a", "xlib/a", "v12", "xv1", "V1"];
    let others = others.map(|name| format!("HEAD:refs/heads/{name}"));
    place.is_taken("bob", &others.each_ref().map(String::as_str));
    place.is_taken("bob", &["HEAD:refs/tags/main", "HEAD:refs/x/main", "HEAD:refs/heads/refs/heads/main"]);
    // Nor does a right reach further than its pattern.
    let other = place.house.server.url("other");
    for name in ["other", "others", "OTHER", "other/x"] {
        let (success, said) = place.house.git("ann", &place.bob, &["push", "-q", &place.house.server.url(name), "HEAD~1:refs/heads/main"]);
        assert!(success, "{said}");
    }
    let push = |url: &str, name: &str| place.house.git("bob", &place.bob, &["push", url, &format!("HEAD:{name}")]);
    for name in ["main2", "MAIN", "fixed", "FIXED/x", "xfixed/x", "refs/tags/main", "refs/main", "refs/x/main", "refs/tags/fixed/x"] {
        let full = if name.starts_with("refs/") { name.to_owned() } else { format!("refs/heads/{name}") };
        let (success, said) = push(&other, &full);
        assert!(!success && said.contains("remote rejected"), "{full}: {said}");
    }
    for name in ["others", "OTHER", "other/x"] {
        let (success, said) = push(&place.house.server.url(name), "refs/heads/main");
        assert!(!success && said.contains("no repository"), "{name}: {said}");
    }
    for name in ["refs/heads/main", "refs/heads/fixed/x/y"] {
        let (success, said) = push(&other, name);
        assert!(success, "{name}: {said}");
    }
}

#[test]
fn no_pair_of_commands_and_no_false_old_value_is_a_way_to_rewind() {
    if !has_ssh() {
        return;
    }
    let place = Place::new();
    place.served(&["symbolic-ref", "refs/heads/open", "refs/heads/free"]);
    let (tip, older, name) = (place.id("free"), place.id("main"), "refs/heads/free");
    assert_ne!(tip, older);
    for who in ["bob", "ann"] {
        for commands in [
            [(tip.as_str(), NULL, name), (NULL, older.as_str(), name)],
            [(NULL, older.as_str(), name), (tip.as_str(), NULL, name)],
            [(tip.as_str(), NULL, name), (tip.as_str(), older.as_str(), name)],
        ] {
            let said = place.said_to(who, &commands);
            assert!(said.contains("multiple updates for ref") && !said.contains("ok refs/"), "{who}: {said}");
        }
        for commands in [
            [(tip.as_str(), NULL, name), (NULL, older.as_str(), "refs/heads/open")],
            [(tip.as_str(), NULL, "refs/heads/open"), (NULL, older.as_str(), name)],
        ] {
            let said = place.said_to(who, &commands);
            assert!(!said.contains("ok refs/"), "{who}: {said}");
        }
    }
    // As if it were new, and as if it were somewhere from where the way is forward.
    place.is_taken("ann", &["HEAD~1:refs/heads/before", "HEAD:refs/heads/after"]);
    let after = place.id("after");
    for commands in [[(NULL, older.as_str(), name)], [(older.as_str(), after.as_str(), name)]] {
        let said = place.said_to("bob", &commands);
        assert!(said.contains(&format!("ng {name} ")), "{said}");
    }
    let said = place.said_to("bob", &[(&tip, &older, name)]);
    assert!(said.contains(&format!("ng {name} you may not rewind it: no rule lets you")), "{said}");
    place.is_taken("ann", &["+HEAD~1:refs/heads/free"]);
}

#[test]
fn refs_beside_branches_move_aside_only_with_the_right_to_rewind() {
    if !has_ssh() {
        return;
    }
    let place = Place::new();
    let replaced = format!("refs/replace/{}", place.id("release"));
    for name in ["refs/tags/t", "refs/notes/commits", &replaced, "refs/pull/1/head", "refs/changes/01/1/1"] {
        place.is_taken("bob", &[&format!("HEAD:{name}")]);
        place.is_refused("bob", &[&format!("+HEAD~1:{name}")], "you may not rewind it: no rule lets you");
        place.is_refused("bob", &[&format!("+origin/release:{name}")], "you may not rewind it: no rule lets you");
        place.is_refused("bob", &[&format!("+HEAD^{{tree}}:{name}")], "you may not rewind it: no rule lets you");
        place.is_taken("ann", &[&format!("+origin/release:{name}")]);
    }
}

#[test]
fn what_is_denied_holds_back_all_of_an_atomic_push_and_itself_of_another() {
    if !has_ssh() {
        return;
    }
    let place = Place::new();
    place.is_taken("ann", &["HEAD~1:refs/heads/gone"]);
    let edits = ["HEAD:refs/heads/new", "HEAD:refs/heads/main", ":refs/heads/gone"];
    place.is_refused("bob", &[&["--atomic"][..], &edits].concat(), "atomic");
    let main = place.id("main");
    let (success, said) = place.push("bob", &edits);
    assert!(!success && said.contains("you may not update it: rule 2"), "{said}");
    let refs = place.refs();
    assert!(refs.contains("refs/heads/new ") && !refs.contains("refs/heads/gone ") && place.id("main") == main, "{refs}");
}

#[test]
fn requests_about_what_is_hidden_are_answered_like_those_about_nothing() {
    if !has_ssh() {
        return;
    }
    let place = Place::new();
    place.served(&["config", "uploadpackfilter.sparse:oid.allow", "true"]);
    let (main, nothing) = (place.id("main"), "1".repeat(40));
    let ask = |who: &str, id: &str, lines: &[&str]| {
        let lines: Vec<String> = lines.iter().map(|line| line.replace("{main}", &main).replace("{id}", id)).collect();
        place.fetched(who, &lines).replace(id, "{id}")
    };
    let filter = ["no-progress", "filter sparse:oid={id}", "want {main}", "done"];
    let (want, have) = (["want {id}", "done"], ["want {main}", "have {id}"]);
    for (hidden, visible) in [("secret", "release"), ("secret^{tree}", "release^{tree}"), ("secret:secret", "release:release")] {
        let (hidden, visible) = (place.id(hidden), place.id(visible));
        for lines in [&filter[..], &want, &have] {
            assert_eq!(ask("bob", &hidden, lines), ask("bob", &nothing, lines), "{hidden} {lines:?}");
        }
        for (who, id) in [("bob", &visible), ("ann", &hidden)] {
            assert!(ask(who, id, &want).contains("PACK"), "{who} {id}");
        }
    }
    for (who, what, may) in [("bob", "secret", false), ("bob", "release", true), ("ann", "secret", true)] {
        assert_eq!(ask(who, &place.id(what), &have).contains("ACK {id}"), may, "{who} {what}");
    }
    for (who, what, may) in [("bob", "secret:secret", false), ("bob", "release:release", true), ("ann", "secret:secret", true)] {
        let said = ask(who, &place.id(what), &filter);
        assert_eq!(said.contains("PACK"), may, "{who} {what}: {said}");
    }
    let exclude = |who: &str, name: &str, to: &str| {
        let option = format!("--shallow-exclude={name}");
        let (success, said) = place.house.git(
            who,
            &place.house.sandbox.path(""),
            &["clone", "-q", &option, "-b", "free", &place.house.server.url("plans"), to],
        );
        (success, said.lines().filter(|line| line.contains("deepen-not")).map(|line| line.replace(name, "it")).collect::<String>())
    };
    let (hidden, nothing) = (exclude("bob", "secret", "a"), exclude("bob", "nothing", "b"));
    assert!(!hidden.0 && hidden == nothing && !hidden.1.is_empty(), "{hidden:?} {nothing:?}");
    assert!(exclude("ann", "secret", "c").0 && exclude("bob", "main", "d").0);
}
