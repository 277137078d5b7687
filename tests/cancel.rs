//! A client that goes away, whatever its request is at: of all the work that is left, next to nothing is done.
//!
//! Every look at an object is counted: bytes of packs that are asked for and ids that are looked up. At one of them the
//! client goes; what is counted after that is bounded, and the bound is small beside what was left to do.

mod common;

use bytes::Bytes;
use common::Sandbox;
use common::pkt::data;
use gix_hash::{ObjectId, oid};
use packmule::base::{Cancel, Progress};
use packmule::pack::{
    BitmapOwner, Bitmaps, DeltaSearch, Found, Kind, Location, Objects, PackBytes, PackFile, PackOptions, PackPlan, write_pack,
};
use packmule::serve::{Defaults, OpenGate, Options, Protocol, upload_archive, upload_pack};
use packmule::store::{ConfigScope, Repository};
use packmule::walk::{
    Boundaries, Deepening, Enumeration, Error, FetchSides, KindFilter, Missing, Negotiation, ObjectFilter, Patterns, Places,
    ReachableObjects, ReachedCommits, find_boundary, find_objects_by, find_unreachable,
};
use std::fmt::Write as _;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// Commits of the long history.
const COMMITS: usize = 9_000;
/// Folders of the wide tree.
const FOLDERS: usize = 9_000;
/// Looks at objects that may follow the client's going: some thousand trees, or entries of a pack, between two looks at the flag.
const LOOKS_MAX: u64 = 9_000;
/// Longer than any of these tests should take.
const PATIENCE: Duration = Duration::from_secs(60);
/// Moments at which the client goes.
const ROUNDS: u64 = 10;

/// Counts looks at objects and lets the client go at one of them.
#[derive(Default)]
struct Watch {
    looks: AtomicU64,
    goes_at: AtomicU64,
    cancel: Mutex<Cancel>,
}

impl Watch {
    fn look(&self) {
        if self.looks.fetch_add(1, Ordering::Relaxed) + 1 == self.goes_at.load(Ordering::Relaxed) {
            self.cancel.lock().expect("no panic").set();
        }
    }
}

/// A pack in memory under watch.
struct Watched(Bytes, Arc<Watch>);

impl PackBytes for Watched {
    fn bytes(&self) -> &Bytes {
        &self.0
    }

    fn ensure(&self, _: &[std::ops::Range<u64>]) -> std::io::Result<()> {
        self.1.look();
        Ok(())
    }
}

/// The packs of a repository under watch.
struct View {
    packs: Vec<Arc<PackFile>>,
    bitmaps: Option<Bitmaps>,
    watch: Arc<Watch>,
}

impl View {
    fn open(repository: &Path) -> Self {
        let watch = Arc::<Watch>::default();
        let folder = repository.join("objects/pack");
        let files = std::fs::read_dir(&folder).expect("a folder").flatten().map(|entry| entry.path());
        let mut names: Vec<PathBuf> = files.filter(|path| path.extension().is_some_and(|end| end == "pack")).collect();
        names.sort();
        let read = |path: &Path, end: &str| std::fs::read(path.with_extension(end)).ok().map(Bytes::from);
        let packs: Vec<Arc<PackFile>> = names
            .iter()
            .map(|path| {
                let name = path.file_stem().expect("a name").to_string_lossy().into_owned();
                let (index, data) = (read(path, "idx").expect("an index"), read(path, "pack").expect("a pack"));
                let data = Box::new(Watched(data, watch.clone()));
                Arc::new(PackFile::open(name, index, data, read(path, "rev"), gix_hash::Kind::Sha1).expect("a sound pack"))
            })
            .collect();
        let bitmaps = names.iter().zip(0..).find_map(|(path, number)| Some((read(path, "bitmap")?, number)));
        let bitmaps = bitmaps
            .map(|(data, number)| Bitmaps::open(data, BitmapOwner::Pack(number), &packs, gix_hash::Kind::Sha1).expect("sound bitmaps"));
        Self { packs, bitmaps, watch }
    }
}

impl Objects for View {
    fn hash_kind(&self) -> gix_hash::Kind {
        gix_hash::Kind::Sha1
    }

    fn packs(&self) -> &[Arc<PackFile>] {
        &self.packs
    }

    fn locate(&self, id: &oid) -> Result<Option<Location>, packmule::pack::Error> {
        self.watch.look();
        let found = self.packs.iter().zip(0..).find_map(|(file, pack)| Some(Location::Packed { pack, entry: file.find(id)? }));
        Ok(found)
    }

    fn read_loose(&self, _: &oid, _: &mut Vec<u8>) -> Result<Option<Kind>, packmule::pack::Error> {
        Ok(None)
    }

    fn bitmaps(&self) -> Option<&Bitmaps> {
        self.bitmaps.as_ref()
    }
}

/// `main`, of many small commits; its first commit is `root`. Each changes one file of a few hundred in folders.
fn long_history(sandbox: &Sandbox) -> PathBuf {
    let path = sandbox.bare("long.git", "sha1");
    let mut stream = String::new();
    for n in 1..=COMMITS {
        let (folder, file) = (n % 13, n % 17);
        let content = format!("{}line {n}\n", "some text that stays as it is\n".repeat(n % 7));
        let _ = write!(
            stream,
            "commit refs/heads/main\nmark :{n}\ncommitter C <c@example.com> {} +0000\ndata 2\n{}\n\n",
            1_000_000_000 + n,
            n % 10
        );
        let _ = write!(stream, "M 100644 inline d{folder}/f{file}\ndata {}\n{content}\n", content.len());
        if n == 1 {
            stream.push_str("reset refs/heads/root\nfrom :1\n\n");
        }
    }
    stream.push_str("done\n");
    sandbox.import(&path, stream.as_bytes());
    path
}

/// Two commits, `old` and `main`, over many folders with one file each, all of which change.
fn wide_tree(sandbox: &Sandbox) -> PathBuf {
    let path = sandbox.bare("wide.git", "sha1");
    let mut stream = String::new();
    for (n, branch) in [(1, "old"), (2, "main")] {
        let _ =
            write!(stream, "commit refs/heads/{branch}\nmark :{n}\ncommitter C <c@example.com> {} +0000\ndata 2\nm\n\n", 1_000_000_000 + n);
        if n > 1 {
            stream.push_str("from :1\n");
        }
        for folder in 0..FOLDERS {
            let content = format!("{n} of {folder}\n");
            let _ = write!(stream, "M 100644 inline d{}/d{folder}/f\ndata {}\n{content}\n", folder / 95, content.len());
        }
    }
    stream.push_str("done\n");
    sandbox.import(&path, stream.as_bytes());
    path
}

fn id(sandbox: &Sandbox, path: &Path, name: &str) -> ObjectId {
    ObjectId::from_hex(sandbox.git(path, ["rev-parse", "--verify", name]).as_bytes()).expect("an id")
}

/// How work ends.
#[derive(Debug, PartialEq, Eq)]
enum End {
    Done,
    Cancelled,
    Failed(String),
}

fn end<T>(outcome: Result<T, Error>) -> End {
    match outcome {
        Ok(_) => End::Done,
        Err(Error::Cancelled(_) | Error::Pack(packmule::pack::Error::Cancelled(_))) => End::Cancelled,
        Err(err) => End::Failed(err.to_string()),
    }
}

/// Do `work` to its end; then again and again with a client that goes away in between, early and late.
#[track_caller]
fn stops(what: &str, view: &View, work: impl Fn(&View, &Cancel) -> End) {
    stops_within(LOOKS_MAX, what, view, work);
}

#[track_caller]
fn stops_within(looks_max: u64, what: &str, view: &View, work: impl Fn(&View, &Cancel) -> End) {
    let run = |goes_at: u64| {
        let cancel = Cancel::new();
        *view.watch.cancel.lock().expect("no panic") = cancel.clone();
        view.watch.looks.store(0, Ordering::Relaxed);
        view.watch.goes_at.store(goes_at, Ordering::Relaxed);
        let end = work(view, &cancel);
        (end, view.watch.looks.load(Ordering::Relaxed))
    };
    let (whole, all) = run(u64::MAX);
    assert_eq!(whole, End::Done, "{what}");
    assert!(all > looks_max * 4 / 3, "{what}: {all} looks are too few to tell");
    let mut most = 0;
    for round in 0..ROUNDS {
        let goes_at = 1 + round * all / ROUNDS;
        let (end, looks) = run(goes_at);
        let after = looks.saturating_sub(goes_at);
        most = most.max(after);
        assert!(after <= looks_max, "{what}: {after} looks after the client had gone at {goes_at} of {all}");
        let near_its_end = all - goes_at <= looks_max;
        assert!(end == End::Cancelled || near_its_end && end == End::Done, "{what}: {end:?} at {goes_at} of {all}");
    }
    eprintln!("{what}: {all} looks, at most {most} after the client had gone");
}

fn sides<'a>(wants: &'a [ObjectId], haves: &'a [ObjectId]) -> FetchSides<'a> {
    FetchSides { wants, haves, shallow: &[], aggressive: false, tags: &[], filter: None, missing: Missing::Refused }
}

fn find(how: Enumeration, view: &View, sides: &FetchSides<'_>, cancel: &Cancel) -> Result<Found, Error> {
    find_objects_by(how, view, sides, &Progress::new().begin("Enumerating objects", 0), cancel)
}

#[test]
fn negotiation_stops() {
    let sandbox = Sandbox::new();
    let path = long_history(&sandbox);
    sandbox.git(&path, ["repack", "-adq"]);
    let (view, tip, root) = (View::open(&path), id(&sandbox, &path, "main"), id(&sandbox, &path, "root"));
    stops("enough is common", &view, |view, cancel| {
        let mut known = Negotiation::new(view, &[], &[tip], cancel).expect("here");
        known.take_have(root, &mut |_| Ok(true)).expect("here");
        end(known.is_enough(cancel))
    });
    stops("a boundary by depth", &view, |view, cancel| {
        let sides = Boundaries { own: &[], client: &[], wants: &[tip] };
        end(find_boundary(view, &sides, &Deepening::Depth(COMMITS as u32 - 1), cancel))
    });
    stops("a boundary by relative depth", &view, |view, cancel| {
        let sides = Boundaries { own: &[], client: &[root], wants: &[tip] };
        end(find_boundary(view, &sides, &Deepening::RelativeDepth(1), cancel))
    });
    stops("a boundary by time and name", &view, |view, cancel| {
        let sides = Boundaries { own: &[], client: &[], wants: &[tip] };
        end(find_boundary(view, &sides, &Deepening::History { since: 1, not: vec![root] }, cancel))
    });
    stops("whether a commit is reached", &view, |view, cancel| {
        let reached = ReachedCommits::new(view, &[], &mut [tip].into_iter(), cancel);
        end(reached.and_then(|mut reached| reached.contains(root, cancel)))
    });
    stops("whether commits are reached", &view, |view, cancel| end(find_unreachable(view, &[], &[root], &mut [tip].into_iter(), cancel)));
}

#[test]
fn enumeration_stops() {
    let sandbox = Sandbox::new();
    let path = long_history(&sandbox);
    sandbox.git(&path, ["-c", "repack.writeBitmaps=false", "repack", "-adfq", "--depth=10", "--window=5"]);
    let (view, tip, root) = (View::open(&path), id(&sandbox, &path, "main"), id(&sandbox, &path, "root"));
    for how in [Enumeration::TreeDifferences, Enumeration::Scan] {
        stops(&format!("a clone by {how:?}"), &view, |view, cancel| end(find(how, view, &sides(&[tip], &[]), cancel)));
        stops(&format!("a fetch by {how:?}"), &view, |view, cancel| end(find(how, view, &sides(&[tip], &[root]), cancel)));
    }
    stops("all that is visible", &view, |view, cancel| end(ReachableObjects::find(view, &[], &[tip], cancel)));
    // Under patterns every tree of a thousand is judged entry by entry.
    let places = Places { kinds: KindFilter::ALL, depth: u64::MAX, patterns: vec![Patterns::parse(b"f1*\n")], every_path: true };
    for filter in [ObjectFilter::Depth(2), ObjectFilter::Places(places)] {
        let name = if matches!(filter, ObjectFilter::Depth(_)) { "two levels of trees" } else { "trees under patterns" };
        stops_within(2 * LOOKS_MAX, name, &view, |view, cancel| {
            end(find(Enumeration::BySize, view, &FetchSides { filter: Some(&filter), ..sides(&[tip], &[]) }, cancel))
        });
    }
}

#[test]
fn enumeration_by_bitmaps_stops() {
    let sandbox = Sandbox::new();
    let path = long_history(&sandbox);
    let tips: Vec<ObjectId> = common::exact::ids(&sandbox, &path, &["rev-list", "main"]);
    sandbox.git(&path, ["repack", "-adbq"]);
    let view = View::open(&path);
    assert!(view.bitmaps.is_some());
    stops("a clone of many tips by bitmaps", &view, |view, cancel| end(find(Enumeration::BySize, view, &sides(&tips, &[]), cancel)));
    let filter = ObjectFilter::Kinds(KindFilter { blobs_below_bytes: 100, ..KindFilter::ALL });
    stops("a clone of small blobs by bitmaps", &view, |view, cancel| {
        end(find(Enumeration::BySize, view, &FetchSides { filter: Some(&filter), ..sides(&tips[..1], &[]) }, cancel))
    });
}

#[test]
fn enumeration_of_wide_trees_stops() {
    let sandbox = Sandbox::new();
    let path = wide_tree(&sandbox);
    let (view, tip, old) = (View::open(&path), id(&sandbox, &path, "main"), id(&sandbox, &path, "old"));
    stops("what stands at the edge", &view, |view, cancel| end(find(Enumeration::TreeDifferences, view, &sides(&[tip], &[old]), cancel)));
    stops("what the client has all of", &view, |view, cancel| {
        let (wants, haves) = ([tip], [old]);
        let sides = FetchSides { aggressive: true, ..sides(&wants, &haves) };
        end(find(Enumeration::TreeDifferences, view, &sides, cancel))
    });
}

#[test]
fn plans_and_packs_stop() {
    let sandbox = Sandbox::new();
    let path = long_history(&sandbox);
    sandbox.git(&path, ["-c", "repack.writeBitmaps=false", "repack", "-adfq", "--depth=10", "--window=5"]);
    let (view, tip) = (View::open(&path), id(&sandbox, &path, "main"));
    let half = id(&sandbox, &path, &format!("main~{}", COMMITS / 2));
    let late = id(&sandbox, &path, &format!("main~{}", COMMITS - 20));
    let blobs = ObjectFilter::Kinds(KindFilter { commits: false, trees: false, blobs_below_bytes: u64::MAX });
    let trees = ObjectFilter::Kinds(KindFilter { commits: false, trees: true, blobs_below_bytes: 0 });
    let no_search = DeltaSearch { window: 0, ..DeltaSearch::default() };
    let search = DeltaSearch { stored_bytes_min: 0, ..DeltaSearch::default() };
    let found = |haves: &[ObjectId], filter: Option<&ObjectFilter>| {
        let sides = FetchSides { filter, ..sides(std::slice::from_ref(&tip), haves) };
        find(Enumeration::TreeDifferences, &view, &sides, &Cancel::new()).expect("whole")
    };
    for (name, found, search) in [
        ("all but old commits", found(&[late], None), &no_search),
        ("half of all, deltas searched", found(&[half], None), &search),
        ("blobs alone", found(&[], Some(&blobs)), &no_search),
        ("trees alone", found(&[], Some(&trees)), &no_search),
    ] {
        let options = |thin| PackOptions { ofs_delta: true, thin, search: search.clone(), ..PackOptions::default() };
        // Blocks of entries are looked at here.
        stops_within(20, &format!("the plan of {name}"), &view, |view, cancel| {
            end(PackPlan::new(view, &found, &options(true), cancel).map_err(Error::from))
        });
        // For a client that takes neither thin packs nor ofs-deltas every entry is looked at once more.
        let plan = PackPlan::new(&view, &found, &PackOptions { ofs_delta: false, ..options(false) }, &Cancel::new()).expect("sound");
        stops_within(20, &format!("the pack of {name}"), &view, |view, cancel| {
            let written = Progress::new().begin("Writing objects", 0);
            end(write_pack(view, &plan, &mut std::io::sink(), &written, cancel).map_err(Error::from))
        });
    }
}

/// Sends so much, then the same line for ever, or nothing more; the client goes away when so many bytes have been read.
struct Talks<'a> {
    begin: &'a [u8],
    again: &'a [u8],
    read: usize,
    goes_at: usize,
    cancel: &'a Cancel,
}

/// Bytes that nobody should read of a client that has long gone.
const UNHEARD_BYTES_MAX: usize = 1 << 17;

impl Read for Talks<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let rest = match self.begin.len().checked_sub(self.read) {
            Some(1..) => &self.begin[self.read..],
            _ if self.again.is_empty() || self.read > self.goes_at + UNHEARD_BYTES_MAX => return Ok(0),
            _ => &self.again[(self.read - self.begin.len()) % self.again.len()..],
        };
        let count = rest.len().min(buffer.len());
        buffer[..count].copy_from_slice(&rest[..count]);
        self.read += count;
        if self.read >= self.goes_at {
            self.cancel.set();
        }
        Ok(count)
    }
}

/// Counts bytes; the client goes away with the first one.
struct Hears<'a>(&'a mut usize, &'a Cancel);

impl Write for Hears<'_> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        *self.0 += bytes.len();
        self.1.set();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

fn open(path: &Path) -> Repository {
    Repository::open(path, ConfigScope::RepositoryOnly).expect("a repository")
}

fn is_cancelled<T>(outcome: &Result<T, packmule::serve::Error>) -> bool {
    match outcome {
        Err(packmule::serve::Error::Cancelled(_)) => true,
        Err(packmule::serve::Error::Told(err)) => matches!(**err, packmule::serve::Error::Cancelled(_)),
        _ => false,
    }
}

fn lines(words: &[&str]) -> Vec<u8> {
    let line = |word: &&str| match *word {
        "0000" | "0001" => word.as_bytes().to_vec(),
        word => data(format!("{word}\n")),
    };
    words.iter().flat_map(line).collect()
}

/// What is read of a client that talks without end is bounded once it counts as gone: at its deadline, say.
#[test]
fn a_request_without_end_is_not_read_to_its_end() {
    let sandbox = Sandbox::new();
    let (path, _) = sandbox.history("small.git", "sha1", 1, 5);
    let (repository, tip) = (open(&path), id(&sandbox, &path, "main").to_string());
    let want = format!("want {tip}");
    for (protocol, begin, again) in [
        (Protocol::V2, vec!["command=ls-refs", "0001"], "ref-prefix refs/heads/"),
        (Protocol::V2, vec!["command=fetch", "0001", &want], &*format!("have {tip}")),
        (Protocol::V2, vec!["command=fetch", "0001"], &want),
        (Protocol::V2, vec!["command=object-info", "0001"], "size"),
        (Protocol::V0, vec![&*want], &want),
        (Protocol::V0, vec![&*want, "0000"], &*format!("have {tip}")),
    ] {
        let (begin, again, cancel) = (lines(&begin), lines(&[again]), Cancel::new());
        let mut input = Talks { begin: &begin, again: &again, read: 0, goes_at: 1 << 18, cancel: &cancel };
        let options = Options { protocol, defaults: Defaults::Safe { tree_depth_max: 8 }, ..Options::default() };
        let outcome = upload_pack(&repository, &OpenGate, &options, &mut input, std::io::sink(), &cancel);
        assert!(is_cancelled(&outcome), "{protocol:?} {}: {outcome:?}", String::from_utf8_lossy(&again));
        assert!(input.read < input.goes_at + UNHEARD_BYTES_MAX, "{protocol:?}: {} bytes", input.read);
    }
}

#[test]
fn refs_are_not_listed_for_nobody() {
    let sandbox = Sandbox::new();
    let (path, _) = sandbox.history("refs.git", "sha1", 1, 5);
    let tip = id(&sandbox, &path, "main");
    let refs: String = (0..30_000).map(|n| format!("{tip} refs/tags/t{n:06}\n")).collect();
    std::fs::write(path.join("packed-refs"), format!("# pack-refs with: sorted \n{refs}")).expect("ours");
    let repository = open(&path);
    let request = lines(&["command=ls-refs", "0001", "peel", "0000"]);
    for (protocol, request) in [(Protocol::V0, &b""[..]), (Protocol::V2, &request)] {
        let options = Options { protocol, stateless: protocol == Protocol::V2, ..Options::default() };
        let (mut whole, never) = (vec![], Cancel::new());
        let _ = upload_pack(&repository, &OpenGate, &options, request, &mut whole, &never);
        assert!(whole.len() > 30_000 * 60, "{protocol:?}: {}", whole.len());
        let (mut heard, cancel) = (0, Cancel::new());
        let outcome = upload_pack(&repository, &OpenGate, &options, request, Hears(&mut heard, &cancel), &cancel);
        assert!(is_cancelled(&outcome) && heard < whole.len() / 10, "{protocol:?}: {outcome:?}, {heard} bytes");
    }
}

#[test]
fn archives_are_not_made_for_nobody() {
    let sandbox = Sandbox::new();
    let path = wide_tree(&sandbox);
    let repository = open(&path);
    let archive = |words: &[&str], output: &mut dyn Write, goes_at: usize, cancel: &Cancel| {
        let request = words.iter().map(|word| format!("argument {word}")).collect::<Vec<_>>();
        let request = lines(&request.iter().map(String::as_str).chain(["0000"]).collect::<Vec<_>>());
        let goes_at = goes_at.min(request.len());
        let input = Talks { begin: &request, again: b"", read: 0, goes_at: if goes_at == 0 { usize::MAX } else { goes_at }, cancel };
        upload_archive(&repository, &OpenGate, &Options::default(), input, output, cancel)
    };
    for format in ["--format=tar", "--format=zip", "--format=tar.gz"] {
        let mut whole = vec![];
        archive(&[format, "main"], &mut whole, 0, &Cancel::new()).expect("an archive");
        // The acknowledgement alone goes out, and what is gathered before it is sent.
        let (mut heard, cancel) = (0, Cancel::new());
        let outcome = archive(&[format, "main"], &mut Hears(&mut heard, &cancel), 0, &cancel);
        assert!(is_cancelled(&outcome) && heard < whole.len() / 2, "{format}: {outcome:?}, {heard} of {} bytes", whole.len());
    }
    let nowhere = ["--format=tar", "main", "--", "d*/d*/nowhere"];
    let outcome = archive(&nowhere, &mut std::io::sink(), 0, &Cancel::new());
    assert!(matches!(outcome, Err(packmule::serve::Error::Refused(_))), "{outcome:?}");
    let outcome = archive(&nowhere, &mut std::io::sink(), usize::MAX, &Cancel::new());
    assert!(is_cancelled(&outcome), "{outcome:?}");
}

/// Takes what is said, for others to look at.
#[derive(Clone, Default)]
struct Heard(Arc<Mutex<Vec<u8>>>);

impl Write for Heard {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().expect("no panic").write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// A tree that lies in a pipe is read when somebody fills it: enumeration is as slow as this test wants.
#[test]
fn signs_of_life_go_out_while_enumeration_is_slow() {
    let sandbox = Sandbox::new();
    let path = sandbox.bare("slow.git", "sha1");
    let blob = sandbox.git_with_input(&path, ["hash-object", "-w", "--stdin"], b"blob");
    let tree = sandbox.git_with_input(&path, ["mktree"], format!("100644 blob {blob}\tf\n").as_bytes());
    let commit = sandbox.git(&path, ["commit-tree", "-m", "m", &tree]);
    sandbox.git(&path, ["update-ref", "refs/heads/main", &commit]);
    sandbox.git(&path, ["config", "uploadpack.keepAlive", "1"]);
    let pipe = path.join("objects").join(&tree[..2]).join(&tree[2..]);
    std::fs::remove_file(&pipe).expect("a loose object");
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().expect("mkfifo runs").success());
    let request = lines(&["command=fetch", "0001", "no-progress", &format!("want {commit}"), "done", "0000"]);
    let heard = Heard::default();
    let count = || heard.0.lock().expect("no panic").windows(5).filter(|bytes| *bytes == b"0005\x01").count();
    let outcome = std::thread::scope(|scope| {
        let options = Options { protocol: Protocol::V2, stateless: true, keepalive_ms: 0, ..Options::default() };
        let (repository, request, mut output) = (open(&path), &request, heard.clone());
        let fetch = scope.spawn(move || upload_pack(&repository, &OpenGate, &options, &request[..], &mut output, &Cancel::new()));
        let begun = Instant::now();
        while count() < 3 && begun.elapsed() < PATIENCE && !fetch.is_finished() {
            std::thread::sleep(Duration::from_millis(20));
        }
        let filled = std::fs::File::options().write(true).open(&pipe).expect("whoever reads it waits");
        std::fs::remove_file(&pipe).expect("ours");
        drop(filled);
        fetch.join().expect("no panic")
    });
    assert!(outcome.is_err(), "nothing came through the pipe");
    assert!(count() >= 3, "{} signs of life", count());
}
