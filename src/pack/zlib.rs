//! Deflated bytes into plain ones and back: the one file that names a zlib crate.
//!
//! Inflating never writes past the size that was declared, so a stream that lies about its size costs
//! no more than an honest one. Preset dictionaries are refused by the decoder.

use super::Error;
use gix_zlib::{Decompress, FlushDecompress, Status};

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
    pub fn step(&mut self, input: &[u8], out: &mut [u8]) -> Result<Inflated, Error> {
        let (before_in, before_out) = (self.0.total_in(), self.0.total_out());
        let status = self
            .0
            .decompress(input, out, FlushDecompress::None)
            .map_err(|err| Error::BadPack(format!("inflate: data stream error ({err})")))?;
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
        out.try_reserve_exact(size).map_err(|_| Error::Limit { what: "memory for one object (bytes)", limit: size as u64 })?;
        out.resize(size, 0);
        self.reset();
        let mut step = self.step(input, out)?;
        if !step.ended && step.written == size {
            // The last bytes of the stream make no output: give it one byte of room that it must not use.
            let rest = self.step(&input[step.consumed..], &mut [0u8; 1])?;
            step = Inflated { consumed: step.consumed + rest.consumed, written: size + rest.written, ended: rest.ended };
        }
        if !step.ended || step.written != size {
            return Err(Error::BadPack(format!("inflated size is not the declared {size} bytes")));
        }
        Ok(step.consumed)
    }
}

/// A reusable encoder.
pub struct Deflater {
    level: i32,
}

impl Deflater {
    /// An encoder at zlib `level` 0 to 9.
    pub fn new(level: i32) -> Self {
        Self { level }
    }

    /// Append the zlib stream of `data` to `out`.
    pub fn whole(&mut self, data: &[u8], out: &mut Vec<u8>) -> Result<(), Error> {
        use std::io::Write;
        let level = gix_zlib::Compression::new(self.level).unwrap_or_default();
        let mut stream = gix_zlib::stream::deflate::Write::new(out, level);
        stream.write_all(data)?;
        stream.flush()?;
        Ok(())
    }
}
