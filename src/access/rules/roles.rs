//! Who made a repository, and whom they gave which role in it: a file in its folder into answers, and back.
//!
//! `packmule.access` is TOML: `creator = "ann"`, and beneath `[roles]` lines such as `writers = ["bob", "@staff"]`. Where it is
//! absent, gitolite's `gl-creator` (a name) and `gl-perms` (lines such as `WRITERS bob @staff`) are read in its place. Names of
//! roles are compared in small letters. A file that cannot be read is an error: nobody has any role then.

use crate::store::{Error, Repositories, RepositoryName};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{ErrorKind, Read as _, Write as _};
use std::path::{Path, PathBuf};

/// The file in a repository's folder.
pub(super) const FILE: &str = "packmule.access";
/// Bytes of such a file.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// Who made a repository, and who has which role in it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Roles {
    /// A user; none: nobody knows.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub creator: Option<String>,
    /// Users, `@groups` and `*` (everybody who has logged in) by the name of the role that they have, in small letters.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub roles: BTreeMap<String, Vec<String>>,
}

impl Roles {
    /// Those of a repository that `user` makes.
    pub fn made_by(user: impl Into<String>) -> Self {
        Self { creator: Some(user.into()), roles: BTreeMap::new() }
    }

    /// Read those of the repository in `folder` (its git directory); none where nothing is written there.
    ///
    /// # Errors
    /// A file is there and cannot be read, or does not say what it should.
    pub fn read(folder: &Path) -> Result<Self, Error> {
        let path = folder.join(FILE);
        if let Some(text) = read_file(&path)? {
            let mut read: Self = toml::from_str(&text).map_err(|err| not_right(&path, err.message()))?;
            for (role, users) in std::mem::take(&mut read.roles) {
                read.roles.entry(role.to_lowercase()).or_default().extend(users);
            }
            return Ok(read);
        }
        let creator = read_file(&folder.join("gl-creator"))?.map(|text| text.trim().to_owned());
        let roles = read_file(&folder.join("gl-perms"))?.map_or_else(BTreeMap::new, |text| of_gitolite(&text));
        Ok(Self { creator: creator.filter(|name| !name.is_empty()), roles })
    }

    /// Those of the repository of this name beneath `root`; none where there is no such repository.
    ///
    /// # Errors
    /// As of [`Roles::read`], and where two repositories have this name.
    pub fn find(root: &Path, name: &RepositoryName) -> Result<Option<Self>, Error> {
        Repositories::find_beneath(root, name)?.map(|folder| Self::read(&folder)).transpose()
    }

    /// Write them into `folder`: another reader sees what was before or all of it.
    ///
    /// # Errors
    /// The disk is full, for example; then nothing has changed.
    pub fn write(&self, folder: &Path) -> Result<(), Error> {
        let path = folder.join(FILE);
        let text = toml::to_string(self).map_err(|err| not_right(&path, &err.to_string()))?;
        if text.len() as u64 > FILE_BYTES_MAX {
            return Err(Error::InTheWay("so many roles are not kept in one repository; give them to groups".to_owned()));
        }
        let random = getrandom::u64().map_err(|err| Error::io("get random bytes")(std::io::Error::other(err.to_string())))?;
        let beside = folder.join(format!("{FILE}.{random:016x}"));
        let written = File::create_new(&beside)
            .and_then(|mut file| file.write_all(text.as_bytes()).and_then(|()| file.sync_all()))
            .and_then(|()| std::fs::rename(&beside, &path))
            .and_then(|()| File::open(folder)?.sync_all());
        if written.is_err() {
            let _ = std::fs::remove_file(&beside);
        }
        written.map_err(Error::io(format!("write {}", path.display())))
    }

    /// Whom `role` was given; the creator has none but what they gave themselves.
    pub(super) fn holders(&self, role: &str) -> &[String] {
        self.roles.get(role).map_or(&[], Vec::as_slice)
    }
}

/// Lines of a role and who has it.
fn of_gitolite(text: &str) -> BTreeMap<String, Vec<String>> {
    let mut roles = BTreeMap::<String, Vec<String>>::new();
    for line in text.lines().map(|line| line.split('#').next().unwrap_or_default()) {
        let mut words = line.split_whitespace();
        let Some(role) = words.next() else { continue };
        let role = match role.to_lowercase().as_str() {
            "r" => "readers".to_owned(),
            "rw" => "writers".to_owned(),
            role => role.to_owned(),
        };
        let users = words.map(|word| if word == "@all" { "*" } else { word }.to_owned());
        roles.entry(role).or_default().extend(users);
    }
    roles
}

fn read_file(path: &Path) -> Result<Option<String>, Error> {
    let mut text = String::new();
    match File::open(path).and_then(|file| file.take(FILE_BYTES_MAX + 1).read_to_string(&mut text)) {
        Ok(_) if text.len() as u64 > FILE_BYTES_MAX => Err(not_right(path, "it is too long")),
        Ok(_) => Ok(Some(text)),
        Err(err) if err.kind() == ErrorKind::NotFound => Ok(None),
        Err(err) => Err(Error::io(format!("read {}", path.display()))(err)),
    }
}

fn not_right(path: &Path, why: &str) -> Error {
    Error::io(format!("read {}", PathBuf::from(path).display()))(std::io::Error::new(ErrorKind::InvalidData, why))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_back_and_stands_before_what_gitolite_left() {
        let folder = tempfile::tempdir().expect("a folder");
        assert_eq!(Roles::read(folder.path()).expect("nothing there"), Roles::default());
        std::fs::write(folder.path().join("gl-creator"), "ann\n").expect("written");
        std::fs::write(folder.path().join("gl-perms"), "READERS @all\nWRITERS bob @staff # friends\n\nRW eve\n").expect("written");
        let left = Roles::read(folder.path()).expect("gitolite's");
        assert_eq!((left.creator.as_deref(), left.holders("readers")), (Some("ann"), &["*".to_owned()][..]));
        assert_eq!(left.holders("writers"), ["bob", "@staff", "eve"]);
        let mut own = Roles::made_by("bob");
        own.roles.insert("readers".to_owned(), vec!["eve".to_owned()]);
        own.write(folder.path()).expect("written");
        assert_eq!(Roles::read(folder.path()).expect("ours"), own);
        assert_eq!(std::fs::read_dir(folder.path()).expect("a folder").count(), 3, "nothing stays beside it");
    }

    #[test]
    fn a_file_that_says_something_else_is_an_error() {
        let folder = tempfile::tempdir().expect("a folder");
        for text in ["creator = 3", "owner = \"ann\"", "creator = \"ann"] {
            std::fs::write(folder.path().join(FILE), text).expect("written");
            assert!(Roles::read(folder.path()).is_err(), "{text}");
        }
        let long = format!("creator = \"{}\"", "x".repeat(1 << 20));
        std::fs::write(folder.path().join(FILE), long).expect("written");
        assert!(Roles::read(folder.path()).is_err());
    }
}
