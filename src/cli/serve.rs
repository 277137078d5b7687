//! `packmule serve`: settings into a running server, told to whoever started it, until a signal ends it.

use super::admin_keys;
use super::args::ServeArgs;
use super::config::Config;
use super::drivers::{Access, DriverName, Drivers, Starter};
use super::failure::Failure;
use super::log::{self, AuditFile};
use super::rules::ConfigText;
use crate::store::{self, Found, Repositories, RepositoryName};
use crate::transport::{HostKey, Server, Stop};
use std::fmt::Write as _;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::signal::unix::{SignalKind, signal};

/// Exit code after a second signal: ended at once, as a shell reports an interrupted program.
const INTERRUPTED: u8 = 130;
/// Time that work has to notice its end after a second signal, in milliseconds.
const LAST_MS: u64 = 300;
/// A repository that nobody has pushed into for so long gets its journal brought to an end, in milliseconds.
const CHECKPOINT_IDLE_MS: u64 = 5_000;
/// How often that is looked for, in milliseconds.
const CHECKPOINT_TICK_MS: u64 = 1_000;
/// So many times as seldom the trash is looked through.
const TRASH_TICKS: u64 = 60;
/// Blocking threads beside those that run commands: callbacks and opening of repositories.
const SPARE_THREADS: usize = 64;

/// Run the command.
pub(super) fn run(args: &ServeArgs) -> Result<ExitCode, Failure> {
    let text = args.config.as_deref().map(ConfigText::take).transpose()?;
    let config = settings(args, text.as_ref())?;
    let audit = log::start(&config.log, &config.audit)?;
    let (home, person) = admin_keys::whoever_starts();
    let starter = Starter { config: text, admin_keys: args.admin_key.clone(), home, person };
    let access = Access::read(&config, &starter)?;
    let repositories = Arc::new(Repositories::open(&config.root).map_err(|error| Failure::root(&config.root, &error))?);
    let key_file =
        if config.ssh.host_key.as_os_str().is_empty() { repositories.state_dir().join("host_key") } else { config.ssh.host_key.clone() };
    let (host_key, new) = HostKey::load_or_create(&key_file).map_err(|error| Failure::server(&error, &config.root))?;
    let names = repositories.list().map_err(|error| Failure::root(&config.root, &error))?;
    tidy_aside(repositories.clone(), names.clone(), Duration::from_secs(config.trash.keep_s))?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .max_blocking_threads(config.ssh.limits.commands_max.saturating_add(SPARE_THREADS).min(1 << 14))
        .build()
        .map_err(|error| Failure::io(format!("cannot start threads: {error}")))?;
    let told = Told {
        root: std::path::absolute(&config.root).unwrap_or_else(|_| config.root.clone()),
        repositories: names.len(),
        first: names.first().map(|name| name.as_str().to_owned()),
        access: access.told(),
        wants_user_name: access.wants_user_name(),
        host_key: host_key.fingerprint(),
        host_key_file: std::path::absolute(&key_file).unwrap_or(key_file),
        host_key_new: new,
    };
    let interrupted = runtime.block_on(serve(&config, &repositories, access, host_key, audit, told))?;
    runtime.shutdown_timeout(Duration::from_millis(LAST_MS));
    store::checkpoint_idle(Duration::ZERO);
    Ok(if interrupted { INTERRUPTED.into() } else { ExitCode::SUCCESS })
}

/// Bring to its end what a crash left in the repositories, and later what pushes leave in their journals, without letting
/// anybody wait for it; and remove what was in the trash for so long as `keep`.
fn tidy_aside(repositories: Arc<Repositories>, names: Vec<RepositoryName>, keep: Duration) -> Result<(), Failure> {
    let tidy = move || {
        for name in names {
            let Ok(Found::Repository(repository)) = repositories.find(&name) else { continue };
            match store::sweep(&repository) {
                Ok(0) => {}
                Ok(swept) => tracing::info!(repository = name.as_str(), swept, "removed what dead pushes left"),
                Err(error) => tracing::warn!(repository = name.as_str(), %error, "cannot look for what dead pushes left"),
            }
        }
        let root = Arc::downgrade(&repositories);
        drop(repositories); // the root's lock is not this thread's to hold
        for tick in 0u64.. {
            if let Some(repositories) = root.upgrade().filter(|_| tick.is_multiple_of(TRASH_TICKS)) {
                empty_trash(&repositories, keep);
            }
            std::thread::sleep(Duration::from_millis(CHECKPOINT_TICK_MS));
            store::checkpoint_idle(Duration::from_millis(CHECKPOINT_IDLE_MS));
        }
    };
    let thread = std::thread::Builder::new().name("tidy".to_owned()).spawn(tidy);
    thread.map(drop).map_err(|error| Failure::io(format!("cannot start threads: {error}")))
}

fn empty_trash(repositories: &Repositories, keep: Duration) {
    let now_s = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    match repositories.empty_trash(keep, now_s) {
        Ok(gone) => {
            gone.iter().for_each(|gone| tracing::info!(repository = gone.name.as_str(), by = gone.by, "removed for good what was deleted"))
        }
        Err(error) => tracing::warn!(%error, "cannot look into the trash"),
    }
}

async fn serve(
    config: &Config,
    repositories: &Arc<Repositories>,
    access: Access,
    host_key: HostKey,
    audit: AuditFile,
    told: Told,
) -> Result<bool, Failure> {
    let (reload, asked) = tokio::sync::watch::channel(());
    let builder = Server::builder()
        .door(access.begin(repositories, config.hash.into(), &asked)?)
        .host_key(host_key)
        .limits(config.ssh.limits.clone())
        .keys_without_touch(config.ssh.keys_without_touch)
        .penalties(config.ssh.penalties.clone())
        .ingest((&config.push).into())
        .checks(config.push.check_objects.into())
        .certificates(config.push.certificates())
        .tree_depth_max(config.fetch.tree_depth_max)
        .shared_bytes_max(config.shared.bytes_max);
    let builder = match config.hooks.options() {
        Some(hooks) => builder.hooks(hooks),
        None => builder,
    };
    let server = builder.bind(&config.ssh.listen).await.map_err(|error| Failure::server(&error, &config.root))?;
    drop(asked); // whoever still listens follows files
    let ending = end_on_signals(server.stop(), reload, audit)?;
    let text = told.text(server.local_addr());
    // Nobody has to read it: a closed standard output is no reason not to serve.
    let _ = std::io::stdout().write_all(text.as_bytes()).and_then(|()| std::io::stdout().flush());
    server.serve(std::future::pending()).await;
    // Still waiting for a first or second signal: the end came without a second one.
    let interrupted = ending.is_finished();
    ending.abort();
    Ok(interrupted)
}

/// The first SIGINT or SIGTERM stops gracefully, the second at once; SIGHUP lets the rules be read and
/// the audit log's file be opened again. The task ends with
/// the second.
fn end_on_signals(stop: Stop, reload: tokio::sync::watch::Sender<()>, audit: AuditFile) -> Result<tokio::task::JoinHandle<()>, Failure> {
    let listen = |kind| signal(kind).map_err(|error| Failure::io(format!("cannot listen for signals: {error}")));
    let (mut interrupt, mut terminate, mut hangup) =
        (listen(SignalKind::interrupt())?, listen(SignalKind::terminate())?, listen(SignalKind::hangup())?);
    Ok(tokio::spawn(async move {
        let mut stopping = false;
        loop {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
                _ = hangup.recv() => {
                    audit.reopen();
                    if reload.send(()).is_err() {
                        tracing::info!("hang-up signal: there are no rules to be read again");
                    }
                    continue;
                }
            }
            if stopping {
                stop.now();
                return;
            }
            stopping = true;
            tracing::info!("stopping: transfers under way come to their end; a second signal ends at once");
            stop.gracefully();
        }
    }))
}

/// The file's settings, then the command line's.
fn settings(args: &ServeArgs, file: Option<&ConfigText>) -> Result<Config, Failure> {
    let mut config = file.map_or_else(|| Ok(Config::default()), |of| Config::of_text(&of.file, &of.text))?;
    if let Some(root) = &args.root {
        config.root.clone_from(root);
    }
    if let Some(listen) = &args.ssh {
        config.ssh.listen.clone_from(listen);
    }
    if let Some(log) = &args.log {
        config.log.clone_from(log);
    }
    if let Some(folder) = &args.files {
        config.driver = Drivers::only(DriverName::Files);
        config.files.folder.clone_from(folder);
        config.root.clone_from(args.root.as_ref().unwrap_or(folder));
    }
    config.ssh.admin_keys.extend(args.admin_key.iter().cloned());
    Ok(config)
}

/// What whoever starts the server is told.
struct Told {
    root: PathBuf,
    repositories: usize,
    first: Option<String>,
    /// Who decides, line by line.
    access: Vec<String>,
    wants_user_name: bool,
    host_key: String,
    host_key_file: PathBuf,
    host_key_new: bool,
}

impl Told {
    fn text(&self, address: std::net::SocketAddr) -> String {
        let mut text = String::new();
        let count = match self.repositories {
            1 => "1 repository".to_owned(),
            count => format!("{count} repositories"),
        };
        let root = clean(&self.root);
        // Writing to a string cannot fail.
        let _ = writeln!(text, "packmule {} serving {root} ({count})", env!("CARGO_PKG_VERSION"));
        let url = format!("ssh://{address}/");
        for (number, line) in self.access.iter().enumerate() {
            let _ = if number == 0 { writeln!(text, "  ssh   {url}     {line}") } else { writeln!(text, "        {line}") };
        }
        let new = if self.host_key_new { "new, " } else { "" };
        let _ = writeln!(text, "  host key {} ({new}kept in {})", self.host_key, clean(&self.host_key_file));
        let user = if self.wants_user_name { "USER@" } else { "" };
        let _ = match &self.first {
            Some(name) => writeln!(text, "try:  git clone ssh://{user}{address}/{name}"),
            None if self.wants_user_name => writeln!(text, "try:  git init --bare {root}/NAME.git"),
            None => writeln!(text, "try:  git push {url}NAME main      # makes the repository NAME"),
        };
        let open = if address.ip().is_loopback() {
            format!("      open it to the network: --ssh 0.0.0.0:{}", address.port())
        } else {
            String::new()
        };
        let _ = writeln!(text, "stop: Ctrl-C{open}");
        text
    }
}

/// Without the `/.` that an absolute path made of `.` ends in.
fn clean(path: &Path) -> String {
    path.components().collect::<PathBuf>().display().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(access: Vec<String>) -> Told {
        Told {
            root: "/home/ann/repos/.".into(),
            repositories: 3,
            first: Some("website".to_owned()),
            access,
            wants_user_name: false,
            host_key: "SHA256:host".to_owned(),
            host_key_file: "/home/ann/repos/.packmule/host_key".into(),
            host_key_new: true,
        }
    }

    #[test]
    fn a_newcomer_is_told_everything_that_the_first_minutes_need() {
        let lines = ["your key SHA256:ann (~/.ssh/id_ed25519.pub) may read and write; nobody else", "more"].map(str::to_owned);
        assert_eq!(
            told(lines.into()).text(([127, 0, 0, 1], 2222).into()),
            format!(
                "packmule {} serving /home/ann/repos (3 repositories)
  ssh   ssh://127.0.0.1:2222/     your key SHA256:ann (~/.ssh/id_ed25519.pub) may read and write; nobody else
        more
  host key SHA256:host (new, kept in /home/ann/repos/.packmule/host_key)
try:  git clone ssh://127.0.0.1:2222/website
stop: Ctrl-C      open it to the network: --ssh 0.0.0.0:2222
",
                env!("CARGO_PKG_VERSION")
            )
        );
    }

    #[test]
    fn the_command_line_wins_over_the_file() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("config.toml");
        std::fs::write(&file, "root = \"a\"\nlog = \"debug\"\n[ssh]\nlisten = \"127.0.0.1:1\"\nadmin_keys = [\"/k\"]\n").expect("written");
        let text = ConfigText::take(&file).expect("read");
        let mut args = ServeArgs { config: Some(file), ..ServeArgs::default() };
        let config = settings(&args, Some(&text)).expect("settings");
        assert_eq!((config.root, config.ssh.listen.as_str()), (folder.path().join("a"), "127.0.0.1:1"));
        args.root = Some("b".into());
        args.ssh = Some("127.0.0.1:2".to_owned());
        args.admin_key = vec!["/l".into()];
        let config = settings(&args, Some(&text)).expect("settings");
        assert_eq!((config.root, config.ssh.listen.as_str()), (PathBuf::from("b"), "127.0.0.1:2"));
        assert_eq!((config.log.as_str(), config.ssh.admin_keys), ("debug", vec!["/k".into(), "/l".into()]));
    }
}
