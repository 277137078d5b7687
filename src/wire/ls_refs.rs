//! An `ls-refs` command into [`LsRefs`], and the lines of its answer.
//!
//! Source: gitprotocol-v2, "ls-refs".

use super::pkt::{add_pkt, begin_pkt, end_pkt, write_hex};
use super::{Error, Pkt, PktReader};
use crate::base::limits::{REF_PREFIX_BYTES_MAX, REF_PREFIXES_MAX};
use bstr::{BStr, BString, ByteSlice};
use gix_hash::ObjectId;
use std::io::Read;

/// What the client wants to know.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct LsRefs {
    /// Tell what annotated tags lead to.
    pub peel: bool,
    /// Tell the targets of symbolic refs.
    pub symrefs: bool,
    /// Tell of a HEAD whose branch is not born.
    pub unborn: bool,
    /// Only refs that begin with one of these, sorted; empty: all refs.
    pub prefixes: Vec<BString>,
}

/// Read the arguments that follow the delim packet, up to the flush.
pub fn read_ls_refs<R: Read>(reader: &mut PktReader<R>) -> Result<LsRefs, Error> {
    let mut asked = LsRefs::default();
    let (mut too_many, mut prefix_bytes) = (false, 0);
    loop {
        let pkt = reader.expect()?;
        let Some(line) = pkt.text() else {
            if pkt == Pkt::Flush {
                break;
            }
            return Err(Error::protocol("expected flush after ls-refs arguments"));
        };
        match line {
            b"peel" => asked.peel = true,
            b"symrefs" => asked.symrefs = true,
            b"unborn" => asked.unborn = true,
            line => match line.strip_prefix(b"ref-prefix ") {
                // Above the bound the filter is dropped, as git does: the client filters what it gets anyway.
                Some(_) if too_many => {}
                Some(prefix) => {
                    prefix_bytes += prefix.len();
                    asked.prefixes.push(prefix.into());
                    if asked.prefixes.len() > REF_PREFIXES_MAX || prefix_bytes > REF_PREFIX_BYTES_MAX {
                        too_many = true;
                        asked.prefixes = vec![];
                    }
                }
                None => return Err(Error::protocol(format!("unexpected line: '{}'", line.as_bstr()))),
            },
        }
    }
    asked.prefixes.sort_unstable();
    // A prefix of another prefix says all that the longer one does.
    asked.prefixes.dedup_by(|longer, shorter| longer.starts_with(shorter.as_slice()));
    Ok(asked)
}

impl LsRefs {
    /// Whether a ref of this name is asked for.
    pub fn matches(&self, name: &BStr) -> bool {
        if self.prefixes.is_empty() {
            return true;
        }
        // No kept prefix begins another, so only the last one that sorts at or before the name can begin it.
        let after = self.prefixes.partition_point(|prefix| prefix.as_slice() <= name.as_bytes());
        after > 0 && name.starts_with(&self.prefixes[after - 1])
    }
}

/// One ref in the answer.
#[derive(Clone, Copy, Debug)]
pub struct LsRefsLine<'a> {
    /// `None`: unborn.
    pub id: Option<ObjectId>,
    /// Full name, or HEAD.
    pub name: &'a BStr,
    /// Where it points, when it is symbolic and that was asked for.
    pub symref_target: Option<&'a BStr>,
    /// What an annotated tag leads to, when that was asked for.
    pub peeled: Option<ObjectId>,
}

impl LsRefsLine<'_> {
    /// Add the line as one packet to `out`.
    pub fn write(&self, out: &mut Vec<u8>) -> std::io::Result<()> {
        let start = begin_pkt(out);
        match self.id {
            Some(id) => write_hex(&id, out),
            None => out.extend_from_slice(b"unborn"),
        }
        out.push(b' ');
        out.extend_from_slice(self.name);
        if let Some(target) = self.symref_target {
            out.extend_from_slice(b" symref-target:");
            out.extend_from_slice(target);
        }
        if let Some(peeled) = self.peeled {
            out.extend_from_slice(b" peeled:");
            write_hex(&peeled, out);
        }
        out.push(b'\n');
        end_pkt(out, start)
    }
}

/// Add the line of a ref that stands as text already: `line` is its id in hexadecimal, a space, its name and a newline;
/// `peeled`, in hexadecimal, what an annotated tag leads to, when that was asked for.
#[inline]
pub fn add_ls_refs_text(out: &mut Vec<u8>, line: &[u8], peeled: Option<&[u8]>) -> std::io::Result<()> {
    match (peeled, line.strip_suffix(b"\n")) {
        (Some(peeled), Some(line)) => add_pkt(out, [line, b" peeled:", peeled, b"\n"]),
        _ => add_pkt(out, [line]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::write_text;
    use proptest::prelude::*;

    #[test]
    fn arguments_are_read_up_to_the_flush() {
        let asked = read_ls_refs(&mut PktReader::new(&b"0009peel\n0019ref-prefix refs/tags/0000"[..])).expect("legal");
        assert!(asked.peel && !asked.symrefs);
        assert!(asked.matches("refs/tags/v1".into()) && !asked.matches("refs/heads/main".into()));
        assert!(read_ls_refs(&mut PktReader::new(&b"0009peel\n0001"[..])).is_err());
        assert!(read_ls_refs(&mut PktReader::new(&b"0008what0000"[..])).is_err());
    }

    #[test]
    fn a_ref_that_stands_as_text_is_told_as_one_that_was_read() {
        let id = ObjectId::from_hex(b"1f7a7a472abf3dd9643fd615f6da379c4acb3e3a").expect("is hex");
        for peeled in [None, Some(id)] {
            let (mut read, mut text) = (vec![], vec![]);
            LsRefsLine { id: Some(id), name: "refs/tags/v1".into(), symref_target: None, peeled }.write(&mut read).expect("memory");
            let hex = peeled.map(|id| id.to_string());
            let line = format!("{id} refs/tags/v1\n");
            add_ls_refs_text(&mut text, line.as_bytes(), hex.as_ref().map(String::as_bytes)).expect("memory");
            assert_eq!(text.as_bstr(), read.as_bstr());
        }
    }

    proptest! {
        #[test]
        fn prefixes_match_as_a_naive_scan_does(prefixes in prop::collection::vec("[ab/]{0,4}", 1..6), name in "[ab/]{0,6}") {
            let mut bytes = vec![];
            for prefix in &prefixes {
                write_text(&mut bytes, format!("ref-prefix {prefix}")).expect("memory");
            }
            bytes.extend_from_slice(b"0000");
            let asked = read_ls_refs(&mut PktReader::new(&bytes[..])).expect("legal");
            prop_assert_eq!(asked.matches(name.as_str().into()), prefixes.iter().any(|prefix| name.starts_with(prefix)));
        }
    }
}
