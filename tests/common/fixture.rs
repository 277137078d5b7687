//! Seeds into repositories: random histories with merges, renames, tags of tags and submodule entries, made by `git fast-import`.

use super::Sandbox;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

/// Small random numbers that are the same everywhere (splitmix64).
pub struct Random(pub u64);

impl Random {
    /// The next 64 bits.
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `n`.
    pub fn below(&mut self, n: usize) -> usize {
        (self.next() % n as u64) as usize
    }

    /// True once in `n` times.
    pub fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }

    /// `n` bytes that do not compress.
    pub fn bytes(&mut self, n: usize) -> Vec<u8> {
        (0..n.div_ceil(8)).flat_map(|_| self.next().to_le_bytes()).take(n).collect()
    }
}

/// Each file's lines, as numbers that stand for text.
type Files = BTreeMap<String, Vec<u64>>;

/// A history that grows: what it has written is remembered, so that more can follow.
pub struct Story {
    random: Random,
    branches: BTreeMap<String, Files>,
    time: u64,
    commits: u64,
    tags: u64,
    oid_hex: usize,
}

impl Story {
    /// The beginning, with one branch, `main`.
    pub fn new(seed: u64, hash: &str) -> Self {
        let oid_hex = if hash == "sha1" { 40 } else { 64 };
        Self { random: Random(seed), branches: BTreeMap::new(), time: 1_600_000_000, commits: 0, tags: 0, oid_hex }
    }

    /// The stream that adds `commits` commits, with branches, merges, renames and tags among them.
    pub fn grow(&mut self, commits: usize) -> Vec<u8> {
        let mut out = String::new();
        let mut touched: Vec<String> = vec![];
        for _ in 0..commits {
            self.commit(&mut out, &mut touched);
            if self.random.one_in(12) {
                self.tag(&mut out);
            }
        }
        out.push_str("done\n");
        out.into_bytes()
    }

    /// One commit on some branch.
    fn commit(&mut self, out: &mut String, touched: &mut Vec<String>) {
        let names: Vec<String> = self.branches.keys().cloned().collect();
        let forks = names.len() < 6 && !names.is_empty() && self.random.one_in(8);
        let from = if names.is_empty() { None } else { Some(names[self.random.below(names.len())].clone()) };
        let branch = match &from {
            None => "main".to_owned(),
            Some(_) if forks => format!("topic/{}", self.commits),
            Some(from) => from.clone(),
        };
        self.time += 1 + self.random.below(5000) as u64;
        self.commits += 1;
        let message = format!("Commit {} on {branch}\n", self.commits);
        let _ = writeln!(out, "commit refs/heads/{branch}\nmark :{}", self.commits);
        let _ = writeln!(out, "committer C O Mitter <committer@example.com> {} +0100\ndata {}\n{message}", self.time, message.len());
        let known = touched.contains(&branch);
        match &from {
            Some(from) if forks => drop(writeln!(out, "from refs/heads/{from}{}", if touched.contains(from) { "" } else { "^0" })),
            Some(_) if !known => drop(writeln!(out, "from refs/heads/{branch}^0")),
            _ => {}
        }
        let other = names.get(self.random.below(names.len().max(1))).filter(|other| **other != branch && !forks).cloned();
        if let Some(other) = other.filter(|_| self.random.one_in(4)) {
            let _ = writeln!(out, "merge refs/heads/{other}{}", if touched.contains(&other) { "" } else { "^0" });
        }
        let mut files = from.as_ref().map(|from| self.branches[from].clone()).unwrap_or_default();
        for _ in 0..1 + self.random.below(4) {
            self.edit(out, &mut files);
        }
        self.branches.insert(branch.clone(), files);
        if !known {
            touched.push(branch);
        }
    }

    /// One change of one file.
    fn edit(&mut self, out: &mut String, files: &mut Files) {
        let names: Vec<String> = files.keys().cloned().collect();
        let some = |random: &mut Random| names[random.below(names.len())].clone();
        match self.random.below(20) {
            _ if names.len() < 5 => self.add(out, files),
            0..4 => self.add(out, files),
            4 => {
                let name = some(&mut self.random);
                files.remove(&name);
                let _ = writeln!(out, "D \"{name}\"");
            }
            5 | 6 => {
                let (old, new) = (some(&mut self.random), self.new_name());
                let lines = files.remove(&old).expect("a name of the map");
                files.insert(new.clone(), lines);
                let _ = writeln!(out, "R \"{old}\" \"{new}\"");
            }
            7 => {
                let oid: String = (0..self.oid_hex).map(|_| char::from(b"0123456789abcdef"[self.random.below(16)])).collect();
                let _ = writeln!(out, "M 160000 {oid} \"vendor/sub{}\"", self.random.below(3));
            }
            8 => drop(writeln!(out, "M 120000 inline \"link{}\"\ndata 9\nd0/target", self.random.below(3))),
            _ => {
                let name = some(&mut self.random);
                let lines = files.get_mut(&name).expect("a name of the map");
                for _ in 0..1 + self.random.below(3) {
                    let at = self.random.below(lines.len());
                    lines[at] = self.random.next();
                }
                write_file(out, &name, lines);
            }
        }
    }

    /// A new file.
    fn add(&mut self, out: &mut String, files: &mut Files) {
        let name = self.new_name();
        let lines: Vec<u64> = (0..5 + self.random.below(80)).map(|_| self.random.next()).collect();
        write_file(out, &name, &lines);
        files.insert(name, lines);
    }

    /// A path of up to three folders, not used before.
    fn new_name(&mut self) -> String {
        let mut name = String::new();
        for _ in 0..self.random.below(4) {
            let _ = write!(name, "d{}/", self.random.below(4));
        }
        let odd = if self.random.one_in(10) { "sp ace ü" } else { "f" };
        let _ = write!(name, "{odd}{:x}", self.random.next() >> 40);
        name
    }

    /// A lightweight tag, an annotated one, or a tag of a tag.
    fn tag(&mut self, out: &mut String) {
        self.tags += 1;
        let (tag, commit) = (self.tags, self.commits);
        let tagger = format!("tagger T A Gger <tagger@example.com> {} -0200", self.time);
        match self.random.below(3) {
            0 => drop(writeln!(out, "reset refs/tags/light{tag}\nfrom :{commit}\n")),
            1 => drop(writeln!(out, "tag v{tag}\nfrom :{commit}\n{tagger}\ndata 8\nrelease\n")),
            _ => {
                let mark = 1_000_000 + tag;
                let _ = writeln!(out, "tag inner{tag}\nmark :{mark}\nfrom :{commit}\n{tagger}\ndata 6\ninner\n");
                let _ = writeln!(out, "tag outer{tag}\nfrom :{mark}\n{tagger}\ndata 6\nouter\n");
            }
        }
    }
}

/// The command that gives the file `name` its content.
fn write_file(out: &mut String, name: &str, lines: &[u64]) {
    let mode = if name.ends_with('7') { "100755" } else { "100644" };
    let content: String = lines.iter().map(|line| format!("line {line:016x} of some text that deltas can copy\n")).collect();
    let _ = writeln!(out, "M {mode} inline \"{name}\"\ndata {}\n{content}", content.len());
}

impl Sandbox {
    /// Feed a stream to `git fast-import` in `repository`.
    #[track_caller]
    pub fn import(&self, repository: &Path, stream: &[u8]) {
        self.git_with_input(repository, ["fast-import", "--quiet", "--done", "--force"], stream);
    }

    /// A bare repository at `name` with `commits` commits, and the story to go on with.
    #[track_caller]
    pub fn history(&self, name: &str, hash: &str, seed: u64, commits: usize) -> (PathBuf, Story) {
        let path = self.bare(name, hash);
        let mut story = Story::new(seed, hash);
        self.import(&path, &story.grow(commits));
        (path, story)
    }

    /// A repository with a work tree at `name`, one commit in it.
    #[track_caller]
    pub fn work_tree(&self, name: &str, hash: &str) -> PathBuf {
        let path = self.path(name);
        std::fs::create_dir_all(&path).expect("a folder");
        self.git(&path, ["init", "-q", "-b", "main", "--object-format", hash]);
        self.commit_file(&path, "readme", "hello\n");
        path
    }

    /// Write a file, commit it, and return the commit's id.
    #[track_caller]
    pub fn commit_file(&self, work_tree: &Path, name: &str, content: impl AsRef<[u8]>) -> String {
        std::fs::write(work_tree.join(name), content).expect("a writable work tree");
        self.git(work_tree, ["add", name]);
        self.git(work_tree, ["commit", "-q", "-m", &format!("Change {name}")]);
        self.git(work_tree, ["rev-parse", "HEAD"])
    }
}
