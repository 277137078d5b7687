//! What the end-to-end tests share: a sandbox for real git, seeded histories, servers to talk to, and checks on what came out.
//!
//! Every test has its own folder, its own home and fixed dates; no configuration of the user or the system counts.
#![allow(dead_code, reason = "every test binary uses a part")]

pub mod check;
pub mod exact;
pub mod fixture;
pub mod pkt;
pub mod remote;
pub mod scenario;
pub mod server;
pub mod zlib;

use std::ffi::OsStr;
use std::fmt::Write as _;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

/// The program under test.
pub const PACKMULE: &str = env!("CARGO_BIN_EXE_packmule");
/// The hash kinds of repositories, in git's words.
pub const HASHES: [&str; 2] = ["sha1", "sha256"];

/// One way to talk: the hash kind of both repositories, and the protocol version that the client asks for.
#[derive(Clone, Copy, Debug)]
pub struct Case {
    /// `sha1` or `sha256`.
    pub hash: &'static str,
    /// 0, 1 or 2.
    pub protocol: u8,
}

/// Run `test` for both hash kinds and all protocol versions; the case at fault is the last one printed.
pub fn each_case(test: impl Fn(Case)) {
    for hash in HASHES {
        for protocol in [2, 0, 1] {
            run_case(Case { hash, protocol }, &test);
        }
    }
}

/// Run `test` for both hash kinds, with two protocol versions: for what does not depend on the words.
pub fn few_cases(test: impl Fn(Case)) {
    run_case(Case { hash: "sha1", protocol: 2 }, &test);
    run_case(Case { hash: "sha256", protocol: 0 }, &test);
}

fn run_case(case: Case, test: &impl Fn(Case)) {
    eprintln!("-- {case:?}");
    test(case);
}

/// A folder of one test, with a home of its own.
pub struct Sandbox {
    folder: tempfile::TempDir,
}

impl Default for Sandbox {
    fn default() -> Self {
        Self::new()
    }
}

impl Sandbox {
    /// An empty one.
    pub fn new() -> Self {
        let folder = tempfile::Builder::new().prefix("packmule-test-").tempdir().expect("a temporary folder");
        std::fs::create_dir(folder.path().join("home")).expect("a home");
        Self { folder }
    }

    /// The path of `name` in it.
    pub fn path(&self, name: impl AsRef<Path>) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The home folder.
    pub fn home(&self) -> PathBuf {
        self.path("home")
    }

    /// A program with nothing in its environment but what makes runs repeatable.
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new(program);
        command.env_clear().current_dir(self.folder.path()).stdin(Stdio::null());
        command.env("PATH", std::env::var_os("PATH").unwrap_or_default()).env("HOME", self.home()).env("LC_ALL", "C").env("TZ", "UTC");
        command.env("GIT_CONFIG_NOSYSTEM", "1").env("GIT_CONFIG_GLOBAL", "/dev/null").env("GIT_TERMINAL_PROMPT", "0");
        for who in ["AUTHOR", "COMMITTER"] {
            command.env(format!("GIT_{who}_NAME"), "A U Thor").env(format!("GIT_{who}_EMAIL"), "author@example.com");
            command.env(format!("GIT_{who}_DATE"), "1700000000 +0000");
        }
        let settings = [("gc.auto", "0"), ("maintenance.auto", "false"), ("advice.defaultBranchName", "false")];
        command.env("GIT_CONFIG_COUNT", settings.len().to_string());
        for (n, (key, value)) in settings.iter().enumerate() {
            command.env(format!("GIT_CONFIG_KEY_{n}"), key).env(format!("GIT_CONFIG_VALUE_{n}"), value);
        }
        command
    }

    /// `git ARGS` in `folder`, ready to run.
    pub fn git_command<S: AsRef<OsStr>>(&self, folder: &Path, args: impl IntoIterator<Item = S>) -> Command {
        let mut command = self.command("git");
        command.current_dir(folder).args(args);
        command
    }

    /// What `git ARGS` in `folder` prints, without the last line end; it must succeed.
    #[track_caller]
    pub fn git<S: AsRef<OsStr>>(&self, folder: &Path, args: impl IntoIterator<Item = S>) -> String {
        let mut command = self.git_command(folder, args);
        let output = run(&mut command);
        assert!(output.status.success(), "{}", report(&command, &output));
        String::from_utf8_lossy(&output.stdout).trim_end_matches('\n').to_owned()
    }

    /// What `git ARGS` in `folder` prints when `input` stands on its standard input; it must succeed.
    #[track_caller]
    pub fn git_with_input<S: AsRef<OsStr>>(&self, folder: &Path, args: impl IntoIterator<Item = S>, input: &[u8]) -> String {
        let mut command = self.git_command(folder, args);
        let output = run_with_input(&mut command, input);
        assert!(output.status.success(), "{}", report(&command, &output));
        String::from_utf8_lossy(&output.stdout).trim_end_matches('\n').to_owned()
    }

    /// An empty bare repository at `name`.
    #[track_caller]
    pub fn bare(&self, name: impl AsRef<Path>, hash: &str) -> PathBuf {
        let path = self.path(name);
        std::fs::create_dir_all(&path).expect("a folder");
        self.git(&path, ["init", "-q", "--bare", "-b", "main", "--object-format", hash]);
        path
    }

    /// A copy of the folder `from` at `name`.
    pub fn copy(&self, from: &Path, name: &str) -> PathBuf {
        let to = self.path(name);
        let copied = Command::new("cp").arg("-a").arg(from).arg(&to).status().expect("cp runs");
        assert!(copied.success(), "cp -a {} {}", from.display(), to.display());
        to
    }
}

/// Run to the end.
#[track_caller]
pub fn run(command: &mut Command) -> Output {
    command.output().unwrap_or_else(|err| panic!("{command:?} does not start: {err}"))
}

/// Run to the end with `input` on standard input; a program that stops reading early is no fault here.
#[track_caller]
pub fn run_with_input(command: &mut Command, input: &[u8]) -> Output {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap_or_else(|err| panic!("{command:?} does not start: {err}"));
    let mut stdin = child.stdin.take().expect("piped");
    std::thread::scope(|scope| {
        scope.spawn(move || {
            let _ = stdin.write_all(input);
        });
        child.wait_with_output().expect("a child that can be waited for")
    })
}

/// What ran and what it said, for a failed assertion.
pub fn report(command: &Command, output: &Output) -> String {
    let mut text = format!("{command:?}\n{}\n", output.status);
    for (name, bytes) in [("stdout", &output.stdout), ("stderr", &output.stderr)] {
        let shown = &bytes[..bytes.len().min(4000)];
        let _ = writeln!(text, "--- {name}, {} bytes\n{}", bytes.len(), String::from_utf8_lossy(shown));
    }
    text
}

/// A program of this text at `path`, its folders included. Another process writes it: what a test beside this one starts
/// would hold the file open for a moment, and a file that somebody may write is not run (execve(2), "ETXTBSY").
pub fn write_program(path: &Path, text: &str) {
    std::fs::create_dir_all(path.parent().expect("a folder above")).expect("a folder");
    let mut write = Command::new("sh");
    write.args(["-c", "printf %s \"$1\" >\"$2\" && chmod 755 \"$2\"", "sh", text]).arg(path);
    assert!(write.status().expect("a shell").success(), "{}", path.display());
}

/// Say why a test does nothing; past the test harness, which would swallow it.
pub fn skipped(why: &str) {
    let _ = writeln!(std::io::stderr(), "skipped: {why}");
}

/// The folder of test tools with the corpora; `None`, said aloud, when there is none.
pub fn test_tools() -> Option<PathBuf> {
    let tools = std::env::var_os("PACKMULE_TEST_TOOLS").map(PathBuf::from).filter(|tools| tools.join("corpora").is_dir());
    if tools.is_none() {
        skipped("PACKMULE_TEST_TOOLS names no folder with corpora");
    }
    tools
}

/// Takes so many bytes, then is gone.
pub struct Vanishing(pub usize);

impl std::io::Write for Vanishing {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let taken = bytes.len().min(self.0);
        self.0 -= taken;
        if taken == 0 && !bytes.is_empty() { Err(std::io::ErrorKind::BrokenPipe.into()) } else { Ok(taken) }
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
