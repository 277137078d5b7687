//! Ids into a table of commits, and wants and haves into painted history.
//!
//! The walk goes from new to old by committer time with a priority queue, as `limit_list` of git's `revision.c`
//! does: what a have reaches is uninteresting, and when only uninteresting commits are left in the queue the walk
//! goes on a little, because clocks go wrong.
//!
//! Where there is a commit-graph, links are read from it, once the walk is long enough to pay for looking at its
//! checksums; and where that has corrected commit dates the walk goes by them, and ends as soon as no commit left in the
//! queue can reach one that was found: exactly, whatever clocks said.

use super::Error;
use super::commit::parse_commit;
use crate::base::{Cancel, FastMap, FastSet, Phase};
use crate::pack::{CommitGraph, Decoder, GraphCommit, Kind, Location};
use gix_hash::ObjectId;
use std::collections::BinaryHeap;
use std::ops::Range;

/// Number of a commit in its table.
pub(super) type Number = u32;

/// Seen by a walk from a want.
const WANTED: u8 = 1;
/// Reached from a have.
const HAD: u8 = 2;
/// Is or was in the queue.
const MET: u8 = 4;
/// Is in the queue.
const WAITING: u8 = 8;
/// Links are known.
const PARSED: u8 = 16;
/// Not here, or no commit.
const BROKEN: u8 = 32;
/// Not here, and promised.
const PROMISED: u8 = 64;

/// Commits looked at after only uninteresting ones are left in the queue; git takes 5.
const SLOP: usize = 64;

/// A commit that is not in the commit-graph, or not known to be: no commit that is reaches it.
const NO_GENERATION: u64 = u64::MAX;
/// A commit whose place in the commit-graph is not known.
const NO_POSITION: u32 = u32::MAX;

/// Commits read from objects before a commit-graph is opened: small requests do without.
const GRAPH_COMMITS_MIN: u64 = 32;
/// Bytes of a commit-graph whose checksum takes about as long as reading one commit's object.
const GRAPH_BYTES_PER_COMMIT: u64 = 8 << 10;

struct Node {
    id: ObjectId,
    tree: ObjectId,
    date: u64,
    generation: u64,
    position: u32,
    parents: Range<u32>,
    flags: u8,
}

/// Whether links are read from the commit-graph.
#[derive(Clone, Copy)]
enum Graph<'a> {
    Undecided,
    Unused,
    Used(&'a CommitGraph),
}

/// Commits met so far, each once.
pub(super) struct Commits<'a> {
    decoder: Decoder<'a>,
    shallow: &'a [ObjectId],
    numbers: FastMap<ObjectId, Number>,
    nodes: Vec<Node>,
    parents: Vec<Number>,
    graph: Graph<'a>,
    /// Commits read from their objects.
    read: u64,
    /// What is not here, or no commit, is marked and has no parents.
    forgiving: Option<&'a Cancel>,
}

/// Commit objects are small and mostly stored whole.
const CACHE_BYTES_MAX: usize = 4 << 20;

impl<'a> Commits<'a> {
    /// An empty table; the parents of `shallow` commits (sorted) do not count.
    pub fn new(objects: &'a dyn crate::pack::Objects, shallow: &'a [ObjectId]) -> Self {
        Self {
            decoder: Decoder::new(objects, CACHE_BYTES_MAX),
            shallow,
            numbers: FastMap::default(),
            nodes: vec![],
            parents: vec![],
            graph: Graph::Undecided,
            read: 0,
            forgiving: None,
        }
    }

    /// From now on [`Commits::is_broken`] tells of commits that are not here, and nothing fails for them; those that are
    /// promised are not told of, and never found.
    pub fn forgive(mut self, cancel: &'a Cancel) -> Self {
        self.forgiving = Some(cancel);
        self
    }

    /// Whether a parsed commit is not here, or none.
    pub fn is_broken(&self, number: Number) -> bool {
        self.nodes[number as usize].flags & BROKEN != 0
    }

    pub fn decoder(&mut self) -> &mut Decoder<'a> {
        &mut self.decoder
    }

    /// The number of the commit `id`, without looking at it.
    pub fn intern(&mut self, id: ObjectId) -> Number {
        let next = self.nodes.len() as Number;
        *self.numbers.entry(id).or_insert_with(|| {
            self.nodes.push(Node { id, tree: id, date: 0, generation: NO_GENERATION, position: NO_POSITION, parents: 0..0, flags: 0 });
            next
        })
    }

    pub fn id(&self, number: Number) -> ObjectId {
        self.nodes[number as usize].id
    }

    /// The tree of a parsed commit.
    pub fn tree(&self, number: Number) -> ObjectId {
        self.nodes[number as usize].tree
    }

    /// Committer time of a parsed commit.
    pub fn date(&self, number: Number) -> u64 {
        self.nodes[number as usize].date
    }

    /// What a parsed commit's place in a queue goes by: corrected commit date where one is known, then committer time. With
    /// [`Commits::has_generations`] a commit reaches only such with less, as far as clocks are right for those that
    /// are not in the commit-graph.
    pub fn rank(&self, number: Number) -> (u64, u64) {
        let node = &self.nodes[number as usize];
        (node.generation, node.date)
    }

    /// Whether corrected commit dates are known. Parsing may change it, and with it every [`Commits::rank`].
    pub fn has_generations(&self) -> bool {
        matches!(self.graph, Graph::Used(graph) if graph.has_generations())
    }

    /// The parents of a parsed commit.
    pub fn parents(&self, number: Number) -> &[Number] {
        let range = &self.nodes[number as usize].parents;
        &self.parents[range.start as usize..range.end as usize]
    }

    /// Whether a have reaches this commit, as far as the walk went.
    pub fn is_had(&self, number: Number) -> bool {
        self.nodes[number as usize].flags & HAD != 0
    }

    /// Whether this is a commit of the table that a have reaches.
    pub fn is_had_id(&self, id: &ObjectId) -> bool {
        self.numbers.get(id).is_some_and(|number| self.is_had(*number))
    }

    /// Where the commit is stored; `None` when it is not here.
    pub fn find(&self, number: Number) -> Result<Option<Location>, Error> {
        Ok(self.decoder.objects().locate(&self.id(number))?)
    }

    /// Where the commit is stored.
    pub fn locate(&self, number: Number) -> Result<Location, Error> {
        let id = self.id(number);
        self.decoder.objects().locate(&id)?.ok_or_else(|| Error::missing(id))
    }

    /// Read the commit's links, once.
    pub fn parse(&mut self, number: Number) -> Result<(), Error> {
        if self.nodes[number as usize].flags & PARSED != 0 {
            return Ok(());
        }
        if self.parse_from_graph(number) {
            return Ok(());
        }
        match self.parse_object(number) {
            Err(err @ (Error::Pack(crate::pack::Error::Missing(_)) | Error::WrongKind { .. } | Error::Malformed { .. })) => {
                let Some(cancel) = self.forgiving else { return Err(err) };
                let is_missing = matches!(err, Error::Pack(_));
                let is_promised = is_missing && self.decoder.objects().is_promised(&self.id(number), cancel)?;
                self.nodes[number as usize].flags |= PARSED | if is_promised { PROMISED } else { BROKEN };
                Ok(())
            }
            other => other,
        }
    }

    fn is_promised(&self, number: Number) -> bool {
        self.nodes[number as usize].flags & PROMISED != 0
    }

    fn parse_object(&mut self, number: Number) -> Result<(), Error> {
        self.read += 1;
        let id = self.id(number);
        let (kind, data) = self.decoder.find(&id)?.ok_or_else(|| Error::missing(id))?;
        if kind != Kind::Commit {
            return Err(Error::WrongKind { id, wanted: Kind::Commit, found: kind });
        }
        let links = parse_commit(&data, self.decoder.objects().hash_kind()).ok_or(Error::Malformed { id, kind })?;
        let start = self.parents.len() as u32;
        if self.shallow.binary_search(&id).is_err() {
            for parent in links.parents() {
                let parent = self.intern(parent);
                self.parents.push(parent);
            }
        }
        self.settle(number, links.tree, links.date, start);
        Ok(())
    }

    fn settle(&mut self, number: Number, tree: ObjectId, date: u64, parents_start: u32) {
        let node = &mut self.nodes[number as usize];
        node.tree = tree;
        node.date = date;
        node.parents = parents_start..self.parents.len() as u32;
        node.flags |= PARSED;
    }

    /// Whether the commit-graph had the commit's links.
    fn parse_from_graph(&mut self, number: Number) -> bool {
        let Some(graph) = self.graph() else { return false };
        let Some((position, commit)) = self.find_in_graph(number, graph) else { return false };
        let start = self.parents.len() as u32;
        if self.shallow.binary_search(&self.id(number)).is_err() {
            for position in commit.parents {
                let Some(id) = graph.id(position) else { return false };
                let parent = self.intern(id.to_owned());
                self.nodes[parent as usize].position = position;
                self.parents.push(parent);
            }
        }
        self.settle(number, commit.tree, commit.date, start);
        let node = &mut self.nodes[number as usize];
        (node.position, node.generation) = (position, commit.generation.unwrap_or(NO_GENERATION));
        true
    }

    fn find_in_graph(&mut self, number: Number, graph: &CommitGraph) -> Option<(u32, GraphCommit)> {
        let node = &self.nodes[number as usize];
        let position = if node.position == NO_POSITION { graph.find(&node.id)? } else { node.position };
        let commit = graph.commit(position);
        if commit.is_none() {
            tracing::warn!(commit = %node.id, "ignoring a commit-graph that makes no sense");
            self.graph = Graph::Unused;
            self.nodes.iter_mut().for_each(|node| node.generation = NO_GENERATION);
        }
        Some((position, commit?))
    }

    /// The commit-graph, if there is one and looking at its checksums pays or is done.
    fn graph(&mut self) -> Option<&'a CommitGraph> {
        match self.graph {
            Graph::Used(graph) => return Some(graph),
            Graph::Undecided if self.read >= GRAPH_COMMITS_MIN => {}
            _ => return None,
        }
        let Some(graph) = self.decoder.objects().commit_graph() else {
            self.graph = Graph::Unused;
            return None;
        };
        if graph.is_known_sound().is_none() && self.read * GRAPH_BYTES_PER_COMMIT < graph.bytes() {
            return None;
        }
        if !graph.is_sound() {
            self.graph = Graph::Unused;
            return None;
        }
        self.graph = Graph::Used(graph);
        // Those that were read from objects so far have their generations too.
        for number in 0..self.nodes.len() as Number {
            if !matches!(self.graph, Graph::Used(_)) {
                return None;
            }
            if self.nodes[number as usize].flags & PARSED != 0
                && let Some((position, commit)) = self.find_in_graph(number, graph)
            {
                let node = &mut self.nodes[number as usize];
                (node.position, node.generation) = (position, commit.generation.unwrap_or(NO_GENERATION));
            }
        }
        if let Graph::Used(graph) = self.graph { Some(graph) } else { None }
    }

    /// Commits that `wants` reach and `haves` do not, newest first. `phase` counts them as they are met.
    ///
    /// May be called once per table. A have whose history is not whole here counts as far as it goes: what a client
    /// has need not be whole on this side.
    pub fn paint(&mut self, wants: &[Number], haves: &[Number], phase: &Phase, cancel: &Cancel) -> Result<Vec<Number>, Error> {
        self.paint_since(wants, haves, 0, phase, cancel)
    }

    /// Likewise, where commits older than `since` (seconds since 1970) count as had with all that they reach.
    pub fn paint_since(
        &mut self,
        wants: &[Number],
        haves: &[Number],
        since: u64,
        phase: &Phase,
        cancel: &Cancel,
    ) -> Result<Vec<Number>, Error> {
        let mut queue = Queue::default();
        let wanted = wants.iter().map(|number| (*number, WANTED));
        for (number, flag) in wanted.chain(haves.iter().map(|number| (*number, HAD))) {
            cancel.check()?;
            self.parse(number)?;
            self.meet(number, flag, &mut queue);
        }
        let (mut found, mut slop, mut steps) = (vec![], SLOP, 0usize);
        let (mut oldest_found, mut lowest_found) = (u64::MAX, NO_GENERATION);
        let mut by_generation = self.has_generations();
        while let Some((_, std::cmp::Reverse(number))) = queue.heap.pop() {
            let (generation, date) = self.rank(number);
            steps += 1;
            if steps.is_multiple_of(1024) {
                cancel.check()?;
            }
            self.nodes[number as usize].flags &= !WAITING;
            let mut had = self.is_had(number);
            queue.wanted -= usize::from(!had);
            if date < since {
                self.nodes[number as usize].flags |= HAD;
                had = true;
            }
            if !had {
                found.push(number);
                oldest_found = oldest_found.min(date);
                lowest_found = lowest_found.min(generation);
                phase.add(1);
            }
            for at in self.nodes[number as usize].parents.clone() {
                let parent = self.parents[at as usize];
                match self.parse(parent) {
                    Err(Error::Pack(crate::pack::Error::Missing(_))) if had => continue,
                    other => other?,
                }
                self.meet(parent, if had { HAD } else { WANTED }, &mut queue);
            }
            if by_generation != self.has_generations() {
                by_generation = !by_generation;
                lowest_found = found.iter().map(|number| self.rank(*number).0).min().unwrap_or(NO_GENERATION);
                let waiting = std::mem::take(&mut queue.heap);
                queue.heap = waiting.into_iter().map(|(_, number)| (self.rank(number.0), number)).collect();
            }
            if queue.wanted > 0 {
                continue;
            }
            let is_over = match queue.heap.peek() {
                // Nothing in the queue reaches as high as what was found.
                Some(((highest, _), _)) if *highest != NO_GENERATION => *highest <= lowest_found,
                _ if date < oldest_found => {
                    slop -= 1;
                    slop == 0
                }
                _ => false,
            };
            if is_over {
                break;
            }
        }
        found.retain(|number| !self.is_had(*number) && !self.is_promised(*number));
        Ok(found)
    }

    /// Commits that `starts` reach and that are new or [broken](Commits::is_broken), and the old ones that those end at.
    pub fn split_new(
        &mut self,
        starts: &[Number],
        is_new: &dyn Fn(&ObjectId, &Location) -> bool,
        cancel: &Cancel,
    ) -> Result<(Vec<Number>, Vec<Number>), Error> {
        let (mut new, mut old) = (vec![], vec![]);
        let mut seen = FastSet::default();
        let mut stack = starts.to_vec();
        while let Some(number) = stack.pop() {
            if !seen.insert(number) {
                continue;
            }
            if seen.len().is_multiple_of(1024) {
                cancel.check()?;
            }
            if self.find(number)?.is_some_and(|location| !is_new(&self.id(number), &location)) {
                old.push(number);
                continue;
            }
            self.parse(number)?;
            if self.is_promised(number) {
                continue;
            }
            new.push(number);
            stack.extend_from_slice(self.parents(number));
        }
        Ok((new, old))
    }

    /// Take a commit for one that a have reaches.
    pub fn take_for_had(&mut self, number: Number) -> Result<(), Error> {
        self.parse(number)?;
        self.nodes[number as usize].flags |= HAD;
        Ok(())
    }

    /// Add `flag` to a commit and queue it the first time; one that turns out to be had takes along what it reaches.
    fn meet(&mut self, number: Number, flag: u8, queue: &mut Queue) {
        let node = &mut self.nodes[number as usize];
        let before = node.flags;
        if before & MET == 0 {
            node.flags |= flag | MET | WAITING;
            queue.heap.push(((node.generation, node.date), std::cmp::Reverse(number)));
            queue.wanted += usize::from(flag == WANTED);
            return;
        }
        if flag == WANTED || before & HAD != 0 {
            return;
        }
        let mut stack = vec![number];
        while let Some(number) = stack.pop() {
            let node = &mut self.nodes[number as usize];
            if node.flags & MET == 0 || node.flags & HAD != 0 {
                continue;
            }
            node.flags |= HAD;
            queue.wanted -= usize::from(node.flags & WAITING != 0);
            let parents = node.parents.clone();
            stack.extend(&self.parents[parents.start as usize..parents.end as usize]);
        }
    }
}

/// Commits to look at, highest [`Commits::rank`] first, and how many of them no have reaches.
#[derive(Default)]
struct Queue {
    heap: BinaryHeap<((u64, u64), std::cmp::Reverse<Number>)>,
    wanted: usize,
}
