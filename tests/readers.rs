//! Pushes of several refs at once, and readers beside them that never see one half of any.

mod common;

use bstr::BString;
use common::{PACKMULE, Sandbox, check, run};
use gix_hash::ObjectId;
use packmule::store::{CommitMode, ConfigScope, HeldSnapshot, Push, RefEdit, Repository, Snapshot, checkpoint_idle};
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
                            // Stock git's own loose objects may lose their folder to its own gc just as they come: it says so.
                            let said = String::from_utf8_lossy(&output.stderr);
                            let is_gits = who == "git" && said.contains("unable to migrate objects to permanent storage");
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
