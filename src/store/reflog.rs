//! Changes of refs into lines beneath `logs`.
//!
//! Source: gitrepository-layout, "logs"; git-config, `core.logAllRefUpdates`. A line is
//! `<old> <new> <name> <<mail>> <seconds> <zone>\t<message>`. A log is convenience, not truth: a line that cannot
//! be written is a warning for the administrator and no reason to refuse a push.

use super::LogRefs;
use super::loose_ref::{prune_parents, ref_path, remove_empty_folders};
use bstr::{BStr, BString};
use gix_hash::oid;
use std::fs::{self, File};
use std::io::{self, ErrorKind, Write as _};
use std::path::{Path, PathBuf};

/// Writes lines for one push: all have the same identity and moment.
pub(super) struct Reflog {
    logs: PathBuf,
    when: LogRefs,
    /// `Name <mail> seconds +0000`.
    who: BString,
}

impl Reflog {
    /// Logs beneath `dir`; `identity` is `Name <mail>`; it happened now, or at `time_s`.
    pub(super) fn new(dir: &Path, when: LogRefs, identity: &BStr, time_s: Option<u64>) -> Self {
        let now_s = time_s.unwrap_or_else(super::journal::now_s);
        let mut who = one_line(identity);
        who.extend_from_slice(format!(" {now_s} +0000").as_bytes());
        Self { logs: dir.join("logs"), when, who }
    }

    /// Say that `name` went from `old` to `new`, if its changes are logged.
    pub(super) fn append(&self, name: &BStr, old: &oid, new: &oid, message: &BStr) {
        if let Err(err) = self.try_append(name, old, new, message) {
            tracing::warn!(reflog = %ref_path(&self.logs, name).display(), %err, "a change of a ref was not logged");
        }
    }

    fn try_append(&self, name: &BStr, old: &oid, new: &oid, message: &BStr) -> io::Result<()> {
        let path = ref_path(&self.logs, name);
        let Some(mut file) = (if self.is_wanted(name) { create(&path).map(Some) } else { open_existing(&path) })? else {
            return Ok(());
        };
        let mut line = format!("{old} {new} ").into_bytes();
        line.extend_from_slice(&self.who);
        let message = one_line(message);
        if !message.is_empty() {
            line.push(b'\t');
            line.extend_from_slice(&message);
        }
        line.push(b'\n');
        file.write_all(&line)
    }

    /// Whether a log begins with the first change.
    fn is_wanted(&self, name: &BStr) -> bool {
        match self.when {
            LogRefs::Existing => false,
            LogRefs::Always => true,
            LogRefs::Usual => {
                name == "HEAD" || [&b"refs/heads/"[..], b"refs/remotes/", b"refs/notes/"].iter().any(|kind| name.starts_with(kind))
            }
        }
    }

    /// The ref is gone: so is its log, and the folders that this leaves empty.
    pub(super) fn remove(&self, name: &BStr) {
        match fs::remove_file(ref_path(&self.logs, name)) {
            Ok(()) => prune_parents(&self.logs, name),
            Err(err) if matches!(err.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory | ErrorKind::IsADirectory) => {}
            Err(err) => tracing::warn!(reflog = %ref_path(&self.logs, name).display(), %err, "the log of a deleted ref stays"),
        }
    }
}

fn open_existing(path: &Path) -> io::Result<Option<File>> {
    match File::options().append(true).open(path) {
        Ok(file) => Ok(Some(file)),
        Err(err) if matches!(err.kind(), ErrorKind::NotFound | ErrorKind::IsADirectory | ErrorKind::NotADirectory) => Ok(None),
        Err(err) => Err(err),
    }
}

fn create(path: &Path) -> io::Result<File> {
    let open = || File::options().append(true).create(true).open(path);
    match open() {
        Err(err) if err.kind() == ErrorKind::NotFound => {
            fs::create_dir_all(path.parent().unwrap_or(path))?;
            open()
        }
        Err(err) if err.kind() == ErrorKind::IsADirectory => {
            remove_empty_folders(path)?;
            open()
        }
        other => other,
    }
}

/// Runs of white space become one space, as in git, so that no text can end a line or pose as another field.
fn one_line(text: &BStr) -> BString {
    let mut out = BString::default();
    for word in text.split(|byte| byte.is_ascii_whitespace() || matches!(byte, 0 | 0x0b)).filter(|word| !word.is_empty()) {
        if !out.is_empty() {
            out.push(b' ');
        }
        out.extend_from_slice(word);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_message_can_forge_a_second_line() {
        assert_eq!(one_line(" push\n\tby  ann \r\n".into()), "push by ann");
    }

    #[test]
    fn a_log_begins_by_itself_only_where_the_settings_say_so() {
        let dir = tempfile::tempdir().expect("a folder");
        let id = gix_hash::Kind::Sha1.null();
        for (when, name, wanted) in [
            (LogRefs::Existing, "refs/heads/a", false),
            (LogRefs::Usual, "refs/heads/b", true),
            (LogRefs::Usual, "refs/tags/c", false),
            (LogRefs::Always, "refs/tags/d", true),
            (LogRefs::Usual, "HEAD", true),
        ] {
            Reflog::new(dir.path(), when, "A <a@x>".into(), None).append(name.into(), &id, &id, "push".into());
            assert_eq!(dir.path().join("logs").join(name).exists(), wanted, "{name}");
        }
    }
}
