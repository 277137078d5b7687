//! Rules as people write them, held against what they should mean, and random ones against an evaluator of a few lines.

use super::*;
use proptest::prelude::*;
use serde::Deserialize;
use std::path::PathBuf;
use toml::Spanned;

const ANN: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJdD7y3aLq454yWBdwLWbieU1ebz9/cu7/QEXn9OIeZJ";
const BOB: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIB2kMbWcEzcqCV6Xd5LBWJRO3gN1tNb0HIm4bgWkKZ1B";

const EVE: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAILM+rvN+ot98qgEN796jTiQfZfG1KaT0PtFDJ/XFSqti";

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Text {
    key_folder: PathBuf,
    users: WrittenUsers,
    groups: WrittenGroups,
    certificate_authority: Vec<Spanned<WrittenAuthority>>,
    rule: Vec<Spanned<WrittenRule>>,
    limit: Vec<Spanned<WrittenLimit>>,
}

fn compile(text: &str) -> Result<RuleBook, Vec<Fault>> {
    let Text { key_folder, users, groups, certificate_authority: authorities, rule, limit } = toml::from_str(text).expect("TOML");
    let written =
        Written { key_folder: &key_folder, users: &users, groups: &groups, authorities: &authorities, rules: &rule, limits: &limit };
    RuleBook::compile(&written, "config.toml", text)
}

pub(super) fn book(text: &str) -> RuleBook {
    compile(text).unwrap_or_else(|faults| panic!("{faults:#?}"))
}

/// `user repository ref verb`, or `-` in the place of the ref for "some ref": may they, and which rule said so?
fn ask(book: &RuleBook, question: &str) -> (bool, Option<usize>) {
    let [user, repository, ..] = question.split(' ').collect::<Vec<_>>()[..] else { panic!("{question}") };
    ask_of(book, &book.roles_of_new(user, repository), question)
}

/// The same of a repository with these roles.
fn ask_of(book: &RuleBook, roles: &Roles, question: &str) -> (bool, Option<usize>) {
    let [user, repository, name, verb] = question.split(' ').collect::<Vec<_>>()[..] else { panic!("{question}") };
    let verb = *Verb::ALL.iter().find(|known| known.as_str() == verb).expect("a verb");
    let judged = book.ask_of(user, repository, roles, Some(name).filter(|name| *name != "-").map(Into::into), verb);
    let number = |place: String| place.split(' ').nth(1).and_then(|number| number.parse().ok());
    (judged.is_allowed, judged.rule.and_then(number))
}

const STAFF: &str = r#"
[users.ann]
[users.bob]
[users.eve]
[groups]
leads = ["ann"]
staff = ["@leads", "bob"]

[[rule]]  # 1
users = ["eve"]
repositories = ["*"]
deny = ["read"]

[[rule]]  # 2
users = ["@staff"]
repositories = ["libs/*"]
refs = ["release/*"]
deny = ["write", "rewind", "delete"]

[[rule]]  # 3
users = ["@staff"]
repositories = ["libs/*"]
allow = ["read", "write"]

[[rule]]  # 4
users = ["@leads"]
repositories = ["*"]
refs = ["wip/*"]
allow = ["rewind", "delete"]

[[rule]]  # 5
users = ["*"]
repositories = ["website"]
refs = ["main", "refs/tags/*"]
allow = ["read"]

[[rule]]  # 6
users = ["bob"]
repositories = ["home/bob/*"]
allow = ["read", "write", "rewind", "delete", "create-repository"]
"#;

#[test]
fn the_first_rule_that_matches_decides() {
    let book = book(STAFF);
    for (question, answer) in [
        ("ann libs/a refs/heads/main update", (true, Some(3))),
        ("ann libs/a refs/heads/release/1 update", (false, Some(2))),
        ("ann libs/a refs/heads/release/1 read", (true, Some(3))),
        ("ann libs/a refs/heads/wip/x rewind", (true, Some(4))),
        ("ann home/bob/x refs/heads/wip/x rewind", (false, None)),
        ("bob libs/a refs/heads/wip/x rewind", (false, None)),
        ("bob libs/a refs/heads/main rewind", (false, None)),
        ("bob libs refs/heads/main read", (false, None)),
        ("bob website refs/heads/main read", (true, Some(5))),
        ("bob website refs/heads/main update", (false, None)),
        ("bob website refs/heads/other read", (false, None)),
        ("bob website refs/tags/v1 read", (true, Some(5))),
        ("eve website refs/heads/main read", (false, Some(1))),
        ("eve website - read", (false, Some(1))),
        ("bob website - read", (true, Some(5))),
        ("bob libs/a - delete", (false, None)),
        ("bob libs/a - create", (true, Some(3))),
        ("bob home/bob/x - create-repository", (true, Some(6))),
        ("ann home/bob/x - create-repository", (false, None)),
        ("mallory website refs/heads/main read", (false, None)),
    ] {
        assert_eq!(ask(&book, question), answer, "{question}");
    }
}

#[test]
fn every_fault_is_told_with_its_place() {
    let text = r#"
[users.ann]
keys = ["ssh-ed25519 AAAA"]
key_files = ["no/such/file.pub"]
[users."-x"]
[groups]
staff = ["ann", "nobody", "@staff"]
[[rule]]
users = ["staff", "@nogroup"]
repositories = ["a["]
allow = ["reed"]
[[rule]]
users = ["*"]
allow = ["read"]
deny = ["write"]
[[rule]]
users = ["ann"]
repositories = ["x"]
refs = ["main"]
allow = ["create-repository"]
"#;
    let faults = compile(text).expect_err("faults");
    let told: Vec<(String, String)> = faults
        .iter()
        .map(|fault| (fault.span.clone().map_or(String::new(), |span| text[span].to_owned()), fault.message.clone()))
        .collect();
    for (place, says) in [
        ("\"ssh-ed25519 AAAA\"", "not a public key"),
        ("\"no/such/file.pub\"", "No such file"),
        ("\"-x\"", "is no name"),
        ("\"nobody\"", "no user 'nobody'"),
        ("\"@staff\"", "holds itself"),
        ("\"staff\"", "no user 'staff'"),
        ("\"@nogroup\"", "no group"),
        ("\"a[\"", "class"),
        ("\"reed\"", "nothing that one may do"),
        ("[[rule]]", "lacks repositories"),
        ("\"write\"", "either allows or denies"),
        ("\"main\"", "not about refs"),
    ] {
        assert!(told.iter().any(|(at, message)| at == place && message.contains(says)), "{place} {says}: {told:#?}");
    }
    assert_eq!(faults.len(), 12, "{told:#?}");
}

#[test]
fn a_key_tells_who_somebody_is() {
    let dir = tempfile::tempdir().expect("a folder");
    std::fs::write(dir.path().join("bob.pub"), format!("# laptop\n{BOB} bob@laptop\n\n")).expect("written");
    std::fs::write(dir.path().join("README"), "no key").expect("written");
    let folder = format!("key_folder = {:?}\n", dir.path());
    let book = book(&format!("{folder}[users.ann]\nkeys = [\"{ANN} ann\"]\n"));
    let key = |line| PublicKey::from_openssh(line).expect("a key");
    assert_eq!((book.owner(&key(ANN)), book.owner(&key(BOB))), (Some("ann"), Some("bob")));
    let faults = compile(&format!("{folder}[users.ann]\nkeys = [\"{BOB}\"]\n")).expect_err("one key, two people");
    assert!(faults[0].message.contains("'bob' is that of 'ann' too"), "{faults:?}");
}

#[test]
fn a_key_that_may_do_everything_lets_no_other_key_do_more() {
    let mut book = book(&format!("[users.ann]\nkeys = [\"{ANN}\"]\n"));
    let key = |line| PublicKey::from_openssh(line).expect("a key");
    book.add_admin(&key(BOB), "ann");
    assert_eq!((book.owner(&key(BOB)), book.owner(&key(ANN))), (Some("ann (admin)"), Some("ann")));
    assert!(book.is_admin("ann (admin)") && !book.is_admin("ann"));
    book.add_admin(&key(ANN), "root");
    assert_eq!((book.owner(&key(ANN)), ask(&book, "root any refs/heads/x delete")), (Some("root"), (true, None)));
}

#[test]
fn a_key_of_somebody_called_anonymous_opens_nothing_to_who_shows_nothing() {
    let mut book = book(&format!("[users.ann]\nkeys = [\"{ANN}\"]\n"));
    let key = PublicKey::from_openssh(BOB).expect("a key");
    book.add_admin(&key, ANONYMOUS);
    assert!(!book.knows(ANONYMOUS) && !book.is_admin(ANONYMOUS));
    assert_eq!(book.owner(&key).map(|owner| book.is_admin(owner)), Some(true), "the key counts all the same");
}

const WILD: &str = r#"
[users.ann]
[users.bob]
[users.eve]
[groups]
staff = ["ann", "bob"]

[[rule]]  # 1
users = ["@staff"]
repositories = ["home/<creator>/*"]
allow = ["create-repository"]

[[rule]]  # 2
users = ["<creator>"]
repositories = ["home/*"]
allow = ["read", "write", "rewind", "delete"]

[[rule]]  # 3
users = ["<writers>"]
repositories = ["home/*"]
refs = ["shared/<user>/*"]
allow = ["write"]

[[rule]]  # 4
users = ["<Readers>", "<writers>"]
repositories = ["home/*"]
allow = ["read"]

[[rule]]  # 5
users = ["*"]
repositories = ["all/<user>"]
allow = ["read"]
"#;

#[test]
fn who_made_a_repository_decides_who_else_has_a_role_in_it() {
    let book = book(WILD);
    assert!(book.needs_roles() && !super::tests::book(STAFF).needs_roles());
    for (question, answer) in [
        ("ann home/ann/x - create-repository", (true, Some(1))),
        ("ann home/ann/x refs/heads/main create", (true, Some(2))),
        ("ann home/bob/x - create-repository", (false, None)),
        ("eve home/eve/x - create-repository", (false, None)),
        ("eve all/eve refs/heads/main read", (true, Some(5))),
        ("eve all/ann refs/heads/main read", (false, None)),
        ("ann home/bob/x refs/heads/main read", (false, None)),
    ] {
        assert_eq!(ask(&book, question), answer, "of one that is not there: {question}");
    }
    let mut roles = Roles::made_by("ann");
    for (question, answer) in [
        ("ann home/ann/x refs/heads/main delete", (true, Some(2))),
        ("bob home/ann/x refs/heads/main read", (false, None)),
        // What another made beneath a name of hers is theirs.
        ("bob home/bob/x refs/heads/main read", (false, None)),
        ("bob home/bob/x - create-repository", (false, None)),
    ] {
        assert_eq!(ask_of(&book, &roles, question), answer, "{question}");
    }
    roles.roles.insert("readers".to_owned(), vec!["*".to_owned()]);
    roles.roles.insert("writers".to_owned(), vec!["@staff".to_owned(), "@nobody".to_owned()]);
    for (question, answer) in [
        ("eve home/ann/x refs/heads/main read", (true, Some(4))),
        ("eve home/ann/x refs/heads/shared/eve/a create", (false, None)),
        ("bob home/ann/x refs/heads/shared/bob/a create", (true, Some(3))),
        ("bob home/ann/x refs/heads/shared/ann/a create", (false, None)),
        ("anonymous home/ann/x refs/heads/main read", (false, None)),
    ] {
        assert_eq!(ask_of(&book, &roles, question), answer, "{question}");
    }
    assert_eq!(ask_of(&book, &Roles::default(), "ann home/ann/x refs/heads/main read"), (false, None), "nobody knows who made it");
    for word in ["<user>", "<>", "<a b>", "<creator"] {
        let faults = compile(&format!("[[rule]]\nusers = [\"{word}\"]\nrepositories = [\"x\"]\nallow = [\"read\"]\n")).expect_err(word);
        assert_eq!(faults.len(), 1, "{word}: {faults:?}");
    }
}

#[test]
fn a_condition_that_depends_on_the_ref_is_asked_for_each() {
    let text = r#"
[users.ann]
[users.bob]
[groups]
staff = ["ann"]
[[rule]]
users = ["*"]
repositories = ["x"]
when = "groups[0] == 'staff' && !('staff' in groups)"  # fails for bob, who is in none: then it counts, for it denies
deny = ["delete"]
[[rule]]
users = ["*"]
repositories = ["x"]
when = "ref.startsWith('refs/heads/' + user + '/') || verb == 'read'"
allow = ["read", "write", "delete"]
[[rule]]
users = ["*"]
repositories = ["x"]
when = "groups[0] == 'staff'"
allow = ["create-repository"]
"#;
    let book = book(text);
    for (question, answer) in [
        ("ann x refs/heads/ann/a update", (true, Some(2))),
        ("ann x refs/heads/bob/a update", (false, None)),
        ("ann x refs/heads/bob/a read", (true, Some(2))),
        ("ann x refs/heads/ann/a delete", (true, Some(2))),
        ("bob x refs/heads/bob/a delete", (false, Some(1))),
        ("ann x - update", (true, Some(2))),
        ("ann x - create-repository", (true, Some(3))),
        ("bob x - create-repository", (false, None)),
    ] {
        assert_eq!(ask(&book, question), answer, "{question}");
    }
}

#[test]
fn rules_about_paths_give_no_right_to_refs() {
    let book = book("[users.ann]\n[[rule]]\nusers = [\"*\"]\nrepositories = [\"x\"]\npaths = [\"*\"]\nallow = [\"write\"]\n");
    assert_eq!(ask(&book, "ann x refs/heads/main update"), (false, None));
    for (text, place, says) in [
        ("[[rule]]\nusers = [\"*\"]\nrepositories = [\"x\"]\npaths = [\"a\"]\nallow = [\"read\"]\n", "\"a\"", "what a push changes"),
        (
            "[[rule]]\nusers = [\"*\"]\nrepositories = [\"x\"]\nwhen = \"usr == 1\"\nallow = [\"read\"]\n",
            "\"usr == 1\"",
            "'usr' means nothing",
        ),
        ("[[limit]]\nusers = [\"*\"]\nrepositories = [\"x\"]\n", "[[limit]]", "what may not be?"),
        ("[[limit]]\nmerges = false\nusers = [\"eve\"]\nrepositories = [\"x\"]\n", "\"eve\"", "no user 'eve'"),
    ] {
        let faults = compile(text).expect_err(text);
        assert_eq!(faults.len(), 1, "{text}: {faults:?}");
        assert_eq!(faults[0].span.clone().map(|span| &text[span]), Some(place), "{text}");
        assert!(faults[0].message.contains(says), "{text}: {faults:?}");
    }
}

/// A random rule: users, repositories, refs by number; verbs as bits; allow or deny.
type Made = (Vec<usize>, Vec<usize>, Vec<usize>, u8, bool);

const USERS: [&str; 4] = ["ann", "bob", "@staff", "*"];
const REPOSITORIES: [&str; 4] = ["a", "b/*", "/b\\/[xy]/", "*"];
const REFS: [&str; 5] = ["main", "refs/tags/v*", "wip/*", "/refs\\/heads\\/w.*/", "*"];

fn text_of(rules: &[Made]) -> String {
    let list = |numbers: &[usize], words: &[&str]| numbers.iter().map(|at| format!("{:?}", words[*at])).collect::<Vec<_>>().join(", ");
    let mut text = "[users.ann]\n[users.bob]\n[users.eve]\n[groups]\nstaff = [\"bob\", \"eve\"]\n".to_owned();
    for (users, repositories, refs, verbs, allows) in rules {
        let verbs: Vec<usize> = (0..5).filter(|at| verbs >> at & 1 == 1).collect();
        let word = if *allows { "allow" } else { "deny" };
        text += &format!(
            "[[rule]]\nusers = [{}]\nrepositories = [{}]\nrefs = [{}]\n{word} = [{}]\n",
            list(users, &USERS),
            list(repositories, &REPOSITORIES),
            list(refs, &REFS),
            list(&verbs, &Verb::ALL.map(Verb::as_str)),
        );
    }
    text
}

/// The same again, as simply as it can be said.
fn naive(rules: &[Made], user: &str, repository: &str, name: &str, verb: usize) -> bool {
    let is_user = |at: &usize| match USERS[*at] {
        "@staff" => user == "bob" || user == "eve",
        "*" => true,
        name => user == name,
    };
    let is_repository =
        |at: &usize| [repository == "a", repository.starts_with("b/"), repository == "b/x" || repository == "b/y", true][*at];
    let is_ref = |at: &usize| {
        let wip = name.starts_with("refs/heads/wip/");
        [name == "refs/heads/main", name.starts_with("refs/tags/v"), wip, name.starts_with("refs/heads/w"), true][*at]
    };
    let matching = rules.iter().find(|(users, repositories, refs, verbs, _)| {
        users.iter().any(is_user)
            && repositories.iter().any(is_repository)
            && (refs.is_empty() || refs.iter().any(is_ref))
            && verbs >> verb & 1 == 1
    });
    matching.is_some_and(|rule| rule.4)
}

proptest! {
    #[test]
    fn random_rules_mean_what_a_simple_evaluator_says(rules in proptest::collection::vec(
        (proptest::collection::vec(0..4usize, 1..3), proptest::collection::vec(0..4usize, 1..3), proptest::collection::vec(0..5usize, 0..3), 1..32u8, any::<bool>()),
        0..8,
    )) {
        let book = book(&text_of(&rules));
        let names = ["refs/heads/main", "refs/heads/wip/x", "refs/heads/w", "refs/tags/v1", "refs/notes/x"];
        for user in ["ann", "bob", "eve"] {
            for repository in ["a", "b/x", "b/z", "c"] {
                for (number, verb) in Verb::ALL.into_iter().enumerate().take(5) {
                    let said = names.map(|name| book.ask(user, repository, Some(name.into()), verb).is_allowed);
                    let expected = names.map(|name| naive(&rules, user, repository, name, 0) && naive(&rules, user, repository, name, number));
                    prop_assert_eq!(said, expected, "{} {} {}", user, repository, verb);
                    // What may be done to one of them may be done to some ref.
                    prop_assert!(book.ask(user, repository, None, verb).is_allowed || !said.contains(&true));
                }
            }
        }
    }
}

/// The answer of rules over an empty root to these credentials.
fn authenticate(rules: &Rules, credentials: &Credentials) -> Authentication {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(Driver::authenticate(rules, credentials)).expect("an answer")
}

pub(super) fn rules_of(text: &str) -> (tempfile::TempDir, Rules) {
    let root = tempfile::tempdir().expect("a folder");
    let repositories = Arc::new(Repositories::open(root.path()).expect("a root"));
    (root, Rules::new(book(text), repositories, HashKind::Sha1))
}

fn accepted(name: &str) -> Authentication {
    Authentication::Accepted(UserId::new(name))
}

/// Of `secret`, by crypt(3).
const HASH: &str = "$2b$04$abcdefghijklmnopqrstuu2r9OfJnfCsdneAXAGHnS4UpFFP8WIrW";

#[test]
fn a_password_lets_in_its_user_and_costs_the_same_for_others() {
    let (_root, rules) = rules_of(&format!("[users.ann]\npassword = \"{HASH}\"\n[users.bob]\nkeys = [\"{BOB}\"]\n"));
    let said = |name: &str, word: &str| {
        authenticate(&rules, &Credentials::password(name, crate::access::Secret::new(word), Transport::http(None, true)))
    };
    assert_eq!(said("ann", "secret"), accepted("ann"));
    for (name, word) in [("ann", "wrong"), ("ann", ""), ("bob", "secret"), ("nobody", "secret"), ("anonymous", "secret"), ("", "secret")] {
        assert_eq!(said(name, word), Authentication::Unknown, "{name} {word}");
        // Whoever has none is compared with somebody else's, and the answer is no even where it is right.
        let book = rules.book();
        let (_, user) = book.password_of(name).expect("a hash to compare with");
        assert_eq!(user.is_some(), name == "ann", "{name}");
    }
    let fault = compile("[users.ann]\npassword = \"hunter2\"\n").expect_err("no hash");
    assert!(fault[0].message.contains("begins with $argon2id$") && !fault[0].message.contains("hunter2"), "{fault:?}");
}

#[test]
fn what_is_offered_depends_on_what_is_written_and_on_the_way() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let open = "[[rule]]\nusers = [\"anonymous\"]\nrepositories = [\"x\"]\nallow = [\"read\"]\n";
    let authority = format!("[[certificate_authority]]\nkeys = [\"{BOB}\"]\n");
    for (text, is_encrypted, passwords, certificates, anonymous) in [
        (String::new(), true, false, false, false),
        (format!("[users.ann]\npassword = \"{HASH}\"\n"), true, true, false, false),
        (format!("[users.ann]\npassword = \"{HASH}\"\n"), false, false, false, false),
        (authority, false, false, true, false),
        (open.to_owned(), false, false, false, true),
    ] {
        let (_root, rules) = rules_of(&text);
        let methods = runtime.block_on(rules.methods(&Transport::http(None, is_encrypted))).expect("an answer");
        assert_eq!(
            (methods.keys, methods.passwords, methods.certificates, methods.anonymous),
            (true, passwords, certificates, anonymous),
            "{text}"
        );
    }
}

#[test]
fn who_shows_nothing_reads_what_names_them_and_no_more() {
    let text = r#"
[users.ann]
[groups]
world = ["anonymous", "ann"]
[[rule]]
users = ["@world"]
repositories = ["open"]
allow = ["read", "write"]
[[rule]]
users = ["*"]
repositories = ["staff"]
allow = ["read"]
"#;
    let (_root, rules) = rules_of(text);
    let shown = |name: &str| authenticate(&rules, &Credentials::anonymous(name, Transport::in_memory()));
    assert_eq!(
        (shown(""), shown("anonymous"), shown("git"), shown("ann")),
        (accepted("anonymous"), accepted("anonymous"), Authentication::Unknown, Authentication::Unknown)
    );
    let book = rules.book();
    for (question, is_allowed) in [
        ("anonymous open refs/heads/x read", true),
        ("anonymous open refs/heads/x create", false),
        ("ann open refs/heads/x create", true),
        ("anonymous staff refs/heads/x read", false),
        ("ann staff refs/heads/x read", true),
    ] {
        assert_eq!(ask(&book, question).0, is_allowed, "{question}");
    }
    let none = rules_of("[users.ann]\n").1;
    assert_eq!(authenticate(&none, &Credentials::anonymous("", Transport::in_memory())), Authentication::Unknown);
    for (text, says) in [
        ("[users.anonymous]\n", "has nothing to show"),
        ("[[rule]]\nusers = [\"anonymous\"]\nrepositories = [\"x\"]\nallow = [\"read\", \"write\"]\n", "may read and nothing else"),
    ] {
        let faults = compile(text).expect_err(text);
        assert!(faults[0].message.contains(says), "{faults:?}");
    }
}

#[test]
fn a_key_that_an_authority_took_back_lets_in_nobody() {
    let folder = tempfile::tempdir().expect("a folder");
    let made = |name: &str, lines: &str| {
        let (text, list) = (folder.path().join(format!("{name}.txt")), folder.path().join(name));
        std::fs::write(&text, lines).expect("written");
        let status = std::process::Command::new("ssh-keygen").args(["-q", "-k", "-f"]).arg(&list).arg(&text).status();
        assert!(status.expect("ssh-keygen runs").success());
        [text, list]
    };
    let key = |line| PublicKey::from_openssh(line).expect("a key");
    for lists in
        [made("key", &format!("key: {ANN}\n")), made("sha1", &format!("sha1: {ANN}\n")), made("sha256", &format!("sha256: {ANN}\n"))]
    {
        for list in lists {
            let text = format!(
                "[users.ann]\nkeys = [\"{ANN}\"]\n[users.eve]\nkeys = [\"{EVE}\"]\n[[certificate_authority]]\nkeys = [\"{BOB}\"]\nrevoked = {list:?}\n"
            );
            let mut book = book(&text);
            // Not as one who may do everything either.
            book.add_admin(&key(ANN), "root");
            let root = tempfile::tempdir().expect("a folder");
            let rules = Rules::new(book, Arc::new(Repositories::open(root.path()).expect("a root")), HashKind::Sha1);
            let shown = |line| {
                authenticate(
                    &rules,
                    &Credentials::public_key(key(line), "git".to_owned(), "ssh-ed25519".to_owned(), Transport::in_memory()),
                )
            };
            assert!(matches!(shown(ANN), Authentication::Refused(_)), "{list:?}");
            assert_eq!(shown(EVE), accepted("eve"));
        }
    }
    // Another authority's certificate for that key counts no more either.
    let list = &made("other", &format!("key: {ANN}\n"))[0];
    let text = format!("[users.ann]\n[[certificate_authority]]\nkeys = [\"{BOB}\"]\n[[certificate_authority]]\nkeys = [\"{EVE}\"]\n");
    let certified = Credentials::certificate(certificate(BOB, &["ann"]), "git".to_owned(), Transport::in_memory());
    assert_eq!(authenticate(&rules_of(&text).1, &certified), accepted("ann"));
    let with_list = format!("{text}revoked = {list:?}\n");
    assert!(matches!(authenticate(&rules_of(&with_list).1, &certified), Authentication::Refused(_)));
}

#[test]
fn the_stand_in_for_a_name_stays_when_files_are_read_again() {
    let users = |more: &str| (0..20).map(|at| format!("[users.u{at}]\npassword = \"{HASH}\"\n")).collect::<String>() + more;
    let [one, two] = [book(&users("")), book(&users("[users.bob]\n"))];
    let hash = |book: &RuleBook, name: &str| Arc::as_ptr(&book.password_of(name).expect("one").0);
    let place = |book: &RuleBook, name: &str| (0..20).position(|at| hash(book, &format!("u{at}")) == hash(book, name));
    let names: Vec<String> = (0..50).map(|at| format!("nobody{at}")).collect();
    let chosen: Vec<_> = names.iter().map(|name| place(&one, name)).collect();
    assert_eq!(chosen, names.iter().map(|name| place(&two, name)).collect::<Vec<_>>());
    assert!(chosen.iter().any(|place| *place != chosen[0]), "not one for all");
    // Somebody new with a password takes the places of some, and leaves the others.
    let more = book(&users(&format!("[users.new]\npassword = \"{HASH}\"\n")));
    let kept = names.iter().zip(&chosen).filter(|(name, before)| place(&more, name) == **before).count();
    assert!(kept >= 25, "{kept} of {}", names.len());
}

fn certificate(authority: &str, principals: &[&str]) -> crate::access::Certificate {
    crate::access::Certificate {
        key: PublicKey::from_openssh(ANN).expect("a key"),
        authority: PublicKey::from_openssh(authority).expect("a key"),
        key_id: "laptop".to_owned(),
        serial: 7,
        principals: principals.iter().map(|name| (*name).to_owned()).collect(),
        valid_after_s: 0,
        valid_before_s: u64::MAX,
        critical_options: Default::default(),
        extensions: Default::default(),
    }
}

#[test]
fn a_certificate_means_whom_its_principals_name() {
    let revoked = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(revoked.path(), "serial: 8\n").expect("written");
    let text = format!(
        r#"
[users.ann]
principals = ["ann@example.com", "root"]
[users.bob]
principals = ["root"]
[users.eve]
[groups]
staff = ["ann", "bob"]
[[certificate_authority]]
keys = ["{BOB}"]
users = ["@staff"]
revoked = {:?}
"#,
        revoked.path()
    );
    let book = book(&text);
    let user = Holder::User;
    for (principals, claimed, means) in [
        (&["ann@example.com"][..], "git", user("ann")),
        (&["ann@example.com"], "bob", user("ann")),
        (&["root"], "bob", user("bob")),
        // Her own name is not what certificates call her, and eve is nobody's to name.
        (&["ann"], "ann", Holder::Unknown),
        (&["eve"], "eve", Holder::Unknown),
        (&["eve", "ann@example.com"], "eve", user("ann")),
        (&[], "ann", Holder::Unknown),
        (&["anonymous"], "anonymous", Holder::Unknown),
    ] {
        assert_eq!(book.holder(&certificate(BOB, principals), claimed), means, "{principals:?} {claimed}");
    }
    let several = book.holder(&certificate(BOB, &["root"]), "git");
    assert!(matches!(&several, Holder::Refused(why) if why.contains("several users (ann, bob)")), "{several:?}");
    assert_eq!(book.holder(&certificate(ANN, &["root"]), "bob"), Holder::Unknown, "anybody can sign");
    let mut taken_back = certificate(BOB, &["root"]);
    taken_back.serial = 8;
    assert!(matches!(book.holder(&taken_back, "bob"), Holder::Refused(why) if why.contains("serial number")));
}

#[test]
fn every_fault_of_an_authority_is_told_with_its_place() {
    let text = format!(
        "[[certificate_authority]]\n[[certificate_authority]]\nkeys = [\"{BOB}\"]\nusers = [\"eve\"]\nrevoked = \"/no/such\"\n\
         [[certificate_authority]]\nkeys = [\"{BOB}\"]\n"
    );
    let faults = compile(&text).expect_err("faults");
    let told: Vec<_> = faults.iter().map(|fault| (&text[fault.span.clone().expect("a place")], fault.message.as_str())).collect();
    let key = format!("\"{BOB}\"");
    for (place, says) in [
        ("[[certificate_authority]]", "lacks keys"),
        ("\"eve\"", "no user 'eve'"),
        ("\"/no/such\"", "No such file"),
        (key.as_str(), "another authority"),
    ] {
        assert!(told.iter().any(|(at, message)| *at == place && message.contains(says)), "{place} {says}: {told:#?}");
    }
    assert_eq!(faults.len(), 4, "{told:#?}");
}
