//! Random histories and random requests into sets and packs, with stock git as the oracle: never an object more than
//! git sends, never one less than the client needs, and a pack that git takes.

use crate::common::exact::{Layout, gits_pack, gits_set, ids, repository};
use crate::common::fixture::Random;
use crate::common::{Sandbox, run_with_input};
use gix_hash::ObjectId;
use packmule::base::{Cancel, Progress};
use packmule::pack::{Decoder, DeltaSearch, Kind, Location, Objects, PackOptions, PackPlan, write_pack};
use packmule::store::{ConfigScope, Repository, Snapshot};
use packmule::walk::{FetchSides, Known, Missing, Pushed, check_connected, find_in_newest, find_objects, find_unreachable, is_ancestor};
use std::collections::BTreeSet;
use std::path::Path;

/// The ids that `pack` brings a client that has exactly what `haves` reach, which must be able to take it.
fn ids_of_pack(sandbox: &Sandbox, path: &Path, hash: &str, haves: &[ObjectId], thin: bool, pack: &[u8]) -> BTreeSet<ObjectId> {
    let client = sandbox.bare("client", hash);
    if !haves.is_empty() {
        let revs: String = haves.iter().map(|id| format!("{id}\n")).collect();
        let had = run_with_input(&mut sandbox.git_command(path, ["pack-objects", "-q", "--revs", "--stdout"]), revs.as_bytes());
        sandbox.git_with_input(&client, ["index-pack", "--stdin"], &had.stdout);
    }
    let fix_thin: &[&str] = if thin { &["--fix-thin"] } else { &[] };
    let name = sandbox.git_with_input(&client, [&["index-pack", "--stdin", "--strict"], fix_thin].concat(), pack);
    let name = name.rsplit('\t').next().expect("a hash").to_owned();
    let idx = std::fs::read(client.join(format!("objects/pack/pack-{name}.idx"))).expect("an index");
    let listed = sandbox.git_with_input(&client, ["show-index", &format!("--object-format={hash}")], &idx);
    let mut entries: Vec<(u64, ObjectId)> = listed
        .lines()
        .map(|line| {
            let mut words = line.split(' ');
            let mut word = || words.next().expect("offset and id");
            (word().parse().expect("an offset"), ObjectId::from_hex(word().as_bytes()).expect("an id"))
        })
        .collect();
    entries.sort();
    // What completes a thin pack is appended.
    let promised = u32::from_be_bytes(pack[8..12].try_into().expect("four bytes")) as usize;
    let found: BTreeSet<ObjectId> = entries.into_iter().take(promised).map(|(_, id)| id).collect();
    assert_eq!(found.len(), promised, "an object went out twice");
    std::fs::remove_dir_all(client).expect("a folder of ours");
    found
}

/// The pack for a request, and how many deltas of it were searched for.
fn packed(snapshot: &Snapshot, wants: &[ObjectId], haves: &[ObjectId], options: &PackOptions) -> (Vec<u8>, u32) {
    let (objects, cancel) = (&**snapshot.objects(), Cancel::new());
    let phase = Progress::new().begin("Counting objects", 0);
    let sides = FetchSides { wants, haves, shallow: &[], aggressive: false, tags: &[], filter: None, missing: Missing::Refused };
    let found = find_objects(objects, &sides, &phase, &cancel).expect("a whole repository");
    let plan = PackPlan::new(objects, &found, options, &cancel).expect("a sound repository");
    let mut pack = vec![];
    write_pack(objects, &plan, &mut pack, &phase, &cancel).expect("memory");
    assert_eq!(plan.objects() as usize, found.set.len());
    let mut again = vec![];
    write_pack(objects, &plan, &mut again, &phase, &cancel).expect("memory");
    assert!(pack == again, "a plan that knows its trailer makes the same pack");
    (pack, plan.deltas())
}

/// Every way to ask: thin or not, with ofs-deltas or not; searching everything that may be searched, little or nothing.
fn options(round: usize) -> PackOptions {
    let search = match round % 4 {
        0 => DeltaSearch::default(),
        1 | 2 => DeltaSearch { stored_bytes_min: 0, threads: 3, ..DeltaSearch::default() },
        _ => DeltaSearch { window: 0, ..DeltaSearch::default() },
    };
    PackOptions { ofs_delta: !round.is_multiple_of(3), thin: round % 5 != 1, search, ..PackOptions::default() }
}

fn request(random: &mut Random, commits: &[ObjectId], others: &[ObjectId]) -> (Vec<ObjectId>, Vec<ObjectId>) {
    let some = |random: &mut Random, from: &[ObjectId], n: usize| (0..n).map(|_| from[random.below(from.len())]).collect::<Vec<_>>();
    let (wants, haves) = (1 + random.below(3), random.below(4));
    let mut wants = some(random, commits, wants);
    let haves = some(random, commits, haves);
    if random.one_in(4) {
        wants.extend(some(random, others, 1));
    }
    (wants, haves)
}

fn hold(hash: &str, layout: Layout, seeds: std::ops::Range<u64>) {
    let mut searched = 0;
    for seed in seeds {
        let sandbox = Sandbox::new();
        let path = repository(&sandbox, "repository", hash, seed, layout);
        let snapshot = Repository::open(&path, ConfigScope::RepositoryOnly).expect("a repository").snapshot().expect("readable");
        let commits = ids(&sandbox, &path, &["rev-list", "--all"]);
        let others = ids(&sandbox, &path, &["for-each-ref", "--format=%(objectname)", "refs/tags"]);
        let others = [others, ids(&sandbox, &path, &["rev-parse", "main^{tree}"])].concat();
        let mut random = Random(seed);
        for round in 0..12 {
            let (wants, haves) = request(&mut random, &commits, &others);
            let context = format!("{hash} {layout:?} seed {seed} round {round}: want {wants:?} have {haves:?}");
            let options = options(round);
            let (pack, deltas) = packed(&snapshot, &wants, &haves, &options);
            searched += deltas;
            let sent = ids_of_pack(&sandbox, &path, hash, &haves, options.thin, &pack);
            let gits = gits_pack(&sandbox, &path, &wants, &haves);
            assert!(sent.is_subset(&gits), "more than git sends: {context}");
            let needed = gits_set(&sandbox, &path, &wants, &[], None);
            let had = if haves.is_empty() { BTreeSet::new() } else { gits_set(&sandbox, &path, &haves, &[], None) };
            let missing: Vec<_> = needed.iter().filter(|id| !sent.contains(*id) && !had.contains(*id)).collect();
            assert!(missing.is_empty(), "{missing:?} would be missing: {context}");
        }
    }
    assert!(searched > 0, "no delta was searched for: nothing of the search was tested");
}

#[test]
fn one_pack_gives_exact_sets() {
    hold("sha1", Layout::OnePack, 0..3);
    hold("sha256", Layout::OnePack, 3..4);
}

#[test]
fn stored_ref_deltas_give_exact_sets() {
    hold("sha1", Layout::RefDeltas, 10..12);
}

#[test]
fn overlapping_packs_and_loose_objects_give_exact_sets() {
    hold("sha1", Layout::PacksAndLoose, 20..23);
    hold("sha256", Layout::PacksAndLoose, 23..24);
}

#[test]
fn reachability_answers_as_git_does() {
    let sandbox = Sandbox::new();
    let path = repository(&sandbox, "repository", "sha1", 40, Layout::OnePack);
    let snapshot = Repository::open(&path, ConfigScope::RepositoryOnly).expect("a repository").snapshot().expect("readable");
    let (objects, cancel) = (&**snapshot.objects(), Cancel::new());
    let commits = ids(&sandbox, &path, &["rev-list", "--all"]);
    let mut random = Random(40);
    for _ in 0..40 {
        let (one, other) = (commits[random.below(commits.len())], commits[random.below(commits.len())]);
        let git = sandbox.git_command(&path, ["merge-base", "--is-ancestor", &one.to_string(), &other.to_string()]).status().expect("git");
        assert_eq!(is_ancestor(objects, &[], one, other, &cancel).expect("whole"), git.success(), "{one} {other}");
        let unreachable = find_unreachable(objects, &[], &[one], &mut [other].into_iter(), &cancel).expect("whole");
        assert_eq!(unreachable.is_empty(), git.success(), "{one} {other}");
    }
    let (old, new) = (commits[commits.len() / 2], commits[0]);
    let all: Vec<ObjectId> = gits_set(&sandbox, &path, &[new], &[], None).into_iter().collect();
    let reached = gits_set(&sandbox, &path, &[old], &[], None);
    let unreachable = find_unreachable(objects, &[], &all, &mut [old].into_iter(), &cancel).expect("whole");
    let wanted: BTreeSet<ObjectId> = all.iter().copied().filter(|id| !reached.contains(id)).collect();
    assert_eq!(unreachable.into_iter().collect::<BTreeSet<_>>(), wanted);
}

#[test]
fn what_newest_trees_name_is_reachable_and_with_time_enough_all_is_found() {
    for (seed, layout) in [(41, Layout::OnePack), (42, Layout::PacksAndLoose)] {
        let sandbox = Sandbox::new();
        let path = repository(&sandbox, "repository", "sha1", seed, layout);
        let snapshot = Repository::open(&path, ConfigScope::RepositoryOnly).expect("a repository").snapshot().expect("readable");
        let (objects, cancel) = (&**snapshot.objects(), Cancel::new());
        let commits = ids(&sandbox, &path, &["rev-list", "--all"]);
        let everything: Vec<ObjectId> = gits_set(&sandbox, &path, &commits, &[], None).into_iter().collect();
        let mut decoder = Decoder::new(objects, 1 << 20);
        let mut random = Random(seed);
        for _ in 0..10 {
            let tips: Vec<ObjectId> = (0..1 + random.below(3)).map(|_| commits[random.below(commits.len())]).collect();
            let reached = gits_set(&sandbox, &path, &tips, &[], None);
            for trees_max in [0, 3, 30, usize::MAX] {
                let found = find_in_newest(objects, &[], &everything, &mut tips.iter().copied(), trees_max, &cancel).expect("whole");
                assert!(found.trees <= trees_max && found.found.iter().all(|id| reached.contains(id)), "{tips:?} {trees_max}");
                if trees_max == usize::MAX {
                    let mut is_there = |id: &ObjectId| {
                        let location = objects.locate(id).expect("readable").expect("here");
                        matches!(decoder.kind(&location).expect("readable"), Kind::Tree | Kind::Blob)
                    };
                    let wanted: BTreeSet<ObjectId> = reached.iter().copied().filter(|id| is_there(id)).collect();
                    assert_eq!(found.found.iter().copied().collect::<BTreeSet<_>>(), wanted, "{tips:?}");
                }
            }
        }
    }
}

/// A view in which one object is not there.
struct Without<'a>(&'a dyn Objects, ObjectId);

impl Objects for Without<'_> {
    fn hash_kind(&self) -> gix_hash::Kind {
        self.0.hash_kind()
    }

    fn packs(&self) -> &[std::sync::Arc<packmule::pack::PackFile>] {
        self.0.packs()
    }

    fn locate(&self, id: &gix_hash::oid) -> Result<Option<Location>, packmule::pack::Error> {
        if *id == *self.1 { Ok(None) } else { self.0.locate(id) }
    }

    fn read_loose(&self, id: &gix_hash::oid, out: &mut Vec<u8>) -> Result<Option<Kind>, packmule::pack::Error> {
        self.0.read_loose(id, out)
    }
}

#[test]
fn a_push_is_connected_only_when_nothing_new_is_missing() {
    let sandbox = Sandbox::new();
    let path = repository(&sandbox, "repository", "sha1", 50, Layout::OnePack);
    let snapshot = Repository::open(&path, ConfigScope::RepositoryOnly).expect("a repository").snapshot().expect("readable");
    let cancel = Cancel::new();
    let tip = ids(&sandbox, &path, &["rev-parse", "main"])[0];
    let known = ids(&sandbox, &path, &["rev-parse", "main~3"]);
    let new = gits_set(&sandbox, &path, &[tip], &known, None);
    let old: Vec<ObjectId> = gits_set(&sandbox, &path, &known, &[], None).into_iter().collect();
    let phase = Progress::new().begin("Checking connectivity", 0);
    let objects = &**snapshot.objects();
    let places: std::collections::HashSet<Location> = new.iter().filter_map(|id| objects.locate(id).expect("readable")).collect();
    let each = |hear: &mut dyn FnMut(ObjectId)| known.iter().copied().for_each(hear);
    // Whether the push builds on tips that are next to it, on others, or on commits that are no tips.
    for (trusting, near) in [(true, known.as_slice()), (true, &[]), (false, &[]), (false, known.as_slice())] {
        let connected = |without: ObjectId| {
            let is_new = |location: &Location| trusting && places.contains(location);
            let objects = Without(objects, without);
            let known = Known { near, each: &each };
            let pushed = Pushed { objects: &objects, shallow: &[], offered: &[], known, was_here: &|_| Ok(false), is_new: &is_new };
            let connections = check_connected(&pushed, &[tip], &phase, &cancel).expect("readable");
            !connections.tips[0].is_broken
        };
        assert!(connected(ObjectId::null(gix_hash::Kind::Sha1)));
        for id in &new {
            assert!(!connected(*id), "{id} is missing and nobody noticed");
        }
        let untouched = old.iter().filter(|id| connected(**id)).count();
        assert!(!trusting || untouched > old.len() / 2, "what refs reach is taken for whole, only {untouched} of {} were", old.len());
    }
}
