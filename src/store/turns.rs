//! Threads of this process that want one repository into a queue: in the order in which they came, one at a time.
//!
//! A `flock` is tried again and again, and whoever tries at the right moment has it: among many pushes into one
//! repository some would starve. Here only the first in the queue tries. Other repositories have queues of their own.
//! Between processes no order is kept.

use std::collections::{HashMap, VecDeque};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, LazyLock, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Instant;

/// Queues that nobody holds any more are forgotten when there are more than so many.
const IDLE_MAX: usize = 1024;

static QUEUES: LazyLock<Mutex<HashMap<PathBuf, Weak<Turns>>>> = LazyLock::new(Mutex::default);

/// The queue of one repository.
#[derive(Debug, Default)]
pub(super) struct Turns {
    waiting: Mutex<Waiting>,
    moved: Condvar,
}

#[derive(Debug, Default)]
struct Waiting {
    next: u64,
    /// The first has its turn.
    queue: VecDeque<u64>,
}

/// Nobody else in this process has a turn at this repository until this is dropped.
#[derive(Debug)]
pub(super) struct Turn {
    turns: Arc<Turns>,
    number: u64,
}

impl Turns {
    /// The queue of the repository whose common directory this is.
    pub(super) fn of(common_dir: &Path) -> Arc<Self> {
        let mut queues = QUEUES.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(turns) = queues.get(common_dir).and_then(Weak::upgrade) {
            return turns;
        }
        if queues.len() >= IDLE_MAX {
            queues.retain(|_, turns| turns.strong_count() > 0);
        }
        let turns = Arc::new(Self::default());
        queues.insert(common_dir.to_owned(), Arc::downgrade(&turns));
        turns
    }

    /// Wait for a turn, at most until `deadline`.
    pub(super) fn wait(self: &Arc<Self>, deadline: Instant) -> Option<Turn> {
        let mut waiting = self.lock();
        let number = waiting.next;
        waiting.next += 1;
        waiting.queue.push_back(number);
        let turn = Turn { turns: self.clone(), number };
        while waiting.queue.front() != Some(&number) {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                drop(waiting);
                return None; // and out of the queue, by dropping the turn
            }
            waiting = self.moved.wait_timeout(waiting, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        Some(turn)
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.turns.lock().queue.retain(|number| *number != self.number);
        self.turns.moved.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn soon() -> Instant {
        Instant::now() + Duration::from_secs(30)
    }

    #[test]
    fn whoever_came_first_has_the_first_turn() {
        let turns = Turns::of(Path::new("/first"));
        let held = turns.wait(soon()).expect("nobody is there");
        let order = Mutex::new(vec![]);
        std::thread::scope(|scope| {
            for number in 0..8 {
                let (turns, order) = (&turns, &order);
                scope.spawn(move || {
                    let _turn = turns.wait(soon()).expect("it comes");
                    order.lock().expect("not poisoned").push(number);
                });
                while turns.lock().queue.len() < number + 2 {
                    std::thread::yield_now();
                }
            }
            drop(held);
        });
        assert_eq!(order.into_inner().expect("not poisoned"), (0..8).collect::<Vec<_>>());
    }

    #[test]
    fn one_who_gives_up_holds_up_nobody_and_repositories_do_not_wait_for_each_other() {
        let turns = Turns::of(Path::new("/one"));
        let held = turns.wait(soon()).expect("nobody is there");
        assert!(turns.wait(Instant::now()).is_none());
        assert!(Turns::of(Path::new("/other")).wait(Instant::now()).is_some());
        assert!(Turns::of(Path::new("/one")).wait(Instant::now()).is_none(), "the same queue");
        drop(held);
        assert!(turns.wait(Instant::now()).is_some());
    }
}
