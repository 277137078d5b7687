//! Small configurations into the text that comes of them.

use super::*;

/// What comes of `conf`.
fn import(conf: &str) -> Result<Import, Vec<Remark>> {
    let dir = tempfile::tempdir().expect("a folder");
    let file = dir.path().join("gitolite.conf");
    std::fs::write(&file, conf).expect("written");
    from_gitolite(&Original { conf: &file, key_folder: None, roles: &[] })
}

/// The rules of it, one per line and without their origins.
fn rules(conf: &str) -> Vec<String> {
    let toml = import(conf).expect("no faults").toml;
    let rules = toml.split("[[").skip(1).map(|rule| {
        let lines = rule.lines().skip(1).filter(|line| !line.starts_with('#') && !line.is_empty());
        format!("{} {}", rule.split("]]").next().unwrap_or_default(), lines.collect::<Vec<_>>().join("; "))
    });
    rules.collect()
}

#[test]
fn a_rule_becomes_one_rule_or_two_where_it_names_refs() {
    assert_eq!(
        rules("repo foo bar\n RW+ = alice @lead\n - master = dev\n RW dev/ = dev\n R = boss\n"),
        [
            r#"rule users = ["alice", "@lead"]; repositories = ["foo", "bar"]; allow = ["read", "write", "rewind", "delete", "create-repository"]"#,
            r#"rule users = ["dev"]; repositories = ["foo", "bar"]; refs = ["master*"]; deny = ["write", "rewind", "delete"]"#,
            r#"rule users = ["dev"]; repositories = ["foo", "bar"]; allow = ["read"]"#,
            r#"rule users = ["dev"]; repositories = ["foo", "bar"]; refs = ["dev/*"]; allow = ["write", "create-repository"]"#,
            r#"rule users = ["boss"]; repositories = ["foo", "bar"]; allow = ["read"]"#,
        ]
    );
}

#[test]
fn c_and_d_change_what_other_rules_of_the_repository_mean() {
    assert_eq!(
        rules("repo foo\n RW+CD = a\n RW+ = b\nrepo bar\n RW+ = b\n"),
        [
            r#"rule users = ["a"]; repositories = ["foo"]; allow = ["read", "write", "rewind", "delete", "create-repository"]"#,
            r#"rule users = ["b"]; repositories = ["foo"]; allow = ["read", "update", "rewind", "create-repository"]"#,
            r#"rule users = ["b"]; repositories = ["bar"]; allow = ["read", "write", "rewind", "delete", "create-repository"]"#,
        ]
    );
}

#[test]
fn everything_wrong_is_told_with_its_place() {
    let faults = import("repo foo\n RW+ m[aster = u1 u!2\n RW (a = @u\n@x = @y\nsubconf foo\nrepo f%o\n").expect_err("faults");
    let told: Vec<_> = faults.iter().map(|fault| (fault.line().expect("a line").0, fault.message.as_str())).collect();
    assert_eq!(told.len(), 6, "{told:?}");
    for line in [2, 2, 3, 4, 5, 6] {
        assert!(told.iter().any(|(at, _)| *at == line), "{line}: {told:?}");
    }
    let fault = faults.iter().find(|fault| fault.message.contains("u!2")).expect("it is told");
    assert_eq!(fault.span.clone().map(|span| &fault.source.text[span]), Some("u!2"));
}

#[test]
fn notes_name_what_has_no_equal() {
    let conf = "repo gitolite-admin\n RW = ann daemon @ldap\n config a.b = c\n option mirror.master = x\n desc = \"x\"\n - VREF/lock = ann\n what is this\n";
    let notes = import(conf).expect("no faults").notes;
    let told: Vec<_> = notes.iter().filter_map(|note| note.line()).map(|(line, _)| line).collect();
    for line in [1, 2, 3, 4, 5, 6, 7] {
        assert!(told.contains(&line), "{line}: {notes:?}");
    }
}

#[test]
fn deny_rules_make_a_minus_count_for_reading() {
    assert_eq!(
        rules("repo s\n - = x\n option deny-rules = 1\nrepo @all\n R = @all\n"),
        [
            r#"rule users = ["x"]; repositories = ["s"]; deny = ["read", "write", "rewind", "delete", "create-repository"]"#,
            r#"rule users = ["*"]; repositories = ["*"]; allow = ["read"]"#,
        ]
    );
    // Who may only read by then gets no further with a push, whatever its refs.
    assert_eq!(
        rules("repo s\n R = u\n - m = u\n RW = u\n option deny-rules = 1\n")[1],
        r#"rule users = ["u"]; repositories = ["s"]; deny = ["write", "rewind", "delete"]"#
    );
    // Nor does anybody make a repository whom it stops, though they read by then.
    assert_eq!(
        rules("repo s/..*\n R = u\n - m = u\n C = u\n option deny-rules = 1\n")[1],
        r#"rule users = ["u"]; repositories = ["/s/..*/"]; deny = ["create-repository"]"#
    );
}

#[test]
fn virtual_refs_become_paths_and_limits() {
    assert_eq!(
        rules(
            "repo r\n RW = dev\n - VREF/NAME/Makefile = dev\n RW+ VREF/COUNT/9 = boss\n - VREF/COUNT/9 = @all\n - VREF/COUNT/3/NEWFILES = dev\n - VREF/MERGE-CHECK/master = dev\n"
        )[1..],
        [
            r#"rule users = ["dev"]; repositories = ["r"]; paths = ["Makefile*"]; deny = ["write", "rewind", "delete"]"#,
            r#"rule users = ["boss"]; repositories = ["r"]; allow = ["read"]"#,
            r#"limit users = ["*"]; repositories = ["r"]; paths_max = 9; when = '!(user == "boss")'"#,
            r#"limit users = ["dev"]; repositories = ["r"]; new_paths_max = 3"#,
            r#"limit users = ["dev"]; repositories = ["r"]; refs = ["master*"]; merges = false"#,
        ]
    );
}

#[test]
fn where_c_counts_for_some_repositories_only_a_condition_says_so() {
    assert_eq!(
        rules("repo @all\n RW = x\nrepo foo\n RWC = y\n")[..2],
        [
            r#"rule users = ["x"]; repositories = ["*"]; when = '(repository == "foo")'; allow = ["read", "update"]"#,
            r#"rule users = ["x"]; repositories = ["*"]; when = '!(repository == "foo")'; allow = ["read", "write"]"#,
        ]
    );
}

#[test]
fn sections_of_gitosis_become_rules_of_groups() {
    let dir = tempfile::tempdir().expect("a folder");
    let file = dir.path().join("gitosis.conf");
    let conf = "[gitosis]\ndaemon = no\n[group quux]\nmembers = jdoe @other\n  late\nwritable = foo bar/*\nreadonly = x.git\n[group other]\nmembers = al @quux\n[group all]\nreadonly = pub\n";
    std::fs::write(&file, conf).expect("written");
    let imported = from_gitosis_lite(&Original { conf: &file, key_folder: None, roles: &[] }).expect("no faults");
    for words in [
        "quux = [\"al\", \"jdoe\", \"late\"]\n",
        "users = [\"@quux\"]\nrepositories = [\"foo\", \"bar/*\"]\nallow = [\"read\", \"write\", \"rewind\", \"delete\", \"create-repository\"]\n",
        "users = [\"@quux\"]\nrepositories = [\"x\"]\nallow = [\"read\"]\n",
        "users = [\"*\"]\nrepositories = [\"pub\"]\nallow = [\"read\"]\n",
    ] {
        assert!(imported.toml.contains(words), "{words}\n{}", imported.toml);
    }
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig { failure_persistence: None, ..Default::default() })]
    #[test]
    fn no_text_makes_it_panic(
        text in "([@a-dRWCDM+=#\"' \\\\|$().*\\[\\]{}/!ü-]|\n|repo |RW = |VREF/NAME/|VREF/COUNT/1|subconf \"|USER/|CREATOR|option deny-rules = 1\n){0,60}",
        words in "\\PC{0,60}",
    ) {
        for conf in [format!("repo a\n{text}\n"), text, words] {
            let _ = import(&conf);
            let dir = tempfile::tempdir().expect("a folder");
            let file = dir.path().join("x.conf");
            std::fs::write(&file, format!("[group a]\n{conf}")).expect("written");
            let _ = from_gitosis_lite(&Original { conf: &file, key_folder: None, roles: &[] });
        }
    }
}
