//! Recorded pushes into a server over SSH, played by one client in this process: open connections, a session for each push.
//!
//! The client is the same for either server, and offers AES-GCM only, so that both spend alike on encryption.

use russh::client::{self, Handle};
use russh::keys::{PrivateKey, PrivateKeyWithHashAlg, PublicKeyOrCertificate, load_secret_key};
use russh::{ChannelMsg, Preferred, cipher};
use std::borrow::Cow;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::runtime::Runtime;

/// No push may take longer.
const PATIENCE: Duration = Duration::from_secs(120);
/// The end of an answer: where the report stands.
const TAIL_BYTES: usize = 4096;

/// Whatever key the host shows.
struct Trusting;

impl client::Handler for Trusting {
    type Error = russh::Error;

    async fn check_server_key(&mut self, _: &PublicKeyOrCertificate) -> Result<bool, russh::Error> {
        Ok(true)
    }
}

/// The client.
pub struct Client {
    runtime: Runtime,
    key: Arc<PrivateKey>,
}

/// One of its connections.
pub struct Connection(Handle<Trusting>);

/// What goes through one connection, one after another.
pub struct Work<'a> {
    /// The connection.
    pub connection: &'a Connection,
    /// The command.
    pub command: String,
    /// Everything that the client writes, per push.
    pub pushes: &'a [Vec<u8>],
}

impl Client {
    /// With the key in this file.
    pub fn new(key: &Path) -> Self {
        let key = Arc::new(load_secret_key(key, None).expect("a key"));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        Self { runtime, key }
    }

    /// Log in.
    pub fn connect(&self, port: u16) -> Connection {
        let preferred = Preferred { cipher: Cow::Borrowed(&[cipher::AES_256_GCM]), ..Preferred::default() };
        let config = Arc::new(client::Config { preferred, ..client::Config::default() });
        self.runtime.block_on(async {
            let mut handle = client::connect(config, ("127.0.0.1", port), Trusting).await.expect("a connection");
            let key = PrivateKeyWithHashAlg::new(self.key.clone(), None);
            // sshd lets nobody in but whom it runs as.
            let name = std::env::var("USER").unwrap_or_else(|_| "root".to_owned());
            assert!(handle.authenticate_publickey(name, key).await.expect("an answer").success(), "the server knows the key");
            Connection(handle)
        })
    }

    /// Do all work at once, each connection's in its order; how long it took. Every push must succeed.
    pub fn replay(&self, work: &[Work<'_>]) -> Duration {
        let begun = Instant::now();
        self.runtime.block_on(async {
            let one = async |work: &Work<'_>| {
                for request in work.pushes {
                    let answer = tokio::time::timeout(PATIENCE, push(work.connection, &work.command, request)).await;
                    let tail = answer.expect("a push comes to its end").expect("a session");
                    let text = String::from_utf8_lossy(&tail).into_owned();
                    assert!(text.contains("unpack ok") && !text.contains("ng refs/"), "'{}': {text}", work.command);
                }
            };
            let mut all: Vec<_> = work.iter().map(|work| Box::pin(one(work))).collect();
            // All of them on this thread, whichever can go on.
            std::future::poll_fn(|context| {
                all.retain_mut(|work| work.as_mut().poll(context).is_pending());
                if all.is_empty() { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
            })
            .await;
        });
        begun.elapsed()
    }
}

/// One session; the end of its answer.
async fn push(connection: &Connection, command: &str, request: &[u8]) -> Result<Vec<u8>, russh::Error> {
    let mut channel = connection.0.channel_open_session().await?;
    channel.exec(false, command).await?;
    channel.data(request).await?;
    channel.eof().await?;
    let mut tail = vec![];
    while let Some(message) = channel.wait().await {
        match message {
            ChannelMsg::Data { data } => {
                tail.extend_from_slice(&data[data.len().saturating_sub(TAIL_BYTES)..]);
                tail.drain(..tail.len().saturating_sub(TAIL_BYTES));
            }
            ChannelMsg::ExtendedData { data, .. } => eprintln!("{command}: {}", String::from_utf8_lossy(&data)),
            _ => {}
        }
    }
    Ok(tail)
}
