//! Copies and literals into the bytes of a delta.
//!
//! Source: gitformat-pack, "Deltified representation". A copy names an offset in four bytes and a length in three, of
//! which bytes that are zero are left out; like git, lengths above 64 KiB are split and exactly 64 KiB is written as 0.

/// Longest run of literal bytes in one instruction.
const LITERAL_BYTES_MAX: usize = 127;
/// Longest copy in one instruction.
const COPY_BYTES_MAX: usize = 0x1_0000;

/// A delta in the making.
pub(super) struct Encoder {
    out: Vec<u8>,
}

impl Encoder {
    /// The beginning of a delta from a base of `base_bytes` to an object of `target_bytes`.
    pub fn new(base_bytes: usize, target_bytes: usize) -> Self {
        let mut encoder = Self { out: Vec::with_capacity(128) };
        encoder.size(base_bytes);
        encoder.size(target_bytes);
        encoder
    }

    /// Bytes so far.
    pub fn len(&self) -> usize {
        self.out.len()
    }

    fn size(&mut self, mut size: usize) {
        while size >= 0x80 {
            self.out.push(size as u8 | 0x80);
            size >>= 7;
        }
        self.out.push(size as u8);
    }

    /// Insert these bytes.
    pub fn literal(&mut self, bytes: &[u8]) {
        for run in bytes.chunks(LITERAL_BYTES_MAX) {
            self.out.push(run.len() as u8);
            self.out.extend_from_slice(run);
        }
    }

    /// Copy `len` bytes from `offset` of the base, which ends below 4 GiB.
    pub fn copy(&mut self, mut offset: usize, mut len: usize) {
        while len > 0 {
            let step = len.min(COPY_BYTES_MAX);
            let at = self.out.len();
            let mut op = 0x80u8;
            self.out.push(op);
            let length = if step == COPY_BYTES_MAX { 0 } else { step };
            let numbers = (offset as u32).to_le_bytes().into_iter().chain((length as u32).to_le_bytes().into_iter().take(3));
            for (bit, byte) in numbers.enumerate() {
                if byte != 0 {
                    op |= 1 << bit;
                    self.out.push(byte);
                }
            }
            self.out[at] = op;
            (offset, len) = (offset + step, len - step);
        }
    }

    /// The whole delta.
    pub fn finish(self) -> Vec<u8> {
        self.out
    }
}

#[cfg(test)]
mod tests {
    use super::super::{apply_delta, delta_sizes};
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn any_copies_and_literals_are_applied_as_they_were_meant(
            ops in prop::collection::vec((any::<bool>(), 0usize..300_000, 1usize..200_000), 0..6),
        ) {
            let base: Vec<u8> = (0..300_000u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
            let pieces: Vec<(bool, &[u8], usize)> = ops.iter().map(|(copy, offset, len)| {
                let end = (offset + len).min(base.len());
                (*copy, &base[*offset..end], *offset)
            }).collect();
            let target: Vec<u8> = pieces.iter().flat_map(|(_, bytes, _)| bytes.iter().copied()).collect();
            let mut encoder = Encoder::new(base.len(), target.len());
            for (copy, bytes, offset) in &pieces {
                if *copy { encoder.copy(*offset, bytes.len()) } else { encoder.literal(bytes) }
            }
            let delta = encoder.finish();
            prop_assert_eq!(delta_sizes(&delta), Some((base.len() as u64, target.len() as u64)));
            let mut out = vec![];
            prop_assert_eq!(apply_delta(&base, &delta, &mut out), Some(()));
            prop_assert!(out == target);
        }
    }

    #[test]
    fn bytes_that_are_zero_are_left_out() {
        let mut encoder = Encoder::new(200, 0x1_0000);
        encoder.copy(0, 0x1_0000);
        assert_eq!(encoder.finish(), [200, 1, 0x80, 0x80, 4, 0x80]);
        let mut encoder = Encoder::new(0x200, 2);
        encoder.copy(0x100, 2);
        assert_eq!(encoder.finish(), [0x80, 4, 2, 0x80 | 2 | 0x10, 1, 2]);
    }
}
