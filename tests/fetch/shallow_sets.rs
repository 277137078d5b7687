//! Random histories and clients whose history ends somewhere, fetch after fetch, with stock git as the oracle: the same
//! boundary afterwards, never an object more than git sends, and a client that stock git finds whole.

use crate::common::exact::{Layout, repository};
use crate::common::fixture::{Random, Story};
use crate::common::pkt::{self, Pkt, Who};
use crate::common::remote::Remote;
use crate::common::{Case, Sandbox, check};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// How far one fetch wants history to go.
#[derive(Clone, Debug)]
enum Ask {
    Nothing,
    Depth(usize),
    /// `--deepen`
    Further(usize),
    Since(u64),
    Exclude(Vec<String>),
    Everything,
}

impl Ask {
    fn random(random: &mut Random, refs: &[String]) -> Self {
        match random.below(8) {
            0 | 1 => Self::Nothing,
            2 | 3 => Self::Depth(1 + random.below(9)),
            4 => Self::Further(1 + random.below(4)),
            // `Story` lets 2,500 seconds pass from commit to commit.
            5 => Self::Since(1_600_000_000 + 2500 * random.below(60) as u64),
            6 => Self::Exclude((0..1 + random.below(2)).map(|_| refs[random.below(refs.len())].clone()).collect()),
            _ => Self::Everything,
        }
    }

    fn options(&self, by: By) -> Vec<String> {
        match self {
            Self::Nothing => vec![],
            Self::Depth(depth) => vec![format!("--depth={depth}")],
            Self::Further(depth) if by == By::Fetch => vec![format!("--deepen={depth}")],
            Self::Further(depth) => vec![format!("--depth={depth}"), "--deepen-relative".to_owned()],
            Self::Since(seconds) => vec![format!("--shallow-since={seconds}")],
            Self::Exclude(names) => names.iter().map(|name| format!("--shallow-exclude={name}")).collect(),
            Self::Everything => vec![format!("--depth={}", i32::MAX)],
        }
    }
}

/// The client's program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum By {
    /// `git fetch`, which takes over a server's own boundary.
    Fetch,
    /// `git fetch-pack`, with thin packs or without.
    FetchPack { thin: bool },
}

/// What a fetch left behind.
struct Fetched {
    client: PathBuf,
    /// The error, if it was refused.
    refused: Option<String>,
    /// Ids in the pack that came.
    sent: BTreeSet<String>,
    shallow: BTreeSet<String>,
}

fn shallow(repository: &Path) -> BTreeSet<String> {
    std::fs::read_to_string(repository.join("shallow")).unwrap_or_default().lines().map(str::to_owned).collect()
}

/// A fetch into a copy of `client`, whose refs then are as on the server.
fn fetch(remote: &Remote<'_>, client: &Path, to: &str, by: By, ask: &Ask, wants: &[(String, String)]) -> Fetched {
    let sandbox = remote.sandbox;
    let client = sandbox.copy(client, to);
    let before = check::packed(sandbox, &client);
    let target = |name: &str| format!("refs/from-server/{}", name.replace('/', "-"));
    let mut args = ask.options(by);
    let word = match by {
        By::Fetch => {
            sandbox.git(&client, ["config", "fetch.unpackLimit", "1"]);
            args.extend(["-q".to_owned(), "--no-tags".to_owned(), "--update-shallow".to_owned(), remote.url("server")]);
            args.extend(wants.iter().map(|(name, _)| format!("+{name}:{}", target(name))));
            "fetch"
        }
        By::FetchPack { thin } => {
            args.extend(thin.then(|| "--thin".to_owned()));
            args.extend(["-q".to_owned(), "--keep".to_owned(), remote.url("server")]);
            args.extend(wants.iter().map(|(name, _)| name.clone()));
            "fetch-pack"
        }
    };
    let output = crate::common::run(&mut remote.command(&client, word, args));
    let refused = (!output.status.success()).then(|| String::from_utf8_lossy(&output.stderr).into_owned());
    if refused.is_none() {
        let edits: String = wants.iter().map(|(name, id)| format!("update {} {id}\n", target(name))).collect();
        sandbox.git_with_input(&client, ["update-ref", "--stdin"], edits.as_bytes());
    }
    // The bases that complete a thin pack lie in older packs as well.
    let sent = check::packed(sandbox, &client).difference(&before).cloned().collect();
    Fetched { shallow: shallow(&client), client, refused, sent }
}

/// The level, from 1, of the nearest of `ends` that is met from `wants`.
fn level_of_nearest(sandbox: &Sandbox, server: &Path, wants: &[(String, String)], ends: &BTreeSet<String>) -> Option<usize> {
    let listed = sandbox.git(server, ["rev-list", "--parents", "--all"]);
    let parents: BTreeMap<&str, Vec<&str>> = listed
        .lines()
        .map(|line| {
            let mut ids = line.split(' ');
            (ids.next().expect("a commit"), ids.collect())
        })
        .collect();
    let peeled: Vec<String> = wants.iter().map(|(_, id)| sandbox.git(server, ["rev-parse", &format!("{id}^{{commit}}")])).collect();
    let (mut level, mut seen): (BTreeSet<&str>, BTreeSet<&str>) = (peeled.iter().map(String::as_str).collect(), BTreeSet::new());
    for number in 1.. {
        if level.iter().any(|id| ends.contains(*id)) {
            return Some(number);
        }
        seen.extend(&level);
        level = level.iter().filter_map(|id| parents.get(id)).flatten().copied().filter(|id| !seen.contains(id)).collect();
        if level.is_empty() {
            return None;
        }
    }
    None
}

/// What stock git is asked so that it does what `ask` means: its older versions count `--deepen` in another way.
fn as_older_git_takes_it(sandbox: &Sandbox, server: &Path, ask: &Ask, wants: &[(String, String)], client: &Path) -> Ask {
    let Ask::Further(further) = ask else { return ask.clone() };
    match level_of_nearest(sandbox, server, wants, &shallow(client)) {
        Some(present) => Ask::Depth(present + further),
        None => Ask::Nothing,
    }
}

/// One random fetch; the client that comes of it.
fn step(remote: &Remote<'_>, random: &mut Random, server: &Path, client: &Path, name: &str, context: &str) -> PathBuf {
    let sandbox = remote.sandbox;
    let refs: Vec<(String, String)> = check::refs(sandbox, server)
        .lines()
        .map(|line| line.split_once(' ').expect("id and name"))
        .map(|(id, name)| (name.to_owned(), id.to_owned()))
        .collect();
    let mut wants: Vec<_> = (0..1 + random.below(3)).map(|_| refs[random.below(refs.len())].clone()).collect();
    wants.sort();
    wants.dedup();
    let names: Vec<String> = refs.iter().map(|(name, _)| name.clone()).collect();
    let ask = Ask::random(random, &names);
    let context = format!("{context}: {ask:?} of {wants:?}");
    let by = if server.join("shallow").exists() { By::Fetch } else { By::FetchPack { thin: random.one_in(2) } };
    let from_us = fetch(remote, client, &format!("{name}-us"), by, &ask, &wants);
    let gits = as_older_git_takes_it(sandbox, server, &ask, &wants, client);
    let from_git = fetch(&remote.stock(), client, &format!("{name}-git"), by, &gits, &wants);
    let cut_by_history = matches!(ask, Ask::Since(_) | Ask::Exclude(_));
    // There git does not tell of the server's own end of history, or asks for what lies behind it.
    if !(cut_by_history && by == By::Fetch) {
        assert_eq!(from_us.refused.is_some(), from_git.refused.is_some(), "{context}: {:?} {:?}", from_us.refused, from_git.refused);
        assert_eq!(from_us.shallow, from_git.shallow, "{context}; asked {gits:?}, before {:?}", shallow(client));
        let more: Vec<_> = from_us.sent.difference(&from_git.sent).collect();
        assert!(more.is_empty(), "more than git sends: {more:?}: {context}");
    }
    let complaints = check::complaints(sandbox, &from_us.client);
    assert!(complaints.is_empty(), "{complaints:?}: {context}");
    sandbox.git(&from_us.client, ["rev-list", "--objects", "--quiet", "--all"]);
    from_us.client
}

/// Give the client a commit that the server has never seen, on top of what it fetched.
fn commit_locally(sandbox: &Sandbox, client: &Path) {
    let listed = sandbox.git(client, ["for-each-ref", "--format=%(objectname)", "refs/from-server/refs-heads-*"]);
    let Some(parent) = listed.lines().next() else { return };
    let tree = sandbox.git(client, ["rev-parse", &format!("{parent}^{{tree}}")]);
    let commit = sandbox.git(client, ["commit-tree", "-m", "mine", "-p", parent, &tree]);
    sandbox.git(client, ["update-ref", "refs/heads/mine", &commit]);
}

/// `rounds` fetches, one after another, while the server's history grows where it can.
fn hold(case: Case, seed: u64, rounds: usize, server_depth: Option<usize>) {
    let sandbox = Sandbox::new();
    let remote = Remote::stdio(&sandbox, case);
    let mut random = Random(seed);
    let mut story: Option<Story> = None;
    let server = remote.path("server");
    match server_depth {
        None => story = Some(remote.history("server", seed, 50).1),
        Some(depth) => {
            remote.history("whole", seed, 60);
            let args = ["-q", "--mirror", &format!("--depth={depth}")].map(str::to_owned);
            let places = [remote.stock().url("whole"), server.to_string_lossy().into_owned()];
            remote.stock().git(&sandbox.path(""), "clone", args.into_iter().chain(places));
        }
    }
    let mut client = sandbox.bare("client", case.hash);
    for round in 0..rounds {
        let context = format!("{case:?}, seed {seed}, round {round}, server depth {server_depth:?}");
        client = step(&remote, &mut random, &server, &client, &format!("client-{round}"), &context);
        if random.one_in(3) {
            commit_locally(&sandbox, &client);
        }
        if let Some(story) = story.as_mut().filter(|_| random.one_in(2)) {
            sandbox.import(&server, &story.grow(1 + random.below(10)));
        }
    }
}

#[test]
fn boundaries_and_sets_are_those_of_git_in_version_2() {
    for seed in 0..6 {
        hold(Case { hash: "sha1", protocol: 2 }, seed, 8, None);
    }
    hold(Case { hash: "sha256", protocol: 2 }, 6, 8, None);
}

#[test]
fn boundaries_and_sets_are_those_of_git_in_version_0() {
    for seed in 10..15 {
        hold(Case { hash: "sha1", protocol: 0 }, seed, 8, None);
    }
    hold(Case { hash: "sha256", protocol: 1 }, 15, 8, None);
}

#[test]
fn a_server_whose_own_history_ends_serves_what_it_has() {
    for seed in 20..24 {
        hold(Case { hash: "sha1", protocol: 2 }, seed, 5, Some(2 + seed as usize % 4));
        hold(Case { hash: "sha1", protocol: 0 }, seed, 5, Some(2 + seed as usize % 4));
    }
}

/// What comes back for packets that no git would put together like this.
struct Answer {
    /// `shallow` and `unshallow` lines.
    told: BTreeSet<String>,
    objects: BTreeSet<String>,
}

fn ask(sandbox: &Sandbox, who: Who, server: &Path, lines: &[String]) -> Option<Answer> {
    let mut input = [pkt::data("command=fetch\n"), b"0001".to_vec()].concat();
    input.extend(lines.iter().flat_map(|line| pkt::data(format!("{line}\n"))));
    input.extend_from_slice(b"0000");
    let mut command = who.command(sandbox, 2, "upload-pack", &["--stateless-rpc"], server);
    if who == Who::Git {
        // With bitmaps git sends other sets.
        command.env("GIT_CONFIG_PARAMETERS", "'pack.useBitmaps=false'");
    }
    let output = crate::common::run_with_input(&mut command, &input);
    if !output.status.success() {
        return None;
    }
    let (mut rest, mut told, mut pack, mut in_pack) = (&output.stdout[..], BTreeSet::new(), vec![], false);
    while let Some(packet) = pkt::take(&mut rest).expect("packets") {
        match packet {
            Pkt::Data(payload) if in_pack => pack.extend_from_slice(payload.strip_prefix(&[1]).unwrap_or_default()),
            Pkt::Data(payload) if payload.starts_with(b"packfile") => in_pack = true,
            Pkt::Data(payload) if payload.starts_with(b"shallow-info") => {}
            Pkt::Data(payload) => drop(told.insert(String::from_utf8_lossy(&payload).trim_end().to_owned())),
            _ => {}
        }
    }
    // Completed in a repository that has everything.
    let target = sandbox.copy(server, "unpacked");
    let shown = sandbox.git_with_input(&target, ["index-pack", "--stdin", "--fix-thin"], &pack);
    let name = format!("objects/pack/pack-{}.idx", shown.trim_start_matches("pack\t"));
    let listed = sandbox.git_with_input(&target, ["show-index"], &std::fs::read(target.join(name)).expect("an index"));
    let objects = listed.lines().filter_map(|line| line.split(' ').nth(1)).map(str::to_owned).collect();
    std::fs::remove_dir_all(target).expect("a folder of ours");
    Some(Answer { told, objects })
}

const FILTERS: [&str; 7] =
    ["blob:none", "blob:limit=900", "tree:0", "tree:2", "object:type=tree", "object:type=tag", "combine:tree:3+blob:limit=2k"];

#[test]
fn whatever_a_client_says_of_its_history_git_would_tell_it_the_same() {
    whatever_a_client_says(77, Layout::OnePack, false);
}

#[test]
fn whatever_a_client_says_of_its_history_under_a_filter_git_would_tell_it_the_same() {
    whatever_a_client_says(78, Layout::PacksAndLoose, true);
}

#[test]
fn whatever_a_client_says_of_its_history_git_without_bitmaps_would_tell_it_the_same() {
    whatever_a_client_says(79, Layout::Bitmaps, true);
}

/// Boundaries and haves as they come, true of no client or of some.
fn whatever_a_client_says(seed: u64, layout: Layout, filters: bool) {
    let sandbox = Sandbox::new();
    let server = repository(&sandbox, "server.git", "sha1", seed, layout);
    sandbox.git(&server, ["config", "uploadpack.allowFilter", "true"]);
    let commits: Vec<String> = sandbox.git(&server, ["rev-list", "--all"]).lines().map(str::to_owned).collect();
    let refs: Vec<String> = sandbox.git(&server, ["for-each-ref", "--format=%(refname)"]).lines().map(str::to_owned).collect();
    let mut random = Random(seed);
    for round in 0..60 {
        let mut lines = vec!["ofs-delta".to_owned(), "done".to_owned()];
        lines.extend(random.one_in(2).then(|| "thin-pack".to_owned()));
        for (word, count) in [("want", 1 + random.below(3)), ("have", random.below(4)), ("shallow", random.below(4))] {
            lines.extend((0..count).map(|_| format!("{word} {}", commits[random.below(commits.len())])));
        }
        if filters && random.one_in(2) {
            lines.push(format!("filter {}", FILTERS[random.below(FILTERS.len())]));
        }
        match random.below(5) {
            0 => {}
            1 | 2 => lines.push(format!("deepen {}", 1 + random.below(12))),
            3 => lines.push(format!("deepen-since {}", 1_600_000_000 + 2500 * random.below(60))),
            _ => lines.push(format!("deepen-not {}", refs[random.below(refs.len())])),
        }
        let (ours, gits) = (ask(&sandbox, Who::Packmule, &server, &lines), ask(&sandbox, Who::Git, &server, &lines));
        assert_eq!(ours.is_some(), gits.is_some(), "round {round}: {lines:#?}");
        let (Some(ours), Some(gits)) = (ours, gits) else { continue };
        assert_eq!(ours.told, gits.told, "round {round}: {lines:#?}");
        if !lines.contains(&"thin-pack".to_owned()) {
            let more: Vec<_> = ours.objects.difference(&gits.objects).collect();
            assert!(more.is_empty(), "round {round}: more than git sends: {more:?}: {lines:#?}");
        }
    }
}
