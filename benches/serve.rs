//! What fetches over SSH cost the server, `packmule serve` beside OpenSSH's sshd with stock git: the README's second table.
//!
//! `cargo bench --bench serve -- [--rounds N] REPO...` where REPO is a bare repository with SHA-1, plain or with bitmaps; it is
//! copied with hard links where it can. Both sides get the same bytes from `ssh` in turn (A B A B …); counted is the CPU of the
//! daemon and of all that it starts, as `/proc/PID/stat` says; figures are medians. Every row begins with a server that has just
//! started ("first"), and is asked again ("again"): packmule keeps answers from one fetch to the next, git does not.
//! Limits: a clock tick (10 ms) is the finest step. A row with one ref hidden is left out: `serve` has no setting for it yet.

mod measure;

use measure::{PACKMULE, Request, arguments, family, git, median, quiet, requests};
use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// How long a server may take to listen, and to come to rest after its last client.
const PATIENCE: Duration = Duration::from_secs(20);
/// A server whose CPU stood still for so long is at rest.
const REST: Duration = Duration::from_millis(150);

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

/// A server of either side; stopped when it goes out of scope.
struct Server {
    child: Child,
    port: u16,
    /// How the repository is named over SSH.
    path: String,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Stage {
    fn new(repository: &Path) -> Self {
        // Beside the target folder's files, where hard links are likelier than in the system's folder for temporary files.
        let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a folder");
        let name = "bench.git".to_owned();
        let root = folder.path().join("root");
        fs::create_dir(&root).expect("a folder");
        git(&root, &["clone", "-q", "--mirror", "--local", &repository.to_string_lossy(), &name]);
        for key in ["host", "key"] {
            let made = Command::new("ssh-keygen").args(["-q", "-N", "", "-t", "ed25519", "-f"]).arg(folder.path().join(key)).status();
            assert!(made.is_ok_and(|status| status.success()), "ssh-keygen makes a key");
        }
        Self { folder, name }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// `packmule serve`, its caches empty.
    fn packmule(&self) -> Server {
        let mut command = Command::new(PACKMULE);
        command
            .arg("serve")
            .arg(self.path("root"))
            .args(["--ssh", "127.0.0.1:0", "--log", "error", "--admin-key"])
            .arg(self.path("key.pub"));
        let mut child = quiet(&mut command).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("packmule starts");
        let mut said = BufReader::new(child.stdout.take().expect("piped"));
        let mut line = String::new();
        let port = loop {
            line.clear();
            assert!(said.read_line(&mut line).expect("a pipe") > 0, "packmule says where it listens");
            if let Some((_, rest)) = line.split_once("ssh://127.0.0.1:") {
                break rest.split(|c: char| !c.is_ascii_digit()).next().and_then(|port| port.parse().ok()).expect("a port");
            }
        };
        // It goes on talking: what nobody reads must not stop it.
        std::thread::spawn(move || std::io::copy(&mut said, &mut std::io::sink()));
        Server { child, port, path: self.name.clone() }
    }

    /// OpenSSH's daemon, which starts git.
    fn sshd(&self, program: &Path) -> Option<Server> {
        let port = TcpListener::bind("127.0.0.1:0").and_then(|socket| socket.local_addr()).expect("a free port").port();
        let text = format!(
            "Port {port}\nListenAddress 127.0.0.1\nHostKey {}\nAuthorizedKeysFile {}\nStrictModes no\nPasswordAuthentication no\n\
             PidFile none\nUsePAM no\nPermitRootLogin yes\nAcceptEnv GIT_PROTOCOL\nLogLevel ERROR\nMaxStartups 200\n",
            self.path("host").display(),
            self.path("key.pub").display()
        );
        fs::write(self.path("sshd_config"), text).expect("room");
        let mut command = Command::new(program);
        command.args(["-D", "-e", "-f"]).arg(self.path("sshd_config")).stdin(Stdio::null()).stderr(Stdio::null());
        let child = quiet(&mut command).spawn().ok()?;
        let path = self.path("root").join(&self.name).to_string_lossy().into_owned();
        let mut server = Server { child, port, path };
        let begun = Instant::now();
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            if begun.elapsed() > PATIENCE || server.child.try_wait().is_ok_and(|ended| ended.is_some()) {
                return None;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Some(server)
    }

    /// One session; the bytes of its answer.
    fn session(&self, server: &Server, request: &Request) -> u64 {
        let input = self.path(&format!("request-{}", request.name.replace([' ', ','], "-")));
        let mut command = Command::new("ssh");
        command.args(["-F", "none", "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null", "-o", "LogLevel=ERROR"]);
        command.args(["-o", "IdentitiesOnly=yes", "-o", "IdentityAgent=none", "-o", "BatchMode=yes", "-o", "SendEnv=GIT_PROTOCOL", "-i"]);
        command.arg(self.path("key")).args(["-p", &server.port.to_string(), "127.0.0.1"]);
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
        assert!(status.success() && bytes > 0, "'{}' on port {}: {status}, {bytes} bytes", request.name, server.port);
        assert_eq!(pack, request.has_pack, "'{}' on port {}: a pack, or none, was expected", request.name, server.port);
        bytes
    }

    /// All sessions of a row: CPU seconds of the server as the row shows them, and the bytes of one answer.
    fn cost(&self, server: &Server, row: &Row, request: &Request) -> (f64, u64) {
        let begun = at_rest(server.child.id());
        let bytes = if row.at_once {
            std::thread::scope(|scope| {
                let sessions: Vec<_> = (0..row.sessions).map(|_| scope.spawn(|| self.session(server, request))).collect();
                sessions.into_iter().map(|session| session.join().expect("a session comes to its end")).max()
            })
        } else {
            (0..row.sessions).map(|_| self.session(server, request)).max()
        };
        let spent = at_rest(server.child.id()) - begun;
        (spent * row.shown as f64 / row.sessions as f64, bytes.unwrap_or(0))
    }
}

/// User and system seconds of a process, of what it has started and, as far as it waited for them, of their children.
fn cpu_s(process: u32) -> f64 {
    let ticks: u64 = family(process)
        .into_iter()
        .map(|id| {
            let text = fs::read_to_string(format!("/proc/{id}/stat")).unwrap_or_default();
            // utime, stime, cutime and cstime: the 14th to 17th word; the second, a name in brackets, may hold blanks.
            let rest = text.rsplit_once(')').map_or("", |(_, rest)| rest);
            rest.split_whitespace().skip(11).take(4).filter_map(|word| word.parse::<u64>().ok()).sum::<u64>()
        })
        .sum();
    ticks as f64 / 100.0
}

/// What `process` has spent, once it has no child left and spends no more.
fn at_rest(process: u32) -> f64 {
    let begun = Instant::now();
    let mut spent = cpu_s(process);
    loop {
        std::thread::sleep(REST);
        let now = cpu_s(process);
        if now == spent && family(process).len() == 1 {
            return now;
        }
        assert!(begun.elapsed() < PATIENCE, "process {process} comes to no rest");
        spent = now;
    }
}

/// Where sshd lies and that the machine counts as `cpu_s` expects; else why there is nothing to measure.
fn sshd_program() -> Result<PathBuf, &'static str> {
    let ticks = Command::new("getconf").arg("CLK_TCK").output().map_err(|_| "no getconf here")?;
    if ticks.stdout.trim_ascii() != b"100" {
        return Err("clock ticks are not 10 ms here");
    }
    let folders = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&folders).chain(["/usr/sbin".into(), "/sbin".into()]).map(|folder| folder.join("sshd"));
    let executable = |path: &PathBuf| path.metadata().is_ok_and(|data| data.is_file() && data.permissions().mode() & 0o111 != 0);
    found.into_iter().find(executable).ok_or("no sshd here")
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
