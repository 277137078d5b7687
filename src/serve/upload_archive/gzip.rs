//! Bytes into a gzip stream.
//!
//! Source: RFC 1952. The header is git's (`archive-tar.c`: no name, no time, system Unix), so that the same archive is the
//! same bytes each time; the deflated data are those of another zlib than git's and differ from its.

use crate::pack::RawDeflater;
use crc32fast::Hasher;
use std::io::{Result, Write};

/// A writer of one gzip stream.
pub(super) struct Gzip<W: Write> {
    stream: RawDeflater<W>,
    crc: Hasher,
    bytes: u32,
}

impl<W: Write> Gzip<W> {
    /// Begin a stream at `level` 0 to 9.
    pub fn new(mut out: W, level: i32) -> Result<Self> {
        let extra_flags = match level {
            9 => 2,
            0 | 1 => 4,
            _ => 0,
        };
        out.write_all(&[0x1f, 0x8b, 8, 0, 0, 0, 0, 0, extra_flags, 3])?;
        Ok(Self { stream: RawDeflater::new(out, level), crc: Hasher::new(), bytes: 0 })
    }

    /// End the stream.
    pub fn finish(self) -> Result<W> {
        let mut out = self.stream.finish()?;
        out.write_all(&self.crc.finalize().to_le_bytes())?;
        out.write_all(&self.bytes.to_le_bytes())?;
        Ok(out)
    }
}

impl<W: Write> Write for Gzip<W> {
    fn write(&mut self, data: &[u8]) -> Result<usize> {
        let taken = self.stream.write(data)?;
        self.crc.update(&data[..taken]);
        self.bytes = self.bytes.wrapping_add(taken as u32);
        Ok(taken)
    }

    fn flush(&mut self) -> Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pack::Inflater;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_goes_in_comes_out_whatever_the_pieces(pieces in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..3000), 0..12), level in 0..10) {
            let mut gzip = Gzip::new(vec![], level).expect("memory");
            for piece in &pieces {
                gzip.write_all(piece).expect("memory");
            }
            let made = gzip.finish().expect("memory");
            let wanted = pieces.concat();
            // The same deflated bytes in zlib's frame.
            let adler = wanted.iter().fold((1u32, 0u32), |(a, b), byte| { let a = (a + u32::from(*byte)) % 65521; (a, (b + a) % 65521) });
            let framed = [&[0x78, 0x01], &made[10..made.len() - 8], &(adler.1 << 16 | adler.0).to_be_bytes()].concat();
            let mut found = vec![];
            Inflater::new().whole(&framed, wanted.len(), &mut found).expect("a whole stream");
            prop_assert_eq!(&found, &wanted);
            prop_assert_eq!(&made[made.len() - 4..], &(wanted.len() as u32).to_le_bytes());
            prop_assert_eq!(&made[made.len() - 8..made.len() - 4], &crc32fast::hash(&wanted).to_le_bytes());
        }
    }
}
