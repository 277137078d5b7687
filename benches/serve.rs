//! What fetches over SSH cost the server, `packmule serve` beside OpenSSH's sshd with stock git: the README's second table.
//!
//! `cargo bench --bench serve -- [--rounds N] REPO...` where REPO is a bare repository with SHA-1, plain or with bitmaps; it is
//! copied with hard links where it can. Both sides get the same bytes from `ssh` in turn (A B A B …); counted is the CPU of the
//! daemon and of all that it starts, as `/proc/PID/stat` says; figures are medians. Every row begins with a server that has just
//! started ("first"), and is asked again ("again"): packmule keeps answers from one fetch to the next, git does not.
//! Limits: a clock tick (10 ms) is the finest step. A row with one ref hidden is left out: `serve` has no setting for it yet.

mod measure;

use measure::daemons::{self, Daemon, at_rest, sshd_program};
use measure::{Request, arguments, git, median, quiet, requests};
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use tempfile::TempDir;

/// What is asked of a server.
struct Row {
    name: &'static str,
    /// The request, by its name among the fetch bench's.
    request: &'static str,
    /// Sessions, and whether all run at once.
    sessions: usize,
    at_once: bool,
    /// The row shows so many sessions' cost.
    shown: usize,
}

const ROWS: [Row; 4] = [
    Row { name: "16 identical depth-1 clones at once", request: "depth 1", sessions: 16, at_once: true, shown: 16 },
    Row { name: "full clone", request: "clone, all refs", sessions: 1, at_once: false, shown: 1 },
    Row { name: "2,000 lazy blobs", request: "2,000 lazy blobs", sessions: 1, at_once: false, shown: 1 },
    Row { name: "ten no-ops", request: "no-op, ls-refs of all", sessions: 10, at_once: false, shown: 10 },
];

/// The folder that both sides serve, with keys and settings beside it.
struct Stage {
    folder: TempDir,
    name: String,
}

/// A server of either side.
struct Server {
    daemon: Daemon,
    /// How the repository is named over SSH.
    path: String,
}

impl Stage {
    fn new(repository: &Path) -> Self {
        // Beside the target folder's files, where hard links are likelier than in the system's folder for temporary files.
        let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a folder");
        let name = "bench.git".to_owned();
        let root = folder.path().join("root");
        fs::create_dir(&root).expect("a folder");
        git(&root, &["clone", "-q", "--mirror", "--local", &repository.to_string_lossy(), &name]);
        daemons::make_keys(folder.path());
        Self { folder, name }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// `packmule serve`, its caches empty.
    fn packmule(&self) -> Server {
        Server { daemon: daemons::packmule(self.folder.path(), &[]), path: self.name.clone() }
    }

    /// OpenSSH's daemon, which starts git.
    fn sshd(&self, program: &Path) -> Option<Server> {
        let path = self.path("root").join(&self.name).to_string_lossy().into_owned();
        Some(Server { daemon: daemons::sshd(self.folder.path(), program, &[])?, path })
    }

    /// One session; the bytes of its answer.
    fn session(&self, server: &Server, request: &Request) -> u64 {
        let input = self.path(&format!("request-{}", request.name.replace([' ', ','], "-")));
        let mut command = Command::new("ssh");
        command.args(["-F", "none", "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null", "-o", "LogLevel=ERROR"]);
        command.args(["-o", "IdentitiesOnly=yes", "-o", "IdentityAgent=none", "-o", "BatchMode=yes", "-o", "SendEnv=GIT_PROTOCOL", "-i"]);
        command.arg(self.path("key")).args(["-p", &server.daemon.port.to_string(), "127.0.0.1"]);
        command.arg(format!("git-upload-pack '{}'", server.path));
        command.stdin(fs::File::open(input).expect("written before")).stdout(Stdio::piped());
        let mut child = quiet(&mut command).env("GIT_PROTOCOL", "version=2").spawn().expect("ssh starts");
        let (mut out, mut buffer, mut bytes, mut pack) = (child.stdout.take().expect("piped"), vec![0; 1 << 16], 0, false);
        let mut first = vec![];
        loop {
            let read = out.read(&mut buffer).expect("a pipe");
            if read == 0 {
                break;
            }
            bytes += read as u64;
            // The pack's mark may lie across two reads.
            first.extend_from_slice(if pack { &[] } else { &buffer[..read] });
            pack |= first.windows(5).any(|window| window == b"\x01PACK");
            first.drain(..first.len().saturating_sub(4));
        }
        let status = child.wait().expect("a child of ours");
        assert!(status.success() && bytes > 0, "'{}' on port {}: {status}, {bytes} bytes", request.name, server.daemon.port);
        assert_eq!(pack, request.has_pack, "'{}' on port {}: a pack, or none, was expected", request.name, server.daemon.port);
        bytes
    }

    /// All sessions of a row: CPU seconds of the server as the row shows them, and the bytes of one answer.
    fn cost(&self, server: &Server, row: &Row, request: &Request) -> (f64, u64) {
        let begun = at_rest(server.daemon.id());
        let bytes = if row.at_once {
            std::thread::scope(|scope| {
                let sessions: Vec<_> = (0..row.sessions).map(|_| scope.spawn(|| self.session(server, request))).collect();
                sessions.into_iter().map(|session| session.join().expect("a session comes to its end")).max()
            })
        } else {
            (0..row.sessions).map(|_| self.session(server, request)).max()
        };
        let spent = at_rest(server.daemon.id()) - begun;
        (spent * row.shown as f64 / row.sessions as f64, bytes.unwrap_or(0))
    }
}

/// All rows of one repository; how many there were, or why there are none.
pub fn run(repository: &Path, rounds: usize) -> Result<usize, &'static str> {
    let program = sshd_program()?;
    let stage = Stage::new(repository);
    drop(stage.sshd(&program).ok_or("sshd does not start here")?);
    println!("{}\n", repository.display());
    println!("| over SSH | CPU s first | again | sshd with git | ratio first | again | bytes | of git's |");
    println!("|---|---|---|---|---|---|---|---|");
    let all = requests(&stage.path("root").join(&stage.name));
    for row in &ROWS {
        let request = all.iter().find(|request| request.name == row.request).expect("a name among them");
        fs::write(stage.path(&format!("request-{}", request.name.replace([' ', ','], "-"))), &request.input).expect("room");
        let (mut first, mut again, mut gits, mut bytes) = (vec![], vec![], vec![], (0, 0));
        for _ in 0..rounds {
            let sshd = stage.sshd(&program).ok_or("sshd does not start any more")?;
            let (spent, theirs) = stage.cost(&sshd, row, request);
            gits.push(spent);
            let ours = stage.packmule();
            first.push(stage.cost(&ours, row, request).0);
            let (spent, own) = stage.cost(&ours, row, request);
            again.push(spent);
            bytes = (own, theirs);
        }
        let (first, again, gits) = (median(first), median(again), median(gits));
        println!(
            "| {} | {first:.2} | {again:.2} | {gits:.2} | {:.2} | {:.2} | {} | {:.3} |",
            row.name,
            first / gits,
            again / gits,
            bytes.0,
            bytes.0 as f64 / bytes.1 as f64
        );
    }
    println!();
    Ok(ROWS.len())
}

/// Reads the command line.
#[allow(dead_code, reason = "the smoke test calls `run`")]
fn main() {
    let (rounds, repositories) = arguments();
    if repositories.is_empty() {
        eprintln!("name bare repositories: cargo bench --bench serve -- [--rounds N] REPO...");
    }
    for repository in repositories {
        if let Err(why) = run(&fs::canonicalize(repository).expect("the repository"), rounds) {
            println!("skipped: {why}");
        }
    }
}
