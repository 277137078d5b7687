//! The end of a peer into the end of all work for it: a flag that async tasks can wait for.

use std::sync::atomic::{AtomicBool, Ordering};
use tokio::sync::Notify;

/// Set once; async tasks await [`Hangup::wait`].
#[derive(Debug, Default)]
pub(super) struct Hangup {
    flag: AtomicBool,
    notify: Notify,
}

impl Hangup {
    pub(super) fn set(&self) {
        self.flag.store(true, Ordering::Release);
        self.notify.notify_waiters();
    }

    pub(super) fn is_set(&self) -> bool {
        self.flag.load(Ordering::Acquire)
    }

    /// Comes back once the flag is set, at once if it is already.
    pub(super) async fn wait(&self) {
        let notified = self.notify.notified();
        tokio::pin!(notified);
        // Registered before the look: a flag set in between is not missed.
        notified.as_mut().enable();
        if !self.is_set() {
            notified.await;
        }
    }
}
