//! The client's first line (RFC 4253, section 4.2) into the ciphers that it is offered, before russh sees the line.
//!
//! OpenSSH's clients put chacha20-poly1305 first, at 2.6 to 3 times the CPU of AES-GCM, and the client's order
//! decides. Every OpenSSH since 6.2 speaks GCM, so those are offered nothing else. The server speaks first here,
//! as some clients wait for that; the same line that russh then writes is dropped.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};

/// Our own line, without its end.
pub(super) const SERVER_ID: &str = concat!("SSH-2.0-packmule_", env!("CARGO_PKG_VERSION"));
/// Longest line of the client, end included (RFC 4253).
const LINE_BYTES_MAX: usize = 255;

/// Which ciphers a client is offered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ciphers {
    /// AES-GCM only.
    Gcm,
    /// AES-GCM, chacha20-poly1305, and AES in counter mode.
    All,
}

/// Choose for the client that calls itself `line`.
pub(super) fn ciphers_for(line: &[u8]) -> Ciphers {
    let version =
        line.strip_prefix(b"SSH-2.0-OpenSSH_").map(|rest| rest.strip_prefix(b"for_Windows_").unwrap_or(rest)).and_then(major_and_minor);
    match version {
        Some(version) if version >= (6, 2) => Ciphers::Gcm,
        _ => Ciphers::All,
    }
}

fn major_and_minor(text: &[u8]) -> Option<(u32, u32)> {
    let text = std::str::from_utf8(text).ok()?;
    let (major, rest) = text.split_once('.')?;
    let minor = rest.find(|char: char| !char.is_ascii_digit()).map_or(rest, |end| &rest[..end]);
    Some((major.parse().ok()?, minor.parse().ok()?))
}

/// Send our line, read the client's; returns the client's and a stream on which russh finds both still to do.
pub(super) async fn exchange<S: AsyncRead + AsyncWrite + Unpin>(mut socket: S) -> io::Result<(Vec<u8>, Replay<S>)> {
    let ours = format!("{SERVER_ID}\r\n");
    socket.write_all(ours.as_bytes()).await?;
    socket.flush().await?;
    let mut head = Vec::with_capacity(LINE_BYTES_MAX);
    let end = loop {
        if let Some(end) = head.iter().position(|byte| *byte == b'\n') {
            break end;
        }
        if head.len() >= LINE_BYTES_MAX {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "the client's first line is too long"));
        }
        let mut piece = [0; LINE_BYTES_MAX];
        let n = socket.read(&mut piece[..LINE_BYTES_MAX - head.len()]).await?;
        if n == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        head.extend_from_slice(&piece[..n]);
    };
    let line = head[..end].trim_ascii_end().to_vec();
    Ok((line, Replay { head, at: 0, already_written: ours.len(), socket }))
}

/// Gives the bytes read so far once more, and drops the bytes written so far when they come once more.
#[derive(Debug)]
pub(super) struct Replay<S> {
    head: Vec<u8>,
    at: usize,
    already_written: usize,
    socket: S,
}

impl<S: AsyncRead + Unpin> AsyncRead for Replay<S> {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.at < self.head.len() {
            let n = buffer.remaining().min(self.head.len() - self.at);
            buffer.put_slice(&self.head[self.at..self.at + n]);
            self.at += n;
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut self.socket).poll_read(context, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Replay<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        if self.already_written > 0 {
            let n = data.len().min(self.already_written);
            self.already_written -= n;
            return Poll::Ready(Ok(n));
        }
        Pin::new(&mut self.socket).poll_write(context, data)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn openssh_clients_get_gcm_alone_and_everybody_else_a_choice() {
        for (line, ciphers) in [
            ("SSH-2.0-OpenSSH_9.2p1 Debian-2+deb12u6", Ciphers::Gcm),
            ("SSH-2.0-OpenSSH_10.0", Ciphers::Gcm),
            ("SSH-2.0-OpenSSH_6.2", Ciphers::Gcm),
            ("SSH-2.0-OpenSSH_for_Windows_9.5", Ciphers::Gcm),
            ("SSH-2.0-OpenSSH_6.1p1", Ciphers::All),
            ("SSH-2.0-OpenSSH_", Ciphers::All),
            ("SSH-2.0-dropbear_2022.83", Ciphers::All),
            ("SSH-2.0-libssh2_1.10.0", Ciphers::All),
            ("SSH-2.0-PuTTY_Release_0.78", Ciphers::All),
            ("", Ciphers::All),
        ] {
            assert_eq!(ciphers_for(line.as_bytes()), ciphers, "{line}");
        }
    }

    #[tokio::test]
    async fn the_line_is_read_once_by_us_and_once_more_by_russh() {
        let (ours, mut theirs) = tokio::io::duplex(1 << 12);
        theirs.write_all(b"SSH-2.0-x y\r\nKEXINIT").await.expect("written");
        let (line, mut replay) = exchange(ours).await.expect("exchanged");
        assert_eq!(line, b"SSH-2.0-x y");
        let mut again = vec![0; 20];
        replay.read_exact(&mut again).await.expect("replayed");
        assert_eq!(again, b"SSH-2.0-x y\r\nKEXINIT");
        replay.write_all(format!("{SERVER_ID}\r\nreply").as_bytes()).await.expect("written");
        drop(replay);
        let mut sent = String::new();
        theirs.read_to_string(&mut sent).await.expect("read");
        assert_eq!(sent, format!("{SERVER_ID}\r\nreply"));
    }

    #[tokio::test]
    async fn a_line_without_end_is_refused() {
        let (ours, mut theirs) = tokio::io::duplex(1 << 12);
        theirs.write_all(&[b'x'; 300]).await.expect("written");
        assert_eq!(exchange(ours).await.expect_err("too long").kind(), io::ErrorKind::InvalidData);
    }
}
