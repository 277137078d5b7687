//! Stock git as a second judge, when `PACKMULE_FUZZ_GIT` is set: slow, so for a whole corpus at once (`-runs=0`).

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

/// Whether git shall judge as well.
pub fn is_wanted() -> bool {
    std::env::var_os("PACKMULE_FUZZ_GIT").is_some()
}

/// What git says on its standard output, if it succeeds; on standard error, if not.
pub fn git(folder: &Path, args: &[&str], input: &[u8]) -> Result<String, String> {
    let mut command = Command::new("git");
    command.args(args).current_dir(folder).env("LC_ALL", "C").stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("git");
    let _ = child.stdin.take().expect("piped").write_all(input); // it may not read all
    let output = child.wait_with_output().expect("waited for");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
    if output.status.success() { Ok(text(&output.stdout)) } else { Err(text(&output.stderr)) }
}
