//! The kernel's lock of an open file (flock(2)) into a value that lets it go.
//!
//! The lock belongs to the open file, and a program that is just being started shares all open files with us until it
//! runs: closing ours would leave the lock with it for a moment. So it is let go explicitly, not by closing.

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;
use std::io;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

const RETRY_MS: u64 = 2;

/// An open file whose exclusive lock is held until this is dropped.
#[derive(Debug)]
pub(super) struct Flock<F: AsFd>(F);

impl<F: AsFd> Flock<F> {
    /// The lock of `file`, `None` when somebody else holds it.
    pub(super) fn try_take(file: F) -> io::Result<Option<Self>> {
        Self::take_until(file, None)
    }

    /// The lock of `file`, `None` when somebody else still holds it at `deadline`.
    pub(super) fn take_until(file: F, deadline: impl Into<Option<Instant>>) -> io::Result<Option<Self>> {
        let deadline = deadline.into();
        loop {
            match flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => return Ok(Some(Self(file))),
                Err(Errno::WOULDBLOCK) if deadline.is_none_or(|deadline| Instant::now() >= deadline) => return Ok(None),
                Err(Errno::WOULDBLOCK) => std::thread::sleep(Duration::from_millis(RETRY_MS)),
                Err(Errno::INTR) => {}
                Err(err) => return Err(err.into()),
            }
        }
    }
}

impl<F: AsFd> Drop for Flock<F> {
    fn drop(&mut self) {
        if let Err(err) = flock(&self.0, FlockOperation::Unlock) {
            tracing::warn!(%err, "a lock is let go by closing its file only");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;

    #[test]
    fn it_is_let_go_whoever_shares_the_open_file() {
        let dir = tempfile::tempdir().expect("a folder");
        let open = || File::create(dir.path().join("lock")).expect("made");
        let file = open();
        let shared = file.try_clone().expect("as a child has it that is being started");
        let held = Flock::try_take(file).expect("no fault").expect("free");
        assert!(Flock::try_take(open()).expect("no fault").is_none());
        assert!(Flock::take_until(open(), Instant::now() + Duration::from_millis(5)).expect("no fault").is_none());
        drop(held);
        assert!(Flock::try_take(open()).expect("no fault").is_some());
        drop(shared);
    }
}
