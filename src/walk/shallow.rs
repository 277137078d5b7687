//! Where a client's history ends, and where it wants it to end, into what it is told and what the pack's walk takes for
//! history.
//!
//! Source: gitprotocol-pack, "Packfile Negotiation"; gitprotocol-v2, "fetch" (`shallow-info`); git's `shallow.c`
//! (`get_shallow_commits`, `get_shallow_commits_by_rev_list`) and `upload-pack.c` (`deepen`, `send_unshallow`), in its
//! newest form: relative depth counts from the wants, to the nearest of the client's shallow commits and on from there.
//!
//! Depth is found level by level, each commit once, where git goes depth-first and may come back: the commits are the
//! same, their order may differ where history merges. One thing is told that git keeps to itself: the repository's own
//! boundary when history is cut by time or by refs, without which such a clone would miss its parents.

use super::Error;
use super::commits::{Commits, Number};
use super::peel::peel;
use crate::base::{Cancel, FastSet, Progress};
use crate::pack::{Kind, Objects};
use gix_hash::ObjectId;

/// `deepen` with this number or more is everything: what `git fetch --unshallow` sends.
pub const INFINITE_DEPTH: u32 = i32::MAX as u32;

/// Where history is to end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Deepening {
    /// Where it ends already.
    No,
    /// Likewise; and the client is told of the repository's own boundary, as far as the wants reach it.
    TellOwn,
    /// After so many commits, counted from the wants; the wants are the first.
    Depth(u32),
    /// So many commits behind the nearest of the client's shallow commits.
    RelativeDepth(u32),
    /// Before commits older than this (seconds since 1970), and before what these objects reach.
    History {
        /// Seconds since 1970; 0: whatever their age.
        since: u64,
        /// Commits or tags of commits.
        not: Vec<ObjectId>,
    },
}

/// Both sides' boundaries before, and what is wanted.
#[derive(Clone, Copy, Debug)]
pub struct Boundaries<'a> {
    /// The repository's own shallow commits, sorted.
    pub own: &'a [ObjectId],
    /// Those of the client's shallow commits that are here, and commits.
    pub client: &'a [ObjectId],
    /// Objects wanted; each is here.
    pub wants: &'a [ObjectId],
}

/// The boundary of one fetch.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Boundary {
    /// Commits that become shallow for the client.
    pub shallow: Vec<ObjectId>,
    /// The client's shallow commits that are so no longer; it has them, and their trees.
    pub unshallow: Vec<ObjectId>,
    /// Their parents: wanted like the wants.
    pub uncovered: Vec<ObjectId>,
    /// Commits that have no parents for this fetch's walk, sorted: both sides' boundaries and the new one.
    pub cut: Vec<ObjectId>,
}

/// Find the boundary; `Ok(None)` when [`Deepening::History`] leaves no commit.
pub fn find_boundary(
    objects: &dyn Objects,
    sides: &Boundaries<'_>,
    deepening: &Deepening,
    cancel: &Cancel,
) -> Result<Option<Boundary>, Error> {
    let search = Search { objects, sides, cancel };
    let change = match *deepening {
        Deepening::No => Change::default(),
        Deepening::Depth(depth) | Deepening::RelativeDepth(depth) if depth >= INFINITE_DEPTH && sides.own.is_empty() => {
            Change { edge: vec![], inside: sides.client.iter().copied().collect() }
        }
        Deepening::TellOwn => {
            let both = merged(&[sides.own, sides.client]);
            search.by_depth(&both, INFINITE_DEPTH)?
        }
        Deepening::Depth(depth) => search.by_depth(sides.own, depth)?,
        Deepening::RelativeDepth(depth) => match search.present_depth()? {
            Some(present) => search.by_depth(sides.own, present.saturating_add(depth))?,
            None => Change::default(),
        },
        Deepening::History { since, ref not } => match search.by_history(since, not)? {
            Some(change) => change,
            None => return Ok(None),
        },
    };
    search.conclude(change).map(Some)
}

/// What was found of the history that the client is to have.
#[derive(Default)]
struct Change {
    /// Commits at its end.
    edge: Vec<ObjectId>,
    /// The client's shallow commits that lie within, with their parents.
    inside: FastSet<ObjectId>,
}

struct Search<'a> {
    objects: &'a dyn Objects,
    sides: &'a Boundaries<'a>,
    cancel: &'a Cancel,
}

impl Search<'_> {
    fn conclude(&self, change: Change) -> Result<Boundary, Error> {
        let sides = self.sides;
        let client: FastSet<ObjectId> = sides.client.iter().copied().collect();
        let shallow: Vec<ObjectId> = change.edge.into_iter().filter(|id| !client.contains(id)).collect();
        let unshallow: Vec<ObjectId> = sides.client.iter().copied().filter(|id| change.inside.contains(id)).collect();
        let mut commits = Commits::new(self.objects, sides.own);
        let mut uncovered = vec![];
        for id in &unshallow {
            self.cancel.check()?;
            let number = commits.intern(*id);
            commits.parse(number)?;
            uncovered.extend(commits.parents(number).iter().map(|parent| commits.id(*parent)));
        }
        let cut = merged(&[sides.own, sides.client, &shallow]);
        Ok(Boundary { shallow, unshallow, uncovered, cut })
    }

    /// The wanted commits, tags followed, each once.
    fn starts(&self, commits: &mut Commits<'_>) -> Result<Vec<Number>, Error> {
        self.commits_among(commits, self.sides.wants)
    }

    fn commits_among(&self, commits: &mut Commits<'_>, ids: &[ObjectId]) -> Result<Vec<Number>, Error> {
        let (mut numbers, mut seen) = (vec![], FastSet::default());
        for id in ids {
            self.cancel.check()?;
            if let Some((id, Kind::Commit)) = peel(commits.decoder(), *id)? {
                let number = commits.intern(id);
                if seen.insert(number) {
                    numbers.push(number);
                }
            }
        }
        Ok(numbers)
    }

    /// `depth` levels of commits from the wants, less where `ends` (sorted) cut them.
    fn by_depth(&self, ends: &[ObjectId], depth: u32) -> Result<Change, Error> {
        let client: FastSet<ObjectId> = self.sides.client.iter().copied().collect();
        let mut commits = Commits::new(self.objects, ends);
        let mut levels = Levels::new(self.starts(&mut commits)?);
        let mut change = Change::default();
        let infinite = depth >= INFINITE_DEPTH;
        levels.walk(&mut commits, self.cancel, &mut |level, id| {
            let ends = (!infinite && level >= depth) || ends.binary_search(&id).is_ok();
            if ends {
                change.edge.push(id);
            } else if client.contains(&id) {
                change.inside.insert(id);
            }
            if ends { Step::End } else { Step::On }
        })?;
        change.edge.reverse();
        Ok(change)
    }

    /// The level of the nearest of the client's shallow commits; `None` when the wants reach none.
    fn present_depth(&self) -> Result<Option<u32>, Error> {
        let client: FastSet<ObjectId> = self.sides.client.iter().copied().collect();
        if client.is_empty() {
            return Ok(None);
        }
        let mut commits = Commits::new(self.objects, self.sides.own);
        let mut levels = Levels::new(self.starts(&mut commits)?);
        let mut nearest = None;
        levels.walk(&mut commits, self.cancel, &mut |level, id| {
            if !client.contains(&id) {
                return Step::On;
            }
            nearest = Some(level);
            Step::Stop
        })?;
        Ok(nearest)
    }

    /// As `git rev-list --max-age=<since> <wants> --not <not>`; its edge are commits with a parent that is not in it.
    fn by_history(&self, since: u64, not: &[ObjectId]) -> Result<Option<Change>, Error> {
        let mut commits = Commits::new(self.objects, self.sides.own);
        let wants = self.starts(&mut commits)?;
        let not = self.commits_among(&mut commits, not)?;
        let phase = Progress::new().begin("Counting objects", 0);
        let found = commits.paint_since(&wants, &not, since, &phase, self.cancel)?;
        if found.is_empty() {
            return Ok(None);
        }
        let chosen: FastSet<Number> = found.iter().copied().collect();
        let mut change = Change::default();
        for number in found {
            let id = commits.id(number);
            let is_edge = commits.parents(number).iter().any(|parent| !chosen.contains(parent));
            if is_edge || self.sides.own.binary_search(&id).is_ok() {
                change.edge.push(id);
            } else {
                change.inside.insert(id);
            }
        }
        Ok(Some(change))
    }
}

/// Whether a walk goes on behind a commit.
#[derive(PartialEq, Eq)]
enum Step {
    On,
    /// Not behind this one.
    End,
    /// Nowhere.
    Stop,
}

/// A walk that meets every commit once, those nearest to the starts first.
struct Levels {
    level: Vec<Number>,
    seen: FastSet<Number>,
}

impl Levels {
    fn new(starts: Vec<Number>) -> Self {
        Self { seen: starts.iter().copied().collect(), level: starts }
    }

    /// Ask `visit` about each commit with the number of its level, from 1.
    fn walk(&mut self, commits: &mut Commits<'_>, cancel: &Cancel, visit: &mut dyn FnMut(u32, ObjectId) -> Step) -> Result<(), Error> {
        let (mut number_of_level, mut steps) = (0u32, 0usize);
        while !self.level.is_empty() {
            number_of_level = number_of_level.saturating_add(1);
            let mut next = vec![];
            for number in std::mem::take(&mut self.level) {
                steps += 1;
                if steps.is_multiple_of(1024) {
                    cancel.check()?;
                }
                commits.parse(number)?;
                match visit(number_of_level, commits.id(number)) {
                    Step::On => next.extend(commits.parents(number).iter().rev().filter(|parent| self.seen.insert(**parent))),
                    Step::End => {}
                    Step::Stop => return Ok(()),
                }
            }
            self.level = next;
        }
        Ok(())
    }
}

/// All ids of some lists, sorted, each once.
fn merged(lists: &[&[ObjectId]]) -> Vec<ObjectId> {
    let mut ids = lists.concat();
    ids.sort_unstable();
    ids.dedup();
    ids
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pack::{self, Location, PackFile};
    use proptest::prelude::*;
    use std::collections::BTreeMap;
    use std::sync::Arc;

    /// Commits that are nothing but links: number `n` has the parents `history[n]`.
    struct History(Vec<Vec<usize>>);

    fn id(n: usize) -> ObjectId {
        ObjectId::from_hex(format!("{:040x}", n + 1).as_bytes()).expect("forty digits")
    }

    fn ids(numbers: &[usize]) -> Vec<ObjectId> {
        numbers.iter().map(|n| id(*n)).collect()
    }

    impl History {
        fn number(&self, oid: &gix_hash::oid) -> Option<usize> {
            (0..self.0.len()).find(|n| id(*n) == oid)
        }
    }

    impl Objects for History {
        fn hash_kind(&self) -> gix_hash::Kind {
            gix_hash::Kind::Sha1
        }

        fn packs(&self) -> &[Arc<PackFile>] {
            &[]
        }

        fn locate(&self, oid: &gix_hash::oid) -> Result<Option<Location>, pack::Error> {
            Ok(self.number(oid).map(|_| Location::Loose(oid.to_owned())))
        }

        fn read_loose(&self, oid: &gix_hash::oid, out: &mut Vec<u8>) -> Result<Option<Kind>, pack::Error> {
            let Some(n) = self.number(oid) else { return Ok(None) };
            let parents: String = self.0[n].iter().map(|parent| format!("parent {}\n", id(*parent))).collect();
            let time = 1000 + n;
            *out = format!("tree {}\n{parents}author a <a> {time} +0000\ncommitter a <a> {time} +0000\n\n", id(99)).into_bytes();
            Ok(Some(Kind::Commit))
        }
    }

    fn find(history: &[&[usize]], own: &[usize], client: &[usize], wants: &[usize], deepening: Deepening) -> Option<Boundary> {
        let history = History(history.iter().map(|parents| parents.to_vec()).collect());
        let (own, client, wants) = (ids(own), ids(client), ids(wants));
        let sides = Boundaries { own: &own, client: &client, wants: &wants };
        find_boundary(&history, &sides, &deepening, &Cancel::new()).expect("whole history")
    }

    /// 0 - 1 - 2 - 3 - 5, and 2 - 4 - 5.
    const FORK: [&[usize]; 6] = [&[], &[0], &[1], &[2], &[2], &[3, 4]];

    #[test]
    fn what_lies_behind_a_boundary_that_moves_is_wanted_and_cut_where_it_ends_now() {
        let found = find(&FORK, &[], &[3, 4], &[5], Deepening::Depth(4)).expect("commits");
        assert_eq!(found.shallow, ids(&[1]));
        assert_eq!(found.unshallow, ids(&[3, 4]));
        assert_eq!(found.uncovered, ids(&[2, 2]));
        assert_eq!(found.cut, ids(&[1, 3, 4]));
    }

    #[test]
    fn a_boundary_that_stays_is_not_told_again() {
        let found = find(&FORK, &[], &[3, 4], &[5], Deepening::Depth(2)).expect("commits");
        assert_eq!((found.shallow, found.unshallow, found.cut), (vec![], vec![], ids(&[3, 4])));
    }

    #[test]
    fn relative_depth_counts_on_from_the_nearest_shallow_commit() {
        let found = find(&FORK, &[], &[1, 4], &[5], Deepening::RelativeDepth(1)).expect("commits");
        assert_eq!((found.shallow, found.unshallow), (ids(&[2]), ids(&[4])));
        let found = find(&FORK, &[], &[1], &[0], Deepening::RelativeDepth(1)).expect("commits");
        assert_eq!((found.shallow, found.unshallow), (vec![], vec![]), "the wants reach no boundary");
    }

    #[test]
    fn everything_ends_only_where_the_repository_does() {
        let found = find(&FORK, &[], &[3], &[5], Deepening::Depth(INFINITE_DEPTH)).expect("commits");
        assert_eq!((found.shallow, found.unshallow), (vec![], ids(&[3])));
        let found = find(&FORK, &[1], &[3], &[5], Deepening::Depth(INFINITE_DEPTH)).expect("commits");
        assert_eq!((found.shallow, found.unshallow, found.cut), (ids(&[1]), ids(&[3]), ids(&[1, 3])));
    }

    #[test]
    fn the_repositorys_own_end_is_told_unless_the_client_ends_before() {
        let told = |client: &[usize]| find(&FORK, &[1], client, &[5], Deepening::TellOwn).expect("commits").shallow;
        assert_eq!((told(&[]), told(&[3]), told(&[3, 4])), (ids(&[1]), ids(&[1]), vec![]));
        let found = find(&FORK, &[1], &[], &[5], Deepening::History { since: 1000, not: vec![] }).expect("commits");
        assert_eq!(found.shallow, ids(&[1]), "also where history is cut by time");
    }

    #[test]
    fn history_ends_before_what_is_too_old_or_left_out() {
        let found = |since, not: &[usize]| find(&FORK, &[], &[], &[5], Deepening::History { since, not: ids(not) });
        assert_eq!(found(1003, &[]).expect("commits").shallow, ids(&[4, 3]));
        assert_eq!(found(0, &[3]).expect("commits").shallow, ids(&[5, 4]));
        assert!(found(0, &[]).expect("commits").shallow.is_empty());
        assert_eq!(found(2000, &[]), None);
        assert_eq!(found(0, &[5]), None);
    }

    fn any_history() -> impl Strategy<Value = Vec<Vec<usize>>> {
        let parents = (0usize..12).prop_map(|n| prop::collection::btree_set(0..n.max(1), 0..3.min(n + 1)));
        prop::collection::vec(parents.prop_flat_map(|set| set), 1..12).prop_map(|sets| {
            let below = |(n, set): (usize, std::collections::BTreeSet<usize>)| set.into_iter().filter(|parent| *parent < n).collect();
            sets.into_iter().enumerate().map(below).collect()
        })
    }

    proptest! {
        #[test]
        fn depth_is_the_shortest_way_from_any_want(
            history in any_history(),
            own in prop::collection::btree_set(0usize..12, 0..3),
            client in prop::collection::btree_set(0usize..12, 0..4),
            want in 0usize..12,
            depth in 1u32..8,
        ) {
            let inside = |n: &usize| *n < history.len();
            let (own, client): (Vec<usize>, Vec<usize>) = (own.into_iter().filter(inside).collect(), client.into_iter().filter(inside).collect());
            let want = want % history.len();
            // Relaxed until nothing changes: the longest way has as many steps as there are commits.
            let mut levels = BTreeMap::from([(want, 1)]);
            for _ in 0..history.len() {
                for (n, level) in levels.clone() {
                    for parent in history[n].iter().filter(|_| !own.contains(&n)) {
                        let known = levels.entry(*parent).or_insert(u32::MAX);
                        *known = (*known).min(level + 1);
                    }
                }
            }
            let is_edge = |n: &usize| levels[n] == depth || (levels[n] < depth && own.contains(n));
            let mut edge: Vec<ObjectId> = levels.keys().filter(|n| is_edge(n) && !client.contains(n)).map(|n| id(*n)).collect();
            let moved: Vec<usize> = client.iter().copied().filter(|n| levels.get(n).is_some_and(|level| *level < depth && !own.contains(n))).collect();
            let borrowed: Vec<&[usize]> = history.iter().map(Vec::as_slice).collect();
            let found = find(&borrowed, &own, &client, &[want], Deepening::Depth(depth)).expect("a depth always leaves commits");
            let mut told = found.shallow.clone();
            told.sort();
            edge.sort();
            prop_assert_eq!(told, edge);
            prop_assert_eq!(found.unshallow, ids(&moved));
            prop_assert_eq!(found.uncovered, moved.iter().flat_map(|n| ids(&history[*n])).collect::<Vec<_>>());
        }
    }
}
