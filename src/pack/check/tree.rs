//! The bytes of a tree into what git's fsck says of it, and the blobs that it gives a meaning to.
//!
//! Source: `fsck.c` (`fsck_tree`, `verify_ordered`), `tree-walk.c` (`decode_tree_entry`). One pass, no allocation per
//! entry. An entry is read only as far as the one before it allows, as in git: behind bytes that are no entry nothing
//! is looked at, and of the last entry before them mode and order are not. An entry without a name is no entry either, so
//! `emptyName` is never told.

use super::Report;
use super::message::Message;
use super::names::{GITATTRIBUTES, GITIGNORE, GITMODULES, MAILMAP, is_dot_git, is_ntfs_dot_git, may_be_special};
use gix_hash::oid;
use std::cmp::Ordering;

/// Names longer than this are told about.
const NAME_BYTES_MAX: usize = 4096;

const TYPE: u16 = 0o170_000;
const FOLDER: u16 = 0o040_000;
const SYMLINK: u16 = 0o120_000;

/// Which meaning git gives to a blob.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Meaning {
    Modules,
    Attributes,
}

/// What is told once, however many entries are so, in the order of telling.
const ONCE: [(Message, &str); 10] = [
    (Message::NullSha1, "contains entries pointing to null sha1"),
    (Message::FullPathname, "contains full pathnames"),
    (Message::HasDot, "contains '.'"),
    (Message::HasDotdot, "contains '..'"),
    (Message::HasDotgit, "contains '.git'"),
    (Message::ZeroPaddedFilemode, "contains zero-padded file modes"),
    (Message::BadFilemode, "contains bad file modes"),
    (Message::DuplicateEntries, "contains duplicate file entries"),
    (Message::TreeNotSorted, "not properly sorted"),
    (Message::LargePathname, "contains excessively large pathname"),
];
const NULL: u16 = 1;
const FULL: u16 = 1 << 1;
const DOT: u16 = 1 << 2;
const DOTDOT: u16 = 1 << 3;
const DOTGIT: u16 = 1 << 4;
const ZERO_PADDED: u16 = 1 << 5;
const BAD_MODE: u16 = 1 << 6;
const DUPLICATE: u16 = 1 << 7;
const UNSORTED: u16 = 1 << 8;
const LARGE: u16 = 1 << 9;

/// One entry of a tree.
#[derive(Clone, Copy)]
struct Entry<'a> {
    mode: u16,
    padded: bool,
    name: &'a [u8],
    id: &'a [u8],
    /// What follows.
    rest: &'a [u8],
}

/// The first entry of `bytes`; the inner `None` is the end, the outer one bytes that are no entry.
fn next_entry(bytes: &[u8], id_len: usize) -> Option<Option<Entry<'_>>> {
    if bytes.is_empty() {
        return Some(None);
    }
    let last = bytes.len().checked_sub(id_len + 1).filter(|&last| last >= 2)?;
    if bytes[last] != 0 {
        return None;
    }
    let (mut mode, mut at) = (0u16, 0);
    loop {
        let digit = bytes[at];
        at += 1;
        match digit {
            b'0'..=b'7' => mode = (mode << 3) | u16::from(digit - b'0'),
            b' ' if at > 1 => break,
            // The last NUL ends any run of digits.
            _ => return None,
        }
    }
    let len = memchr::memchr(0, &bytes[at..])?;
    let (id, rest) = bytes[at + len + 1..].split_at_checked(id_len)?;
    let name = &bytes[at..at + len];
    (len != 0).then_some(Some(Entry { mode, padded: bytes[0] == b'0', name, id, rest }))
}

/// Names without a folder's slash that a later folder could have too, by place in the tree's bytes.
#[derive(Debug, Default)]
pub(super) struct Candidates(Vec<(usize, usize)>);

/// Report what is wrong with the tree `bytes`, and hand the blobs that have a meaning to `found`.
pub(super) fn check_tree(bytes: &[u8], candidates: &mut Candidates, report: &mut Report<'_>, found: &mut dyn FnMut(Meaning, &oid)) {
    let (id_len, strict) = (report.id_len(), report.is_strict());
    let unreadable = |report: &mut Report<'_>| report.say(Message::BadTree, "cannot be parsed as a tree");
    let Some(mut next) = next_entry(bytes, id_len) else {
        unreadable(report);
        return;
    };
    candidates.0.clear();
    let mut flags = 0;
    let mut before: Option<Entry<'_>> = None;
    while let Some(entry) = next {
        flags |= look_at_name(&entry, report, found);
        if entry.id[0] == 0 && entry.id.iter().all(|&byte| byte == 0) {
            flags |= NULL;
        }
        if entry.padded {
            flags |= ZERO_PADDED;
        }
        next = match next_entry(entry.rest, id_len) {
            Some(next) => next,
            None => {
                unreadable(report);
                break;
            }
        };
        match entry.mode {
            0o100_644 | 0o100_755 | SYMLINK | FOLDER | 0o160_000 => {}
            0o100_664 if !strict => {}
            _ => flags |= BAD_MODE,
        }
        if let Some(before) = before {
            flags |= order(bytes, &before, &entry, candidates);
        }
        before = Some(entry);
    }
    if flags != 0 {
        let said = ONCE.iter().enumerate().filter(|(bit, _)| flags & (1 << bit) != 0);
        said.for_each(|(_, (message, text))| report.say(*message, *text));
    }
}

/// Flags of a name; reports and blobs found that have one each.
fn look_at_name(entry: &Entry<'_>, report: &mut Report<'_>, found: &mut dyn FnMut(Meaning, &oid)) -> u16 {
    let name = entry.name;
    let mut flags = if name.len() > NAME_BYTES_MAX { LARGE } else { 0 };
    let odd = name.iter().fold(0u8, |odd, &byte| odd | u8::from(byte == b'/') | u8::from(byte == b'\\') << 1);
    if odd == 0 && !may_be_special(name[0]) {
        return flags;
    }
    if odd & 1 != 0 {
        flags |= FULL;
    }
    match name {
        b"." => flags |= DOT,
        b".." => flags |= DOTDOT,
        _ => {}
    }
    let is_link = entry.mode & TYPE == SYMLINK;
    let mut meant = |meaning: Meaning, report: &mut Report<'_>| match (is_link, meaning) {
        (false, _) => found(meaning, oid::from_bytes_unchecked(entry.id)),
        (true, Meaning::Modules) => report.say(Message::GitmodulesSymlink, ".gitmodules is a symbolic link"),
        (true, Meaning::Attributes) => report.say(Message::GitattributesSymlink, ".gitattributes is a symlink"),
    };
    if may_be_special(name[0]) {
        if is_dot_git(name) {
            flags |= DOTGIT;
        }
        if GITMODULES.is(name) {
            meant(Meaning::Modules, report);
        }
        if GITATTRIBUTES.is(name) {
            meant(Meaning::Attributes, report);
        }
        if is_link && GITIGNORE.is(name) {
            report.say(Message::GitignoreSymlink, ".gitignore is a symlink");
        }
        if is_link && MAILMAP.is(name) {
            report.say(Message::MailmapSymlink, ".mailmap is a symlink");
        }
    }
    if odd & 2 != 0 {
        for at in memchr::memchr_iter(b'\\', name) {
            let behind = &name[at + 1..];
            if is_ntfs_dot_git(behind) {
                flags |= DOTGIT;
            }
            if GITMODULES.is_ntfs(behind) {
                meant(Meaning::Modules, report);
            }
        }
    }
    flags
}

/// What the order of two neighbours says. A folder sorts as if its name ended in a slash, so the same name may come
/// again as a folder later on; `candidates` holds the names for which it may.
fn order(bytes: &[u8], before: &Entry<'_>, entry: &Entry<'_>, candidates: &mut Candidates) -> u16 {
    let (one, two) = (before.name, entry.name);
    let len = one.len().min(two.len());
    match one[..len].cmp(&two[..len]) {
        Ordering::Less => return 0,
        Ordering::Greater => return UNSORTED,
        Ordering::Equal => {}
    }
    if one.len() == two.len() {
        return DUPLICATE;
    }
    let behind = |entry: &Entry<'_>| match entry.name.get(len) {
        Some(&byte) => byte,
        None if entry.mode & TYPE == FOLDER => b'/',
        None => 0,
    };
    let (one_then, two_then) = (behind(before), behind(entry));
    let is_below_slash = |byte: u8| (1..b'/').contains(&byte);
    if one_then == 0 && is_below_slash(two_then) {
        let start = one.as_ptr().addr() - bytes.as_ptr().addr();
        candidates.0.push((start, one.len()));
    } else if two_then == b'/' && is_below_slash(one_then) {
        while let Some((start, len)) = candidates.0.pop() {
            match two.strip_prefix(&bytes[start..start + len]) {
                None => {}
                Some([]) => return DUPLICATE,
                Some([then, ..]) if is_below_slash(*then) => {
                    candidates.0.push((start, len));
                    break;
                }
                Some(_) => {}
            }
        }
    }
    if one_then < two_then { 0 } else { UNSORTED }
}

#[cfg(test)]
mod tests {
    use super::super::Rules;
    use super::*;

    fn entry(mode: &str, name: &[u8]) -> Vec<u8> {
        [mode.as_bytes(), b" ", name, &[0], &[7; 20]].concat()
    }

    /// The ids of the messages, and what was found.
    fn said(bytes: &[u8], rules: &Rules) -> (Vec<String>, Vec<Meaning>) {
        let id = gix_hash::Kind::Sha1.null();
        let (mut report, mut found) = (Report::new(rules, &id), vec![]);
        check_tree(bytes, &mut Candidates::default(), &mut report, &mut |meaning, _| found.push(meaning));
        let lines = report.errors.iter().chain(&report.warnings);
        (lines.map(|line| line.split(": ").nth(1).expect("an id").to_owned()).collect(), found)
    }

    fn tree(entries: &[(&str, &str)], wanted: &[&str]) {
        let bytes: Vec<u8> = entries.iter().flat_map(|(mode, name)| entry(mode, name.as_bytes())).collect();
        assert_eq!(said(&bytes, &Rules::strict()).0, wanted, "{entries:?}");
    }

    #[test]
    fn each_fault_of_a_tree_has_its_message() {
        tree(&[], &[]);
        tree(&[("100644", "a"), ("100755", "b"), ("120000", "c"), ("40000", "d"), ("160000", "e")], &[]);
        for (mode, name, id) in [
            ("100644", "a/b", "fullPathname"),
            ("40000", ".", "hasDot"),
            ("40000", "..", "hasDotdot"),
            ("40000", ".GIT", "hasDotgit"),
            ("100644", "a\\git~1", "hasDotgit"),
            ("040000", "a", "zeroPaddedFilemode"),
            ("100664", "a", "badFilemode"),
            ("1", "a", "badFilemode"),
            ("120000", ".gitmodules", "gitmodulesSymlink"),
            ("120000", "x\\GITMOD~1", "gitmodulesSymlink"),
            ("120000", "gi7d29~1", "gitattributesSymlink"),
            ("120000", ".gitignore", "gitignoreSymlink"),
            ("120000", ".mailmap", "mailmapSymlink"),
            ("100644", &"n".repeat(4097), "largePathname"),
            ("9", "a", "badTree"),
            ("", "a", "badTree"),
            ("100644", "", "badTree"),
        ] {
            tree(&[(mode, name)], &[id]);
        }
        let mut null = entry("100644", b"a");
        null[9..].fill(0);
        assert_eq!(said(&null, &Rules::usual()).0, ["nullSha1"]);
        let cut = entry("100644", b"a");
        assert_eq!(said(&cut[..cut.len() - 1], &Rules::usual()).0, ["badTree"]);
        assert_eq!(said(&entry("100664", b"a"), &Rules::usual()).0, [""; 0], "git has made such trees long ago");
    }

    #[test]
    fn order_and_doubles_are_seen_across_the_slash_of_folders() {
        tree(&[("100644", "b"), ("100644", "a")], &["treeNotSorted"]);
        tree(&[("100644", "a"), ("100644", "a")], &["duplicateEntries"]);
        tree(&[("100644", "a"), ("40000", "a")], &["duplicateEntries"]);
        tree(&[("100644", "a.b"), ("40000", "a")], &[]);
        tree(&[("40000", "a"), ("100644", "a.b")], &["treeNotSorted"]);
        let apart = [("100644", "foo"), ("100644", "foo.bar"), ("100644", "foo.bar.baz"), ("40000", "foo.bar"), ("40000", "foo")];
        tree(&apart, &["duplicateEntries"]);
        tree(&apart[1..], &["duplicateEntries"]);
        tree(&[apart[0], apart[1], apart[2]], &[]);
    }

    #[test]
    fn blobs_with_a_meaning_are_found_whatever_they_are_called() {
        let names: [&[u8]; 6] = [b".gitattributes", b".gitmodules", b"GITMOD~2", b"a\\.gitmodules", b"gi7d29~1", b"z"];
        let bytes: Vec<u8> = names.iter().flat_map(|name| entry("100644", name)).collect();
        use Meaning::{Attributes, Modules};
        assert_eq!(said(&bytes, &Rules::usual()).1, [Attributes, Modules, Modules, Modules, Attributes]);
    }
}
