//! Packs whose indexes need 64 bits for offsets, objects and packs of more than 4 GiB: push, clone, fetch, lazy fetch and archive,
//! in bounded memory.
//!
//! The real thing takes minutes and 20 GB of disk, and runs when asked for: `cargo test --test big -- --ignored`.

mod common;

use common::remote::Remote;
use common::zlib::{adler, deflated_run};
use common::{Case, PACKMULE, Sandbox, check, pkt, report, run};
use gix_hash::{Hasher, Kind as Hash, ObjectId};
use packmule::pack::{Deflater, Kind, type_code, write_entry_header};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::Stdio;

const CASE: Case = Case { hash: "sha1", protocol: 2 };
/// More than 32 bits can say.
const BLOB_BYTES: u64 = (4 << 30) + (100 << 20);
/// What one request may hold, beside maps of files.
const MEMORY_BYTES_MAX: u64 = 96 << 20;

fn packs(path: &Path) -> Vec<PathBuf> {
    check::files(path).iter().filter(|name| name.ends_with(".pack")).map(|name| path.join(name)).collect()
}

/// Give every pack an index in which all offsets but the smallest take 64 bits.
fn widen_offsets(sandbox: &Sandbox, path: &Path) {
    for pack in packs(path) {
        let index = pack.with_extension("idx");
        let narrow = std::fs::metadata(&index).expect("an index").len();
        std::fs::remove_file(&index).expect("ours");
        sandbox.git(path, ["index-pack", "--index-version=2,0x40", &pack.to_string_lossy()]);
        let wide = std::fs::metadata(&index).expect("an index").len();
        assert!(wide > narrow + 8 * 50, "{narrow} and {wide} bytes");
    }
}

#[test]
fn offsets_of_64_bits_are_read_as_any_other() {
    for bitmaps in [false, true] {
        let sandbox = Sandbox::new();
        let remote = Remote::stdio(&sandbox, CASE);
        let (path, mut story) = remote.history("r", 90, 50);
        let old = sandbox.copy(&path, "old.git");
        sandbox.import(&path, &story.grow(20));
        for key in ["uploadpack.allowFilter", "uploadpack.allowAnySHA1InWant"] {
            sandbox.git(&path, ["config", key, "true"]);
        }
        let config = format!("repack.writeBitmaps={bitmaps}");
        sandbox.git(&path, ["-c", &config, "repack", "-adfq"]);
        widen_offsets(&sandbox, &path);
        let clone = remote.clone("r", "clone.git", &["--mirror"]);
        check::same_objects(&sandbox, &path, &clone);
        check::sound(&sandbox, &clone);
        check::sends_no_more_than_git(&remote, "r", &old, &["refs/heads/main"]);
        remote.fetch(&old, &[&remote.url("r"), "refs/*:refs/*"]);
        check::same_objects(&sandbox, &path, &old);
        let lazy = remote.clone("r", "lazy", &["--filter=blob:none"]);
        assert_eq!(files_of(&sandbox, &lazy, "HEAD"), files_of(&sandbox, &path, "main"));
        let shallow = remote.clone("r", "shallow", &["--depth=1"]);
        assert_eq!(files_of(&sandbox, &shallow, "HEAD"), files_of(&sandbox, &path, "main"));
    }
}

fn files_of(sandbox: &Sandbox, path: &Path, name: &str) -> String {
    sandbox.git(path, ["ls-tree", "-r", name])
}

/// `main` with a blob of zeros that is longer than 32 bits can say, `next` with a small file more; written at this level, so that
/// at 0 the pack, too, is longer, and the small objects lie behind.
fn repository(remote: &Remote<'_>, name: &str, level: u32) -> (PathBuf, String) {
    let (sandbox, path) = (remote.sandbox, remote.bare(name));
    let mut import = sandbox.git_command(&path, ["fast-import", "--quiet", "--done"]);
    import.env("GIT_CONFIG_KEY_0", "core.bigFileThreshold").env("GIT_CONFIG_VALUE_0", "1m");
    import.env("GIT_CONFIG_KEY_1", "core.compression").env("GIT_CONFIG_VALUE_1", level.to_string());
    import.env("GIT_CONFIG_KEY_2", "fastimport.unpackLimit").env("GIT_CONFIG_VALUE_2", "1");
    let mut child = import.stdin(Stdio::piped()).spawn().expect("git starts");
    let mut stream = child.stdin.take().expect("piped");
    let committer = "committer C <c@example.com> 1700000000 +0000\ndata 2\nm\n";
    write!(stream, "commit refs/heads/main\nmark :1\n{committer}\nM 100644 inline big\ndata {BLOB_BYTES}\n").expect("git reads");
    let zeros = vec![0u8; 1 << 20];
    for _ in 0..BLOB_BYTES >> 20 {
        stream.write_all(&zeros).expect("git reads");
    }
    write!(stream, "\nM 100644 inline small\ndata 6\nsmall\n\n").expect("git reads");
    write!(stream, "commit refs/heads/next\n{committer}from :1\nM 100644 inline more\ndata 5\nmore\n\ndone\n").expect("git reads");
    drop(stream);
    assert!(child.wait().expect("a child of ours").success());
    for key in ["uploadpack.allowFilter", "uploadpack.allowAnySHA1InWant"] {
        sandbox.git(&path, ["config", key, "true"]);
    }
    let blob = sandbox.git(&path, ["rev-parse", "main:big"]);
    (path, blob)
}

/// Between two looks at a process.
const TICK: std::time::Duration = std::time::Duration::from_millis(20);

/// Memory that is a process's own, maps of files aside; none of one that has ended.
fn own_bytes(pid: u32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let own = status.lines().find_map(|line| line.strip_prefix("RssAnon:")?.split_whitespace().next()?.parse::<u64>().ok());
    own.map(|kib| kib * 1024)
}

/// What comes back for `input`: how many bytes, and the most memory that was the program's own meanwhile.
fn serve(sandbox: &Sandbox, words: &[&str], protocol: u8, path: &Path, input: &[u8]) -> (u64, u64) {
    let mut command = sandbox.command(PACKMULE);
    command.args(words).arg(path).env("GIT_PROTOCOL", format!("version={protocol}"));
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("packmule starts");
    child.stdin.take().expect("piped").write_all(input).expect("it is read");
    let pid = child.id();
    let mut output = child.stdout.take().expect("piped");
    let (mut buffer, mut bytes, mut memory) = (vec![0; 1 << 20], 0, 0);
    loop {
        memory = memory.max(own_bytes(pid).unwrap_or(0));
        match output.read(&mut buffer).expect("readable") {
            0 => break,
            count => bytes += count as u64,
        }
    }
    assert!(child.wait().expect("a child of ours").success(), "{words:?}");
    (bytes, memory)
}

#[test]
#[ignore = "takes minutes and 20 GB of disk"]
fn objects_and_packs_of_more_than_4_gib_are_served_in_little_memory() {
    for level in [1, 0] {
        let sandbox = Sandbox::new();
        let remote = Remote::stdio(&sandbox, CASE);
        let (path, blob) = repository(&remote, "r", level);
        let pack_bytes: u64 = packs(&path).iter().map(|pack| std::fs::metadata(pack).expect("a pack").len()).max().expect("a pack");
        assert_eq!(pack_bytes > u64::from(u32::MAX), level == 0, "level {level}: {pack_bytes} bytes");
        let clone = remote.clone("r", "clone.git", &["--bare"]);
        assert_eq!(sandbox.git(&clone, ["cat-file", "-s", &blob]), BLOB_BYTES.to_string());
        check::same_objects(&sandbox, &path, &clone);
        // A client that has `main` gets what lies behind the big object.
        let (main, next) = (sandbox.git(&path, ["rev-parse", "main"]), sandbox.git(&path, ["rev-parse", "next"]));
        let lazy = remote.clone("r", "lazy.git", &["--bare", "--filter=blob:limit=1m"]);
        assert_eq!(sandbox.git(&lazy, ["cat-file", "-p", "next:more"]), "more");
        sandbox.git(&lazy, ["config", "remote.origin.uploadpack", &format!("{PACKMULE} upload-pack")]);
        let mut size = sandbox.git_command(&lazy, ["cat-file", "-s", &blob]);
        let output = run(&mut size);
        assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), BLOB_BYTES.to_string(), "{}", report(&size, &output));
        let pkt = |line: &str| format!("{:04x}{line}\n", line.len() + 5);
        let fetch = |lines: &[&str]| {
            let lines: String = lines.iter().map(|line| pkt(line)).collect();
            format!("{}0001{lines}00000000", pkt("command=fetch")).into_bytes()
        };
        let wants = |id: &str| format!("want {id}");
        for (what, lines, bytes_min) in [
            ("a clone", vec![wants(&next)], pack_bytes / 2),
            ("a fetch", vec![wants(&next), format!("have {main}")], 100),
            ("one blob", vec![wants(&blob)], pack_bytes / 2),
        ] {
            let lines: Vec<&str> = lines.iter().map(String::as_str).chain(["ofs-delta", "done"]).collect();
            let (bytes, memory) = serve(&sandbox, &["upload-pack"], 2, &path, &fetch(&lines));
            assert!(bytes >= bytes_min && memory <= MEMORY_BYTES_MAX, "{what}, level {level}: {bytes} bytes sent, {memory} held");
            eprintln!("level {level}, {what}: {bytes} bytes sent, {memory} bytes held");
        }
        for format in ["tar", "zip"] {
            let words = ["argument --format=", format].concat();
            let request = [pkt(&words), pkt("argument next"), "0000".to_owned()].concat();
            let (bytes, memory) = serve(&sandbox, &["upload-archive"], 0, &path, request.as_bytes());
            assert!(bytes > if format == "tar" { BLOB_BYTES } else { 1 << 20 }, "{format}: {bytes} bytes");
            assert!(memory <= MEMORY_BYTES_MAX, "{format}, level {level}: {bytes} bytes sent, {memory} held");
            eprintln!("level {level}, {format}: {bytes} bytes sent, {memory} bytes held");
        }
    }
}

/// A pack on its way into a program.
struct Stream<W> {
    to: W,
    hasher: Hasher,
}

impl<W: Write> Stream<W> {
    fn put(&mut self, bytes: &[u8]) {
        self.hasher.update(bytes);
        self.to.write_all(bytes).expect("it is read");
    }

    fn object(&mut self, kind: Kind, bytes: &[u8]) {
        let mut entry = vec![];
        write_entry_header(type_code(kind), bytes.len() as u64, &mut entry);
        Deflater::new(1).whole(bytes, &mut entry).expect("into memory");
        self.put(&entry);
    }
}

/// A blob of this letter.
fn blob_of(letter: u8, bytes: u64) -> ObjectId {
    let mut hasher = gix_hash::hasher(Hash::Sha1);
    hasher.update(format!("blob {bytes}\0").as_bytes());
    let chunk = vec![letter; 1 << 20];
    (0..bytes >> 20).for_each(|_| hasher.update(&chunk));
    hasher.update(&chunk[..(bytes % (1 << 20)) as usize]);
    hasher.try_finalize().expect("no collision")
}

#[test]
#[ignore = "takes a minute and 5 GB of disk"]
fn objects_and_packs_of_more_than_31_and_32_bits_are_pushed_in_little_memory() {
    /// Bytes of one stored block.
    const BLOCK_BYTES: u64 = 65_535;
    let (times, blocks) = (BLOB_BYTES / 258, (1 << 31) / BLOCK_BYTES + 10);
    let (deflated, stored) = (1 + 258 * times, blocks * BLOCK_BYTES);
    let (run, zeros) = (blob_of(b'k', deflated), blob_of(0, stored));
    let tree = [&b"100644 run\0"[..], run.as_slice(), b"100644 zeros\0", zeros.as_slice()].concat();
    let tree_id = gix_object::compute_hash(Hash::Sha1, Kind::Tree, &tree).expect("no collision");
    let who = "A U Thor <author@example.com> 1112912053 -0700";
    let commit = format!("tree {tree_id}\nauthor {who}\ncommitter {who}\n\nbig\n").into_bytes();
    let tip = gix_object::compute_hash(Hash::Sha1, Kind::Commit, &commit).expect("no collision");

    let sandbox = Sandbox::new();
    let server = sandbox.bare("server.git", "sha1");
    let mut command = sandbox.command(PACKMULE);
    command.arg("receive-pack").arg(&server);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("packmule starts");
    let pid = child.id();
    let watcher = std::thread::spawn(move || std::iter::from_fn(|| own_bytes(pid)).inspect(|_| std::thread::sleep(TICK)).max());
    let mut to = child.stdin.take().expect("piped");
    let line = format!("{} {tip} refs/heads/main\0report-status", "0".repeat(40));
    to.write_all(&[pkt::data(line), b"0000".to_vec()].concat()).expect("it is read");
    let mut pack = Stream { to, hasher: gix_hash::hasher(Hash::Sha1) };
    pack.put(b"PACK\0\0\0\x02\0\0\0\x04");
    let mut entry = vec![];
    write_entry_header(3, stored, &mut entry);
    pack.put(&[&entry[..], &[0x78, 1]].concat());
    let len = (BLOCK_BYTES as u16).to_le_bytes();
    let block = [&[0, len[0], len[1], !len[0], !len[1]][..], &vec![0; BLOCK_BYTES as usize]].concat();
    (0..blocks).for_each(|_| pack.put(&block));
    pack.put(&[&[1, 0, 0, 0xff, 0xff][..], &adler(b"", 0, u128::from(stored)).to_be_bytes()].concat());
    let mut entry = vec![];
    write_entry_header(3, deflated, &mut entry);
    deflated_run(b"k", times, &mut entry);
    pack.put(&entry);
    pack.object(Kind::Tree, &tree);
    pack.object(Kind::Commit, &commit);
    let Stream { mut to, hasher } = pack;
    to.write_all(hasher.try_finalize().expect("no collision").as_slice()).expect("it is read");
    drop(to);
    let (mut said, mut output, mut buffer) = (vec![], child.stdout.take().expect("piped"), [0; 4096]);
    while let Ok(count @ 1..) = output.read(&mut buffer) {
        said.extend_from_slice(&buffer[..count]);
    }
    assert!(child.wait().expect("a child of ours").success());
    assert!(String::from_utf8_lossy(&said).contains("ok refs/heads/main\n"), "{}", String::from_utf8_lossy(&said));
    let memory = watcher.join().expect("no panic").expect("it was seen");
    assert!(memory <= MEMORY_BYTES_MAX, "{memory} bytes held");
    let size = |name: &str| sandbox.git(&server, ["cat-file", "-s", name]);
    assert_eq!([size("main:run"), size("main:zeros"), size("main")], [deflated, stored, commit.len() as u64].map(|size| size.to_string()));
    let index = packs(&server)[0].with_extension("idx");
    let listed = sandbox.git_with_input(&server, ["show-index"], &std::fs::read(index).expect("an index"));
    let offset = listed.lines().find(|line| line.contains(&tip.to_string())).and_then(|line| line.split(' ').next()?.parse::<u64>().ok());
    assert!(offset.expect("it is there") > 1 << 31, "{listed}");
}
