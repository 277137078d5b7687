//! A socket into one that can be shut from outside, counts its bytes, and tells how long a write has been stuck.
//!
//! russh owns the socket and cannot be made to let go of it while one of its writes or one of our callbacks
//! waits. [`Guard::kill`] makes the next poll of either direction fail, which ends russh's task.

use super::super::hangup::Hangup;
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// The outside's hold on a [`Guarded`] socket.
#[derive(Debug)]
pub(super) struct Guard {
    began: Instant,
    killed: Hangup,
    wakers: Mutex<[Option<Waker>; 2]>,
    read: AtomicU64,
    written: AtomicU64,
    /// Milliseconds since `began` plus one at which the write that is stuck now got stuck; 0: none is.
    stuck_since: AtomicU64,
}

const READ: usize = 0;
const WRITE: usize = 1;

impl Guard {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self {
            began: Instant::now(),
            killed: Hangup::default(),
            wakers: Mutex::default(),
            read: AtomicU64::new(0),
            written: AtomicU64::new(0),
            stuck_since: AtomicU64::new(0),
        })
    }

    /// Shut the socket, whatever its owner is doing.
    pub(super) fn kill(&self) {
        self.killed.set();
        let wakers = std::mem::take(&mut *self.wakers.lock().unwrap_or_else(PoisonError::into_inner));
        wakers.into_iter().flatten().for_each(Waker::wake);
    }

    /// Comes back once the socket is shut.
    pub(super) async fn wait(&self) {
        self.killed.wait().await;
    }

    /// Since when the peer takes nothing although there is something for it.
    pub(super) fn stuck_for(&self) -> Option<Duration> {
        let since = self.stuck_since.load(Ordering::Relaxed).checked_sub(1)?;
        Some(self.began.elapsed().saturating_sub(Duration::from_millis(since)))
    }

    /// Bytes read and written so far.
    pub(super) fn bytes(&self) -> (u64, u64) {
        (self.read.load(Ordering::Relaxed), self.written.load(Ordering::Relaxed))
    }

    /// Fails when killed; otherwise sees to it that a kill wakes this task.
    fn check(&self, side: usize, context: &Context<'_>) -> io::Result<()> {
        let mut wakers = self.wakers.lock().unwrap_or_else(PoisonError::into_inner);
        if self.killed.is_set() {
            return Err(io::ErrorKind::ConnectionAborted.into());
        }
        match &mut wakers[side] {
            Some(waker) => waker.clone_from(context.waker()),
            empty => *empty = Some(context.waker().clone()),
        }
        Ok(())
    }

    fn stuck(&self) {
        let now = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX - 1) + 1;
        let _ = self.stuck_since.compare_exchange(0, now, Ordering::Relaxed, Ordering::Relaxed);
    }
}

/// A socket under guard.
#[derive(Debug)]
pub(super) struct Guarded<S> {
    socket: S,
    guard: Arc<Guard>,
}

impl<S> Guarded<S> {
    pub(super) fn new(socket: S, guard: Arc<Guard>) -> Self {
        Self { socket, guard }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Guarded<S> {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.guard.check(READ, context)?;
        let before = buffer.filled().len();
        let polled = Pin::new(&mut self.socket).poll_read(context, buffer);
        self.guard.read.fetch_add((buffer.filled().len() - before) as u64, Ordering::Relaxed);
        polled
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Guarded<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        self.guard.check(WRITE, context)?;
        let polled = Pin::new(&mut self.socket).poll_write(context, data);
        match &polled {
            Poll::Ready(Ok(n)) => {
                self.guard.written.fetch_add(*n as u64, Ordering::Relaxed);
                self.guard.stuck_since.store(0, Ordering::Relaxed);
            }
            Poll::Ready(Err(_)) => {}
            Poll::Pending => self.guard.stuck(),
        }
        polled
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.guard.check(WRITE, context)?;
        Pin::new(&mut self.socket).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.guard.check(WRITE, context)?;
        Pin::new(&mut self.socket).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    #[tokio::test]
    async fn a_kill_ends_a_read_and_a_write_that_wait() {
        let (ours, _theirs) = tokio::io::duplex(4);
        let guard = Guard::new();
        let (mut reader, mut writer) = tokio::io::split(Guarded::new(ours, guard.clone()));
        let reading = tokio::spawn(async move { reader.read_u8().await });
        let writing = tokio::spawn(async move { writer.write_all(&[0; 100]).await });
        while guard.stuck_for().is_none() {
            tokio::task::yield_now().await;
        }
        assert_eq!(guard.bytes(), (0, 4));
        guard.kill();
        let read = reading.await.expect("joined").expect_err("killed");
        let wrote = writing.await.expect("joined").expect_err("killed");
        assert_eq!((read.kind(), wrote.kind()), (io::ErrorKind::ConnectionAborted, io::ErrorKind::ConnectionAborted));
    }

    #[tokio::test]
    async fn a_write_that_goes_on_is_not_stuck() {
        let (ours, mut theirs) = tokio::io::duplex(4);
        let guard = Guard::new();
        let mut socket = Guarded::new(ours, guard.clone());
        let writing = tokio::spawn(async move {
            socket.write_all(&[7; 8]).await.expect("written");
            socket
        });
        let mut got = [0; 8];
        theirs.read_exact(&mut got).await.expect("read");
        writing.await.expect("joined");
        assert!(guard.stuck_for().is_none());
        assert_eq!(guard.bytes(), (0, 8));
    }
}
