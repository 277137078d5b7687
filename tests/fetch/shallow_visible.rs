//! Where history ends, how big objects are, what is common and what lies elsewhere tells nothing of what a client may not see:
//! what is hidden gets the answer of what is unknown, for the same work.

use crate::common::Sandbox;
use crate::common::pkt::data;
use packmule::base::Cancel;
use packmule::pack::Bits;
use packmule::serve::{
    Defaults, Gate, OpenGate, Options, Proposal, Protocol, SharedState, SharedStatistics, Verdict, Visibility, Wants, upload_pack,
};
use packmule::store::{ConfigScope, Refs, Repository};
use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::Arc;

/// Shows only `main`.
struct OnlyMain;

impl Gate for OnlyMain {
    fn visible(&self, refs: &Refs) -> Visibility {
        let mut seen = Bits::new(refs.len());
        for (at, _) in refs.iter().enumerate().filter(|(_, entry)| entry.name == "refs/heads/main") {
            seen.insert(at);
        }
        Visibility::Only(seen)
    }

    fn judge(&self, proposal: &Proposal<'_>) -> Vec<Verdict> {
        vec![Verdict::Allow; proposal.edits.len()]
    }
}

/// `main` and `secret`, which part ways at `main~1`; four commits and two.
struct Place {
    sandbox: Sandbox,
    server: PathBuf,
}

impl Place {
    fn new() -> Self {
        let sandbox = Sandbox::new();
        let seed = sandbox.work_tree("seed", "sha1");
        sandbox.commit_file(&seed, "a", "1\n");
        sandbox.commit_file(&seed, "a", "2\n");
        sandbox.git(&seed, ["checkout", "-q", "-b", "secret"]);
        sandbox.commit_file(&seed, "s", "first secret\n");
        sandbox.commit_file(&seed, "s", "second secret\n");
        sandbox.git(&seed, ["tag", "hidden"]);
        sandbox.git(&seed, ["checkout", "-q", "main"]);
        sandbox.commit_file(&seed, "a", "3\n");
        let server = sandbox.bare("server.git", "sha1");
        sandbox.git(&seed, ["push", "-q", &server.to_string_lossy(), "main", "secret", "hidden"]);
        Self { sandbox, server }
    }

    fn oid(&self, name: &str) -> String {
        self.sandbox.git(&self.server, ["rev-parse", "--verify", name])
    }

    /// What comes back for these lines, or the refusal.
    fn ask(&self, gate: &dyn Gate, protocol: Protocol, lines: &[String]) -> Result<String, String> {
        let mut input = vec![];
        if protocol == Protocol::V2 {
            input.extend([data("command=fetch\n"), b"0001".to_vec()].concat());
        }
        input.extend(lines.iter().flat_map(|line| data(format!("{line}\n"))));
        input.extend(b"0000");
        if protocol == Protocol::V0 {
            input.extend(data("done\n"));
        }
        self.answer(gate, protocol, &input)
    }

    /// What comes back for a command of version 2.
    fn command(&self, gate: &dyn Gate, name: &str, arguments: &[String]) -> String {
        let mut input = [data(format!("command={name}\n")), b"0001".to_vec()].concat();
        input.extend(arguments.iter().flat_map(|line| data(format!("{line}\n"))));
        input.extend(b"0000");
        let options = Defaults::Safe { tree_depth_max: 1 };
        self.answer_with(gate, Options { protocol: Protocol::V2, defaults: options, ..Options::default() }, &input).expect(name)
    }

    fn answer(&self, gate: &dyn Gate, protocol: Protocol, input: &[u8]) -> Result<String, String> {
        self.answer_with(gate, Options { protocol, ..Options::default() }, input)
    }

    fn answer_with(&self, gate: &dyn Gate, options: Options, input: &[u8]) -> Result<String, String> {
        self.answer_by(gate, Options { wants: Wants::ReachableFromVisible, ..options }, input)
    }

    fn answer_by(&self, gate: &dyn Gate, options: Options, input: &[u8]) -> Result<String, String> {
        let repository = Repository::open(&self.server, ConfigScope::RepositoryOnly).expect("a repository");
        let mut output = vec![];
        let served = upload_pack(&repository, gate, &options, input, &mut output, &Cancel::new());
        let said = String::from_utf8_lossy(&output).into_owned();
        served.map(|_| said).map_err(|err| err.for_peer().unwrap_or_else(|| err.to_string()))
    }
}

fn lines(protocol: Protocol, want: &str, more: &[&str]) -> Vec<String> {
    let capabilities = if protocol == Protocol::V0 { " multi_ack_detailed side-band-64k" } else { "" };
    let mut lines = vec![format!("want {want}{capabilities}")];
    lines.extend(more.iter().map(|line| (*line).to_owned()));
    lines.extend((protocol == Protocol::V2).then(|| "done".to_owned()));
    lines
}

#[test]
fn a_hidden_shallow_commit_is_answered_like_one_that_nobody_has() {
    let place = Place::new();
    let main = place.oid("main");
    let (hidden, visible) = (format!("shallow {}", place.oid("secret~1")), format!("shallow {}", place.oid("main~1")));
    let unknown = format!("shallow {}", "1".repeat(40));
    for protocol in [Protocol::V0, Protocol::V2] {
        for deepen in ["deepen 2147483647", "deepen 4"] {
            let ask =
                |gate: &dyn Gate, shallow: &str| place.ask(gate, protocol, &lines(protocol, &main, &[shallow, deepen])).expect("served");
            assert_eq!(ask(&OnlyMain, &hidden), ask(&OnlyMain, &unknown), "{protocol:?} {deepen}");
            assert!(ask(&OnlyMain, &visible).contains("unshallow"), "{protocol:?} {deepen}");
        }
        let everything = lines(protocol, &main, &[&hidden, "deepen 2147483647"]);
        assert!(place.ask(&OpenGate, protocol, &everything).expect("served").contains("unshallow"), "it is here for those who may see it");
    }
}

#[test]
fn what_no_ref_reaches_does_not_unfold_behind_a_shallow_commit() {
    let place = Place::new();
    let main = place.oid("main");
    let lost = place.oid("secret");
    for name in ["refs/heads/secret", "refs/tags/hidden"] {
        place.sandbox.git(&place.server, ["update-ref", "-d", name]);
    }
    for protocol in [Protocol::V0, Protocol::V2] {
        let ask = |id: &str| place.ask(&OpenGate, protocol, &lines(protocol, &main, &[&format!("shallow {id}"), "deepen 2147483647"]));
        assert_eq!(ask(&lost).expect("served"), ask(&"1".repeat(40)).expect("served"), "{protocol:?}");
        assert!(ask(&place.oid("main~1")).expect("served").contains("unshallow"), "{protocol:?}");
    }
}

#[test]
fn a_hidden_name_is_no_ref() {
    let place = Place::new();
    let main = place.oid("main");
    for protocol in [Protocol::V0, Protocol::V2] {
        let ask = |gate: &dyn Gate, name: &str| place.ask(gate, protocol, &lines(protocol, &main, &[&format!("deepen-not {name}")]));
        for name in ["secret", "refs/heads/secret", "heads/secret", "hidden", "tags/hidden"] {
            let (told, of_nothing) = (ask(&OnlyMain, name).expect_err(name), ask(&OnlyMain, "nothing").expect_err("no such ref"));
            assert_eq!(told.replace(name, "nothing"), of_nothing);
            assert!(ask(&OpenGate, name).expect(name).contains(&format!("shallow {main}")), "{name}");
        }
        // What a visible name says is not made ambiguous by a hidden one.
        place.sandbox.git(&place.server, ["update-ref", "refs/tags/main", "secret"]);
        assert!(ask(&OnlyMain, "main").expect_err("nothing is left").contains("no commits selected"));
        assert!(ask(&OpenGate, "main").expect_err("two meanings").contains("ambiguous deepen-not: deepen-not main"));
        place.sandbox.git(&place.server, ["update-ref", "-d", "refs/tags/main"]);
    }
}

#[test]
fn the_repositorys_own_boundary_is_told_as_far_as_it_is_visible() {
    let place = Place::new();
    let (open, hidden) = (place.oid("main~1"), place.oid("secret"));
    std::fs::write(place.server.join("shallow"), format!("{open}\n{hidden}\n")).expect("a writable repository");
    let main = place.oid("main");
    let ask = |gate: &dyn Gate, protocol| place.ask(gate, protocol, &lines(protocol, &main, &[])).expect("served");
    for protocol in [Protocol::V0, Protocol::V2] {
        let told = ask(&OnlyMain, protocol);
        assert!(told.contains(&format!("shallow {open}")) && !told.contains(&hidden), "{protocol:?}: {told}");
    }
    assert!(ask(&OpenGate, Protocol::V0).contains(&format!("shallow {hidden}")));
}

#[test]
fn the_size_of_a_hidden_object_is_that_of_one_that_nobody_has() {
    let place = Place::new();
    let secrets = ["secret", "secret^{tree}", "secret:s", "hidden"].map(|name| place.oid(name));
    let visible = ["main", "main^{tree}", "main:a", "main~2:a"].map(|name| place.oid(name));
    for packed in [false, true] {
        let ask =
            |gate: &dyn Gate, id: &str| place.command(gate, "object-info", &["size".to_owned(), format!("oid {id}")]).replace(id, "{id}");
        let of_nothing = ask(&OnlyMain, &"1".repeat(40));
        for id in &secrets {
            assert_eq!(ask(&OnlyMain, id), of_nothing, "{packed}");
            assert_ne!(ask(&OpenGate, id), of_nothing, "it is here for those who may see it");
        }
        for id in &visible {
            let size = place.sandbox.git(&place.server, ["cat-file", "-s", id]);
            assert!(ask(&OnlyMain, id).contains(&format!("{{id}} {size}")), "{packed} {id}");
        }
        place.sandbox.git(&place.server, ["repack", "-adfq"]);
    }
}

/// One round of a negotiation about `want`: what is answered to these haves.
fn round(protocol: Protocol, want: &str, haves: &[&str]) -> Vec<u8> {
    let have = |id: &&str| data(format!("have {id}\n"));
    let haves: Vec<u8> = haves.iter().flat_map(have).collect();
    match protocol {
        Protocol::V2 => {
            [data("command=fetch\n"), b"0001".to_vec(), data(format!("want {want}\n")), data("no-progress\n"), haves, b"0000".to_vec()]
                .concat()
        }
        _ => {
            [data(format!("want {want} multi_ack_detailed side-band-64k no-progress\n")), b"0000".to_vec(), haves, data("done\n")].concat()
        }
    }
}

#[test]
fn a_have_that_no_visible_ref_reaches_is_answered_like_one_that_nobody_has() {
    let place = Place::new();
    let [main, tag] = ["main", "hidden"].map(|name| place.oid(name));
    let visible = [&main, &place.oid("main~1"), &place.oid("main~2")].map(String::clone);
    let lost = ["secret", "secret~1", "secret^{tree}", "secret:s", "main:a"].map(|name| place.oid(name));
    let unknown = "1".repeat(40);
    for no_ref_is_hidden in [false, true] {
        let gate: &dyn Gate = if no_ref_is_hidden { &OpenGate } else { &OnlyMain };
        if no_ref_is_hidden {
            for name in ["refs/heads/secret", "refs/tags/hidden"] {
                place.sandbox.git(&place.server, ["update-ref", "-d", name]);
            }
        }
        for (protocol, knows_all) in [(Protocol::V0, false), (Protocol::V2, false), (Protocol::V0, true), (Protocol::V2, true)] {
            let shared = Arc::new(SharedState::new(1 << 20));
            let ask = |input: &[u8]| {
                let options = Options { protocol, shared: Some(shared.clone()), ..Options::default() };
                place.answer_with(gate, options, input)
            };
            if knows_all {
                // Whoever is refused has had all that is reachable found out.
                ask(&round(protocol, &unknown, &[])).expect_err("it is not here");
            }
            let answer = |have: &str| ask(&round(protocol, &main, &[have])).expect("served").replace(have, "{have}");
            for id in lost.iter().chain([&tag]) {
                assert_eq!(answer(id), answer(&unknown), "{protocol:?} {no_ref_is_hidden} {knows_all} {id}");
            }
            for id in &visible {
                assert!(answer(id).contains("ACK {have}"), "{protocol:?} {no_ref_is_hidden} {knows_all} {id}");
            }
            // In one breath, whatever the order.
            let all: Vec<&str> = [&unknown, &lost[0], &visible[2], &lost[1], &visible[1]].map(String::as_str).to_vec();
            let said = ask(&round(protocol, &main, &all)).expect("served");
            // Once enough is known, version 0 says `ready` to whatever else it hears of.
            let word = if protocol == Protocol::V0 { " common" } else { "" };
            let is_acked = |id: &&&str| said.contains(&format!("ACK {id}{word}"));
            assert_eq!(all.iter().filter(is_acked).copied().collect::<Vec<_>>(), [visible[2].as_str(), &visible[1]], "{said}");
        }
    }
}

#[test]
fn a_hidden_object_is_refused_for_the_same_work_as_one_that_nobody_has() {
    let place = Place::new();
    let secrets = ["secret", "secret~1", "secret^{tree}", "secret:s", "hidden"].map(|name| place.oid(name));
    for protocol in [Protocol::V0, Protocol::V2] {
        let work = |id: &str| {
            let shared = Arc::new(SharedState::new(1 << 20));
            let mut seen = vec![];
            for _ in 0..2 {
                let options = Options { protocol, shared: Some(shared.clone()), ..Options::default() };
                let refused = place.answer_with(&OnlyMain, options, &round(protocol, id, &[])).expect_err("it may not be had");
                assert_eq!(refused, format!("upload-pack: not our ref {id}"));
                // Files just written may have been read anew meanwhile, and what was read of them is held or not: no work of ours.
                seen.push(SharedStatistics { bytes: 0, ..shared.statistics() });
            }
            seen
        };
        let of_nothing = work(&"1".repeat(40));
        assert_eq!(of_nothing[0].made, of_nothing[1].made, "all that is reachable is found out once");
        for id in &secrets {
            assert_eq!(work(id), of_nothing, "{protocol:?} {id}");
        }
    }
}

#[test]
fn what_lies_elsewhere_is_named_only_where_it_would_have_been_sent() {
    let place = Place::new();
    let (open, secret) = (place.oid("main:a"), place.oid("secret:s"));
    for id in [&open, &secret] {
        let uri = format!("{id} {} https://elsewhere.example/{id}.pack", "2".repeat(40));
        place.sandbox.git(&place.server, ["config", "--add", "uploadpack.blobPackfileUri", &uri]);
    }
    place.sandbox.git(&place.server, ["config", "uploadpack.allowSidebandAll", "true"]);
    let ask = |gate: &dyn Gate, name: &str, more: &[&str]| {
        let more = [&["packfile-uris https", "sideband-all", "no-progress"], more].concat();
        place.ask(gate, Protocol::V2, &lines(Protocol::V2, &place.oid(name), &more)).expect("served")
    };
    let names = |said: &str, id: &str| said.contains(&format!("https://elsewhere.example/{id}.pack"));
    let seen = ask(&OnlyMain, "main", &[]);
    assert!(names(&seen, &open) && !names(&seen, &secret), "{seen}");
    // A client that has all of it is told of nothing, and one that claims to have what is hidden as well.
    let has_all = ask(&OnlyMain, "main", &[&format!("have {}", place.oid("main"))]);
    assert!(!has_all.contains("elsewhere"), "{has_all}");
    let claims = ask(&OnlyMain, "main", &[&format!("have {}", place.oid("secret"))]);
    assert_eq!(claims, ask(&OnlyMain, "main", &[&format!("have {}", "1".repeat(40))]));
    assert!(names(&ask(&OpenGate, "secret", &[]), &secret), "it is told to those who may see it");
}

#[test]
fn settings_let_hidden_tips_count_before_version_2_as_in_git() {
    let place = Place::new();
    let wants = ["secret", "secret~1", "hidden", "main", "main~1", "secret:s"].map(|name| place.oid(name));
    let keys = ["uploadpack.allowTipSHA1InWant", "uploadpack.allowReachableSHA1InWant", "uploadpack.allowAnySHA1InWant"];
    place.sandbox.git(&place.server, ["config", "transfer.hideRefs", "refs/heads/secret"]);
    place.sandbox.git(&place.server, ["config", "--add", "transfer.hideRefs", "refs/tags"]);
    for on in [&[][..], &keys[..1], &keys[1..2], &keys[..2], &keys[2..]] {
        for key in keys {
            let value = if on.contains(&key) { "true" } else { "false" };
            place.sandbox.git(&place.server, ["config", key, value]);
        }
        for want in &wants {
            let input = round(Protocol::V0, want, &[]);
            let options = Options { wants: Wants::Git, ..Options::default() };
            let ours = place.answer_by(&OpenGate, options, &input).is_ok();
            let mut git = Command::new("git");
            git.arg("upload-pack").arg(&place.server).stdin(Stdio::piped()).stdout(Stdio::null());
            let mut child = git.stderr(Stdio::null()).env_remove("GIT_PROTOCOL").spawn().expect("git runs");
            child.stdin.take().expect("piped").write_all(&input).expect("taken");
            assert_eq!(ours, child.wait().expect("git ends").success(), "{on:?} {want}");
        }
    }
}
