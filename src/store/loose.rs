//! The file of a loose object into its type and data.
//!
//! Source: gitrepository-layout, "objects/[0-9a-f][0-9a-f]"; a loose object is the zlib stream of
//! `<type> <size>\0<data>`. Read with plain reads in pieces; the hash is not checked.

use crate::pack::{Error, Inflater, Kind};
use bstr::ByteSlice;
use gix_hash::oid;
use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};

/// Longest header: the longest type, a space, 20 digits, a NUL; a little more, as in git.
const HEADER_BYTES_MAX: usize = 32;
const PIECE_BYTES: usize = 64 * 1024;
/// The most that deflate can make of one byte.
const INFLATE_RATIO_MAX: u64 = 1032;

/// Where the loose object `id` would lie beneath `objects`.
pub(super) fn path(objects: &Path, id: &oid) -> PathBuf {
    let hex = id.to_hex().to_string();
    objects.join(&hex[..2]).join(&hex[2..])
}

/// Read the loose object at `path` into `out`; `Ok(None)` when it is not there.
pub(super) fn read(path: &Path, out: &mut Vec<u8>) -> Result<Option<Kind>, Error> {
    let file = match std::fs::File::open(path) {
        Ok(file) => file,
        Err(err) if matches!(err.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => return Ok(None),
        Err(err) => return Err(err.into()),
    };
    let file_bytes = file.metadata()?.len();
    let mut stream = Stream { file, inflater: Inflater::new(), piece: vec![0; PIECE_BYTES], at: 0, end: 0, ended: false };
    read_stream(&mut stream, file_bytes, out).map(Some).map_err(|err| match err {
        Error::BadPack(what) => Error::Corrupt(format!("{}: {what}", path.display())),
        other => other,
    })
}

fn read_stream(stream: &mut Stream, file_bytes: u64, out: &mut Vec<u8>) -> Result<Kind, Error> {
    let bad = |what: &str| Error::BadPack(what.to_owned());
    let mut header = [0u8; HEADER_BYTES_MAX];
    let got = stream.fill(&mut header)?;
    let nul = header[..got].find_byte(0).ok_or_else(|| bad("bad header of a loose object"))?;
    let (kind, size) = parse_header(&header[..nul]).ok_or_else(|| bad("bad header of a loose object"))?;
    if size > file_bytes.saturating_mul(INFLATE_RATIO_MAX) {
        return Err(bad("a loose object declares more than its file can hold"));
    }
    let size = usize::try_from(size).map_err(|_| Error::Limit { what: "bytes of one object", limit: usize::MAX as u64 })?;
    let first = &header[nul + 1..got];
    let rest = size.checked_sub(first.len()).ok_or_else(|| bad("a loose object is longer than it declares"))?;
    out.clear();
    out.try_reserve_exact(size).map_err(|_| Error::Limit { what: "memory for one object (bytes)", limit: size as u64 })?;
    out.extend_from_slice(first);
    out.resize(size, 0);
    if stream.fill(&mut out[size - rest..])? != rest {
        return Err(bad("a loose object is shorter than it declares"));
    }
    if stream.fill(&mut [0u8; 1])? != 0 {
        return Err(bad("a loose object is longer than it declares"));
    }
    if stream.at != stream.end || stream.file.read(&mut [0u8; 1])? != 0 {
        return Err(bad("garbage at the end of a loose object"));
    }
    Ok(kind)
}

fn parse_header(header: &[u8]) -> Option<(Kind, u64)> {
    let (kind, size) = header.split_once_str(" ")?;
    if size.is_empty() || !size.iter().all(u8::is_ascii_digit) || size.len() > 1 && size[0] == b'0' {
        return None;
    }
    Some((Kind::from_bytes(kind).ok()?, size.to_str().ok()?.parse().ok()?))
}

/// The inflated bytes of a file.
struct Stream {
    file: std::fs::File,
    inflater: Inflater,
    piece: Vec<u8>,
    at: usize,
    end: usize,
    ended: bool,
}

impl Stream {
    /// Fill `out` as far as the stream goes; how far it did. The stream must not break off.
    fn fill(&mut self, out: &mut [u8]) -> Result<usize, Error> {
        let mut filled = 0;
        while !self.ended && filled < out.len() {
            if self.at == self.end {
                self.at = 0;
                self.end = self.file.read(&mut self.piece)?;
                if self.end == 0 {
                    return Err(Error::BadPack("a loose object breaks off".to_owned()));
                }
            }
            let step = self.inflater.step(&self.piece[self.at..self.end], &mut out[filled..])?;
            self.at += step.consumed;
            filled += step.written;
            self.ended = step.ended;
            if step.consumed == 0 && step.written == 0 && !step.ended {
                return Err(Error::BadPack("a loose object does not go on".to_owned()));
            }
        }
        Ok(filled)
    }
}
