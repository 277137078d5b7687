//! The bytes of a `.gitmodules` file into what git's fsck says of it.
//!
//! Source: `fsck.c` (`fsck_gitmodules_fn`), `submodule-config.c` (`check_submodule_name`), git-config, "Syntax", as
//! `config.c` reads it: a key and its value count as soon as they are read, whatever comes behind. Strings end at a NUL, as in C.
//!
//! From memory, as its fsck does, git reads otherwise than from a file, as whoever checks one out does (`config_buf_fgetc`,
//! `config_file_fgetc`): where `char` has a sign, as on x86, a byte 0xff is the end, and a byte order mark is none of the
//! things that a text may begin with. What stands behind them would be seen by clients alone, so it is read both ways,
//! and what only the second finds is said as well.

use super::message::Message;
use super::submodule_url::is_allowed;
use super::{Report, quoted};
use bstr::ByteSlice;

/// Report what is wrong with the `.gitmodules` file `bytes`.
pub(super) fn check_gitmodules(bytes: &[u8], report: &mut Report<'_>) {
    let text = Config { text: bytes, at: 0, from_disk: false, known: 0, ended: false, section: vec![] };
    if text.read(report).is_none() {
        report.say(Message::GitmodulesParse, "could not parse gitmodules blob");
    }
    let mark = if bytes.starts_with(BYTE_ORDER_MARK) { BYTE_ORDER_MARK.len() } else { 0 };
    let end = bytes.find_byte(END);
    if mark > 0 || end.is_some() {
        let known = if mark > 0 { 0 } else { end.unwrap_or(0) };
        let file = Config { text: bytes, at: mark, from_disk: true, known, ended: false, section: vec![] };
        let _ = file.read(report); // that a file makes no sense to git is no fault of the push
    }
}

/// Reads configuration from its first byte to its last.
struct Config<'a> {
    text: &'a [u8],
    at: usize,
    /// No byte is the end.
    from_disk: bool,
    /// Of entries that end up to here all has been said.
    known: usize,
    ended: bool,
    /// `submodule.<name>.` where a section has one; lower case but for the name. Empty before the first section.
    section: Vec<u8>,
}

/// Taken for the end in memory, wherever it stands.
const END: u8 = 0xff;
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | b'\r')
}

fn is_key(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'-'
}

fn until_nul(bytes: &[u8]) -> &[u8] {
    &bytes[..bytes.find_byte(0).unwrap_or(bytes.len())]
}

impl Config<'_> {
    /// The next byte; a newline at the end, and for a return with a newline.
    fn next(&mut self) -> u8 {
        let byte = self.text.get(self.at).copied().filter(|byte| self.from_disk || *byte != END);
        self.at += 1;
        let Some(byte) = byte else {
            self.ended = true;
            return b'\n';
        };
        match (byte, self.text.get(self.at)) {
            (b'\r', Some(b'\n')) => {
                self.at += 1;
                b'\n'
            }
            (b'\r', Some(&END)) if !self.from_disk => {
                self.at += 1;
                b'\r'
            }
            _ => byte,
        }
    }

    /// `None` where the text is no configuration.
    fn read(mut self, report: &mut Report<'_>) -> Option<()> {
        let mut comment = false;
        loop {
            match self.next() {
                b'\n' if self.ended => return Some(()),
                b'\n' => comment = false,
                _ if comment => {}
                byte if is_space(byte) => {}
                b'#' | b';' => comment = true,
                b'[' => self.read_section()?,
                byte if byte.is_ascii_alphabetic() => self.read_entry(byte, report)?,
                _ => return None,
            }
        }
    }

    fn read_section(&mut self) -> Option<()> {
        self.section.clear();
        loop {
            let byte = self.next();
            match byte {
                _ if self.ended => return None,
                b']' if self.section.is_empty() => return None,
                b']' => break,
                byte if is_space(byte) => {
                    self.read_subsection(byte)?;
                    break;
                }
                byte if is_key(byte) || byte == b'.' => self.section.push(byte.to_ascii_lowercase()),
                _ => return None,
            }
        }
        self.section.push(b'.');
        Some(())
    }

    /// What stands in quotes behind a section's name and at least one blank, which is `byte`.
    fn read_subsection(&mut self, mut byte: u8) -> Option<()> {
        while is_space(byte) {
            if byte == b'\n' {
                return None;
            }
            byte = self.next();
        }
        if byte != b'"' {
            return None;
        }
        self.section.push(b'.');
        loop {
            match self.next() {
                b'\n' => return None,
                b'"' => return (self.next() == b']').then_some(()),
                b'\\' => match self.next() {
                    b'\n' => return None,
                    byte => self.section.push(byte),
                },
                byte => self.section.push(byte),
            }
        }
    }

    /// A key that begins with `first`, and its value.
    fn read_entry(&mut self, first: u8, report: &mut Report<'_>) -> Option<()> {
        let mut name = self.section.clone();
        name.push(first.to_ascii_lowercase());
        let mut byte = self.next();
        while !self.ended && is_key(byte) {
            name.push(byte.to_ascii_lowercase());
            byte = self.next();
        }
        while matches!(byte, b' ' | b'\t') {
            byte = self.next();
        }
        let value = match byte {
            b'\n' => None,
            b'=' => Some(self.read_value()?),
            _ => return None,
        };
        if self.at > self.known {
            check_entry(until_nul(&name), value.as_deref().map(until_nul), report);
        }
        Some(())
    }

    fn read_value(&mut self) -> Option<Vec<u8>> {
        let (mut value, mut quoted, mut comment, mut trimmed) = (vec![], false, false, None);
        loop {
            match self.next() {
                b'\n' if quoted => return None,
                b'\n' => {
                    value.truncate(trimmed.unwrap_or(value.len()));
                    return Some(value);
                }
                _ if comment => {}
                byte if is_space(byte) && !quoted => {
                    // Blanks before the value do not count, and those behind it are cut off again.
                    if !value.is_empty() {
                        trimmed.get_or_insert(value.len());
                        value.push(byte);
                    }
                }
                b';' | b'#' if !quoted => comment = true,
                byte => {
                    trimmed = None;
                    match byte {
                        b'\\' => match self.next() {
                            b'\n' => {}
                            b't' => value.push(b'\t'),
                            b'b' => value.push(8),
                            b'n' => value.push(b'\n'),
                            byte @ (b'\\' | b'"') => value.push(byte),
                            _ => return None,
                        },
                        b'"' => quoted = !quoted,
                        byte => value.push(byte),
                    }
                }
            }
        }
    }
}

/// Look at one value; `name` is the whole of its name, such as `submodule.a.b.url`.
fn check_entry(name: &[u8], value: Option<&[u8]>, report: &mut Report<'_>) {
    let Some(rest) = name.strip_prefix(b"submodule.") else { return };
    let Some((submodule, key)) = rest.rsplit_once_str(".") else { return };
    let mut say = |message, what: &str, text: &[u8]| report.say(message, format_args!("disallowed submodule {what}: {}", quoted(text)));
    if !is_allowed_name(submodule) {
        say(Message::GitmodulesName, "name", submodule);
    }
    let Some(value) = value else { return };
    match key {
        b"url" if !is_allowed(value) => say(Message::GitmodulesUrl, "url", value),
        b"path" if value.starts_with(b"-") => say(Message::GitmodulesPath, "path", value),
        b"update" if value.starts_with(b"!") => say(Message::GitmodulesUpdate, "update setting", value),
        _ => {}
    }
}

fn is_allowed_name(name: &[u8]) -> bool {
    !name.is_empty() && name.split(|byte| matches!(byte, b'/' | b'\\')).all(|part| part != b"..")
}

#[cfg(test)]
mod tests {
    use super::super::rules::Rules;
    use super::*;

    /// The messages of a file, without what they quote.
    fn said(bytes: &[u8]) -> Vec<String> {
        let (rules, id) = (Rules::usual(), gix_hash::Kind::Sha1.null());
        let mut report = Report::new(&rules, &id);
        check_gitmodules(bytes, &mut report);
        let messages = report.errors.iter().chain(&report.warnings);
        messages.map(|line| line.split(": ").nth(1).unwrap_or_default().to_owned()).collect()
    }

    #[test]
    fn what_stands_behind_an_end_that_files_do_not_have_is_said_once() {
        let bad: &[u8] = b"[submodule \"a\"]\nurl = -u\n";
        assert_eq!(said(bad), ["gitmodulesUrl"]);
        assert_eq!(said(&[b"# \xff\n", bad].concat()), ["gitmodulesUrl"]);
        assert_eq!(
            said(&[bad, b"# \xff\n[submodule \"..\"]\npath = -p\n"].concat()),
            ["gitmodulesUrl", "gitmodulesName", "gitmodulesPath"]
        );
        assert_eq!(said(b"[submodule \"a\"]\nurl = -u\xff\n"), ["gitmodulesUrl"; 2], "the value that ends there, and the one that goes on");
        assert_eq!(said(b"[submodule \"a\xff\"]\nurl = -u\n"), ["gitmodulesUrl", "gitmodulesParse"]);
        assert_eq!(said(&[b"\xef\xbb\xbf", bad].concat()), ["gitmodulesUrl", "gitmodulesParse"]);
        assert_eq!(said(b"[submodule \"a\"]\r\xffurl = https://h/\n"), [""; 0]);
    }
}
