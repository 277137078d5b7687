//! Random configurations of gitolite: what comes of them judges as a naive reading of gitolite's documentation does.

use super::super::config::parse;
use crate::access::import::{Original, from_gitolite};
use crate::access::rules::{RuleBook, Verb};
use proptest::prelude::*;

const USERS: [&str; 4] = ["ann", "bob", "eve", "dan"];
const GROUPS: [(&str, &[&str]); 2] = [("@staff", &["ann", "bob"]), ("@late", &["bob", "eve"])];
const REPOSITORIES: [&str; 5] = ["a", "b", "x/1", "x/2", "y"];
const REPOSITORY_WORDS: [&str; 8] = ["a", "b", "x/1", "x/..*", "@some", "@all", "[a-b]", "y"];
const USER_WORDS: [&str; 7] = ["ann", "bob", "eve", "dan", "@staff", "@late", "@all"];
const REFEXES: [&str; 7] = ["", "main", "main$", "dev/", "refs/tags/v[0-9]", "dev|rel", "refs/heads/"];
const REFS: [&str; 6] = ["refs/heads/main", "refs/heads/mainly", "refs/heads/dev/x", "refs/heads/my-rel", "refs/tags/v1", "refs/tags/x"];
const PERMISSIONS: [&str; 12] = ["-", "C", "R", "RW", "RW+", "RWC", "RW+C", "RWD", "RW+D", "RW+CD", "RWCD", "-"];

#[derive(Clone, Debug)]
enum Line {
    Rule { permission: usize, refex: usize, users: Vec<usize> },
    DenyRules(bool),
}

type Block = (Vec<usize>, Vec<Line>);

fn lines() -> impl Strategy<Value = Line> {
    let users = proptest::collection::vec(0..USER_WORDS.len(), 1..3);
    prop_oneof![
        8 => (0..PERMISSIONS.len(), 0..REFEXES.len(), users).prop_map(|(permission, refex, users)| Line::Rule { permission, refex, users }),
        1 => any::<bool>().prop_map(Line::DenyRules),
    ]
}

fn blocks() -> impl Strategy<Value = Vec<Block>> {
    let block = (proptest::collection::vec(0..REPOSITORY_WORDS.len(), 1..3), proptest::collection::vec(lines(), 1..5));
    proptest::collection::vec(block, 1..4)
}

fn written(blocks: &[Block]) -> String {
    let words = |words: &[usize], from: &[&str]| words.iter().map(|at| from[*at]).collect::<Vec<_>>().join(" ");
    let mut text = "@some = b x/2\n@all-of-us = dan\n".to_owned();
    for (name, members) in GROUPS {
        text += &format!("{name} = {}\n", members.join(" "));
    }
    text += "repo nothing\n R = ann bob eve dan\n";
    for (repositories, lines) in blocks {
        text += &format!("repo {}\n", words(repositories, &REPOSITORY_WORDS));
        for line in lines {
            text += &match line {
                Line::Rule { permission, refex, users } => {
                    format!("    {} {} = {}\n", PERMISSIONS[*permission], REFEXES[*refex], words(users, &USER_WORDS))
                }
                Line::DenyRules(holds) => format!("    option deny-rules = {}\n", u8::from(*holds)),
            };
        }
    }
    text
}

/// gitolite as its documentation has it, for one user and one repository.
struct Naive {
    /// Permission and refex of every rule about them, in order.
    rules: Vec<(&'static str, &'static str)>,
    deny_rules: bool,
    create_is_c: bool,
    delete_is_d: bool,
}

impl Naive {
    fn of(blocks: &[Block], user: &str, repository: &str) -> Self {
        let mut naive = Self { rules: vec![], deny_rules: false, create_is_c: false, delete_is_d: false };
        let is_here = |word: &str| match word {
            "@all" => true,
            "@some" => ["b", "x/2"].contains(&repository),
            "x/..*" => repository.starts_with("x/"),
            "[a-b]" => ["a", "b"].contains(&repository),
            name => name == repository,
        };
        for (repositories, lines) in blocks {
            if !repositories.iter().any(|at| is_here(REPOSITORY_WORDS[*at])) {
                continue;
            }
            for line in lines {
                match line {
                    Line::DenyRules(holds) => naive.deny_rules = *holds,
                    Line::Rule { permission, refex, users } => {
                        let permission = PERMISSIONS[*permission];
                        naive.create_is_c |= permission.starts_with("RW") && permission.contains('C');
                        naive.delete_is_d |= permission.contains('D');
                        let names = |word: &str| {
                            word == user
                                || word == "@all"
                                || GROUPS.iter().any(|(group, members)| *group == word && members.contains(&user))
                        };
                        if users.iter().any(|at| names(USER_WORDS[*at])) {
                            naive.rules.push((permission, REFEXES[*refex]));
                        }
                    }
                }
            }
        }
        naive
    }

    /// The first check: before the ref is known.
    fn passes(&self, letter: &str) -> bool {
        let counting = self.rules.iter().filter(|(permission, _)| self.deny_rules || *permission != "-");
        let has = |permission: &str| if letter == "^C" { permission == "C" } else { permission.contains(letter) };
        counting
            .map(|(permission, _)| *permission)
            .find(|permission| *permission == "-" || has(permission))
            .is_some_and(|found| found != "-")
    }

    /// The second check: the ref is known.
    fn takes(&self, letter: &str, name: &str) -> bool {
        let matches = |refex: &str| match refex {
            "" => true,
            "main" => name.starts_with("refs/heads/main"),
            "main$" => name == "refs/heads/main",
            "dev/" => name.starts_with("refs/heads/dev/"),
            "refs/tags/v[0-9]" => name.strip_prefix("refs/tags/v").is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit())),
            "dev|rel" => name.starts_with("refs/heads/dev") || name.contains("rel"),
            "refs/heads/" => name.starts_with("refs/heads/"),
            other => panic!("what is {other}?"),
        };
        // `C` alone is about making repositories.
        let has = |permission: &str| permission != "C" && permission.contains(letter);
        let found = self.rules.iter().filter(|(_, refex)| matches(refex)).find(|(permission, _)| *permission == "-" || has(permission));
        found.is_some_and(|(permission, _)| *permission != "-")
    }

    fn may(&self, verb: Verb, name: &str) -> bool {
        let letter = match verb {
            Verb::Create if self.create_is_c => "C",
            Verb::Create | Verb::Update => "W",
            Verb::Delete if self.delete_is_d => "D",
            _ => "+",
        };
        self.passes("W") && self.takes(letter, name)
    }
}

/// What comes of `conf`, read back.
fn imported(conf: &str) -> Result<RuleBook, String> {
    let dir = tempfile::tempdir().expect("a folder");
    let file = dir.path().join("gitolite.conf");
    std::fs::write(&file, conf).expect("written");
    let import = from_gitolite(&Original { conf: &file, key_folder: None, roles: &[] }).map_err(|faults| format!("{faults:?}\n{conf}"))?;
    let config = parse(&import.toml).map_err(|mistake| mistake.draw("", &import.toml))?;
    RuleBook::compile(&config.written(), "config.toml", &import.toml).map_err(|faults| format!("{faults:?}\n{}", import.toml))
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(400) })]
    #[test]
    fn what_comes_of_it_decides_as_gitolite_does(blocks in blocks()) {
        let conf = written(&blocks);
        let book = imported(&conf);
        let book = book.map_err(TestCaseError::fail)?;
        for user in USERS {
            for repository in REPOSITORIES {
                let naive = Naive::of(&blocks, user, repository);
                let reads = naive.passes("R");
                let about = format!("{user} {repository}\n{conf}");
                prop_assert_eq!(book.ask(user, repository, None, Verb::Read).is_allowed, reads, "read {}", about);
                for name in REFS {
                    prop_assert_eq!(book.ask(user, repository, Some(name.into()), Verb::Read).is_allowed, reads, "read {}", about);
                    for verb in [Verb::Create, Verb::Update, Verb::Rewind, Verb::Delete] {
                        let judged = book.ask(user, repository, Some(name.into()), verb);
                        prop_assert_eq!(judged.is_allowed, naive.may(verb, name), "{} {} {:?} {}", verb, name, judged.rule, about);
                    }
                }
                // Those that are named are there already in gitolite, and who may write to them may make them here.
                if repository == "x/2" {
                    continue;
                }
                let is_named = blocks.iter().flat_map(|(words, _)| words).any(|at| REPOSITORY_WORDS[*at] == repository || REPOSITORY_WORDS[*at] == "@some" && repository == "b");
                if !is_named {
                    let makes = book.ask(user, repository, None, Verb::CreateRepository).is_allowed;
                    prop_assert_eq!(makes, reads && naive.passes("^C"), "make {}", about);
                }
            }
        }
    }
}
