//! The argument packets of `git archive --remote` into one [`ArchiveRequest`].
//!
//! Source: git-upload-archive, git-archive, and `archive.c`: `parse_archive_args`. Each packet is `argument WORD`; the
//! words are those of `git archive`'s command line, options abbreviated and mixed with the rest as its user typed them.
//! Limits: as many words as git takes; options that name files or programs of the server's are refused.

use super::{Error, Pkt, PktReader};
use crate::base::limits::{ARCHIVE_ARGUMENT_BYTES_MAX, ARCHIVE_ARGUMENTS_MAX};
use bstr::{BString, ByteSlice};
use std::io::Read;

/// The form of an archive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ArchiveFormat {
    /// A tar file as POSIX pax has it.
    Tar,
    /// The same through gzip.
    TarGz,
    /// A zip file.
    Zip,
}

/// What a client asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ArchiveRequest {
    /// The names of the formats served (`--list`).
    List,
    /// An archive.
    Archive(ArchiveOrder),
}

/// One archive as it is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ArchiveOrder {
    /// The format by its name (`tar`, `tgz`, `tar.gz`, `zip`), which settings may turn off.
    pub format_name: &'static str,
    /// What that name means.
    pub format: ArchiveFormat,
    /// What every path in the archive begins with.
    pub prefix: BString,
    /// zlib level 0 to 9; `None`: its default.
    pub level: Option<i32>,
    /// The time of every entry, as it was written (`--mtime`); `None`: the commit's.
    pub mtime: Option<BString>,
    /// Tell each path as it goes out.
    pub verbose: bool,
    /// Do not read attributes from the tree (`--worktree-attributes`).
    pub worktree_attributes: bool,
    /// What to archive: `REF` or `REF:PATH`.
    pub tree_ish: BString,
    /// Only these paths and patterns; none: everything.
    pub paths: Vec<BString>,
}

/// The formats by name, in git's order.
pub const ARCHIVE_FORMATS: [(&str, ArchiveFormat); 4] =
    [("tar", ArchiveFormat::Tar), ("tgz", ArchiveFormat::TarGz), ("tar.gz", ArchiveFormat::TarGz), ("zip", ArchiveFormat::Zip)];

/// Read the argument packets up to the flush and understand them.
pub fn read_archive_request(reader: &mut PktReader<impl Read>) -> Result<ArchiveRequest, Error> {
    let (mut words, mut bytes) = (Vec::new(), 0);
    loop {
        let pkt = reader.expect()?;
        let word = match pkt {
            Pkt::Flush => return parse(words),
            pkt => pkt.text().and_then(|text| text.strip_prefix(b"argument ")),
        };
        let Some(word) = word.filter(|word| !word.contains(&0)) else {
            return Err(Error::protocol("'argument' token or flush expected".to_owned()));
        };
        bytes += word.len();
        if words.len() == ARCHIVE_ARGUMENTS_MAX || bytes > ARCHIVE_ARGUMENT_BYTES_MAX {
            return Err(Error::Limit { what: "options of an archive", limit: ARCHIVE_ARGUMENTS_MAX });
        }
        words.push(BString::from(word));
    }
}

/// What one option takes.
#[derive(Clone, Copy, PartialEq)]
enum Takes {
    Value,
    Nothing,
}

/// The long options that `git archive` knows.
const LONG: [(&str, Takes); 11] = [
    ("format", Takes::Value),
    ("prefix", Takes::Value),
    ("add-file", Takes::Value),
    ("add-virtual-file", Takes::Value),
    ("output", Takes::Value),
    ("worktree-attributes", Takes::Nothing),
    ("verbose", Takes::Nothing),
    ("mtime", Takes::Value),
    ("list", Takes::Nothing),
    ("remote", Takes::Value),
    ("exec", Takes::Value),
];

/// What the options said so far.
#[derive(Default)]
struct Said {
    format: Option<BString>,
    prefix: BString,
    level: Option<u32>,
    mtime: Option<BString>,
    verbose: bool,
    worktree_attributes: bool,
    list: bool,
}

fn parse(words: Vec<BString>) -> Result<ArchiveRequest, Error> {
    let mut said = Said::default();
    let mut rest = Vec::new();
    let mut words = words.into_iter();
    while let Some(word) = words.next() {
        if word == "--" {
            rest.extend(words.by_ref());
        } else if let Some(long) = word.strip_prefix(b"--") {
            said.long(long, &mut words)?;
        } else if word.len() > 1 && word[0] == b'-' {
            said.short(&word[1..])?;
        } else {
            rest.push(word);
        }
    }
    if said.list {
        return match rest.first() {
            None => Ok(ArchiveRequest::List),
            Some(extra) => Err(bad(format!("extra command line parameter '{extra}'"))),
        };
    }
    said.order(rest).map(ArchiveRequest::Archive)
}

impl Said {
    fn long(&mut self, text: &[u8], words: &mut impl Iterator<Item = BString>) -> Result<(), Error> {
        let (typed, value) = match text.split_once_str("=") {
            Some((name, value)) => (name, Some(BString::from(value))),
            None => (text, None),
        };
        let unset = typed.strip_prefix(b"no-").and_then(find_long).filter(|_| find_long(typed).is_none());
        let (name, takes) = match unset {
            Some((name, _)) => (name, Takes::Nothing),
            None => find_long(typed).ok_or_else(|| bad(format!("unknown option '--{}'", typed.as_bstr())))?,
        };
        let value = match (takes, value) {
            (Takes::Nothing, Some(_)) => return Err(bad(format!("option '{name}' takes no value"))),
            (Takes::Nothing, None) => BString::default(),
            (Takes::Value, Some(value)) => value,
            (Takes::Value, None) => words.next().ok_or_else(|| bad(format!("option '{name}' requires a value")))?,
        };
        let set = unset.is_none();
        match name {
            "format" => self.format = set.then_some(value),
            "prefix" => self.prefix = value,
            "mtime" if set => self.mtime = Some(value),
            "verbose" => self.verbose = set,
            "worktree-attributes" => self.worktree_attributes = set,
            "list" => self.list = set,
            "add-file" | "add-virtual-file" if set => {
                return Err(bad(format!("options '--{name}' and '--remote' cannot be used together")));
            }
            "remote" | "output" | "exec" if set => return Err(bad(format!("unexpected option '--{name}'"))),
            _ if set => return Err(bad(format!("unknown option '--{name}'"))),
            _ => {}
        }
        Ok(())
    }

    fn short(&mut self, letters: &[u8]) -> Result<(), Error> {
        let mut rest = letters;
        while let Some(letter) = rest.first() {
            let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
            match letter {
                b'v' => self.verbose = true,
                b'l' => self.list = true,
                b'o' => return Err(bad("unexpected option '--output'".to_owned())),
                b'0'..=b'9' => self.level = Some(number(&rest[..digits]).unwrap_or(u32::MAX)),
                _ => return Err(bad(format!("unknown switch '{}'", rest[..1].as_bstr()))),
            }
            rest = &rest[digits.max(1)..];
        }
        Ok(())
    }

    fn order(self, rest: Vec<BString>) -> Result<ArchiveOrder, Error> {
        let wanted = self.format.unwrap_or_else(|| "tar".into());
        let known = ARCHIVE_FORMATS.into_iter().find(|(name, _)| wanted == *name);
        let (format_name, format) = known.ok_or_else(|| bad(format!("unknown archive format '{wanted}'")))?;
        let level = match (self.level, format) {
            (None, _) => None,
            (Some(level @ 0..=9), ArchiveFormat::TarGz | ArchiveFormat::Zip) => Some(level as i32),
            (Some(level), _) => return Err(bad(format!("argument not supported for format '{format_name}': -{level}"))),
        };
        let prefix = self.prefix;
        if prefix.starts_with(b"/") || prefix.split_str("/").any(|part| part == b"..") {
            return Err(bad(format!("the prefix '{prefix}' leads out of the archive")));
        }
        let mut rest = rest.into_iter();
        let tree_ish = rest.next().ok_or_else(|| bad("a tree-ish is missing: git archive --remote=URL REF".to_owned()))?;
        let Self { mtime, verbose, worktree_attributes, .. } = self;
        let paths = rest.collect();
        Ok(ArchiveOrder { format_name, format, prefix, level, mtime, verbose, worktree_attributes, tree_ish, paths })
    }
}

/// The long option that `typed` names, whole or by an unambiguous beginning.
fn find_long(typed: &[u8]) -> Option<(&'static str, Takes)> {
    if let Some(exact) = LONG.into_iter().find(|(name, _)| name.as_bytes() == typed) {
        return Some(exact);
    }
    let mut found = LONG.into_iter().filter(|(name, _)| !typed.is_empty() && name.as_bytes().starts_with(typed));
    found.next().filter(|_| found.next().is_none())
}

fn number(digits: &[u8]) -> Option<u32> {
    digits.to_str().ok()?.parse().ok()
}

fn bad(sentence: String) -> Error {
    Error::Request(sentence)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::write_text;
    use proptest::prelude::*;

    fn ask(words: &[&str]) -> Result<ArchiveRequest, String> {
        let mut bytes = vec![];
        for word in words {
            write_text(&mut bytes, format!("argument {word}")).expect("memory");
        }
        bytes.extend(b"0000");
        read_archive_request(&mut PktReader::new(&bytes[..])).map_err(|err| err.to_string())
    }

    fn order(words: &[&str]) -> ArchiveOrder {
        match ask(words) {
            Ok(ArchiveRequest::Archive(order)) => order,
            other => panic!("{words:?}: {other:?}"),
        }
    }

    #[test]
    fn options_are_understood_however_git_lets_them_be_typed() {
        let wanted = order(&["--format=zip", "--prefix=a/", "-v", "-9", "main", "x", "y"]);
        assert_eq!((wanted.format, wanted.level, wanted.verbose), (ArchiveFormat::Zip, Some(9), true));
        assert_eq!(order(&["main", "--form", "zip", "x", "--pre", "a/", "-v9", "y"]), wanted);
        assert_eq!(order(&["--format=tar", "--format=zip", "--verbose", "--prefix=a/", "-9", "--", "main", "x", "y"]), wanted);
        let plain = order(&["--prefix=a/", "--no-prefix", "--no-verbose", "HEAD"]);
        assert_eq!((plain.format_name, plain.prefix.as_slice(), plain.level), ("tar", &b""[..], None));
        assert_eq!(order(&["--", "HEAD", "--list"]).paths, ["--list"]);
        assert_eq!(ask(&["--list"]), Ok(ArchiveRequest::List));
        assert_eq!(ask(&["-l"]), Ok(ArchiveRequest::List));
    }

    #[test]
    fn what_would_reach_into_the_server_is_refused() {
        for (words, says) in [
            (&["--output=/etc/passwd", "HEAD"][..], "unexpected option '--output'"),
            (&["-o", "x", "HEAD"], "unexpected option '--output'"),
            (&["--exec=id", "HEAD"], "unexpected option '--exec'"),
            (&["--remote=ssh://other/", "HEAD"], "unexpected option '--remote'"),
            (&["--add-file=/etc/passwd", "HEAD"], "'--add-file' and '--remote'"),
            (&["--add-virtual-file=a:b", "HEAD"], "'--add-virtual-file' and '--remote'"),
            (&["--format=tar.xz", "HEAD"], "unknown archive format 'tar.xz'"),
            (&["--format=tar.foo;id", "HEAD"], "unknown archive format"),
            (&["--prefix=../x/", "HEAD"], "leads out"),
            (&["--prefix=a/../../x/", "HEAD"], "leads out"),
            (&["--prefix=/etc/", "HEAD"], "leads out"),
            (&["-9", "HEAD"], "not supported for format 'tar': -9"),
            (&["--format=zip", "-10", "HEAD"], "-10"),
            (&["--format=zip", "-99999999999999", "HEAD"], "not supported"),
            (&["--bogus", "HEAD"], "unknown option '--bogus'"),
            (&["-x", "HEAD"], "unknown switch 'x'"),
            (&["--format"], "requires a value"),
            (&["--list=x"], "takes no value"),
            (&["--list", "HEAD"], "extra"),
            (&[], "tree-ish is missing"),
        ] {
            let refused = ask(words).expect_err(&format!("{words:?}"));
            assert!(refused.contains(says), "{words:?}: {refused}");
        }
    }

    #[test]
    fn more_words_than_git_takes_are_refused() {
        let many: Vec<String> = (0..ARCHIVE_ARGUMENTS_MAX).map(|n| format!("path{n}")).collect();
        let mut words: Vec<&str> = many.iter().map(String::as_str).collect();
        assert_eq!(order(&words).paths.len(), ARCHIVE_ARGUMENTS_MAX - 1);
        words.push("one more");
        assert!(ask(&words).expect_err("too many").contains("too many options"));
    }

    #[test]
    fn packets_that_are_no_arguments_are_refused() {
        for bytes in [&b"0009want\n0000"[..], b"00010000", b"0010argument a\0b0000", b"0011argument HEAD"] {
            assert!(read_archive_request(&mut PktReader::new(bytes)).is_err(), "{}", bytes.escape_ascii());
        }
    }

    proptest! {
        #[test]
        fn no_words_make_it_panic(words in prop::collection::vec("[-=a-z0-9/.: ]{0,12}", 0..8), bytes: Vec<u8>) {
            let words: Vec<&str> = words.iter().map(String::as_str).collect();
            let _ = ask(&words);
            let _ = read_archive_request(&mut PktReader::new(&bytes[..]));
        }
    }
}
