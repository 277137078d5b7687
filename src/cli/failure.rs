//! Errors into what a person reads: one message, hints that say what to do, and the exit code.

use crate::{store, transport};
use std::path::Path;
use std::process::ExitCode;

/// Exit codes: usage or configuration; input or output.
const CONFIGURATION: u8 = 2;
const INPUT_OUTPUT: u8 = 3;

/// Why a command did not do what it was asked for.
#[derive(Debug)]
pub(super) struct Failure {
    message: String,
    hints: Vec<String>,
    code: u8,
}

impl Failure {
    /// Something in the command line or the configuration is wrong.
    pub(super) fn configuration(message: impl Into<String>) -> Self {
        Self { message: message.into(), hints: Vec::new(), code: CONFIGURATION }
    }

    /// The system did not let us.
    pub(super) fn io(message: impl Into<String>) -> Self {
        Self { message: message.into(), hints: Vec::new(), code: INPUT_OUTPUT }
    }

    /// What to do about it.
    #[must_use]
    pub(super) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hints.push(hint.into());
        self
    }

    /// The folder of repositories cannot be served.
    pub(super) fn root(root: &Path, error: &store::Error) -> Self {
        match error {
            store::Error::InTheWay(what) => Self::io(what.clone()).hint("packmule serve ANOTHER_FOLDER"),
            error => Self::io(format!("cannot serve {}: {error}", root.display())),
        }
    }

    /// The server cannot be started; `root` as the person wrote it.
    pub(super) fn server(error: &transport::Error, root: &Path) -> Self {
        match error {
            transport::Error::Bind { address, source } if source.kind() == std::io::ErrorKind::AddrInUse => {
                let failure = Self::io(format!("{address} is in use"));
                match next_port(address) {
                    Some(next) => failure.hint(format!("packmule serve --ssh {next} {}", root.display())),
                    None => failure,
                }
            }
            transport::Error::Bind { source, .. } if source.kind() == std::io::ErrorKind::PermissionDenied => {
                Self::io(error.to_string()).hint("ports below 1024 need a right of their own; try --ssh 127.0.0.1:2222")
            }
            transport::Error::Bind { address, source } if source.kind() == std::io::ErrorKind::InvalidInput => {
                Self::configuration(format!("'{address}' is no address to listen on: {source}")).hint("--ssh 127.0.0.1:2222")
            }
            transport::Error::HostKey { .. } => Self::configuration(error.to_string()),
            _ => Self::io(error.to_string()),
        }
    }

    /// Print it and give the exit code.
    pub(super) fn tell(self) -> ExitCode {
        eprint!("{self}");
        self.code.into()
    }
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        writeln!(f, "error: {}", self.message)?;
        self.hints.iter().try_for_each(|hint| writeln!(f, "hint: {hint}"))
    }
}

fn next_port(address: &str) -> Option<String> {
    let (host, port) = address.rsplit_once(':')?;
    let next = port.parse::<u16>().ok()?.checked_add(1)?;
    Some(format!("{host}:{next}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_in_use_names_the_next_one() {
        let error = transport::Error::Bind { address: "127.0.0.1:2222".to_owned(), source: std::io::ErrorKind::AddrInUse.into() };
        let failure = Failure::server(&error, Path::new("repos"));
        assert_eq!(failure.to_string(), "error: 127.0.0.1:2222 is in use\nhint: packmule serve --ssh 127.0.0.1:2223 repos\n");
        assert_eq!(next_port("[::1]:65535"), None);
        assert_eq!(next_port("[::1]:22").as_deref(), Some("[::1]:23"));
    }
}
