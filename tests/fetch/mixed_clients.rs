//! Clients that do without some objects and without old history at once, of servers with bitmaps and commit-graphs that grow and
//! are packed anew between fetches: never an object more than stock git sends, and a client that stock git finds whole.

use crate::common::fixture::Random;
use crate::common::remote::Remote;
use crate::common::{Case, PACKMULE, Sandbox, check, report, run};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

const FILTERS: [&str; 6] = ["blob:none", "blob:limit=1k", "tree:0", "tree:2", "object:type=commit", "combine:tree:3+blob:limit=2k"];

/// Whoever serves, as the client's configuration names it. Bitmaps make git send other sets: without them it is the measure.
const SERVERS: [&str; 2] = [PACKMULE, "git -c pack.useBitmaps=false"];

/// A copy of `client` that fetches with `options` from one of the servers; what came, or what was said.
fn fetched(
    sandbox: &Sandbox,
    case: Case,
    client: &Path,
    to: &str,
    server: &str,
    options: &[String],
) -> (PathBuf, Result<BTreeSet<String>, String>) {
    let copy = sandbox.copy(client, to);
    sandbox.git(&copy, ["config", "remote.origin.uploadpack", &format!("{server} upload-pack")]);
    let before = check::packed(sandbox, &copy);
    let version = format!("protocol.version={}", case.protocol);
    let fixed = ["-c", &version, "-c", "fetch.unpackLimit=1", "fetch", "-q", "--force"].map(str::to_owned);
    let mut command = sandbox.git_command(&copy, fixed.into_iter().chain(options.iter().cloned()));
    command.args(["origin", "refs/heads/*:refs/heads/*", "refs/tags/*:refs/tags/*"]);
    let output = run(&mut command);
    let outcome = match output.status.success() {
        true => Ok(check::packed(sandbox, &copy).difference(&before).cloned().collect()),
        false => Err(report(&command, &output)),
    };
    (copy, outcome)
}

/// Everything is there but what is promised, as far as history goes.
fn is_whole(sandbox: &Sandbox, client: &Path, context: &str) {
    let complaints = check::complaints(sandbox, client);
    assert!(complaints.is_empty(), "{complaints:?}: {context}");
    let mut listed = sandbox.git_command(client, ["rev-list", "--objects", "--quiet", "--missing=allow-promisor", "--all"]);
    listed.env("GIT_NO_LAZY_FETCH", "1");
    let output = run(&mut listed);
    assert!(output.status.success(), "{context}: {}", report(&listed, &output));
}

fn some_options(random: &mut Random) -> Vec<String> {
    match random.below(7) {
        0..3 => vec![],
        3 => vec![format!("--depth={}", 1 + random.below(12))],
        4 => vec![format!("--deepen={}", 1 + random.below(4))],
        5 => vec![format!("--shallow-since={}", 1_600_000_000 + 2500 * random.below(60))],
        _ => vec!["--unshallow".to_owned()],
    }
}

/// A clone and some fetches.
fn hold(case: Case, seed: u64, rounds: usize) {
    let sandbox = Sandbox::new();
    let remote = Remote::stdio(&sandbox, case);
    let mut random = Random(seed);
    let (server, mut story) = remote.history("server", seed, 50);
    for key in ["uploadpack.allowFilter", "uploadpack.allowAnySHA1InWant"] {
        sandbox.git(&server, ["config", key, "true"]);
    }
    let pack = || {
        sandbox.git(&server, ["repack", "-adbq"]);
        sandbox.git(&server, ["commit-graph", "write", "--reachable"]);
    };
    pack();
    let filter = format!("--filter={}", FILTERS[random.below(FILTERS.len())]);
    let depth = format!("--depth={}", 1 + random.below(10));
    let mut options = vec!["--bare", "--no-single-branch", &filter];
    options.extend(random.one_in(2).then_some(&*depth));
    let mut client = remote.clone("server", "client-0", &options);
    is_whole(&sandbox, &client, &format!("{case:?}, seed {seed}: {options:?}"));
    for round in 1..=rounds {
        sandbox.import(&server, &story.grow(1 + random.below(8)));
        if random.one_in(2) {
            pack();
        }
        let asked = some_options(&mut random);
        let context = format!("{case:?}, seed {seed}, {options:?}, round {round}: {asked:?}");
        let [ours, gits] = SERVERS.map(|server| {
            let to = format!("client-{round}-{}", if server == PACKMULE { "us" } else { "git" });
            fetched(&sandbox, case, &client, &to, server, &asked)
        });
        match (&ours.1, &gits.1) {
            (Ok(sent), Ok(gits)) => {
                // Older versions of git count `--deepen` in another way.
                let more: Vec<_> = sent.difference(gits).collect();
                assert!(
                    more.is_empty() || asked.iter().any(|option| option.starts_with("--deepen")),
                    "more than git sends: {more:?}: {context}"
                );
                is_whole(&sandbox, &ours.0, &context);
                client = ours.0;
            }
            (Err(_), Err(_)) => {}
            (ours, gits) => panic!("{context}: {ours:?} {gits:?}"),
        }
    }
    // What is missing comes when it is asked for.
    let files = sandbox.git(&client, ["ls-tree", "-r", "main"]);
    let blobs = files.lines().filter_map(|line| line.split_whitespace().nth(2)).zip(files.lines());
    for (blob, line) in blobs.filter(|(_, line)| line.contains(" blob ")).take(5) {
        sandbox.git(&client, ["config", "remote.origin.uploadpack", &format!("{PACKMULE} upload-pack")]);
        assert_eq!(sandbox.git(&client, ["cat-file", "-t", blob]), "blob", "{line}");
    }
}

#[test]
fn partial_and_shallow_clients_are_served_as_git_serves_them_in_version_2() {
    for seed in 0..8 {
        hold(Case { hash: "sha1", protocol: 2 }, seed, 5);
    }
    hold(Case { hash: "sha256", protocol: 2 }, 8, 4);
}

#[test]
fn partial_and_shallow_clients_are_served_as_git_serves_them_in_version_0() {
    for seed in 20..25 {
        hold(Case { hash: "sha1", protocol: 0 }, seed, 5);
    }
    hold(Case { hash: "sha256", protocol: 1 }, 25, 4);
}
