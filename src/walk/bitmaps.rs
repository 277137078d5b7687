//! Wanted commits into all that they reach, read off git's bitmaps: for clones of repositories that have them.
//!
//! What a commit with a bitmap reaches is known at once. From wanted commits without one, history is walked until such
//! commits are met; the trees of what was walked are covered by differences from those of covered parents. So whatever
//! came after the bitmaps were made, in other packs or loose, goes out as well. What a filter by kind leaves out is taken
//! away by the bitmaps of types; of a blob then at most the size is read.

use super::Error;
use super::commits::{Commits, Number};
use super::cover::Cover;
use crate::base::{Cancel, FastSet, Phase};
use crate::pack::{BitmapReader, Bitmaps, Bits, Kind, Location, ObjectSet, Objects};
use gix_hash::ObjectId;
use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// What some commits reach.
pub(super) struct Reached<'a> {
    objects: &'a dyn Objects,
    bitmaps: &'a Bitmaps,
    bits: Bits,
    /// Commits that no bitmap speaks of, newest first; their trees are still to be gone through.
    pub walked: Vec<Number>,
}

impl<'a> Reached<'a> {
    /// What the commits `tips` reach; `None` without bitmaps, or when these are damaged.
    pub fn find(
        objects: &'a dyn Objects,
        commits: &mut Commits<'_>,
        tips: &[Number],
        phase: &Phase,
        cancel: &Cancel,
    ) -> Result<Option<Self>, Error> {
        let Some(bitmaps) = objects.bitmaps() else { return Ok(None) };
        let mut reached = Self { objects, bitmaps, bits: Bits::new(bitmaps.len() as usize), walked: vec![] };
        match reached.walk(commits, tips, phase, cancel) {
            Ok(()) => Ok(Some(reached)),
            Err(Error::Pack(crate::pack::Error::Corrupt(what))) => {
                tracing::warn!(error = what, "not using bitmaps");
                Ok(None)
            }
            Err(err) => Err(err),
        }
    }

    /// Put all that bitmaps speak of, less the kinds that `cover` leaves out, into what goes out.
    pub fn cover(&mut self, cover: &mut Cover<'_>, phase: &Phase) -> Result<(), Error> {
        self.leave_out(cover)?;
        let before = cover.ours.len();
        self.put_into(&mut cover.ours)?;
        phase.add((cover.ours.len() - before) as u64);
        Ok(())
    }

    fn leave_out(&mut self, cover: &mut Cover<'_>) -> Result<(), Error> {
        let kinds = cover.kinds;
        if !kinds.commits {
            self.bits.and_not(self.bitmaps.of_kind(Kind::Commit));
        }
        if !kinds.trees {
            self.bits.and_not(self.bitmaps.of_kind(Kind::Tree));
        }
        match kinds.blobs_below_bytes {
            u64::MAX => {}
            0 => self.bits.and_not(self.bitmaps.of_kind(Kind::Blob)),
            below => {
                let mut blobs = self.bits.clone();
                blobs.and(self.bitmaps.of_kind(Kind::Blob));
                for bit in blobs.iter() {
                    cover.step()?;
                    if cover.decoder.size(&self.bitmaps.location(bit as u32)?)? >= below {
                        self.bits.remove(bit);
                    }
                }
            }
        }
        Ok(())
    }

    fn walk(&mut self, commits: &mut Commits<'_>, tips: &[Number], phase: &Phase, cancel: &Cancel) -> Result<(), Error> {
        let mut reader = BitmapReader::new(self.bitmaps);
        let mut met = FastSet::default();
        let mut queue = BinaryHeap::new();
        let mut open: Vec<Number> = vec![];
        for &tip in tips {
            cancel.check()?;
            if met.insert(tip) && !self.take(commits.id(tip), &mut reader)? {
                open.push(tip);
            }
        }
        loop {
            for number in open.drain(..) {
                commits.parse(number)?;
                queue.push((commits.date(number), Reverse(number)));
            }
            let Some((_, Reverse(number))) = queue.pop() else { return Ok(()) };
            // Some other commit may have been found to reach it.
            if self.has(&commits.id(number))? {
                continue;
            }
            self.walked.push(number);
            if self.walked.len().is_multiple_of(256) {
                cancel.check()?;
                phase.add(256);
            }
            for at in 0..commits.parents(number).len() {
                let parent = commits.parents(number)[at];
                if met.insert(parent) && !self.take(commits.id(parent), &mut reader)? {
                    open.push(parent);
                }
            }
        }
    }

    /// Whether it is known that the commit `id` is reached.
    fn has(&self, id: &ObjectId) -> Result<bool, Error> {
        let Some(location) = self.objects.locate(id)? else { return Ok(false) };
        Ok(self.bitmaps.bit(&location)?.is_some_and(|bit| self.bits.get(bit as usize)))
    }

    /// Whether bitmaps tell all that the commit `id` reaches, which then is taken in.
    fn take(&mut self, id: ObjectId, reader: &mut BitmapReader<'a>) -> Result<bool, Error> {
        if self.has(&id)? {
            return Ok(true);
        }
        let Some(row) = self.bitmaps.row(&id) else { return Ok(false) };
        self.bits.or(&*reader.read(row)?);
        Ok(true)
    }

    /// From places in packs to entries of their indexes.
    fn put_into(&self, set: &mut ObjectSet) -> Result<(), Error> {
        for segment in self.bitmaps.segments() {
            let file = &self.objects.packs()[segment.pack as usize];
            let (first, end) = (segment.bits.start as usize, segment.bits.end as usize);
            if segment.is_whole && self.bits.next_clear(first) >= end {
                set.insert_packed(segment.pack, Bits::full(end - first));
                continue;
            }
            let mut entries = Bits::new(file.len() as usize);
            let mut next = self.bits.next_set(first);
            while let Some(bit) = next.filter(|bit| *bit < end) {
                if segment.is_whole {
                    entries.insert(file.entry_at((bit - first) as u32)? as usize);
                } else if let Location::Packed { entry, .. } = self.bitmaps.location(bit as u32)? {
                    entries.insert(entry as usize);
                }
                next = self.bits.next_set(bit + 1);
            }
            set.insert_packed(segment.pack, entries);
        }
        Ok(())
    }
}
