//! The commands of a push into one immutable [`PushRequest`].
//!
//! Source: gitprotocol-pack, "Reference Update Request". Certificates are not advertised, so a client that sends
//! one breaks the protocol. A ref's name is taken as bytes up to the capabilities; whether it may be a name is for
//! the store to say.

use super::fetch_request::split_id;
use super::{Capabilities, Error, Pkt, PktReader};
use crate::base::limits::{OPTION_BYTES_MAX, PUSH_COMMAND_BYTES_MAX, PUSH_COMMANDS_MAX, REF_NAME_BYTES_MAX};
use bstr::{BString, ByteSlice};
use gix_hash::ObjectId;
use std::io::Read;

/// One ref to change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PushCommand {
    /// The value that the client believes to be there; null: none.
    pub old: ObjectId,
    /// The value to set; null: delete the ref.
    pub new: ObjectId,
    /// Full name.
    pub name: BString,
}

/// What a client pushes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PushRequest {
    /// The commands in order.
    pub commands: Vec<PushCommand>,
    /// What the client chose.
    pub capabilities: Capabilities,
    /// Commits whose parents the client lacks.
    pub shallow: Vec<ObjectId>,
    /// Push options, in order.
    pub push_options: Vec<BString>,
}

impl PushRequest {
    /// Whether a pack follows: not for a push that only deletes.
    pub fn has_pack(&self) -> bool {
        self.commands.iter().any(|command| !command.new.is_null())
    }
}

/// Read the commands up to their flush, and push options when `with_options` and the client chose them.
/// `Ok(None)`: the client changes nothing.
pub fn read_push_request<R: Read>(
    reader: &mut PktReader<R>,
    hash: gix_hash::Kind,
    with_options: bool,
) -> Result<Option<PushRequest>, Error> {
    let mut request = PushRequest::default();
    let (mut lines, mut bytes) = (0, 0);
    loop {
        let pkt = reader.expect()?;
        let line = match pkt {
            Pkt::Flush => break,
            Pkt::Data(data) => data,
            Pkt::Delim | Pkt::ResponseEnd => return Err(Error::protocol("expected commands, got a special packet")),
        };
        lines += 1;
        bytes += line.len();
        if lines > PUSH_COMMANDS_MAX {
            return Err(Error::Limit { what: "commands in one push", limit: PUSH_COMMANDS_MAX });
        } else if bytes > PUSH_COMMAND_BYTES_MAX {
            return Err(Error::Limit { what: "bytes of commands in one push", limit: PUSH_COMMAND_BYTES_MAX });
        }
        if let Some(id) = line.strip_prefix(b"shallow ") {
            request.shallow.push(split_id(id.trim_end(), hash)?.0);
            continue;
        }
        let (command, words) = line.split_once_str("\0").unwrap_or((line, b""));
        if request.commands.is_empty() {
            request.capabilities = Capabilities::parse(words.strip_suffix(b"\n").unwrap_or(words));
            check_object_format(&request.capabilities, hash)?;
        }
        request.commands.push(parse_command(command.strip_suffix(b"\n").unwrap_or(command), hash)?);
    }
    if with_options && request.capabilities.has("push-options") {
        request.push_options = read_options(reader)?;
    }
    Ok((!request.commands.is_empty()).then_some(request))
}

fn check_object_format(chosen: &Capabilities, hash: gix_hash::Kind) -> Result<(), Error> {
    let theirs = chosen.value("object-format").unwrap_or("sha1".into());
    if theirs == hash.to_string().as_bytes() {
        return Ok(());
    }
    Err(Error::protocol(format!(
        "this repository's object format is {hash}, your client's is {theirs}; push from a repository made with --object-format={hash}"
    )))
}

fn parse_command(line: &[u8], hash: gix_hash::Kind) -> Result<PushCommand, Error> {
    if line.starts_with(b"push-cert") {
        return Err(Error::protocol("this server does not take signed pushes; push without --signed"));
    }
    let (old, rest) = split_id(line, hash)?;
    let (new, name) = split_id(rest, hash)?;
    if name.is_empty() || name.len() > REF_NAME_BYTES_MAX {
        return Err(Error::protocol(format!("protocol error: expected old/new/ref, got '{}'", line[..line.len().min(200)].as_bstr())));
    }
    Ok(PushCommand { old, new, name: name.into() })
}

fn read_options<R: Read>(reader: &mut PktReader<R>) -> Result<Vec<BString>, Error> {
    let (mut options, mut bytes) = (vec![], 0);
    loop {
        let pkt = reader.expect()?;
        let Some(line) = pkt.text() else {
            return if pkt == Pkt::Flush { Ok(options) } else { Err(Error::protocol("expected push options, got a special packet")) };
        };
        bytes += line.len() + 1;
        if bytes > OPTION_BYTES_MAX {
            return Err(Error::Limit { what: "bytes of push options", limit: OPTION_BYTES_MAX });
        }
        options.push(line.into());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{write_data, write_flush};
    use gix_hash::Kind::{Sha1, Sha256};

    const A: &str = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
    const Z: &str = "0000000000000000000000000000000000000000";

    fn packets(lines: &[String]) -> Vec<u8> {
        let mut bytes = vec![];
        for line in lines {
            write_data(&mut bytes, line.as_bytes()).expect("memory");
        }
        write_flush(&mut bytes).expect("memory");
        bytes
    }

    #[test]
    fn commands_are_read_with_the_first_lines_capabilities() {
        let bytes =
            packets(&[format!("{Z} {A} refs/heads/main\0 report-status atomic agent=git/2"), format!("{A} {Z} refs/heads/old name")]);
        let request = read_push_request(&mut PktReader::new(&bytes[..]), Sha1, false).expect("legal").expect("commands");
        assert!(request.capabilities.has("atomic") && request.has_pack());
        assert_eq!(request.commands[1].name, "refs/heads/old name");
        assert!(request.commands[0].old.is_null() && request.commands[1].new.is_null());
    }

    #[test]
    fn nothing_to_do_is_no_error_and_nonsense_is() {
        assert_eq!(read_push_request(&mut PktReader::new(&b"0000"[..]), Sha1, false).expect("legal"), None);
        let gone = read_push_request(&mut PktReader::new(&b""[..]), Sha1, false);
        assert!(matches!(gone, Err(Error::HungUp)), "one that only goes away is not: {gone:?}");
        for line in [format!("{A} {A}"), format!("{A} refs/heads/x"), "push-cert\0x".to_owned(), format!("{Z} {A} x\0object-format=sha256")]
        {
            let bytes = packets(&[line]);
            assert!(read_push_request(&mut PktReader::new(&bytes[..]), Sha1, false).is_err());
        }
        let bytes = packets(&[format!("{Z} {A} refs/heads/main\0object-format=sha1")]);
        assert!(read_push_request(&mut PktReader::new(&bytes[..]), Sha256, false).is_err());
    }
}
