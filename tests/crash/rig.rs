//! Recorded pushes into `packmule receive-pack`, run under strace: watched, killed, or met by faults of the system.

use super::common::{PACKMULE, Sandbox, check, pkt, run, run_with_input, skipped};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// A ref, and the numbers of its old and new commit; `None`: it is not there.
pub type Edit = (&'static str, Option<usize>, Option<usize>);

/// One kind of push.
pub struct Shape {
    pub what: &'static str,
    pub edits: &'static [Edit],
}

/// The kinds of pushes that are killed; all of them atomic, and with a thin pack where anything is sent.
pub const SHAPES: [Shape; 5] = [
    Shape { what: "create", edits: &[("refs/heads/new/folder/x", None, Some(2))] },
    Shape { what: "update", edits: &[("refs/heads/loose", Some(0), Some(2))] },
    Shape { what: "delete", edits: &[("refs/heads/gone", Some(0), None)] },
    Shape {
        what: "all in one",
        edits: &[
            ("refs/heads/loose", Some(0), Some(2)),
            ("refs/heads/packed", Some(0), Some(1)),
            ("refs/heads/gone", Some(0), None),
            ("refs/heads/gone/below", None, Some(2)),
            ("refs/heads/new/folder/x", None, Some(2)),
        ],
    },
    Shape { what: "shallow", edits: &[("refs/heads/cut", None, Some(3)), ("refs/heads/cut-too", None, Some(3))] },
];

/// System calls that change something on disk, or that only look or lock.
pub const CALLS: [&str; 13] =
    ["linkat", "rename", "unlink", "unlinkat", "mkdir", "rmdir", "fsync", "fdatasync", "flock", "openat", "write", "pwrite64", "ftruncate"];

/// A client's commits, and what a server has before the push.
pub struct Rig {
    pub sandbox: Sandbox,
    client: PathBuf,
    /// To be copied.
    base: PathBuf,
    /// The last two come from shallow clients, each with a history of its own.
    pub commits: Vec<String>,
    /// Where the history of a commit ends.
    pub cuts: BTreeMap<usize, String>,
    packs: BTreeMap<(bool, usize), Vec<u8>>,
}

/// Whether there is an strace that may trace; said aloud if not.
pub fn has_strace() -> bool {
    let has = Command::new("strace").args(["-o", "/dev/null", "true"]).output().is_ok_and(|output| output.status.success());
    if !has {
        skipped("strace is not here, or may not trace");
    }
    has
}

impl Rig {
    pub fn new() -> Self {
        let sandbox = Sandbox::new();
        let client = sandbox.work_tree("client", "sha1");
        let mut text = String::new();
        let mut commit = |at: usize| {
            text.push_str(&format!("{at}: {}\n", "a line long enough to be worth a delta ".repeat(20)));
            sandbox.commit_file(&client, "file", &text)
        };
        let mut commits: Vec<String> = (0..3).map(&mut commit).collect();
        let base = sandbox.bare("base.git", "sha1");
        for name in ["loose", "packed", "gone"] {
            sandbox.git(&client, ["push", "-q", "../base.git", &format!("{}:refs/heads/{name}", commits[0])]);
        }
        sandbox.git(&base, ["repack", "-adq"]);
        sandbox.git(&base, ["pack-refs", "--all"]);
        sandbox.git(&base, ["config", "receive.shallowUpdate", "true"]);
        for name in ["loose", "gone"] {
            std::fs::write(base.join("refs/heads").join(name), format!("{}\n", commits[0])).expect("written");
        }
        let mut packs = BTreeMap::new();
        for (old, new) in [(false, 0), (false, 2), (true, 1), (true, 2)] {
            let revs = if old { format!("{}\n^{}\n", commits[new], commits[0]) } else { format!("{}\n", commits[new]) };
            let mut command = sandbox.git_command(&client, ["pack-objects", "-q", "--stdout", "--revs", "--thin", "--delta-base-offset"]);
            packs.insert((old, new), run_with_input(&mut command, revs.as_bytes()).stdout);
        }
        let mut cuts = BTreeMap::new();
        for at in [3, 4] {
            let whole = sandbox.work_tree(&format!("whole-{at}"), "sha1");
            (0..3).for_each(|line| drop(sandbox.commit_file(&whole, "file", format!("{at} {line}\n"))));
            let url = format!("file://{}", whole.display());
            sandbox.git(&sandbox.path(""), ["clone", "-q", "--depth=2", &url, &format!("cut-{at}")]);
            let cut = sandbox.path(format!("cut-{at}"));
            commits.push(sandbox.git(&cut, ["rev-parse", "HEAD"]));
            cuts.insert(at, sandbox.git(&cut, ["rev-parse", "HEAD~1"]));
            let mut command = sandbox.git_command(&cut, ["pack-objects", "-q", "--stdout", "--revs"]);
            packs.insert((true, at), run_with_input(&mut command, commits[at].as_bytes()).stdout);
        }
        Self { sandbox, client, base, commits, cuts, packs }
    }

    /// Whether the file `shallow` names the commit where the history of this one ends.
    pub fn is_cut(&self, server: &Path, at: usize) -> bool {
        std::fs::read_to_string(server.join("shallow")).is_ok_and(|lines| lines.lines().any(|line| line == self.cuts[&at]))
    }

    /// A server of its own for one push.
    pub fn server(&self, name: &str) -> PathBuf {
        let _ = std::fs::remove_dir_all(self.sandbox.path(name));
        self.sandbox.copy(&self.base, name)
    }

    pub fn id(&self, at: Option<usize>) -> Option<String> {
        at.map(|at| self.commits[at].clone())
    }

    /// What a client sends.
    pub fn request(&self, edits: &[(&str, Option<String>, Option<String>)]) -> Vec<u8> {
        let null = "0".repeat(40);
        let id = |id: &Option<String>| id.clone().unwrap_or_else(|| null.clone());
        let newest = edits.iter().filter_map(|(_, _, new)| self.commits.iter().position(|commit| Some(commit) == new.as_ref())).max();
        let mut bytes = newest.and_then(|new| self.cuts.get(&new)).map_or(vec![], |id| pkt::data(format!("shallow {id}")));
        for (at, (name, old, new)) in edits.iter().enumerate() {
            let capabilities = if at == 0 { "\0 report-status atomic delete-refs ofs-delta" } else { "" };
            bytes.extend(pkt::data(format!("{} {} {name}{capabilities}", id(old), id(new))));
        }
        bytes.extend(b"0000");
        bytes.extend(newest.map_or(&[][..], |new| &self.packs[&(new > 0, new)]));
        bytes
    }

    /// The same by numbers of commits.
    pub fn request_of(&self, edits: &[Edit]) -> Vec<u8> {
        let edits: Vec<_> = edits.iter().map(|(name, old, new)| (*name, self.id(*old), self.id(*new))).collect();
        self.request(&edits)
    }

    /// `packmule receive-pack` on `server`, under strace with these words before it.
    pub fn receive(&self, server: &Path, strace: &[&str], request: &[u8]) -> Output {
        let mut command = self.sandbox.command(if strace.is_empty() { PACKMULE } else { "strace" });
        if !strace.is_empty() {
            command.args(["-f", "-qq"]).args(strace).arg(PACKMULE);
        }
        run_with_input(command.arg("receive-pack").arg(server), request)
    }

    /// Push and hear that all is well.
    #[track_caller]
    pub fn push(&self, server: &Path, edits: &[Edit]) {
        let output = self.receive(server, &[], &self.request_of(edits));
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success() && said.contains("unpack ok"), "{said}\n{}", String::from_utf8_lossy(&output.stderr));
        edits.iter().for_each(|(name, ..)| assert!(said.contains(&format!("ok {name}\n")), "{said}"));
    }

    /// The refs that packmule offers.
    #[track_caller]
    pub fn shown(&self, server: &Path) -> BTreeMap<String, String> {
        let output = pkt::Who::Packmule.answer(&self.sandbox, 0, "upload-pack", server, b"0000");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let mut bytes = &output.stdout[..];
        let mut refs = BTreeMap::new();
        while let Ok(Some(pkt::Pkt::Data(line))) = pkt::take(&mut bytes) {
            let line = String::from_utf8_lossy(&line).trim_end().to_owned();
            let (id, name) = line.split_once(' ').expect("an id and a name");
            refs.insert(name.split('\0').next().unwrap_or_default().to_owned(), id.to_owned());
        }
        refs.retain(|name, _| name.starts_with("refs/"));
        refs
    }

    /// The refs that stock git finds in their files.
    #[track_caller]
    pub fn stored(&self, server: &Path) -> BTreeMap<String, String> {
        let listed = self.sandbox.git(server, ["for-each-ref", "--format=%(refname) %(objectname)"]);
        listed.lines().filter_map(|line| line.split_once(' ')).map(|(name, id)| (name.to_owned(), id.to_owned())).collect()
    }

    /// How many edits have happened; `None`: some ref is neither old nor new.
    pub fn happened(&self, refs: &BTreeMap<String, String>, edits: &[Edit]) -> Option<usize> {
        let mut count = 0;
        for (name, old, new) in edits {
            let now = refs.get(*name).cloned();
            if now == self.id(*new) {
                count += 1;
            } else if now != self.id(*old) {
                return None;
            }
        }
        Some(count)
    }

    /// Push again what has not happened, as a client would that looks first; then all is as it should be.
    #[track_caller]
    pub fn retry(&self, server: &Path, edits: &[Edit], what: &str) {
        let shown = self.shown(server);
        let left: Vec<Edit> = edits.iter().filter(|(name, _, new)| shown.get(*name).cloned() != self.id(*new)).copied().collect();
        assert!(left.is_empty() || left.len() == edits.len(), "{what}: half of an atomic push: {shown:?}");
        self.push(server, if left.is_empty() { &[("refs/heads/after", None, Some(0))] } else { &left });
        assert_eq!(self.happened(&self.stored(server), edits), Some(edits.len()), "{what}: {:?}", self.stored(server));
        check::sound(&self.sandbox, server);
    }

    /// What stock git does beside: a push of another ref, and the harshest gc.
    pub fn use_git(&self, server: &Path) {
        let url = server.display().to_string();
        self.sandbox.git(&self.client, ["push", "-q", &url, &format!("{}:refs/heads/of-git", self.commits[1])]);
        run(&mut self.sandbox.git_command(server, ["gc", "-q", "--prune=now"])); // a lock of the dead may stop it
    }
}

/// Whether the report calls this ref changed.
pub fn is_acknowledged(output: &Output, name: &str) -> bool {
    String::from_utf8_lossy(&output.stdout).contains(&format!("ok {name}\n"))
}
