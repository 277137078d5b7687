//! What pushes cost the server, beside stock git in the same run: the README's table of pushes.
//!
//! `cargo bench --bench push -- [--rounds N] [--refs N] [--pushes N] [--deltas N] [--folder DIR] [--only WORD]... [REPO...]`. Both sides get the
//! same bytes in turn (A B A B …); figures are medians. Without REPO (bare repositories with SHA-1) a small generated history is
//! pushed. `--only` takes `whole`, `one`, `links`, `thin` and `ssh`.
//!
//! On standard input and output CPU is what bash's `time` says of a server and its children, over several pushes each. Over SSH recorded
//! pushes are replayed by one client in this process (`measure/replay.rs`), CPU is what `/proc` says of the daemon and all that it starts.
//! What connectivity costs is what the thread that checks spends, in this process; for git what `git rev-list` costs as its receive-pack
//! starts it.
//! git makes each push durable as far as it can (`core.fsync=all`) over SSH, and runs with its defaults on standard input and output;
//! packmule is as durable as ever in both. Limits: the folder must not lie in memory, else syncs cost nothing; it is named with its file system.

mod measure;

use gix_hash::ObjectId;
use measure::daemons::{self, Daemon};
use measure::pushes::{self, Source, compare, copy};
use measure::replay::{Client, Work};
use measure::{Request, behind, git, lines, measure, median, packmule};
use packmule::base::{Cancel, Progress};
use packmule::pack::check::Checks;
use packmule::pack::index::IngestLimits;
use packmule::pack::{Location, Objects};
use packmule::store::{Discover, discover_any_owner};
use packmule::walk::{Known, Pushed, check_connected};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// Connections at once, where there are several.
const CONNECTIONS: usize = 8;
/// ext4 looks at every inode that was freed within the last five seconds before it gives out another: so long neither side would
/// be done with what the other one freed.
const REST: Duration = Duration::from_secs(6);
/// Pushes per sample of a short one, on standard input and output.
const REPEATS: usize = 8;

/// The command line.
pub struct Options {
    /// Rounds per row.
    pub rounds: usize,
    /// Branches where there are many.
    pub refs: usize,
    /// Pushes through each connection.
    pub pushes: usize,
    /// Deltas of the thin pack.
    pub deltas: u32,
    /// Where repositories are made.
    pub folder: PathBuf,
    /// The rows to run; all when empty.
    pub only: Vec<String>,
    /// Bare repositories, whose histories are pushed.
    pub repositories: Vec<PathBuf>,
}

impl Default for Options {
    fn default() -> Self {
        let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR"));
        Self { rounds: 3, refs: 100_000, pushes: 25, deltas: 16_000, folder, only: vec![], repositories: vec![] }
    }
}

/// A line of the table.
fn row(name: &str, (ours, theirs): (f64, f64), unit: &str) {
    println!("| {name} | {ours:.4} {unit} | {theirs:.4} {unit} | {:.2} |", ours / theirs);
}

/// The whole history, with git's checks and without.
fn whole(repository: &Path, options: &Options) {
    let name = repository.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    let request =
        Request { name: "push", input: pushes::push_of_everything(repository), v2: false, has_pack: false, needs: None, is_fetch: false };
    for check in ["false", "true"] {
        let folder = tempfile::tempdir_in(&options.folder).expect("a folder");
        let empty = || {
            let path = folder.path().join("empty.git");
            let _ = fs::remove_dir_all(&path);
            git(folder.path(), &["init", "-q", "--bare", "empty.git"]);
            // dulwich's own test data hold trees with a `.git` in them.
            for (key, value) in [("transfer.fsckObjects", check), ("receive.fsck.hasDotgit", "ignore"), ("receive.autogc", "false")] {
                git(&path, &["config", key, value]);
            }
            path
        };
        let (mut ours, mut theirs) = (vec![], vec![]);
        for _ in 0..options.rounds {
            for (program, costs) in [("git", &mut theirs), (packmule().as_str(), &mut ours)] {
                let path = empty();
                costs.push(measure(Command::new(program).arg("receive-pack").arg(&path), &request, 1));
                assert!(!git(&path, &["for-each-ref", "--count=1"]).is_empty(), "{program} took the push");
            }
        }
        let cpu = |costs: &[measure::Cost]| median(costs.iter().map(|cost| cost.cpu_s));
        let private = |costs: &[measure::Cost]| costs.iter().fold(0.0, |most: f64, cost| most.max(cost.private_mib));
        let checks = if check == "true" { "checks on" } else { "checks off" };
        row(&format!("{name}: the whole history, {checks}"), (cpu(&ours), cpu(&theirs)), "s");
        row("its private memory", (private(&ours), private(&theirs)), "MiB");
    }
}

/// One commit into many refs, on standard input and output.
fn one_commit(options: &Options) {
    let folder = tempfile::tempdir_in(&options.folder).expect("a folder");
    let source = Source::new(folder.path().join("source.git"), 1000, REPEATS, true);
    let requests: Vec<PathBuf> = (0..REPEATS)
        .map(|n| {
            let path = folder.path().join(format!("push-{n}"));
            fs::write(&path, source.push(n)).expect("room");
            path
        })
        .collect();
    for (refs, repeats) in [(1000, REPEATS), (options.refs, 3)] {
        let (full, target) = (folder.path().join("full.git"), folder.path().join("target.git"));
        let _ = fs::remove_dir_all(&full);
        source.target(&full, refs);
        let pair = compare(options.rounds, || {
            copy(&full, &target);
            requests[..repeats].iter().map(|request| (target.clone(), request.clone())).collect()
        });
        row(&format!("one commit into {refs} refs, standard input and output"), pair, "s");
        assert_eq!(git(&target, &["rev-parse", "main"]).trim(), source.tips[repeats - 1]);
    }
}

/// What connectivity costs in a push of 1,000 commits, or of as many as there are.
fn links(repository: &Path, options: &Options) {
    let folder = tempfile::tempdir_in(&options.folder).expect("a folder");
    let line = lines(&git(repository, &["rev-list", "--first-parent", "HEAD"]));
    let at = behind(repository, &line, 1000).unwrap_or(line.len() - 1);
    let full = folder.path().join("full.git");
    git(folder.path(), &["init", "-q", "--bare", "-b", "main", "full.git"]);
    pushes::take_commit(repository, &line[at], &full);
    let request = folder.path().join("push");
    let push = pushes::push_of(repository, &line[at], &[&line[at]], &line[0], "refs/heads/main");
    fs::write(&request, &push).expect("room");
    let prepare = || {
        let one = |n: usize| {
            let path = folder.path().join(format!("target-{n}.git"));
            copy(&full, &path);
            (path, request.clone())
        };
        (0..REPEATS).map(one).collect::<Vec<_>>()
    };
    let all = compare(options.rounds, prepare);
    let ours = median((0..options.rounds * REPEATS).map(|_| cpu_of_our_links(&full, &push, &line[at], &line[0])));
    let theirs = median((0..options.rounds).map(|_| pushes::cpu_of_gits_links(&full, &push, &line[0], REPEATS)));
    let name = repository.file_stem().unwrap_or_default().to_string_lossy();
    row(&format!("{name}: the last 1,000 commits"), all, "s");
    row("of which connectivity", (ours, theirs), "s");
}

/// Seconds that one thread spends on connectivity after a push of `new` on top of `old` has been received into `full`; it is not committed.
fn cpu_of_our_links(full: &Path, request: &[u8], old: &str, new: &str) -> f64 {
    let [old, new] = [old, new].map(|id| ObjectId::from_hex(id.as_bytes()).expect("an id"));
    let start = request.windows(4).position(|window| window == b"PACK").expect("a push with a pack");
    let (progress, cancel) = (Progress::new(), Cancel::new());
    let repository = discover_any_owner(full, Discover::Strict).expect("a repository");
    let mut push = repository.push().expect("a quarantine");
    push.ingest(&mut &request[start..], &IngestLimits::default(), &Checks::off(), &progress, &cancel).expect("a good pack");
    let (view, base_packs) = (push.view(), push.base_packs());
    let pushed = Pushed {
        objects: &**view.objects(),
        shallow: view.shallow(),
        offered: &[],
        known: Known { near: &[old], each: &|hear| view.refs().iter().filter_map(|entry| entry.id).for_each(hear) },
        was_here: &|id| Ok(push.base().locate(id)?.is_some()),
        is_new: &|location| matches!(location, Location::Packed { pack, .. } if *pack >= base_packs),
    };
    let phase = progress.begin("Checking connectivity", 0);
    let spent = || {
        let now = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
        now.tv_sec as f64 + now.tv_nsec as f64 / 1e9
    };
    let begun = spent();
    let found = check_connected(&pushed, &[new], &phase, &cancel).expect("no fault");
    let took = spent() - begun;
    assert!(!found.tips[0].is_broken, "all is there");
    took
}

/// A thin pack of deltas on one base, and of half as many.
fn thin(options: &Options) {
    let folder = tempfile::tempdir_in(&options.folder).expect("a folder");
    let source = Source::new(folder.path().join("source.git"), 3, 0, false);
    let (full, target) = (folder.path().join("full.git"), folder.path().join("target.git"));
    source.target(&full, 1);
    let base = git(&full, &["rev-parse", "main:dir-0/file-0"]).trim().to_owned();
    let text = git(&full, &["cat-file", "blob", &base]);
    let mut costs = vec![];
    for count in [options.deltas / 2, options.deltas] {
        let request = folder.path().join("push");
        fs::write(&request, pushes::push_of_deltas(&base, text.as_bytes(), count)).expect("room");
        let pair = compare(options.rounds, || {
            copy(&full, &target);
            vec![(target.clone(), request.clone())]
        });
        row(&format!("a thin pack of {count} deltas on one base"), pair, "s");
        costs.push(pair);
    }
    println!("Twice as many deltas cost {:.2} times as much; git: {:.2}.", costs[1].0 / costs[0].0, costs[1].1 / costs[0].1);
}

/// Both daemons' folder: the same repositories under two names.
struct Stage {
    folder: tempfile::TempDir,
    sshd: PathBuf,
}

/// What replaying cost one daemon.
#[derive(Clone, Copy)]
struct Replayed {
    cpu_s: f64,
    per_s: f64,
}

impl Stage {
    fn new(options: &Options) -> Result<Self, &'static str> {
        let sshd = daemons::sshd_program()?;
        let folder = tempfile::tempdir_in(&options.folder).expect("a folder");
        daemons::make_keys(folder.path());
        fs::create_dir(folder.path().join("root")).expect("a folder");
        let stage = Self { folder, sshd };
        drop(stage.daemon(false, &[])?);
        Ok(stage)
    }

    fn root(&self) -> PathBuf {
        self.folder.path().join("root")
    }

    /// packmule, or sshd with git.
    fn daemon(&self, is_ours: bool, through: &[String]) -> Result<Daemon, &'static str> {
        match is_ours {
            true => Ok(daemons::packmule(self.folder.path(), through)),
            false => daemons::sshd(self.folder.path(), &self.sshd, through).ok_or("sshd does not start here"),
        }
    }

    /// The repositories of one run, made anew from `full`, and the commands that push into them.
    fn repositories(&self, full: &Path, count: usize, is_ours: bool) -> Vec<String> {
        let one = |n: usize| {
            let path = self.root().join(format!("{n}.git"));
            copy(full, &path);
            match is_ours {
                true => format!("git-receive-pack '{n}.git'"),
                false => format!("GIT_CONFIG_NOSYSTEM=1 GIT_CONFIG_GLOBAL=/dev/null git-receive-pack '{}'", path.display()),
            }
        };
        (0..count).map(one).collect()
    }

    /// Push through as many connections as there are lists of pushes, into `count` repositories.
    fn replay(&self, daemon: &Daemon, commands: &[String], lists: &[Vec<Vec<u8>>]) -> Replayed {
        let client = Client::new(&self.folder.path().join("key"));
        let connections: Vec<_> = lists.iter().map(|_| client.connect(daemon.port)).collect();
        let works: Vec<Work<'_>> = lists
            .iter()
            .enumerate()
            .map(|(n, pushes)| Work { connection: &connections[n], command: commands[n % commands.len()].clone(), pushes })
            .collect();
        let begun = daemons::settled(daemon.id());
        let took = client.replay(&works);
        let count = lists.iter().map(Vec::len).sum::<usize>() as f64;
        Replayed { cpu_s: (daemons::settled(daemon.id()) - begun) / count, per_s: count / took.as_secs_f64() }
    }

    /// Alternating rounds on fresh repositories: packmule's medians, then those of sshd with git.
    fn compare(&self, full: &Path, count: usize, lists: &[Vec<Vec<u8>>], rounds: usize) -> Result<(Replayed, Replayed), &'static str> {
        let mut costs = [vec![], vec![]];
        for _ in 0..rounds {
            for is_ours in [false, true] {
                let commands = self.repositories(full, count, is_ours);
                let daemon = self.daemon(is_ours, &[])?;
                std::thread::sleep(REST);
                costs[usize::from(is_ours)].push(self.replay(&daemon, &commands, lists));
            }
        }
        let middle = |costs: &[Replayed]| Replayed {
            cpu_s: median(costs.iter().map(|cost| cost.cpu_s)),
            per_s: median(costs.iter().map(|cost| cost.per_s)),
        };
        Ok((middle(&costs[1]), middle(&costs[0])))
    }

    /// Syncs per push, counted by strace.
    fn syncs(&self, full: &Path, count: usize, lists: &[Vec<Vec<u8>>], is_ours: bool) -> Result<f64, &'static str> {
        let (log, strace) = (self.folder.path().join("strace"), daemons::program("strace").ok_or("no strace here")?);
        let words = ["-f", "-qq", "-e", "trace=fsync,fdatasync,syncfs,sync", "-e", "signal=none", "-o"].map(str::to_owned);
        let through = [vec![strace.display().to_string()], words.to_vec(), vec![log.display().to_string()]].concat();
        let commands = self.repositories(full, count, is_ours);
        let daemon = self.daemon(is_ours, &through)?;
        // What a daemon does at its start is no push's.
        let said =
            || fs::read_to_string(&log).unwrap_or_default().lines().filter(|line| line.contains("sync") && line.contains('(')).count();
        let begun = said();
        self.replay(&daemon, &commands, lists);
        Ok((said() - begun) as f64 / lists.iter().map(Vec::len).sum::<usize>() as f64)
    }
}

/// Small durable pushes over SSH, and one commit into many refs.
fn ssh(options: &Options) -> Result<(), &'static str> {
    let stage = Stage::new(options)?;
    let folder = stage.folder.path();
    let source = Source::new(folder.join("source.git"), 1000, CONNECTIONS * options.pushes, false);
    let (full, many) = (folder.join("full.git"), folder.join("many.git"));
    source.target(&full, 1000);
    source.target(&many, options.refs);
    for path in [&full, &many] {
        git(path, &["config", "core.fsync", "all"]);
    }
    let all: Vec<Vec<u8>> = (0..source.tips.len()).map(|n| source.push(n)).collect();
    let lists: Vec<Vec<Vec<u8>>> = all.chunks(options.pushes).map(<[_]>::to_vec).collect();
    for count in [CONNECTIONS, 1] {
        let (ours, theirs) = stage.compare(&full, count, &lists, options.rounds)?;
        let name = format!(
            "small pushes over SSH, {CONNECTIONS} connections, {}",
            if count == 1 { "one repository" } else { "as many repositories" }
        );
        row(&format!("{name}: CPU per push"), (ours.cpu_s, theirs.cpu_s), "s");
        row("pushes per second", (ours.per_s, theirs.per_s), "/s");
        match (stage.syncs(&full, count, &lists, true), stage.syncs(&full, count, &lists, false)) {
            (Ok(ours), Ok(theirs)) => row("syncs per push", (ours, theirs), ""),
            (Err(why), _) | (_, Err(why)) => println!("syncs are not counted: {why}"),
        }
    }
    let list = [all[..options.pushes.min(10)].to_vec()];
    for (full, refs) in [(&full, 1000), (&many, options.refs)] {
        let (ours, theirs) = stage.compare(full, 1, &list, options.rounds)?;
        row(&format!("one commit into {refs} refs, over SSH"), (ours.cpu_s, theirs.cpu_s), "s");
    }
    Ok(())
}

/// All rows that are asked for; why some are missing.
pub fn run(options: &Options) -> Vec<&'static str> {
    let wanted = |word: &str| options.only.is_empty() || options.only.iter().any(|only| only == word);
    let kind = Command::new("df").arg("--output=fstype").arg(&options.folder).output().expect("df runs");
    println!("in {} ({})\n", options.folder.display(), String::from_utf8_lossy(&kind.stdout).lines().last().unwrap_or("?"));
    println!("| work | packmule | git | ratio |\n|---|---|---|---|");
    let folder = tempfile::tempdir_in(&options.folder).expect("a folder");
    let mut repositories = options.repositories.clone();
    if repositories.is_empty() && (wanted("whole") || wanted("links")) {
        repositories.push(Source::new(folder.path().join("generated.git"), 3000, 0, false).path);
    }
    for repository in &repositories {
        if wanted("whole") {
            whole(repository, options);
        }
        if wanted("links") {
            links(repository, options);
        }
    }
    if wanted("one") {
        one_commit(options);
    }
    if wanted("thin") {
        thin(options);
    }
    let missing = if wanted("ssh") { ssh(options).err() } else { None };
    missing.into_iter().collect()
}

/// Reads the command line.
#[allow(dead_code, reason = "the smoke test calls `run`")]
fn main() {
    let mut options = Options::default();
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        let mut next = || args.next().expect("a word follows");
        match arg.as_str() {
            "--bench" => {}
            "--rounds" => options.rounds = next().parse().expect("a number"),
            "--refs" => options.refs = next().parse().expect("a number"),
            "--pushes" => options.pushes = next().parse().expect("a number"),
            "--deltas" => options.deltas = next().parse().expect("a number"),
            "--folder" => options.folder = next().into(),
            "--only" => options.only.push(next()),
            _ => options.repositories.push(fs::canonicalize(arg).expect("the repository")),
        }
    }
    for why in run(&options) {
        println!("skipped: {why}");
    }
}
