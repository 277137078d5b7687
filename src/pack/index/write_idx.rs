//! A table of entries into the `.idx` and `.rev` files of its pack, byte for byte as stock git writes them.
//!
//! Source: gitformat-pack, "Version 2 pack-*.idx files" and "pack-*.rev files have the format".

use super::super::Error;
use super::table::Table;
use super::twice;
use crate::base::Cancel;
use gix_hash::{Hasher, ObjectId};
use std::fs::File;
use std::io::Write;

const IDX_SIGNATURE: [u8; 4] = [0xff, b't', b'O', b'c'];
const IDX_VERSION: u32 = 2;
const REV_SIGNATURE: [u8; 4] = *b"RIDX";
const REV_VERSION: u32 = 1;
/// Offsets from here on stand in a table of 64-bit numbers; the 32-bit one holds their place there with this bit set.
const LARGE_OFFSET: u64 = 1 << 31;
const BUFFER_BYTES: usize = 64 << 10;

/// Writes both files; two equal ids are an error.
pub(super) fn write_indexes(table: &Table, trailer: &ObjectId, idx: &File, rev: &File, cancel: &Cancel) -> Result<(), Error> {
    let (order, fanout) = table.ids.sorted();
    let id = |at: u32| table.ids.get(at as usize);
    if let Some(pair) = order.windows(2).find(|pair| id(pair[0]) == id(pair[1])) {
        return Err(twice(id(pair[0])));
    }
    write_idx(table, &order, &fanout, trailer, Summed::new(idx, trailer.kind(), cancel))?;
    let mut ranks = vec![0u32; order.len()];
    for (rank, &entry) in order.iter().enumerate() {
        ranks[entry as usize] = rank as u32;
    }
    drop(order);
    let mut out = Summed::new(rev, trailer.kind(), cancel);
    out.put(&REV_SIGNATURE)?;
    out.number(REV_VERSION)?;
    out.number(trailer.kind() as u32)?;
    ranks.iter().try_for_each(|&rank| out.number(rank))?;
    out.finish(trailer)
}

fn write_idx(table: &Table, order: &[u32], fanout: &[u32; 256], trailer: &ObjectId, mut out: Summed<'_>) -> Result<(), Error> {
    out.put(&IDX_SIGNATURE)?;
    out.number(IDX_VERSION)?;
    fanout.iter().try_for_each(|&count| out.number(count))?;
    order.iter().try_for_each(|&at| out.put(table.ids.get(at as usize).as_bytes()))?;
    order.iter().try_for_each(|&at| out.number(table.crcs[at as usize]))?;
    let mut large = 0;
    for &at in order {
        let offset = table.offsets[at as usize];
        if offset < LARGE_OFFSET {
            out.number(offset as u32)?;
        } else {
            out.number(LARGE_OFFSET as u32 | large)?;
            large += 1;
        }
    }
    let offsets = order.iter().map(|&at| table.offsets[at as usize]);
    offsets.filter(|&offset| offset >= LARGE_OFFSET).try_for_each(|offset| out.put(&offset.to_be_bytes()))?;
    out.finish(trailer)
}

/// A file written through a buffer, with the hash of all that was written.
struct Summed<'a> {
    file: &'a File,
    cancel: &'a Cancel,
    hasher: Hasher,
    buffer: Vec<u8>,
}

impl<'a> Summed<'a> {
    fn new(file: &'a File, hash: gix_hash::Kind, cancel: &'a Cancel) -> Self {
        Self { file, cancel, hasher: gix_hash::hasher(hash), buffer: Vec::with_capacity(BUFFER_BYTES) }
    }

    fn put(&mut self, bytes: &[u8]) -> Result<(), Error> {
        if self.buffer.len() + bytes.len() > BUFFER_BYTES {
            self.flush()?;
        }
        self.buffer.extend_from_slice(bytes);
        Ok(())
    }

    fn number(&mut self, number: u32) -> Result<(), Error> {
        self.put(&number.to_be_bytes())
    }

    fn flush(&mut self) -> Result<(), Error> {
        self.cancel.check()?;
        self.hasher.update(&self.buffer);
        self.file.write_all(&self.buffer)?;
        self.buffer.clear();
        Ok(())
    }

    /// The pack's trailer and then the sum of this file: both files end so.
    fn finish(mut self, trailer: &ObjectId) -> Result<(), Error> {
        self.put(trailer.as_slice())?;
        self.flush()?;
        let sum = self.hasher.try_finalize().map_err(|err| Error::BadPack(err.to_string()))?;
        Ok(self.file.write_all(sum.as_slice())?)
    }
}

#[cfg(test)]
mod tests {
    use super::super::table::Link;
    use super::*;
    use gix_hash::Kind::Sha1;
    use std::io::{Read, Seek};

    fn table(offsets: &[u64]) -> Table {
        let mut table = Table::new(Sha1);
        for (at, &offset) in offsets.iter().enumerate() {
            table.push(&ObjectId::Sha1([9 - at as u8; 20]), offset, at as u32, Link::BY_ID);
        }
        table
    }

    #[test]
    fn offsets_past_two_gib_stand_in_the_large_table() {
        let (mut idx, rev) = (tempfile::tempfile().expect("file"), tempfile::tempfile().expect("file"));
        let offsets = [12, LARGE_OFFSET - 1, LARGE_OFFSET, 5 << 32];
        write_indexes(&table(&offsets), &Sha1.empty_blob(), &idx, &rev, &Cancel::new()).expect("written");
        let mut bytes = vec![];
        idx.rewind().expect("file");
        idx.read_to_end(&mut bytes).expect("file");
        let read = gix_pack::index::File::from_data(bytes, "test.idx".into(), Sha1).expect("an index");
        assert_eq!(read.pack_checksum(), Sha1.empty_blob());
        for (at, &offset) in offsets.iter().enumerate() {
            let rank = read.lookup(ObjectId::Sha1([9 - at as u8; 20])).expect("it is there");
            assert_eq!(rank as usize, 3 - at);
            assert_eq!((read.pack_offset_at_index(rank), read.crc32_at_index(rank)), (offset, Some(at as u32)));
        }
    }

    #[test]
    fn an_object_that_came_twice_is_refused_by_name() {
        let (idx, rev) = (tempfile::tempfile().expect("file"), tempfile::tempfile().expect("file"));
        let mut table = table(&[12, 20, 30]);
        table.ids.set(2, &ObjectId::Sha1([9; 20]));
        let err = write_indexes(&table, &Sha1.empty_blob(), &idx, &rev, &Cancel::new()).expect_err("refused");
        assert_eq!(err.to_string(), format!("The same object {} appears twice in the pack", ObjectId::Sha1([9; 20])));
    }
}
