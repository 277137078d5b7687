//! A fetch of any version into one immutable [`FetchRequest`].
//!
//! Source: gitprotocol-pack, "Packfile Negotiation"; gitprotocol-v2, "fetch". Version 2 sends everything at once;
//! in versions 0 and 1 the have lines come later, in rounds ([`read_negotiation_line`]). Shallow lines, deepening
//! and filters are not advertised, so a client that sends them breaks the protocol.

use super::{Capabilities, Error, Pkt, PktReader};
use crate::base::limits::{HAVES_MAX, WANTS_MAX};
use bstr::{BString, ByteSlice};
use gix_hash::ObjectId;
use std::io::Read;

/// How common commits are acknowledged in versions 0 and 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub enum AckMode {
    /// The first common commit only.
    #[default]
    Single,
    /// `multi_ack`.
    Multi,
    /// `multi_ack_detailed`; what version 2 always does.
    Detailed,
}

/// How the pack travels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub enum Bands {
    /// Plain bytes.
    #[default]
    None,
    /// `side-band`.
    Small,
    /// `side-band-64k`; what version 2 always does.
    Large,
}

/// What a client wants, and how.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct FetchRequest {
    /// Ids of the objects wanted, in order, each once.
    pub wants: Vec<ObjectId>,
    /// Ids that the client has: all of them in version 2, none yet before.
    pub haves: Vec<ObjectId>,
    /// The client will say no more haves: send the pack.
    pub done: bool,
    /// Do not send the pack before the client is done (version 2).
    pub wait_for_done: bool,
    /// How to acknowledge.
    pub ack_mode: AckMode,
    /// The pack may follow `ready` without waiting for done (`no-done`).
    pub no_done: bool,
    /// How the pack travels.
    pub bands: Bands,
    /// Deltas may name their base by distance.
    pub ofs_delta: bool,
    /// Deltas may lean on objects that the client has.
    pub thin_pack: bool,
    /// Annotated tags of objects that are sent go along.
    pub include_tag: bool,
    /// No progress, please.
    pub no_progress: bool,
    /// What the client calls itself.
    pub agent: Option<BString>,
    /// Its session's id.
    pub session_id: Option<BString>,
}

/// Read the wants of versions 0 and 1, up to their flush. `Ok(None)`: the client wants nothing.
pub fn read_fetch_v0<R: Read>(reader: &mut PktReader<R>, hash: gix_hash::Kind) -> Result<Option<FetchRequest>, Error> {
    let mut request = FetchRequest::default();
    let mut seen = crate::base::FastSet::default();
    loop {
        let pkt = reader.expect()?;
        let line = match pkt {
            Pkt::Flush => break,
            Pkt::Data(_) => pkt.text().unwrap_or_default(),
            Pkt::Delim | Pkt::ResponseEnd => return Err(Error::protocol("expected wants, got a special packet")),
        };
        let Some(want) = line.strip_prefix(b"want ") else { return Err(unexpected(line)) };
        let (id, words) = split_id(want, hash)?;
        if request.wants.is_empty() {
            take_capabilities(&mut request, &Capabilities::parse(words));
        }
        if seen.insert(id) {
            request.wants.push(id);
        }
        too_many(request.wants.len(), WANTS_MAX, "wants")?;
    }
    Ok((!request.wants.is_empty()).then_some(request))
}

fn take_capabilities(request: &mut FetchRequest, chosen: &Capabilities) {
    request.ack_mode = match (chosen.has("multi_ack_detailed"), chosen.has("multi_ack")) {
        (true, _) => AckMode::Detailed,
        (false, true) => AckMode::Multi,
        (false, false) => AckMode::Single,
    };
    request.bands = match (chosen.has("side-band-64k"), chosen.has("side-band")) {
        (true, _) => Bands::Large,
        (false, true) => Bands::Small,
        (false, false) => Bands::None,
    };
    request.no_done = chosen.has("no-done");
    request.ofs_delta = chosen.has("ofs-delta");
    request.thin_pack = chosen.has("thin-pack");
    request.include_tag = chosen.has("include-tag");
    request.no_progress = chosen.has("no-progress");
    request.agent = chosen.value("agent").map(Into::into);
    request.session_id = chosen.value("session-id").map(Into::into);
}

/// Read the arguments of version 2 that follow the delim packet, up to the flush.
pub fn read_fetch_v2<R: Read>(reader: &mut PktReader<R>, hash: gix_hash::Kind) -> Result<FetchRequest, Error> {
    let mut request = FetchRequest { ack_mode: AckMode::Detailed, bands: Bands::Large, ..FetchRequest::default() };
    let (mut wants, mut haves) = (crate::base::FastSet::default(), crate::base::FastSet::default());
    loop {
        let pkt = reader.expect()?;
        let Some(line) = pkt.text() else {
            if pkt == Pkt::Flush {
                return Ok(request);
            }
            return Err(Error::protocol("expected flush after fetch arguments"));
        };
        if let Some(id) = line.strip_prefix(b"want ") {
            let id = whole_id(id, hash)?;
            if wants.insert(id) {
                request.wants.push(id);
            }
            too_many(request.wants.len(), WANTS_MAX, "wants")?;
        } else if let Some(id) = line.strip_prefix(b"have ") {
            let id = whole_id(id, hash)?;
            if haves.insert(id) {
                request.haves.push(id);
            }
            too_many(request.haves.len(), HAVES_MAX, "haves")?;
        } else {
            match line {
                b"done" => request.done = true,
                b"wait-for-done" => request.wait_for_done = true,
                b"thin-pack" => request.thin_pack = true,
                b"no-progress" => request.no_progress = true,
                b"include-tag" => request.include_tag = true,
                b"ofs-delta" => request.ofs_delta = true,
                line => return Err(unexpected(line)),
            }
        }
    }
}

/// One line of the negotiation of versions 0 and 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NegotiationLine {
    /// The client has this.
    Have(ObjectId),
    /// The round is over: answer.
    EndOfRound,
    /// The client has said all.
    Done,
    /// The client has closed its side.
    Closed,
}

/// Read one line of the negotiation.
pub fn read_negotiation_line<R: Read>(reader: &mut PktReader<R>, hash: gix_hash::Kind) -> Result<NegotiationLine, Error> {
    let Some(pkt) = reader.read()? else { return Ok(NegotiationLine::Closed) };
    let Some(line) = pkt.text() else {
        return if pkt == Pkt::Flush {
            Ok(NegotiationLine::EndOfRound)
        } else {
            Err(Error::protocol("expected SHA1 list, got a special packet"))
        };
    };
    if line == b"done" {
        return Ok(NegotiationLine::Done);
    }
    match line.strip_prefix(b"have ") {
        Some(id) => Ok(NegotiationLine::Have(whole_id(id, hash)?)),
        None => Err(Error::protocol(format!("expected SHA1 list, got '{}'", line.as_bstr()))),
    }
}

fn too_many(count: usize, limit: usize, what: &'static str) -> Result<(), Error> {
    if count > limit { Err(Error::Limit { what, limit }) } else { Ok(()) }
}

fn unexpected(line: &[u8]) -> Error {
    let refused = ["shallow ", "deepen ", "deepen-since ", "deepen-not ", "filter "];
    match refused.iter().find(|word| line.starts_with(word.as_bytes())) {
        Some(word) => Error::protocol(format!("this server does not offer '{}'; clone or fetch without it", word.trim_end())),
        None => Error::protocol(format!("unexpected line: '{}'", line.as_bstr())),
    }
}

fn whole_id(hex: &[u8], hash: gix_hash::Kind) -> Result<ObjectId, Error> {
    match split_id(hex, hash)? {
        (id, b"") => Ok(id),
        _ => Err(bad_id(hex)),
    }
}

/// An id, and what follows behind a space.
pub(super) fn split_id(line: &[u8], hash: gix_hash::Kind) -> Result<(ObjectId, &[u8]), Error> {
    let len = hash.len_in_hex();
    let id = line.get(..len).and_then(|hex| ObjectId::from_hex(hex).ok()).ok_or_else(|| bad_id(line))?;
    match &line[len..] {
        b"" => Ok((id, b"")),
        [b' ', rest @ ..] => Ok((id, rest)),
        _ => Err(bad_id(line)),
    }
}

fn bad_id(line: &[u8]) -> Error {
    Error::protocol(format!("expected an object id, got '{}'", line[..line.len().min(80)].as_bstr()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{write_flush, write_text};
    use gix_hash::Kind::Sha1;

    fn packets(lines: &[&str]) -> Vec<u8> {
        let mut bytes = vec![];
        for line in lines {
            write_text(&mut bytes, line).expect("memory");
        }
        write_flush(&mut bytes).expect("memory");
        bytes
    }

    const A: &str = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
    const B: &str = "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb";

    #[test]
    fn both_generations_fill_one_type() {
        let v0 = packets(&[
            &format!("want {A} multi_ack_detailed side-band-64k ofs-delta agent=git/2"),
            &format!("want {B}"),
            &format!("want {A}"),
        ]);
        let v2 = packets(&["ofs-delta", &format!("want {A}"), &format!("want {B}"), &format!("have {B}"), "done"]);
        let first = read_fetch_v0(&mut PktReader::new(&v0[..]), Sha1).expect("legal").expect("wants");
        let second = read_fetch_v2(&mut PktReader::new(&v2[..]), Sha1).expect("legal");
        assert_eq!(first.wants, second.wants);
        assert_eq!((first.ack_mode, first.bands, first.ofs_delta), (second.ack_mode, second.bands, second.ofs_delta));
        assert_eq!((second.haves.len(), second.done, first.done), (1, true, false));
    }

    #[test]
    fn a_client_that_wants_nothing_is_understood() {
        assert_eq!(read_fetch_v0(&mut PktReader::new(&b"0000"[..]), Sha1).expect("legal"), None);
        let gone = read_fetch_v0(&mut PktReader::new(&b""[..]), Sha1);
        assert!(matches!(gone, Err(Error::HungUp)), "one that only goes away is not: {gone:?}");
    }

    #[test]
    fn what_was_not_advertised_is_refused_by_name() {
        for line in ["deepen 1", "filter blob:none", "want xyz", "want aaaa", "packfile-uris https"] {
            let bytes = packets(&[line]);
            assert!(read_fetch_v2(&mut PktReader::new(&bytes[..]), Sha1).is_err(), "{line}");
        }
        let bytes = packets(&[&format!("want {A} side-band"), "deepen 1"]);
        let refusal = read_fetch_v0(&mut PktReader::new(&bytes[..]), Sha1).expect_err("not advertised").to_string();
        assert!(refusal.contains("'deepen'"), "{refusal}");
    }
}
