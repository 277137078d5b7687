//! The file of a loose object into its type and data.
//!
//! Source: gitrepository-layout, "objects/[0-9a-f][0-9a-f]"; a loose object is the zlib stream of
//! `<type> <size>\0<data>`. Read with plain reads in pieces; the hash is not checked.

use crate::pack::{Error, Inflater, Kind};
use bstr::ByteSlice;
use gix_hash::oid;
use std::collections::HashSet;
use std::ffi::{OsStr, OsString};
use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};

/// Longest header: the longest type, a space, 20 digits, a NUL; a little more, as in git.
const HEADER_BYTES_MAX: usize = 32;
const PIECE_BYTES: usize = 64 * 1024;
/// Enough deflated bytes for a header, whatever the encoder.
const HEADER_PIECE_BYTES: usize = 256;
/// The most that deflate can make of one byte.
const INFLATE_RATIO_MAX: u64 = 1032;

/// Where the loose object `id` would lie beneath `objects`.
pub(super) fn path(objects: &Path, id: &oid) -> PathBuf {
    let hex = id.to_hex().to_string();
    objects.join(&hex[..2]).join(&hex[2..])
}

/// From this many ids on, listing each of the 256 folders costs less than looking for each file.
const LISTED_IDS_MIN: usize = 2_000;

/// "Is there a loose object of this name" for many ids, which come in order.
pub(super) struct Names<'a> {
    dirs: &'a [PathBuf],
    is_listed: bool,
    /// The folder listed last, by the ids' first byte, and the names in it.
    listed: Option<u8>,
    names: HashSet<OsString>,
}

impl<'a> Names<'a> {
    /// For `ids` ids beneath `dirs`.
    pub(super) fn new(dirs: &'a [PathBuf], ids: usize) -> Self {
        Self { dirs, is_listed: ids >= LISTED_IDS_MIN, listed: None, names: HashSet::new() }
    }

    /// Whether the file of `id` is there.
    pub(super) fn has(&mut self, id: &oid) -> bool {
        if !self.is_listed {
            return self.dirs.iter().any(|dir| path(dir, id).symlink_metadata().is_ok());
        }
        let (first, hex) = (id.first_byte(), id.to_hex().to_string());
        if self.listed != Some(first) {
            self.names.clear();
            self.listed = Some(first);
            let folders = self.dirs.iter().filter_map(|dir| std::fs::read_dir(dir.join(&hex[..2])).ok());
            self.names.extend(folders.flatten().flatten().map(|file| file.file_name()));
        }
        !self.names.is_empty() && self.names.contains(OsStr::new(&hex[2..]))
    }
}

/// Read the loose object at `path` into `out`; `Ok(None)` when it is not there.
pub(super) fn read(path: &Path, out: &mut Vec<u8>) -> Result<Option<Kind>, Error> {
    let Some(mut stream) = Stream::open(path, PIECE_BYTES)? else { return Ok(None) };
    let file_bytes = stream.file.metadata()?.len();
    read_stream(&mut stream, file_bytes, out).map(Some).map_err(|err| named(err, path))
}

/// Type and size of the loose object at `path`, of which no more is read than that takes; `Ok(None)` when it is not there.
pub(super) fn read_header(path: &Path) -> Result<Option<(Kind, u64)>, Error> {
    let Some(mut stream) = Stream::open(path, HEADER_PIECE_BYTES)? else { return Ok(None) };
    let mut header = [0u8; HEADER_BYTES_MAX];
    let found = stream.fill(&mut header).and_then(|got| split_header(&header[..got]));
    found.map(|(kind, size, _)| Some((kind, size))).map_err(|err| named(err, path))
}

fn named(err: Error, path: &Path) -> Error {
    match err {
        Error::BadPack(what) => Error::Corrupt(format!("{}: {what}", path.display())),
        other => other,
    }
}

/// The type, the size, and the data that follows them in `start`.
fn split_header(start: &[u8]) -> Result<(Kind, u64, &[u8]), Error> {
    let split = start.split_once_str("\0").and_then(|(header, data)| parse_header(header).map(|(kind, size)| (kind, size, data)));
    split.ok_or_else(|| Error::BadPack("bad header of a loose object".to_owned()))
}

fn read_stream(stream: &mut Stream, file_bytes: u64, out: &mut Vec<u8>) -> Result<Kind, Error> {
    let bad = |what: &str| Error::BadPack(what.to_owned());
    let mut header = [0u8; HEADER_BYTES_MAX];
    let got = stream.fill(&mut header)?;
    let (kind, size, first) = split_header(&header[..got])?;
    if size > file_bytes.saturating_mul(INFLATE_RATIO_MAX) {
        return Err(bad("a loose object declares more than its file can hold"));
    }
    let size = usize::try_from(size).map_err(|_| Error::Limit { what: "bytes of one object", limit: usize::MAX as u64 })?;
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
    /// The file at `path`, read in pieces of so many bytes; `Ok(None)` when it is not there.
    fn open(path: &Path, piece_bytes: usize) -> Result<Option<Self>, Error> {
        let file = match std::fs::File::open(path) {
            Ok(file) => file,
            Err(err) if matches!(err.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => return Ok(None),
            Err(err) => return Err(err.into()),
        };
        Ok(Some(Self { file, inflater: Inflater::new(), piece: vec![0; piece_bytes], at: 0, end: 0, ended: false }))
    }

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
