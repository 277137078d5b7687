//! A compressed bitmap into [`Bits`].
//!
//! Source: git's bitmap format, "Appendix A: Serialization format for an EWAH bitmap": words of 64 bits, each run of
//! equal words as one header, then literal words. Zero words past the end of the set are let pass, as encoders leave
//! some; anything set there is an error.

use super::Bits;
use super::chunks::{be32, be64};

/// One bitmap as it lies in its file.
pub(super) struct Ewah<'a> {
    words: &'a [u8],
}

/// Bytes before the words: how many bits, how many words.
const HEADER_BYTES: usize = 8;
/// Bytes behind them: where the last header of a run is.
const TRAILER_BYTES: usize = 4;

impl<'a> Ewah<'a> {
    /// The bitmap that begins at `at` of `data`, and where it ends; `None` when it is cut off.
    pub fn read(data: &'a [u8], at: usize) -> Option<(Self, usize)> {
        let rest = data.get(at..)?;
        let count = be32(rest.get(..HEADER_BYTES)?, 4) as usize;
        let end = HEADER_BYTES.checked_add(count.checked_mul(8)?)?;
        let words = rest.get(HEADER_BYTES..end)?;
        rest.get(end..end + TRAILER_BYTES)?;
        Some((Self { words }, at + end + TRAILER_BYTES))
    }

    /// Turn over in `bits` every bit that is set here; `None`, and nobody knows what `bits` holds, when it is damaged.
    pub fn xor_into(&self, bits: &mut Bits) -> Option<()> {
        let (mut from, mut to) = (0, 0usize);
        while from < self.words.len() {
            let head = be64(self.words, from);
            from += 8;
            let (run, literals) = ((head >> 1 & 0xffff_ffff) as usize, (head >> 33) as usize);
            if head & 1 != 0 {
                bits.words_mut().get_mut(to..to.checked_add(run)?)?.iter_mut().for_each(|word| *word = !*word);
            }
            to = to.checked_add(run)?;
            let literal = self.words.get(from..from + literals * 8)?;
            from += literal.len();
            for (at, bytes) in literal.chunks_exact(8).enumerate() {
                match bits.words_mut().get_mut(to + at) {
                    Some(word) => *word ^= be64(bytes, 0),
                    None if be64(bytes, 0) == 0 => {}
                    None => return None,
                }
            }
            to = to.checked_add(literals)?;
        }
        bits.ends_clear().then_some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// An encoder as simple as can be: one header for each run of equal words, one for each stretch of others.
    fn encode(bits: &Bits) -> Vec<u8> {
        let mut words: Vec<u64> = vec![];
        let mut rest = bits.words();
        while let Some(&first) = rest.first() {
            let plain = |word: &u64| *word == 0 || *word == !0;
            let run = if plain(&first) { rest.iter().take_while(|word| **word == first).count() } else { 0 };
            let literals = rest[run..].iter().take_while(|word| !plain(word)).count();
            words.push(((first & 1) * u64::from(run > 0)) | ((run as u64) << 1) | ((literals as u64) << 33));
            words.extend(&rest[run..run + literals]);
            rest = &rest[run + literals..];
        }
        let mut out = (bits.len() as u32).to_be_bytes().to_vec();
        out.extend((words.len() as u32).to_be_bytes());
        out.extend(words.iter().flat_map(|word| word.to_be_bytes()));
        out.extend([0; 4]);
        out
    }

    proptest! {
        #[test]
        fn what_is_encoded_is_decoded(runs in prop::collection::vec((0usize..300, any::<bool>()), 0..20), lead in 0usize..20) {
            let len = runs.iter().map(|(run, _)| run).sum();
            let mut bits = Bits::new(len);
            let mut at = 0;
            for (run, set) in runs {
                for at in (at..at + run).filter(|_| set) {
                    bits.insert(at);
                }
                at += run;
            }
            let data = [vec![1; lead], encode(&bits), vec![2; 7]].concat();
            let (ewah, end) = Ewah::read(&data, lead).expect("whole");
            prop_assert_eq!(end, data.len() - 7);
            let mut found = Bits::new(len);
            prop_assert!(ewah.xor_into(&mut found).is_some());
            prop_assert_eq!(&found, &bits);
            prop_assert!(ewah.xor_into(&mut found).is_some());
            prop_assert_eq!(found.count(), 0);
            for cut in lead..end {
                prop_assert!(Ewah::read(&data[..cut], lead).is_none());
            }
        }

        #[test]
        fn no_words_make_it_panic_or_set_what_is_not_there(words: Vec<u64>, small in prop::collection::vec((any::<bool>(), 0u64..5, 0u64..3), 0..20), len in 0usize..400) {
            let small = small.iter().map(|(bit, run, literals)| u64::from(*bit) | run << 1 | literals << 33);
            for words in [words, small.collect()] {
                let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_be_bytes()).collect();
                let mut bits = Bits::new(len);
                if (Ewah { words: &bytes }).xor_into(&mut bits).is_some() {
                    prop_assert!(bits.iter().all(|at| at < len));
                    prop_assert!(bits.ends_clear());
                }
            }
        }
    }
}
