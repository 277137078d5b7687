//! A server in this process, and OpenSSH's client against it: deadlines, traps, and drivers that misbehave.

use super::{HostKey, PenaltySettings, Server, SshLimits, Stop};
use crate::access::{
    Authentication, BoxError, Command as Service, Credentials, Decision, Driver, Grant, Location, Place, Refusal, RequestPath, Transport,
    UserId,
};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

/// No test here measures time; this only ends one that would hang.
const PATIENCE: Duration = Duration::from_secs(60);

/// Everybody is `someone`; `/big`, `/late` and `/panic` mean what they say, `/told` is refused aloud, the rest in silence.
struct Anyone {
    repository: PathBuf,
}

impl Driver for Anyone {
    type User = ();

    async fn authenticate(&self, _: &Credentials) -> Result<Authentication, BoxError> {
        Ok(Authentication::Accepted(UserId::new("someone")))
    }

    async fn user(&self, _: &UserId) -> Result<(), BoxError> {
        Ok(())
    }

    async fn authorise(&self, (): &(), _: Service, path: &RequestPath, _: &Transport) -> Result<Decision, BoxError> {
        match path.as_str() {
            "big" => Ok(Decision::Granted(Grant::everything())),
            "nowhere" => Ok(Decision::Granted(Grant::everything())),
            "panic" => panic!("on purpose"),
            "broken" => Err("the database at /var/lib/secret is gone".into()),
            "told" => Ok(Decision::Refused(Refusal::told("someone may not").because_of("rule 7"))),
            _ => Ok(Decision::Refused(Refusal::hidden("no rule"))),
        }
    }

    async fn locate(&self, path: &RequestPath, _: &Transport) -> Result<Location, BoxError> {
        Ok(if path.as_str() == "big" { Location::Place(Place::at(&self.repository)) } else { Location::NotFound })
    }
}

struct House {
    folder: tempfile::TempDir,
    address: std::net::SocketAddr,
    stop: Stop,
    served: tokio::task::JoinHandle<()>,
    runtime: tokio::runtime::Runtime,
    tip: String,
}

impl House {
    /// A server with `limits` and one repository that is bigger than all buffers on the way.
    fn new(limits: SshLimits) -> Self {
        // Clients here leave without logging in on purpose.
        Self::with(limits, PenaltySettings { enabled: false, ..PenaltySettings::default() })
    }

    fn with(limits: SshLimits, penalties: PenaltySettings) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let repository = folder.path().join("big.git");
        let tip = big_repository(&repository);
        make_key(folder.path());
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime");
        let host_key = HostKey::generate().expect("a key");
        let builder = Server::builder().driver(Anyone { repository }).host_key(host_key).limits(limits).penalties(penalties);
        let bound = builder.bind("127.0.0.1:0");
        let server = runtime.block_on(bound).expect("a port");
        let (address, stop) = (server.local_addr(), server.stop());
        let served = runtime.spawn(server.serve(std::future::pending()));
        Self { folder, address, stop, served, runtime, tip }
    }

    fn ssh(&self, words: &[&str]) -> Command {
        let mut ssh = Command::new("ssh");
        ssh.args(["-F", "none", "-o", "StrictHostKeyChecking=no", "-o", "LogLevel=ERROR", "-o", "IdentitiesOnly=yes", "-o"]);
        ssh.arg(format!("UserKnownHostsFile={}", self.folder.path().join("known_hosts").display()));
        ssh.arg("-p").arg(self.address.port().to_string()).arg("-i").arg(self.folder.path().join("key"));
        ssh.args(words.iter().take_while(|word| word.starts_with('-')));
        ssh.arg("git@127.0.0.1").args(words.iter().skip_while(|word| word.starts_with('-')));
        ssh.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        ssh
    }

    /// Ask for the whole repository and read nothing of the answer.
    fn fetch_without_reading(&self) -> Child {
        let mut child = self.ssh(&["git-upload-pack 'big'"]).stdin(Stdio::piped()).spawn().expect("ssh starts");
        let want = format!("want {}\n", self.tip);
        let request = format!("{:04x}{want}00000009done\n", want.len() + 4);
        child.stdin.as_mut().expect("piped").write_all(request.as_bytes()).expect("sent");
        child
    }

    fn greets(&self) -> bool {
        let said = run(&mut self.ssh(&[]));
        String::from_utf8_lossy(&said.stdout).starts_with("hello someone (SHA256:")
    }
}

/// One blob of 16 MiB that cannot be deflated; returns the commit.
fn big_repository(path: &Path) -> String {
    let git = |args: &[&str], input: &[u8]| {
        let mut git = Command::new("git");
        git.arg("--git-dir").arg(path).args(args).env("GIT_CONFIG_NOSYSTEM", "1").env("GIT_CONFIG_GLOBAL", "/dev/null");
        for who in ["AUTHOR", "COMMITTER"] {
            git.env(format!("GIT_{who}_NAME"), "a")
                .env(format!("GIT_{who}_EMAIL"), "a@b")
                .env(format!("GIT_{who}_DATE"), "1000000000 +0000");
        }
        let mut child = git.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("git starts");
        child.stdin.take().expect("piped").write_all(input).expect("sent");
        let output = child.wait_with_output().expect("git ends");
        assert!(output.status.success(), "git {args:?}");
        String::from_utf8(output.stdout).expect("text").trim().to_owned()
    };
    let mut state = 1_u64;
    let noise: Vec<u8> = std::iter::repeat_with(|| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as u8
    })
    .take(16 << 20)
    .collect();
    git(&["init", "-q", "--bare"], b"");
    let blob = git(&["hash-object", "-w", "--stdin"], &noise);
    let tree = git(&["mktree"], format!("100644 blob {blob}\tnoise\n").as_bytes());
    let tip = git(&["commit-tree", "-m", "noise", &tree], b"");
    git(&["update-ref", "refs/heads/main", &tip], b"");
    tip
}

/// One connection for many sessions, as `ControlMaster` has it.
struct Master<'a> {
    house: &'a House,
    child: Child,
}

impl<'a> Master<'a> {
    fn new(house: &'a House) -> Self {
        let child = house.ssh(&["-N", "-oControlMaster=yes", &Self::path(house)]).spawn().expect("ssh starts");
        let master = Self { house, child };
        let began = Instant::now();
        while !house.folder.path().join("control").exists() {
            assert!(began.elapsed() < PATIENCE, "no control socket");
            std::thread::sleep(Duration::from_millis(20));
        }
        master
    }

    fn path(house: &House) -> String {
        format!("-oControlPath={}", house.folder.path().join("control").display())
    }

    /// A session of this connection; where it is refused there is no other connection to fall back to.
    fn session(&self, words: &[&str]) -> Command {
        let path = Self::path(self.house);
        self.house.ssh(&[&["-oControlMaster=no", "-oProxyCommand=false", path.as_str()], words].concat())
    }
}

impl Drop for Master<'_> {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Make the client's key, in place of the one that there may be.
fn make_key(folder: &Path) {
    let key = folder.join("key");
    let _ = std::fs::remove_file(&key);
    let made = run(Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(key));
    assert!(made.status.success(), "{made:?}");
}

fn run(command: &mut Command) -> Output {
    command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"))
}

/// Wait until `child` has ended by itself.
fn ends(child: &mut Child) {
    let began = Instant::now();
    while child.try_wait().expect("a child").is_none() {
        if began.elapsed() > PATIENCE {
            let _ = child.kill();
            panic!("the connection was not ended");
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn limits(change: impl FnOnce(&mut SshLimits)) -> SshLimits {
    let mut limits = SshLimits::default();
    change(&mut limits);
    limits
}

#[test]
fn a_client_that_never_reads_is_let_go() {
    let house = House::new(limits(|limits| limits.output_stall_s = 1));
    ends(&mut house.fetch_without_reading());
    assert!(house.greets());
}

#[test]
fn a_client_that_floods_and_never_reads_is_let_go() {
    let house = House::new(limits(|limits| limits.output_stall_s = 1));
    let mut child = house.fetch_without_reading();
    let mut stdin = child.stdin.take().expect("piped");
    // Ends with an error once the client is gone.
    let flood = std::thread::spawn(move || while stdin.write_all(&[b'0'; 64 << 10]).is_ok() {});
    ends(&mut child);
    flood.join().expect("joined");
    assert!(house.greets());
}

#[test]
fn a_client_that_says_nothing_in_a_command_is_let_go() {
    let house = House::new(limits(|limits| limits.input_idle_s = 1));
    let mut child = house.ssh(&["git-upload-pack 'big'"]).stdin(Stdio::piped()).spawn().expect("ssh starts");
    ends(&mut child);
    assert!(house.greets());
}

#[test]
fn who_does_not_log_in_is_let_go() {
    let house = House::new(limits(|limits| limits.login_grace_s = 1));
    for first in [&b""[..], b"SSH-2.0-x", b"SSH-2.0-OpenSSH_9.2\r\n"] {
        let mut socket = std::net::TcpStream::connect(house.address).expect("connected");
        socket.set_read_timeout(Some(PATIENCE)).expect("set");
        socket.write_all(first).expect("sent");
        let mut said = Vec::new();
        // A reset is as good as an end.
        let ended = socket.read_to_end(&mut said).map_err(|error| error.kind());
        assert!(!matches!(ended, Err(std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut)), "{ended:?}");
        assert!(said.starts_with(b"SSH-2.0-packmule_"));
    }
}

#[test]
fn a_connection_without_a_command_is_let_go() {
    let house = House::new(limits(|limits| limits.idle_s = 1));
    let mut child = house.ssh(&["-N"]).spawn().expect("ssh starts");
    ends(&mut child);
    assert!(house.greets());
}

#[test]
fn logins_beyond_the_limit_are_closed_and_those_within_are_not_hurt() {
    let house = House::new(limits(|limits| limits.logins_max = 1));
    let mut waiting = std::net::TcpStream::connect(house.address).expect("connected");
    let mut line = [0; 8];
    waiting.read_exact(&mut line).expect("greeted");
    let mut second = std::net::TcpStream::connect(house.address).expect("connected");
    let mut said = Vec::new();
    assert!(matches!(second.read_to_end(&mut said), Ok(0) | Err(_)), "{said:?}");
    drop(waiting);
    let began = Instant::now();
    while !house.greets() {
        assert!(began.elapsed() < PATIENCE, "the place is never free again");
    }
}

#[test]
fn a_connection_may_run_more_commands_than_it_may_have_channels() {
    let house = House::new(limits(|limits| limits.channels_max = 2));
    let master = Master::new(&house);
    for at in 0..12 {
        let said = run(&mut master.session(&[]));
        let text = String::from_utf8_lossy(&said.stdout);
        assert!(text.starts_with("hello someone") && said.status.success(), "{at}: {text}{}", String::from_utf8_lossy(&said.stderr));
    }
}

#[test]
fn input_for_a_refused_command_does_not_stop_its_connection() {
    let house = House::new(limits(|limits| limits.input_idle_s = 30));
    let master = Master::new(&house);
    for words in ["git-receive-pack 'told'", "ls"] {
        let mut child = master.session(&[words]).stdin(Stdio::piped()).spawn().expect("ssh starts");
        let mut stdin = child.stdin.take().expect("piped");
        // Ends with an error once the client is gone.
        let flood = std::thread::spawn(move || (0..256).all(|_| stdin.write_all(&[b'0'; 64 << 10]).is_ok()));
        ends(&mut child);
        let _ = flood.join();
        assert!(run(&mut master.session(&[])).status.success(), "{words}");
    }
}

#[test]
fn a_command_that_gets_no_place_hears_so() {
    let house = House::new(limits(|limits| (limits.commands_max, limits.queue_s) = (1, 1)));
    let mut first = house.fetch_without_reading();
    first.stdout.as_mut().expect("piped").read_exact(&mut [0; 4]).expect("begun");
    let said = run(&mut house.ssh(&["git-upload-pack 'big'"]));
    let text = String::from_utf8_lossy(&said.stdout);
    assert!(text.contains("ERR the server is busy; try again"), "{text}");
    first.kill().expect("ended");
    first.wait().expect("ended");
    let began = Instant::now();
    while !run(&mut house.ssh(&["git-upload-pack 'big'"])).stdout.windows(10).any(|bytes| bytes == b"refs/heads") {
        assert!(began.elapsed() < PATIENCE, "the place is never free again");
    }
}

#[test]
fn a_user_and_an_address_have_so_many_connections_and_no_more() {
    for change in
        [|limits: &mut SshLimits| limits.connections_per_user_max = 1, |limits: &mut SshLimits| limits.connections_per_address_max = 1]
    {
        let house = House::new(limits(change));
        let master = Master::new(&house);
        assert!(!house.greets());
        let said = run(&mut master.session(&[]));
        assert!(said.status.success(), "the one that there is is not hurt: {said:?}");
        drop(master);
        let began = Instant::now();
        while !house.greets() {
            assert!(began.elapsed() < PATIENCE, "its place was not given back");
        }
    }
}

#[test]
fn who_finds_no_place_pays_no_penalty_for_it() {
    let hard = PenaltySettings { auth_failed_s: 500, ..PenaltySettings::default() };
    let house = House::with(limits(|limits| limits.connections_per_user_max = 1), hard);
    let master = Master::new(&house);
    // One that never got in is not forgiven anything.
    make_key(house.folder.path());
    assert!((0..3).all(|_| !house.greets()));
    drop(master);
    let began = Instant::now();
    while !house.greets() {
        assert!(began.elapsed() < PATIENCE, "a penalty keeps them out");
    }
}

#[test]
fn a_user_has_so_many_commands_at_once() {
    let house = House::new(limits(|limits| (limits.commands_per_user_max, limits.queue_s) = (1, 1)));
    let mut first = house.fetch_without_reading();
    let began = Instant::now();
    loop {
        let said = run(&mut house.ssh(&["git-upload-pack 'big'"]));
        if String::from_utf8_lossy(&said.stdout).contains("ERR the server is busy; try again in a moment") {
            break;
        }
        assert!(began.elapsed() < PATIENCE, "{said:?}");
    }
    let _ = first.kill();
    let _ = first.wait();
}

#[test]
fn a_command_may_take_so_long_and_hears_so() {
    let house = House::new(limits(|limits| limits.command_max_s = 1));
    for words in ["git-upload-pack 'big'", "git-receive-pack 'big'"] {
        let mut child = house.ssh(&[words]).stdin(Stdio::piped()).spawn().expect("ssh starts");
        let stdin = child.stdin.take();
        let (mut stdout, mut stderr) = (child.stdout.take().expect("piped"), child.stderr.take().expect("piped"));
        let reading = std::thread::spawn(move || std::io::copy(&mut stdout, &mut std::io::sink()));
        ends(&mut child);
        let mut said = String::new();
        stderr.read_to_string(&mut said).expect("text");
        reading.join().expect("joined").expect("read");
        assert!(said.contains("a command may take no longer than 1 seconds here"), "{words}: {said}");
        drop(stdin);
    }
    assert!(house.greets());
}

#[test]
fn what_the_driver_says_reaches_git() {
    let house = House::new(SshLimits::default());
    for (path, says) in [
        ("told", "ERR someone may not; rule 7"),
        ("hidden", "ERR no repository \"hidden\" here, or someone may not see it\nhint: you may see no repository here"),
        ("nowhere", "ERR no repository \"nowhere\" here, or someone may not see it"),
        ("broken", "ERR access could not be checked"),
        ("panic", "ERR access could not be checked"),
    ] {
        for service in ["git-upload-pack", "git receive-pack"] {
            let output = run(&mut house.ssh(&[&format!("{service} '{path}'")]));
            let said = String::from_utf8_lossy(&output.stdout);
            assert!(said.get(4..).is_some_and(|said| said.starts_with(says)), "{path}: {said}");
            assert!(!said.contains("secret"), "{said}");
            assert!(!output.status.success() && output.stderr.is_empty(), "{path}: {}", String::from_utf8_lossy(&output.stderr));
        }
    }
    assert!(house.greets());
}

#[test]
fn what_git_does_not_need_is_refused_and_hurts_nothing() {
    let house = House::new(SshLimits::default());
    // A terminal that was insisted on, a subsystem, a forwarded connection: each is the whole purpose of its client.
    for words in [&["-tt"][..], &["-s", "sftp"], &["-W127.0.0.1:1"]] {
        assert!(!run(&mut house.ssh(words)).status.success(), "{words:?}");
    }
    let greeted = run(&mut house.ssh(&["-A", "-X", "-R0:127.0.0.1:1"]));
    assert!(String::from_utf8_lossy(&greeted.stdout).starts_with("hello someone"), "{}", String::from_utf8_lossy(&greeted.stderr));
    assert!(greeted.status.success());
}

#[test]
fn a_graceful_stop_lets_a_transfer_end_and_a_second_word_does_not() {
    let house = House::new(SshLimits::default());
    let mut idle = house.ssh(&["-N"]).spawn().expect("ssh starts");
    let mut child = house.fetch_without_reading();
    let mut stdout = child.stdout.take().expect("piped");
    stdout.read_exact(&mut [0; 4]).expect("begun");
    house.stop.gracefully();
    ends(&mut idle);
    assert!(!house.served.is_finished());
    let mut rest = Vec::new();
    stdout.read_to_end(&mut rest).expect("read");
    assert!(child.wait().expect("ended").success());
    assert!(rest.len() > 16 << 20, "{}", rest.len());
    house.runtime.block_on(house.served).expect("served");

    let house = House::new(SshLimits::default());
    let mut child = house.fetch_without_reading();
    child.stdout.as_mut().expect("piped").read_exact(&mut [0; 4]).expect("begun");
    house.stop.gracefully();
    house.stop.now();
    house.runtime.block_on(house.served).expect("served");
    ends(&mut child);
}
