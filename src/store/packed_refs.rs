//! The file `packed-refs` into lookups by name, and into itself without some refs.
//!
//! Source: git-pack-refs and `refs/packed-backend.c`: a header `# pack-refs with: <traits>`, then per ref a line
//! `<id> <name>`, followed by `^<id>` where the ref is an annotated tag. With the trait `sorted` records are in
//! order of names and are found by bisection; without it they are put in order first.

use super::{Error, Mapped};
use bstr::{BStr, BString, ByteSlice as _};
use bytes::Bytes;
use gix_hash::ObjectId;
use std::collections::BTreeSet;
use std::io::{ErrorKind, Write};
use std::path::Path;

/// What the first line promises.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Traits {
    /// Every tag in `refs/tags` is peeled.
    peeled: bool,
    /// Everything is peeled.
    fully_peeled: bool,
    /// Records are in order of names.
    sorted: bool,
}

/// The packed refs at one moment.
#[derive(Debug)]
pub(super) struct PackedRefs {
    bytes: Bytes,
    records_at: usize,
    hex_len: usize,
    traits: Traits,
}

/// One record: where it begins, and its parts.
#[derive(Clone, Copy, Debug)]
pub(super) struct Record<'a> {
    /// In hexadecimal, not looked at yet.
    pub(super) id: &'a [u8],
    pub(super) name: &'a BStr,
    /// The record with its peel line.
    whole: &'a [u8],
    /// Where the next record begins.
    pub(super) end: usize,
}

impl<'a> Record<'a> {
    /// Id and name as they stand, with the newline behind them.
    pub(super) fn line(&self) -> &'a [u8] {
        &self.whole[..self.id.len() + 1 + self.name.len() + 1]
    }

    /// What the peel line says, in hexadecimal, if there is one.
    pub(super) fn peeled(&self) -> Option<&'a [u8]> {
        let rest = &self.whole[self.id.len() + 1 + self.name.len() + 1..];
        rest.strip_prefix(b"^").and_then(|rest| rest.strip_suffix(b"\n"))
    }
}

impl PackedRefs {
    /// Read the file in `dir`; one that is not there holds no refs.
    pub(super) fn read(dir: &Path, hash: gix_hash::Kind) -> Result<Self, Error> {
        let path = dir.join("packed-refs");
        let bytes = match std::fs::read(&path) {
            Ok(bytes) => bytes.into(),
            Err(err) if err.kind() == ErrorKind::NotFound => Bytes::new(),
            Err(err) => return Err(Error::io(format!("reading {}", path.display()))(err)),
        };
        Self::parse(bytes, hash)
    }

    /// As [`PackedRefs::read`], mapped: for a process that looks at a part of them and ends. git and we put a new file in
    /// place of this one; somebody who cuts it short in place would end a process that maps it.
    pub(super) fn map(dir: &Path, hash: gix_hash::Kind) -> Result<Self, Error> {
        let path = dir.join("packed-refs");
        match Mapped::open(&path) {
            Ok(bytes) => Self::parse(bytes, hash),
            Err(err) if err.kind() == ErrorKind::NotFound => Self::parse(Bytes::new(), hash),
            Err(err) => Err(Error::io(format!("mapping {}", path.display()))(err)),
        }
    }

    /// The packed refs that these bytes hold.
    pub(super) fn parse(bytes: Bytes, hash: gix_hash::Kind) -> Result<Self, Error> {
        let header = match bytes.first() {
            Some(b'#') => &bytes[..bytes.find_byte(b'\n').map_or(bytes.len(), |end| end + 1)],
            _ => &[],
        };
        let words = header.strip_prefix(b"# pack-refs with:").unwrap_or_default();
        let mut traits = Traits::default();
        for word in words.fields() {
            traits.peeled |= word == b"peeled";
            traits.fully_peeled |= word == b"fully-peeled";
            traits.sorted |= word == b"sorted";
        }
        let packed = Self { records_at: header.len(), hex_len: hash.len_in_hex(), bytes, traits };
        if traits.sorted { Ok(packed) } else { packed.put_in_order() }
    }

    /// Read everything once.
    ///
    /// # Errors
    /// [`Error::Corrupt`]: a record cannot be understood, or stands in the wrong place.
    pub(super) fn check(&self) -> Result<(), Error> {
        let is_id = |hex: &[u8]| hex.len() == self.hex_len && hex.iter().all(u8::is_ascii_hexdigit);
        let (mut at, mut before) = (self.records_at, BStr::new(""));
        while let Some(record) = self.record(at)? {
            let peeled_is_id = record.end - at == record.id.len() + record.name.len() + 2 || record.peeled().is_some_and(is_id);
            if !is_id(record.id) || !peeled_is_id || record.name <= before {
                return Err(Error::Corrupt(format!("packed-refs: bad line at byte {at}")));
            }
            (at, before) = (record.end, record.name);
        }
        Ok(())
    }

    /// Whether a ref of this name that has no peel line is sure to be no tag object.
    #[inline]
    pub(super) fn knows_peeled(&self, name: &BStr) -> bool {
        self.traits.fully_peeled || self.traits.peeled && name.starts_with(b"refs/tags/")
    }

    /// The whole file, records in order.
    pub(super) fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// Where the first record begins.
    pub(super) fn start(&self) -> usize {
        self.records_at
    }

    /// Where the first record begins whose name is not below `name`.
    pub(super) fn position_of(&self, name: &BStr) -> Result<usize, Error> {
        Ok(self.lower_bound(name)?.map_or(self.bytes.len(), |record| record.end - record.whole.len()))
    }

    fn put_in_order(self) -> Result<Self, Error> {
        let mut records = Vec::new();
        let mut at = self.records_at;
        while let Some(record) = self.record(at)? {
            at = record.end;
            records.push((record.name, record.whole));
        }
        // Of two records for one name, the first counts.
        records.sort_by_key(|(name, _)| *name);
        records.dedup_by_key(|(name, _)| *name);
        let mut bytes = self.bytes[..self.records_at].to_vec();
        for (_, whole) in records {
            bytes.extend_from_slice(whole);
        }
        Ok(Self { bytes: bytes.into(), ..self })
    }

    /// The record that begins at `at`; `None` at the end of the file.
    pub(super) fn record(&self, at: usize) -> Result<Option<Record<'_>>, Error> {
        let rest = &self.bytes[at..];
        if rest.is_empty() {
            return Ok(None);
        }
        let corrupt = || Error::Corrupt(format!("packed-refs: bad line at byte {at}"));
        let line_len = memchr::memchr(b'\n', rest).ok_or_else(corrupt)?;
        let line = &rest[..line_len];
        if line.len() < self.hex_len + 2 || line[self.hex_len] != b' ' {
            return Err(corrupt());
        }
        let mut len = line_len + 1;
        if rest.get(len) == Some(&b'^') {
            len += rest[len..].find_byte(b'\n').ok_or_else(corrupt)? + 1;
        }
        Ok(Some(Record { id: &line[..self.hex_len], name: line[self.hex_len + 1..].as_bstr(), whole: &rest[..len], end: at + len }))
    }

    /// Where the record begins in which `at` lies; `at` is within the records.
    fn record_start(&self, at: usize) -> usize {
        let line_start =
            |at: usize| self.bytes[self.records_at..at].rfind_byte(b'\n').map_or(self.records_at, |end| self.records_at + end + 1);
        let start = line_start(at);
        if self.bytes[start] == b'^' && start > self.records_at { line_start(start - 1) } else { start }
    }

    /// The first record whose name is not below `name`.
    pub(super) fn lower_bound(&self, name: &BStr) -> Result<Option<Record<'_>>, Error> {
        let (mut low, mut high) = (self.records_at, self.bytes.len());
        while low < high {
            let start = self.record_start(low + (high - low) / 2);
            let record = self.record(start)?.expect("a record begins before the end of the file");
            if record.name < name {
                low = record.end;
            } else {
                high = start;
            }
        }
        self.record(low)
    }

    /// The value of the ref `name`.
    pub(super) fn find(&self, name: &BStr) -> Result<Option<ObjectId>, Error> {
        let Some(record) = self.lower_bound(name)?.filter(|record| record.name == name) else { return Ok(None) };
        match ObjectId::from_hex(record.id) {
            Ok(id) => Ok(Some(id)),
            Err(err) => Err(Error::Corrupt(format!("packed-refs: {name}: {err}"))),
        }
    }

    /// The first ref beneath the folder `name` that is not among those that go away.
    pub(super) fn find_beneath(&self, name: &BStr, going: &BTreeSet<BString>) -> Result<Option<BString>, Error> {
        let mut folder = BString::from(name);
        folder.push(b'/');
        let mut found = self.lower_bound(folder.as_bstr())?;
        while let Some(record) = found.filter(|record| record.name.starts_with(&folder)) {
            if !going.contains(record.name) {
                return Ok(Some(record.name.to_owned()));
            }
            found = self.record(record.end)?;
        }
        Ok(None)
    }

    /// Write the file anew without the refs `going`; all else, header and peel lines too, stays byte for byte.
    pub(super) fn write_without(&self, going: &BTreeSet<BString>, out: &mut dyn Write) -> Result<(), Error> {
        let mut kept_from = 0;
        let mut at = self.records_at;
        let write = |out: &mut dyn Write, bytes: &[u8]| out.write_all(bytes).map_err(Error::io("writing packed-refs"));
        while let Some(record) = self.record(at)? {
            if going.contains(record.name) {
                write(out, &self.bytes[kept_from..at])?;
                kept_from = record.end;
            }
            at = record.end;
        }
        write(out, &self.bytes[kept_from..])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    fn file(refs: &BTreeMap<String, bool>, header: &str) -> String {
        let mut text = header.to_owned();
        for (at, (name, peeled)) in refs.iter().enumerate() {
            text.push_str(&format!("{:040x} {name}\n", at + 1));
            if *peeled {
                text.push_str(&format!("^{:040x}\n", at + 1000));
            }
        }
        text
    }

    const SORTED: &str = "# pack-refs with: peeled fully-peeled sorted \n";

    proptest! {
        #[test]
        fn bisection_finds_what_a_map_finds(
            refs in proptest::collection::btree_map("refs/(heads|tags)/[a-c]{1,3}(/[a-c]{1,2})?", any::<bool>(), 0..40),
            asked in "refs/(heads|tags)/[a-c]{1,3}",
        ) {
            let packed = PackedRefs::parse(file(&refs, SORTED).into(), gix_hash::Kind::Sha1).expect("is valid");
            for (at, name) in refs.keys().enumerate() {
                let id = packed.find(name.as_str().into()).expect("is valid").expect("is there");
                prop_assert_eq!(id.to_string(), format!("{:040x}", at + 1));
            }
            prop_assert_eq!(packed.find(asked.as_str().into()).expect("is valid").is_some(), refs.contains_key(&asked));
            let beneath = refs.keys().find(|name| name.starts_with(&format!("{asked}/"))).map(|name| BString::from(name.as_str()));
            prop_assert_eq!(packed.find_beneath(asked.as_str().into(), &BTreeSet::new()).expect("is valid"), beneath);
        }

        #[test]
        fn a_rewrite_drops_only_what_goes(
            refs in proptest::collection::btree_map("refs/tags/[a-c]{1,3}", any::<bool>(), 0..20),
            keep in proptest::collection::vec(any::<bool>(), 20),
        ) {
            let going: BTreeSet<BString> =
                refs.keys().zip(&keep).filter(|(_, keep)| !**keep).map(|(name, _)| BString::from(name.as_str())).collect();
            let text = file(&refs, SORTED);
            let packed = PackedRefs::parse(text.clone().into(), gix_hash::Kind::Sha1).expect("is valid");
            let mut out = Vec::new();
            packed.write_without(&going, &mut out).expect("writing to memory");
            let mut wanted = String::new();
            let mut dropping = false;
            for line in text.lines() {
                if !line.starts_with('^') {
                    dropping = line.split_once(' ').is_some_and(|(_, name)| going.contains(name.as_bytes().as_bstr()));
                }
                if !dropping {
                    wanted.push_str(line);
                    wanted.push('\n');
                }
            }
            prop_assert_eq!(String::from_utf8(out).expect("is ASCII"), wanted);
        }
    }

    #[test]
    fn a_file_without_the_sorted_trait_is_put_in_order() {
        let text = format!("# pack-refs with: peeled \n{:040x} refs/tags/b\n{:040x} refs/tags/a\n^{:040x}\n", 1, 2, 3);
        let packed = PackedRefs::parse(text.into(), gix_hash::Kind::Sha1).expect("is valid");
        assert_eq!(packed.find("refs/tags/a".into()).expect("is valid").map(|id| id.to_string()), Some(format!("{:040x}", 2)));
        assert_eq!(packed.find("refs/tags/b".into()).expect("is valid").map(|id| id.to_string()), Some(format!("{:040x}", 1)));
    }

    #[test]
    fn a_line_cut_short_is_corruption_and_not_a_missing_ref() {
        let text = format!("{SORTED}{:040x} refs/tags/a\n0123", 1);
        let packed = PackedRefs::parse(text.into(), gix_hash::Kind::Sha1).expect("looks fine at first");
        assert!(matches!(packed.find("refs/tags/b".into()), Err(Error::Corrupt(_))));
    }
}
