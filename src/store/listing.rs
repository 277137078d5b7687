//! The names beneath a root, from one walk for all who ask: greetings and hints cost no walk each.
//!
//! A list is kept for a moment, and for ten times as long as its walk took, so that walks never take more than a tenth of the time; what
//! is made, renamed or deleted here shows at once.

use super::{Error, RepositoryName};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How long a list is kept at least.
const KEPT: Duration = Duration::from_secs(1);
/// And for so many times what its walk took.
const KEPT_WALKS: u32 = 10;

/// A list and when it goes.
#[derive(Debug, Default)]
pub(super) struct Listing {
    /// Held by the one who walks.
    last: Mutex<Option<Listed>>,
    /// Changes made here so far.
    changes: AtomicU64,
}

#[derive(Debug)]
struct Listed {
    names: Arc<[RepositoryName]>,
    until: Instant,
    changes: u64,
}

impl Listing {
    /// Something was made, renamed or deleted.
    pub(super) fn change(&self) {
        self.changes.fetch_add(1, Ordering::AcqRel);
    }

    /// The list that is kept, or what `walk` finds now.
    pub(super) fn get(&self, walk: impl FnOnce() -> Result<Vec<RepositoryName>, Error>) -> Result<Arc<[RepositoryName]>, Error> {
        self.get_at(Instant::now(), walk)
    }

    fn get_at(&self, now: Instant, walk: impl FnOnce() -> Result<Vec<RepositoryName>, Error>) -> Result<Arc<[RepositoryName]>, Error> {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let changes = self.changes.load(Ordering::Acquire);
        if let Some(kept) = last.as_ref().filter(|kept| kept.changes == changes && now < kept.until) {
            return Ok(kept.names.clone());
        }
        let began = Instant::now();
        let names: Arc<[RepositoryName]> = walk()?.into();
        let until = Instant::now() + KEPT.max(began.elapsed() * KEPT_WALKS);
        *last = Some(Listed { names: names.clone(), until, changes });
        Ok(names)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicUsize;

    #[test]
    fn many_that_ask_at_once_cost_one_walk_and_time_or_a_change_another() {
        let (listing, walks) = (Listing::default(), AtomicUsize::new(0));
        let walk = || {
            walks.fetch_add(1, Ordering::Relaxed);
            Ok(vec![RepositoryName::parse("x")?])
        };
        let now = Instant::now();
        std::thread::scope(|scope| {
            for _ in 0..16 {
                scope.spawn(|| assert_eq!(listing.get_at(now, walk).expect("a list").len(), 1));
            }
        });
        assert_eq!(walks.load(Ordering::Relaxed), 1);
        listing.change();
        listing.get_at(now, walk).expect("a list");
        assert_eq!(walks.load(Ordering::Relaxed), 2);
        listing.get_at(Instant::now() + Duration::from_secs(3600), walk).expect("a list");
        assert_eq!(walks.load(Ordering::Relaxed), 3);
        listing.change();
        assert!(listing.get_at(now, || Err(Error::InTheWay("no disk".to_owned()))).is_err());
        listing.get_at(now, walk).expect("a fault is not kept");
    }
}
