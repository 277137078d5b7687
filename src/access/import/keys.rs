//! A folder of keys, with folders in it, into the keys of each user.
//!
//! The file's name says whose the keys are. gitolite: `ann.pub`, `ann@laptop.pub` and `home/ann.pub` are ann's, `ann@example.com.pub`
//! is that of `ann@example.com`. gitosis: the name is the user, whatever `@` it has. A key counts for the first file that has it.

use super::{Remark, Remarks};
use crate::access::{PublicKey, printable};
use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

/// Folders within folders.
const DEPTH_MAX: usize = 32;
/// Files.
const FILES_MAX: usize = 1_000_000;
/// Bytes of one file.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// Keys by user, in order.
pub(super) type Keys = BTreeMap<String, Vec<PublicKey>>;

/// How a file's name says whose the key is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Naming {
    Gitolite,
    Gitosis,
}

/// Read all keys in `folder`; gitolite looks into the folders in it, too.
pub(super) fn read(folder: Option<&Path>, naming: Naming, remarks: &mut Remarks) -> Keys {
    let mut files = vec![];
    if let Some(folder) = folder
        && let Err(error) = collect(folder, if naming == Naming::Gitolite { 0 } else { DEPTH_MAX }, &mut files)
    {
        remarks.fault(Remark::about(folder, error.to_string()));
    }
    files.sort();
    let (mut keys, mut owners): (Keys, HashMap<PublicKey, PathBuf>) = (Keys::new(), HashMap::new());
    for file in files {
        let Some(user) = file.file_name().and_then(|name| name.to_str()).and_then(|name| owner(name, naming)) else { continue };
        if !super::names::is_name(user) || user.contains('/') || user == "anonymous" {
            remarks.note(Remark::about(&file, format!("'{}' can be no user's name: its key is left out", printable(user))));
            continue;
        }
        for key in keys_of(&file, naming, remarks) {
            match owners.get(&key) {
                Some(first) => {
                    let message = format!("its key is in {} too, and counts there", printable(&first.display().to_string()));
                    remarks.note(Remark::about(&file, message).hinted("a key must tell who somebody is"));
                }
                None => {
                    owners.insert(key.clone(), file.clone());
                    keys.entry(user.to_owned()).or_default().push(key);
                }
            }
        }
    }
    keys
}

/// Whose keys the file `NAME.pub` holds.
fn owner(name: &str, naming: Naming) -> Option<&str> {
    let stem = name.strip_suffix(".pub").filter(|stem| !stem.is_empty())?;
    if naming != Naming::Gitolite {
        return Some(stem);
    }
    // gitolite cuts the first `@` behind which there is no dot, and all that follows: with a dot it is an address.
    let dot = stem.rfind('.').map_or(0, |at| at + 1);
    let cut = stem[dot..].find('@').map(|at| dot + at).filter(|at| *at > 0 && at + 1 < stem.len());
    Some(cut.map_or(stem, |at| &stem[..at]))
}

fn collect(folder: &Path, depth: usize, files: &mut Vec<PathBuf>) -> std::io::Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        // As `find -type f`: links are not followed.
        let kind = entry.file_type()?;
        if kind.is_dir() && depth < DEPTH_MAX {
            collect(&entry.path(), depth + 1, files)?;
        } else if kind.is_file() && files.len() < FILES_MAX {
            files.push(entry.path());
        }
    }
    Ok(())
}

fn keys_of(file: &Path, naming: Naming, remarks: &mut Remarks) -> Vec<PublicKey> {
    let size = std::fs::metadata(file).map_or(0, |data| data.len());
    let text = match std::fs::read_to_string(file) {
        Ok(text) if size <= FILE_BYTES_MAX => text,
        Ok(_) => {
            remarks.fault(Remark::about(file, format!("more than {FILE_BYTES_MAX} bytes are no key")));
            return vec![];
        }
        Err(error) => {
            remarks.fault(Remark::about(file, error.to_string()));
            return vec![];
        }
    };
    let mut keys = vec![];
    // gitosis takes every line.
    if naming == Naming::Gitolite && text.lines().count() > 1 {
        remarks.note(
            Remark::about(file, "more than one line: gitolite ignores such a file, and so nothing of it is taken")
                .hinted("ssh-authkeys-split, or a file for each key, before importing again"),
        );
        return keys;
    }
    for line in text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')) {
        match PublicKey::from_openssh(line) {
            Ok(key) => keys.push(key),
            Err(error) => remarks.note(
                Remark::about(file, format!("{error}: left out"))
                    .hinted("ssh-keygen -i -f FILE turns keys of other programs into OpenSSH's"),
            ),
        }
    }
    keys
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_files_say_whose_the_key_is_as_gitolite_documents_it() {
        for (file, user) in [
            ("sitaramc.pub", "sitaramc"),
            ("sitaramc@laptop.pub", "sitaramc"),
            ("sitaramc@gmail.com.pub", "sitaramc@gmail.com"),
            ("sitaramc@gmail.com@desktop.pub", "sitaramc@gmail.com"),
            ("ann@home@laptop.pub", "ann"),
            ("ann@.pub", "ann@"),
        ] {
            assert_eq!(owner(file, Naming::Gitolite), Some(user), "{file}");
        }
        assert_eq!(owner("jdoe@laptop.pub", Naming::Gitosis), Some("jdoe@laptop"));
        assert_eq!(owner("README", Naming::Gitolite), None);
    }
}
