//! Whole pushes, from the bytes of a pack to refs that stock git reads.

use super::super::flock::Flock;
use super::super::{ConfigScope, Found, Repositories, RepositoryName};
use super::*;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::process::{Command, Stdio};
use tempfile::TempDir;

const LIMITS: IngestLimits = IngestLimits {
    pack_bytes_max: 0,
    objects_max: u32::MAX,
    object_bytes_max: 1 << 30,
    held_object_bytes_max: 1 << 30,
    inflated_bytes_max: 0,
    threads: 1,
};

fn git(dir: &Path, args: &[&str], input: &[u8]) -> Vec<u8> {
    let mut command = Command::new("git");
    command.current_dir(dir).args(args).env("GIT_CONFIG_NOSYSTEM", "1").env("GIT_CONFIG_GLOBAL", "/dev/null");
    for who in ["AUTHOR", "COMMITTER"] {
        command.env(format!("GIT_{who}_NAME"), "A U Thor").env(format!("GIT_{who}_EMAIL"), "author@example.com");
        command.env(format!("GIT_{who}_DATE"), "1700000000 +0000");
    }
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("git runs");
    std::io::Write::write_all(&mut child.stdin.take().expect("is piped"), input).expect("git reads");
    let output = child.wait_with_output().expect("git ends");
    assert!(output.status.success(), "git {args:?}: {}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

fn text(dir: &Path, args: &[&str]) -> String {
    String::from_utf8(git(dir, args, b"")).expect("is UTF-8").trim_end().to_owned()
}

/// A client's repository with three commits, and an empty bare one on the server.
struct Pair {
    client: TempDir,
    server: TempDir,
    repository: Repository,
    commits: Vec<ObjectId>,
}

impl Pair {
    fn new(hash: gix_hash::Kind) -> Self {
        let (client, server) = (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder"));
        let format = format!("--object-format={hash}");
        git(client.path(), &["init", "--quiet", "--initial-branch=main", &format, "."], b"");
        git(server.path(), &["init", "--quiet", "--bare", "--initial-branch=main", &format, "."], b"");
        let mut content = String::new();
        let commit = |at: usize| {
            content.push_str(&format!("{at}: {}\n", "a line long enough to be worth a delta ".repeat(20)));
            fs::write(client.path().join("file"), &content).expect("written");
            git(client.path(), &["add", "file"], b"");
            git(client.path(), &["commit", "--quiet", "-m", &at.to_string()], b"");
            ObjectId::from_hex(text(client.path(), &["rev-parse", "HEAD"]).as_bytes()).expect("is hex")
        };
        let commits = (0..3).map(commit).collect();
        let repository = Repository::open(server.path(), ConfigScope::RepositoryOnly).expect("opens");
        Self { client, server, repository, commits }
    }

    /// The pack that a client sends for `new`, thin against `old`.
    fn pack(&self, old: Option<usize>, new: usize) -> Vec<u8> {
        let mut revs = format!("{}\n", self.commits[new]);
        if let Some(old) = old {
            revs.push_str(&format!("^{}\n", self.commits[old]));
        }
        git(self.client.path(), &["pack-objects", "--quiet", "--stdout", "--revs", "--thin", "--delta-base-offset"], revs.as_bytes())
    }

    fn edit(&self, name: &str, old: Option<usize>, new: Option<usize>) -> RefEdit {
        let id = |at: Option<usize>| at.map_or(self.repository.hash_kind().null(), |at| self.commits[at]);
        RefEdit { name: name.into(), old: id(old), new: id(new), message: "push".into() }
    }

    fn begin(&self, pack: &[u8]) -> Push {
        begin(&self.repository, pack)
    }

    fn push(&self, pack: &[u8], edits: &[RefEdit]) -> Committed {
        self.begin(pack).commit(edits, CommitMode::PerRef, &"A <a@x>".into()).expect("no fault")
    }

    fn packs(&self) -> Vec<String> {
        files(&self.server.path().join("objects/pack"))
    }

    fn assert_sound(&self) {
        git(self.server.path(), &["fsck", "--strict", "--full"], b"");
        assert_eq!(files(&self.server.path().join("objects")).iter().filter(|name| name.contains("incoming")).count(), 0);
    }
}

fn begin(repository: &Repository, mut pack: &[u8]) -> Push {
    let mut push = Push::begin(repository).expect("begins");
    push.ingest(&mut pack, &LIMITS, &Checks::off(), &Progress::new(), &Cancel::new()).expect("a good pack");
    push
}

fn files(dir: &Path) -> Vec<String> {
    let mut names: Vec<_> =
        fs::read_dir(dir).expect("reads").map(|entry| entry.expect("reads").file_name().into_string().expect("is UTF-8")).collect();
    names.sort();
    names
}

#[test]
fn pushed_objects_and_refs_are_what_stock_git_reads() {
    for hash in [gix_hash::Kind::Sha1, gix_hash::Kind::Sha256] {
        let pair = Pair::new(hash);
        let done = Committed { results: vec![Ok(())], created: false };
        assert_eq!(pair.push(&pair.pack(None, 0), &[pair.edit("refs/heads/main", None, Some(0))]), done);
        assert_eq!(pair.push(&pair.pack(Some(0), 2), &[pair.edit("refs/heads/main", Some(0), Some(2))]), done, "a thin pack");
        assert_eq!(text(pair.server.path(), &["rev-parse", "main"]), pair.commits[2].to_string());
        let all = |dir: &Path| text(dir, &["rev-list", "--objects", "--all"]);
        assert_eq!(all(pair.server.path()), all(pair.client.path()));
        assert_eq!(pair.packs().len(), 6, "each with .pack, .rev and .idx, no .keep: {:?}", pair.packs());
        pair.assert_sound();
    }
}

#[test]
fn quarantined_objects_are_seen_by_their_push_only() {
    let pair = Pair::new(gix_hash::Kind::Sha1);
    let push = pair.begin(&pair.pack(None, 1));
    let sees = |snapshot: &Snapshot| snapshot.objects().locate(&pair.commits[1]).expect("no fault").is_some();
    assert!(sees(push.view()));
    assert!(!sees(&pair.repository.snapshot().expect("reads")));
    // Nor is anything of another push built on them.
    let (mut other, thin) = (Push::begin(&pair.repository).expect("begins"), pair.pack(Some(1), 2));
    let why = other.ingest(&mut &thin[..], &LIMITS, &Checks::off(), &Progress::new(), &Cancel::new()).expect_err("no bases");
    assert!(why.to_string().contains("unresolved delta"), "{why}");
    drop(other);
    drop(push);
    assert_eq!(pair.packs(), [""; 0]);
    pair.assert_sound();
}

#[test]
fn pushes_in_quick_succession_hand_on_an_empty_quarantine_that_others_take_for_a_living_one() {
    let pair = Pair::new(gix_hash::Kind::Sha1);
    let spares = Arc::new(Spares::default());
    let kept = || {
        let names: Vec<_> = files(&pair.server.path().join("objects")).into_iter().filter(|name| name.contains("incoming")).collect();
        names.into_iter().map(|name| (files(&pair.server.path().join("objects").join(&name)), name)).collect::<Vec<_>>()
    };
    let mut at: Option<usize> = None;
    let mut push = || {
        let next = at.map_or(0, |at| at + 1);
        let mut push = Push::begin_with(&pair.repository, Some(spares.clone()), || pair.repository.snapshot()).expect("begins");
        let owner = fs::metadata(push.quarantine_dir().join("owner")).expect("there").ino();
        let pack = pair.pack(at, next);
        push.ingest(&mut pack.as_slice(), &LIMITS, &Checks::off(), &Progress::new(), &Cancel::new()).expect("a good pack");
        let edits = [pair.edit("refs/heads/main", at, Some(next))];
        let name = push.quarantine_dir().file_name().expect("a name").to_owned();
        assert_eq!(push.commit(&edits, CommitMode::Atomic, &"A <a@x>".into()).expect("no fault").results, [Ok(())]);
        at = Some(next);
        (owner, name)
    };
    push();
    assert_eq!(kept(), [], "nobody knows yet that more will come");
    let second = push();
    let empty = vec!["owner".to_owned(), "pack".to_owned()];
    assert_eq!(kept(), [(empty.clone(), second.1.to_string_lossy().into_owned())]);
    assert_eq!(files(&pair.server.path().join("objects").join(&second.1).join("pack")), [""; 0]);
    assert_eq!(fs::read(pair.server.path().join("objects").join(&second.1).join("owner")).expect("reads"), b"");
    assert_eq!(crate::store::sweep(&pair.repository).expect("reads"), 0, "its owner lives");
    let third = push();
    assert!(second.0 == third.0 && second.1 != third.1, "the same one by another name");
    spares.let_go();
    assert_eq!(kept().len(), 1, "the next push may come at once");
    fs::remove_dir_all(pair.server.path().join("objects").join(&third.1)).expect("removed");
    let delete = Push::begin_with(&pair.repository, Some(spares.clone()), || pair.repository.snapshot()).expect("begins without it");
    let edits = [pair.edit("refs/heads/main", Some(2), None)];
    assert_eq!(delete.commit(&edits, CommitMode::Atomic, &"A <a@x>".into()).expect("no fault").results, [Ok(())]);
    assert_eq!(kept().len(), 1);
    drop(spares);
    pair.assert_sound();
}

#[test]
fn a_push_whose_edits_are_all_refused_leaves_nothing() {
    let pair = Pair::new(gix_hash::Kind::Sha1);
    let edits = [pair.edit("refs/heads/main", Some(1), Some(0)), pair.edit("HEAD", None, Some(0))];
    let refused = pair.push(&pair.pack(None, 0), &edits);
    assert_eq!(refused.results, [Err(RefRefusal::Stale), Err(RefRefusal::BadName)]);
    assert_eq!(pair.push(&pair.pack(None, 0), &[]).results, []);
    assert_eq!(pair.packs(), [""; 0]);
    pair.assert_sound();
}

#[test]
fn a_pack_that_is_cut_short_leaves_nothing() {
    let pair = Pair::new(gix_hash::Kind::Sha1);
    let pack = pair.pack(None, 2);
    let mut push = Push::begin(&pair.repository).expect("begins");
    push.ingest(&mut &pack[..pack.len() / 2], &LIMITS, &Checks::off(), &Progress::new(), &Cancel::new()).expect_err("half a pack");
    drop(push);
    assert_eq!(pair.packs(), [""; 0]);
    pair.assert_sound();
}

#[test]
fn a_pack_that_is_here_already_stays_and_a_torn_one_is_replaced() {
    let pair = Pair::new(gix_hash::Kind::Sha1);
    let pack = pair.pack(None, 2);
    assert_eq!(pair.push(&pack, &[pair.edit("refs/heads/a", None, Some(2))]).results, [Ok(())]);
    let names = pair.packs();
    assert_eq!(pair.push(&pack, &[pair.edit("refs/heads/b", None, Some(2))]).results, [Ok(())]);
    assert_eq!(pair.packs(), names);
    pair.assert_sound();

    // As a crash of somebody who does not sync leaves it: names without data, and no .idx.
    let dir = pair.server.path().join("objects/pack");
    for name in &names {
        fs::remove_file(dir.join(name)).expect("removed");
        if name.ends_with(".pack") {
            fs::write(dir.join(name), b"").expect("written");
        }
    }
    fs::remove_dir_all(pair.server.path().join("refs/heads")).expect("removed");
    assert_eq!(pair.push(&pack, &[pair.edit("refs/heads/a", None, Some(2))]).results, [Ok(())]);
    assert_eq!(pair.packs(), names);
    pair.assert_sound();
}

#[test]
fn pushes_at_once_from_both_programs_all_arrive() {
    let pair = Pair::new(gix_hash::Kind::Sha1);
    let theirs = format!("file://{}", pair.server.path().display());
    std::thread::scope(|scope| {
        for ours in 0..3 {
            let pair = &pair;
            scope.spawn(move || {
                for round in 0..5 {
                    let edit = pair.edit(&format!("refs/heads/ours/{ours}/{round}"), None, Some(round % 3));
                    assert_eq!(pair.push(&pair.pack(None, round % 3), &[edit]).results, [Ok(())]);
                }
            });
        }
        scope.spawn(|| {
            for round in 0..5 {
                git(pair.client.path(), &["push", "--quiet", &theirs, &format!("HEAD:refs/heads/theirs/{round}")], b"");
                git(pair.server.path(), &["pack-refs", "--all"], b"");
            }
        });
    });
    assert_eq!(text(pair.server.path(), &["for-each-ref"]).lines().count(), 20);
    pair.assert_sound();
}

#[test]
fn a_repository_appears_with_the_first_push_that_succeeds() {
    let pair = Pair::new(gix_hash::Kind::Sha1);
    let root = tempfile::tempdir().expect("a folder");
    let repositories = Repositories::open(root.path()).expect("opens");
    for (name, edits, head) in [
        ("none", vec![pair.edit("refs/heads/topic", Some(1), Some(0))], None),
        ("first", vec![pair.edit("refs/tags/t", None, Some(0)), pair.edit("refs/heads/topic", None, Some(0))], Some("refs/heads/topic")),
        ("main", vec![pair.edit("refs/heads/a", None, Some(0)), pair.edit("refs/heads/main", None, Some(0))], Some("refs/heads/main")),
        ("tag", vec![pair.edit("refs/tags/t", None, Some(0))], Some("refs/heads/main")),
    ] {
        let name = RepositoryName::parse(name).expect("is valid");
        let staged = repositories.stage(&name, gix_hash::Kind::Sha1).expect("staged");
        let push = begin(&staged, &pair.pack(None, 0));
        let committed = push.commit(&edits, CommitMode::PerRef, &"A <a@x>".into()).expect("no fault");
        drop(staged);
        assert_eq!(committed.created, head.is_some());
        let found = repositories.find(&name).expect("no fault");
        let Some(head) = head else {
            assert!(matches!(found, Found::Nothing));
            continue;
        };
        let Found::Repository(repository) = found else { panic!("{name:?} is not there") };
        assert_eq!(text(repository.git_dir(), &["symbolic-ref", "HEAD"]), head);
        git(repository.git_dir(), &["fsck", "--strict"], b"");
        assert!(files(&repository.objects_dir()).iter().all(|file| !file.contains("incoming")));
    }
}

/// Set in the process that may open few files.
const FEW_FILES: &str = "PACKMULE_TEST_FEW_FILES_IN";

#[test]
fn names_of_many_folders_need_no_more_open_files_than_others() {
    let name = "store::push::tests::names_of_many_folders_need_no_more_open_files_than_others";
    let Some(dir) = std::env::var_os(FEW_FILES) else {
        let dir = tempfile::tempdir().expect("a folder");
        let script = "ulimit -n 64 && exec \"$0\" --exact --nocapture --test-threads=1 \"$1\"";
        let mut command = Command::new("sh");
        command.args(["-c", script]).arg(std::env::current_exe().expect("is known")).arg(name).env(FEW_FILES, dir.path());
        let output = command.output().expect("sh runs");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        assert_eq!(files(dir.path()), ["done"], "it ran to its end and left nothing");
        return;
    };
    let dir = Path::new(&dir);
    let pair = Pair::new(gix_hash::Kind::Sha1);
    let deep = format!("refs/heads/{}x", "d/".repeat(200));
    assert_eq!(pair.push(&pair.pack(None, 0), &[pair.edit(&deep, None, Some(0))]).results, [Ok(())]);
    assert_eq!(pair.repository.snapshot().expect("readable").refs().len(), 1);
    let without_pack = |edit: RefEdit| {
        let push = Push::begin(&pair.repository).expect("begins");
        push.commit(&[edit], CommitMode::PerRef, &"A <a@x>".into()).expect("no fault").results
    };
    assert_eq!(without_pack(pair.edit(&deep, Some(0), None)), [Ok(())]);
    // Folders that somebody left empty, in the place of a ref and of its log.
    for above in ["refs/heads", "logs/refs/heads"] {
        fs::create_dir_all(pair.server.path().join(above).join("d/".repeat(200))).expect("made");
    }
    assert_eq!(without_pack(pair.edit("refs/heads/d", None, Some(0))), [Ok(())]);

    let root = dir.join("root");
    let repositories = Repositories::open(&root).expect("opens");
    let deep_repository = RepositoryName::parse(&format!("{}x", "f/".repeat(200))).expect("is valid");
    let stage_and_push = || {
        let staged = repositories.stage(&deep_repository, gix_hash::Kind::Sha1).expect("staged");
        (begin(&staged, &pair.pack(None, 0)), [pair.edit(&deep, None, Some(0))])
    };
    let ((first, edits), (second, _)) = (stage_and_push(), stage_and_push());
    assert!(first.commit(&edits, CommitMode::PerRef, &"A <a@x>".into()).expect("published").created);
    let late = second.commit(&edits, CommitMode::PerRef, &"A <a@x>".into());
    assert!(matches!(late, Err(Error::AlreadyCreated { .. })), "{late:?}");
    assert!(files(&root.join(".packmule/new")).is_empty(), "nothing of the late one stays");
    assert_eq!(repositories.list().expect("no fault"), [deep_repository]);
    fs::create_dir_all(root.join(".packmule/new/left").join("d/".repeat(200))).expect("made");
    drop(repositories);
    drop(Repositories::open(&root).expect("sweeps"));
    assert!(!root.join(".packmule/new").exists());
    let status = Command::new("rm").arg("-r").args([&root, pair.server.path()]).status().expect("rm runs");
    assert!(status.success());
    fs::write(dir.join("done"), "").expect("written");
}

#[test]
fn objects_on_another_file_system_refuse_a_push_with_the_next_step() {
    use std::os::unix::fs::MetadataExt as _;
    let pair = Pair::new(gix_hash::Kind::Sha1);
    let device = |path: &Path| fs::metadata(path).map(|meta| meta.dev()).ok();
    let Some(other) = ["/dev/shm", "/tmp", "/var/tmp"]
        .map(Path::new)
        .into_iter()
        .find(|other| device(other).is_some_and(|other| Some(other) != device(pair.server.path())) && tempfile::tempdir_in(other).is_ok())
    else {
        return; // this machine has one file system that we may write to
    };
    let other = tempfile::tempdir_in(other).expect("a folder");
    let objects = pair.server.path().join("objects");
    fs::remove_dir_all(&objects).expect("removed");
    fs::create_dir_all(other.path().join("pack")).expect("made");
    std::os::unix::fs::symlink(other.path(), &objects).expect("linked");
    let committed = pair.push(&pair.pack(None, 0), &[pair.edit("refs/heads/main", None, Some(0))]);
    let why = committed.results[0].as_ref().expect_err("locks cannot be linked").to_string();
    assert!(why.contains("different file systems") && why.contains("move") && !why.contains(" /"), "{why}");
    assert_eq!(files(other.path()), ["pack"], "nothing of the push stays");
}

/// Where a push ends up that builds on what another one cuts off, which is on disk when it begins and becomes what `meanwhile` makes
/// of it.
fn beside_a_cut(meanwhile: impl FnOnce(&Pair, Ticket)) -> (Pair, Vec<ObjectId>) {
    let pair = Pair::new(gix_hash::Kind::Sha1);
    let (cut, dir) = (pair.commits[2], pair.server.path());
    // Its objects and nothing else, as where the file is about to change.
    git(dir, &["fetch", "--quiet", "--depth=1", &format!("file://{}", pair.client.path().display()), "main"], b"");
    fs::remove_file(dir.join("shallow")).expect("removed");
    let places = Places::of(&pair.repository);
    fs::create_dir(places.objects_dir.join("alive")).expect("made");
    let owner = fs::File::create(places.objects_dir.join("alive/owner")).expect("made");
    let _owner = Flock::try_take(owner).expect("no fault").expect("free");
    let other = Commit {
        owner: "alive".into(),
        time_s: journal::now_s(),
        identity: "A <a@x>".into(),
        edits: vec![pair.edit("refs/heads/theirs", None, Some(2))],
        packs: vec![],
        cuts: vec![cut],
    };
    let ticket = journal::append(&RepositoryLock::acquire(&places).expect("free"), &places, &other).expect("written");
    ticket.sync().expect("synced");
    let push = Push::begin(&pair.repository).expect("begins");
    assert_eq!(push.view().shallow(), [cut]);
    meanwhile(&pair, ticket);
    let edits = [pair.edit("refs/heads/ours", None, Some(2))];
    let committed = push.commit(&edits, CommitMode::Atomic, &"A <a@x>".into()).expect("no fault");
    assert_eq!(committed.results, [Ok(())]);
    let stored = pair.repository.stored_shallow().expect("reads");
    (pair, stored)
}

fn fetch_all_history(pair: &Pair) {
    git(pair.server.path(), &["fetch", "--quiet", &format!("file://{}", pair.client.path().display()), "main"], b"");
}

#[test]
fn what_another_push_under_way_cuts_off_counts_for_this_one_until_all_history_has_come() {
    let (pair, stored) = beside_a_cut(|_, _| {});
    assert_eq!(stored, [pair.commits[2]], "its refs may stand in their files first");
    git(pair.server.path(), &["fsck", "--strict"], b"");
    // The line was written, and then taken out by another program, which has fetched the rest.
    for is_applied in [false, true] {
        let (pair, stored) = beside_a_cut(|pair, ticket| {
            fetch_all_history(pair);
            if is_applied {
                ticket.applied(&[]).expect("marked");
            }
        });
        assert!(stored.is_empty(), "applied: {is_applied}");
        assert_eq!(text(pair.server.path(), &["rev-list", "--count", "refs/heads/ours"]), "3");
    }
}

#[test]
fn a_foreign_lock_of_the_file_shallow_holds_up_those_pushes_only_that_need_a_line_in_it() {
    let pair = Pair::new(gix_hash::Kind::Sha1);
    let lock = pair.server.path().join("shallow.lock");
    fs::write(&lock, "of somebody else").expect("written");
    let mut push = pair.begin(&pair.pack(None, 0));
    push.commit(&[pair.edit("refs/heads/a", None, Some(0))], CommitMode::Atomic, &"A <a@x>".into()).expect("needs no line");
    push = pair.begin(&pair.pack(Some(0), 1));
    push.cut_history(vec![pair.commits[1]]);
    let refused = push.commit(&[pair.edit("refs/heads/b", None, Some(1))], CommitMode::Atomic, &"A <a@x>".into());
    assert!(matches!(refused, Err(Error::InTheWay(why)) if why.contains("shallow.lock")));
    assert_eq!(fs::read(&lock).expect("survives"), b"of somebody else");
}
