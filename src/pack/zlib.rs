//! Deflated bytes into plain ones and back: the one file that names a zlib crate.
//!
//! Inflating stops within some hundred bytes of the size that was declared, so a stream that lies about its size costs
//! no more than an honest one. Preset dictionaries are refused by the decoder.

use super::Error;
use gix_zlib::stream::deflate::{Compress, FlushCompress};
use gix_zlib::{Decompress, FlushDecompress, Status};

/// Room behind the output in which the decoder may run on its fast path to the very end of a small object.
pub const SPARE_BYTES: usize = 320;
const STEP_BYTES_MAX: usize = 1 << 30;
/// Room made for deflated bytes at a time.
const OUT_BYTES_MIN: usize = 128;
const OUT_BYTES_MAX: usize = 4 << 20;

/// A reusable decoder; about 40 kB of state.
pub struct Inflater(Decompress);

/// How far one call came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Inflated {
    /// Bytes taken from the input.
    pub consumed: usize,
    /// Bytes put into the output.
    pub written: usize,
    /// The stream has ended and its checksum was right.
    pub ended: bool,
}

impl Default for Inflater {
    fn default() -> Self {
        Self::new()
    }
}

impl Inflater {
    /// A decoder at the start of a stream.
    pub fn new() -> Self {
        Self(Decompress::new())
    }

    /// Begin another stream.
    pub fn reset(&mut self) {
        self.0.reset();
    }

    /// Take what can be taken from `input` and put what fits into `out`; call again with more of either until `ended`.
    ///
    /// With nothing left to do (`consumed` and `written` both 0, not `ended`) more input or room is needed.
    /// It is fastest when `out` has some hundred bytes more room than the stream needs.
    pub fn step(&mut self, input: &[u8], out: &mut [u8]) -> Result<Inflated, Error> {
        let (before_in, before_out) = (self.0.total_in(), self.0.total_out());
        // The decoder counts what is left of either in 32 bits.
        let input = &input[..input.len().min(STEP_BYTES_MAX)];
        let room = out.len().min(STEP_BYTES_MAX);
        // "Finish" only says that the decoder need not expect to be called again: it works just as well when it is.
        let status = match self.0.decompress(input, &mut out[..room], FlushDecompress::Finish) {
            Ok(status) => status,
            Err(err) => {
                let what = self.0.error_message().map_or_else(|| err.to_string(), str::to_owned);
                return Err(Error::BadPack(format!("inflate: data stream error ({what})")));
            }
        };
        Ok(Inflated {
            consumed: (self.0.total_in() - before_in) as usize,
            written: (self.0.total_out() - before_out) as usize,
            ended: status == Status::StreamEnd,
        })
    }

    /// Inflate the stream at the start of `input` into `out`, which becomes exactly `size` bytes long.
    ///
    /// Returns the bytes of `input` that the stream takes. A stream that makes more or fewer bytes, or
    /// that ends too early, is an error. The caller has checked `size` against its limits.
    pub fn whole(&mut self, input: &[u8], size: usize, out: &mut Vec<u8>) -> Result<usize, Error> {
        out.clear();
        let room = size.saturating_add(SPARE_BYTES);
        out.try_reserve_exact(room).map_err(|_| Error::Limit { what: "memory for one object (bytes)", limit: size as u64 })?;
        out.resize(room, 0);
        self.reset();
        let mut all = Inflated { consumed: 0, written: 0, ended: false };
        while !all.ended && all.written <= size {
            let step = self.step(&input[all.consumed..], &mut out[all.written..])?;
            if step.consumed == 0 && step.written == 0 && !step.ended {
                break;
            }
            all = Inflated { consumed: all.consumed + step.consumed, written: all.written + step.written, ended: step.ended };
        }
        out.truncate(size);
        if !all.ended || all.written != size {
            return Err(Error::BadPack(format!("inflated size is not the declared {size} bytes")));
        }
        Ok(all.consumed)
    }
}

/// A reusable encoder; about 300 kB of state.
pub struct Deflater(Compress);

impl Deflater {
    /// An encoder at zlib `level` 0 to 9.
    pub fn new(level: i32) -> Self {
        Self(Compress::new(gix_zlib::Compression::new(level).unwrap_or_default()))
    }

    /// Append the zlib stream of `data` to `out`.
    pub fn whole(&mut self, data: &[u8], out: &mut Vec<u8>) -> Result<(), Error> {
        self.0.reset();
        let (start, mut taken) = (out.len(), 0);
        loop {
            // Deflate makes data at most a little longer; most becomes much shorter.
            let written = out.len();
            let room = ((data.len() - taken) / 2).clamp(OUT_BYTES_MIN, OUT_BYTES_MAX);
            out.try_reserve(room).map_err(|_| Error::Limit { what: "memory for one deflated object (bytes)", limit: data.len() as u64 })?;
            out.resize(written + room, 0);
            let status = self.0.compress(&data[taken..], &mut out[written..], FlushCompress::Finish);
            taken = self.0.total_in() as usize;
            out.truncate(start + self.0.total_out() as usize);
            match status {
                Ok(Status::StreamEnd) => return Ok(()),
                Ok(_) => {}
                Err(err) => return Err(std::io::Error::other(err.to_string()).into()),
            }
        }
    }
}

/// A writer that deflates without zlib's frame round the stream (RFC 1951): for gzip and zip, which have their own.
pub struct RawDeflater<W: std::io::Write>(gix_zlib::stream::deflate::Write<Unframed<W>>);

impl<W: std::io::Write> RawDeflater<W> {
    /// A stream at `level` 0 to 9 that goes to `out`.
    pub fn new(out: W, level: i32) -> Self {
        let level = gix_zlib::Compression::new(level).unwrap_or_default();
        Self(gix_zlib::stream::deflate::Write::new(Unframed { out, skipped: 0, tail: vec![] }, level))
    }

    /// End the stream and give `out` back.
    pub fn finish(mut self) -> std::io::Result<W> {
        std::io::Write::flush(&mut self.0)?;
        Ok(self.0.into_inner().out)
    }
}

impl<W: std::io::Write> std::io::Write for RawDeflater<W> {
    fn write(&mut self, data: &[u8]) -> std::io::Result<usize> {
        self.0.write(data)
    }

    /// Does nothing: flushing would end the stream.
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Lets a zlib stream through without its two bytes of header and its checksum.
struct Unframed<W> {
    out: W,
    skipped: usize,
    tail: Vec<u8>,
}

const ZLIB_HEADER_BYTES: usize = 2;
const ZLIB_CHECKSUM_BYTES: usize = 4;

impl<W: std::io::Write> std::io::Write for Unframed<W> {
    fn write(&mut self, data: &[u8]) -> std::io::Result<usize> {
        let skip = (ZLIB_HEADER_BYTES - self.skipped).min(data.len());
        self.skipped += skip;
        let rest = &data[skip..];
        // Always hold back as much as may turn out to be the checksum.
        let kept = rest.len().min(ZLIB_CHECKSUM_BYTES);
        let from_tail = (self.tail.len() + kept).saturating_sub(ZLIB_CHECKSUM_BYTES);
        self.out.write_all(&self.tail[..from_tail])?;
        self.out.write_all(&rest[..rest.len() - kept])?;
        self.tail.drain(..from_tail);
        self.tail.extend_from_slice(&rest[rest.len() - kept..]);
        Ok(data.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_is_deflated_is_inflated_again(
            seeds in prop::collection::vec((any::<u32>(), 0usize..40_000, any::<bool>()), 1..4),
            level in 0i32..=9,
        ) {
            let (mut deflater, mut inflater) = (Deflater::new(level), Inflater::new());
            for (seed, len, noise) in seeds {
                let byte = |n: u32| if noise { (n ^ seed).wrapping_mul(2_654_435_761).rotate_left(n & 31) as u8 } else { (n / 100) as u8 };
                let data: Vec<u8> = (0..len as u32).map(byte).collect();
                let mut stream = b"before".to_vec();
                deflater.whole(&data, &mut stream).expect("memory");
                let mut out = vec![];
                let taken = inflater.whole(&stream[6..], data.len(), &mut out).expect("whole");
                prop_assert_eq!(taken + 6, stream.len());
                prop_assert!(out == data);
            }
        }
    }
}
