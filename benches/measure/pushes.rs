//! Repositories to push into, pushes as git's client writes them, and what they cost a server on standard input and output.

use super::{git, median, pkt, quiet};
use packmule::pack::{BlockIndex, Deflater, write_entry_header};
use std::fmt::Write as _;
use std::fs;
use std::io::{Read, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// What a push's first command says that the client can do.
const WORDS: &str = "\0 report-status-v2 side-band-64k quiet object-format=sha1 agent=git/2";
/// The pack's word for an entry that names its base.
const REF_DELTA: u8 = 7;

/// A history to push from: a branch `main`, and pushes of one commit each that build on it.
pub struct Source {
    /// The repository.
    pub path: PathBuf,
    /// The new commit of each push.
    pub tips: Vec<String>,
    base: String,
    is_chain: bool,
}

impl Source {
    /// `commits` commits over 400 files in 20 folders, then `pushes` of one file each: a chain, or side by side.
    pub fn new(path: PathBuf, commits: usize, pushes: usize, is_chain: bool) -> Self {
        fs::create_dir_all(&path).expect("a folder");
        git(&path, &["init", "-q", "--bare", "-b", "main"]);
        let mut stream = String::new();
        let mut commit = |branch: &str, from: Option<&str>, n: usize, files: std::ops::Range<usize>| {
            let time = 1_700_000_000 + n;
            let _ = write!(stream, "commit {branch}\ncommitter A <a@example.com> {time} +0000\ndata 9\n{n:08}\n\n");
            if let Some(from) = from {
                let _ = writeln!(stream, "from {from}");
            }
            for file in files {
                let text: String =
                    (0..40).map(|line| format!("line {line} of file {file}, {}\n", if line == n % 40 { n } else { 0 })).collect();
                let _ = write!(stream, "M 644 inline dir-{}/file-{file}\ndata {}\n{text}\n", file % 20, text.len());
            }
        };
        commit("refs/heads/main", None, 0, 0..400);
        for n in 1..commits {
            let file = n * 7 % 400;
            commit("refs/heads/main", None, n, file..file + 1);
        }
        for n in 0..pushes {
            let from = if is_chain && n > 0 { format!("refs/pushes/{}", n - 1) } else { "refs/heads/main".to_owned() };
            let file = n * 11 % 400;
            commit(&format!("refs/pushes/{n}"), Some(&from), commits + n, file..file + 1);
        }
        let mut command = Command::new("git");
        command.args(["fast-import", "--quiet"]).current_dir(&path).stdin(Stdio::piped());
        let mut child = quiet(&mut command).spawn().expect("git starts");
        child.stdin.take().expect("piped").write_all(stream.as_bytes()).expect("git reads");
        assert!(child.wait().expect("a child of ours").success(), "git fast-import takes the history");
        git(&path, &["repack", "-adq"]);
        let base = git(&path, &["rev-parse", "main"]).trim().to_owned();
        let tips = (0..pushes).map(|n| git(&path, &["rev-parse", &format!("refs/pushes/{n}")]).trim().to_owned()).collect();
        Self { path, tips, base, is_chain }
    }

    /// A repository with `main` alone; with `refs` branches in all, packed.
    pub fn target(&self, path: &Path, refs: usize) {
        fs::create_dir_all(path).expect("a folder");
        git(path, &["init", "-q", "--bare", "-b", "main"]);
        take_commit(&self.path, &self.base, path);
        let commits = git(path, &["rev-list", "-1000", &self.base]);
        let commits: Vec<&str> = commits.lines().collect();
        let mut text = "# pack-refs with: peeled fully-peeled sorted \n".to_owned();
        for n in 1..refs {
            let _ = writeln!(text, "{} refs/heads/branch-{n:07}", commits[n * 31 % commits.len()]);
        }
        let _ = writeln!(text, "{} refs/heads/main", self.base);
        fs::write(path.join("packed-refs"), text).expect("room");
        fs::remove_file(path.join("refs/heads/main")).expect("it was loose");
        // What git would start behind the push is no part of it.
        git(path, &["config", "receive.autogc", "false"]);
    }

    /// What a client writes that pushes commit `n`, to `main` in a chain, else to a branch of its own.
    pub fn push(&self, n: usize) -> Vec<u8> {
        let (old, name) = match self.is_chain {
            true => (if n == 0 { &self.base } else { &self.tips[n - 1] }, "refs/heads/main".to_owned()),
            false => (&self.base, format!("refs/heads/push-{n}")),
        };
        let said = if self.is_chain { old.clone() } else { "0".repeat(40) };
        push_of(&self.path, &said, &[old.as_str()], &self.tips[n], &name)
    }
}

/// Make `commit` of `from` and what it reaches the branch `main` of the empty repository `to`.
pub fn take_commit(from: &Path, commit: &str, to: &Path) {
    let pack = pack_of(from, &format!("{commit}\n"), &["--delta-base-offset"]);
    let mut command = Command::new("git");
    command.args(["index-pack", "--stdin"]).current_dir(to).stdin(Stdio::piped()).stdout(Stdio::null());
    let mut child = quiet(&mut command).spawn().expect("git starts");
    child.stdin.take().expect("piped").write_all(&pack).expect("git reads");
    assert!(child.wait().expect("a child of ours").success(), "git index-pack takes a history");
    git(to, &["update-ref", "refs/heads/main", commit]);
}

/// What git's connectivity check costs after a push of `new` has been received into `full`, as its receive-pack starts it
/// (`connected.c`): the pack is there, the refs are not.
pub fn cpu_of_gits_links(full: &Path, push: &[u8], new: &str, rounds: usize) -> f64 {
    let input = full.with_extension("tips");
    fs::write(&input, format!("{new}\n")).expect("room");
    let pack = push.windows(4).position(|window| window == b"PACK").expect("a push with a pack");
    let mut command = Command::new("git");
    command.args(["index-pack", "--stdin", "--fix-thin"]).current_dir(full).stdin(Stdio::piped()).stdout(Stdio::null());
    let mut child = quiet(&mut command).spawn().expect("git starts");
    child.stdin.take().expect("piped").write_all(&push[pack..]).expect("git reads");
    assert!(child.wait().expect("a child of ours").success(), "git index-pack takes a push");
    let program = [
        "git",
        "-C",
        "{}",
        "rev-list",
        "--objects",
        "--stdin",
        "--not",
        "--exclude-hidden=receive",
        "--all",
        "--quiet",
        "--alternate-refs",
    ];
    let runs = vec![(full.to_owned(), input); rounds];
    cpu_of_runs(&program, &runs).0
}

/// The pack of a revision list.
fn pack_of(repository: &Path, revisions: &str, options: &[&str]) -> Vec<u8> {
    let mut command = Command::new("git");
    command.args(["pack-objects", "--revs", "--stdout", "-q"]).args(options).current_dir(repository);
    let mut child = quiet(command.stdin(Stdio::piped()).stdout(Stdio::piped())).spawn().expect("git starts");
    child.stdin.take().expect("piped").write_all(revisions.as_bytes()).expect("git reads");
    let output = child.wait_with_output().expect("a child of ours");
    assert!(output.status.success() && output.stdout.starts_with(b"PACK"), "git pack-objects makes a pack");
    output.stdout
}

/// A push that changes the ref `name` from `old` to `new` for a server that has `haves`.
pub fn push_of(repository: &Path, old: &str, haves: &[&str], new: &str, name: &str) -> Vec<u8> {
    let haves: String = haves.iter().map(|id| format!("^{id}\n")).collect();
    let pack = pack_of(repository, &format!("{new}\n{haves}"), &["--thin", "--delta-base-offset"]);
    [(pkt(&format!("{old} {new} {name}{WORDS}")) + "0000").into_bytes(), pack].concat()
}

/// A push of every branch and tag with the whole history into an empty repository.
pub fn push_of_everything(repository: &Path) -> Vec<u8> {
    let zero = "0".repeat(40);
    let mut commands = String::new();
    for line in git(repository, &["for-each-ref", "--format=%(objectname) %(refname)", "refs/heads", "refs/tags"]).lines() {
        let words = if commands.is_empty() { WORDS } else { "" };
        commands += &pkt(&format!("{zero} {line}{words}"));
    }
    let pack = pack_of(repository, "", &["--all", "--delta-base-offset"]);
    [(commands + "0000").into_bytes(), pack].concat()
}

/// A push of one tag with a thin pack of `count` deltas, each naming the blob `base` that the server has; `text` is its bytes.
pub fn push_of_deltas(base: &str, text: &[u8], count: u32) -> Vec<u8> {
    let mut pack = [&b"PACK\0\0\0\x02"[..], &count.to_be_bytes()].concat();
    let (mut deflater, index) = (Deflater::new(1), BlockIndex::new(text));
    let id = gix_hash::ObjectId::from_hex(base.as_bytes()).expect("an id");
    for n in 0..count {
        let target = [text, format!("{n:08}").as_bytes()].concat();
        let delta = index.delta(text, &target, target.len()).expect("it begins as its base does");
        write_entry_header(REF_DELTA, delta.len() as u64, &mut pack);
        pack.extend_from_slice(id.as_slice());
        deflater.whole(&delta, &mut pack).expect("memory");
    }
    let mut hasher = gix_hash::hasher(gix_hash::Kind::Sha1);
    hasher.update(&pack);
    pack.extend_from_slice(hasher.try_finalize().expect("no collision").as_slice());
    let command = format!("{} {base} refs/tags/base{WORDS}", "0".repeat(40));
    [(pkt(&command) + "0000").into_bytes(), pack].concat()
}

/// Runs the words behind `$1` (so many) over each pair of a repository, `{}` among the words, and an input; user and system seconds into `$0`.
const TIMED: &str = r#"words=("${@:2:$1}"); shift $(($1 + 1)); TIMEFORMAT="%3U %3S"
{ time while (($#)); do "${words[@]/\{\}/"$1"}" <"$2" 2>/dev/null || exit; shift 2; done; } 2>"$0""#;

/// Seconds of CPU that a program spends on one of these runs, each a repository and an input, and how many pushes it took.
pub fn cpu_of_runs(program: &[&str], runs: &[(PathBuf, PathBuf)]) -> (f64, usize) {
    let folder = tempfile::tempdir().expect("a folder");
    let times = folder.path().join("times");
    let mut command = Command::new("bash");
    command.args(["-c", TIMED]).arg(&times).arg(program.len().to_string()).args(program);
    command.args(runs.iter().flat_map(|(repository, input)| [repository, input]));
    quiet(&mut command).env("LC_ALL", "C").stdin(Stdio::null()).stdout(Stdio::piped());
    let mut child = command.spawn().expect("bash starts");
    let mut out = child.stdout.take().expect("piped");
    let (mut buffer, mut kept, mut taken) = (vec![0; 1 << 18], 0, 0);
    loop {
        let read = out.read(&mut buffer[kept..]).expect("a pipe");
        if read == 0 {
            break;
        }
        let (end, mark) = (kept + read, b"unpack ok\n");
        taken += buffer[..end].windows(mark.len()).filter(|window| window == mark).count();
        // A mark may lie across two reads.
        kept = end.min(mark.len() - 1);
        buffer.copy_within(end - kept..end, 0);
    }
    assert!(child.wait().expect("a child of ours").success(), "{program:?} fails");
    let text = fs::read_to_string(&times).expect("bash writes the times");
    (text.split_whitespace().map(|word| word.parse::<f64>().expect("a number")).sum::<f64>() / runs.len() as f64, taken)
}

/// Seconds of CPU that a server spends on one of these pushes; all must succeed.
pub fn cpu_of_pushes(server: &str, words: &[&str], pushes: &[(PathBuf, PathBuf)]) -> f64 {
    let (cpu, taken) = cpu_of_runs(&[&[server, "receive-pack"], words, &["{}"]].concat(), pushes);
    assert_eq!(taken, pushes.len(), "{server} takes every push");
    cpu
}

/// What both sides spend, in turn, over repositories that `prepare` makes anew for each: medians, packmule's first.
pub fn compare(rounds: usize, mut prepare: impl FnMut() -> Vec<(PathBuf, PathBuf)>) -> (f64, f64) {
    let (mut ours, mut theirs) = (vec![], vec![]);
    for _ in 0..rounds {
        theirs.push(cpu_of_pushes("git", &[], &prepare()));
        ours.push(cpu_of_pushes(&super::packmule(), &[], &prepare()));
    }
    (median(ours), median(theirs))
}

/// A copy of a repository whose files of objects are the same ones, which nobody writes to.
pub fn copy(from: &Path, to: &Path) {
    let _ = fs::remove_dir_all(to);
    let copied = Command::new("cp").arg("-al").arg(from).arg(to).status().expect("cp runs");
    assert!(copied.success(), "cp -al {} {}", from.display(), to.display());
}
