//! A set of small numbers: one bit for each position of a pack.

/// A fixed number of bits, all clear at first.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Bits {
    words: Vec<u64>,
    len: usize,
}

impl Bits {
    /// `len` clear bits.
    pub fn new(len: usize) -> Self {
        Self { words: vec![0; len.div_ceil(64)], len }
    }

    /// `len` set bits.
    pub fn full(len: usize) -> Self {
        let mut bits = Self { words: vec![!0; len.div_ceil(64)], len };
        if let Some(last) = bits.words.last_mut().filter(|_| !len.is_multiple_of(64)) {
            *last = (1 << (len & 63)) - 1;
        }
        bits
    }

    /// How many bits there are, set or not.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is no bit at all.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// `len` bits from `words`, the lowest first; what lies behind `len` is cleared.
    pub fn from_words(mut words: Vec<u64>, len: usize) -> Self {
        words.resize(len.div_ceil(64), 0);
        if !len.is_multiple_of(64)
            && let Some(last) = words.last_mut()
        {
            *last &= (1 << (len % 64)) - 1;
        }
        Self { words, len }
    }

    /// The bits, 64 at a time, the lowest first; behind [`Bits::len`] all are clear.
    pub fn words(&self) -> &[u64] {
        &self.words
    }

    /// Set every bit that is set in `other`, which is as long; how many of them were clear before.
    pub fn union(&mut self, other: &Bits) -> usize {
        let mut new = 0;
        for (word, other) in self.words.iter_mut().zip(&other.words) {
            new += (other & !*word).count_ones() as usize;
            *word |= other;
        }
        new
    }

    /// Clear every bit that is set in `other`, which is as long.
    pub fn subtract(&mut self, other: &Bits) {
        for (word, other) in self.words.iter_mut().zip(&other.words) {
            *word &= !other;
        }
    }

    /// Whether bit `at` is set.
    ///
    /// # Panics
    /// When `at` is not below [`Bits::len`], like indexing a slice.
    #[inline]
    pub fn get(&self, at: usize) -> bool {
        self.words[at >> 6] >> (at & 63) & 1 != 0
    }

    /// Set bit `at`; true when it was clear before.
    #[inline]
    pub fn insert(&mut self, at: usize) -> bool {
        let word = &mut self.words[at >> 6];
        let mask = 1u64 << (at & 63);
        let new = *word & mask == 0;
        *word |= mask;
        new
    }

    /// Clear bit `at`.
    pub fn remove(&mut self, at: usize) {
        self.words[at >> 6] &= !(1u64 << (at & 63));
    }

    /// How many bits are set.
    pub fn count(&self) -> usize {
        self.words.iter().map(|word| word.count_ones() as usize).sum()
    }

    /// As [`Bits::words`]; whoever writes keeps what is past the end clear.
    pub(super) fn words_mut(&mut self) -> &mut [u64] {
        &mut self.words
    }

    /// Whether nothing is set past the end.
    pub(super) fn ends_clear(&self) -> bool {
        self.len.is_multiple_of(64) || self.words.last().is_none_or(|word| word >> (self.len % 64) == 0)
    }

    /// Set every bit that is set in `other`, which is as long.
    pub fn or(&mut self, other: &Bits) {
        self.combine(other, |word, other| word | other);
    }

    /// Clear every bit that is clear in `other`, which is as long.
    pub fn and(&mut self, other: &Bits) {
        self.combine(other, |word, other| word & other);
    }

    /// Clear every bit that is set in `other`, which is as long.
    pub fn and_not(&mut self, other: &Bits) {
        self.combine(other, |word, other| word & !other);
    }

    fn combine(&mut self, other: &Bits, operation: impl Fn(u64, u64) -> u64) {
        assert_eq!(self.len, other.len, "sets of one kind");
        for (word, other) in self.words.iter_mut().zip(&other.words) {
            *word = operation(*word, *other);
        }
    }

    /// The first set bit at or after `at`.
    pub fn next_set(&self, at: usize) -> Option<usize> {
        self.scan(at, |word| word)
    }

    /// The first clear bit at or after `at`; [`Bits::len`] when there is none.
    pub fn next_clear(&self, at: usize) -> usize {
        self.scan(at, |word| !word).unwrap_or(self.len)
    }

    fn scan(&self, at: usize, view: impl Fn(u64) -> u64) -> Option<usize> {
        if at >= self.len {
            return None;
        }
        let mut index = at >> 6;
        let mut word = view(self.words[index]) & (!0 << (at & 63));
        loop {
            if word != 0 {
                let found = index * 64 + word.trailing_zeros() as usize;
                return (found < self.len).then_some(found);
            }
            index += 1;
            word = view(*self.words.get(index)?);
        }
    }

    /// The set bits in rising order.
    pub fn iter(&self) -> impl Iterator<Item = usize> + '_ {
        std::iter::successors(self.next_set(0), |&at| self.next_set(at + 1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn it_is_a_set(numbers in prop::collection::btree_set(0usize..500, 0..80), from in 0usize..520) {
            let mut bits = Bits::new(500);
            for &n in &numbers {
                prop_assert!(bits.insert(n));
                prop_assert!(!bits.insert(n));
            }
            prop_assert_eq!(bits.iter().collect::<Vec<_>>(), numbers.iter().copied().collect::<Vec<_>>());
            prop_assert_eq!(bits.count(), numbers.len());
            prop_assert_eq!(bits.next_set(from), numbers.range(from..).next().copied());
            prop_assert_eq!(&Bits::from_words([bits.words(), &[!0]].concat(), 500), &bits);
            let clear = (from..500).find(|n| !numbers.contains(n)).unwrap_or(500);
            prop_assert_eq!(bits.next_clear(from), clear);
            let full = Bits::full(from);
            prop_assert_eq!((full.count(), full.next_clear(0), full.next_set(from)), (from, from, None));
        }

        #[test]
        fn operations_on_words_are_those_on_sets(a in prop::collection::btree_set(0usize..300, 0..80), b in prop::collection::btree_set(0usize..300, 0..80)) {
            let bits = |numbers: &std::collections::BTreeSet<usize>| {
                let mut bits = Bits::new(300);
                for n in numbers {
                    bits.insert(*n);
                }
                bits
            };
            let both = |operation: fn(&mut Bits, &Bits)| {
                let mut result = bits(&a);
                operation(&mut result, &bits(&b));
                result
            };
            prop_assert_eq!(both(Bits::or), bits(&a.union(&b).copied().collect()));
            prop_assert_eq!(both(Bits::and), bits(&a.intersection(&b).copied().collect()));
            prop_assert_eq!(both(Bits::and_not), bits(&a.difference(&b).copied().collect()));
        }

        #[test]
        fn it_joins_and_parts(ours in prop::collection::btree_set(0usize..200, 0..60), theirs in prop::collection::btree_set(0usize..200, 0..60)) {
            let bits = |numbers: &std::collections::BTreeSet<usize>| {
                let mut bits = Bits::new(200);
                for n in numbers {
                    bits.insert(*n);
                }
                bits
            };
            let mut joined = bits(&ours);
            prop_assert_eq!(joined.union(&bits(&theirs)), theirs.difference(&ours).count());
            prop_assert_eq!(&joined, &bits(&ours.union(&theirs).copied().collect()));
            joined.subtract(&bits(&theirs));
            prop_assert_eq!(&joined, &bits(&ours.difference(&theirs).copied().collect()));
        }
    }
}
