//! `info/alternates` and the environment into the list of object folders to look in.
//!
//! Source: gitrepository-layout, "objects/info/alternates"; git, `GIT_ALTERNATE_OBJECT_DIRECTORIES`. A folder that
//! is not there is left out with a warning, as are chains longer than git follows.

use super::config::Env;
use bstr::{BString, ByteSlice};
use std::ffi::OsStr;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

/// Alternates of alternates that are followed (`odb.c`: nesting too deep).
const DEPTH_MAX: usize = 5;

/// `own` and all object folders that it borrows from, each once, in order of lookup.
pub(super) fn object_dirs(own: &Path, env: Option<Env<'_>>) -> Vec<PathBuf> {
    let mut dirs = vec![own.canonicalize().unwrap_or_else(|_| own.to_owned())];
    if let Some(list) = env.and_then(|env| env("GIT_ALTERNATE_OBJECT_DIRECTORIES")) {
        let here = std::env::current_dir().unwrap_or_default();
        add(&mut dirs, &list.into_vec(), b':', &here, 0);
    }
    add_file(&mut dirs, own, 0);
    dirs
}

fn add_file(dirs: &mut Vec<PathBuf>, objects: &Path, depth: usize) {
    if let Ok(list) = std::fs::read(objects.join("info/alternates")) {
        add(dirs, &list, b'\n', objects, depth);
    }
}

fn add(dirs: &mut Vec<PathBuf>, list: &[u8], separator: u8, base: &Path, depth: usize) {
    if depth > DEPTH_MAX {
        tracing::warn!(objects = %base.display(), "ignoring alternate object folders nested too deep");
        return;
    }
    for entry in split(list, separator) {
        let path = base.join(OsStr::from_bytes(&entry));
        match path.canonicalize() {
            Ok(path) if path.is_dir() => {
                if !dirs.contains(&path) {
                    dirs.push(path.clone());
                    add_file(dirs, &path, depth + 1);
                }
            }
            _ => tracing::warn!(alternate = %path.display(), "ignoring an alternate object folder that is not there"),
        }
    }
}

/// Whether the object folder `own` borrows from one that it names by the way from itself.
pub(super) fn has_relative(own: &Path) -> bool {
    let list = std::fs::read(own.join("info/alternates")).unwrap_or_default();
    split(&list, b'\n').iter().any(|entry| !entry.is_empty() && !entry.starts_with(b"/"))
}

/// Entries between separators; lines that begin with `#` are comments, entries in double quotes are unquoted.
fn split(list: &[u8], separator: u8) -> Vec<BString> {
    let mut entries = Vec::new();
    let mut rest = list;
    while !rest.is_empty() {
        let (entry, after) = match rest.strip_prefix(b"\"").and_then(unquote) {
            Some((entry, after)) => (entry, after.strip_prefix(&[separator]).unwrap_or(after)),
            None => {
                let end = rest.find_byte(separator).unwrap_or(rest.len());
                let entry = if rest.starts_with(b"#") { BString::default() } else { rest[..end].into() };
                (entry, &rest[(end + 1).min(rest.len())..])
            }
        };
        if !entry.is_empty() {
            entries.push(entry);
        }
        rest = after;
    }
    entries
}

/// The rest of a word in C's quotes (`quote.c`: `unquote_c_style`) after its opening one, and what follows it.
fn unquote(text: &[u8]) -> Option<(BString, &[u8])> {
    let mut word = BString::default();
    let mut bytes = text.iter();
    while let Some(&byte) = bytes.next() {
        match byte {
            b'"' => return Some((word, bytes.as_slice())),
            b'\\' => match *bytes.next()? {
                letter @ (b'a' | b'b' | b'f' | b'n' | b'r' | b't' | b'v') => {
                    let at = b"abtnvfr".iter().position(|known| *known == letter)?;
                    word.push([7, 8, 9, 10, 11, 12, 13][at]);
                }
                quoted @ (b'\\' | b'"') => word.push(quoted),
                first @ b'0'..=b'3' => {
                    let digits = [first, *bytes.next()?, *bytes.next()?];
                    word.push(u8::from_str_radix(std::str::from_utf8(&digits).ok()?, 8).ok()?);
                }
                _ => return None,
            },
            byte => word.push(byte),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_are_skipped_and_quotes_undone() {
        assert_eq!(split(b"# no\n/a\n\n\"/b\\tc\\303\\251\"\n/d", b'\n'), ["/a", "/b\tc\u{e9}", "/d"]);
        assert_eq!(split(b"/a:\"/b:c\":/d", b':'), ["/a", "/b:c", "/d"]);
        assert_eq!(split(b"\"/open", b'\n'), ["\"/open"]);
    }
}
