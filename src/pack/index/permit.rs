//! One permit in the whole process: whoever has it may hold more than a push may by right.
//!
//! Pushes wait for it in turn, so large objects of many pushes at once take no more memory than those of one.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::base::limits::TICK_MS;

static TAKEN: Mutex<bool> = Mutex::new(false);
static RETURNED: Condvar = Condvar::new();

fn taken() -> MutexGuard<'static, bool> {
    TAKEN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Goes back when dropped.
pub(super) struct Permit(());

impl Permit {
    /// Wait for the permit; `check` is asked now and then whether there is still a reason to.
    ///
    /// # Errors
    /// What `check` says.
    pub(super) fn wait<E>(check: impl Fn() -> Result<(), E>) -> Result<Self, E> {
        let mut guard = taken();
        loop {
            check()?;
            if !*guard {
                *guard = true;
                return Ok(Self(()));
            }
            let waited = RETURNED.wait_timeout(guard, Duration::from_millis(TICK_MS));
            guard = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        *taken() = false;
        RETURNED.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::{Cancel, Cancelled};

    #[test]
    fn one_has_it_and_the_others_wait_until_it_comes_back_or_they_are_cancelled() {
        let permit = Permit::wait(|| Cancel::new().check()).expect("nobody else has it for long");
        let (ours, theirs) = (Cancel::new(), Cancel::new());
        std::thread::scope(|scope| {
            let cancelled = scope.spawn(|| Permit::wait(|| ours.check()).map(|_| ()));
            let patient = scope.spawn(|| Permit::wait(|| theirs.check()).map(|_| ()));
            ours.set();
            assert_eq!(cancelled.join().expect("no panic"), Err(Cancelled));
            assert!(!patient.is_finished(), "only one has it");
            drop(permit);
            assert_eq!(patient.join().expect("no panic"), Ok(()));
        });
    }
}
