//! Packet lines by hand, for clients that no git plays (gitprotocol-common: "pkt-line Format").

use super::{PACKMULE, Sandbox, run_with_input};
use std::path::Path;
use std::process::{Command, Output};

/// One packet as it came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Pkt {
    /// `0000`.
    Flush,
    /// `0001`.
    Delim,
    /// `0002`.
    ResponseEnd,
    /// Any other, payload as it is.
    Data(Vec<u8>),
}

/// A packet that carries `payload`.
pub fn data(payload: impl AsRef<[u8]>) -> Vec<u8> {
    let payload = payload.as_ref();
    let mut pkt = format!("{:04x}", payload.len() + 4).into_bytes();
    pkt.extend_from_slice(payload);
    pkt
}

/// The packet at the start of `bytes`, which is left behind; `Err` says what stands there instead.
pub fn take(bytes: &mut &[u8]) -> Result<Option<Pkt>, String> {
    if bytes.is_empty() {
        return Ok(None);
    }
    let shown = || String::from_utf8_lossy(&bytes[..bytes.len().min(40)]).into_owned();
    let head = bytes.get(..4).and_then(|head| std::str::from_utf8(head).ok()).ok_or_else(shown)?;
    let len = usize::from_str_radix(head, 16).map_err(|_| shown())?;
    let taken = len.max(4);
    let whole = bytes.get(..taken).ok_or_else(shown)?;
    let pkt = match len {
        0 => Pkt::Flush,
        1 => Pkt::Delim,
        2 => Pkt::ResponseEnd,
        3 => return Err(shown()),
        _ => Pkt::Data(whole[4..].to_vec()),
    };
    *bytes = &bytes[taken..];
    Ok(Some(pkt))
}

/// Who answers packets on standard input and output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Who {
    /// The program under test.
    Packmule,
    /// Stock git, the oracle.
    Git,
}

impl Who {
    /// The program for `service` (`upload-pack`, `receive-pack`) on `repository`, ready to run.
    pub fn command(self, sandbox: &Sandbox, protocol: u8, service: &str, options: &[&str], repository: &Path) -> Command {
        let mut command = sandbox.command(if self == Self::Git { "git" } else { PACKMULE });
        command.arg(service).args(options).arg(repository);
        if protocol > 0 {
            command.env("GIT_PROTOCOL", format!("version={protocol}"));
        }
        command
    }

    /// What comes back for `input`.
    pub fn answer(self, sandbox: &Sandbox, protocol: u8, service: &str, repository: &Path, input: &[u8]) -> Output {
        run_with_input(&mut self.command(sandbox, protocol, service, &[], repository), input)
    }
}
