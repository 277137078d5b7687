//! Root trees into all that they reach, by reading every tree of the packs once in the order of its deltas: for requests
//! that want most of a repository.
//!
//! | file | turns what into what |
//! |---|---|
//! | `headers` | packs into the type of every entry and the links between deltas and bases |
//! | `families` | these links into families of trees |
//! | `lists` | families into what each tree names and its base does not |
//! | here | lists and root trees into the objects that these reach |
//!
//! Of the entries of a history's trees one in twenty is new beside the tree's delta base; only these are looked up, on
//! two threads. A tree's objects are those of its list and those of its base: when both are reached, the list is
//! enough; when only the tree is, it is read as a whole, as is one that has no list and one outside the packs.

mod families;
mod headers;
mod lists;

use super::Error;
use super::cover::{Cover, tree_data};
use super::tree::for_each_entry;
use crate::base::{Cancel, Phase};
use crate::pack::{Bits, Decoder, Kind, Location, ObjectSet, Objects};
use families::{ELSEWHERE, Families, NONE};
use gix_hash::ObjectId;
use headers::Headers;
use lists::{Job, Lists, TREE};

/// Trees that are read as a whole are mostly neighbours in a delta chain.
const CACHE_BYTES_MAX: usize = 8 << 20;

/// All trees of the packs of one view.
pub(super) struct Scan<'a> {
    objects: &'a dyn Objects,
    headers: Headers,
    families: Families,
    lists: Lists,
    blobs: bool,
}

impl<'a> Scan<'a> {
    /// Read the trees of all packs. `None` when their tables are damaged, or there is more than can be numbered: who then
    /// goes tree by tree may need nothing of that. Without `blobs`, these are passed over.
    pub fn read(objects: &'a dyn Objects, blobs: bool, phase: &Phase, cancel: &Cancel) -> Result<Option<Self>, Error> {
        match Self::try_read(objects, blobs, phase, cancel) {
            Err(Error::Pack(crate::pack::Error::Corrupt(what))) => {
                tracing::warn!(error = what, "cannot read all trees of the packs at once");
                Ok(None)
            }
            other => other,
        }
    }

    fn try_read(objects: &'a dyn Objects, blobs: bool, phase: &Phase, cancel: &Cancel) -> Result<Option<Self>, Error> {
        let Some(mut headers) = Headers::read(objects, cancel)? else { return Ok(None) };
        let mut families = Families::new(objects, &mut headers, cancel)?;
        let lists = Job { objects, headers: &headers, families: &families, blobs, phase, cancel }.run()?;
        families.forget_deltas();
        Ok(Some(Self { objects, headers, families, lists, blobs }))
    }

    /// Put what the trees `had` reach into what the client of `cover` has, and then what `roots` reach beyond that, less
    /// the kinds that `cover` leaves out, into what goes out. What is missing below `had` is passed over.
    pub fn cover(&self, cover: &mut Cover<'_>, had: &[ObjectId], roots: &[ObjectId], cancel: &Cancel) -> Result<(), Error> {
        let mut sweep = Sweep::new(self, cancel);
        sweep.see(&cover.theirs);
        sweep.run(had, true)?;
        sweep.take_into(&mut cover.theirs, None);
        sweep.run(roots, false)?;
        sweep.leave_out(cover)?;
        sweep.take_into(&mut cover.ours, Some(&cover.theirs));
        Ok(())
    }
}

/// One pass over the lists.
struct Sweep<'s, 'a> {
    scan: &'s Scan<'a>,
    cancel: &'s Cancel,
    decoder: Decoder<'a>,
    /// Trees that were met, by rank.
    seen: Bits,
    /// Trees and blobs that were reached, by number.
    found: Bits,
    /// Trees that were reached and have no number: loose ones, and those of packs that came later.
    other_trees: ObjectSet,
    /// Blobs like these.
    other_blobs: ObjectSet,
    /// Trees whose lists are to be gone through.
    stack: Vec<u32>,
    /// Trees without numbers.
    odd: Vec<(ObjectId, Location)>,
    /// Trees whose bases had not been met when they were.
    leaning: Vec<u32>,
    /// Missing objects are passed over.
    lenient: bool,
}

impl<'s, 'a> Sweep<'s, 'a> {
    fn new(scan: &'s Scan<'a>, cancel: &'s Cancel) -> Self {
        Self {
            scan,
            cancel,
            decoder: Decoder::new(scan.objects, CACHE_BYTES_MAX),
            seen: Bits::new(scan.families.len() as usize),
            found: Bits::new(scan.headers.end() as usize),
            other_trees: ObjectSet::new(),
            other_blobs: ObjectSet::new(),
            stack: vec![],
            odd: vec![],
            leaning: vec![],
            lenient: false,
        }
    }

    /// Trees in `set` need not be gone into: what they reach is in it, too.
    fn see(&mut self, set: &ObjectSet) {
        let scan = self.scan;
        for (pack, entries) in set.packed() {
            for entry in entries.iter() {
                let number = scan.headers.number(&Location::Packed { pack, entry: entry as u32 });
                if let Some(number) = number.filter(|number| scan.families.is_tree(*number)) {
                    self.seen.insert(scan.families.rank(number) as usize);
                }
            }
        }
        for id in set.loose() {
            self.other_trees.insert(scan.objects, &Location::Loose(*id));
        }
    }

    fn run(&mut self, roots: &[ObjectId], lenient: bool) -> Result<(), Error> {
        self.lenient = lenient;
        for root in roots {
            self.cancel.check()?;
            self.meet(Kind::Tree, *root)?;
        }
        let mut steps = 0u32;
        loop {
            steps = steps.wrapping_add(1);
            if steps.is_multiple_of(4096) {
                self.cancel.check()?;
            }
            if let Some(rank) = self.stack.pop() {
                self.go_through(rank)?;
            } else if let Some((id, location)) = self.odd.pop() {
                self.cancel.check()?;
                self.read_whole(id, &location)?;
            } else if let Some(rank) = self.leaning.pop() {
                if !self.seen.get(self.scan.families.base(rank) as usize) {
                    self.read_number(self.scan.families.number(rank))?;
                }
            } else {
                return Ok(());
            }
        }
    }

    /// A tree was met for the first time.
    fn go_through(&mut self, rank: u32) -> Result<(), Error> {
        let scan = self.scan;
        self.found.insert(scan.families.number(rank) as usize);
        let Some(list) = scan.lists.get(rank) else { return self.read_number(scan.families.number(rank)) };
        for &item in list {
            if item & TREE == 0 {
                self.found.insert(item as usize);
            } else if self.seen.insert((item & !TREE) as usize) {
                self.stack.push(item & !TREE);
            }
        }
        let base = scan.families.base(rank);
        match base {
            NONE => Ok(()),
            ELSEWHERE => self.read_number(scan.families.number(rank)),
            _ => {
                if !self.seen.get(base as usize) {
                    self.leaning.push(rank);
                }
                Ok(())
            }
        }
    }

    fn read_number(&mut self, number: u32) -> Result<(), Error> {
        let (pack, entry) = self.scan.headers.place(number);
        let id = self.scan.objects.packs()[pack].id(entry).to_owned();
        self.cancel.check()?;
        self.read_whole(id, &Location::Packed { pack: pack as u32, entry })
    }

    /// Meet all that a tree names.
    fn read_whole(&mut self, id: ObjectId, location: &Location) -> Result<(), Error> {
        let data = tree_data(&mut self.decoder, id, location)?;
        let mut outcome = Ok(());
        let parsed = for_each_entry(&data, id.as_slice().len(), |entry| {
            if let (Some(kind), Ok(())) = (entry.kind(), &outcome) {
                outcome = self.meet(kind, entry.id());
            }
        });
        outcome?;
        parsed.ok_or(Error::Malformed { id, kind: Kind::Tree })
    }

    /// An object that a tree names as one of this `kind`, or a root.
    fn meet(&mut self, kind: Kind, id: ObjectId) -> Result<(), Error> {
        if kind != Kind::Tree && !self.scan.blobs {
            return Ok(());
        }
        let location = match self.scan.objects.locate(&id)? {
            Some(location) => location,
            None if self.lenient => return Ok(()),
            None => return Err(Error::missing(id)),
        };
        let number = self.scan.headers.number(&location);
        match number {
            Some(number) if kind == Kind::Tree && self.scan.families.is_tree(number) => {
                let rank = self.scan.families.rank(number);
                if self.seen.insert(rank as usize) {
                    self.stack.push(rank);
                }
            }
            Some(number) if kind != Kind::Tree => drop(self.found.insert(number as usize)),
            None if kind != Kind::Tree => drop(self.other_blobs.insert(self.scan.objects, &location)),
            _ => {
                if self.other_trees.insert(self.scan.objects, &location) {
                    self.odd.push((id, location));
                }
            }
        }
        Ok(())
    }

    /// Forget the kinds that `cover` leaves out.
    fn leave_out(&mut self, cover: &mut Cover<'_>) -> Result<(), Error> {
        let (scan, below) = (self.scan, cover.kinds.blobs_below_bytes);
        if scan.blobs && below < u64::MAX {
            let mut blobs = self.found.clone();
            blobs.and_not(scan.families.trees());
            for number in blobs.iter() {
                cover.step()?;
                let (pack, entry) = scan.headers.place(number as u32);
                if cover.decoder.size(&Location::Packed { pack: pack as u32, entry })? >= below {
                    self.found.remove(number);
                }
            }
            for location in std::mem::take(&mut self.other_blobs).locations() {
                cover.step()?;
                if cover.decoder.size(&location)? < below {
                    self.other_blobs.insert(scan.objects, &location);
                }
            }
        }
        if !cover.kinds.trees {
            self.found.and_not(scan.families.trees());
            self.other_trees = ObjectSet::new();
        }
        Ok(())
    }

    /// Move what was found into `set`, less what is in `but`.
    fn take_into(&mut self, set: &mut ObjectSet, but: Option<&ObjectSet>) {
        let (objects, headers) = (self.scan.objects, &self.scan.headers);
        for pack in 0..headers.packs() {
            let words = headers.words(&self.found, pack);
            if words.iter().all(|word| *word == 0) {
                continue;
            }
            let mut bits = Bits::from_words(words.to_vec(), objects.packs()[pack].len() as usize);
            if let Some((_, but)) = but.and_then(|but| but.packed().find(|(number, _)| *number as usize == pack)) {
                bits.and_not(but);
            }
            set.insert_packed(pack as u32, bits);
        }
        let mut add = |location: Location| {
            if but.is_none_or(|but| !but.contains(&location)) {
                set.insert(objects, &location);
            }
        };
        self.other_trees.locations().for_each(&mut add);
        self.other_blobs.locations().for_each(&mut add);
        self.found = Bits::new(headers.end() as usize);
    }
}
