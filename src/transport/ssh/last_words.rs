//! Bytes for the client into its channel, in time, and how a command ends: last words, exit status, end of file, close.

use super::super::limits::GOODBYE_MS;
use super::conversation::{Conversation, FINE};
use super::guarded::Guard;
use bytes::Bytes;
use std::future::Future;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::sync::mpsc;

/// How often one piece for a slow client may take the time in which at least a byte must move.
const STALLS_MAX: u32 = 10;
/// How often to look whether the client has heard, in milliseconds.
const LINGER_STEP_MS: u64 = 10;

impl Conversation {
    /// Hand pieces to the channel until the engine is done; false when the peer is gone or too slow.
    pub(super) async fn feed(&self, mut chunks: mpsc::Receiver<Bytes>) -> bool {
        while let Some(chunk) = chunks.recv().await {
            if !self.in_time(self.writer.data_bytes(chunk)).await {
                return false;
            }
        }
        true
    }

    /// Whether `write` came to its end before the peer left or stood still for too long, which ends the connection.
    pub(super) async fn in_time(&self, write: impl Future<Output = Result<(), russh::Error>>) -> bool {
        let stall: Duration = self.shared.limits.output_stall();
        tokio::select! {
            written = write => written.is_ok(),
            () = self.hangup.wait() => false,
            () = stands_still(&self.connection.guard, stall) => {
                tracing::warn!(request = %self.request, user = %self.login.user, stall_s = stall.as_secs(), "the client takes nothing; connection closed");
                self.hangup.set();
                self.inbox.abort();
                self.connection.guard.kill();
                false
            }
        }
    }

    /// Say one thing and end.
    pub(super) async fn tell(&self, stream: Option<u32>, text: Bytes, status: u32) {
        self.inbox.discard();
        self.finish(Some((stream, text)), status).await;
    }

    /// Last words, exit status, end of file, close: in that order.
    pub(super) async fn finish(&self, words: Option<(Option<u32>, Bytes)>, status: u32) {
        let end = async {
            match words {
                Some((Some(stream), text)) => self.writer.extended_data_bytes(stream, text).await?,
                Some((None, text)) => self.writer.data_bytes(text).await?,
                None => {}
            }
            self.writer.exit_status(status).await?;
            self.writer.eof().await?;
            if status != FINE {
                self.linger().await;
            }
            // Before the client can know: it may open its next channel at once.
            self.done.store(true, Ordering::Release);
            self.writer.close().await
        };
        self.in_time(end).await;
    }

    /// Let the client hear what was wrong: one that still sends when the channel closes sees a broken pipe instead. git
    /// stops sending when it has read the error; others are waited for a moment.
    async fn linger(&self) {
        for _ in 0..GOODBYE_MS / LINGER_STEP_MS {
            if self.inbox.is_ended() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(LINGER_STEP_MS)).await;
        }
    }
}

/// Comes back when no byte has gone out for `stall`, or one piece has taken [`STALLS_MAX`] times that.
async fn stands_still(guard: &Guard, stall: Duration) {
    for _ in 0..STALLS_MAX {
        let before = guard.bytes().1;
        tokio::time::sleep(stall).await;
        if guard.bytes().1 == before {
            return;
        }
    }
}
