//! Pushers that vanish at any byte, or send and take one byte at a time: nothing is left of them, in the repository or in the
//! process. Alone in its file, because it counts what its process holds.

mod common;
#[allow(dead_code)] // each file of tests uses a part
#[path = "crash/rig.rs"]
mod rig;

use common::{Vanishing, check};
use packmule::base::Cancel;
use packmule::serve::{OpenGate, Options, receive_pack};
use packmule::store::{ConfigScope, Repository, checkpoint_idle};
use rig::{Rig, SHAPES};
use std::io::{Read, Write};
use std::path::Path;
use std::time::{Duration, Instant};

/// For what has been let go to be gone.
const PATIENCE: Duration = Duration::from_secs(60);
/// What a process may have grown by, over all pushes: parts of the heap that are free, and not given back.
const GROWTH_BYTES_MAX: u64 = 16 << 20;

/// Gives and takes one byte at a time.
struct Dribble<T>(T);

impl<T: Read> Read for Dribble<T> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let few = buffer.len().min(1);
        self.0.read(&mut buffer[..few])
    }
}

impl<T: Write> Write for Dribble<T> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.write(&bytes[..bytes.len().min(1)])
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

fn push(server: &Path, input: impl Read + Send, output: impl Write) -> bool {
    let repository = Repository::open(server, ConfigScope::RepositoryOnly).expect("a repository");
    receive_pack(&repository, &OpenGate, &Options::default(), input, output, &Cancel::new()).is_ok()
}

/// Descriptors, threads and bytes of memory of this process.
fn held() -> [u64; 3] {
    let count = |folder: &str| std::fs::read_dir(folder).map_or(0, Iterator::count) as u64;
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux");
    let rss = status.lines().find_map(|line| line.strip_prefix("VmRSS:")?.split_whitespace().next()?.parse::<u64>().ok());
    [count("/proc/self/fd"), count("/proc/self/task"), rss.expect("it is told") * 1024]
}

#[test]
fn pushers_that_vanish_at_any_byte_leave_nothing_behind() {
    let rig = Rig::new();
    let edits = SHAPES[3].edits;
    let request = rig.request_of(edits);
    let server = rig.server("dribble.git");
    let mut whole = vec![];
    assert!(push(&server, Dribble(&request[..]), Dribble(&mut whole)));
    assert!(edits.iter().all(|(name, ..)| String::from_utf8_lossy(&whole).contains(&format!("ok {name}\n"))));
    assert_eq!(rig.happened(&rig.stored(&server), edits), Some(edits.len()));

    let server = rig.server("silent.git");
    let stored = rig.stored(&server);
    push(&server, &request[..request.len() - 1], vec![]); // the file on which pushes wait in turn stays
    let (files, before) = (check::files(&server), held());
    for said in 0..request.len() {
        push(&server, &request[..said], vec![]);
        assert_eq!(check::files(&server), files, "{said} of {} bytes were said", request.len());
    }
    assert_eq!(rig.stored(&server), stored);
    // One who does not hear of it may have pushed all the same; what was to be heard before the request came is another matter.
    for heard in (0..whole.len()).step_by(23) {
        let server = rig.server("deaf.git");
        push(&server, &request[..], Vanishing(heard));
        checkpoint_idle(Duration::ZERO);
        check::tidy(&server);
        let happened = rig.happened(&rig.stored(&server), edits);
        assert!(
            matches!(happened, Some(count) if count == 0 || count == edits.len()),
            "{heard} of {} bytes heard: {happened:?}",
            whole.len()
        );
    }
    let begun = Instant::now();
    // A thread that has been waited for may be listed a moment longer.
    while (0..2).any(|at| held()[at] > before[at]) && begun.elapsed() < PATIENCE {
        std::thread::sleep(Duration::from_millis(10));
    }
    let now = held();
    assert!(now[0] <= before[0] && now[1] <= before[1], "descriptors, threads, bytes: {before:?} before, {now:?} now");
    assert!(now[2] <= before[2] + GROWTH_BYTES_MAX, "descriptors, threads, bytes: {before:?} before, {now:?} now");
    check::sound(&rig.sandbox, &server);
    rig.retry(&server, edits, "after all of them");
}
