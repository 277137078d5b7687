//! A blob into the file that goes into an archive: `$Id$`, line ends, `$Format:…$`.
//!
//! Source: gitattributes, "ident", "End-of-line conversion", "export-subst"; git-log, "PRETTY FORMATS". In git's order.
//! Placeholders served are those of [`Substitute`]; any other stays as it stands, which is what git does with unknown
//! ones. Limits: `%(describe)`, `%(trailers)`, mailmap, colours, padding, signatures and notes are not served.

use super::attributes::{LineEnds, Treatment};
use crate::pack::Objects;
use bstr::{BStr, ByteSlice};
use gix_hash::ObjectId;
use gix_object::CommitRef;
use gix_object::date::{Time, time::format};
use std::collections::HashMap;
use std::fmt::Write as _;
use std::rc::Rc;

/// What a commit's placeholders become.
pub(super) struct Substitute<'a> {
    pub objects: &'a dyn Objects,
    pub id: ObjectId,
    /// The commit's data.
    pub data: &'a [u8],
    /// Names that lead to it, in git's order: `HEAD -> main`, `tag: v1`.
    pub decorations: &'a dyn Fn() -> Vec<String>,
    /// What placeholders became: found once, for a file may hold millions of one that takes a search through all packs.
    pub texts: HashMap<[u8; 2], Option<Rc<[u8]>>>,
}

/// A file of placeholders that has grown to this stays as it is from there on: each may stand for a whole message.
const EXPANDED_BYTES_MAX: usize = 32 << 20;

/// Shortest abbreviation of an id (`FALLBACK_DEFAULT_ABBREV`).
const ABBREVIATION_MIN: usize = 7;

/// The content after all conversions; `None` where it stays as it is.
pub(super) fn convert(data: &[u8], id: ObjectId, how: &Treatment, substitute: Option<&mut Substitute<'_>>) -> Option<Vec<u8>> {
    let mut found = None;
    if how.ident {
        found = expand_ident(data, id);
    }
    let now = found.as_deref().unwrap_or(data);
    let ends = match how.line_ends {
        LineEnds::Kept => None,
        LineEnds::CrLf => with_crlf(now, false),
        LineEnds::CrLfIfText => with_crlf(now, true),
    };
    found = ends.or(found);
    if let Some(substitute) = substitute.filter(|_| how.substitute) {
        let now = found.as_deref().unwrap_or(data);
        found = substitute.expand(now).or(found);
    }
    found
}

/// `$Id$` and `$Id: … $` into `$Id: <id> $`, but not what another system has expanded (a space within).
fn expand_ident(data: &[u8], id: ObjectId) -> Option<Vec<u8>> {
    let mut out = vec![];
    let mut rest = data;
    while let Some(at) = rest.find(b"$Id") {
        let behind = &rest[at + 3..];
        let taken = match behind.first() {
            Some(b'$') => Some(1),
            Some(b':') => behind
                .find_byte(b'$')
                .filter(|end| {
                    let inner = &behind[1..*end];
                    let foreign = inner.get(1..).is_some_and(|inner| inner.find_byte(b' ').is_some_and(|space| space + 1 < inner.len()));
                    !inner.contains(&b'\n') && !foreign
                })
                .map(|end| end + 1),
            _ => None,
        };
        out.extend_from_slice(&rest[..at + 3]);
        match taken {
            Some(taken) => {
                out.extend(format!(": {id} $").bytes());
                rest = &behind[taken..];
            }
            None => rest = behind,
        }
    }
    (rest.len() < data.len()).then(|| [out.as_slice(), rest].concat())
}

/// Every lone LF into CR LF; `careful`: only in what looks like text and has no CR yet (`convert.c`: `will_convert_lf_to_crlf`).
fn with_crlf(data: &[u8], careful: bool) -> Option<Vec<u8>> {
    if careful && (data.contains(&b'\r') || !looks_like_text(data)) {
        return None;
    }
    let lone = |at: usize| data[at] == b'\n' && (at == 0 || data[at - 1] != b'\r');
    if !(0..data.len()).any(lone) {
        return None;
    }
    let mut out = Vec::with_capacity(data.len() + data.len() / 32);
    for (at, byte) in data.iter().enumerate() {
        if lone(at) {
            out.push(b'\r');
        }
        out.push(*byte);
    }
    Some(out)
}

/// `convert.c`: `convert_is_binary`, of data without CR.
fn looks_like_text(data: &[u8]) -> bool {
    let data = data.strip_suffix(b"\x1a").unwrap_or(data);
    let odd = data.iter().filter(|byte| matches!(byte, 0..=7 | 11 | 14..=26 | 28..=31 | 127)).count();
    let lines = data.iter().filter(|byte| **byte == b'\n').count();
    let printable = data.len() - odd - lines;
    !data.contains(&0) && printable >> 7 >= odd
}

impl Substitute<'_> {
    /// `$Format:…$` replaced; `None` when there is none.
    fn expand(&mut self, data: &[u8]) -> Option<Vec<u8>> {
        const MARK: &[u8] = b"$Format:";
        data.find(MARK)?;
        let commit = CommitRef::from_bytes(self.data, self.id.kind()).ok()?;
        let (mut out, mut rest) = (vec![], data);
        while let Some(at) = rest.find(MARK).filter(|_| out.len() < EXPANDED_BYTES_MAX) {
            let Some(end) = rest[at + MARK.len()..].find_byte(b'$') else { break };
            out.extend_from_slice(&rest[..at]);
            self.format(&commit, &rest[at + MARK.len()..][..end], &mut out);
            rest = &rest[at + MARK.len() + end + 1..];
        }
        out.extend_from_slice(rest);
        Some(out)
    }

    fn format(&mut self, commit: &CommitRef<'_>, format: &[u8], out: &mut Vec<u8>) {
        let mut rest = format;
        while let Some(at) = rest.find_byte(b'%').filter(|_| out.len() < EXPANDED_BYTES_MAX) {
            out.extend_from_slice(&rest[..at]);
            rest = &rest[at + 1..];
            match self.placeholder(commit, rest) {
                Some((text, used)) => {
                    out.extend_from_slice(&text);
                    rest = &rest[used..];
                }
                None => out.push(b'%'),
            }
        }
        out.extend_from_slice(rest);
    }

    /// The text of the placeholder at the start of `rest` and how many bytes it takes.
    fn placeholder(&mut self, commit: &CommitRef<'_>, rest: &[u8]) -> Option<(Rc<[u8]>, usize)> {
        let name = match rest {
            [b'%', ..] => return Some((b"%"[..].into(), 1)),
            [b'n', ..] => return Some((b"\n"[..].into(), 1)),
            [b'x', high, low, ..] => {
                let digit = |byte: u8| char::from(byte).to_digit(16);
                return Some(([(digit(*high)? * 16 + digit(*low)?) as u8][..].into(), 3));
            }
            [whose @ (b'a' | b'c'), what, ..] => [*whose, *what],
            [name, ..] => [*name, 0],
            [] => return None,
        };
        if !self.texts.contains_key(&name) {
            let text = self.text(commit, name).map(Rc::from);
            self.texts.insert(name, text);
        }
        Some((self.texts.get(&name)?.clone()?, if name[1] == 0 { 1 } else { 2 }))
    }

    /// The text of a placeholder of one or two letters, the second one of which is 0 where there is none.
    fn text(&self, commit: &CommitRef<'_>, name: [u8; 2]) -> Option<Vec<u8>> {
        let all = |ids: &mut dyn Iterator<Item = ObjectId>, short: bool| {
            ids.map(|id| if short { self.abbreviate(id) } else { id.to_string() }).collect::<Vec<_>>().join(" ").into_bytes()
        };
        Some(match name {
            [b'H', _] => self.id.to_string().into_bytes(),
            [b'h', _] => self.abbreviate(self.id).into_bytes(),
            [b'T', _] => commit.tree.to_vec(),
            [b't', _] => self.abbreviate(commit.tree()).into_bytes(),
            [b'P', _] => all(&mut commit.parents(), false),
            [b'p', _] => all(&mut commit.parents(), true),
            [b'a', what] => person(commit.author, what)?,
            [b'c', what] => person(commit.committer, what)?,
            [b'e', _] => commit.encoding.map(|encoding| encoding.to_vec()).unwrap_or_default(),
            [b's', _] => message_parts(commit.message).0,
            [b'f', _] => file_name(commit.message.lines().find(|line| !line.trim().is_empty()).unwrap_or_default()),
            [b'b', _] => message_parts(commit.message).1.to_vec(),
            [b'B', _] => commit.message.to_vec(),
            [b'd', _] => {
                let names = (self.decorations)().join(", ");
                if names.is_empty() { vec![] } else { format!(" ({names})").into_bytes() }
            }
            [b'D', _] => (self.decorations)().join(", ").into_bytes(),
            _ => return None,
        })
    }

    /// The shortest beginning of `id` that no other packed object has, at least as long as git makes it in a repository
    /// of this size (`object-name.c`: `repo_find_unique_abbrev_r`).
    fn abbreviate(&self, id: ObjectId) -> String {
        let objects: u64 = self.objects.packs().iter().map(|pack| u64::from(pack.len())).sum();
        let bits = u64::BITS - objects.leading_zeros();
        let mut digits = (bits.div_ceil(2) as usize).max(ABBREVIATION_MIN);
        let hex = id.to_string();
        for pack in self.objects.packs() {
            // The neighbours in order of ids share the longest beginning with it.
            let (mut low, mut high) = (0, pack.len());
            while low < high {
                let middle = low + (high - low) / 2;
                if pack.id(middle) < id.as_ref() { low = middle + 1 } else { high = middle }
            }
            let is_here = low < pack.len() && pack.id(low) == id;
            let above = low + u32::from(is_here);
            for neighbour in [low.checked_sub(1), Some(above).filter(|above| *above < pack.len())].into_iter().flatten() {
                let other = pack.id(neighbour).to_string();
                let common = hex.bytes().zip(other.bytes()).take_while(|(a, b)| a == b).count();
                digits = digits.max(common + 1);
            }
        }
        hex[..digits.min(hex.len())].to_owned()
    }
}

/// The title, its lines joined by spaces, and what follows the empty lines behind it.
fn message_parts(message: &BStr) -> (Vec<u8>, &[u8]) {
    let mut rest: &[u8] = message;
    let blank = |line: &[u8]| line.trim().is_empty();
    let mut title: Vec<&[u8]> = vec![];
    while let Some(line) = rest.lines_with_terminator().next() {
        if blank(line) && !title.is_empty() {
            break;
        }
        if !blank(line) {
            title.push(line.trim());
        }
        rest = &rest[line.len()..];
    }
    while let Some(line) = rest.lines_with_terminator().next().filter(|line| blank(line)) {
        rest = &rest[line.len()..];
    }
    (title.join(&b' '), rest)
}

/// The first line of a title as the name of a file (`pretty.c`: `format_sanitized_subject`).
fn file_name(title: &[u8]) -> Vec<u8> {
    let mut out: Vec<u8> = vec![];
    let mut gap = false;
    for byte in title {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_') {
            if gap && !out.is_empty() {
                out.push(b'-');
            }
            gap = false;
            if !(*byte == b'.' && out.last() == Some(&b'.')) {
                out.push(*byte);
            }
        } else {
            gap = true;
        }
    }
    while matches!(out.last(), Some(b'.' | b'-')) {
        out.pop();
    }
    out
}

/// What `what` asks of the line of an author or committer.
fn person(line: &BStr, what: u8) -> Option<Vec<u8>> {
    let open = line.find_byte(b'<')?;
    let close = open + line[open..].find_byte(b'>')?;
    let (name, mail) = (line[..open].trim(), line[open + 1..close].trim());
    let text = match what {
        b'n' | b'N' => return Some(name.to_vec()),
        b'e' | b'E' => return Some(mail.to_vec()),
        b'l' | b'L' => return Some(mail[..mail.find_byte(b'@').unwrap_or(mail.len())].to_vec()),
        _ => {
            let after = line[line.rfind_byte(b'>')? + 1..].trim().to_str().ok()?;
            let time: Time = gix_object::date::parse_header(after)?;
            match what {
                b't' => time.seconds.to_string(),
                b'd' => time.format(format::DEFAULT).ok()?,
                b'D' => time.format(format::GIT_RFC2822).ok()?,
                b'i' => time.format(format::ISO8601).ok()?,
                b'I' => utc_as_z(time.format(format::ISO8601_STRICT).ok()?),
                b's' => time.format(format::SHORT).ok()?,
                _ => return None,
            }
        }
    };
    Some(text.into_bytes())
}

/// git writes Z for UTC in strict ISO 8601.
fn utc_as_z(mut text: String) -> String {
    if let Some(at) = text.strip_suffix("+00:00").map(str::len) {
        text.truncate(at);
        let _ = text.write_char('Z'); // memory cannot fail
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pack::NoObjects;

    #[test]
    fn idents_are_expanded_unless_foreign() {
        let id = ObjectId::empty_blob(gix_hash::Kind::Sha1);
        let expand = |text: &str| expand_ident(text.as_bytes(), id).map(|out| String::from_utf8(out).expect("text"));
        assert_eq!(expand("a $Id$ b"), Some(format!("a $Id: {id} $ b")));
        assert_eq!(expand("$Id: old $\n$Id$"), Some(format!("$Id: {id} $\n$Id: {id} $")));
        assert_eq!(expand("$Id: by another system $"), Some("$Id: by another system $".to_owned()));
        assert_eq!(expand("$Id: no end\n$"), Some("$Id: no end\n$".to_owned()));
        assert_eq!(expand("nothing"), None);
    }

    #[test]
    fn line_ends_change_only_where_they_should() {
        assert_eq!(with_crlf(b"a\nb\r\nc\n", false).as_deref(), Some(&b"a\r\nb\r\nc\r\n"[..]));
        assert_eq!(with_crlf(b"a\nb\r\n", true), None);
        assert_eq!(with_crlf(b"a\n\0", true), None);
        assert_eq!(with_crlf(b"a\n", true).as_deref(), Some(&b"a\r\n"[..]));
    }

    #[test]
    fn messages_fall_into_title_and_body() {
        let (title, body) = message_parts("\none\ntwo\n\n\nbody\n\nmore\n".into());
        assert_eq!((title.as_slice(), body), (&b"one two"[..], &b"body\n\nmore\n"[..]));
        assert_eq!(file_name(b"Fix: the  thing..."), b"Fix-the-thing");
    }
    /// What a blob becomes where the commit has this message, and how often its decorations were looked for.
    fn expanded(message: &str, data: &[u8]) -> (Vec<u8>, usize) {
        let id = ObjectId::empty_tree(gix_hash::Kind::Sha1);
        let who = "A <a@example.com> 1700000000 +0000";
        let commit = format!("tree {id}\nauthor {who}\ncommitter {who}\n\n{message}");
        let looked = std::cell::Cell::new(0);
        let decorations = || {
            looked.set(looked.get() + 1);
            vec!["main".to_owned()]
        };
        let objects = NoObjects(gix_hash::Kind::Sha1);
        let mut substitute =
            Substitute { objects: &objects, id, data: commit.as_bytes(), decorations: &decorations, texts: HashMap::new() };
        (substitute.expand(data).expect("something to expand"), looked.get())
    }

    #[test]
    fn a_file_that_grows_without_end_stays_as_it_is_from_some_size_on() {
        let message = "x".repeat(1 << 20);
        for (data, rest) in [("$Format:%B$".repeat(100), "$Format:%B$"), (format!("$Format:{}$", "%B".repeat(100)), "%B")] {
            let (out, _) = expanded(&message, data.as_bytes());
            let whole = out.find_iter(&message).count();
            assert_eq!(whole, EXPANDED_BYTES_MAX >> 20, "{} bytes", out.len());
            assert_eq!(out.find_iter(rest).count(), 100 - whole);
        }
    }

    #[test]
    fn a_placeholder_that_comes_a_million_times_is_looked_up_once() {
        let (out, looked) = expanded(&"a title of many words\n".repeat(50_000), format!("$Format:{}$", "%d%e%h%s".repeat(10)).as_bytes());
        assert!(out.len() > 10 * 50_000 * 20);
        assert_eq!(looked, 1);
        // A scan of the message for each of these would take hours.
        let (out, looked) = expanded(&"\n".repeat(1 << 20), format!("$Format:{}$", "%s%b%D".repeat(1 << 17)).as_bytes());
        assert_eq!((out.len(), looked), ("main".len() << 17, 1));
    }
}
