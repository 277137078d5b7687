//! Random histories, random requests and random filters into sets, with stock git as the oracle: what is sent under a filter is
//! what git sends, to the object.

use crate::common::Sandbox;
use crate::common::exact::{Layout, gits_set, ids, repository};
use crate::common::fixture::Random;
use gix_hash::ObjectId;
use packmule::base::{Cancel, Progress};
use packmule::pack::{ObjectSet, Objects};
use packmule::store::{ConfigScope, Repository, Snapshot};
use packmule::walk::{Enumeration, FetchSides, Missing, ObjectFilter, Patterns, find_named, find_objects, find_objects_by};
use packmule::wire::Filter;
use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::Path;

/// Folders copied to other depths, and a file of patterns, on a branch of their own.
fn move_about(sandbox: &Sandbox, path: &Path, random: &mut Random) {
    let folders = sandbox.git(path, ["ls-tree", "-r", "-d", "--name-only", "main"]);
    let mut folders: Vec<&str> = folders.lines().collect();
    let mut out = String::new();
    for n in 0..8 {
        let from = if n == 0 { "from refs/heads/main^0\n" } else { "" };
        let date = 1_900_000_000 + n;
        let _ = write!(out, "commit refs/heads/moves\ncommitter C O Mitter <c@example.com> {date} +0000\ndata 5\nmove\n{from}");
        let patterns = "*\n!d1/\n!*7\n/d0/\n";
        let _ = writeln!(out, "M 100644 inline patterns\ndata {}\n{patterns}", patterns.len());
        if !folders.is_empty() {
            let folder = folders[random.below(folders.len())];
            let to = ["up", "a/b", "a/b/c/d/e", "d1/x", "z/z/z"][random.below(5)];
            let _ = writeln!(out, "C \"{folder}\" \"{to}/{n}\"");
            if random.one_in(2) {
                let _ = writeln!(out, "D \"{folder}\"");
                let top = folder.split('/').next();
                folders.retain(|other| other.split('/').next() != top);
            }
        }
    }
    out.push_str("done\n");
    sandbox.import(path, out.as_bytes());
}

/// A filter that git takes, simple or combined.
fn some_filter(random: &mut Random) -> String {
    let simple = |random: &mut Random| match random.below(8) {
        0 => "blob:none".to_owned(),
        1 => format!("blob:limit={}", random.below(4000)),
        2 => format!("object:type={}", ["commit", "tree", "blob", "tag"][random.below(4)]),
        3 => "tree:0".to_owned(),
        4 => "sparse:oid=moves:patterns".to_owned(),
        _ => format!("tree:{}", 1 + random.below(5)),
    };
    match random.below(3) {
        0 => format!("combine:{}", (0..2 + random.below(2)).map(|_| simple(random)).collect::<Vec<_>>().join("+")),
        _ => simple(random),
    }
}

fn object_filter(snapshot: &Snapshot, spec: &str) -> ObjectFilter {
    let filter = Filter::parse(spec.into()).expect("a filter");
    ObjectFilter::new(&filter, |name| {
        let mut decoder = packmule::pack::Decoder::new(&**snapshot.objects(), 1 << 20);
        let named = find_named(&mut decoder, name, &|name| snapshot.refs().find(name)?.id).expect("sound").expect("a name");
        Ok::<_, ()>(Patterns::parse(&decoder.find(&named.id).expect("sound").expect("here").1))
    })
    .expect("patterns that can be read")
}

fn ids_of(objects: &dyn Objects, set: &ObjectSet) -> BTreeSet<ObjectId> {
    let packed = set.packed().flat_map(|(pack, bits)| {
        let file = objects.packs()[pack as usize].clone();
        bits.iter().map(move |entry| file.id(entry as u32).to_owned()).collect::<Vec<_>>()
    });
    packed.chain(set.loose().iter().copied()).collect()
}

/// Everything that may be wanted, by type.
struct World {
    commits: Vec<ObjectId>,
    others: Vec<ObjectId>,
}

impl World {
    fn request(&self, random: &mut Random) -> (Vec<ObjectId>, Vec<ObjectId>) {
        let some = |random: &mut Random, from: &[ObjectId], n: usize| (0..n).map(|_| from[random.below(from.len())]).collect::<Vec<_>>();
        let (commits, haves) = (random.below(3), random.below(5).saturating_sub(2));
        let mut wants = some(random, &self.commits, commits);
        let others = if commits == 0 || random.one_in(3) { 1 + random.below(4) } else { 0 };
        wants.extend(some(random, &self.others, others));
        (wants, some(random, &self.commits, haves))
    }
}

/// Not an object more than git sends, and none less that the client does not have. Two exceptions, both where filters are
/// combined: what is wanted by its own id goes out even where git forgets it beneath another wanted tree; and filters
/// about paths or several depths judge an object where it is met first, so that less may go out.
fn hold(hash: &str, layout: Layout, seeds: std::ops::Range<u64>) {
    let rounds = std::env::var("PACKMULE_TEST_ROUNDS").ok().and_then(|rounds| rounds.parse().ok()).unwrap_or(40);
    for seed in seeds {
        let sandbox = Sandbox::new();
        let mut random = Random(seed);
        let path = repository(&sandbox, "repository", hash, seed, layout);
        move_about(&sandbox, &path, &mut random);
        let snapshot = Repository::open(&path, ConfigScope::RepositoryOnly).expect("a repository").snapshot().expect("readable");
        let tips = ids(&sandbox, &path, &["for-each-ref", "--format=%(objectname)", "refs/tags"]);
        let moved = ids(&sandbox, &path, &["rev-list", "--objects", "--no-object-names", "--filter=object:type=tree", "moves~3..moves"]);
        let blobs = ids(&sandbox, &path, &["rev-list", "--objects", "--no-object-names", "--filter=object:type=blob", "moves~1"]);
        let world = World { commits: ids(&sandbox, &path, &["rev-list", "--all"]), others: [tips, moved, blobs[..30].to_vec()].concat() };
        for round in 0..rounds {
            let (wants, haves) = world.request(&mut random);
            let spec = some_filter(&mut random);
            let filter = object_filter(&snapshot, &spec);
            let sides = FetchSides {
                wants: &wants,
                haves: &haves,
                shallow: &[],
                aggressive: false,
                tags: &[],
                filter: Some(&filter),
                missing: Missing::Refused,
            };
            let phase = Progress::new().begin("Enumerating objects", 0);
            let found = find_objects(&**snapshot.objects(), &sides, &phase, &Cancel::new()).expect("a whole repository");
            let sent = ids_of(&**snapshot.objects(), &found.set);
            assert_eq!(sent.len(), found.set.len(), "an object stands twice");
            let gits = gits_set(&sandbox, &path, &wants, &haves, Some(&spec));
            let context = || format!("{hash} {layout:?} seed {seed} round {round}: {spec} want {wants:?} have {haves:?}");
            let combined = spec.starts_with("combine:");
            let more: Vec<_> = sent.difference(&gits).filter(|id| !(combined && wants.contains(id))).collect();
            assert!(more.is_empty(), "more than git sends, {}: {} of {}, {:?}", context(), more.len(), sent.len(), more[0]);
            let less: Vec<_> = gits.difference(&sent).collect();
            let judged_once = combined && (spec.contains("sparse:oid") || spec.matches("tree:").count() > 1);
            let had = if less.is_empty() || haves.is_empty() { BTreeSet::new() } else { gits_set(&sandbox, &path, &haves, &[], None) };
            assert!(
                judged_once || less.iter().all(|id| had.contains(*id)),
                "less than git sends, {}: {} of {}, {:?}",
                context(),
                less.len(),
                gits.len(),
                less[0]
            );
        }
    }
}

#[test]
fn one_pack_gives_exact_sets_under_filters() {
    hold("sha1", Layout::OnePack, 0..3);
}

#[test]
fn packs_and_loose_objects_give_exact_sets_under_filters() {
    hold("sha1", Layout::PacksAndLoose, 10..12);
    hold("sha256", Layout::PacksAndLoose, 12..13);
}

/// A client that has nothing, under filters by kind: every way to enumerate gives what git sends.
fn hold_closures(hash: &str, layout: Layout, seeds: std::ops::Range<u64>) {
    for seed in seeds {
        let sandbox = Sandbox::new();
        let mut random = Random(seed);
        let path = repository(&sandbox, "repository", hash, seed, layout);
        move_about(&sandbox, &path, &mut random);
        match (layout, seed % 3) {
            // What moved about came after the bitmaps, or stands in them, or in those of a multi-pack index.
            (Layout::Bitmaps, 1) => drop(sandbox.git(&path, ["repack", "-adbq"])),
            (Layout::Bitmaps, 2) => {
                sandbox.git(&path, ["repack", "-dq"]);
                sandbox.git(&path, ["multi-pack-index", "write", "--bitmap"]);
            }
            _ => {}
        }
        let snapshot = Repository::open(&path, ConfigScope::RepositoryOnly).expect("a repository").snapshot().expect("readable");
        let objects = &**snapshot.objects();
        assert!(objects.bitmaps().is_some() || !matches!(layout, Layout::Bitmaps), "bitmaps are read");
        let commits = ids(&sandbox, &path, &["rev-list", "--all"]);
        let tags = ids(&sandbox, &path, &["for-each-ref", "--format=%(objectname)", "refs/tags"]);
        let blobs = ids(&sandbox, &path, &["rev-list", "--objects", "--no-object-names", "--filter=object:type=blob", "moves~1"]);
        for round in 0..30 {
            let mut wants: Vec<ObjectId> = (0..1 + random.below(3)).map(|_| commits[random.below(commits.len())]).collect();
            wants.extend((0..random.below(2)).map(|_| tags[random.below(tags.len())]));
            wants.extend((0..random.below(2)).map(|_| blobs[random.below(blobs.len())]));
            let spec = match round % 6 {
                0 => "blob:none".to_owned(),
                1 | 2 => format!("blob:limit={}", 1 + random.below(3000)),
                3 => "tree:0".to_owned(),
                4 => format!("object:type={}", ["commit", "tree", "blob", "tag"][random.below(4)]),
                _ => "combine:object:type=blob+blob:limit=900".to_owned(),
            };
            let filter = object_filter(&snapshot, &spec);
            let sides = FetchSides {
                wants: &wants,
                haves: &[],
                shallow: &[],
                aggressive: false,
                tags: &[],
                filter: Some(&filter),
                missing: Missing::Refused,
            };
            let gits = gits_set(&sandbox, &path, &wants, &[], Some(&spec));
            for how in [Enumeration::BySize, Enumeration::Scan, Enumeration::TreeDifferences] {
                let phase = Progress::new().begin("Enumerating objects", 0);
                let found = find_objects_by(how, objects, &sides, &phase, &Cancel::new()).expect("a whole repository");
                let sent = ids_of(objects, &found.set);
                assert_eq!(sent.len(), found.set.len(), "an object stands twice");
                assert_eq!(found.known.len(), 0);
                let differ: Vec<_> = sent.symmetric_difference(&gits).collect();
                assert!(differ.is_empty(), "{hash} {layout:?} seed {seed} {how:?}: {spec} want {wants:?}: {differ:?}");
            }
        }
    }
}

#[test]
fn whole_closures_under_filters_are_gits_by_the_scan() {
    hold_closures("sha1", Layout::OnePack, 20..22);
    hold_closures("sha1", Layout::RefDeltas, 22..23);
    hold_closures("sha256", Layout::PacksAndLoose, 23..24);
    hold_closures("sha1", Layout::PacksAndLoose, 24..26);
}

#[test]
fn whole_closures_under_filters_are_gits_by_bitmaps() {
    hold_closures("sha1", Layout::Bitmaps, 30..33);
    hold_closures("sha256", Layout::Bitmaps, 33..36);
}
