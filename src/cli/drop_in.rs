//! `packmule upload-pack DIR`, `receive-pack DIR` and `upload-archive DIR`: in place of git's programs, on standard input and output.
//!
//! Flags, environment, messages and exit codes are git's (`builtin/upload-pack.c`, `builtin/receive-pack.c`,
//! `builtin/upload-archive.c`):
//! `GIT_PROTOCOL` chooses the version, 128 is a fatal error, 129 bad usage.

use super::args::{CommonArgs, ReceivePackArgs, UploadArchiveArgs, UploadPackArgs};
use super::stdio;
use crate::base::Cancel;
use crate::serve::{self, HookOptions, OpenGate, Options, Protocol, Wants};
use crate::store::{self, Discover, Repository, discover, discover_any_owner};
use std::io::{BufReader, BufWriter, Write};
use std::path::Path;
use std::process::ExitCode;

/// How git's programs end on a fatal error.
const FATAL: u8 = 128;
/// Buffer round standard output: what is bigger goes through it without a copy.
const OUTPUT_BYTES: usize = 64 << 10;

/// Serve one fetch.
pub(super) fn upload_pack(args: &UploadPackArgs) -> ExitCode {
    let how = if args.strict { Discover::Strict } else { Discover::Guess };
    // As in git since 2.48: whoever owns the repository, nothing in it is run.
    end(named(&args.common.dir, discover_any_owner(&args.common.dir, how)).and_then(|repository| {
        let options = options(&args.common);
        let cancel = Cancel::new();
        let (input, output) = stdio::open(&cancel, args.timeout).map_err(|error| error.to_string())?;
        let mut output = BufWriter::with_capacity(OUTPUT_BYTES, output);
        // A request is many short lines.
        let outcome = serve::upload_pack(&repository, &OpenGate, &options, BufReader::new(input), &mut output, &cancel).map(drop);
        finish(outcome, output)
    }))
}

/// Take one push.
pub(super) fn receive_pack(args: &ReceivePackArgs) -> ExitCode {
    end(open(&args.common.dir, Discover::Guess).and_then(|repository| {
        let options = Options {
            identity: identity().into(),
            hooks: Some(HookOptions::as_git()),
            quiet: args.quiet,
            skip_connectivity_check: args.skip_connectivity_check,
            reject_thin_pack: args.reject_thin_pack_for_testing,
            place: args.common.dir.as_os_str().as_encoded_bytes().into(),
            ..options(&args.common)
        };
        let cancel = Cancel::new();
        let (input, output) = stdio::open(&cancel, 0).map_err(|error| error.to_string())?;
        let mut output = BufWriter::with_capacity(OUTPUT_BYTES, output);
        let outcome = serve::receive_pack(&repository, &OpenGate, &options, input, &mut output, &cancel).map(drop);
        finish(outcome, output)
    }))
}

/// Send one archive.
pub(super) fn upload_archive(args: &UploadArchiveArgs) -> ExitCode {
    end(open(&args.dir, Discover::Guess).and_then(|repository| {
        let cancel = Cancel::new();
        let (input, output) = stdio::open(&cancel, 0).map_err(|error| error.to_string())?;
        let mut output = BufWriter::with_capacity(OUTPUT_BYTES, output);
        let outcome = serve::upload_archive(&repository, &OpenGate, &Options::default(), input, &mut output, &cancel).map(drop);
        finish(outcome, output)
    }))
}

fn open(dir: &Path, how: Discover) -> Result<Repository, String> {
    named(dir, discover(dir, how))
}

fn named(dir: &Path, found: Result<Repository, store::Error>) -> Result<Repository, String> {
    found.map_err(|error| match error {
        // git names the path as it was given, whatever was tried.
        store::Error::NotARepository(_) => format!("'{}' does not appear to be a git repository", dir.display()),
        error => error.to_string(),
    })
}

fn options(args: &CommonArgs) -> Options {
    let protocol = std::env::var("GIT_PROTOCOL").unwrap_or_default();
    Options {
        protocol: Protocol::from_env(&protocol),
        stateless: args.stateless_rpc,
        advertise_only: args.http_backend_info_refs,
        wants: Wants::Git,
        session_id: Some(session_id()),
        ..Options::default()
    }
}

/// What was written must be out before success is claimed; after a failure the peer may hear the rest or not.
fn finish(outcome: Result<(), serve::Error>, mut output: BufWriter<stdio::Output>) -> Result<(), String> {
    let flushed = output.flush();
    // Dropped with bytes in it, the buffer would try once more and could block.
    let _ = output.into_parts();
    if outcome.is_err() {
        stdio::linger();
    }
    match outcome {
        Ok(()) => flushed.map_err(|error| error.to_string()),
        Err(serve::Error::HungUp) => Err("the remote end hung up unexpectedly".to_owned()),
        Err(error) => Err(error.to_string()),
    }
}

fn end(outcome: Result<(), String>) -> ExitCode {
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            // Standard error may be gone with the peer; the exit code still tells.
            let _ = writeln!(std::io::stderr(), "fatal: {message}");
            FATAL.into()
        }
    }
}

/// Unlike any other session's on this machine (gitprotocol-capabilities, "session-id").
fn session_id() -> String {
    let since_1970 = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    format!("{}-{}", since_1970.as_micros(), std::process::id())
}

/// Whom reflogs name: `GIT_COMMITTER_NAME` and `GIT_COMMITTER_EMAIL`, or the user and the host.
fn identity() -> String {
    let from_env = |names: &[&str]| names.iter().find_map(|name| std::env::var(name).ok().filter(|value| !value.is_empty()));
    let user = from_env(&["USER", "LOGNAME"]).unwrap_or_else(|| "unknown".to_owned());
    let name = from_env(&["GIT_COMMITTER_NAME"]).unwrap_or_else(|| user.clone());
    let mail = from_env(&["GIT_COMMITTER_EMAIL", "EMAIL"]).unwrap_or_else(|| {
        let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_else(|_| "localhost".to_owned());
        format!("{user}@{}", host.trim())
    });
    let clean = |text: &str| text.chars().filter(|char| !char.is_control() && !"<>".contains(*char)).collect::<String>();
    format!("{} <{}>", clean(&name), clean(&mail))
}
