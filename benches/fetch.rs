//! What a fetch costs the server on standard input and output, beside `git upload-pack`: the rows of the README's table.
//!
//! `cargo bench --bench fetch -- [--rounds N] REPO...` where REPO is a bare repository, plain or with bitmaps. Both sides serve the
//! same bytes of each request in turn (A B A B …); figures are medians. git runs with the repository's own settings; rows named
//! "beside git without bitmaps" run it with `pack.useBitmaps=false`. A row whose capability is missing is skipped, saying so.

mod measure;

use measure::{Cost, Request, arguments, measure, median, offers, requests};
use std::path::Path;
use std::process::Command;

/// Server time that one sample of a quick request should take at least, in seconds.
const SAMPLE_CPU_S: f64 = 0.05;
const REPEATS_MAX: usize = 20;

fn ours(repository: &Path) -> Command {
    let mut command = Command::new(measure::packmule());
    command.arg("upload-pack").arg(repository);
    command
}

fn gits(repository: &Path, settings: &[&str]) -> Command {
    let mut command = Command::new("git");
    command.args(settings).arg("upload-pack").arg(repository);
    command
}

fn middle(costs: &[Cost]) -> Cost {
    let of = |part: fn(&Cost) -> f64| median(costs.iter().map(part));
    let greatest = |part: fn(&Cost) -> f64| costs.iter().map(part).fold(0.0, f64::max);
    Cost {
        cpu_s: of(|cost| cost.cpu_s),
        first_s: costs.first().and_then(|cost| cost.first_s).map(|_| median(costs.iter().filter_map(|cost| cost.first_s))),
        peak_mib: greatest(|cost| cost.peak_mib),
        private_mib: greatest(|cost| cost.private_mib),
        bytes: costs.first().map_or(0, |cost| cost.bytes),
    }
}

fn row(name: &str, request: &Request, repository: &Path, rounds: usize, settings: &[&str]) {
    let once = measure(&gits(repository, settings), request, 1);
    let repeats = ((SAMPLE_CPU_S / once.cpu_s.max(0.001)) as usize).clamp(1, REPEATS_MAX);
    let (mut our_costs, mut git_costs) = (vec![], vec![]);
    for _ in 0..rounds {
        git_costs.push(measure(&gits(repository, settings), request, repeats));
        our_costs.push(measure(&ours(repository), request, repeats));
    }
    let (ours, gits) = (middle(&our_costs), middle(&git_costs));
    let first = |cost: Cost| cost.first_s.map_or("-".to_owned(), |first_s| format!("{:.0}", first_s * 1000.0));
    println!(
        "| {name} | {:.3} | {:.3} | {:.2} | {} | {:.3} | {:.0} / {:.0} | {:.0} / {:.0} | {} / {} |",
        ours.cpu_s,
        gits.cpu_s,
        ours.cpu_s / gits.cpu_s.max(0.000_1),
        ours.bytes,
        ours.bytes as f64 / gits.bytes.max(1) as f64,
        ours.peak_mib,
        gits.peak_mib,
        ours.private_mib,
        gits.private_mib,
        first(ours),
        first(gits)
    );
}

/// All rows of one repository; how many there were.
pub fn run(repository: &Path, rounds: usize) -> usize {
    println!("{}\n", repository.display());
    println!("| request | CPU s | git's | ratio | bytes | of git's | peak MiB, git's | private MiB, git's | first pack byte ms, git's |");
    println!("|---|---|---|---|---|---|---|---|---|");
    let has_bitmaps = std::fs::read_dir(repository.join("objects/pack"))
        .is_ok_and(|files| files.flatten().any(|file| file.file_name().to_string_lossy().ends_with(".bitmap")));
    let mut count = 0;
    for request in requests(repository) {
        if let Some(capability) = request.needs.filter(|capability| !offers(repository, capability)) {
            println!("| {} | skipped: no `{capability}` yet |", request.name);
            continue;
        }
        row(request.name, &request, repository, rounds, &[]);
        count += 1;
        if has_bitmaps && request.is_fetch {
            row(&format!("{}, beside git without bitmaps", request.name), &request, repository, rounds, &["-c", "pack.useBitmaps=false"]);
            count += 1;
        }
    }
    println!();
    count
}

/// Reads the command line.
#[allow(dead_code, reason = "the smoke test calls `run`")]
fn main() {
    let (rounds, repositories) = arguments();
    if repositories.is_empty() {
        eprintln!("name bare repositories: cargo bench --bench fetch -- [--rounds N] REPO...");
    }
    for repository in repositories {
        run(&std::fs::canonicalize(repository).expect("the repository"), rounds);
    }
}
