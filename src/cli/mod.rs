//! Words and settings: commands, `config.toml`, errors for people, logs.
//!
//! | file | turns what into what |
//! |---|---|
//! | `args` | the command line into values |
//! | `config` | `config.toml` into values, mistakes drawn with a caret |
//! | `failure` | errors into message, hints and exit code |
//! | `admin_keys` | files with public keys into people who may do everything |
//! | `drivers` | `driver = ...` into who decides, in a row |
//! | `watch` | files that change into new readings |
//! | `rules` | users, groups and rules of `config.toml` into a book of them; `check`, `why` |
//! | `assertions` | `[[test]]` beside the rules into what fails: `rules test` |
//! | `edit` | `keys`, `grant`, `revoke`, `users`: changes of `config.toml` that keep its comments |
//! | `init` | the keys of whoever calls it into a first `config.toml` |
//! | `import` | configurations of older servers into a `config.toml` |
//! | `log` | what happens into lines: the log, and the audit log as text or JSON |
//! | `serve` | `packmule serve` into a running server |
//! | `drop_in` | `packmule upload-pack`, `receive-pack` and `upload-archive` into git's programs |
//! | `stdio` | standard input and output into a peer that can hang up |

mod admin_keys;
mod args;
mod assertions;
mod config;
mod drivers;
mod drop_in;
mod edit;
mod failure;
mod import;
mod init;
mod log;
mod rules;
mod serve;
mod stdio;
mod watch;

pub use assertions::WrittenTest;
pub use config::{Config, Hash, PushConfig, SshConfig};
pub use drivers::{DriverName, Drivers, FilesConfig};

use args::{Args, Command};
use clap::Parser;
use edit::args::{RulesArgs, RulesCommand};
use std::ffi::OsString;
use std::io::Write as _;
use std::path::Path;
use std::process::ExitCode;

/// How git's programs end on bad usage (`usage.c`).
const GIT_USAGE: u8 = 129;
const USAGE: u8 = 2;
const REFUSED: u8 = 1;

/// Run one command line; `args` begin with the program's name.
///
/// Under the name `git-upload-pack`, `git-receive-pack` or `git-upload-archive` (a link to this binary) it is that program.
pub fn run(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let mut words: Vec<OsString> = args.into_iter().collect();
    let called = words.first().and_then(|name| Path::new(name).file_name()).and_then(|name| name.to_str());
    if let Some(service @ ("git-upload-pack" | "git-receive-pack" | "git-upload-archive")) = called {
        let service = OsString::from(&service["git-".len()..]);
        words.insert(1, service);
    }
    let drop_in = words.get(1).is_some_and(|word| word == "upload-pack" || word == "receive-pack" || word == "upload-archive");
    let asks_usage = drop_in && words.iter().any(|word| word == "-h");
    let args = match Args::try_parse_from(words) {
        Ok(args) => args,
        Err(error) => {
            // Where help or the error cannot be printed there is nobody to tell.
            let _ = error.print();
            let usage = if drop_in { GIT_USAGE } else { USAGE };
            // git's programs count `-h` as bad usage too.
            return if asks_usage || error.use_stderr() { usage.into() } else { ExitCode::SUCCESS };
        }
    };
    match args.command {
        Command::Serve(args) => match serve::run(&args) {
            Ok(code) => code,
            Err(failure) => failure.tell(),
        },
        Command::Init(args) => told(init::run(&args).map(|text| (text, true))),
        Command::Check(args) => told(rules::check(&args.config).map(|text| (text, true))),
        Command::Why(args) => told(rules::why(&args)),
        Command::Keys(args) => told(edit::keys::run(&args).map(|text| (text, true))),
        Command::Grant(args) => told(edit::grant::grant(&args).map(|text| (text, true))),
        Command::Revoke(args) => told(edit::grant::revoke(&args).map(|text| (text, true))),
        Command::Rules(RulesArgs { config, command: RulesCommand::Test }) => told(assertions::run(&config)),
        Command::Users(args) => told(edit::users::run(&args).map(|text| (text, true))),
        Command::Import(import) => match import::run(&import) {
            Ok(import::Told { out, err, is_fine }) => {
                // As for `told`.
                let _ = std::io::stderr().write_all(err.as_bytes()).and_then(|()| std::io::stdout().write_all(out.as_bytes()));
                if is_fine { ExitCode::SUCCESS } else { REFUSED.into() }
            }
            Err(failure) => failure.tell(),
        },
        Command::UploadPack(args) => drop_in::upload_pack(&args),
        Command::ReceivePack(args) => drop_in::receive_pack(&args),
        Command::UploadArchive(args) => drop_in::upload_archive(&args),
    }
}

/// Print the answer; one that is a no ends like a refusal.
fn told(answer: Result<(String, bool), failure::Failure>) -> ExitCode {
    match answer {
        Ok((text, is_yes)) => {
            // A closed standard output changes no answer.
            let _ = std::io::stdout().write_all(text.as_bytes());
            if is_yes { ExitCode::SUCCESS } else { REFUSED.into() }
        }
        Err(failure) => failure.tell(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gits_programs_end_on_a_question_for_usage_as_gits_do() {
        let code = |line: &str| format!("{:?}", run(line.split(' ').map(OsString::from)));
        let (usage, fine) = (format!("{:?}", ExitCode::from(GIT_USAGE)), format!("{:?}", ExitCode::SUCCESS));
        assert_eq!(code("packmule upload-pack -h"), usage);
        assert_eq!(code("git-receive-pack -h"), usage);
        assert_eq!(code("packmule serve -h"), fine);
    }
}
