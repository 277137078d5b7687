//! Counters that a worker turns and the thread that owns the peer reads: the source of git's progress lines.
//!
//! The words are git's own (`progress.c`): `Counting objects: 100% (5/5), done.` with a known total,
//! `Enumerating objects: 5, done.` without one. One phase runs at a time; finished phases wait in a
//! queue until the reader has shown their last line, so none is lost however fast it was.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// One titled piece of work.
#[derive(Debug)]
pub struct Phase {
    title: &'static str,
    total: u64, // 0: unknown
    done: AtomicU64,
    bytes: AtomicU64,
    finished: AtomicU64,
}

impl Phase {
    /// Count `n` more objects as done.
    pub fn add(&self, n: u64) {
        self.done.fetch_add(n, Ordering::Relaxed);
    }

    /// Say absolutely how many objects are done.
    pub fn set(&self, n: u64) {
        self.done.store(n, Ordering::Relaxed);
    }

    /// Count `n` more bytes as moved; shown behind the objects when not zero.
    pub fn add_bytes(&self, n: u64) {
        self.bytes.fetch_add(n, Ordering::Relaxed);
    }

    /// The phase is over: its next line ends in `, done.`.
    pub fn finish(&self) {
        self.finished.store(1, Ordering::Release);
    }

    fn line(&self) -> (String, bool) {
        let finished = self.finished.load(Ordering::Acquire) == 1;
        let done = self.done.load(Ordering::Relaxed);
        let mut line = match done.saturating_mul(100).checked_div(self.total) {
            Some(percent) => format!("{}: {percent:3}% ({done}/{})", self.title, self.total),
            None => format!("{}: {done}", self.title),
        };
        if finished {
            line.push_str(", done.\n");
        } else {
            line.push('\r');
        }
        (line, finished)
    }
}

/// The phases of one request; clones are the same counters.
#[derive(Clone, Debug, Default)]
pub struct Progress(Arc<Mutex<VecDeque<Arc<Phase>>>>);

impl Progress {
    /// Counters that nobody has turned yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Begin a phase of `total` objects (0: not known).
    pub fn begin(&self, title: &'static str, total: u64) -> Arc<Phase> {
        let phase = Arc::new(Phase { title, total, done: AtomicU64::new(0), bytes: AtomicU64::new(0), finished: AtomicU64::new(0) });
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push_back(phase.clone());
        phase
    }

    /// Text to show now: the last line of every finished phase, then the running one's line, which ends in `\r`.
    pub fn take_text(&self) -> String {
        let mut phases = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut text = String::new();
        while let Some(phase) = phases.front() {
            let (line, finished) = phase.line();
            text.push_str(&line);
            if !finished {
                break;
            }
            phases.pop_front();
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_finished_phase_is_shown_once_in_gits_words() {
        let progress = Progress::new();
        let enumerate = progress.begin("Enumerating objects", 0);
        enumerate.add(5);
        enumerate.finish();
        let count = progress.begin("Counting objects", 8);
        count.add(4);
        assert_eq!(progress.take_text(), "Enumerating objects: 5, done.\nCounting objects:  50% (4/8)\r");
        count.set(8);
        count.finish();
        assert_eq!(progress.take_text(), "Counting objects: 100% (8/8), done.\n");
        assert_eq!(progress.take_text(), "");
    }
}
