//! Turns of users or addresses: each waits for its own only, and takes nothing from the others.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Turns of those who wait in one queue each, so many at once.
#[derive(Debug)]
pub(crate) struct Turns<K: Hash + Eq> {
    each_max: usize,
    queues: Mutex<HashMap<K, Arc<Semaphore>>>,
}

/// One turn, or the wait for one; dropped, it is the next one's.
#[derive(Debug)]
pub(crate) struct Turn<K: Hash + Eq> {
    turns: Arc<Turns<K>>,
    whose: K,
    permit: Option<OwnedSemaphorePermit>,
}

impl<K: Hash + Eq + Clone> Turns<K> {
    /// `each_max` at once for each.
    pub(crate) fn new(each_max: usize) -> Arc<Self> {
        Arc::new(Self { each_max: each_max.min(Semaphore::MAX_PERMITS), queues: Mutex::default() })
    }

    /// Wait for a turn of `whose`.
    pub(crate) async fn take(self: &Arc<Self>, whose: K) -> Turn<K> {
        // Made before the wait: whoever gives up waiting leaves nothing behind.
        let mut turn = Turn { turns: self.clone(), whose: whose.clone(), permit: None };
        let queue = self.queues().entry(whose).or_insert_with(|| Arc::new(Semaphore::new(self.each_max))).clone();
        // Nobody closes it.
        turn.permit = queue.acquire_owned().await.ok();
        turn
    }
}

impl<K: Hash + Eq> Turns<K> {
    fn queues(&self) -> MutexGuard<'_, HashMap<K, Arc<Semaphore>>> {
        self.queues.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<K: Hash + Eq> Drop for Turn<K> {
    fn drop(&mut self) {
        self.permit.take();
        let mut queues = self.turns.queues();
        // Who holds or waits for a turn holds the queue, too; and it is got under this lock only.
        if queues.get(&self.whose).is_some_and(|queue| Arc::strong_count(queue) == 1) {
            queues.remove(&self.whose);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_user_waits_for_their_own_commands_only_and_nothing_is_left_of_them() {
        let turns = Turns::new(1);
        let first = turns.take("ann").await;
        let _bobs = turns.take("bob").await;
        let waits = |user: &'static str| {
            let turns = turns.clone();
            tokio::spawn(async move { drop(turns.take(user).await) })
        };
        let (patient, impatient) = (waits("ann"), waits("ann"));
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
        assert!(!patient.is_finished() && !impatient.is_finished());
        impatient.abort();
        let _ = impatient.await;
        drop(first);
        patient.await.expect("a turn");
        assert_eq!(turns.queues().keys().collect::<Vec<_>>(), [&"bob"]);
        // One who gives up last, after the turn was given back.
        let held = turns.take("ann").await;
        let waiting = waits("ann");
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
        waiting.abort();
        let _ = waiting.await;
        drop(held);
        assert_eq!(turns.queues().len(), 1);
    }
}
