//! The commands of a push into one immutable [`PushRequest`].
//!
//! Source: gitprotocol-pack, "Reference Update Request" and "Push Certificate". Commands stand in the open or in a
//! certificate, never in both. A ref's name is taken as bytes up to the capabilities; whether it may be a name is for
//! the store to say. Where push options or certificates were not advertised, choosing the former has no effect, as in
//! git; sending the latter is refused.

use super::fetch_request::split_id;
use super::{Capabilities, Error, Pkt, PktReader, PushCertificate};
use crate::base::limits::{OPTION_BYTES_MAX, PUSH_COMMAND_BYTES_MAX, PUSH_COMMANDS_MAX, PUSH_OPTIONS_MAX, REF_NAME_BYTES_MAX};
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
    /// They were advertised, and the client chose to send some, or none.
    pub has_options: bool,
    /// What the client signed: its commands are these.
    pub certificate: Option<PushCertificate>,
}

/// What was advertised, of that which changes how a request is read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PushFeatures {
    /// `push-options`.
    pub push_options: bool,
    /// `push-cert`.
    pub certificate: bool,
}

impl PushRequest {
    /// Whether a pack follows: not for a push that only deletes.
    pub fn has_pack(&self) -> bool {
        self.commands.iter().any(|command| !command.new.is_null())
    }
}

/// Counts what a client sends before its pack.
#[derive(Default)]
struct Budget {
    lines: usize,
    bytes: usize,
}

impl Budget {
    fn spend(&mut self, line: &[u8]) -> Result<(), Error> {
        self.lines += 1;
        self.bytes += line.len();
        if self.lines > PUSH_COMMANDS_MAX {
            return Err(Error::Limit { what: "commands in one push", limit: PUSH_COMMANDS_MAX });
        } else if self.bytes > PUSH_COMMAND_BYTES_MAX {
            return Err(Error::Limit { what: "bytes of commands in one push", limit: PUSH_COMMAND_BYTES_MAX });
        }
        Ok(())
    }
}

/// Read the commands up to their flush, and push options where they were advertised and the client chose them.
/// `Ok(None)`: the client changes nothing.
pub fn read_push_request<R: Read>(
    reader: &mut PktReader<R>,
    hash: gix_hash::Kind,
    features: PushFeatures,
) -> Result<Option<PushRequest>, Error> {
    let (mut request, mut budget) = (PushRequest::default(), Budget::default());
    let mut is_first = true;
    loop {
        let pkt = reader.expect()?;
        let line = match pkt {
            Pkt::Flush => break,
            Pkt::Data(data) => data,
            Pkt::Delim | Pkt::ResponseEnd => return Err(Error::protocol("expected commands, got a special packet")),
        };
        budget.spend(line)?;
        if let Some(id) = line.strip_prefix(b"shallow ") {
            request.shallow.push(split_id(id.trim_end(), hash)?.0);
            continue;
        }
        let (command, words) = line.split_once_str("\0").unwrap_or((line, b""));
        let command = command.strip_suffix(b"\n").unwrap_or(command);
        if std::mem::take(&mut is_first) {
            request.capabilities = Capabilities::parse(words.strip_suffix(b"\n").unwrap_or(words));
            check_object_format(&request.capabilities, hash)?;
        }
        if command == b"push-cert" {
            if !features.certificate {
                return Err(Error::protocol("this server does not take signed pushes; push without --signed"));
            } else if request.certificate.is_some() {
                return Err(Error::protocol("got two push certificates"));
            }
            request.certificate = Some(read_certificate(reader, &mut budget)?);
        } else {
            request.commands.push(parse_command(command, hash)?);
        }
    }
    if let Some(certificate) = &request.certificate {
        if !request.commands.is_empty() {
            return Err(Error::protocol("got both push certificate and unsigned commands"));
        }
        request.commands = certificate.command_lines().map(|line| parse_command(line, hash)).collect::<Result<_, _>>()?;
    }
    if features.push_options && request.capabilities.has("push-options") {
        (request.push_options, request.has_options) = (read_options(reader)?, true);
    }
    Ok((!request.commands.is_empty()).then_some(request))
}

/// Lines as they are, up to `push-cert-end`.
fn read_certificate<R: Read>(reader: &mut PktReader<R>, budget: &mut Budget) -> Result<PushCertificate, Error> {
    let mut text = BString::default();
    loop {
        match reader.expect()? {
            Pkt::Data(b"push-cert-end\n" | b"push-cert-end") => return PushCertificate::parse(text),
            Pkt::Data(line) => {
                budget.spend(line)?;
                text.extend_from_slice(line);
            }
            _ => return Err(Error::protocol("expected push-cert-end, got a special packet")),
        }
    }
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
    let (old, rest) = split_id(line, hash)?;
    let (new, name) = split_id(rest, hash)?;
    // Without the blank before a name, of no bytes even, it is no command (`queue_command`).
    if name.len() > REF_NAME_BYTES_MAX || rest.len() == hash.len_in_hex() {
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
        if line.contains(&0) {
            return Err(Error::protocol("a push option holds a zero byte; leave it out"));
        } else if options.len() >= PUSH_OPTIONS_MAX {
            return Err(Error::Limit { what: "push options", limit: PUSH_OPTIONS_MAX });
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

    fn read(bytes: &[u8], hash: gix_hash::Kind, features: PushFeatures) -> Result<Option<PushRequest>, Error> {
        read_push_request(&mut PktReader::new(bytes), hash, features)
    }

    const PLAIN: PushFeatures = PushFeatures { push_options: false, certificate: false };
    const ALL: PushFeatures = PushFeatures { push_options: true, certificate: true };

    #[test]
    fn commands_are_read_with_the_first_lines_capabilities() {
        let bytes =
            packets(&[format!("{Z} {A} refs/heads/main\0 report-status atomic agent=git/2"), format!("{A} {Z} refs/heads/old name")]);
        let request = read(&bytes, Sha1, PLAIN).expect("legal").expect("commands");
        assert!(request.capabilities.has("atomic") && request.has_pack());
        assert_eq!(request.commands[1].name, "refs/heads/old name");
        assert!(request.commands[0].old.is_null() && request.commands[1].new.is_null());
    }

    #[test]
    fn nothing_to_do_is_no_error_and_nonsense_is() {
        assert_eq!(read(b"0000", Sha1, PLAIN).expect("legal"), None);
        let gone = read(b"", Sha1, PLAIN);
        assert!(matches!(gone, Err(Error::HungUp)), "one that only goes away is not: {gone:?}");
        for line in [format!("{A} {A}"), format!("{A} refs/heads/x"), "push-cert\0x".to_owned(), format!("{Z} {A} x\0object-format=sha256")]
        {
            assert!(read(&packets(&[line]), Sha1, PLAIN).is_err());
        }
        assert!(read(&packets(&[format!("{Z} {A} refs/heads/main\0object-format=sha1")]), Sha256, PLAIN).is_err());
    }

    #[test]
    fn options_follow_the_commands_where_both_sides_want_them() {
        let command = format!("{Z} {A} refs/heads/main\0push-options");
        let bytes = [packets(&[command]), packets(&["a=b\n".to_owned(), "c d".to_owned()])].concat();
        let options = |features| read(&bytes, Sha1, features).expect("legal").expect("commands").push_options;
        assert_eq!(options(ALL), ["a=b", "c d"]);
        assert!(options(PLAIN).is_empty(), "what was not advertised is not looked for");
    }

    #[test]
    fn options_that_no_environment_could_hold_are_refused_before_anything_happens() {
        let command = || packets(&[format!("{Z} {A} refs/heads/main\0push-options")]);
        let taken = |options: &[String]| read(&[command(), packets(options)].concat(), Sha1, ALL).map(|_| ());
        assert!(matches!(taken(&["a\0b".to_owned()]), Err(Error::Protocol(why)) if why.contains("zero byte")));
        taken(&vec!["x".to_owned(); PUSH_OPTIONS_MAX]).expect("as many as are allowed");
        assert!(matches!(taken(&vec!["x".to_owned(); PUSH_OPTIONS_MAX + 1]), Err(Error::Limit { .. })));
    }

    fn signed(command: &str) -> Vec<String> {
        [
            "push-cert\0report-status\n",
            "certificate version 0.1\n",
            "pusher x\n",
            "nonce 1-2\n",
            "\n",
            command,
            "-----BEGIN SSH SIGNATURE-----\n",
            "x\n",
            "push-cert-end\n",
        ]
        .map(str::to_owned)
        .into()
    }

    #[test]
    fn the_commands_of_a_certificate_count_and_no_others() {
        let command = format!("{Z} {A} refs/heads/main\n");
        let lines = signed(&command);
        let request = read(&packets(&lines), Sha1, ALL).expect("legal").expect("commands");
        assert_eq!(
            request.commands,
            [PushCommand {
                old: gix_hash::Kind::Sha1.null(),
                new: ObjectId::from_hex(A.as_bytes()).expect("hex"),
                name: "refs/heads/main".into()
            }]
        );
        assert_eq!(request.certificate.expect("signed").nonce().expect("a nonce"), "1-2");
        let both = [lines.clone(), vec![command.clone()]].concat();
        let twice = [lines.clone(), lines.clone()].concat();
        for (lines, features) in [(both, ALL), (twice, ALL), (lines[..8].to_vec(), ALL), (signed("nonsense\n"), ALL), (lines, PLAIN)] {
            assert!(matches!(read(&packets(&lines), Sha1, features), Err(Error::Protocol(_))), "{lines:?}");
        }
    }
}
