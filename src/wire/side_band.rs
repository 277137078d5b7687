//! Bytes into bands: pack data, progress and errors over one stream of pkt-lines.
//!
//! Source: gitprotocol-pack, "Packfile Data". A line of `side-band` holds at most 999 bytes of data behind its
//! band's number, one of `side-band-64k` 65,515. Long slices go out with one gathering write per few lines and
//! are not copied.

use crate::base::limits::PKT_PAYLOAD_BYTES_MAX;
use std::io::{IoSlice, Result, Write};

/// What a line carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Band {
    /// Pack data, or the report of a push.
    Data = 1,
    /// Text for the user, shown as `remote: `.
    Progress = 2,
    /// The last words before the connection ends.
    Error = 3,
}

/// Data bytes in one line of `side-band`.
const SMALL_BYTES: usize = 1000 - 5;
/// Data bytes in one line of `side-band-64k`.
const LARGE_BYTES: usize = PKT_PAYLOAD_BYTES_MAX - 1;
/// Lines handed to one gathering write.
const LINES_PER_WRITE: usize = 16;

/// A writer of band 1 that can also speak on the others; without side-band it writes plain bytes and stays silent else.
pub struct SideBand<W: Write> {
    out: W,
    line_bytes: usize,
    keep_alive: Band,
    pending: Vec<u8>,
}

impl<W: Write> SideBand<W> {
    /// `side-band-64k`.
    pub fn large(out: W) -> Self {
        Self::with(out, LARGE_BYTES)
    }

    /// `side-band`.
    pub fn small(out: W) -> Self {
        Self::with(out, SMALL_BYTES)
    }

    /// No bands at all: data goes out as it is.
    pub fn none(out: W) -> Self {
        Self::with(out, 0)
    }

    fn with(out: W, line_bytes: usize) -> Self {
        Self { out, line_bytes, keep_alive: Band::Data, pending: Vec::with_capacity(LARGE_BYTES) }
    }

    /// Whether the peer can be told something beside the data.
    pub fn has_bands(&self) -> bool {
        self.line_bytes > 0
    }

    /// Say `text` on `band` at once.
    pub fn say(&mut self, band: Band, text: &[u8]) -> Result<()> {
        if self.has_bands() {
            self.send_pending()?;
            self.lines(band, text)?;
            self.out.flush()?;
        }
        Ok(())
    }

    /// Where a sign of life goes: on band 1 while a pack is awaited, on band 2 before its section (`sideband-all`).
    pub fn keep_alive_on(&mut self, band: Band) {
        self.keep_alive = band;
    }

    /// Send an empty line: nothing but a sign of life.
    pub fn keep_alive(&mut self) -> Result<()> {
        if self.has_bands() {
            self.send_pending()?;
            self.out.write_all(&[b'0', b'0', b'0', b'5', self.keep_alive as u8])?;
            self.out.flush()?;
        }
        Ok(())
    }

    /// The writer beneath, for packets outside of any band; nothing may be pending.
    pub fn inner(&mut self) -> &mut W {
        &mut self.out
    }

    /// Send what is pending and give the writer back.
    pub fn finish(mut self) -> Result<W> {
        self.send_pending()?;
        Ok(self.out)
    }

    fn send_pending(&mut self) -> Result<()> {
        if self.pending.is_empty() {
            return Ok(());
        }
        let pending = std::mem::take(&mut self.pending);
        self.lines(Band::Data, &pending)?;
        self.pending = pending;
        self.pending.clear();
        Ok(())
    }

    fn lines(&mut self, band: Band, data: &[u8]) -> Result<()> {
        for group in data.chunks(self.line_bytes * LINES_PER_WRITE) {
            let mut headers = [[0u8; 5]; LINES_PER_WRITE];
            for (header, line) in headers.iter_mut().zip(group.chunks(self.line_bytes)) {
                write!(&mut header[..4], "{:04x}", line.len() + 5)?;
                header[4] = band as u8;
            }
            let mut slices = Vec::with_capacity(2 * LINES_PER_WRITE);
            for (header, line) in headers.iter().zip(group.chunks(self.line_bytes)) {
                slices.push(IoSlice::new(header));
                slices.push(IoSlice::new(line));
            }
            write_all_slices(&mut self.out, &mut slices)?;
        }
        Ok(())
    }
}

impl<W: Write> Write for SideBand<W> {
    fn write(&mut self, data: &[u8]) -> Result<usize> {
        if !self.has_bands() {
            return self.out.write(data);
        }
        let room = LARGE_BYTES - self.pending.len();
        if self.pending.is_empty() && data.len() >= LARGE_BYTES {
            let whole = data.len() / self.line_bytes * self.line_bytes;
            self.lines(Band::Data, &data[..whole])?;
            return Ok(whole);
        }
        let taken = room.min(data.len());
        self.pending.extend_from_slice(&data[..taken]);
        if self.pending.len() == LARGE_BYTES {
            self.send_pending()?;
        }
        Ok(taken)
    }

    fn flush(&mut self) -> Result<()> {
        self.send_pending()?;
        self.out.flush()
    }
}

fn write_all_slices(out: &mut impl Write, mut slices: &mut [IoSlice<'_>]) -> Result<()> {
    IoSlice::advance_slices(&mut slices, 0);
    while !slices.is_empty() {
        match out.write_vectored(slices) {
            Ok(0) => return Err(std::io::ErrorKind::WriteZero.into()),
            Ok(written) => IoSlice::advance_slices(&mut slices, written),
            Err(err) if err.kind() == std::io::ErrorKind::Interrupted => {}
            Err(err) => return Err(err),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{Pkt, PktReader};

    fn demultiplex(bytes: &[u8], longest: usize) -> (Vec<u8>, Vec<u8>) {
        let (mut data, mut progress) = (vec![], vec![]);
        let mut reader = PktReader::new(bytes);
        while let Some(pkt) = reader.read().expect("legal") {
            let Pkt::Data([band, rest @ ..]) = pkt else { panic!("{pkt:?}") };
            assert!(rest.len() <= longest);
            match band {
                1 => data.extend_from_slice(rest),
                2 => progress.extend_from_slice(rest),
                band => panic!("band {band}"),
            }
        }
        (data, progress)
    }

    #[test]
    fn data_and_progress_arrive_whole_and_apart() {
        let sent: Vec<u8> = (0..700_000u32).map(|n| (n % 251) as u8).collect();
        for small in [true, false] {
            let mut out = vec![];
            let mut band = if small { SideBand::small(&mut out) } else { SideBand::large(&mut out) };
            band.write_all(&sent[..10]).expect("memory");
            band.say(Band::Progress, b"half\n").expect("memory");
            band.write_all(&sent[10..400_000]).expect("memory");
            band.write_all(&sent[400_000..]).expect("memory");
            band.finish().expect("memory");
            let (data, progress) = demultiplex(&out, if small { SMALL_BYTES } else { LARGE_BYTES });
            assert_eq!(data, sent);
            assert_eq!(progress, b"half\n");
        }
    }

    #[test]
    fn without_bands_only_data_goes_out() {
        let mut out = vec![];
        let mut band = SideBand::none(&mut out);
        band.say(Band::Progress, b"unheard").expect("memory");
        band.write_all(b"PACK").expect("memory");
        band.finish().expect("memory");
        assert_eq!(out, b"PACK");
    }
}
