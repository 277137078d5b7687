//! `packmule keys`: public keys into lines of `config.toml`, and every key that counts into where it stands.

use super::super::admin_keys;
use super::super::failure::Failure;
use super::super::rules::{Reading, Source};
use super::args::{KeysArgs, KeysCommand};
use super::{Edit, layout, line_of, option, quoted, user_mut};
use crate::access::rules::ANONYMOUS;
use crate::access::{PublicKey, printable};
use std::fmt::Write as _;
use std::fs::File;
use std::io::{IsTerminal as _, Read};
use std::path::{Path, PathBuf};
use toml_edit::{DocumentMut, Item, Table};

/// Bytes of keys that are read at once.
const INPUT_BYTES_MAX: u64 = 1 << 20;
/// Where keys come from when nothing else is said.
const STANDARD_INPUT: &str = "-";

/// One key of one user, and where it stands.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) user: String,
    pub(super) key: PublicKey,
    pub(super) place: Place,
}

/// Where a key stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// Line of the file; which of the user's `keys` it is.
    Written { line: usize, at: usize },
    /// File that the user's `key_files` name, and line.
    Named { file: PathBuf, line: usize },
    /// File in `key_folder`, and line.
    Folder { file: PathBuf, line: usize },
    /// Of those that may do everything; the file.
    Admin(String),
}

impl Entry {
    fn shown_place(&self, config: &str) -> String {
        match &self.place {
            Place::Written { line, .. } => format!("{config}:{line}"),
            Place::Named { file, line } | Place::Folder { file, line } => format!("{}:{line}", file.display()),
            Place::Admin(file) => format!("{file}; may do everything"),
        }
    }

    /// `SHA256:... ssh-ed25519 comment (place)`
    pub(super) fn shown(&self, config: &str) -> String {
        let comment = printable(&self.key.comment());
        let gap = if comment.is_empty() { "" } else { " " };
        format!("{} {}{gap}{comment} ({})", self.key.fingerprint(), self.key.algorithm(), self.shown_place(config))
    }
}

/// Every key that lets somebody in, as `reading` has it, whose text is this.
pub(super) fn entries(reading: &Reading, text: &str) -> Result<Vec<Entry>, Failure> {
    let config = &reading.config;
    let mut found = vec![];
    for (name, user) in &config.users {
        let name = name.get_ref();
        for (at, written) in user.keys.iter().enumerate() {
            let place = Place::Written { line: line_of(text, written.span().start), at };
            found.extend(PublicKey::from_openssh(written.get_ref()).map(|key| Entry { user: name.clone(), key, place }));
        }
        for file in &user.key_files {
            let of_file = keys_of(file.get_ref())?.into_iter();
            let place = |line| Place::Named { file: file.get_ref().clone(), line };
            found.extend(of_file.map(|(line, key)| Entry { user: name.clone(), key, place: place(line) }));
        }
    }
    for (user, file) in key_folder(&config.key_folder)? {
        let of_file = keys_of(&file)?.into_iter();
        found.extend(of_file.map(|(line, key)| Entry { user: user.clone(), key, place: Place::Folder { file: file.clone(), line } }));
    }
    let of_admin = |admin: &admin_keys::AdminKey| {
        // Under this name it counts, whatever name it bears.
        let user = reading.book.owner(&admin.key).map_or_else(|| admin.user.as_str().to_owned(), str::to_owned);
        Entry { user, key: admin.key.clone(), place: Place::Admin(admin.file.clone()) }
    };
    found.extend(reading.keys.iter().map(of_admin));
    Ok(found)
}

/// Users with a file in the folder.
fn key_folder(folder: &Path) -> Result<Vec<(String, PathBuf)>, Failure> {
    if folder.as_os_str().is_empty() {
        return Ok(vec![]);
    }
    let failed = |error| Failure::io(format!("{}: {error}", folder.display()));
    let mut files = vec![];
    for entry in folder.read_dir().map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        let name = path.file_name().and_then(|name| name.to_str()).and_then(|name| name.strip_suffix(".pub"));
        files.extend(name.filter(|_| !admin_keys::is_certificate(&path)).map(|name| (name.to_owned(), path.clone())));
    }
    files.sort();
    Ok(files)
}

fn keys_of(file: &Path) -> Result<Vec<(usize, PublicKey)>, Failure> {
    let text = std::fs::read_to_string(file).map_err(|error| Failure::io(format!("{}: {error}", file.display())))?;
    admin_keys::parse(&text).map_err(|why| Failure::configuration(format!("{}: {why}", file.display())))
}

/// Run the command: what it did, in words.
pub(in crate::cli) fn run(args: &KeysArgs) -> Result<String, Failure> {
    match &args.command {
        KeysCommand::Add { user, keys } => add(&args.config, user, &read_words(keys)?),
        KeysCommand::List { user } => list(&args.config, user.as_deref()),
        KeysCommand::Remove { user, key, file } => remove(&args.config, user, key, *file),
    }
}

/// The text of keys that these words mean: a file, standard input, or keys themselves.
fn read_words(words: &[String]) -> Result<String, Failure> {
    let first = words.first().map_or(STANDARD_INPUT, String::as_str);
    if words.len() > 1 || first.contains(' ') {
        return Ok(words.join(" "));
    }
    let (name, read) = if first == STANDARD_INPUT {
        let input = std::io::stdin();
        if input.is_terminal() {
            eprintln!("one public key per line, then Ctrl-D:");
        }
        ("standard input", read_bounded(input.lock()))
    } else {
        (first, File::open(first).and_then(read_bounded))
    };
    read.map_err(|error| Failure::io(format!("{name}: {error}")))
}

fn read_bounded(from: impl Read) -> std::io::Result<String> {
    let mut text = String::new();
    match from.take(INPUT_BYTES_MAX + 1).read_to_string(&mut text)? {
        bytes if bytes as u64 > INPUT_BYTES_MAX => Err(std::io::Error::other(format!("more than {INPUT_BYTES_MAX} bytes"))),
        _ => Ok(text),
    }
}

/// Keys in the form of `authorized_keys`, each with the names of the options before it.
fn parse(text: &str) -> Result<Vec<(PublicKey, Vec<String>)>, Failure> {
    if text.contains("PRIVATE KEY") || text.starts_with("PuTTY-User-Key-File") {
        return Err(Failure::configuration("this is a private key: it stays with whom it belongs to")
            .hint("the public half is in the file that ends in .pub; ssh-keygen -y -f FILE shows it"));
    }
    let mut keys = vec![];
    for (number, line) in text.lines().enumerate().map(|(at, line)| (at + 1, line.trim())) {
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let fault = |why: String| Failure::configuration(format!("line {number}: {why}"));
        let key = match PublicKey::from_openssh(line) {
            Ok(key) => (key, vec![]),
            Err(why) => {
                let (options, rest) = split_options(line);
                let Ok(key) = PublicKey::from_openssh(rest) else {
                    let is_certificate = line.contains("-cert-v01@openssh.com");
                    let why =
                        if is_certificate { "a certificate; the key is wanted that it was made for".to_owned() } else { why.to_string() };
                    return Err(fault(why).hint("one line of a .pub file is wanted"));
                };
                if options.iter().any(|name| name == "cert-authority") {
                    return Err(fault("the key of an authority that signs certificates, not of somebody who logs in".to_owned())
                        .hint("[[certificate_authority]] takes it"));
                }
                (key, options)
            }
        };
        if !keys.iter().any(|(known, _)| *known == key.0) {
            keys.push(key);
        }
    }
    if keys.is_empty() { Err(Failure::configuration("there is no key in it").hint("one line of a .pub file is wanted")) } else { Ok(keys) }
}

/// The names of the options in front of a key (sshd(8), "AUTHORIZED_KEYS FILE FORMAT"), and what follows them.
fn split_options(line: &str) -> (Vec<String>, &str) {
    let (mut is_quoted, mut is_escaped, mut end, mut commas) = (false, false, line.len(), vec![0]);
    for (at, byte) in line.bytes().enumerate() {
        match byte {
            b'"' if !is_escaped => is_quoted = !is_quoted,
            b' ' | b'\t' if !is_quoted => {
                end = at;
                break;
            }
            b',' if !is_quoted => commas.push(at + 1),
            _ => {}
        }
        is_escaped = byte == b'\\' && !is_escaped;
    }
    let names = commas.iter().map(|from| line[*from..end].split(['=', ',']).next().unwrap_or_default().to_lowercase());
    (names.collect(), line[end..].trim())
}

fn add(file: &Path, user: &str, text: &str) -> Result<String, Failure> {
    let keys = parse(text)?;
    if user == ANONYMOUS {
        return Err(Failure::configuration("anonymous is who shows nothing, and has no key"));
    }
    let mut edit = Edit::open(file)?;
    let config = file.display().to_string();
    let known = entries(&edit.before, &edit.text)?;
    let is_new = !edit.before.book.knows(user);
    let (mut said, mut new) = (String::new(), vec![]);
    for (key, options) in &keys {
        match known.iter().find(|entry| entry.key == *key) {
            Some(entry) if entry.user == user => {
                let _ = writeln!(said, "{}: {} is there already", printable(user), entry.shown(&config));
            }
            Some(entry) => {
                let whose = format!("the key {} is that of '{}'", key.fingerprint(), printable(&entry.user));
                let place = format!("it stands in {}; nothing was changed", entry.shown_place(&config));
                return Err(Failure::configuration(whose).hint(place));
            }
            None => new.push((key, options)),
        }
    }
    if new.is_empty() {
        return Ok(said);
    }
    let lines: Vec<String> = new.iter().map(|(key, _)| key.to_openssh()).collect();
    write_keys(&mut edit.document, user, &lines).ok_or_else(|| unusual(file))?;
    let note = edit.note();
    let (after, text) = edit.write()?;
    let stand = entries(&after, &text)?;
    for (key, options) in &new {
        let fingerprint = key.fingerprint();
        let place = stand.iter().find(|entry| entry.key == **key).map_or_else(|| config.clone(), |entry| entry.shown_place(&config));
        let _ = writeln!(said, "{user}: {fingerprint} added ({place})");
        if !options.is_empty() {
            let _ = writeln!(said, "  not kept: {}; rules say what a user may do", printable(&options.join(", ")));
        }
    }
    let (option, name) = (option(file), quoted(user));
    if is_new {
        let _ = writeln!(said, "{user} is new here; to let them do something: packmule grant{option} {name} REPOSITORY read");
    }
    for (key, _) in &new {
        let _ = writeln!(said, "to take it back: packmule keys remove{option} {name} {}", key.fingerprint());
    }
    Ok(said + note)
}

/// What cannot be edited.
pub(super) fn unusual(file: &Path) -> Failure {
    Failure::configuration(format!("{} is written in a way that leaves no place for this; nothing was changed", file.display()))
        .hint("a table of its own is wanted for each: [users.NAME], [[rule]]")
}

/// Put these lines among the keys of `user`, who is made.
fn write_keys(document: &mut DocumentMut, user: &str, lines: &[String]) -> Option<()> {
    let Some(table) = user_mut(document, user) else {
        let mut table = Table::new();
        table.insert("keys", layout::list(lines.iter().map(String::as_str), true));
        return layout::add_user(document, user, table).then_some(());
    };
    let table = table.as_table_like_mut()?;
    match table.get_mut("keys") {
        Some(keys) => {
            let keys = keys.as_array_mut()?;
            lines.iter().for_each(|line| layout::push(keys, line));
        }
        None => {
            table.insert("keys", layout::list(lines.iter().map(String::as_str), true));
        }
    }
    Some(())
}

fn list(file: &Path, user: Option<&str>) -> Result<String, Failure> {
    let (reading, text) = read(file)?;
    if let Some(user) = user.filter(|user| !reading.book.knows(user)) {
        return Err(unknown_user(file, user));
    }
    let config = file.display().to_string();
    let mut found: Vec<Entry> = entries(&reading, &text)?.into_iter().filter(|entry| user.is_none_or(|user| entry.user == user)).collect();
    found.sort_by(|a, b| a.user.cmp(&b.user));
    Ok(found.iter().map(|entry| format!("{}: {}\n", printable(&entry.user), entry.shown(&config))).collect())
}

/// The configuration as `serve` would read it if whoever calls this started it, and its text.
pub(super) fn read(file: &Path) -> Result<(Reading, String), Failure> {
    let (home, person) = admin_keys::whoever_starts();
    let text = super::super::config::Config::text(file)?;
    let source = Source { file: file.to_owned(), home, person, admin_keys: vec![] };
    Ok((source.read_text(&text)?, text))
}

/// There is nobody of this name.
pub(super) fn unknown_user(file: &Path, user: &str) -> Failure {
    Failure::configuration(format!("{} has no user '{}'", file.display(), printable(user)))
        .hint(format!("packmule users add{} NAME makes one, packmule users shows those that are there", option(file)))
}

fn remove(file: &Path, user: &str, word: &str, in_files: bool) -> Result<String, Failure> {
    let mut edit = Edit::open(file)?;
    if !edit.before.book.knows(user) {
        return Err(unknown_user(file, user));
    }
    let config = file.display().to_string();
    let own: Vec<Entry> = entries(&edit.before, &edit.text)?.into_iter().filter(|entry| entry.user == user).collect();
    let meant: Vec<&Entry> = meant(&own, word)?;
    let listed = |entries: &[&Entry]| entries.iter().map(|entry| format!("  {}", entry.shown(&config))).collect::<Vec<_>>().join("\n");
    let Some(first) = meant.first() else {
        let all: Vec<&Entry> = own.iter().collect();
        let there = if own.is_empty() { "there is none".to_owned() } else { format!("there are:\n{}", listed(&all)) };
        return Err(Failure::configuration(format!("{user} has no such key")).hint(there));
    };
    if meant.iter().any(|entry| entry.key != first.key) {
        return Err(Failure::configuration(format!("'{}' is said of several keys of {user}", printable(word)))
            .hint(format!("their fingerprints tell them apart:\n{}", listed(&meant))));
    }
    let key = first.key.clone();
    let elsewhere = meant.iter().find(|entry| match entry.place {
        Place::Written { .. } => false,
        Place::Named { .. } | Place::Folder { .. } => !in_files,
        Place::Admin(_) => true,
    });
    if let Some(entry) = elsewhere {
        let hint = if matches!(entry.place, Place::Admin(_)) { "that file is not edited" } else { "--file takes it out of that file" };
        return Err(
            Failure::configuration(format!("{user}: {} stands elsewhere, and nothing was changed", entry.shown(&config))).hint(hint)
        );
    }
    let mut written: Vec<usize> =
        meant.iter().filter_map(|entry| if let Place::Written { at, .. } = entry.place { Some(at) } else { None }).collect();
    written.sort_unstable();
    if let Some(table) = user_mut(&mut edit.document, user).and_then(Item::as_table_like_mut)
        && let Some(keys) = table.get_mut("keys").and_then(Item::as_array_mut)
    {
        written.iter().rev().for_each(|at| layout::remove(keys, *at));
        if keys.is_empty() {
            table.remove("keys");
        }
    }
    // Without its file nobody would know the user any more, and rules that name them would be wrong.
    let is_written = edit.before.config.users.keys().any(|name| name.get_ref() == user);
    if !is_written && !layout::add_user(&mut edit.document, user, Table::new()) {
        return Err(unusual(file));
    }
    let source = edit.source.clone();
    let (_, text) = edit.write()?;
    for entry in &meant {
        if let Place::Named { file, .. } | Place::Folder { file, .. } = &entry.place {
            take_out(file, &key, matches!(entry.place, Place::Folder { .. }))?;
        }
    }
    let after = source.read_text(&text)?;
    let mut said: String = meant.iter().map(|entry| format!("{user}: {} removed\n", entry.shown(&config))).collect();
    let left = entries(&after, &text)?.iter().filter(|entry| entry.user == user).count();
    if left == 0 {
        let _ = writeln!(said, "{user} has no key left");
    }
    let _ = writeln!(said, "to take it back: packmule keys add{} {} {}", option(file), quoted(user), quoted(&key.to_openssh()));
    Ok(said)
}

/// Those that `word` means: a fingerprint, a comment, a key, or the keys of a file.
fn meant<'a>(own: &'a [Entry], word: &str) -> Result<Vec<&'a Entry>, Failure> {
    let is_said =
        |entry: &&Entry| [entry.key.fingerprint(), entry.key.fingerprint_md5(), entry.key.comment()].iter().any(|said| said == word);
    let found: Vec<&Entry> = own.iter().filter(is_said).collect();
    if !found.is_empty() || word.is_empty() {
        return Ok(found);
    }
    let keys = match PublicKey::from_openssh(word) {
        Ok(key) => vec![(key, vec![])],
        Err(_) if Path::new(word).is_file() => parse(&read_words(&[word.to_owned()])?)?,
        Err(_) => return Ok(vec![]),
    };
    Ok(own.iter().filter(|entry| keys.iter().any(|(key, _)| *key == entry.key)).collect())
}

/// Take the line of `key` out of a file; one in which nothing is left is deleted, where that takes nothing from anybody.
fn take_out(path: &Path, key: &PublicKey, may_delete: bool) -> Result<(), Failure> {
    let failed = |error: std::io::Error| Failure::io(format!("{}: {error}", path.display()));
    let target = path.canonicalize().map_err(failed)?;
    let locked = super::lock(&target).map_err(failed)?;
    let text = std::fs::read_to_string(&target).map_err(failed)?;
    let is_it = |line: &&str| PublicKey::from_openssh(line.trim()).is_ok_and(|other| other == *key);
    let left: String = text.split_inclusive('\n').filter(|line| !is_it(line)).collect();
    if may_delete && admin_keys::parse(&left).is_ok_and(|keys| keys.is_empty()) {
        return std::fs::remove_file(path).map_err(failed);
    }
    super::replace(&target, &locked, left.as_bytes()).map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ANN: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJdD7y3aLq454yWBdwLWbieU1ebz9/cu7/QEXn9OIeZJ ann@laptop";
    const BOB: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIB2kMbWcEzcqCV6Xd5LBWJRO3gN1tNb0HIm4bgWkKZ1B bob@x";
    const EVE: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAILM+rvN+ot98qgEN796jTiQfZfG1KaT0PtFDJ/XFSqti bob@x";

    struct House(tempfile::TempDir);

    impl House {
        fn of(text: &str) -> Self {
            let house = Self(tempfile::tempdir().expect("a folder"));
            house.put("config.toml", &format!("ssh.own_keys = false\n{text}"));
            house
        }

        fn path(&self, name: &str) -> PathBuf {
            self.0.path().join(name)
        }

        fn put(&self, name: &str, text: &str) {
            std::fs::create_dir_all(self.path(name).parent().expect("a folder")).expect("made");
            std::fs::write(self.path(name), text).expect("written");
        }

        fn text(&self) -> String {
            std::fs::read_to_string(self.path("config.toml")).expect("there").replacen("ssh.own_keys = false\n", "", 1)
        }

        /// What is said, without the folder's name.
        fn said(&self, answer: Result<String, Failure>) -> String {
            answer.unwrap_or_else(|failure| failure.to_string()).replace(&format!("{}/", self.0.path().display()), "")
        }

        fn add(&self, user: &str, text: &str) -> String {
            self.said(add(&self.path("config.toml"), user, text))
        }

        fn remove(&self, user: &str, word: &str, in_files: bool) -> String {
            self.said(remove(&self.path("config.toml"), user, word, in_files))
        }
    }

    fn fingerprint(line: &str) -> String {
        PublicKey::from_openssh(line).expect("a key").fingerprint()
    }

    #[test]
    fn keys_are_added_where_they_belong_and_taken_back() {
        let house = House::of(&format!("# people\n[users.ann]\nkeys = [\"{ANN}\"] # hers\n"));
        let before = house.text();
        let said = house.add("bob", &format!("# two\n{BOB}\n\n{EVE}\n"));
        assert!(
            said.starts_with(&format!(
                "bob: {} added (config.toml:8)\nbob: {} added (config.toml:9)\nbob is new",
                fingerprint(BOB),
                fingerprint(EVE)
            )),
            "{said}"
        );
        assert_eq!(house.text(), format!("{before}\n[users.bob]\nkeys = [\n    \"{BOB}\",\n    \"{EVE}\",\n]\n"));
        assert!(house.add("bob", BOB).contains("is there already"));
        let said = house.add("ann", BOB);
        assert!(said.contains("is that of 'bob'") && said.contains("config.toml:8"), "{said}");
        let said = house.remove("bob", "bob@x", false);
        assert!(said.contains("several keys of bob") && said.contains(&fingerprint(EVE)) && said.contains(&fingerprint(BOB)), "{said}");
        let said = house.remove("bob", &fingerprint(EVE), false);
        assert!(said.contains("removed") && !said.contains("no key left"), "{said}");
        assert!(house.remove("bob", BOB, false).contains("bob has no key left"));
        assert_eq!(house.text(), format!("{before}\n[users.bob]\n"));
        assert!(house.remove("bob", BOB, false).contains("hint: there is none"));
        assert!(house.remove("eve", BOB, false).contains("has no user 'eve'"));
    }

    #[test]
    fn what_is_no_public_key_is_told_and_never_shown() {
        let house = House::of("[users.ann]\n");
        for (text, says) in [
            ("-----BEGIN OPENSSH PRIVATE KEY-----\ncanary\n", "private key"),
            ("", "no key in it"),
            ("nonsense", "line 1: not a public key"),
            (&format!("{ANN}\nssh-ed25519 AAAA\n"), "line 2: not a public key"),
            (&format!("cert-authority {ANN}"), "of an authority"),
            ("ssh-ed25519-cert-v01@openssh.com AAAA x", "a certificate"),
        ] {
            let said = house.add("ann", text);
            assert!(said.contains(says) && !said.contains("canary"), "{text}: {said}");
        }
        assert!(house.add("-x", ANN).contains("is no name"));
        assert!(house.add("anonymous", ANN).contains("has no key"));
        assert_eq!(house.text(), "[users.ann]\n");
    }

    #[test]
    fn options_of_authorized_keys_are_not_kept_and_that_is_told() {
        let house = House::of("");
        let said = house.add("ann", &format!("from=\"10.0.0.0/8,!10.1.1.1\",command=\"echo \\\"a, b\\\"\",no-pty {ANN}"));
        assert!(said.contains("not kept: from, command, no-pty;") && said.contains("started anew"), "{said}");
        assert!(house.text().contains(&format!("\"{ANN}\"")) && !house.text().contains("no-pty"), "{}", house.text());
    }

    #[test]
    fn a_key_in_a_file_is_taken_out_of_it_only_when_that_is_said() {
        let house = House::of("key_folder = \"keys\"\n[users.ann]\nkey_files = [\"ann\"]\n");
        house.put("keys/bob.pub", &format!("# bob\n{BOB}\n"));
        house.put("ann", &format!("{ANN}\n{EVE}\n"));
        assert!(house.add("eve", BOB).contains("it stands in keys/bob.pub:2"));
        let said = house.remove("bob", &fingerprint(BOB), false);
        assert!(
            said.contains("keys/bob.pub:2) stands elsewhere") && said.contains("--file") && house.path("keys/bob.pub").exists(),
            "{said}"
        );
        let said = house.remove("bob", &fingerprint(BOB), true);
        assert!(said.contains("removed") && !house.path("keys/bob.pub").exists(), "{said}");
        assert!(house.text().ends_with("\n[users.bob]\n"), "rules that name bob stay right: {}", house.text());
        let said = house.remove("ann", "ann@laptop", true);
        assert!(said.contains("ann:1) removed") && !said.contains("no key left"), "{said}");
        assert_eq!(std::fs::read_to_string(house.path("ann")).expect("there"), format!("{EVE}\n"));
        let listed = house.said(list(&house.path("config.toml"), Some("ann")));
        assert_eq!(listed, format!("ann: {} ssh-ed25519 bob@x (ann:1)\n", fingerprint(EVE)));
    }
}
