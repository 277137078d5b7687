//! One program into its end: started, fed, listened to, and ended when it takes too long. Nothing else in this house
//! starts a program.
//!
//! Source: `run-command.c`, `builtin/receive-pack.c` (`copy_to_sideband`). What the program says on standard output and
//! standard error goes to the peer as it comes, on the band of progress, escapes and all, as git sends it; a client that
//! does not read holds the program up, and nothing is kept in memory. A peer without bands hears nothing: there it goes
//! where our own standard error goes, or nowhere.
//!
//! The program is started directly. A file that the kernel does not know (no `#!`) goes to `/bin/sh`, as in git. It leads
//! a process group of its own, which is asked to end (SIGTERM) when its time is up or its peer has gone, and killed when
//! some of it is still there [`GRACE_MS`] or [`GONE_GRACE_MS`] later. Files of ours are closed in it
//! (all are opened close-on-exec), signals are as at the start of a process. Its end is awaited whatever happens, so
//! nothing is left of it in the table of processes. As in git, whoever it leaves behind holding its output is awaited
//! too, within the same time.
//! Limits: a child of the program that makes a group of its own and lets go of the output is not found.

use crate::base::limits::TICK_MS;
use crate::base::{Cancel, Clock, SystemClock};
use crate::wire::{Band, SideBand};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, Signal, kill_process_group, test_kill_process_group};
use std::ffi::OsString;
use std::io::{self, ErrorKind, PipeReader, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, ChildStdout, Command, ExitStatus, Stdio};
use std::time::Duration;

/// What is started, and how.
#[derive(Debug)]
pub(super) struct Program {
    /// As it is executed, from `dir`.
    pub path: OsString,
    /// Behind its name.
    pub args: Vec<OsString>,
    /// Nothing of our own environment is handed on.
    pub is_clean: bool,
    /// Set on top.
    pub env: Vec<(OsString, OsString)>,
    /// Where it stands.
    pub dir: PathBuf,
}

/// Under what conditions it runs.
#[derive(Clone, Debug)]
pub(super) struct Terms<'a> {
    /// The peer has gone.
    pub cancel: &'a Cancel,
    /// It goes on when the peer has gone: what it is told of has happened.
    pub outlives_peer: bool,
    /// Milliseconds that it may take; 0: as long as it likes.
    pub timeout_ms: u64,
    /// Milliseconds of silence after which the peer is told that we live; 0: never.
    pub keepalive_ms: u64,
    /// Milliseconds between being asked to end and being killed.
    pub grace_ms: u64,
    /// A peer without bands: what is said goes to our own standard error.
    pub own_stderr: bool,
}

/// Time to put away temporary files and locks before being killed, in milliseconds; little enough that a server which
/// stops, or a pusher who is told that it took too long, hardly waits.
pub(super) const GRACE_MS: u64 = 2_000;
/// As much of that as there is when the peer has gone: with a tick to notice it, all that the push held is free within a second.
pub(super) const GONE_GRACE_MS: u64 = 500;

/// How it ended.
#[derive(Debug)]
pub(super) enum Ended {
    /// By itself.
    Itself(ExitStatus),
    /// It could not be started.
    NotStarted(io::Error),
    /// It took too long and was ended.
    TimedOut,
    /// The peer went away, and it was ended.
    PeerGone(Option<io::Error>),
}

impl Ended {
    /// It did, with exit code 0.
    pub fn is_success(&self) -> bool {
        matches!(self, Self::Itself(status) if status.success())
    }

    /// What there is to say of it beside what it said itself.
    pub fn complaint(&self, name: &str, timeout_ms: u64) -> Option<String> {
        match self {
            Self::Itself(status) => status.signal().map(|signal| format!("{name} died of signal {signal}")),
            Self::NotStarted(err) => Some(format!("cannot run {name}: {err}")),
            Self::TimedOut => Some(format!("{name} took longer than {} s and was ended", timeout_ms.div_ceil(1000))),
            Self::PeerGone(_) => None,
        }
    }
}

/// Run `program`, feed it `lines`, wait for its end. One that does not read is not fed on.
pub(super) fn feed(
    program: &Program,
    lines: Option<&mut (dyn Iterator<Item = Vec<u8>> + Send)>,
    bands: &mut SideBand<impl Write>,
    terms: &Terms<'_>,
) -> Ended {
    let Some(lines) = lines else { return converse(program, Talk::Never, bands, terms, |_, _| ()).0 };
    let talk = |mut input: Patient<ChildStdin>, _| {
        let mut buffer = Vec::with_capacity(FEED_BYTES);
        for line in lines {
            buffer.extend_from_slice(&line);
            if buffer.len() >= FEED_BYTES {
                if input.write_all(&buffer).is_err() {
                    return; // it has heard enough
                }
                buffer.clear();
            }
        }
        let _ = input.write_all(&buffer);
    };
    converse(program, Talk::Input, bands, terms, talk).0
}

/// Run `program` and talk to it by its standard input and output; only its standard error is for the peer.
pub(super) fn talk_to<T: Send>(
    program: &Program,
    bands: &mut SideBand<impl Write>,
    terms: &Terms<'_>,
    talk: impl FnOnce(Patient<ChildStdin>, Patient<ChildStdout>) -> T + Send,
) -> (Ended, Option<T>) {
    let (ended, said) = converse(program, Talk::Both, bands, terms, |input, output| output.map(|output| talk(input, output)));
    (ended, said.flatten())
}

/// Bytes handed to a program at once.
const FEED_BYTES: usize = 16 << 10;
/// Bytes taken from a program at once.
const HEAR_BYTES: usize = 8 << 10;
/// How long to wait between two looks at a program that is silent, at first and at most, in milliseconds.
const LOOK_MS: (u64, u64) = (1, 20);

/// Which of its ends are ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Talk {
    Never,
    Input,
    Both,
}

/// A started program. Dropped before its end, it and its group are killed.
struct Running {
    child: Child,
    status: Option<ExitStatus>,
}

impl Running {
    fn look(&mut self) -> Option<ExitStatus> {
        if self.status.is_none() {
            self.status = self.child.try_wait().ok().flatten();
        }
        self.status
    }

    fn group(&self) -> Option<Pid> {
        i32::try_from(self.child.id()).ok().and_then(Pid::from_raw)
    }

    /// Ask the group to end, what the program left behind too, and kill who has not within `grace_ms`. What is said
    /// meanwhile is given to `hear`; it may be that nobody ends before that is read.
    fn end(&mut self, grace_ms: u64, heard: Option<PipeReader>, mut hear: impl FnMut(&[u8])) {
        let (clock, mut heard, mut buffer) = (SystemClock::default(), heard, [0; HEAR_BYTES]);
        if let Some(group) = self.group() {
            // Nobody of it may be left; then there is nobody to wait for.
            let _ = kill_process_group(group, Signal::TERM);
            let mut look_ms = LOOK_MS.0;
            // The program itself counts until it has been looked at.
            while clock.now_ms() < grace_ms && (self.look().is_none() || test_kill_process_group(group).is_ok()) {
                let said = heard.as_mut().map(|pipe| self::hear(pipe, &mut buffer, look_ms));
                match said {
                    Some(Heard::Bytes(count)) => hear(&buffer[..count]),
                    Some(Heard::Nothing) => {}
                    Some(Heard::End) => heard = None,
                    None => std::thread::sleep(Duration::from_millis(look_ms)),
                }
                look_ms = (look_ms * 2).min(LOOK_MS.1);
            }
        }
        self.kill();
    }

    /// Kill the group.
    fn kill(&mut self) {
        if let Some(group) = self.group() {
            let _ = kill_process_group(group, Signal::KILL);
        }
        if self.status.is_none() {
            self.status = self.child.wait().ok();
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if self.status.is_none() {
            self.kill();
        }
    }
}

fn converse<T: Send>(
    program: &Program,
    talk: Talk,
    bands: &mut SideBand<impl Write>,
    terms: &Terms<'_>,
    speak: impl FnOnce(Patient<ChildStdin>, Option<Patient<ChildStdout>>) -> T + Send,
) -> (Ended, Option<T>) {
    let (child, heard) = match start(program, talk, bands.has_bands(), terms.own_stderr) {
        Ok(started) => started,
        Err(err) => return (Ended::NotStarted(err), None),
    };
    let mut running = Running { child, status: None };
    let over = Cancel::new();
    std::thread::scope(|scope| {
        let input = running.child.stdin.take().map(|input| Patient { end: input, over: over.clone() });
        let output = running.child.stdout.take().map(|output| Patient { end: output, over: over.clone() });
        let speaker = input.map(|input| scope.spawn(move || speak(input, output)));
        let ended = attend(&mut running, heard, bands, terms);
        over.set();
        let said = speaker.map(|speaker| speaker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
        (ended, said)
    })
}

fn start(program: &Program, talk: Talk, has_bands: bool, own_stderr: bool) -> io::Result<(Child, Option<PipeReader>)> {
    match start_as(program, None, talk, has_bands, own_stderr) {
        Err(err) if err.raw_os_error() == Some(rustix::io::Errno::NOEXEC.raw_os_error()) => {
            start_as(program, Some("/bin/sh"), talk, has_bands, own_stderr)
        }
        outcome => outcome,
    }
}

fn start_as(
    program: &Program,
    shell: Option<&str>,
    talk: Talk,
    has_bands: bool,
    own_stderr: bool,
) -> io::Result<(Child, Option<PipeReader>)> {
    let mut command = match shell {
        Some(shell) => {
            let mut command = Command::new(shell);
            command.arg(&program.path);
            command
        }
        None => Command::new(&program.path),
    };
    if program.is_clean {
        command.env_clear();
    }
    command.args(&program.args).envs(program.env.iter().map(|(name, value)| (name, value)));
    command.current_dir(&program.dir).process_group(0);
    command.stdin(if talk == Talk::Never { Stdio::null() } else { Stdio::piped() });
    let mut heard = None;
    let mut ear = || -> io::Result<Stdio> {
        if has_bands {
            let (reader, writer) = io::pipe()?;
            heard = Some((reader, writer.try_clone()?));
            Ok(writer.into())
        } else if own_stderr {
            Ok(io::stderr().as_fd().try_clone_to_owned()?.into())
        } else {
            Ok(Stdio::null())
        }
    };
    command.stderr(ear()?);
    let (heard, writer) = heard.unzip();
    command.stdout(match (talk, writer) {
        (Talk::Both, _) => Stdio::piped(),
        (_, Some(writer)) => OwnedFd::from(writer).into(),
        (_, None) if own_stderr => io::stderr().as_fd().try_clone_to_owned()?.into(),
        (_, None) => Stdio::null(),
    });
    // With the command go our copies of the ends that are the program's: only then can its output end.
    Ok((command.spawn()?, heard))
}

/// Hand on what it says until it has ended and said all, or its time or its peer has.
fn attend(running: &mut Running, mut heard: Option<PipeReader>, bands: &mut SideBand<impl Write>, terms: &Terms<'_>) -> Ended {
    let clock = SystemClock::default();
    let (mut spoke_ms, mut look_ms, mut is_deaf) = (0, LOOK_MS.0, None);
    let mut buffer = [0; HEAR_BYTES];
    loop {
        if heard.is_none()
            && let Some(status) = running.look()
        {
            return Ended::Itself(status);
        }
        if !terms.outlives_peer && (terms.cancel.is_set() || is_deaf.is_some()) {
            running.end(terms.grace_ms.min(GONE_GRACE_MS), heard, |_| ());
            return Ended::PeerGone(is_deaf);
        }
        let now_ms = clock.now_ms();
        if terms.timeout_ms != 0 && now_ms >= terms.timeout_ms {
            let has_ended = running.look();
            // Who is here yet may hear how it ends.
            running.end(terms.grace_ms, heard, |said| is_deaf = is_deaf.take().or(bands.say(Band::Progress, said).err()));
            // One that ended in time and left somebody behind has given its answer.
            return has_ended.map_or(Ended::TimedOut, Ended::Itself);
        }
        let said = match &mut heard {
            Some(pipe) => {
                let left_ms = if terms.timeout_ms == 0 { TICK_MS } else { terms.timeout_ms - now_ms };
                hear(pipe, &mut buffer, left_ms.min(TICK_MS))
            }
            None => {
                std::thread::sleep(Duration::from_millis(look_ms));
                look_ms = (look_ms * 2).min(LOOK_MS.1);
                Heard::Nothing
            }
        };
        let told = match said {
            Heard::End => {
                heard = None;
                continue;
            }
            _ if is_deaf.is_some() => continue,
            Heard::Bytes(count) => bands.say(Band::Progress, &buffer[..count]),
            Heard::Nothing if terms.keepalive_ms != 0 && now_ms - spoke_ms >= terms.keepalive_ms => bands.keep_alive(),
            Heard::Nothing => continue,
        };
        spoke_ms = clock.now_ms();
        is_deaf = told.err();
    }
}

enum Heard {
    Bytes(usize),
    Nothing,
    End,
}

fn hear(pipe: &mut PipeReader, buffer: &mut [u8], wait_ms: u64) -> Heard {
    match is_ready(pipe, PollFlags::IN, wait_ms) {
        Ok(false) => return Heard::Nothing,
        Ok(true) => {}
        Err(_) => return Heard::End,
    }
    match pipe.read(buffer) {
        Ok(0) => Heard::End,
        Ok(count) => Heard::Bytes(count),
        Err(err) if err.kind() == ErrorKind::Interrupted => Heard::Nothing,
        Err(_) => Heard::End,
    }
}

/// Whether `end` is in a state in which `wanted`, or its failure, comes at once.
fn is_ready(end: &impl AsFd, wanted: PollFlags, wait_ms: u64) -> io::Result<bool> {
    let wait = Timespec { tv_sec: (wait_ms / 1000) as i64, tv_nsec: (wait_ms % 1000 * 1_000_000) as i64 };
    match poll(&mut [PollFd::new(end, wanted)], Some(&wait)) {
        Ok(count) => Ok(count > 0),
        Err(rustix::io::Errno::INTR) => Ok(false),
        Err(err) => Err(err.into()),
    }
}

/// An end of a pipe that is waited at until the program is over: somebody whom it left behind may hold the other end.
#[derive(Debug)]
pub(super) struct Patient<E> {
    end: E,
    over: Cancel,
}

impl<E: AsFd> Patient<E> {
    fn wait(&self, wanted: PollFlags) -> io::Result<()> {
        loop {
            let is_over = self.over.is_set();
            if is_ready(&self.end, wanted, if is_over { 0 } else { TICK_MS / 10 })? {
                return Ok(());
            } else if is_over {
                return Err(ErrorKind::BrokenPipe.into());
            }
        }
    }
}

impl<E: AsFd + Read> Read for Patient<E> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.wait(PollFlags::IN)?;
        self.end.read(buffer)
    }
}

/// A pipe that polls as ready takes this many bytes without waiting (pipe(7), "PIPE_BUF").
const PIPE_BUF_BYTES: usize = 4096;

impl<E: AsFd + Write> Write for Patient<E> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.wait(PollFlags::OUT)?;
        self.end.write(&bytes[..bytes.len().min(PIPE_BUF_BYTES)])
    }

    fn flush(&mut self) -> io::Result<()> {
        self.end.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;
    use std::time::Instant;

    /// Far more than any of these programs takes.
    const PATIENCE_MS: u64 = 60_000;

    /// A folder with the program `it`.
    fn program(text: &str) -> (tempfile::TempDir, Program) {
        let dir = tempfile::tempdir().expect("a folder");
        // Written by another process: what a test beside this one starts would hold the file open, and a file that
        // somebody may write is not run (execve(2), "ETXTBSY").
        let write =
            std::process::Command::new("sh").args(["-c", "printf %s \"$1\" >it && chmod +x it", "sh", text]).current_dir(&dir).status();
        assert!(write.expect("a shell").success());
        let program = Program { path: "./it".into(), args: vec![], is_clean: false, env: vec![], dir: dir.path().to_owned() };
        (dir, program)
    }

    /// Run it; how it ended and what the peer got.
    fn run(program: &Program, lines: Option<Vec<&str>>, timeout_ms: u64) -> (Ended, String) {
        let (cancel, mut out) = (Cancel::new(), vec![]);
        let terms = Terms { cancel: &cancel, outlives_peer: false, timeout_ms, keepalive_ms: 0, grace_ms: PATIENCE_MS, own_stderr: false };
        let mut lines = lines.map(|lines| lines.into_iter().map(|line| line.as_bytes().to_vec()));
        let lines = lines.as_mut().map(|lines| lines as &mut (dyn Iterator<Item = Vec<u8>> + Send));
        let ended = feed(program, lines, &mut SideBand::large(&mut out), &terms);
        (ended, String::from_utf8_lossy(&out).into_owned())
    }

    /// Whether the process named in this file comes to its end; it has been killed, and load may keep it a while.
    fn ends(pid: &Path) -> bool {
        (0..500).any(|_| {
            let gone = !runs(pid);
            if !gone {
                std::thread::sleep(Duration::from_millis(10));
            }
            gone
        })
    }

    /// Whether the process whose id stands in the file is there, zombies not counted.
    fn runs(pid_file: &Path) -> bool {
        let pid = std::fs::read_to_string(pid_file).expect("a process id");
        std::fs::read_to_string(format!("/proc/{}/stat", pid.trim())).is_ok_and(|stat| !stat.contains(") Z "))
    }

    #[test]
    fn what_it_says_on_both_outputs_goes_to_the_peer_and_what_it_is_told_comes_to_it() {
        let (_dir, mut program) = program("#!/bin/sh\necho \"$1\"; echo err >&2; cat; exit 3\n");
        program.args = vec!["word".into()];
        let (ended, said) = run(&program, Some(vec!["one\n", "two\n"]), PATIENCE_MS);
        assert!(matches!(&ended, Ended::Itself(status) if status.code() == Some(3)) && !ended.is_success(), "{ended:?}");
        let said: String =
            said.split('\u{2}').map(|part| part.trim_end_matches(|c: char| c.is_ascii_hexdigit() && !c.is_uppercase())).collect();
        assert!(["word\n", "err\n", "one\ntwo\n"].iter().all(|text| said.contains(text)), "{said:?}");
    }

    #[test]
    fn one_that_does_not_read_is_not_waited_for() {
        let line = "x".repeat(1000);
        let (_dir, deaf) = program("#!/bin/sh\nexit 0\n");
        assert!(run(&deaf, Some(vec![&line; 1000]), PATIENCE_MS).0.is_success());
        let (_dir, closing) = program("#!/bin/sh\nexec <&-\nsleep 0.2\nexit 0\n");
        assert!(run(&closing, Some(vec![&line; 1000]), PATIENCE_MS).0.is_success());
    }

    #[test]
    fn one_that_takes_too_long_is_ended_with_all_that_it_started() {
        let (dir, slow) = program("#!/bin/sh\nsleep 1000 & echo $! > other\necho $$ > self\nwait\n");
        let begun = Instant::now();
        let (ended, _) = run(&slow, None, 500);
        assert!(matches!(ended, Ended::TimedOut), "{ended:?}");
        assert!(begun.elapsed() < Duration::from_secs(50));
        assert_eq!(ended.complaint("hooks/it", 500).as_deref(), Some("hooks/it took longer than 1 s and was ended"));
        assert!(!Path::new(&format!("/proc/{}", std::fs::read_to_string(dir.path().join("self")).expect("written").trim())).exists());
        assert!(ends(&dir.path().join("other")), "what it started still runs");
    }

    #[test]
    fn one_that_is_ended_may_put_things_away_first_and_one_that_does_not_listen_is_killed() {
        let (dir, tidy) = program(
            "#!/bin/sh\ntrap 'echo put away; touch away; exit 0' TERM\nsleep 1000 & echo $$ > self\nuntil [ -e away ]; do wait; done\n",
        );
        let (ended, said) = run(&tidy, None, 500);
        assert!(matches!(ended, Ended::TimedOut), "{ended:?}");
        assert!(dir.path().join("away").exists() && said.contains("put away"), "{said}");
        let (dir, deaf) = program("#!/bin/sh\ntrap '' TERM\necho $$ > self\nwhile :; do sleep 1000; done\n");
        let cancel = Cancel::new();
        let terms = Terms { cancel: &cancel, outlives_peer: false, timeout_ms: 500, keepalive_ms: 0, grace_ms: 100, own_stderr: false };
        let begun = Instant::now();
        let ended = feed(&deaf, None, &mut SideBand::large(vec![]), &terms);
        assert!(matches!(ended, Ended::TimedOut) && begun.elapsed() < Duration::from_secs(50), "{ended:?}");
        assert!(!runs(&dir.path().join("self")));
    }

    #[test]
    fn one_that_ended_in_time_has_given_its_answer_whoever_holds_its_output() {
        let (dir, parent) = program("#!/bin/sh\nsleep 1000 & echo $! > other\nexit 0\n");
        assert!(run(&parent, None, 500).0.is_success());
        assert!(ends(&dir.path().join("other")), "what it started still runs");
    }

    #[test]
    fn a_peer_that_goes_ends_it_unless_it_is_told_of_what_has_happened() {
        let (dir, slow) = program("#!/bin/sh\necho $$ > self\nsleep 0.5\ntouch done\n");
        for outlives_peer in [false, true] {
            let cancel = Cancel::new();
            cancel.set();
            let terms = Terms {
                cancel: &cancel,
                outlives_peer,
                timeout_ms: PATIENCE_MS,
                keepalive_ms: 0,
                grace_ms: PATIENCE_MS,
                own_stderr: false,
            };
            let ended = feed(&slow, None, &mut SideBand::large(vec![]), &terms);
            assert_eq!(ended.is_success(), outlives_peer, "{ended:?}");
            assert_eq!(matches!(ended, Ended::PeerGone(None)), !outlives_peer);
            assert_eq!(dir.path().join("done").exists(), outlives_peer);
        }
    }

    #[test]
    fn when_the_peer_has_gone_one_that_does_not_listen_is_killed_sooner() {
        let (dir, deaf) = program("#!/bin/sh\ntrap '' TERM\necho $$ > self\nwhile :; do sleep 1000; done\n");
        let cancel = Cancel::new();
        let grace_ms = PATIENCE_MS;
        let terms = Terms { cancel: &cancel, outlives_peer: false, timeout_ms: 0, keepalive_ms: 0, grace_ms, own_stderr: false };
        std::thread::scope(|scope| {
            let ended = scope.spawn(|| feed(&deaf, None, &mut SideBand::large(vec![]), &terms));
            let begun = Instant::now();
            while !std::fs::read_to_string(dir.path().join("self")).is_ok_and(|pid| pid.ends_with('\n')) {
                assert!(begun.elapsed() < Duration::from_millis(PATIENCE_MS), "it never began");
                std::thread::sleep(Duration::from_millis(10));
            }
            let begun = Instant::now();
            cancel.set();
            assert!(matches!(ended.join().expect("no panic"), Ended::PeerGone(None)));
            assert!(begun.elapsed() < Duration::from_millis(PATIENCE_MS / 2));
        });
        assert!(!runs(&dir.path().join("self")));
    }

    #[test]
    fn silence_is_filled_with_signs_of_life() {
        /// Ends the program when three signs have come.
        struct Peer(PathBuf, Vec<u8>);
        impl Write for Peer {
            fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
                self.1.extend_from_slice(bytes);
                if self.1 == b"0005\x010005\x010005\x01" {
                    std::fs::write(&self.0, "")?;
                }
                Ok(bytes.len())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let (dir, silent) = program("#!/bin/sh\nuntil [ -e enough ]; do sleep 0.01; done\n");
        let (cancel, mut out) = (Cancel::new(), Peer(dir.path().join("enough"), vec![]));
        let terms = Terms {
            cancel: &cancel,
            outlives_peer: false,
            timeout_ms: PATIENCE_MS,
            keepalive_ms: 1,
            grace_ms: PATIENCE_MS,
            own_stderr: false,
        };
        let ended = feed(&silent, None, &mut SideBand::large(&mut out), &terms);
        assert!(ended.is_success(), "{ended:?} {:?}", String::from_utf8_lossy(&out.1));
    }

    #[test]
    fn it_starts_as_any_process_does() {
        // No descriptor of ours, SIGPIPE not ignored as it is with us, nothing blocked, a group of its own. A shell that starts
        // something blocks signals for a moment: it looks at itself without help.
        let (dir, program) = program(
            "#!/bin/sh\nfor fd in 3 4 5 6 7 8 9 10 11 12; do [ -e /proc/$$/fd/$fd ] && readlink /proc/$$/fd/$fd; done\n\
             while read line; do case $line in SigIgn:*|SigBlk:*) echo \"$line\";; esac; done </proc/$$/status\nset -- $(cat /proc/$$/stat); [ \"$5\" = $$ ] && echo leader\n",
        );
        let ours = std::fs::File::create(dir.path().join("ours")).expect("created");
        let (ended, said) = run(&program, None, PATIENCE_MS);
        drop(ours);
        assert!(ended.is_success() && said.contains("leader") && !said.contains("/ours"), "{said}");
        let mask = |text: &str, name: &str| {
            let rest = text.split_once(name).expect("a line").1.trim_start();
            u64::from_str_radix(&rest[..16], 16).expect("a mask")
        };
        let ours = std::fs::read_to_string("/proc/self/status").expect("there");
        assert_eq!(mask(&ours, "SigIgn:") & 0x1000, 0x1000);
        assert_eq!((mask(&said, "SigIgn:"), mask(&said, "SigBlk:")), (mask(&ours, "SigIgn:") & !0x1000, 0), "{said}");
    }

    #[test]
    fn a_script_that_names_no_interpreter_goes_to_the_shell_and_nonsense_is_told() {
        let (_dir, script) = program("echo \"$1\" from sh\n");
        let script = Program { args: vec!["word".into()], ..script };
        let (ended, said) = run(&script, None, PATIENCE_MS);
        assert!(ended.is_success() && said.contains("word from sh"), "{ended:?} {said}");
        let (_dir, nonsense) = program("#!/no/such/interpreter\n");
        let ended = run(&nonsense, None, PATIENCE_MS).0;
        let complaint = ended.complaint("hooks/it", 0).expect("a complaint");
        assert!(complaint.starts_with("cannot run hooks/it: No such file"), "{complaint}");
        let (_dir, killed) = program("#!/bin/sh\nkill -TERM $$\n");
        let ended = run(&killed, None, PATIENCE_MS).0;
        assert_eq!(ended.complaint("hooks/it", 0).as_deref(), Some("hooks/it died of signal 15"));
    }

    #[test]
    fn a_talk_ends_when_the_program_has_whoever_holds_the_other_ends() {
        let (_dir, parent) = program("#!/bin/sh\nread line; echo \"got $line\"\nsleep 1000 2>&- & \nexit 0\n");
        let cancel = Cancel::new();
        let terms = Terms {
            cancel: &cancel,
            outlives_peer: false,
            timeout_ms: PATIENCE_MS,
            keepalive_ms: 0,
            grace_ms: PATIENCE_MS,
            own_stderr: false,
        };
        let talk = |mut input: Patient<ChildStdin>, mut output: Patient<ChildStdout>| {
            input.write_all(b"this\n").expect("it reads");
            let mut heard = vec![];
            let end = output.read_to_end(&mut heard);
            (String::from_utf8_lossy(&heard).into_owned(), end.is_err())
        };
        let begun = Instant::now();
        let (ended, said) = talk_to(&parent, &mut SideBand::large(vec![]), &terms, talk);
        assert!(ended.is_success() && begun.elapsed() < Duration::from_secs(50), "{ended:?}");
        assert_eq!(said, Some(("got this\n".to_owned(), true)));
    }
}
