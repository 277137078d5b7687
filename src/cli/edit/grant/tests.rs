//! What is granted and revoked held against the book of what is written then, and random changes against what nobody else may feel.

use super::super::super::rules::Source;
use super::*;
use crate::access::rules::RuleBook;
use proptest::prelude::*;
use std::path::PathBuf;

const TEXT: &str = r#"ssh.own_keys = false

[users.ann]
[users.bob]
[users.eve]

[groups]
staff = ["ann", "bob"]

# nobody touches these
[[rule]]
users = ["*"]
repositories = ["*"]
refs = ["release/*"]
deny = ["write"]

[[rule]]
users = ["@staff"]
repositories = ["libs/*"]
allow = ["read", "write"] # for now

[[rule]]
users = ["bob"]
repositories = ["*"]
deny = ["read"]
"#;

fn house(text: &str) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("config.toml");
    std::fs::write(&file, text).expect("written");
    (folder, file)
}

/// `grant bob website read [--ref main] [--deny]`
fn run(file: &Path, line: &str) -> Result<String, Failure> {
    let mut words: Vec<String> = line.split(' ').map(str::to_owned).collect();
    let deny = words.iter().position(|word| word == "--deny").map(|at| words.remove(at)).is_some();
    let name = words.iter().position(|word| word == "--ref").map(|at| words.drain(at..).nth(1).expect("a ref"));
    let (command, user) = (words.remove(0), words.remove(0));
    let args = GrantArgs { user, words, name, deny, config: file.to_owned() };
    if command == "grant" { grant(&args) } else { revoke(&args) }
}

fn said(file: &Path, line: &str) -> String {
    let shown = format!(" --config {}", file.display());
    run(file, line).unwrap_or_else(|failure| failure.to_string()).replace(&shown, "")
}

fn text(file: &Path) -> String {
    std::fs::read_to_string(file).expect("there")
}

fn book(file: &Path) -> RuleBook {
    Source { file: file.to_owned(), home: None, person: None, admin_keys: vec![] }.read().expect("right").split().0
}

fn may(file: &Path, user: &str, repository: &str, name: &str, verb: Verb) -> bool {
    book(file).ask(user, repository, Some(name.into()), verb).is_allowed
}

#[test]
fn a_grant_is_a_rule_and_is_taken_back_without_a_trace() {
    let (_folder, file) = house(TEXT);
    let answer = said(&file, "grant eve website write --ref wip/*");
    assert_eq!(
        answer,
        "eve may read, write website on refs/heads/wip/*: rule 4 (config.toml:27)
  read is in it, too: what cannot be read cannot be changed

[[rule]]
users = [\"eve\"]
repositories = [\"website\"]
refs = [\"refs/heads/wip/*\"]
allow = [\"read\", \"write\"]

to take it back: packmule revoke eve website read write --ref 'refs/heads/wip/*'
"
    );
    assert!(text(&file).starts_with(TEXT) && may(&file, "eve", "website", "refs/heads/wip/a", Verb::Update));
    assert!(!may(&file, "eve", "website", "refs/heads/main", Verb::Read));
    assert!(said(&file, "grant eve website write --ref wip/*").starts_with("it is so already: "));
    // The rule that is about just this takes more.
    assert!(said(&file, "grant eve website delete --ref wip/*").contains("rule 4"));
    assert!(text(&file).ends_with("allow = [\"read\", \"write\", \"delete\"]\n"));
    assert!(said(&file, "revoke eve website create --ref wip/*").starts_with("eve may not create website"));
    assert!(text(&file).ends_with("allow = [\"read\", \"delete\", \"update\"]\n"), "{}", text(&file));
    assert!(said(&file, "revoke eve website read update delete --ref wip/*").contains("no rule is about it"));
    assert_eq!(text(&file), TEXT);
}

#[test]
fn a_grant_goes_before_what_denies_it_and_leaves_what_denies_a_part() {
    let (_folder, file) = house(TEXT);
    let answer = said(&file, "grant bob website write");
    assert!(answer.starts_with("bob may read, write website: rule 3 (config.toml:22)\n"), "{answer}");
    assert!(answer.contains("still, rule 1 (config.toml:11) says no to bob on create, refs/heads/release/* of website"), "{answer}");
    assert!(
        may(&file, "bob", "website", "refs/heads/main", Verb::Update)
            && !may(&file, "bob", "website", "refs/heads/release/1", Verb::Update)
    );
    assert!(!may(&file, "bob", "other", "refs/heads/main", Verb::Read) && text(&file).contains("# for now"));
    // On just those refs it goes before that, too.
    let answer = said(&file, "grant bob website update --ref release/1");
    assert!(
        answer.contains("rule 1 (config.toml:10)") && text(&file).contains("\n# nobody touches these\n[[rule]]\nusers = [\"*\"]"),
        "{answer}"
    );
    assert!(
        may(&file, "bob", "website", "refs/heads/release/1", Verb::Update)
            && !may(&file, "bob", "website", "refs/heads/release/2", Verb::Update)
    );
    assert!(said(&file, "revoke bob website update --ref release/1").starts_with("bob may not"));
    assert!(said(&file, "revoke bob website read write").starts_with("bob may not"));
    assert_eq!(text(&file), TEXT);
}

#[test]
fn what_a_wider_rule_grants_is_denied_before_it() {
    let (_folder, file) = house(TEXT);
    let answer = said(&file, "revoke bob libs/a write");
    assert!(answer.starts_with("bob may not write libs/a: rule 1 (config.toml:11), rule 2 (config.toml:17)\n"), "{answer}");
    assert!(answer.contains("deny = [\"write\"]\n\nto take it back: packmule grant bob libs/a write\n"), "{answer}");
    assert!(!may(&file, "bob", "libs/a", "refs/heads/x", Verb::Create) && may(&file, "bob", "libs/a", "refs/heads/x", Verb::Read));
    assert!(may(&file, "bob", "libs/b", "refs/heads/x", Verb::Create) && may(&file, "ann", "libs/a", "refs/heads/x", Verb::Create));
    assert!(said(&file, "grant bob libs/a write").contains("rule 2 (config.toml:17)"));
    assert_eq!(text(&file), TEXT, "the denial goes, and that is enough");
    // A group, and every member of it.
    let answer = said(&file, "revoke @staff libs/* write");
    assert!(answer.starts_with("@staff may not write libs/*"), "{answer}");
    assert!(!may(&file, "ann", "libs/a", "refs/heads/x", Verb::Create) && may(&file, "ann", "libs/a", "refs/heads/x", Verb::Read));
}

#[test]
fn every_part_of_what_is_revoked_is_gone() {
    let parts = r#"
[[rule]]
users = ["eve"]
repositories = ["apps/one"]
refs = ["wip/*"]
allow = ["read", "write"]

[[rule]]
users = ["eve"]
repositories = ["/apps\\/t.*/"]
allow = ["read", "write"]

[[rule]]
users = ["<writers>"]
repositories = ["apps/*"]
allow = ["read", "write"]
"#;
    let (_folder, file) = house(&format!("{TEXT}{parts}"));
    assert!(said(&file, "revoke eve apps/one write").starts_with("eve may not"));
    assert!(
        !may(&file, "eve", "apps/one", "refs/heads/wip/x", Verb::Create) && may(&file, "eve", "apps/two", "refs/heads/x", Verb::Create)
    );
    let (_folder, file) = house(&format!("{TEXT}{parts}"));
    assert!(said(&file, "revoke eve apps/* write").starts_with("eve may not"));
    for repository in ["apps/one", "apps/two"] {
        assert!(!may(&file, "eve", repository, "refs/heads/wip/x", Verb::Create), "{}", text(&file));
    }
    assert!(may(&file, "eve", "apps/two", "refs/heads/x", Verb::Read));
    // Nor by a role that somebody may give.
    let (_folder, file) = house(&format!("{TEXT}{parts}"));
    assert!(said(&file, "revoke eve apps/three write").contains("rule"));
    let text = text(&file);
    let (deny, role) = (text.find("apps/three").expect("a denial"), text.find("<writers>").expect("the role"));
    assert!(deny < role, "{text}");
}

#[test]
fn a_denial_is_said_even_where_nothing_allows() {
    let (_folder, file) = house(TEXT);
    let answer = said(&file, "grant eve website read --deny");
    assert!(answer.starts_with("eve may not read website: rule 4"), "{answer}");
    assert!(text(&file).ends_with("deny = [\"read\"]\n"));
    assert!(said(&file, "grant eve website read --deny").starts_with("it is so already"));
    assert!(said(&file, "revoke eve website read --deny").contains("no rule is about it"));
    assert_eq!(text(&file), TEXT);
    assert!(said(&file, "revoke eve website read --deny").contains("no rule denies just this"));
}

#[test]
fn who_or_what_is_not_there_is_told() {
    let (_folder, file) = house(TEXT);
    for (line, says) in [
        ("grant mallory website read", "no user 'mallory'"),
        ("grant staff website read", "@staff"),
        ("grant @nobody website read", "no group 'nobody'"),
        ("grant bob website reed", "'reed' is nothing"),
        ("grant anonymous website write", "may read and nothing else"),
        ("grant bob website create-repository --ref main", ""),
    ] {
        let answer = said(&file, line);
        assert!(answer.contains(says), "{line}: {answer}");
    }
    let (_folder, file) =
        house("ssh.own_keys = false\nrule = [{ users = [\"*\"], repositories = [\"x\"], allow = [\"read\"] }]\n[users.bob]\n");
    assert!(said(&file, "grant bob website read").contains("leaves no place"));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn random_changes_are_answered_as_asked_and_felt_by_nobody_else(changes in proptest::collection::vec(
        (0..2usize, 0..4usize, 0..4usize, 0..4usize, 0..4usize), 1..6,
    )) {
        let (_folder, file) = house(TEXT);
        let (refs, repositories) = (["refs/heads/main", "refs/heads/release/1", "refs/heads/wip/x"], ["libs/a", "libs/b", "website"]);
        for (command, user, repository, name, verbs) in changes {
            let (user, asked) = (["ann", "bob", "eve", "@staff"][user], ["libs/a", "libs/*", "website", "*"][repository]);
            let (on, verbs) = (["", " --ref main", " --ref release/*", " --ref wip/x"][name], ["read", "write", "delete", "read rewind"][verbs]);
            let line = format!("{} {user} {asked} {verbs}{on}", ["grant", "revoke"][command]);
            let before = book(&file);
            run(&file, &line).unwrap_or_else(|failure| panic!("{line}: {failure}\n{}", text(&file)));
            let after = book(&file);
            for other in ["ann", "bob", "eve"] {
                for here in repositories {
                    for there in refs {
                        for verb in Verb::ALL.into_iter().take(5) {
                            let is_who = other == user || user == "@staff" && other != "eve";
                            let is_where = asked == "*" || asked == here || asked == "libs/*" && here.starts_with("libs/");
                            let is_ref = match name { 0 => true, 1 => there == refs[0], 2 => there == refs[1], _ => there == refs[2] };
                            let ask = |book: &RuleBook| book.ask(other, here, Some(there.into()), verb).is_allowed;
                            if !(is_who && is_where && is_ref) {
                                prop_assert_eq!(ask(&before), ask(&after), "{}: {} {} {} {}\n{}", line, other, here, there, verb, text(&file));
                            } else if command == 1 && other == user && verbs.split(' ').filter_map(Verb::meant_by).flatten().any(|asked| asked == verb) {
                                prop_assert!(!ask(&after), "{}: {} {} {} {}\n{}", line, other, here, there, verb, text(&file));
                            }
                        }
                    }
                }
            }
        }
    }
}
