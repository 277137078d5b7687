//! What must hold after a transfer, asked of stock git.

use super::remote::Remote;
use super::{Sandbox, run};
use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::path::Path;

/// The repository is sound in git's strictest eyes, and nothing half-made lies about in it.
#[track_caller]
pub fn sound(sandbox: &Sandbox, repository: &Path) {
    assert_eq!(complaints(sandbox, repository), Vec::<String>::new(), "{}", repository.display());
    tidy(repository);
}

/// What `git fsck --strict` complains of, sorted: real repositories are old sinners, and their copies are no better.
#[track_caller]
pub fn complaints(sandbox: &Sandbox, repository: &Path) -> Vec<String> {
    let output = run(&mut sandbox.git_command(repository, ["fsck", "--strict", "--full", "--no-dangling", "--no-progress"]));
    assert!(output.status.code().is_some(), "git fsck was killed");
    let said = [output.stdout, output.stderr].concat();
    let mut lines: Vec<String> = String::from_utf8_lossy(&said).lines().filter(|line| !is_notice(line)).map(str::to_owned).collect();
    lines.sort();
    assert!(output.status.success() || !lines.is_empty(), "git fsck fails without a word");
    lines
}

/// `notice: HEAD points to an unborn branch` and the like: nothing wrong.
fn is_notice(line: &str) -> bool {
    line.starts_with("notice: ")
}

/// Nothing half-made lies about.
#[track_caller]
pub fn tidy(repository: &Path) {
    let left: Vec<String> = files(repository).into_iter().filter(|name| is_leftover(name) && !is_spare(repository, name)).collect();
    assert!(left.is_empty(), "left behind in {}: {left:?}", repository.display());
}

/// A lock, a temporary file or a quarantine; the file on which pushes `flock` in turn stays for the next one.
fn is_leftover(name: &str) -> bool {
    let last = name.rsplit('/').next().unwrap_or(name);
    (last.ends_with(".lock") && name != "packmule.lock")
        || last.ends_with(".keep")
        || name.contains("tmp_")
        || name.contains("incoming")
        || name.contains("quarantine")
}

/// The proof of life in an empty quarantine that a living server keeps for the next push; in one with anything else, that is found.
fn is_spare(repository: &Path, name: &str) -> bool {
    let path = repository.join(name);
    let is_empty = || path.metadata().is_ok_and(|meta| meta.len() == 0);
    // In quick succession pushes hand it on: it may vanish while it is looked at.
    let lives = || std::fs::File::open(&path).map_or(true, |file| matches!(file.try_lock(), Err(std::fs::TryLockError::WouldBlock)));
    name.contains("packmule-incoming-") && name.ends_with("/owner") && is_empty() && lives()
}

/// All files beneath `folder`, as paths relative to it.
pub fn files(folder: &Path) -> Vec<String> {
    let (mut found, mut pending) = (vec![], vec![folder.to_owned()]);
    while let Some(dir) = pending.pop() {
        for entry in std::fs::read_dir(&dir).expect("a readable folder") {
            let path = entry.expect("a readable entry").path();
            if path.is_dir() && !path.is_symlink() {
                pending.push(path);
            } else {
                found.push(path.strip_prefix(folder).expect("beneath it").to_string_lossy().into_owned());
            }
        }
    }
    found.sort();
    found
}

/// Ids of everything reachable from any ref.
#[track_caller]
pub fn reachable(sandbox: &Sandbox, repository: &Path) -> BTreeSet<String> {
    let listed = sandbox.git(repository, ["rev-list", "--objects", "--no-object-names", "--all"]);
    listed.lines().map(str::to_owned).collect()
}

/// Both repositories reach the same objects.
#[track_caller]
pub fn same_objects(sandbox: &Sandbox, one: &Path, other: &Path) {
    let (ones, others) = (reachable(sandbox, one), reachable(sandbox, other));
    let (here, there) = (ones.difference(&others).count(), others.difference(&ones).count());
    assert!(here + there == 0, "{here} objects only in {}, {there} only in {}", one.display(), other.display());
}

/// `id name` of every ref.
#[track_caller]
pub fn refs(sandbox: &Sandbox, repository: &Path) -> String {
    sandbox.git(repository, ["for-each-ref", "--format=%(objectname) %(refname)"])
}

/// The value of one ref; empty when there is none.
#[track_caller]
pub fn ref_value(sandbox: &Sandbox, repository: &Path, name: &str) -> String {
    sandbox.git(repository, ["for-each-ref", "--format=%(objectname)", name])
}

/// The ids in all packs of `repository`.
#[track_caller]
pub fn packed(sandbox: &Sandbox, repository: &Path) -> BTreeSet<String> {
    let mut ids = BTreeSet::new();
    for name in files(repository).into_iter().filter(|name| Path::new(name).extension() == Some(OsStr::new("idx"))) {
        let idx = std::fs::read(repository.join(name)).expect("an index");
        let format = sandbox.git(repository, ["rev-parse", "--show-object-format"]);
        let listed = sandbox.git_with_input(repository, ["show-index", &format!("--object-format={format}")], &idx);
        ids.extend(listed.lines().filter_map(|line| line.split(' ').nth(1)).map(str::to_owned));
    }
    ids
}

/// What the server sends to `client` (a repository, which is copied) for `wants` (refs, ids
/// and options of `git fetch-pack`; none: all refs).
#[track_caller]
pub fn sent(remote: &Remote<'_>, name: &str, client: &Path, wants: &[&str]) -> BTreeSet<String> {
    let copy = tempfile::tempdir_in(remote.sandbox.path("")).expect("a folder");
    let copy = remote.sandbox.copy(client, &copy.path().join("copy").to_string_lossy());
    let before = packed(remote.sandbox, &copy);
    let mut args = vec!["-q", "--keep"];
    // Not `--all`: with it, git's plumbing trips over any server that takes refs by name ("unexpected wanted-ref").
    let all = remote.sandbox.git(&remote.path(name), ["for-each-ref", "--format=%(refname)"]);
    let url = remote.url(name);
    let (options, mut wants): (Vec<&str>, Vec<&str>) = wants.iter().partition(|want| want.starts_with("--"));
    if wants.is_empty() {
        wants.extend(all.lines());
    }
    args.extend(options);
    args.push(&url);
    args.extend(wants);
    remote.git(&copy, "fetch-pack", args);
    let after = packed(remote.sandbox, &copy);
    std::fs::remove_dir_all(&copy).expect("a folder of ours");
    after.difference(&before).cloned().collect()
}

/// The server sends no object that stock git would not send for the same request; returns how many it sent.
#[track_caller]
pub fn sends_no_more_than_git(remote: &Remote<'_>, name: &str, client: &Path, wants: &[&str]) -> usize {
    let (ours, gits) = (sent(remote, name, client, wants), sent(&remote.stock(), name, client, wants));
    let more: Vec<_> = ours.difference(&gits).take(5).collect();
    assert!(more.is_empty(), "{} objects sent, git sends {}; too many, for example: {more:?}", ours.len(), gits.len());
    ours.len()
}
