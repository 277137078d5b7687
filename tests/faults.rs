//! A machine that gives little or interrupts: few descriptors, small files, calls that must be made again, connections that break.
//! Refusals are clean, nothing is called done that is not, and the same request succeeds later.

mod common;
#[allow(dead_code)] // each file of tests uses a part
#[path = "crash/rig.rs"]
mod rig;

use common::fixture::Random;
use common::remote::Remote;
use common::server::{Server, has_ssh};
use common::{Case, PACKMULE, Sandbox, check, pkt, run, run_with_input};
use rig::{Rig, SHAPES, has_strace, is_acknowledged};
use std::io::{BufRead as _, Write as _};
use std::path::Path;
use std::process::{Output, Stdio};
use std::time::{Duration, Instant};

const V2: Case = Case { hash: "sha1", protocol: 2 };
/// For what has been let go to be gone.
const PATIENCE: Duration = Duration::from_secs(60);

/// `packmule SERVICE` on `server` behind these words of a shell.
fn within(sandbox: &Sandbox, bounds: &str, service: &str, server: &Path, request: &[u8]) -> Output {
    let mut command = sandbox.command("sh");
    command.args(["-c", &format!("{bounds}; exec \"$@\""), "sh", PACKMULE, service]).arg(server).env("GIT_PROTOCOL", "version=2");
    run_with_input(&mut command, request)
}

#[test]
fn every_call_that_is_interrupted_is_made_again() {
    if !has_strace() {
        return;
    }
    let rig = Rig::new();
    let edits = SHAPES[3].edits;
    let (log, mut interrupted) = (rig.sandbox.path("interrupted.log"), vec![]);
    for call in ["read", "write", "pread64", "pwrite64", "openat", "fdatasync", "fsync", "ftruncate", "flock", "poll"] {
        let server = rig.server("interrupted.git");
        rig.push(&server, &[("refs/heads/before", None, Some(0))]);
        // Every other one, that is: every call once.
        let inject = format!("inject={call}:error=EINTR:when=1+2");
        let output = rig.receive(&server, &["-o", &log.display().to_string(), "-e", &inject], &rig.request_of(edits));
        let acknowledged = is_acknowledged(&output, edits[0].0);
        // Folders are opened once: no file system that keeps repositories is interrupted there, and the refusal is a clean one.
        assert!(acknowledged || call == "openat" && output.status.code().is_some(), "{call}: {output:?}");
        assert_eq!(rig.happened(&rig.stored(&server), edits), Some(if acknowledged { edits.len() } else { 0 }), "{call}");
        rig.retry(&server, edits, call);
        interrupted.extend(std::fs::read_to_string(&log).expect("a trace").contains("(INJECTED)").then_some(call));
    }
    let needed = ["read", "write", "openat", "fdatasync", "flock"];
    assert!(needed.iter().all(|call| interrupted.contains(call)), "only these were: {interrupted:?}");
}

#[test]
fn a_file_that_may_not_grow_is_a_refusal_and_the_same_push_succeeds_later() {
    let rig = Rig::new();
    let edits = SHAPES[3].edits;
    let mut refused = 0;
    for signal in ["trap '' XFSZ", ":"] {
        // In units of 512 bytes; a write that comes to the bound is short, and the next one fails.
        for bound in [0, 1, 2, 4, 8, 64] {
            let server = rig.server("small.git");
            rig.push(&server, &[("refs/heads/before", None, Some(0))]);
            let output = within(&rig.sandbox, &format!("{signal}; ulimit -f {bound}"), "receive-pack", &server, &rig.request_of(edits));
            let acknowledged = is_acknowledged(&output, edits[0].0);
            let happened = rig.happened(&rig.shown(&server), edits);
            assert_eq!(happened, Some(if acknowledged { edits.len() } else { 0 }), "{signal}, {bound}: {output:?}");
            assert!(acknowledged || signal == ":" || output.status.code().is_some(), "{bound}: {output:?}");
            assert_eq!(check::complaints(&rig.sandbox, &server), [""; 0], "{signal}, {bound}");
            refused += usize::from(!acknowledged);
            rig.retry(&server, edits, &format!("{signal}, {bound}"));
        }
    }
    assert!((2..12).contains(&refused), "some bounds are met, others not: {refused}");
}

/// A repository of so many packs.
fn many_packs(sandbox: &Sandbox, name: &str, count: usize) -> std::path::PathBuf {
    let server = sandbox.bare(name, "sha1");
    let client = sandbox.work_tree("packs-client", "sha1");
    sandbox.git(&server, ["config", "transfer.unpackLimit", "1"]);
    for at in 0..count {
        sandbox.commit_file(&client, &format!("file{at}"), format!("{at}\n"));
        sandbox.git(&client, ["push", "-q", &server.to_string_lossy(), "main"]);
    }
    server
}

#[test]
fn with_few_descriptors_requests_are_served_or_refused_and_never_half() {
    let sandbox = Sandbox::new();
    let server = many_packs(&sandbox, "packs.git", 80);
    let tip = check::ref_value(&sandbox, &server, "refs/heads/main");
    let fetch = [pkt::data("command=fetch\n"), b"0001".to_vec(), pkt::data(format!("want {tip}\n")), pkt::data("done\n"), b"0000".to_vec()];
    let rig = Rig::new();
    let edits = SHAPES[3].edits;
    let (mut served, mut refused) = (0, 0);
    for bound in [3, 4, 5, 6, 8, 10, 12, 16, 64] {
        let bounds = format!("ulimit -n {bound}");
        let output = within(&sandbox, &bounds, "upload-pack", &server, &fetch.concat());
        let is_whole = output.stdout.ends_with(b"0000") && output.status.success();
        assert!(output.status.code().is_some() && (is_whole || !output.stderr.is_empty()), "{bound}: {output:?}");
        assert!(is_whole || bound < 64, "as many packs as there are, within 64 descriptors: {output:?}");
        let taker = rig.server("few.git");
        let output = within(&rig.sandbox, &bounds, "receive-pack", &taker, &rig.request_of(edits));
        let acknowledged = is_acknowledged(&output, edits[0].0);
        assert!(output.status.code().is_some() && (acknowledged || bound < 64), "{bound}: {output:?}");
        let happened = rig.happened(&rig.shown(&taker), edits);
        assert_eq!(happened, Some(if acknowledged { edits.len() } else { 0 }), "{bound}: {output:?}");
        rig.retry(&taker, edits, &bounds);
        (served, refused) = (served + usize::from(acknowledged), refused + usize::from(!acknowledged));
    }
    assert!(served > 1 && refused > 1, "some bounds are met, others not: {served} and {refused}");
}

#[test]
fn a_server_with_64_descriptors_outlives_more_clients_than_that() {
    if !has_ssh() {
        return;
    }
    let sandbox = Sandbox::new();
    let root = sandbox.path("served");
    let mut command = sandbox.command("sh");
    command.args(["-c", "ulimit -n 64; exec \"$@\"", "sh", PACKMULE, "serve"]).arg(&root).args(["--ssh", "127.0.0.1:0"]);
    let server = Server::start_command(&sandbox, command, root);
    many_packs(&sandbox, "served/packs.git", 30);
    let remote = Remote::ssh(&sandbox, V2, &server);
    let crowd: Vec<_> = (0..100).filter_map(|_| std::net::TcpStream::connect(("127.0.0.1", server.port)).ok()).collect();
    assert!(crowd.len() > 64, "the system keeps those who wait");
    drop(crowd);
    let begun = Instant::now();
    let clone = sandbox.path("clone");
    let words = [remote.url("packs"), clone.to_string_lossy().into_owned()];
    while !run(&mut remote.command(&sandbox.path(""), "clone", ["-q".to_owned()].into_iter().chain(words.clone()))).status.success() {
        assert!(begun.elapsed() < PATIENCE, "nobody is served any more: {}", server.said());
        let _ = std::fs::remove_dir_all(&clone);
    }
    sandbox.commit_file(&clone, "new", "new\n");
    remote.push(&clone, "packs", &["HEAD:refs/heads/new"]);
}

/// Descriptors, threads and KiB of memory of a process.
fn held(pid: u32) -> [u64; 3] {
    let count = |folder: &str| std::fs::read_dir(format!("/proc/{pid}/{folder}")).map_or(0, Iterator::count) as u64;
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("it runs");
    let rss = status.lines().find_map(|line| line.strip_prefix("VmRSS:")?.split_whitespace().next()?.parse().ok());
    [count("fd"), count("task"), rss.expect("it is told")]
}

#[test]
fn connections_that_break_at_random_leave_nothing_in_a_server() {
    if !has_ssh() {
        return;
    }
    let sandbox = Sandbox::new();
    let server = Server::start(&sandbox);
    let remote = Remote::ssh(&sandbox, V2, &server);
    let (path, _) = remote.history("left", 23, 40);
    let client = sandbox.history("client", "sha1", 24, 40).0;
    let tip = sandbox.git(&client, ["rev-parse", "main"]);
    let pack = run_with_input(&mut sandbox.git_command(&client, ["pack-objects", "-q", "--revs", "--stdout"]), b"main\n").stdout;
    let head = [pkt::data(format!("{} {tip} refs/heads/new\0report-status", "0".repeat(40))), b"0000".to_vec()].concat();
    let request = [head, pack].concat();
    let want = check::ref_value(&sandbox, &path, "refs/heads/main");
    let fetch = [pkt::data(format!("want {want} side-band-64k")), b"0000".to_vec(), pkt::data("done\n")].concat();
    let mut random = Random(7);
    let mut one = |is_push: bool| {
        let words = if is_push { "git-receive-pack 'left'" } else { "git-upload-pack 'left'" };
        let mut ssh = server.ssh(&sandbox, &[words]);
        let mut child = ssh.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("ssh starts");
        let request = if is_push { &request[..random.below(request.len())] } else { &fetch[..] };
        let _ = child.stdin.as_mut().expect("piped").write_all(request);
        std::thread::sleep(Duration::from_millis(random.below(120) as u64));
        child.kill().expect("killed");
        child.wait().expect("waited for");
    };
    let mut round = |count: usize| (0..count).for_each(|at| one(at % 2 == 0));
    let settle = |wanted: Option<[u64; 3]>| {
        let begun = Instant::now();
        let (mut last, mut calm) = (held(server.pid()), 0);
        // Until it is as before, or stays as it is.
        while begun.elapsed() < PATIENCE
            && wanted.is_none_or(|wanted| last[0] > wanted[0] || last[1] > wanted[1])
            && (wanted.is_some() || calm < 20)
        {
            std::thread::sleep(Duration::from_millis(50));
            let now = held(server.pid());
            calm = if now[..2] == last[..2] { calm + 1 } else { 0 };
            last = now;
        }
        last
    };
    round(12);
    let before = settle(None);
    round(40);
    let now = settle(Some(before));
    assert!(now[0] <= before[0] && now[1] <= before[1], "descriptors, threads, KiB: {before:?} before, {now:?} now");
    assert!(now[2] <= before[2] + (24 << 10), "descriptors, threads, KiB: {before:?} before, {now:?} now");
    check::sound(&sandbox, &path);
    assert_eq!(check::ref_value(&sandbox, &path, "refs/heads/new"), "");
}

/// `strace` with these words, once it watches the process.
fn watched(sandbox: &Sandbox, pid: u32, words: &[&str]) -> Option<std::process::Child> {
    let mut command = sandbox.command("strace");
    command.args(["-f", "-o"]).arg(sandbox.path("trace")).args(words).args(["-p", &pid.to_string()]);
    let mut child = command.stderr(Stdio::piped()).spawn().expect("strace starts");
    let mut said = std::io::BufReader::new(child.stderr.take().expect("piped")).lines();
    let attached = said.any(|line| line.is_ok_and(|line| line.contains("attached")));
    std::thread::spawn(move || said.for_each(drop));
    attached.then_some(child)
}

#[test]
fn a_server_that_is_killed_while_a_push_makes_a_repository_leaves_all_of_it_or_nothing() {
    if !has_ssh() || !has_strace() {
        return;
    }
    let sandbox = Sandbox::new();
    let client = sandbox.history("client", "sha1", 31, 10).0;
    let tip = sandbox.git(&client, ["rev-parse", "main"]);
    drop(Server::start(&sandbox)); // makes its key
    let (mut made, mut lost) = (0, 0);
    for (at, inject) in [
        "mkdir:signal=KILL:when=1",
        "mkdir:signal=KILL:when=6",
        "linkat:signal=KILL:when=1",
        "fsync,fdatasync:signal=KILL:when=2",
        "rename,renameat2:signal=KILL:when=1",
        "rename,renameat2:signal=KILL:when=2",
        "fsync,fdatasync:signal=KILL:when=14",
        "fsync,fdatasync:signal=KILL:when=16",
        "fsync,fdatasync:signal=KILL:when=17",
        "fsync,fdatasync:signal=KILL:when=40",
    ]
    .iter()
    .enumerate()
    {
        let mut server = Server::start(&sandbox);
        let name = format!("folder{at}/made");
        let push = |server: &Server| {
            let remote = Remote::ssh(&sandbox, V2, server);
            run(&mut remote.command(&client, "push", [remote.url(&name), "main".to_owned()])).status.success()
        };
        let Some(mut strace) = watched(&sandbox, server.pid(), &["-e", &format!("inject={inject}")]) else {
            common::skipped("strace may not watch a process that runs");
            return;
        };
        let acknowledged = push(&server);
        if acknowledged {
            server.signal("KILL"); // what was to kill it did not come
        }
        server.wait();
        strace.wait().expect("waited for");
        let path = server.root.join(format!("{name}.git"));
        drop(server);
        let server = Server::start(&sandbox);
        let is_there = path.exists();
        if is_there {
            check::sound(&sandbox, &path);
            assert_eq!(check::ref_value(&sandbox, &path, "refs/heads/main"), tip, "{inject}");
        }
        assert!(is_there || !acknowledged, "{inject}");
        assert!(!server.root.join(".packmule/new").exists(), "{inject}: {:?}", check::files(&server.root));
        assert!(push(&server), "{inject}: {}", server.said());
        check::sound(&sandbox, &path);
        eprintln!("{inject}: acknowledged {acknowledged}, there {is_there}");
        (made, lost) = (made + usize::from(is_there), lost + usize::from(!is_there));
    }
    assert!(lost > 0, "some die in time: {made} made, {lost} lost");
}
