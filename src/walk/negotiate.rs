//! Haves into acknowledgements: which are common, and when enough is known.
//!
//! Source: gitprotocol-pack, "Packfile Negotiation"; `upload-pack.c`: `ok_to_give_up`. Enough is known when every
//! wanted commit reaches a common one. Only visible history counts: a have is common only when it is here *and* the
//! caller says that it may be told so.

use super::Error;
use super::commits::{Commits, Number};
use super::peel::peel;
use crate::base::{Cancel, FastMap, FastSet};
use crate::pack::{Kind, Objects};
use gix_hash::ObjectId;

/// What a have turned out to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Common {
    /// We have it too.
    Yes,
    /// We do not, or may not say.
    No,
}

/// One negotiation.
pub struct Negotiation<'a> {
    objects: &'a dyn Objects,
    commits: Commits<'a>,
    wants: Vec<Number>,
    /// A want that is no commit is never "reached".
    hopeless: bool,
    common: Vec<ObjectId>,
    common_set: FastSet<ObjectId>,
    common_commits: FastSet<Number>,
    oldest_have: u64,
    /// Wants already known to reach a common commit.
    settled: usize,
}

impl<'a> Negotiation<'a> {
    /// Begin one for `wants`, each of which is here.
    pub fn new(objects: &'a dyn Objects, shallow: &'a [ObjectId], wants: &[ObjectId], cancel: &Cancel) -> Result<Self, Error> {
        let mut commits = Commits::new(objects, shallow);
        let (mut numbers, mut hopeless) = (vec![], false);
        for (count, want) in wants.iter().enumerate() {
            if count.is_multiple_of(1024) {
                cancel.check()?;
            }
            match peel(commits.decoder(), *want)? {
                Some((id, Kind::Commit)) => numbers.push(commits.intern(id)),
                _ => hopeless = true,
            }
        }
        Ok(Self {
            objects,
            commits,
            wants: numbers,
            hopeless,
            common: vec![],
            common_set: FastSet::default(),
            common_commits: FastSet::default(),
            oldest_have: u64::MAX,
            settled: 0,
        })
    }

    /// Take one have; `may_tell` says whether the client may know that this object, which is here, is here.
    pub fn take_have(&mut self, id: ObjectId, may_tell: &mut dyn FnMut(ObjectId) -> Result<bool, Error>) -> Result<Common, Error> {
        if self.common_set.contains(&id) {
            return Ok(Common::Yes);
        }
        let Some(location) = self.objects.locate(&id)? else { return Ok(Common::No) };
        if !may_tell(id)? {
            return Ok(Common::No);
        }
        self.common_set.insert(id);
        self.common.push(id);
        if self.commits.decoder().kind(&location)? == Kind::Commit {
            let number = self.commits.intern(id);
            self.commits.parse(number)?;
            self.oldest_have = self.oldest_have.min(self.commits.date(number));
            self.common_commits.insert(number);
            // What a have's parents are, the client has as well.
            let parents: Vec<Number> = self.commits.parents(number).to_vec();
            self.common_commits.extend(parents);
        }
        Ok(Common::Yes)
    }

    /// The common objects in the order of their haves.
    pub fn common(&self) -> &[ObjectId] {
        &self.common
    }

    /// Whether every want reaches a common commit: more haves could not make the pack much smaller.
    pub fn is_enough(&mut self, cancel: &Cancel) -> Result<bool, Error> {
        if self.hopeless || self.common_commits.is_empty() {
            return Ok(false);
        }
        let mut fruitless = FastMap::default();
        while self.settled < self.wants.len() {
            if !self.reaches_common(self.wants[self.settled], &mut fruitless, cancel)? {
                return Ok(false);
            }
            self.settled += 1;
        }
        Ok(true)
    }

    /// Depth-first through commits not older than the oldest have.
    fn reaches_common(&mut self, want: Number, fruitless: &mut FastMap<Number, ()>, cancel: &Cancel) -> Result<bool, Error> {
        let mut stack = vec![want];
        while let Some(number) = stack.pop() {
            if self.common_commits.contains(&number) {
                return Ok(true);
            }
            if fruitless.insert(number, ()).is_some() {
                continue;
            }
            if fruitless.len().is_multiple_of(1024) {
                cancel.check()?;
            }
            self.commits.parse(number)?;
            if self.commits.date(number) >= self.oldest_have {
                stack.extend_from_slice(self.commits.parents(number));
            }
        }
        Ok(false)
    }
}
