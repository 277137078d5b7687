//! A driver, a host key and an address into a running server: the accept loop, and how it stops.
//!
//! The loop takes a permit before it accepts, so that more connections than allowed wait in the system's queue,
//! and goes on after errors of `accept` with a pause that grows (out of descriptors is a state that passes).

use super::audit::connection_refused;
use super::limits::{LOGINS_PER_ADDRESS_MIN, LOGINS_PER_ADDRESS_PART, PENALISED_LOGINS_MAX, PENALTY_PAUSE_MS, TURNED_AWAY_MAX};
use super::penalties::Penalties;
use super::places::{Place, Places};
use super::ssh::{self, Algorithms, Configs, Phase, Shared};
use super::{Error, HostKey, PenaltySettings, SshLimits};
use crate::access::{Door, Driver, Turns};
use crate::base::limits::{SHARED_BYTES_MAX, TREE_FILTER_DEPTH_MAX};
use crate::base::{Clock, SystemClock};
use crate::pack::check::CheckMode;
use crate::pack::index::IngestLimits;
use crate::serve::{Certificates, HookOptions, SharedState, SharedStatistics};
use std::future::Future;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::JoinSet;

/// Longest pause after an error of `accept`, in milliseconds.
const ACCEPT_PAUSE_MS_MAX: u64 = 1_000;
/// Time between two looks at what is kept, in seconds.
const TIDY_S: u64 = 2;
/// So many times as seldom it looks at views that requests share.
const TIDY_ALL_TURNS: u64 = 15;

/// Everything that a server needs before it can listen.
pub struct Builder {
    door: Option<Door>,
    host_keys: Vec<HostKey>,
    limits: SshLimits,
    algorithms: Algorithms,
    penalties: PenaltySettings,
    clock: Arc<dyn Clock>,
    ingest: IngestLimits,
    checks: CheckMode,
    hooks: Option<HookOptions>,
    certificates: Certificates,
    tree_depth_max: u64,
    shared_bytes_max: usize,
}

impl Builder {
    /// Who decides. Without a driver nobody may do anything, so there is no server.
    #[must_use]
    pub fn driver(self, driver: impl Driver) -> Self {
        self.door(Door::new(driver))
    }

    /// The same where several drivers decide, one after the other: see [`Chain`](crate::access::Chain).
    #[must_use]
    pub fn door(mut self, door: impl Into<Door>) -> Self {
        self.door = Some(door.into());
        self
    }

    /// How the server proves who it is. May be given more than once.
    #[must_use]
    pub fn host_key(mut self, key: HostKey) -> Self {
        self.host_keys.push(key);
        self
    }

    /// Bounds of the SSH front end.
    #[must_use]
    pub fn limits(mut self, limits: SshLimits) -> Self {
        self.limits = limits;
        self
    }

    /// Whether security keys (`sk-ssh-ed25519@openssh.com` and its like) let in although nobody can tell whether they were touched;
    /// if not set here, they do not.
    #[must_use]
    pub fn keys_without_touch(mut self, count: bool) -> Self {
        self.algorithms.has_untouched = count;
        self
    }

    /// What failed logins cost.
    #[must_use]
    pub fn penalties(mut self, penalties: PenaltySettings) -> Self {
        self.penalties = penalties;
        self
    }

    /// Penalties pass by this clock.
    #[must_use]
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// Bounds of each push.
    #[must_use]
    pub fn ingest(mut self, ingest: IngestLimits) -> Self {
        self.ingest = ingest;
        self
    }

    /// Whether and how what is pushed is checked, unless a repository says otherwise; [`CheckMode::Usual`] if not set here.
    #[must_use]
    pub fn checks(mut self, checks: CheckMode) -> Self {
        self.checks = checks;
        self
    }

    /// What signed pushes need, unless a repository's configuration says otherwise; without this they are not taken.
    pub fn certificates(mut self, certificates: Certificates) -> Self {
        self.certificates = certificates;
        self
    }

    /// Run hooks, and how; without this none is, and no program is ever started.
    #[must_use]
    pub fn hooks(mut self, hooks: HookOptions) -> Self {
        self.hooks = Some(hooks);
        self
    }

    /// The deepest `tree:<depth>` filter, unless a repository says otherwise.
    #[must_use]
    pub fn tree_depth_max(mut self, depth: u64) -> Self {
        self.tree_depth_max = depth;
        self
    }

    /// Bytes of views, answers, sets and plans that are kept when no request needs them (see [`SharedState`]).
    #[must_use]
    pub fn shared_bytes_max(mut self, bytes: usize) -> Self {
        self.shared_bytes_max = bytes;
        self
    }

    /// Listen on `address` (`host:port`; port 0 takes any free one).
    ///
    /// # Errors
    /// [`Error::Bind`], [`Error::NoDriver`], [`Error::NoHostKey`].
    pub async fn bind(self, address: &str) -> Result<Server, Error> {
        let door = self.door.ok_or(Error::NoDriver)?;
        if self.host_keys.is_empty() {
            return Err(Error::NoHostKey);
        }
        let bind = |source| Error::Bind { address: address.to_owned(), source };
        let listener = TcpListener::bind(address).await.map_err(bind)?;
        let address = listener.local_addr().map_err(bind)?;
        let (sender, receiver) = watch::channel(Phase::Running);
        let shared = Shared {
            door,
            configs: Configs::new(&self.host_keys, &self.limits, self.algorithms),
            algorithms: self.algorithms,
            commands: Arc::new(Semaphore::new(self.limits.commands_max.min(Semaphore::MAX_PERMITS))),
            penalties: Penalties::new(self.penalties, self.clock),
            users: Places::new(usize::MAX, self.limits.connections_per_user_max),
            turns: Turns::new(self.limits.commands_per_user_max),
            limits: self.limits,
            ingest: self.ingest,
            checks: self.checks,
            hooks: self.hooks,
            certificates: self.certificates,
            tree_depth_max: self.tree_depth_max,
            state: Arc::new(SharedState::new(self.shared_bytes_max)),
            descriptions: ssh::descriptions(),
            phase: receiver,
            connections: AtomicU64::new(0),
        };
        Ok(Server { listener, address, shared: Arc::new(shared), stop: Stop(Arc::new(sender)) })
    }
}

/// A server that listens; [`Server::serve`] makes it serve.
pub struct Server {
    listener: TcpListener,
    address: SocketAddr,
    shared: Arc<Shared>,
    stop: Stop,
}

/// Ends a server from outside. Clones end the same one.
#[derive(Clone, Debug)]
pub struct Stop(Arc<watch::Sender<Phase>>);

impl Stop {
    /// Take no new work, let what is under way come to its end.
    pub fn gracefully(&self) {
        self.0.send_if_modified(|phase| {
            let running = *phase == Phase::Running;
            if running {
                *phase = Phase::Stopping;
            }
            running
        });
    }

    /// End everything at once; clients see a broken connection.
    pub fn now(&self) {
        self.0.send_replace(Phase::Ending);
    }
}

impl Server {
    /// A server of which nothing is known yet.
    pub fn builder() -> Builder {
        Builder {
            door: None,
            host_keys: Vec::new(),
            limits: SshLimits::default(),
            algorithms: Algorithms::default(),
            penalties: PenaltySettings::default(),
            clock: Arc::new(SystemClock::default()),
            ingest: crate::serve::Options::default().ingest,
            checks: CheckMode::Usual,
            hooks: None,
            certificates: Certificates::default(),
            tree_depth_max: TREE_FILTER_DEPTH_MAX,
            shared_bytes_max: SHARED_BYTES_MAX,
        }
    }

    /// The address that clients reach, with the port that the system chose.
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// The way to end this server from elsewhere.
    pub fn stop(&self) -> Stop {
        self.stop.clone()
    }

    /// Serve until `shutdown` comes back or [`Stop`] is used; returns when all transfers under way have ended.
    pub async fn serve(self, shutdown: impl Future<Output = ()>) {
        let mut connections = JoinSet::new();
        let tidying = tokio::spawn(tidy(self.shared.state.clone()));
        {
            let accepting = accept(&self.listener, &self.shared, &mut connections);
            let mut phase = self.shared.phase.clone();
            tokio::select! {
                () = accepting => {}
                () = shutdown => {}
                _ = phase.wait_for(|phase| *phase != Phase::Running) => {}
            }
        }
        self.stop.gracefully();
        // Closed before waiting: who comes now hears at once that nobody listens.
        drop(self.listener);
        let mut phase = self.shared.phase.clone();
        loop {
            tokio::select! {
                ended = connections.join_next() => if ended.is_none() { break },
                _ = phase.wait_for(|phase| *phase == Phase::Ending) => break,
            }
        }
        // Connections see the same word and shut their sockets.
        while connections.join_next().await.is_some() {}
        tidying.abort();
    }
}

/// Let go of what nobody asks for any more and is no longer true, again and again.
async fn tidy(state: Arc<SharedState>) {
    let mut turn = tokio::time::interval(Duration::from_secs(TIDY_S));
    turn.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut before = SharedStatistics::default();
    for turns in 0u64.. {
        turn.tick().await;
        let tidied = state.clone();
        let is_all = turns.is_multiple_of(TIDY_ALL_TURNS);
        // A panic there is logged by the runtime's hook; the next turn comes all the same.
        let tidied = move || if is_all { tidied.let_go_of_the_past() } else { tidied.let_go_of_spares() };
        let _ = tokio::task::spawn_blocking(tidied).await;
        let now = state.statistics();
        if now != before {
            let SharedStatistics { bytes, entries, repositories, found, waited, made, dropped } = now;
            tracing::debug!(bytes, entries, repositories, found, waited, made, dropped, "shared");
            before = now;
        }
    }
}

async fn accept(listener: &TcpListener, shared: &Arc<Shared>, connections: &mut JoinSet<()>) {
    let places = Arc::new(Semaphore::new(shared.limits.connections_max.min(Semaphore::MAX_PERMITS)));
    let mut entrance = Entrance::new(shared.clone());
    let mut pause_ms = 0;
    loop {
        while connections.try_join_next().is_some() {}
        let Ok(place) = places.clone().acquire_owned().await else { return };
        match listener.accept().await {
            Ok((socket, peer)) => {
                pause_ms = 0;
                match entrance.enter(peer) {
                    Some(entered) => drop(connections.spawn(one(shared.clone(), socket, peer, place, entered))),
                    None => entrance.turn_away(socket),
                }
            }
            Err(error) if is_the_peers(&error) => tracing::debug!(%error, "a client left before it was accepted"),
            Err(error) => {
                pause_ms = (pause_ms * 2).clamp(50, ACCEPT_PAUSE_MS_MAX);
                tracing::error!(%error, pause_ms, "cannot accept connections");
                tokio::time::sleep(Duration::from_millis(pause_ms)).await;
            }
        }
    }
}

/// Where connections are let in or turned away unheard, by where they come from.
struct Entrance {
    shared: Arc<Shared>,
    /// Those that have not logged in.
    logins: Arc<Places<IpAddr>>,
    all: Arc<Places<IpAddr>>,
    /// Sockets of those who were turned away, for a moment each.
    held: Arc<Semaphore>,
    /// Closed so far, for each reason.
    closed: [u64; 3],
}

/// A connection's places.
struct Entered {
    login: Place<IpAddr>,
    _of_address: Place<IpAddr>,
    is_penalised: bool,
}

impl Entrance {
    fn new(shared: Arc<Shared>) -> Self {
        let SshLimits { logins_max, connections_max, connections_per_address_max, .. } = shared.limits;
        let logins = Places::new(logins_max, (logins_max / LOGINS_PER_ADDRESS_PART).max(LOGINS_PER_ADDRESS_MIN));
        let held = Arc::new(Semaphore::new(TURNED_AWAY_MAX.min(connections_max / 2)));
        Self { shared, logins, all: Places::new(usize::MAX, connections_per_address_max), held, closed: [0; 3] }
    }

    fn enter(&mut self, peer: SocketAddr) -> Option<Entered> {
        let source = self.shared.penalties.source(peer.ip());
        let Some(of_address) = self.all.enter(source) else {
            return self.close(0, peer, "too many", "connections_per_address_max");
        };
        let is_penalised = self.shared.penalties.of_strangers_at(peer.ip()).is_some();
        // A few are heard all the same: whose key is right shall find in the log why it was refused.
        let login = if is_penalised { self.logins.enter_within(source, PENALISED_LOGINS_MAX) } else { self.logins.enter(source) };
        match login {
            Some(login) => Some(Entered { login, _of_address: of_address, is_penalised }),
            None if is_penalised => self.close(1, peer, "penalty", "its address has a penalty for failed logins"),
            None => self.close(2, peer, "too many", "logins_max, or its address's part of that"),
        }
    }

    /// Close it, but not at once where there is room for it: who comes again as soon as they are turned away shall not come often.
    fn turn_away(&self, socket: TcpStream) {
        if let Ok(room) = self.held.clone().try_acquire_owned() {
            tokio::spawn(async move {
                tokio::time::sleep(Duration::from_millis(PENALTY_PAUSE_MS)).await;
                drop((socket, room));
            });
        }
    }

    fn close<T>(&mut self, reason: usize, peer: SocketAddr, verdict: &'static str, why: &str) -> Option<T> {
        self.closed[reason] += 1;
        connection_refused(peer, verdict, why, self.closed[reason]);
        None
    }
}

async fn one(shared: Arc<Shared>, socket: TcpStream, peer: SocketAddr, _place: OwnedSemaphorePermit, entered: Entered) {
    if entered.is_penalised {
        tokio::time::sleep(Duration::from_millis(PENALTY_PAUSE_MS)).await;
    }
    let Entered { login, _of_address, .. } = entered;
    if let Err(error) = socket.set_nodelay(true) {
        tracing::debug!(%peer, %error, "set_nodelay");
    }
    ssh::serve(shared, socket, peer, Some(login)).await;
}

fn is_the_peers(error: &std::io::Error) -> bool {
    use std::io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset)
}
