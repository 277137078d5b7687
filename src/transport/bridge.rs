//! Async bytes of one channel into `Read` and `Write` of the engine's blocking thread, and back.
//!
//! In: the connection's task puts what arrives into an [`Inbox`], an [`InboxReader`] takes it out. The inbox holds
//! no more than [`INPUT_BYTES_MAX`]; russh gives the peer new window as bytes arrive, not as we use them, so
//! the only brake is to let [`Inbox::push`] wait, and nothing else of that connection moves while it does.
//! It therefore never waits for a reader that has gone: what comes then is dropped.
//!
//! Out: a [`ChannelWriter`] gathers what the engine writes into pieces of [`OUTPUT_CHUNK_BYTES`] and hands them
//! to the task that feeds the channel; at most [`OUTPUT_CHUNKS`] wait there.

use super::limits::{INPUT_BYTES_MAX, OUTPUT_CHUNK_BYTES, OUTPUT_CHUNKS};
use bytes::{Bytes, BytesMut};
use std::io::{self, IoSlice, Read, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::{Notify, mpsc};

/// What a channel's peer sent and the engine has not read yet.
#[derive(Debug, Default)]
pub(super) struct Inbox {
    state: Mutex<State>,
    readable: Condvar,
    room: Notify,
    bytes: AtomicU64,
}

#[derive(Debug, Default)]
struct State {
    waiting: Vec<u8>,
    /// Nothing more will come; true: because the peer is gone.
    ended: Option<bool>,
    reader_gone: bool,
}

impl Inbox {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Bytes that came in, read or not.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Put `data` in; waits while there is no room and somebody may still read.
    pub(super) async fn push(&self, data: &[u8]) {
        self.bytes.fetch_add(data.len() as u64, Ordering::Relaxed);
        loop {
            let room = self.room.notified();
            tokio::pin!(room);
            room.as_mut().enable();
            if self.try_push(data) {
                return;
            }
            room.await;
        }
    }

    fn try_push(&self, data: &[u8]) -> bool {
        let mut state = self.state();
        if state.reader_gone || state.ended.is_some() {
            return true;
        }
        if !state.waiting.is_empty() && state.waiting.len() + data.len() > INPUT_BYTES_MAX {
            return false;
        }
        state.waiting.extend_from_slice(data);
        drop(state);
        self.readable.notify_one();
        true
    }

    /// Whether the peer has said that it sends no more, or is gone.
    pub(super) fn is_ended(&self) -> bool {
        self.state().ended.is_some()
    }

    /// The peer sends no more; what waits may still be read.
    pub(super) fn end(&self) {
        self.state().ended.get_or_insert(false);
        self.readable.notify_all();
    }

    /// The peer is gone: reading fails from now on.
    pub(super) fn abort(&self) {
        let mut state = self.state();
        state.ended = Some(true);
        state.waiting = Vec::new();
        drop(state);
        self.readable.notify_all();
        self.room.notify_waiters();
    }

    /// Nobody will read: what waits and what comes is dropped.
    pub(super) fn discard(&self) {
        let mut state = self.state();
        state.reader_gone = true;
        state.waiting = Vec::new();
        drop(state);
        self.room.notify_waiters();
    }

    /// The engine's end; to be taken once. It waits `first` for the first byte and `idle` for each further one.
    pub(super) fn reader(self: &Arc<Self>, first: Duration, idle: Duration) -> InboxReader {
        InboxReader { inbox: self.clone(), current: Vec::new(), at: 0, patience: first, idle }
    }
}

/// Reads an [`Inbox`] and blocks while it is empty, `idle` at most; dropped, it lets the rest of the input go.
#[derive(Debug)]
pub(super) struct InboxReader {
    inbox: Arc<Inbox>,
    current: Vec<u8>,
    at: usize,
    patience: Duration,
    idle: Duration,
}

impl InboxReader {
    /// Exchange the emptied buffer for the filled one; false at the end of the input.
    fn refill(&mut self) -> io::Result<bool> {
        let mut state = self.inbox.state();
        while state.waiting.is_empty() {
            match state.ended {
                Some(true) => return Err(io::ErrorKind::ConnectionAborted.into()),
                Some(false) => return Ok(false),
                None => {}
            }
            let (woken, waited) = self.inbox.readable.wait_timeout(state, self.patience).unwrap_or_else(PoisonError::into_inner);
            state = woken;
            if waited.timed_out() && state.waiting.is_empty() && state.ended.is_none() {
                return Err(io::Error::new(io::ErrorKind::TimedOut, "the client sent nothing for too long"));
            }
        }
        self.patience = self.idle;
        self.current.clear();
        self.at = 0;
        std::mem::swap(&mut self.current, &mut state.waiting);
        drop(state);
        self.inbox.room.notify_waiters();
        Ok(true)
    }
}

impl Read for InboxReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() || (self.at == self.current.len() && !self.refill()?) {
            return Ok(0);
        }
        let n = buffer.len().min(self.current.len() - self.at);
        buffer[..n].copy_from_slice(&self.current[self.at..self.at + n]);
        self.at += n;
        Ok(n)
    }
}

impl Drop for InboxReader {
    fn drop(&mut self) {
        self.inbox.discard();
    }
}

/// Gathers what the engine writes; blocks while the peer is slow.
#[derive(Debug)]
pub(super) struct ChannelWriter {
    pending: BytesMut,
    chunks: mpsc::Sender<Bytes>,
    bytes: Arc<AtomicU64>,
}

/// A writer for the engine, the pieces for the task that feeds the channel, and a count of bytes written.
pub(super) fn outbox() -> (ChannelWriter, mpsc::Receiver<Bytes>, Arc<AtomicU64>) {
    let (chunks, receiver) = mpsc::channel(OUTPUT_CHUNKS);
    let bytes = Arc::new(AtomicU64::new(0));
    (ChannelWriter { pending: BytesMut::new(), chunks, bytes: bytes.clone() }, receiver, bytes)
}

impl ChannelWriter {
    fn gather(&mut self, mut data: &[u8]) -> io::Result<()> {
        while !data.is_empty() {
            if self.pending.is_empty() {
                self.pending.reserve(OUTPUT_CHUNK_BYTES);
            }
            let n = data.len().min(OUTPUT_CHUNK_BYTES - self.pending.len());
            self.pending.extend_from_slice(&data[..n]);
            data = &data[n..];
            if self.pending.len() == OUTPUT_CHUNK_BYTES {
                self.send()?;
            }
        }
        Ok(())
    }

    fn send(&mut self) -> io::Result<()> {
        let chunk = self.pending.split().freeze();
        self.bytes.fetch_add(chunk.len() as u64, Ordering::Relaxed);
        self.chunks.blocking_send(chunk).map_err(|_| io::ErrorKind::BrokenPipe.into())
    }
}

impl Write for ChannelWriter {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        self.gather(data)?;
        Ok(data.len())
    }

    fn write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        let mut n = 0;
        for slice in slices {
            self.gather(slice)?;
            n += slice.len();
        }
        Ok(n)
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.pending.is_empty() { Ok(()) } else { self.send() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_secs(60);

    fn runtime() -> tokio::runtime::Runtime {
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime")
    }

    #[test]
    fn what_is_pushed_is_read_in_order_however_big_it_is() {
        let inbox = Arc::new(Inbox::default());
        let sent: Vec<u8> = (0..3 * INPUT_BYTES_MAX).map(|at| (at % 251) as u8).collect();
        let mut reader = inbox.reader(LONG, LONG);
        let (pushed, runtime) = (sent.clone(), runtime());
        let task = runtime.spawn(async move {
            for piece in pushed.chunks(30_000) {
                inbox.push(piece).await;
            }
            inbox.end();
        });
        let mut got = Vec::new();
        reader.read_to_end(&mut got).expect("read");
        runtime.block_on(task).expect("pushed");
        assert!(got == sent);
    }

    #[test]
    fn a_full_inbox_lets_go_when_its_reader_goes() {
        let inbox = Arc::new(Inbox::default());
        let reader = inbox.reader(LONG, LONG);
        let runtime = runtime();
        let pusher = inbox.clone();
        let task = runtime.spawn(async move {
            for _ in 0..200 {
                pusher.push(&[0; 32 << 10]).await;
            }
        });
        while inbox.bytes() < INPUT_BYTES_MAX as u64 {
            std::thread::yield_now();
        }
        assert!(inbox.state().waiting.len() <= INPUT_BYTES_MAX);
        drop(reader);
        runtime.block_on(task).expect("all pushed");
    }

    #[test]
    fn what_comes_for_nobody_is_dropped_and_waits_for_nobody() {
        let inbox = Arc::new(Inbox::default());
        inbox.discard();
        runtime().block_on(async {
            for _ in 0..3 {
                inbox.push(&[0; INPUT_BYTES_MAX]).await;
            }
        });
        assert!(inbox.state().waiting.is_empty());
    }

    #[test]
    fn the_first_byte_has_a_deadline_of_its_own() {
        let inbox = Arc::new(Inbox::default());
        let mut reader = inbox.reader(LONG, Duration::from_millis(20));
        runtime().block_on(inbox.push(b"a"));
        assert_eq!(reader.read(&mut [0; 8]).expect("a byte"), 1);
        assert_eq!(reader.read(&mut [0; 8]).expect_err("silence").kind(), io::ErrorKind::TimedOut);
    }

    #[test]
    fn a_reader_hears_that_its_peer_is_gone_or_silent() {
        let inbox = Arc::new(Inbox::default());
        let silent = inbox.reader(Duration::from_millis(20), LONG).read(&mut [0; 8]).expect_err("silence");
        assert_eq!(silent.kind(), io::ErrorKind::TimedOut);
        inbox.abort();
        let gone = inbox.reader(LONG, LONG).read(&mut [0; 8]).expect_err("gone");
        assert_eq!(gone.kind(), io::ErrorKind::ConnectionAborted);
    }

    #[test]
    fn small_writes_are_gathered_and_big_ones_cut() {
        let (mut writer, mut chunks, bytes) = outbox();
        writer.write_all(b"ab").expect("written");
        assert_eq!(writer.write_vectored(&[IoSlice::new(b"c"), IoSlice::new(b"de")]).expect("written"), 3);
        assert!(chunks.try_recv().is_err());
        writer.flush().expect("flushed");
        assert_eq!(chunks.try_recv().expect("a piece"), &b"abcde"[..]);
        writer.write_all(&[1; OUTPUT_CHUNK_BYTES + 1]).expect("written");
        writer.flush().expect("flushed");
        assert_eq!(chunks.try_recv().expect("a piece").len(), OUTPUT_CHUNK_BYTES);
        assert_eq!(chunks.try_recv().expect("a piece").len(), 1);
        assert_eq!(bytes.load(Ordering::Relaxed), OUTPUT_CHUNK_BYTES as u64 + 6);
        drop(chunks);
        writer.write_all(b"x").expect("gathered");
        assert_eq!(writer.flush().expect_err("nobody takes it").kind(), io::ErrorKind::BrokenPipe);
    }
}
