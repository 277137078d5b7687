//! What the benches of whole requests share: requests as git's client writes them, CPU and memory of a server and its children, medians.
//!
//! CPU is what bash's `time` says of a server and its children (several runs in one where one is quick), memory from `/proc`, looked at every few
//! milliseconds: the peak of one process, and the greatest sum of private memory over a server and its children.
#![allow(dead_code, reason = "every bench uses a part")]

pub mod daemons;
pub mod pushes;
pub mod replay;

use std::fs;
use std::io::Read;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// The program under test: another build where `PACKMULE_BENCH` names one.
pub fn packmule() -> String {
    std::env::var("PACKMULE_BENCH").unwrap_or_else(|_| env!("CARGO_BIN_EXE_packmule").to_owned())
}

/// How often memory is looked at.
const SAMPLE: Duration = Duration::from_millis(4);

/// What one run cost.
#[derive(Clone, Copy, Debug, Default)]
pub struct Cost {
    /// User and system seconds of the server and its children.
    pub cpu_s: f64,
    /// Seconds to the first byte of the pack; none without a pack.
    pub first_s: Option<f64>,
    /// Greatest resident memory of one process, in MiB; maps of packs count.
    pub peak_mib: f64,
    /// Greatest private memory of all processes together, in MiB.
    pub private_mib: f64,
    /// Bytes of the answer.
    pub bytes: u64,
}

/// What `git ARGS` in `folder` prints; it must succeed.
pub fn git(folder: &Path, args: &[&str]) -> String {
    let output = quiet(&mut Command::new("git")).current_dir(folder).args(args).output().expect("git starts");
    assert!(output.status.success(), "git {args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// No configuration of the user's or the machine's.
pub fn quiet(command: &mut Command) -> &mut Command {
    command.env("GIT_CONFIG_NOSYSTEM", "1").env("GIT_CONFIG_GLOBAL", "/dev/null").env_remove("GIT_PROTOCOL")
}

/// One pkt-line.
pub fn pkt(line: &str) -> String {
    format!("{:04x}{line}", line.len() + 4)
}

/// A request by name.
pub struct Request {
    /// The row's name.
    pub name: &'static str,
    /// Everything that the client writes.
    pub input: Vec<u8>,
    /// Protocol version 2, else 0.
    pub v2: bool,
    /// A pack comes.
    pub has_pack: bool,
    /// The capability of `fetch` that it takes.
    pub needs: Option<&'static str>,
    /// It asks for what came after old commits: git is measured without bitmaps too.
    pub is_fetch: bool,
}

/// The head of a command up to its arguments, the hash kind named.
fn head(command: &str, hash: &str) -> String {
    pkt(&format!("command={command}\n")) + &pkt("agent=git/2\n") + &pkt(&format!("object-format={hash}\n")) + "0001"
}

fn ls_refs(hash: &str, prefixes: &[String]) -> String {
    let lines: String = prefixes.iter().map(|prefix| pkt(&format!("ref-prefix {prefix}\n"))).collect();
    head("ls-refs", hash) + &pkt("peel\n") + &pkt("symrefs\n") + &lines + "0000"
}

fn fetch(hash: &str, features: &[&str], wants: &[String], haves: &[String]) -> String {
    let features: String = features.iter().map(|feature| pkt(&format!("{feature}\n"))).collect();
    let wants: String = wants.iter().map(|id| pkt(&format!("want {id}\n"))).collect();
    let haves: String = haves.iter().map(|id| pkt(&format!("have {id}\n"))).collect();
    head("fetch", hash) + &features + &wants + &haves + &pkt("done\n") + "0000"
}

pub fn lines(text: &str) -> Vec<String> {
    text.lines().map(str::to_owned).collect()
}

/// The commit on the first-parent line whose distance from its end is about `count` commits.
pub fn behind(repository: &Path, line: &[String], count: u64) -> Option<usize> {
    let distance = |at: usize| -> u64 {
        git(repository, &["rev-list", "--count", &line[0], &format!("^{}", line[at])]).trim().parse().expect("a number")
    };
    let (mut low, mut high) = (0, line.len().checked_sub(1)?);
    if distance(high) < count {
        return None;
    }
    while low < high {
        let middle = usize::midpoint(low, high);
        if distance(middle) < count { low = middle + 1 } else { high = middle }
    }
    Some(low)
}

/// Every row's request for `repository`, which has a HEAD.
pub fn requests(repository: &Path) -> Vec<Request> {
    let hash = git(repository, &["rev-parse", "--show-object-format"]).trim().to_owned();
    let branch = git(repository, &["symbolic-ref", "HEAD"]).trim().to_owned();
    let tip = vec![git(repository, &["rev-parse", "HEAD"]).trim().to_owned()];
    let mut tips = lines(&git(repository, &["for-each-ref", "--format=%(objectname)", "refs/heads", "refs/tags"]));
    let mut seen = std::collections::HashSet::new();
    tips.retain(|id| seen.insert(id.clone()));
    let everything = ls_refs(&hash, &["refs/heads/", "refs/tags/", "HEAD"].map(str::to_owned));
    let one = ls_refs(&hash, &[branch, "HEAD".to_owned()]);
    let (with_tags, plain) = (["thin-pack", "no-progress", "include-tag", "ofs-delta"], ["thin-pack", "no-progress", "ofs-delta"]);
    let row =
        |name, text: String, needs| Request { name, input: (text + "0000").into_bytes(), v2: true, has_pack: true, needs, is_fetch: false };
    let mut rows = vec![
        row("clone, all refs", everything.clone() + &fetch(&hash, &with_tags, &tips, &[]), None),
        row("clone, one branch", one.clone() + &fetch(&hash, &plain, &tip, &[]), None),
        row(
            "blobless clone",
            everything.clone() + &fetch(&hash, &[&with_tags[..], &["filter blob:none"]].concat(), &tips, &[]),
            Some("filter"),
        ),
        row("depth 1", one + &fetch(&hash, &[&plain[..], &["deepen 1"]].concat(), &tip, &[]), Some("shallow")),
    ];
    let tree = git(repository, &["ls-tree", "-r", "--format=%(objecttype) %(objectname)", "HEAD"]);
    let blobs: Vec<String> = tree.lines().filter_map(|line| line.strip_prefix("blob ")).take(2000).map(str::to_owned).collect();
    rows.push(row("2,000 lazy blobs", fetch(&hash, &["no-progress", "ofs-delta"], &blobs, &[]), None));
    let line = lines(&git(repository, &["rev-list", "--first-parent", "HEAD"]));
    for (name, count) in [("fetch 1 behind", 1), ("fetch 100 behind", 100), ("fetch 1,000 behind", 1000)] {
        let Some(at) = behind(repository, &line, count) else { continue };
        // What a client says first: sixteen commits from its own tip on.
        let haves = lines(&git(repository, &["rev-list", "-16", &line[at]]));
        let request = row(name, everything.clone() + &fetch(&hash, &with_tags, &tip, &haves), None);
        rows.push(Request { is_fetch: true, ..request });
    }
    rows.push(Request { has_pack: false, ..row("no-op, ls-refs of all", everything, None) });
    rows.push(Request { has_pack: false, v2: false, ..row("advertisement, version 0", String::new(), None) });
    rows
}

/// Whether `packmule upload-pack` offers `capability` for fetches of `repository`.
pub fn offers(repository: &Path, capability: &str) -> bool {
    let mut command = Command::new(packmule());
    quiet(&mut command).args(["upload-pack", "--http-backend-info-refs"]).arg(repository).env("GIT_PROTOCOL", "version=2");
    let output = command.output().expect("packmule starts");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.lines()
        .any(|line| line.get(4..).unwrap_or("").strip_prefix("fetch=").is_some_and(|words| words.split(' ').any(|word| word == capability)))
}

/// Runs a server as often as `$1` says over the request in `$2`, and writes user and system seconds of them all to `$0`.
const TIMED: &str = r#"TIMEFORMAT="%3U %3S"; { time for ((n = 0; n < $1; n++)); do "${@:3}" <"$2" 2>/dev/null || exit; done; } 2>"$0""#;

/// Run a server over the same request `repeats` times; the cost of one.
pub fn measure(server: &Command, request: &Request, repeats: usize) -> Cost {
    let folder = tempfile::tempdir().expect("a folder");
    let (times, input) = (folder.path().join("times"), folder.path().join("request"));
    fs::write(&input, &request.input).expect("room for the request");
    let mut command = Command::new("bash");
    command.args(["-c", TIMED]).arg(&times).arg(repeats.to_string()).arg(&input).arg(server.get_program()).args(server.get_args());
    quiet(&mut command).env("LC_ALL", "C").stdin(Stdio::null()).stdout(Stdio::piped());
    if request.v2 {
        command.env("GIT_PROTOCOL", "version=2");
    }
    let begun = Instant::now();
    let mut child = command.spawn().unwrap_or_else(|err| panic!("{command:?}: {err}"));
    let (peak, private, done) = (AtomicU64::new(0), AtomicU64::new(0), AtomicBool::new(false));
    let (bytes, first_s) = std::thread::scope(|scope| {
        let (id, peak, private, done) = (child.id(), &peak, &private, &done);
        scope.spawn(move || sample(id, peak, private, done));
        let read = read_answer(&mut child, begun);
        done.store(true, Ordering::Relaxed);
        read
    });
    let status = child.wait().expect("a child of ours");
    assert!(status.success(), "{server:?} on '{}': {status}", request.name);
    assert_eq!(first_s.is_some(), request.has_pack, "{server:?} on '{}': a pack, or none, was expected", request.name);
    let text = fs::read_to_string(&times).expect("bash writes the times");
    let seconds: f64 = text.split_whitespace().map(|word| word.parse::<f64>().expect("a number")).sum();
    let mib = |kib: &AtomicU64| kib.load(Ordering::Relaxed) as f64 / 1024.0;
    let repeats = repeats as f64;
    Cost { cpu_s: seconds / repeats, first_s, peak_mib: mib(&peak), private_mib: mib(&private), bytes: (bytes as f64 / repeats) as u64 }
}

/// The answer's bytes, and when the pack began.
fn read_answer(child: &mut Child, begun: Instant) -> (u64, Option<f64>) {
    let mut out = child.stdout.take().expect("piped");
    let (mut buffer, mut kept, mut bytes, mut first) = (vec![0; 1 << 18], 0, 0, None);
    loop {
        let read = out.read(&mut buffer[kept..]).expect("a pipe");
        if read == 0 {
            return (bytes, first);
        }
        bytes += read as u64;
        if first.is_none() && buffer[..kept + read].windows(5).any(|window| window == b"\x01PACK") {
            first = Some(begun.elapsed().as_secs_f64());
        }
        // The mark may lie across two reads.
        let end = kept + read;
        kept = if first.is_none() { end.min(4) } else { 0 };
        buffer.copy_within(end - kept..end, 0);
    }
}

/// Watch the memory of `process` and its children until `done`.
fn sample(process: u32, peak: &AtomicU64, private: &AtomicU64, done: &AtomicBool) {
    while !done.load(Ordering::Relaxed) {
        let mut all = 0;
        // The first is bash.
        for id in family(process).into_iter().skip(1) {
            let status = fs::read_to_string(format!("/proc/{id}/status")).unwrap_or_default();
            let kib = |key: &str| -> u64 {
                let line = status.lines().find_map(|line| line.strip_prefix(key));
                line.and_then(|rest| rest.split_whitespace().next()?.parse().ok()).unwrap_or(0)
            };
            peak.fetch_max(kib("VmHWM:"), Ordering::Relaxed);
            all += kib("RssAnon:");
        }
        private.fetch_max(all, Ordering::Relaxed);
        std::thread::sleep(SAMPLE);
    }
}

/// A process and what it has started, as far as it still runs.
pub fn family(process: u32) -> Vec<u32> {
    let mut found = vec![process];
    let mut at = 0;
    while at < found.len() {
        for task in fs::read_dir(format!("/proc/{}/task", found[at])).into_iter().flatten().flatten() {
            let children = fs::read_to_string(task.path().join("children")).unwrap_or_default();
            found.extend(children.split_whitespace().filter_map(|id| id.parse::<u32>().ok()));
        }
        at += 1;
    }
    found
}

/// The middle one.
pub fn median(values: impl IntoIterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.into_iter().collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

/// `--rounds N` and the repositories of a bench's command line.
pub fn arguments() -> (usize, Vec<String>) {
    let (mut rounds, mut repositories) = (5, vec![]);
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        match arg.as_str() {
            "--bench" => {}
            "--rounds" => rounds = args.next().expect("a number follows").parse().expect("a number"),
            _ => repositories.push(arg),
        }
    }
    (rounds, repositories)
}
