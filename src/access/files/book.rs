//! The three files of one folder into what they say together, or into the first fault.

use super::htpasswd::Passwords;
use super::repoperms::Permissions;
use super::{ANONYMOUS, printable};
use crate::access::{PasswordHash, PublicKey};
use std::collections::HashMap;
use std::hash::{BuildHasher as _, RandomState};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;

const PASSWORDS: &str = ".htpasswd";
const PERMISSIONS: &str = ".repoperms";
const KEYS: &str = ".rsakeys";

/// Somebody's rights cannot be read from the files.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FilesError {
    /// A file cannot be read, or is not there.
    #[error("{}: {source}", .file.display())]
    Unreadable {
        /// Which.
        file: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A file that was there has gone.
    #[error("{} has gone: an empty one means nobody", .0.display())]
    Gone(PathBuf),
    /// A file says what it cannot mean; a sentence with its line.
    #[error("{0}")]
    Fault(String),
    /// Neither keys nor passwords.
    #[error("{} holds neither .htpasswd nor .rsakeys, so nobody could log in", .0.display())]
    Nobody(PathBuf),
}

/// What the three files say.
#[derive(Debug, Default)]
pub struct FileBook {
    pub(super) permissions: Permissions,
    keys: HashMap<PublicKey, Vec<String>>,
    passwords: HashMap<String, Arc<PasswordHash>>,
    /// Whose hash is compared for whom nobody knows.
    stand_ins: (RandomState, Vec<Arc<PasswordHash>>),
    /// Whether `anonymous` may read anything.
    pub(super) is_open: bool,
    /// Which files were there: passwords, keys.
    had: (bool, bool),
    notes: Vec<String>,
}

impl FileBook {
    /// The files in `folder` that are read.
    pub fn files(folder: &Path) -> Vec<PathBuf> {
        [PASSWORDS, PERMISSIONS, KEYS].map(|name| folder.join(name)).into()
    }

    /// Read the files in `folder`. Passwords or keys may be missing, but not what was there `before`.
    ///
    /// # Errors
    /// The first thing that is wrong; what concerns a single user is left out instead, and told by [`FileBook::notes`].
    pub fn read(folder: &Path, before: Option<&Self>) -> Result<Self, FilesError> {
        let text = |name: &str, may_lack: bool| match std::fs::read_to_string(folder.join(name)) {
            Ok(text) => Ok(Some(text)),
            Err(error) if error.kind() == ErrorKind::NotFound && may_lack => Ok(None),
            Err(error) if error.kind() == ErrorKind::NotFound && before.is_some() => Err(FilesError::Gone(folder.join(name))),
            Err(source) => Err(FilesError::Unreadable { file: folder.join(name), source }),
        };
        let (had_passwords, had_keys) = before.map_or((false, false), |before| before.had);
        let permissions = text(PERMISSIONS, false)?.unwrap_or_default();
        let (passwords, keys) = (text(PASSWORDS, !had_passwords)?, text(KEYS, !had_keys)?);
        if passwords.is_none() && keys.is_none() {
            return Err(FilesError::Nobody(folder.to_owned()));
        }
        let had = (passwords.is_some(), keys.is_some());
        Self::parse(&permissions, &passwords.unwrap_or_default(), &keys.unwrap_or_default(), had).map_err(FilesError::Fault)
    }

    fn parse(permissions: &str, passwords: &str, keys: &str, had: (bool, bool)) -> Result<Self, String> {
        let mut permissions = Permissions::parse(permissions, PERMISSIONS)?;
        let passwords = Passwords::parse(passwords, PASSWORDS)?;
        let mut notes = [std::mem::take(&mut permissions.odd), passwords.left_out].concat();
        let keys = read_keys(keys, &mut notes);
        if permissions.folders().any(|folder| permissions.of(ANONYMOUS, folder).write) {
            notes.push(format!("{PERMISSIONS}: '{ANONYMOUS}' may read and nothing else: who pushes says who they are"));
        }
        let stand_ins = (RandomState::new(), passwords.by_user.values().cloned().collect());
        let is_open = permissions.lets_read(ANONYMOUS);
        Ok(Self { is_open, permissions, keys, passwords: passwords.by_user, stand_ins, had, notes })
    }

    /// What was left out or looks odd, in sentences.
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// How many users can log in, and how many repositories are named.
    pub fn counts(&self) -> (usize, usize) {
        let users: std::collections::HashSet<&String> = self.keys.values().flatten().chain(self.passwords.keys()).collect();
        (users.len(), self.permissions.folders().count())
    }

    /// Whether this is a key of the user of this name: one key may be that of several.
    pub(super) fn has_key(&self, user: &str, key: &PublicKey) -> bool {
        self.keys.get(key).is_some_and(|users| users.iter().any(|name| name == user))
    }

    /// Whether anybody has this key.
    pub(super) fn knows_key(&self, key: &PublicKey) -> bool {
        self.keys.contains_key(key)
    }

    /// Whether anybody has a password.
    pub(super) fn has_passwords(&self) -> bool {
        !self.passwords.is_empty()
    }

    /// The hash to compare a password with, and whether it is that user's; for others always the same one of somebody.
    pub(super) fn password_of(&self, user: &str) -> Option<(Arc<PasswordHash>, bool)> {
        if let Some(hash) = self.passwords.get(user) {
            return Some((hash.clone(), true));
        }
        let (hasher, all) = &self.stand_ins;
        let many = u64::try_from(all.len()).ok().filter(|many| *many > 0)?;
        let chosen = usize::try_from(hasher.hash_one(user) % many).ok()?;
        Some((all[chosen].clone(), false))
    }
}

/// Lines of `USER: ssh-rsa AAAA...`; what is no key lets nobody in.
fn read_keys(text: &str, notes: &mut Vec<String>) -> HashMap<PublicKey, Vec<String>> {
    let mut keys: HashMap<PublicKey, Vec<String>> = HashMap::new();
    for (number, line) in (1..).zip(text.lines()).filter(|(_, line)| !line.trim().is_empty() && !line.starts_with('#')) {
        let Some((user, key)) = line.split_once(':') else {
            notes.push(format!("{KEYS}:{number}: a line is USER: KEY, and this one has no colon"));
            continue;
        };
        let user = user.trim();
        match PublicKey::from_openssh(key) {
            Ok(key) => keys.entry(key).or_default().push(user.to_owned()),
            Err(why) => notes.push(format!("{KEYS}:{number}: this key of '{}' lets nobody in: {why}", printable(user))),
        }
    }
    keys
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJdD7y3aLq454yWBdwLWbieU1ebz9/cu7/QEXn9OIeZJ";

    fn key() -> PublicKey {
        PublicKey::from_openssh(KEY).expect("a key")
    }

    #[test]
    fn a_key_is_that_of_every_user_who_has_a_line_with_it() {
        let keys = format!("ann: {KEY} laptop\nbob :{KEY}\n\nann: ssh-rsa AAAA\nno key at all\n# cleo: {KEY}\n");
        let book = FileBook::parse("[a.git]\nann = rw\nanonymous = rw\n", "", &keys, (true, true)).expect("read");
        assert!(book.has_key("ann", &key()) && book.has_key("bob", &key()) && !book.has_key("cleo", &key()) && !book.has_key("", &key()));
        let notes = book.notes().join("\n");
        assert!(
            notes.contains(".rsakeys:4: this key of 'ann'") && notes.contains(".rsakeys:5:") && notes.contains("nothing else"),
            "{notes}"
        );
        assert_eq!(book.counts(), (2, 1));
    }

    #[test]
    fn for_an_unknown_user_somebodys_hash_is_compared_and_never_counts() {
        let book = FileBook::parse("", "ann:{SHA}qvTGHdzF6KLavt4PO0gs2a6pQ00=\n", "", (true, false)).expect("read");
        let (known, is_hers) = book.password_of("ann").expect("a hash");
        assert!(is_hers && known.verify("hello"));
        let (stand_in, is_theirs) = book.password_of("eve").expect("a hash");
        assert!(!is_theirs && Arc::ptr_eq(&known, &stand_in));
    }

    #[test]
    fn a_file_that_has_gone_is_a_fault_and_one_that_never_was_is_none() {
        let folder = tempfile::tempdir().expect("a folder");
        let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).expect("written");
        assert!(matches!(FileBook::read(folder.path(), None), Err(FilesError::Unreadable { .. })));
        write(PERMISSIONS, "[a.git]\nann = rw\n");
        assert!(matches!(FileBook::read(folder.path(), None), Err(FilesError::Nobody(_))));
        write(KEYS, &format!("ann: {KEY}\n"));
        let book = FileBook::read(folder.path(), None).expect("read");
        write(PASSWORDS, "");
        std::fs::remove_file(folder.path().join(KEYS)).expect("removed");
        assert!(matches!(FileBook::read(folder.path(), Some(&book)), Err(FilesError::Gone(_))));
        assert!(!FileBook::read(folder.path(), None).expect("read").knows_key(&key()));
    }
}
