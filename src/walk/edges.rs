//! The trees of both sides' commits, side by side, into what the client has at the places where anything is new.
//!
//! Source: `revision.c`: `mark_trees_uninteresting_sparse` (`pack.useSparse`, git's default): of the trees that the
//! client has, only those at paths at which a new one stands as well are looked into, for whatever else they reach
//! can only go out when it was moved there. git goes by path in the order of a hash table, and what it marks depends
//! on that order; here a tree that turns out to be had is had at every place where it stands, so that never less is marked.

use super::Error;
use super::cover::{Cover, tree_data};
use super::tree::{TreeEntry, for_each_entry, for_each_new_entry};
use crate::base::FastMap;
use crate::pack::{Kind, Location};
use gix_hash::ObjectId;

/// Number of a path.
type Place = u32;

/// Which trees stand at one path.
#[derive(Default)]
struct Trees {
    children: FastMap<Box<[u8]>, Place>,
    /// By id: whether the client has it, here or elsewhere.
    met: FastMap<ObjectId, bool>,
    /// Not looked into yet: they wait until both sides stand here.
    waiting: Vec<(ObjectId, bool)>,
    /// Looked into last, of what the client has, and of all.
    last: [Option<(ObjectId, Location)>; 2],
    any_had: bool,
    any_new: bool,
}

/// The paths of one request.
struct Edges {
    places: Vec<Trees>,
    /// Where a tree stands that was new when it was met.
    new_at: FastMap<ObjectId, Vec<Place>>,
    /// Places at which something waits and both sides stand.
    todo: Vec<Place>,
}

impl Edges {
    /// The tree `id` stands at a path of one side's.
    fn meet(&mut self, at: Place, id: ObjectId, had: bool) {
        let place = &mut self.places[at as usize];
        match place.met.get_mut(&id) {
            Some(before) if *before || !had => return,
            Some(before) => *before = true,
            None => {
                place.met.insert(id, had);
                place.any_new |= !had;
                if !had {
                    self.new_at.entry(id).or_default().push(at);
                }
            }
        }
        place.any_had |= had;
        place.waiting.push((id, had));
        if place.any_had && place.any_new {
            self.todo.push(at);
        }
    }

    fn child(&mut self, at: Place, name: &[u8]) -> Place {
        if let Some(child) = self.places[at as usize].children.get(name) {
            return *child;
        }
        let child = self.places.len() as Place;
        self.places.push(Trees::default());
        self.places[at as usize].children.insert(name.into(), child);
        child
    }
}

/// Paths looked at: a tree may name one other at ten paths, and that one likewise, so paths multiply where trees are few.
const PLACES_MAX: usize = 1 << 16;

impl Cover<'_> {
    /// What the client has: of the trees `had` and all that they reach, what stands at paths at which one of the trees
    /// `new`, or of what these reach, stands too.
    pub fn exclude_edges(&mut self, had: &[ObjectId], new: &[ObjectId]) -> Result<(), Error> {
        let mut edges = Edges { places: vec![Trees::default()], new_at: FastMap::default(), todo: vec![] };
        for id in had {
            self.exclude_found(*id)?;
            edges.meet(0, *id, true);
        }
        for id in new {
            edges.meet(0, *id, false);
        }
        while let Some(at) = edges.todo.pop() {
            if edges.places.len() > PLACES_MAX {
                // What is not marked is at worst sent again.
                return Ok(());
            }
            for (id, had) in std::mem::take(&mut edges.places[at as usize].waiting) {
                self.open(&mut edges, at, id, had)?;
            }
        }
        Ok(())
    }

    /// Look into one tree: what the client has of it is excluded.
    fn open(&mut self, edges: &mut Edges, at: Place, id: ObjectId, had: bool) -> Result<(), Error> {
        let location = match self.objects.locate(&id)? {
            Some(location) => location,
            None if had || self.passes(&id)? => return Ok(()),
            None => return Err(Error::missing(id)),
        };
        self.step()?;
        let data = tree_data(&mut self.decoder, id, &location)?;
        // What stood in a tree that was looked into before has been seen to, if that one was had or this one is not.
        let last = &mut edges.places[at as usize].last;
        let base = if had { last[0] } else { last[1] };
        last[1] = Some((id, location));
        if had {
            last[0] = Some((id, location));
        }
        let (mut children, mut blobs) = (vec![], vec![]);
        let each = |entry: TreeEntry<'_>, _: Option<TreeEntry<'_>>| match entry.kind() {
            Some(Kind::Tree) => children.push((entry.id(), Box::<[u8]>::from(entry.name()))),
            Some(_) if had => blobs.push(entry.id()),
            _ => {}
        };
        let id_len = id.as_slice().len();
        let parsed = match base {
            Some((base, base_at)) => for_each_new_entry(&data, &tree_data(&mut self.decoder, base, &base_at)?, id_len, each),
            None => {
                let mut each = each;
                for_each_entry(&data, id_len, |entry| each(entry, None))
            }
        };
        parsed.ok_or(Error::Malformed { id, kind: Kind::Tree })?;
        for id in blobs {
            self.exclude_blob(id)?;
        }
        for (id, name) in children {
            if had {
                self.exclude_found(id)?;
                for at in edges.new_at.get(&id).cloned().unwrap_or_default() {
                    edges.meet(at, id, true);
                }
            }
            let place = edges.child(at, &name);
            edges.meet(place, id, had);
            if !had && self.objects.locate(&id)?.is_some_and(|location| self.theirs.contains(&location)) {
                edges.meet(place, id, true);
            }
        }
        Ok(())
    }

    fn exclude_found(&mut self, id: ObjectId) -> Result<(), Error> {
        if let Some(location) = self.objects.locate(&id)? {
            self.theirs.insert(self.objects, &location);
        }
        Ok(())
    }
}
