//! The bytes of a commit or tag into its links.
//!
//! Only what a walk needs is read: `tree`, `parent` and the committer's time of a commit, `object` and `type` of a
//! tag, at the places where git writes them. A time that cannot be read counts as 0, as in git (`parse_commit_date`).

use crate::pack::Kind;
use gix_hash::ObjectId;

/// What a commit links to.
pub(super) struct CommitLinks<'a> {
    /// Its tree.
    pub tree: ObjectId,
    parents: &'a [u8],
    hex: usize,
    /// Seconds since 1970.
    pub date: u64,
}

impl CommitLinks<'_> {
    /// The parents in order.
    pub fn parents(&self) -> impl Iterator<Item = ObjectId> + '_ {
        self.parents
            .chunks(PARENT.len() + self.hex + 1)
            .map_while(|line| ObjectId::from_hex(&line[PARENT.len()..PARENT.len() + self.hex]).ok())
    }
}

const PARENT: &[u8] = b"parent ";

/// Parse a commit; `None` when it is none.
pub(super) fn parse_commit(data: &[u8], hash: gix_hash::Kind) -> Option<CommitLinks<'_>> {
    let hex = hash.len_in_hex();
    let rest = data.strip_prefix(b"tree ")?;
    let tree = ObjectId::from_hex(rest.get(..hex)?).ok()?;
    let rest = rest[hex..].strip_prefix(b"\n")?;
    let line_len = PARENT.len() + hex + 1;
    let mut end = 0;
    while let Some(line) = rest.get(end..end + line_len).filter(|line| line.starts_with(PARENT)) {
        if line[line_len - 1] != b'\n' || !line[PARENT.len()..line_len - 1].iter().all(u8::is_ascii_hexdigit) {
            return None;
        }
        end += line_len;
    }
    let (parents, rest) = rest.split_at(end);
    Some(CommitLinks { tree, parents, hex, date: committer_date(rest).unwrap_or(0) })
}

/// The seconds behind the last `>` of the committer line, which is the second line of `rest`.
fn committer_date(rest: &[u8]) -> Option<u64> {
    let author_end = memchr::memchr(b'\n', rest)?;
    let line = rest[author_end + 1..].strip_prefix(b"committer ")?;
    let line = &line[..memchr::memchr(b'\n', line)?];
    let after = memchr::memrchr(b'>', line)? + 1;
    let digits = line[after..].trim_ascii_start();
    let len = digits.iter().take_while(|byte| byte.is_ascii_digit()).count();
    std::str::from_utf8(&digits[..len]).ok()?.parse().ok()
}

/// What stands between the angle brackets of a commit's author; `None` when it names none.
pub(super) fn author_email(data: &[u8]) -> Option<&[u8]> {
    let line = data.split(|byte| *byte == b'\n').take_while(|line| !line.is_empty()).find_map(|line| line.strip_prefix(b"author "))?;
    let after = &line[memchr::memchr(b'<', line)? + 1..];
    Some(&after[..memchr::memchr(b'>', after)?])
}

/// What a tag points at; `None` when it is none.
pub(super) fn parse_tag(data: &[u8], hash: gix_hash::Kind) -> Option<(ObjectId, Kind)> {
    let hex = hash.len_in_hex();
    let rest = data.strip_prefix(b"object ")?;
    let id = ObjectId::from_hex(rest.get(..hex)?).ok()?;
    let rest = rest[hex..].strip_prefix(b"\ntype ")?;
    let kind = match &rest[..memchr::memchr(b'\n', rest)?] {
        b"commit" => Kind::Commit,
        b"tree" => Kind::Tree,
        b"blob" => Kind::Blob,
        b"tag" => Kind::Tag,
        _ => return None,
    };
    Some((id, kind))
}

#[cfg(test)]
mod tests {
    use super::*;
    use gix_hash::Kind::Sha1;
    use proptest::prelude::*;

    const A: &str = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
    const B: &str = "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb";

    #[test]
    fn a_commit_gives_tree_parents_and_committer_time() {
        let text =
            format!("tree {A}\nparent {B}\nparent {A}\nauthor x <x@y> 5 +0000\ncommitter x > <x@y> 1700000000 +0100\n\nparent {B}\n");
        let links = parse_commit(text.as_bytes(), Sha1).expect("a commit");
        assert_eq!(links.tree.to_string(), A);
        assert_eq!(links.parents().map(|id| id.to_string()).collect::<Vec<_>>(), [B, A]);
        assert_eq!(links.date, 1_700_000_000);
        let odd = format!("tree {A}\nauthor x <x@y> 5 +0000\ncommitter x <x@y> never\n\n");
        assert_eq!(parse_commit(odd.as_bytes(), Sha1).expect("a commit").date, 0);
        assert!(parse_commit(b"tree zzz", Sha1).is_none());
    }

    #[test]
    fn an_author_is_told_by_the_first_brackets_of_their_line() {
        let text = format!("tree {A}\nauthor A <a@x> <b@y> 5 +0000\ncommitter x <c@z> 6 +0000\n\nauthor E <e@x> 1 +0000\n");
        assert_eq!(author_email(text.as_bytes()), Some(&b"a@x"[..]));
        assert_eq!(author_email(format!("tree {A}\n\nauthor E <e@x> 1 +0000\n").as_bytes()), None);
        assert_eq!(author_email(b"author E <e"), None);
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(tail: Vec<u8>, cut in 0usize..200) {
            let mut text = format!("tree {A}\nparent {B}\nauthor x <x@y> 5 +0000\ncommitter x <x@y> 7 +0000\n").into_bytes();
            text.truncate(cut);
            text.extend_from_slice(&tail);
            if let Some(links) = parse_commit(&text, Sha1) { links.parents().count(); }
            parse_tag(&text, Sha1);
        }
    }
}
