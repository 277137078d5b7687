//! Refs into the first answer of protocol versions 0 and 1.
//!
//! Source: gitprotocol-pack, "Reference Discovery". The capabilities stand behind a NUL in the first line; without
//! any ref that line carries `capabilities^{}`.

use super::pkt::{add_pkt, begin_pkt, end_pkt, write_hex};
use super::{write_data, write_flush};
use bstr::BStr;
use gix_hash::ObjectId;
use std::io::{Result, Write};

/// One line.
#[derive(Clone, Copy, Debug)]
pub struct AdvertisedRef<'a> {
    /// Full name, HEAD, or `.have`.
    pub name: &'a BStr,
    /// Its object.
    pub id: ObjectId,
    /// What an annotated tag leads to: a line of its own, `name^{}`.
    pub peeled: Option<ObjectId>,
}

/// Writes an advertisement line by line.
pub struct Advertisement<'a, W> {
    out: W,
    capabilities: &'a str,
    first: bool,
    /// Lines that have not been written yet.
    lines: Vec<u8>,
}

/// Lines are gathered up to so many bytes.
const GATHERED_BYTES: usize = 1 << 16;

impl<'a, W: Write> Advertisement<'a, W> {
    /// Begin one; `capabilities` are words separated by single spaces.
    pub fn new(out: W, capabilities: &'a str) -> Self {
        Self { out, capabilities, first: true, lines: vec![] }
    }

    /// Add a ref.
    pub fn add(&mut self, entry: AdvertisedRef<'_>) -> Result<()> {
        self.write_line(entry.id, entry.name, b"")?;
        match entry.peeled {
            Some(peeled) => self.write_line(peeled, entry.name, b"^{}"),
            None => Ok(()),
        }
    }

    /// Add a ref that stands as text already: `line` is its id in hexadecimal, a space, its name and a newline; `peeled`, in
    /// hexadecimal, what an annotated tag leads to.
    #[inline]
    pub fn add_text(&mut self, line: &[u8], peeled: Option<&[u8]>) -> Result<()> {
        let text = line.strip_suffix(b"\n").unwrap_or(line);
        match std::mem::take(&mut self.first) {
            true => add_pkt(&mut self.lines, [text, b"\0", self.capabilities.as_bytes(), b"\n"])?,
            false => add_pkt(&mut self.lines, [line])?,
        }
        if let Some(peeled) = peeled {
            add_pkt(&mut self.lines, [peeled, &text[peeled.len()..], b"^{}\n"])?;
        }
        self.write_gathered()
    }

    /// The first line, when no ref has made it.
    fn begin(&mut self, hash: gix_hash::Kind) -> Result<()> {
        if self.first { self.write_line(hash.null(), b"capabilities", b"^{}") } else { Ok(()) }
    }

    fn write_line(&mut self, id: ObjectId, name: &[u8], suffix: &[u8]) -> Result<()> {
        let lines = &mut self.lines;
        let start = begin_pkt(lines);
        write_hex(&id, lines);
        lines.push(b' ');
        lines.extend_from_slice(name);
        lines.extend_from_slice(suffix);
        if std::mem::take(&mut self.first) {
            lines.push(0);
            lines.extend_from_slice(self.capabilities.as_bytes());
        }
        lines.push(b'\n');
        end_pkt(lines, start)?;
        self.write_gathered()
    }

    #[inline]
    fn write_gathered(&mut self) -> Result<()> {
        if self.lines.len() >= GATHERED_BYTES {
            self.out.write_all(&self.lines)?;
            self.lines.clear();
        }
        Ok(())
    }

    /// Say behind the refs that this commit has no parents here.
    pub fn add_shallow(&mut self, id: ObjectId) -> Result<()> {
        self.begin(id.kind())?;
        write_data(&mut self.lines, format!("shallow {id}\n").as_bytes())
    }

    /// End it; `hash` gives the null id for a repository without refs.
    pub fn finish(mut self, hash: gix_hash::Kind) -> Result<W> {
        self.begin(hash)?;
        write_flush(&mut self.lines)?;
        self.out.write_all(&self.lines)?;
        self.out.flush()?;
        Ok(self.out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn capabilities_stand_in_the_first_line_only() {
        let id = ObjectId::null(gix_hash::Kind::Sha1);
        let mut lines = Advertisement::new(vec![], "a b=c");
        lines.add(AdvertisedRef { name: "refs/tags/v1".into(), id, peeled: Some(id) }).expect("memory");
        let text = String::from_utf8(lines.finish(gix_hash::Kind::Sha1).expect("memory")).expect("ascii");
        assert_eq!(text, format!("0040{id} refs/tags/v1\0a b=c\n003d{id} refs/tags/v1^{{}}\n0000"));
        let mut lines = Advertisement::new(vec![], "a b=c");
        let hex = id.to_string();
        lines.add_text(format!("{id} refs/tags/v1\n").as_bytes(), Some(hex.as_bytes())).expect("memory");
        assert_eq!(lines.finish(gix_hash::Kind::Sha1).expect("memory"), text.as_bytes(), "as it stands, the same");
        let empty = Advertisement::new(vec![], "a").finish(gix_hash::Kind::Sha1).expect("memory");
        assert_eq!(empty, format!("003f{id} capabilities^{{}}\0a\n0000").as_bytes());
    }
}
