//! A gate's answer and the repository's own hidden refs into what one request sees.
//!
//! Source: git-config, `transfer.hideRefs`: a name and everything beneath it; the last entry that matches decides, `!`
//! negates it, `^` (full name) means the same as no mark where there are no namespaces.

use super::{Gate, Visibility};
use crate::pack::Bits;
use crate::store::Snapshot;
use crate::walk::VisibleRefs;
use bstr::{BStr, BString, ByteSlice};

/// What `gate` lets this request see of `snapshot`, less what the repository hides.
pub(super) fn visible_refs(snapshot: &Snapshot, gate: &dyn Gate, hide: &[BString]) -> VisibleRefs {
    let refs = snapshot.refs();
    let visibility = gate.visible(refs);
    let bits = match visibility {
        Visibility::All if hide.is_empty() => None,
        visibility => {
            let mut bits = Bits::new(refs.len());
            for (at, entry) in refs.iter().enumerate() {
                let seen = match &visibility {
                    Visibility::All => true,
                    Visibility::Only(only) => only.get(at),
                };
                if seen && !is_hidden(entry.name, hide) {
                    bits.insert(at);
                }
            }
            // Seeing everything is the cheaper state: nothing needs to be checked against it.
            (bits.count() < refs.len()).then_some(bits)
        }
    };
    VisibleRefs::new(snapshot, bits)
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
