//! Ref transactions beside stock git: same refs, same refusals, same logs, and no harm to each other.

use super::super::loose_ref::{self, Loose};
use super::super::quarantine::Quarantine;
use super::*;
use proptest::prelude::*;
use std::process::Command;
use tempfile::TempDir;

const IDENTITY: &str = "A U Thor <author@example.com>";

/// A bare repository with a chain of commits and no refs.
struct Repo {
    dir: TempDir,
    hash: gix_hash::Kind,
    log_refs: LogRefs,
    commits: Vec<ObjectId>,
}

impl Repo {
    fn new(hash: gix_hash::Kind, commits: usize) -> Self {
        let dir = tempfile::tempdir().expect("a folder");
        let format = format!("--object-format={hash}");
        git(dir.path(), &["init", "--quiet", "--bare", "--initial-branch=main", &format, "."]);
        let tree = git(dir.path(), &["hash-object", "-w", "-t", "tree", "/dev/null"]);
        let mut repo = Self { dir, hash, log_refs: LogRefs::Existing, commits: vec![] };
        let mut args: Vec<String> = vec!["commit-tree".into(), "-m".into(), "x".into(), tree];
        for _ in 0..commits {
            let id = git(repo.path(), &args.iter().map(String::as_str).collect::<Vec<_>>());
            args.truncate(4);
            args.extend(["-p".into(), id.clone()]);
            repo.commits.push(ObjectId::from_hex(id.as_bytes()).expect("is hex"));
        }
        repo
    }

    fn sha1() -> Self {
        Self::new(gix_hash::Kind::Sha1, 3)
    }

    fn path(&self) -> &Path {
        self.dir.path()
    }

    fn places(&self) -> Places {
        Places { git_dir: self.path().into(), common_dir: self.path().into(), objects_dir: self.path().join("objects") }
    }

    fn git(&self, args: &[&str]) -> String {
        git(self.path(), args)
    }

    fn null(&self) -> ObjectId {
        self.hash.null()
    }

    fn set(&self, name: &str, commit: usize) {
        self.git(&["update-ref", name, &self.commits[commit].to_string()]);
    }

    /// An edit from and to the commits with these numbers; `None` is the null id.
    fn edit(&self, name: &str, old: Option<usize>, new: Option<usize>) -> RefEdit {
        let id = |at: Option<usize>| at.map_or(self.null(), |at| self.commits[at]);
        RefEdit { name: name.into(), old: id(old), new: id(new), message: "push".into() }
    }

    fn run(&self, mode: CommitMode, edits: &[RefEdit]) -> Vec<Result<(), RefRefusal>> {
        let places = self.places();
        let quarantine = Quarantine::begin(places.clone(), None).expect("begins");
        let ground = Ground { places: &places, quarantine: quarantine.dir(), hash: self.hash, log_refs: self.log_refs, redo: None };
        let mut observer = NoObserver;
        let transaction = RefTransaction::prepare(ground, edits, mode, &mut observer).expect("no fault");
        let results = if transaction.has_work() { transaction.commit(IDENTITY.into(), |_| {}) } else { transaction.give_up() };
        quarantine.finish(&[]);
        results
    }

    fn refs(&self) -> Vec<(String, ObjectId)> {
        let text = self.git(&["for-each-ref", "--format=%(objectname) %(refname)"]);
        let line = |line: &str| {
            let (id, name) = line.split_once(' ').expect("two words");
            (name.to_owned(), ObjectId::from_hex(id.as_bytes()).expect("is hex"))
        };
        text.lines().map(line).collect()
    }

    fn assert_refs(&self, wanted: &[(&str, usize)]) {
        let wanted: Vec<_> = wanted.iter().map(|(name, at)| ((*name).to_owned(), self.commits[*at])).collect();
        assert_eq!(self.refs(), wanted);
        self.git(&["fsck", "--strict"]);
        self.assert_clean();
    }

    /// No lock, no quarantine, no empty folder below `refs/heads` and its like.
    fn assert_clean(&self) {
        let left = |path: &Path| {
            let name = path.file_name().expect("has a name").to_string_lossy().into_owned();
            let is_empty = path.is_dir() && fs::read_dir(path).expect("reads").next().is_none();
            name.ends_with(".lock") && name != "packmule.lock"
                || name.contains("packmule-")
                || is_empty && path.parent().is_some_and(|parent| parent.starts_with(self.path().join("refs/heads")))
        };
        let mut folders = vec![self.path().to_owned()];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).expect("reads") {
                let path = entry.expect("reads").path();
                assert!(!left(&path), "{} was left behind", path.display());
                if path.is_dir() {
                    folders.push(path);
                }
            }
        }
    }
}

fn command(dir: &Path, args: &[&str]) -> Command {
    let mut command = Command::new("git");
    command.current_dir(dir).args(args).env("GIT_CONFIG_NOSYSTEM", "1").env("GIT_CONFIG_GLOBAL", "/dev/null");
    for who in ["AUTHOR", "COMMITTER"] {
        command.env(format!("GIT_{who}_NAME"), "A U Thor").env(format!("GIT_{who}_EMAIL"), "author@example.com");
        command.env(format!("GIT_{who}_DATE"), "1700000000 +0000");
    }
    command
}

fn git(dir: &Path, args: &[&str]) -> String {
    let output = command(dir, args).output().expect("git runs");
    assert!(output.status.success(), "git {args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("is UTF-8").trim_end().to_owned()
}

fn conflict(name: &str) -> Result<(), RefRefusal> {
    Err(RefRefusal::Conflict(name.into()))
}

#[test]
fn loose_and_packed_refs_are_created_updated_and_deleted() {
    for hash in [gix_hash::Kind::Sha1, gix_hash::Kind::Sha256] {
        for packed in [false, true] {
            let repo = Repo::new(hash, 3);
            for name in ["refs/heads/update", "refs/heads/deep/er/delete", "refs/heads/stays", "refs/heads/delete"] {
                repo.set(name, 0);
            }
            repo.git(&["tag", "-m", "annotated", "v1", &repo.commits[0].to_string()]);
            let tag = ObjectId::from_hex(repo.git(&["rev-parse", "v1"]).as_bytes()).expect("is hex");
            if packed {
                repo.git(&["pack-refs", "--all"]);
                repo.set("refs/heads/delete", 1); // loose above another packed value
            }
            let now = if packed { Some(1) } else { Some(0) };
            let edits = [
                repo.edit("refs/heads/update", Some(0), Some(2)),
                repo.edit("refs/heads/delete", now, None),
                repo.edit("refs/heads/deep/er/delete", Some(0), None),
                repo.edit("refs/heads/new/folder/x", None, Some(1)),
                RefEdit { name: "refs/tags/v1".into(), old: tag, new: repo.null(), message: "push".into() },
            ];
            assert_eq!(repo.run(CommitMode::Atomic, &edits), vec![Ok(()); 5]);
            repo.assert_refs(&[("refs/heads/new/folder/x", 1), ("refs/heads/stays", 0), ("refs/heads/update", 2)]);
        }
    }
}

#[test]
fn an_edit_whose_old_value_is_not_there_is_stale() {
    let repo = Repo::sha1();
    repo.set("refs/heads/a", 0);
    repo.set("refs/heads/packed", 0);
    repo.git(&["pack-refs", "--all"]);
    repo.set("refs/heads/a", 1);
    let edits = [
        repo.edit("refs/heads/a", Some(0), Some(2)),   // the packed value, which the loose one hides
        repo.edit("refs/heads/packed", None, Some(0)), // exists, and with the new value at that
        repo.edit("refs/heads/absent", Some(0), Some(1)),
        repo.edit("refs/heads/gone", Some(0), None),
        repo.edit("refs/heads/a/below", Some(0), Some(1)),
        repo.edit("refs/heads/nothing", None, None),
        repo.edit("refs/heads/a/nothing", None, None),
    ];
    let results = repo.run(CommitMode::PerRef, &edits);
    assert_eq!(results[..5], vec![Err(RefRefusal::Stale); 5]);
    assert_eq!(results[5..], [Ok(()), Ok(())], "to delete what is not there is nothing to refuse");
    repo.assert_refs(&[("refs/heads/a", 1), ("refs/heads/packed", 0)]);
}

#[test]
fn one_refusal_refuses_an_atomic_push_and_nothing_else_otherwise() {
    let repo = Repo::sha1();
    repo.set("refs/heads/a", 0);
    let edits = [
        repo.edit("refs/heads/a", Some(0), Some(1)),
        repo.edit("refs/heads/b", Some(0), Some(1)),
        repo.edit("refs/heads/c", None, Some(1)),
        repo.edit("HEAD", None, Some(1)),
    ];
    let refused = [Err(RefRefusal::Atomic), Err(RefRefusal::Stale), Err(RefRefusal::Atomic)];
    assert_eq!(repo.run(CommitMode::Atomic, &edits[..3]), refused);
    let bad = [Err(RefRefusal::Atomic), Err(RefRefusal::Atomic), Err(RefRefusal::Atomic), Err(RefRefusal::BadName)];
    assert_eq!(repo.run(CommitMode::Atomic, &edits), bad);
    repo.assert_refs(&[("refs/heads/a", 0)]);
    assert_eq!(repo.run(CommitMode::PerRef, &edits), [Ok(()), Err(RefRefusal::Stale), Ok(()), Err(RefRefusal::BadName)]);
    repo.assert_refs(&[("refs/heads/a", 1), ("refs/heads/c", 1)]);
}

#[test]
fn a_ref_cannot_be_where_another_needs_a_folder() {
    for packed in [false, true] {
        let repo = Repo::sha1();
        repo.set("refs/heads/a", 0);
        repo.set("refs/heads/b/c", 0);
        if packed {
            repo.git(&["pack-refs", "--all", "--prune"]);
        }
        let edits = [
            repo.edit("refs/heads/a/x", None, Some(1)),
            repo.edit("refs/heads/a/x/y", None, Some(1)),
            repo.edit("refs/heads/b", None, Some(1)),
            repo.edit("refs/heads/new", None, Some(1)),
            repo.edit("refs/heads/new/x", None, Some(1)),
        ];
        let results = repo.run(CommitMode::PerRef, &edits);
        let wanted = [conflict("refs/heads/a"), conflict("refs/heads/a"), conflict("refs/heads/b/c"), Ok(()), conflict("refs/heads/new")];
        assert_eq!(results, wanted, "packed: {packed}");
        repo.assert_refs(&[("refs/heads/a", 0), ("refs/heads/b/c", 0), ("refs/heads/new", 1)]);
    }
}

#[test]
fn a_deletion_in_the_same_push_frees_the_name() {
    for mode in [CommitMode::Atomic, CommitMode::PerRef] {
        for packed in [false, true] {
            let repo = Repo::sha1();
            repo.set("refs/heads/a", 0);
            repo.set("refs/heads/b/c/d", 0);
            if packed {
                repo.git(&["pack-refs", "--all", "--prune"]);
            }
            let edits = [
                repo.edit("refs/heads/a/x/y", None, Some(1)),
                repo.edit("refs/heads/a", Some(0), None),
                repo.edit("refs/heads/b", None, Some(1)),
                repo.edit("refs/heads/b/c/d", Some(0), None),
            ];
            assert_eq!(repo.run(mode, &edits), vec![Ok(()); 4], "packed: {packed}");
            repo.assert_refs(&[("refs/heads/a/x/y", 1), ("refs/heads/b", 1)]);
        }
    }
}

#[test]
fn a_deletion_that_is_refused_frees_no_name() {
    for packed in [false, true] {
        let repo = Repo::sha1();
        repo.set("refs/heads/a", 0);
        repo.set("refs/heads/b/c", 0);
        if packed {
            repo.git(&["pack-refs", "--all", "--prune"]);
        }
        let edits = [
            repo.edit("refs/heads/a/x", None, Some(1)),
            repo.edit("refs/heads/a", Some(1), None),
            repo.edit("refs/heads/b", None, Some(1)),
            repo.edit("refs/heads/b/c", Some(1), None),
        ];
        let wanted = [conflict("refs/heads/a"), Err(RefRefusal::Stale), conflict("refs/heads/b/c"), Err(RefRefusal::Stale)];
        assert_eq!(repo.run(CommitMode::PerRef, &edits), wanted);
        repo.assert_refs(&[("refs/heads/a", 0), ("refs/heads/b/c", 0)]);
    }
}

#[test]
fn a_foreign_lock_is_named_and_left_alone() {
    let repo = Repo::sha1();
    repo.set("refs/heads/a", 0);
    repo.set("refs/heads/b", 0);
    for lock in ["refs/heads/a.lock", "packed-refs.lock"] {
        fs::write(repo.path().join(lock), "foreign").expect("written");
        let edits = [repo.edit("refs/heads/a", Some(0), Some(1)), repo.edit("refs/heads/b", Some(0), None)];
        let results = repo.run(CommitMode::PerRef, &edits[usize::from(lock == "packed-refs.lock")..]);
        assert_eq!(results[0], Err(RefRefusal::Locked(lock.into())));
        assert_eq!(fs::read(repo.path().join(lock)).expect("still there"), b"foreign");
        fs::remove_file(repo.path().join(lock)).expect("removed");
        repo.set("refs/heads/b", 0);
    }
    repo.assert_refs(&[("refs/heads/a", 0), ("refs/heads/b", 0)]);
}

#[test]
fn empty_folders_in_the_way_are_no_conflict() {
    let repo = Repo::sha1();
    fs::create_dir_all(repo.path().join("refs/heads/a/b/c")).expect("made");
    assert_eq!(repo.run(CommitMode::Atomic, &[repo.edit("refs/heads/a", None, Some(0))]), [Ok(())]);
    repo.assert_refs(&[("refs/heads/a", 0)]);
}

#[test]
fn an_edit_of_a_symbolic_ref_edits_what_it_names() {
    let repo = Repo::sha1();
    repo.set("refs/heads/main", 0);
    repo.git(&["symbolic-ref", "refs/heads/sym", "refs/heads/main"]);
    repo.git(&["symbolic-ref", "refs/heads/round", "refs/heads/about"]);
    repo.git(&["symbolic-ref", "refs/heads/about", "refs/heads/round"]);
    let edits = [
        repo.edit("refs/heads/sym", Some(0), Some(1)),
        repo.edit("refs/heads/round", None, Some(1)),
        repo.edit("refs/heads/main", Some(0), Some(1)),
        repo.edit("refs/heads/main", Some(0), Some(2)),
    ];
    assert_eq!(repo.run(CommitMode::PerRef, &edits), [Ok(()), Err(RefRefusal::Loop), Ok(()), Err(RefRefusal::Aliased)]);
    assert_eq!(repo.git(&["symbolic-ref", "refs/heads/sym"]), "refs/heads/main");
    assert_eq!(repo.git(&["rev-parse", "refs/heads/main"]), repo.commits[1].to_string());
    repo.assert_clean();
}

#[test]
fn a_broken_ref_may_be_deleted_and_nothing_else() {
    let repo = Repo::sha1();
    fs::write(repo.path().join("refs/heads/torn"), "").expect("written");
    for old in [None, Some(0)] {
        assert_eq!(repo.run(CommitMode::PerRef, &[repo.edit("refs/heads/torn", old, Some(1))]), [Err(RefRefusal::Stale)]);
    }
    assert_eq!(repo.run(CommitMode::PerRef, &[repo.edit("refs/heads/torn", None, None)]), [Ok(())]);
    repo.assert_refs(&[]);
}

#[test]
fn an_atomic_push_that_fails_half_way_is_taken_back() {
    let repo = Repo::sha1();
    for name in ["refs/heads/a", "refs/heads/b", "refs/heads/c/d", "refs/heads/e"] {
        repo.set(name, 0);
    }
    repo.git(&["pack-refs", "--all"]);
    // Somebody is about to create z/x: no ref yet, but the folder cannot go.
    fs::create_dir(repo.path().join("refs/heads/z")).expect("made");
    fs::write(repo.path().join("refs/heads/z/x.lock"), "").expect("written");
    let edits = [
        repo.edit("refs/heads/a", Some(0), Some(1)),
        repo.edit("refs/heads/b", Some(0), None),
        repo.edit("refs/heads/b/new", None, Some(1)),
        repo.edit("refs/heads/c", None, Some(1)),
        repo.edit("refs/heads/c/d", Some(0), None),
        repo.edit("refs/heads/z", None, Some(1)),
    ];
    let results = repo.run(CommitMode::Atomic, &edits);
    assert!(matches!(results[5], Err(RefRefusal::Io(_))), "{results:?}");
    assert_eq!(results[..5], vec![Err(RefRefusal::Atomic); 5]);
    fs::remove_dir_all(repo.path().join("refs/heads/z")).expect("removed");
    repo.assert_refs(&[("refs/heads/a", 0), ("refs/heads/b", 0), ("refs/heads/c/d", 0), ("refs/heads/e", 0)]);
}

#[test]
fn a_veto_changes_nothing_and_every_state_is_told() {
    struct Guard(Vec<State>);
    impl TransactionObserver for Guard {
        fn entered(&mut self, state: State, edits: &[(&BStr, ObjectId, ObjectId)]) -> Result<(), String> {
            self.0.push(state);
            if state == State::Prepared && edits.iter().any(|(name, ..)| *name == "refs/heads/b") { Err("not b".into()) } else { Ok(()) }
        }
    }
    let repo = Repo::sha1();
    let places = repo.places();
    for (name, states) in [("refs/heads/a", State::Committed), ("refs/heads/b", State::Aborted)] {
        let quarantine = Quarantine::begin(places.clone(), None).expect("begins");
        let ground = Ground { places: &places, quarantine: quarantine.dir(), hash: repo.hash, log_refs: LogRefs::Existing, redo: None };
        let mut guard = Guard(vec![]);
        let edits = [repo.edit(name, None, Some(0))];
        let transaction = RefTransaction::prepare(ground, &edits, CommitMode::PerRef, &mut guard).expect("no fault");
        if transaction.has_work() {
            assert_eq!(transaction.commit(IDENTITY.into(), |_| {}), [Ok(())]);
        } else {
            assert_eq!(transaction.give_up(), [Err(RefRefusal::Vetoed("not b".into()))]);
        }
        assert_eq!(guard.0, [State::Preparing, State::Prepared, states]);
    }
    repo.assert_refs(&[("refs/heads/a", 0)]);
}

/// All logs, with moments and identities left out.
fn logs(dir: &Path) -> BTreeMap<String, Vec<String>> {
    let mut logs = BTreeMap::new();
    let root = dir.join("logs");
    let mut folders = vec![root.clone()];
    while let Some(folder) = folders.pop() {
        let Ok(entries) = fs::read_dir(&folder) else { continue };
        for entry in entries {
            let path = entry.expect("reads").path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let text = fs::read_to_string(&path).expect("is UTF-8");
            let line = |line: &str| {
                let (head, message) = line.split_once('\t').unwrap_or((line, ""));
                format!("{} {message}", head.split_once(" A U Thor <author@example.com> ").expect("has the identity").0)
            };
            logs.insert(path.strip_prefix(&root).expect("is beneath").display().to_string(), text.lines().map(line).collect());
        }
    }
    logs
}

#[test]
fn reflogs_are_those_that_git_writes() {
    for (setting, log_refs) in [("false", LogRefs::Existing), ("true", LogRefs::Usual), ("always", LogRefs::Always)] {
        let mut repo = Repo::sha1();
        let twin = Repo::sha1();
        assert_eq!(repo.commits, twin.commits);
        repo.log_refs = log_refs;
        twin.git(&["config", "core.logAllRefUpdates", setting]);
        for place in [&repo, &twin] {
            fs::create_dir_all(place.path().join("logs/refs/tags")).expect("made");
            fs::write(place.path().join("logs/refs/tags/old"), "").expect("written");
            fs::write(place.path().join("logs/HEAD"), "").expect("written");
            place.git(&["symbolic-ref", "refs/heads/sym", "refs/heads/main"]);
        }
        for (name, old, new) in [
            ("refs/heads/main", None, Some(0)),
            ("refs/heads/a/b", None, Some(0)),
            ("refs/tags/old", None, Some(0)),
            ("refs/tags/new", None, Some(0)),
            ("refs/heads/main", Some(0), Some(1)),
            ("refs/heads/sym", Some(1), Some(2)),
            ("refs/heads/a/b", Some(0), None),
            ("refs/heads/a", None, Some(1)),
            ("refs/heads/main", Some(2), None),
        ] {
            let edit = repo.edit(name, old, new);
            assert_eq!(repo.run(CommitMode::PerRef, std::slice::from_ref(&edit)), [Ok(())], "{name}");
            twin.git(&["update-ref", "-m", "push", name, &edit.new.to_string(), &edit.old.to_string()]);
            assert_eq!(logs(repo.path()), logs(twin.path()), "{setting}: after {edit:?}");
        }
    }
}

#[test]
fn of_two_pushes_from_one_old_value_exactly_one_wins() {
    let repo = Repo::new(gix_hash::Kind::Sha1, 5);
    for round in 0..20 {
        repo.set("refs/heads/a", 0);
        let results: Vec<_> = std::thread::scope(|scope| {
            let push =
                |new| repo.run(CommitMode::Atomic, &[repo.edit("refs/heads/a", Some(0), Some(new)), repo.edit("refs/heads/b", None, None)]);
            let running: Vec<_> = (1..5).map(|new| scope.spawn(move || push(new))).collect();
            running.into_iter().map(|thread| thread.join().expect("no panic")).collect()
        });
        let winners: Vec<_> = (1..5).filter(|new| results[new - 1][0].is_ok()).collect();
        assert_eq!(winners.len(), 1, "round {round}: {results:?}");
        repo.assert_refs(&[("refs/heads/a", winners[0])]);
    }
}

#[test]
fn stock_git_beside_us_loses_nothing_and_nor_do_we() {
    let chain = 40;
    let repo = Repo::new(gix_hash::Kind::Sha1, chain + 1);
    repo.set("refs/heads/a", 0);
    let position = || repo.commits.iter().position(|id| *id == repo.refs()[0].1).expect("is ours");
    let (ours, theirs) = std::thread::scope(|scope| {
        let theirs = scope.spawn(|| {
            let mut won = 0;
            loop {
                let at = position();
                if at >= chain {
                    return won;
                }
                let (old, new) = (repo.commits[at].to_string(), repo.commits[at + 1].to_string());
                let moved = command(repo.path(), &["update-ref", "refs/heads/a", &new, &old]).output().expect("git runs");
                won += usize::from(moved.status.success());
                if won % 4 == 0 {
                    command(repo.path(), &["pack-refs", "--all", "--prune"]).output().expect("git runs"); // may find a lock held
                }
            }
        });
        let ours = scope.spawn(|| {
            let mut won = 0;
            loop {
                let at = position();
                if at >= chain {
                    return won;
                }
                won += usize::from(repo.run(CommitMode::PerRef, &[repo.edit("refs/heads/a", Some(at), Some(at + 1))])[0].is_ok());
            }
        });
        (ours.join().expect("no panic"), theirs.join().expect("no panic"))
    });
    assert_eq!(ours + theirs, chain, "each step of the chain was made once: {ours} by us, {theirs} by git");
    assert!(ours > 0 && theirs > 0, "{ours} by us, {theirs} by git");
    repo.assert_refs(&[("refs/heads/a", chain)]);
}

#[test]
fn a_deletion_beside_pack_refs_never_brings_back_a_packed_value() {
    // A value of its own each time: git prunes loose refs after it has let go of packed-refs, and takes one that was
    // deleted and made again with the same value meanwhile for the one that it has packed.
    let rounds = 40;
    let repo = Repo::new(gix_hash::Kind::Sha1, rounds);
    let done = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        let packing = scope.spawn(|| {
            while !done.load(std::sync::atomic::Ordering::Relaxed) {
                command(repo.path(), &["pack-refs", "--all", "--prune"]).output().expect("git runs"); // may find a lock held
            }
        });
        // Returned rather than asserted here: a panic would leave the other thread running for ever.
        let once = |old, new, wanted: &[(String, ObjectId)]| loop {
            match repo.run(CommitMode::PerRef, &[repo.edit("refs/heads/a/b", old, new)]).remove(0) {
                Err(RefRefusal::Locked(_)) => {}
                Ok(()) if repo.refs() == wanted => return None,
                other => return Some((other, repo.refs())),
            }
        };
        let there = |at: usize| [("refs/heads/a/b".to_owned(), repo.commits[at])];
        let wrong = (0..rounds).find_map(|at| once(None, Some(at), &there(at)).or_else(|| once(Some(at), None, &[])));
        done.store(true, std::sync::atomic::Ordering::Relaxed);
        assert_eq!(wrong, None);
        packing.join().expect("no panic");
        // git makes the folders above a lock, and may leave those that were pruned meanwhile.
        let last = once(None, Some(0), &there(0)).or_else(|| once(Some(0), None, &[]));
        assert_eq!(last, None);
    });
    repo.assert_refs(&[]);
}

const DIES_IN: &str = "PACKMULE_TEST_DIES_IN";

/// Not a test of its own: the process that another test starts, and that dies in the midst of a push.
#[test]
fn a_process_that_dies_with_locks_held() {
    let Some(dir) = std::env::var_os(DIES_IN) else { return };
    let dir = PathBuf::from(dir);
    let places = Places { git_dir: dir.clone(), common_dir: dir.clone(), objects_dir: dir.join("objects") };
    let quarantine = Quarantine::begin(places.clone(), None).expect("begins");
    fs::write(quarantine.pack_dir().join("pack-x.pack"), "half").expect("written");
    fs::hard_link(quarantine.pack_dir().join("pack-x.pack"), places.objects_dir.join("pack/pack-x.pack")).expect("linked");
    let hash = gix_hash::Kind::Sha1;
    let ground = Ground { places: &places, quarantine: quarantine.dir(), hash, log_refs: LogRefs::Existing, redo: None };
    let read = |name: &str| match loose_ref::read_loose(&dir, name.into(), hash) {
        Ok(Loose::Object(id)) => id,
        other => panic!("{name}: {other:?}"),
    };
    let edit = |name: &str, old, new| RefEdit { name: name.into(), old, new, message: "push".into() };
    let id = read("refs/heads/a");
    let edits = [edit("refs/heads/a", id, hash.null()), edit("refs/heads/deep/new", hash.null(), id)];
    let mut observer = NoObserver;
    let transaction = RefTransaction::prepare(ground, &edits, CommitMode::Atomic, &mut observer).expect("no fault");
    assert!(transaction.has_work());
    std::process::abort();
}

#[test]
fn what_a_dead_push_left_is_removed_by_the_next_one_and_nothing_else() {
    let repo = Repo::sha1();
    repo.set("refs/heads/a", 0);
    let living = Quarantine::begin(repo.places(), None).expect("begins");
    let status = Command::new(std::env::current_exe().expect("is known"))
        .args(["--exact", "store::ref_transaction::tests::a_process_that_dies_with_locks_held"])
        .env(DIES_IN, repo.path())
        .output()
        .expect("runs")
        .status;
    assert!(!status.success(), "it dies");
    let lies = |path: &str| repo.path().join(path).exists();
    for left in ["refs/heads/a.lock", "refs/heads/deep/new.lock", "packed-refs.lock", "objects/pack/pack-x.pack"] {
        assert!(lies(left), "{left}");
    }
    fs::write(repo.path().join("refs/heads/foreign.lock"), "").expect("written");
    fs::create_dir(repo.path().join("objects/tmp_objdir-incoming-foreign")).expect("made");

    let edits = [repo.edit("refs/heads/a", Some(0), None), repo.edit("refs/heads/deep/new", None, Some(1))];
    assert_eq!(repo.run(CommitMode::Atomic, &edits), [Ok(()), Ok(())], "the next push needs no help");
    assert!(!lies("objects/pack/pack-x.pack"), "half a pack is withdrawn");
    assert!(lies("refs/heads/foreign.lock") && lies("objects/tmp_objdir-incoming-foreign"), "what is not ours stays");
    assert!(living.dir().exists(), "who lives stays");
    fs::remove_file(repo.path().join("refs/heads/foreign.lock")).expect("removed");
    drop(living);
    repo.assert_refs(&[("refs/heads/deep/new", 1)]);
}

#[test]
fn a_panic_leaves_no_lock_and_no_quarantine() {
    let repo = Repo::sha1();
    let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        let places = repo.places();
        let quarantine = Quarantine::begin(places.clone(), None).expect("begins");
        let ground = Ground { places: &places, quarantine: quarantine.dir(), hash: repo.hash, log_refs: LogRefs::Existing, redo: None };
        let mut observer = NoObserver;
        let edits = [repo.edit("refs/heads/a/b", None, Some(0))];
        let _transaction = RefTransaction::prepare(ground, &edits, CommitMode::Atomic, &mut observer).expect("no fault");
        assert!(repo.path().join("refs/heads/a/b.lock").exists());
        panic!("as planned");
    }));
    assert!(panicked.is_err());
    repo.assert_refs(&[]);
}

#[test]
fn many_refs_are_created_and_deleted_in_one_push() {
    let repo = Repo::sha1();
    let names: Vec<String> = (0..500).map(|at| format!("refs/heads/{}/{at:03}", at % 7)).collect();
    let create: Vec<_> = names.iter().map(|name| repo.edit(name, None, Some(0))).collect();
    assert_eq!(repo.run(CommitMode::Atomic, &create), vec![Ok(()); 500]);
    assert_eq!(repo.refs().len(), 500);
    repo.git(&["pack-refs", "--all"]);
    let delete: Vec<_> = names.iter().skip(1).map(|name| repo.edit(name, Some(0), None)).collect();
    assert_eq!(repo.run(CommitMode::Atomic, &delete), vec![Ok(()); 499]);
    repo.assert_refs(&[("refs/heads/0/000", 0)]);
}

#[derive(Clone, Debug)]
enum Step {
    Edit { name: &'static str, old: Option<usize>, new: Option<usize>, true_old: bool },
    PackRefs,
}

fn step() -> impl Strategy<Value = Step> {
    static NAMES: [&str; 6] = ["refs/heads/a", "refs/heads/a/b", "refs/heads/a/b/c", "refs/heads/d", "refs/heads/sym", "refs/heads/target"];
    let edit = (proptest::sample::select(&NAMES[..]), proptest::option::of(0..3usize), proptest::option::of(0..3usize), any::<bool>())
        .prop_map(|(name, old, new, true_old)| Step::Edit { name, old, new, true_old });
    prop_oneof![6 => edit, 1 => Just(Step::PackRefs)]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 10, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn single_edits_succeed_and_fail_as_with_git_update_ref(steps in proptest::collection::vec(step(), 1..16)) {
        let (repo, twin) = (Repo::sha1(), Repo::sha1());
        for place in [&repo, &twin] {
            place.git(&["symbolic-ref", "refs/heads/sym", "refs/heads/target"]);
        }
        for step in steps {
            let Step::Edit { name, old, new, true_old } = step else {
                repo.git(&["pack-refs", "--all", "--prune"]);
                twin.git(&["pack-refs", "--all", "--prune"]);
                continue;
            };
            let mut edit = repo.edit(name, old, new);
            if true_old {
                let now = repo.refs().into_iter().find(|(other, _)| other == name);
                edit.old = now.map_or(repo.null(), |(_, id)| id);
            }
            let ours = repo.run(CommitMode::PerRef, std::slice::from_ref(&edit))[0].clone();
            let theirs = command(twin.path(), &["update-ref", name, &edit.new.to_string(), &edit.old.to_string()]).output().expect("git runs");
            // git calls it a fault to delete what is not there; a push is told that all is well.
            if !(edit.old.is_null() && edit.new.is_null()) {
                prop_assert_eq!(ours.is_ok(), theirs.status.success(), "{:?}: {:?} {:?}", edit, ours, theirs);
            }
            prop_assert_eq!(repo.refs(), twin.refs());
        }
        repo.set("refs/heads/sym", 0); // fsck dislikes a symbolic ref to nothing
        repo.git(&["fsck", "--strict"]);
    }
}
