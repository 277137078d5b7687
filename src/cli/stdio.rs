//! Standard input and output into a peer that can hang up: reads and writes that end when it does.
//!
//! A thread polls standard output for a reader that is gone (POLLERR on a pipe, POLLHUP on a socket) and sets the
//! flag that ends all work. Standard input says nothing about that: a peer may close it and still read.

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
    let (watched, flag, moved) = (output.try_clone()?, cancel.clone(), activity.clone());
    std::thread::Builder::new().name("hang-up".to_owned()).spawn(move || watch(&watched, &flag, &moved, timeout_s))?;
    Ok((Input { file: input, cancel: cancel.clone(), activity: activity.clone() }, Output { file: output, activity }))
}

fn tick() -> Timespec {
    Timespec { tv_sec: 0, tv_nsec: i64::try_from(limits::TICK_MS).unwrap_or(250) * 1_000_000 }
}

fn watch(output: &File, cancel: &Cancel, activity: &Activity, timeout_s: u64) {
    loop {
        let mut fds = [PollFd::new(output, PollFlags::empty())];
        let gone = match poll(&mut fds, Some(&tick())) {
            Ok(_) => fds[0].revents().intersects(PollFlags::ERR | PollFlags::HUP | PollFlags::NVAL),
            Err(rustix::io::Errno::INTR) => false,
            Err(_) => return,
        };
        if gone {
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
        // What the peer sent, or its end, counts even when it no longer reads: it may be done.
        loop {
            let mut fds = [PollFd::new(&self.file, PollFlags::IN)];
            match poll(&mut fds, Some(&tick())) {
                Ok(0) | Err(rustix::io::Errno::INTR) => {}
                Ok(_) => break,
                Err(error) => return Err(error.into()),
            }
            if self.cancel.is_set() {
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
