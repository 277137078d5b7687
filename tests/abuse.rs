//! Clients that vanish, flood or talk nonsense: bounded work, one refusal, and nothing left behind.

mod common;

use common::pkt::data;
use common::{Sandbox, Vanishing, check};
use packmule::base::Cancel;
use packmule::base::limits::{DEEPEN_NOT_MAX, HAVES_MAX, REF_PREFIXES_MAX, SHALLOW_MAX};
use packmule::serve::{Defaults, OpenGate, Options, Protocol, Wants, upload_pack};
use packmule::store::{ConfigScope, Repository};
use std::io::{Read, Write};
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// Work that grows with what was said, and no faster, is done in a fraction of this.
const PATIENCE: Duration = Duration::from_secs(60);

/// `main` of four commits, and `side` that parts from it at the second.
struct Place {
    sandbox: Sandbox,
    server: PathBuf,
    repository: Repository,
}

impl Place {
    fn new() -> Self {
        let sandbox = Sandbox::new();
        let seed = sandbox.work_tree("seed", "sha1");
        sandbox.commit_file(&seed, "a", "1\n");
        sandbox.git(&seed, ["checkout", "-q", "-b", "side"]);
        sandbox.commit_file(&seed, "s", "side\n");
        sandbox.git(&seed, ["checkout", "-q", "main"]);
        sandbox.commit_file(&seed, "a", "2\n");
        sandbox.commit_file(&seed, "a", "3\n");
        let server = sandbox.bare("server.git", "sha1");
        sandbox.git(&seed, ["push", "-q", &server.to_string_lossy(), "main", "side"]);
        let repository = Repository::open(&server, ConfigScope::RepositoryOnly).expect("a repository");
        Self { sandbox, server, repository }
    }

    fn oid(&self, name: &str) -> String {
        self.sandbox.git(&self.server, ["rev-parse", "--verify", name])
    }

    fn talk(&self, protocol: Protocol, input: impl Read + Send, output: impl Write) -> Result<u64, String> {
        let defaults = Defaults::Safe { tree_depth_max: 8 };
        let options = Options { protocol, defaults, wants: Wants::ReachableFromVisible, ..Options::default() };
        let served = upload_pack(&self.repository, &OpenGate, &options, input, output, &Cancel::new());
        served.map(|statistics| statistics.objects).map_err(|err| err.for_peer().unwrap_or_else(|| err.to_string()))
    }

    /// What comes back for these lines, and whether that was all in order.
    fn ask(&self, protocol: Protocol, lines: impl Iterator<Item = String>) -> (Result<u64, String>, String) {
        let input: Vec<u8> = lines.flat_map(|line| packet(&line)).collect();
        let (begun, mut output) = (Instant::now(), vec![]);
        let outcome = self.talk(protocol, &input[..], &mut output);
        assert!(begun.elapsed() < PATIENCE, "{:?}", begun.elapsed());
        (outcome, String::from_utf8_lossy(&output).into_owned())
    }

    /// A request of each version, with one common commit.
    fn requests(&self) -> [(Protocol, Vec<u8>); 3] {
        let (main, have) = (self.oid("main"), self.oid("main~2"));
        let words = "multi_ack_detailed side-band-64k thin-pack ofs-delta";
        let old = lines([format!("want {main} {words}"), "0000".into(), format!("have {have}"), "0000".into(), "done".into()]);
        let new = ["command=fetch", "0001", "thin-pack", "ofs-delta", &format!("want {main}"), &format!("have {have}"), "done", "0000"];
        [(Protocol::V0, old.clone()), (Protocol::V1, old), (Protocol::V2, lines(new.map(str::to_owned)))]
    }
}

fn packet(line: &str) -> Vec<u8> {
    match line {
        "0000" | "0001" => line.as_bytes().to_vec(),
        line => data(format!("{line}\n")),
    }
}

fn lines(lines: impl IntoIterator<Item = String>) -> Vec<u8> {
    lines.into_iter().flat_map(|line| packet(&line)).collect()
}

/// The arguments of a fetch of version 2.
fn fetch(arguments: impl Iterator<Item = String>) -> impl Iterator<Item = String> {
    let head = ["command=fetch", "0001"].map(str::to_owned).into_iter();
    head.chain(arguments).chain(["0000".to_owned()])
}

/// An id that nobody has.
fn unknown(n: usize) -> String {
    format!("{n:032x}deadbeef")
}

fn held_by_this_process() -> [usize; 2] {
    ["/proc/self/fd", "/proc/self/task"].map(|folder| std::fs::read_dir(folder).map_or(0, Iterator::count))
}

#[test]
fn a_client_that_vanishes_at_any_byte_leaves_nothing_behind() {
    let place = Place::new();
    let files = check::files(&place.server);
    let held = held_by_this_process();
    let is_more = |now: [usize; 2]| now[0] > held[0] || now[1] > held[1];
    for (protocol, request) in place.requests() {
        let mut whole = vec![];
        assert_eq!(place.talk(protocol, &request[..], &mut whole), Ok(6), "{protocol:?}");
        for said in 0..request.len() {
            let mut heard = vec![];
            let outcome = place.talk(protocol, &request[..said], &mut heard);
            assert!(!matches!(outcome, Ok(1..)), "{protocol:?}: a pack for {said} of {} bytes", request.len());
        }
        for heard in 0..whole.len() {
            let outcome = place.talk(protocol, &request[..], Vanishing(heard));
            assert!(outcome.is_err(), "{protocol:?}: {heard} of {} bytes could be told", whole.len());
        }
        // A thread that has been waited for may be listed a moment longer.
        let begun = Instant::now();
        while is_more(held_by_this_process()) && begun.elapsed() < PATIENCE {
            std::thread::sleep(Duration::from_millis(10));
        }
        let now = held_by_this_process();
        assert!(!is_more(now), "{protocol:?}: {now:?} descriptors and threads, {held:?} before");
    }
    assert_eq!(check::files(&place.server), files);
}

#[test]
fn haves_without_end_are_refused_or_answered_in_time() {
    let place = Place::new();
    let (main, side) = (place.oid("main"), place.oid("side"));
    let want = || [format!("want {main}"), format!("want {side}")].into_iter();
    let (outcome, _) = place.ask(Protocol::V2, fetch(want().chain((0..=HAVES_MAX).map(|n| format!("have {}", unknown(n))))));
    assert!(outcome.expect_err("too many").contains("too many haves"));
    let blob = place.oid("main:a");
    let same_again = || fetch(want().chain((0..200_000).map(|_| format!("have {blob}"))));
    let (outcome, said) = place.ask(Protocol::V2, same_again());
    assert_eq!((outcome, said.matches("ACK").count()), (Ok(0), 0), "of commits alone it is told that they are here: {said}");
    assert_eq!(as_drop_in(&place, same_again()), Ok(0));
    // Whether enough is common is asked after every one that is not here: only one tip is covered, so the answer stays no.
    let head = [format!("want {main} multi_ack side-band-64k"), format!("want {side}"), "0000".to_owned(), format!("have {main}")];
    let tail = (0..200_000).map(|n| format!("have {}", unknown(n))).chain(["0000".to_owned(), "done".to_owned()]);
    let (outcome, _) = place.ask(Protocol::V0, head.into_iter().chain(tail));
    assert_eq!(outcome, Ok(3), "what side has beside main");
}

#[test]
fn too_many_prefixes_mean_every_ref_as_in_git() {
    let place = Place::new();
    for (prefixes, refs) in [(REF_PREFIXES_MAX, 0), (REF_PREFIXES_MAX + 1, 2)] {
        let head = ["command=ls-refs", "0001"].map(str::to_owned).into_iter();
        let asked = head.chain((0..prefixes).map(|n| format!("ref-prefix refs/none/{n}"))).chain(["0000".to_owned()]);
        let (outcome, said) = place.ask(Protocol::V2, asked);
        assert_eq!((outcome, said.matches(" refs/heads/").count()), (Ok(0), refs), "{prefixes} prefixes");
    }
}

#[test]
fn boundaries_out_of_proportion_are_refused_or_served_in_time() {
    let place = Place::new();
    let main = place.oid("main");
    let ask = |more: Vec<String>| {
        let wanted = [format!("want {main}"), "done".to_owned()];
        place.ask(Protocol::V2, fetch(wanted.into_iter().chain(more))).0
    };
    assert_eq!(ask(vec!["deepen 2147483647".to_owned()]), Ok(12));
    assert_eq!(ask(vec!["deepen 99999999999".to_owned()]), Ok(12));
    for line in ["deepen 0", "deepen -1", "deepen x", "deepen 99999999999999999999", "deepen-since -1"] {
        assert!(ask(vec![line.to_owned()]).expect_err(line).starts_with("Invalid deepen"), "{line}");
    }
    assert_eq!(ask((0..200_000).map(|n| format!("shallow {}", unknown(n % 1000))).collect()), Ok(12));
    let refusal = ask((0..=SHALLOW_MAX).map(|n| format!("shallow {}", unknown(n))).collect()).expect_err("too many");
    assert!(refusal.contains("too many shallow commits"), "{refusal}");
    let refusal = ask((0..=DEEPEN_NOT_MAX).map(|_| "deepen-not side".to_owned()).collect()).expect_err("too many");
    assert!(refusal.contains("too many deepen-not lines"), "{refusal}");
    let since_side = ask(vec!["deepen-not side".to_owned(); 1000]);
    assert_eq!(since_side, Ok(7), "two commits, their trees, and all that these hold");
}

#[test]
fn nonsense_in_the_place_of_a_request_ends_the_conversation_with_a_word() {
    let place = Place::new();
    for protocol in [Protocol::V0, Protocol::V2] {
        for line in ["ERR I do not like you", "\u{3}oops", "PACK\0\0\0\u{2}", "command=", "want", "0001"] {
            let (outcome, said) = place.ask(protocol, [line.to_owned(), "0000".to_owned()].into_iter());
            let refusal = outcome.expect_err(line);
            assert!(said.contains(&format!("ERR {refusal}")), "{protocol:?} {line:?}: {said}");
        }
    }
}

/// What a drop-in answers to `lines` in version 2, by the repository's settings as they are now.
fn as_drop_in(place: &Place, lines: impl Iterator<Item = String>) -> Result<u64, String> {
    let repository = Repository::open(&place.server, ConfigScope::RepositoryOnly).expect("a repository");
    let options = Options { protocol: Protocol::V2, ..Options::default() };
    let input: Vec<u8> = lines.flat_map(|line| packet(&line)).collect();
    let begun = Instant::now();
    let served = upload_pack(&repository, &OpenGate, &options, &input[..], std::io::sink(), &Cancel::new());
    assert!(begun.elapsed() < PATIENCE, "{:?}", begun.elapsed());
    served.map(|statistics| statistics.objects).map_err(|err| err.for_peer().unwrap_or_else(|| err.to_string()))
}

#[test]
fn patterns_without_number_are_refused() {
    let place = Place::new();
    place.sandbox.git(&place.server, ["config", "uploadpack.allowFilter", "true"]);
    let main = place.oid("main");
    let ask = |patterns: String| {
        let blob = place.sandbox.git_with_input(&place.server, ["hash-object", "-w", "--stdin"], patterns.as_bytes());
        as_drop_in(&place, fetch([format!("want {main}"), format!("filter sparse:oid={blob}"), "done".to_owned()].into_iter()))
    };
    assert!(ask("*\n".repeat(10_000)).is_ok());
    assert!(ask("*\n".repeat(10_001)).expect_err("too many").contains("too big"));
    assert!(ask(format!("{}\n", "a".repeat(1 << 20))).expect_err("too long").contains("too big"));
}

#[test]
fn paths_that_multiply_are_not_all_looked_at() {
    const LEVELS: usize = 7;
    let place = Place::new();
    // Ten names for one folder, in which ten names stand for another, and so on: ten million paths of eight trees.
    let commit = |content: &str, parent: &[&str]| {
        let blob = place.sandbox.git_with_input(&place.server, ["hash-object", "-w", "--stdin"], content.as_bytes());
        let leaf = format!("100644 blob {blob}\tf\n");
        let mut tree = place.sandbox.git_with_input(&place.server, ["mktree"], leaf.as_bytes());
        for _ in 0..LEVELS {
            let entries: String = (0..10).map(|n| format!("040000 tree {tree}\td{n}\n")).collect();
            tree = place.sandbox.git_with_input(&place.server, ["mktree"], entries.as_bytes());
        }
        place.sandbox.git(&place.server, [&["commit-tree", "-m", content, &tree], parent].concat())
    };
    let old = commit("old", &[]);
    let new = commit("new", &["-p", &old]);
    place.sandbox.git(&place.server, ["update-ref", "refs/heads/many", &new]);
    let lines = [format!("want {new}"), format!("have {old}"), "done".to_owned()];
    assert_eq!(as_drop_in(&place, fetch(lines.into_iter())), Ok(LEVELS as u64 + 3));
}
