//! Companion files that git wrote into what they say, with stock git as the oracle: bitmaps, multi-pack indexes,
//! commit-graphs; and damaged ones into the right answer all the same, or a clear error.

use crate::common::Sandbox;
use crate::common::fixture::{Random, Story};
use gix_hash::ObjectId;
use packmule::base::{Cancel, Progress};
use packmule::pack::{BitmapReader, Kind, Objects};
use packmule::store::{ConfigScope, Repository, Snapshot};
use packmule::walk::{FetchSides, ReachedCommits, find_objects, find_unreachable, is_ancestor};
use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

fn open(path: &Path) -> Snapshot {
    Repository::open(path, ConfigScope::RepositoryOnly).expect("a repository").snapshot().expect("readable")
}

fn id(hex: &str) -> ObjectId {
    ObjectId::from_hex(hex.trim().as_bytes()).expect("an id")
}

/// A history in one pack, or in several of which some objects lie in two.
fn history(sandbox: &Sandbox, hash: &str, seed: u64, packs: usize) -> (PathBuf, Story) {
    let (path, mut story) = sandbox.history("repository", hash, seed, 40);
    sandbox.git(&path, ["repack", "-adfq", "--depth=20"]);
    for round in 1..packs {
        if round == 2 {
            sandbox.git_with_input(&path, ["pack-objects", "-q", "--revs", "objects/pack/pack"], b"refs/heads/main\n");
        } else {
            sandbox.import(&path, &story.grow(12));
            sandbox.git(&path, ["repack", "-dq"]);
        }
    }
    (path, story)
}

/// Every bitmapped commit reaches what `git rev-list --objects` lists, types are right, and places are those of `locate`.
fn check_bitmaps(sandbox: &Sandbox, path: &Path, rows_min: usize) {
    let snapshot = open(path);
    let objects = &**snapshot.objects();
    let bitmaps = objects.bitmaps().expect("a bitmap that is used");
    assert!(bitmaps.rows() >= rows_min, "{} rows", bitmaps.rows());
    assert_eq!(bitmaps.segments().iter().map(|segment| segment.bits.len()).sum::<usize>(), bitmaps.len() as usize);
    for bit in 0..bitmaps.len() {
        let id = bitmaps.id(bit).expect("an object").to_owned();
        let place = bitmaps.location(bit).expect("a place");
        assert_eq!(objects.locate(&id).expect("readable"), Some(place), "{id}");
        assert_eq!(bitmaps.bit(&place).expect("readable"), Some(bit));
        let _ = bitmaps.name_hash(bit).expect("within the file");
    }
    let kinds = sandbox.git(path, ["cat-file", "--batch-all-objects", "--batch-check=%(objectname) %(objecttype)"]);
    for (hex, kind) in kinds.lines().filter_map(|line| line.split_once(' ')) {
        let place = objects.locate(&id(hex)).expect("readable").expect("there");
        let kind = Kind::from_bytes(kind.as_bytes()).expect("a type");
        if let Some(bit) = bitmaps.bit(&place).expect("readable") {
            assert_eq!(bitmaps.kind(bit), kind, "{hex}");
            assert!(bitmaps.of_kind(kind).get(bit as usize));
        }
    }
    let mut reader = BitmapReader::new(bitmaps);
    for commit in bitmaps.commits() {
        let row = bitmaps.row(commit).expect("a commit with a bitmap");
        let bits = reader.read(row).expect("sound");
        let ours: BTreeSet<String> = bits.iter().map(|bit| bitmaps.id(bit as u32).expect("an object").to_string()).collect();
        let listed = sandbox.git(path, ["rev-list", "--objects", "--no-object-names", &commit.to_string()]);
        let gits: BTreeSet<String> = listed.lines().map(str::to_owned).collect();
        assert_eq!(ours, gits, "{commit}");
    }
}

#[test]
fn bitmaps_of_one_pack_say_what_rev_list_says() {
    for (hash, options) in
        [("sha1", &[][..]), ("sha1", &["-c", "pack.writeBitmapLookupTable=true"]), ("sha256", &["-c", "pack.writeBitmapHashCache=false"])]
    {
        let sandbox = Sandbox::new();
        let (path, _) = history(&sandbox, hash, 60, 1);
        sandbox.git(&path, [options, &["repack", "-adbq"]].concat());
        check_bitmaps(&sandbox, &path, 5);
    }
}

#[test]
fn bitmaps_over_many_packs_say_what_rev_list_says() {
    for (hash, rev, table) in [("sha1", false, false), ("sha1", true, true), ("sha256", false, true)] {
        let sandbox = Sandbox::new();
        let (path, _) = history(&sandbox, hash, 61, 4);
        let mut command =
            sandbox.git_command(&path, ["-c", &format!("pack.writeBitmapLookupTable={table}"), "multi-pack-index", "write", "--bitmap"]);
        if rev {
            command.env("GIT_TEST_MIDX_WRITE_REV", "1");
            command.env("GIT_TEST_MIDX_READ_RIDX", "0");
        }
        let output = crate::common::run(&mut command);
        assert!(output.status.success(), "{}", crate::common::report(&command, &output));
        let revs =
            crate::common::check::files(&path).iter().filter(|name| name.contains("multi-pack-index-") && name.ends_with(".rev")).count();
        assert_eq!(revs, usize::from(rev));
        check_bitmaps(&sandbox, &path, 5);
        assert!(open(&path).objects().bitmaps().expect("used").segments().len() > 2);
    }
}

#[test]
fn pseudo_merges_are_passed_over() {
    let sandbox = Sandbox::new();
    let (path, _) = sandbox.history("repository", "sha1", 62, 300);
    let listed = sandbox.git(&path, ["rev-list", "--all"]);
    let tags: String = listed.lines().map(|id| format!("create refs/tags/{id} {id}\n")).collect();
    sandbox.git_with_input(&path, ["update-ref", "--stdin"], tags.as_bytes());
    for (key, value) in [("pattern", "refs/tags/"), ("maxMerges", "4"), ("stableThreshold", "never")] {
        sandbox.git(&path, ["config", &format!("bitmapPseudoMerge.all.{key}"), value]);
    }
    sandbox.git(&path, ["-c", "pack.writeBitmapLookupTable=true", "repack", "-adbq"]);
    let bitmap = crate::common::check::files(&path).into_iter().find(|name| name.ends_with(".bitmap")).expect("a bitmap");
    let flags = std::fs::read(path.join(bitmap)).expect("readable")[7];
    assert_eq!(flags & 0x20, 0x20, "git wrote pseudo-merges");
    check_bitmaps(&sandbox, &path, 5);
}

/// Bitmaps of single packs, which would be used in place of others, go.
fn without_pack_bitmaps(path: &Path) {
    for name in crate::common::check::files(path).iter().filter(|name| name.ends_with(".bitmap")) {
        std::fs::remove_file(path.join(name)).expect("there");
    }
}

/// The hash of all but the last 20 bytes, in their place.
fn sign(file: &mut [u8]) -> ObjectId {
    let end = file.len() - 20;
    let mut hasher = gix_hash::hasher(gix_hash::Kind::Sha1);
    hasher.update(&file[..end]);
    let sum = hasher.try_finalize().expect("no collision");
    file[end..].copy_from_slice(sum.as_slice());
    sum
}

#[test]
fn the_order_of_a_multi_pack_bitmap_may_stand_in_a_file_of_its_own() {
    let sandbox = Sandbox::new();
    let (path, _) = history(&sandbox, "sha1", 67, 3);
    without_pack_bitmaps(&path);
    let mut command = sandbox.git_command(&path, ["multi-pack-index", "write", "--bitmap"]);
    let output = crate::common::run(command.env("GIT_TEST_MIDX_WRITE_REV", "1"));
    assert!(output.status.success(), "{}", crate::common::report(&command, &output));
    // As older versions of git wrote it: no chunk `RIDX` in the index, and the other files bear its new checksum.
    let packs = path.join("objects/pack");
    let mut index = std::fs::read(packs.join("multi-pack-index")).expect("readable");
    let before = ObjectId::try_from(&index[index.len() - 20..]).expect("an id");
    let chunk = index.windows(4).position(|bytes| bytes == b"RIDX").expect("in its table");
    index[chunk..chunk + 4].copy_from_slice(b"none");
    let after = sign(&mut index);
    std::fs::write(packs.join("new"), index)
        .and_then(|()| std::fs::rename(packs.join("new"), packs.join("multi-pack-index")))
        .expect("writable");
    for end in ["bitmap", "rev"] {
        let old = packs.join(format!("multi-pack-index-{before}.{end}"));
        let mut file = std::fs::read(&old).expect("readable");
        let at = if end == "bitmap" { 12 } else { file.len() - 40 };
        assert_eq!(&file[at..at + 20], before.as_slice());
        file[at..at + 20].copy_from_slice(after.as_slice());
        sign(&mut file);
        std::fs::remove_file(old).expect("there");
        std::fs::write(packs.join(format!("multi-pack-index-{after}.{end}")), file).expect("writable");
    }
    check_bitmaps(&sandbox, &path, 5);
    std::fs::remove_file(packs.join(format!("multi-pack-index-{after}.rev"))).expect("there");
    assert!(open(&path).objects().bitmaps().is_none(), "nobody knows which bit is which");
}

/// What a clone is sent, by id; `Err` when it is refused.
fn served(path: &Path, wants: &[ObjectId]) -> Result<BTreeSet<ObjectId>, String> {
    let snapshot = open(path);
    let (objects, cancel) = (&**snapshot.objects(), Cancel::new());
    let phase = Progress::new().begin("Counting objects", 0);
    let sides = FetchSides { wants, ..FetchSides::default() };
    let set = find_objects(objects, &sides, &phase, &cancel).map_err(|err| err.to_string())?.set;
    let mut ids: BTreeSet<ObjectId> = set.loose().iter().copied().collect();
    for (pack, entries) in set.packed() {
        ids.extend(entries.iter().map(|entry| objects.packs()[pack as usize].id(entry as u32).to_owned()));
    }
    Ok(ids)
}

/// A commit and what it reaches.
type Reached = (ObjectId, BTreeSet<ObjectId>);

/// What is said of every bitmapped commit; `None` when bitmaps are not used.
fn reached(path: &Path) -> Option<Result<Vec<Reached>, String>> {
    let snapshot = open(path);
    let bitmaps = snapshot.objects().bitmaps()?;
    let mut reader = BitmapReader::new(bitmaps);
    let mut all = vec![];
    for commit in bitmaps.commits() {
        let row = bitmaps.row(commit).expect("its row");
        let ids = reader.read(row).and_then(|bits| bits.iter().map(|bit| bitmaps.id(bit as u32).map(ToOwned::to_owned)).collect());
        match ids {
            Ok(ids) => all.push((commit.to_owned(), ids)),
            Err(err) => return Some(Err(err.to_string())),
        }
    }
    all.sort();
    Some(Ok(all))
}

/// `file` with each of its bytes changed, and cut off at every `step`-th length: always the same answers, or an error.
fn survives_damage(path: &Path, file: &str, step: usize, wants: &[ObjectId]) {
    let name = crate::common::check::files(path).into_iter().find(|name| name.ends_with(file)).unwrap_or_else(|| panic!("no {file}"));
    let file = path.join(name);
    let whole = std::fs::read(&file).expect("readable");
    // A rename, as git does it: what is mapped elsewhere must not change.
    let put = |bytes: &[u8]| {
        let new = path.join("new");
        std::fs::write(&new, bytes).and_then(|()| std::fs::rename(&new, &file)).expect("writable");
    };
    let (set, rows) = (served(path, wants).expect("sound"), reached(path));
    let flipped = (0..whole.len()).step_by(step).map(|at| {
        let mut bytes = whole.clone();
        bytes[at] ^= 1 << (at % 8);
        bytes
    });
    let cut = (0..whole.len()).step_by(7 * step).map(|len| whole[..len].to_vec());
    for (number, bytes) in flipped.chain(cut).enumerate() {
        put(&bytes);
        if let Ok(found) = served(path, wants) {
            assert!(found == set, "damage {number} of {}: another set", file.display());
        }
        if let Some(Ok(found)) = reached(path) {
            assert!(Some(Ok(found)) == rows, "damage {number} of {}: bitmaps say something else", file.display());
        }
    }
    put(&whole);
    assert_eq!(served(path, wants), Ok(set));
}

#[test]
fn no_damaged_bitmap_changes_what_is_served() {
    let sandbox = Sandbox::new();
    let (path, mut story) = sandbox.history("repository", "sha1", 63, 12);
    sandbox.git(&path, ["-c", "pack.writeBitmapLookupTable=true", "repack", "-adbq"]);
    let wants = tips(&sandbox, &path);
    survives_damage(&path, ".bitmap", 1, &wants);
    survives_damage(&path, ".rev", 1, &wants);
    sandbox.import(&path, &story.grow(4));
    sandbox.git(&path, ["repack", "-dq"]);
    without_pack_bitmaps(&path);
    sandbox.git(&path, ["multi-pack-index", "write", "--bitmap"]);
    let wants = tips(&sandbox, &path);
    assert!(reached(&path).is_some());
    survives_damage(&path, "pack/multi-pack-index", 3, &wants);
}

#[test]
fn no_damaged_commit_graph_changes_what_is_served() {
    let sandbox = Sandbox::new();
    let (path, _) = sandbox.history("repository", "sha1", 64, 70);
    sandbox.git(&path, ["repack", "-adq"]);
    sandbox.git(&path, ["commit-graph", "write", "--reachable"]);
    survives_damage(&path, "info/commit-graph", 5, &tips(&sandbox, &path));
}

fn tips(sandbox: &Sandbox, path: &Path) -> Vec<ObjectId> {
    sandbox.git(path, ["for-each-ref", "--format=%(objectname)"]).lines().map(id).collect()
}

/// A history of merges whose clocks are off by days, oldest first.
fn skewed(sandbox: &Sandbox, commits: usize) -> PathBuf {
    let path = sandbox.bare("repository", "sha1");
    let (mut random, mut stream) = (Random(65), String::new());
    for number in 1..=commits {
        let date = 1_600_000_000 + number * 60 + random.below(2_000_000);
        let _ = write!(stream, "commit refs/heads/c{number}\nmark :{number}\ncommitter C <c@example.com> {date} +0000\ndata 0\n");
        for (word, reach) in [("from", 3), ("merge", 30)] {
            let parent = number - 1 - random.below(reach).min(number - 1);
            if parent > 0 && (word == "from" || random.one_in(2)) {
                let _ = writeln!(stream, "{word} :{parent}");
            }
        }
        let _ = write!(stream, "M 100644 inline f\ndata {}\n{number}\n", number.to_string().len());
    }
    stream.push_str("done\n");
    sandbox.import(&path, stream.as_bytes());
    sandbox.git(&path, ["repack", "-adq"]);
    path
}

#[test]
fn with_a_commit_graph_ancestry_is_exact_however_wrong_clocks_are() {
    let sandbox = Sandbox::new();
    let path = skewed(&sandbox, 400);
    let commits: Vec<ObjectId> = sandbox.git(&path, ["for-each-ref", "--format=%(objectname)"]).lines().map(id).collect();
    for split in [false, true] {
        if split {
            std::fs::remove_file(path.join("objects/info/commit-graph")).expect("written before");
            let half = format!("{}\n", commits[250]);
            sandbox.git_with_input(&path, ["commit-graph", "write", "--stdin-commits", "--split=no-merge"], half.as_bytes());
            sandbox.git(&path, ["commit-graph", "write", "--reachable", "--split=no-merge"]);
        } else {
            sandbox.git(&path, ["commit-graph", "write", "--reachable"]);
        }
        let snapshot = open(&path);
        let (objects, cancel) = (&**snapshot.objects(), Cancel::new());
        let graph = objects.commit_graph().expect("used");
        assert_eq!((graph.len(), graph.has_generations(), graph.is_sound()), (400, true, true));
        let mut random = Random(66);
        for _ in 0..20 {
            let tip = commits[random.below(400)];
            let listed = sandbox.git(&path, ["rev-list", &tip.to_string()]);
            let wanted: BTreeSet<ObjectId> = listed.lines().map(id).collect();
            let unreachable = find_unreachable(objects, &[], &commits, &mut [tip].into_iter(), &cancel).expect("whole");
            let reached: BTreeSet<ObjectId> = commits.iter().copied().filter(|id| !unreachable.contains(id)).collect();
            assert!(reached == wanted, "{tip}: {} and {}", reached.len(), wanted.len());
            let mut reached = ReachedCommits::new(objects, &[], &mut [tip].into_iter(), &Cancel::new()).expect("whole");
            for commit in &commits {
                assert_eq!(reached.contains(*commit, &cancel).expect("whole"), wanted.contains(commit), "{tip} {commit}");
            }
            let have = commits[random.below(400)];
            let had: BTreeSet<ObjectId> = sandbox.git(&path, ["rev-list", &have.to_string()]).lines().map(id).collect();
            assert_eq!(is_ancestor(objects, &[], tip, have, &cancel).expect("whole"), had.contains(&tip), "{tip} {have}");
        }
    }
}

/// A view in which some commits cannot be read, but the commit-graph knows them.
struct GraphOnly<'a>(&'a dyn Objects, BTreeSet<ObjectId>);

impl Objects for GraphOnly<'_> {
    fn hash_kind(&self) -> gix_hash::Kind {
        self.0.hash_kind()
    }

    fn packs(&self) -> &[std::sync::Arc<packmule::pack::PackFile>] {
        self.0.packs()
    }

    fn locate(&self, id: &gix_hash::oid) -> Result<Option<packmule::pack::Location>, packmule::pack::Error> {
        if self.1.contains(id) { Ok(None) } else { self.0.locate(id) }
    }

    fn read_loose(&self, id: &gix_hash::oid, out: &mut Vec<u8>) -> Result<Option<Kind>, packmule::pack::Error> {
        self.0.read_loose(id, out)
    }

    fn commit_graph(&self) -> Option<&packmule::pack::CommitGraph> {
        self.0.commit_graph()
    }
}

#[test]
fn long_walks_read_the_commit_graph_and_not_the_commits() {
    let sandbox = Sandbox::new();
    let path = sandbox.bare("repository", "sha256");
    let mut stream = String::new();
    for number in 1..=300 {
        let _ = write!(stream, "commit refs/heads/main\ncommitter C <c@example.com> {} +0000\ndata 0\n", 1_600_000_000 + number);
    }
    stream.push_str("done\n");
    sandbox.import(&path, stream.as_bytes());
    sandbox.git(&path, ["commit-graph", "write", "--reachable"]);
    let snapshot = open(&path);
    let commits: Vec<ObjectId> = sandbox.git(&path, ["rev-list", "main"]).lines().map(id).collect();
    let (tip, root) = (commits[0], commits[299]);
    // The root and the newest hundred can be read.
    let objects = GraphOnly(&**snapshot.objects(), commits[100..299].iter().copied().collect());
    assert!(is_ancestor(&objects, &[], root, tip, &Cancel::new()).expect("the graph knows the rest"));
    // Where the repository is shallow or grafted, or its settings say so, nothing of the kind is used.
    for what in ["shallow", "info/grafts"] {
        std::fs::create_dir_all(path.join("info")).expect("a folder");
        std::fs::write(path.join(what), format!("{root}\n")).expect("writable");
        assert!(open(&path).objects().commit_graph().is_none(), "{what}");
        std::fs::remove_file(path.join(what)).expect("there");
        assert!(open(&path).objects().commit_graph().is_some());
    }
    sandbox.git(&path, ["config", "core.commitGraph", "false"]);
    assert!(open(&path).objects().commit_graph().is_none());
}
