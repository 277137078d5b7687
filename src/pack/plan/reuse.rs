//! A set of objects into positions of its packs, and each stored entry into "can go out as it lies" or not.

use crate::base::Cancel;
use crate::pack::{Base, Bits, Error, Found, Location, ObjectSet, Objects};

/// What goes out, and on what it may lean.
pub(super) struct Reuse<'a> {
    pub objects: &'a dyn Objects,
    pub found: &'a Found,
    /// Bases may be objects that the client is known to have.
    pub thin: bool,
}

/// From this share of a pack on, all its positions are looked at rather than each object's looked up.
const LOOK_UP_SHARE: usize = 32;

impl<'a> Reuse<'a> {
    pub fn new(objects: &'a dyn Objects, found: &'a Found, thin: bool) -> Self {
        Self { objects, found, thin }
    }

    /// Whether the client can have this object as the base of a delta, though it does not go out.
    pub fn is_at_client(&self, location: &Location) -> bool {
        self.thin && self.found.is_known(self.objects, location)
    }

    /// Whether the client can apply the entry at `position` of `pack` as it is stored; all entries from `run_offset` to
    /// it go out too.
    pub fn is_usable(&self, pack: u32, position: u32, run_offset: u64) -> Result<bool, Error> {
        let file = &self.objects.packs()[pack as usize];
        let base = match file.header(file.offset_at(position)?)?.base {
            Base::Whole(_) => return Ok(true),
            Base::Offset(base) if base >= run_offset => return Ok(true),
            Base::Offset(base) => file.entry_at(file.position_of(base)?)?,
            Base::Id(id) => match file.find(&id) {
                Some(entry) => entry,
                None => return Ok(false),
            },
        };
        let base_here = Location::Packed { pack, entry: base };
        if self.found.set.contains(&base_here) || self.is_at_client(&base_here) {
            return Ok(true);
        }
        // What lies in the first pack has no other place.
        if pack == 0 {
            return Ok(false);
        }
        Ok(match self.objects.locate(file.id(base))? {
            Some(location @ Location::Packed { pack: other, .. }) if other < pack && self.found.set.contains(&location) => true,
            Some(location) => self.is_at_client(&location),
            None => false,
        })
    }
}

/// The positions, in order of offsets, of what goes out of `pack` and is not `led`.
pub(super) fn positions(reuse: &Reuse<'_>, pack: u32, led: &ObjectSet, cancel: &Cancel) -> Result<Bits, Error> {
    let file = &reuse.objects.packs()[pack as usize];
    let Some(bits) = reuse.found.set.of_pack(pack) else { return Ok(Bits::new(file.len() as usize)) };
    let led = led.of_pack(pack);
    let wanted = bits.count() - led.map_or(0, Bits::count);
    if wanted == bits.len() {
        return Ok(Bits::full(wanted));
    }
    let mut positions = Bits::new(bits.len());
    let goes_out = |entry: usize| bits.get(entry) && led.is_none_or(|led| !led.get(entry));
    let mut found = 0;
    if wanted * LOOK_UP_SHARE < bits.len() {
        for entry in bits.iter().filter(|entry| goes_out(*entry)) {
            found += usize::from(positions.insert(file.position_of(file.offset(entry as u32)?)? as usize));
        }
    } else {
        for position in 0..file.len() {
            if position.is_multiple_of(65_536) {
                cancel.check()?;
            }
            if goes_out(file.entry_at(position)? as usize) {
                positions.insert(position as usize);
                found += 1;
            }
        }
    }
    if found != wanted {
        return Err(Error::corrupt(format!("{}: index and reverse index disagree", file.name())));
    }
    Ok(positions)
}
