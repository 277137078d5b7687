//! Words and settings.

use std::ffi::OsString;
use std::process::ExitCode;

/// Run one command line; `args` begin with the program's name.
pub fn run(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let _ = args;
    todo!()
}
