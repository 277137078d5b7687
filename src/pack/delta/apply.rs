//! A base and a delta into an object.
//!
//! Source: gitformat-pack, "Deltified representation": two sizes, then instructions that copy a range
//! of the base or insert literal bytes.

/// Read one little-endian base-128 size; `None` when `delta` ends within it or it overflows.
fn read_size(delta: &[u8], at: &mut usize) -> Option<u64> {
    let (mut size, mut shift) = (0u64, 0u32);
    loop {
        let byte = *delta.get(*at)?;
        *at += 1;
        let bits = u64::from(byte & 0x7f);
        if shift >= 64 || (bits << shift) >> shift != bits {
            return None;
        }
        size |= bits << shift;
        shift += 7;
        if byte & 0x80 == 0 {
            return Some(size);
        }
    }
}

/// The sizes that a delta begins with, in bytes: of its base and of its result. `None`: not a delta.
pub fn delta_sizes(delta: &[u8]) -> Option<(u64, u64)> {
    Delta::read(delta).map(|delta| (delta.base_size, delta.size))
}

/// One instruction of a delta.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeltaOp<'a> {
    /// Bytes of the base.
    Copy {
        /// Where they begin.
        from: usize,
        /// How many.
        len: usize,
    },
    /// These bytes.
    Insert(&'a [u8]),
}

/// A delta as a reader sees it: two sizes, then instructions.
#[derive(Clone, Copy, Debug)]
pub struct Delta<'a> {
    /// Bytes of the base that it was made for.
    pub base_size: u64,
    /// Bytes that it makes.
    pub size: u64,
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Delta<'a> {
    /// Read the sizes; `None`: not a delta.
    pub fn read(bytes: &'a [u8]) -> Option<Self> {
        let mut at = 0;
        Some(Self { base_size: read_size(bytes, &mut at)?, size: read_size(bytes, &mut at)?, bytes, at })
    }

    /// Whether no instruction is left.
    #[inline]
    pub fn is_done(&self) -> bool {
        self.at == self.bytes.len()
    }

    /// The next instruction; `None` when it is cut off or reserved.
    #[inline]
    pub fn next_op(&mut self) -> Option<DeltaOp<'a>> {
        let (delta, mut at) = (self.bytes, self.at);
        let op = *delta.get(at)?;
        at += 1;
        let op = if op & 0x80 != 0 {
            let (mut from, mut len) = (0usize, 0usize);
            for bit in 0..4 {
                if op & (1 << bit) != 0 {
                    from |= usize::from(*delta.get(at)?) << (8 * bit);
                    at += 1;
                }
            }
            for bit in 0..3 {
                if op & (0x10 << bit) != 0 {
                    len |= usize::from(*delta.get(at)?) << (8 * bit);
                    at += 1;
                }
            }
            DeltaOp::Copy { from, len: if len == 0 { 0x10000 } else { len } }
        } else if op != 0 {
            let literal = delta.get(at..at + usize::from(op))?;
            at += literal.len();
            DeltaOp::Insert(literal)
        } else {
            return None;
        };
        self.at = at;
        Some(op)
    }
}

/// Two sizes and the shortest instruction. git reads no delta of fewer bytes (`delta.h`: `DELTA_SIZE_MIN`), so none that makes
/// nothing, and must not meet one in what we took.
const DELTA_BYTES_MIN: usize = 4;

/// Replace `out` by what `delta` makes of `base`.
///
/// `None` when the delta is malformed, was made for a base of another size, copies from outside the
/// base, or makes more or fewer bytes than it declares; `out` is then undefined. The caller has
/// checked the declared size ([`delta_sizes`]) against its limits.
pub fn apply_delta(base: &[u8], delta: &[u8], out: &mut Vec<u8>) -> Option<()> {
    if delta.len() < DELTA_BYTES_MIN {
        return None;
    }
    let mut delta = Delta::read(delta)?;
    let size = usize::try_from(delta.size).ok()?;
    if delta.base_size != base.len() as u64 {
        return None;
    }
    out.clear();
    out.try_reserve_exact(size).ok()?;
    while !delta.is_done() {
        let bytes = match delta.next_op()? {
            DeltaOp::Copy { from, len } => base.get(from..from.checked_add(len)?)?,
            DeltaOp::Insert(bytes) => bytes,
        };
        if bytes.len() > size - out.len() {
            return None;
        }
        out.extend_from_slice(bytes);
    }
    (out.len() == size).then_some(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn copies_and_literals_make_the_result() {
        let delta = [5, 8, 0x91, 1, 4, 4, b'l', b'i', b't', b'!'];
        let mut out = vec![];
        assert_eq!(delta_sizes(&delta), Some((5, 8)));
        assert_eq!(apply_delta(b"abcde", &delta, &mut out), Some(()));
        assert_eq!(out, b"bcdelit!");
    }

    #[test]
    fn lies_are_refused() {
        let mut out = vec![];
        for (what, delta) in [
            ("base of another size", &[4, 4, 0x91, 1, 4][..]),
            ("nothing at all, which git does not read", &[5, 0]),
            ("copy past the base", &[5, 5, 0x91, 1, 5]),
            ("more than declared", &[5, 3, 0x91, 1, 4]),
            ("less than declared", &[5, 9, 0x91, 1, 4]),
            ("reserved instruction", &[5, 1, 0, 0]),
            ("truncated literal", &[5, 4, 4, b'x']),
            ("empty", &[]),
        ] {
            assert_eq!(apply_delta(b"abcde", delta, &mut out), None, "{what}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(base: Vec<u8>, delta: Vec<u8>) {
            if delta_sizes(&delta).is_some_and(|(_, size)| size < 1 << 20) {
                let _ = apply_delta(&base, &delta, &mut vec![]);
            }
        }
    }
}
