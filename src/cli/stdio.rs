//! Standard input and output into a peer that can hang up: reads and writes that end when it does.
//!
//! A thread polls standard output for a reader that is gone (POLLERR on a pipe, POLLHUP on a socket) and sets the
//! flag that ends all work. Standard input says nothing about that: a peer may close it and still read. And a peer
//! may send its last word, such as the flush of a push with nothing to do, and go at once: what it sent is read first.

use crate::base::{Cancel, Clock, SystemClock, limits};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::fs::File;
use std::io::{self, IoSlice, Read, Write};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

/// Time that work has to notice its end before the process ends without it, in milliseconds.
const GRACE_MS: u64 = 1_000;
/// Time that the engine has to read the last words of a peer that has gone, in milliseconds.
const LAST_WORDS_MS: u64 = 1_000;
/// How git's programs end on a fatal error.
const FATAL: i32 = 128;

/// When something last moved.
#[derive(Debug, Default)]
struct Activity {
    clock: SystemClock,
    last_ms: AtomicU64,
    timed_out: AtomicBool,
}

impl Activity {
    fn touch(&self) {
        self.last_ms.store(self.clock.now_ms(), Ordering::Relaxed);
    }

    /// Why the work was given up.
    fn error(&self) -> io::Error {
        if self.timed_out.load(Ordering::Relaxed) {
            io::Error::new(io::ErrorKind::TimedOut, "nothing moved for too long")
        } else {
            io::Error::new(io::ErrorKind::ConnectionAborted, "the remote end hung up unexpectedly")
        }
    }

    fn quiet_ms(&self) -> u64 {
        self.clock.now_ms().saturating_sub(self.last_ms.load(Ordering::Relaxed))
    }
}

/// Both directions, watched. `timeout_s` seconds without a byte in either end the work; 0: never.
pub(super) fn open(cancel: &Cancel, timeout_s: u64) -> io::Result<(Input, Output)> {
    let activity = Arc::new(Activity::default());
    let input = File::from(io::stdin().as_fd().try_clone_to_owned()?);
    let output = File::from(io::stdout().as_fd().try_clone_to_owned()?);
    let (watched, flag, moved) = ([input.try_clone()?, output.try_clone()?], cancel.clone(), activity.clone());
    std::thread::Builder::new().name("hang-up".to_owned()).spawn(move || watch(&watched, &flag, &moved, timeout_s))?;
    Ok((Input { file: input, cancel: cancel.clone(), activity: activity.clone() }, Output { file: output, activity }))
}

/// Let the peer hear what was wrong: one that still writes when we end sees a broken pipe instead. Takes what it sends until
/// it stops, for a moment.
pub(super) fn linger() {
    let Ok(input) = io::stdin().as_fd().try_clone_to_owned() else { return };
    let (mut input, clock, mut buffer) = (File::from(input), SystemClock::default(), [0; 1 << 14]);
    while clock.now_ms() < GRACE_MS {
        let mut fds = [PollFd::new(&input, PollFlags::IN)];
        match poll(&mut fds, Some(&tick())) {
            Ok(0) | Err(rustix::io::Errno::INTR) => {}
            Ok(_) if input.read(&mut buffer).is_ok_and(|n| n > 0) => {}
            _ => return,
        }
    }
}

fn tick() -> Timespec {
    Timespec { tv_sec: 0, tv_nsec: i64::try_from(limits::TICK_MS).unwrap_or(250) * 1_000_000 }
}

/// Which of `wanted`, and of the states that are always told, `file` is in within `wait`.
fn state_of(file: &File, wanted: PollFlags, wait: &Timespec) -> io::Result<PollFlags> {
    let mut fds = [PollFd::new(file, wanted)];
    match poll(&mut fds, Some(wait)) {
        Ok(_) => Ok(fds[0].revents()),
        Err(rustix::io::Errno::INTR) => Ok(PollFlags::empty()),
        Err(error) => Err(error.into()),
    }
}

fn watch([input, output]: &[File; 2], cancel: &Cancel, activity: &Activity, timeout_s: u64) {
    loop {
        let Ok(state) = state_of(output, PollFlags::empty(), &tick()) else { return };
        if state.intersects(PollFlags::ERR | PollFlags::HUP | PollFlags::NVAL) {
            let gone = SystemClock::default();
            // The end of a socket is there to be read as well, and says nothing.
            while gone.now_ms() < LAST_WORDS_MS && rustix::io::ioctl_fionread(input).is_ok_and(|bytes| bytes > 0) {
                std::thread::sleep(Duration::from_millis(10));
            }
            cancel.set();
            return;
        }
        if timeout_s > 0 && activity.quiet_ms() > timeout_s.saturating_mul(1_000) {
            activity.timed_out.store(true, Ordering::Relaxed);
            cancel.set();
            // A write that the peer does not take never looks at the flag.
            std::thread::sleep(Duration::from_millis(GRACE_MS));
            std::process::exit(FATAL);
        }
    }
}

/// Standard input.
#[derive(Debug)]
pub(super) struct Input {
    file: File,
    cancel: Cancel,
    activity: Arc<Activity>,
}

impl Read for Input {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        // What has come, or comes within a tick, is read even when the peer no longer reads: one that is done closes the two
        // directions one after the other.
        loop {
            let cancelled = self.cancel.is_set();
            if !state_of(&self.file, PollFlags::IN, &tick())?.is_empty() {
                break;
            }
            if cancelled {
                return Err(self.activity.error());
            }
        }
        let n = self.file.read(buffer)?;
        self.activity.touch();
        Ok(n)
    }
}

/// Standard output, unbuffered.
#[derive(Debug)]
pub(super) struct Output {
    file: File,
    activity: Arc<Activity>,
}

impl Write for Output {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        let n = self.file.write(data)?;
        self.activity.touch();
        Ok(n)
    }

    fn write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        let n = self.file.write_vectored(slices)?;
        self.activity.touch();
        Ok(n)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::OwnedFd;

    fn pipe() -> (File, File) {
        let (reader, writer) = io::pipe().expect("a pipe");
        (OwnedFd::from(reader).into(), OwnedFd::from(writer).into())
    }

    #[test]
    fn the_last_words_of_a_peer_that_has_gone_are_read() {
        let (read, mut written) = pipe();
        written.write_all(b"0000").expect("written");
        let cancel = Cancel::new();
        let mut input = Input { file: read, cancel: cancel.clone(), activity: Arc::default() };
        cancel.set();
        let mut got = [0; 8];
        assert_eq!(input.read(&mut got).expect("read"), 4);
        assert_eq!(input.read(&mut got).expect_err("gone").kind(), io::ErrorKind::ConnectionAborted);
        drop(written);
        assert_eq!(input.read(&mut got).expect("the end"), 0);
    }

    #[test]
    fn a_reader_of_our_output_that_goes_ends_the_work_after_its_last_words() {
        let ((input, mut written), (reader, output)) = (pipe(), pipe());
        written.write_all(b"0000").expect("written");
        let (cancel, activity) = (Cancel::new(), Activity::default());
        let mut watched = input.try_clone().expect("cloned");
        std::thread::scope(|scope| {
            scope.spawn(|| watch(&[input, output], &cancel, &activity, 0));
            drop(reader);
            assert_eq!(watched.read(&mut [0; 8]).expect("read"), 4);
        });
        assert!(cancel.is_set());
    }
}
