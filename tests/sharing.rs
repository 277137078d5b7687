//! Requests that share: identical ones make one plan, different views never meet, and what stock git changes beside is seen.

mod common;

use bstr::BStr;
use common::pkt::{Pkt, data, take};
use common::{Sandbox, check};
use packmule::base::Cancel;
use packmule::pack::Bits;
use packmule::serve::{Gate, OpenGate, Options, Proposal, Protocol, SharedState, Verdict, Visibility, Wants, upload_pack};
use packmule::store::{ConfigScope, Refs, Repository};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Barrier, Mutex};

/// Hides every ref whose name has this text in it.
struct Hides(&'static str);

impl Gate for Hides {
    fn visible(&self, refs: &Refs) -> Visibility {
        let mut seen = Bits::new(refs.len());
        for (at, entry) in refs.iter().enumerate() {
            if !entry.name.to_string().contains(self.0) {
                seen.insert(at);
            }
        }
        Visibility::Only(seen)
    }

    fn judge(&self, proposal: &Proposal<'_>) -> Vec<Verdict> {
        vec![Verdict::Allow; proposal.edits.len()]
    }
}

/// A server's side of things, without sockets.
struct Desk {
    sandbox: Sandbox,
    repository: PathBuf,
    shared: Arc<SharedState>,
}

impl Desk {
    fn new(bytes_max: usize) -> Self {
        let sandbox = Sandbox::new();
        let (repository, _) = sandbox.history("r.git", "sha1", 7, 60);
        sandbox.git(&repository, ["repack", "-adq"]);
        // What has just been written could still change without its time moving, and nothing is kept of it.
        std::thread::sleep(std::time::Duration::from_millis(100));
        Self { sandbox, repository, shared: Arc::new(SharedState::new(bytes_max)) }
    }

    fn git(&self, args: &[&str]) -> String {
        self.sandbox.git(&self.repository, args)
    }

    fn options(&self) -> Options {
        Options {
            protocol: Protocol::V2,
            wants: Wants::ReachableFromVisible,
            shared: Some(self.shared.clone()),
            stateless: true,
            ..Options::default()
        }
    }

    fn open(&self) -> Repository {
        Repository::open(&self.repository, ConfigScope::RepositoryOnly).expect("a repository")
    }

    /// What comes back for one request.
    fn ask(&self, gate: &dyn Gate, request: &[u8]) -> Vec<u8> {
        let mut output = vec![];
        upload_pack(&self.open(), gate, &self.options(), request, &mut output, &Cancel::new()).expect("served");
        output
    }

    /// A new commit on `branch` with a file of its own, packed by itself.
    fn commit(&self, branch: &str) -> String {
        let blob = self.sandbox.git_with_input(&self.repository, ["hash-object", "-w", "--stdin"], format!("only {branch}").as_bytes());
        let tree = self.sandbox.git_with_input(&self.repository, ["mktree"], format!("100644 blob {blob}\tonly\n").as_bytes());
        let commit = self.git(&["commit-tree", "-m", branch, "-p", "main", &tree]);
        self.git(&["update-ref", &format!("refs/heads/{branch}"), &commit]);
        commit
    }

    /// The ids in the pack that `answer` carries.
    fn ids_in(&self, answer: &[u8]) -> Vec<String> {
        let target = self.sandbox.bare(format!("t{}", answer.len()), "sha1");
        self.sandbox.git_with_input(&target, ["index-pack", "--stdin", "--strict"], &pack_of(answer));
        let ids = check::packed(&self.sandbox, &target).into_iter().collect();
        std::fs::remove_dir_all(target).expect("a folder of ours");
        ids
    }
}

/// A clone of `wants`, tags along.
fn clone(wants: &[&str]) -> Vec<u8> {
    let mut bytes = [data("command=fetch"), data("object-format=sha1"), b"0001".to_vec()].concat();
    for line in ["include-tag", "ofs-delta", "no-progress", "done"] {
        bytes.extend(data(line));
    }
    wants.iter().for_each(|want| bytes.extend(data(format!("want {want}"))));
    bytes.extend(b"0000");
    bytes
}

fn ls_refs() -> Vec<u8> {
    [data("command=ls-refs"), data("object-format=sha1"), b"0001".to_vec(), data("peel"), data("symrefs"), b"0000".to_vec()].concat()
}

fn pack_of(mut answer: &[u8]) -> Vec<u8> {
    let mut pack = vec![];
    while let Some(pkt) = take(&mut answer).expect("packets") {
        if let Pkt::Data(payload) = pkt
            && payload.first() == Some(&1)
        {
            pack.extend_from_slice(&payload[1..]);
        }
    }
    pack
}

#[test]
fn sixteen_identical_clones_at_once_make_one_plan() {
    let desk = Desk::new(64 << 20);
    let request = clone(&[&desk.git(&["rev-parse", "main"])]);
    let start = Barrier::new(16);
    let ask = || {
        start.wait();
        desk.ask(&OpenGate, &request)
    };
    let answers: Vec<_> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..16).map(|_| scope.spawn(ask)).collect();
        threads.into_iter().map(|thread| thread.join().expect("no panic")).collect()
    });
    assert!(answers.iter().all(|answer| *answer == answers[0]));
    let plans = desk.shared.statistics().made;
    desk.ask(&OpenGate, &request);
    assert_eq!(desk.shared.statistics().made, plans, "the plan is kept");
    let alone = Options { shared: None, ..desk.options() };
    let mut output = vec![];
    upload_pack(&desk.open(), &OpenGate, &alone, &request[..], &mut output, &Cancel::new()).expect("served");
    assert_eq!(pack_of(&output), pack_of(&answers[0]), "what is shared is what each would have made");
}

#[test]
fn two_users_with_different_views_never_share_whatever_they_ask() {
    let desk = Desk::new(64 << 20);
    let main = desk.git(&["rev-parse", "main"]);
    // A tag of a commit that both may see, under a name that one may not: include-tag must not carry it over.
    desk.git(&["tag", "-a", "-m", "inside", "secret-plan", "main"]);
    let tag = desk.git(&["rev-parse", "refs/tags/secret-plan"]);
    let secret = desk.commit("secret");
    let request = clone(&[&main]);
    for (order, gates) in [[&OpenGate as &dyn Gate, &Hides("secret")], [&Hides("secret"), &OpenGate]].iter().enumerate() {
        let desk = Desk { shared: Arc::new(SharedState::new(64 << 20)), sandbox: Sandbox::new(), repository: desk.repository.clone() };
        for gate in gates {
            let sees_all = matches!(gate.visible(desk.open().snapshot().expect("a view").refs()), Visibility::All);
            for _ in 0..2 {
                let ids = desk.ids_in(&desk.ask(*gate, &request));
                assert_eq!(ids.contains(&tag), sees_all, "order {order}");
                let listed = String::from_utf8_lossy(&desk.ask(*gate, &ls_refs())).into_owned();
                assert_eq!((listed.contains("secret"), listed.contains(&secret)), (sees_all, sees_all), "order {order}");
                let mut output = vec![];
                let outcome = upload_pack(&desk.open(), *gate, &desk.options(), &clone(&[&secret])[..], &mut output, &Cancel::new());
                assert_eq!(outcome.is_ok(), sees_all, "order {order}: {outcome:?}");
            }
        }
        assert!(desk.shared.statistics().found > 0, "something was shared");
    }
}

#[test]
fn what_stock_git_changes_between_two_requests_is_seen_at_once() {
    let desk = Desk::new(64 << 20);
    for round in 0..12 {
        let name = format!("topic-{round}");
        let tip = desk.commit(&name);
        let listed = String::from_utf8_lossy(&desk.ask(&OpenGate, &ls_refs())).into_owned();
        assert!(listed.contains(&format!("{tip} refs/heads/{name}")), "round {round}");
        let ids = desk.ids_in(&desk.ask(&OpenGate, &clone(&[&tip])));
        assert!(ids.contains(&tip));
        match round % 3 {
            0 => drop(desk.git(&["pack-refs", "--all"])),
            1 => drop(desk.git(&["repack", "-adq"])),
            _ => drop(desk.git(&["gc", "--prune=now", "-q"])),
        }
    }
    assert_eq!(desk.shared.statistics().repositories, 1);
}

#[test]
fn the_bound_holds_and_nothing_is_kept_where_it_is_zero() {
    let desk = Desk::new(20_000);
    let tips: Vec<String> = (0..10).map(|number| desk.commit(&format!("t{number}"))).collect();
    for bytes_max in [100_000, 0] {
        let shared = Arc::new(SharedState::new(bytes_max));
        let desk = Desk { shared: shared.clone(), sandbox: Sandbox::new(), repository: desk.repository.clone() };
        for tip in &tips {
            assert!(desk.ids_in(&desk.ask(&OpenGate, &clone(&[tip]))).contains(tip));
            assert!(shared.statistics().bytes <= bytes_max, "{:?}", shared.statistics());
        }
        assert_eq!(shared.statistics().entries == 0, bytes_max == 0, "{:?}", shared.statistics());
    }
}

#[test]
fn packs_that_gc_removes_are_let_go_of() {
    let desk = Desk::new(64 << 20);
    desk.ask(&OpenGate, &clone(&[&desk.git(&["rev-parse", "main"])]));
    let pack = std::fs::read_dir(desk.repository.join("objects/pack")).expect("packs").flatten().map(|entry| entry.path());
    let pack = pack.into_iter().find(|path| path.extension().is_some_and(|end| end == "pack")).expect("a pack");
    let is_mapped = || std::fs::read_to_string("/proc/self/maps").expect("readable").contains(&*pack.to_string_lossy());
    assert!(is_mapped());
    desk.shared.let_go_of_the_past();
    desk.commit("more");
    desk.git(&["repack", "-adq"]);
    assert!(!pack.exists());
    desk.shared.let_go_of_the_past();
    assert!(!is_mapped());
    assert_eq!((desk.shared.statistics().entries, desk.shared.statistics().bytes), (0, 0));
}

/// Takes so many bytes and then waits until it is let go on; says when it began to wait.
struct Slow {
    taken: Arc<Mutex<Vec<u8>>>,
    pause_after: usize,
    paused: Arc<AtomicBool>,
    go_on: Arc<AtomicBool>,
}

impl Write for Slow {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let mut taken = self.taken.lock().expect("no panic");
        if taken.len() >= self.pause_after {
            self.paused.store(true, Ordering::Release);
            while !self.go_on.load(Ordering::Acquire) {
                std::thread::yield_now();
            }
        }
        let count = bytes.len().min(4096);
        taken.extend_from_slice(&bytes[..count]);
        Ok(count)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

fn pack_files(repository: &Path) -> Vec<PathBuf> {
    let all = std::fs::read_dir(repository.join("objects/pack")).expect("packs").flatten().map(|entry| entry.path());
    all.filter(|path| path.extension().is_some_and(|end| end == "pack")).collect()
}

#[test]
fn a_fetch_under_way_completes_while_stock_git_repacks_and_prunes_beside() {
    let desk = Desk::new(64 << 20);
    let tip = desk.commit("kept");
    let request = clone(&[&tip]);
    let wanted = desk.ids_in(&desk.ask(&OpenGate, &request));
    let (taken, paused, go_on) = (Arc::new(Mutex::new(vec![])), Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
    let slow = Slow { taken: taken.clone(), pause_after: 4096, paused: paused.clone(), go_on: go_on.clone() };
    let before = pack_files(&desk.repository);
    std::thread::scope(|scope| {
        let fetch = scope.spawn(|| upload_pack(&desk.open(), &OpenGate, &desk.options(), &request[..], slow, &Cancel::new()));
        while !paused.load(Ordering::Acquire) {
            assert!(!fetch.is_finished(), "the answer is too short for this test");
            std::thread::yield_now();
        }
        desk.commit("other");
        desk.git(&["repack", "-adfq", "--depth=3", "--window=3"]);
        desk.git(&["prune-packed"]);
        assert!(pack_files(&desk.repository).iter().all(|path| !before.contains(path)));
        // Others are served from what is there now, meanwhile.
        assert_eq!(desk.ids_in(&desk.ask(&OpenGate, &request)), wanted);
        go_on.store(true, Ordering::Release);
        fetch.join().expect("no panic").expect("served");
    });
    assert_eq!(desk.ids_in(&taken.lock().expect("no panic")), wanted);
}

#[test]
fn a_hidden_name_is_told_by_nothing_that_is_kept() {
    let desk = Desk::new(64 << 20);
    desk.commit("secret");
    desk.ask(&OpenGate, &ls_refs());
    let options = Options { protocol: Protocol::V0, advertise_only: true, ..desk.options() };
    let advertise = |gate: &dyn Gate| {
        let mut output = vec![];
        upload_pack(&desk.open(), gate, &options, &[][..], &mut output, &Cancel::new()).expect("served");
        output
    };
    assert!(bstr::ByteSlice::contains_str(&advertise(&OpenGate)[..], BStr::new("secret")));
    let output = advertise(&Hides("secret"));
    assert!(!output.is_empty() && !bstr::ByteSlice::contains_str(&output[..], BStr::new("secret")));
}

/// A request whose client goes away with its last byte.
struct Leaves<'a>(&'a [u8], Cancel);

impl Read for Leaves<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let count = self.0.read(buffer)?;
        if self.0.is_empty() {
            self.1.set();
        }
        Ok(count)
    }
}

#[test]
fn a_client_that_leaves_after_its_request_gets_no_plan_and_leaves_none() {
    let desk = Desk::new(64 << 20);
    let request = clone(&[&desk.git(&["rev-parse", "main"])]);
    let (cancel, mut output) = (Cancel::new(), vec![]);
    let input = Leaves(&request, cancel.clone());
    let outcome = upload_pack(&desk.open(), &OpenGate, &desk.options(), input, &mut output, &cancel);
    assert!(matches!(outcome, Err(packmule::serve::Error::Cancelled(_))), "{outcome:?}");
    assert!(pack_of(&output).is_empty());
    assert!(!pack_of(&desk.ask(&OpenGate, &request)).is_empty(), "the next one is served");
}

#[test]
fn a_stream_ends_soon_after_its_client_has_gone() {
    let desk = Desk::new(64 << 20);
    let bytes = common::fixture::Random(3).bytes(24 << 20);
    let blob = desk.sandbox.git_with_input(&desk.repository, ["hash-object", "-w", "--stdin"], &bytes);
    let tree = desk.sandbox.git_with_input(&desk.repository, ["mktree"], format!("100644 blob {blob}\tbig\n").as_bytes());
    let tip = desk.git(&["commit-tree", "-m", "big", "-p", "main", &tree]);
    desk.git(&["update-ref", "refs/heads/big", &tip]);
    desk.git(&["-c", "core.compression=0", "repack", "-adq"]);
    let (taken, paused, go_on) = (Arc::new(Mutex::new(vec![])), Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
    let slow = Slow { taken: taken.clone(), pause_after: 4096, paused: paused.clone(), go_on: go_on.clone() };
    let (cancel, request) = (Cancel::new(), clone(&[&tip]));
    let outcome = std::thread::scope(|scope| {
        let fetch = scope.spawn(|| upload_pack(&desk.open(), &OpenGate, &desk.options(), &request[..], slow, &cancel));
        while !paused.load(Ordering::Acquire) {
            assert!(!fetch.is_finished(), "the answer is too short for this test");
            std::thread::yield_now();
        }
        cancel.set();
        go_on.store(true, Ordering::Release);
        fetch.join().expect("no panic")
    });
    assert!(matches!(outcome, Err(packmule::serve::Error::Cancelled(_))), "{outcome:?}");
    let sent = taken.lock().expect("no panic").len();
    assert!(sent < 4 << 20, "{sent} bytes of 24 MiB went out for nobody");
}
