//! A gate's answer and the repository's own hidden refs into what one request sees.
//!
//! Source: git-config, `transfer.hideRefs`: a name and everything beneath it; the last entry that matches decides, `!`
//! negates it, `^` (full name) means the same as no mark where there are no namespaces.

use super::{Gate, Visibility};
use crate::pack::Bits;
use crate::store::{Head, Snapshot, Target};
use crate::walk::VisibleRefs;
use bstr::{BStr, BString, ByteSlice};

/// What `gate` lets this request see of `snapshot`, less what the repository hides.
///
/// The gate hides more than a name: a symbolic ref, HEAD too, to a ref that may not be seen may not be seen either.
/// What the repository's settings hide is left out of lists only, as in git.
pub(super) fn visible_refs(snapshot: &Snapshot, gate: &dyn Gate, hide: &[BString]) -> VisibleRefs {
    let refs = snapshot.refs();
    let only = match gate.visible(refs) {
        Visibility::All => None,
        Visibility::Only(only) => Some(only),
    };
    let seen_at = |at: usize| only.as_ref().is_none_or(|only| only.get(at));
    let seen = |name: &BStr| match refs.find(name) {
        _ if only.is_none() => true,
        Some(_) => refs.range_with_prefix(name).next().is_some_and(seen_at),
        None => true, // not born: there is nothing to see
    };
    let head = match snapshot.head() {
        _ if is_hidden("HEAD".into(), hide) => Head::Missing,
        Head::Symbolic(name, _) if !seen(name.as_bstr()) => Head::Missing,
        Head::Detached(id) if only.is_some() && !refs.iter().enumerate().any(|(at, entry)| entry.id == Some(*id) && seen_at(at)) => {
            Head::Missing
        }
        head => head.clone(),
    };
    if only.is_none() && hide.is_empty() {
        return VisibleRefs::new(snapshot, None, head);
    }
    let mut bits = Bits::new(refs.len());
    for (at, entry) in refs.iter().enumerate() {
        let leads_to_seen = match entry.target {
            Target::Symbolic(target) => seen(target),
            Target::Object(_) => true,
        };
        if seen_at(at) && leads_to_seen && !is_hidden(entry.name, hide) {
            bits.insert(at);
        }
    }
    // Seeing everything is the cheaper state: nothing needs to be checked against it.
    let hides = bits.count() < refs.len();
    VisibleRefs::new(snapshot, hides.then_some(bits), head)
}

/// Whether the entries of `transfer.hideRefs` hide the ref `name`.
pub(super) fn is_hidden(name: &BStr, hide: &[BString]) -> bool {
    for entry in hide.iter().rev() {
        let (negated, pattern) = match entry.strip_prefix(b"!") {
            Some(rest) => (true, rest),
            None => (false, entry.as_slice()),
        };
        let pattern = pattern.strip_prefix(b"^").unwrap_or(pattern);
        let pattern = pattern.trim_end_with(|c| c == '/');
        if let Some(rest) = name.strip_prefix(pattern)
            && (rest.is_empty() || rest[0] == b'/')
        {
            return !negated;
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_entry_that_matches_decides() {
        let hide: Vec<BString> = vec!["refs/pull".into(), "!refs/pull/1".into(), "^refs/secret/".into()];
        for (name, hidden) in [
            ("refs/pull/2/head", true),
            ("refs/pull/1/head", false),
            ("refs/pulled", false),
            ("refs/secret/x", true),
            ("refs/heads/main", false),
        ] {
            assert_eq!(is_hidden(name.into(), &hide), hidden, "{name}");
        }
    }
}
