//! Places that connections hold, bounded in all and for each holder, so that one address or user cannot lock out the rest.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Counts those who are in.
#[derive(Debug)]
pub(super) struct Places<K: Hash + Eq> {
    max: usize,
    per_holder_max: usize,
    inside: Mutex<Inside<K>>,
}

#[derive(Debug)]
struct Inside<K> {
    all: usize,
    by_holder: HashMap<K, usize>,
}

/// One place; dropped, it is free for the next.
#[derive(Debug)]
pub(super) struct Place<K: Hash + Eq> {
    places: Arc<Places<K>>,
    holder: K,
}

impl<K: Hash + Eq + Clone> Places<K> {
    /// `max` places in all, `per_holder_max` of them for one holder.
    pub(super) fn new(max: usize, per_holder_max: usize) -> Arc<Self> {
        Arc::new(Self { max, per_holder_max, inside: Mutex::new(Inside { all: 0, by_holder: HashMap::new() }) })
    }

    /// A place for `holder`, if there is one.
    pub(super) fn enter(self: &Arc<Self>, holder: K) -> Option<Place<K>> {
        self.enter_within(holder, self.per_holder_max)
    }

    /// The same where `holder` may have no more than `per_holder_max`, whatever others may.
    pub(super) fn enter_within(self: &Arc<Self>, holder: K, per_holder_max: usize) -> Option<Place<K>> {
        let mut inside = self.inside();
        let of_holder = inside.by_holder.get(&holder).copied().unwrap_or_default();
        if inside.all >= self.max || of_holder >= per_holder_max {
            return None;
        }
        inside.all += 1;
        inside.by_holder.insert(holder.clone(), of_holder + 1);
        drop(inside);
        Some(Place { places: self.clone(), holder })
    }
}

impl<K: Hash + Eq> Places<K> {
    fn inside(&self) -> MutexGuard<'_, Inside<K>> {
        self.inside.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<K: Hash + Eq> Drop for Place<K> {
    fn drop(&mut self) {
        let mut inside = self.places.inside();
        inside.all -= 1;
        if let Some(count) = inside.by_holder.get_mut(&self.holder) {
            *count -= 1;
            if *count == 0 {
                inside.by_holder.remove(&self.holder);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_holder_leaves_places_for_the_others() {
        let places = Places::new(25, 10);
        let mut of_one: Vec<_> = (0..10).map(|_| places.enter(1).expect("a place")).collect();
        assert!(places.enter(1).is_none());
        let _of_another: Vec<_> = (0..10).map(|_| places.enter(2).expect("a place")).collect();
        let others: Vec<_> = (0..5).map(|at| places.enter(at + 3).expect("a place")).collect();
        assert!(places.enter(99).is_none(), "all places are taken");
        drop(others);
        of_one.pop();
        assert!(places.enter_within(1, 9).is_none());
        assert!(places.enter(1).is_some());
        drop(of_one);
        assert_eq!(places.inside().by_holder.len(), 1);
    }
}
