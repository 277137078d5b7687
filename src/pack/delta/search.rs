//! A base and an object into the copies and literals between them.
//!
//! The base is cut into blocks whose hashes go into a table; every position of the object is looked up in it, and
//! what matches is extended both ways (the greedy method of git's `diff-delta.c`). Positions of one hash form a
//! chain of bounded length, so that a base full of equal blocks costs no more than any other.
//! Objects of 4 GiB and more are not searched.

use super::encode::Encoder;

/// Bytes of a block: the shortest match that is found.
const BLOCK_BYTES: usize = 16;
/// Blocks looked at for one position; the longest match wins.
const CHAIN_MAX: usize = 8;
/// A match of this many bytes is good enough to look at no other.
const GOOD_MATCH_BYTES: usize = 2048;
/// Objects from this many bytes on are sampled before they are gone through: most bases that are tried are of no use.
const SAMPLED_BYTES_MIN: usize = 8 << 10;
/// Samples of one object, spread evenly, and positions looked up in each: enough for an aligned block of any copy.
const SAMPLES: usize = 32;
const SAMPLE_POSITIONS: usize = 2 * BLOCK_BYTES;
/// Samples that must have something in common with the base. A delta of less than half an object has copies in half of
/// them; where they are so few, there is none.
const SAMPLES_FOUND_MIN: usize = SAMPLES / 8;
/// No block.
const NONE: u32 = u32::MAX;

/// Where which block of a base lies. The base itself is not held.
pub struct BlockIndex {
    /// First block by hash, in chains through `next`.
    heads: Vec<u32>,
    next: Vec<u32>,
    base_bytes: usize,
}

impl BlockIndex {
    /// Index `base`.
    pub fn new(base: &[u8]) -> Self {
        let blocks = if base.len() < u32::MAX as usize { base.len() / BLOCK_BYTES } else { 0 };
        let mut heads = vec![NONE; (blocks + blocks / 2).next_power_of_two().max(64)];
        let mut next = vec![NONE; blocks];
        let mask = heads.len() - 1;
        // From the end, so that chains run from the front, where continuations of a copy are more often found.
        for block in (0..blocks).rev() {
            let bytes = &base[block * BLOCK_BYTES..][..BLOCK_BYTES];
            // Of equal neighbours one is enough: extension does the rest.
            if base.get((block + 1) * BLOCK_BYTES..(block + 2) * BLOCK_BYTES) == Some(bytes) && next[block + 1] == NONE {
                let head = &mut heads[hash(bytes) & mask];
                if *head == block as u32 + 1 {
                    *head = block as u32;
                    continue;
                }
            }
            let head = &mut heads[hash(bytes) & mask];
            next[block] = *head;
            *head = block as u32;
        }
        Self { heads, next, base_bytes: base.len() }
    }

    /// Bytes of memory that an index of a base of `base_bytes` takes.
    pub fn memory_bytes(base_bytes: usize) -> usize {
        let blocks = base_bytes / BLOCK_BYTES;
        4 * ((blocks + blocks / 2).next_power_of_two().max(64) + blocks)
    }

    /// The delta from `base`, which is what was indexed, to `target`; `None` when it has more than `bytes_max` bytes, and for an
    /// empty target: git reads no delta that makes nothing.
    pub fn delta(&self, base: &[u8], target: &[u8], bytes_max: usize) -> Option<Vec<u8>> {
        if target.is_empty() || base.len() != self.base_bytes || (bytes_max <= target.len() / 2 && self.is_unrelated(base, target)) {
            return None;
        }
        let mut encoder = Encoder::new(base.len(), target.len());
        let mask = self.heads.len() - 1;
        let (mut at, mut literal_from) = (0, 0);
        while let Some(block) = target.get(at..at + BLOCK_BYTES) {
            let head = self.heads[hash(block) & mask];
            let found = if head == NONE { None } else { self.longest(base, target, at, head) };
            let Some((mut from, mut len)) = found else {
                at += 1;
                if encoder.len() + (at - literal_from) > bytes_max {
                    return None;
                }
                continue;
            };
            let back = common_suffix(&base[..from], &target[literal_from..at]);
            (from, at, len) = (from - back, at - back, len + back);
            encoder.literal(&target[literal_from..at]);
            encoder.copy(from, len);
            at += len;
            literal_from = at;
            if encoder.len() > bytes_max {
                return None;
            }
        }
        if encoder.len() + (target.len() - literal_from) > bytes_max {
            return None;
        }
        encoder.literal(&target[literal_from..]);
        Some(encoder.finish()).filter(|delta| delta.len() <= bytes_max)
    }

    /// Whether samples of a big `target` have hardly anything in common with `base`.
    fn is_unrelated(&self, base: &[u8], target: &[u8]) -> bool {
        if target.len() < SAMPLED_BYTES_MIN {
            return false;
        }
        let mask = self.heads.len() - 1;
        let begins_here = |at: usize| {
            let wanted = &target[at..at + BLOCK_BYTES];
            let next = |block: u32| self.next.get(block as usize).copied();
            let mut chain = std::iter::successors(Some(self.heads[hash(wanted) & mask]), |block| next(*block));
            chain
                .by_ref()
                .take_while(|block| *block != NONE)
                .take(CHAIN_MAX)
                .any(|block| base[block as usize * BLOCK_BYTES..].starts_with(wanted))
        };
        let room = target.len() - SAMPLE_POSITIONS - BLOCK_BYTES;
        let starts = (0..SAMPLES).map(|sample| room / SAMPLES * sample);
        let found = starts.filter(|start| (*start..start + SAMPLE_POSITIONS).any(begins_here)).take(SAMPLES_FOUND_MIN).count();
        found < SAMPLES_FOUND_MIN
    }

    /// The longest match for `target[at..]` among the blocks of the chain that begins with `block`: offset and length.
    fn longest(&self, base: &[u8], target: &[u8], at: usize, mut block: u32) -> Option<(usize, usize)> {
        let wanted = &target[at..];
        let mut best = None;
        for _ in 0..CHAIN_MAX {
            let from = block as usize * BLOCK_BYTES;
            let len = common_prefix(&base[from..], wanted);
            if len >= BLOCK_BYTES && best.is_none_or(|(_, longest)| len > longest) {
                best = Some((from, len));
                if len >= GOOD_MATCH_BYTES {
                    break;
                }
            }
            block = self.next[block as usize];
            if block == NONE {
                break;
            }
        }
        best
    }
}

/// A hash of the 16 bytes of a block.
#[inline]
fn hash(block: &[u8]) -> usize {
    let half = |at: usize| u64::from_le_bytes(block[at..at + 8].try_into().expect("eight bytes of sixteen"));
    let mixed = (half(0) ^ half(8).rotate_left(29)).wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ half(8).wrapping_mul(0xC2B2_AE3D_27D4_EB4F);
    (mixed >> 24) as usize
}

/// How many bytes at the beginning of both are equal.
fn common_prefix(one: &[u8], other: &[u8]) -> usize {
    let len = one.len().min(other.len());
    let (one, other) = (&one[..len], &other[..len]);
    let mut at = 0;
    for (a, b) in one.chunks_exact(8).zip(other.chunks_exact(8)) {
        let half = |bytes: &[u8]| u64::from_le_bytes(bytes.try_into().expect("chunks of eight"));
        let difference = half(a) ^ half(b);
        if difference != 0 {
            return at + difference.trailing_zeros() as usize / 8;
        }
        at += 8;
    }
    at + one[at..].iter().zip(&other[at..]).take_while(|(a, b)| a == b).count()
}

/// How many bytes at the end of both are equal.
fn common_suffix(one: &[u8], other: &[u8]) -> usize {
    one.iter().rev().zip(other.iter().rev()).take_while(|(a, b)| a == b).count()
}

#[cfg(test)]
mod tests {
    use super::super::apply_delta;
    use super::*;
    use proptest::prelude::*;

    fn check(base: &[u8], target: &[u8], bytes_max: usize) -> Option<usize> {
        let delta = BlockIndex::new(base).delta(base, target, bytes_max)?;
        assert!(delta.len() <= bytes_max);
        let mut out = vec![];
        apply_delta(base, &delta, &mut out).expect("it was made for this base");
        assert!(out == target);
        Some(delta.len())
    }

    fn noise(seed: u32, len: usize) -> Vec<u8> {
        (0..len as u32).map(|n| ((n ^ seed).wrapping_mul(2_654_435_761).rotate_left(n & 15) >> 11) as u8).collect()
    }

    #[test]
    fn an_object_that_moved_changed_and_grew_takes_a_short_delta() {
        let base = noise(1, 200_000);
        let mut target = base[50_000..].to_vec();
        target.extend_from_slice(&base[..50_000]);
        target.splice(1_000..1_003, *b"another word");
        target.extend_from_slice(b"the end");
        let len = check(&base, &target, 1_000).expect("a short delta");
        assert!(len < 80, "{len}");
        assert_eq!(check(&base, &base, 100), Some(15), "two sizes, copies of 1, 2, 2 and 4 bytes");
    }

    #[test]
    fn a_delta_longer_than_asked_for_is_not_made() {
        let (base, target) = (noise(1, 10_000), noise(77, 10_000));
        assert_eq!(check(&base, &target, 5_000), None);
        assert!(check(&base, &target, 20_000).is_some());
        assert_eq!(check(&base, &base, 4), None);
    }

    #[test]
    fn samples_tell_what_has_nothing_in_common_from_what_has_half() {
        let base = noise(1, 100_000);
        for pieces in [1, 2, 40] {
            let piece = base.len() / pieces;
            let kept = |at: usize| &base[at * piece..][..piece * 11 / 20];
            let other = |at: usize| noise(77 + at as u32, piece * 9 / 20);
            let target: Vec<u8> = (0..pieces).flat_map(|at| [kept(at), &other(at)].concat()).collect();
            assert!(!BlockIndex::new(&base).is_unrelated(&base, &target));
            assert!(check(&base, &target, target.len() / 2).is_some(), "{pieces} pieces");
        }
        assert!(BlockIndex::new(&base).is_unrelated(&base, &noise(77, 100_000)));
        let mut target = noise(77, 100_000);
        target[..2_000].copy_from_slice(&base[..2_000]);
        assert!(BlockIndex::new(&base).is_unrelated(&base, &target), "one licence above all files is not enough");
    }

    #[test]
    fn equal_blocks_by_the_million_cost_no_time() {
        let base = vec![0u8; 16 << 20];
        let mut target = vec![0u8; 16 << 20];
        target[8 << 20] = 1;
        let len = check(&base, &target, 10_000).expect("a short delta");
        assert!(len < 4_000, "{len}");
        let wave: Vec<u8> = (0..4u32 << 20).map(|n| if n / 16 % 3 == 0 { 7 } else { (n % 16) as u8 }).collect();
        check(&wave, &wave[5..], 10_000).expect("a short delta");
    }

    proptest! {
        #[test]
        fn what_is_made_gives_the_target_or_nothing(
            base in prop::collection::vec(0u8..3, 0..600),
            cuts in prop::collection::vec((0usize..600, 0usize..100, any::<u8>()), 0..8),
            bytes_max in 0usize..700,
        ) {
            let mut target = vec![];
            for (from, len, byte) in cuts {
                let from = from.min(base.len());
                target.extend_from_slice(&base[from..(from + len).min(base.len())]);
                target.push(byte);
            }
            check(&base, &target, bytes_max);
            prop_assert!(target.is_empty() || check(&base, &target, 4_000).is_some());
        }

        #[test]
        fn prefixes_and_suffixes_are_counted(one: Vec<u8>, tail: Vec<u8>, other: Vec<u8>) {
            let (a, b) = ([&one[..], &tail].concat(), [&one[..], &other].concat());
            let prefix = a.iter().zip(&b).take_while(|(a, b)| a == b).count();
            prop_assert_eq!(common_prefix(&a, &b), prefix);
            let (a, b) = ([&tail[..], &one].concat(), [&other[..], &one].concat());
            let suffix = a.iter().rev().zip(b.iter().rev()).take_while(|(a, b)| a == b).count();
            prop_assert_eq!(common_suffix(&a, &b), suffix);
        }
    }
}
