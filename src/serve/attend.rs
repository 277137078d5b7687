//! A long computation into its result, with signs of life for the peer meanwhile.
//!
//! The work runs on a scoped worker; this thread owns the writer, wakes a few times a second, writes progress and
//! keep-alives, and sets the cancel flag when the peer cannot be written to any more.

use super::Error;
use crate::base::limits::TICK_MS;
use crate::base::{Cancel, Clock, Progress, SystemClock};
use crate::wire::{Band, SideBand};
use std::io::{Read, Write};
use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::time::Duration;

/// Run `work` and return what it returns. `keepalive_ms`: silence after which an empty data line is sent; 0: never.
pub(super) fn attend<T, E>(
    bands: &mut SideBand<impl Write>,
    progress: &Progress,
    quiet: bool,
    keepalive_ms: u64,
    cancel: &Cancel,
    work: impl FnOnce() -> Result<T, E> + Send,
) -> Result<T, Error>
where
    T: Send,
    E: Send + Into<Error>,
{
    let clock = SystemClock::default();
    std::thread::scope(|scope| {
        let (done, result) = sync_channel(1);
        let worker = scope.spawn(move || {
            let _ = done.send(work());
        });
        let (mut spoke_ms, mut fault) = (0, None);
        let outcome = loop {
            match result.recv_timeout(Duration::from_millis(TICK_MS)) {
                Ok(outcome) => break outcome.map_err(Into::into),
                Err(RecvTimeoutError::Disconnected) => match worker.join() {
                    Err(panic) => std::panic::resume_unwind(panic),
                    Ok(()) => break Err(Error::Bug("a worker ended without a result".to_owned())),
                },
                Err(RecvTimeoutError::Timeout) if fault.is_some() => {}
                Err(RecvTimeoutError::Timeout) => {
                    let silent_ms = clock.now_ms() - spoke_ms;
                    match sign_of_life(bands, progress, quiet, keepalive_ms != 0 && silent_ms >= keepalive_ms) {
                        Ok(true) => spoke_ms = clock.now_ms(),
                        Ok(false) => {}
                        Err(err) => {
                            cancel.set();
                            fault = Some(err);
                        }
                    }
                }
            }
        };
        if let Some(err) = fault {
            return Err(err.into());
        }
        if !quiet && outcome.is_ok() {
            bands.say(Band::Progress, progress.take_text().as_bytes())?;
        }
        outcome
    })
}

/// Show progress, or else that we live if that is due; true when something was sent.
fn sign_of_life(bands: &mut SideBand<impl Write>, progress: &Progress, quiet: bool, due: bool) -> std::io::Result<bool> {
    let text = if quiet { String::new() } else { progress.take_text() };
    if !text.is_empty() {
        bands.say(Band::Progress, text.as_bytes())?;
        return Ok(true);
    }
    if due {
        bands.keep_alive()?;
    }
    Ok(due)
}

/// Bytes read between two looks at the cancel flag: the last words of a peer that goes at once are heard all the same.
const LISTENING_BYTES: usize = 1 << 16;

/// Reads from a peer until somebody gives up on it: one that talks without end is not listened to without end.
pub(super) struct Listening<'a, R> {
    input: R,
    cancel: &'a Cancel,
    read_bytes: usize,
}

impl<'a, R> Listening<'a, R> {
    pub fn new(input: R, cancel: &'a Cancel) -> Self {
        Self { input, cancel, read_bytes: 0 }
    }
}

impl<R: Read> Read for Listening<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        if self.read_bytes >= LISTENING_BYTES {
            self.cancel.check().map_err(std::io::Error::other)?;
            self.read_bytes = 0;
        }
        let count = self.input.read(buffer)?;
        self.read_bytes += count;
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::{Arc, Mutex};
    use std::time::Instant;

    /// Longer than any of these tests should take.
    const PATIENCE: Duration = Duration::from_secs(60);

    /// What the peer has heard so far.
    #[derive(Clone, Default)]
    struct Heard(Arc<Mutex<Vec<u8>>>);

    impl Heard {
        fn text(&self) -> String {
            String::from_utf8_lossy(&self.0.lock().unwrap()).into_owned()
        }

        /// Wait until it is so; false when it never becomes so.
        fn wait_for(&self, is_so: impl Fn(&str) -> bool) -> bool {
            let begun = Instant::now();
            while !is_so(&self.text()) {
                if begun.elapsed() > PATIENCE {
                    return false;
                }
                std::thread::sleep(Duration::from_millis(5));
            }
            true
        }
    }

    impl Write for Heard {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    /// A peer that cannot be written to.
    struct Gone;

    impl Write for Gone {
        fn write(&mut self, _: &[u8]) -> std::io::Result<usize> {
            Err(std::io::ErrorKind::BrokenPipe.into())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn while_work_is_slow_empty_packets_go_out_and_its_result_comes_in_the_end() {
        let heard = Heard::default();
        let work = || Ok::<_, Error>(heard.wait_for(|text| text.matches("0005\u{1}").count() >= 3));
        let outcome = attend(&mut SideBand::large(heard.clone()), &Progress::new(), false, 1, &Cancel::new(), work);
        assert!(outcome.expect("no fault"), "{:?}", heard.text());
    }

    #[test]
    fn while_work_is_slow_and_counts_progress_is_the_sign_of_life() {
        let (heard, progress) = (Heard::default(), Progress::new());
        let work = || {
            let phase = progress.begin("Enumerating objects", 0);
            Ok::<_, Error>(heard.wait_for(|text| {
                phase.add(1);
                text.matches("\u{2}Enumerating objects: ").count() >= 3
            }))
        };
        let outcome = attend(&mut SideBand::large(heard.clone()), &progress, false, 1, &Cancel::new(), work);
        assert!(outcome.expect("no fault") && !heard.text().contains("0005\u{1}"), "{:?}", heard.text());
    }

    #[test]
    fn a_peer_that_wants_no_signs_gets_none() {
        let heard = Heard::default();
        let progress = Progress::new();
        let phase = progress.begin("Enumerating objects", 0);
        let work = || {
            phase.add(1);
            std::thread::sleep(Duration::from_millis(3 * TICK_MS));
            Ok::<_, Error>(())
        };
        attend(&mut SideBand::large(heard.clone()), &progress, true, 0, &Cancel::new(), work).expect("no fault");
        assert_eq!(heard.text(), "");
    }

    #[test]
    fn a_peer_that_cannot_be_written_to_ends_the_work() {
        let cancel = Cancel::new();
        let work = || {
            let begun = Instant::now();
            while begun.elapsed() < PATIENCE {
                cancel.check()?;
                std::thread::sleep(Duration::from_millis(5));
            }
            Ok::<_, Error>(())
        };
        let outcome = attend(&mut SideBand::large(Gone), &Progress::new(), true, 1, &cancel, work);
        assert!(matches!(outcome, Err(Error::Io(_))), "{outcome:?}");
        assert!(cancel.is_set());
    }
}
