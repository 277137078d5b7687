//! Entries into a zip file, as git lays it out.
//!
//! Source: APPNOTE.TXT of the zip format (4.3 "General Format", 4.4.1.4 and 4.5.3 for more than 4 GiB or 65,535
//! entries), the Info-ZIP extra field 0x5455 for times, and `archive-zip.c`. Differs from git's bytes in the deflated
//! data (another zlib) and in the old time field, which is in UTC. Limit: the directory at the end is held in memory.

use super::Error;
use super::entries::{Archiver, Content, Entry, Mode};
use crate::base::Moment;
use crate::base::limits::ZIP_DIRECTORY_BYTES_MAX;
use crate::pack::RawDeflater;
use gix_hash::ObjectId;
use std::io::Write;

const STORED: u16 = 0;
const DEFLATED: u16 = 8;
/// Sizes stand behind the data, which are not known before.
const FLAG_STREAM: u16 = 1 << 3;
const FLAG_UTF8: u16 = 1 << 11;
/// Made on Unix, version 2.3: the attributes hold a mode.
const MADE_ON_UNIX: u16 = 0x0317;
const VERSION_PLAIN: u16 = 10;
const VERSION_ZIP64: u16 = 45;
const MAX32: u64 = 0xffff_ffff;
const PATH_BYTES_MAX: usize = 0xffff;
/// Git looks for a NUL in so many bytes (`xdiff-interface.c`: `FIRST_FEW_BYTES`).
const TEXT_PROBE_BYTES: usize = 8000;

/// A zip file in the making.
pub(super) struct Zip<W: Write> {
    out: W,
    offset: u64,
    entries: u64,
    directory: Vec<u8>,
    made_by_max: u16,
    commit: Option<ObjectId>,
    level: i32,
    dos_time: u16,
    dos_date: u16,
    time: u32,
}

/// What header and directory say of one entry.
struct Record<'a> {
    path: &'a [u8],
    made_by: u16,
    flags: u16,
    method: u16,
    crc: u32,
    packed_bytes: u64,
    bytes: u64,
    zip64: bool,
    is_text: bool,
    attributes: u32,
    offset: u64,
}

impl<W: Write> Zip<W> {
    /// Begin: `commit` becomes the file's comment, `time` (seconds since 1970) stands at every entry.
    pub fn new(out: W, commit: Option<ObjectId>, time: u64, level: i32) -> Self {
        let (dos_date, dos_time) = dos_time(time);
        let (entries, offset, directory) = (0, 0, vec![]);
        Self { out, offset, entries, directory, made_by_max: 0, commit, level, dos_time, dos_date, time: time as u32 }
    }

    /// The directory, and how many entries it has.
    pub fn finish(mut self) -> Result<W, Error> {
        let directory = std::mem::take(&mut self.directory);
        let (start, bytes) = (self.offset, directory.len() as u64);
        self.put(&directory)?;
        if self.entries > 0xffff || start > MAX32 {
            let mut end = vec![];
            add(&mut end, 0x0606_4b50, 4);
            add(&mut end, 44, 8);
            add(&mut end, self.made_by_max.into(), 2);
            add(&mut end, VERSION_ZIP64.into(), 2);
            add(&mut end, 0, 8);
            for number in [self.entries, self.entries, bytes, start] {
                add(&mut end, number, 8);
            }
            add(&mut end, 0x0706_4b50, 4);
            add(&mut end, 0, 4);
            add(&mut end, start + bytes, 8);
            add(&mut end, 1, 4);
            self.put(&end)?;
        }
        let comment = self.commit.map(|commit| commit.to_string()).unwrap_or_default();
        let mut end = vec![];
        add(&mut end, 0x0605_4b50, 4);
        add(&mut end, 0, 4);
        add(&mut end, self.entries.min(0xffff), 2);
        add(&mut end, self.entries.min(0xffff), 2);
        add(&mut end, bytes, 4);
        add(&mut end, start.min(MAX32), 4);
        add(&mut end, comment.len() as u64, 2);
        end.extend(comment.bytes());
        self.put(&end)?;
        Ok(self.out)
    }

    fn put(&mut self, bytes: &[u8]) -> Result<(), Error> {
        self.offset += bytes.len() as u64;
        Ok(self.out.write_all(bytes)?)
    }

    /// Fields that header and directory have in common, from the flags to the sizes.
    fn common(&self, record: &Record<'_>, sizes: [u64; 2], out: &mut Vec<u8>) {
        add(out, record.flags.into(), 2);
        add(out, record.method.into(), 2);
        add(out, self.dos_time.into(), 2);
        add(out, self.dos_date.into(), 2);
        add(out, record.crc.into(), 4);
        sizes.iter().for_each(|size| add(out, *size, 4));
        add(out, record.path.len() as u64, 2);
    }

    fn time_field(&self, out: &mut Vec<u8>) {
        add(out, 0x5455, 2);
        add(out, 5, 2);
        out.push(1);
        add(out, self.time.into(), 4);
    }

    fn begin(&mut self, record: &Record<'_>) -> Result<(), Error> {
        let mut header = vec![];
        add(&mut header, 0x0403_4b50, 4);
        add(&mut header, version(record), 2);
        let sizes = if record.zip64 { [MAX32; 2] } else { [record.packed_bytes, record.bytes] };
        self.common(record, sizes, &mut header);
        add(&mut header, if record.zip64 { 9 + 20 } else { 9 }, 2);
        header.extend(record.path);
        self.time_field(&mut header);
        if record.zip64 {
            add(&mut header, 1, 2);
            add(&mut header, 16, 2);
            add(&mut header, record.bytes, 8);
            add(&mut header, record.packed_bytes, 8);
        }
        self.put(&header)
    }

    fn end(&mut self, record: &Record<'_>) -> Result<(), Error> {
        let mut big = vec![];
        if record.packed_bytes > MAX32 || record.bytes > MAX32 || record.offset > MAX32 {
            for number in [record.bytes, record.packed_bytes, record.offset].into_iter().filter(|number| *number >= MAX32) {
                add(&mut big, number, 8);
            }
        }
        let mut line = vec![];
        add(&mut line, 0x0201_4b50, 4);
        add(&mut line, record.made_by.into(), 2);
        add(&mut line, version(record), 2);
        self.common(record, [record.packed_bytes.min(MAX32), record.bytes.min(MAX32)], &mut line);
        add(&mut line, if big.is_empty() { 9 } else { 13 + big.len() as u64 }, 2);
        add(&mut line, 0, 4); // no comment, first disk
        add(&mut line, record.is_text.into(), 2);
        add(&mut line, record.attributes.into(), 4);
        add(&mut line, record.offset.min(MAX32), 4);
        line.extend(record.path);
        self.time_field(&mut line);
        if !big.is_empty() {
            add(&mut line, 1, 2);
            add(&mut line, big.len() as u64, 2);
            line.extend(big);
        }
        if self.directory.len() + line.len() > ZIP_DIRECTORY_BYTES_MAX {
            let text = "this archive has too many entries for a zip file here; ask for --format=tar.gz";
            return Err(Error::Limit(text.to_owned()));
        }
        self.directory.extend(line);
        self.entries += 1;
        self.made_by_max = self.made_by_max.max(record.made_by);
        Ok(())
    }

    /// Data that are at hand: their sizes stand before them.
    fn add_whole(&mut self, record: &mut Record<'_>, data: &[u8], deflate: bool, binary: Option<bool>) -> Result<(), Error> {
        record.crc = crc32fast::hash(data);
        record.is_text = !binary.unwrap_or_else(|| looks_binary(data));
        record.bytes = data.len() as u64;
        let mut packed = vec![];
        if deflate && !data.is_empty() && self.level != 0 {
            let mut stream = RawDeflater::new(packed, self.level);
            stream.write_all(data)?;
            packed = stream.finish()?;
        }
        let body = if !packed.is_empty() && packed.len() < data.len() { packed.as_slice() } else { data };
        record.method = if body.len() < data.len() { DEFLATED } else { STORED };
        record.packed_bytes = body.len() as u64;
        record.zip64 = record.bytes > MAX32 || record.packed_bytes > MAX32;
        self.begin(record)?;
        self.put(body)
    }

    /// Data that come in pieces: their sizes stand behind them.
    fn add_pieces(&mut self, record: &mut Record<'_>, content: &Content<'_>, binary: Option<bool>) -> Result<(), Error> {
        let Content::Pieces(whole, cancel) = content else { return Ok(()) };
        record.flags |= FLAG_STREAM;
        record.bytes = whole.size();
        record.zip64 = record.bytes > MAX32 / 2;
        record.method = if self.level == 0 { STORED } else { DEFLATED };
        record.packed_bytes = if record.method == STORED { record.bytes } else { 0 };
        self.begin(record)?;
        let (mut crc, mut is_binary) = (crc32fast::Hasher::new(), binary);
        let mut counted = Counted { out: &mut self.out, bytes: 0 };
        let mut see = |piece: &[u8]| {
            crc.update(piece);
            is_binary.get_or_insert_with(|| looks_binary(piece));
            cancel.check()
        };
        if record.method == STORED {
            whole.each_piece(|piece| {
                see(piece)?;
                Ok::<(), Error>(counted.write_all(piece)?)
            })?;
        } else {
            let mut stream = RawDeflater::new(&mut counted, self.level);
            whole.each_piece(|piece| {
                see(piece)?;
                Ok::<(), Error>(stream.write_all(piece)?)
            })?;
            stream.finish()?;
        }
        record.packed_bytes = counted.bytes;
        self.offset += record.packed_bytes;
        record.crc = crc.finalize();
        record.is_text = !is_binary.unwrap_or(false);
        let mut behind = vec![];
        add(&mut behind, 0x0807_4b50, 4);
        add(&mut behind, record.crc.into(), 4);
        let width = if record.bytes >= MAX32 || record.packed_bytes >= MAX32 { 8 } else { 4 };
        add(&mut behind, record.packed_bytes, width);
        add(&mut behind, record.bytes, width);
        self.put(&behind)
    }
}

impl<W: Write> Archiver for Zip<W> {
    fn add(&mut self, entry: &Entry<'_>) -> Result<(), Error> {
        if entry.path.len() > PATH_BYTES_MAX {
            return Err(Error::Limit(format!("a path of {} bytes does not fit a zip file; ask for --format=tar", entry.path.len())));
        }
        let is_utf8 = !entry.path.is_ascii() && std::str::from_utf8(entry.path).is_ok();
        let (made_by, attributes) = match entry.mode {
            Mode::Folder => (0, 16),
            Mode::Link => (MADE_ON_UNIX, 0o120_777 << 16),
            Mode::File => (0, 0),
            Mode::Executable => (MADE_ON_UNIX, 0o100_755 << 16),
        };
        let flags = if is_utf8 { FLAG_UTF8 } else { 0 };
        let (path, offset, zip64) = (entry.path, self.offset, false);
        let mut record =
            Record { path, made_by, flags, method: STORED, crc: 0, packed_bytes: 0, bytes: 0, zip64, is_text: false, attributes, offset };
        match &entry.content {
            Content::None => self.begin(&record)?,
            Content::Whole(data) => self.add_whole(&mut record, data, entry.mode != Mode::Link, entry.binary)?,
            content @ Content::Pieces(..) => self.add_pieces(&mut record, content, entry.binary)?,
        }
        self.end(&record)
    }
}

/// A writer that counts.
struct Counted<W> {
    out: W,
    bytes: u64,
}

impl<W: Write> Write for Counted<W> {
    fn write(&mut self, data: &[u8]) -> std::io::Result<usize> {
        let taken = self.out.write(data)?;
        self.bytes += taken as u64;
        Ok(taken)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.out.flush()
    }
}

fn version(record: &Record<'_>) -> u64 {
    u64::from(if record.zip64 { VERSION_ZIP64 } else { VERSION_PLAIN })
}

fn looks_binary(data: &[u8]) -> bool {
    data[..data.len().min(TEXT_PROBE_BYTES)].contains(&0)
}

/// The low `bytes` bytes of `number`, the lowest first.
fn add(out: &mut Vec<u8>, number: u64, bytes: usize) {
    out.extend_from_slice(&number.to_le_bytes()[..bytes]);
}

/// Date and time as MS-DOS has them, to two seconds, in UTC; before 1980 and after 2107 they mean nothing.
fn dos_time(time: u64) -> (u16, u16) {
    let Moment { year, month, day, hour, minute, second } = Moment::at(time);
    let date = (day + month * 32).wrapping_add(year.wrapping_sub(1980).wrapping_mul(512));
    let clock = second / 2 + minute * 32 + hour * 2048;
    (date as u16, clock as u16)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dos_dates_are_those_of_the_calendar() {
        for (time, year, month, day) in [(315_532_800, 1980, 1, 1), (951_782_400, 2000, 2, 29), (1_735_603_200, 2024, 12, 31)] {
            assert_eq!(dos_time(time), ((year - 1980) * 512 + month * 32 + day, 0), "{year}-{month}-{day}");
        }
        assert_eq!(dos_time(315_532_800 + 12 * 3600 + 34 * 60 + 56).1, 12 * 2048 + 34 * 32 + 28);
    }
}
