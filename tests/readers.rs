//! Pushes of several refs at once, and readers beside them that never see one half of any.

mod common;

use bstr::BString;
use common::{PACKMULE, Sandbox, check, pkt, run, run_with_input};
use gix_hash::ObjectId;
use packmule::base::Cancel;
use packmule::serve::{OpenGate, Options, receive_pack, upload_pack};
use packmule::store::{CommitMode, ConfigScope, HeldSnapshot, Push, RefEdit, Repository, Snapshot, checkpoint_idle};
use std::io::{Read, Write};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// Refs that change together.
const SET: usize = 12;
/// Sets; each has a pusher of its own.
const SETS: usize = 2;
/// How long everybody works, in milliseconds.
const WORK_MS: u64 = 4_000;

fn open(path: &Path, scope: ConfigScope) -> Repository {
    Repository::open(path, scope).expect("opens")
}

fn name(set: usize, at: usize) -> BString {
    format!("refs/heads/set{set}/{at}").into()
}

/// The refs of one set: all at one commit, or all absent.
fn value_of(snapshot: &Snapshot, set: usize) -> Result<Option<ObjectId>, String> {
    let values: Vec<_> = (0..SET).map(|at| snapshot.refs().find(name(set, at).as_ref()).and_then(|entry| entry.id)).collect();
    if values.iter().all(|value| *value == values[0]) { Ok(values[0]) } else { Err(format!("set {set}: {values:?}")) }
}

/// Chains of commits, without a pack: the objects are there.
fn commits(sandbox: &Sandbox, path: &Path, count: usize) -> Vec<ObjectId> {
    let tree = sandbox.git(path, ["hash-object", "-w", "-t", "tree", "/dev/null"]);
    let commit = |at: usize| sandbox.git(path, ["commit-tree", "-m", &at.to_string(), &tree]);
    (0..count).map(|at| ObjectId::from_hex(commit(at).as_bytes()).expect("is hex")).collect()
}

fn push(repository: &Repository, set: usize, old: ObjectId, new: ObjectId) {
    let edits: Vec<_> = (0..SET).map(|at| RefEdit { name: name(set, at), old, new, message: "push".into() }).collect();
    let push = Push::begin(repository).expect("begins");
    let done = push.commit(&edits, CommitMode::Atomic, &"A <a@x>".into()).expect("no fault");
    assert!(done.results.iter().all(Result::is_ok), "{:?}", done.results);
}

#[test]
fn no_reader_sees_one_half_of_an_atomic_push() {
    let sandbox = Sandbox::new();
    let path = sandbox.bare("r.git", "sha1");
    let commits = commits(&sandbox, &path, 5);
    let null = gix_hash::Kind::Sha1.null();
    let deadline = Instant::now() + Duration::from_millis(WORK_MS);
    let (failed, pushes, reads) = (AtomicBool::new(false), AtomicUsize::new(0), AtomicUsize::new(0));
    let is_over = || failed.load(Ordering::Relaxed) || Instant::now() >= deadline;
    let wrong: Vec<String> = std::thread::scope(|scope| {
        for set in 0..SETS {
            let (path, commits, pushes, is_over) = (&path, &commits, &pushes, &is_over);
            scope.spawn(move || {
                let repository = open(path, ConfigScope::RepositoryOnly);
                let mut old = null;
                for at in (0..commits.len() + 1).cycle().skip(1) {
                    let new = commits.get(at).copied().unwrap_or(null); // now and then they go, and come again
                    push(&repository, set, old, new);
                    old = new;
                    pushes.fetch_add(1, Ordering::Relaxed);
                    if is_over() {
                        return;
                    }
                }
            });
        }
        scope.spawn(|| {
            while !is_over() {
                std::thread::sleep(Duration::from_millis(150));
                checkpoint_idle(Duration::ZERO);
            }
        });
        let readers: Vec<_> = [ConfigScope::Git, ConfigScope::RepositoryOnly]
            .into_iter()
            .map(|scope_of_reader| {
                let (path, failed, reads, is_over) = (&path, &failed, &reads, &is_over);
                scope.spawn(move || {
                    let repository = open(path, scope_of_reader);
                    let mut held: Option<HeldSnapshot> = None;
                    while !is_over() {
                        let snapshot = if scope_of_reader == ConfigScope::Git {
                            repository.snapshot().expect("reads")
                        } else {
                            held.insert(repository.snapshot_again(held.as_ref()).expect("reads")).snapshot().clone()
                        };
                        reads.fetch_add(1, Ordering::Relaxed);
                        if let Some(half) = (0..SETS).find_map(|set| value_of(&snapshot, set).err()) {
                            failed.store(true, Ordering::Relaxed);
                            return Some(half);
                        }
                    }
                    None
                })
            })
            .collect();
        readers.into_iter().filter_map(|reader| reader.join().expect("no panic")).collect()
    });
    assert_eq!(wrong, [""; 0]);
    let (pushes, reads) = (pushes.into_inner(), reads.into_inner());
    eprintln!("{pushes} pushes of {SET} refs, {reads} reads");
    assert!(pushes > 20 && reads > 100, "enough has happened to meet a half: {pushes} pushes, {reads} reads");
    checkpoint_idle(Duration::ZERO);
    assert_eq!(std::fs::metadata(path.join("packmule-journal")).expect("is there").len(), 64, "brought to its end");
    check::sound(&sandbox, &path);
}

#[test]
fn a_fetch_right_after_a_push_sees_it_and_values_never_go_back() {
    let sandbox = Sandbox::new();
    let path = sandbox.bare("r.git", "sha1");
    let commits = commits(&sandbox, &path, 40);
    let done = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        let reader = scope.spawn(|| {
            let repository = open(&path, ConfigScope::RepositoryOnly);
            let mut held: Option<HeldSnapshot> = None;
            let mut before = 0;
            while before < commits.len() {
                let acknowledged = done.load(Ordering::SeqCst);
                let now = held.insert(repository.snapshot_again(held.as_ref()).expect("reads"));
                let value = value_of(now.snapshot(), 0).expect("is whole");
                let at = value.map_or(0, |value| 1 + commits.iter().position(|commit| *commit == value).expect("one of them"));
                assert!(at >= acknowledged && at >= before, "{at} is seen after {before} and {acknowledged}");
                before = at;
            }
        });
        let repository = open(&path, ConfigScope::RepositoryOnly);
        let mut old = gix_hash::Kind::Sha1.null();
        for (at, new) in commits.iter().enumerate() {
            if reader.is_finished() {
                break;
            }
            push(&repository, 0, old, *new);
            done.store(at + 1, Ordering::SeqCst);
            old = *new;
        }
        reader.join().expect("no panic");
    });
    check::sound(&sandbox, &path);
}

#[test]
fn of_many_pushes_to_one_ref_exactly_one_wins_and_pushes_to_others_are_not_held_up() {
    let sandbox = Sandbox::new();
    let (one, other) = (sandbox.bare("one.git", "sha1"), sandbox.bare("other.git", "sha1"));
    let commits_of_one = commits(&sandbox, &one, 9);
    let commits_of_other = commits(&sandbox, &other, 9);
    let null = gix_hash::Kind::Sha1.null();
    let outcome = |path: &Path, old: ObjectId, new: ObjectId| {
        let push = Push::begin(&open(path, ConfigScope::RepositoryOnly)).expect("begins");
        let edit = RefEdit { name: "refs/heads/main".into(), old, new, message: "push".into() };
        push.commit(&[edit], CommitMode::PerRef, &"A <a@x>".into()).expect("no fault").results.remove(0)
    };
    for round in 0..20 {
        let (old, winners) = (if round == 0 { null } else { current(&one) }, AtomicUsize::new(0));
        std::thread::scope(|scope| {
            for new in commits_of_one.iter().filter(|new| **new != old).take(8) {
                let (one, winners, outcome) = (&one, &winners, &outcome);
                scope.spawn(move || match outcome(one, old, *new) {
                    Ok(()) => _ = winners.fetch_add(1, Ordering::Relaxed),
                    Err(why) => {
                        let why = why.to_string();
                        assert!(why.contains("fetch first") || why.contains("refs/heads/main.lock"), "{why}");
                    }
                });
            }
        });
        assert_eq!(winners.into_inner(), 1, "round {round}");
    }
    // Somebody hangs with the lock of one repository: the other does not notice.
    let lock = std::fs::File::options().write(true).open(one.join("packmule.lock")).expect("is there");
    rustix::fs::flock(&lock, rustix::fs::FlockOperation::LockExclusive).expect("locked");
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| outcome(&one, current(&one), commits_of_one[8]));
        let began = Instant::now();
        assert_eq!(outcome(&other, null, commits_of_other[0]), Ok(()));
        assert!(began.elapsed() < Duration::from_secs(10), "it waited for another repository");
        assert!(!waiting.is_finished());
        drop(lock);
        drop(waiting.join().expect("no panic"));
    });
    check::sound(&sandbox, &one);
    check::sound(&sandbox, &other);
}

#[test]
fn atomic_pushes_that_overlap_in_any_order_all_come_to_an_end_and_each_is_whole() {
    let sandbox = Sandbox::new();
    let path = sandbox.bare("r.git", "sha1");
    let commits = commits(&sandbox, &path, 5);
    let sets: [&[usize]; 4] = [&[0, 1, 2, 3], &[3, 2, 1, 0], &[2, 3, 4, 5], &[5, 0]];
    let (begun, won) = (Instant::now(), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        for (set, new) in sets.iter().zip(&commits) {
            let (path, won) = (&path, &won);
            scope.spawn(move || {
                let repository = open(path, ConfigScope::RepositoryOnly);
                for _ in 0..15 {
                    let push = Push::begin(&repository).expect("begins");
                    let old = |name: &BString| push.view().refs().find(name.as_ref()).and_then(|entry| entry.id);
                    let edit = |at: &usize| {
                        let name = name(0, *at);
                        let old = old(&name).unwrap_or(gix_hash::Kind::Sha1.null());
                        RefEdit { name, old, new: *new, message: "push".into() }
                    };
                    let edits: Vec<_> = set.iter().map(edit).collect();
                    let done = push.commit(&edits, CommitMode::Atomic, &"A <a@x>".into()).expect("no fault").results;
                    assert!(done.iter().all(Result::is_ok) || done.iter().all(Result::is_err), "{done:?}");
                    won.fetch_add(usize::from(done[0].is_ok()), Ordering::Relaxed);
                }
            });
        }
    });
    assert!(begun.elapsed() < Duration::from_secs(60), "they waited for each other");
    assert!(won.into_inner() >= sets.len(), "some of them happen");
    check::sound(&sandbox, &path);
}

/// What lies at one path becomes another repository, the moment that `at` bytes have gone by.
struct Swap<'a> {
    left: usize,
    ours: &'a Path,
    other: &'a Path,
}

impl Swap<'_> {
    fn pass(&mut self, bytes: usize) {
        if self.left > 0 && self.left <= bytes {
            std::fs::rename(self.ours, self.ours.with_extension("moved")).expect("renamed");
            std::fs::rename(self.other, self.ours).expect("renamed");
        }
        self.left = self.left.saturating_sub(bytes);
    }
}

struct Swapping<'a, T>(T, Swap<'a>);

impl<T: Read> Read for Swapping<'_, T> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let few = buffer.len().min(100);
        let count = self.0.read(&mut buffer[..few])?;
        self.1.pass(count);
        Ok(count)
    }
}

impl Write for Swapping<'_, &mut Vec<u8>> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.1.pass(bytes.len());
        self.0.write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_request_never_touches_another_repository_that_took_the_place_of_its_own() {
    let sandbox = Sandbox::new();
    let client = sandbox.work_tree("client", "sha1");
    (0..20).for_each(|at| drop(sandbox.commit_file(&client, &format!("f{at}"), format!("{at} of ours"))));
    let tip = sandbox.git(&client, ["rev-parse", "HEAD"]);
    let stranger = sandbox.work_tree("stranger", "sha1");
    sandbox.commit_file(&stranger, "secret", "of the other");
    let secrets = sandbox.git(&stranger, ["rev-parse", "HEAD", "HEAD:secret"]);
    let pack = run_with_input(&mut sandbox.git_command(&client, ["pack-objects", "-q", "--revs", "--stdout"]), b"HEAD\n").stdout;
    let want = [pkt::data(format!("want {tip} side-band-64k")), b"0000".to_vec(), pkt::data("done\n")].concat();
    let update = [pkt::data(format!("{} {tip} refs/heads/new\0report-status", "0".repeat(40))), b"0000".to_vec(), pack].concat();
    // Before the pack of a push nothing has begun, and it goes where the name leads then.
    for (is_push, left) in [(false, 1), (false, 400), (false, 1200), (true, 400), (true, 1000), (true, update.len())] {
        for name in ["ours.git", "other.git", "ours.moved"] {
            let _ = std::fs::remove_dir_all(sandbox.path(name));
        }
        let [ours, other] = [(&client, "ours.git"), (&stranger, "other.git")].map(|(from, name)| {
            let path = sandbox.bare(name, "sha1");
            sandbox.git(from, ["push", "-q", &path.to_string_lossy(), "HEAD:refs/heads/main"]);
            sandbox.git(&path, ["repack", "-adq"]);
            path
        });
        let before = check::refs(&sandbox, &other);
        let (swap, options, cancel) = (Swap { left, ours: &ours, other: &other }, Options::default(), Cancel::new());
        let (repository, mut heard) = (open(&ours, ConfigScope::RepositoryOnly), vec![]);
        if is_push {
            let outcome = receive_pack(&repository, &OpenGate, &options, Swapping(&update[..], swap), &mut heard, &cancel);
            let said = String::from_utf8_lossy(&heard).into_owned();
            assert!(!said.contains("\nok ") && !said.contains("ok refs/heads/new"), "{left}: {said} {outcome:?}");
        } else {
            let outcome = upload_pack(&repository, &OpenGate, &options, &want[..], Swapping(&mut heard, swap), &cancel);
            eprintln!("{left}: {outcome:?}");
            let sent: Vec<u8> = side_band(&heard);
            if outcome.is_ok() {
                let taken = sandbox.bare(format!("taken{left}.git"), "sha1");
                sandbox.git_with_input(&taken, ["index-pack", "--stdin"], &sent);
                let has = |id: &str| run(&mut sandbox.git_command(&taken, ["cat-file", "-e", id])).status.success();
                assert!(has(&tip) && !secrets.lines().any(has));
            }
        }
        assert_eq!(check::refs(&sandbox, &ours), before, "{is_push} {left}: what lies there now");
        check::sound(&sandbox, &ours);
    }
}

/// The pack in an answer.
fn side_band(mut answer: &[u8]) -> Vec<u8> {
    let mut pack = vec![];
    while let Ok(Some(packet)) = pkt::take(&mut answer) {
        if let pkt::Pkt::Data(line) = packet
            && line.first() == Some(&1)
        {
            pack.extend(&line[1..]);
        }
    }
    pack
}

#[test]
fn gc_and_repack_and_pushes_of_stock_git_beside_ours_lose_nothing() {
    let sandbox = Sandbox::new();
    let server = sandbox.bare("server.git", "sha1");
    let client = sandbox.work_tree("client", "sha1");
    let rounds = 12;
    let commits: Vec<_> = (0..rounds).map(|at| sandbox.commit_file(&client, "file", at.to_string())).collect();
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let (sandbox, server, client, commits, over) = (&sandbox, &server, &client, &commits, &over);
        let tending = scope.spawn(move || {
            while !over.load(Ordering::Relaxed) {
                for words in [&["repack", "-adq"][..], &["gc", "-q"], &["pack-refs", "--all"]] {
                    // It may find a lock of a push held, and give up.
                    run(&mut sandbox.git_command(server, words));
                }
            }
        });
        let pushers: Vec<_> = ["git", "packmule", "packmule-too"]
            .map(|who| {
                scope.spawn(move || {
                    let receive = if who == "git" { "git-receive-pack".to_owned() } else { format!("{PACKMULE} receive-pack") };
                    for (at, commit) in commits.iter().enumerate() {
                        let (own, shared) = (format!("{commit}:refs/heads/{who}/main"), format!("{commit}:refs/tags/{who}-{at}"));
                        for tries in 1.. {
                            let mut command = sandbox.git_command(client, ["push", "-q", "--atomic", "--receive-pack", &receive]);
                            let output = run(command.arg(server).args([&own, &shared]));
                            if output.status.success() {
                                break;
                            }
                            // Stock git's own loose objects may lose their folder to its own gc just as they come, and its check of
                            // links a pack: it says so.
                            let said = String::from_utf8_lossy(&output.stderr);
                            let lost = ["unable to migrate objects to permanent storage", "missing necessary objects"];
                            let is_gits = who == "git" && lost.iter().any(|words| said.contains(words));
                            assert!(is_gits && tries < 20, "{who} {at}: {said}");
                        }
                    }
                })
            })
            .into_iter()
            .map(|pusher| pusher.join())
            .collect();
        over.store(true, Ordering::Relaxed);
        tending.join().expect("no panic");
        pushers.into_iter().for_each(|pusher| pusher.expect("no panic"));
    });
    for who in ["git", "packmule", "packmule-too"] {
        assert_eq!(check::ref_value(&sandbox, &server, &format!("refs/heads/{who}/main")), commits[rounds - 1]);
    }
    assert_eq!(sandbox.git(&server, ["for-each-ref", "refs/tags"]).lines().count(), 3 * rounds);
    check::sound(&sandbox, &server);
}

/// Where main is.
fn current(path: &Path) -> ObjectId {
    let snapshot = open(path, ConfigScope::RepositoryOnly).snapshot().expect("reads");
    snapshot.refs().find("refs/heads/main".into()).and_then(|entry| entry.id).expect("is there")
}
