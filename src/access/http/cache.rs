//! Answers into answers that need not be asked for again: a bounded number, each for a bounded time.

use std::collections::{HashMap, VecDeque};
use std::hash::Hash;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Some answers by what was asked. What is oldest goes first.
#[derive(Debug)]
pub(super) struct Cache<K, V> {
    kept: Mutex<Kept<K, V>>,
    lifetime: Duration,
    entries_max: usize,
}

#[derive(Debug)]
struct Kept<K, V> {
    entries: HashMap<K, (u64, Instant, V)>,
    /// In the order in which they came; one that was put again stands here twice, and its number says which place counts.
    order: VecDeque<(u64, K)>,
    next: u64,
}

impl<K: Hash + Eq + Clone, V: Clone> Cache<K, V> {
    /// Keep `entries_max` answers for `lifetime` each; with 0 of either nothing is kept.
    pub(super) fn new(lifetime: Duration, entries_max: usize) -> Self {
        let entries_max = if lifetime.is_zero() { 0 } else { entries_max };
        Self { kept: Mutex::new(Kept { entries: HashMap::new(), order: VecDeque::new(), next: 0 }), lifetime, entries_max }
    }

    /// The answer, if it is kept and still young enough at `now`.
    pub(super) fn get(&self, key: &K, now: Instant) -> Option<V> {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let (_, since, value) = kept.entries.get(key)?;
        (now.saturating_duration_since(*since) < self.lifetime).then(|| value.clone())
    }

    /// Keep an answer that came at `now`.
    pub(super) fn put(&self, key: K, value: V, now: Instant) {
        if self.entries_max == 0 {
            return;
        }
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let number = kept.next;
        kept.next += 1;
        kept.order.push_back((number, key.clone()));
        kept.entries.insert(key, (number, now, value));
        // Both are bounded: places that count no more are passed over here, one of them for each that is added.
        while kept.entries.len() > self.entries_max || kept.order.len() > self.entries_max.saturating_mul(2) {
            let Some((number, key)) = kept.order.pop_front() else { return };
            if kept.entries.get(&key).is_some_and(|(counts, ..)| *counts == number) {
                kept.entries.remove(&key);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_kept_for_its_time_and_no_longer() {
        let (cache, begun) = (Cache::new(Duration::from_secs(30), 10), Instant::now());
        cache.put("ann", 1, begun);
        let at = |seconds| begun + Duration::from_secs(seconds);
        assert_eq!((cache.get(&"ann", at(29)), cache.get(&"ann", at(30)), cache.get(&"bob", begun)), (Some(1), None, None));
        cache.put("ann", 2, at(30));
        assert_eq!(cache.get(&"ann", at(59)), Some(2));
    }

    #[test]
    fn no_more_is_kept_than_was_said_and_the_oldest_goes_first() {
        let (cache, now) = (Cache::new(Duration::from_secs(30), 3), Instant::now());
        (0..4).for_each(|number| cache.put(number, number, now));
        assert_eq!([0, 1, 2, 3].map(|number| cache.get(&number, now)), [None, Some(1), Some(2), Some(3)]);
        // One that is put again is new again.
        cache.put(1, 10, now);
        cache.put(4, 4, now);
        assert_eq!([1, 2, 3, 4].map(|number| cache.get(&number, now)), [Some(10), None, Some(3), Some(4)]);
        for round in 0..100 {
            cache.put(1, round, now);
        }
        let kept = cache.kept.lock().expect("nobody panicked");
        assert!(kept.entries.len() <= 3 && kept.order.len() <= 6, "{} {}", kept.entries.len(), kept.order.len());
    }

    #[test]
    fn with_nothing_to_keep_nothing_is_kept() {
        for (lifetime, entries) in [(Duration::ZERO, 10), (Duration::from_secs(1), 0)] {
            let cache = Cache::new(lifetime, entries);
            cache.put(1, 1, Instant::now());
            assert_eq!(cache.get(&1, Instant::now()), None);
            assert!(cache.kept.lock().expect("nobody panicked").order.is_empty());
        }
    }
}
