//! A filter specification into [`Filter`].
//!
//! Source: git-rev-list, `--filter`; gitprotocol-v2, "fetch" (`filter <filter-spec>`); `list-objects-filter-options.c` for
//! what must be escaped within `combine:`.

use super::Error;
use bstr::{BStr, BString, ByteSlice};
use gix_object::Kind;

/// Filters within filters, counted together; each costs a look at every object.
const FILTERS_MAX: usize = 32;
/// What must be escaped in the parts of `combine:`.
const RESERVED: &[u8] = b"~`!@#$^&*()[]{}\\;'\",<>?";

/// Which objects a client does without.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Filter {
    /// `blob:none`: every blob.
    BlobNone,
    /// `blob:limit=<n>`: blobs of this many bytes and more.
    BlobLimit(u64),
    /// `tree:<depth>`: blobs and trees this deep beneath a commit's tree, which is at depth 0, and deeper.
    TreeDepth(u64),
    /// `object:type=<type>`: objects of other types.
    ObjectType(Kind),
    /// `sparse:oid=<blob-ish>`: blobs that the sparse-checkout patterns in this blob do not choose.
    SparseOid(BString),
    /// `combine:<a>+<b>…`: objects that any of them does without.
    Combine(Vec<Filter>),
}

impl Filter {
    /// Read a specification.
    ///
    /// # Errors
    /// [`Error::Protocol`] in git's words where it makes no sense.
    pub fn parse(spec: &BStr) -> Result<Self, Error> {
        let mut left = FILTERS_MAX;
        Self::parse_some(spec, &mut left)
    }

    fn parse_some(spec: &BStr, left: &mut usize) -> Result<Self, Error> {
        *left = left.checked_sub(1).ok_or(Error::Limit { what: "filters in one", limit: FILTERS_MAX })?;
        if let Some(parts) = spec.strip_prefix(b"combine:") {
            return Self::parse_parts(parts, left);
        }
        let simple = match spec.as_bytes() {
            b"blob:none" => Some(Self::BlobNone),
            b"object:type=commit" => Some(Self::ObjectType(Kind::Commit)),
            b"object:type=tree" => Some(Self::ObjectType(Kind::Tree)),
            b"object:type=blob" => Some(Self::ObjectType(Kind::Blob)),
            b"object:type=tag" => Some(Self::ObjectType(Kind::Tag)),
            other => match other.split_once_str("=") {
                Some((b"blob:limit", size)) => parse_size(size).map(Self::BlobLimit),
                Some((b"sparse:oid", name)) if !name.is_empty() => Some(Self::SparseOid(name.into())),
                Some((b"sparse:path", _)) => return Err(Error::protocol("sparse:path filters support has been dropped")),
                _ => other.strip_prefix(b"tree:").and_then(parse_number).map(Self::TreeDepth),
            },
        };
        simple.ok_or_else(|| Error::protocol(format!("invalid filter-spec '{spec}'")))
    }

    fn parse_parts(parts: &[u8], left: &mut usize) -> Result<Self, Error> {
        let mut filters = vec![];
        for part in parts.split_str("+").filter(|part| !part.is_empty()) {
            if let Some(at) = part.find_byteset(RESERVED) {
                return Err(Error::protocol(format!("must escape char in sub-filter-spec: '{}'", part[at] as char)));
            }
            filters.push(Self::parse_some(unescape(part)?.as_bstr(), left)?);
        }
        match filters.len() {
            0 => Err(Error::protocol("expected something after combine:")),
            _ => Ok(Self::Combine(filters)),
        }
    }

    /// What git's configuration calls it (`uploadpackfilter.<filter>.allow`).
    pub fn name(&self) -> &'static str {
        match self {
            Self::BlobNone => "blob:none",
            Self::BlobLimit(_) => "blob:limit",
            Self::TreeDepth(_) => "tree",
            Self::ObjectType(_) => "object:type",
            Self::SparseOid(_) => "sparse:oid",
            Self::Combine(_) => "combine",
        }
    }

    /// The filters that this one is made of: itself, unless it combines others.
    pub fn parts(&self) -> Vec<&Self> {
        match self {
            Self::Combine(filters) => filters.iter().flat_map(Self::parts).collect(),
            other => vec![other],
        }
    }
}

fn parse_number(digits: &[u8]) -> Option<u64> {
    digits.to_str().ok().filter(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()))?.parse().ok()
}

/// A number with git's suffix `k`, `m` or `g`.
fn parse_size(text: &[u8]) -> Option<u64> {
    let (digits, unit) = match text.split_last()? {
        (b'k' | b'K', digits) => (digits, 1u64 << 10),
        (b'm' | b'M', digits) => (digits, 1 << 20),
        (b'g' | b'G', digits) => (digits, 1 << 30),
        _ => (text, 1),
    };
    parse_number(digits)?.checked_mul(unit)
}

/// `%xx` into bytes.
fn unescape(part: &[u8]) -> Result<BString, Error> {
    let mut plain = BString::default();
    let mut rest = part;
    while let Some(at) = rest.find_byte(b'%') {
        let digits = rest.get(at + 1..at + 3).and_then(|digits| digits.to_str().ok());
        let byte = digits.filter(|digits| !digits.starts_with('+')).and_then(|digits| u8::from_str_radix(digits, 16).ok());
        let byte = byte.ok_or_else(|| Error::protocol(format!("bad escape in sub-filter-spec '{}'", part.as_bstr())))?;
        plain.extend_from_slice(&rest[..at]);
        plain.push(byte);
        rest = &rest[at + 3..];
    }
    plain.extend_from_slice(rest);
    Ok(plain)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn parse(spec: &str) -> Result<Filter, String> {
        Filter::parse(spec.into()).map_err(|err| err.to_string())
    }

    #[test]
    fn every_form_is_understood() {
        assert_eq!(parse("blob:none"), Ok(Filter::BlobNone));
        assert_eq!(parse("blob:limit=2k"), Ok(Filter::BlobLimit(2048)));
        assert_eq!(parse("tree:0"), Ok(Filter::TreeDepth(0)));
        assert_eq!(parse("object:type=tag"), Ok(Filter::ObjectType(Kind::Tag)));
        assert_eq!(parse("sparse:oid=main:x"), Ok(Filter::SparseOid("main:x".into())));
        let both = Filter::Combine(vec![Filter::TreeDepth(3), Filter::BlobLimit(7)]);
        assert_eq!(parse("combine:tree:3+blob%3Alimit%3d7"), Ok(both.clone()));
        let nested = Filter::Combine(vec![both, Filter::BlobNone]);
        assert_eq!(parse("combine:combine%3atree%3a3%2Bblob%3Alimit%3d7+blob:none").as_ref(), Ok(&nested));
        assert_eq!(nested.parts(), [&Filter::TreeDepth(3), &Filter::BlobLimit(7), &Filter::BlobNone]);
    }

    #[test]
    fn what_makes_no_sense_is_refused_in_gits_words() {
        for (spec, words) in [
            ("blob:some", "invalid filter-spec 'blob:some'"),
            ("blob:limit=-1", "invalid filter-spec"),
            ("blob:limit=99999999999g", "invalid filter-spec"),
            ("tree:x", "invalid filter-spec"),
            ("object:type=branch", "invalid filter-spec"),
            ("sparse:oid=", "invalid filter-spec"),
            ("sparse:path=x", "support has been dropped"),
            ("combine:", "expected something after combine:"),
            ("combine:tree:1+sparse:oid=a~b", "must escape char in sub-filter-spec: '~'"),
            ("combine:tree%3", "bad escape"),
            ("combine:%+1", "bad escape"),
        ] {
            let refusal = parse(spec).expect_err(spec);
            assert!(refusal.contains(words), "{spec}: {refusal}");
        }
        let many = format!("combine:{}", ["blob:none"; FILTERS_MAX].join("+"));
        assert!(parse(&many).is_err(), "more than {FILTERS_MAX}");
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(spec: Vec<u8>, tail in "[a-z:%+=0-9]{0,40}") {
            let _ = Filter::parse(spec.as_bstr());
            let _ = parse(&format!("combine:{tail}"));
        }
    }
}
