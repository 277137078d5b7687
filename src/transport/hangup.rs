//! The end of a peer into the end of all work for it: a [`Cancel`] flag that async tasks can wait for.

use crate::base::Cancel;
use tokio::sync::Notify;

/// Set once; sync loops look at [`Hangup::cancel`], async tasks await [`Hangup::wait`].
#[derive(Debug, Default)]
pub(super) struct Hangup {
    cancel: Cancel,
    notify: Notify,
}

impl Hangup {
    pub(super) fn set(&self) {
        self.cancel.set();
        self.notify.notify_waiters();
    }

    pub(super) fn is_set(&self) -> bool {
        self.cancel.is_set()
    }

    pub(super) fn cancel(&self) -> &Cancel {
        &self.cancel
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
