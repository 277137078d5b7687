//! A long computation into its result, with signs of life for the peer meanwhile.
//!
//! The work runs on a scoped worker; this thread owns the writer, wakes a few times a second, writes progress and
//! keep-alives, and sets the cancel flag when the peer cannot be written to any more.

use super::Error;
use crate::base::limits::TICK_MS;
use crate::base::{Cancel, Clock, Progress, SystemClock};
use crate::wire::{Band, SideBand};
use std::io::Write;
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
