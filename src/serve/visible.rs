//! A gate's answer and the repository's own hidden refs into what one request sees.
//!
//! Source: git-config, `transfer.hideRefs`: a name and everything beneath it; the last entry that matches decides, `!`
//! negates it, `^` looks at the name outside of the namespace (gitnamespaces; the same where there is none).

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
    let namespace = snapshot.settings().namespace.as_slice();
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
    let head_name = [namespace, b"HEAD"].concat();
    let head = match head_of(snapshot, head_name.as_bstr()) {
        _ if is_hidden("HEAD".into(), head_name.as_bstr(), hide) => Head::Missing,
        Head::Symbolic(name, _) if !seen(name.as_bstr()) => Head::Missing,
        Head::Detached(id) if only.is_some() && !refs.iter().enumerate().any(|(at, entry)| entry.id == Some(id) && seen_at(at)) => {
            Head::Missing
        }
        head => head,
    };
    if only.is_none() && hide.is_empty() && namespace.is_empty() {
        return VisibleRefs::new(snapshot, None, head);
    }
    let mut bits = Bits::new(refs.len());
    for at in refs.range_with_prefix([namespace, if namespace.is_empty() { b"" } else { b"refs/" }].concat().as_bstr()) {
        let entry = refs.get(at);
        let leads_to_seen = match entry.target {
            Target::Symbolic(target) => seen(target),
            Target::Object(_) => true,
        };
        if seen_at(at) && leads_to_seen && !is_hidden(entry.name[namespace.len()..].as_bstr(), entry.name, hide) {
            bits.insert(at);
        }
    }
    // Seeing everything is the cheaper state: nothing needs to be checked against it.
    let hides = bits.count() < refs.len();
    VisibleRefs::new(snapshot, hides.then_some(bits), head)
}

/// HEAD, or the ref of a namespace that stands for it.
fn head_of(snapshot: &Snapshot, name: &BStr) -> Head {
    if name == "HEAD" {
        return snapshot.head().clone();
    }
    match snapshot.refs().find(name).map(|entry| (entry.target, entry.id)) {
        Some((Target::Symbolic(target), id)) => Head::Symbolic(target.to_owned(), id),
        Some((Target::Object(_), Some(id))) => Head::Detached(id),
        Some((Target::Object(_), None)) | None => Head::Missing,
    }
}

/// Whether the entries of `transfer.hideRefs` hide the ref `name`, whose name outside of its namespace is `full_name`.
pub(super) fn is_hidden(name: &BStr, full_name: &BStr, hide: &[BString]) -> bool {
    for entry in hide.iter().rev() {
        let (negated, pattern) = match entry.strip_prefix(b"!") {
            Some(rest) => (true, rest),
            None => (false, entry.as_slice()),
        };
        let (subject, pattern) = match pattern.strip_prefix(b"^") {
            Some(rest) => (full_name, rest),
            None => (name, pattern),
        };
        let pattern = pattern.trim_end_with(|c| c == '/');
        if let Some(rest) = subject.strip_prefix(pattern)
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
            assert_eq!(is_hidden(name.into(), name.into(), &hide), hidden, "{name}");
        }
    }

    #[test]
    fn in_a_namespace_a_caret_looks_at_the_whole_name() {
        let hide: Vec<BString> = vec!["refs/namespaces/a/refs/heads".into(), "^refs/namespaces/a/refs/tags".into(), "refs/notes".into()];
        let hidden = |name: &str| is_hidden(name.into(), format!("refs/namespaces/a/{name}").as_str().into(), &hide);
        assert_eq!((hidden("refs/heads/x"), hidden("refs/tags/x"), hidden("refs/notes/x")), (false, true, true));
    }
}
