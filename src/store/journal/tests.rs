//! The journal by itself: what is shared, what is refused, what a reader makes of it at every moment.

use super::super::flock::Flock;
use super::super::packed_refs::PackedRefs;
use super::super::ref_files::OwnedTarget;
use super::super::{ConfigScope, RefEdit, Repository};
use super::frame::Header;
use super::overlay::Overlay;
use super::*;
use bstr::BString;
use gix_hash::ObjectId;
use std::path::Path;

fn places(dir: &Path) -> Places {
    std::fs::create_dir_all(dir.join("objects")).expect("made");
    Places { git_dir: dir.into(), common_dir: dir.into(), objects_dir: dir.join("objects") }
}

fn id(byte: u8) -> ObjectId {
    if byte == 0 { gix_hash::Kind::Sha1.null() } else { ObjectId::from_bytes_or_panic(&[byte; 20]) }
}

/// A commit of `(name, old, new)`s.
fn commit(owner: &str, edits: &[(&str, u8, u8)]) -> Commit {
    let edit = |(name, old, new): &(&str, u8, u8)| RefEdit { name: (*name).into(), old: id(*old), new: id(*new), message: "push".into() };
    let edits = edits.iter().map(edit).collect();
    Commit { owner: owner.into(), time_s: now_s(), identity: "A <a@x>".into(), edits, packs: vec![], cuts: vec![] }
}

fn written(places: &Places, commit: &Commit) -> Ticket {
    append(&RepositoryLock::acquire(places).expect("free"), places, commit).expect("written")
}

fn tail(places: &Places) -> file::Tail {
    let journal = JournalFile::open(&places.common_dir, false).expect("reads").expect("is there");
    journal.whole().expect("reads").expect("has a header")
}

#[test]
fn commits_that_wait_at_one_moment_share_one_sync() {
    let dir = tempfile::tempdir().expect("a folder");
    let places = places(dir.path());
    let tickets: Vec<_> = (1..4).map(|n| written(&places, &commit("x", &[("refs/heads/a", n - 1, n)]))).collect();
    assert!(tail(&places).found.iter().all(|found| !found.durable), "nothing is on disk yet");
    tickets[1].sync().expect("synced");
    let length = std::fs::metadata(dir.path().join(JOURNAL_FILE)).expect("is there").len();
    assert!(tail(&places).found.iter().all(|found| found.durable), "all that was written by then");
    tickets[0].sync().expect("is there already");
    tickets[2].sync().expect("is there already");
    assert_eq!(std::fs::metadata(dir.path().join(JOURNAL_FILE)).expect("is there").len(), length, "no second mark, so no second sync");
}

#[test]
fn a_torn_end_is_dropped_by_the_next_commit() {
    let dir = tempfile::tempdir().expect("a folder");
    let places = places(dir.path());
    written(&places, &commit("a", &[("refs/heads/a", 0, 1)])).sync().expect("synced");
    let path = dir.path().join(JOURNAL_FILE);
    let good = std::fs::read(&path).expect("reads");
    for torn in [&[1][..], &[200, 0, 0, 0, 1, 2, 3, 4, 1], &[0; 4096], &good[64..good.len() - 30]] {
        std::fs::write(&path, [&good, torn].concat()).expect("written");
        assert_eq!(tail(&places).found[0].commit, commit("a", &[("refs/heads/a", 0, 1)]), "what is before it counts");
        written(&places, &commit("b", &[("refs/heads/b", 0, 1)]));
        assert_eq!(tail(&places).found.last().expect("one").commit.owner, "b");
        assert!(!tail(&places).torn);
    }
}

#[test]
fn after_a_failed_sync_nothing_is_taken_before_the_next_boot() {
    let dir = tempfile::tempdir().expect("a folder");
    let places = places(dir.path());
    let ticket = written(&places, &commit("a", &[("refs/heads/a", 0, 1)]));
    let lock = RepositoryLock::acquire(&places).expect("free");
    let header = tail(&places).header;
    ticket.journal.set_header(&lock, &Header { failed: true, ..header }).expect("written");
    let refused = append(&lock, &places, &commit("b", &[("refs/heads/b", 0, 1)]));
    drop(lock);
    assert!(matches!(refused, Err(Error::InTheWay(why)) if why.contains("disk")));
    assert!(ticket.sync().is_err(), "one that was written before is not acknowledged either");
    assert!(!checkpoint::checkpoint(&places).expect("no fault"), "and what is there stays");
    assert_eq!(tail(&places).found.len(), 1);
}

#[test]
fn a_checkpoint_leaves_nothing_but_commits_that_wait() {
    let dir = tempfile::tempdir().expect("a folder");
    let places = places(dir.path());
    let ticket = written(&places, &commit("alive", &[("refs/heads/a", 0, 1)]));
    std::fs::create_dir(places.objects_dir.join("alive")).expect("made");
    let owner = std::fs::File::create(places.objects_dir.join("alive/owner")).expect("made");
    let owner = Flock::try_take(owner).expect("no fault").expect("free");
    ticket.sync().expect("synced");
    assert!(!checkpoint::checkpoint(&places).expect("no fault"), "its owner lives");
    drop(owner);
    let generation = tail(&places).header.generation;
    assert!(checkpoint::checkpoint(&places).expect("no fault"), "it is dead, and what it left is carried over");
    assert!(tail(&places).header.generation != generation && tail(&places).found.len() == 1 && tail(&places).found[0].is_pending());
    let next = written(&places, &commit("dead", &[("refs/heads/b", 0, 1)]));
    assert_eq!(tail(&places).found.len(), 2);
    next.sync().expect("synced");
    next.applied(&[]).expect("marked");
    let journal = JournalFile::open(dir.path(), true).expect("opens").expect("is there");
    let at = tail(&places).found[0].at;
    mark_applied(&RepositoryLock::acquire(&places).expect("free"), &journal, at, &[]).expect("marked");
    assert!(checkpoint::checkpoint(&places).expect("no fault"));
    assert_eq!(std::fs::metadata(dir.path().join(JOURNAL_FILE)).expect("is there").len(), HEADER_BYTES as u64);
}

#[test]
fn a_push_waits_for_those_under_way_when_the_journal_is_full() {
    let dir = tempfile::tempdir().expect("a folder");
    let places = places(dir.path());
    let mut big = commit("alive", &[("refs/heads/a", 0, 1)]);
    big.packs.push(NamedPack { name: "pack-x".into(), bytes: Some(vec![0; 65 << 20]) });
    make_room(&places).expect("nothing is there");
    let ticket = written(&places, &big);
    std::fs::create_dir(places.objects_dir.join("alive")).expect("made");
    let owner = std::fs::File::create(places.objects_dir.join("alive/owner")).expect("made");
    let _owner = Flock::try_take(owner).expect("no fault").expect("free");
    ticket.sync().expect("synced");
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| make_room(&places));
        std::thread::sleep(Duration::from_millis(50));
        assert!(!waiting.is_finished(), "its owner lives");
        ticket.applied(&[]).expect("marked");
        waiting.join().expect("no panic").expect("there is room");
    });
    assert_eq!(std::fs::metadata(dir.path().join(JOURNAL_FILE)).expect("is there").len(), HEADER_BYTES as u64);
}

/// What a ref's file has, what refs commits name, and what a reader shall see.
fn laid(loose: &[(&str, OwnedTarget)], packed: &[(&str, u8)], commits: &[Commit]) -> Vec<(BString, OwnedTarget)> {
    let mut overlay = Overlay::default();
    commits.iter().enumerate().for_each(|(number, commit)| overlay.add(number, commit, &[]));
    let mut loose: Vec<_> = loose.iter().map(|(name, value)| (BString::from(*name), value.clone())).collect();
    let text: String = packed.iter().map(|(name, value)| format!("{} {name}\n", id(*value))).collect();
    let packed = PackedRefs::parse(format!("# pack-refs with: sorted \n{text}").into(), gix_hash::Kind::Sha1).expect("is valid");
    overlay.lay(&mut loose, &packed).expect("no fault");
    loose.sort_by(|one, other| one.0.cmp(&other.0));
    loose
}

#[test]
fn a_ref_takes_the_last_value_that_a_commit_gave_it_unless_another_program_changed_it() {
    let object = |byte| OwnedTarget::Object(id(byte));
    let commits =
        [commit("x", &[("refs/heads/a", 1, 2), ("refs/heads/b", 0, 2), ("refs/heads/c", 1, 0)]), commit("y", &[("refs/heads/a", 2, 3)])];
    for before in [1, 2, 3] {
        let now = laid(&[("refs/heads/a", object(before))], &[("refs/heads/c", 1)], &commits);
        assert_eq!(
            now,
            [("refs/heads/a".into(), object(3)), ("refs/heads/b".into(), object(2)), ("refs/heads/c".into(), OwnedTarget::Broken)]
        );
    }
    let others = laid(
        &[("refs/heads/a", object(9)), ("refs/heads/b", OwnedTarget::Symbolic("refs/heads/z".into()))],
        &[("refs/heads/c", 8)],
        &commits,
    );
    assert_eq!(others, [("refs/heads/a".into(), object(9)), ("refs/heads/b".into(), OwnedTarget::Symbolic("refs/heads/z".into()))]);
    let packed = laid(&[], &[("refs/heads/a", 2)], &commits);
    assert_eq!(packed[0], ("refs/heads/a".into(), object(3)), "packed, and changed since");
    assert_eq!(laid(&[("refs/heads/a", OwnedTarget::Broken)], &[], &commits)[0].1, object(3), "torn");
}

#[test]
fn a_commit_that_was_taken_back_keeps_its_place_and_never_happens() {
    let dir = tempfile::tempdir().expect("a folder");
    let places = places(dir.path());
    let (one, other) = (commit("a", &[("refs/heads/a", 0, 1)]), commit("b", &[("refs/heads/b", 0, 1)]));
    let lock = RepositoryLock::acquire(&places).expect("free");
    let ticket = append(&lock, &places, &one).expect("written");
    let end = ticket.end;
    ticket.retract(&lock);
    let next = append(&lock, &places, &other).expect("written");
    assert!(next.at >= end, "who syncs up to the end of the first must not vouch for the second");
    let found = tail(&places).found;
    assert_eq!(found.iter().map(|found| found.applied.clone()).collect::<Vec<_>>(), [Some(vec![0]), None]);
}

#[test]
fn a_power_cut_takes_torn_packs_of_dead_pushes_back_and_whole_ones_never() {
    let dir = tempfile::tempdir().expect("a folder");
    let places = places(dir.path());
    let (ours, visible) = (places.objects_dir.join("packmule-incoming-dead/pack"), places.objects_dir.join("pack"));
    for folder in [&ours, &visible] {
        std::fs::create_dir_all(folder).expect("made");
    }
    let torn = [("pack-whole", ""), ("pack-a", "pack"), ("pack-b", "idx"), ("pack-c", "rev"), ("pack-named", "pack")];
    for (name, torn) in torn {
        for ending in ["pack", "rev", "idx"] {
            let file = format!("{name}.{ending}");
            std::fs::write(ours.join(&file), if ending == torn { "torn" } else { "whole" }).expect("written");
            std::fs::hard_link(ours.join(&file), visible.join(&file)).expect("linked");
        }
    }
    let lock = RepositoryLock::acquire(&places).expect("free");
    let is_whole = |path: &Path| std::fs::read(path).is_ok_and(|bytes| bytes == b"whole");
    owner::withdraw_unnamed(&lock, &places, &["pack-named"].into(), &is_whole).expect("no fault");
    let mut left: Vec<_> =
        visible.read_dir().expect("reads").map(|entry| entry.expect("reads").file_name().into_string().expect("UTF-8")).collect();
    left.sort();
    let all = |name: &str| ["idx", "pack", "rev"].map(|ending| format!("{name}.{ending}"));
    let want = [&["pack-c.idx".to_owned(), "pack-c.pack".to_owned()][..], &all("pack-named"), &all("pack-whole")].concat();
    assert_eq!(left, want);
}

#[test]
fn where_history_is_cut_off_is_seen_with_the_refs_that_need_it() {
    let dir = tempfile::tempdir().expect("a folder");
    crate::store::testing::init(dir.path(), &["--bare"]);
    let repository = Repository::open(dir.path(), ConfigScope::RepositoryOnly).expect("opens");
    let places = Places::of(&repository);
    std::fs::write(dir.path().join("shallow"), format!("{}\n{}\n", id(5), id(7))).expect("written");
    // By a snapshot that was kept, and by one made for the purpose.
    let held = std::cell::RefCell::new(repository.snapshot_again(None).expect("reads"));
    let seen = || {
        let again = repository.snapshot_again(Some(&held.borrow())).expect("reads");
        let fresh = Repository::open(dir.path(), ConfigScope::Git).expect("opens").snapshot().expect("reads");
        assert_eq!(again.snapshot().shallow(), fresh.shallow());
        let seen = (fresh.shallow().to_vec(), again.snapshot().refs().find("refs/heads/a".into()).and_then(|entry| entry.id));
        held.replace(again);
        seen
    };
    assert_eq!(seen(), (vec![id(5), id(7)], None));
    let ticket = written(&places, &Commit { cuts: vec![id(6), id(7)], ..commit("x", &[("refs/heads/a", 0, 1)]) });
    assert_eq!(seen(), (vec![id(5), id(7)], None), "it is not on disk");
    ticket.sync().expect("synced");
    assert_eq!(seen(), (vec![id(5), id(6), id(7)], Some(id(1))));
    ticket.applied(&[0]).expect("marked");
    assert_eq!(seen(), (vec![id(5), id(7)], None), "it has come to nothing");
}

#[test]
fn a_journal_of_the_version_before_is_read_and_goes_on_and_one_of_a_later_version_is_named() {
    let dir = tempfile::tempdir().expect("a folder");
    let places = places(dir.path());
    let path = dir.path().join(JOURNAL_FILE);
    let version = |digit: u8| {
        let mut bytes = std::fs::read(&path).expect("reads");
        bytes[7] = digit;
        let crc = crc32fast::hash(&bytes[..60]);
        bytes[60..64].copy_from_slice(&crc.to_le_bytes());
        std::fs::write(&path, bytes).expect("written");
    };
    written(&places, &commit("a", &[("refs/heads/a", 0, 1)])).sync().expect("synced");
    version(b'1');
    assert!(tail(&places).found[0].is_pending());
    let next = written(&places, &commit("b", &[("refs/heads/b", 0, 1)]));
    assert_eq!(tail(&places).found.len(), 2);
    next.applied(&[]).expect("marked");
    assert_eq!(std::fs::read(&path).expect("reads")[7], b'2', "the next header is one of today");
    version(b'3');
    let refused = append(&RepositoryLock::acquire(&places).expect("free"), &places, &commit("c", &[("refs/heads/c", 0, 1)]));
    assert!(matches!(refused, Err(Error::Corrupt(why)) if why.contains("later version")));
    let before = std::fs::read(&path).expect("reads");
    std::fs::write(&path, &before[..HEADER_BYTES]).expect("written");
    written(&places, &commit("c", &[("refs/heads/c", 0, 1)]));
    assert_eq!(tail(&places).found.len(), 1, "an empty one is replaced");
}
