//! Stock git as the oracle of this floor's tests: fixed names and dates, no configuration of the machine's or the user's.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

/// A command of stock git within `dir`.
pub(super) fn git_command(dir: &Path, args: &[&str]) -> Command {
    let mut command = Command::new("git");
    command.current_dir(dir).args(["-c", "init.defaultBranch=main", "-c", "gc.auto=0"]).args(args);
    for (name, value) in [
        ("GIT_CONFIG_NOSYSTEM", "1"),
        ("GIT_CONFIG_GLOBAL", "/dev/null"),
        ("GIT_AUTHOR_NAME", "A U Thor"),
        ("GIT_AUTHOR_EMAIL", "author@example.com"),
        ("GIT_AUTHOR_DATE", "1000000000 +0000"),
        ("GIT_COMMITTER_NAME", "C O Mitter"),
        ("GIT_COMMITTER_EMAIL", "committer@example.com"),
        ("GIT_COMMITTER_DATE", "1000000000 +0000"),
    ] {
        command.env(name, value);
    }
    command
}

/// What a command of stock git prints; it must succeed.
pub(super) fn git(dir: &Path, args: &[&str]) -> String {
    git_with_input(dir, args, "")
}

/// As [`git`], with `input` on its standard input.
pub(super) fn git_with_input(dir: &Path, args: &[&str], input: &str) -> String {
    let mut child = git_command(dir, args).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "git {args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// `git init` at `path`.
pub(super) fn init(path: &Path, args: &[&str]) {
    std::fs::create_dir_all(path).unwrap();
    git(path, &[&["init", "-q"], args].concat());
}
