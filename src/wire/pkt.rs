//! Bytes into pkt-lines and back.
//!
//! Source: gitprotocol-common, "pkt-line Format"; gitprotocol-v2, "Packet-Line Framing". A length of `0003` or above
//! 65,520 is refused; `0004`, an empty line, and uppercase digits are legal, as in git.

use super::Error;
use crate::base::limits::{PKT_BYTES_MAX, PKT_PAYLOAD_BYTES_MAX};
use gix_packetline::decode::{PacketLineOrWantedSize, hex_prefix};
use gix_packetline::{PacketLineRef, blocking_io::encode};
use std::io::{ErrorKind, Read, Write};

/// One packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pkt<'a> {
    /// A line's payload, with its newline if it had one.
    Data(&'a [u8]),
    /// `0000`.
    Flush,
    /// `0001`.
    Delim,
    /// `0002`.
    ResponseEnd,
}

impl<'a> Pkt<'a> {
    /// The payload without one trailing newline; `None` for the special packets.
    pub fn text(&self) -> Option<&'a [u8]> {
        match *self {
            Self::Data(data) => Some(data.strip_suffix(b"\n").unwrap_or(data)),
            _ => None,
        }
    }
}

/// Reads packets; holds one at a time.
pub struct PktReader<R> {
    input: R,
    line: Box<[u8; PKT_BYTES_MAX]>,
}

impl<R: Read> PktReader<R> {
    /// A reader of packets from `input`, which is never read beyond the packet asked for.
    pub fn new(input: R) -> Self {
        Self { input, line: Box::new([0; PKT_BYTES_MAX]) }
    }

    /// The next packet; `Ok(None)` when the peer has closed its side between two packets.
    pub fn read(&mut self) -> Result<Option<Pkt<'_>>, Error> {
        if !self.fill(0, 4)? {
            return Ok(None);
        }
        let wanted = match hex_prefix(&self.line[..4]) {
            Ok(PacketLineOrWantedSize::Line(PacketLineRef::Flush)) => return Ok(Some(Pkt::Flush)),
            Ok(PacketLineOrWantedSize::Line(PacketLineRef::Delimiter)) => return Ok(Some(Pkt::Delim)),
            Ok(PacketLineOrWantedSize::Line(PacketLineRef::ResponseEnd)) => return Ok(Some(Pkt::ResponseEnd)),
            Ok(PacketLineOrWantedSize::Line(PacketLineRef::Data(_))) => 0,
            Ok(PacketLineOrWantedSize::Wanted(wanted)) => usize::from(wanted),
            Err(_) if &self.line[..4] == b"0004" => 0,
            Err(_) => return Err(Error::protocol(format!("bad line length character: {}", self.line[..4].escape_ascii()))),
        };
        if wanted > PKT_PAYLOAD_BYTES_MAX {
            return Err(Error::protocol(format!("bad line length {}", wanted + 4)));
        }
        if wanted > 0 && !self.fill(4, 4 + wanted)? {
            return Err(Error::HungUp);
        }
        Ok(Some(Pkt::Data(&self.line[4..4 + wanted])))
    }

    /// The next packet; the peer may not close its side here.
    pub fn expect(&mut self) -> Result<Pkt<'_>, Error> {
        self.read()?.ok_or(Error::HungUp)
    }

    /// What is being read from: its next byte is the first behind the last packet.
    pub fn input(&mut self) -> &mut R {
        &mut self.input
    }

    /// Fill `line[from..to]`; `Ok(false)` when the input ends before the first byte.
    fn fill(&mut self, from: usize, to: usize) -> Result<bool, Error> {
        let mut at = from;
        while at < to {
            match self.input.read(&mut self.line[at..to]) {
                Ok(0) if at == from => return Ok(false),
                Ok(0) => return Err(Error::HungUp),
                Ok(read) => at += read,
                Err(err) if err.kind() == ErrorKind::Interrupted => {}
                Err(err) => return Err(err.into()),
            }
        }
        Ok(true)
    }
}

/// Write one line as it is; at most 65,516 bytes.
pub fn write_data(out: &mut impl Write, data: &[u8]) -> std::io::Result<()> {
    encode::data_to_write(data, out).map(drop)
}

/// Write one line with a newline behind it.
pub fn write_text(out: &mut impl Write, text: impl AsRef<[u8]>) -> std::io::Result<()> {
    encode::text_to_write(text.as_ref(), out).map(drop)
}

/// Begin a packet at the end of `out`, where many follow each other; returns where.
pub(super) fn begin_pkt(out: &mut Vec<u8>) -> usize {
    out.extend_from_slice(b"0000");
    out.len() - 4
}

/// End the packet that was begun at `start`: what has been added since is its payload.
pub(super) fn end_pkt(out: &mut [u8], start: usize) -> std::io::Result<()> {
    let digits = len_digits(out.len() - start)?;
    out[start..start + 4].copy_from_slice(&digits);
    Ok(())
}

/// Add one packet whose payload is these parts.
#[inline]
pub(super) fn add_pkt<const N: usize>(out: &mut Vec<u8>, parts: [&[u8]; N]) -> std::io::Result<()> {
    let len = 4 + parts.iter().map(|part| part.len()).sum::<usize>();
    out.reserve(len);
    out.extend_from_slice(&len_digits(len)?);
    parts.iter().for_each(|part| out.extend_from_slice(part));
    Ok(())
}

/// The length of a packet, these four digits included.
#[inline]
fn len_digits(len: usize) -> std::io::Result<[u8; 4]> {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    if len > PKT_BYTES_MAX {
        return Err(std::io::Error::new(ErrorKind::InvalidData, "a line is too long for a packet"));
    }
    Ok([12, 8, 4, 0].map(|shift| DIGITS[len >> shift & 15]))
}

/// Add an id in hexadecimal.
pub(super) fn write_hex(id: &gix_hash::oid, out: &mut Vec<u8>) {
    let mut hex = gix_hash::Kind::hex_buf();
    out.extend_from_slice(id.hex_to_buf(&mut hex).as_bytes());
}

/// Write an `ERR` line, which git shows as `fatal: remote error: <message>`.
pub fn write_error(out: &mut impl Write, message: &str) -> std::io::Result<()> {
    let end = message.floor_char_boundary(PKT_PAYLOAD_BYTES_MAX - "ERR ".len());
    encode::error_to_write(&message.as_bytes()[..end], out).map(drop)
}

/// Write `0000`.
pub fn write_flush(out: &mut impl Write) -> std::io::Result<()> {
    encode::flush_to_write(out).map(drop)
}

/// Write `0001`.
pub fn write_delim(out: &mut impl Write) -> std::io::Result<()> {
    encode::delim_to_write(out).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_all(bytes: &[u8]) -> Result<Vec<String>, Error> {
        let mut reader = PktReader::new(bytes);
        let mut seen = vec![];
        while let Some(pkt) = reader.read()? {
            seen.push(format!("{pkt:?}"));
        }
        Ok(seen)
    }

    #[test]
    fn legal_lines_are_read_as_git_reads_them() {
        assert_eq!(read_all(b"0005a0000000100020004000Aab\ncd\n").expect("legal").len(), 6);
        let mut longest = b"fff0".to_vec();
        longest.resize(65_520, b'x');
        assert_eq!(read_all(&longest).expect("legal").len(), 1);
        assert_eq!(Pkt::Data(b"a\n").text(), Some(&b"a"[..]));
    }

    #[test]
    fn bad_lengths_and_cut_lines_are_refused() {
        for bytes in [&b"0003"[..], b"000g", b"fff1aaaa", b"ffff", b"00", b"0006a", b"-001"] {
            assert!(read_all(bytes).is_err(), "{}", bytes.escape_ascii());
        }
    }

    #[test]
    fn what_is_written_is_read_back() {
        let mut bytes = vec![];
        write_data(&mut bytes, b"raw").expect("memory");
        write_text(&mut bytes, "text").expect("memory");
        write_delim(&mut bytes).expect("memory");
        write_error(&mut bytes, "no").expect("memory");
        write_flush(&mut bytes).expect("memory");
        assert_eq!(bytes, b"0007raw0009text\n0001000aERR no0000");
    }
}
