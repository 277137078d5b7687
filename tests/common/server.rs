//! A running `packmule serve` on a port of its own, and an SSH client that knows its host key and has a key to show.

use super::{PACKMULE, Sandbox, run};
use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// How long a server may take to say where it listens, and to stop.
const PATIENCE: Duration = Duration::from_secs(20);

/// One server; stopped when it goes out of scope.
pub struct Server {
    child: Child,
    said: Arc<Mutex<String>>,
    /// The port it listens on.
    pub port: u16,
    /// Its root folder.
    pub root: PathBuf,
    ssh_config: PathBuf,
}

/// The program of OpenSSH's client side is here; said aloud when it is not.
pub fn has_ssh() -> bool {
    let found = Command::new("ssh").arg("-V").stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok();
    if !found {
        super::skipped("no OpenSSH client here");
    }
    found
}

/// Make the key pair `name` in the folder of keys and return the private key's path.
pub fn make_key(sandbox: &Sandbox, path: &Path, kind: &[&str]) -> PathBuf {
    std::fs::create_dir_all(path.parent().expect("a folder for keys")).expect("a folder for keys");
    let mut command = sandbox.command("ssh-keygen");
    command.args(["-q", "-N", "", "-C", "ann@laptop", "-f"]).arg(path).arg("-t").args(kind);
    let output = run(&mut command);
    assert!(output.status.success(), "{}", super::report(&command, &output));
    path.to_owned()
}

impl Server {
    /// Serve `served/` of the sandbox to the key `~/.ssh/id_ed25519`, which is made.
    #[track_caller]
    pub fn start(sandbox: &Sandbox) -> Self {
        Self::start_with(sandbox, &[] as &[&str])
    }

    /// Likewise, with more words on the command line.
    #[track_caller]
    pub fn start_with<S: AsRef<OsStr>>(sandbox: &Sandbox, more: &[S]) -> Self {
        let root = sandbox.path("served");
        let mut command = sandbox.command(PACKMULE);
        command.arg("serve").arg(&root).args(["--ssh", "127.0.0.1:0"]).args(more);
        Self::start_command(sandbox, command, root)
    }

    /// Run `command`, which serves `root`, until it says where.
    #[track_caller]
    pub fn start_command(sandbox: &Sandbox, mut command: Command, root: PathBuf) -> Self {
        let key = sandbox.home().join(".ssh/id_ed25519");
        if !key.exists() {
            make_key(sandbox, &key, &["ed25519"]);
        }
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the server starts");
        let said = Arc::new(Mutex::new(String::new()));
        listen(child.stdout.take().expect("piped"), &said);
        listen(child.stderr.take().expect("piped"), &said);
        let port = port_from(&mut child, &said);
        let ssh_config = write_ssh_config(sandbox, port, &key);
        Self { child, said, port, root, ssh_config }
    }

    /// The address of the repository `name`.
    pub fn url(&self, name: &str) -> String {
        format!("ssh://127.0.0.1:{}/{name}", self.port)
    }

    /// The words that start the SSH client for git.
    pub fn ssh_command(&self) -> String {
        format!("ssh -F {}", self.ssh_config.display())
    }

    /// `ssh mule WORDS`: the server goes by the name of `mule` in the client's configuration.
    pub fn ssh(&self, sandbox: &Sandbox, words: &[&str]) -> Command {
        let mut command = sandbox.command("ssh");
        command.arg("-F").arg(&self.ssh_config).arg("mule").args(words);
        command
    }

    /// All that it has printed so far.
    pub fn said(&self) -> String {
        self.said.lock().expect("no listener panics").clone()
    }

    /// Wait until it has printed `words`.
    #[track_caller]
    pub fn wait_for(&self, words: &str) {
        let begun = Instant::now();
        while !self.said().contains(words) {
            assert!(begun.elapsed() < PATIENCE, "the server never said {words:?}:\n{}", self.said());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Send it a signal by name (`TERM`, `HUP`, `INT`).
    pub fn signal(&self, name: &str) {
        let sent = Command::new("kill").arg(format!("-{name}")).arg(self.pid().to_string()).status().expect("kill runs");
        assert!(sent.success(), "kill -{name} {}", self.pid());
    }

    /// Wait until it has ended by itself.
    #[track_caller]
    pub fn wait(&mut self) -> ExitStatus {
        let begun = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().expect("a child of ours") {
                return status;
            }
            assert!(begun.elapsed() < PATIENCE, "the server does not stop:\n{}", self.said());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Whether it still runs.
    pub fn runs(&mut self) -> bool {
        self.child.try_wait().expect("a child of ours").is_none()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("--- the server said:\n{}", self.said());
        }
    }
}

/// Keep what comes out of `pipe`.
fn listen(pipe: impl Read + Send + 'static, said: &Arc<Mutex<String>>) {
    let said = said.clone();
    std::thread::spawn(move || {
        for line in BufReader::new(pipe).split(b'\n').map_while(Result::ok) {
            let mut said = said.lock().expect("no listener panics");
            said.push_str(&String::from_utf8_lossy(&line));
            said.push('\n');
        }
    });
}

/// The port behind `ssh://127.0.0.1:` in what the server prints at its start.
#[track_caller]
fn port_from(child: &mut Child, said: &Mutex<String>) -> u16 {
    let begun = Instant::now();
    loop {
        let text = said.lock().expect("no listener panics").clone();
        let line = text.split_once("ssh://127.0.0.1:").map(|(_, rest)| rest).filter(|rest| rest.contains('\n'));
        if let Some(port) = line.and_then(|rest| rest.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()) {
            return port;
        }
        let ended = child.try_wait().expect("a child of ours");
        assert!(ended.is_none() && begun.elapsed() < PATIENCE, "the server does not say where it listens ({ended:?}):\n{text}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Configuration of an SSH client with one key, which takes the host key at first sight.
pub fn write_ssh_config(sandbox: &Sandbox, port: u16, key: &Path) -> PathBuf {
    let path = sandbox.path(format!("ssh_config_{port}"));
    let known_hosts = sandbox.path(format!("known_hosts_{port}"));
    let text = format!(
        "Host mule\n  HostName 127.0.0.1\n  Port {port}\nHost *\n  User git\n  IdentityFile {}\n  IdentitiesOnly yes\n  IdentityAgent none\n  \
         UserKnownHostsFile {}\n  StrictHostKeyChecking accept-new\n  BatchMode yes\n  LogLevel ERROR\n",
        key.display(),
        known_hosts.display()
    );
    std::fs::write(&path, text).expect("a writable sandbox");
    path
}
