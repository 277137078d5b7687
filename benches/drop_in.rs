//! CPU and peak memory of whole requests on standard input and output, beside git's own programs: clone, no-op, push.
//!
//! `cargo bench --bench drop_in -- [--rounds N] REPO...` where REPO is a bare repository with SHA-1. Both sides serve
//! the same bytes of a request in turn (A B A B …); the figures are medians of user + system seconds of the server and
//! its children, and the greatest peak of resident memory (maps of packs count in it). git is told to use neither
//! bitmaps nor a commit-graph, which packmule does not use yet.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

const PACKMULE: &str = env!("CARGO_BIN_EXE_packmule");
const BARE_GIT: [&str; 4] = ["-c", "pack.useBitmaps=false", "-c", "core.commitGraph=false"];

fn git(folder: &Path, args: &[&str]) -> String {
    let output = Command::new("git").current_dir(folder).args(args).output().expect("git starts");
    assert!(output.status.success(), "git {args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("names of refs are UTF-8 here")
}

fn pkt(line: &str) -> String {
    format!("{:04x}{line}", line.len() + 4)
}

/// `ls-refs` as a fetch begins with it, and what a clone of all branches and tags asks then.
fn requests(repository: &Path) -> (String, String) {
    let head = |command: &str| pkt(&format!("command={command}\n")) + &pkt("agent=git/2\n") + &pkt("object-format=sha1\n") + "0001";
    let mut no_op = head("ls-refs") + &pkt("peel\n") + &pkt("symrefs\n");
    no_op += &["HEAD", "refs/heads/", "refs/tags/"].map(|prefix| pkt(&format!("ref-prefix {prefix}\n"))).concat();
    no_op += "0000";
    let mut clone = no_op.clone() + &head("fetch") + &pkt("no-progress\n") + &pkt("include-tag\n") + &pkt("ofs-delta\n");
    let listed = git(repository, &["for-each-ref", "--format=%(objectname)", "refs/heads", "refs/tags"]);
    let mut seen = std::collections::HashSet::new();
    for id in listed.lines().filter(|id| seen.insert(id.to_string())) {
        clone += &pkt(&format!("want {id}\n"));
    }
    clone += &(pkt("done\n") + "0000");
    (no_op + "0000", clone + "0000")
}

/// A push of every branch and tag with the whole history, as a file.
fn push_request(repository: &Path, to: &Path) {
    let zero = "0".repeat(40);
    let mut commands = String::new();
    for (n, line) in git(repository, &["for-each-ref", "--format=%(objectname) %(refname)", "refs/heads", "refs/tags"]).lines().enumerate()
    {
        let words = if n == 0 { "\0 report-status-v2 side-band-64k quiet object-format=sha1" } else { "" };
        commands += &pkt(&format!("{zero} {line}{words}"));
    }
    commands.write_str("0000").expect("memory");
    let pack = Command::new("git")
        .current_dir(repository)
        .args(["pack-objects", "--all", "--stdout", "-q", "--delta-base-offset"])
        .stdin(Stdio::null())
        .output()
        .expect("git starts");
    fs::write(to, [commands.as_bytes(), &pack.stdout].concat()).expect("room for the request");
}

/// User and system seconds, and peak resident MiB, of one server; `env -i` style quiet, as both get it.
fn measure(program: &str, args: &[&str], input: &Path, folder: &Path) -> (f64, f64) {
    let times = folder.join("times");
    let status = Command::new("/usr/bin/time")
        .args(["-f", "%U %S %M", "-o"])
        .arg(&times)
        .arg(program)
        .args(args)
        .env("GIT_PROTOCOL", "version=2")
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .stdin(File::open(input).expect("the request"))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .expect("/usr/bin/time starts (Debian's package `time`)");
    assert!(status.success(), "{program} {args:?}: {status}");
    let text = fs::read_to_string(&times).expect("times");
    let numbers: Vec<f64> = text.split_whitespace().map(|word| word.parse().expect("a number")).collect();
    (numbers[0] + numbers[1], numbers[2] / 1024.0)
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// Alternate both servers over one request; `fresh` makes the repository to serve for each run.
fn compare(what: &str, service: &str, input: &Path, rounds: usize, folder: &Path, fresh: impl Fn() -> PathBuf) {
    let (mut ours, mut gits) = ((vec![], 0f64), (vec![], 0f64));
    for _ in 0..rounds {
        let repository = fresh();
        let (cpu, peak) = measure("git", &[&BARE_GIT[..], &[service, &repository.to_string_lossy()]].concat(), input, folder);
        gits = ([gits.0, vec![cpu]].concat(), gits.1.max(peak));
        let repository = fresh();
        let (cpu, peak) = measure(PACKMULE, &[service, &repository.to_string_lossy()], input, folder);
        ours = ([ours.0, vec![cpu]].concat(), ours.1.max(peak));
    }
    let (our_cpu, git_cpu) = (median(ours.0), median(gits.0));
    println!(
        "{what}: packmule {our_cpu:.2} s CPU, peak {:.0} MiB; git {git_cpu:.2} s CPU, peak {:.0} MiB; CPU ratio {:.2}",
        ours.1,
        gits.1,
        our_cpu / git_cpu.max(0.001)
    );
}

fn main() {
    let (mut rounds, mut repositories) = (5, vec![]);
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        match arg.as_str() {
            "--bench" => {}
            "--rounds" => rounds = args.next().expect("a number follows").parse().expect("a number"),
            _ => repositories.push(arg),
        }
    }
    if repositories.is_empty() {
        eprintln!("name bare repositories: cargo bench --bench drop_in -- REPO...");
    }
    for repository in repositories {
        let repository = fs::canonicalize(repository).expect("the repository");
        let folder = tempfile::tempdir().expect("a folder");
        let at = |name: &str| folder.path().join(name);
        let (no_op, clone) = requests(&repository);
        fs::write(at("no-op"), no_op).expect("room");
        fs::write(at("clone"), clone).expect("room");
        push_request(&repository, &at("push"));
        println!("{}", repository.display());
        compare("  clone", "upload-pack", &at("clone"), rounds, folder.path(), || repository.clone());
        compare("  no-op fetch", "upload-pack", &at("no-op"), rounds, folder.path(), || repository.clone());
        compare("  push of everything", "receive-pack", &at("push"), rounds, folder.path(), || {
            let empty = at("empty.git");
            let _ = fs::remove_dir_all(&empty);
            git(folder.path(), &["init", "-q", "--bare", "empty.git"]);
            empty
        });
    }
}
