//! What rules cost: to read them, to find who holds a key, to let a command begin, to judge the refs of a push and of a fetch.
//!
//! `cargo bench --bench access -- [--rounds N] [--keys N] [--rules N] [--refs N]`. Users with a key each, in groups of a thousand;
//! rules by exact name, glob and regular expression of repositories and refs, for users, groups and everybody. Counted are CPU
//! seconds of this process; figures are medians. "crowded": a repository that a tenth of the rules is about.

mod measure;

use measure::median;
use packmule::access::rules::{RuleBook, Rules, Written, WrittenGroups, WrittenRule, WrittenUsers};
use packmule::access::{Admission, Command, Credentials, Door, HashKind, LogIn, PublicKey, RequestPath, Secret, Transport};
use packmule::base::Cancel;
use packmule::serve::{Changes, EditKind, Gate, Proposal, ProposedEdit, Verdict};
use packmule::store::{Repositories, Repository};
use rustix::time::{ClockId, clock_gettime};
use serde::Deserialize;
use std::fmt::Write as _;
use std::path::Path;
use std::sync::Arc;
use toml::Spanned;

/// How much of everything.
pub struct Options {
    /// Samples of each figure.
    pub rounds: usize,
    /// Users, each with a key.
    pub keys: usize,
    /// Rules.
    pub rules: usize,
    /// Refs of a push.
    pub refs: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self { rounds: 5, keys: 100_000, rules: 10_000, refs: 1_000 }
    }
}

/// Of `secret`, by crypt(3): keys of strangers cannot be shown here.
const HASH: &str = "$2b$04$abcdefghijklmnopqrstuu2r9OfJnfCsdneAXAGHnS4UpFFP8WIrW";
const GROUP_SIZE: usize = 1_000;

/// The part of `config.toml` that is about people and rules.
#[derive(Deserialize)]
struct Text {
    users: WrittenUsers,
    groups: WrittenGroups,
    rule: Vec<Spanned<WrittenRule>>,
}

/// A key that nobody holds.
fn key(number: usize) -> String {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&number.to_le_bytes());
    let key = ssh_key::PublicKey::from(ssh_key::public::Ed25519PublicKey(bytes));
    key.to_openssh().expect("a key is text")
}

fn text(options: &Options) -> String {
    let mut text = String::new();
    for user in 0..options.keys {
        let _ = writeln!(text, "[users.user-{user}]\nkeys = [\"{}\"]", key(user));
        if user == 0 {
            let _ = writeln!(text, "password = \"{HASH}\"");
        }
    }
    text += "[groups]\n";
    let groups = options.keys.div_ceil(GROUP_SIZE);
    for group in 0..groups {
        let members = (0..options.keys).skip(group).step_by(groups).map(|user| format!("\"user-{user}\""));
        let _ = writeln!(text, "group-{group} = [{}]", members.collect::<Vec<_>>().join(", "));
    }
    for rule in 0..options.rules {
        let users = match rule % 4 {
            0 => "*".to_owned(),
            1 => format!("user-{}", rule * 7 % options.keys),
            _ => format!("@group-{}", rule % groups),
        };
        let repositories = match rule % 10 {
            0 => "crowded".to_owned(),
            1..=5 => format!("team-{}/project", rule / 10),
            6 | 7 => format!("team-{}/*/src", rule / 10),
            8 => format!("team-{}/*", rule / 10),
            _ => format!("/team-{}/[a-z]+-[0-9]+/", rule / 10),
        };
        let refs = match rule / 10 % 4 {
            0 => format!("topic-{rule}/*"),
            1 => format!("/refs/heads/fix-{rule}-[0-9]+/"),
            2 => format!("release-{rule}"),
            _ => format!("refs/tags/v{rule}.*-rc?"),
        };
        let word = if rule % 5 == 0 && rule % 10 != 0 { "deny" } else { "allow" };
        let _ = writeln!(
            text,
            "[[rule]]\nusers = [\"{users}\"]\nrepositories = [\"{repositories}\"]\nrefs = [\"{refs}\"]\n{word} = [\"read\", \"write\"]"
        );
    }
    for (repository, allow) in [("crowded", "read"), ("quiet", "read\", \"write")] {
        let _ = writeln!(text, "[[rule]]\nusers = [\"*\"]\nrepositories = [\"{repository}\"]\nallow = [\"{allow}\"]");
    }
    text
}

fn read(text: &str) -> RuleBook {
    let Text { users, groups, rule } = toml::from_str(text).expect("TOML");
    let written = Written { key_folder: Path::new(""), users: &users, groups: &groups, authorities: &[], rules: &rule, limits: &[] };
    RuleBook::compile(&written, "config.toml", text).expect("no fault")
}

/// CPU seconds of this process so far.
fn spent() -> f64 {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

/// One figure: the median over rounds of what one of `count` in a row costs.
fn row<T>(options: &Options, name: &str, count: usize, mut work: impl FnMut(usize) -> T) {
    let sample = |_| {
        let begun = spent();
        for at in 0..count {
            std::hint::black_box(work(at));
        }
        (spent() - begun) / count as f64
    };
    println!("| {name} | {:.3} |", median((0..options.rounds).map(sample)) * 1e3);
}

fn open(root: &Path, name: &str) -> Repository {
    let path = root.join(format!("{name}.git"));
    measure::git(root, &["init", "-q", "--bare", &path.to_string_lossy()]);
    Repository::open(&path, packmule::store::ConfigScope::RepositoryOnly).expect("a repository")
}

fn edits(options: &Options) -> Vec<ProposedEdit> {
    let null = gix_hash::ObjectId::null(HashKind::Sha1);
    let name = |at: usize| match at % 4 {
        0 => format!("refs/heads/topic-{}/x", at * 10),
        1 => format!("refs/heads/fix-{}-7", at * 10),
        2 => format!("refs/heads/release-{}", at * 10),
        _ => format!("refs/tags/v{}.1-rc1", at * 10),
    };
    (0..options.refs).map(|at| ProposedEdit { name: name(at).into(), old: null, new: null, kind: EditKind::Create }).collect()
}

/// All rows; how many there were.
pub fn run(options: &Options) -> usize {
    let folder = tempfile::tempdir().expect("a folder");
    let text = text(options);
    println!("{} keys, {} rules, {} KiB of text\n", options.keys, options.rules, text.len() >> 10);
    println!("| | CPU ms |\n|---|---|");
    row(options, "read the rules", 1, |_| read(&text));
    let book = read(&text);
    let keys: Vec<PublicKey> = (0..1_000).map(|at| PublicKey::from_openssh(&key(at * 997 % options.keys)).expect("a key")).collect();
    row(options, "whose key is it", keys.len(), |at| book.owner(&keys[at]).expect("known").len());
    let snapshots = ["quiet", "crowded"].map(|name| open(folder.path(), name).snapshot().expect("a view"));
    let repositories = Arc::new(Repositories::open(folder.path()).expect("a root"));
    let door = Door::new(Rules::new(book, repositories, HashKind::Sha1));
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime");
    let credentials = Credentials::password("user-0", Secret::new("secret"), Transport::in_memory());
    let LogIn::Accepted(session) = runtime.block_on(door.log_in(credentials)).expect("an answer") else { panic!("not let in") };
    let admit = |name: &str| {
        let path = RequestPath::new(name);
        let admitted = runtime.block_on(async { session.caller().await?.ask(Command::ReceivePack, &path).await });
        let Ok(Admission::Granted(granted)) = admitted else { panic!("{name}: {admitted:?}") };
        granted
    };
    let edits = edits(options);
    for (name, view) in ["quiet", "crowded"].into_iter().zip(&snapshots) {
        row(options, &format!("may a command begin, {name}"), 20, |_| admit(name));
        let gates: Vec<Box<dyn Gate>> = (0..options.rounds).map(|_| admit(name).into_gate(runtime.handle().clone())).collect();
        let mut gates = gates.iter();
        row(options, &format!("judge a push of {} refs, {name}", edits.len()), 1, |_| {
            // What a push changes is asked for once.
            let changes = Changes::new(view, &edits, &Cancel::new());
            let proposal = Proposal { edits: &edits, push_options: &[], view, creates_repository: false, changes: &changes };
            let verdicts = gates.next().expect("one for each round").judge(&proposal);
            let allowed = verdicts.iter().filter(|verdict| **verdict == Verdict::Allow).count();
            assert!(allowed > 0 && (name == "quiet") == (allowed == edits.len()), "{allowed} allowed in {name}");
        });
    }
    println!();
    6
}

/// Reads the command line.
#[allow(dead_code, reason = "the smoke test calls `run`")]
fn main() {
    let mut options = Options::default();
    let mut args = std::env::args().skip(1).filter(|arg| arg != "--bench");
    while let Some(arg) = args.next() {
        let number = args.next().expect("a number follows").parse().expect("a number");
        match arg.as_str() {
            "--rounds" => options.rounds = number,
            "--keys" => options.keys = number,
            "--rules" => options.rules = number,
            "--refs" => options.refs = number,
            other => panic!("{other} is not known: --rounds, --keys, --rules, --refs are"),
        }
    }
    run(&options);
}
