//! CPU, wall time and peak memory of ingesting a pack, beside `git index-pack --stdin`, alternating, medians.
//!
//! `cargo bench --bench ingest -- [--rounds N] [--threads N] [--strict] PACK...` where PACK comes from
//! `git pack-objects --all --stdout --delta-base-offset </dev/null >PACK`. Both sides read the pack on standard
//! input in a process of their own and write beside the pack. The repository must use SHA-1.
//! With `--strict` both check all objects; without, neither does.

use packmule::base::{Cancel, Progress};
use packmule::pack::NoObjects;
use packmule::pack::check::{Checks, Rules};
use packmule::pack::index::{IngestLimits, ingest_checked};
use std::fs::{self, File};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

/// Standard input into the folder, in this process.
fn ingest_here(folder: &Path, threads: usize, checks: &Checks) {
    let limits = IngestLimits {
        pack_bytes_max: 0,
        objects_max: u32::MAX,
        object_bytes_max: u64::MAX,
        held_object_bytes_max: u64::MAX,
        inflated_bytes_max: 0,
        threads,
    };
    let nothing = NoObjects(gix_hash::Kind::Sha1);
    ingest_checked(&mut std::io::stdin(), folder, &nothing, &limits, checks, &Progress::new(), &Cancel::new()).expect("a good pack");
    let status = fs::read_to_string("/proc/self/status").expect("Linux");
    eprintln!("{}", status.lines().find(|line| line.starts_with("VmHWM")).expect("it is told"));
}

/// CPU seconds of all children that have ended, in hundredths.
fn children_cpu() -> f64 {
    let stat = fs::read_to_string("/proc/self/stat").expect("Linux");
    let (_, fields) = stat.rsplit_once(") ").expect("a name in brackets");
    let number = |at: usize| fields.split(' ').nth(at).expect("a field").parse::<f64>().expect("a number");
    (number(13) + number(14)) / 100.0
}

/// CPU and wall seconds and what the child said on standard error.
fn measure(command: &mut Command, pack: &Path) -> (f64, f64, String) {
    let (cpu, wall) = (children_cpu(), Instant::now());
    let output = command.stdin(File::open(pack).expect("the pack")).stdout(Stdio::null()).output().expect("it starts");
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    (children_cpu() - cpu, wall.elapsed().as_secs_f64(), String::from_utf8_lossy(&output.stderr).trim().to_owned())
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn compare(pack: &Path, rounds: usize, threads: usize, strict: bool) {
    let (mut ours, mut theirs, mut walls, mut memory) = (vec![], vec![], (vec![], vec![]), String::new());
    for _ in 0..rounds {
        let folder = tempfile::tempdir_in(pack.parent().expect("a folder")).expect("a folder");
        let mut command = Command::new(std::env::current_exe().expect("this program"));
        command.args(strict.then_some("--strict")).arg("--here").arg(folder.path()).arg(threads.to_string());
        let (cpu, wall, said) = measure(&mut command, pack);
        memory = said;
        ours.push(cpu);
        walls.0.push(wall);

        let folder = tempfile::tempdir_in(pack.parent().expect("a folder")).expect("a folder");
        assert!(Command::new("git").args(["init", "-q", "--bare"]).arg(folder.path()).status().expect("git starts").success());
        let mut command = Command::new("git");
        command
            .current_dir(folder.path())
            .args(["index-pack", "--stdin", &format!("--threads={threads}")])
            .args(strict.then_some("--strict"));
        let (cpu, wall, _) = measure(command.env("GIT_CONFIG_NOSYSTEM", "1").env("GIT_CONFIG_GLOBAL", "/dev/null"), pack);
        theirs.push(cpu);
        walls.1.push(wall);
    }
    let (ours, theirs) = (median(ours), median(theirs));
    let (wall, git_wall) = (median(walls.0), median(walls.1));
    let bytes = fs::metadata(pack).expect("the pack").len();
    println!(
        "{}: {bytes} bytes: packmule {ours:.2} s CPU {wall:.2} s wall {memory}; git {theirs:.2} s CPU {git_wall:.2} s wall; CPU ratio {:.3}",
        pack.display(),
        ours / theirs
    );
}

fn main() {
    let (mut rounds, mut threads, mut strict, mut packs) = (5, 2, false, vec![]);
    let mut args = std::env::args().skip(1);
    let number = |arg: Option<String>| arg.expect("a number follows").parse().expect("a number");
    while let Some(arg) = args.next() {
        match arg.as_str() {
            "--bench" => {}
            "--rounds" => rounds = number(args.next()),
            "--threads" => threads = number(args.next()),
            "--strict" => strict = true,
            "--here" => {
                let folder = args.next().expect("a folder follows");
                let checks = if strict { Checks::by(Rules::strict()) } else { Checks::off() };
                return ingest_here(Path::new(&folder), number(args.next()), &checks);
            }
            _ => packs.push(arg),
        }
    }
    if packs.is_empty() {
        eprintln!("name packs to ingest: cargo bench --bench ingest -- PACK...");
    }
    for pack in packs {
        compare(&fs::canonicalize(pack).expect("the pack"), rounds, threads, strict);
    }
}
