//! The bytes of a tree into its entries, and two trees into what the first has and the second has not.
//!
//! Source: gitformat-pack and `tree-walk.c`: `mode SP name NUL id`, sorted as if directories ended in `/`.

use crate::pack::Kind;
use gix_hash::ObjectId;
use std::cmp::Ordering;

/// One entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TreeEntry<'a> {
    raw: &'a [u8],
    mode_len: usize,
    id_at: usize,
}

impl<'a> TreeEntry<'a> {
    /// Read the entry at the start of `bytes`; `None` when there is no whole one.
    #[inline]
    pub fn read(bytes: &'a [u8], id_len: usize) -> Option<Self> {
        // Modes have six digits, those of folders five.
        let mode_len = match (bytes.get(5), bytes.get(6)) {
            (Some(b' '), _) if !bytes[..5].contains(&b' ') => 5,
            (Some(_), Some(b' ')) if !bytes[..6].contains(&b' ') => 6,
            _ => memchr::memchr(b' ', &bytes[..bytes.len().min(8)])?,
        };
        let nul = mode_len + 1 + memchr::memchr(0, &bytes[mode_len + 1..])?;
        let raw = bytes.get(..nul + 1 + id_len)?;
        Some(Self { raw, mode_len, id_at: nul + 1 })
    }

    /// How many bytes it takes.
    pub fn len(&self) -> usize {
        self.raw.len()
    }

    /// What it names; `None` for a commit of another repository (a submodule's gitlink).
    pub fn kind(&self) -> Option<Kind> {
        match &self.raw[..self.mode_len] {
            b"40000" | b"040000" => Some(Kind::Tree),
            b"160000" => None,
            _ => Some(Kind::Blob),
        }
    }

    pub fn id(&self) -> ObjectId {
        ObjectId::from_bytes_or_panic(&self.raw[self.id_at..])
    }

    pub fn is_tree(&self) -> bool {
        self.raw[0] == b'4' || self.raw[0] == b'0'
    }

    pub fn name(&self) -> &'a [u8] {
        &self.raw[self.mode_len + 1..self.id_at - 1]
    }

    pub fn order(&self, other: &Self) -> Ordering {
        let (ours, theirs) = (self.name(), other.name());
        let common = ours.len().min(theirs.len());
        let end = |name: &[u8], tree: bool| name.get(common).copied().unwrap_or(if tree { b'/' } else { 0 });
        ours[..common].cmp(&theirs[..common]).then_with(|| end(ours, self.is_tree()).cmp(&end(theirs, other.is_tree())))
    }
}

/// Call `each` for every entry of `tree`; `None` when it is malformed.
pub(super) fn for_each_entry<'a>(tree: &'a [u8], id_len: usize, mut each: impl FnMut(TreeEntry<'a>)) -> Option<()> {
    let mut rest = tree;
    while !rest.is_empty() {
        let entry = TreeEntry::read(rest, id_len)?;
        rest = &rest[entry.raw.len()..];
        each(entry);
    }
    Some(())
}

/// Call `each` for every entry of `tree` that is not in `base`, with the entry of the same name there, if both or
/// neither are trees. `None` when either is malformed.
pub(super) fn for_each_new_entry<'a>(
    tree: &'a [u8],
    base: &'a [u8],
    id_len: usize,
    mut each: impl FnMut(TreeEntry<'a>, Option<TreeEntry<'a>>),
) -> Option<()> {
    let (mut ours, mut theirs) = (tree, base);
    while !ours.is_empty() {
        let entry = TreeEntry::read(ours, id_len)?;
        if theirs.starts_with(entry.raw) {
            ours = &ours[entry.raw.len()..];
            theirs = &theirs[entry.raw.len()..];
            continue;
        }
        if theirs.is_empty() {
            each(entry, None);
            ours = &ours[entry.raw.len()..];
            continue;
        }
        let other = TreeEntry::read(theirs, id_len)?;
        match entry.order(&other) {
            Ordering::Less => {
                each(entry, None);
                ours = &ours[entry.raw.len()..];
            }
            Ordering::Greater => theirs = &theirs[other.raw.len()..],
            Ordering::Equal => {
                each(entry, Some(other));
                ours = &ours[entry.raw.len()..];
                theirs = &theirs[other.raw.len()..];
            }
        }
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    fn entry(mode: &str, name: &str, id: u8) -> Vec<u8> {
        [mode.as_bytes(), b" ", name.as_bytes(), b"\0", &[id; 20]].concat()
    }

    fn tree(files: &BTreeMap<String, (bool, u8)>) -> Vec<u8> {
        let mut entries: Vec<_> =
            files.iter().map(|(name, (dir, id))| (if *dir { format!("{name}/") } else { name.clone() }, name, *dir, *id)).collect();
        entries.sort();
        entries.iter().flat_map(|(_, name, dir, id)| entry(if *dir { "40000" } else { "100644" }, name, *id)).collect()
    }

    proptest! {
        #[test]
        fn new_entries_are_those_that_the_base_lacks(
            ours in prop::collection::btree_map("[ab.]{1,3}", (any::<bool>(), 0u8..4), 0..12),
            theirs in prop::collection::btree_map("[ab.]{1,3}", (any::<bool>(), 0u8..4), 0..12),
        ) {
            let (tree, base) = (tree(&ours), tree(&theirs));
            let mut found = BTreeMap::new();
            for_each_new_entry(&tree, &base, 20, |entry, _| {
                found.insert(String::from_utf8(entry.name().to_vec()).expect("ascii"), (entry.is_tree(), entry.id().as_slice()[0]));
            }).expect("well formed");
            let wanted: BTreeMap<_, _> = ours.iter().filter(|(name, what)| theirs.get(*name) != Some(*what)).map(|(n, w)| (n.clone(), *w)).collect();
            prop_assert_eq!(found, wanted);
            let mut count = 0;
            for_each_entry(&tree, 20, |_| count += 1).expect("well formed");
            prop_assert_eq!(count, ours.len());
        }

        #[test]
        fn no_bytes_make_it_panic(bytes: Vec<u8>, base: Vec<u8>) {
            for_each_entry(&bytes, 20, |entry| { entry.kind(); entry.id(); });
            for_each_new_entry(&bytes, &base, 20, |_, _| {});
        }
    }

    #[test]
    fn a_gitlink_names_no_object_of_ours() {
        let tree = [entry("160000", "sub", 1), entry("40000", "tree", 2), entry("120000", "zlink", 3)].concat();
        let mut kinds = vec![];
        for_each_entry(&tree, 20, |entry| kinds.push(entry.kind())).expect("well formed");
        assert_eq!(kinds, [None, Some(Kind::Tree), Some(Kind::Blob)]);
    }
}
