//! Entries into a tar file, byte for byte as git writes it.
//!
//! Source: POSIX.1-2001 pax ("ustar Interchange Format", "pax Header Block"), and `archive-tar.c` for what git puts into
//! the fields: the commit's id as a global `comment`, owner root, one time for all, long paths and links in headers of
//! their own. Blocks of 10,240 bytes.

use super::Error;
use super::entries::{Archiver, Content, Entry, Mode};
use gix_hash::ObjectId;
use std::io::Write;

const RECORD_BYTES: u64 = 512;
const BLOCK_BYTES: u64 = 20 * RECORD_BYTES;
/// The greatest size and the greatest time that fit a header's eleven octal digits.
const NUMBER_MAX: u64 = 0o77_777_777_777;
const NAME_BYTES: usize = 100;
const PREFIX_BYTES: usize = 155;
const EXTENDED_MODE: u32 = 0o666;

/// A tar file in the making.
pub(super) struct Tar<W: Write> {
    out: W,
    written: u64,
    time: u64,
    umask: u32,
}

/// What a header says besides the time and the owner.
struct Header<'a> {
    prefix: &'a [u8],
    name: &'a [u8],
    mode: u32,
    size: u64,
    kind: u8,
    link: &'a [u8],
}

impl<W: Write> Tar<W> {
    /// Begin: `commit` stands in the file's global header, `time` (seconds since 1970) at every entry.
    pub fn new(out: W, commit: Option<ObjectId>, time: u64, umask: u32) -> Result<Self, Error> {
        let mut tar = Self { out, written: 0, time: time.min(NUMBER_MAX), umask };
        let mut global = vec![];
        if let Some(commit) = commit {
            add_record(&mut global, "comment", commit.to_string().as_bytes());
        }
        if time > NUMBER_MAX {
            add_record(&mut global, "mtime", time.to_string().as_bytes());
        }
        if !global.is_empty() {
            tar.extended(b"pax_global_header", b'g', &global)?;
        }
        Ok(tar)
    }

    /// Two empty records and the rest of the block.
    pub fn finish(mut self) -> Result<W, Error> {
        let tail = BLOCK_BYTES - self.written % BLOCK_BYTES;
        self.zeros(if tail < 2 * RECORD_BYTES { tail + BLOCK_BYTES } else { tail })?;
        Ok(self.out)
    }

    fn put(&mut self, bytes: &[u8]) -> Result<(), Error> {
        self.written += bytes.len() as u64;
        Ok(self.out.write_all(bytes)?)
    }

    fn zeros(&mut self, count: u64) -> Result<(), Error> {
        const ZEROS: [u8; BLOCK_BYTES as usize] = [0; BLOCK_BYTES as usize];
        let mut left = count;
        while left > 0 {
            let now = left.min(BLOCK_BYTES);
            self.put(&ZEROS[..now as usize])?;
            left -= now;
        }
        Ok(())
    }

    fn pad(&mut self) -> Result<(), Error> {
        self.zeros(self.written.next_multiple_of(RECORD_BYTES) - self.written)
    }

    fn extended(&mut self, name: &[u8], kind: u8, records: &[u8]) -> Result<(), Error> {
        self.header(&Header { prefix: b"", name, mode: EXTENDED_MODE, size: records.len() as u64, kind, link: b"" })?;
        self.put(records)?;
        self.pad()
    }

    fn header(&mut self, header: &Header<'_>) -> Result<(), Error> {
        let mut record = [0u8; RECORD_BYTES as usize];
        let mut set = |at: usize, bytes: &[u8]| record[at..at + bytes.len()].copy_from_slice(bytes);
        set(0, header.name);
        set(100, format!("{:07o}", header.mode & 0o7777).as_bytes());
        set(108, b"0000000");
        set(116, b"0000000");
        set(124, format!("{:011o}", header.size).as_bytes());
        set(136, format!("{:011o}", self.time).as_bytes());
        set(156, &[header.kind]);
        set(157, header.link);
        set(257, b"ustar\0");
        set(263, b"00");
        set(265, b"root");
        set(297, b"root");
        set(329, b"0000000");
        set(337, b"0000000");
        set(345, header.prefix);
        // The sum counts its own field as spaces.
        let sum: u32 = record.iter().map(|byte| u32::from(*byte)).sum::<u32>() + 8 * u32::from(b' ');
        record[148..155].copy_from_slice(format!("{sum:07o}").as_bytes());
        self.put(&record)
    }
}

impl<W: Write> Archiver for Tar<W> {
    fn add(&mut self, entry: &Entry<'_>) -> Result<(), Error> {
        let (kind, mode) = match entry.mode {
            Mode::Folder => (b'5', 0o777 & !self.umask),
            Mode::Link => (b'2', 0o777),
            Mode::File => (b'0', 0o666 & !self.umask),
            Mode::Executable => (b'0', 0o777 & !self.umask),
        };
        let mut records = vec![];
        let own_name = format!("{}.data", entry.id);
        let (prefix, name) = match split_path(entry.path) {
            Some(parts) => parts,
            None => {
                add_record(&mut records, "path", entry.path);
                (&b""[..], own_name.as_bytes())
            }
        };
        let target = match entry.content {
            Content::Whole(target) if entry.mode == Mode::Link => target,
            _ => b"",
        };
        let own_link = format!("see {}.paxheader", entry.id);
        let link = if target.len() > NAME_BYTES {
            add_record(&mut records, "linkpath", target);
            own_link.as_bytes()
        } else {
            target
        };
        let is_file = matches!(entry.mode, Mode::File | Mode::Executable);
        let size = if is_file { entry.content.size() } else { 0 };
        if size > NUMBER_MAX {
            add_record(&mut records, "size", size.to_string().as_bytes());
        }
        if !records.is_empty() {
            self.extended(format!("{}.paxheader", entry.id).as_bytes(), b'x', &records)?;
        }
        self.header(&Header { prefix, name, mode, size: if size > NUMBER_MAX { 0 } else { size }, kind, link })?;
        if is_file {
            match &entry.content {
                Content::None => {}
                Content::Whole(data) => self.put(data)?,
                Content::Pieces(whole, cancel) => whole.each_piece(|piece| {
                    cancel.check()?;
                    self.put(piece)
                })?,
            }
            self.pad()?;
        }
        Ok(())
    }
}

/// A path as a header's prefix and name; `None` when it does not fit.
fn split_path(path: &[u8]) -> Option<(&[u8], &[u8])> {
    if path.len() <= NAME_BYTES {
        return Some((b"", path));
    }
    let searched = path.strip_suffix(b"/").unwrap_or(path).len().min(PREFIX_BYTES);
    let at = path[..searched].iter().rposition(|byte| *byte == b'/').filter(|at| *at > 0)?;
    let name = &path[at + 1..];
    (name.len() <= NAME_BYTES).then_some((&path[..at], name))
}

/// `LENGTH KEY=VALUE` and a newline, where the length counts itself.
fn add_record(records: &mut Vec<u8>, key: &str, value: &[u8]) {
    let rest = 1 + key.len() + 1 + value.len() + 1;
    let mut len = rest + 1;
    while len != rest + len.to_string().len() {
        len = rest + len.to_string().len();
    }
    records.extend(format!("{len} {key}=").as_bytes());
    records.extend(value);
    records.push(b'\n');
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_records_length_counts_itself(value in prop::collection::vec(any::<u8>(), 0..1200)) {
            let mut records = vec![];
            add_record(&mut records, "path", &value);
            let space = records.iter().position(|byte| *byte == b' ').expect("a space");
            prop_assert_eq!(std::str::from_utf8(&records[..space]).expect("digits").parse::<usize>().expect("a number"), records.len());
        }

        #[test]
        fn a_split_path_is_the_path_again(path in "[ab/]{1,300}") {
            if let Some((prefix, name)) = split_path(path.as_bytes()) {
                prop_assert!(prefix.len() <= PREFIX_BYTES && name.len() <= NAME_BYTES);
                let whole = if prefix.is_empty() { name.to_vec() } else { [prefix, b"/", name].concat() };
                prop_assert_eq!(whole, path.into_bytes());
            }
        }
    }
}
