//! The binary: words from the command line into [`packmule::cli::run`], and its outcome into an exit code.

fn main() -> std::process::ExitCode {
    packmule::cli::run(std::env::args_os())
}
