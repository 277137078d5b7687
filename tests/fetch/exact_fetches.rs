//! Random histories and random requests on the wire, answered by packmule and by stock git: the packs hold the same objects, or
//! ours lacks some that the client has already.

use crate::common::exact::{Layout, gits_set, ids, repository};
use crate::common::fixture::Random;
use crate::common::pkt::{Pkt, Who, data, take};
use crate::common::{Case, Sandbox, report, run, run_with_input};
use gix_hash::ObjectId;
use std::collections::BTreeSet;
use std::path::Path;

/// One request, in the words of either protocol generation.
#[derive(Debug)]
struct Request {
    wants: Vec<ObjectId>,
    haves: Vec<ObjectId>,
    filter: Option<&'static str>,
    flags: Vec<&'static str>,
}

const FILTERS: [&str; 9] = [
    "blob:none",
    "blob:limit=900",
    "tree:0",
    "tree:1",
    "tree:2",
    "object:type=tag",
    "object:type=tree",
    "combine:tree:2+blob:limit=2k",
    "sparse:oid=main:patterns",
];

impl Request {
    fn some(random: &mut Random, commits: &[ObjectId], others: &[ObjectId]) -> Self {
        let pick = |random: &mut Random, from: &[ObjectId], n: usize| {
            (0..n).map(|_| from[random.below(from.len())]).collect::<BTreeSet<_>>().into_iter().collect::<Vec<_>>()
        };
        let (wanted, had) = (random.below(3), random.below(4));
        let other = if wanted == 0 { 1 + random.below(2) } else { random.below(2) };
        let wants = [pick(random, commits, wanted), pick(random, others, other)].concat();
        let flags = ["thin-pack", "ofs-delta", "include-tag"].into_iter().filter(|_| random.one_in(2)).collect();
        let filter = random.one_in(2).then(|| FILTERS[random.below(FILTERS.len())]);
        Self { wants, haves: pick(random, commits, had), filter, flags }
    }

    fn bytes(&self, case: Case) -> Vec<u8> {
        let mut bytes = vec![];
        let mut say = |line: String| bytes.extend(data(line + "\n"));
        if case.protocol == 2 {
            say("command=fetch".to_owned());
            say(format!("object-format={}", case.hash));
            bytes.extend(b"0001");
            let mut say = |line: String| bytes.extend(data(line + "\n"));
            self.flags.iter().for_each(|flag| say((*flag).to_owned()));
            self.wants.iter().for_each(|id| say(format!("want {id}")));
            self.filter.iter().for_each(|filter| say(format!("filter {filter}")));
            self.haves.iter().for_each(|id| say(format!("have {id}")));
            say("done".to_owned());
            bytes.extend(b"00000000");
            return bytes;
        }
        let flags = self.flags.join(" ");
        let filter = self.filter.map_or("", |_| " filter");
        let mut features = format!(" side-band-64k multi_ack_detailed object-format={} {flags}{filter}", case.hash);
        for id in &self.wants {
            say(format!("want {id}{}", std::mem::take(&mut features)));
        }
        self.filter.iter().for_each(|filter| say(format!("filter {filter}")));
        bytes.extend(b"0000");
        let mut say = |line: String| bytes.extend(data(line + "\n"));
        self.haves.iter().for_each(|id| say(format!("have {id}")));
        say("done".to_owned());
        bytes
    }
}

/// What comes in the first band.
fn pack_in(answer: &[u8]) -> Result<Vec<u8>, String> {
    let (mut rest, mut pack) = (answer, vec![]);
    while let Some(pkt) = take(&mut rest)? {
        match pkt {
            Pkt::Data(payload) if payload.first() == Some(&1) => pack.extend_from_slice(&payload[1..]),
            Pkt::Data(payload) if payload.first() == Some(&3) || payload.starts_with(b"ERR ") => {
                return Err(String::from_utf8_lossy(&payload).into_owned());
            }
            _ => {}
        }
    }
    Ok(pack)
}

/// The objects in a pack, which may lean on objects of `path`: those that fixing it adds stand at its end.
fn ids_of_pack(sandbox: &Sandbox, case: Case, path: &Path, pack: &[u8]) -> BTreeSet<ObjectId> {
    let target = sandbox.bare("fixed.git", case.hash);
    std::fs::write(target.join("objects/info/alternates"), path.join("objects").to_str().expect("ascii")).expect("writable");
    let named = sandbox.git_with_input(&target, ["index-pack", "--stdin", "--fix-thin", "--keep"], pack);
    let name = named.split_whitespace().last().expect("a name").to_owned();
    let idx = std::fs::read(target.join(format!("objects/pack/pack-{name}.idx"))).expect("an index");
    let listed = sandbox.git_with_input(&target, ["show-index", &format!("--object-format={}", case.hash)], &idx);
    let entry = |line: &str| {
        let mut words = line.split(' ');
        let offset: u64 = words.next().and_then(|word| word.parse().ok()).expect("an offset");
        (offset, ObjectId::from_hex(words.next().expect("an id").as_bytes()).expect("an id"))
    };
    let mut entries: Vec<(u64, ObjectId)> = listed.lines().map(entry).collect();
    entries.sort_unstable();
    std::fs::remove_dir_all(target).expect("a folder of ours");
    let count = u32::from_be_bytes(pack[8..12].try_into().expect("four bytes")) as usize;
    let sent: BTreeSet<ObjectId> = entries.into_iter().take(count).map(|(_, id)| id).collect();
    assert_eq!(sent.len(), count, "an object went out twice");
    sent
}

fn serve(sandbox: &Sandbox, who: Who, case: Case, path: &Path, request: &Request) -> BTreeSet<ObjectId> {
    let mut command = who.command(sandbox, case.protocol, "upload-pack", &[], path);
    if who == Who::Git {
        // With bitmaps git sends other sets: less where all bitmaps are at hand, more where they end.
        command.env("GIT_CONFIG_PARAMETERS", "'pack.useBitmaps=false'");
    }
    let output = run_with_input(&mut command, &request.bytes(case));
    let pack = pack_in(&output.stdout).unwrap_or_else(|said| panic!("{who:?} {request:?}: {said}: {}", report(&command, &output)));
    assert!(pack.len() >= 32, "{who:?} sends no pack for {request:?}: {}", report(&command, &output));
    ids_of_pack(sandbox, case, path, &pack)
}

fn hold(case: Case, layout: Layout, seed: u64) {
    let rounds = std::env::var("PACKMULE_TEST_ROUNDS").ok().and_then(|rounds| rounds.parse().ok()).unwrap_or(12);
    let sandbox = Sandbox::new();
    let path = repository(&sandbox, "repository", case.hash, seed, layout);
    let patterns = b"*7*\n!d1/\n/d0/\n";
    let mut stream = format!("commit refs/heads/main\ncommitter C <c@example.com> 1900000000 +0000\ndata 0\nfrom refs/heads/main^0\nM 100644 inline patterns\ndata {}\n", patterns.len()).into_bytes();
    stream.extend_from_slice(patterns);
    stream.extend_from_slice(b"\ndone\n");
    sandbox.import(&path, &stream);
    for key in ["uploadpack.allowFilter", "uploadpack.allowAnySHA1InWant"] {
        sandbox.git(&path, ["config", key, "true"]);
    }
    let commits = ids(&sandbox, &path, &["rev-list", "--all"]);
    let tags = ids(&sandbox, &path, &["for-each-ref", "--format=%(objectname)", "refs/tags"]);
    let beneath = ids(&sandbox, &path, &["rev-list", "--objects", "--no-object-names", "--filter=blob:limit=3000", "main~3..main"]);
    let others = [tags, beneath].concat();
    let mut random = Random(seed);
    for round in 0..rounds {
        let request = Request::some(&mut random, &commits, &others);
        let ours = serve(&sandbox, Who::Packmule, case, &path, &request);
        let gits = serve(&sandbox, Who::Git, case, &path, &request);
        let context = || format!("{case:?} {layout:?} seed {seed} round {round}: {request:?}");
        let more: Vec<_> = ours.difference(&gits).collect();
        assert!(more.is_empty(), "more than git sends: {more:?}, {}", context());
        let less: Vec<_> = gits.difference(&ours).collect();
        let had = if less.is_empty() { BTreeSet::new() } else { gits_set(&sandbox, &path, &request.haves, &[], None) };
        assert!(less.iter().all(|id| had.contains(*id)), "less than the client needs: {less:?}, {}", context());
    }
}

#[test]
fn one_pack_is_served_as_git_serves_it() {
    hold(Case { hash: "sha1", protocol: 2 }, Layout::OnePack, 1);
    hold(Case { hash: "sha1", protocol: 0 }, Layout::RefDeltas, 2);
}

#[test]
fn packs_and_loose_objects_are_served_as_git_serves_them() {
    hold(Case { hash: "sha1", protocol: 0 }, Layout::PacksAndLoose, 3);
    hold(Case { hash: "sha256", protocol: 2 }, Layout::PacksAndLoose, 4);
}

/// A partial clone, further fetches into it, and objects fetched when they are missed.
#[test]
fn a_partial_clone_is_whole_but_for_what_is_promised() {
    crate::common::few_cases(|case| {
        let sandbox = Sandbox::new();
        let remote = crate::common::remote::Remote::stdio(&sandbox, case);
        let (path, mut story) = remote.history("big", 5, 40);
        for key in ["uploadpack.allowFilter", "uploadpack.allowAnySHA1InWant"] {
            sandbox.git(&path, ["config", key, "true"]);
        }
        for filter in ["blob:none", "blob:limit=1k", "tree:1", "tree:3", "object:type=commit"] {
            let clone = remote.clone("big", &format!("clone-{filter}"), &["--bare", "--filter", filter]);
            sandbox.import(&path, &story.grow(5));
            remote.fetch(&clone, &["origin", "+refs/*:refs/*"]);
            sandbox.git(&clone, ["fsck", "--strict", "--no-dangling"]);
            let everything = ids(&sandbox, &path, &["rev-list", "--objects", "--no-object-names", "--all"]);
            let here = sandbox.git(&clone, ["cat-file", "--batch-all-objects", "--batch-check=%(objectname)"]);
            let here: BTreeSet<&str> = here.lines().collect();
            let lacks: Vec<String> = everything.iter().map(ToString::to_string).filter(|id| !here.contains(id.as_str())).collect();
            assert!(!lacks.is_empty(), "{filter} left nothing out");
            sandbox.git(&clone, ["config", "remote.origin.uploadpack", &format!("{} upload-pack", crate::common::PACKMULE)]);
            let mut cat = sandbox.git_command(&clone, ["cat-file", "-t", &lacks[0]]);
            let output = run(&mut cat);
            assert!(output.status.success(), "{filter}: {}", report(&cat, &output));
        }
    });
}

/// A partial clone serves what it has, and says what it lacks.
#[test]
fn a_partial_clone_as_the_server_fetches_nothing_and_names_what_is_missing() {
    crate::common::few_cases(|case| {
        let sandbox = Sandbox::new();
        let remote = crate::common::remote::Remote::stdio(&sandbox, case);
        let (path, _) = remote.history("whole", 6, 20);
        sandbox.git(&path, ["config", "uploadpack.allowFilter", "true"]);
        let partial = remote.clone("whole", "served/partial.git", &["--bare", "--filter=blob:none"]);
        sandbox.git(&partial, ["config", "uploadpack.allowFilter", "true"]);
        // A remote that nobody can reach: whoever tries is found out.
        sandbox.git(&partial, ["config", "remote.origin.url", "/nowhere"]);
        let again = remote.clone("partial", "again.git", &["--bare", "--filter=blob:none"]);
        sandbox.git(&again, ["fsck", "--strict", "--no-dangling"]);
        let (_, said) = remote.git_fails(&sandbox.path(""), "clone", ["-q", "--bare", &remote.url("partial"), "not.git"]);
        let blobs = ids(&sandbox, &path, &["rev-list", "--objects", "--no-object-names", "--filter=object:type=blob", "--all"]);
        let named = blobs.iter().any(|id| said.contains(&format!("is a partial clone and lacks object {id}")));
        assert!(named, "{said}");
    });
}
