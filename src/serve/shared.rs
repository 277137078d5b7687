//! What requests to a server that lives long share: views of repositories, answers, sets and plans; each made once,
//! by the first that needs it, while the others wait.
//!
//! Everything but views is kept under a digest of all that it was made from: the state of the repository, the refs
//! that the request sees, and the request itself. Nothing therefore crosses what two clients may see. What is kept
//! is bounded in bytes, as far as each thing knows its own; what was used longest ago goes first.
//!
//! Whoever waits looks at its own cancel flag; when the one that works is cancelled or fails, one of those that wait
//! takes over.

use super::Error;
use crate::base::Cancel;
use crate::base::limits::{SHARED_ENTRIES_MAX, TICK_MS};
use crate::store::{self, HeldSnapshot, Repository, Snapshot, Spares};
use gix_hash::ObjectId;
use std::any::Any;
use std::collections::{BTreeMap, HashMap};
use std::hash::{Hash, Hasher};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Something that is kept.
pub(super) trait Shareable: Any + Send + Sync {
    /// Memory taken, about.
    fn held_bytes(&self) -> usize;
}

/// What a thing was made from; [`Made`] gathers it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Key {
    state: u64,
    digest: ObjectId,
}

/// Gathers all that a thing is made from into its [`Key`]. Values are told apart by SHA-256, so that no client can
/// make two different ones meet.
pub(super) struct Made {
    state: u64,
    hasher: Sha256,
}

struct Sha256(gix_hash::Hasher);

impl Hasher for Sha256 {
    fn write(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    fn finish(&self) -> u64 {
        0 // the digest is taken instead
    }
}

impl Made {
    /// A thing of this kind, of what `snapshot` shows.
    pub(super) fn new(kind: &'static str, snapshot: &Snapshot) -> Self {
        Self { state: snapshot.state(), hasher: Sha256(gix_hash::hasher(gix_hash::Kind::Sha256)) }.from(kind)
    }

    /// And of `part`.
    pub(super) fn from(mut self, part: impl Hash) -> Self {
        part.hash(&mut self.hasher);
        self
    }

    fn key(self) -> Result<Key, Error> {
        let digest = self.hasher.0.try_finalize().map_err(|err| Error::Bug(err.to_string()))?;
        Ok(Key { state: self.state, digest })
    }
}

/// How much there is and was of everything.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SharedStatistics {
    /// Bytes held now.
    pub bytes: usize,
    /// Things held now, repositories among them.
    pub entries: usize,
    /// Repositories of which a view is held now.
    pub repositories: usize,
    /// Times that something was there already.
    pub found: u64,
    /// Times that something was being made already.
    pub waited: u64,
    /// Times that something had to be made.
    pub made: u64,
    /// Things that were dropped to stay within the bound.
    pub dropped: u64,
}

/// Shared by all requests of one server. Clones of the `Arc` in [`super::Options::shared`] share it.
pub struct SharedState {
    bytes_max: usize,
    inner: Mutex<Inner>,
    /// Bytes of what is held whole although it may not be kept any more.
    reserved_bytes: Arc<AtomicUsize>,
    /// Quarantines from one push to the next.
    pub(super) spares: Arc<Spares>,
}

/// Room for something that may be in use longer than it is kept; given back when dropped.
pub(super) struct Reserved {
    of: Arc<AtomicUsize>,
    bytes: usize,
}

impl Reserved {
    /// Give back what is not needed after all.
    pub(super) fn shrink_to(&mut self, bytes: usize) {
        self.of.fetch_sub(self.bytes.saturating_sub(bytes), Ordering::Relaxed);
        self.bytes = self.bytes.min(bytes);
    }
}

impl Drop for Reserved {
    fn drop(&mut self) {
        self.of.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

#[derive(Default)]
struct Inner {
    made: HashMap<Key, Slot>,
    repositories: HashMap<PathBuf, View>,
    /// What was used longest ago comes first.
    order: BTreeMap<u64, Id>,
    turn: u64,
    statistics: SharedStatistics,
}

enum Slot {
    Making(Arc<Flight>),
    Kept { value: Arc<dyn Any + Send + Sync>, bytes: usize, used: u64 },
}

#[derive(Default)]
struct View {
    held: Arc<Mutex<Option<HeldSnapshot>>>,
    state: u64,
    bytes: usize,
    used: u64,
}

#[derive(Clone)]
enum Id {
    Made(Key),
    Repository(PathBuf),
}

/// Something being made.
#[derive(Default)]
struct Flight {
    landed: Mutex<Option<Landed>>,
    changed: Condvar,
}

#[derive(Clone)]
enum Landed {
    Made(Arc<dyn Any + Send + Sync>),
    Failed,
}

impl std::fmt::Debug for SharedState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SharedState").field("bytes_max", &self.bytes_max).field("statistics", &self.statistics()).finish()
    }
}

impl SharedState {
    /// Nothing yet; `bytes_max` bounds what is kept when no request needs it.
    pub fn new(bytes_max: usize) -> Self {
        Self { bytes_max, inner: Mutex::default(), reserved_bytes: Arc::default(), spares: Arc::default() }
    }

    /// How much there is.
    pub fn statistics(&self) -> SharedStatistics {
        let inner = self.inner();
        let entries = inner.order.len();
        SharedStatistics { entries, repositories: inner.repositories.len(), ..inner.statistics }
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A view of `repository` as it is now: the last one again, where nothing has changed since.
    pub(super) fn snapshot(&self, repository: &Repository) -> Result<Snapshot, store::Error> {
        if repository.is_staged() {
            return repository.snapshot(); // it lies elsewhere tomorrow
        }
        let path = repository.git_dir();
        let held = self.inner().view(path);
        let mut last = held.lock().unwrap_or_else(PoisonError::into_inner);
        let now = match repository.snapshot_again(last.as_ref()) {
            Ok(now) => now,
            Err(err) => {
                *last = None;
                return Err(err);
            }
        };
        let (snapshot, bytes) = (now.snapshot().clone(), now.held_bytes());
        *last = Some(now);
        drop(last);
        self.inner().keep_view(path, snapshot.state(), bytes, self.bytes_max);
        Ok(snapshot)
    }

    /// Let go of views that are no longer true, and all that was made from them: packs that were removed meanwhile
    /// free their room on disk. For whoever has time now and then.
    pub fn let_go_of_the_past(&self) {
        self.let_go_of_spares();
        let views: Vec<_> = self.inner().repositories.iter().map(|(path, view)| (path.clone(), view.held.clone())).collect();
        for (path, held) in views {
            // One that is in use at this moment is looked over anyway.
            let Ok(held) = held.try_lock() else { continue };
            if !held.as_ref().is_some_and(HeldSnapshot::is_current) {
                drop(held);
                self.inner().drop_view(&path);
            }
        }
    }

    /// Let go of all that is kept of the repository at `git_dir`, which is about to be elsewhere. Nobody may be using it.
    pub fn forget(&self, git_dir: &Path) {
        self.spares.let_go_of(&git_dir.join("objects"));
        self.inner().drop_view(git_dir);
    }

    /// Let go of what pushes in quick succession hand from one to the next, where none has come for a second.
    pub fn let_go_of_spares(&self) {
        self.spares.let_go();
    }

    /// Room for `bytes`, unless so much is in use already that all together would be more than the bound.
    pub(super) fn reserve(&self, bytes: usize) -> Option<Reserved> {
        let fits = |held: usize| held.checked_add(bytes).filter(|sum| *sum <= self.bytes_max);
        self.reserved_bytes.fetch_update(Ordering::Relaxed, Ordering::Relaxed, fits).ok()?;
        Some(Reserved { of: self.reserved_bytes.clone(), bytes })
    }

    /// The bound on everything that is kept.
    pub(super) fn bytes_max(&self) -> usize {
        self.bytes_max
    }

    /// Whether something of so many bytes can be kept beside others, among them what it is made from.
    pub(super) fn has_room_for(&self, bytes: usize) -> bool {
        bytes <= self.bytes_max / 3
    }

    /// What was made from `from`, where it is kept.
    pub(super) fn find<T: Shareable>(&self, from: Made) -> Result<Option<Arc<T>>, Error> {
        let key = from.key()?;
        self.inner().find(key).map(downcast).transpose()
    }

    /// What was made from `from`, or what `make` makes of it now, once for all that ask at the same time. The second
    /// value tells that `make` was not needed.
    pub(super) fn get_or_make<T: Shareable>(
        &self,
        from: Made,
        cancel: &Cancel,
        make: impl FnOnce() -> Result<T, Error>,
    ) -> Result<(Arc<T>, bool), Error> {
        let key = from.key()?;
        let flight = loop {
            let flight = match self.inner().look_up(key) {
                LookedUp::Kept(value) => return Ok((downcast(value)?, true)),
                LookedUp::Mine(flight) => break flight,
                LookedUp::Making(flight) => flight,
            };
            if let Landed::Made(value) = flight.wait(cancel)? {
                return Ok((downcast(value)?, true));
            }
        };
        let mut landing = Landing { shared: self, key, flight, outcome: Landed::Failed, bytes: 0 };
        let value = Arc::new(make()?);
        landing.bytes = value.held_bytes();
        landing.outcome = Landed::Made(value.clone() as Arc<dyn Any + Send + Sync>);
        Ok((value, false))
    }
}

fn downcast<T: Shareable>(value: Arc<dyn Any + Send + Sync>) -> Result<Arc<T>, Error> {
    value.downcast().map_err(|_| Error::Bug("two kinds of things are kept under one key".to_owned()))
}

enum LookedUp {
    Kept(Arc<dyn Any + Send + Sync>),
    Making(Arc<Flight>),
    Mine(Arc<Flight>),
}

impl Inner {
    fn next_turn(&mut self) -> u64 {
        self.turn += 1;
        self.turn
    }

    fn find(&mut self, key: Key) -> Option<Arc<dyn Any + Send + Sync>> {
        let turn = self.next_turn();
        let Some(Slot::Kept { value, used, .. }) = self.made.get_mut(&key) else { return None };
        self.order.remove(used);
        self.order.insert(turn, Id::Made(key));
        *used = turn;
        self.statistics.found += 1;
        Some(value.clone())
    }

    fn look_up(&mut self, key: Key) -> LookedUp {
        if let Some(value) = self.find(key) {
            return LookedUp::Kept(value);
        }
        if let Some(Slot::Making(flight)) = self.made.get(&key) {
            self.statistics.waited += 1;
            return LookedUp::Making(flight.clone());
        }
        let flight = Arc::new(Flight::default());
        self.made.insert(key, Slot::Making(flight.clone()));
        self.statistics.made += 1;
        LookedUp::Mine(flight)
    }

    fn keep(&mut self, key: Key, value: Arc<dyn Any + Send + Sync>, bytes: usize, bytes_max: usize) {
        if bytes > bytes_max {
            return; // nothing else need go for what cannot stay
        }
        let used = self.next_turn();
        self.made.insert(key, Slot::Kept { value, bytes, used });
        self.order.insert(used, Id::Made(key));
        self.statistics.bytes += bytes;
        self.stay_within(bytes_max);
    }

    /// The place for the view of the repository at `path`: one for all that ask at the same time.
    fn view(&mut self, path: &Path) -> Arc<Mutex<Option<HeldSnapshot>>> {
        let used = self.next_turn();
        let view = self.repositories.entry(path.to_owned()).or_default();
        self.order.remove(&std::mem::replace(&mut view.used, used));
        self.order.insert(used, Id::Repository(path.to_owned()));
        view.held.clone()
    }

    fn keep_view(&mut self, path: &Path, state: u64, bytes: usize, bytes_max: usize) {
        let Some(view) = self.repositories.get_mut(path) else { return };
        self.statistics.bytes = self.statistics.bytes - view.bytes + bytes;
        view.bytes = bytes;
        let before = std::mem::replace(&mut view.state, state);
        if before != state {
            self.forget_state(before);
        }
        if bytes > bytes_max {
            self.drop_view(path);
        }
        self.stay_within(bytes_max);
    }

    fn drop_view(&mut self, path: &Path) {
        if let Some(view) = self.repositories.remove(path) {
            self.order.remove(&view.used);
            self.statistics.bytes -= view.bytes;
            self.forget_state(view.state);
        }
    }

    /// Nobody will ask for what was made from this state any more.
    fn forget_state(&mut self, state: u64) {
        let (order, statistics) = (&mut self.order, &mut self.statistics);
        self.made.retain(|key, slot| match slot {
            Slot::Kept { bytes, used, .. } if key.state == state => {
                order.remove(used);
                statistics.bytes -= *bytes;
                false
            }
            _ => true,
        });
    }

    fn stay_within(&mut self, bytes_max: usize) {
        while self.statistics.bytes > bytes_max || self.order.len() > SHARED_ENTRIES_MAX {
            let Some((_, id)) = self.order.pop_first() else { return };
            self.statistics.dropped += 1;
            match id {
                Id::Made(key) => {
                    if let Some(Slot::Kept { bytes, .. }) = self.made.remove(&key) {
                        self.statistics.bytes -= bytes;
                    }
                }
                Id::Repository(path) => self.drop_view(&path),
            }
        }
    }
}

impl Flight {
    fn wait(&self, cancel: &Cancel) -> Result<Landed, Error> {
        let mut landed = self.landed.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            if let Some(landed) = landed.as_ref() {
                return Ok(landed.clone());
            }
            cancel.check()?;
            landed = self.changed.wait_timeout(landed, Duration::from_millis(TICK_MS)).unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

/// Tells those that wait how it ended, a panic included.
struct Landing<'a> {
    shared: &'a SharedState,
    key: Key,
    flight: Arc<Flight>,
    outcome: Landed,
    bytes: usize,
}

impl Drop for Landing<'_> {
    fn drop(&mut self) {
        {
            let mut inner = self.shared.inner();
            inner.made.remove(&self.key);
            if let Landed::Made(value) = &self.outcome {
                inner.keep(self.key, value.clone(), self.bytes, self.shared.bytes_max);
            }
        }
        *self.flight.landed.lock().unwrap_or_else(PoisonError::into_inner) = Some(self.outcome.clone());
        self.flight.changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Barrier;
    use std::sync::atomic::{AtomicUsize, Ordering};

    /// So many bytes.
    struct Weight(usize);

    impl Shareable for Weight {
        fn held_bytes(&self) -> usize {
            self.0
        }
    }

    fn from(number: u32) -> Made {
        Made { state: 1, hasher: Sha256(gix_hash::hasher(gix_hash::Kind::Sha256)) }.from(number)
    }

    /// Wait until so many wait for somebody else's work.
    fn until_waiting(shared: &SharedState, count: u64) {
        while shared.statistics().waited < count {
            std::thread::yield_now();
        }
    }

    #[test]
    fn what_many_ask_for_at_once_is_made_once() {
        let (shared, made, start) = (SharedState::new(1 << 20), AtomicUsize::new(0), Barrier::new(16));
        let ask = || {
            start.wait();
            let make = || {
                until_waiting(&shared, 15);
                Ok(Weight(made.fetch_add(1, Ordering::Relaxed) + 100))
            };
            shared.get_or_make(from(1), &Cancel::new(), make).unwrap()
        };
        let got: Vec<_> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..16).map(|_| scope.spawn(ask)).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        assert_eq!((made.into_inner(), got.iter().filter(|(_, found)| !found).count()), (1, 1));
        assert!(got.iter().all(|(value, _)| Arc::ptr_eq(value, &got[0].0)));
        assert_eq!((shared.statistics().bytes, shared.statistics().entries), (100, 1));
    }

    #[test]
    fn one_of_those_that_wait_takes_over_from_one_that_is_cancelled_fails_or_panics() {
        for end in 0..3 {
            let (shared, made, start) = (SharedState::new(1 << 20), AtomicUsize::new(0), Barrier::new(5));
            let first = || {
                let make = || {
                    start.wait();
                    until_waiting(&shared, 4);
                    match end {
                        0 => Err(Error::Cancelled(crate::base::Cancelled)),
                        1 => Err(Error::Bug("on purpose".to_owned())),
                        _ => panic!("on purpose"),
                    }
                };
                shared.get_or_make::<Weight>(from(1), &Cancel::new(), make).map(drop)
            };
            let other = || {
                start.wait();
                let make = || Ok(Weight(made.fetch_add(1, Ordering::Relaxed)));
                shared.get_or_make(from(1), &Cancel::new(), make).unwrap().1
            };
            std::thread::scope(|scope| {
                let first = scope.spawn(first);
                let others: Vec<_> = (0..4).map(|_| scope.spawn(other)).collect();
                let found = others.into_iter().map(|thread| thread.join().unwrap()).filter(|found| *found).count();
                assert_eq!(found, 3, "end {end}");
                assert!(first.join().map_or(true, |outcome| outcome.is_err()), "end {end}");
            });
            assert_eq!(made.into_inner(), 1, "end {end}");
        }
    }

    #[test]
    fn whoever_waits_can_be_cancelled_while_the_work_goes_on() {
        let shared = SharedState::new(1 << 20);
        let (begun, gone) = (Barrier::new(2), Barrier::new(2));
        std::thread::scope(|scope| {
            let first = scope.spawn(|| {
                let make = || {
                    begun.wait();
                    gone.wait();
                    Ok(Weight(7))
                };
                shared.get_or_make(from(1), &Cancel::new(), make).map(|(value, _)| value.0)
            });
            begun.wait();
            let cancel = Cancel::new();
            let waiter = scope.spawn({
                let cancel = cancel.clone();
                let shared = &shared;
                move || shared.get_or_make(from(1), &cancel, || Ok(Weight(0))).map(drop)
            });
            until_waiting(&shared, 1);
            cancel.set();
            assert!(matches!(waiter.join().unwrap(), Err(Error::Cancelled(_))));
            gone.wait();
            assert_eq!(first.join().unwrap().unwrap(), 7);
        });
    }

    #[test]
    fn what_was_used_longest_ago_goes_first_and_the_bound_holds() {
        let shared = SharedState::new(1_000);
        let make = |number| shared.get_or_make(from(number), &Cancel::new(), || Ok(Weight(300))).unwrap().1;
        assert!([1, 2, 3].iter().all(|number| !make(*number)));
        assert!(make(1), "used again");
        assert!(!make(4));
        assert_eq!((shared.statistics().bytes, shared.statistics().entries, shared.statistics().dropped), (900, 3, 1));
        assert!(make(1) && make(3) && make(4) && !make(2));
        let huge = shared.get_or_make(from(9), &Cancel::new(), || Ok(Weight(1_001))).unwrap();
        assert_eq!((huge.0.0, shared.statistics().bytes), (1_001, 900), "what cannot stay pushes nothing out");
    }

    #[test]
    fn a_value_knows_where_it_ends_in_a_key() {
        let key = |parts: &[&[u8]]| parts.iter().fold(from(0), |made, part| made.from(part)).key().unwrap();
        assert_eq!(key(&[b"ab", b"c"]), key(&[b"ab", b"c"]));
        assert_ne!(key(&[b"ab", b"c"]), key(&[b"a", b"bc"]));
        assert_ne!(key(&[b"ab", b""]), key(&[b"ab"]));
    }
    #[test]
    fn room_is_given_as_far_as_there_is_some_and_comes_back() {
        let shared = SharedState::new(1_000);
        let mut first = shared.reserve(600).expect("all is free");
        assert!(shared.reserve(401).is_none());
        let second = shared.reserve(400).expect("just as much is free");
        assert!(shared.reserve(1).is_none());
        first.shrink_to(100);
        let third = shared.reserve(500).expect("what was too much has come back");
        assert!(shared.reserve(1).is_none());
        drop((first, second, third));
        assert!(shared.reserve(usize::MAX).is_none() && shared.reserve(1_000).is_some());
    }
}
