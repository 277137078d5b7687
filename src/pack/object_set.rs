//! Which objects go out: places in packs, and loose ones by id.
//!
//! An object that lies in several packs must always be named by the same place, or it would go out twice:
//! [`Objects::locate`] answers with the first pack that has it.

use super::{Bits, Location, Objects};
use crate::base::FastSet;
use gix_hash::ObjectId;

/// Filled by `walk`, read by [`super::PackPlan`]. One bit per packed object of each pack that is touched at all.
#[derive(Debug, Default)]
pub struct ObjectSet {
    packs: Vec<Bits>,
    loose: Vec<ObjectId>,
    loose_seen: FastSet<ObjectId>,
    len: usize,
}

impl ObjectSet {
    /// The empty set.
    pub fn new() -> Self {
        Self::default()
    }

    /// Add the object at `location` of `objects`; true when it was not in the set.
    pub fn insert(&mut self, objects: &dyn Objects, location: &Location) -> bool {
        let new = match *location {
            Location::Packed { pack, entry } => {
                let pack = pack as usize;
                if self.packs.len() <= pack {
                    self.packs.resize_with(pack + 1, Bits::default);
                }
                if self.packs[pack].is_empty() {
                    self.packs[pack] = Bits::new(objects.packs()[pack].len() as usize);
                }
                self.packs[pack].insert(entry as usize)
            }
            Location::Loose(id) => {
                let new = self.loose_seen.insert(id);
                if new {
                    self.loose.push(id);
                }
                new
            }
        };
        self.len += usize::from(new);
        new
    }

    /// Take the object at `location` out; true when it was in the set.
    pub fn remove(&mut self, location: &Location) -> bool {
        if !self.contains(location) {
            return false;
        }
        match *location {
            Location::Packed { pack, entry } => self.packs[pack as usize].remove(entry as usize),
            Location::Loose(id) => {
                self.loose_seen.remove(&id);
                self.loose.retain(|known| *known != id);
            }
        }
        self.len -= 1;
        true
    }

    /// Add these entries of one pack, numbered as its index numbers them; how many were not in the set.
    pub fn insert_packed(&mut self, pack: u32, entries: Bits) -> usize {
        let pack = pack as usize;
        if self.packs.len() <= pack {
            self.packs.resize_with(pack + 1, Bits::default);
        }
        let new = if self.packs[pack].is_empty() {
            self.packs[pack] = entries;
            self.packs[pack].count()
        } else {
            self.packs[pack].union(&entries)
        };
        self.len += new;
        new
    }

    /// Whether the object at `location` is in the set.
    pub fn contains(&self, location: &Location) -> bool {
        match *location {
            Location::Packed { pack, entry } => {
                self.packs.get(pack as usize).is_some_and(|bits| !bits.is_empty() && bits.get(entry as usize))
            }
            Location::Loose(id) => self.loose_seen.contains(&id),
        }
    }

    /// How many objects there are.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Memory taken, about.
    pub fn held_bytes(&self) -> usize {
        let packed: usize = self.packs.iter().map(|bits| bits.len() / 8).sum();
        packed + self.loose.len() * 3 * size_of::<ObjectId>()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Which entries of `pack` are in the set; `None`: it is not touched.
    pub fn of_pack(&self, pack: u32) -> Option<&Bits> {
        self.packs.get(pack as usize).filter(|bits| !bits.is_empty())
    }

    /// The packs that are touched: their numbers, and which entries.
    pub fn packed(&self) -> impl Iterator<Item = (u32, &Bits)> {
        self.packs.iter().enumerate().filter(|(_, bits)| !bits.is_empty()).map(|(pack, bits)| (pack as u32, bits))
    }

    /// All of them: pack by pack, then the loose ones.
    pub fn locations(&self) -> impl Iterator<Item = Location> + '_ {
        let packed = self.packed().flat_map(|(pack, bits)| bits.iter().map(move |entry| Location::Packed { pack, entry: entry as u32 }));
        packed.chain(self.loose.iter().copied().map(Location::Loose))
    }

    /// The loose objects in order of insertion.
    pub fn loose(&self) -> &[ObjectId] {
        &self.loose
    }
}
