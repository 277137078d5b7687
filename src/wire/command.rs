//! The head of a version 2 request into [`CommandHead`]: which command, and what the client says of itself.
//!
//! Source: gitprotocol-v2, "Command Request". The arguments of the command follow behind a delim packet and are
//! read by the command's own file, up to the flush that ends the request.

use super::{Error, Pkt, PktReader};
use crate::base::limits::OPTION_BYTES_MAX;
use bstr::{BStr, BString, ByteSlice};
use std::io::Read;

/// What comes before a command's arguments.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CommandHead {
    /// The value of `command=`.
    pub name: BString,
    /// The other lines, in order: name, and value where there is a `=`. Whether they were offered is not looked at here.
    pub capabilities: Vec<(BString, Option<BString>)>,
    /// Arguments follow.
    pub has_arguments: bool,
}

impl CommandHead {
    /// The last value of the capability `name`; `Some(None)` where it stands there without one.
    pub fn value(&self, name: &str) -> Option<Option<&BStr>> {
        let found = self.capabilities.iter().rev().find(|(known, _)| known == name);
        found.map(|(_, value)| value.as_ref().map(|value| value.as_bstr()))
    }
}

/// Read one head; `Ok(None)` when the client has closed its side or ended with a flush: it wants nothing more.
pub fn read_command<R: Read>(reader: &mut PktReader<R>) -> Result<Option<CommandHead>, Error> {
    let mut head = CommandHead::default();
    let (mut lines, mut option_bytes) = (0usize, 0usize);
    loop {
        let pkt = match reader.read()? {
            None if lines == 0 => return Ok(None),
            None => return Err(Error::HungUp),
            Some(Pkt::Flush) if lines == 0 => return Ok(None),
            Some(pkt) => pkt,
        };
        let line = match pkt {
            Pkt::Flush => break,
            Pkt::Delim => {
                head.has_arguments = true;
                break;
            }
            Pkt::ResponseEnd => return Err(Error::protocol("unexpected response-end packet")),
            Pkt::Data(_) => pkt.text().unwrap_or_default(),
        };
        lines += 1;
        option_bytes += line.len();
        if option_bytes > OPTION_BYTES_MAX {
            return Err(Error::Limit { what: "bytes of capabilities and options", limit: OPTION_BYTES_MAX });
        }
        take_line(&mut head, line)?;
    }
    if head.name.is_empty() {
        return Err(Error::protocol("no command requested"));
    }
    Ok(Some(head))
}

fn take_line(head: &mut CommandHead, line: &[u8]) -> Result<(), Error> {
    let (name, value) = match line.split_once_str("=") {
        Some((name, value)) => (name, Some(BString::from(value))),
        None => (line, None),
    };
    match (name, value) {
        (b"command", Some(value)) if !head.name.is_empty() => {
            return Err(Error::protocol(format!("command '{value}' requested after already requesting command '{}'", head.name)));
        }
        (b"command", Some(value)) => head.name = value,
        (name, value) => head.capabilities.push((name.into(), value)),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(bytes: &[u8]) -> Result<Option<CommandHead>, Error> {
        read_command(&mut PktReader::new(bytes))
    }

    #[test]
    fn a_head_is_read_up_to_its_arguments() {
        let head = read(b"0014command=ls-refs\n0015server-option=abc0016object-format=sha10001").expect("legal").expect("a command");
        assert_eq!((head.name.as_bstr(), head.has_arguments), (b"ls-refs".as_bstr(), true));
        assert_eq!(head.value("server-option"), Some(Some("abc".into())));
        assert_eq!(head.value("object-format"), Some(Some("sha1".into())));
        assert_eq!(head.value("agent"), None);
    }

    #[test]
    fn a_flush_or_the_end_of_input_ends_the_session() {
        assert_eq!(read(b"0000").expect("legal"), None);
        assert_eq!(read(b"").expect("legal"), None);
    }

    #[test]
    fn heads_that_make_no_sense_are_refused() {
        for bytes in [&b"000bagent=x0000"[..], b"000dcommand=a000dcommand=b0000", b"000dcommand=a", b"000dcommand=a0002"] {
            assert!(read(bytes).is_err(), "{}", bytes.escape_ascii());
        }
    }
}
