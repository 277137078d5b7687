//! Promises that only a crash can prove: pushes killed at system calls, machines that lose power, disks that fail or are full.

mod common;
#[path = "crash/power.rs"]
mod power;
#[path = "crash/rig.rs"]
mod rig;

use common::fixture::Random;
use common::{Sandbox, check, run, run_with_input, skipped, write_program};
use rig::{CALLS, Edit, Rig, SHAPES, Shape, has_strace, is_acknowledged};
use std::path::Path;
use std::process::Command;

/// The push that is killed, on a server that has journaled one before.
fn server_with_a_journal(rig: &Rig, name: &str) -> std::path::PathBuf {
    let server = rig.server(name);
    rig.push(&server, &[("refs/heads/before", None, Some(0))]);
    server
}

/// Kill the push on entry to its `at`th `call`, then ask everybody; whether it came to its end before that.
fn survives_a_kill(rig: &Rig, shape: &Shape, call: &str, at: usize, git_between: bool) -> bool {
    let what = format!("{}, killed at {call} {at}, git between: {git_between}", shape.what);
    let server = server_with_a_journal(rig, "killed.git");
    let inject = format!("inject={call}:signal=KILL:when={at}");
    let output = rig.receive(&server, &["-o", "/dev/null", "-e", &inject], &rig.request_of(shape.edits));
    let ended = output.status.success();
    let acknowledged = is_acknowledged(&output, shape.edits[0].0);
    assert!(!ended || acknowledged, "{what}: {output:?}");

    let stored = rig.stored(&server);
    assert!(rig.happened(&stored, shape.edits).is_some(), "{what}: a ref is neither old nor new for stock git: {stored:?}");
    assert_eq!(check::complaints(&rig.sandbox, &server), [""; 0], "{what}");
    if git_between {
        rig.use_git(&server);
    }
    let shown = rig.shown(&server);
    let happened = rig.happened(&shown, shape.edits);
    assert!(happened == Some(shape.edits.len()) || happened == Some(0) && !acknowledged, "{what}: {shown:?}");
    rig.retry(&server, shape.edits, &what);
    if git_between {
        assert_eq!(rig.stored(&server).get("refs/heads/of-git"), Some(&rig.commits[1]), "{what}");
    }
    ended
}

#[test]
fn after_a_kill_at_some_system_calls_a_push_has_happened_or_not_and_succeeds_when_retried() {
    if !has_strace() {
        return;
    }
    let rig = Rig::new();
    let all_in_one = &SHAPES[3];
    for (call, ats) in [
        ("linkat", &[1, 4, 9][..]),
        ("rename", &[1, 4, 5, 7]),
        ("unlink", &[1, 2, 4]),
        ("fdatasync", &[1]),
        ("pwrite64", &[1, 2, 3, 4, 5]),
        ("openat", &[30]),
        ("write", &[3]),
        ("flock", &[5]),
    ] {
        for at in ats {
            survives_a_kill(&rig, all_in_one, call, *at, at % 2 == 1);
        }
    }
    for shape in SHAPES[..3].iter().chain(&SHAPES[4..]) {
        survives_a_kill(&rig, shape, "pwrite64", 3, false);
        survives_a_kill(&rig, shape, "pwrite64", 4, true);
    }
    for (call, ats) in [("linkat", &[3, 4, 8, 9][..]), ("unlink", &[1, 3]), ("fdatasync", &[1, 2])] {
        for at in ats {
            survives_a_kill(&rig, &SHAPES[4], call, *at, at % 2 == 0);
        }
    }
}

#[test]
#[ignore = "takes many minutes"]
fn after_a_kill_at_any_system_call_a_push_has_happened_or_not_and_succeeds_when_retried() {
    if !has_strace() {
        return;
    }
    let rig = Rig::new();
    for (shape, git_between) in SHAPES.iter().zip([false, true, false, true, true]) {
        for call in CALLS {
            let kills = (1..).take_while(|at| !survives_a_kill(&rig, shape, call, *at, git_between)).count();
            eprintln!("{}: {kills} kills at {call}", shape.what);
        }
    }
}

/// Kill this push when it is about to replace the file `shallow`.
fn kill_before_the_cut(rig: &Rig, server: &Path, edits: &[Edit]) {
    let path = server.join("shallow.lock").display().to_string();
    let output = rig.receive(server, &["-o", "/dev/null", "-P", &path, "-e", "inject=rename:signal=KILL:when=1"], &rig.request_of(edits));
    assert!(!is_acknowledged(&output, edits[0].0), "{output:?}");
}

#[test]
fn stock_gc_between_a_kill_and_the_replay_keeps_a_ref_whole_whose_history_is_cut_off() {
    if !has_strace() {
        return;
    }
    let rig = Rig::new();
    let edits = SHAPES[4].edits;
    let mut pruned = 0;
    // Before the file changes, before each ref's does.
    for at in 0..3usize {
        let server = server_with_a_journal(&rig, "cut.git");
        if at == 0 {
            kill_before_the_cut(&rig, &server, edits);
        } else {
            let inject = format!("inject=linkat:signal=KILL:when={}", at + 8);
            rig.receive(&server, &["-o", "/dev/null", "-e", &inject], &rig.request_of(edits));
        }
        let (stored, was_cut) = (rig.happened(&rig.stored(&server), edits), rig.is_cut(&server, 3));
        assert_eq!((stored, was_cut), (Some(at.saturating_sub(1)), at > 0), "kill {at}");
        assert_eq!(rig.happened(&rig.shown(&server), edits), Some(2), "kill {at}");
        rig.use_git(&server);
        assert_eq!(rig.happened(&rig.shown(&server), edits), Some(2), "kill {at}");
        pruned += usize::from(stored == Some(0) && was_cut && !rig.is_cut(&server, 3));
        // Readers are told where history ends, whatever the file says.
        let clone = rig.clone(&server, &format!("clone-{at}"));
        assert!(rig.is_cut(&clone, 3), "kill {at}");
        check::sound(&rig.sandbox, &clone);
        rig.push(&server, &[("refs/heads/after", None, Some(0))]);
        assert_eq!(rig.happened(&rig.stored(&server), edits), Some(2), "kill {at}");
        assert!(rig.is_cut(&server, 3), "kill {at}");
        check::sound(&rig.sandbox, &server);
    }
    assert!(pruned > 0, "git drops what no ref reaches");
}

#[test]
fn a_recovery_that_cannot_cut_history_off_holds_up_only_those_refs_that_need_it() {
    if !has_strace() {
        return;
    }
    let rig = Rig::new();
    let edits = SHAPES[4].edits;
    for power_cut in [false, true] {
        let server = server_with_a_journal(&rig, "cut.git");
        let before = rig.sandbox.copy(&server, &format!("before-{power_cut}.git"));
        let mut later = vec![];
        if power_cut {
            // What is lost is looked over: what needs the line, what touches the same refs, and what has nothing to do with it.
            rig.push(&server, &[("refs/heads/cut-too", None, Some(0)), ("refs/heads/beside", None, Some(0))]);
            rig.push(&server, &[("refs/heads/cut", None, Some(3)), ("refs/heads/cut-too", Some(0), Some(3))]);
            rig.push(&server, &[("refs/heads/built-on-it", None, Some(3))]);
            rig.push(&server, &[("refs/heads/free", None, Some(1))]);
            power::lose(&before, &server, None);
            later.extend([("refs/heads/free", None, Some(1))]);
        } else {
            kill_before_the_cut(&rig, &server, edits);
        }
        let lock = server.join("shallow.lock");
        let _ = std::fs::remove_file(&lock); // the dead push's own
        std::fs::write(&lock, "of somebody else").expect("written");
        rig.push(&server, &[("refs/heads/other", None, Some(0))]);
        later.push(("refs/heads/other", None, Some(0)));
        for needs_it in [Some("refs/heads/needs-it"), None] {
            let stored = rig.stored(&server);
            assert_eq!((rig.happened(&stored, edits), rig.happened(&stored, &later)), (Some(0), Some(later.len())), "{stored:?}");
            assert!(!stored.contains_key("refs/heads/built-on-it") && !stored.contains_key("refs/heads/beside"), "{stored:?}");
            assert_eq!(rig.happened(&rig.shown(&server), edits), Some(2), "readers see it all the while");
            let Some(needs_it) = needs_it else { continue };
            let refused = rig.receive(&server, &[], &rig.request_of(&[(needs_it, None, Some(3))]));
            assert!(String::from_utf8_lossy(&refused.stdout).contains("shallow.lock is held by another process"), "{refused:?}");
        }
        assert_eq!(std::fs::read(&lock).expect("survives"), b"of somebody else");
        std::fs::remove_file(&lock).expect("let go");
        rig.retry(&server, edits, "the lock is gone");
        assert!(rig.is_cut(&server, 3));
        let all = [("refs/heads/beside", None, Some(0)), ("refs/heads/built-on-it", None, Some(3))];
        assert_eq!(rig.happened(&rig.stored(&server), &all), Some(if power_cut { 2 } else { 0 }), "{:?}", rig.stored(&server));
    }
}

/// Kill a push when its line stands in the file `shallow` and none of its refs has changed.
fn cut_and_not_applied(rig: &Rig, edits: &[Edit]) -> std::path::PathBuf {
    for at in 6..20 {
        let server = server_with_a_journal(rig, "cut.git");
        rig.receive(&server, &["-o", "/dev/null", "-e", &format!("inject=linkat:signal=KILL:when={at}")], &rig.request_of(edits));
        if rig.is_cut(&server, 3) && rig.happened(&rig.stored(&server), edits) == Some(0) {
            return server;
        }
    }
    panic!("no kill leaves only the line");
}

#[test]
fn a_line_that_was_taken_out_when_all_history_had_come_does_not_come_again() {
    if !has_strace() {
        return;
    }
    let rig = Rig::new();
    let edits = SHAPES[4].edits;
    for (acknowledged, same_boot) in [(true, false), (false, false), (false, true)] {
        let what = format!("acknowledged: {acknowledged}, same boot: {same_boot}");
        let server = if acknowledged {
            let server = server_with_a_journal(&rig, "cut.git");
            rig.push(&server, edits);
            server
        } else {
            cut_and_not_applied(&rig, edits)
        };
        assert!(rig.is_cut(&server, 3), "{what}");
        let url = format!("file://{}", rig.sandbox.path("whole-3").display());
        rig.sandbox.git(&server, ["fetch", "-q", "--unshallow", &url, "HEAD"]);
        assert!(!server.join("shallow").exists(), "{what}");
        if !same_boot {
            power::forget_the_boot(&server);
            let folder = rig.sandbox.path("read-only.git");
            with_mounted(&["-o", "bind,ro"], &server, &folder, || {
                assert_eq!(rig.happened(&rig.shown(&folder), edits), Some(2), "{what}");
                let output = rig.clone(&folder, "clone-of-read-only.git");
                assert!(!output.join("shallow").exists(), "{what}: readers are told of all history");
            });
        }
        rig.push(&server, &[("refs/heads/after", None, Some(0))]);
        assert_eq!(rig.happened(&rig.stored(&server), edits), Some(2), "{what}");
        assert!(!server.join("shallow").exists(), "{what}");
        rig.sandbox.git(&server, ["gc", "-q", "--prune=now"]);
        let count = |folder: &Path, rev: &str| rig.sandbox.git(folder, ["rev-list", "--count", rev]);
        assert_eq!(count(&server, "refs/heads/cut"), count(&rig.sandbox.path("whole-3"), "HEAD"), "{what}: nothing was lost");
        check::sound(&rig.sandbox, &server);
    }
}

#[test]
fn a_ref_that_comes_again_after_a_power_cut_brings_its_line_though_stock_git_wrote_the_file_since() {
    let rig = Rig::new();
    let server = rig.server("cut.git");
    rig.push(&server, &[("refs/heads/was-cut", None, Some(4))]);
    let before = rig.sandbox.copy(&server, "before.git");
    let edits = [("refs/heads/loose", Some(0), Some(3))];
    rig.push(&server, &edits);
    // The ref's rename is lost, that of `shallow` is not; then git drops the line that no ref needs.
    let (was, is) = (before.join("refs/heads/loose"), server.join("refs/heads/loose"));
    std::fs::copy(&was, &is).expect("copied");
    let set_time =
        |path: &Path, time| std::fs::File::options().write(true).open(path).and_then(|file| file.set_modified(time)).expect("set");
    set_time(&is, std::fs::metadata(&was).and_then(|meta| meta.modified()).expect("has one"));
    rig.sandbox.git(&server, ["prune"]);
    assert!(!rig.is_cut(&server, 3) && rig.is_cut(&server, 4));
    set_time(&server.join("shallow"), std::time::SystemTime::now() + std::time::Duration::from_secs(600));
    power::forget_the_boot(&server);
    rig.push(&server, &[("refs/heads/after", None, Some(0))]);
    assert_eq!(rig.happened(&rig.stored(&server), &edits), Some(1));
    assert!(rig.is_cut(&server, 3) && rig.is_cut(&server, 4));
    check::sound(&rig.sandbox, &server);
}

/// Kill a push between two refs: readers of ours see it, its files have one half.
fn half_applied(rig: &Rig) -> std::path::PathBuf {
    for at in 1..40 {
        let server = server_with_a_journal(rig, "half.git");
        let inject = format!("inject=rename:signal=KILL:when={at}");
        rig.receive(&server, &["-o", "/dev/null", "-e", &inject], &rig.request_of(SHAPES[3].edits));
        let (shown, stored) = (rig.happened(&rig.shown(&server), SHAPES[3].edits), rig.happened(&rig.stored(&server), SHAPES[3].edits));
        if shown == Some(5) && stored.is_some_and(|stored| (1..4).contains(&stored)) {
            return server;
        }
    }
    panic!("no kill leaves one half");
}

#[test]
fn a_lock_of_another_program_survives_and_is_named_and_what_waits_for_it_comes_later() {
    if !has_strace() {
        return;
    }
    let rig = Rig::new();
    let server = half_applied(&rig);
    let lock = server.join("refs/heads/new/folder/x.lock");
    std::fs::remove_file(&lock).expect("the dead push's own");
    std::fs::write(&lock, "of somebody else").expect("written");
    let refused = rig.receive(&server, &[], &rig.request_of(&[("refs/heads/new/folder/x", Some(2), Some(1))]));
    let said = String::from_utf8_lossy(&refused.stdout).into_owned();
    assert!(said.contains("ng refs/heads/new/folder/x") && said.contains("refs/heads/new/folder/x.lock"), "{said}");
    assert_eq!(std::fs::read(&lock).expect("survives"), b"of somebody else");
    rig.push(&server, &[("refs/heads/other", None, Some(0))]);
    assert_eq!(rig.happened(&rig.shown(&server), SHAPES[3].edits), Some(5), "readers see it all the while");
    std::fs::remove_file(&lock).expect("let go");
    rig.push(&server, &[("refs/heads/another", None, Some(0))]);
    assert_eq!(rig.happened(&rig.stored(&server), SHAPES[3].edits), Some(5));
    check::sound(&rig.sandbox, &server);
}

#[test]
fn a_server_that_starts_brings_to_its_end_what_a_crash_left_and_removes_only_that() {
    if !has_strace() {
        return;
    }
    let rig = Rig::new();
    let server = half_applied(&rig);
    std::fs::create_dir(server.join("objects/tmp_objdir-incoming-of-git")).expect("made");
    std::fs::write(server.join("refs/heads/other.lock"), "").expect("written");
    let repository = packmule::store::Repository::open(&server, packmule::store::ConfigScope::RepositoryOnly).expect("opens");
    assert_eq!(packmule::store::sweep(&repository).expect("no fault"), 1);
    assert_eq!(rig.happened(&rig.stored(&server), SHAPES[3].edits), Some(5));
    std::fs::remove_dir(server.join("objects/tmp_objdir-incoming-of-git")).expect("not ours, so it stays");
    std::fs::remove_file(server.join("refs/heads/other.lock")).expect("not ours, so it stays");
    check::sound(&rig.sandbox, &server);
}

#[test]
fn a_recovery_that_is_killed_is_done_again() {
    if !has_strace() {
        return;
    }
    let rig = Rig::new();
    let half = half_applied(&rig);
    let before = rig.server("base-again.git");
    let acknowledged_edits = {
        let after = rig.sandbox.copy(&before, "acknowledged.git");
        acknowledged(&rig, &after)
    };
    for (call, ats) in [("rename", &[1, 2, 3][..]), ("linkat", &[1, 3, 6]), ("pwrite64", &[1, 2]), ("unlink", &[1, 3]), ("openat", &[40])] {
        for at in ats {
            let inject = format!("inject={call}:signal=KILL:when={at}");
            let kill = |server: &Path| {
                drop(rig.receive(server, &["-o", "/dev/null", "-e", &inject], &rig.request_of(&[("refs/heads/z", None, Some(0))])))
            };
            let what = format!("recovery killed at {call} {at}");
            let _ = std::fs::remove_dir_all(rig.sandbox.path("again.git"));
            let server = rig.sandbox.copy(&half, "again.git");
            kill(&server);
            assert_eq!(rig.happened(&rig.shown(&server), SHAPES[3].edits), Some(5), "{what}");
            rig.retry(&server, SHAPES[3].edits, &what);

            let _ = std::fs::remove_dir_all(rig.sandbox.path("cut.git"));
            let cut = rig.sandbox.copy(&rig.sandbox.path("acknowledged.git"), "cut.git");
            power::lose(&before, &cut, Some(&mut Random(*at as u64)));
            kill(&cut);
            rig.push(&cut, &[("refs/heads/after", None, Some(0))]);
            let stored = rig.stored(&cut);
            assert_eq!(rig.happened(&stored, &acknowledged_edits), Some(acknowledged_edits.len()), "{what}, power cut: {stored:?}");
            check::sound(&rig.sandbox, &cut);
        }
    }
}

/// Three pushes that were acknowledged: small, thin and over several refs, and one that is too big for the journal.
fn acknowledged(rig: &Rig, server: &Path) -> Vec<Edit> {
    rig.push(server, &[("refs/heads/first", None, Some(0))]);
    rig.push(server, SHAPES[3].edits);
    rig.push(server, &[("refs/heads/first", Some(0), Some(1)), ("refs/heads/second", None, Some(2))]);
    let mut edits = SHAPES[3].edits.to_vec();
    edits.extend([("refs/heads/first", Some(0), Some(1)), ("refs/heads/second", None, Some(2))]);
    rig.push(server, SHAPES[4].edits);
    edits.extend(SHAPES[4].edits);
    edits
}

#[test]
fn after_a_power_cut_every_acknowledged_push_is_there() {
    let rig = Rig::new();
    let before = rig.server("before.git");
    let was_cut = [("refs/heads/was-cut", None, Some(4))];
    rig.push(&before, &was_cut);
    let after = rig.sandbox.copy(&before, "after.git");
    let edits = [&was_cut[..], &acknowledged(&rig, &after)].concat();
    for seed in 0..24u64 {
        let _ = std::fs::remove_dir_all(rig.sandbox.path("cut.git"));
        let cut = rig.sandbox.copy(&after, "cut.git");
        let mut random = Random(seed);
        match seed {
            0 => power::lose(&before, &cut, None),
            _ if seed % 2 == 0 => power::tear(&before, &cut, &mut random),
            _ => power::lose(&before, &cut, Some(&mut random)),
        }
        if seed % 3 == 0 {
            rig.push(&cut, &[("refs/heads/third", None, Some(0))]);
        }
        let shown = rig.shown(&cut);
        assert_eq!(rig.happened(&shown, &edits), Some(edits.len()), "seed {seed}: {shown:?}");
        assert_eq!(rig.happened(&rig.stored(&cut), &edits), Some(edits.len()), "seed {seed}: in files");
        assert!(rig.is_cut(&cut, 3) && rig.is_cut(&cut, 4), "seed {seed}");
        check::sound(&rig.sandbox, &cut);
        rig.push(&cut, &[("refs/heads/fourth", None, Some(1))]);
    }
}

#[test]
fn one_who_may_only_read_sees_what_was_pushed_before_a_power_cut() {
    let rig = Rig::new();
    let before = rig.server("before.git");
    let cut = rig.sandbox.copy(&before, "cut.git");
    let edits = acknowledged(&rig, &cut);
    power::tear(&before, &cut, &mut Random(7));
    let journal = std::fs::read(cut.join("packmule-journal")).expect("reads");
    let folder = rig.sandbox.path("read-only.git");
    with_mounted(&["-o", "bind,ro"], &cut, &folder, || {
        assert!(std::fs::write(folder.join("x"), "").is_err(), "it cannot be written");
        assert_eq!(rig.happened(&rig.shown(&folder), &edits), Some(edits.len()), "{:?}", rig.shown(&folder));
    });
    assert_eq!(std::fs::read(cut.join("packmule-journal")).expect("reads"), journal, "and leaves it for who may write");
    rig.push(&cut, &[("refs/heads/after", None, Some(0))]);
    assert_eq!(rig.happened(&rig.stored(&cut), &edits), Some(edits.len()));
    check::sound(&rig.sandbox, &cut);
}

#[test]
fn a_power_cut_in_the_midst_of_a_push_leaves_all_of_it_or_nothing() {
    if !has_strace() {
        return;
    }
    let rig = Rig::new();
    let mut seed = 0;
    let shallow = [("fdatasync", &[1, 2][..]), ("pwrite64", &[1, 2, 4]), ("linkat", &[8, 9])].map(|kill| (SHAPES[4].edits, kill));
    let others = [("linkat", &[3, 8][..]), ("fdatasync", &[1]), ("pwrite64", &[1, 2, 4]), ("rename", &[4, 5]), ("unlink", &[1, 3])];
    for (edits, (call, ats)) in others.map(|kill| (SHAPES[3].edits, kill)).into_iter().chain(shallow) {
        for at in ats {
            let before = server_with_a_journal(&rig, "before.git");
            let _ = std::fs::remove_dir_all(rig.sandbox.path("killed.git"));
            let server = rig.sandbox.copy(&before, "killed.git");
            let inject = format!("inject={call}:signal=KILL:when={at}");
            let output = rig.receive(&server, &["-o", "/dev/null", "-e", &inject], &rig.request_of(edits));
            assert!(!is_acknowledged(&output, edits[0].0), "{call} {at} is before the report");
            for lost in [false, true] {
                if lost && power::was_synced(&before, &server) {
                    continue;
                }
                seed += 1;
                let what = format!("{call} {at}, seed {seed}, journal as before: {lost}");
                let _ = std::fs::remove_dir_all(rig.sandbox.path("cut.git"));
                let cut = rig.sandbox.copy(&server, "cut.git");
                if lost {
                    // Nothing of the commit is on disk; what was written later may well be.
                    std::fs::copy(before.join("packmule-journal"), cut.join("packmule-journal")).expect("copied");
                }
                power::tear(&before, &cut, &mut Random(seed));
                let happened = rig.happened(&rig.shown(&cut), edits);
                assert!(happened == Some(0) || happened == Some(edits.len()) && !lost, "{what}: {:?}", rig.shown(&cut));
                rig.retry(&cut, edits, &what);
            }
        }
    }
}

/// The recorded system calls of one push, in order.
fn recorded(rig: &Rig, server: &Path, request: &[u8]) -> Vec<String> {
    let trace = rig.sandbox.path("trace");
    let calls = "trace=fsync,fdatasync,syncfs,sync,write,pwrite64,rename,linkat";
    let output = rig.receive(server, &["-y", "-s", "300", "-e", calls, "-o", &trace.display().to_string()], request);
    assert!(output.status.success(), "{output:?}");
    std::fs::read_to_string(trace).expect("reads").lines().map(str::to_owned).collect()
}

fn count(trace: &[String], words: &[&str]) -> usize {
    trace.iter().filter(|line| words.iter().any(|word| line.contains(word))).count()
}

const SYNCS: [&str; 4] = ["fsync(", "fdatasync(", "syncfs(", " sync("];

fn position(trace: &[String], what: &str, is: impl Fn(&str) -> bool) -> usize {
    trace.iter().rposition(|line| is(line)).unwrap_or_else(|| panic!("no {what} in {trace:#?}"))
}

#[test]
fn what_is_reported_was_synced_before_with_one_sync_for_a_small_push() {
    if !has_strace() {
        return;
    }
    let rig = Rig::new();
    let server = server_with_a_journal(&rig, "traced.git");
    let trace = recorded(&rig, &server, &rig.request_of(&[("refs/heads/loose", Some(0), Some(2)), ("refs/heads/more", None, Some(1))]));
    let commit = position(&trace, "commit", |line| line.contains("pwrite64(") && line.contains("refs/heads/loose"));
    let sync = position(&trace, "sync", |line| line.contains("fdatasync(") && line.contains("packmule-journal"));
    let renamed = position(&trace, "rename", |line| line.contains("rename(") && line.contains("refs/heads/loose"));
    let report = position(&trace, "report", |line| line.contains("unpack ok"));
    assert!(commit < sync && sync < renamed && renamed < report, "{trace:#?}");
    assert_eq!(count(&trace, &SYNCS), 1, "{trace:#?}");

    // Stock git, told to be as careful as it can.
    let request = rig.request_of(&[("refs/heads/loose", Some(0), Some(2)), ("refs/heads/more", None, Some(1))]);
    let theirs = syncs_of_git(&rig, &request);
    eprintln!("syncs of one small push: ours 1, git's with core.fsync=all {theirs}");
    assert!(theirs > 1);
}

#[test]
fn a_push_that_cuts_history_off_syncs_the_lines_of_others_once_more_and_nothing_else() {
    if !has_strace() {
        return;
    }
    let rig = Rig::new();
    let server = server_with_a_journal(&rig, "traced.git");
    let trace = recorded(&rig, &server, &rig.request_of(SHAPES[4].edits));
    let staged = position(&trace, "sync of the lines", |line| line.contains("fdatasync(") && line.contains("lock-shallow"));
    let commit = position(&trace, "commit", |line| line.contains("pwrite64(") && line.contains("refs/heads/cut-too"));
    let sync = position(&trace, "sync", |line| line.contains("fdatasync(") && line.contains("packmule-journal"));
    let cut = position(&trace, "cut", |line| line.contains("rename(") && line.contains("shallow.lock"));
    let renamed = position(&trace, "rename", |line| line.contains("rename(") && line.contains("refs/heads/cut"));
    let report = position(&trace, "report", |line| line.contains("unpack ok"));
    assert!([staged, commit, sync, cut, renamed, report].is_sorted(), "{trace:#?}");
    assert_eq!(count(&trace, &SYNCS), 2, "{trace:#?}");
}

#[test]
fn what_a_hook_wrote_is_on_disk_before_the_report() {
    if !has_strace() {
        return;
    }
    let rig = Rig::new();
    let server = server_with_a_journal(&rig, "traced.git");
    let hook = "#!/bin/sh\necho of the hook | git hash-object -w --stdin >id\n";
    write_program(&server.join("hooks/pre-receive"), hook);
    let trace = recorded(&rig, &server, &rig.request_of(&[("refs/heads/loose", Some(0), Some(2))]));
    let id = std::fs::read_to_string(server.join("id")).expect("it ran").trim().to_owned();
    assert_eq!(rig.sandbox.git(&server, ["cat-file", "-p", &id]), "of the hook");
    let (folder, file) = id.split_at(2);
    let synced = position(&trace, "sync", |line| line.contains("fsync(") && line.contains(&format!("/{folder}/{file}>")));
    let linked = position(&trace, "link", |line| line.contains("linkat(") && line.contains(&format!("/objects/{folder}/{file}")));
    let named = position(&trace, "sync of names", |line| line.contains("fsync(") && line.contains(&format!("/objects/{folder}>")));
    let report = position(&trace, "report", |line| line.contains("unpack ok"));
    assert!([synced, linked, named, report].is_sorted(), "{trace:#?}");
    check::sound(&rig.sandbox, &server);
}

/// How often stock git syncs for this push when it is told to be as careful as it can.
fn syncs_of_git(rig: &Rig, request: &[u8]) -> usize {
    let (server, trace) = (rig.server("theirs.git"), rig.sandbox.path("trace"));
    let mut command = rig.sandbox.command("strace");
    command.args(["-f", "-qq", "-e", "trace=fsync,fdatasync,syncfs,sync", "-o"]).arg(&trace);
    command.args(["git", "-c", "core.fsync=all", "receive-pack"]).arg(&server);
    let output = run_with_input(&mut command, request);
    assert!(output.status.success(), "{output:?}");
    let lines: Vec<String> = std::fs::read_to_string(trace).expect("reads").lines().map(str::to_owned).collect();
    count(&lines, &SYNCS)
}

/// A push of half a megabyte and more that does not compress.
fn big_push(rig: &Rig) -> (String, Vec<u8>) {
    let work = rig.sandbox.work_tree("big", "sha1");
    let commit = rig.sandbox.commit_file(&work, "big", Random(1).bytes(700 << 10));
    let pack = run_with_input(&mut rig.sandbox.git_command(&work, ["pack-objects", "-q", "--stdout", "--revs"]), commit.as_bytes()).stdout;
    let mut request = rig.request(&[("refs/heads/big", None, Some(commit.clone()))]);
    request.extend(pack);
    (commit, request)
}

#[test]
fn a_big_pack_is_synced_by_itself_and_survives_a_power_cut() {
    if !has_strace() {
        return;
    }
    let rig = Rig::new();
    let (commit, request) = big_push(&rig);
    let before = server_with_a_journal(&rig, "before.git");
    let after = rig.sandbox.copy(&before, "after.git");
    let trace = recorded(&rig, &after, &request);
    let journal = position(&trace, "journal", |line| line.contains("fdatasync(") && line.contains("packmule-journal"));
    for synced in [".pack>", "objects/pack>"] {
        assert!(position(&trace, synced, |line| line.contains("fsync(") && line.contains(synced)) < journal, "{trace:#?}");
    }
    assert!(journal < position(&trace, "report", |line| line.contains("unpack ok")), "{trace:#?}");
    let (ours, theirs) = (count(&trace, &SYNCS), syncs_of_git(&rig, &request));
    eprintln!("syncs of one big push: ours {ours}, git's with core.fsync=all {theirs}");
    assert!(ours < theirs, "{trace:#?}");
    for seed in 0..6 {
        let _ = std::fs::remove_dir_all(rig.sandbox.path("cut.git"));
        let cut = rig.sandbox.copy(&after, "cut.git");
        power::lose(&before, &cut, (seed > 0).then_some(&mut Random(seed)));
        assert_eq!(rig.shown(&cut).get("refs/heads/big"), Some(&commit), "seed {seed}");
        check::sound(&rig.sandbox, &cut);
    }
}

/// Push under a fault of the system; never is anything called done that is not, and what is refused has not happened.
fn meets_a_fault(rig: &Rig, fault: &str, edits: &[Edit]) -> (bool, std::path::PathBuf) {
    let server = server_with_a_journal(rig, "faulty.git");
    let output = rig.receive(&server, &["-o", "/dev/null", "-e", fault], &rig.request_of(edits));
    assert!(output.status.code().is_some(), "{fault}: it died: {output:?}");
    let acknowledged = is_acknowledged(&output, edits[0].0);
    let happened = rig.happened(&rig.shown(&server), edits);
    assert_eq!(happened, Some(if acknowledged { edits.len() } else { 0 }), "{fault}: {output:?}");
    assert_eq!(check::complaints(&rig.sandbox, &server), [""; 0], "{fault}");
    (acknowledged, server)
}

#[test]
fn faults_of_the_system_are_refusals_and_the_same_push_succeeds_later() {
    if !has_strace() {
        return;
    }
    let rig = Rig::new();
    let mut refusals = 0;
    for (call, error, ats) in [
        ("pwrite64", "ENOSPC", &[2, 3, 4][..]),
        ("write", "ENOSPC", &[4, 8]),
        ("linkat", "ENOSPC", &[1, 4, 9]),
        ("linkat", "EIO", &[3]),
        ("mkdir", "ENOSPC", &[1, 2]),
        ("rename", "EIO", &[1, 4, 5, 6]),
        ("openat", "EMFILE", &[30, 45, 60]),
    ] {
        for at in ats {
            let (acknowledged, server) = meets_a_fault(&rig, &format!("inject={call}:error={error}:when={at}"), SHAPES[3].edits);
            refusals += usize::from(!acknowledged);
            rig.retry(&server, SHAPES[3].edits, &format!("{call} {error} {at}"));
        }
    }
    assert!(refusals > 5, "the faults are met: {refusals}");
}

#[test]
fn a_sync_that_fails_is_never_tried_again_and_called_success() {
    if !has_strace() {
        return;
    }
    let rig = Rig::new();
    for error in ["EIO", "ENOSPC"] {
        let (acknowledged, server) = meets_a_fault(&rig, &format!("inject=fdatasync:error={error}:when=1"), SHAPES[3].edits);
        assert!(!acknowledged);
        let again = rig.receive(&server, &[], &rig.request_of(SHAPES[3].edits));
        assert!(!is_acknowledged(&again, "refs/heads/loose"), "{again:?}");
        let said = String::from_utf8_lossy(&again.stdout).into_owned();
        assert!(said.contains("disk") && said.contains("administrator"), "{said}");
        assert_eq!(rig.happened(&rig.shown(&server), SHAPES[3].edits), Some(0));
        check::sound(&rig.sandbox, &server);
        // After the next boot what is on disk can be looked at.
        power::forget_the_boot(&server);
        rig.retry(&server, SHAPES[3].edits, error);
    }
}

/// Do something in a file system that is mounted for it; `false`, said aloud, where that is not allowed.
fn with_mounted(args: &[&str], what: &Path, folder: &Path, work: impl FnOnce()) -> bool {
    std::fs::create_dir_all(folder).expect("made");
    let mounted = Command::new("mount").args(args).arg(what).arg(folder).output().is_ok_and(|output| output.status.success());
    if !mounted {
        skipped("only root may mount a disk, and only where there are loop devices");
        return false;
    }
    let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(work));
    assert!(Command::new("umount").arg(folder).status().expect("umount runs").success());
    if let Err(panic) = result {
        std::panic::resume_unwind(panic);
    }
    true
}

#[test]
fn a_full_disk_refuses_a_push_and_keeps_nothing_of_it() {
    let disk = Sandbox::new();
    for options in ["size=600k", "size=4m,nr_inodes=80"] {
        let folder = disk.path("disk");
        with_mounted(&["-t", "tmpfs", "-o", options], Path::new("none"), &folder, || fills_up(&folder));
    }
}

#[test]
fn a_disk_as_it_is_at_the_moment_of_the_report_has_the_push() {
    let rig = Rig::new();
    for make in [&["mkfs.ext4", "-q", "-F"][..], &["mkfs.xfs", "-q", "-f"], &["mkfs.btrfs", "-q", "-f"]] {
        let image = rig.sandbox.path("image");
        std::fs::File::create(&image).and_then(|file| file.set_len(320 << 20)).expect("made");
        if !Command::new(make[0]).args(&make[1..]).arg(&image).output().is_ok_and(|output| output.status.success()) {
            skipped(&format!("there is no {}", make[0]));
            continue;
        }
        let (disk, copied) = (rig.sandbox.path("disk"), rig.sandbox.path("disk-after-the-cut"));
        let steps: [&[Edit]; 3] = [&[("refs/heads/first", None, Some(0))], SHAPES[3].edits, &[("refs/heads/first", Some(0), Some(1))]];
        with_mounted(&["-o", "loop"], &image, &disk, || {
            let server = disk.join("server.git");
            assert!(Command::new("cp").arg("-a").arg(rig.server("template.git")).arg(&server).status().expect("cp runs").success());
            assert!(Command::new("sync").status().expect("sync runs").success());
            for at in 0..steps.len() {
                rig.push(&server, steps[at]);
                // What the file system has not written by now is lost.
                let cut = rig.sandbox.path("image-at-the-report");
                std::fs::copy(&image, &cut).expect("copied");
                let expected: Vec<Edit> = steps[..=at].iter().flat_map(|edits| edits.iter()).copied().collect();
                with_mounted(if make[0] == "mkfs.xfs" { &["-o", "loop,nouuid"] } else { &["-o", "loop"] }, &cut, &copied, || {
                    let server = copied.join("server.git");
                    power::forget_the_boot(&server);
                    let shown = rig.shown(&server);
                    for (name, _, new) in expected.iter().rev().take(steps[at].len()) {
                        assert_eq!(shown.get(*name), rig.id(*new).as_ref(), "{make:?}, push {at}: {shown:?}");
                    }
                    rig.push(&server, &[("refs/heads/later", None, Some(0))]);
                    check::sound(&rig.sandbox, &server);
                });
            }
        });
    }
}

fn fills_up(disk: &Path) {
    let rig = Rig::new();
    let (_, big) = big_push(&rig);
    let server = disk.join("full.git");
    assert!(Command::new("cp").arg("-a").arg(rig.server("template.git")).arg(&server).status().expect("cp runs").success());
    let mut refused = 0;
    for at in 0..400 {
        let before = check::files(&server).len();
        let name: &'static str = Box::leak(format!("refs/heads/n{at}/x").into_boxed_str());
        let output = rig.receive(&server, &[], &if at % 5 == 4 { big.clone() } else { rig.request_of(&[(name, None, Some(2))]) });
        if is_acknowledged(&output, name) {
            assert_eq!(rig.shown(&server).get(name), Some(&rig.commits[2]));
        } else if at % 5 != 4 {
            refused += 1;
            assert_eq!(rig.shown(&server).get(name), None);
            assert!(check::files(&server).len() <= before + 1, "a lock's file at the most: {:?}", check::files(&server));
            check::tidy(&server);
            if refused > 3 {
                break;
            }
        }
    }
    assert!(refused > 3, "the disk is full in the end");
    check::sound(&rig.sandbox, &server);
    let output = run(&mut rig.sandbox.git_command(&server, ["update-ref", "-d", "refs/heads/packed"]));
    assert!(output.status.code().is_some(), "git itself may find no room: {output:?}");
}
