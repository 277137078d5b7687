//! What logging in costs the server while a crowd with wrong keys knocks, `packmule serve` beside OpenSSH's sshd.
//!
//! `cargo bench --bench logins -- [--rounds N]`. The right key logs in from 127.0.0.3, one time after the other; first alone, then
//! while 200 clients at once come from 127.0.0.2, each with a key of its own that nobody knows, and again as soon as it was turned
//! away. Counted is the CPU of the daemon and of all that it starts for each right login, whatever it was spent on; both sides in
//! turn, medians; sshd for a twentieth of the logins. All clients are one and the same and live in this process; their CPU is not counted. Then the right key is
//! shown from 127.0.0.2, where it never came from before: while the penalty lasts it must be refused.
//! Limits: a clock tick (10 ms) is the finest step. OpenSSH knows penalties since 9.8; an older one only sheds load (MaxStartups).

mod measure;

use measure::daemons::{self, Daemon, settled, sshd_program};
use measure::{arguments, median};
use russh::client;
use russh::keys::ssh_key::private::Ed25519Keypair;
use russh::keys::{PrivateKey, PrivateKeyWithHashAlg, PublicKeyOrCertificate, load_secret_key};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;
use tokio::net::TcpSocket;
use tokio::runtime::Runtime;

/// Clients with wrong keys at once.
const CROWD: usize = 200;
const CROWD_FROM: &str = "127.0.0.2:0";
const FRIEND_FROM: &str = "127.0.0.3:0";
/// No login may take longer.
const PATIENCE: Duration = Duration::from_secs(60);
/// A right login is tried so often.
const TRIES_MAX: usize = 50;

/// How much is done.
pub struct Options {
    /// Times that both sides are measured.
    pub rounds: usize,
    /// Right logins of one measurement.
    pub logins: usize,
}

/// Whatever key the host shows.
struct Trusting;

impl client::Handler for Trusting {
    type Error = russh::Error;

    async fn check_server_key(&mut self, _: &PublicKeyOrCertificate) -> Result<bool, russh::Error> {
        Ok(true)
    }
}

/// What came of one measurement.
struct Cost {
    /// CPU seconds of the server for each right login.
    per_login_s: f64,
    /// Times that a right login was turned away first.
    turned_away: usize,
    /// Tries of the crowd.
    knocks: usize,
    /// Whether the right key got in from where the crowd came.
    is_let_in_there: bool,
}

/// Whether `key` lets in who comes from `from`.
async fn logs_in(from: &str, port: u16, key: Arc<PrivateKey>) -> bool {
    let knock = async {
        let socket = TcpSocket::new_v4().ok()?;
        socket.set_reuseaddr(true).ok()?;
        socket.bind(from.parse().ok()?).ok()?;
        let stream = socket.connect(SocketAddr::from(([127, 0, 0, 1], port))).await.ok()?;
        let mut handle = client::connect_stream(Arc::default(), stream, Trusting).await.ok()?;
        // sshd lets nobody in but whom it runs as.
        let name = std::env::var("USER").unwrap_or_else(|_| "root".to_owned());
        let answer = handle.authenticate_publickey(name, PrivateKeyWithHashAlg::new(key, None)).await.ok()?;
        Some(answer.success())
    };
    tokio::time::timeout(PATIENCE, knock).await.ok().flatten().unwrap_or(false)
}

/// Right logins one after the other, with or without the crowd.
fn measure_side(runtime: &Runtime, server: &Daemon, key: &Arc<PrivateKey>, logins: usize, has_crowd: bool) -> Cost {
    let (is_over, knocks) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let crowd: Vec<_> = (0..if has_crowd { CROWD } else { 0 })
        .map(|at| {
            let (is_over, knocks, port) = (is_over.clone(), knocks.clone(), server.port);
            runtime.spawn(async move {
                let wrong: Arc<PrivateKey> = Arc::new(Ed25519Keypair::from_seed(&[u8::try_from(at).expect("few"); 32]).into());
                while !is_over.load(Ordering::Relaxed) {
                    assert!(!logs_in(CROWD_FROM, port, wrong.clone()).await, "a wrong key");
                    knocks.fetch_add(1, Ordering::Relaxed);
                }
            })
        })
        .collect();
    // The crowd is there, and has been heard, before anything is counted.
    while knocks.load(Ordering::Relaxed) < crowd.len() {
        std::thread::sleep(Duration::from_millis(5));
    }
    let knocked = knocks.load(Ordering::Relaxed);
    let begun = daemons::cpu_s(server.id());
    let mut turned_away = 0;
    for _ in 0..logins {
        let got_in = (0..TRIES_MAX).find(|_| runtime.block_on(logs_in(FRIEND_FROM, server.port, key.clone())));
        turned_away += got_in.expect("the right key gets in at last");
    }
    let spent = if has_crowd { daemons::cpu_s(server.id()) } else { settled(server.id()) } - begun;
    let knocks = knocks.load(Ordering::Relaxed) - knocked;
    let is_let_in_there = has_crowd && runtime.block_on(logs_in(CROWD_FROM, server.port, key.clone()));
    is_over.store(true, Ordering::Relaxed);
    runtime.block_on(async {
        for client in crowd {
            client.await.expect("no wrong key gets in");
        }
    });
    Cost { per_login_s: spent / logins as f64, turned_away, knocks, is_let_in_there }
}

fn row(name: &str, quiet: &[Cost], crowded: &[Cost]) {
    let cost = |costs: &[Cost]| median(costs.iter().map(|cost| cost.per_login_s));
    let (alone, among) = (cost(quiet), cost(crowded));
    println!(
        "| {name} | {:.2} | {:.2} | {:.2} | {} | {} | {} |",
        alone * 1e3,
        among * 1e3,
        among / alone,
        crowded.iter().map(|cost| cost.turned_away).max().unwrap_or(0),
        crowded.iter().map(|cost| cost.knocks).max().unwrap_or(0),
        if crowded.iter().any(|cost| cost.is_let_in_there) { "let in" } else { "refused" }
    );
}

/// Both rows; or why sshd's is missing.
pub fn run(options: &Options) -> Option<&'static str> {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::create_dir(folder.path().join("root")).expect("a folder");
    daemons::make_keys(folder.path());
    let key: Arc<PrivateKey> = Arc::new(load_secret_key(folder.path().join("key"), None).expect("a key"));
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime");
    let sshd = sshd_program().and_then(|program| {
        drop(start_sshd(folder.path(), &program).ok_or("sshd does not start here")?);
        Ok(program)
    });
    let (mut ours, mut theirs) = ((vec![], vec![]), (vec![], vec![]));
    for _ in 0..options.rounds {
        for (has_crowd, costs) in [(false, &mut ours.0), (true, &mut ours.1)] {
            // One who has not been heard of: no penalty is left from before.
            let server = daemons::packmule(folder.path(), &[]);
            costs.push(measure_side(&runtime, &server, &key, options.logins, has_crowd));
        }
        if let Some(server) = sshd.as_ref().ok().and_then(|program| start_sshd(folder.path(), program)) {
            for (has_crowd, costs) in [(false, &mut theirs.0), (true, &mut theirs.1)] {
                // A crowd costs it seconds for each.
                costs.push(measure_side(&runtime, &server, &key, (options.logins / 20).max(3), has_crowd));
            }
        }
    }
    println!("| server | CPU ms per right login, alone | with the crowd | ratio | turned away | knocks | right key from there |");
    println!("|---|---|---|---|---|---|---|");
    row("packmule", &ours.0, &ours.1);
    if !theirs.0.is_empty() {
        row("sshd", &theirs.0, &theirs.1);
    }
    assert!(ours.1.iter().all(|cost| !cost.is_let_in_there), "a key that never came from there is refused while the penalty lasts");
    sshd.err()
}

fn start_sshd(folder: &Path, program: &Path) -> Option<Daemon> {
    daemons::sshd(folder, program, &[])
}

/// Reads the command line.
#[allow(dead_code, reason = "the smoke test calls `run`")]
fn main() {
    let (rounds, _) = arguments();
    if let Some(why) = run(&Options { rounds, logins: 200 }) {
        println!("skipped: {why}");
    }
}
