//! One socket into a conversation with deadlines: hands it to russh, watches from outside, ends it when nothing moves.

use super::super::SshLimits;
use super::super::audit::Audited;
use super::super::limits::{GOODBYE_MS, IDENTIFICATION_MS, SOCKET_BUFFER_BYTES, WATCH_MS};
use super::super::penalties::{Fault, Penalties};
use super::super::places::{Place, Places};
use super::algorithms::{Algorithms, Configs};
use super::guarded::{Guard, Guarded};
use super::handler::Handler;
use super::identification;
use crate::access::{Door, Turns, printable};
use crate::pack::check::CheckMode;
use crate::pack::index::IngestLimits;
use crate::serve::{Certificates, HookOptions, SharedState};
use russh::Disconnect;
use russh::server::{Handle, RunningSession};
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::io::{AsyncRead, AsyncWrite, BufReader};
use tokio::sync::{Semaphore, watch};

/// Why a connection ended on which nobody logged in while there was time.
const NOT_IN_TIME: &str = "not logged in in time";

/// What the whole server is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::transport) enum Phase {
    /// Serving.
    Running,
    /// No new work; what is under way comes to its end.
    Stopping,
    /// Everything ends now.
    Ending,
}

/// What all connections share.
pub(in crate::transport) struct Shared {
    pub(in crate::transport) door: Door,
    pub(in crate::transport) limits: SshLimits,
    pub(in crate::transport) penalties: Penalties,
    /// Connections of each user.
    pub(in crate::transport) users: Arc<Places<String>>,
    /// Commands of each user.
    pub(in crate::transport) turns: Arc<Turns<String>>,
    pub(in crate::transport) ingest: IngestLimits,
    pub(in crate::transport) checks: CheckMode,
    /// Whether hooks are run, and how.
    pub(in crate::transport) hooks: Option<HookOptions>,
    /// What signed pushes need.
    pub(in crate::transport) certificates: Certificates,
    pub(in crate::transport) tree_depth_max: u64,
    /// What fetches share.
    pub(in crate::transport) state: Arc<SharedState>,
    /// Turns in which greetings and hints are made.
    pub(in crate::transport) descriptions: Semaphore,
    pub(in crate::transport) configs: Configs,
    pub(in crate::transport) algorithms: Algorithms,
    pub(in crate::transport) commands: Arc<Semaphore>,
    pub(in crate::transport) phase: watch::Receiver<Phase>,
    pub(in crate::transport) connections: AtomicU64,
}

impl Shared {
    pub(super) fn is_stopping(&self) -> bool {
        *self.phase.borrow() != Phase::Running
    }
}

/// What one connection's tasks share.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) number: u64,
    pub(super) peer: SocketAddr,
    pub(super) guard: Arc<Guard>,
    pub(super) audited: Audited,
    began: Instant,
    logged_in: AtomicBool,
    /// Something was shown that let nobody in.
    has_failed: AtomicBool,
    /// Something was heard, and was wrong.
    has_guessed: AtomicBool,
    /// Something was refused that may have been right.
    is_excused: AtomicBool,
    login_place: Mutex<Option<Place<IpAddr>>>,
    user_place: Mutex<Option<Place<String>>>,
    commands: AtomicU64,
    running: AtomicUsize,
    idle_since: Mutex<Instant>,
}

impl Connection {
    fn new(number: u64, peer: SocketAddr, place: Option<Place<IpAddr>>) -> Arc<Self> {
        let now = Instant::now();
        Arc::new(Self {
            number,
            peer,
            guard: Guard::new(),
            audited: Audited::new(number, peer),
            began: now,
            logged_in: AtomicBool::new(false),
            has_failed: AtomicBool::new(false),
            has_guessed: AtomicBool::new(false),
            is_excused: AtomicBool::new(false),
            login_place: Mutex::new(place),
            user_place: Mutex::default(),
            commands: AtomicU64::new(0),
            running: AtomicUsize::new(0),
            idle_since: Mutex::new(now),
        })
    }

    /// The login grace is over, and a place of its user's is held. The other place is free for the next, but not where somebody came in
    /// who showed nothing: of such there may be no more at once than of those who have not shown anything yet.
    pub(super) fn logged_in(&self, place: Place<String>, is_anonymous: bool) {
        self.logged_in.store(true, Ordering::Relaxed);
        self.touch();
        *self.user_place.lock().unwrap_or_else(PoisonError::into_inner) = Some(place);
        if !is_anonymous {
            self.login_place.lock().unwrap_or_else(PoisonError::into_inner).take();
        }
    }

    /// Something was shown, or a key was asked about: if nobody logs in, that was a failure.
    pub(super) fn tried(&self) {
        self.has_failed.store(true, Ordering::Relaxed);
    }

    /// What was shown was heard, and was wrong.
    pub(super) fn guessed(&self) {
        self.has_guessed.store(true, Ordering::Relaxed);
    }

    /// Something was refused that may have been right: unheard, or for want of a place or of an answer.
    pub(super) fn excused(&self) {
        self.is_excused.store(true, Ordering::Relaxed);
    }

    /// What is wrong with how it ended, if anything is. Whoever was kept out by us pays nothing for having tried, but for what was heard.
    fn fault(&self, why: &str) -> Option<Fault> {
        let is = |flag: &AtomicBool| flag.load(Ordering::Relaxed);
        if is(&self.logged_in) || is(&self.is_excused) && !is(&self.has_guessed) {
            None
        } else if why == NOT_IN_TIME {
            Some(Fault::GraceExceeded)
        } else {
            Some(if is(&self.has_failed) { Fault::AuthFailed } else { Fault::NoAuth })
        }
    }

    /// Count one more command; it runs until the answer is dropped.
    pub(super) fn begin_command(self: &Arc<Self>) -> Running {
        self.running.fetch_add(1, Ordering::AcqRel);
        Running { connection: self.clone(), number: self.commands.fetch_add(1, Ordering::Relaxed) + 1 }
    }

    /// Commands that have begun and not ended.
    pub(super) fn running(&self) -> usize {
        self.running.load(Ordering::Acquire)
    }

    fn is_busy(&self) -> bool {
        self.running() > 0
    }

    fn touch(&self) {
        *self.idle_since.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }

    fn idle_for(&self) -> Duration {
        self.idle_since.lock().unwrap_or_else(PoisonError::into_inner).elapsed()
    }

    /// Why this connection must end now, if it must.
    fn overdue(&self, limits: &SshLimits) -> Option<&'static str> {
        if !self.logged_in.load(Ordering::Relaxed) && self.began.elapsed() > limits.login_grace() {
            return Some(NOT_IN_TIME);
        }
        // One second more than the deadline round each write, which knows which command it was.
        let stall = limits.output_stall() + Duration::from_secs(1);
        self.guard.stuck_for().is_some_and(|stuck| stuck > stall).then_some("the client takes nothing")
    }

    fn may_leave(&self, shared: &Shared) -> Option<&'static str> {
        if self.is_busy() {
            None
        } else if shared.is_stopping() {
            Some("the server is stopping")
        } else {
            let idle = self.logged_in.load(Ordering::Relaxed) && self.idle_for() > shared.limits.idle();
            idle.then_some("idle for too long")
        }
    }
}

/// One command under way.
#[derive(Debug)]
pub(super) struct Running {
    connection: Arc<Connection>,
    number: u64,
}

impl Running {
    /// The number of connection and command by which the log names this request.
    pub(super) fn request(&self) -> String {
        format!("{}.{}", self.connection.number, self.number)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.connection.touch();
        self.connection.running.fetch_sub(1, Ordering::AcqRel);
    }
}

/// Serve one connection until it and everything that ran for it has ended.
pub(in crate::transport) async fn serve<S>(shared: Arc<Shared>, socket: S, peer: SocketAddr, place: Option<Place<IpAddr>>)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let number = shared.connections.fetch_add(1, Ordering::Relaxed) + 1;
    let connection = Connection::new(number, peer, place);
    tracing::debug!(connection = number, %peer, "connected");
    let why = match begin(&shared, &connection, socket).await {
        Ok(session) => watch(&shared, &connection, session).await,
        Err(error) => error,
    };
    connection.guard.kill();
    // The engine looks at its flag every moment; a push that is just being committed comes to its end first.
    while connection.is_busy() && *shared.phase.borrow() != Phase::Ending {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    if let Some(fault) = connection.fault(&why).filter(|_| !shared.is_stopping())
        && let Some(seconds) = shared.penalties.ended(peer.ip(), fault)
    {
        connection.audited.penalty_begins(&shared.penalties.source(peer.ip()).to_string(), seconds);
    }
    connection.audited.end();
    let why = printable(&why);
    let (read_bytes, written_bytes) = connection.guard.bytes();
    let ms = connection.began.elapsed().as_millis();
    tracing::debug!(connection = number, %peer, read_bytes, written_bytes, ms, %why, "disconnected");
}

async fn begin<S>(shared: &Arc<Shared>, connection: &Arc<Connection>, socket: S) -> Result<RunningSession<Handler>, String>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let begun = async {
        let guarded = BufReader::with_capacity(SOCKET_BUFFER_BYTES, Guarded::new(socket, connection.guard.clone()));
        let identified = tokio::time::timeout(Duration::from_millis(IDENTIFICATION_MS), identification::exchange(guarded)).await;
        let (line, stream) = identified.map_err(|_| "no identification in time".to_owned())?.map_err(|error| error.to_string())?;
        let config = shared.configs.get(identification::ciphers_for(&line));
        let client = printable(&String::from_utf8_lossy(&line));
        tracing::debug!(connection = connection.number, peer = %connection.peer, %client, "identified");
        let handler = Handler::new(shared.clone(), connection.clone());
        russh::server::run_stream(config, stream, handler).await.map_err(|error| error.to_string())
    };
    let mut phase = shared.phase.clone();
    tokio::select! {
        begun = begun => begun,
        () = tokio::time::sleep(shared.limits.login_grace()) => Err(NOT_IN_TIME.to_owned()),
        _ = phase.wait_for(|phase| *phase != Phase::Running) => Err("the server is stopping".to_owned()),
    }
}

/// Look at the connection from outside until it ends; says why it did.
async fn watch(shared: &Arc<Shared>, connection: &Arc<Connection>, mut session: RunningSession<Handler>) -> String {
    let handle = session.handle();
    let mut phase = shared.phase.clone();
    let mut leaving: Option<Leaving> = None;
    loop {
        tokio::select! {
            ended = &mut session => return match (ended, leaving) {
                (_, Some(leaving)) => leaving.why.to_owned(),
                (Ok(()), None) => "the client left".to_owned(),
                (Err(error), None) => error.to_string(),
            },
            _ = phase.changed() => {}
            () = tokio::time::sleep(Duration::from_millis(WATCH_MS)) => {}
        }
        if *phase.borrow() == Phase::Ending {
            connection.guard.kill();
            return "the server ended".to_owned();
        }
        if let Some(why) = connection.overdue(&shared.limits) {
            connection.guard.kill();
            return why.to_owned();
        }
        if let Some(leaving) = &mut leaving {
            if leaving.is_over(&connection.guard) {
                connection.guard.kill();
                return leaving.why.to_owned();
            }
        } else if let Some(why) = connection.may_leave(shared) {
            leaving = Some(Leaving::new(why, &connection.guard));
            tokio::spawn(say_goodbye(handle.clone(), connection.guard.clone(), why));
        }
    }
}

/// A connection that was told goodbye; what russh had taken before that may still be on its way.
struct Leaving {
    why: &'static str,
    quiet_since: Instant,
    written: u64,
}

impl Leaving {
    fn new(why: &'static str, guard: &Guard) -> Self {
        Self { why, quiet_since: Instant::now(), written: guard.bytes().1 }
    }

    /// Nothing waits for the client and nothing has gone to it for a while. One that takes nothing is overdue instead.
    fn is_over(&mut self, guard: &Guard) -> bool {
        let written = guard.bytes().1;
        if written != self.written || guard.stuck_for().is_some() {
            (self.written, self.quiet_since) = (written, Instant::now());
        }
        self.quiet_since.elapsed() > Duration::from_millis(GOODBYE_MS)
    }
}

/// On a task of its own: where russh is stuck, its queue is full and this waits until it moves or the socket is shut.
async fn say_goodbye(handle: Handle, guard: Arc<Guard>, why: &'static str) {
    tokio::select! {
        _ = handle.disconnect(Disconnect::ByApplication, why.to_owned(), String::new()) => {}
        () = guard.wait() => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    #[tokio::test]
    async fn who_leaves_is_not_cut_off_while_something_waits_for_it() {
        let long_ago = || Instant::now().checked_sub(Duration::from_millis(10 * GOODBYE_MS)).expect("a clock that has run");
        let (ours, mut theirs) = tokio::io::duplex(4);
        let guard = Guard::new();
        let mut leaving = Leaving::new("a test", &guard);
        assert!(!leaving.is_over(&guard));
        let mut socket = Guarded::new(ours, guard.clone());
        let writing = tokio::spawn(async move { socket.write_all(&[7; 8]).await });
        while guard.stuck_for().is_none() {
            tokio::task::yield_now().await;
        }
        leaving.quiet_since = long_ago();
        assert!(!leaving.is_over(&guard), "a write waits");
        leaving.quiet_since = long_ago();
        theirs.read_exact(&mut [0; 8]).await.expect("read");
        writing.await.expect("joined").expect("written");
        assert!(!leaving.is_over(&guard), "bytes have moved");
        leaving.quiet_since = long_ago();
        assert!(leaving.is_over(&guard));
    }
}
