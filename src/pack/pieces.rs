//! An object that a pack stores whole into its bytes, piece by piece: for what is too big to be held.
//!
//! Deltas and loose objects are not offered: their bytes come from [`super::Decoder`], in one piece.

use super::{Base, Error, Inflater, Kind, Location, Objects, PackFile, kind_of_code};

/// Bytes handed on at once.
const PIECE_BYTES: usize = 64 << 10;

/// An entry that is no delta.
#[derive(Clone, Copy)]
pub struct WholeEntry<'a> {
    file: &'a PackFile,
    offset: u64,
    header_bytes: u64,
    size: u64,
    kind: Kind,
}

impl<'a> WholeEntry<'a> {
    /// The entry at `location`; `Ok(None)` when it is a delta, or loose.
    pub fn at(objects: &'a dyn Objects, location: &Location) -> Result<Option<Self>, Error> {
        let Location::Packed { pack, entry } = location else { return Ok(None) };
        let file = &*objects.packs()[*pack as usize];
        let offset = file.offset(*entry)?;
        let header = file.header(offset)?;
        let Base::Whole(code) = header.base else { return Ok(None) };
        let kind = kind_of_code(code).ok_or_else(|| Error::corrupt(format!("{}: no object type has number {code}", file.name())))?;
        Ok(Some(Self { file, offset, header_bytes: header.len as u64, size: header.size, kind }))
    }

    /// The object's type.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// The object's bytes.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Hand all bytes to `each`, in order; ends with its first error. What comes is exactly [`WholeEntry::size`] bytes.
    pub fn each_piece<E: From<Error>>(&self, mut each: impl FnMut(&[u8]) -> Result<(), E>) -> Result<(), E> {
        let corrupt = |what: String| Error::corrupt(format!("{}: entry at offset {}: {what}", self.file.name(), self.offset));
        let header = self.file.header(self.offset)?;
        let mut data = self.file.data_of(self.offset, &header)?;
        let (mut inflater, mut piece, mut taken, mut made) = (Inflater::new(), vec![0; PIECE_BYTES], 0, 0);
        loop {
            let step = inflater.step(&data[taken..], &mut piece).map_err(|err| corrupt(err.to_string()))?;
            taken += step.consumed;
            made += step.written as u64;
            if made > self.size || step.ended && made != self.size {
                return Err(corrupt(format!("inflated size is not the declared {} bytes", self.size)).into());
            }
            each(&piece[..step.written])?;
            if step.ended {
                return Ok(());
            }
            if step.consumed == 0 && step.written == 0 {
                // An odd encoder's stream may be longer than any sensible one: look as far as the pack goes.
                let rest = self.file.slice(self.offset + self.header_bytes..self.file.end())?;
                if rest.len() <= data.len() {
                    return Err(corrupt("the data break off".to_owned()).into());
                }
                data = rest;
            }
        }
    }
}
