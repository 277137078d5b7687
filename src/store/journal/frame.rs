//! The journal's bytes into frames and back: a header, then commits and marks, each with its length and checksum.
//!
//! ```text
//! header  "pmjourn2" generation:8 settled:8 since:8 failed:1 boot:16 0… crc32:4       64 bytes
//! frame   length:4 crc32:4 kind:1 body                                                length counts kind and body
//! ```
//!
//! Numbers are little-endian. A frame's checksum begins with the generation, so that what an earlier generation left in
//! the file is never taken for a frame of this one. The first frame that is cut short or does not match ends the file:
//! its writer died, or it is being written.
//!
//! "pmjourn1" was the same but for commits that did not say where history is cut off; it is read, and never written.
//!
//! Limits: one frame has less than 4 GiB.

use super::super::RefEdit;
use bstr::{BStr, BString, ByteSlice};
use gix_hash::ObjectId;

/// Bytes of the header.
pub(super) const HEADER_BYTES: usize = 64;
/// How it begins, but for the digit of its version.
const MAGIC: &[u8; 7] = b"pmjourn";
const VERSION: u8 = b'2';
const VERSION_BEFORE: u8 = b'1';
/// Length, checksum, kind.
const FRAME_HEAD_BYTES: usize = 9;
const COMMIT: u8 = 1;
const DURABLE: u8 = 2;
const APPLIED: u8 = 3;

/// What stands at the beginning of the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    /// Another one after every checkpoint.
    pub generation: u64,
    /// Every commit before this byte has been applied.
    pub settled: u64,
    /// When this generation began, in seconds since 1970.
    pub since_s: u64,
    /// Bringing data to the disk has failed: nothing more is promised before the next boot.
    pub failed: bool,
    /// Which boot of which machine wrote it.
    pub boot: [u8; 16],
}

impl Header {
    /// As it stands in the file.
    pub fn encode(&self) -> [u8; HEADER_BYTES] {
        let mut bytes = [0; HEADER_BYTES];
        bytes[..7].copy_from_slice(MAGIC);
        bytes[7] = VERSION;
        bytes[8..16].copy_from_slice(&self.generation.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.settled.to_le_bytes());
        bytes[24..32].copy_from_slice(&self.since_s.to_le_bytes());
        bytes[32] = self.failed.into();
        bytes[33..49].copy_from_slice(&self.boot);
        let crc = crc32fast::hash(&bytes[..60]);
        bytes[60..].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    /// `None`: this is no header, or one that is being written.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let version = Self::version(bytes).filter(|version| [VERSION, VERSION_BEFORE].contains(version));
        let mut parts = Parts(bytes.get(8..)?);
        version?;
        let (generation, settled, since_s) = (parts.u64()?, parts.u64()?, parts.u64()?);
        Some(Self { generation, settled, since_s, failed: parts.u8()? != 0, boot: parts.take(16)?.try_into().ok()? })
    }

    /// The digit that names the version of a whole header, be it one that can be read or not.
    pub fn version(bytes: &[u8]) -> Option<u8> {
        let bytes = bytes.get(..HEADER_BYTES)?;
        let is_whole = crc32fast::hash(&bytes[..60]).to_le_bytes() == bytes[60..];
        (is_whole && bytes.starts_with(MAGIC)).then_some(bytes[7])
    }
}

/// One pack of a push.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in super::super) struct NamedPack {
    /// `pack-…`, without ending.
    pub name: String,
    /// The whole pack; `None` where it is on disk by itself.
    pub bytes: Option<Vec<u8>>,
}

/// All that one push changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in super::super) struct Commit {
    /// The name of its quarantine's folder: whether its owner lives.
    pub owner: BString,
    /// Seconds since 1970.
    pub time_s: u64,
    /// `Name <mail>`, for reflogs.
    pub identity: BString,
    /// Names are ends of symbolic refs.
    pub edits: Vec<RefEdit>,
    pub packs: Vec<NamedPack>,
    /// Commits that have no parents here, since refs of this push came to need them: lines of the file `shallow`.
    pub cuts: Vec<ObjectId>,
}

impl Commit {
    /// What counts of its cuts where these of its edits will never be: they are there for any other one.
    pub fn cuts_but(&self, but: &[u32]) -> &[ObjectId] {
        if but.len() < self.edits.len() { &self.cuts } else { &[] }
    }
}

/// One frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Frame {
    /// A push.
    Commit(Commit),
    /// Whatever ends at or before this byte is on disk.
    Durable(u64),
    /// The commit at the byte `at` has been applied, but for the edits of these numbers: those will never be.
    Applied { at: u64, but: Vec<u32> },
}

/// Append the frame of `commit` to `out`.
pub(super) fn encode_commit(generation: u64, commit: &Commit, out: &mut Vec<u8>) {
    frame(generation, COMMIT, out, |out| {
        put_bytes(out, &commit.owner);
        out.extend_from_slice(&commit.time_s.to_le_bytes());
        put_bytes(out, &commit.identity);
        out.extend_from_slice(&(commit.edits.len() as u32).to_le_bytes());
        for edit in &commit.edits {
            put_bytes(out, &edit.name);
            put_bytes(out, edit.old.as_slice());
            put_bytes(out, edit.new.as_slice());
            put_bytes(out, &edit.message);
        }
        out.extend_from_slice(&(commit.packs.len() as u32).to_le_bytes());
        for pack in &commit.packs {
            put_bytes(out, pack.name.as_bytes());
            out.push(pack.bytes.is_some().into());
            put_bytes(out, pack.bytes.as_deref().unwrap_or_default());
        }
        out.extend_from_slice(&(commit.cuts.len() as u32).to_le_bytes());
        commit.cuts.iter().for_each(|id| put_bytes(out, id.as_slice()));
    });
}

/// The frame that says: durable up to this byte.
pub(super) fn encode_durable(generation: u64, upto: u64) -> Vec<u8> {
    let mut out = vec![];
    frame(generation, DURABLE, &mut out, |out| out.extend_from_slice(&upto.to_le_bytes()));
    out
}

/// The frame that says: applied.
pub(super) fn encode_applied(generation: u64, at: u64, but: &[u32]) -> Vec<u8> {
    let mut out = vec![];
    frame(generation, APPLIED, &mut out, |out| {
        out.extend_from_slice(&at.to_le_bytes());
        out.extend_from_slice(&(but.len() as u32).to_le_bytes());
        but.iter().for_each(|number| out.extend_from_slice(&number.to_le_bytes()));
    });
    out
}

fn frame(generation: u64, kind: u8, out: &mut Vec<u8>, body: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    out.extend_from_slice(&[0; 8]);
    out.push(kind);
    body(out);
    let length = (out.len() - start - 8) as u32;
    let crc = checksum(generation, &out[start + 8..]);
    out[start..start + 4].copy_from_slice(&length.to_le_bytes());
    out[start + 4..start + 8].copy_from_slice(&crc.to_le_bytes());
}

fn checksum(generation: u64, kind_and_body: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&generation.to_le_bytes());
    hasher.update(kind_and_body);
    hasher.finalize()
}

fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend_from_slice(&(bytes.len() as u32).to_le_bytes());
    out.extend_from_slice(bytes);
}

/// The first frame of `bytes` and its length; `None` where there is no whole one.
pub(super) fn decode(generation: u64, bytes: &[u8]) -> Option<(Frame, usize)> {
    let mut parts = Parts(bytes);
    let (length, crc) = (parts.u32()? as usize, parts.u32()?);
    let whole = parts.take(length)?;
    if checksum(generation, whole) != crc {
        return None;
    }
    let mut parts = Parts(whole);
    let frame = match parts.u8()? {
        COMMIT => Frame::Commit(decode_commit(&mut parts)?),
        DURABLE => Frame::Durable(parts.u64()?),
        APPLIED => {
            let at = parts.u64()?;
            let count = parts.u32()?;
            Frame::Applied { at, but: (0..count).map(|_| parts.u32()).collect::<Option<_>>()? }
        }
        _ => return None,
    };
    parts.0.is_empty().then_some((frame, length + FRAME_HEAD_BYTES - 1))
}

fn decode_commit(parts: &mut Parts<'_>) -> Option<Commit> {
    let owner = parts.bytes()?.to_owned();
    let (time_s, identity) = (parts.u64()?, parts.bytes()?.to_owned());
    // Nothing is reserved for a count that the bytes cannot bear out.
    let edits = (0..parts.u32()?).map(|_| decode_edit(parts)).collect::<Option<_>>()?;
    let packs = (0..parts.u32()?).map(|_| decode_pack(parts)).collect::<Option<_>>()?;
    // The version before ended here.
    let cuts = if parts.0.is_empty() { 0 } else { parts.u32()? };
    let cuts = (0..cuts).map(|_| decode_id(parts)).collect::<Option<_>>()?;
    Some(Commit { owner, time_s, identity, edits, packs, cuts })
}

fn decode_id(parts: &mut Parts<'_>) -> Option<ObjectId> {
    ObjectId::try_from(parts.bytes()?.as_bytes()).ok()
}

fn decode_edit(parts: &mut Parts<'_>) -> Option<RefEdit> {
    let name = parts.bytes()?.to_owned();
    let (old, new) = (decode_id(parts)?, decode_id(parts)?);
    Some(RefEdit { name, old, new, message: parts.bytes()?.to_owned() })
}

fn decode_pack(parts: &mut Parts<'_>) -> Option<NamedPack> {
    let name = parts.bytes()?.to_str().ok()?.to_owned();
    let is_here = parts.u8()? != 0;
    let bytes = parts.bytes()?;
    Some(NamedPack { name, bytes: is_here.then(|| bytes.to_vec()) })
}

/// Bytes that have not been looked at.
struct Parts<'a>(&'a [u8]);

impl<'a> Parts<'a> {
    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    fn u8(&mut self) -> Option<u8> {
        self.take(1).map(|bytes| bytes[0])
    }

    fn u32(&mut self) -> Option<u32> {
        self.take(4)?.try_into().ok().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Option<u64> {
        self.take(8)?.try_into().ok().map(u64::from_le_bytes)
    }

    fn bytes(&mut self) -> Option<&'a BStr> {
        let count = self.u32()?;
        self.take(count as usize).map(ByteSlice::as_bstr)
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use proptest::prelude::*;

    fn id() -> impl Strategy<Value = ObjectId> {
        (any::<u8>(), any::<bool>())
            .prop_map(|(byte, long)| ObjectId::try_from(&vec![byte; if long { 32 } else { 20 }][..]).expect("an id"))
    }

    fn commit() -> impl Strategy<Value = Commit> {
        let text = || proptest::collection::vec(any::<u8>(), 0..20).prop_map(BString::from);
        let edit = (text(), id(), id(), text()).prop_map(|(name, old, new, message)| RefEdit { name, old, new, message });
        let pack = ("[a-z]{0,9}", proptest::option::of(proptest::collection::vec(any::<u8>(), 0..40)))
            .prop_map(|(name, bytes)| NamedPack { name, bytes });
        let (edits, packs) = (proptest::collection::vec(edit, 0..4), proptest::collection::vec(pack, 0..3));
        (text(), any::<u64>(), text(), edits, packs, proptest::collection::vec(id(), 0..3))
            .prop_map(|(owner, time_s, identity, edits, packs, cuts)| Commit { owner, time_s, identity, edits, packs, cuts })
    }

    proptest! {
        #[test]
        fn frames_come_back_as_they_were_and_half_of_one_does_not(
            commit in commit(), generation in any::<u64>(), but in proptest::collection::vec(any::<u32>(), 0..4),
            flip in any::<prop::sample::Index>(), cut in any::<prop::sample::Index>(),
        ) {
            let mut bytes = vec![];
            encode_commit(generation, &commit, &mut bytes);
            let end = bytes.len();
            bytes.extend(encode_durable(generation, 7));
            bytes.extend(encode_applied(generation, 8, &but));
            prop_assert_eq!(decode(generation, &bytes), Some((Frame::Commit(commit), end)));
            let (frame, len) = decode(generation, &bytes[end..]).expect("a frame");
            prop_assert_eq!(frame, Frame::Durable(7));
            prop_assert_eq!(decode(generation, &bytes[end + len..]).expect("a frame").0, Frame::Applied { at: 8, but });
            prop_assert_eq!(decode(generation.wrapping_add(1), &bytes), None, "of another generation");
            prop_assert_eq!(decode(generation, &bytes[..cut.index(end)]), None);
            let at = flip.index(end);
            bytes[at] ^= 1;
            prop_assert_eq!(decode(generation, &bytes), None);
        }

        #[test]
        fn no_bytes_at_all_are_a_fault(bytes in proptest::collection::vec(any::<u8>(), 0..100)) {
            let mut frame = vec![];
            super::frame(0, bytes.first().copied().unwrap_or_default() % 5, &mut frame, |out| out.extend_from_slice(&bytes));
            decode(0, &frame);
            decode(0, &bytes);
            prop_assert_eq!(Header::decode(&bytes), None);
        }
    }

    #[test]
    fn a_commit_of_the_version_before_has_no_cuts() {
        let commit = Commit { owner: "x".into(), time_s: 1, identity: "A <a@x>".into(), edits: vec![], packs: vec![], cuts: vec![] };
        let mut now = vec![];
        encode_commit(3, &commit, &mut now);
        let mut before = vec![];
        frame(3, COMMIT, &mut before, |out| out.extend_from_slice(&now[FRAME_HEAD_BYTES..now.len() - 4]));
        assert_eq!(decode(3, &before), Some((Frame::Commit(commit), now.len() - 4)));
    }

    #[test]
    fn headers_of_the_version_before_are_read_and_those_of_a_later_one_are_not() {
        let header = Header { generation: 1, settled: 2, since_s: 3, failed: true, boot: [4; 16] };
        let mut bytes = header.encode();
        for (version, read) in [(b'1', Some(header)), (b'2', Some(header)), (b'3', None)] {
            bytes[7] = version;
            let crc = crc32fast::hash(&bytes[..60]);
            bytes[60..].copy_from_slice(&crc.to_le_bytes());
            assert_eq!((Header::decode(&bytes), Header::version(&bytes)), (read, Some(version)));
        }
    }

    #[test]
    fn a_header_comes_back_and_a_torn_one_does_not() {
        let header = Header { generation: 1, settled: 2, since_s: 3, failed: true, boot: [4; 16] };
        let mut bytes = header.encode();
        assert_eq!(Header::decode(&bytes), Some(header));
        bytes[20] ^= 1;
        assert_eq!(Header::decode(&bytes), None);
    }
}
