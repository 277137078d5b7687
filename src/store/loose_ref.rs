//! One file beneath `refs` into a value, read straight from disk; and the folders round it.
//!
//! Source: gitrepository-layout, "refs"; git-symbolic-ref. A file holds an object's id in hexadecimal or
//! `ref: ` and a name. A symbolic link whose text begins with `refs/` counts as a symbolic ref, as in git.

use bstr::{BStr, BString, ByteSlice as _};
use gix_hash::ObjectId;
use std::ffi::OsStr;
use std::fs;
use std::io::{self, ErrorKind};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Path, PathBuf};

/// What the file of a ref says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Loose {
    /// There is no file; the ref may be packed.
    Missing,
    /// An object.
    Object(ObjectId),
    /// Another ref.
    Symbolic(BString),
    /// Nothing that can be understood: empty after a crash, say. It hides a packed value.
    Broken,
}

/// Where the file of the ref `name` lies.
pub(super) fn ref_path(dir: &Path, name: &BStr) -> PathBuf {
    dir.join(OsStr::from_bytes(name))
}

/// Read the file of the ref `name`, which has been checked.
pub(super) fn read_loose(dir: &Path, name: &BStr, hash: gix_hash::Kind) -> io::Result<Loose> {
    let path = ref_path(dir, name);
    let missing = |err: &io::Error| matches!(err.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory | ErrorKind::IsADirectory);
    match fs::read_link(&path) {
        Ok(target) => {
            let target = BString::from(target.into_os_string().into_vec());
            if is_valid_name(target.as_bstr()) {
                return Ok(Loose::Symbolic(target));
            }
        }
        Err(err) if missing(&err) => return Ok(Loose::Missing),
        Err(err) if err.kind() == ErrorKind::InvalidInput => {} // not a link
        Err(err) => return Err(err),
    }
    match fs::read(&path) {
        Ok(text) => Ok(parse(&text, hash)),
        Err(err) if missing(&err) => Ok(Loose::Missing),
        Err(err) => Err(err),
    }
}

fn parse(text: &[u8], hash: gix_hash::Kind) -> Loose {
    if let Some(target) = text.strip_prefix(b"ref:") {
        let target = target.trim();
        return if is_valid_name(target.as_bstr()) { Loose::Symbolic(target.into()) } else { Loose::Broken };
    }
    let hex_len = hash.len_in_hex();
    if text.len() < hex_len || text.get(hex_len).is_some_and(|byte| !byte.is_ascii_whitespace()) {
        return Loose::Broken;
    }
    match ObjectId::from_hex(&text[..hex_len]) {
        Ok(id) if !id.is_null() => Loose::Object(id),
        _ => Loose::Broken,
    }
}

/// Whether git would let a push create a ref of this full name: beneath `refs/` with at least one folder between.
pub(super) fn is_valid_name(name: &BStr) -> bool {
    is_deletable_name(name) && name[5..].contains(&b'/')
}

/// Whether git would let a push delete a ref of this full name: `refs/x` is, so that accidents can be undone.
pub(super) fn is_deletable_name(name: &BStr) -> bool {
    name.strip_prefix(b"refs/").is_some_and(|rest| gix_validate::reference::name_partial(rest.as_bstr()).is_ok())
}

/// The names of all refs that would be folders on the way to `name`: for `refs/heads/a/b`, `refs/heads` and `refs/heads/a`.
pub(super) fn prefixes(name: &BStr) -> impl Iterator<Item = &BStr> {
    name.find_iter("/").skip(1).map(move |slash| name[..slash].as_bstr())
}

/// The names of all refs with files beneath the folder of `name`; locks do not count.
pub(super) fn all_beneath(dir: &Path, name: &BStr) -> io::Result<Vec<BString>> {
    let mut all = vec![];
    let mut folders = vec![BString::from(name)];
    while let Some(folder) = folders.pop() {
        let entries = match fs::read_dir(ref_path(dir, folder.as_bstr())) {
            Ok(entries) => entries,
            Err(err) if matches!(err.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => continue,
            Err(err) => return Err(err),
        };
        for entry in entries {
            let entry = entry?;
            let mut child = folder.clone();
            child.push(b'/');
            child.extend_from_slice(entry.file_name().as_bytes());
            if entry.file_type()?.is_dir() {
                folders.push(child);
            } else if !child.ends_with(b".lock") {
                all.push(child);
            }
        }
    }
    Ok(all)
}

/// Remove the folder at `path` with all empty folders in it; stops without harm at the first that holds a file.
pub(super) fn remove_empty_folders(path: &Path) -> io::Result<()> {
    for folder in folders_from(path, |_| Ok(()))?.iter().rev() {
        match fs::remove_dir(folder) {
            Err(err) if !matches!(err.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => return Err(err),
            _ => {}
        }
    }
    Ok(())
}

/// The folder at `path` and all folders in it, those above first; `file` is called for each thing in them that is no folder.
///
/// One folder is open at a time: names that peers choose may be thousands of folders deep. None may be there, and
/// others may go away meanwhile.
pub(super) fn folders_from(path: &Path, mut file: impl FnMut(&fs::DirEntry) -> io::Result<()>) -> io::Result<Vec<PathBuf>> {
    let mut folders = vec![path.to_owned()];
    let mut at = 0;
    while let Some(folder) = folders.get(at) {
        at += 1;
        let entries = match fs::read_dir(folder) {
            Ok(entries) => entries,
            Err(err) if matches!(err.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => continue,
            Err(err) => return Err(err),
        };
        for entry in entries {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                folders.push(entry.path());
            } else {
                file(&entry)?;
            }
        }
    }
    Ok(folders)
}

/// Remove the folders that `name` leaves empty in `dir`, up to but not including `refs/heads` and its like.
pub(super) fn prune_parents(dir: &Path, name: &BStr) {
    let parents: Vec<&BStr> = prefixes(name).skip(1).collect();
    for parent in parents.into_iter().rev() {
        if fs::remove_dir(ref_path(dir, parent)).is_err() {
            break; // not empty, or somebody else was faster
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_is_cut_short_is_broken_and_not_missing() {
        let hash = gix_hash::Kind::Sha1;
        let id = "1f7a7a472abf3dd9643fd615f6da379c4acb3e3a";
        let object = Loose::Object(ObjectId::from_hex(id.as_bytes()).expect("is hex"));
        assert_eq!(parse(format!("{id}\n").as_bytes(), hash), object);
        assert_eq!(parse(id.as_bytes(), hash), object);
        assert_eq!(parse(b"ref: refs/heads/main\n", hash), Loose::Symbolic("refs/heads/main".into()));
        for broken in ["", "1f7a7a", "ref: ../../config", &format!("{id}0"), "0000000000000000000000000000000000000000\n"] {
            assert_eq!(parse(broken.as_bytes(), hash), Loose::Broken, "{broken:?}");
        }
        assert_eq!(parse(format!("{id}\n").as_bytes(), gix_hash::Kind::Sha256), Loose::Broken);
    }

    #[test]
    fn names_are_judged_as_git_check_ref_format_judges_them() {
        let long = format!("refs/heads/{}", "x".repeat(300));
        for name in [
            "refs/heads/main",
            "refs/heads/a/b",
            "refs/heads",
            "refs/x",
            "refs/",
            "refs",
            "HEAD",
            "refs/heads/../x",
            "refs/heads/..",
            "refs/heads/x.lock",
            "refs/heads/x.lock/y",
            "refs/heads/@{",
            "refs/heads/@",
            "refs/@",
            "refs/@/x",
            "refs/heads//x",
            "refs/heads/x/",
            "refs/heads/x.",
            "refs/heads/.x",
            "refs/heads/a\\b",
            "refs/heads/a b",
            "refs/heads/a~",
            "refs/heads/a^",
            "refs/heads/a:",
            "refs/heads/a?",
            "refs/heads/a*",
            "refs/heads/a[",
            "refs/heads/a]",
            "refs/heads/\x7f",
            "refs/heads/\x01",
            "refs/heads/é",
            "refs/heads/-x",
            "refs/heads/a{b}",
            "refs/heads/a..b",
            "refs/heads/x.y",
            "refs/heads/.lock",
            "refs/heads/HEAD",
            "refs//heads/x",
            "/refs/heads/x",
            "config",
            "refs/heads/a./b",
            &long,
        ] {
            let status = |flag: &str, name: &str| {
                std::process::Command::new("git").args(["check-ref-format", flag, name]).status().expect("git runs").success()
            };
            let rest = name.strip_prefix("refs/");
            let wanted = |flag: &str| rest.is_some_and(|rest| status(flag, rest));
            assert_eq!(is_valid_name(name.into()), wanted("--no-allow-onelevel"), "{name:?}");
            assert_eq!(is_deletable_name(name.into()), wanted("--allow-onelevel"), "{name:?}");
        }
    }

    #[test]
    fn prefixes_are_the_folders_that_could_be_refs() {
        let all: Vec<_> = prefixes("refs/heads/a/b".into()).map(ToString::to_string).collect();
        assert_eq!(all, ["refs/heads", "refs/heads/a"]);
    }
}
