//! Conversations packet by packet: `tests/fetch/transcripts/*.txt`, each held with packmule and with stock git.
//!
//! A file begins with `key: value` lines (`service`, `protocol`, `hash`, `options`, `config`, `shallow`, `exit`), then one packet a line:
//!
//! | line | meaning |
//! |---|---|
//! | `> text` | the client sends `text` and a line end; `> 0000`, `> 0001` and `> 0002` are the special packets |
//! | `>= text` | likewise without a line end |
//! | `>! text` | bytes without a packet header |
//! | `>pack revs` | the pack of `git pack-objects --revs` |
//! | `< text` | the server sends exactly this (its line end aside) |
//! | `<* a .. b` | the server sends a packet that holds `a`, and behind it `b` |
//! | `<...` | any packets, up to one that fits the next line |
//! | `<pack n` | a pack of `n` objects on side-band 1, progress aside; `<rawpack n` without side-band |
//! | `= ref value` | afterwards the ref has this value (`-`: there is none) |
//!
//! `config` holds `key=value` pairs, `\x20` for a space within one. `shallow` names commits whose parents the server forgets. `exit` is `fail` or `any` where it is not success. `{name}` is the object that `git rev-parse name` finds, `{missing}` one that nobody has, `{zero}` the null id; `\0`, `\n` and
//! `\xNN` are bytes. A line that begins with `us` or `git` counts for that server only: these are the intended differences.

use crate::common::pkt::{self, Pkt, Who};
use crate::common::{HASHES, Sandbox, check, report, run_with_input};
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

/// A conversation, read but not yet bound to a repository.
struct Transcript {
    name: String,
    settings: BTreeMap<String, String>,
    lines: Vec<(usize, String)>,
}

impl Transcript {
    fn read(path: &Path, who: Who) -> Self {
        let text = std::fs::read_to_string(path).expect("a readable transcript");
        let (mut settings, mut lines) = (BTreeMap::new(), vec![]);
        let (mine, others) = if who == Who::Git { ("git", "us") } else { ("us", "git") };
        for (n, line) in text.lines().enumerate() {
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let is_line = |line: &str| line.starts_with(['<', '>', '=']);
            if is_line(line) {
                lines.push((n + 1, line.to_owned()));
            } else if let Some(rest) = line.strip_prefix(mine).filter(|rest| is_line(rest)) {
                lines.push((n + 1, rest.to_owned()));
            } else if !line.strip_prefix(others).is_some_and(is_line) {
                let (key, value) = line.split_once(": ").unwrap_or_else(|| panic!("{}:{}: no such line", path.display(), n + 1));
                settings.insert(key.to_owned(), value.to_owned());
            }
        }
        Self { name: path.file_name().expect("a file").to_string_lossy().into_owned(), settings, lines }
    }

    fn setting(&self, key: &str) -> &str {
        self.settings.get(key).map_or("", String::as_str)
    }
}

/// One transcript at work.
struct Conversation<'a> {
    sandbox: &'a Sandbox,
    transcript: &'a Transcript,
    /// Has everything, also what the server lacks.
    client: PathBuf,
    server: PathBuf,
}

/// The histories that all transcripts talk about: `main` (4 commits), `topic` forked from `main~2`, tags `v1` (annotated) and
/// `light`; only the client has `new` (on top of `main`) and `side` (on top of `main~1`).
fn make_repositories(sandbox: &Sandbox, hash: &str) {
    let client = sandbox.work_tree("client", hash);
    let commit = |name: &str, text: &str| sandbox.commit_file(&client, name, text);
    let git = |args: &[&str]| drop(sandbox.git(&client, args));
    commit("a", "one\n");
    git(&["checkout", "-q", "-b", "topic"]);
    commit("t", "topic\n");
    git(&["checkout", "-q", "main"]);
    commit("a", "two\n");
    git(&["tag", "-a", "-m", "first", "v1"]);
    git(&["tag", "light"]);
    commit("b", "three\n");
    let server = sandbox.bare("server.git", hash);
    git(&["push", "-q", &server.to_string_lossy(), "main", "topic", "v1", "light"]);
    git(&["checkout", "-q", "-b", "new"]);
    commit("n", "new\n");
    git(&["checkout", "-q", "-b", "side", "main~1"]);
    commit("s", "side\n");
}

impl Conversation<'_> {
    /// Fill in ids and bytes.
    fn expand(&self, text: &str) -> Vec<u8> {
        let (mut out, mut rest) = (vec![], text);
        while let Some(c) = rest.chars().next() {
            if let Some((name, tail)) = rest.strip_prefix('{').and_then(|tail| tail.split_once('}')).filter(|(name, _)| !name.is_empty()) {
                // `{v1^{}}`: the brace belongs to the name.
                let (name, tail) = if name.ends_with('{') { (format!("{name}}}"), &tail[1..]) } else { (name.to_owned(), tail) };
                out.extend_from_slice(self.oid(&name).as_bytes());
                rest = tail;
            } else if let Some(hex) = rest.strip_prefix("\\x").and_then(|tail| tail.get(..2)) {
                out.push(u8::from_str_radix(hex, 16).expect("two hex digits"));
                rest = &rest[4..];
            } else if let Some(escaped) = rest.strip_prefix('\\') {
                out.push(if escaped.starts_with('0') { 0 } else { b'\n' });
                rest = &escaped[1..];
            } else {
                out.extend_from_slice(&rest.as_bytes()[..c.len_utf8()]);
                rest = &rest[c.len_utf8()..];
            }
        }
        out
    }

    fn oid(&self, name: &str) -> String {
        let digits = if self.transcript.setting("hash") == "sha256" { 64 } else { 40 };
        match name {
            "missing" => "1".repeat(digits),
            "zero" => "0".repeat(digits),
            name => self.sandbox.git(&self.client, ["rev-parse", "--verify", name]),
        }
    }

    /// All that the client says.
    fn input(&self) -> Vec<u8> {
        let mut input = vec![];
        for (_, line) in &self.transcript.lines {
            if let Some(raw) = line.strip_prefix(">! ") {
                input.extend(self.expand(raw));
            } else if let Some(text) = line.strip_prefix(">= ") {
                input.extend(pkt::data(self.expand(text)));
            } else if let Some(revs) = line.strip_prefix(">pack ") {
                let mut command = self.sandbox.git_command(&self.client, ["pack-objects", "-q", "--revs", "--thin", "--stdout"]);
                input.extend(run_with_input(&mut command, revs.replace(' ', "\n").as_bytes()).stdout);
            } else if let Some(text) = line.strip_prefix("> ") {
                match text {
                    "0000" | "0001" | "0002" => input.extend_from_slice(text.as_bytes()),
                    text => input.extend(pkt::data([&self.expand(text)[..], b"\n"].concat())),
                }
            }
        }
        input
    }

    /// Hold the answer against the lines.
    fn check_output(&self, mut output: &[u8]) -> Result<(), String> {
        let mut skip = false;
        for (n, line) in self.transcript.lines.iter().filter(|(_, line)| line.starts_with('<')) {
            let fault = |what: String| Err(format!("{}:{n}: wanted `{line}`, {what}", self.transcript.name));
            if line == "<..." {
                skip = true;
                continue;
            }
            if let Some(count) = line.strip_prefix("<rawpack ") {
                let got = self.objects_in(output);
                if got != count {
                    return fault(format!("got a pack of {got} objects"));
                }
                output = &[];
                continue;
            }
            if let Some(count) = line.strip_prefix("<pack ") {
                let got = self.objects_in(&side_band_1(&mut output)?);
                if got != count {
                    return fault(format!("got a pack of {got} objects"));
                }
                continue;
            }
            let mut passed = vec![];
            loop {
                match pkt::take(&mut output) {
                    Ok(Some(pkt)) if self.fits(&pkt, line) => break,
                    Ok(Some(pkt)) if skip => passed.push(show(&pkt)),
                    Ok(Some(pkt)) => return fault(format!("got `{}`", show(&pkt))),
                    Ok(None) => return fault(format!("got the end; passed over {passed:?}")),
                    Err(bytes) => return fault(format!("got no packet but {bytes:?}")),
                }
            }
            skip = false;
        }
        match output {
            _ if skip => Ok(()),
            [] => Ok(()),
            rest => {
                Err(format!("{}: more came than wanted: {:?}", self.transcript.name, String::from_utf8_lossy(&rest[..rest.len().min(200)])))
            }
        }
    }

    fn fits(&self, pkt: &Pkt, line: &str) -> bool {
        if let Some(parts) = line.strip_prefix("<* ") {
            let Pkt::Data(payload) = pkt else { return false };
            let payload = String::from_utf8_lossy(payload).into_owned();
            let mut rest = payload.as_str();
            return parts.split(" .. ").all(|part| {
                let part = String::from_utf8_lossy(&self.expand(part)).into_owned();
                let found = rest.split_once(&part);
                rest = found.map_or("", |(_, behind)| behind);
                found.is_some()
            });
        }
        match (pkt, &line["< ".len()..]) {
            (Pkt::Flush, "0000") | (Pkt::Delim, "0001") | (Pkt::ResponseEnd, "0002") => true,
            (Pkt::Data(payload), text) => payload.strip_suffix(b"\n").unwrap_or(payload) == self.expand(text),
            _ => false,
        }
    }

    /// How many objects the pack says to have; it must index, with the client's objects for bases.
    fn objects_in(&self, pack: &[u8]) -> String {
        let Some(count) = pack.strip_prefix(b"PACK\0\0\0\x02").and_then(|rest| rest.first_chunk()) else {
            return format!("no pack: {:?}", String::from_utf8_lossy(&pack[..pack.len().min(80)]));
        };
        self.sandbox.git_with_input(&self.client, ["index-pack", "--strict", "--fix-thin", "--stdin"], pack);
        u32::from_be_bytes(*count).to_string()
    }

    fn check_refs(&self) {
        for (n, line) in &self.transcript.lines {
            let Some((name, value)) = line.strip_prefix("= ").and_then(|rest| rest.split_once(' ')) else { continue };
            let wanted = if value == "-" { String::new() } else { String::from_utf8_lossy(&self.expand(value)).into_owned() };
            assert_eq!(check::ref_value(self.sandbox, &self.server, name), wanted, "{}:{n}: {line}", self.transcript.name);
        }
    }
}

/// The bytes on side-band 1 up to the flush packet; progress is passed over.
fn side_band_1(output: &mut &[u8]) -> Result<Vec<u8>, String> {
    let mut pack = vec![];
    loop {
        match pkt::take(output)? {
            Some(Pkt::Data(payload)) if payload.first() == Some(&1) => pack.extend_from_slice(&payload[1..]),
            Some(Pkt::Data(payload)) if payload.first() == Some(&2) => {}
            Some(Pkt::Flush) => return Ok(pack),
            other => return Err(format!("within a pack: {}", other.map_or("the end".to_owned(), |pkt| show(&pkt)))),
        }
    }
}

fn show(pkt: &Pkt) -> String {
    match pkt {
        Pkt::Data(payload) => String::from_utf8_lossy(payload).escape_debug().to_string(),
        special => format!("{special:?}"),
    }
}

/// Hold one conversation with one server.
fn hold(path: &Path, who: Who, templates: &[Sandbox; 2]) {
    let transcript = Transcript::read(path, who);
    let sandbox = Sandbox::new();
    let hash = if transcript.setting("hash") == "sha256" { "sha256" } else { "sha1" };
    let template = &templates[usize::from(hash == "sha256")];
    let (client, server) = (sandbox.copy(&template.path("client"), "client"), sandbox.copy(&template.path("server.git"), "server.git"));
    let talk = Conversation { sandbox: &sandbox, transcript: &transcript, client, server };
    for pair in transcript.setting("config").split_whitespace() {
        let (key, value) = pair.split_once('=').expect("key=value");
        let value = String::from_utf8(talk.expand(value)).expect("text");
        sandbox.git(&talk.server, ["config", "--add", key, &value]);
    }
    if !transcript.setting("shallow").is_empty() {
        let lines: Vec<String> = transcript.setting("shallow").split_whitespace().map(|name| talk.oid(name) + "\n").collect();
        std::fs::write(talk.server.join("shallow"), lines.concat()).expect("a writable repository");
    }
    let protocol = transcript.setting("protocol").parse().expect("protocol: 0, 1 or 2");
    let options: Vec<&str> = transcript.setting("options").split_whitespace().collect();
    let mut command = who.command(&sandbox, protocol, transcript.setting("service"), &options, &talk.server);
    let output = run_with_input(&mut command, &talk.input());
    if let Err(fault) = talk.check_output(&output.stdout) {
        panic!("{who:?}: {fault}\n{}", report(&command, &output));
    }
    let wanted = transcript.settings.get("exit").map_or("success", String::as_str);
    let code = output.status.code().unwrap_or_else(|| panic!("{who:?}: killed\n{}", report(&command, &output)));
    assert!(
        wanted == "any" || (code == 0) == (wanted == "success"),
        "{who:?}: {}: wanted exit: {wanted}\n{}",
        transcript.name,
        report(&command, &output)
    );
    assert!(code != 101 && code != 70, "{who:?}: {}: a bug\n{}", transcript.name, report(&command, &output));
    talk.check_refs();
    check::sound(&sandbox, &talk.server);
}

fn hold_all(who: Who) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fetch/transcripts");
    let mut paths: Vec<_> = std::fs::read_dir(folder).expect("the transcripts").map(|entry| entry.expect("readable").path()).collect();
    paths.sort();
    assert!(paths.len() > 20, "transcripts are missing");
    let templates = HASHES.map(|hash| {
        let sandbox = Sandbox::new();
        make_repositories(&sandbox, hash);
        sandbox
    });
    let faults: Vec<String> = paths
        .iter()
        .filter_map(|path| {
            catch_unwind(AssertUnwindSafe(|| hold(path, who, &templates)))
                .err()
                .map(|_| path.file_name().expect("a file").to_string_lossy().into_owned())
        })
        .collect();
    assert!(faults.is_empty(), "{who:?} fails {} of {}: {faults:?}", faults.len(), paths.len());
}

#[test]
fn packmule_answers_as_the_transcripts_say() {
    hold_all(Who::Packmule);
}

#[test]
fn the_transcripts_are_true_of_stock_git() {
    hold_all(Who::Git);
}
