//! Random rules, pushes and fetches through the driver and the real engines, beside an evaluator that goes through all rules in order.

use crate::common::exact::gits_set;
use crate::common::fixture::Random;
use crate::common::pkt::{self, Pkt};
use crate::common::{Sandbox, run};
use gix_hash::ObjectId;
use packmule::access::rules::{Roles, RuleBook, Rules, Written, WrittenGroups, WrittenRule, WrittenUsers};
use packmule::access::{Admission, Command, Credentials, Door, Granted, HashKind, LogIn, RequestPath, Secret, Transport};
use packmule::base::Cancel;
use packmule::serve::{Options, Protocol, Wants, receive_pack, upload_pack};
use packmule::store::Repositories;
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use toml::Spanned;

/// Of `secret`, by crypt(3).
const HASH: &str = "$2b$04$abcdefghijklmnopqrstuu2r9OfJnfCsdneAXAGHnS4UpFFP8WIrW";
const WHO: [&str; 6] = ["ann", "bob", "@staff", "*", "<creator>", "<writers>"];
const REPOSITORIES: [&str; 5] = ["plans", "p*", "/pl.ns/", "<user>/x", "*"];
const REFS: [&str; 6] = ["main", "topic/*", "refs/tags/*", "<user>/*", "/refs\\\\/heads\\\\/.*/", "*"];
const PATHS: [&str; 4] = ["d0/*", "*f*", "/.*[0-9][0-9].*/", "*"];
const VERBS: [&str; 5] = ["read", "create", "update", "rewind", "delete"];
const READ: usize = 0;
const CREATE: usize = 1;
const UPDATE: usize = 2;
const REWIND: usize = 3;
const DELETE: usize = 4;

/// A rule by the numbers of its words.
struct Made {
    who: Vec<usize>,
    repositories: Vec<usize>,
    refs: Vec<usize>,
    paths: Vec<usize>,
    verbs: Vec<usize>,
    allows: bool,
}

fn some(random: &mut Random, of: usize, at_least: usize) -> Vec<usize> {
    (0..at_least + random.below(2)).map(|_| random.below(of)).collect()
}

fn make(random: &mut Random) -> Made {
    let is_about_paths = random.one_in(4);
    let verbs = (0..VERBS.len()).filter(|verb| random.below(5) < 3 && !(is_about_paths && *verb == READ)).collect::<Vec<_>>();
    Made {
        who: some(random, WHO.len(), 1),
        repositories: some(random, REPOSITORIES.len(), 1),
        refs: some(random, REFS.len(), 0),
        paths: if is_about_paths { some(random, PATHS.len(), 1) } else { vec![] },
        verbs: if verbs.is_empty() { vec![UPDATE] } else { verbs },
        allows: random.below(3) < 2,
    }
}

fn text_of(rules: &[Made]) -> String {
    let list = |numbers: &[usize], words: &[&str]| numbers.iter().map(|at| format!("\"{}\"", words[*at])).collect::<Vec<_>>().join(", ");
    let mut text: String = ["ann", "bob", "eve"].map(|name| format!("[users.{name}]\npassword = \"{HASH}\"\n")).concat();
    text += "[groups]\nstaff = [\"bob\", \"eve\"]\n";
    for rule in rules {
        text += &format!(
            "[[rule]]\nusers = [{}]\nrepositories = [{}]\nrefs = [{}]\npaths = [{}]\n{} = [{}]\n",
            list(&rule.who, &WHO),
            list(&rule.repositories, &REPOSITORIES),
            list(&rule.refs, &REFS),
            list(&rule.paths, &PATHS),
            if rule.allows { "allow" } else { "deny" },
            list(&rule.verbs, &VERBS),
        );
    }
    text
}

fn has_two_digits(path: &str) -> bool {
    path.as_bytes().windows(2).any(|pair| pair.iter().all(u8::is_ascii_digit))
}

/// The evaluator: ann made the repository, bob is a writer in it, and it is called plans.
struct Naive<'a> {
    rules: &'a [Made],
    user: &'a str,
}

impl Naive<'_> {
    fn is_about(&self, rule: &Made, verb: usize, name: &str) -> bool {
        let user = self.user;
        let is_user = |at: &usize| [user == "ann", user == "bob", user != "ann", true, user == "ann", user == "bob"][*at];
        let is_repository = |at: &usize| REPOSITORIES[*at] != "<user>/x";
        let is_branch = |prefix: &str| name.starts_with(&format!("refs/heads/{prefix}"));
        let own = format!("{user}/");
        let is_ref = |at: &usize| {
            [name == "refs/heads/main", is_branch("topic/"), name.starts_with("refs/tags/"), is_branch(&own), is_branch(""), true][*at]
        };
        rule.who.iter().any(is_user)
            && rule.repositories.iter().any(is_repository)
            && (rule.refs.is_empty() || rule.refs.iter().any(is_ref))
            && rule.verbs.contains(&verb)
    }

    fn may(&self, verb: usize, name: &str) -> bool {
        self.rules.iter().filter(|rule| rule.paths.is_empty()).find(|rule| self.is_about(rule, verb, name)).is_some_and(|rule| rule.allows)
    }

    fn may_change(&self, verb: usize, name: &str, path: &str) -> bool {
        let is_path = |at: &usize| [path.starts_with("d0/"), path.contains('f'), has_two_digits(path), true][*at];
        let about = self.rules.iter().filter(|rule| rule.paths.iter().any(is_path)).find(|rule| self.is_about(rule, verb, name));
        about.is_none_or(|rule| rule.allows)
    }
}

/// The part of `config.toml` that is about people and rules.
#[derive(Deserialize)]
struct Text {
    users: WrittenUsers,
    groups: WrittenGroups,
    rule: Vec<Spanned<WrittenRule>>,
}

struct House {
    sandbox: Sandbox,
    repository: PathBuf,
    door: Door,
    runtime: tokio::runtime::Runtime,
}

impl House {
    fn new(seed: u64, text: &str) -> Self {
        let sandbox = Sandbox::new();
        let (repository, _) = sandbox.history("root/plans.git", "sha1", seed, 40);
        let mut roles = Roles::made_by("ann");
        roles.roles.insert("writers".to_owned(), vec!["bob".to_owned()]);
        roles.write(&repository).expect("written");
        let Text { users, groups, rule } = toml::from_str(text).expect("TOML");
        let written = Written { key_folder: Path::new(""), users: &users, groups: &groups, authorities: &[], rules: &rule, limits: &[] };
        let book = RuleBook::compile(&written, "config.toml", text).unwrap_or_else(|faults| panic!("{faults:?}\n{text}"));
        let repositories = Arc::new(Repositories::open(&sandbox.path("root")).expect("a root"));
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime");
        Self { door: Door::new(Rules::new(book, repositories, HashKind::Sha1)), sandbox, repository, runtime }
    }

    fn git(&self, args: &[&str]) -> String {
        self.sandbox.git(&self.repository, args)
    }

    fn refs(&self) -> BTreeMap<String, ObjectId> {
        let listed = self.git(&["for-each-ref", "--format=%(objectname) %(refname)"]);
        let parts = listed.lines().map(|line| line.split_once(' ').expect("two words"));
        parts.map(|(id, name)| (name.to_owned(), ObjectId::from_hex(id.as_bytes()).expect("an id"))).collect()
    }

    fn admit(&self, user: &str, command: Command) -> Option<Granted> {
        let credentials = Credentials::password(user, Secret::new("secret"), Transport::in_memory());
        let path = RequestPath::new("plans.git");
        let admitted = self.runtime.block_on(async {
            let Ok(LogIn::Accepted(session)) = self.door.log_in(credentials).await else { panic!("{user} is not let in") };
            session.caller().await?.ask(command, &path).await
        });
        match admitted.expect("an answer") {
            Admission::Granted(granted) => Some(granted),
            Admission::Refused(_) | Admission::NotFound => None,
        }
    }

    /// What the engine answers, as it goes over the wire; nothing where the command may not begin.
    fn answer(&self, user: &str, command: Command, body: &[u8]) -> Option<Vec<u8>> {
        let granted = self.admit(user, command)?;
        let repository = granted.open().expect("no fault").expect("there");
        let gate = granted.into_gate(self.runtime.handle().clone());
        let is_fetch = command == Command::UploadPack;
        let protocol = if is_fetch { Protocol::V2 } else { Protocol::V0 };
        let options = Options { protocol, stateless: true, wants: Wants::ReachableFromVisible, ..Options::default() };
        let mut output = vec![];
        // A refusal is told in the output, too.
        match is_fetch {
            true => drop(upload_pack(&repository, &*gate, &options, body, &mut output, &Cancel::new())),
            false => drop(receive_pack(&repository, &*gate, &options, body, &mut output, &Cancel::new())),
        }
        Some(output)
    }
}

/// A request of protocol 2.
fn request(name: &str, arguments: &[String]) -> Vec<u8> {
    let mut body = [pkt::data(format!("command={name}\n")), b"0001".to_vec()].concat();
    arguments.iter().for_each(|argument| body.extend(pkt::data(format!("{argument}\n"))));
    [body, b"0000".to_vec()].concat()
}

fn pack_of(mut answer: &[u8]) -> Vec<u8> {
    let (mut pack, mut has_begun) = (vec![], false);
    while let Ok(Some(packet)) = pkt::take(&mut answer) {
        match packet {
            Pkt::Data(line) if line == b"packfile\n" => has_begun = true,
            Pkt::Data(line) if has_begun && line[0] == 1 => pack.extend_from_slice(&line[1..]),
            _ => {}
        }
    }
    pack
}

/// Everything that `user` may see, and nothing else, is listed and sent.
fn fetch_as(house: &House, naive: &Naive<'_>, copy: &str) {
    let (user, refs) = (naive.user, house.refs());
    let visible: BTreeMap<&String, &ObjectId> = refs.iter().filter(|(name, _)| naive.may(READ, name)).collect();
    let listed = house.answer(user, Command::UploadPack, &request("ls-refs", &[])).unwrap_or_default();
    let listed = String::from_utf8_lossy(&listed).into_owned();
    let seen: BTreeSet<&str> = listed.split(['\n', ' ']).filter(|word| word.starts_with("refs/")).collect();
    assert_eq!(seen, visible.keys().map(|name| name.as_str()).collect(), "{user} lists");
    let wants: Vec<ObjectId> = visible.values().map(|id| **id).collect();
    let ask = |wants: &[ObjectId]| {
        let lines: Vec<String> = wants.iter().map(|id| format!("want {id}")).chain(["done".to_owned()]).collect();
        pack_of(&house.answer(user, Command::UploadPack, &request("fetch", &lines)).unwrap_or_default())
    };
    let mut reachable = BTreeSet::new();
    if !wants.is_empty() {
        let copy = house.sandbox.bare(copy, "sha1");
        house.sandbox.git_with_input(&copy, ["index-pack", "--stdin"], &ask(&wants));
        let sent = house.sandbox.git(&copy, ["cat-file", "--batch-all-objects", "--batch-check=%(objectname)"]);
        reachable = gits_set(&house.sandbox, &house.repository, &wants, &[], None);
        let sent: BTreeSet<ObjectId> = sent.lines().map(|id| ObjectId::from_hex(id.as_bytes()).expect("an id")).collect();
        assert_eq!(sent, reachable, "{user} fetches");
    }
    for (name, tip) in refs.iter().filter(|(_, tip)| !reachable.contains(*tip)) {
        assert!(ask(&[*tip]).is_empty(), "{user} has {name}");
    }
}

fn verb_of(house: &House, name: &str, old: Option<&String>, new: Option<&String>) -> usize {
    match (old, new) {
        (None, _) => CREATE,
        (_, None) => DELETE,
        (Some(old), Some(new)) => {
            let mut forward = house.sandbox.git_command(&house.repository, ["merge-base", "--is-ancestor", old, new]);
            if !name.starts_with("refs/tags/") && run(&mut forward).status.success() { UPDATE } else { REWIND }
        }
    }
}

/// Some edits at once: each happens if and only if the evaluator says so.
fn push_as(house: &House, naive: &Naive<'_>, random: &mut Random) {
    let (user, refs) = (naive.user, house.refs());
    let visible: Vec<String> = refs.iter().filter(|(name, _)| naive.may(READ, name)).map(|(_, id)| id.to_string()).collect();
    let listed = if visible.is_empty() {
        String::new()
    } else {
        house.git(&[&["rev-list"][..], &visible.iter().map(String::as_str).collect::<Vec<_>>()].concat())
    };
    let commits: Vec<&str> = listed.lines().collect();
    let branches = refs.keys().filter(|name| name.starts_with("refs/heads/")).cloned();
    let made = ["refs/heads/topic/made", "refs/heads/made", "refs/tags/made"].map(str::to_owned);
    let names: BTreeSet<String> = branches.chain(made).chain([format!("refs/heads/{user}/made")]).collect();
    let mut names: Vec<String> = names.into_iter().collect();
    let null = "0".repeat(40);
    let (mut body, mut expected, mut has_new) = (vec![], vec![], false);
    for _ in 0..3 {
        let name = names.swap_remove(random.below(names.len()));
        let old = refs.get(&name).map(ToString::to_string);
        let deletes = old.is_some() && name != "refs/heads/main" && random.one_in(4);
        let new = if deletes || commits.is_empty() { None } else { Some(commits[random.below(commits.len())].to_owned()) };
        if old == new {
            continue;
        }
        let verb = verb_of(house, &name, old.as_ref(), new.as_ref());
        if verb == DELETE && name == "refs/heads/main" {
            continue; // what HEAD names stays, whatever rules say
        }
        let empty = house.sandbox.git_with_input(&house.repository, ["mktree"], b"");
        let tree = |id: &Option<String>| id.as_ref().map_or(empty.clone(), |id| format!("{id}^{{tree}}"));
        let changed = house.git(&["diff", "--name-only", "-z", "--no-renames", &tree(&old), &tree(&new)]);
        let mut paths = changed.split('\0').filter(|path| !path.is_empty());
        let may = naive.may(READ, &name) && naive.may(verb, &name) && paths.all(|path| naive.may_change(verb, &name, path));
        let capabilities = if expected.is_empty() { "\0report-status" } else { "" };
        let (old, new) = (old.unwrap_or_else(|| null.clone()), new.unwrap_or_else(|| null.clone()));
        has_new |= new != null;
        body.extend(pkt::data(format!("{old} {new} {name}{capabilities}")));
        expected.push((name, VERBS[verb], may));
    }
    if expected.is_empty() {
        return;
    }
    body.extend(b"0000");
    if has_new {
        let mut pack = b"PACK\0\0\0\x02\0\0\0\0".to_vec();
        let mut hasher = gix_hash::hasher(gix_hash::Kind::Sha1);
        hasher.update(&pack);
        pack.extend_from_slice(hasher.try_finalize().expect("no collision").as_slice());
        body.extend(pack);
    }
    let said = house.answer(user, Command::ReceivePack, &body).unwrap_or_default();
    let said = String::from_utf8_lossy(&said).into_owned();
    for (name, verb, may) in &expected {
        assert_eq!(said.contains(&format!("ok {name}\n")), *may, "{user} {verb} {name}: {said}");
    }
}

#[test]
fn random_rules_mean_to_the_engines_what_a_simple_evaluator_says() {
    for seed in 1..=10 {
        let mut random = Random(seed);
        let rules: Vec<Made> = (0..2 + random.below(9)).map(|_| make(&mut random)).collect();
        let text = text_of(&rules);
        println!("seed {seed}\n{text}"); // shown when it fails
        let house = House::new(seed, &text);
        for user in ["ann", "bob", "eve"] {
            let naive = Naive { rules: &rules, user };
            fetch_as(&house, &naive, &format!("{user}.git"));
            push_as(&house, &naive, &mut random);
            push_as(&house, &naive, &mut random);
        }
        house.git(&["fsck", "--strict", "--no-dangling"]);
    }
}
