//! Commands that change `config.toml`, comments, order and layout kept.
//!
//! | file | turns what into what |
//! |---|---|
//! | `args` | the command line into values |
//! | `keys` | `packmule keys`: public keys into lines of the file |
//! | `grant` | `packmule grant` and `revoke`: a question into the rule that answers it |
//! | `question` | what is granted or revoked into names to ask about |
//! | `users` | `packmule users`: people, and passwords into hashes |
//! | `layout` | a change of lists and tables into one that leaves comments where they belong |
//!
//! One who edits holds the file's lock, so two do not lose each other's change. What would not pass `packmule check` is not
//! written. What is takes the old file's place at once, with its mode and owner; a link leads to the file that is replaced.
//! Access control lists and extended attributes of the old file are not kept.

pub(super) mod args;
pub(super) mod grant;
pub(super) mod keys;
mod layout;
mod question;
pub(super) mod users;

use super::drivers;
use super::failure::Failure;
use super::rules::{DEFAULT_FILE, Reading, Source};
use std::fs::{File, OpenOptions, Permissions};
use std::io::{ErrorKind, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _, fchown};
use std::path::{Path, PathBuf};
use toml_edit::{DocumentMut, Item};

/// One change of a configuration, while nobody else may change it.
struct Edit {
    source: Source,
    /// The file itself, where `source` names a link.
    target: PathBuf,
    text: String,
    document: DocumentMut,
    /// What it says before the change.
    before: Reading,
    /// Held until the end.
    locked: File,
}

impl Edit {
    /// Take hold of `file`, which must be right as it is.
    fn open(file: &Path) -> Result<Self, Failure> {
        let failed = |error: std::io::Error| match error.kind() {
            ErrorKind::NotFound => Failure::configuration(format!("there is no {}", file.display()))
                .hint("packmule init makes one; --config FILE names another"),
            _ => Failure::io(format!("{}: {error}", file.display())),
        };
        let target = file.canonicalize().map_err(failed)?;
        let locked = lock(&target).map_err(failed)?;
        let text = std::fs::read_to_string(&target).map_err(failed)?;
        let source = Source { file: file.to_owned(), home: None, person: None, admin_keys: vec![] };
        let before = source.read_text(&text).map_err(|fault| fault.hint("the file was wrong before: mend that first"))?;
        let document = text.parse().map_err(|error| Failure::configuration(format!("{}: {error}", file.display())))?;
        Ok(Self { source, target, text, document, before, locked })
    }

    /// What the file would say as it is now.
    fn judged(&self) -> Result<Reading, Failure> {
        self.judged_as(&self.document)
    }

    fn judged_as(&self, document: &DocumentMut) -> Result<Reading, Failure> {
        let check = |text: &str| {
            let reading = self.source.read_text(text)?;
            drivers::check_leftovers(&reading.config)?;
            Ok(reading)
        };
        check(&document.to_string()).map_err(|fault: Failure| fault.hint("nothing was changed"))
    }

    /// Write it, if it is right, and what it says then; with its text.
    fn write(self) -> Result<(Reading, String), Failure> {
        let after = self.judged()?;
        let text = self.document.to_string();
        if text != self.text {
            replace(&self.target, &self.locked, text.as_bytes()).map_err(|error| {
                Failure::io(format!("cannot write {}: {error}", self.source.file.display())).hint("nothing was changed")
            })?;
        }
        Ok((after, text))
    }

    /// What those should know whose server runs without users and rules.
    fn note(&self) -> &'static str {
        if self.before.config.has_rules() {
            ""
        } else {
            "this is the first that the file says of users and rules: a server that runs already follows it when it is started anew\n"
        }
    }
}

/// What the document says of this user in a table of theirs.
fn user_mut<'a>(document: &'a mut DocumentMut, name: &str) -> Option<&'a mut Item> {
    document.get_mut("users")?.as_table_like_mut()?.get_mut(name)
}

/// The file at `path`, locked. Whoever had the lock before may have put another file into its place.
fn lock(path: &Path) -> std::io::Result<File> {
    loop {
        let file = File::open(path)?;
        file.lock()?;
        let (held, there) = (file.metadata()?, path.metadata()?);
        if (held.dev(), held.ino()) == (there.dev(), there.ino()) {
            return Ok(file);
        }
    }
}

/// Put a file of these bytes into the place of `old`, which is `path`, all at once and with its mode and owner.
fn replace(path: &Path, old: &File, bytes: &[u8]) -> std::io::Result<()> {
    let (folder, name) = (path.parent().unwrap_or(Path::new(".")), path.file_name().unwrap_or_default());
    let beside = folder.join(format!(".{}.new", name.to_string_lossy()));
    // Only who holds the lock makes it: one that is there was left by somebody who was stopped.
    match std::fs::remove_file(&beside) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&beside)?;
    let mut put = || {
        let (was, is) = (old.metadata()?, file.metadata()?);
        if (was.uid(), was.gid()) != (is.uid(), is.gid()) {
            fchown(&file, Some(was.uid()), Some(was.gid()))?;
        }
        file.set_permissions(Permissions::from_mode(was.mode() & 0o7777))?;
        file.write_all(bytes)?;
        file.sync_all()?;
        std::fs::rename(&beside, path)
    };
    put().inspect_err(|_| {
        let _ = std::fs::remove_file(&beside);
    })?;
    File::open(folder)?.sync_all()
}

/// `word` as a shell takes it.
pub(super) fn quoted(word: &str) -> String {
    let is_plain = |letter: char| letter.is_ascii_alphanumeric() || "._-+@/:=,".contains(letter);
    if !word.is_empty() && word.chars().all(is_plain) { word.to_owned() } else { format!("'{}'", word.replace('\'', r"'\''")) }
}

/// The word that names the file in commands, where it is not the one that is meant anyway.
pub(super) fn option(file: &Path) -> String {
    if file == Path::new(DEFAULT_FILE) { String::new() } else { format!(" --config {}", quoted(&file.display().to_string())) }
}

/// The line of `text` in which the byte `at` stands, counted from 1.
pub(super) fn line_of(text: &str, at: usize) -> usize {
    text.bytes().take(at).filter(|byte| *byte == b'\n').count() + 1
}

#[cfg(test)]
mod tests {
    use super::*;

    const USERS: &str = "# ours\n[users.ann]   # the first\n";

    fn at(folder: &tempfile::TempDir, text: &str) -> PathBuf {
        let file = folder.path().join("config.toml");
        std::fs::write(&file, text).expect("written");
        file
    }

    #[test]
    fn what_is_wrong_is_not_written_and_nothing_is_left_beside() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = at(&folder, USERS);
        let mut edit = Edit::open(&file).expect("right");
        edit.document["users"]["ann"]["kees"] = toml_edit::value("x");
        let said = edit.write().map(|_| ()).expect_err("no such field").to_string();
        assert!(said.contains("unknown field `kees`") && said.ends_with("hint: nothing was changed\n"), "{said}");
        assert_eq!(std::fs::read_to_string(&file).expect("there"), USERS);
        assert_eq!(std::fs::read_dir(folder.path()).expect("a folder").count(), 1);
        let said = Edit::open(&at(&folder, "[users.ann]\nkees = 1\n")).map(|_| ()).expect_err("wrong before").to_string();
        assert!(said.contains("mend that first"), "{said}");
        let said = Edit::open(&folder.path().join("other.toml")).map(|_| ()).expect_err("no file").to_string();
        assert!(said.contains("packmule init makes one"), "{said}");
    }

    #[test]
    fn a_link_mode_and_comments_are_kept() {
        let folder = tempfile::tempdir().expect("a folder");
        let (file, link) = (at(&folder, USERS), folder.path().join("link.toml"));
        std::fs::set_permissions(&file, Permissions::from_mode(0o640)).expect("set");
        std::fs::write(folder.path().join(".config.toml.new"), "left by a crash").expect("written");
        std::os::unix::fs::symlink("config.toml", &link).expect("a link");
        let mut edit = Edit::open(&link).expect("right");
        edit.document["users"]["bob"] = toml_edit::table();
        edit.write().map(|_| ()).expect("written");
        assert!(link.is_symlink() && !folder.path().join(".config.toml.new").exists());
        assert_eq!(file.metadata().expect("there").mode() & 0o7777, 0o640);
        assert_eq!(std::fs::read_to_string(&file).expect("there"), format!("{USERS}\n[users.bob]\n"));
    }

    #[test]
    fn changes_that_come_at_the_same_time_are_all_kept() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = at(&folder, USERS);
        std::thread::scope(|scope| {
            for number in 0..8 {
                let file = &file;
                scope.spawn(move || {
                    let mut edit = Edit::open(file).expect("right");
                    edit.document["users"][&format!("user{number}")] = toml_edit::table();
                    edit.write().map(|_| ()).expect("written");
                });
            }
        });
        let text = std::fs::read_to_string(&file).expect("there");
        assert!(text.starts_with(USERS) && (0..8).all(|number| text.contains(&format!("[users.user{number}]"))), "{text}");
    }

    #[test]
    fn words_are_quoted_for_a_shell() {
        assert_eq!(["main", "wip/*", "it's", ""].map(quoted), ["main", "'wip/*'", r"'it'\''s'", "''"]);
        assert_eq!((option(Path::new("config.toml")), option(Path::new("a b"))), (String::new(), " --config 'a b'".to_owned()));
        assert_eq!((line_of("a\nb\n", 0), line_of("a\nb\n", 2), line_of("", 9)), (1, 2, 1));
    }
}
