//! `packmule serve` and OpenSSH's sshd over one folder, each on a free port of 127.0.0.1, and the CPU that they spend.
//!
//! In the folder lie `root` with the repositories, the keys that [`make_keys`] makes, and an empty home for what sshd starts. CPU is what `/proc/PID/stat` says of a daemon and
//! of all that it starts. Limits: a clock tick (10 ms) is the finest step.

use super::{family, quiet};
use std::fs;
use std::io::{BufRead, BufReader};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// How long a daemon may take to listen, and to come to rest after its last client.
const PATIENCE: Duration = Duration::from_secs(30);
/// A daemon whose CPU stood still for so long is at rest.
const REST: Duration = Duration::from_millis(150);

/// A daemon of either side; stopped when it goes out of scope.
pub struct Daemon {
    child: Child,
    /// Where it listens.
    pub port: u16,
}

impl Daemon {
    /// Its process, or that of the program which it was started through.
    pub fn id(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // Through another program (strace) the daemon itself is a child's child: the youngest first. No milder signal: strace
        // would have to hand it on, and is gone before it has.
        for id in family(self.child.id()).into_iter().skip(1).rev() {
            let _ = Command::new("kill").args(["-KILL", &id.to_string()]).stderr(Stdio::null()).status();
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The host's key and the client's.
pub fn make_keys(folder: &Path) {
    for key in ["host", "key"] {
        let made = Command::new("ssh-keygen").args(["-q", "-N", "", "-t", "ed25519", "-f"]).arg(folder.join(key)).status();
        assert!(made.is_ok_and(|status| status.success()), "ssh-keygen makes a key");
    }
}

/// `program` by itself, or through the words of `through`, which run it.
fn command(through: &[String], program: &Path) -> Command {
    let Some((first, rest)) = through.split_first() else { return Command::new(program) };
    let mut command = Command::new(first);
    command.args(rest).arg(program);
    command
}

/// `packmule serve`, its caches empty.
pub fn packmule(folder: &Path, through: &[String]) -> Daemon {
    let mut command = command(through, Path::new(&super::packmule()));
    command
        .arg("serve")
        .arg(folder.join("root"))
        .args(["--ssh", "127.0.0.1:0", "--log", "error", "--admin-key"])
        .arg(folder.join("key.pub"));
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
    Daemon { child, port }
}

/// OpenSSH's daemon, which starts git; none where it does not come up.
pub fn sshd(folder: &Path, program: &Path, through: &[String]) -> Option<Daemon> {
    // What a user's shell does when it starts is no cost of git's.
    let home = folder.join("home");
    fs::create_dir_all(&home).expect("a folder");
    let port = TcpListener::bind("127.0.0.1:0").and_then(|socket| socket.local_addr()).expect("a free port").port();
    let text = format!(
        "Port {port}\nListenAddress 127.0.0.1\nHostKey {}\nAuthorizedKeysFile {}\nStrictModes no\nPasswordAuthentication no\n\
         PidFile none\nUsePAM no\nPermitRootLogin yes\nAcceptEnv GIT_PROTOCOL\nLogLevel ERROR\nMaxStartups 200\nSetEnv HOME={}\n",
        folder.join("host").display(),
        folder.join("key.pub").display(),
        home.display()
    );
    let settings = folder.join("sshd_config");
    fs::write(&settings, text).expect("room");
    let mut command = command(through, program);
    command.args(["-D", "-e", "-f"]).arg(settings).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let child = quiet(&mut command).spawn().ok()?;
    let mut daemon = Daemon { child, port };
    let begun = Instant::now();
    while TcpStream::connect(("127.0.0.1", port)).is_err() {
        if begun.elapsed() > PATIENCE || daemon.child.try_wait().is_ok_and(|ended| ended.is_some()) {
            return None;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    Some(daemon)
}

/// User and system seconds of a process, of what it has started and, as far as it waited for them, of their children.
pub fn cpu_s(process: u32) -> f64 {
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

/// What `process` has spent, once it spends no more, whether children of it wait or not.
pub fn settled(process: u32) -> f64 {
    let begun = Instant::now();
    let mut spent = cpu_s(process);
    loop {
        std::thread::sleep(REST);
        let now = cpu_s(process);
        if now == spent {
            return now;
        }
        assert!(begun.elapsed() < PATIENCE, "process {process} comes to no rest");
        spent = now;
    }
}

/// What `process` has spent, once it has no child left and spends no more.
pub fn at_rest(process: u32) -> f64 {
    let begun = Instant::now();
    loop {
        let spent = settled(process);
        if family(process).len() == 1 {
            return spent;
        }
        assert!(begun.elapsed() < PATIENCE, "process {process} keeps children");
    }
}

/// Where sshd lies and that the machine counts as [`cpu_s`] expects; else why there is nothing to measure.
pub fn sshd_program() -> Result<PathBuf, &'static str> {
    let ticks = Command::new("getconf").arg("CLK_TCK").output().map_err(|_| "no getconf here")?;
    if ticks.stdout.trim_ascii() != b"100" {
        return Err("clock ticks are not 10 ms here");
    }
    program("sshd").ok_or("no sshd here")
}

/// Where a program of this name lies.
pub fn program(name: &str) -> Option<PathBuf> {
    let folders = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&folders).chain(["/usr/sbin".into(), "/sbin".into()]).map(|folder| folder.join(name));
    let executable = |path: &PathBuf| path.metadata().is_ok_and(|data| data.is_file() && data.permissions().mode() & 0o111 != 0);
    found.into_iter().find(executable)
}
